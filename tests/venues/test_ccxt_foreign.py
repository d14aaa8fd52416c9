"""A thousand orders and positions of somebody else on the account: the manager protects its own, and touches none of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal as D
from typing import Any

import pytest
import trio
from foreign_entries import ORDERS, UNKNOWN, Entry, add, numbered, orders, positions
from real_exchange import BTC, VENUES, Desk, NoRateLimit, open_desk
from venue_market import INSTRUMENTS, instrument

import trailing
from trailing import Callback, Manager, PartialList, Percent, Position, Protected, TrailPlan

pytestmark = pytest.mark.parametrize("venue", VENUES)


@pytest.fixture(autouse=True)
def _no_rate_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the venue accept any number of requests, because a thousand orders on Bybit have twenty pages."""
    monkeypatch.setattr("venue_limits.Window.take", lambda *_: True)


PLAN = TrailPlan(
    initial_stop=Percent(2), rules=(Callback(Percent(1), activation=Percent(1)),), trigger="last", reconcile_every=1.0
)
MINE = Position(BTC, "long", D("0.8"), D(1000), datetime(2026, 1, 1, tzinfo=UTC))
COUNT = 1000
ID = re.compile(r"(?<!inst)id$", re.IGNORECASE)
POSITION_FIELDS = {
    "binanceusdm": ("symbol", "positionAmt", "entryPrice"),
    "bybit": ("symbol", "size", "avgPrice"),
    "okx": ("instId", "pos", "avgPx"),
}
COINS = tuple(instrument(name, "0.0001", "1", "5") for name in numbered(COUNT))


def odd_positions(venue: str) -> list[Entry]:
    """Return positions that can't be read: of unknown symbols, and of impossible figures."""
    found = positions(venue, ["NEW", "ETH", "X0000", "X0001"])
    symbol, quantity, price = POSITION_FIELDS[venue]
    return [found[0], {**found[1], quantity: "1e400"}, {**found[2], price: "abc"}, {**found[3], symbol: 7}]


def touched(desk: Desk, theirs: Sequence[Entry]) -> set[str]:
    """Return the ids of foreign orders in requests that changed something. Assert that those are about our symbol only."""
    operations = {"place_stop", "amend_stop", "cancel_stop", "close_position", "cancel_all", "cancel_entry"}
    seen = [each for each in desk.server.requests if each.operation in operations]
    sent = [params for each in seen for params in each.params.get("batch", [each.params])]
    assert {str(params.get("instId") or params["symbol"]) for params in sent} == {
        desk.server.market.instruments[BTC].id
    }
    assert not desk.server.seen("cancel_all")
    foreign = {str(value) for each in theirs for name, value in each.items() if ID.search(name) and value}
    return {str(value) for params in sent for value in params.values()} & foreign


async def until(condition: Any) -> None:
    """Wait until a condition holds."""
    with trio.fail_after(30):
        while not condition():
            await trio.sleep(0.05)


def stop_price(manager: Manager) -> D | None:
    stop = manager.stops().get((BTC, "long"))
    return None if stop is None else stop.price


async def live(desk: Desk, manager: Manager) -> None:
    """Protect a position, and let its stop be moved."""
    await desk.enter()
    await desk.server.move_price(BTC, D(1000), "last")
    report = await manager.protect_wave([MINE], deadline=10)
    assert isinstance(report.outcomes[0], Protected)
    await desk.until_subscribed(BTC)
    await desk.server.move_price(BTC, D(1100), "last")
    await until(lambda: stop_price(manager) == D(1089))


async def test_a_thousand_foreign_orders_and_positions_mislead_no_manager(venue: str) -> None:
    async with open_desk(venue, instruments=(*INSTRUMENTS, *COINS)) as desk:
        desk.exchange.session.rate_limiter = NoRateLimit()
        theirs = orders(venue, COUNT, ORDERS[venue])
        add(desk.server, venue, theirs, positions(venue, [coin.base for coin in COINS]))
        stops = await desk.exchange.open_stops()
        assert not isinstance(stops, PartialList)
        reports = await desk.exchange.positions()
        assert not isinstance(reports, PartialList)
        assert len(reports) == COUNT
        async with (
            trailing.open_store("memory:") as store,
            trailing.open_manager(desk.exchange, store, PLAN) as manager,
        ):
            await live(desk, manager)
            own = {stop.client_order_id for stop in manager.stops().values()}
            lists = len(desk.server.seen("open_stops"))
            await until(lambda: len(desk.server.seen("open_stops")) > lists + 2)
            assert {stop.client_order_id for stop in manager.stops().values()} == own
            await desk.server.move_price(BTC, D(1080), "last")  # its stop is filled
            await until(lambda: not manager.stops() and not manager.unprotected())
        assert touched(desk, theirs) == set()


async def test_foreign_entries_that_can_not_be_read_leave_the_manager_alive_and_are_not_touched(venue: str) -> None:
    async with open_desk(venue, instruments=(*INSTRUMENTS, *COINS[:2])) as desk:
        desk.exchange.session.rate_limiter = NoRateLimit()
        theirs: Sequence[Entry] = [
            *orders(venue, 500, UNKNOWN[venue]),
            *orders(venue, 500, ORDERS[venue]),
        ]
        add(desk.server, venue, theirs, odd_positions(venue))
        assert isinstance(await desk.exchange.open_stops(), PartialList)
        assert isinstance(await desk.exchange.positions(), PartialList)
        async with (
            trailing.open_store("memory:") as store,
            trailing.open_manager(desk.exchange, store, PLAN) as manager,
        ):
            await live(desk, manager)
            lists = len(desk.server.seen("open_stops"))
            await until(lambda: len(desk.server.seen("open_stops")) > lists + 2)
            assert stop_price(manager) == D(1089)
            await desk.server.move_price(BTC, D(1080), "last")  # its stop is filled
            await until(lambda: not manager.stops() and not manager.unprotected())
        assert touched(desk, theirs) == set()
