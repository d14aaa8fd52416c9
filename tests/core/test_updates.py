"""What a position makes of what is pushed: prices, fills, and changes of its orders and of the position."""

from __future__ import annotations

from datetime import timedelta

import pytest
from driver import (
    MARKET,
    OPENED,
    SYMBOL,
    TIMING,
    D,
    Driver,
    a_plan,
    a_position,
    a_report,
    a_stop,
    amending,
    opening,
    waiting,
)
from msgspec.structs import replace

from trailing.core.goals import PROTECT, End
from trailing.core.inputs import CloseWanted, OrderUpdated, PositionUpdated, PricesMissed, TimePassed
from trailing.core.model import CallbackRange, Fill, Percent
from trailing.core.next_request import NEVER
from trailing.core.orders import SENT
from trailing.core.position import PositionState
from trailing.core.ratchet import Ratchet
from trailing.core.requests import AmendStop, CancelStop, FindOrder, PlaceStop, ReplaceStop
from trailing.core.states import State
from trailing.core.updates import OWN_CHANGE
from trailing.errors import ExchangeUnreachable, OutcomeUnknown, RateLimited
from trailing.events import PeaksRead, PositionClosed, StopFilled, StopGone

# Fills.


def test_a_repeated_update_of_an_earlier_fill_of_the_same_moment_tells_nothing() -> None:
    driver = waiting(timing=TIMING)
    driver.step(PositionUpdated(D("0.6"), 5.0), 5.0)
    driver.step(PositionUpdated(D("0.1"), 5.0), 5.0)
    checked_from = driver.state.check_from
    driver.step(PositionUpdated(D("0.6"), 5.0), 9.0)
    assert (driver.state.told_quantity, driver.state.check_from) == (D("0.1"), checked_from)


def test_a_fill_before_its_acknowledgement_is_kept_until_it() -> None:
    driver = opening()
    driver.begins()
    answer = driver.executes()
    driver.fills("a", "0.4", trade="1")
    assert (driver.state.state, driver.state.quantity) == (State.OPENING, D("0.6"))
    driver.answers(answer)
    assert driver.state.stop is not None
    assert (driver.state.state, driver.state.stop.quantity, driver.state.uncovered) == (State.WAITING, D("0.6"), D(0))
    assert driver.wants() == NEVER


def test_a_whole_fill_before_its_acknowledgement_leaves_no_stop() -> None:
    driver = opening()
    driver.begins()
    answer = driver.executes()
    driver.fills("a", "0.4", trade="1")
    driver.fills("a", "0.6", trade="2", status="filled")
    driver.answers(answer)
    assert (driver.state.state, driver.state.quantity, driver.state.orders) == (State.EXITING, D(0), {})


def test_a_stop_that_is_not_said_to_be_filled_although_its_fills_are_all_of_it_is_looked_up() -> None:
    driver = waiting()
    driver.shows(driver.live["a"], a_report("2"), at=1.0)
    driver.fills("a", "1", trade="1")
    assert driver.wants() == FindOrder("a")
    driver.live["a"] = a_stop("a", quantity="0.2")  # some of the fills were contained in what was shown
    driver.does()
    assert driver.state.stop == a_stop("a", quantity="0.2")


def test_a_fill_of_a_replacement_before_its_acknowledgement_is_kept_until_it() -> None:
    driver = waiting()
    driver.sees("102")
    driver.begins()
    answer = driver.executes()
    driver.fills("b", "0.3", trade="1")
    driver.answers(answer)
    shown = driver.row("b").order
    assert shown is not None
    assert (shown.quantity, driver.state.quantity) == (D("0.7"), D("0.7"))


