"""What a wave costs, in real time: beside the manager-wide lock that this project answers, and beside a bare nursery."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import trio
import trio.lowlevel
from figures import best_in_turn, report

import trailing
from trailing import Callback, Percent, Position, Protected, TrailPlan
from trailing.exchanges.paper import PaperExchange
from trailing.exchanges.port import StopRequest

PLAN = TrailPlan(initial_stop=Percent(2), rules=(Callback(Percent(1), activation=Percent(1)),))


def some_positions(count: int) -> tuple[Position, ...]:
    now = datetime.now(UTC)
    return tuple(
        Position(f"COIN{number}/USDT:USDT", "long", Decimal("1.5"), Decimal(100), now) for number in range(count)
    )


async def enter(exchange: PaperExchange, positions: Sequence[Position]) -> None:
    for position in positions:
        await exchange.enter(position)


async def timed_wave(count: int, latency: float, store_url: str) -> float:
    """Seconds that a wave takes; everything in it has to be protected."""
    positions = some_positions(count)
    async with (
        trailing.open_paper(latency=latency) as exchange,
        trailing.open_store(store_url) as store,
        trailing.open_manager(exchange, store, PLAN) as manager,
    ):
        await enter(exchange, positions)
        await trio.sleep(0.1)
        started = time.perf_counter()
        wave = await manager.protect_wave(positions, deadline=60.0)
        seconds = time.perf_counter() - started
        assert all(isinstance(outcome, Protected) for outcome in wave.outcomes)
        assert len(await exchange.open_stops()) == count
        loaded = await store.load("paper", "default")
        assert (len(loaded.stops), len(loaded.intents)) == (count, 0)
        return seconds


async def timed_lock(count: int, latency: float) -> float:
    """Seconds that the same takes where a lock is held while an order is placed."""
    lock = trio.Lock()
    positions = some_positions(count)
    async with trailing.open_paper(latency=latency) as exchange:
        await enter(exchange, positions)

        async def place(position: Position) -> None:
            async with lock:
                await exchange.place_stop(
                    StopRequest(position.symbol, "long", position.quantity, Decimal(98), f"under-{position.symbol[:6]}")
                )

        started = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for position in positions:
                nursery.start_soon(place, position)
        return time.perf_counter() - started


class Committer:
    """What a position waits for twice: a task that lets all go on together who have handed something in."""

    def __init__(self) -> None:
        self._waiting: list[trio.Event] = []
        self._work = trio.Event()

    async def wait(self) -> None:
        written = trio.Event()
        self._waiting.append(written)
        self._work.set()
        await written.wait()

    async def run(self) -> None:
        while True:
            await self._work.wait()
            self._work, batch, self._waiting = trio.Event(), self._waiting, []
            for written in batch:
                written.set()


async def timed_bare(count: int) -> float:
    """Seconds for a nursery with as many tasks and deadlines, each of which sleeps as often and does nothing else.

    A position sleeps three times: until its intent is written, until the exchange has its stop, until that is written.
    """
    committer = Committer()

    async def one() -> None:
        with trio.move_on_after(10.0) as scope:
            await committer.wait()
            await trio.lowlevel.checkpoint()
            await committer.wait()
        assert not scope.cancelled_caught

    async with trio.open_nursery() as services:
        services.start_soon(committer.run)
        started = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for _ in range(count):
                nursery.start_soon(one)
        seconds = time.perf_counter() - started
        services.cancel_scope.cancel()
    return seconds


def test_waves_in_real_time(tmp_path: Path) -> None:
    with report("waves: every stop takes 2.0 s to place") as figures:
        lock = trio.run(timed_lock, 5, 2.0)
        figures.add("5 positions under a manager-wide lock", f"{lock:.3f} s", "at least 10 s")
        figures.add("5 positions, memory", f"{trio.run(timed_wave, 5, 2.0, 'memory:'):.3f} s", "at most 2.05 s")
        memory = trio.run(timed_wave, 1000, 2.0, "memory:")
        figures.add("1,000 positions, memory", f"{memory:.3f} s", "at most 2.4 s")
        sqlite = trio.run(timed_wave, 1000, 2.0, f"sqlite:///{tmp_path}/wave.db")
        figures.add("1,000 positions, SQLite, durable", f"{sqlite:.3f} s", "at most 2.8 s")
    assert lock > memory


def test_overhead_beside_a_bare_nursery() -> None:
    with report("overhead: 1,000 positions without latency, memory") as figures:
        bare, wave = best_in_turn(
            lambda: trio.run(timed_bare, 1000), lambda: trio.run(timed_wave, 1000, 0.0, "memory:")
        )
        figures.add("a bare nursery with the same sleeps", f"{bare * 1e3:.0f} µs each")
        figures.add("protect_wave", f"{wave * 1e3:.0f} µs each", "at most 300 µs")
        figures.add("… beside the bare nursery", f"{wave / bare:.1f} x", "at most 6 x")
    assert math.isfinite(wave)
