"""What waiting for a turn costs, and how near a wave over loopback comes to what the rate limit leaves it."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import ccxt
import msgspec
import pytest
import trio
from figures import report
from inspection.ccxt_exchange import run_in_loop
from trio.testing import MockClock, wait_all_tasks_blocked
from wave_bound import LATENCY, LOST_EVERY, WAVE, bound, turn

import trailing
from trailing import Percent, Position, TrailPlan
from trailing.exchanges.ccxt import connecting
from trailing.exchanges.ccxt.limits import Limits, Window, limits_of
from trailing.exchanges.ccxt.venue import Slot, fill_in
from trailing.exchanges.ccxt.venue_limiter import open_limiter

sys.path.insert(0, str(Path(__file__).parent.parent / "venues"))
from real_exchange import Desk, open_desk
from venue_faults import Fault, every
from venue_market import instrument

ORDERS = 1_000
ROUNDS = 3
BARE_PARAMS: Mapping[str, Mapping[str, Any]] = {
    "binanceusdm": {"workingType": "CONTRACT_PRICE"},
    "okx": {"slTriggerPxType": "last", "marginMode": "cross"},
}


def fewer(venue: str, name: str, window: Window) -> Limits:
    """The limits of a venue with another window."""
    limits = limits_of(venue)
    return msgspec.structs.replace(limits, windows={**limits.windows, name: window})


VENUES = ("binanceusdm", "bybit", "okx")

# Accounts that may place fewer orders, because Binance's and OKX's own limits let fifty pass at once.
FEWER = {
    "binanceusdm": fewer("binanceusdm", "orders in 10 s", Window(100, 10, burst=20)),
    "okx": fewer("okx", "order-algo", Window(16, 2, burst=8)),
}


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


@asynccontextmanager
async def open_positions(venue: str) -> AsyncIterator[tuple[Desk, list[Position]]]:
    """Open an account with a wave's positions."""
    coins = tuple(instrument(f"C{number:02}", "0.1", "0.001", "5") for number in range(WAVE))
    async with open_desk(venue, instruments=coins) as desk:
        for coin in coins:
            await desk.enter(symbol=coin.symbol)
        yield (
            desk,
            [Position(coin.symbol, "long", Decimal("0.8"), Decimal(1000), datetime.now(UTC)) for coin in coins],
        )


def lose_replies(desk: Desk) -> None:
    desk.server.faults.latency = LATENCY
    desk.server.faults.add(Fault(on="place_stop", when=every(LOST_EVERY), drop="after"))


async def a_wave(venue: str) -> float:
    """Seconds that a wave takes, with every tenth reply lost. The venue must refuse no request."""
    plan = TrailPlan(initial_stop=Percent("2"), trigger="last")
    async with open_positions(venue) as (desk, positions):
        async with (
            trailing.open_store("memory:") as store,
            trailing.open_manager(desk.exchange, store, plan) as manager,
        ):
            await trio.sleep(5.0)
            lose_replies(desk)
            waved = await manager.protect_wave(positions, deadline=40.0)
            assert len(waved.protected) == WAVE
            assert {stop.client_order_id for stop in manager.stops().values()} == desk.stops_there()
            assert len(desk.server.seen("place_stop")) == WAVE
        assert {seen.status for seen in desk.server.requests if seen.status is not None} == {200}
    return waved.elapsed


async def bare_calls(venue: str) -> float:
    """Seconds that the same placements and look-ups take as bare calls of ccxt's, all at once and without a rate limit."""
    async with open_positions(venue) as (desk, positions):
        client, row = desk.exchange.session.client, desk.exchange.venue

        async def protect(number: int, symbol: str) -> None:
            contracts = str(Decimal("0.8") / Decimal(str(client.market(symbol)["contractSize"])))
            own_id = f"bare{number}"
            params = {"stopLossPrice": "980", "reduceOnly": True, "clientOrderId": own_id, **BARE_PARAMS[venue]}
            if venue == "okx":
                params["algoClOrdId"] = own_id
            try:
                await client.create_order(symbol, "market", "sell", contracts, None, params)
            except ccxt.NetworkError:
                assert row.lists.find is not None
                look_up = fill_in(row.lists.find, {Slot.CLIENT_ORDER_ID: own_id})
                assert (await client.fetch_order(None, symbol, look_up))["id"]

        await trio.sleep(5.0)
        lose_replies(desk)
        started = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for number, position in enumerate(positions):
                nursery.start_soon(run_in_loop, desk.exchange, protect(number, position.symbol))
        seconds = time.perf_counter() - started
        assert len(desk.stops_there()) == WAVE
    return seconds


def test_what_a_turn_costs() -> None:
    with report(f"{ORDERS:,} turns in the limiter of a real exchange") as figures:
        for venue in ("binanceusdm", "bybit", "okx"):
            alone, queued, looked = trio.run(a_thousand_turns, venue, clock=MockClock(autojump_threshold=0))
            figures.add(f"{venue}: a turn while nobody waits", f"{alone * 1e6:.0f} µs")
            figures.add(f"{venue}: a turn in a queue", f"{queued * 1e6:.0f} µs")
            figures.add(f"{venue}: asking for the next turn behind a thousand", f"{looked * 1e6:.0f} µs")


def test_how_near_a_wave_comes_to_what_the_limit_leaves_it(monkeypatch: pytest.MonkeyPatch) -> None:
    title = f"a wave of {WAVE} over loopback, {LATENCY * 1e3:.0f} ms latency, every tenth reply lost: best of {ROUNDS}"
    with report(title) as figures:
        for venue in VENUES:
            limits = limits_of(venue)
            if turn(limits, "place_stop", WAVE):
                elapsed = trio.run(a_wave, venue)
            else:
                pairs = [(trio.run(bare_calls, venue), trio.run(a_wave, venue)) for _ in range(ROUNDS)]
                bare, elapsed = min(pair[0] for pair in pairs), min(pair[1] for pair in pairs)
                figures.add(f"{venue}: the same requests as bare calls of ccxt's", f"{bare:.2f} s")
                figures.add("… all protected, beside those", f"{elapsed / bare:.2f} x", "at most 1.3 x")
            figures.add(f"{venue}: all protected after", f"{elapsed:.2f} s")
            figures.add(
                f"… beside the bound of {bound(limits):.2f} s", f"{elapsed / bound(limits):.2f} x", "at most 1.3 x"
            )
        for venue, limits in FEWER.items():
            monkeypatch.setattr(connecting, "limits_of", FEWER.__getitem__)
            elapsed = trio.run(a_wave, venue)
            figures.add(f"{venue}, fewer orders: all protected after", f"{elapsed:.2f} s")
            figures.add(
                f"… beside the bound of {bound(limits):.2f} s", f"{elapsed / bound(limits):.2f} x", "at most 1.3 x"
            )
            least = turn(limits, "place_stop", WAVE)
            figures.add(f"… beside the {least:.2f} s of its turns", f"{elapsed / least:.2f} x", "at most 1.3 x")
