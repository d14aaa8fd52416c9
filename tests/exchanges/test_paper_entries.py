"""Entry orders on the paper exchange: what fills them, what they refuse, and the stops that they carry."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal as D
from typing import Any

import pytest
import trio
from account_venue import BTC, OPENED, Venue

from trailing.core.entry_orders import AttachedStop, EntryOrder, EntryRequest
from trailing.core.model import Market, Position, Tick
from trailing.errors import EntryRejected, ExchangeUnreachable, NoSuchEntry, OutcomeUnknown, UsageError
from trailing.exchanges.paper import PaperExchange, open_paper
from trailing.exchanges.port import EntryUpdate, OrderUpdate
from trailing.testing.faults import At, FaultyExchange, ReplyLost

ATTACHED = {"own": "stop", "bridge": "e"}


def request(
    limit: str | None = None,
    stop: str | None = None,
    *,
    quantity: str = "2",
    side: Any = "long",
    name: str = "e",
    stop_name: str = "stop",
) -> EntryRequest:
    carried = None if stop is None else AttachedStop(D(stop), stop_name)
    return EntryRequest(BTC, side, D(quantity), name, None if limit is None else D(limit), carried)


def opened(price: str = "100", **rules: Any) -> Venue:
    venue = Venue(**rules)
    venue.feed(price)
    return venue


def placed(venue: Venue, *args: Any, **fields: Any) -> EntryOrder:
    return venue.book.place_entry(request(*args, **fields), 1.0)


def shown(venue: Venue) -> EntryOrder:
    order = venue.book.entries.find(BTC, "e", 1.0)
    assert order is not None
    return order


def held(venue: Venue, side: Any = "long") -> D:
    return venue.book.actual(BTC)[1].get(side, D(0))


def stops(venue: Venue) -> list[tuple[str, D, D]]:
    return [(stop.client_order_id, stop.quantity, stop.price) for stop in venue.book.actual(BTC)[0]]


def test_an_entry_at_market_is_filled_at_the_last_price() -> None:
    venue = opened()
    order = placed(venue)
    assert (order.is_working, order.filled, order.average_price) == (False, D(2), D(100))
    assert order.first_filled_at == OPENED + timedelta(seconds=1)
    assert held(venue) == 2
    assert [update.order.filled for update in venue.updates if isinstance(update, EntryUpdate)] == [0, 2]


@pytest.mark.parametrize(
    ("side", "limit", "behind", "reached", "beyond"),
    [("long", "99", "99.5", "99", "98"), ("short", "101", "100.5", "101", "102")],
)
def test_a_resting_entry_is_filled_at_its_limit(side: Any, limit: str, behind: str, reached: str, beyond: str) -> None:
    for price in (reached, beyond):
        for move in (Venue.feed, Venue.move):
            venue = opened()
            assert placed(venue, limit, side=side).is_working
            move(venue, behind)
            assert not held(venue, side)
            move(venue, price)
            assert (held(venue, side), shown(venue).average_price) == (D(2), D(limit))
            assert not shown(venue).is_working


def test_an_entry_whose_limit_is_beyond_the_price_is_filled_at_the_better_price() -> None:
    order = placed(opened(), "101")
    assert (order.filled, order.average_price) == (D(2), D(100))


def test_the_parts_of_an_entry_are_averaged() -> None:
    venue = opened(partial_entries=D("0.3"), markets={BTC: Market(BTC, quantity_step=D("0.1"))})
    order = placed(venue, quantity="1")
    assert (order.filled, order.is_working) == (D("0.3"), True)
    venue.feed("102")
    venue.feed("104")
    venue.feed("106")
    order = shown(venue)
    assert (order.filled, order.is_working) == (D(1), False)
    assert order.average_price == (D("0.3") * (100 + D(102) + D(104)) + D("0.1") * D(106))
    assert order.first_filled_at == OPENED + timedelta(seconds=1)
    assert held(venue) == 1


def test_a_callable_says_how_much_a_price_fills() -> None:
    venue = opened(partial_entries=lambda order, price: order.quantity if price < 100 else D(0))
    assert placed(venue).filled == 0
    venue.feed("99")
    assert shown(venue).average_price == 99


def test_what_is_filled_of_a_cancelled_entry_stays() -> None:
    venue = opened(partial_entries=D("0.5"))
    placed(venue)
    venue.book.cancel_entry(BTC, "e", 2.0)
    order = shown(venue)
    assert (order.is_working, order.filled, order.unfilled) == (False, D(1), D(1))
    venue.feed("90")
    assert held(venue) == 1
    with pytest.raises(NoSuchEntry, match="no working entry 'e'"):
        venue.book.cancel_entry(BTC, "e", 3.0)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (request("99.5"), "limit 99.5 is no multiple of the tick 1"),
        (request(stop="97.5"), "stop 97.5 is no multiple of the tick 1"),
        (request(quantity="1.5"), "quantity 1.5 is no multiple of the step 1"),
        (request(quantity="1"), "quantity 1 is below the minimum 2"),
        (request("9"), "notional of 2 at 9 is below the minimum 20"),
        (request(stop="100"), "the stop 100 is not behind the entry at 100"),
        (request("90", "95"), "the stop 95 is not behind the entry at 90"),
    ],
)
def test_an_entry_that_breaks_a_rule_leaves_nothing(wanted: EntryRequest, words: str) -> None:
    market = Market(BTC, D(1), D(1), D(2), D(20), attached_stop="own")
    venue = opened(markets={BTC: market})
    with pytest.raises(EntryRejected, match=words):
        venue.book.place_entry(wanted, 1.0)
    assert venue.book.entries.find(BTC, "e", 1.0) is None
    assert not held(venue)


def test_an_entry_needs_a_price_and_a_new_id() -> None:
    venue = Venue()
    with pytest.raises(ExchangeUnreachable, match="no last price yet"):
        placed(venue)
    venue.feed("100")
    placed(venue)
    with pytest.raises(EntryRejected, match="duplicate client order id 'e'"):
        placed(venue)


def test_the_other_side_can_be_entered_in_hedge_mode_only() -> None:
    venue = opened()
    venue.enter("short")
    with pytest.raises(EntryRejected, match="a short position is open"):
        placed(venue)
    both = opened(hedged=True)
    both.enter("short")
    assert placed(both).filled == 2


def test_an_own_stop_covers_what_was_filled_when_the_entry_has_ended() -> None:
    venue = opened(attached_stop="own", partial_entries=D("0.5"))
    placed(venue, None, "95")
    assert stops(venue) == []
    venue.feed("101")
    assert stops(venue) == [("stop", D(2), D(95))]
    cancelled = opened(attached_stop="own", partial_entries=D("0.5"))
    placed(cancelled, None, "95")
    cancelled.book.cancel_entry(BTC, "e", 2.0)
    assert stops(cancelled) == [("stop", D(1), D(95))]


def test_a_bridge_is_as_large_as_the_position_and_ends_with_it() -> None:
    venue = opened(attached_stop="bridge", partial_entries=D("0.5"))
    placed(venue, None, "95", stop_name="e")
    assert stops(venue) == [("e", D(1), D(95))]
    venue.feed("101")
    assert stops(venue) == [("e", D(2), D(95))]
    venue.book.close(BTC, "long", D("0.5"), 2.0)
    assert stops(venue) == [("e", D("1.5"), D(95))]
    venue.book.close(BTC, "long", D("1.5"), 2.0)
    assert stops(venue) == []


def test_an_attached_stop_is_filled_in_the_same_move_as_its_entry() -> None:
    venue = opened(attached_stop="own")
    placed(venue, "98", "95")
    venue.move("90")
    assert not held(venue)
    fills = [update.fill for update in venue.updates if isinstance(update, OrderUpdate)]
    assert [fill.price for fill in fills if fill is not None] == [D(95)]


def test_a_working_entry_is_listed_among_the_open_orders() -> None:
    venue = opened()
    placed(venue, "98", side="long")
    (order,) = venue.book.open_orders(BTC, 1.0)
    assert (order.kind, order.order_side, order.side, order.quantity, order.price) == (
        "LIMIT",
        "buy",
        None,
        D(2),
        D(98),
    )


def test_a_user_can_cancel_an_entry() -> None:
    venue = opened()
    placed(venue, "98")
    assert venue.book.cancel_anywhere("e", 2.0) == BTC
    assert (shown(venue).is_working, shown(venue).reason) == (False, "cancelled by the user")


def test_a_saved_account_keeps_its_entries_and_their_stops() -> None:
    venue = opened(attached_stop="bridge", partial_entries=D("0.5"))
    placed(venue, "99", "95", stop_name="e")
    venue.feed("99")
    loaded = Venue(attached_stop="bridge")
    loaded.book.restore([venue.book.save(BTC)], ["e"], 1.0)
    assert shown(loaded) == shown(venue)
    loaded.feed("99")
    assert (held(loaded), stops(loaded)) == (D(2), [("e", D(2), D(95))])


# Through the port.


@pytest.fixture
async def paper(autojump_clock: trio.testing.MockClock) -> Any:
    async with open_paper(latency=2.0, attached_stop="own") as exchange:
        exchange.feed(Tick(BTC, D(100), 0.0))
        yield exchange


async def test_a_lost_reply_is_found_by_its_id(paper: PaperExchange) -> None:
    faulty = FaultyExchange(paper, {At("place_entry"): ReplyLost()})
    with pytest.raises(OutcomeUnknown):
        await faulty.place_entry(request())
    found = await faulty.find_entry(BTC, "e")
    assert found is not None
    assert found.filled == 2


async def test_a_look_up_and_a_cancellation_wait_for_the_request_in_flight(paper: PaperExchange) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(paper.place_entry, request("90"))
        await trio.sleep(0.1)
        await paper.cancel_entry(BTC, "e")
    found = await paper.find_entry(BTC, "e")
    assert found is not None
    assert not found.is_working


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        (None, "stop", "can't attach a stop to an entry"),
        ("own", "e", "wants its own"),
        ("bridge", "stop", "wants the entry's"),
    ],
)
async def test_a_stop_that_the_market_can_not_attach_is_refused_before_it_is_sent(
    kind: Any, name: str, words: str
) -> None:
    async with open_paper(attached_stop=kind, record=True) as exchange:
        exchange.feed(Tick(BTC, D(100), 0.0))
        with pytest.raises(UsageError, match=words):
            await exchange.place_entry(request(stop="95", stop_name=name))
        assert exchange.log == []


async def test_a_position_that_is_entered_by_hand_and_by_an_order_is_one() -> None:
    async with open_paper() as exchange:
        await exchange.enter(Position(BTC, "long", D(1), D(90), OPENED))
        await exchange.place_entry(request(quantity="1"))
        (report,) = await exchange.positions()
    assert (report.quantity, report.entry_price) == (D(2), D(90))


@pytest.mark.parametrize(
    "settings",
    [{"attached_stop": "both"}, {"partial_entries": D(0)}, {"partial_entries": D(2)}, {"partial_entries": 0.5}],
)
async def test_a_wrong_setting_is_named(settings: Any) -> None:
    with pytest.raises(UsageError, match=next(iter(settings))):
        async with open_paper(**settings):
            pass


@pytest.mark.parametrize("attached", ATTACHED)
def test_an_entry_whose_filled_part_was_closed_ends_without_a_stop(attached: str) -> None:
    venue = opened("101", attached_stop=attached, partial_entries=D("0.5"))
    placed(venue, "100", "98", stop_name=ATTACHED[attached])
    venue.feed("100")
    venue.book.close(BTC, "long", D(1), 2.0)
    venue.book.cancel_entry(BTC, "e", 3.0)
    assert (shown(venue).is_working, shown(venue).filled, stops(venue)) == (False, D(1), [])
