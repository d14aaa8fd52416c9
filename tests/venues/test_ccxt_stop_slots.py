"""Binance allows an account a number of conditional orders. At the limit, stops are moved one at a time, and none is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal as D

import msgspec
import pytest
import trio
from real_exchange import Desk, open_desk, stop_request
from venue_faults import Fault
from venue_market import Instrument, Trigger, Wanted, instrument

import trailing
from trailing import Callback, Percent, Position, Protected, Refused, TooManyStops, TrailPlan
from trailing.events import Alarm, Event
from trailing.exchanges.ccxt import venues
from trailing.exchanges.ccxt.venues import VENUES

MOST = 6
PLAN = TrailPlan(initial_stop=Percent(2), rules=(Callback(Percent(1), activation=Percent(1)),), trigger="last")
FULL = "the account has no slot for another stop"


def test_the_row_of_binance_has_its_limit() -> None:
    assert VENUES["binanceusdm"].stops.most_stops == 200


@asynccontextmanager
async def open_small(monkeypatch: pytest.MonkeyPatch, coins: tuple[Instrument, ...]) -> AsyncIterator[Desk]:
    """Open a desk on Binance with a limit of `MOST` conditional orders, and a position of each coin."""
    row = venues.VENUES["binanceusdm"]
    small = msgspec.structs.replace(
        row,
        stops=msgspec.structs.replace(row.stops, most_stops=MOST),
        delays=msgspec.structs.replace(row.delays, orders_read_lag=0.0, positions_read_lag=0.0),
    )
    monkeypatch.setattr("trailing.exchanges.ccxt.opening.VENUES", {**venues.VENUES, row.name: small})
    async with open_desk(row.name, instruments=coins, most_stops=MOST) as desk:
        for coin in coins:
            await desk.enter(symbol=coin.symbol)
            await desk.server.move_price(coin.symbol, D(1000), "last")
        yield desk


def coins(count: int) -> tuple[Instrument, ...]:
    return tuple(instrument(f"C{number}", "0.1", "0.001", "5") for number in range(count))


def position(coin: Instrument) -> Position:
    return Position(coin.symbol, "long", D("0.8"), D(1000), datetime.now(UTC))


async def until_stops_at(desk: Desk, price: str) -> None:
    """Wait until every stop on the server is at a price."""
    with trio.fail_after(20):
        while {order.wanted.trigger.price for order in desk.server.market.live_stops() if order.wanted.trigger} != {
            D(price)
        }:
            await trio.sleep(0.02)


async def until_protected(manager: trailing.Manager) -> None:
    """Wait until every position within the limit has a stop that the manager knows of."""
    with trio.fail_after(20):
        while manager.unprotected() or len(manager.stops()) < MOST:
            await trio.sleep(0.02)


async def test_the_limit_is_named_in_the_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    (coin,) = coins(1)
    async with open_small(monkeypatch, (coin,)) as desk:
        for number in range(MOST):
            trigger = Trigger(D(500), "last", rising=False)
            theirs = Wanted(
                symbol=coin.symbol, side="sell", quantity=D("0.1"), client_order_id=f"theirs{number}", trigger=trigger
            )
            desk.server.market.place(theirs)
        request = msgspec.structs.replace(stop_request(), symbol=coin.symbol)
        with pytest.raises(TooManyStops, match=f"-4045.*the account may have {MOST} conditional orders"):
            await desk.exchange.place_stop(request)


def full(events: list[Event]) -> list[str]:
    """Return the details of the alarms that the account is full."""
    return [event.detail for event in events if isinstance(event, Alarm) and event.what == FULL]


async def test_at_the_limit_every_stop_is_moved_and_only_positions_beyond_it_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    all_coins = coins(MOST + 2)
    within = all_coins[:MOST]
    async with (
        open_small(monkeypatch, all_coins) as desk,
        trailing.open_store("memory:") as store,
        trailing.open_manager(desk.exchange, store, PLAN) as manager,
    ):
        heard: list[Event] = []

        async def listen() -> None:
            async with manager.subscribe() as events:
                async for event in events:
                    heard.append(event)  # noqa: PERF401 - a comprehension shows nothing before it ends

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            report = await manager.protect_wave([position(coin) for coin in within], deadline=20)
            assert {type(outcome) for outcome in report.outcomes} == {Protected}
            await desk.until_subscribed(*(coin.symbol for coin in within))
            desk.server.faults.latency = 0.02
            for coin in within:
                await desk.server.move_price(coin.symbol, D(1100), "last")
            await until_stops_at(desk, "1089")
            for coin in within:
                await desk.server.move_price(coin.symbol, D(1200), "last")
            await until_stops_at(desk, "1188")
            await until_protected(manager)
            assert len(desk.server.market.live_stops()) == MOST
            assert len(full(heard)) == 1
            assert full(heard)[0].startswith(f"{MOST} stops are live")
            assert f"allows {MOST}" in full(heard)[0]
            beyond = [position(coin) for coin in all_coins[MOST:]]
            report = await manager.protect_wave(beyond, deadline=20)
            for outcome in report.outcomes:
                assert isinstance(outcome, Refused)
                assert f"may have {MOST} conditional orders" in str(outcome.error)
            assert len(manager.stops()) == MOST
            assert len(full(heard)) == 1
            nursery.cancel_scope.cancel()


async def test_a_cancel_whose_reply_is_lost_at_the_limit_costs_no_position_its_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    within = coins(MOST)
    async with (
        open_small(monkeypatch, within) as desk,
        trailing.open_store("memory:") as store,
        trailing.open_manager(desk.exchange, store, PLAN) as manager,
    ):
        await manager.protect_wave([position(coin) for coin in within], deadline=20)
        await desk.until_subscribed(*(coin.symbol for coin in within))
        desk.server.faults.add(Fault(on="cancel_stop", when=lambda count: count == 2, drop="after"))
        for coin in within:
            await desk.server.move_price(coin.symbol, D(1100), "last")
        await until_stops_at(desk, "1089")
        await until_protected(manager)
