"""What a position makes of the answers to its requests: acknowledgements, refusals, unknown outcomes, own prices."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from driver import (
    AMENDS,
    ELSEWHERE,
    NO_LAG,
    ONE_STOP,
    OPENED,
    SYMBOL,
    TIMING,
    D,
    Driver,
    a_candle,
    a_plan,
    a_report,
    a_stop,
    opening,
    unprotected,
    waiting,
)
from msgspec.structs import replace

from trailing.core.goals import PROTECT, Close
from trailing.core.inputs import (
    Answered,
    CloseWanted,
    OrderUpdated,
    PlanReplaced,
    PositionUpdated,
    PricesMissed,
)
from trailing.core.model import Fill, Side
from trailing.core.next_request import NEVER
from trailing.core.requests import (
    AmendStop,
    CancelStop,
    ClosePosition,
    FindOrder,
    PlaceStop,
    ReadCandles,
    ReadPrice,
    ReplaceStop,
    TakeDownStop,
)
from trailing.core.states import State
from trailing.errors import (
    ExchangeUnreachable,
    NoSuchPosition,
    NoSuchStop,
    NothingToReduce,
    OutcomeUnknown,
    RateLimited,
    StopRejected,
    UsageError,
    WouldTrigger,
)
from trailing.events import ExitFailed, ExitFilled, MoveFailed, OpeningFailed, PeaksRead, StopMoved, StopOpened


def asked(timing: object = NO_LAG) -> Driver:
    """One whose move to 100.98, under the id ``b``, was sent at 10 s."""
    driver = waiting(timing=TIMING if timing is TIMING else NO_LAG)
    driver.sees("102", at=10.0)
    assert driver.begins() == ReplaceStop(D("100.98"), D(1), "a")
    return driver


# Acknowledgements.


def test_an_acknowledged_first_stop_is_told_with_its_unprotected_seconds() -> None:
    driver = opening()
    driver.begins()
    driver.at = 1.5
    driver.answers(driver.executes())
    told = driver.last(StopOpened)
    assert (told["price"], told["quantity"], told["client_order_id"], told["unprotected_seconds"]) == (
        D(98),
        D(1),
        "a",
        1.5,
    )
    assert driver.state.unprotected_span is None
    assert driver.state.unprotected_time_at(9.0).opening == 1.5


def test_what_the_order_does_not_cover_is_known() -> None:
    driver = opening()
    driver.begins()
    driver.answers(a_stop("a", quantity="0.999"))
    assert driver.state.uncovered == D("0.001")


def test_an_acknowledgement_makes_the_stop_trail() -> None:
    driver = waiting(market=AMENDS)
    driver.sees("102", at=1.0)
    driver.does()
    assert (driver.state.state, driver.stop_price, driver.state.floor) == (State.TRAILING, D("100.98"), D("100.98"))
    told = driver.last(StopMoved)
    assert (told["previous"], told["price"], told["reason"], told["unprotected_seconds"]) == (
        D(98),
        D("100.98"),
        "trailing",
        0.0,
    )


def test_a_replaced_stop_stays_live_until_it_is_gone_and_the_tightest_counts() -> None:
    driver = asked()
    driver.answers(driver.executes())
    assert (list(driver.state.orders), driver.stop_price) == (["a", "b"], D("100.98"))
    driver.does()
    assert (list(driver.state.orders), driver.stop_price, driver.state.state) == (["b"], D("100.98"), State.TRAILING)


def test_the_newest_of_equal_stops_counts() -> None:
    driver = waiting()
    driver.shows(driver.live["a"], a_report("2"))
    assert driver.settles() == [ReplaceStop(D(98), D(2), "a"), CancelStop("a", "another stop of its position counts")]
    assert driver.last(StopMoved)["reason"] == "resized"


def test_a_replacement_counts_though_the_exchange_rounds_it_looser_and_also_where_the_old_stop_is_gone() -> None:
    driver = waiting()
    driver.shows(driver.live["a"], a_report("2"))
    driver.begins()
    driver.executes()
    driver.answers(a_stop("b", "97.9", "2"))
    assert driver.state.live is not None
    assert driver.state.live.id == "b"
    assert driver.wants() == CancelStop("a", "another stop of its position counts")
    driver = waiting()
    driver.sees("102")
    driver.begins()
    driver.cancels("a")
    driver.answers(driver.executes())
    assert (list(driver.state.orders), driver.stop_price) == (["b"], D("100.98"))


def test_a_replaced_stop_that_a_hand_tightened_meanwhile_still_counts() -> None:
    driver = waiting()
    driver.sees("102")
    driver.begins()
    driver.shows(a_stop("a", "101.5"), a_report(), at=1.0)
    driver.answers(driver.executes())
    assert driver.stop_price == D("101.5")
    driver.live["a"] = a_stop("a", "101.5")
    assert driver.does() == CancelStop("b", "another stop of its position counts")


def test_an_acknowledgement_of_an_order_that_ended_meanwhile_brings_nothing_back() -> None:
    driver = opening()
    driver.begins()
    driver.step(OrderUpdated("a", "cancelled"))
    driver.answers(a_stop("a"))
    assert driver.state.orders == {}
    assert driver.wants() == PlaceStop(D(98), D(1))


def test_fm44_a_coarser_rounding_is_taken_as_it_is_with_one_alarm_and_no_further_request() -> None:
    driver = waiting(market=AMENDS)
    driver.sees("102")
    driver.begins()
    driver.answers(a_stop("a", "100.9"))
    assert driver.alarms == ["the exchange rounds a stop more coarsely than its tick"]
    assert (driver.stop_price, driver.wants()) == (D("100.9"), NEVER)
    driver.sees("104")
    driver.begins()
    driver.answers(a_stop("a", "102.9"))
    assert (len(driver.alarms), driver.wants()) == (1, NEVER)


def test_fm63_an_acknowledgement_of_something_else_begins_its_own_count_after_refusals() -> None:
    driver = waiting(market=AMENDS)
    driver.sees("102")
    for _ in range(6):
        driver.fails(StopRejected("no"))
        assert driver.does() == FindOrder("a")
        driver.at += 30.0
    driver.begins()
    driver.answers(a_stop("a", "120"))
    assert driver.alarms == ["the exchange acknowledged something else than was asked for"]
    assert driver.does() == FindOrder("a")
    assert driver.wants() == driver.at + 1.6


@pytest.mark.parametrize(("price", "quantity"), [("120", "1"), ("98", "0.5")])
def test_fm63_an_acknowledgement_of_something_else_is_an_unknown_outcome(price: str, quantity: str) -> None:
    driver = opening()
    driver.begins()
    driver.executes()
    driver.answers(a_stop("a", price, quantity))
    assert driver.alarms == ["the exchange acknowledged something else than was asked for"]
    assert (driver.state.state, driver.state.stop) == (State.UNRESOLVED, None)
    assert driver.does() == FindOrder("a")
    assert driver.stop_price == D(98)


def test_fm63_a_stop_that_was_acknowledged_as_something_else_is_gone_only_once_a_look_up_does_not_show_it() -> None:
    driver = opening()
    driver.at = 10.0
    driver.begins()
    driver.executes()
    driver.answers(a_stop("a", quantity="0.5"))
    driver.fails(RateLimited("later", retry_after=60.0))
    for at in (11.0, 12.0, 13.0):
        driver.shows(a_report(), at=at)
    assert driver.wants() == 70.0
    driver.at = 70.0
    assert driver.does() == FindOrder("a")
    assert driver.stop_price == D(98)


# Failures.


@pytest.mark.parametrize("error", [StopRejected("no"), ExchangeUnreachable("not sent")])
def test_a_refused_move_leaves_the_stop_and_is_tried_again(error: Exception) -> None:
    driver = asked()
    driver.answers(error=error)
    assert (driver.state.state, driver.stop_price, list(driver.state.orders)) == (State.WAITING, D(98), ["a"])
    assert driver.last(MoveFailed) == {"price": D("100.98"), "error": str(error)}
    assert driver.wants() == 10.2
    assert driver.wants(10.2) == ReplaceStop(D("100.98"), D(1), "a")


def test_a_refused_amendment_leaves_the_figures_of_before() -> None:
    driver = waiting(market=AMENDS)
    driver.sees("102")
    driver.fails(ExchangeUnreachable("not sent"))
    assert (driver.row("a").price, driver.row("a").quantity) == (D(98), D(1))
    assert driver.wants(0.2) == AmendStop("a", D("100.98"), D(1))


def test_a_move_of_unknown_outcome_is_unresolved_until_it_is_known() -> None:
    driver = asked(TIMING)
    driver.executes()
    driver.answers(error=OutcomeUnknown("no answer"))
    driver.sees("103", at=13.0)
    assert driver.state.state is State.UNRESOLVED
    assert driver.does() == FindOrder("b")
    assert (driver.state.state, driver.stop_price) == (State.TRAILING, D("100.98"))
    assert driver.settles()[-1] == CancelStop("b", "another stop of its position counts")


def test_a_snapshot_settles_a_move_of_unknown_outcome_that_can_not_be_looked_up() -> None:
    driver = asked(NO_LAG)
    driver.answers(error=OutcomeUnknown("no answer"))
    assert driver.state.snapshot_at == math.inf
    assert driver.fails(ExchangeUnreachable("down")) == FindOrder("b")
    assert driver.state.snapshot_at == driver.at
    driver.shows(a_stop("a"), a_stop("b", "100.98"), a_report())
    assert driver.stop_price == D("100.98")


@pytest.mark.parametrize("by", ["look-up", "list"])
def test_a_tighter_price_shown_while_a_change_may_still_be_executed_counts_though_the_stop_vanishes(by: str) -> None:
    driver = waiting(market=AMENDS, timing=TIMING)
    driver.sees("102", at=10.0)
    driver.fails(OutcomeUnknown("no answer"))
    tightened = a_stop("a", "101.5")  # by hand
    if by == "look-up":
        driver.begins()
        driver.answers(tightened)
    else:
        driver.shows(tightened, a_report(), at=10.0)
    assert driver.state.state is State.UNRESOLVED
    driver.cancels("a")
    assert driver.wants() == PlaceStop(D("101.5"), D(1))


def test_a_move_of_unknown_outcome_that_proves_absent_is_wanted_again() -> None:
    driver = asked()
    driver.answers(error=OutcomeUnknown("no answer"))
    driver.does()
    assert driver.wants() == 10.25
    driver.at = 10.25
    driver.does()
    assert driver.wants() == ReplaceStop(D("100.98"), D(1), "a")
    assert (driver.state.state, driver.stop_price) == (State.WAITING, D(98))


def test_a_bug_while_a_request_was_under_way_leaves_its_outcome_unknown() -> None:
    driver = asked()
    driver.executes()
    driver.answers(error=ValueError("on purpose"))
    assert driver.does() == FindOrder("b")
    assert driver.stop_price == D("100.98")


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (StopRejected("no"), State.UNPROTECTED),
        (ExchangeUnreachable("no"), State.UNPROTECTED),
        (OutcomeUnknown("?"), State.UNRESOLVED),
    ],
)
def test_an_opening_that_failed_is_unprotected_or_unresolved(error: Exception, state: State) -> None:
    driver = opening()
    driver.fails(error)
    assert (driver.state.state, driver.state.stop, driver.state.error) == (state, None, error)


def test_a_request_that_was_not_sent_leaves_nothing_behind() -> None:
    driver = opening()
    driver.begins_only()
    driver.answers()
    assert (driver.state.orders, driver.state.error, driver.state.was_tried) == ({}, None, False)
    driver.begins_only()
    driver.answers(error=ExchangeUnreachable("the store"))
    assert (driver.state.orders, driver.state.was_tried) == ({}, True)
    assert driver.wants() == 0.2


def test_a_request_of_another_kind_that_was_not_sent_tries_no_first_stop() -> None:
    driver = opening()
    driver.step(CloseWanted("on purpose"))
    driver.begins_only()
    driver.answers(error=ExchangeUnreachable("the store"))
    assert not driver.state.was_tried


def test_an_answer_without_a_request_is_ignored() -> None:
    driver = waiting()
    before = driver.state.facts
    driver.step(Answered(a_stop("x")))
    assert driver.state.facts == before


def test_fm43_a_stop_that_the_exchange_does_not_know_is_replaced_after_two_reads() -> None:
    driver = waiting(market=AMENDS, timing=TIMING)
    driver.sees("102", at=10.0)
    driver.fails(NoSuchStop("order does not exist"))
    assert driver.wants(11.0) == FindOrder("a")
    driver.live.clear()
    driver.does()
    assert driver.events[-1:] == ["StopGone"]
    assert driver.wants() == PlaceStop(D("100.98"), D(1))


def test_fm43_a_stop_whose_amendment_was_refused_is_looked_up_at_once() -> None:
    driver = waiting(market=AMENDS)
    driver.sees("102", at=10.0)
    driver.fails(StopRejected("no"))
    assert driver.does() == FindOrder("a")
    assert driver.wants(10.2) == AmendStop("a", D("100.98"), D(1))


def test_an_order_that_ended_while_its_amendment_failed_is_not_brought_back() -> None:
    driver = waiting(market=AMENDS)
    driver.sees("102")
    driver.begins()
    driver.cancels("a")
    driver.answers(error=ExchangeUnreachable("no"))
    assert driver.state.orders == {}


def test_a_first_stop_that_would_trigger_is_an_exit_once_the_exchanges_own_price_says_so() -> None:
    driver = opening()
    driver.price = D(97)
    driver.fails(WouldTrigger("already beyond"))
    assert driver.settles() == [
        ReadPrice("crossing"),
        ClosePosition(D(1), "the price was already beyond the initial stop"),
    ]


def test_a_refusal_for_lack_of_a_position_counts_as_the_first_evidence_of_flat() -> None:
    driver = opening(timing=TIMING)
    driver.at = 10.0
    driver.fails(NoSuchPosition("flat"))
    assert driver.state.snapshot_at == 11.0
    driver.shows(a_report(symbol="ETH/USDT:USDT"), at=11.0)
    assert driver.state.ended


def test_fm50_nothing_to_reduce_is_no_evidence_that_the_position_is_flat() -> None:
    """Two snapshots in one second miss the position after -4118. Without evidence in words, a minute of them is needed."""
    driver = opening(timing=TIMING)
    driver.at = 10.0
    driver.fails(NothingToReduce("-4118: please check your existing position and open orders"))
    assert driver.state.snapshot_at == 11.0  # it is read at once all the same
    for at in (11.0, 12.0, 21.0, 60.0):
        driver.shows(a_report(symbol="ETH/USDT:USDT"), at=at)
    assert not driver.state.ended
    driver.shows(a_report(), at=61.0)
    assert driver.wants() == PlaceStop(D(98), D(1))


# Cancelling and looking up.


def test_a_cancellation_of_unknown_outcome_is_looked_up() -> None:
    driver = asked(TIMING)
    driver.answers(driver.executes())
    driver.fails(OutcomeUnknown("no answer"), executed=True)
    assert driver.row("a").is_sent
    assert driver.does() == FindOrder("a")
    assert driver.wants() == 11.0
    driver.at = 11.0
    driver.does()
    assert list(driver.state.orders) == ["b"]


def test_a_stop_that_a_cancellation_does_not_find_has_ended_after_the_next_read() -> None:
    driver = asked()
    driver.answers(driver.executes())
    driver.live.pop("a")
    driver.fails(NoSuchStop("unknown order"))
    driver.at = 10.25
    driver.does()
    assert list(driver.state.orders) == ["b"]


def test_an_order_that_ended_while_it_was_cancelled_or_looked_up_is_not_brought_back() -> None:
    for error in (None, ExchangeUnreachable("no")):
        driver = asked()
        driver.answers(driver.executes())
        driver.begins()
        driver.cancels("a")
        driver.answers(error=error)
        assert list(driver.state.orders) == ["b"]
    driver = asked()
    driver.answers(error=OutcomeUnknown("?"))
    driver.begins()
    driver.step(OrderUpdated("b", "cancelled"))
    driver.answers(a_stop("b", "100.98"))
    assert list(driver.state.orders) == ["a"]


def test_a_stop_that_is_shown_while_its_change_can_still_be_executed_proves_nothing() -> None:
    driver = waiting(market=AMENDS, timing=TIMING)
    driver.sees("102", at=10.0)
    driver.fails(OutcomeUnknown("no answer"))
    driver.does()
    assert driver.row("a").is_sent
    assert driver.wants() == 14.0
    driver.at = 14.0
    driver.does()
    assert (driver.row("a").is_sent, driver.row("a").price) == (False, D(98))
    assert driver.wants() == AmendStop("a", D("100.98"), D(1))


def test_a_look_up_that_fails_is_repeated_after_its_back_off() -> None:
    driver = asked()
    driver.answers(error=OutcomeUnknown("no answer"))
    driver.fails(ExchangeUnreachable("no"))
    assert driver.wants() == 10.2
    assert driver.wants(10.2) == FindOrder("b")


# One stop only.


def test_the_place_of_a_stop_that_was_taken_down_is_a_move() -> None:
    driver = waiting(market=ONE_STOP)
    driver.sees("102")
    assert driver.does() == TakeDownStop("a")
    driver.at = 1.0
    assert driver.does() == PlaceStop(D("100.98"), D(1))
    told = driver.last(StopMoved)
    assert (told["previous"], told["price"], told["unprotected_seconds"]) == (D(98), D("100.98"), 1.0)
    assert driver.state.unprotected_time_at(5.0).move == 1.0


# The exchange's own price.


@pytest.mark.parametrize("side", ["long", "short"])
def test_a_given_stop_that_was_never_on_the_right_side_refuses_the_entry_instead_of_closing(side: Side) -> None:
    wrong = "101" if side == "long" else "99"
    position = replace(waiting(side).state.position, stop_price=D(wrong))
    driver = opening(side, position=position)
    driver.fails(WouldTrigger("already beyond"))
    assert driver.does() == ReadPrice("crossing")
    assert isinstance(driver.state.error, UsageError)
    assert driver.state.is_given_up
    assert driver.events == ["OpeningFailed"]


def test_an_entry_price_that_the_exchange_contradicts_refuses_the_entry_instead_of_closing() -> None:
    driver = opening()
    driver.fails(WouldTrigger("already beyond"))
    driver.price = D(50)
    driver.does()
    assert "Position.entry_price" in driver.last(OpeningFailed)["error"]


def test_the_reported_entry_price_decides_on_the_entry_where_it_is_known() -> None:
    driver = opening()
    driver.shows(a_report())
    driver.state.is_entry_checked = False
    driver.fails(WouldTrigger("already beyond"))
    driver.price = D(50)
    driver.does()
    assert isinstance(driver.state.goal, Close)


# Closing.


def closing(timing: object = NO_LAG) -> Driver:
    driver = waiting(timing=TIMING if timing is TIMING else NO_LAG)
    driver.step(CloseWanted("on purpose"))
    return driver


def test_a_close_at_market_fills_in_parts() -> None:
    driver = closing()
    driver.begins()
    driver.answers(Fill(SYMBOL, "long", D("0.4"), D(98), "1", "b", 0.0))
    assert (driver.state.state, driver.state.quantity) == (State.EXITING, D("0.6"))
    driver.shows(driver.live["a"], a_report("0.6"))
    assert driver.wants() == ClosePosition(D("0.6"), "on purpose")
    driver.begins()
    driver.answers(Fill(SYMBOL, "long", D("0.7"), D(98), "1", "c", 0.0))
    assert (driver.state.state, driver.state.quantity) == (State.EXITING, D(0))
    assert driver.last(ExitFilled)["left"] == D(0)


def test_a_close_that_fills_less_than_it_asked_for_is_sent_again_only_once_a_snapshot_shows_the_rest() -> None:
    driver = closing(TIMING)
    driver.at = 10.0
    driver.begins()
    driver.answers(Fill(SYMBOL, "long", D("0.4"), D(98), "1", "b", 10.0))  # it was smaller, perhaps, and is flat by now
    assert (driver.wants(), driver.state.snapshot_at) == (NEVER, 11.0)
    driver.shows(ELSEWHERE, at=11.0)
    driver.shows(ELSEWHERE, at=12.0)
    assert driver.state.quantity == D(0)


def test_a_fill_of_a_close_that_the_last_update_of_the_position_knows_of_is_no_change() -> None:
    driver = closing(TIMING)
    driver.begins()
    driver.step(PositionUpdated(D("0.6"), 5.0), 5.0)
    driver.answers(Fill(SYMBOL, "long", D("0.4"), D(98), "1", "b", 4.0))
    assert driver.state.flat.changed_at == 5.0
    assert driver.wants() == ClosePosition(D("0.6"), "on purpose")


def test_fm45_a_close_whose_fills_were_pushed_before_its_answer_is_counted_once() -> None:
    driver = closing()
    driver.begins()
    driver.fills("b", "0.4", trade="1")
    assert driver.state.quantity == D("0.6")
    driver.fills("b", "0.6", trade="2", status="filled")
    driver.answers(Fill(SYMBOL, "long", D(1), D(98), "1", "b", 0.0))
    assert (driver.state.quantity, driver.state.filled, driver.state.profit) == (D(0), D(1), D(-2))
    driver.fills("b", "0.6", trade="3")
    assert driver.state.filled <= D("1.6")


def test_a_software_exit_that_was_surely_refused_goes_back_to_the_stop_that_is_live() -> None:
    driver = waiting()
    driver.sees("98", at=5.0)
    driver.at, driver.price = 7.0, D(97)
    driver.does()
    driver.fails(StopRejected("no"))
    assert driver.last(ExitFailed)["error"] == "no"
    assert (driver.state.goal, driver.state.state) == (PROTECT, State.WAITING)
    assert driver.wants() == 9.0  # it is crossed: it has its grace again


def test_a_software_exit_that_was_refused_leaves_the_improvement_of_its_time_wanted() -> None:
    driver = waiting(market=AMENDS)
    driver.sees("98", at=5.0)
    driver.at, driver.price = 7.0, D(97)
    driver.does()
    driver.begins()
    driver.sees("102")
    driver.answers(error=StopRejected("no"))
    assert driver.wants() == AmendStop("a", D("100.98"), D(1))


def test_a_software_exit_that_was_refused_covers_a_position_whose_stop_is_gone() -> None:
    driver = waiting()
    driver.sees("98", at=5.0)
    driver.at, driver.price = 7.0, D(97)
    driver.does()
    driver.cancels("a")
    driver.fails(StopRejected("no"))
    driver.sees("99")
    assert driver.wants() == PlaceStop(D(98), D(1))


def test_a_close_that_its_owner_wants_is_tried_again_and_the_position_covered_meanwhile() -> None:
    driver = closing()
    driver.cancels("a")
    driver.fails(StopRejected("no"))
    assert driver.settles() == [PlaceStop(D(98), D(1))]
    assert driver.wants(0.2) == ClosePosition(D(1), "on purpose")


def test_fm50_nothing_to_reduce_proves_nothing_and_the_close_stays_wanted() -> None:
    driver = waiting(timing=TIMING)
    driver.sees("98", at=5.0)
    driver.at, driver.price = 7.0, D(97)
    driver.does()
    driver.fails(NothingToReduce("-4118"))
    assert isinstance(driver.state.goal, Close)
    assert (driver.state.quantity, driver.state.snapshot_at) == (D(1), 8.0)
    driver.step(PositionUpdated(D(1), 7.5), 7.5)  # perhaps of another one in its place
    assert driver.wants(7.5) == NEVER
    driver.shows(driver.live["a"], a_report(), at=8.5)
    assert isinstance(driver.wants(), ClosePosition)


def test_a_close_of_unknown_outcome_is_unresolved_until_a_snapshot_shows_the_quantity() -> None:
    driver = closing(TIMING)
    driver.at = 5.0
    driver.fails(OutcomeUnknown("?"))
    assert (driver.state.state, driver.wants(), driver.state.snapshot_at) == (State.UNRESOLVED, NEVER, 9.0)
    driver.shows(driver.live["a"], a_report(), at=8.9)
    assert driver.state.exit_sent
    driver.shows(driver.live["a"], a_report("0.4"), at=9.0)
    assert driver.wants() == ClosePosition(D("0.4"), "on purpose")


def test_a_software_exit_of_unknown_outcome_that_was_not_executed_goes_back_to_protecting() -> None:
    driver = waiting(timing=TIMING)
    driver.sees("98", at=5.0)
    driver.at, driver.price = 7.0, D(97)
    driver.does()
    driver.fails(OutcomeUnknown("?"))
    driver.shows(driver.live["a"], a_report(), at=11.0)
    assert driver.state.goal == PROTECT


def test_a_close_whose_order_ended_before_its_answer_is_counted_or_left() -> None:
    driver = closing()
    driver.begins()
    driver.fills("b", "1", trade="1", status="filled")
    driver.answers(error=OutcomeUnknown("?"))
    assert (driver.state.quantity, driver.state.state) == (D(0), State.UNRESOLVED)
    driver.shows(driver.live["a"], a_report(symbol="ETH/USDT:USDT"), at=0.25)
    assert driver.settles() == [CancelStop("a", "its position is closed")]
    assert driver.state.ended


# Candles.


def gap_of(driver: Driver, until: int = 9) -> Driver:
    driver.step(PricesMissed(OPENED + timedelta(minutes=5), OPENED + timedelta(minutes=until)), 540.0)
    return driver


def test_peaks_that_were_missed_are_taken_in_from_candles() -> None:
    driver = gap_of(waiting(market=AMENDS))
    driver.candles, driver.price = [a_candle(minute, "105") for minute in range(4, 9)], D("104.5")
    assert driver.does() == ReadCandles(OPENED + timedelta(minutes=4))
    assert (driver.state.ratchet.best, driver.state.gap) == (D(105), None)
    told = driver.last(PeaksRead)
    assert (told["candles"], told["missing"], told["best"]) == (5, 0.0, D(105))
    assert driver.wants() == AmendStop("a", D("103.95"), D(1))


def test_candles_whose_last_bar_is_still_open_are_read_once_more() -> None:
    driver = gap_of(waiting())
    driver.candles = [a_candle(minute, "100.5") for minute in range(4, 8)]
    driver.does()
    assert driver.wants() == 600.0
    driver.at = 600.0
    driver.does()
    assert (driver.state.gap, driver.last(PeaksRead)["missing"]) == (None, 60.0)


def test_a_gap_without_any_candle_stays_unknown() -> None:
    driver = gap_of(waiting())
    driver.does()
    driver.at = 600.0
    driver.does()
    assert driver.last(PeaksRead)["missing"] == 300.0


def test_candles_that_could_not_be_read_are_asked_for_again() -> None:
    driver = gap_of(waiting())
    driver.fails(ExchangeUnreachable("no"))
    assert driver.wants() == 545.0


@pytest.mark.parametrize("error", [None, ExchangeUnreachable("no")])
def test_a_gap_that_grew_while_its_candles_were_read_is_read_anew_at_once(error: Exception | None) -> None:
    driver = gap_of(waiting())
    driver.begins()
    driver.step(PricesMissed(OPENED + timedelta(minutes=2), OPENED + timedelta(minutes=12)), 541.0)
    driver.answers(driver.executes(), error=error)
    assert driver.wants() == ReadCandles(OPENED + timedelta(minutes=1))


def test_candles_of_another_price_than_the_plan_s_are_read_again() -> None:
    driver = gap_of(unprotected(retry_for=10_000.0))
    driver.fails(StopRejected("no"))
    assert isinstance(driver.begins(), ReadCandles)
    driver.price = D(150)
    answer = driver.executes()
    driver.step(PlanReplaced(a_plan(trigger="mark")))
    driver.answers(answer)
    assert driver.state.ratchet.best == D(100)
    assert isinstance(driver.does(), ReadCandles)
    assert driver.state.ratchet.best == D(150)


def test_candles_that_can_not_be_read_are_not_why_a_position_has_no_stop() -> None:
    driver = gap_of(unprotected(retry_for=10_000.0))
    driver.fails(StopRejected("no"))
    assert driver.fails(ExchangeUnreachable("no answer")) == ReadCandles(OPENED + timedelta(minutes=4))
    assert isinstance(driver.state.error, StopRejected)
    assert driver.state.unprotected_span is not None
    assert driver.state.unprotected_span.cause == "refused"
