"""Entry orders of the adapters: fills, refusals, lost replies, look-ups and cancellations."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal as D
from typing import Any

import pytest
import trio
from real_exchange import BTC, Desk, open_desk
from venue_faults import Fault, json_reply
from venue_market import Wanted

from trailing import EntryOrder, EntryRequest, EntryUpdate, StreamState
from trailing.core.model import Side
from trailing.errors import EntryRejected, ExchangeUnreachable, NoSuchEntry, OutcomeUnknown, TrailingError
from trailing.exchanges.port import Update

VENUES = ("binanceusdm", "bybit", "okx")
OURS = "tr00000000000000000001"

pytestmark = pytest.mark.parametrize("venue", VENUES)


def entry(
    limit: str | None = "990", quantity: str = "0.6", side: Side = "long", own_id: str = OURS, **more: Any
) -> EntryRequest:
    """Return an entry that rests, where the price is 1000; `limit=None`: at market."""
    return EntryRequest(BTC, side, D(quantity), own_id, None if limit is None else D(limit), **more)


@asynccontextmanager
async def priced_desk(venue: str, price: str = "1000", **settings: Any) -> AsyncIterator[Desk]:
    """Open an exchange on a server with an empty account, and with a price."""
    async with open_desk(venue, **settings) as desk:
        for source in ("last", "mark", "index"):
            await desk.server.move_price(BTC, D(price), source)
        yield desk


class Listener:
    """Collects the updates of an exchange."""

    def __init__(self) -> None:
        self.updates: list[Update] = []

    async def listen(self, desk: Desk, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with desk.exchange.updates() as updates:
            async for update in updates:
                self.updates.append(update)
                if isinstance(update, StreamState) and update.connected:
                    task_status.started()

    def entries(self) -> list[EntryOrder]:
        return [each.order for each in self.updates if isinstance(each, EntryUpdate)]

    async def until_ended(self) -> list[EntryOrder]:
        """Return the updates of entries once one of them says that its entry has ended."""
        with trio.fail_after(10):
            while not any(not order.is_working for order in self.entries()):
                await trio.sleep(0.01)
        await trio.sleep(0.1)  # what comes after it
        return self.entries()


@asynccontextmanager
async def listening(desk: Desk) -> AsyncIterator[Listener]:
    listener = Listener()
    async with trio.open_nursery() as tasks:
        await tasks.start(listener.listen, desk)
        yield listener
        tasks.cancel_scope.cancel()


def held(desk: Desk) -> D:
    """Return the quantity of the account's positions on the server."""
    return sum((abs(holding.quantity) for holding in desk.server.market.holdings.values()), D(0))


@pytest.mark.parametrize("hedged", [False, True])
@pytest.mark.parametrize("side", ["long", "short"])
async def test_a_limit_entry_that_is_filled_in_parts_tells_the_sum_and_the_average(
    venue: str, side: Side, *, hedged: bool
) -> None:
    prices = ("990", "980", "960") if side == "long" else ("1010", "1020", "1040")
    async with priced_desk(venue, entry_parts=3, hedged=hedged) as desk, listening(desk) as listener:
        server = desk.server
        server.clock.stopped_at = server.clock.now()
        first_at = datetime.fromtimestamp(server.clock.stopped_at / 1000, UTC)
        placed = await desk.exchange.place_entry(entry(prices[0], side=side))
        assert (placed.is_working, placed.filled, placed.average_price, placed.side) == (True, D(0), None, side)
        for price in prices:
            await server.move_price(BTC, D(price), "last")
            server.clock.stopped_at += 50
        heard = await listener.until_ended()
        sums = [order.filled for order in heard if order.filled]
        assert sums[:1] + sums[-2:] == [D("0.2"), D("0.4"), D("0.6")]
        (working,) = {order.average_price for order in heard if order.filled == D("0.4")}
        assert working == (D(prices[0]) + D(prices[1])) / 2
        assert {order.first_filled_at for order in heard if order.filled == D("0.4")} == {first_at}
        assert {(order.order_id, order.limit, order.side) for order in heard} == {(placed.order_id, D(prices[0]), side)}
        found = await desk.exchange.find_entry(BTC, OURS)
        assert found is not None
        assert (found.filled, found.is_working, found.unfilled) == (D("0.6"), False, D(0))
        assert found.average_price is not None
        assert round(found.average_price, 6) == round(sum(map(D, prices), D(0)) / 3, 6)
        assert held(desk) == D("0.6")


