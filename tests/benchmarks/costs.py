"""What ticks, moves, waves and restarts cost, in CPU time: in this checkout beside another one, such as an earlier commit's.

Run as ``python tests/benchmarks/costs.py OTHER_CHECKOUT [ROUNDS]``. Each round measures both checkouts, one after the other,
each in a process of its own, so that both see the same machine. It uses only the public face, so that it runs on older
commits, too. Time is virtual and the store is memory: what is measured is the library's own work, without any waiting.
"""

# ruff: noqa: T201 - a script that prints its table

from __future__ import annotations

import json
import logging
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import structlog
import trio
import trio.testing

import trailing
from trailing import Callback, Pacing, Percent, Position, Protected, Tick, TrailPlan
from trailing.exchanges.paper import PaperExchange
from trailing.stores import MemoryStore

START = datetime(2026, 1, 1, tzinfo=UTC)
PLAN = TrailPlan(initial_stop=Percent(2), rules=(Callback(Percent(1), activation=Percent(1)),))
PACED = TrailPlan(initial_stop=Percent(2), rules=PLAN.rules, pacing=Pacing(min_interval=1e6))
WAVE = 1_000
KEPT = 5_000
WATCHED = 200
TICKS = 50


def some_positions(count: int) -> tuple[Position, ...]:
    """So many long positions at 100, each of a symbol of its own."""
    return tuple(
        Position(f"COIN{number}/USDT:USDT", "long", Decimal("1.5"), Decimal(100), START) for number in range(count)
    )


@asynccontextmanager
async def an_account(positions: Sequence[Position]) -> AsyncIterator[PaperExchange]:
    """A paper exchange without latency on which these positions are open."""
    async with trailing.open_paper(latency=0.0, utc_start=START) as exchange:
        for position in positions:
            await exchange.enter(position)
        await trio.sleep(1)
        yield exchange


async def wave(count: int) -> float:
    """Seconds of CPU for one position in a wave of so many."""
    positions = some_positions(count)
    async with an_account(positions) as exchange, trailing.open_manager(exchange, MemoryStore(), PLAN) as manager:
        started = time.process_time()
        report = await manager.protect_wave(positions, deadline=60.0)
        seconds = time.process_time() - started
        assert all(isinstance(outcome, Protected) for outcome in report.outcomes)
    return seconds / count


async def memory(count: int) -> float:
    """Bytes of the process for one of so many positions, beside those of the paper exchange."""
    positions = some_positions(count)
    async with an_account(positions) as exchange, trailing.open_manager(exchange, MemoryStore(), PLAN) as manager:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        await manager.protect_wave(positions, deadline=60.0)
        return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / count


async def ticks(prices: Sequence[Decimal], plan: TrailPlan, *, apart: float, moved: bool) -> float:
    """Seconds of CPU for one tick, from the bot's own channel, of each of these prices for each of the positions.

    Args:
        apart: seconds between two prices.
        moved: every price but the first moves every stop, as has to be seen; else none does.
    """
    positions = some_positions(WATCHED)
    send, receive = trio.open_memory_channel[Tick](WATCHED)
    async with (
        an_account(positions) as exchange,
        trailing.open_manager(exchange, MemoryStore(), plan, ticks=receive) as manager,
        send,
    ):
        await manager.protect_wave(positions, deadline=60.0)
        seconds, moves = 0.0, 0
        for number, price in enumerate(prices):
            for position in positions:
                exchange.feed(Tick(position.symbol, price, trio.current_time()))
            started = time.process_time()
            for position in positions:
                await send.send(Tick(position.symbol, price, trio.current_time()))
            await trio.sleep(apart)
            if number:
                seconds += time.process_time() - started
            else:
                moves = manager.statistics().moves
        assert manager.statistics().moves - moves == (len(prices) - 1) * WATCHED * moved
    return seconds / (len(prices) - 1) / WATCHED


async def recovery(count: int) -> float:
    """Seconds of CPU for one of so many positions that a restart resumes."""
    positions, store = some_positions(count), MemoryStore()
    async with an_account(positions) as exchange:
        async with trailing.open_manager(exchange, store, PLAN) as manager:
            await manager.protect_wave(positions, deadline=60.0)
        await trio.sleep(10)
        started = time.process_time()
        async with trailing.open_manager(exchange, store, PLAN) as manager:
            seconds = time.process_time() - started
            assert len(manager.stops()) == count
    return seconds / count


def measure() -> dict[str, float]:
    """Every figure of the package that is imported, in µs and in kB."""

    def run(measured: object, *arguments: object, **more: object) -> float:
        async def main() -> float:
            return await measured(*arguments, **more)  # type: ignore[operator,no-any-return]

        return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))

    quiet = [Decimal(100) + Decimal(number % 2) / 100 for number in range(10 * TICKS)]
    rising = [Decimal(102) + Decimal(number) / 2 for number in range(TICKS)]
    return {
        f"memory of one of {KEPT:,} positions, kB": run(memory, KEPT) / 1e3,
        f"a position in a wave of {WAVE:,}, µs": run(wave, WAVE) * 1e6,
        "a quiet tick, µs": run(ticks, quiet, PLAN, apart=0.001, moved=False) * 1e6,
        "a tick that raises the best price, µs": run(ticks, rising, PACED, apart=0.001, moved=False) * 1e6,
        "a move, µs": run(ticks, rising, PLAN, apart=1.0, moved=True) * 1e6,
        f"one of {WAVE:,} recovered positions, µs": run(recovery, WAVE) * 1e6,
    }


def measured_in(checkout: Path) -> dict[str, float]:
    """The figures of a checkout, measured in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": ""}
    command = [sys.executable, __file__]
    run = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    where, figures = json.loads(run.stdout)
    assert Path(where).is_relative_to(checkout), f"{where} was measured instead of {checkout}"
    return dict(figures)


def main(other: Path, rounds: int) -> None:
    """Print the table: the medians of both checkouts, and of the ratios of each round."""
    here = Path(__file__).resolve().parents[2]
    taken = [(measured_in(other), measured_in(here)) for _ in range(rounds)]
    print(f"{'':44}{'before':>9}{'now':>9}{'ratio':>8}")
    for name in taken[0][0]:
        before, now = (statistics.median(pair[side][name] for pair in taken) for side in (0, 1))
        ratio = statistics.median(pair[1][name] / pair[0][name] for pair in taken)
        print(f"{name:44}{before:9.2f}{now:9.2f}{ratio:8.2f}")


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    if len(sys.argv) == 1:
        print(json.dumps([trailing.__file__, measure()]))
    else:
        main(Path(sys.argv[1]).resolve(), int(sys.argv[2]) if len(sys.argv) > 2 else 5)
