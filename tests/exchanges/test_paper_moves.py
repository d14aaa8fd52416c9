"""A continuous move passes every price; a jump passes none."""

from __future__ import annotations

from decimal import Decimal as D
from typing import Any

import pytest
import trio
from account_venue import BTC, OPENED, Venue
from hypothesis import given, settings
from hypothesis import strategies as st

from trailing.core.model import Market, Percent, Position, Side, Source, StopOrder, Tick
from trailing.core.prices import is_crossed
from trailing.exchanges.paper import open_paper
from trailing.exchanges.port import OrderUpdate, PositionUpdate, StopRequest


@pytest.mark.parametrize(("side", "stop", "end"), [("long", "98", "90"), ("short", "102", "115")])
def test_a_move_through_a_stop_fills_it_at_its_own_price_and_a_jump_at_the_price_of_the_jump(
    side: Side, stop: str, end: str
) -> None:
    for go, price in ((Venue.move, stop), (Venue.feed, end)):
        venue = Venue()
        venue.enter(side)
        venue.place("a", stop, side=side)
        go(venue, end)
        assert venue.fills() == [("a", D(2), D(price))]


@pytest.mark.parametrize(("side", "before", "at"), [("long", "98.01", "98"), ("short", "101.99", "102")])
def test_a_move_that_ends_before_a_stop_leaves_it_and_one_that_ends_at_it_fills_it(
    side: Side, before: str, at: str
) -> None:
    venue = Venue()
    venue.enter(side)
    venue.place("a", at, side=side)
    venue.move(before)
    assert venue.live() == {"a": D(2)}
    venue.move(at)
    assert venue.fills() == [("a", D(2), D(at))]


@pytest.mark.parametrize(
    ("side", "stops", "end"), [("long", ("96", "98", "97"), "95"), ("short", ("104", "102", "103"), "105")]
)
def test_stops_on_the_path_of_a_move_fill_in_the_order_in_which_the_price_passes_them(
    side: Side, stops: tuple[str, ...], end: str
) -> None:
    venue = Venue()
    venue.enter(side, quantity="3")
    for price in stops:
        venue.place(price, price, quantity="1", side=side)
    venue.move(end)
    assert venue.fills() == [(price, D(1), D(price)) for price in sorted(stops, reverse=side == "long")]


def test_the_first_stop_on_the_path_fills_and_one_beyond_the_end_stays() -> None:
    venue = Venue()
    venue.enter()
    for price in ("95", "97", "98"):
        venue.place(price, price)
    venue.move("96")
    assert venue.fills() == [("98", D(2), D(98))]
    assert venue.statuses("97") == ["live", "cancelled"], "triggered too, with nothing to reduce"
    assert venue.live() == {"95": D(2)}


def test_a_move_down_fills_stops_of_longs_and_a_move_up_those_of_shorts() -> None:
    venue = Venue(hedged=True)
    venue.enter("long")
    venue.enter("short")
    venue.place("down", "98")
    venue.place("up", "102", side="short")
    venue.move("101.5", "97", "103")
    assert venue.fills() == [("down", D(2), D(98)), ("up", D(2), D(102))]


def test_a_stop_that_was_moved_between_two_points_fills_at_its_new_price() -> None:
    venue = Venue(can_amend=True)
    venue.enter()
    venue.place("a", "98")
    venue.move("105")
    venue.book.amend(BTC, "a", D("104.5"), D(2), 1.0)
    venue.move("100")
    assert venue.fills() == [("a", D(2), D("104.5"))]


@pytest.mark.parametrize(
    ("side", "activation", "points", "exit_price"),
    [("long", "101", ("100.5", "103", "97"), "101.97"), ("short", "99", ("99.5", "97", "103"), "97.97")],
)
def test_a_trailing_order_fills_its_callback_behind_the_best_price_of_the_path(
    side: Side, activation: str, points: tuple[str, ...], exit_price: str
) -> None:
    venue = Venue(markets={BTC: Market(BTC, price_tick=D("0.01"))})
    venue.enter(side)
    venue.trail("t", activation, "1", side=side)
    venue.move(*points[:-1])
    assert venue.fills() == [], "the path to a best price triggers nothing"
    venue.move(points[-1])
    assert venue.fills() == [("t", D(2), D(exit_price))]


