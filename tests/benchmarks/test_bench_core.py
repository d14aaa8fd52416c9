"""What a tick costs in the core, beside the least that any trailing stop on decimals costs."""

from __future__ import annotations

import time
import tracemalloc
from datetime import UTC, datetime
from decimal import Decimal

from figures import best, report

from trailing import Breakeven, Callback, Market, Percent, Position, StopOrder, Tick, TrailPlan
from trailing.core.evidence import Timing
from trailing.core.inputs import OpeningEnded, PriceSeen, StopFound
from trailing.core.next_request import NEVER, next_request
from trailing.core.position import PositionState
from trailing.core.ratchet import Ratchet

SYMBOL = "BTC/USDT:USDT"
PLAN = TrailPlan(
    initial_stop=Percent(2),
    rules=(
        Callback(Percent("0.5"), activation=Percent(1)),
        Breakeven(at=Percent("0.8"), offset=Percent("0.05")),
    ),
)
TICKS = 100_000


def a_state(number: int = 0) -> PositionState:
    """A protected position whose stop is live at 98."""
    position = Position(SYMBOL, "long", Decimal(1), Decimal(100), datetime(2026, 1, 1, tzinfo=UTC))
    state = PositionState(Ratchet(position, PLAN, Market(SYMBOL, price_tick=Decimal("0.01"))), Timing(), 0.0)
    state.step(StopFound(StopOrder(SYMBOL, "long", Decimal(1), Decimal(98), f"stop-{number}", f"{number}")), 0.0)
    state.step(OpeningEnded(), 0.0)
    return state


def timed_bare_ratchet(ticks: list[Tick]) -> float:
    best_price = Decimal(100)
    started = time.perf_counter()
    for tick in ticks:
        if tick.price > best_price:  # noqa: PLR1730 - a call of max() is no floor
            best_price = tick.price
    return (time.perf_counter() - started) / len(ticks)


def timed_quiet_ticks(ticks: list[Tick]) -> float:
    take = a_state().ratchet.take_if_quiet
    started = time.perf_counter()
    for tick in ticks:
        take(tick)
    return (time.perf_counter() - started) / len(ticks)


def timed_notable_ticks(ticks: list[Tick]) -> float:
    """A tick that is not quiet goes into the state, which is then asked for its next request."""
    state = a_state()
    started = time.perf_counter()
    for tick in ticks:
        state.step(PriceSeen(tick), tick.at)
        next_request(state, tick.at)
    return (time.perf_counter() - started) / len(ticks)


def test_a_tick_that_changes_nothing_beside_the_bare_ratchet() -> None:
    quiet = [Tick(SYMBOL, Decimal("99.5"), 1.0)] * TICKS
    rising = [Tick(SYMBOL, Decimal(102) + Decimal(number) / 100, float(number)) for number in range(TICKS // 10)]
    with report("core: one tick") as figures:
        bare = best(lambda: timed_bare_ratchet(quiet), 9)
        nothing = best(lambda: timed_quiet_ticks(quiet), 9)
        ratchet = best(lambda: timed_notable_ticks(rising), 9)
        figures.add("bare `if tick.price > best`, Decimal", f"{bare * 1e6:.3f} µs", "the floor")
        figures.add("a tick that changes nothing", f"{nothing * 1e6:.3f} µs")
        figures.add("… beside the floor", f"{nothing / bare:.1f} x", "at most 5 x")
        figures.add("a tick that ratchets, two rules", f"{ratchet * 1e6:.1f} µs", "at most 5 µs")
    assert a_state().ratchet.take_if_quiet(quiet[0])
    state = a_state()
    state.step(PriceSeen(rising[0]), 0.0)
    assert next_request(state, 0.0) != NEVER


def test_a_thousand_stops_take_a_hundred_thousand_ticks() -> None:
    takers = [a_state(number).ratchet.take_if_quiet for number in range(1000)]
    with report("core: 1,000 stops of one symbol") as figures:
        for tick in (Tick(SYMBOL, Decimal("99.5"), 0.0), Tick(SYMBOL, Decimal("99.6"), 0.0)):
            for take in takers:
                take(tick)
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        for number in range(1000):
            tick = Tick(SYMBOL, Decimal(99) + Decimal(number % 90) / 100, float(number))
            for take in takers:
                take(tick)
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        started = time.perf_counter()
        for number in range(TICKS):
            tick = Tick(SYMBOL, Decimal(99) + Decimal(number % 90) / 100, float(number))
            for take in takers:
                take(tick)
        seconds = time.perf_counter() - started
        figures.add("100,000 ticks into each", f"{seconds:.1f} s")
        figures.add("one tick into one stop", f"{seconds / TICKS / len(takers) * 1e6:.3f} µs")
        figures.add("memory that 1,000 ticks into each leave", f"{(after - before) / 1024:.0f} KiB", "flat")
    assert all(take(Tick(SYMBOL, Decimal(99), 0.0)) for take in takers)
