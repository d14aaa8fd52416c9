"""The matching engine without clock and requests. Each rule of the venue with a case that violates it and one that does not."""

from __future__ import annotations

from decimal import Decimal as D

import msgspec
import pytest
from account_venue import BTC, OPENED, Venue

from trailing.core.account import PositionReport
from trailing.core.model import Fill, Market, Position, Side, Source, StopOrder, Tick
from trailing.errors import ExchangeUnreachable, NoSuchStop, NothingToReduce, StopRejected, UsageError, WouldTrigger
from trailing.exchanges.port import OrderUpdate, PositionUpdate, StopRequest


def test_a_stop_is_acknowledged_as_requested_with_an_order_id_counted_per_symbol() -> None:
    venue = Venue()
    venue.enter()
    assert venue.place("a", "98", source="mark") == StopOrder(BTC, "long", D(2), D(98), "a", f"paper-{BTC}-1", "mark")
    eth = "ETH/USDT:USDT"
    venue.book.enter(Position(eth, "long", D(1), D(10), OPENED), 0.0)
    assert venue.book.place(StopRequest(eth, "long", D(1), D(9), "b"), 0.0).order_id == f"paper-{eth}-1"
    assert venue.place("c", "97").order_id == f"paper-{BTC}-2"


@pytest.mark.parametrize(
    ("side", "stop", "quiet", "at_trigger"), [("long", "98", "98.01", "98"), ("short", "102", "101.99", "102")]
)
def test_a_stop_fills_at_the_first_tick_at_the_trigger_and_not_before(
    side: Side, stop: str, quiet: str, at_trigger: str
) -> None:
    venue = Venue()
    venue.enter(side)
    venue.place("a", stop, side=side)
    venue.feed(quiet)
    assert venue.live() == {"a": D(2)}
    venue.updates.clear()
    venue.feed(at_trigger)
    order_id = f"paper-{BTC}-1"
    fill = Fill(BTC, side, D(2), D(at_trigger), order_id, "a", 1.0, f"trade-{BTC}-1")
    assert venue.updates == [
        OrderUpdate(BTC, side, "a", order_id, "filled", 1.0, fill, D(2)),
        PositionUpdate(BTC, side, D(0), 1.0),
    ]
    assert (venue.live(), venue.held()) == ({}, {})


@pytest.mark.parametrize(("side", "stop", "gap"), [("long", "98", "90"), ("short", "102", "115")])
def test_a_gap_through_the_stop_fills_at_the_price_of_the_gap(side: Side, stop: str, gap: str) -> None:
    venue = Venue()
    venue.enter(side)
    venue.place("a", stop, side=side)
    venue.feed(gap)
    assert venue.fills() == [("a", D(2), D(gap))]


@pytest.mark.parametrize("source", ["last", "mark", "index"])
def test_a_stop_triggers_by_its_own_source_only(source: Source) -> None:
    venue = Venue()
    venue.enter()
    venue.place("a", "98", source=source)
    others: set[Source] = {"last", "mark", "index"}
    for other in others - {source}:
        venue.feed("50", other)
    assert venue.fills() == []
    venue.feed("97", source)
    assert venue.fills() == [("a", D(2), D(97))]


def test_the_first_of_two_stops_that_the_price_passes_fills() -> None:
    venue = Venue()
    venue.enter()
    venue.place("wide", "95")
    venue.place("tight", "98")
    venue.feed("90")
    assert venue.fills() == [("tight", D(2), D(90))]
    assert venue.statuses("wide") == ["live", "cancelled"], "triggered too, with nothing to reduce"


def test_two_stops_for_the_whole_position_never_turn_it_round() -> None:
    venue = Venue()
    venue.enter()
    venue.place("a", "98")
    venue.place("b", "97")
    venue.feed("98")
    assert venue.live() == {"b": D(2)}, "it stays, as on many venues"
    venue.feed("96")
    assert venue.held() == {}
    assert venue.statuses("b") == ["live", "cancelled"]


