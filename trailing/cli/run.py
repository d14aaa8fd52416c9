"""`trailing run`: a wave on the paper exchange with prices from files, up to its report."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import trio

from trailing.cli.plans import describe_plan, read_plan
from trailing.cli.price_files import CandleOrder, PriceFile, check_prices, find_price_files, longest_bar, merged_ticks
from trailing.cli.replay import Replay
from trailing.cli.replay_clock import ReplayClock, open_holding_store
from trailing.cli.reports import Report, build_report, to_json
from trailing.cli.signals import Interruption, catch_signals
from trailing.cli.spans import parse_speed
from trailing.cli.stories import Stories
from trailing.cli.tables import print_report
from trailing.cli.watching import watch
from trailing.cli.waves import read_wave
from trailing.core.model import Position, Tick, check_seconds
from trailing.core.plan import TrailPlan, encode_plan
from trailing.exchanges.paper import open_paper
from trailing.logs import Level, hide_credentials
from trailing.protection.manager import Manager, open_manager
from trailing.stores.port import Loaded, Store


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What to replay, checked.

    Args:
        own_plan: whether the plan came from a file.
        deadline: seconds for a position to be protected.
        latency: seconds that the exchange takes for a request.
        speed: seconds of the data for one second; None: as fast as possible.
    """

    positions: tuple[Position, ...]
    plan: TrailPlan
    own_plan: bool
    files: tuple[PriceFile, ...]
    store_url: str
    candles: CandleOrder
    deadline: float
    latency: float
    speed: float | None

    @property
    def start(self) -> datetime:
        """When the first position was opened."""
        return min(position.opened_at for position in self.positions)

    @property
    def assumed_candles(self) -> CandleOrder | None:
        """The assumed order of a candle's high and low; None where no file holds candles."""
        return None if longest_bar(self.files) is None else self.candles


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """How a replay ended.

    Args:
        stops, unprotected: open positions with, and without, a live stop.
        unsettled: orders in the store whose outcome is not known.
        ticks: prices fed.
        dropped: events that the store did not take.
    """

    ended: str
    report: Report
    stops: int
    unprotected: int
    unsettled: int
    ticks: int
    dropped: int


def prepare(
    wave: Path,
    prices: list[str],
    plan: Path | None,
    *,
    store_url: str,
    speed: str,
    candles: CandleOrder,
    deadline: float,
    latency: float,
) -> Job:
    """Read and check every file, before anything is begun.

    Raises:
        UsageError: one line for what can't be right.
    """
    check_seconds("--deadline", deadline, zero=False)
    check_seconds("--latency", latency)
    rate = parse_speed(speed)
    positions = read_wave(wave)
    files = find_price_files(prices, positions, candles)
    checked = read_plan(plan, bar_seconds=longest_bar(files))
    check_prices(files, positions, checked.trigger)
    return Job(
        positions=positions,
        plan=checked,
        own_plan=plan is not None,
        files=files,
        store_url=store_url,
        candles=candles,
        deadline=deadline,
        latency=latency,
        speed=rate,
    )


def run_job(job: Job, *, json: bool, log_level: Level) -> int:
    """Replay and print the report.

    Returns:
        The exit code.
    """
    clock = ReplayClock(job.start.timestamp(), job.speed)
    result, interruption = trio.run(_replay, job, clock, log_level, clock=clock.clock)
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


async def _replay(job: Job, clock: ReplayClock, log_level: Level) -> tuple[Result, Interruption]:
    # Each run has an account of its own: its exchange ends with it, and so does everything that stands there.
    account = f"run-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
    stories, prices = Stories(job.positions), dict[str, Tick]()
    manager: Manager | None = None
    replay: Replay | None = None

    def takes(*_: object) -> float:
        return job.latency if replay is not None else 0.0  # the manager is ready when the data begins

    async with catch_signals(_tell) as interruption, open_holding_store(job.store_url, clock) as store:
        with interruption.scope:
            async with (
                watch(stories, prices, log_level) as tell,  # first, as it says where the log goes
                open_paper(latency=takes, hedged=_is_hedged(job), account=account, utc_start=job.start) as exchange,
                open_manager(exchange, store, job.plan, utc_start=job.start) as manager,
            ):
                replay = Replay(
                    job.positions,
                    merged_ticks(job.files, job.plan.trigger, job.start.timestamp()),
                    clock,
                    deadline=job.deadline,
                    settle_seconds=1.0 + 10 * job.latency,
                    prices=prices,
                    tell=tell,
                )
                await replay.run(exchange, manager)
        loaded = await store.load("paper", account)
        report = await _read_report(store, account, job, loaded)
    ended = replay.ended if replay is not None else "it was not begun"
    if interruption.by is not None:
        ended = f"cancelled by {interruption.by.name}"
    result = Result(
        ended=ended,
        report=report,
        stops=0 if manager is None else len(manager.stops()),
        unprotected=0 if manager is None else len(manager.unprotected()),
        unsettled=len(loaded.intents),
        ticks=0 if replay is None else replay.fed,
        dropped=0 if manager is None else manager.statistics().dropped,
    )
    return result, interruption


async def _read_report(store: Store, account: str, job: Job, loaded: Loaded) -> Report:
    stories = Stories(job.positions)
    async for record in store.events():
        if record.account == account:
            stories.take(record.event)
    stories.know(loaded.stops)
    return build_report(stories)


def _is_hedged(job: Job) -> bool:
    """Whether the wave holds both sides of a symbol."""
    return len({position.symbol for position in job.positions}) < len(job.positions)


def _notes(job: Job, result: Result) -> list[str]:
    notes = [
        f"{result.ended}, after {result.ticks} prices; profit is before fees",
        f"plan{'' if job.own_plan else ' (the default)'}: {describe_plan(job.plan)}",
    ]
    if job.assumed_candles is not None:
        notes.append(f"a candle does not tell which came first, its high or its low: {job.assumed_candles} is assumed")
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
    return "; ".join(parts)


def _tell(message: str) -> None:
    print("trailing:", message, file=sys.stderr, flush=True)
