"""`trailing run`: replay a wave on the paper exchange with prices from files, and report the result."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from trailing.cli.messages import print_message
from trailing.cli.position_summaries import ENDED, PositionSummaries
from trailing.cli.practice.cost_options import costs_reader
from trailing.cli.practice.funding_warning import warn_of_unused_funding
from trailing.cli.practice.paper_run import PaperRun, open_paper_run
from trailing.cli.practice.progress import show_progress
from trailing.cli.practice.replay import Replay, manager_plan
from trailing.cli.practice.replay_clock import ReplayClock, open_holding_store
from trailing.cli.practice.replay_job import ReplayJob, prepare, without_password
from trailing.cli.practice.run_report import Result, print_results, print_results_json, subtract_costs
from trailing.cli.practice.saved_account import Ended, SavedPaperAccount, read_saved_account
from trailing.cli.reports import Report, build_report
from trailing.cli.signals import STOPS_STAY_LIVE, Interruption, run_until_signal
from trailing.core.model import Tick
from trailing.core.paths import CandleOrder
from trailing.errors import UsageError
from trailing.events import Event
from trailing.logs import Level
from trailing.protection.manager import Manager, open_manager
from trailing.stores.port import Loaded, Store


def main(
    *,
    wave: str,
    prices: list[str],
    paper: bool,
    plan: str | None,
    store: str,
    speed: str,
    candles: CandleOrder,
    tick: list[str] | None,
    slippage: str,
    fee: str,
    funding: list[str] | None,
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
        ticks=tick,
        read_costs=costs_reader(slippage, fee, funding),
    )
    warn_of_unused_funding(job.costs, {file.symbol: file.prices for file in job.files})
    jobs = job.in_each_order()
    saved = [None if new else read_saved_account(each.account_path) for each in jobs]
    results = list[Result]()
    interruption: Interruption | None = None
    for each, account in zip(jobs, _to_go_on_with(saved), strict=True):
        if account is not None:
            each.check_resumes(account)
        clock = ReplayClock(each.start.timestamp(), each.speed)
        if account is not None and account.end is not None:
            work = partial(_read_ended, each, account, account.end, clock)
        else:
            work = partial(_replay, each, account, clock, log_level)
        result, interruption = run_until_signal(work, announce=STOPS_STAY_LIVE, log_level=log_level, clock=clock.clock)
        if result is None:
            return interruption.exit_code  # the error was printed
        results.append(result)
        if interruption.by is not None:
            break
    assert interruption is not None
    show = print_results_json if json else print_results
    show(job, results, is_whole=interruption.by is None)
    if interruption.by is not None:
        print_message(_describe_interruption(jobs[len(results) - 1], results[-1], interruption))
    for result in results:
        if result.dropped:
            print_message(f"{result.dropped} events are missing from the store, so the report may be incomplete")
    return interruption.exit_code


def _to_go_on_with(saved: Sequence[SavedPaperAccount | None]) -> Sequence[SavedPaperAccount | None]:
    """Return the account of each replay that belongs to the interrupted run, the ended ones included; None: it begins anew.

    The replays of a run follow each other. So an account belongs to the same run as the one before it if it began later.
    """
    found = list[SavedPaperAccount | None]()
    for account in saved:
        before = found[-1] if found else None
        if account is None or (found and (before is None or not before.ended or account.begun.at < before.begun.at)):
            found.append(None)
        else:
            found.append(account)
    is_over = all(account is not None and account.ended for account in found)
    return [None] * len(found) if is_over else found


async def _read_ended(
    job: ReplayJob, saved: SavedPaperAccount, end: Ended, clock: ReplayClock, _: Interruption
) -> Result:
    """Return the result of a replay that ended before the run was interrupted."""
    account = saved.begun.account
    async with open_holding_store(job.store_url, clock, read_only=True) as store:
        loaded = await store.load("paper", account)
        report = await _read_report(store, account, job, loaded)
    rows = report.positions
    return Result(
        candles=job.assumed_candles,
        ended=end.how,
        resumed_at=None,
        report=report,
        stops=sum(row.state == "protected" for row in rows),
        unprotected=sum(row.state not in (*ENDED, "protected") for row in rows),
        unknown_outcomes=len(loaded.intents),
        ticks=end.ticks,
        dropped=end.dropped,
    )


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
                show_progress(
                    summaries, prices, log_level, title=job.title
                ) as on_event,  # first, because it redirects the log
                open_paper_run(job, saved, store, clock, save_to=job.account_path) as run,
                open_manager(run.exchange, store, manager_plan(job.plan), utc_start=run.begins_at) as manager,
            ):
                replay = Replay(
                    run.to_enter,
                    run.points,
                    clock,
                    plan=job.plan,
                    enters_at=lambda position: job.enters_at[position.symbol, position.side],
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
                    run.writer.end(Ended(replay.ended, replay.fed, manager.statistics().dropped))
        account = "" if run is None else run.exchange.account
        loaded = await store.load("paper", account)
        refusals = () if replay is None else replay.refusals
        report = await _read_report(store, account, job, loaded, refusals)
    ended = replay.ended if replay is not None else "it did not start"
    if interruption.by is not None:
        ended = f"cancelled by {interruption.by.name}"
    return Result(
        candles=job.assumed_candles,
        ended=ended,
        resumed_at=run.begins_at if run is not None and run.resumed else None,
        report=report,
        stops=0 if manager is None else len(manager.stops()),
        unprotected=0 if manager is None else len(manager.unprotected()),
        unknown_outcomes=len(loaded.intents),
        ticks=0 if replay is None else replay.fed,
        dropped=0 if manager is None else manager.statistics().dropped,
    )


async def _read_report(
    store: Store, account: str, job: ReplayJob, loaded: Loaded, refusals: Sequence[Event] = ()
) -> Report:
    """Return the report of an account. `refusals`: events that are not in the store."""
    summaries = PositionSummaries(job.positions)
    async for record in store.events():
        if record.account == account:
            summaries.add_event(record.event)
    for event in refusals:
        summaries.add_event(event)
    summaries.add_records(loaded.stops)
    return subtract_costs(build_report(summaries), job)


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
    if job.account_path is not None:
        parts.append("the same command resumes the run")
    return "; ".join(parts)