def test_the_stops_of_a_flat_position_are_cancelled_with_cancel_on_flat() -> None:
    venue = Venue(cancel_on_flat=True)
    venue.enter()
    venue.place("a", "98")
    venue.place("b", "97")
    venue.feed("98")
    assert venue.live() == {}
    assert venue.statuses("b") == ["live", "cancelled"]


def test_a_stop_cancelled_with_its_position_is_not_triggered_by_the_same_tick() -> None:
    venue = Venue(cancel_on_flat=True)
    venue.enter()
    venue.place("a", "98")
    venue.place("b", "97")
    venue.feed("90")
    assert (venue.statuses("a"), venue.statuses("b")) == (["live", "filled"], ["live", "cancelled"])


def test_partial_fills_are_a_share_of_the_amended_quantity() -> None:
    venue = Venue(partial_fills=D("0.5"), can_amend=True)
    venue.enter(quantity="8")
    venue.place("a", "98", quantity="8")
    venue.book.amend(BTC, "a", D(98), D(4), 0.0)
    venue.feed("97")
    assert venue.fills() == [("a", D(2), D(97))]


def test_a_stop_larger_than_its_position_fills_only_what_is_open() -> None:
    venue = Venue()
    venue.enter(quantity="5")
    venue.place("a", "98", quantity="5")
    venue.book.close(BTC, "long", D(3), 0.5)
    venue.feed("98")
    assert venue.fills()[1:] == [("a", D(2), D(98))]
    assert venue.statuses("a") == ["live", "partial", "cancelled"]
    assert venue.held() == {}


def test_a_triggered_stop_fills_a_share_at_each_tick_at_any_price() -> None:
    venue = Venue(partial_fills=D("0.4"), markets={BTC: Market(BTC, quantity_step=D(1))})
    venue.enter(quantity="5")
    venue.place("a", "98", quantity="5")
    venue.feed("97")
    assert venue.live() == {"a": D(3)}
    venue.feed("105")
    venue.feed("96")
    assert venue.fills() == [("a", D(2), D(97)), ("a", D(2), D(105)), ("a", D(1), D(96))]
    assert venue.statuses("a") == ["live", "triggered", "partial", "partial", "filled"]


@pytest.mark.parametrize(
    ("side", "stop", "at_trigger", "later"), [("long", "98", "97", "99"), ("short", "102", "103", "101")]
)
def test_a_triggered_stop_fills_at_the_next_price_after_the_delay(
    side: Side, stop: str, at_trigger: str, later: str
) -> None:
    venue = Venue(trigger_delay=5.0)
    venue.enter(side)
    order = venue.place("a", stop, side=side)
    book, triggered = venue.book, msgspec.structs.replace(order, triggered=True)
    venue.feed(at_trigger)
    assert (venue.updates[-1], venue.fills()) == (
        OrderUpdate(BTC, side, "a", order.order_id, "triggered", 1.0, filled=D(0)),
        [],
    )
    book.jump_to(Tick(BTC, D(90), 5.9), 5.9)
    assert (book.stops(5.9), book.find(BTC, "a", 5.9), book.actual(BTC)[0]) == ((triggered,), triggered, (triggered,))
    assert venue.held() == {side: D(2)}
    book.jump_to(Tick(BTC, D(later), 6.0), 6.0)
    assert (venue.fills(), book.stops(6.0)) == ([("a", D(2), D(later))], ())
    assert venue.statuses("a") == ["live", "triggered", "filled"]


def test_a_delayed_stop_can_be_cancelled_but_not_amended_and_ends_with_its_position() -> None:
    venue = Venue(trigger_delay=5.0, can_amend=True)
    venue.enter()
    for name in ("a", "b"):
        venue.place(name, "98")
    venue.feed("97")
    with pytest.raises(StopRejected, match="triggered"):
        venue.book.amend(BTC, "a", D(90), D(1), 2.0)
    venue.book.cancel(BTC, "a", 2.0)
    assert venue.live() == {"b": D(2)}
    venue.book.close(BTC, "long", D(2), 3.0)
    assert venue.statuses("a") == venue.statuses("b") == ["live", "triggered", "cancelled"]
    assert venue.live() == {}


