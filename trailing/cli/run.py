"""`trailing run`: a wave on the paper exchange with prices from files, up to its report."""

from __future__ import annotations

import sys
from datetime import datetime
from functools import partial
from typing import Any

import msgspec

from trailing.cli.jobs import Job
from trailing.cli.kept_account import KeptAccount, kept_beside, read_kept
from trailing.cli.paper_run import PaperRun, open_paper_run
from trailing.cli.plans import describe_plan
from trailing.cli.replay import Replay
from trailing.cli.replay_clock import ReplayClock, open_holding_store
from trailing.cli.reports import Report, build_report, to_json
from trailing.cli.signals import Interruption, run_until_signal
from trailing.cli.stories import Stories
from trailing.cli.tables import print_report, write_time
from trailing.cli.watching import watch
from trailing.core.model import Tick
from trailing.core.plan import encode_plan
from trailing.logs import Level, hide_credentials
from trailing.protection.manager import Manager, open_manager
from trailing.stores.port import Loaded, Store


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """How a replay ended.

    Args:
        resumed_at: where it went on with a run that had been cut short, in the data's time; None: it was begun anew.
        stops, unprotected: open positions with, and without, a live stop.
        unsettled: orders in the store whose outcome is not known.
        ticks: prices fed, before it was cut short too.
        dropped: events that the store did not take.
    """

    ended: str
    resumed_at: datetime | None
    report: Report
    stops: int
    unprotected: int
    unsettled: int
    ticks: int
    dropped: int


def run_job(job: Job, *, json: bool, log_level: Level, new: bool) -> int:
    """Replay and print the report.

    Args:
        new: begin anew, although a run was cut short that the store knows of.

    Returns:
        The exit code.

    Raises:
        UsageError: the run that was cut short was begun with other files.
    """
    kept = None if new else read_kept(kept_beside(job.store_url))
    if kept is not None and kept.ended:
        kept = None
    if kept is not None:
        job.check_resumes(kept)
    clock = ReplayClock(job.start.timestamp(), job.speed)
    work = partial(_replay, job, kept, clock, log_level)
    result, interruption = run_until_signal(work, tell=_tell, log_level=log_level, clock=clock.clock)
    if result is None:
        return interruption.exit_code  # what there is to say was printed
    if json:
        document: dict[str, Any] = {"plan": encode_plan(job.plan), "candles": job.assumed_candles}
        print(to_json(document | msgspec.structs.asdict(result)))
    else:
        print_report(result.report, notes=_notes(job, result))
    if interruption.by is not None:
        _tell(_farewell(job, result, interruption))
    if result.dropped:
        _tell(f"{result.dropped} events did not get into the store: the report may be incomplete")
    return interruption.exit_code


async def _replay(
    job: Job, kept: KeptAccount | None, clock: ReplayClock, log_level: Level, interruption: Interruption
) -> Result:
    stories, prices = Stories(job.positions), dict[str, Tick]()
    run: PaperRun | None = None
    manager: Manager | None = None
    replay: Replay | None = None
    async with open_holding_store(job.store_url, clock) as store:
        with interruption.cancels():  # this block alone, because the report is read after it
            async with (
                watch(stories, prices, log_level) as tell,  # first, as it says where the log goes
                open_paper_run(job, kept, store, clock, keep_in=kept_beside(job.store_url)) as run,
                open_manager(run.exchange, store, job.plan, utc_start=run.begins_at) as manager,
            ):
                replay = Replay(
                    run.to_enter,
                    run.points,
                    clock,
                    deadline=job.deadline,
                    settle_seconds=1.0 + 10 * job.latency,
                    prices=prices,
                    tell=tell,
                    entered=run.still_open,
                    fed=run.fed,
                    on_fed=run.note_fed,
                )
                run.latency_counts = True
                await replay.run(run.exchange, manager)
                if run.keeper is not None:
                    run.keeper.end()
        account = "" if run is None else run.exchange.account
        loaded = await store.load("paper", account)
        report = await _read_report(store, account, job, loaded)
    ended = replay.ended if replay is not None else "it was not begun"
    if interruption.by is not None:
        ended = f"cancelled by {interruption.by.name}"
    return Result(
        ended=ended,
        resumed_at=run.begins_at if run is not None and run.resumed else None,
        report=report,
        stops=0 if manager is None else len(manager.stops()),
        unprotected=0 if manager is None else len(manager.unprotected()),
        unsettled=len(loaded.intents),
        ticks=0 if replay is None else replay.fed,
        dropped=0 if manager is None else manager.statistics().dropped,
    )


async def _read_report(store: Store, account: str, job: Job, loaded: Loaded) -> Report:
    stories = Stories(job.positions)
    async for record in store.events():
        if record.account == account:
            stories.take(record.event)
    stories.know(loaded.stops)
    return build_report(stories)


def _notes(job: Job, result: Result) -> list[str]:
    notes = [
        f"{result.ended}, after {result.ticks} prices; profit is before fees and slippage",
        f"plan{'' if job.own_plan else ' (the default)'}: {describe_plan(job.plan)}",
    ]
    if result.resumed_at is not None:
        notes.insert(0, f"this run had been cut short, and went on at {write_time(result.resumed_at)} UTC")
    if job.assumed_candles is None:
        notes.append("a stop is filled by the first trade at or beyond its price, at the price of that trade")
    else:
        notes += [
            "inside a candle the price passes through every price, and a stop is filled at its own; to an open it jumps",
            f"a candle does not tell which came first, its high or its low: {job.assumed_candles} is assumed, no bound",
        ]
    return notes


def _farewell(job: Job, result: Result, interruption: Interruption) -> str:
    assert interruption.by is not None
    parts = [f"cancelled by {interruption.by.name}; stops left standing: {result.stops}"]
    if result.unprotected:
        parts.append(f"positions without a stop: {result.unprotected}")
    if result.unsettled:
        parts.append(f"orders of unknown outcome, on the books: {result.unsettled}")
    if job.store_url == "memory:":
        parts.append("the state was kept in memory only (there was no --store)")
    else:
        parts.append(f"state saved in {hide_credentials(None, '', {'url': job.store_url})['url']}")
    if kept_beside(job.store_url) is not None:
        parts.append("the same command goes on from here")
    return "; ".join(parts)


def _tell(message: str) -> None:
    print("trailing:", message, file=sys.stderr, flush=True)
