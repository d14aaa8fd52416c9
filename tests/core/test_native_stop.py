"""A plan that has the exchange trail: what it takes, and what the plain stop does beside the exchange's own order.

The plan is that of `test_stop_ticks`: entry 100, initial stop 98, from 101 on at 1 % behind the best price.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal as D
from typing import Any

import msgspec
import pytest

from trailing.core.model import CallbackRange, Fill, Market, Percent, Position, Side, StopOrder, Tick
from trailing.core.native import NativeTerms, check_native_market, native_terms
from trailing.core.plan import TrailPlan, decode_plan
from trailing.core.record import StopRecord
from trailing.core.rules import Breakeven, Callback, Rule
from trailing.core.states import CLOSED, EXITING, LIVE, UNPROTECTED
from trailing.core.stop import TrailingStop
from trailing.core.trail import ExitPosition, MoveStop
from trailing.errors import UsageError

SYMBOL = "BTC/USDT:USDT"
CALLBACKS = CallbackRange(Percent("0.1"), Percent(10), Percent("0.1"))
MARKET = Market(SYMBOL, price_tick=D("0.01"), quantity_step=D("0.1"), native_callbacks=CALLBACKS)
RULES = (Callback(Percent(1), activation=Percent(1)),)
NATIVE = TrailPlan(initial_stop=Percent(2), rules=RULES, native=True)
OURS = msgspec.structs.replace(NATIVE, native=False)


def waiting(side: Side = "long", plan: TrailPlan = NATIVE) -> TrailingStop:
    stop = TrailingStop(Position(SYMBOL, side, D(1), D(100), datetime(2026, 1, 2, tzinfo=UTC)), plan, MARKET, 0.0)
    stop.opened(order(stop, stop.first_price), 0.0)
    return stop


def order(stop: TrailingStop, price: D, name: str = "plain", quantity: str = "1", **fields: Any) -> StopOrder:
    return StopOrder(SYMBOL, stop.position.side, D(quantity), price, name, f"exchange-{name}", **fields)


def native_order(stop: TrailingStop, quantity: str = "1") -> StopOrder:
    terms = native_terms(NATIVE, stop.position, MARKET)
    return order(stop, terms.activation, "native", quantity, callback=terms.callback)


def trailed(side: Side = "long") -> TrailingStop:
    """One whose native order stands."""
    stop = waiting(side)
    assert stop.native_placed(native_order(stop), 1.0) is None
    assert stop.native_trails
    return stop


def tick(price: str, at: float = 2.0) -> Tick:
    return Tick(SYMBOL, D(price), at)


def fill(stop: TrailingStop, quantity: str, name: str) -> Fill:
    return Fill(SYMBOL, stop.position.side, D(quantity), D(100), f"exchange-{name}", name, 3.0)


def again(stop: TrailingStop) -> TrailingStop:
    restored = TrailingStop.restore(
        msgspec.json.decode(msgspec.json.encode(stop.save()), type=StopRecord), MARKET, at=0.0
    )
    assert restored == stop
    return restored


# What it takes.


@pytest.mark.parametrize(
    ("rules", "native", "says"),
    [
        ((), True, "TrailPlan.rules got 'none', wants exactly one Callback, with native=True"),
        ((Breakeven(at=Percent(1)),), True, "TrailPlan.rules got 'Breakeven', wants exactly one Callback"),
        ((*RULES, Breakeven(at=Percent(1))), True, "TrailPlan.rules got 'Callback, Breakeven', wants exactly one"),
        ((Callback(D(1), activation=Percent(1)),), True, r"rules\[0\].distance got Decimal\('1'\), wants a Percent"),
        ((Callback(Percent(1)),), True, r"rules\[0\].activation got Percent.*, wants a profit above 0"),
        ((Callback(Percent(1), activation=D(0)),), True, r"rules\[0\].activation got Decimal\('0'\), wants a profit"),
        (RULES, 1, "TrailPlan.native got 1, wants True or False"),
    ],
)
def test_rules_that_no_native_order_stands_for_are_refused(rules: tuple[Rule, ...], native: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        TrailPlan(initial_stop=Percent(2), rules=rules, native=native)


@pytest.mark.parametrize(
    ("changes", "distance", "says"),
    [
        (
            {"native_callbacks": None},
            "1",
            "TrailPlan.native got True, wants False: BTC/USDT:USDT has no trailing order",
        ),
        ({"two_stops": False}, "1", "TrailPlan.native got True, wants False: one stop may stand on BTC/USDT:USDT"),
        ({}, "0.05", r"rules\[0\].distance got '0.05%', wants 0.1% to 10% in steps of 0.1%, as BTC/USDT:USDT takes it"),
        ({}, "0.15", r"rules\[0\].distance got '0.15%'"),
        ({}, "10.1", r"rules\[0\].distance got '10.1%'"),
    ],
)
def test_a_market_that_can_not_carry_it_out_is_named(changes: dict[str, Any], distance: str, says: str) -> None:
    market = msgspec.structs.replace(MARKET, **changes)
    rules = (Callback(Percent(distance), activation=Percent(1)),)
    with pytest.raises(UsageError, match=says):
        check_native_market(msgspec.structs.replace(NATIVE, rules=rules), market)
    check_native_market(msgspec.structs.replace(OURS, rules=rules), market)


def test_a_range_of_callbacks_is_checked_and_includes_both_its_ends() -> None:
    assert [CALLBACKS.takes(Percent(one)) for one in ("0.1", "10", "0.2", "0.11", "0", "10.1")] == [True] * 3 + [
        False
    ] * 3
    with pytest.raises(UsageError, match=r"CallbackRange got .*, wants three Percent above 0"):
        CallbackRange(Percent("0.1"), Percent(10), Percent(0))


def test_a_native_plan_is_stored_and_read_again_and_an_older_one_is_not_native() -> None:
    assert decode_plan(NATIVE.encoded) == NATIVE
    older = {key: value for key, value in OURS.encoded.items() if key != "native"}
    assert decode_plan(older) == OURS
    with pytest.raises(UsageError, match="TrailPlan.native got 'yes', wants True or False"):
        decode_plan({**NATIVE.encoded, "native": "yes"})


@pytest.mark.parametrize(("side", "activation"), [("long", "100.12"), ("short", "99.88")])
def test_the_activation_is_rounded_so_that_it_does_not_begin_later(side: Side, activation: str) -> None:
    rules = (Callback(Percent(1), activation=Percent("0.125")),)
    position = Position(SYMBOL, side, D(1), D(100), datetime(2026, 1, 2, tzinfo=UTC))
    terms = native_terms(msgspec.structs.replace(NATIVE, rules=rules), position, MARKET)
    assert terms == NativeTerms(D(activation), Percent(1))


# Before it stands.


def test_it_is_to_be_placed_once_its_stop_stands_and_that_one_is_moved_by_us_meanwhile() -> None:
    stop = waiting()
    assert (stop.native_task, stop.native_wanted) == ("place", NativeTerms(D(101), Percent(1)))
    assert stop.on_tick(tick("102")) == MoveStop(D("100.98"), "trailing")
    assert waiting(plan=OURS).native_task is None


@pytest.mark.parametrize("too_late", ["the price was there", "tightened", "bare"])
def test_it_is_not_wanted_any_more_where_the_plain_stop_is_trailed_or_is_not_there(too_late: str) -> None:
    stop = waiting()
    if too_late == "tightened":
        stop.tighten(D(99), 1.0)
    elif too_late == "bare":
        stop.gone("plain", 1.0)
    else:
        stop.on_tick(tick("101"))
        stop.on_tick(tick("100"))
    assert stop.native_wanted is None
    stop.native_dropped(2.0)
    assert stop.native_task is None


def test_one_that_was_filled_before_it_was_acknowledged_does_not_stand() -> None:
    stop = waiting()
    stop.filled(fill(stop, "1", "native"), 1.0)
    stop.native_placed(native_order(stop), 1.0)
    assert (stop.native, stop.native_task, stop.state) == (None, None, EXITING)


def test_one_that_was_filled_in_part_before_stands_with_the_rest() -> None:
    stop = waiting()
    stop.filled(fill(stop, "0.4", "native"), 1.0)
    stop.native_placed(native_order(stop), 1.0)
    assert stop.native_trails
    assert stop.native is not None
    assert stop.native.quantity == D("0.6")


@pytest.mark.parametrize("wrong", ["terms", "quantity", "plan", "too late"])
def test_one_that_is_found_and_is_not_what_is_wanted_is_to_be_withdrawn(wrong: str) -> None:
    stop = waiting()
    found = native_order(stop, quantity="0.5" if wrong == "quantity" else "1")
    if wrong == "terms":
        found = msgspec.structs.replace(found, callback=Percent(2))
    elif wrong == "plan":
        stop.replan(OURS, 0.5)
    elif wrong == "too late":
        stop.on_tick(tick("101"))
    stop.native_placed(found, 1.0)
    assert (stop.native, stop.native_task, stop.native_trails) == (found, "withdraw", False)
    assert stop.on_tick(tick("102")) == MoveStop(D("100.98"), "trailing")


# While it stands.


@pytest.mark.parametrize(
    ("side", "peaks", "target"), [("long", ("101", "103", "102"), "101.97"), ("short", ("99", "97", "98"), "97.97")]
)
def test_no_move_is_wanted_and_the_peaks_and_what_would_be_wanted_are_kept(
    side: Side, peaks: tuple[str, ...], target: str
) -> None:
    stop = trailed(side)
    assert [stop.on_tick(tick(price)) for price in peaks] == [None] * 3
    assert (stop.price, stop.target, stop.best) == (stop.first_price, D(target), D(peaks[1]))
    assert again(stop).native == stop.native


def test_a_crossing_of_where_our_stop_would_be_ends_in_an_exit_when_the_exchange_does_not_fill_it() -> None:
    stop = trailed()
    stop.on_tick(tick("103", at=10.0))
    assert stop.on_tick(tick("101.97", at=11.0)) is None
    assert stop.due_at == 13.0
    assert stop.on_time(12.9) is None
    assert isinstance(stop.on_time(13.0), ExitPosition)


def test_a_move_that_was_wanted_before_it_stood_is_not_waited_for() -> None:
    stop = waiting()
    assert stop.tighten(D("98.5"), 0.5) == MoveStop(D("98.5"), "trailing")
    stop.native_placed(native_order(stop), 1.0)
    assert stop.on_tick(tick("103")) is None
    assert stop.native_gone(5.0) == MoveStop(D("101.97"), "trailing")


# When it ends.


@pytest.mark.parametrize("restarted", [False, True])
def test_as_soon_as_it_is_gone_the_plain_stop_is_wanted_where_it_would_be_by_then(restarted: bool) -> None:
    stop = trailed()
    stop.on_tick(tick("104"))
    stop.on_tick(tick("103.5"))
    if restarted:
        stop = again(stop)
    assert stop.native_gone(5.0) == MoveStop(D("102.96"), "trailing")
    assert (stop.native, stop.native_task) == (None, None)


def test_its_whole_fill_ends_the_position_though_the_plain_stop_still_stands() -> None:
    stop = trailed()
    stop.filled(fill(stop, "1", "native"), 3.0)
    assert (stop.native, stop.native_task, stop.state, stop.quantity) == (None, None, EXITING, D(0))
    assert stop.order is not None


def test_a_part_of_it_leaves_the_rest_standing_and_trailing() -> None:
    stop = trailed()
    stop.filled(fill(stop, "0.4", "native"), 3.0)
    assert stop.native is not None
    assert (stop.native.quantity, stop.quantity, stop.native_trails) == (D("0.6"), D("0.6"), True)
    # What the reading of the account then says of the quantity concerns the plain stop only.
    assert stop.resized(D("0.6"), 4.0) == MoveStop(D(98), "resized")
    assert stop.native_trails


@pytest.mark.parametrize("what", ["fill", "resize", "tighten"])
def test_whatever_else_is_asked_of_the_plain_stop_ends_the_native_trailing(what: str) -> None:
    stop = trailed()
    stop.on_tick(tick("102"))
    if what == "fill":
        decision = stop.filled(fill(stop, "0.5", "plain"), 3.0)
    elif what == "resize":
        decision = stop.resized(D("0.5"), 3.0)
    else:
        decision = stop.tighten(D(101), 3.0)
    assert decision == MoveStop(D(101) if what == "tighten" else D("100.98"), "trailing")
    assert (stop.native_task, stop.native_trails) == ("withdraw", False)
    assert again(stop).native_task == "withdraw"
    assert stop.state in LIVE
    stop.native_gone(4.0)
    assert (stop.native, stop.native_task) == (None, None)


def test_a_stop_that_is_no_tighter_than_what_is_wanted_leaves_it_trailing() -> None:
    stop = trailed()
    stop.on_tick(tick("102"))
    stop.tighten(D(99), 3.0)
    assert stop.native_trails


def test_while_it_stands_the_position_is_not_closed_and_a_bare_one_is_covered_where_our_stop_would_be() -> None:
    stop = trailed()
    stop.on_tick(tick("102"))
    stop.gone("plain", 3.0)
    assert (stop.state, stop.target, stop.native_trails) == (UNPROTECTED, D("100.98"), True)
    with pytest.raises(UsageError, match="can't close: 1 stops live"):
        stop.flat(4.0)
    stop.native_gone(4.0)
    stop.flat(4.0)
    assert stop.state is CLOSED
    stop.flat(5.0)


def test_known_figures_of_it_are_taken_as_they_are_found() -> None:
    stop = trailed()
    stop.resized(D("0.5"), 2.0)
    less = native_order(stop, quantity="0.5")
    stop.native_placed(less, 3.0)
    assert (stop.native, stop.native_task) == (less, "withdraw")


# Another plan.


def test_under_another_plan_it_goes_on_is_withdrawn_or_replaced() -> None:
    wider = msgspec.structs.replace(NATIVE, rules=(Callback(Percent(2), activation=Percent(1)),))
    stop = trailed()
    stop.replan(msgspec.structs.replace(NATIVE, exit_grace=9.0), 2.0)
    assert stop.native_trails
    stop.replan(wider, 3.0)
    assert stop.native_task == "replace"
    stop.replan(NATIVE, 4.0)
    assert stop.native_task == "replace"
    stop.native_gone(5.0)
    assert (stop.native, stop.native_task) == (None, "place")
    stop.replan(OURS, 6.0)
    assert stop.native_task is None
    stop = trailed()
    stop.replan(OURS, 2.0)
    assert stop.native_task == "withdraw"