async def test_the_rest_of_a_partly_filled_entry_is_cancelled_and_its_fills_stay(venue: str) -> None:
    async with priced_desk(venue, entry_parts=3) as desk, listening(desk) as listener:
        await desk.exchange.place_entry(entry())
        await desk.server.move_price(BTC, D(985), "last")
        found = await desk.exchange.find_entry(BTC, OURS)
        assert found is not None
        assert (found.is_working, found.filled, found.average_price) == (True, D("0.2"), D(985))
        await desk.exchange.cancel_entry(BTC, OURS)
        ended = (await listener.until_ended())[-1]
        assert (ended.is_working, ended.filled, ended.average_price) == (False, D("0.2"), D(985))
        found = await desk.exchange.find_entry(BTC, OURS)
        assert found is not None
        assert (found.is_working, found.filled) == (False, D("0.2"))
        assert held(desk) == D("0.2")
        with pytest.raises(NoSuchEntry):
            await desk.exchange.cancel_entry(BTC, OURS)


async def test_a_market_entry_for_which_the_book_is_too_thin_has_ended_with_a_part(venue: str) -> None:
    async with priced_desk(venue, depth=D("0.25")) as desk, listening(desk) as listener:
        desk.server.clock.stopped_at = desk.server.clock.now()
        at = datetime.fromtimestamp(desk.server.clock.stopped_at / 1000, UTC)
        await desk.exchange.place_entry(entry(None))
        ended = (await listener.until_ended())[-1]
        found = await desk.exchange.find_entry(BTC, OURS)
        for order in (ended, found):
            assert order is not None
            assert (order.is_working, order.filled, order.average_price) == (False, D("0.25"), D(1000))
            assert (order.first_filled_at, order.limit) == (at, None)


async def test_an_entry_in_several_fills_at_one_moment_has_the_time_of_the_first(venue: str) -> None:
    async with priced_desk(venue, parts=3) as desk, listening(desk) as listener:
        desk.server.clock.stopped_at = desk.server.clock.now()
        at = datetime.fromtimestamp(desk.server.clock.stopped_at / 1000, UTC)
        await desk.exchange.place_entry(entry(None))
        heard = await listener.until_ended()
        assert [order.filled for order in heard if order.filled][-1] == D("0.6")
        assert heard[-1].first_filled_at == at


UNAFFORDABLE = {"binanceusdm": ("-2019", "Margin is insufficient."), "bybit": ("110007", ""), "okx": ("51008", "")}


async def test_an_unaffordable_entry_is_refused_with_the_venues_code_and_words(venue: str) -> None:
    async with priced_desk(venue, margin=D(500)) as desk:
        with pytest.raises(EntryRejected) as caught:
            await desk.exchange.place_entry(entry())
        assert all(word in str(caught.value) for word in UNAFFORDABLE[venue])
        assert await desk.exchange.find_entry(BTC, OURS) is None


async def test_a_figure_between_the_steps_is_refused_before_it_is_sent(venue: str) -> None:
    async with priced_desk(venue) as desk:
        for request in (entry(limit="990.05"), entry(quantity="0.60005")):
            with pytest.raises(EntryRejected, match="is no multiple of the"):
                await desk.exchange.place_entry(request)
        assert desk.server.seen("place_entry") == []


@pytest.mark.parametrize("drop", ["before", "after"])
async def test_an_entry_whose_reply_is_lost_is_sent_once_and_found(venue: str, drop: Any) -> None:
    async with priced_desk(venue) as desk:
        desk.server.faults.add(Fault(on="place_entry", drop=drop))
        with pytest.raises(OutcomeUnknown):
            await desk.exchange.place_entry(entry(None))
        found = await desk.exchange.find_entry(BTC, OURS)
        assert (found is not None and found.filled) == (drop == "after" and D("0.6"))
        assert len(desk.server.seen("place_entry")) == 1
        assert held(desk) == (D("0.6") if drop == "after" else 0)


async def test_a_second_entry_with_the_same_id_is_looked_up_not_taken_for_absent(venue: str) -> None:
    async with priced_desk(venue) as desk:
        placed = await desk.exchange.place_entry(entry())
        with pytest.raises(OutcomeUnknown):
            await desk.exchange.place_entry(entry())
        assert await desk.exchange.find_entry(BTC, OURS) == placed
        assert len(desk.server.market.resting(BTC)) == 1


