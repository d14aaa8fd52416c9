"""Failure mode 57 with the real ccxt client: the profit of a stop that filled while no process ran comes from the venue's trades."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from typing import Any

import pytest
import trio
from checked_venue import hurry
from real_exchange import BTC, ETH, VENUES, Desk, open_desk
from venue_faults import Fault, json_reply

from trailing import Callback, Manager, Percent, Position, Protected, TrailPlan, open_manager, open_store
from trailing.core.model import Side
from trailing.events import PositionClosed
from trailing.stores import MemoryStore

PLAN = TrailPlan(initial_stop=Percent(2), rules=(Callback(Percent(1), activation=Percent(1)),))

NAMES = {"binanceusdm": "BTCUSDT", "bybit": "BTCUSDT", "okx": "BTC-USDT-SWAP"}

pytestmark = pytest.mark.parametrize("venue", VENUES)


@pytest.fixture(autouse=True)
def _quick_evidence(venue: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the waits, and the minute in which a position counts as open that only the lists show as closed."""
    hurry(monkeypatch, venue)
    monkeypatch.setattr("venue_limits.Window.take", lambda *_: True)
    monkeypatch.setattr("trailing.core.evidence.UNANNOUNCED", 2.0)
    monkeypatch.setattr("trailing.core.evidence.RECHECK", 0.4)


async def protect(desk: Desk, manager: Manager, side: Side = "long") -> str:
    """Protect a position that was opened three weeks ago, and return the client order id of its stop."""
    await desk.enter(side)
    opened_at = datetime.now(UTC) - timedelta(days=21)
    outcome = await manager.protect(Position(BTC, side, D("0.8"), D(1000), opened_at), deadline=10)
    assert isinstance(outcome, Protected)
    return outcome.stop.client_order_id


async def ending(desk: Desk, store: MemoryStore) -> PositionClosed:
    """Open a manager until the position has ended, and return how it ended."""
    async with open_manager(desk.exchange, store, PLAN) as manager:
        with trio.fail_after(60):
            await manager.wait_closed()
        await trio.sleep(0.1)
    events = [record.event async for record in store.events()]
    (closed,) = [event for event in events if isinstance(event, PositionClosed)]
    return closed


@pytest.mark.parametrize(
    ("side", "settings"), [("long", {}), ("short", {}), ("long", {"parts": 3}), ("long", {"hedged": True})]
)
async def test_fm57_the_profit_of_a_stop_that_filled_while_no_process_ran_is_read_from_the_trades(
    venue: str, side: Side, settings: dict[str, Any]
) -> None:
    async with open_desk(venue, **settings) as desk, open_store("memory:") as store:
        assert isinstance(store, MemoryStore)
        async with open_manager(desk.exchange, store, PLAN) as manager:
            await protect(desk, manager, side)
        await desk.server.enter(Position(ETH, side, D(1), D(100), datetime.now(UTC)))  # the list is not empty
        for source in ("mark", "last"):
            await desk.server.move_price(BTC, D(975) if side == "long" else D(1025), source)
        assert desk.server.market.live_stops() == ()
        closed = await ending(desk, store)
        assert (closed.quantity, closed.profit, closed.reason) == (D("0.8"), D("-20"), "the stop was filled")
        asked = [seen.params for seen in desk.server.seen("order_fills")]
        assert len(asked) == (1 if venue == "okx" else 4)  # windows of 90 days, and of seven
        assert {seen.get("symbol") or seen.get("instId") for seen in asked} == {NAMES[venue]}


async def test_fm57_trades_that_can_not_be_read_leave_the_profit_unknown(venue: str) -> None:
    async with open_desk(venue) as desk, open_store("memory:") as store:
        assert isinstance(store, MemoryStore)
        async with open_manager(desk.exchange, store, PLAN) as manager:
            await protect(desk, manager)
        await desk.server.move_price(BTC, D(975), "last")
        desk.server.faults.add(Fault(on="order_fills", reply=json_reply({"something": "else"}, 503)))
        closed = await ending(desk, store)
        assert (closed.quantity, closed.profit) == (D(0), None)


async def test_the_executions_of_a_close_are_found_by_its_id_too(venue: str) -> None:
    async with open_desk(venue) as desk:
        await desk.enter()
        fill = await desk.exchange.close_position(BTC, "long", D("0.3"), "tr0123456789abcdef0123")
        since = datetime.now(UTC) - timedelta(minutes=1)
        stated = await desk.exchange.order_fills(BTC, "tr0123456789abcdef0123", since)
        assert [(one.quantity, one.price, one.order_id) for one in stated] == [(D("0.3"), fill.price, fill.order_id)]
        assert await desk.exchange.order_fills(BTC, "tr0123456789abcdef0124", since) == []