def test_a_partial_fill_leaves_the_rest_under_the_same_stop() -> None:
    driver = waiting()
    driver.fills("a", "0.4")
    assert driver.state.stop is not None
    assert (driver.state.state, driver.state.quantity, driver.state.stop.quantity) == (
        State.WAITING,
        D("0.6"),
        D("0.6"),
    )
    assert driver.last(StopFilled) == {
        "quantity": D("0.4"),
        "price": D(98),
        "left": D("0.6"),
        "client_order_id": "a",
    }
    assert driver.wants() == NEVER


def test_a_stop_that_filled_and_leaves_a_rest_leaves_it_unprotected() -> None:
    driver = waiting()
    driver.shows(driver.live["a"], a_report("1.4"))
    driver.at = 1.0
    driver.fills("a", "1", status="filled")
    assert (driver.state.state, driver.state.quantity, driver.state.stop) == (State.UNPROTECTED, D("0.4"), None)
    assert driver.state.unprotected_span is not None
    assert driver.state.unprotected_span.cause == "move"
    assert driver.wants() == PlaceStop(D(98), D("0.4"))


def test_a_crossed_stop_that_fills_in_its_grace_is_no_exit() -> None:
    driver = waiting()
    driver.sees("98", at=5.0)
    driver.fills("a", "1", at=5.5, status="filled")
    assert (driver.state.state, driver.state.quantity, driver.wants()) == (State.EXITING, D(0), NEVER)
    driver.shows(a_report(symbol="ETH/USDT:USDT"), at=6.0)
    assert driver.state.state is State.CLOSED
    told = driver.last(PositionClosed)
    assert (told["profit"], told["reason"]) == (D(-2), "the stop was filled")


def test_what_is_left_of_a_position_that_ended_inside_a_move_is_cancelled_before_its_end() -> None:
    driver = waiting()
    driver.sees("102")
    driver.does()
    driver.fills("b", "1", status="filled")
    driver.shows(driver.live["a"], a_report(symbol="ETH/USDT:USDT"), at=1.0)
    assert not driver.state.ended
    assert driver.settles() == [CancelStop("a", "its position is closed")]
    assert driver.state.ended


def test_fm45_a_fill_that_is_pushed_again_is_counted_once() -> None:
    driver = waiting()
    driver.fills("a", "0.4", trade="1")
    driver.step(OrderUpdated("a", "open", driver.state.last_fill))
    assert (driver.state.quantity, driver.events) == (D("0.6"), ["StopFilled"])


def test_fm45_a_fill_that_a_snapshot_has_shown_takes_nothing_off_again() -> None:
    driver = waiting()
    driver.shows(a_stop("a", quantity="0.6"), a_report("0.6"), at=1.0)
    assert driver.state.quantity == D("0.6")
    driver.fills("a", "0.4", trade="1", filled="0.4")
    assert (driver.state.quantity, driver.state.filled, driver.row("a").quantity) == (D("0.6"), D("0.4"), D("0.6"))


def test_fm45_a_repeated_fill_whose_sum_says_more_takes_the_rest_off() -> None:
    driver = waiting()
    driver.fills("a", "0.4", trade="1")
    driver.fills("a", "0.4", trade="1", filled="0.6")
    assert (driver.state.quantity, driver.row("a").quantity, driver.state.filled) == (D("0.4"), D("0.4"), D("0.4"))


def test_fm45_a_late_fill_of_an_order_that_ended_is_counted_once() -> None:
    driver = waiting()
    driver.shows(driver.live["a"], a_report("1.4"))
    driver.at += 1.0
    driver.fills("a", "0.6", trade="1")
    driver.cancels("a")
    driver.fills("a", "0.4", trade="2")
    assert (driver.state.quantity, driver.state.filled) == (D("0.4"), D(1))
    driver.fills("a", "0.4", trade="2")
    assert driver.state.filled == D(1)


