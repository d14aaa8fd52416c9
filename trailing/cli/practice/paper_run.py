"""The paper account of a new or resumed run, and the prices that are still to be fed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import trio

from trailing.cli.practice.price_files import merged_points
from trailing.cli.practice.replay_clock import ReplayClock
from trailing.cli.practice.replay_job import ReplayJob
from trailing.cli.practice.resumption import find_resumption
from trailing.cli.practice.saved_account import AccountWriter, Begun, SavedPaperAccount, open_account_writer
from trailing.core.model import Position
from trailing.core.plan import encode_plan
from trailing.exchanges.paper import PaperExchange, open_paper
from trailing.exchanges.prices import PricePoint
from trailing.stores.port import Store


class PaperRun:
    """The state that a replay starts from.

    Attributes:
        exchange: the paper exchange with the run's account.
        begins_at: the data's time at which the replay starts, aware UTC.
        resumed: whether the run was interrupted before.
        points: the prices to feed; `fed`: the number of prices that were fed before.
        to_enter: the positions to enter; `still_open`: the positions that were entered and are open.
        writer: saves the bookings of the exchange; None: nothing is saved.
        latency_counts: whether requests take the latency. Set it when the manager is open, because the data starts then.
    """

    def __init__(self, job: ReplayJob, saved: SavedPaperAccount | None, points: Iterator[PricePoint]) -> None:
        self.exchange: PaperExchange
        self.begins_at: datetime = job.start
        self.resumed: bool = saved is not None
        self.points: Iterator[PricePoint] = points
        self.fed: int = 0
        self.to_enter: tuple[Position, ...] = job.positions
        self.still_open: tuple[Position, ...] = ()
        self.writer: AccountWriter | None = None
        self.latency_counts: bool = False

    def note_fed(self, fed: int) -> None:
        """Save the number of prices fed, those before an interruption included."""
        if self.writer is not None:
            self.writer.note_fed(fed)


@asynccontextmanager
async def open_paper_run(
    job: ReplayJob, saved: SavedPaperAccount | None, store: Store, clock: ReplayClock, *, save_to: Path | None
) -> AsyncIterator[PaperRun]:
    """Open the account of a run, and set the clock to the data's time at which it starts.

    Args:
        saved: the account of an interrupted run; None: it is a new run.
        save_to: the file for the bookings of the exchange; None: they are not saved.

    Raises:
        UsageError: a price file can't be read any more.
        StoreError: the store can't be read.
        LeaseLost: another process is running this run.
    """
    # Each run has its own account, so that positions and stops of other runs are not mistaken for its own.
    suffix = f"-{job.order}" if job.order is not None and job.candles == "both" else ""
    account = f"run-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}{suffix}" if saved is None else saved.begun.account
    points = merged_points(job.files, job.plan.trigger, job.starts, high_first=job.high_first)
    run = PaperRun(job, saved, points)
    resumption = None
    if saved is not None:
        resumption = await find_resumption(store, saved, "paper", job.positions)
        clock.jump_to(resumption.at)
        run.begins_at = datetime.fromtimestamp(trio.current_time(), UTC)
        run.to_enter, run.still_open = resumption.to_enter, resumption.still_open
    begun = Begun(account, datetime.now(UTC), job.command, job.positions, encode_plan(job.plan))
    fed_before = 0 if saved is None else saved.fed
    with open_account_writer(save_to, begun, saved, fed_before) as run.writer:
        async with open_paper(
            latency=lambda *_: job.latency if run.latency_counts else 0.0,
            markets=[file.market for file in job.files if file.tick is not None],
            hedged=job.is_hedged,
            account=account,
            utc_start=run.begins_at,
            record=False if run.writer is None else run.writer.write_booking,
        ) as run.exchange:
            if run.writer is not None:
                run.writer.exchange = run.exchange
            if resumption is not None:
                run.fed, run.points = resumption.restore(run.exchange, run.points)
            yield run