def test_a_trailing_order_is_delayed_too() -> None:
    venue = Venue(trigger_delay=5.0)
    venue.enter()
    venue.trail("t", "102", "1")
    venue.move("104", "102")
    assert [order.triggered for order in venue.book.stops(1.0)] == [True]
    venue.book.move_to(Tick(BTC, D(110), 6.0), 6.0)
    assert venue.fills() == [("t", D(2), D(102))], "where the move begins"


def test_the_rest_after_a_partial_fill_is_listed_as_triggered() -> None:
    venue = Venue(partial_fills=D("0.5"))
    venue.enter()
    order = venue.place("a", "98")
    venue.feed("97")
    assert venue.book.stops(1.0) == (msgspec.structs.replace(order, quantity=D(1), triggered=True),)


def test_every_fill_has_a_trade_id_and_the_filled_quantity_so_far() -> None:
    venue = Venue(partial_fills=D("0.4"), markets={BTC: Market(BTC, quantity_step=D(1))})
    venue.enter(quantity="9")
    venue.place("a", "98", quantity="5")
    for price in ("97", "96", "95"):
        venue.feed(price)
    venue.book.close(BTC, "long", D(3), 1.0, client_order_id="b")
    updates = [update for update in venue.updates if isinstance(update, OrderUpdate)]
    assert [(update.status, update.filled) for update in updates] == [
        ("live", D(0)),
        ("triggered", D(0)),
        ("partial", D(2)),
        ("partial", D(4)),
        ("filled", D(5)),
        ("filled", D(3)),
    ]
    assert [update.fill.trade_id for update in updates if update.fill] == [f"trade-{BTC}-{n}" for n in (1, 2, 3, 4)]


def test_a_cancelled_stop_has_its_filled_quantity_and_a_reason_unless_it_was_requested() -> None:
    def end(venue: Venue) -> tuple[D | None, str]:
        update = [each for each in venue.updates if isinstance(each, OrderUpdate) and each.status == "cancelled"][-1]
        return update.filled, update.reason

    venue = Venue(partial_fills=D("0.5"))
    venue.enter()
    venue.place("a", "98")
    venue.feed("97")
    venue.book.cancel(BTC, "a", 1.0)
    assert end(venue) == (D(1), "")
    venue.place("b", "96", quantity="1")
    venue.feed("96")
    venue.book.close(BTC, "long", D(1), 1.0)
    assert end(venue) == (D("0.5"), "the position is flat")
    venue.enter()
    venue.place("c", "95")
    venue.book.close(BTC, "long", D(2), 1.0)
    venue.feed("95")
    assert end(venue) == (D(0), "nothing to reduce")
    venue = Venue(leverage=D(10))
    venue.enter()
    venue.place("d", "80")
    venue.feed("89")
    assert end(venue) == (D(0), "the position is liquidated")


def test_a_share_below_one_step_fills_one_step() -> None:
    venue = Venue(partial_fills=D("0.01"), markets={BTC: Market(BTC, quantity_step=D(1))})
    venue.enter(quantity="2")
    venue.place("a", "98")
    venue.feed("97")
    assert venue.fills() == [("a", D(1), D(97))]


def test_a_callable_decides_how_much_of_a_triggered_stop_fills_also_nothing() -> None:
    asked: list[tuple[D, D]] = []

    def partial_fills(order: StopOrder, tick: Tick) -> D:
        asked.append((order.quantity, tick.price))
        return {D(97): D(0), D(96): D("1.5"), D(95): D(99)}[tick.price]

    venue = Venue(partial_fills=partial_fills, markets={BTC: Market(BTC, quantity_step=D(1))})
    venue.enter(quantity="3")
    venue.place("a", "98", quantity="3")
    for price in ("97", "96", "95"):
        venue.feed(price)
    assert venue.fills() == [("a", D(1), D(96)), ("a", D(2), D(95))]
    assert asked == [(D(3), D(97)), (D(3), D(96)), (D(2), D(95))]


