"""Failing symbols delay no other symbol on the local Binance server, with real sockets and the real ccxt client.

It is the short form of `tests/protection/test_nothing_starves.py`: all three failures at once, for some rounds of prices instead
of two minutes. It runs on the wall clock, so a run is compared with its own rounds before the failures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
import structlog
import trio
from real_exchange import Desk, open_desk
from venue_faults import Fault, Request, json_reply
from venue_market import instrument
from venue_server import VenueServer

from trailing import Callback, Percent, Position, Protected, TrailPlan, open_manager, open_store

D = Decimal

COINS = tuple(instrument(f"C{number:02}", "0.1", "0.001", "5") for number in range(52))
SICK: Mapping[str, Mapping[str, Any]] = {
    COINS[0].symbol: {
        "reply": json_reply({"code": -1008, "msg": "Request throttled by system-level protection."}, 503)
    },
    COINS[1].symbol: {"reply": json_reply({"code": -2011, "msg": "Unknown order sent."}, 400)},
    COINS[2].symbol: {"delay": 3600.0},
}
"""The result of each cancel of a symbol. None is executed, so lists and look-ups still show the stop."""

HEALTHY = [coin.symbol for coin in COINS if coin.symbol not in SICK]

PLAN = TrailPlan(initial_stop=Percent("2"), rules=(Callback(Percent("1")),), trigger="mark", call_seconds=3.0)
SECONDS_BETWEEN = 0.07
"""Seconds between the prices of two symbols: 14 stops a second are placed, and Binance takes 15."""


def make_sick(server: VenueServer) -> None:
    """Let all cancels of the failing symbols fail from now on."""

    def is_of(symbol: str, request: Request) -> bool:
        order = server.market.find(stop=True, number=int(request.params["algoId"]))
        return order is not None and order.wanted.symbol == symbol

    for symbol, what in SICK.items():
        server.faults.add(Fault(on="cancel_stop", about=partial(is_of, symbol), **what))


async def raise_prices(desk: Desk, price: Decimal) -> dict[tuple[str, Decimal], float]:
    """Raise the prices of all symbols, one after the other.

    Returns:
        When each symbol's price was raised, by symbol and expected stop price, on the running clock.
    """
    raised = {}
    for coin in COINS:
        raised[coin.symbol, price * D("0.99")] = trio.current_time()
        await desk.server.move_price(coin.symbol, price, "mark")
        await trio.sleep(SECONDS_BETWEEN)
    return raised


def placed(server: VenueServer) -> dict[tuple[str, Decimal], float]:
    """Return when each stop was placed, by symbol and price, on the running clock."""
    symbols = {coin.id: coin.symbol for coin in COINS}
    return {
        (symbols[seen.params["symbol"]], D(seen.params["triggerPrice"])): seen.at for seen in server.seen("place_stop")
    }


async def longest_delay(desk: Desk, prices: Sequence[Decimal]) -> float:
    """Return the longest time from a price to a healthy symbol's stop, in seconds."""
    raised: dict[tuple[str, Decimal], float] = {}
    for price in prices:
        raised |= await raise_prices(desk, price)
    await trio.sleep(1)
    at = placed(desk.server)
    wanted = {key: when for key, when in raised.items() if key[0] in HEALTHY}
    assert wanted.keys() <= at.keys(), "some stops did not move"
    return max(at[key] - when for key, when in wanted.items())


def requests_about(server: VenueServer, symbol: str, since: float) -> int:
    """Return how many requests about a symbol's orders the server got since a time."""
    [symbol_id] = [coin.id for coin in COINS if coin.symbol == symbol]
    own = {order.number: order.wanted for order in server.market.orders.values()}
    ids = {wanted.client_order_id for wanted in own.values() if wanted.symbol == symbol}
    return sum(
        seen.at >= since
        and (
            seen.params.get("symbol") == symbol_id
            or seen.client_order_id in ids
            or ("algoId" in seen.params and own[int(seen.params["algoId"])].symbol == symbol)
        )
        for seen in server.requests
    )


@pytest.mark.slow
async def test_symbols_whose_cancels_fail_delay_no_moves_of_others() -> None:
    wave = [Position(coin.symbol, "long", D("0.8"), D(1000), datetime.now(UTC)) for coin in COINS]
    with structlog.testing.capture_logs():
        async with (
            open_desk("binanceusdm", instruments=COINS) as desk,
            open_store("memory:") as store,
            open_manager(desk.exchange, store, PLAN) as manager,
        ):
            for position in wave:
                await desk.server.enter(position)
            report = await manager.protect_wave(wave, deadline=10)
            assert {type(outcome) for outcome in report.outcomes} == {Protected}
            await desk.until_subscribed(*(coin.symbol for coin in COINS))
            before = await longest_delay(desk, (D(1010),))
            make_sick(desk.server)
            since = trio.current_time()
            meanwhile = await longest_delay(desk, (D(1020), D(1030), D(1040), D(1050)))
            assert meanwhile <= before + 0.5
            assert all(manager.stops()[symbol, "long"].price == D("1039.5") for symbol in HEALTHY)
            for symbol in SICK:
                assert 1 <= requests_about(desk.server, symbol, since) <= 60
                assert 1 <= len(desk.server.market.live_stops(symbol)) <= 2
            desk.server.faults.clear()
