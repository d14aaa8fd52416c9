"""What a pass over an account costs that has orders and positions of somebody else, beside one of a single position."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
import trio
from figures import report
from inspection import Inspection

import trailing
from trailing import Position, Protected, TrailPlan

sys.path.insert(0, str(Path(__file__).parent.parent / "venues"))
from foreign_entries import ORDERS, add, numbered, orders, positions
from real_exchange import BTC, VENUES, NoRateLimit, open_desk
from venue_market import INSTRUMENTS, instrument

COUNTS = (0, 1000, 2000, 4000)
RUNS = 5
PLAN = TrailPlan(initial_stop=trailing.Percent(2), trigger="last", reconcile_every=3600.0)


async def pass_of(venue: str, count: int) -> tuple[float, float]:
    """Return the CPU seconds of a pass, the server's included, and the longest that other tasks waited; the best of each."""
    coins = tuple(instrument(name, "0.0001", "1", "5") for name in numbered(max(COUNTS)))
    async with open_desk(venue, instruments=(*INSTRUMENTS, *coins)) as desk:
        desk.exchange.session.rate_limiter = NoRateLimit()
        add(
            desk.server,
            venue,
            orders(venue, count, ORDERS[venue]),
            positions(venue, [each.base for each in coins[:count]]),
        )
        await desk.enter()
        await desk.server.move_price(BTC, Decimal(1000), "last")
        async with (
            trailing.open_store("memory:") as store,
            trailing.open_manager(desk.exchange, store, PLAN) as manager,
        ):
            mine = Position(BTC, "long", Decimal("0.8"), Decimal(1000), datetime.now(UTC))
            wave = await manager.protect_wave([mine], deadline=30)
            assert isinstance(wave.outcomes[0], Protected)
            reader = Inspection(manager).supervision.reader
            seconds: list[float] = []
            waits: list[float] = []
            for _ in range(RUNS):
                gaps: list[float] = []
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(watch, gaps)
                    started = time.thread_time()  # the pause between two passes does not count
                    await reader.read()
                    seconds.append(time.thread_time() - started)
                    nursery.cancel_scope.cancel()
                waits.append(max(gaps, default=0.0))
    return min(seconds), min(waits)


async def watch(gaps: list[float]) -> None:
    """Note the seconds between two turns of a task that always wants one."""
    last = time.perf_counter()
    while True:
        await trio.sleep(0.001)
        now = time.perf_counter()
        gaps.append(now - last)
        last = now


def ratios(costs: Sequence[float]) -> list[float]:
    """Return what each thousand costs more than the account without any, over the first thousand's."""
    first = costs[1] - costs[0]
    return [(cost - costs[0]) / first for cost in costs[1:]]


@pytest.mark.parametrize("venue", VENUES)
def test_a_pass_costs_in_proportion_to_what_is_on_the_account(venue: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("venue_limits.Window.take", lambda *_: True)
    title = (
        f"{venue}: one position of ours, foreign orders and positions, over loopback, server included: best of {RUNS}"
    )
    with report(title) as figures:
        found = [trio.run(pass_of, venue, count) for count in COUNTS]
        relative = ratios([seconds for seconds, _ in found])
        for count, (seconds, wait) in zip(COUNTS, found, strict=True):
            figures.add(f"{count:,} of each", f"{seconds * 1e3:.0f} ms", "")
            figures.add("  the longest that other tasks waited", f"{wait * 1e3:.0f} ms", "")
        for count, ratio in zip(COUNTS[2:], relative[1:], strict=True):
            aim = count / COUNTS[1]
            figures.add(f"{count:,} over {COUNTS[1]:,}", f"{ratio:.2f}", f"at most {1.25 * aim:.2f}")