def test_fm45_a_fill_that_is_pushed_after_a_snapshot_without_its_quantity_takes_nothing_off_again() -> None:
    driver = waiting()
    driver.shows(driver.live["a"], a_report("1.4"))
    driver.fills("a", "0.6", trade="1", at=1.0)
    late = Fill(SYMBOL, "long", D("0.4"), D(98), "exchange-a", "a", 1.0, "2")
    driver.cancels("a", at=1.1)
    driver.shows(a_report("0.4"), at=2.0)
    driver.step(OrderUpdated("a", "open", late), 3.0)
    assert (driver.state.quantity, driver.state.filled) == (D("0.4"), D(1))


def test_fm45_a_fill_of_the_moment_at_which_a_snapshot_was_asked_for_is_in_it() -> None:
    driver = waiting(timing=TIMING)
    driver.fills("a", "0.4", trade="1", at=10.0)
    driver.cancels("a", at=10.5)
    driver.shows(a_report("0.2"), at=12.0)
    late = Fill(SYMBOL, "long", D("0.4"), D(98), "exchange-a", "a", 11.0, "2")
    driver.step(OrderUpdated("a", "open", late), 13.0)
    assert (driver.state.quantity, driver.state.filled) == (D("0.2"), D("0.8"))


def test_fm45_a_late_fill_of_a_stop_that_no_list_shows_takes_nothing_off_what_a_snapshot_has_shown() -> None:
    driver = waiting(timing=TIMING)
    late = Fill(SYMBOL, "long", D("0.4"), D(98), "exchange-a", "a", 10.0, "1")
    driver.shows(a_report("0.6"), at=11.0, shows_all_stops=False)
    driver.step(OrderUpdated("a", "open", late, D("0.4")), 12.0)
    assert driver.state.snapshot_at == 13.0
    assert (driver.state.quantity, driver.state.filled, driver.row("a").quantity) == (D("0.6"), D("0.4"), D("0.6"))


def test_a_fill_of_the_very_moment_of_a_snapshot_is_taken_off_where_nothing_lags() -> None:
    driver = waiting()
    driver.shows(a_stop("a"), a_report(), at=10.0)
    driver.fills("a", "1", at=10.0)
    assert driver.state.quantity == D(0)


@pytest.mark.parametrize("filled", ["0.7", None])
def test_fm45_what_was_filled_before_a_restart_is_not_counted_with_the_next_fill(filled: str | None) -> None:
    driver = waiting(timing=TIMING)
    driver.fills("a", "0.4", trade="1")
    driver = driver.restarted(20.0)
    driver.fills("a", "0.3", trade="2", filled=filled)
    assert (driver.state.quantity, driver.state.filled) == (D("0.3"), D("0.7"))


def test_fm45_what_a_leftover_stop_fills_of_the_next_position_is_not_filled_of_the_one_before() -> None:
    driver = waiting(timing=TIMING)
    driver.step(PositionUpdated(D(0), 10.0), 10.0)
    driver.shows(driver.live["a"], at=11.0)
    driver.fails(ExchangeUnreachable("no answer"))
    driver.at = 12.0
    driver.fills("a", "0.4", trade="1")  # of the position that stands there by now
    assert (driver.state.filled, driver.events.count("StopFilled")) == (D(0), 0)
    assert driver.alarms == ["a stop of a position that has ended was filled"]
    assert driver.row("a").quantity == D("0.6")


def test_a_close_that_an_update_says_to_be_filled_for_less_than_was_asked_for_ends() -> None:
    driver = waiting(timing=TIMING)
    driver.step(CloseWanted("on purpose"))
    driver.fails(OutcomeUnknown("?"))
    driver.fills("b", "0.4", trade="1", status="filled")
    assert (list(driver.state.orders), driver.state.quantity) == (["a"], D("0.6"))
    assert (driver.wants(10.0), driver.state.snapshot_at) == (NEVER, 1.0)  # whether the rest is there is read first
    told = waiting(timing=TIMING)
    told.step(CloseWanted("on purpose"))
    told.fails(OutcomeUnknown("?"))
    told.step(PositionUpdated(D("0.6"), 5.0), 5.0)
    told.fills("b", "0.4", trade="1", status="filled", at=6.0)
    assert not told.state.flat.is_said