def test_an_invalid_result_of_the_partial_fills_callable_is_refused() -> None:
    venue = Venue(partial_fills=lambda order, tick: 0.5)
    venue.enter()
    venue.place("a", "98")
    with pytest.raises(UsageError, match="partial_fills"):
        venue.feed("97")


def test_the_rest_of_a_triggered_stop_never_closes_the_next_position() -> None:
    venue = Venue(partial_fills=D("0.5"))
    venue.enter()
    venue.place("a", "98")
    venue.feed("97")
    venue.book.close(BTC, "long", D(9), 2.0)
    assert venue.statuses("a") == ["live", "triggered", "partial", "cancelled"]
    venue.enter()
    venue.feed("97")
    assert venue.held() == {"long": D(2)}


def test_a_client_order_id_is_never_accepted_twice() -> None:
    venue = Venue()
    venue.enter()
    venue.place("live", "98")
    venue.place("gone", "97")
    venue.book.cancel(BTC, "gone", 0.0)
    venue.book.close(BTC, "long", D(1), 0.0, client_order_id="closed")
    for name in ("live", "gone", "closed"):
        with pytest.raises(StopRejected, match="duplicate"):
            venue.place(name, "96", quantity="1")
        with pytest.raises(StopRejected, match="duplicate"):
            venue.book.close(BTC, "long", D(1), 0.0, client_order_id=name)
    assert venue.live() == {"live": D(2)}


def test_the_client_order_id_of_a_rejected_stop_stays_free() -> None:
    venue = Venue()
    venue.enter()
    with pytest.raises(WouldTrigger):
        venue.place("a", "101")
    assert venue.place("a", "99").client_order_id == "a"


@pytest.mark.parametrize(("side", "crossed", "clear"), [("long", "100", "99.99"), ("short", "100", "100.01")])
def test_a_stop_that_would_trigger_at_once_is_rejected(side: Side, crossed: str, clear: str) -> None:
    venue = Venue()
    venue.enter(side)
    with pytest.raises(WouldTrigger):
        venue.place("a", crossed, side=side)
    assert venue.live() == {}
    venue.place("a", clear, side=side)


def test_would_trigger_is_decided_by_the_stop_s_own_source() -> None:
    venue = Venue()
    venue.enter()
    venue.feed("90", "mark")
    venue.place("by last", "95")
    with pytest.raises(WouldTrigger):
        venue.place("by mark", "95", source="mark")


@pytest.mark.parametrize("side", ["long", "short"])
def test_a_stop_without_a_position_has_nothing_to_reduce(side: Side) -> None:
    venue = Venue()
    other: Side = "short" if side == "long" else "long"
    for _ in range(2):
        with pytest.raises(NothingToReduce):
            venue.place("a", "98", side=side)
        with pytest.raises(NothingToReduce):
            venue.book.close(BTC, side, D(1), 0.0, client_order_id="b")
        venue.enter(other)


def test_a_stop_larger_than_the_position_is_rejected() -> None:
    venue = Venue()
    venue.enter()
    with pytest.raises(StopRejected, match="larger than the position"):
        venue.place("a", "98", quantity="2.1")


MARKET = Market(BTC, D("0.5"), D("0.2"), D("0.6"), D("70"), can_amend=True)


@pytest.mark.parametrize(
    ("price", "quantity", "why"),
    [("98.1", "2", "tick"), ("98", "1.1", "step"), ("98", "0.4", "minimum 0.6"), ("98", "0.6", "notional")],
)
def test_a_stop_that_violates_a_rule_of_the_market_is_rejected(price: str, quantity: str, why: str) -> None:
    venue = Venue(markets={BTC: MARKET})
    venue.enter()
    with pytest.raises(StopRejected, match=why):
        venue.place("a", price, quantity=quantity)
    assert venue.live() == {}
    venue.place("a", "98", quantity="0.8")
    with pytest.raises(StopRejected, match=why):
        venue.book.amend(BTC, "a", D(price), D(quantity), 0.0)
    assert venue.live() == {"a": D("0.8")}


