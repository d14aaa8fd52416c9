"""`trailing run`: replay a wave on the paper exchange with prices from files, and report the result."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from trailing.cli.json_output import print_json
from trailing.cli.messages import print_message
from trailing.cli.position_summaries import PositionSummaries
from trailing.cli.practice.paper_run import PaperRun, open_paper_run
from trailing.cli.practice.plan_files import describe_plan
from trailing.cli.practice.price_files import CandleOrder
from trailing.cli.practice.progress import show_progress
from trailing.cli.practice.replay import Replay
from trailing.cli.practice.replay_clock import ReplayClock, open_holding_store
from trailing.cli.practice.replay_job import ReplayJob, prepare, without_password
from trailing.cli.practice.saved_account import SavedPaperAccount, read_saved_account, saved_account_path
from trailing.cli.reports import Report, build_report
from trailing.cli.signals import Interruption, run_until_signal
from trailing.cli.tables import print_report, write_time
from trailing.core.model import Tick
from trailing.core.plan import encode_plan
from trailing.errors import UsageError
from trailing.logs import Level
from trailing.price_files import describe_prices
from trailing.protection.manager import Manager, open_manager
from trailing.stores.port import Loaded, Store


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a replay.

    Args:
        resumed_at: where an interrupted run was resumed, in the data's time; None: it is a new run.
        stops, unprotected: the numbers of open positions with and without a live stop.
        unknown_outcomes: the number of orders in the store whose outcome is unknown.
        ticks: the number of prices fed, those before an interruption included.
        dropped: the number of events that the store did not take.
    """

    ended: str
    resumed_at: datetime | None
    report: Report
    stops: int
    unprotected: int
    unknown_outcomes: int
    ticks: int
    dropped: int


def main(
    *,
    wave: str,
    prices: list[str],
    paper: bool,
    plan: str | None,
    store: str,
    speed: str,
    candles: CandleOrder,
    deadline: float,
    new: bool,
    json: bool,
    log_level: Level,
    latency: float,
) -> int:
    """Replay a wave and print the report. The arguments are the options of `trailing run`.

    Returns:
        The exit code.

    Raises:
        UsageError: an option or a file can't be right, or the store holds an interrupted run with other files.
    """
    if not paper:
        raise UsageError("run: --paper is required, because run only supports the paper exchange")
    job = prepare(
        Path(wave),
        prices,
        None if plan is None else Path(plan),
        store_url=store,
        speed=speed,
        candles=candles,
        deadline=deadline,
        latency=latency,
    )
    saved = None if new else read_saved_account(saved_account_path(job.store_url))
    if saved is not None and saved.ended:
        saved = None
    if saved is not None:
        job.check_resumes(saved)
    clock = ReplayClock(job.start.timestamp(), job.speed)
    work = partial(_replay, job, saved, clock, log_level)
    result, interruption = run_until_signal(work, announce=True, log_level=log_level, clock=clock.clock)
    if result is None:
        return interruption.exit_code  # the error was printed
    if json:
        document: dict[str, Any] = {"plan": encode_plan(job.plan), "candles": job.assumed_candles}
        print_json(document | msgspec.structs.asdict(result))
    else:
        print_report(result.report, notes=_notes(job, result))
    if interruption.by is not None:
        print_message(_describe_interruption(job, result, interruption))
    if result.dropped:
        print_message(f"{result.dropped} events are missing from the store, so the report may be incomplete")
    return interruption.exit_code


async def _replay(
    job: ReplayJob, saved: SavedPaperAccount | None, clock: ReplayClock, log_level: Level, interruption: Interruption
) -> Result:
    summaries, prices = PositionSummaries(job.positions), dict[str, Tick]()
    run: PaperRun | None = None
    manager: Manager | None = None
    replay: Replay | None = None
    async with open_holding_store(job.store_url, clock) as store:
        with interruption.cancels():  # only this block, because the report is read after it
            async with (
                show_progress(summaries, prices, log_level) as on_event,  # first, because it redirects the log
                open_paper_run(job, saved, store, clock, save_to=saved_account_path(job.store_url)) as run,
                open_manager(run.exchange, store, job.plan, utc_start=run.begins_at) as manager,
            ):
                replay = Replay(
                    run.to_enter,
                    run.points,
                    clock,
                    deadline=job.deadline,
                    settle_seconds=1.0 + 10 * job.latency,
                    prices=prices,
                    on_event=on_event,
                    entered=run.still_open,
                    fed=run.fed,
                    on_fed=run.note_fed,
                )
                run.latency_counts = True
                await replay.run(run.exchange, manager)
                if run.writer is not None:
                    run.writer.end()
        account = "" if run is None else run.exchange.account
        loaded = await store.load("paper", account)
        report = await _read_report(store, account, job, loaded)
    ended = replay.ended if replay is not None else "it did not start"
    if interruption.by is not None:
        ended = f"cancelled by {interruption.by.name}"
    return Result(
        ended=ended,
        resumed_at=run.begins_at if run is not None and run.resumed else None,
        report=report,
        stops=0 if manager is None else len(manager.stops()),
        unprotected=0 if manager is None else len(manager.unprotected()),
        unknown_outcomes=len(loaded.intents),
        ticks=0 if replay is None else replay.fed,
        dropped=0 if manager is None else manager.statistics().dropped,
    )


async def _read_report(store: Store, account: str, job: ReplayJob, loaded: Loaded) -> Report:
    summaries = PositionSummaries(job.positions)
    async for record in store.events():
        if record.account == account:
            summaries.add_event(record.event)
    summaries.add_records(loaded.stops)
    return build_report(summaries)


def _notes(job: ReplayJob, result: Result) -> list[str]:
    notes = [
        f"{result.ended}, after {result.ticks} prices; profit is before fees and slippage",
        f"plan{'' if job.own_plan else ' (the default)'}: {describe_plan(job.plan)}",
    ]
    if result.resumed_at is not None:
        notes.insert(0, f"this run was interrupted before, and resumed at {write_time(result.resumed_at)} UTC")
    if job.assumed_candles is None:
        notes.append("a stop fills at the first trade at or beyond its price, at the price of that trade")
    else:
        notes += [
            "inside a candle the price passes every price, and a stop fills at its own price; to the next open it jumps",
            f"which extreme of a candle came first is unknown; assumed: {job.assumed_candles}, which is no bound",
        ]
    notes += [line for file in job.files for line in describe_prices(file.prices)]
    return notes


def _describe_interruption(job: ReplayJob, result: Result, interruption: Interruption) -> str:
    assert interruption.by is not None
    parts = [f"cancelled by {interruption.by.name}; live stops: {result.stops}"]
    if result.unprotected:
        parts.append(f"positions without a stop: {result.unprotected}")
    if result.unknown_outcomes:
        parts.append(f"orders of unknown outcome in the store: {result.unknown_outcomes}")
    if job.store_url == "memory:":
        parts.append("the state was in memory only, because there was no --store")
    else:
        parts.append(f"state saved in {without_password(job.store_url)}")
    if saved_account_path(job.store_url) is not None:
        parts.append("the same command resumes the run")
    return "; ".join(parts)