def test_fills_of_orders_that_are_not_its_own_are_none_of_its_business() -> None:
    driver = waiting()
    driver.fills("x", "0.4", trade="1")
    driver.step(OrderUpdated("x", "cancelled"))
    assert (driver.state.quantity, driver.events, driver.stop_price) == (D(1), [], D(98))


def test_only_the_last_orders_that_ended_are_remembered() -> None:
    driver = waiting()
    for number, name in enumerate("abcdefghijklmnopqrst"):
        driver.cancels(name, at=10.0 * number)
        driver.does()
    assert "".join(driver.state.ended_orders) == "efghijklmnopqrst"


# Changes of orders.


def test_the_first_update_after_each_amendment_is_about_the_amendment() -> None:
    driver = amending(timing=TIMING)
    driver.step(OrderUpdated("a", "live"), 0.1)
    driver.sees("103", at=10.0)
    assert isinstance(driver.does(), AmendStop)
    driver.step(OrderUpdated("a", "live"), 10.1)
    assert driver.wants() == NEVER
    driver.step(OrderUpdated("a", "live"), 10.2)  # by a person
    assert driver.wants(15.0) == FindOrder("a")


def test_an_externally_cancelled_stop_leaves_the_position_unprotected_and_is_replaced() -> None:
    driver = waiting()
    driver.cancels("a", at=1.0, reason="expired")
    assert (driver.state.state, driver.state.stop, driver.state.uncovered) == (State.UNPROTECTED, None, D(1))
    assert driver.last(StopGone) == {"client_order_id": "a", "reason": "expired"}
    assert driver.state.snapshot_at == 1.0
    assert driver.does() == PlaceStop(D(98), D(1))
    assert driver.state.unprotected_time_at(9.0).cancelled == 0.0


def test_an_externally_cancelled_stop_releases_the_position_if_the_plan_says_so() -> None:
    driver = waiting(on_stop_cancelled="release")
    driver.cancels("a")
    assert driver.wants() == NEVER
    driver.shows_all(at=1.0)
    assert driver.state.ended
    assert driver.events == ["StopGone", "PositionReleased"]


def test_an_external_cancellation_of_one_of_two_stops_does_not_release_the_position() -> None:
    driver = waiting(on_stop_cancelled="release")
    driver.sees("102")
    driver.does()
    driver.cancels("a")
    assert driver.state.goal == PROTECT


def test_fm52_a_stop_that_hangs_after_it_triggered_protects_for_its_grace_only() -> None:
    driver = waiting()
    driver.step(OrderUpdated("a", "triggered"), 5.0)
    driver.step(OrderUpdated("a", "triggered"), 6.0)
    assert (driver.stop_price, driver.row("a").triggered_at, driver.wants()) == (D(98), 5.0, 7.0)
    driver.step(TimePassed(), 6.9)
    assert driver.stop_price == D(98)
    driver.step(TimePassed(), 7.0)
    assert (driver.state.stop, driver.state.is_unprotected) == (None, True)
    assert driver.wants() == PlaceStop(D(98), D(1))


def test_an_update_of_an_order_of_unknown_outcome_has_it_looked_up_at_once() -> None:
    driver = waiting(timing=TIMING)
    driver.sees("102", at=10.0)
    driver.fails(OutcomeUnknown("?"))
    driver.does()  # the look-up does not show it yet
    assert driver.wants() == 14.0
    driver.step(OrderUpdated("b", "open"), 10.5)
    assert driver.wants() == FindOrder("b")


def test_an_update_of_an_order_that_is_placed_tells_of_it_although_its_answer_is_lost() -> None:
    driver = waiting()
    driver.sees("102", at=10.0)
    driver.begins()
    driver.step(OrderUpdated("b", "live"), 10.1)
    driver.answers(error=OutcomeUnknown("?"))
    driver.fails(RateLimited("later", retry_after=60.0))
    for at in (11.0, 12.0, 13.0):
        driver.shows(a_stop("a"), a_report(), at=at)
    assert driver.row("b").state is SENT


