"""Entries that carry their stop, on the venues that attach one."""

from __future__ import annotations

from decimal import Decimal as D
from typing import Any

import msgspec
import pytest
import trio
from bybit_market import BybitMarket
from real_exchange import BTC, KEYS, Desk, stop_request
from test_ccxt_entries import OURS, entry, held, listening, priced_desk
from venue_faults import Fault, json_reply
from venue_market import Event, Trigger, VenueMarket

from trailing import OrderUpdate, StopOrder
from trailing.core.entry_orders import AttachedStop
from trailing.core.model import Side
from trailing.errors import EntryRejected, ExchangeUnreachable, NoSuchStop, OutcomeUnknown, UsageError
from trailing.exchanges.ccxt import open_ccxt
from trailing.exchanges.port import PartialList

OWN, BRIDGE = ("okx",), ("bybit",)
ATTACHING = (*BRIDGE, *OWN)
STOP = "tr00000000000000000002"


def stop_id(venue: str) -> str:
    """Return the client order id of the stop of an entry."""
    return STOP if venue in OWN else OURS


def with_stop(venue: str, limit: str | None = None, *, price: str = "970", side: Side = "long", **more: Any) -> Any:
    """Return an entry that carries a stop."""
    source = more.pop("source", "last")
    return entry(limit, side=side, stop=AttachedStop(D(price), stop_id(venue), source), **more)


class UnprotectedTime:
    """Measures, by the server's own book, how long a position is open and no stop is live."""

    def __init__(self, market: VenueMarket) -> None:
        self._market = market
        self.seconds: float = 0.0
        self._since: float | None = None
        market.listeners.append(self._note)

    def _note(self, _: Event) -> None:
        now = trio.current_time()
        if self._since is not None:
            self.seconds += now - self._since
        opened = any(holding.quantity for holding in self._market.holdings.values())
        self._since = now if opened and not self._market.live_stops() else None


async def expect_stop(desk: Desk, venue: str, quantity: str | None, price: str = "970", source: str = "last") -> None:
    """Check that list and look-up show exactly one stop, of a quantity; None: no stop."""
    listed = [*await desk.exchange.open_stops()]
    found = await desk.exchange.find_stop(BTC, stop_id(venue))
    if quantity is None:
        assert (listed, found) == ([], None)
        return
    assert listed == [found]
    assert found is not None
    shown = (found.quantity, found.price, found.client_order_id, found.source, found.triggered)
    assert shown == (D(quantity), D(price), stop_id(venue), source, False)


@pytest.mark.parametrize("hedged", [False, True])
@pytest.mark.parametrize(("side", "price"), [("long", "970"), ("short", "1030")])
@pytest.mark.parametrize("venue", ATTACHING)
async def test_a_market_entry_is_protected_from_its_first_fill_on(
    venue: str, side: Side, price: str, *, hedged: bool
) -> None:
    # OKX places the stop with the last of the fills.
    async with priced_desk(venue, hedged=hedged, parts=3 if venue in BRIDGE else 1) as desk:
        unprotected = UnprotectedTime(desk.server.market)
        await desk.exchange.place_entry(with_stop(venue, price=price, side=side, source="mark"))
        await expect_stop(desk, venue, "0.6", price, "mark")
        (live,) = await desk.exchange.open_stops()
        assert (live.side, held(desk)) == (side, D("0.6"))
        await trio.sleep(0.05)
        assert unprotected.seconds == 0


@pytest.mark.parametrize("venue", OWN)
async def test_the_stop_of_a_limit_entry_is_placed_when_the_entry_has_ended(venue: str) -> None:
    async with priced_desk(venue, entry_parts=3) as desk:
        await desk.exchange.place_entry(with_stop(venue, "990"))
        await expect_stop(desk, venue, None)
        await desk.server.move_price(BTC, D(985), "last")
        assert held(desk) == D("0.2")
        await expect_stop(desk, venue, None)  # the filled part has none while the rest works
        await desk.exchange.cancel_entry(BTC, OURS)
        await expect_stop(desk, venue, "0.2")


@pytest.mark.parametrize("venue", ATTACHING)
async def test_an_entry_of_which_nothing_is_filled_leaves_no_stop(venue: str) -> None:
    async with priced_desk(venue) as desk:
        await desk.exchange.place_entry(with_stop(venue, "990"))
        await desk.exchange.cancel_entry(BTC, OURS)
        await expect_stop(desk, venue, None)


@pytest.mark.parametrize("venue", ATTACHING)
async def test_a_thin_market_leaves_a_stop_of_the_part_that_was_filled(venue: str) -> None:
    async with priced_desk(venue, depth=D("0.25")) as desk:
        await desk.exchange.place_entry(with_stop(venue))
        await expect_stop(desk, venue, "0.25")


