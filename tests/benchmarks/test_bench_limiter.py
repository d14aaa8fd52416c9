"""What waiting for a turn costs, and how near a wave over loopback comes to what the rate limit leaves it."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
import trio
from figures import report
from trio.testing import MockClock, wait_all_tasks_blocked

import trailing
from trailing import Percent, Position, TrailPlan
from trailing.exchanges.ccxt import connecting
from trailing.exchanges.ccxt.limits import Limits, Window, limits_of
from trailing.exchanges.ccxt.venue_limiter import open_limiter

sys.path.insert(0, str(Path(__file__).parent.parent / "venues"))
from real_exchange import open_desk
from venue_faults import Fault, every
from venue_market import instrument

ORDERS = 1_000
WAVE = 50
LATENCY = 0.2


def fewer(venue: str, name: str, window: Window) -> Limits:
    """The limits of a venue with another window."""
    limits = limits_of(venue)
    return Limits(windows={**limits.windows, name: window}, costs=limits.costs, other=limits.other)


# Accounts that may place fewer orders. Binance's own limit lets fifty pass at once, and OKX's nearly.
LIMITS = {
    "binanceusdm": fewer("binanceusdm", "orders in 10 s", Window(100, 10, burst=20)),
    "bybit": limits_of("bybit"),
    "okx": fewer("okx", "order-algo", Window(16, 2, burst=8)),
}


def bound(limits: Limits, orders: int) -> float:
    """Seconds until the last of some orders may be sent, all asked for at once."""
    waits = [0.0]
    for name, tokens in limits.cost("place_stop").items():
        window = limits.windows[name]
        waits.append((orders * tokens - window.burst) / window.bucket.per_second)
    return max(waits)


async def a_thousand_turns(venue: str) -> tuple[float, float, float]:
    """Seconds of work for each turn while nobody waits, for each in a queue, and for a look at the end of that queue."""
    limits = limits_of(venue)
    alone = 0.0
    async with open_limiter(limits) as limiter:
        for _ in range(ORDERS):
            started = time.perf_counter()
            await limiter.acquire("place_stop")
            alone += time.perf_counter() - started
            await trio.sleep(10)
        started = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for _ in range(ORDERS):
                nursery.start_soon(limiter.acquire, "place_stop")
            await wait_all_tasks_blocked()
            looking = time.perf_counter()
            limiter.rate_limit_delay("place_stop")
            looked = time.perf_counter() - looking
        queued = time.perf_counter() - started
    return alone / ORDERS, queued / ORDERS, looked


async def a_wave(venue: str) -> float:
    """Seconds that a wave takes, with every tenth reply lost."""
    coins = tuple(instrument(f"C{number:02}", "0.1", "0.001", "5") for number in range(WAVE))
    plan = TrailPlan(initial_stop=Percent("2"), trigger="last")
    async with open_desk(venue, instruments=coins) as desk:
        for coin in coins:
            await desk.enter(symbol=coin.symbol)
        positions = [Position(coin.symbol, "long", Decimal("0.8"), Decimal(1000), datetime.now(UTC)) for coin in coins]
        async with (
            trailing.open_store("memory:") as store,
            trailing.open_manager(desk.exchange, store, plan) as manager,
        ):
            await trio.sleep(5.0)
            desk.server.faults.latency = LATENCY
            desk.server.faults.add(Fault(on="place_stop", when=every(10), drop="after"))
            waved = await manager.protect_wave(positions, deadline=40.0)
            assert len(waved.protected) == WAVE
            assert {stop.client_order_id for stop in manager.stops().values()} == desk.stops_there()
    return waved.elapsed


def test_what_a_turn_costs() -> None:
    with report(f"{ORDERS:,} turns in the limiter of a real exchange") as figures:
        for venue in ("binanceusdm", "bybit", "okx"):
            alone, queued, looked = trio.run(a_thousand_turns, venue, clock=MockClock(autojump_threshold=0))
            figures.add(f"{venue}: a turn while nobody waits", f"{alone * 1e6:.0f} µs")
            figures.add(f"{venue}: a turn in a queue", f"{queued * 1e6:.0f} µs")
            figures.add(f"{venue}: asking for the next turn behind a thousand", f"{looked * 1e6:.0f} µs")


def test_how_near_a_wave_comes_to_what_the_limit_leaves_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "limits_of", lambda venue: LIMITS[venue])
    title = f"a wave of {WAVE} over loopback, {LATENCY * 1e3:.0f} ms latency, every tenth reply lost"
    with report(title) as figures:
        for venue, limits in LIMITS.items():
            elapsed, least = trio.run(a_wave, venue), bound(limits, WAVE)
            figures.add(f"{venue}: all protected after", f"{elapsed:.2f} s")
            figures.add(f"… beside the {least:.2f} s of its orders", f"{elapsed / least:.2f} x", "at most 1.3 x")