def test_an_update_of_an_order_that_is_cancelled_or_asked_about_or_an_exit_says_nothing() -> None:
    driver = waiting()
    driver.sees("102")
    driver.does()
    driver.begins()
    driver.answers(error=OutcomeUnknown("?"))
    before = driver.row("a")
    driver.step(OrderUpdated("a", "open"))
    driver.step(OrderUpdated("b", "open"))
    assert driver.row("a") == before
    driver.state.orders.clear()
    closing = waiting()
    closing.sees("98", at=1.0)
    closing.at = 3.0
    closing.does()
    closing.begins()
    row = closing.row("b")
    closing.step(OrderUpdated("b", "cancelled"))
    assert closing.row("b") == row


def test_a_triggered_stop_beside_the_one_that_counts_is_the_exchanges_to_fill_for_its_grace() -> None:
    driver = waiting()
    driver.sees("102", at=4.0)
    driver.does()
    driver.step(OrderUpdated("a", "triggered"), 5.0)
    assert driver.wants() == 7.0
    assert driver.wants(7.0) == CancelStop("a", "another stop of its position counts")


def test_a_stop_that_has_triggered_before_its_acknowledgement_supersedes_none() -> None:
    driver = waiting()
    driver.sees("102", at=1.0)
    driver.begins()
    answer = driver.executes()
    driver.step(OrderUpdated("b", "triggered"), 2.0)
    driver.answers(answer)
    assert driver.row("b").triggered_at == 2.0
    assert driver.wants() == 2.0 + driver.state.plan.exit_grace  # the other stop protects what it leaves
    driver.fills("b", "0.6", status="filled", at=3.0)
    assert (driver.state.quantity, driver.stop_price) == (D("0.4"), D(98))


def test_a_stop_that_a_person_tightens_is_looked_up_before_it_is_moved_and_loosened() -> None:
    driver = waiting()
    driver.live["a"] = a_stop("a", "100.5")
    driver.step(OrderUpdated("a", "live"), OWN_CHANGE)
    driver.sees("101")  # which wants 99.99
    assert driver.does() == FindOrder("a")
    assert (driver.wants(), driver.stop_price) == (NEVER, D("100.5"))


def test_a_stop_that_a_person_changed_is_looked_up_once_a_look_up_shows_the_change() -> None:
    driver = waiting(timing=TIMING)
    driver.step(OrderUpdated("a", "live"), 10.0)
    assert driver.wants() == 11.0
    driver.live["a"] = a_stop("a", "99")
    assert driver.wants(11.0) == FindOrder("a")
    driver.does()
    assert driver.stop_price == D(99)


def test_a_look_up_that_was_sent_before_a_change_shows_does_not_tell_the_figures() -> None:
    driver = waiting(timing=TIMING)
    driver.step(OrderUpdated("a", "live"), 10.0)
    driver.at = 16.0
    driver.begins()
    before = driver.executes()
    driver.live["a"] = a_stop("a", "99")
    driver.step(OrderUpdated("a", "live"), 16.2)
    driver.answers(before)
    assert (driver.stop_price, driver.wants()) == (D(98), 17.2)
    driver.wants(17.2)
    driver.does()
    assert driver.stop_price == D(99)


def test_an_update_of_our_own_change_of_a_stop_or_of_a_trailing_order_is_no_change_by_a_person() -> None:
    driver = waiting()
    driver.step(OrderUpdated("a", "live"), OWN_CHANGE - 0.1)
    assert driver.wants() == NEVER
    trailed = waiting(
        market=replace(MARKET, native_callbacks=CallbackRange(Percent("0.1"), Percent(10), Percent("0.1"))), native=True
    )
    trailed.does()
    trailed.step(OrderUpdated("b", "live"), OWN_CHANGE)
    assert trailed.wants() == NEVER