@pytest.mark.parametrize("venue", OWN)
async def test_a_stop_that_an_entry_carried_is_amended_and_cancelled_as_any_other(venue: str) -> None:
    async with priced_desk(venue) as desk:
        await desk.exchange.place_entry(with_stop(venue))
        (live,) = await desk.exchange.open_stops()
        moved = await desk.exchange.amend_stop(live, price=D(980), quantity=D("0.6"))
        await expect_stop(desk, venue, "0.6", "980")
        await desk.exchange.cancel_stop(moved)
        await expect_stop(desk, venue, None)
        with pytest.raises(NoSuchStop):
            await desk.exchange.cancel_stop(moved)


@pytest.mark.parametrize("venue", OWN)
async def test_a_stop_that_an_entry_carried_is_amended_and_cancelled_before_any_list_has_shown_it(venue: str) -> None:
    async with priced_desk(venue) as desk:
        await desk.exchange.place_entry(with_stop(venue))
        carried = StopOrder(BTC, "long", D("0.6"), D(970), STOP, "", "last")
        await desk.exchange.amend_stop(carried, price=D(980), quantity=D("0.6"))
        await expect_stop(desk, venue, "0.6", "980")
        await desk.exchange.cancel_stop(carried)
        await expect_stop(desk, venue, None)


@pytest.mark.parametrize("venue", ATTACHING)
async def test_a_stop_that_an_entry_carried_reports_its_fills_under_its_own_id(venue: str) -> None:
    async with priced_desk(venue, parts=2) as desk, listening(desk) as listener:
        await desk.exchange.place_entry(with_stop(venue))
        await listener.until_ended()
        await desk.server.move_price(BTC, D(965), "last")
        with trio.fail_after(10):
            while not any(isinstance(each, OrderUpdate) and each.status == "filled" for each in listener.updates):
                await trio.sleep(0.01)
        fills = [each.fill for each in listener.updates if isinstance(each, OrderUpdate) and each.fill is not None]
        assert sum((fill.quantity for fill in fills), D(0)) == D("0.6")
        assert {(fill.client_order_id, fill.side, fill.price) for fill in fills} == {(stop_id(venue), "long", D(965))}
        assert held(desk) == 0


@pytest.mark.parametrize(("side", "price"), [("long", "995"), ("short", "985")])
@pytest.mark.parametrize("venue", ATTACHING)
async def test_a_stop_on_the_wrong_side_of_its_entry_is_refused_by_the_venue(
    venue: str, side: Side, price: str
) -> None:
    async with priced_desk(venue) as desk:
        with pytest.raises(EntryRejected):
            await desk.exchange.place_entry(with_stop(venue, "990", price=price, side=side))
        assert await desk.exchange.find_entry(BTC, OURS) is None


@pytest.mark.parametrize("venue", ATTACHING)
async def test_a_stop_with_the_wrong_id_or_between_the_ticks_is_refused_before_it_is_sent(venue: str) -> None:
    async with priced_desk(venue) as desk:
        other = OURS if venue in OWN else STOP
        with pytest.raises(UsageError, match=r"AttachedStop\.client_order_id"):
            await desk.exchange.place_entry(entry(None, stop=AttachedStop(D(970), other)))
        with pytest.raises(EntryRejected, match=r"stop 970\.05 is no multiple of the tick"):
            await desk.exchange.place_entry(with_stop(venue, price="970.05"))
        assert desk.server.seen("place_entry") == []


@pytest.mark.parametrize("hedged", [False, True])
@pytest.mark.parametrize("venue", BRIDGE)
async def test_a_bridge_is_live_from_the_first_fill_on_and_as_large_as_the_position(
    venue: str, *, hedged: bool
) -> None:
    async with priced_desk(venue, entry_parts=3, hedged=hedged) as desk:
        unprotected = UnprotectedTime(desk.server.market)
        await desk.exchange.place_entry(with_stop(venue, "990"))
        await expect_stop(desk, venue, None)
        for price, quantity in (("985", "0.2"), ("980", "0.4")):
            await desk.server.move_price(BTC, D(price), "last")
            await expect_stop(desk, venue, quantity)
        await desk.exchange.cancel_entry(BTC, OURS)
        await expect_stop(desk, venue, "0.4")
        assert unprotected.seconds == 0