def test_a_stop_for_the_whole_position_is_exempt_from_the_minimum_notional() -> None:
    venue = Venue(markets={BTC: MARKET})
    venue.enter(quantity="0.6")
    venue.place("a", "98", quantity="0.6")


def test_a_stop_for_the_whole_position_still_keeps_to_the_step_and_the_minimum_quantity() -> None:
    venue = Venue(markets={BTC: MARKET})
    venue.enter(quantity="0.7")
    with pytest.raises(StopRejected, match="step"):
        venue.place("a", "98", quantity="0.7")


def test_the_whole_position_may_be_closed_whatever_the_step_and_the_minimum() -> None:
    venue = Venue(markets={BTC: MARKET})
    for quantity in ("0.1", "0.1000", "7"):
        venue.enter(quantity="0.1")
        fill = venue.book.close(BTC, "long", D(quantity), 3.0, client_order_id=quantity)
        assert (fill.quantity, fill.price, fill.at) == (D("0.1"), D(100), 3.0)
        assert venue.held() == {}


@pytest.mark.parametrize(("quantity", "why"), [("1.1", "step"), ("0.4", "minimum 0.6"), ("0.6", "notional")])
def test_closing_a_part_must_keep_to_the_rules_of_the_market(quantity: str, why: str) -> None:
    venue = Venue(markets={BTC: MARKET})
    venue.enter()
    with pytest.raises(StopRejected, match=why):
        venue.book.close(BTC, "long", D(quantity), 0.0, client_order_id="a")
    assert venue.held() == {"long": D(2)}
    venue.book.close(BTC, "long", D("0.8"), 0.0, client_order_id="a")
    assert venue.held() == {"long": D("1.2")}


def test_a_close_fills_at_the_last_price() -> None:
    venue = Venue()
    venue.enter()
    venue.feed("103")
    venue.feed("104", "mark")
    assert venue.book.close(BTC, "long", D(1), 0.0, client_order_id="a").price == D(103)
    assert venue.statuses("a") == ["filled"]


def test_a_close_fills_at_the_mark_price_if_there_is_no_last_price() -> None:
    venue = Venue()
    venue.enter(price="100")
    venue.feed("103", "mark")
    saved = venue.book.save(BTC)
    assert venue.book.close(BTC, "long", D(1), 0.0, client_order_id="a").price == D(103)
    again = Venue()
    again.book.restore([saved], (), 0.0)
    assert again.book.close(BTC, "long", D(1), 0.0, client_order_id="a").price == D(103)
    assert again.book.price(BTC, "last") == D(100), "a stop by the last price is still checked against the entry's"


def test_a_second_stop_is_rejected_where_only_one_is_allowed() -> None:
    venue = Venue(two_stops=False)
    venue.enter()
    venue.place("a", "98", quantity="1")
    with pytest.raises(StopRejected, match="only one"):
        venue.place("b", "97", quantity="1")
    venue.book.cancel(BTC, "a", 0.0)
    venue.place("b", "97", quantity="1")


def test_one_stop_per_position_is_two_per_symbol_in_hedge_mode() -> None:
    venue = Venue(two_stops=False, hedged=True)
    venue.enter("long")
    venue.enter("short")
    venue.place("a", "98")
    venue.place("b", "102", side="short")
    assert venue.live() == {"a": D(2), "b": D(2)}


def test_an_amended_stop_keeps_its_ids_and_triggers_at_its_new_price() -> None:
    venue = Venue(can_amend=True)
    venue.enter()
    order = venue.place("a", "98")
    moved = venue.book.amend(BTC, "a", D(99), D(1), 0.0)
    assert moved == StopOrder(BTC, "long", D(1), D(99), "a", order.order_id)
    assert venue.book.stops(0.0) == (moved,)
    venue.feed("99")
    assert venue.fills() == [("a", D(1), D(99))]


