"""`trailing demo`: a wave under one lock, the same wave as `trailing` runs it, and stops that trail the market."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec
import trio

from trailing.cli.demo_market import PLAN, TICKS_A_SECOND, demo_markets, open_positions, price_steps
from trailing.cli.demo_screen import DemoScreen, write_svg
from trailing.cli.demo_waves import DemoWave, MeasuredWave
from trailing.cli.reports import Report, build_report, to_json
from trailing.cli.signals import Interruption, run_until_signal
from trailing.cli.stories import Stories
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
"""What every request but the placing of a wave takes."""

_FILL_SECONDS = 2.0
"""How long the last closings may take once the market has stopped."""


class DemoResult(msgspec.Struct, frozen=True, kw_only=True):
    """What the demo measured.

    Args:
        place_seconds: what the exchange took to place a stop, in both waves.
        report: of the second wave's positions, once their stops had trailed the market.
    """

    place_seconds: float
    waves: tuple[MeasuredWave, ...]
    report: Report


class Delay:
    """The paper exchange's latency: long for placing, until it is told otherwise."""

    def __init__(self) -> None:
        self.place_seconds = PLACE_SECONDS

    def __call__(self, operation: str, _symbol: str | None) -> float:
        """Seconds for a request."""
        return self.place_seconds if operation == "place_stop" else _QUICK_SECONDS


def run_demo(*, json: bool, log_level: Level, svg: Path | None) -> int:
    """Run the demo on the screen.

    Returns:
        The exit code.
    """
    screen = DemoScreen(to_stderr=json)
    with tempfile.TemporaryDirectory(prefix="trailing-demo-") as folder:
        work = partial(_run_on_screen, screen, f"sqlite:///{folder}", log_level)
        result, interruption = run_until_signal(work, tell=_tell, log_level=log_level)
    if result is None:
        return interruption.exit_code
    if json:
        print(to_json(result))
    elif not screen.is_live:
        screen.print_last()
    if svg is not None:
        write_svg(svg, screen)
    return interruption.exit_code


async def _run_on_screen(screen: DemoScreen, folder: str, log_level: Level, _: Interruption) -> DemoResult:
    async with (
        screen.shown(log_level),
        open_store(f"{folder}/baseline.db") as baseline_store,
        open_store(f"{folder}/trailing.db") as store,
    ):
        return await run_acts(screen, baseline_store, store)


async def run_acts(screen: DemoScreen, baseline_store: Store, store: Store) -> DemoResult:
    """The locked wave, the wave of `trailing`, and the market."""
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
        screen.stories = Stories(positions)
        async with _listening(manager, parallel, screen.stories):
            await parallel.run_trailing(exchange, manager)
            delay.place_seconds = _QUICK_SECONDS
            screen.market_moves = True
            await _move_market(exchange, screen)
            with trio.move_on_after(_FILL_SECONDS) as filling:
                await manager.wait_closed()
            if filling.cancelled_caught:
                _tell("not every stop was filled")
    measured = tuple(wave.measured for wave in screen.waves if wave.measured is not None)
    return DemoResult(place_seconds=PLACE_SECONDS, waves=measured, report=build_report(screen.stories))


async def _move_market(exchange: PaperExchange, screen: DemoScreen) -> None:
    start = trio.current_time()
    for step, prices in enumerate(price_steps()):
        await trio.sleep_until(start + step / TICKS_A_SECOND)
        for symbol, price in prices.items():
            tick = Tick(symbol, price, trio.current_time())
            screen.prices[symbol] = tick
            exchange.feed(tick)


@asynccontextmanager
async def _listening(manager: Manager, wave: DemoWave, stories: Stories) -> AsyncIterator[None]:
    async def listen(task_status: trio.TaskStatus[None]) -> None:
        async with manager.subscribe() as events:
            task_status.started()
            async for event in events:
                wave.take(event)
                stories.take(event)

    async with trio.open_nursery() as nursery:
        await nursery.start(listen)
        yield
        nursery.cancel_scope.cancel()


def _tell(message: str) -> None:
    print("trailing:", message, file=sys.stderr, flush=True)