@pytest.mark.parametrize("hedged", [False, True])
@pytest.mark.parametrize("side", ["long", "short"])
@pytest.mark.parametrize("venue", BRIDGE)
async def test_clearing_a_bridge_leaves_our_own_stop(venue: str, side: Side, *, hedged: bool) -> None:
    price = "970" if side == "long" else "1030"
    async with priced_desk(venue, hedged=hedged) as desk:
        await desk.exchange.place_entry(with_stop(venue, price=price, side=side))
        own = await desk.exchange.place_stop(
            stop_request(STOP, price="980" if side == "long" else "1020", quantity="0.6", side=side)
        )
        bridge = await desk.exchange.find_stop(BTC, OURS)
        assert bridge is not None
        assert {stop.client_order_id for stop in await desk.exchange.open_stops()} == {OURS, STOP}
        await desk.exchange.cancel_stop(bridge)
        assert [*await desk.exchange.open_stops()] == [own]
        assert len(desk.server.seen("clear_bridge")) == 1
        with pytest.raises(NoSuchStop):
            await desk.exchange.cancel_stop(bridge)


@pytest.mark.parametrize("venue", BRIDGE)
async def test_a_stop_that_the_user_set_for_the_position_is_not_cleared_with_a_bridge(venue: str) -> None:
    async with priced_desk(venue) as desk:
        await desk.exchange.place_entry(with_stop(venue))
        bridge = await desk.exchange.find_stop(BTC, OURS)
        assert bridge is not None
        market = desk.server.market
        assert isinstance(market, BybitMarket)
        market.set_stop(BTC, "both", Trigger(D(960), "last", rising=False))
        assert [*await desk.exchange.open_stops()] == []
        with pytest.raises(NoSuchStop):
            await desk.exchange.cancel_stop(bridge)
        assert [order.wanted.trigger.price for order in market.live_stops() if order.wanted.trigger] == [D(960)]


@pytest.mark.parametrize("venue", BRIDGE)
async def test_a_restarted_bot_finds_and_cancels_a_bridge(venue: str) -> None:
    async with priced_desk(venue) as desk:
        await desk.exchange.place_entry(with_stop(venue))
        async with open_ccxt(venue, credentials=KEYS, configure=desk.server.configure) as restarted:
            (found,) = await restarted.open_stops()
            assert (found.client_order_id, found.quantity) == (OURS, D("0.6"))
            await restarted.cancel_stop(found)
        await expect_stop(desk, venue, None)


@pytest.mark.parametrize("venue", BRIDGE)
async def test_a_bridge_can_not_be_amended(venue: str) -> None:
    async with priced_desk(venue) as desk:
        await desk.exchange.place_entry(with_stop(venue))
        (bridge,) = await desk.exchange.open_stops()
        with pytest.raises(UsageError, match="can't amend a stop that an entry carried"):
            await desk.exchange.amend_stop(bridge, price=D(980), quantity=D("0.6"))
        await expect_stop(desk, venue, "0.6")


@pytest.mark.parametrize("venue", BRIDGE)
async def test_a_bridge_of_unknown_quantity_makes_the_list_partial(venue: str) -> None:
    async with priced_desk(venue) as desk:
        await desk.exchange.place_entry(with_stop(venue))
        nothing = {"retCode": 0, "retMsg": "OK", "result": {"list": [], "nextPageCursor": "", "category": "linear"}}
        desk.server.faults.add(Fault(on="positions", reply=json_reply(nothing)))
        await expect_stop(desk, venue, "0.6")  # the order states a quantity
        (order,) = desk.server.market.live_stops()
        order.wanted = msgspec.structs.replace(order.wanted, stated=D(0))
        listed = await desk.exchange.open_stops()
        assert isinstance(listed, PartialList)
        assert (len(listed), "its quantity is unknown" in listed.left_out[0]) == (0, True)
        with pytest.raises(ExchangeUnreachable):
            await desk.exchange.find_stop(BTC, OURS)


@pytest.mark.parametrize("reply", ["not modified", "flat", "lost"])
@pytest.mark.parametrize("venue", BRIDGE)
async def test_what_clearing_a_bridge_is_answered(venue: str, reply: str) -> None:
    answers = {"not modified": (34040, "not modified"), "flat": (10001, "can not set tp/sl/ts for zero position")}
    async with priced_desk(venue) as desk:
        await desk.exchange.place_entry(with_stop(venue))
        (bridge,) = await desk.exchange.open_stops()
        fault = Fault(on="clear_bridge", drop="after")
        if reply in answers:
            code, text = answers[reply]
            fault = Fault(on="clear_bridge", reply=json_reply({"retCode": code, "retMsg": text, "result": {}}))
        desk.server.faults.add(fault)
        with pytest.raises(OutcomeUnknown if reply == "lost" else NoSuchStop):
            await desk.exchange.cancel_stop(bridge)
