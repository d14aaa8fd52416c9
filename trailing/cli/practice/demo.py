"""`trailing demo`: a wave under one lock, the same wave in parallel, and stops that trail the market."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec
import trio

from trailing.cli.json_output import print_json
from trailing.cli.messages import print_message
from trailing.cli.position_summaries import PositionSummaries
from trailing.cli.practice.demo_market import PLAN, TICKS_A_SECOND, demo_markets, open_positions, price_steps
from trailing.cli.practice.demo_screen import DemoScreen, write_svg
from trailing.cli.practice.demo_waves import DemoWave, MeasuredWave
from trailing.cli.reports import Report, build_report
from trailing.cli.signals import STOPS_STAY_LIVE, Interruption, run_until_signal
from trailing.core.model import Tick
from trailing.exchanges.paper import open_paper
from trailing.exchanges.paper.exchange import PaperExchange
from trailing.logs import Level
from trailing.protection.manager import Manager, open_manager
from trailing.stores import open_store
from trailing.stores.port import Store

PLACE_SECONDS = 2.0
DEADLINE = 10.0
_QUICK_SECONDS = 0.04
"""Seconds that each request takes, except for the placing of a wave's stops."""

_FILL_SECONDS = 2.0
"""Seconds that the last closes may take after the market has stopped."""


class DemoResult(msgspec.Struct, frozen=True, kw_only=True):
    """The measurements of the demo.

    Args:
        place_seconds: seconds that the exchange took to place a stop, in both waves.
        report: the second wave's positions, after their stops have trailed the market.
    """

    place_seconds: float
    waves: tuple[MeasuredWave, ...]
    report: Report


class Delay:
    """The latency of the paper exchange.

    Attributes:
        place_seconds: seconds that it takes to place a stop; it may be changed.
    """

    def __init__(self) -> None:
        self.place_seconds = PLACE_SECONDS

    def __call__(self, operation: str, _symbol: str | None) -> float:
        """Return the seconds that a request takes."""
        return self.place_seconds if operation == "place_stop" else _QUICK_SECONDS


def main(*, json: bool, log_level: Level, svg: str | None) -> int:
    """Run the demo and show it.

    Args:
        json: print the measurements as JSON; the screen goes to standard error.
        log_level: the lowest level that is logged.
        svg: a file to write the last screen to.

    Returns:
        The exit code.
    """
    screen = DemoScreen(to_stderr=json)
    with tempfile.TemporaryDirectory(prefix="trailing-demo-") as folder:
        work = partial(_run_on_screen, screen, f"sqlite:///{folder}", log_level)
        result, interruption = run_until_signal(work, announce=STOPS_STAY_LIVE, log_level=log_level)
    if result is None:
        return interruption.exit_code
    if json:
        print_json(result)
    elif not screen.is_live:
        screen.print_last()
    if svg is not None:
        write_svg(Path(svg), screen)
    return interruption.exit_code


async def _run_on_screen(screen: DemoScreen, folder: str, log_level: Level, _: Interruption) -> DemoResult:
    async with (
        screen.shown(log_level),
        open_store(f"{folder}/baseline.db") as baseline_store,
        open_store(f"{folder}/trailing.db") as store,
    ):
        return await run_acts(screen, baseline_store, store)


async def run_acts(screen: DemoScreen, baseline_store: Store, store: Store) -> DemoResult:
    """Run the locked wave, the parallel wave, and the market."""
    locked = DemoWave("one lock", open_positions(datetime.now(UTC)), DEADLINE, screen.lane_changed)
    screen.waves.append(locked)
    async with open_paper(latency=Delay(), markets=demo_markets(), account="baseline") as exchange:
        await locked.run_locked(exchange, baseline_store, PLAN)
    positions = open_positions(datetime.now(UTC))
    parallel = DemoWave("trailing", positions, DEADLINE, screen.lane_changed)
    screen.waves.append(parallel)
    delay = Delay()
    async with (
        open_paper(latency=delay, account="trailing") as exchange,
        open_manager(exchange, store, PLAN) as manager,
    ):
        screen.summaries = PositionSummaries(positions)
        async with _following_events(manager, parallel, screen.summaries):
            await parallel.run_trailing(exchange, manager)
            delay.place_seconds = _QUICK_SECONDS
            screen.market_moves = True
            await _move_market(exchange, screen)
            with trio.move_on_after(_FILL_SECONDS) as filling:
                await manager.wait_closed()
            if filling.cancelled_caught:
                print_message(f"demo: not every stop was filled within {_FILL_SECONDS:g} s after the market stopped")
    measured = tuple(wave.measured for wave in screen.waves if wave.measured is not None)
    return DemoResult(place_seconds=PLACE_SECONDS, waves=measured, report=build_report(screen.summaries))


async def _move_market(exchange: PaperExchange, screen: DemoScreen) -> None:
    start = trio.current_time()
    for step, prices in enumerate(price_steps()):
        await trio.sleep_until(start + step / TICKS_A_SECOND)
        for symbol, price in prices.items():
            tick = Tick(symbol, price, trio.current_time())
            screen.prices[symbol] = tick
            exchange.feed(tick)


@asynccontextmanager
async def _following_events(manager: Manager, wave: DemoWave, summaries: PositionSummaries) -> AsyncIterator[None]:
    async def follow(task_status: trio.TaskStatus[None]) -> None:
        async with manager.subscribe() as events:
            task_status.started()
            async for event in events:
                wave.add_event(event)
                summaries.add_event(event)

    async with trio.open_nursery() as nursery:
        await nursery.start(follow)
        yield
        nursery.cancel_scope.cancel()