def test_the_fill_of_a_trailing_order_is_rounded_to_the_tick_as_plans_round() -> None:
    venue = Venue(markets={BTC: Market(BTC, price_tick=D("0.5"))})
    venue.enter()
    venue.trail("t", "101", "1")
    venue.move("101.5", "90")  # 1 % behind it is 100.485
    assert venue.fills() == [("t", D(2), D("100.5"))]


def test_a_trailing_order_whose_callback_is_less_than_a_tick_fills_at_the_best_price_and_not_where_the_move_began() -> (
    None
):
    venue = Venue(markets={BTC: Market(BTC, price_tick=D(1))})
    venue.enter()
    venue.trail("t", "102", "0.5")
    venue.move("104")  # 0.5 % behind it is 103.48, and so 104
    assert venue.fills() == [("t", D(2), D(104))]


def test_an_inactive_trailing_order_is_not_on_the_path() -> None:
    venue = Venue()
    venue.enter()
    venue.trail("t", "101", "1")
    venue.move("100.9", "90")
    assert venue.live() == {"t": D(2)}


def test_a_plain_stop_and_a_trailing_order_fill_in_the_order_of_the_path() -> None:
    for stop, names in (("102", ["plain", "t"]), ("101", ["t", "plain"])):
        venue = Venue()
        venue.enter()
        venue.trail("t", "101", "1", quantity="1")
        venue.move("103")  # it triggers at 101.97
        venue.place("plain", stop, quantity="1")
        venue.move("97")
        assert [name for name, _, _ in venue.fills()] == names


def test_the_rest_of_a_triggered_stop_fills_at_the_begin_of_a_move_or_the_end_of_a_jump() -> None:
    venue = Venue(partial_fills=D("0.25"))
    venue.enter(quantity="4")
    venue.place("a", "98", quantity="4")
    venue.move("97", "103")
    venue.feed("95")
    venue.move("96")
    assert venue.fills() == [("a", D(1), D(price)) for price in ("98", "97", "95", "95")]


def test_the_partial_fills_callable_gets_the_tick_at_the_end_of_the_move() -> None:
    asked: list[D] = []

    def partial_fills(order: StopOrder, tick: Tick) -> D:
        asked.append(tick.price)
        return order.quantity

    venue = Venue(partial_fills=partial_fills)
    venue.enter()
    venue.place("a", "98")
    venue.move("97")
    assert asked == [D(97)]
    assert venue.fills() == [("a", D(2), D(98))]


@pytest.mark.parametrize(("side", "limit", "end"), [("long", "90", "80"), ("short", "110", "120")])
def test_a_move_through_the_liquidation_price_liquidates_there_and_cancels_later_stops(
    side: Side, limit: str, end: str
) -> None:
    venue = Venue(leverage=D(10))
    venue.enter(side)
    venue.place("beyond", "85" if side == "long" else "115", side=side)
    venue.move(end)
    assert [(quantity, price) for _, quantity, price in venue.fills()] == [(D(2), D(limit))]
    assert venue.statuses("beyond") == ["live", "cancelled"]
    assert venue.held() == {}


def test_a_stop_before_or_at_the_liquidation_price_fills_first_and_the_rest_is_liquidated() -> None:
    venue = Venue(leverage=D(10))
    venue.enter(quantity="3")
    venue.place("before", "95", quantity="1")
    venue.place("at", "90", quantity="1")
    venue.move("80")
    assert [(quantity, price) for _, quantity, price in venue.fills()] == [(D(1), D(95)), (D(1), D(90)), (D(1), D(90))]
    assert [name for name, _, _ in venue.fills()[:2]] == ["before", "at"]
    assert venue.held() == {}


def test_a_move_of_one_source_begins_at_its_own_last_price_and_passes_its_own_stops() -> None:
    venue = Venue()
    venue.enter(quantity="2")
    venue.place("by last", "98", quantity="1")
    venue.feed("110", "mark")
    venue.place("by mark", "105", quantity="1", source="mark")
    venue.move("97")
    assert venue.fills() == [("by last", D(1), D(98))]
    venue.move("104", source="mark")
    assert venue.fills()[1:] == [("by mark", D(1), D(105))]


def test_a_move_of_any_source_liquidates_at_the_liquidation_price() -> None:
    venue = Venue(leverage=D(10))
    venue.enter()
    venue.move("85", source="index")
    assert [price for _, _, price in venue.fills()] == [D(90)]


def test_the_first_price_is_a_jump_and_after_an_entry_a_move_begins_at_the_entry_price() -> None:
    venue = Venue()
    venue.move("105")
    assert venue.book.price(BTC, "last") == D(105)
    venue = Venue()
    venue.enter(price="100")
    venue.place("a", "98")
    venue.move("90")
    assert venue.fills() == [("a", D(2), D(98))]