def test_a_gone_stop_can_not_be_amended_or_cancelled_and_a_triggered_one_not_amended() -> None:
    venue = Venue(partial_fills=D("0.5"))
    venue.enter()
    venue.place("a", "98")
    venue.feed("97")
    with pytest.raises(StopRejected, match="triggered") as caught:
        venue.book.amend(BTC, "a", D(90), D(1), 0.0)
    assert type(caught.value) is StopRejected, "it is there"
    venue.book.cancel(BTC, "a", 0.0)
    for call in (
        lambda: venue.book.cancel(BTC, "a", 0.0),
        lambda: venue.book.amend(BTC, "a", D(90), D(1), 0.0),
        lambda: venue.book.cancel("ETH/USDT:USDT", "a", 0.0),
        lambda: venue.book.cancel_anywhere("a", 0.0),
    ):
        with pytest.raises(NoSuchStop, match="no live stop"):
            call()


def test_a_rejected_amendment_leaves_the_stop_unchanged() -> None:
    venue = Venue(can_amend=True)
    venue.enter()
    order = venue.place("a", "98")
    with pytest.raises(WouldTrigger):
        venue.book.amend(BTC, "a", D(100), D(2), 0.0)
    with pytest.raises(StopRejected, match="larger than the position"):
        venue.book.amend(BTC, "a", D(99), D(3), 0.0)
    venue.book.close(BTC, "long", D(2), 0.0)
    with pytest.raises(NothingToReduce):
        venue.book.amend(BTC, "a", D(99), D(2), 0.0)
    assert venue.book.stops(0.0) == (order,)


def test_a_second_entry_increases_the_position_and_averages_its_entry_price() -> None:
    venue = Venue()
    venue.enter(quantity="1", price="100")
    venue.enter(quantity="3", price="104")
    assert venue.book.positions(0.0) == (PositionReport(BTC, "long", D(4), D(103)),)
    assert venue.updates[-1] == PositionUpdate(BTC, "long", D(4), 0.0)


def test_an_entry_after_flat_starts_from_its_own_price() -> None:
    venue = Venue()
    venue.enter(price="100")
    venue.book.close(BTC, "long", D(2), 0.0)
    venue.enter(price="200")
    assert venue.book.positions(0.0) == (PositionReport(BTC, "long", D(2), D(200)),)


def test_an_entry_sets_prices_only_where_there_are_none() -> None:
    venue = Venue()
    venue.feed("101", "mark")
    with pytest.raises(ExchangeUnreachable, match="no last price"):
        venue.book.price(BTC, "last")
    venue.enter(price="100")
    sources: tuple[Source, ...] = ("last", "mark", "index")
    assert [venue.book.price(BTC, source) for source in sources] == [D(100), D(101), D(100)]


def test_an_entry_of_the_other_side_is_refused_in_one_way_mode() -> None:
    venue = Venue()
    venue.enter("long")
    with pytest.raises(UsageError, match="one-way"):
        venue.enter("short")
    venue.book.close(BTC, "long", D(2), 0.0)
    venue.enter("short")
    assert venue.held() == {"short": D(2)}


def test_a_leftover_stop_of_a_long_never_touches_the_next_short() -> None:
    venue = Venue()
    venue.enter("long")
    venue.place("a", "98")
    venue.book.close(BTC, "long", D(2), 0.0)
    venue.enter("short")
    venue.feed("90")
    assert venue.held() == {"short": D(2)}
    assert venue.statuses("a") == ["live", "cancelled"]


def test_both_sides_are_independent_in_hedge_mode() -> None:
    venue = Venue(hedged=True)
    venue.enter("long")
    venue.enter("short", quantity="3")
    venue.place("up", "102", side="short", quantity="3")
    venue.place("down", "98")
    venue.feed("103")
    assert venue.held() == {"long": D(2)}
    assert venue.live() == {"down": D(2)}