async def test_a_look_up_and_a_cancellation_wait_for_the_request_in_flight(venue: str) -> None:
    for with_look_up in (True, False):
        async with priced_desk(venue) as desk:
            desk.server.faults.add(Fault(on="place_entry", delay=0.3))
            with trio.move_on_after(0.1) as given_up:
                await desk.exchange.place_entry(entry())
            assert given_up.cancelled_caught
            if with_look_up:
                found = await desk.exchange.find_entry(BTC, OURS)
                assert found is not None
                assert found.is_working
            await desk.exchange.cancel_entry(BTC, OURS)
            assert len(desk.server.seen("cancel_entry")) == 1
            assert desk.server.market.resting(BTC) == ()


async def test_an_entry_that_never_existed_can_be_neither_found_nor_cancelled(venue: str) -> None:
    async with priced_desk(venue) as desk:
        assert await desk.exchange.find_entry(BTC, OURS) is None
        with pytest.raises(NoSuchEntry):
            await desk.exchange.cancel_entry(BTC, OURS)


REPLIES: Mapping[str, tuple[Any, type[TrailingError]]] = {
    "another refusal": ({"code": -2011, "msg": "CANCEL_REJECTED"}, ExchangeUnreachable),
    "no order": ({}, OutcomeUnknown),
}
BYBIT_OKX: Mapping[str, Mapping[str, Any]] = {
    "bybit": {"another refusal": {"retCode": 110020, "retMsg": "Not allowed", "result": {}}},
    "okx": {
        "another refusal": {"code": "1", "data": [{"sCode": "51407", "sMsg": "Order failed", "ordId": ""}], "msg": ""},
        "no order": {"code": "0", "data": [], "msg": ""},
    },
}


@pytest.mark.parametrize("kind", REPLIES)
async def test_a_cancellation_that_the_venue_does_not_answer_for_says_nothing_about_the_entry(
    venue: str, kind: str
) -> None:
    reply, error = REPLIES[kind]
    reply = BYBIT_OKX.get(venue, {}).get(kind, reply)
    async with priced_desk(venue) as desk:
        placed = await desk.exchange.place_entry(entry())
        desk.server.faults.add(Fault(on="cancel_entry", reply=json_reply(reply)))
        with pytest.raises((ExchangeUnreachable, OutcomeUnknown)) as caught:
            await desk.exchange.cancel_entry(BTC, OURS)
        assert type(caught.value) is error
        assert await desk.exchange.find_entry(BTC, OURS) == placed


async def test_a_failed_look_up_is_no_absence(venue: str) -> None:
    async with priced_desk(venue) as desk:
        await desk.exchange.place_entry(entry())
        for reply in (json_reply({"nonsense": []}), json_reply([]), json_reply({"code": "51001", "msg": ""}, 500)):
            desk.server.faults.add(Fault(on="find_entry", reply=reply))
            with pytest.raises(ExchangeUnreachable):
                await desk.exchange.find_entry(BTC, OURS)
            desk.server.faults.clear()


async def test_an_order_that_closes_is_not_found_as_an_entry(venue: str) -> None:
    async with priced_desk(venue) as desk:
        await desk.enter()
        await desk.exchange.close_position(BTC, "long", D("0.8"), OURS)
        with pytest.raises(ExchangeUnreachable, match="it is an order that closes"):
            await desk.exchange.find_entry(BTC, OURS)


async def test_only_orders_of_ours_that_open_are_told_as_entries(venue: str) -> None:
    async with priced_desk(venue) as desk, listening(desk) as listener:
        foreign = Wanted(symbol=BTC, side="buy", quantity=D("0.8"), client_order_id="theirs")
        desk.server.market.place(foreign)
        await desk.exchange.close_position(BTC, "long", D("0.8"), OURS)
        with trio.fail_after(10):
            while not any(getattr(each, "client_order_id", "") == OURS for each in listener.updates):
                await trio.sleep(0.01)
        await trio.sleep(0.1)
        assert listener.entries() == []


async def test_a_request_for_an_entry_has_no_reduce_only_and_is_sent_by_its_id(venue: str) -> None:
    async with priced_desk(venue) as desk:
        await desk.exchange.place_entry(entry())
        (sent,) = desk.server.seen("place_entry")
        params = (sent.params.get("batch") or [sent.params])[0]
        assert sent.client_order_id == OURS
        assert str(params.get("reduceOnly", "false")).lower() == "false"
        assert re.fullmatch(
            "limit", str(params.get("type") or params.get("orderType") or params.get("ordType")), re.IGNORECASE
        )