def test_a_close_at_market_fills_at_the_end_of_the_move() -> None:
    venue = Venue()
    venue.enter()
    venue.move("103", "101")
    assert venue.book.close(BTC, "long", D(2), 1.0, client_order_id="a").price == D(101)


async def test_subscribers_get_the_tick_of_a_move_and_then_the_fill() -> None:
    async with open_paper() as exchange, exchange.updates() as updates:
        await exchange.set_subscriptions({BTC})
        await exchange.enter(Position(BTC, "long", D(2), D(100), OPENED))
        await exchange.place_stop(StopRequest(BTC, "long", D(2), D(98), "a"))
        updates.receive_waiting(99)
        tick = Tick(BTC, D(95), trio.current_time())
        exchange.move_to(tick)
        pushed, filled, position = updates.receive_waiting(99)
        assert pushed == tick
        assert isinstance(filled, OrderUpdate)
        assert filled.fill is not None
        assert filled.fill.price == D(98)
        assert isinstance(position, PositionUpdate)
        assert exchange.actual_price(BTC) == D(95)


# Whole prices around an entry at 100, on a market whose tick is 1; a callback of 2 % is more than a tick.
sides: st.SearchStrategy[Side] = st.sampled_from(["long", "short"])
sources: st.SearchStrategy[Source] = st.sampled_from(["last", "mark"])
paths = st.lists(st.tuples(st.integers(80, 120), sources), min_size=1, max_size=8)
orders = st.lists(
    st.tuples(
        sides, st.integers(1, 20), st.integers(1, 4), sources, st.one_of(st.none(), st.integers(2, 6).map(Percent))
    ),
    max_size=6,
)


def a_venue(wanted: list[tuple[Side, int, int, Source, Percent | None]], **rules: Any) -> Venue:
    """Return a long and a short of 4 from 100, each with plain stops on its losing side and trailing orders on the other."""
    market = Market(BTC, price_tick=D(1))
    venue = Venue(markets={BTC: market}, hedged=True, **rules)
    for side in ("long", "short"):
        venue.enter(side, quantity="4")
    for number, (side, distance, quantity, source, callback) in enumerate(wanted):
        below = (side == "long") == (callback is None)
        price = D(100 - distance if below else 100 + distance)
        venue.book.place(StopRequest(BTC, side, D(quantity), price, str(number), source, callback), 0.0)
    return venue


@given(orders, paths, st.sampled_from([None, D(8)]), st.booleans())
@settings(max_examples=300)
def test_a_move_triggers_what_jumps_to_every_price_in_between_would(
    wanted: list[tuple[Side, int, int, Source, Percent | None]],
    path: list[tuple[int, Source]],
    leverage: D | None,
    cancel_on_flat: bool,
) -> None:
    moved, jumped = (a_venue(wanted, leverage=leverage, cancel_on_flat=cancel_on_flat) for _ in range(2))
    last = {"last": 100, "mark": 100}
    for end, source in path:
        moved.move(str(end), source=source)
        step = 1 if end >= last[source] else -1
        for price in range(last[source] + step, end + step, step) if end != last[source] else [end]:
            jumped.feed(str(price), source)
        last[source] = end
        assert moved.updates == jumped.updates


@given(orders, st.lists(st.tuples(st.integers(80, 120), sources, st.booleans()), min_size=1, max_size=8))
@settings(max_examples=300)
def test_a_stop_fills_at_its_price_on_a_move_and_at_the_price_of_a_jump(
    wanted: list[tuple[Side, int, int, Source, Percent | None]], path: list[tuple[int, Source, bool]]
) -> None:
    venue = a_venue(wanted)
    for end, source, continuous in path:
        before = {name: venue.book.trailing(BTC, name) for name in venue.live()}
        done = len(venue.fills())
        (venue.move if continuous else venue.feed)(str(end), source=source)
        for name, _, price in venue.fills()[done:]:
            side, trigger = wanted[int(name)][0], before[name]
            if continuous:
                assert price == trigger
            else:
                assert price == end
                assert trigger is not None
                assert is_crossed(side, price, trigger)
        for order in venue.book.stops(9.0):
            trigger = venue.book.trailing(BTC, order.client_order_id)
            assert order.source != source or trigger is None or not is_crossed(order.side, D(end), trigger)