def test_a_list_that_shows_a_stop_as_it_is_known_spares_its_look_up() -> None:
    driver = waiting(timing=TIMING)
    driver.step(OrderUpdated("a", "live"), 10.0)
    driver.shows(driver.live["a"], a_report(), at=10.9)  # perhaps as it was before
    assert driver.row("a").find_at == 11.0
    driver.shows(driver.live["a"], a_report(), at=11.0)
    assert driver.row("a").find_at == NEVER


# Changes of the position.


def test_an_update_of_a_flat_position_counts_as_the_first_evidence() -> None:
    driver = waiting(timing=TIMING)
    driver.step(PositionUpdated(D(0), 10.0), 10.0)
    assert driver.state.snapshot_at == 11.0
    driver.shows(driver.live["a"], at=11.0)
    assert driver.settles() == [CancelStop("a", "its position is closed")]
    assert driver.state.ended


def test_an_update_of_another_quantity_is_read_by_a_snapshot() -> None:
    driver = waiting(timing=TIMING)
    driver.step(PositionUpdated(D(2), 10.0), 10.0)
    assert (driver.state.quantity, driver.state.snapshot_at) == (D(1), 11.0)
    driver.shows(driver.live["a"], a_report("2"), at=11.0)
    assert driver.wants() == ReplaceStop(D(98), D(2), "a")


def test_an_update_of_the_known_quantity_wants_nothing() -> None:
    driver = waiting(timing=TIMING)
    driver.step(PositionUpdated(D(1), 10.0), 10.0)
    assert driver.state.snapshot_at == float("inf")


def test_an_update_that_says_open_while_a_position_that_was_said_to_be_flat_is_closed_is_read_by_a_snapshot() -> None:
    driver = waiting(timing=TIMING)
    driver.step(CloseWanted("on purpose"), 9.0)
    driver.step(PositionUpdated(D(0), 10.0), 10.0)
    assert driver.wants() == NEVER  # the exchange says that nothing is left
    driver.step(PositionUpdated(D(1), 11.0), 11.0)
    assert (driver.wants(), driver.state.snapshot_at) == (NEVER, 12.0)


@pytest.mark.parametrize("is_told_first", [False, True])
def test_a_position_that_an_update_says_to_be_open_is_not_flat_by_its_fills_and_empty_lists(
    is_told_first: bool,
) -> None:
    """A person added to it while it was being closed."""
    driver = waiting()
    driver.shows(a_stop("a"), a_report(), at=1.0)
    driver.step(CloseWanted("on purpose"), 10.0)
    update = PositionUpdated(D("0.5"), 10.0)
    if is_told_first:
        driver.begins()
        driver.step(update)
        driver.answers(driver.executes())
    else:
        driver.does()
        driver.step(update)
    for at in (11.0, 14.0, 17.0):
        driver.shows(at=at)
    assert not isinstance(driver.state.goal, End)
    driver.shows(a_stop("a"), a_report("0.5", "99"), at=20.0)
    assert (driver.state.goal, driver.state.quantity) == (PROTECT, D("0.5"))


def test_fm45_what_a_stop_had_filled_when_it_was_shown_first_is_not_counted_with_its_next_fill() -> None:
    driver = opening()
    driver.fails(OutcomeUnknown("no reply"), executed=True)
    driver.shows(a_stop("a", quantity="0.6", triggered=True), a_report("0.6"), at=1.0)
    driver.at = 2.0
    driver.fills("a", "0.4", trade="2", filled="0.8")
    assert (driver.state.quantity, driver.state.flat.is_said) == (D("0.2"), False)