@pytest.mark.parametrize(
    ("side", "limit", "quiet", "gap"), [("long", "90", "90.01", "89"), ("short", "110", "109.99", "111")]
)
def test_a_position_is_liquidated_at_its_margin_and_its_orders_are_cancelled(
    side: Side, limit: str, quiet: str, gap: str
) -> None:
    venue = Venue(leverage=D(10), hedged=True)
    venue.enter(side)
    (report,) = venue.book.positions(0.0)
    assert report.liquidation_price == D(limit)
    far = "80" if side == "long" else "120"
    venue.place("a", far, side=side, source="mark")
    venue.feed(quiet)
    assert venue.held() == {side: D(2)}
    venue.feed(gap)
    assert (venue.held(), venue.live()) == ({}, {})
    assert venue.statuses("a") == ["live", "cancelled"]
    assert [(quantity, price) for _, quantity, price in venue.fills()] == [(D(2), D(gap))]


def test_a_stop_before_the_liquidation_price_fills_first_also_in_a_gap_through_both() -> None:
    venue = Venue(leverage=D(10))
    venue.enter()
    venue.place("a", "95")
    venue.feed("80")
    assert venue.fills() == [("a", D(2), D(80))]


def test_the_liquidation_price_is_rounded_towards_the_entry_and_follows_the_average() -> None:
    venue = Venue(leverage=D(3), markets={BTC: Market(BTC, price_tick=D("0.1"))})
    venue.enter(price="100")
    assert venue.book.positions(0.0)[0].liquidation_price == D("66.7")
    venue.enter(price="110")
    assert venue.book.positions(0.0)[0].liquidation_price == D("70.0")


def test_a_long_with_leverage_1_has_no_liquidation_price() -> None:
    venue = Venue(leverage=D(1), hedged=True)
    venue.enter("long")
    venue.enter("short")
    assert [report.liquidation_price for report in venue.book.positions(0.0)] == [None, D(200)]


def test_a_close_by_hand_closes_at_most_the_open_quantity_and_ignores_the_step() -> None:
    venue = Venue(markets={BTC: MARKET})
    venue.enter()
    assert venue.book.close(BTC, "long", D("0.05"), 0.0).quantity == D("0.05")
    assert venue.book.close(BTC, "long", D(9), 0.0).quantity == D("1.95")
    with pytest.raises(NothingToReduce):
        venue.book.close(BTC, "long", D(1), 0.0)


def test_reads_lag_and_a_duplicate_is_rejected_at_once() -> None:
    venue = Venue(orders_read_lag=1.0, positions_read_lag=2.0, can_amend=True)
    book = venue.book
    book.enter(Position(BTC, "long", D(2), D(100), OPENED), 10.0)
    request = StopRequest(BTC, "long", D(2), D(98), "a")
    order = book.place(request, 10.5)
    assert (book.positions(11.9), book.positions(12.0)) == ((), (PositionReport(BTC, "long", D(2), D(100)),))
    assert (book.find(BTC, "a", 11.4), book.find(BTC, "a", 11.5)) == (None, order)
    with pytest.raises(StopRejected, match="duplicate"):
        book.place(request, 11.5)
    moved = book.amend(BTC, "a", D(99), D(2), 12.0)
    assert (book.stops(12.9), book.stops(13.0)) == ((order,), (moved,))
    book.cancel(BTC, "a", 14.0)
    assert (book.stops(14.9), book.stops(15.0)) == ((moved,), ())
    book.close(BTC, "long", D(2), 16.0)
    assert (len(book.positions(17.9)), len(book.positions(18.0))) == (1, 0)


def test_an_unknown_symbol_has_a_permissive_market_and_an_invalid_one_has_none() -> None:
    book = Venue(markets={BTC: MARKET}, can_amend=True, two_stops=False).book
    assert book.market(BTC) is MARKET
    assert book.market("NEW/USDT:USDT") == Market("NEW/USDT:USDT", can_amend=True, two_stops=False)
    with pytest.raises(UsageError):
        book.market("BTCUSDT")
