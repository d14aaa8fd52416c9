"""A plan that has the exchange trail: what it takes, and what the plain stop does beside the exchange's own order.

The plan is that of `driver`: entry 100, initial stop 98, from 101 on at 1 % behind the best price.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from driver import FOLLOWS, MARKET, OPENED, SUCCESSOR, TIMING, D, Driver, a_plan, a_position, a_report, a_stop, waiting
from msgspec.structs import replace

from trailing.core.inputs import CheckWanted, OrderUpdated, PlanReplaced, PricesMissed, StopFound
from trailing.core.model import CallbackRange, Percent, Side, StopOrder
from trailing.core.native import NativeTerms, check_native_market, native_terms
from trailing.core.next_request import NEVER
from trailing.core.plan import TrailPlan, decode_plan
from trailing.core.requests import (
    CancelStop,
    ClosePosition,
    FindOrder,
    PlaceNative,
    PlaceStop,
    ReadCandles,
    ReadPrice,
    ReplaceStop,
)
from trailing.core.rules import Breakeven, Callback, Rule
from trailing.core.states import State
from trailing.errors import ExchangeUnreachable, NoSuchPosition, OutcomeUnknown, StopRejected, UsageError
from trailing.events import NativeTrailingBegan, NativeTrailingEnded

CALLBACKS = CallbackRange(Percent("0.1"), Percent(10), Percent("0.1"))
NATIVE_MARKET = replace(MARKET, native_callbacks=CALLBACKS)
NATIVE = a_plan(native=True)
OURS = a_plan()
PLACE = PlaceNative(D(101), Percent(1), D(1))
UNWANTED = "it is not wanted any more"
SUPERSEDED = "another stop of its position counts"


def a_native(name: str = "b", quantity: str = "1", **fields: Any) -> StopOrder:
    """The trailing order of the plan."""
    return a_stop(name, "101", quantity, **({"callback": Percent(1)} | fields))


def untrailed(side: Side = "long", **plan: Any) -> Driver:
    """One whose plain stop ``a`` is live, and whose trailing order is not placed yet."""
    return waiting(side, market=NATIVE_MARKET, **({"native": True} | plan))


def trailed(side: Side = "long", **plan: Any) -> Driver:
    """One whose trailing order ``b`` is live."""
    driver = untrailed(side, **plan)
    driver.does()
    assert driver.state.is_trailed_by_exchange
    return driver


# What it takes.


@pytest.mark.parametrize(
    ("rules", "native", "says"),
    [
        ((), True, "TrailPlan.rules got 'none', wants exactly one Callback, with native=True"),
        ((Breakeven(at=Percent(1)),), True, "TrailPlan.rules got 'Breakeven', wants exactly one Callback"),
        ((FOLLOWS, Breakeven(at=Percent(1))), True, "TrailPlan.rules got 'Callback, Breakeven', wants exactly one"),
        ((Callback(D(1), activation=Percent(1)),), True, r"rules\[0\].distance got Decimal\('1'\), wants a Percent"),
        ((Callback(Percent(1)),), True, r"rules\[0\].activation got Percent.*, wants a profit above 0"),
        ((Callback(Percent(1), activation=D(0)),), True, r"rules\[0\].activation got Decimal\('0'\), wants a profit"),
        ((FOLLOWS,), 1, "TrailPlan.native got 1, wants True or False"),
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
        ({"two_stops": False}, "1", "TrailPlan.native got True, wants False: BTC/USDT:USDT allows one live stop"),
        ({}, "0.05", r"rules\[0\].distance got '0.05%', wants 0.1% to 10% in steps of 0.1%, as BTC/USDT:USDT takes it"),
        ({}, "0.15", r"rules\[0\].distance got '0.15%'"),
        ({}, "10.1", r"rules\[0\].distance got '10.1%'"),
    ],
)
def test_a_market_that_can_not_carry_it_out_is_named(changes: dict[str, Any], distance: str, says: str) -> None:
    market = replace(NATIVE_MARKET, **changes)
    rules = (Callback(Percent(distance), activation=Percent(1)),)
    with pytest.raises(UsageError, match=says):
        check_native_market(replace(NATIVE, rules=rules), market)
    check_native_market(replace(OURS, rules=rules), market)


def test_a_market_that_can_carry_it_out_is_taken() -> None:
    check_native_market(NATIVE, NATIVE_MARKET)


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
    terms = native_terms(replace(NATIVE, rules=rules), a_position(side), NATIVE_MARKET)
    assert terms == NativeTerms(D(activation), Percent(1))


# Before it is live.


@pytest.mark.parametrize(("side", "activation"), [("long", "101"), ("short", "99")])
def test_it_is_placed_once_its_stop_is_live_and_the_opening_has_ended(side: Side, activation: str) -> None:
    driver = untrailed(side)
    assert driver.does() == PlaceNative(D(activation), Percent(1), D(1))
    assert driver.last(NativeTrailingBegan) == {
        "quantity": D(1),
        "activation": D(activation),
        "callback": D(1),
        "client_order_id": "b",
    }
    assert driver.wants() == NEVER
    assert waiting(market=NATIVE_MARKET).wants() == NEVER


@pytest.mark.parametrize("too_late", ["the price was there", "tightened"])
def test_it_is_not_wanted_any_more_where_the_plain_stop_is_trailed_by_now(too_late: str) -> None:
    driver = untrailed()
    if too_late == "tightened":
        driver.shows(driver.live["a"], a_report(liquidation="98.7"))
    else:
        driver.sees("101", "100")
    assert driver.state.native_task is None
    assert "NativeTrailingEnded" in driver.events
    assert isinstance(driver.wants(), ReplaceStop)


def test_it_waits_for_the_plain_stop_for_what_is_unknown_and_for_the_peaks_of_a_gap() -> None:
    driver = untrailed()
    driver.cancels("a")
    assert driver.fails(ExchangeUnreachable("no")) == PlaceStop(D(98), D(1))
    assert driver.wants() == 0.2
    driver = untrailed()
    driver.step(PricesMissed(OPENED + timedelta(minutes=5), OPENED + timedelta(minutes=9)), 540.0)
    assert isinstance(driver.wants(), ReadCandles)
    driver.fails(ExchangeUnreachable("no"))
    assert driver.wants() == 545.0
    assert driver.wants(546.0) == ReadCandles(OPENED + timedelta(minutes=4))


def test_it_covers_what_the_plain_stop_covers() -> None:
    driver = untrailed()
    driver.shows(driver.live["a"], a_report("2"))
    assert [type(request) for request in driver.settles()] == [ReplaceStop, CancelStop, PlaceNative]
    assert driver.live["c"].quantity == D(2)


@pytest.mark.parametrize("error", [StopRejected("no"), UsageError("no")])
def test_one_that_is_refused_is_not_tried_again(error: Exception) -> None:
    driver = untrailed()
    driver.fails(error)
    assert (driver.state.native_task, driver.wants(1e9)) == (None, NEVER)
    assert driver.last(NativeTrailingEnded)["reason"] == "no"
    driver.sees("103")
    assert driver.wants() == ReplaceStop(D("101.97"), D(1), "a")


def test_one_that_has_nothing_to_reduce_doubts_the_position() -> None:
    driver = waiting(market=NATIVE_MARKET, native=True, timing=TIMING)
    driver.fails(NoSuchPosition("flat"))
    assert driver.state.snapshot_at == 1.0
    assert driver.state.native_task is None


def test_one_that_was_not_reached_is_tried_again() -> None:
    driver = untrailed()
    driver.fails(ExchangeUnreachable("no"))
    assert driver.wants() == 0.2
    assert driver.wants(0.2) == PLACE


def test_one_that_was_filled_before_it_was_acknowledged_is_not_live() -> None:
    driver = untrailed()
    driver.begins()
    answer = driver.executes()
    driver.fills("b", "1", price="100", trade="1")
    driver.answers(answer)
    assert (driver.state.native, driver.state.native_task, driver.state.state) == (None, None, State.EXITING)


def test_one_whose_acknowledged_quantity_was_filled_before_is_not_live() -> None:
    driver = untrailed()
    driver.begins()
    driver.fills("b", "0.9", price="100", trade="1")
    driver.answers(a_native(quantity="0.9"))
    assert (driver.state.native, driver.state.native_task, list(driver.state.orders)) == (None, None, ["a"])


def test_one_that_was_filled_in_part_before_is_live_with_the_rest() -> None:
    driver = untrailed()
    driver.begins()
    answer = driver.executes()
    driver.fills("b", "0.4", price="100", trade="1")
    driver.answers(answer)
    native = driver.state.native
    assert native is not None
    assert native.order is not None
    assert native.order.quantity == D("0.6")


def test_one_whose_order_ended_before_its_answer_is_not_brought_back() -> None:
    for error in (None, OutcomeUnknown("?")):
        driver = untrailed()
        driver.begins()
        driver.step(OrderUpdated("b", "cancelled"))
        driver.answers(a_native(), error=error)
        assert list(driver.state.orders) == ["a"]


@pytest.mark.parametrize("wrong", ["terms", "quantity", "plan", "too late"])
def test_one_that_is_found_and_is_not_what_is_wanted_is_withdrawn(wrong: str) -> None:
    driver = untrailed()
    driver.begins()
    driver.answers(error=OutcomeUnknown("?"))
    found = a_native(quantity="0.5") if wrong == "quantity" else a_native()
    if wrong == "terms":
        found = a_native(callback=Percent(2))
    elif wrong == "plan":
        driver.step(PlanReplaced(OURS))
    elif wrong == "too late":
        driver.sees("101")
    driver.live["b"] = found
    assert driver.does() == FindOrder("b")
    assert (driver.state.native_task, driver.state.is_trailed_by_exchange) == ("withdraw", False)
    assert CancelStop("b", UNWANTED) in driver.settles()


def test_one_of_unknown_outcome_that_is_found_in_time_trails() -> None:
    driver = untrailed()
    driver.fails(OutcomeUnknown("?"), executed=True)
    driver.does()
    assert driver.state.is_trailed_by_exchange


def test_one_of_unknown_outcome_that_never_arrived_is_placed_again() -> None:
    driver = untrailed()
    driver.fails(OutcomeUnknown("?"))
    driver.does()
    driver.at = 0.25
    assert driver.settles() == [FindOrder("b"), PLACE]
    assert "NativeTrailingEnded" not in driver.events


# While it is live.


@pytest.mark.parametrize(
    ("side", "peaks", "target"), [("long", ("101", "103", "102"), "101.97"), ("short", ("99", "97", "97.5"), "97.97")]
)
def test_no_move_is_wanted_and_the_peaks_and_the_target_are_kept(
    side: Side, peaks: tuple[str, ...], target: str
) -> None:
    driver = trailed(side)
    driver.sees(*peaks)
    assert driver.wants() == NEVER
    assert driver.stop_price == driver.state.ratchet.first_stop
    assert (driver.state.target, driver.state.ratchet.best) == (D(target), D(peaks[1]))
    after = driver.restarted()
    after.shows_all()
    assert after.state.is_trailed_by_exchange


def test_a_crossing_of_the_target_ends_in_an_exit_when_the_exchange_does_not_fill_it() -> None:
    driver = trailed()
    driver.sees("103", at=10.0)
    driver.sees("101.97", at=11.0)
    assert driver.wants() == 13.0
    assert driver.wants(12.9) == 13.0
    assert driver.wants(13.0) == ReadPrice("crossing")
    driver.does()
    assert driver.wants() == ClosePosition(D(1), "the stop was crossed and not filled within 2.0 s")


def test_it_is_not_the_stop_and_an_unprotected_position_is_covered_where_our_stop_would_be() -> None:
    driver = trailed()
    driver.sees("102")
    driver.cancels("a")
    assert (driver.state.state, driver.stop_price) == (State.UNPROTECTED, None)
    assert driver.wants() == PlaceStop(D("100.98"), D(1))


def test_one_that_stays_as_it_was_goes_on() -> None:
    driver = trailed()
    driver.shows_all(at=10.0)
    driver.shows_all(at=20.0)
    assert (driver.wants(), driver.state.is_trailed_by_exchange) == (NEVER, True)


@pytest.mark.parametrize("changes", [{"quantity": "0.5"}, {"callback": Percent(2)}])
def test_a_trailing_order_that_a_person_changed_is_withdrawn(changes: dict[str, Any]) -> None:
    driver = trailed()
    driver.sees("103")
    driver.live["b"] = a_native(**changes)
    driver.shows_all(at=10.0)
    assert (driver.state.native_task, driver.state.is_trailed_by_exchange) == ("withdraw", False)
    assert ReplaceStop(D("101.97"), D(1), "a") in driver.settles()


# When it ends.


@pytest.mark.parametrize("restarted", [False, True])
def test_as_soon_as_it_is_gone_the_plain_stop_is_wanted_at_the_target(restarted: bool) -> None:
    driver = trailed()
    driver.sees("104", "103.5")
    if restarted:
        driver = driver.restarted(at=5.0)
        driver.shows_all()
    driver.cancels("b")
    assert (driver.state.native, driver.state.native_task) == (None, None)
    assert driver.last(NativeTrailingEnded) == {
        "reason": "it is gone, and we did not cancel it",
        "client_order_id": "b",
    }
    assert driver.wants() == ReplaceStop(D("102.96"), D(1), "a")


def test_a_trailing_order_is_gone_once_two_snapshots_and_a_look_up_do_not_show_it() -> None:
    driver = waiting(market=NATIVE_MARKET, native=True, timing=TIMING)
    driver.does()
    driver.shows(driver.live["a"], a_report(), at=10.0)
    assert driver.state.is_trailed_by_exchange
    driver.shows(driver.live["a"], a_report(), at=11.0)
    del driver.live["b"]
    assert driver.does() == FindOrder("b")
    assert driver.state.native is None


def test_its_whole_fill_ends_the_position_though_the_plain_stop_is_still_live() -> None:
    driver = trailed()
    driver.fills("b", "1", price="100", status="filled")
    assert (driver.state.native, driver.state.native_task) == (None, None)
    assert (driver.state.state, driver.state.quantity, driver.stop_price) == (State.EXITING, D(0), D(98))
    driver.shows(driver.live["a"], a_report(symbol="ETH/USDT:USDT"), at=1.0)
    assert driver.settles() == [CancelStop("a", "its position is closed")]


def test_a_part_of_it_leaves_the_rest_trailing() -> None:
    driver = trailed()
    driver.fills("b", "0.4", price="100")
    native = driver.state.native
    assert native is not None
    assert native.order is not None
    assert (native.order.quantity, driver.state.quantity) == (D("0.6"), D("0.6"))
    assert driver.state.is_trailed_by_exchange
    assert driver.wants() == ReplaceStop(D(98), D("0.6"), "a")


@pytest.mark.parametrize("what", ["fill", "resize", "tighten"])
def test_whatever_else_is_asked_of_the_plain_stop_ends_the_native_trailing(what: str) -> None:
    driver = trailed()
    driver.sees("102")
    if what == "fill":
        driver.fills("a", "0.5")
    elif what == "resize":
        driver.shows(*driver.live.values(), a_report("2"))
    else:
        driver.shows(*driver.live.values(), a_report(liquidation="101"))
    assert (driver.state.native_task, driver.state.is_trailed_by_exchange) == ("withdraw", False)
    assert driver.record().native_task == "withdraw"
    done = driver.settles()
    assert CancelStop("b", UNWANTED) in done
    assert (driver.state.native, driver.state.native_task) == (None, None)


def test_a_liquidation_price_that_wants_no_more_than_the_target_leaves_it_trailing() -> None:
    driver = trailed()
    driver.sees("102")
    driver.shows(*driver.live.values(), a_report(liquidation="98.5"))
    assert driver.state.is_trailed_by_exchange


def test_one_that_is_being_withdrawn_is_not_asked_for_again() -> None:
    driver = trailed()
    driver.step(PlanReplaced(OURS))
    driver.fails(OutcomeUnknown("?"))
    assert driver.does() == FindOrder("b")
    assert driver.wants(0.2) == CancelStop("b", UNWANTED)


def test_it_is_cancelled_with_the_position() -> None:
    driver = trailed()
    driver.fills("a", "1", status="filled")
    driver.shows(driver.live["b"], a_report(symbol="ETH/USDT:USDT"), at=1.0)
    assert driver.settles() == [CancelStop("b", "its position is closed")]
    assert "NativeTrailingEnded" not in driver.events


def test_one_that_no_row_has_is_cancelled_and_never_the_stop() -> None:
    driver = trailed()
    stray = a_native("z")
    driver.step(StopFound(stray))
    driver.live["z"] = stray
    assert driver.settles() == [CancelStop("z", UNWANTED)]
    assert driver.state.live is not None
    assert driver.state.live.id == "a"


def test_a_stored_order_whose_intent_alone_is_known_is_a_trailing_one_once_it_is_shown() -> None:
    driver = untrailed()
    driver.fails(OutcomeUnknown("?"), executed=True)
    after = driver.restarted(at=5.0)
    assert after.row("b").purpose == "stop"
    after.shows_all()
    assert (after.row("b").purpose, after.state.is_trailed_by_exchange) == ("native", True)


# Another plan.


def test_no_trailing_order_is_placed_for_a_position_that_may_be_another_one() -> None:
    driver = untrailed()
    driver.step(CheckWanted(SUCCESSOR))
    assert driver.wants() == NEVER
    driver.shows_all()
    assert isinstance(driver.wants(), PlaceNative)


def test_under_another_plan_it_goes_on_is_withdrawn_or_replaced() -> None:
    wider = replace(NATIVE, rules=(Callback(Percent(2), activation=Percent(1)),))
    driver = trailed()
    driver.step(PlanReplaced(replace(NATIVE, exit_grace=9.0)))
    assert driver.state.is_trailed_by_exchange
    driver.step(PlanReplaced(wider))
    assert driver.state.native_task == "replace"
    driver.step(PlanReplaced(NATIVE))
    assert driver.state.native_task == "replace"
    assert driver.settles() == [CancelStop("b", UNWANTED), PLACE]
    driver.step(PlanReplaced(OURS))
    assert driver.settles() == [CancelStop("c", UNWANTED)]
    driver.step(PlanReplaced(NATIVE))
    assert driver.wants() == PLACE
    driver.step(PlanReplaced(OURS))
    assert driver.state.native_task is None