def test_a_position_that_was_added_to_is_known_by_what_its_last_update_and_the_fills_since_leave() -> None:
    driver = waiting()
    driver.shows(a_stop("a"), a_report(), at=1.0)
    driver.step(CloseWanted("on purpose"), 10.0)
    driver.begins()
    driver.fills("a", "0.4", at=10.0)
    driver.step(PositionUpdated(D(1), 10.0))  # 0.4 was added
    driver.at = 11.0
    driver.answers(Fill(SYMBOL, "long", D("0.6"), D(100), "exchange-b", "b", 11.0))
    driver.shows(driver.live["a"], a_report("0.4", "99"), at=12.0)
    assert (driver.state.goal, driver.state.quantity) == (PROTECT, D("0.4"))


def test_a_fill_that_comes_after_the_update_of_a_later_one_does_not_say_that_the_position_is_flat() -> None:
    driver = waiting(timing=TIMING)
    driver.shows(a_stop("a"), a_report("0.6"), at=10.0)
    driver.cancels("a")
    driver.fills("a", "0.4", trade="2", filled="0.8", at=12.0)  # of which the snapshot contained half
    driver.step(PositionUpdated(D("0.2"), 12.0))
    late = Fill(SYMBOL, "long", D("0.4"), D(98), "exchange-a", "a", 9.5, "1")
    driver.step(OrderUpdated("a", "open", late, D("0.4")), 13.0)
    assert (driver.state.quantity, driver.state.flat.is_said) == (D("0.2"), False)


def test_an_update_that_comes_late_counts_for_nothing() -> None:
    driver = waiting(timing=TIMING)
    driver.step(PositionUpdated(D(1), 10.0), 10.0)
    driver.step(PositionUpdated(D(0), 9.0), 10.5)
    assert driver.state.snapshot_at == float("inf")


@pytest.mark.parametrize("is_other_side", [False, True])
@pytest.mark.parametrize("opened_at", [10.0, 99.0])
def test_an_update_of_a_change_before_the_position_was_opened_counts_for_nothing(
    is_other_side: bool, opened_at: float
) -> None:
    state = PositionState(Ratchet(a_position(), a_plan(), MARKET), TIMING, 10.0, opened_at=opened_at)
    driver = Driver(state, 10.0)
    driver.does()
    driver.step(PositionUpdated(D(int(is_other_side)), 9.0, is_other_side), 12.0)
    assert (driver.alarms, state.flat.is_said) == ([], False)
    driver.step(PositionUpdated(D(0), 11.0), 12.0)  # a clock that is ahead says no more than the claim
    assert state.flat.is_said


@pytest.mark.parametrize("hedged", [True, False])
def test_an_update_of_the_other_side_is_a_flip_in_one_way_mode(hedged: bool) -> None:
    driver = waiting()
    driver.state.timing = type(TIMING)(hedged=hedged)
    driver.step(PositionUpdated(D(1), 10.0, is_other_side=True), 10.0)
    assert driver.alarms == ([] if hedged else ["the position was flipped"])
    driver.step(PositionUpdated(D(0), 11.0, is_other_side=True), 11.0)
    assert len(driver.alarms) == (0 if hedged else 1)


# Price gaps.


def test_a_gap_in_which_no_candle_opened_is_told_and_not_read() -> None:
    since = OPENED + timedelta(seconds=10)
    driver = opening(position=replace(a_position(), opened_at=since))
    driver.step(PricesMissed(since, OPENED + timedelta(seconds=50)))
    assert driver.state.gap is None
    assert driver.last(PeaksRead)["missing"] == 40.0


def test_a_gap_joins_an_earlier_one_that_was_not_read_yet() -> None:
    driver = waiting()
    driver.step(PricesMissed(OPENED + timedelta(minutes=3), OPENED + timedelta(minutes=5)))
    driver.step(PricesMissed(OPENED + timedelta(minutes=8), OPENED + timedelta(minutes=9)))
    assert driver.state.gap is not None
    assert (driver.state.gap.since, driver.state.gap.until) == (
        OPENED + timedelta(minutes=3),
        OPENED + timedelta(minutes=9),
    )
