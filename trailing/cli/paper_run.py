"""The paper account of a run, new or as it was when a run was cut short, and the prices that are still to come."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import trio

from trailing.cli.jobs import Job
from trailing.cli.kept_account import Begun, Keeper, KeptAccount, open_keeper
from trailing.cli.price_files import merged_points
from trailing.cli.replay_clock import ReplayClock
from trailing.cli.resuming import find_resumption
from trailing.core.model import Position
from trailing.core.plan import encode_plan
from trailing.exchanges.paper import PaperExchange, open_paper
from trailing.exchanges.prices import PricePoint
from trailing.stores.port import Store


class PaperRun:
    """What a replay plays on.

    Attributes:
        exchange: its account, as it stands.
        begins_at: the data's time at which it goes on, aware UTC.
        resumed: it was cut short before.
        points: the prices to come; `fed`: how many are behind it.
        to_enter: the positions that are still to be entered; `still_open`: those that were, and are open.
        keeper: writes down what the exchange books; None: nothing is kept.
        latency_counts: the exchange takes its time. Not before the manager is ready, which it is when the data begins.
    """

    def __init__(self, job: Job, kept: KeptAccount | None, points: Iterator[PricePoint]) -> None:
        self.exchange: PaperExchange
        self.begins_at: datetime = job.start
        self.resumed: bool = kept is not None
        self.points: Iterator[PricePoint] = points
        self.fed: int = 0
        self.to_enter: tuple[Position, ...] = job.positions
        self.still_open: tuple[Position, ...] = ()
        self.keeper: Keeper | None = None
        self.latency_counts: bool = False

    def note_fed(self, fed: int) -> None:
        """So many prices have been fed, those of the run before included."""
        if self.keeper is not None:
            self.keeper.note_fed(fed)


@asynccontextmanager
async def open_paper_run(
    job: Job, kept: KeptAccount | None, store: Store, clock: ReplayClock, *, keep_in: Path | None
) -> AsyncIterator[PaperRun]:
    """Open the account of a run, and let the clock stand at the data's time at which it goes on.

    Args:
        kept: of a run that was cut short; None: it begins anew.
        keep_in: where to write down what the exchange books; None: nowhere.

    Raises:
        UsageError: a price file can't be read on.
        StoreError: the store can't be read.
    """
    # Each run has an account of its own, so that what another one has left there is not taken for this one's.
    account = f"run-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}" if kept is None else kept.begun.account
    run = PaperRun(job, kept, merged_points(job.files, job.plan.trigger, job.start.timestamp()))
    resumption = None
    if kept is not None:
        resumption = await find_resumption(store, kept, "paper", job.positions)
        clock.jump_to(resumption.at)
        run.begins_at = datetime.fromtimestamp(trio.current_time(), UTC)
        run.to_enter, run.still_open = resumption.to_enter, resumption.still_open
    begun = Begun(account, datetime.now(UTC), job.command, job.positions, encode_plan(job.plan))
    fed_before = 0 if kept is None else kept.fed
    with open_keeper(keep_in, begun, kept, fed_before) as run.keeper:
        async with open_paper(
            latency=lambda *_: job.latency if run.latency_counts else 0.0,
            hedged=job.is_hedged,
            account=account,
            utc_start=run.begins_at,
            record=False if run.keeper is None else run.keeper.note,
        ) as run.exchange:
            if run.keeper is not None:
                run.keeper.exchange = run.exchange
            if resumption is not None:
                run.fed, run.points = resumption.restore(run.exchange, run.points)
            yield run
