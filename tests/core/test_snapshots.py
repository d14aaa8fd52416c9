"""What a position makes of a snapshot of the account: which of its orders are live, and how it stands itself."""

from __future__ import annotations

from typing import Any

import pytest
from driver import (
    AMENDS,
    ELSEWHERE,
    SUCCESSOR,
    TIMING,
    D,
    Driver,
    a_report,
    a_stop,
    opening,
    unprotected,
    waiting,
)
from msgspec.structs import replace

from trailing.core.goals import PROTECT
from trailing.core.inputs import Answered, CheckWanted, CloseWanted, OrderUpdated, PositionUpdated, StopFound
from trailing.core.model import Fill, Percent, Side, StopOrder
from trailing.core.next_request import NEVER
from trailing.core.refusals import trouble
from trailing.core.requests import AmendStop, CancelStop, ClosePosition, FindOrder, PlaceStop, ReadFills, ReplaceStop
from trailing.core.retries import TOLD_AFTER
from trailing.core.shown import has_unseen_stop
from trailing.core.states import State
from trailing.errors import (
    ExchangeUnreachable,
    NoSuchPosition,
    NoSuchStop,
    OutcomeUnknown,
    StopRejected,
    UsageError,
)
from trailing.events import Alarm, OpeningFailed, PositionClosed, StopGone, StopOpened

ANOTHER = "another position has taken the place of one that is protected"
SUPERSEDED = "another stop of its position counts"
A = a_stop("a")


def resting(**plan: Any) -> Driver:
    """A position whose stop ``a`` has been live since 0, where lists lag by 1 s and requests live for 3 s."""
    return waiting(timing=TIMING, **plan)


def lost(**plan: Any) -> Driver:
    """One whose first stop, sent at 10 s, has an unknown outcome; the look-up is not made yet."""
    driver = opening(timing=TIMING, at=10.0, **plan)
    driver.fails(OutcomeUnknown("no answer"))
    return driver


# At rest.


def test_a_snapshot_of_before_the_end_of_a_position_that_is_opening_does_not_open_it_again() -> None:
    driver = opening(timing=TIMING)
    driver.at = 10.0
    driver.step(PositionUpdated(D(0), 10.0))
    driver.shows(a_report(), at=10.1)
    assert driver.state.flat.is_said
    assert driver.state.again_at == 10.0 + TIMING.positions_read_lag


def test_where_everything_agrees_nothing_follows() -> None:
    driver = resting()
    before = driver.state.facts
    driver.shows(A, a_report(), at=10.0)
    driver.shows(A, a_report(), at=20.0)
    assert (driver.wants(), driver.events, driver.state.snapshot_at) == (NEVER, [], float("inf"))
    assert driver.state.reported_entry == D(100)
    assert before[0] == driver.state.facts[0]


def test_a_snapshot_that_a_caller_wants_has_to_be_asked_for_after_the_lag() -> None:
    driver = resting()
    driver.step(CheckWanted(), 10.0)
    assert driver.state.snapshot_at == 11.0
    driver.shows(A, a_report(), at=10.9)
    assert driver.state.snapshot_at == 11.0
    driver.shows(A, a_report(), at=11.0)
    assert driver.state.snapshot_at == float("inf")


def test_fm64_a_snapshot_that_does_not_tell_of_the_position_answers_no_check() -> None:
    driver = resting()
    driver.step(CheckWanted(), 10.0)
    driver.shows(A, at=11.0, shows_all_positions=False)
    assert driver.state.snapshot_at == 11.0


# Whether it is flat.


def test_fm16_an_empty_snapshot_deletes_nothing() -> None:
    driver = resting()
    driver.shows(at=10.0)
    assert (driver.state.state, driver.state.quantity, driver.events) == (State.WAITING, D(1), [])


def test_fm41_a_list_without_the_position_is_believed_after_two_minutes_where_only_its_live_stop_says_otherwise() -> (
    None
):
    for shown in ((A,), (A, ELSEWHERE)):
        driver = resting()
        for number in range(1, 13):
            driver.shows(*shown, at=10.0 * number)
            assert driver.state.snapshot_at == 10.0 * number + 10.0
        driver.shows(*shown, at=129.9)
        assert driver.wants() == NEVER
        driver.shows(*shown, at=130.0)
        assert driver.wants() == CancelStop("a", "its position is closed")
        assert driver.state.exit_reason == "closed on the exchange; no update said by what"


def test_a_live_stop_doubles_no_time_for_a_position_that_is_being_closed() -> None:
    driver = resting()
    driver.step(CloseWanted("closed by the bot"), 9.0)
    driver.fails(OutcomeUnknown("no answer"))
    for at in (20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0):
        assert driver.state.quantity != 0
        driver.shows(A, at=at)
    assert driver.state.quantity == 0


def test_a_position_that_was_shown_again_has_to_be_missed_anew() -> None:
    driver = resting()
    driver.shows(A, at=10.0)
    driver.shows(A, a_report(), at=60.0)
    driver.shows(A, at=70.0)
    assert driver.state.snapshot_at == 80.0
    assert driver.state.flat.is_doubted


def test_fm16_after_a_refusal_an_empty_list_of_positions_is_believed_two_seconds_later() -> None:
    driver = opening(timing=TIMING, at=10.0)
    driver.fails(NoSuchPosition("flat"))
    for at in (11.0, 11.9):
        driver.shows(at=at)
        assert driver.state.snapshot_at == 12.0
    driver.shows(at=12.0)
    assert driver.state.ended


def test_a_snapshot_requested_before_a_change_does_not_count() -> None:
    driver = resting()
    driver.step(PositionUpdated(D(0), 10.0), 10.0)
    driver.step(PositionUpdated(D(1), 10.5), 10.5)
    driver.shows(A, ELSEWHERE, at=11.0)
    assert (driver.state.quantity, driver.state.flat.is_doubted) == (D(1), False)


def test_a_flip_in_one_way_mode_ends_the_position_with_an_alarm() -> None:
    driver = resting()
    short = a_report(side="short")
    driver.shows(short, at=10.0)
    driver.shows(short, at=11.0)
    assert driver.alarms == ["the position was flipped"]
    assert driver.wants() == CancelStop("a", "its position is closed")


def test_the_other_side_of_a_hedged_account_is_no_flip() -> None:
    driver = waiting(timing=replace(TIMING, hedged=True))
    driver.step(PositionUpdated(D(0), 9.0), 9.0)
    driver.shows(A, a_report(side="short"), at=10.0)
    assert (driver.alarms, driver.wants()) == ([], CancelStop("a", "its position is closed"))


def test_fm64_a_position_that_is_listed_twice_is_open_with_unknown_figures() -> None:
    driver = resting()
    driver.step(PositionUpdated(D(0), 10.0), 10.0)
    driver.shows(A, a_report("2"), a_report("3"), at=11.0)
    assert (driver.state.quantity, driver.wants()) == (D(1), NEVER)
    driver.shows(A, at=12.0)
    assert driver.wants() == NEVER


def test_a_position_that_a_list_of_before_its_end_shows_twice_is_no_contradiction() -> None:
    driver = waiting(timing=TIMING)
    driver.step(PositionUpdated(D(0), 10.0), 10.0)
    driver.shows(driver.live["a"], a_report(), a_report("2"), at=10.9)
    assert (driver.state.flat.is_said, driver.state.snapshot_at) == (True, 11.0)
    driver.shows(driver.live["a"], a_report(), a_report("2"), at=11.0)
    assert not driver.state.flat.is_said


def test_what_a_snapshot_shows_of_the_position_while_it_is_closed_counts_for_nothing() -> None:
    driver = resting()
    driver.step(CloseWanted("on purpose"))
    driver.begins()
    driver.shows(A, a_report("5"), at=10.0)
    driver.shows(A, ELSEWHERE, at=90.0)
    assert driver.state.quantity == D(1)


def test_a_snapshot_that_comes_while_a_close_is_under_way_does_not_let_the_rest_be_closed() -> None:
    driver = resting()
    driver.step(CloseWanted("on purpose"), 10.0)
    driver.begins()  # its stop was filled in part, which is pushed late
    driver.fills("b", "0.6", status="filled", filled="0.6")
    driver.cancels("a")
    driver.step(PositionUpdated(D(0), 10.0))
    driver.shows(ELSEWHERE, at=11.0)
    driver.answers(Fill("BTC/USDT:USDT", "long", D("0.6"), D(100), "exchange-b", "b", 10.0))
    assert (driver.state.quantity, driver.wants(), driver.state.snapshot_at) == (D("0.4"), NEVER, 11.0)
    driver.shows(ELSEWHERE, at=12.0)
    assert driver.state.ended


def test_what_a_snapshot_shows_of_the_position_after_its_end_counts_for_nothing() -> None:
    driver = resting()
    driver.step(PositionUpdated(D(0), 9.0), 9.0)
    driver.shows(A, ELSEWHERE, at=10.0)
    driver.shows(A, a_report("5"), at=20.0)
    driver.shows(A, at=21.0)
    assert (driver.state.quantity, driver.alarms) == (D(0), [])


def test_a_flat_position_with_an_unknown_order_ends_once_that_can_not_be_executed_any_more() -> None:
    driver = lost()
    driver.step(PositionUpdated(D(0), 10.0))
    driver.does()
    for at in (11.0, 12.0, 13.9):
        driver.shows(ELSEWHERE, at=at)
        assert not driver.state.ended
    driver.shows(ELSEWHERE, at=14.0)
    assert driver.does() == FindOrder("a")
    assert isinstance(driver.does(), ReadFills)
    assert driver.state.ended


# Its stops.


def missed(driver: Driver, at: float = 10.0) -> None:
    """Let two snapshots that show the position not show its stops, a lag apart."""
    driver.shows(a_report(), at=at)
    driver.shows(a_report(), at=at + 1.0)


def test_a_stop_is_gone_once_two_snapshots_and_a_look_up_do_not_show_it_and_is_replaced() -> None:
    driver = resting()
    driver.shows(a_report(), at=10.0)
    assert (driver.wants(), driver.state.snapshot_at) == (NEVER, 11.0)
    driver.shows(a_report(), at=10.9)
    assert driver.wants() == NEVER
    driver.shows(a_report(), at=11.0)
    driver.live.clear()
    assert driver.does() == FindOrder("a")
    assert driver.last(StopGone) == {"client_order_id": "a"}
    assert driver.wants() == PlaceStop(D(98), D(1))


def test_a_list_that_is_older_than_a_stop_says_nothing_about_it() -> None:
    driver = waiting(timing=TIMING, market=AMENDS)
    driver.sees("102", at=10.0)
    driver.does()
    driver.shows(a_report(), at=10.9)
    assert (driver.row("a").absent_since, driver.state.snapshot_at) == (None, float("inf"))


def unreachable(driver: Driver) -> None:
    """Let look-ups fail until they are told of."""
    for _ in range(TOLD_AFTER):
        assert isinstance(driver.fails(ExchangeUnreachable("no answer")), FindOrder)
        due = driver.wants()
        assert isinstance(due, float)
        driver.at = due
    driver.at -= 0.1


def test_a_stop_that_can_not_be_looked_up_for_some_time_is_gone_by_its_snapshots_alone() -> None:
    driver = resting()
    missed(driver)
    unreachable(driver)
    for at in (15.0, 20.0, 25.0, 30.0, 35.0):
        driver.at = at - 0.1
        driver.fails_if_any(ExchangeUnreachable("no answer"))
        driver.shows(a_report(), at=at)
        assert ("StopGone" in driver.events, driver.state.snapshot_at) == (False, at + 5.0)
    driver.at = 39.9
    driver.fails_if_any(ExchangeUnreachable("no answer"))
    driver.shows(a_report(), at=40.0)
    assert driver.wants() == PlaceStop(D(98), D(1))


def test_two_wrong_lists_half_a_minute_apart_are_not_enough_for_a_stop_that_can_not_be_looked_up() -> None:
    driver = resting()
    missed(driver)
    unreachable(driver)
    driver.shows(a_report(), at=20.0)
    driver.at = 39.9
    driver.fails_if_any(ExchangeUnreachable("no answer"))
    driver.shows(a_report(), at=40.0)
    assert driver.stop_price == D(98)


def test_a_stop_that_was_shown_meanwhile_has_to_be_missed_for_as_long_anew() -> None:
    driver = resting()
    missed(driver)
    unreachable(driver)
    driver.shows(a_report(), at=15.0)
    driver.shows(A, a_report(), at=16.0)
    for at in (17.0, 18.0, 22.0, 27.0, 32.0, 37.0, 42.0):
        driver.at = max(driver.at, at - 0.1)
        driver.fails_if_any(ExchangeUnreachable("no answer"))
        driver.shows(a_report(), at=at)
    assert driver.stop_price == D(98)
    driver.at = 46.9
    driver.fails_if_any(ExchangeUnreachable("no answer"))
    driver.shows(a_report(), at=47.0)
    assert driver.stop_price is None


def test_two_snapshots_of_one_moment_count_once_even_without_a_read_lag() -> None:
    driver = waiting()
    driver.shows(a_report(), at=10.0)
    driver.shows(a_report(), at=10.0)
    assert (driver.wants(), driver.state.snapshot_at) == (NEVER, 10.25)
    driver.shows(a_report(), at=10.25)
    assert driver.wants() == FindOrder("a")


def test_a_stop_that_was_shown_again_has_to_be_missed_twice_anew() -> None:
    driver = resting()
    driver.shows(a_report(), at=10.0)
    driver.shows(A, a_report(), at=11.0)
    driver.shows(a_report(), at=12.0)
    assert driver.wants() == NEVER


def test_fm64_a_list_of_stops_that_is_not_whole_proves_no_absence() -> None:
    driver = resting()
    for at in (10.0, 12.0, 14.0):
        driver.shows(a_report(), at=at, shows_all_stops=False)
    assert driver.stop_price == D(98)


def test_fm64_a_stop_that_lists_do_not_show_is_looked_up_at_last_if_they_stay_incomplete() -> None:
    driver = resting()
    for at in (10.0, 200.0, 309.0):
        driver.shows(a_report(), at=at, shows_all_stops=False)
        assert driver.wants(at) == NEVER
    driver.shows(a_report(), at=310.0, shows_all_stops=False)
    assert driver.wants(310.0) == FindOrder("a")


def test_fm64_an_order_of_unknown_outcome_is_looked_up_as_before_if_the_list_is_incomplete() -> None:
    driver = opening(timing=TIMING)
    driver.fails(OutcomeUnknown("lost"))
    before = driver.row("a")
    driver.shows(a_report(), at=500.0, shows_all_stops=False)
    assert driver.row("a") == before


def test_fm64_a_stop_that_is_listed_twice_exists_and_its_figures_stay() -> None:
    driver = resting()
    driver.shows(a_report(), at=10.0)
    driver.shows(a_stop("a", "97"), a_stop("a", "96"), a_report(), at=11.0)
    assert (driver.row("a").absent_since, driver.stop_price) == (None, D(98))


def test_fm15_a_stop_is_its_positions_by_its_id_and_by_nothing_else() -> None:
    driver = resting()
    twin = a_stop("z")  # of the same symbol, side, price and quantity
    driver.shows(twin, a_report(), at=10.0)
    driver.shows(twin, a_report(), at=11.0)
    driver.live = {"z": twin}
    assert driver.does() == FindOrder("a")
    assert list(driver.state.orders) == ["z"]
    assert "StopGone" in driver.events


def test_fm31_an_order_that_is_not_ours_is_never_touched() -> None:
    driver = resting()
    for at in range(10, 20):
        driver.shows(A, a_stop("foreign-1", "99"), a_stop("instance-1", "99"), a_report(), at=float(at))
    assert (driver.wants(), list(driver.state.orders)) == (NEVER, ["a"])


@pytest.mark.parametrize("busy", ["at rest", "with a request under way", "with an unknown outcome"])
def test_fm16_a_live_stop_is_never_left_over(busy: str) -> None:
    driver = resting()
    if busy != "at rest":
        driver.sees("102")
        driver.begins()
        if busy == "with an unknown outcome":
            driver.answers(error=OutcomeUnknown("?"))
    for at in range(10, 30):
        driver.shows(A, a_report(), at=float(at))
        assert driver.wants() != CancelStop("a", SUPERSEDED)
    assert driver.stop_price == D(98)


def test_the_exchanges_figures_of_a_stop_count() -> None:
    driver = resting()
    driver.shows(a_stop("a", quantity="0.5"), a_report("0.5"), at=10.0)
    assert driver.state.stop == a_stop("a", quantity="0.5")
    assert (driver.state.quantity, driver.wants()) == (D("0.5"), NEVER)


def test_figures_of_before_the_last_change_of_a_stop_count_for_nothing() -> None:
    driver = waiting(timing=TIMING, market=AMENDS)
    driver.sees("102", at=10.0)
    driver.does()
    driver.shows(A, a_report(), at=10.9)
    assert driver.stop_price == D("100.98")
    driver.shows(A, a_report(), at=11.0)
    assert driver.wants() == AmendStop("a", D("100.98"), D(1))  # a person loosened it


@pytest.mark.parametrize("price", ["98.009", "97.991"])
def test_fm15_prices_within_a_tick_are_one_price(price: str) -> None:
    driver = waiting(timing=TIMING, market=AMENDS)
    driver.shows(a_stop("a", price), a_report(), at=10.0)
    assert (driver.stop_price, driver.wants()) == (D(98), NEVER)


def test_a_stop_that_a_hand_tightened_counts_as_it_is() -> None:
    driver = resting()
    driver.shows(a_stop("a", "99"), a_report(), at=10.0)
    assert (driver.stop_price, driver.state.target, driver.state.floor) == (D(99), D(99), D(99))


def test_a_stop_that_a_hand_moved_beyond_the_price_is_no_floor() -> None:
    driver = resting()
    driver.shows(a_stop("a", "105"), a_report(), at=10.0)
    assert (driver.stop_price, driver.state.floor) == (D(105), D(98))


def test_a_stop_of_unknown_outcome_that_is_shown_counts_at_once() -> None:
    driver = lost()
    driver.shows(A, a_report(), at=10.5)
    assert (driver.stop_price, driver.wants(), driver.state.has_unknown) == (D(98), NEVER, False)
    assert driver.last(StopOpened)["client_order_id"] == "a"


def test_a_stop_of_unknown_outcome_is_absent_once_it_can_not_be_executed_any_more() -> None:
    driver = lost()
    driver.does()
    driver.shows(a_report(), at=11.0)
    driver.shows(a_report(), at=13.9)
    assert driver.wants() == 14.0
    driver.shows(a_report(), at=14.0)
    assert driver.does() == FindOrder("a")
    assert driver.wants() == PlaceStop(D(98), D(1))


def test_a_stop_of_unknown_outcome_that_two_lists_left_out_is_found_by_its_id() -> None:
    driver = lost().restarted(at=0.0)  # which forgets what was told of it
    driver.live["a"] = A
    driver.shows(a_report(), at=1.0)
    driver.shows(a_report(), at=4.0)
    assert driver.begins() == FindOrder("a")
    driver.shows(a_report(), at=30.0)  # the look-up, which is under way, says more
    driver.answers(driver.executes())
    assert (driver.stop_price, driver.wants()) == (D(98), NEVER)


def test_a_stop_of_unknown_outcome_that_can_not_be_looked_up_is_absent_by_lists_alone() -> None:
    driver = lost().restarted(at=0.0)
    driver.shows(a_report(), at=1.0)
    driver.shows(a_report(), at=4.0)
    driver.fails(ExchangeUnreachable("not now"))
    driver.shows(a_report(), at=10.9)
    assert (driver.state.has_unknown, driver.state.snapshot_at) == (True, 11.0)
    driver.shows(a_report(), at=11.0)
    assert driver.wants() == PlaceStop(D(98), D(1))


def test_a_stop_that_is_being_changed_is_no_news_while_the_change_may_still_come() -> None:
    driver = waiting(timing=TIMING, market=AMENDS)
    driver.sees("102", at=10.0)
    driver.fails(OutcomeUnknown("?"))
    driver.does()
    driver.shows(A, a_report(), at=13.9)
    assert (driver.row("a").is_sent, driver.state.snapshot_at) == (True, 14.0)
    driver.shows(a_stop("a", "100.98"), a_report(), at=14.0)
    assert (driver.row("a").is_sent, driver.stop_price) == (False, D("100.98"))


def test_an_order_whose_request_is_under_way_is_judged_by_its_answer() -> None:
    driver = waiting(timing=TIMING, market=AMENDS)
    driver.sees("102", at=10.0)
    driver.begins()
    driver.shows(a_report(), at=20.0)
    driver.shows(a_report(), at=30.0)
    assert list(driver.state.orders) == ["a"]


def test_an_order_that_is_not_sent_yet_is_not_missed() -> None:
    driver = opening(timing=TIMING)
    driver.begins_only()
    driver.shows(a_report(), at=10.0)
    driver.shows(a_report(), at=20.0)
    assert list(driver.state.orders) == ["a"]


# Lists that are wrong.


def unlisted() -> Driver:
    """One whose stop is live and is not listed: a look-up has shown it."""
    driver = resting()
    missed(driver)
    assert driver.does() == FindOrder("a")
    return driver


def test_lists_that_do_not_show_a_stop_which_a_look_up_shows_are_not_trusted() -> None:
    driver = unlisted()
    assert driver.alarms == ["a stop that was acknowledged is not listed"]
    assert (driver.state.is_listing_untrusted, driver.stop_price, driver.wants()) == (True, D(98), NEVER)
    driver.shows(a_report(), at=13.0)
    assert driver.does() == FindOrder("a")  # what such a list can't prove
    assert len(driver.alarms) == 1


def test_a_stop_that_an_untrusted_list_does_not_show_is_gone_by_its_look_ups() -> None:
    driver = unlisted()
    driver.live.clear()
    driver.shows(a_report(), at=13.0)
    driver.does()
    driver.at = 14.0
    assert driver.settles() == [FindOrder("a"), PlaceStop(D(98), D(1))]


def test_a_list_is_trusted_again_once_it_shows_one_of_its_stops() -> None:
    driver = unlisted()
    driver.shows(A, a_report(), at=14.0)
    assert not driver.state.is_listing_untrusted


def nowhere(**plan: Any) -> Driver:
    """One whose stops neither lists nor look-ups show: ``a``, and ``b`` in its place."""
    driver = resting(**plan)
    missed(driver, 10.0)
    driver.live.clear()
    driver.settles()
    missed(driver, 20.0)
    driver.live.clear()
    assert driver.does() == FindOrder("b")
    return driver


def test_where_a_look_up_does_not_show_the_stop_in_place_of_a_missing_one_either_no_third_one_is_placed() -> None:
    driver = nowhere()
    assert driver.alarms == ["a stop that was acknowledged is not listed"]
    assert sorted(driver.state.orders) == ["a", "b"]
    assert driver.state.live is not None
    assert (driver.state.live.id, driver.state.is_lookup_untrusted) == ("b", True)
    assert driver.wants() == CancelStop("a", SUPERSEDED)
    assert has_unseen_stop(driver.state)
    assert "neither lists nor look-ups show it" in str(trouble(driver.state))


def test_an_error_says_more_than_that_the_stop_is_not_shown() -> None:
    driver = nowhere()
    driver.fails(StopRejected("no"))
    assert has_unseen_stop(driver.state)
    assert str(trouble(driver.state)) == "no"


def test_a_stop_that_was_first_looked_for_late_may_be_lost_too_so_that_another_one_is_placed() -> None:
    driver = resting()
    missed(driver, 10.0)
    driver.live.clear()
    driver.settles()
    missed(driver, 100.0)
    driver.live.clear()
    assert driver.settles() == [FindOrder("b"), PlaceStop(D(98), D(1))]
    assert driver.alarms == []


def test_stops_are_not_placed_without_end_although_each_was_first_looked_for_late() -> None:
    driver = resting()
    for at in (100.0, 200.0, 300.0, 400.0):
        missed(driver, at)
        driver.live.clear()
        driver.settles()
    missed(driver, 500.0)
    driver.live.clear()
    assert driver.does() == FindOrder("e")
    assert driver.alarms == ["a stop that was acknowledged is not listed"]
    assert (driver.state.live.id, driver.state.is_lookup_untrusted) == ("e", True)  # type: ignore[union-attr]


def test_a_missing_stop_that_its_cancellation_does_not_find_leaves_the_table() -> None:
    driver = nowhere()
    driver.fails(NoSuchStop("unknown order"))
    driver.wants(22.0)
    driver.does()
    assert list(driver.state.orders) == ["b"]


def test_a_stop_stays_live_while_neither_lists_nor_look_ups_are_trusted() -> None:
    driver = nowhere()
    driver.live["a"] = A
    driver.does()
    for at in (30.0, 31.0, 32.0):
        driver.shows(a_report(), at=at)
        driver.settles()
    assert (list(driver.state.orders), driver.stop_price, len(driver.alarms)) == (["b"], D(98), 1)


def test_a_replaced_stop_is_cancelled_while_neither_lists_nor_look_ups_are_trusted() -> None:
    driver = nowhere()
    driver.live["a"] = A
    driver.does()
    driver.sees("102", at=30.0)
    assert driver.begins() == ReplaceStop(D("100.98"), D(1), "b")
    driver.shows(a_report(), at=30.1)
    driver.answers(a_stop("c", "100.98"))
    assert driver.does() == FindOrder("b")  # a person may have tightened it; the answer does not show it
    driver.live["b"] = a_stop("b")
    assert driver.settles() == [CancelStop("b", SUPERSEDED)]
    assert list(driver.state.orders) == ["c"]


def says_gone(driver: Driver, at: float) -> None:
    """Let an amendment be refused because there is no such stop, and let its look-up agree."""
    driver.at = at
    assert isinstance(driver.fails(NoSuchStop("unknown order")), AmendStop)
    driver.live.clear()
    driver.wants(at + 1.0)
    assert isinstance(driver.does(), FindOrder)


def test_fm43_a_stop_that_nothing_shows_is_gone_once_a_refused_change_says_so() -> None:
    driver = nowhere(market=AMENDS)
    driver.live["a"] = A
    driver.does()
    driver.sees("102", at=30.0)
    says_gone(driver, 30.0)
    assert driver.events[-1] == "StopGone"
    assert driver.wants() == PlaceStop(D("100.98"), D(1))


def test_fm14_a_second_refused_change_places_no_further_stop_before_one_is_shown() -> None:
    driver = nowhere(market=AMENDS)
    driver.live["a"] = A
    driver.does()
    driver.sees("102", at=30.0)
    says_gone(driver, 30.0)
    driver.does()
    driver.sees("104")
    says_gone(driver, 60.0)
    assert (list(driver.state.orders), driver.stop_price) == (["c"], D("100.98"))


def test_a_stop_that_nothing_shows_is_looked_up_once_for_each_snapshot() -> None:
    driver = nowhere()
    driver.live["a"] = A
    driver.does()
    for at in (30.0, 90.0):
        driver.shows(a_report(), at=at)
        assert driver.settles() == [FindOrder("b")]
        assert (driver.wants(at), driver.state.snapshot_at) == (NEVER, NEVER)


def test_a_look_up_that_shows_a_stop_is_trusted_again() -> None:
    driver = nowhere()
    driver.live = {"a": A, "b": a_stop("b")}
    driver.does()
    driver.shows(a_report(), at=30.0)
    driver.does()
    assert not driver.state.is_lookup_untrusted
    assert not has_unseen_stop(driver.state)


def test_two_stops_that_are_gone_at_once_are_no_sign_of_a_wrong_list() -> None:
    driver = resting()
    driver.step(StopFound(a_stop("z", "97")))
    missed(driver)
    driver.live.clear()
    assert driver.settles() == [FindOrder("a"), FindOrder("z"), PlaceStop(D(98), D(1))]
    assert driver.alarms == []


# Stops that no row has.


def test_a_stop_of_ours_that_no_row_has_becomes_that_of_an_unprotected_position_at_once() -> None:
    driver = unprotected(timing=TIMING)
    loose, tight = a_stop("y", "97"), a_stop("z", "98")
    driver.shows(loose, tight, a_report(), at=10.0)
    assert driver.state.live is not None
    driver.shows(loose, tight, a_report(), at=11.0)
    assert driver.state.live.id == "z"
    assert driver.wants() == CancelStop("y", SUPERSEDED)


@pytest.mark.parametrize("order", [("y", "z"), ("z", "y")])
def test_the_tightest_of_the_stops_that_no_row_has_counts_in_whatever_order_they_are_shown(
    order: tuple[str, str],
) -> None:
    driver = unprotected()
    stops = {"y": a_stop("y", "97"), "z": a_stop("z", "98")}
    driver.begins()
    driver.answers(error=UsageError("no"))
    for at in (10.0, 11.0):
        driver.shows(*(stops[name] for name in order), a_report(), at=at)
    assert driver.state.stop == stops["z"]
    driver.live.update(stops)
    assert driver.settles() == [CancelStop("y", SUPERSEDED)]


def test_a_looser_leftover_beside_the_stop_is_cancelled_after_the_second_snapshot() -> None:
    driver, leftover = resting(), a_stop("z", "95")
    driver.shows(A, leftover, a_report(), at=10.0)
    assert (driver.wants(), driver.state.snapshot_at) == (NEVER, 11.0)
    driver.shows(A, leftover, a_report(), at=11.0)
    assert driver.wants() == CancelStop("z", SUPERSEDED)


def test_a_leftover_is_cancelled_also_beside_a_stop_that_is_moved_all_the_time() -> None:
    driver, leftover = waiting(timing=TIMING, market=AMENDS), a_stop("z", "95")
    driver.sees("102", at=9.9)
    driver.does()
    driver.shows(driver.live["a"], leftover, a_report(), at=10.0)
    driver.sees("103", at=10.9)
    driver.does()
    driver.shows(driver.live["a"], leftover, a_report(), at=11.0)
    assert driver.wants() == CancelStop("z", SUPERSEDED)


def test_a_tighter_unknown_stop_is_adopted_after_the_second_snapshot() -> None:
    driver, tighter = resting(), a_stop("z", "99")
    driver.shows(A, tighter, a_report(), at=10.0)
    driver.shows(A, tighter, a_report(), at=11.0)
    assert (driver.stop_price, driver.wants()) == (D(99), CancelStop("a", SUPERSEDED))


def test_what_was_cancelled_while_a_snapshot_was_under_way_is_not_taken_for_left_over() -> None:
    driver = resting()
    driver.sees("102", at=10.0)
    driver.settles()
    both = (A, a_stop("b", "100.98"), a_report())
    driver.shows(*both, at=10.5, answered=10.8)
    assert driver.state.snapshot_at == 11.0
    driver.shows(*both, at=11.0)
    assert driver.state.leftovers == {"a": 11.0}
    driver.shows(a_stop("b", "100.98"), a_report(), at=12.0)
    assert driver.state.leftovers == {}


def test_nothing_is_left_over_beside_a_position_whose_own_stop_is_not_known_to_be_live() -> None:
    driver, leftover = lost(), a_stop("z", "95")
    for at in (10.5, 11.5, 12.5):
        driver.shows(leftover, a_report(), at=at)
        assert not isinstance(driver.wants(), CancelStop)


def test_what_is_live_of_a_flat_position_and_was_not_remembered_is_cancelled_before_its_end() -> None:
    driver = lost()
    booked, leftover = a_stop("a"), a_stop("z")
    driver.live = {"a": booked, "z": leftover}
    driver.step(PositionUpdated(D(0), 10.0))
    driver.shows(booked, leftover, ELSEWHERE, at=11.0)
    driver.shows(booked, leftover, ELSEWHERE, at=12.0)
    assert {request.id for request in driver.settles() if isinstance(request, CancelStop)} == {"a", "z"}
    assert driver.state.ended


def test_a_stop_of_another_source_that_no_row_has_gives_way_to_the_live_one() -> None:
    driver = resting()
    other = a_stop("z", "99", source="mark")
    driver.shows(A, other, a_report(), at=10.0)
    driver.shows(A, other, a_report(), at=11.0)
    assert driver.wants() == CancelStop("z", SUPERSEDED)
    assert driver.stop_price == D(98)


def test_a_stop_that_is_found_before_the_position_is_claimed_is_its_stop() -> None:
    driver = opening()
    driver.step(StopFound(a_stop("z", "99")))
    assert (driver.stop_price, driver.state.floor, driver.wants()) == (D(99), D(99), NEVER)
    assert driver.last(StopOpened)["client_order_id"] == "z"
    assert (driver.state.is_entry_checked, driver.state.was_tried) == (True, True)


def test_a_stop_that_is_found_beyond_the_price_is_no_floor() -> None:
    driver = opening()
    driver.step(StopFound(a_stop("z", "101")))
    assert (driver.stop_price, driver.state.floor) == (D(101), None)


def test_an_unknown_trailing_order_of_ours_is_cancelled_after_the_second_snapshot() -> None:
    driver = resting()
    stray = a_stop("z", "101", callback=Percent(1))
    driver.shows(A, stray, a_report(), at=10.0)
    driver.shows(A, stray, a_report(), at=11.0)
    assert driver.wants() == CancelStop("z", "it is not wanted any more")


# Its figures.


def test_the_quantity_that_is_reported_counts_and_its_stop_follows() -> None:
    driver = waiting(timing=TIMING, market=AMENDS)
    driver.shows(A, a_report("2.55", "99"), at=10.0)
    assert (driver.state.coverable, driver.state.uncovered) == (D("2.5"), D("1.55"))
    assert driver.settles() == [AmendStop("a", D(98), D("2.5"))]
    assert driver.state.uncovered == D("0.05")


def test_a_report_of_before_the_last_change_of_the_position_counts_for_nothing() -> None:
    driver = resting()
    driver.fills("a", "0.4", at=10.0)
    driver.shows(a_stop("a", quantity="0.6"), a_report("1"), at=10.9)
    assert (driver.state.quantity, driver.state.snapshot_at) == (D("0.6"), 11.0)
    driver.shows(a_stop("a", quantity="0.6"), a_report("1"), at=11.0)
    assert driver.state.quantity == D(1)


def test_a_stop_that_covers_less_than_could_be_covered_is_resized() -> None:
    driver = waiting(timing=TIMING, market=AMENDS)
    driver.shows(a_stop("a", quantity="0.5"), a_report(), at=10.0)
    assert driver.wants() == AmendStop("a", D(98), D(1))


def test_a_price_that_was_refused_for_another_quantity_is_tried_again() -> None:
    driver = waiting()
    driver.shows(a_stop("a", "99"), a_report(), at=5.0)  # a hand tightened it
    driver.cancels("a")
    for at, price in ((5.0, "99"), (5.2, "99"), (5.2, "98"), (10.0, "99")):
        driver.at = at
        assert driver.fails(StopRejected("more than the position")) == PlaceStop(D(price), D(1))
    driver.shows(a_report("0.5"), at=20.0)
    assert driver.wants() == PlaceStop(D(99), D("0.5"))


def test_a_refusal_of_a_quantity_that_was_wrong_by_then_says_nothing_of_the_price() -> None:
    driver = resting()
    driver.sees("102", at=10.0)
    driver.begins()
    driver.shows(A, a_report("0.5"), at=11.0)
    driver.answers(error=StopRejected("1 is more than the position's 0.5"))
    assert driver.state.refused_stop is None
    assert driver.wants(20.0) == ReplaceStop(D("100.98"), D("0.5"), "a")


def test_a_closed_position_that_is_open_again_wants_its_stop_with_an_alarm() -> None:
    driver = resting()
    driver.step(CloseWanted("on purpose"))
    driver.does()
    driver.at = 10.0
    driver.shows(A, a_report("0.3"), at=10.0)
    assert driver.alarms == ["a closed position is open again"]
    assert (driver.state.goal, driver.state.quantity) == (PROTECT, D("0.3"))
    driver = resting()
    driver.fills("a", "1", status="filled", at=10.0)
    driver.shows(a_report("0.3"), at=11.0)
    assert driver.wants() == PlaceStop(D(98), D("0.3"))


def test_a_position_that_is_being_closed_gets_no_stop() -> None:
    driver = unprotected(timing=TIMING)
    driver.step(CloseWanted("on purpose"))
    driver.shows(a_report(), at=10.0)
    assert driver.wants() == ClosePosition(D(1), "on purpose")


def test_a_stop_that_can_not_be_looked_up_time_and_again_is_judged_by_a_list_that_is_read_at_once() -> None:
    driver = resting()
    driver.shows(a_report(), at=10.0)
    driver.shows(a_report(), at=12.0)
    for _ in range(TOLD_AFTER):
        driver.at = max(driver.at, driver.state.back_offs["find"].until if "find" in driver.state.back_offs else 0.0)
        assert driver.fails(ExchangeUnreachable("no answer")) == FindOrder("a")
        assert driver.state.snapshot_at <= driver.at
    for at in (15.0, 20.0, 25.0, 30.0, 35.0, 40.0):
        driver.at = at - 0.1
        driver.fails_if_any(ExchangeUnreachable("no answer"))
        driver.shows(a_report(), at=at)
    assert driver.wants() == PlaceStop(D(98), D(1))


def test_a_list_that_shows_a_stop_settles_it_while_a_look_up_is_not_answered() -> None:
    driver = resting()
    driver.shows(a_report(), at=10.0)
    driver.shows(a_report(), at=12.0)
    assert driver.begins() == FindOrder("a")
    driver.shows(A, a_report(), at=13.0)
    assert driver.row("a").absent_since is None


def test_a_stop_that_was_superseded_counts_again_where_a_person_tightens_it() -> None:
    driver = resting()
    driver.sees("102", at=2.0)
    driver.does()
    driver.fails(ExchangeUnreachable("not cancelled"))
    driver.shows(a_stop("a", "101.5"), driver.live["b"], a_report(), at=10.0)
    assert driver.stop_price == D("101.5")
    assert driver.wants() == CancelStop("b", SUPERSEDED)


@pytest.mark.parametrize(("loosened", "counts"), [("97", "98"), ("98.5", "98.5")])
def test_a_stop_that_was_superseded_counts_again_where_a_person_loosens_the_other_one_beyond_it(
    loosened: str, counts: str
) -> None:
    driver = resting()
    driver.sees("102", at=2.0)
    driver.does()
    driver.fails(ExchangeUnreachable("not cancelled"))
    driver.shows(driver.live["a"], a_stop("b", loosened), a_report(), at=10.0)
    assert driver.stop_price == D(counts)
    assert driver.wants() == CancelStop("b" if counts == "98" else "a", SUPERSEDED)


# Another position in its place.


def test_another_position_in_its_place_is_known_by_its_entry_price_once_no_stop_is_left() -> None:
    driver = resting()
    driver.shows(A, a_report(), at=10.0)
    other = a_report("1", "90")
    driver.shows(other, at=20.0)
    assert (driver.state.replaced_by, driver.state.snapshot_at) == (None, 21.0)  # that its stop is gone comes first
    driver.shows(other, at=21.0)
    driver.live.clear()
    assert driver.does() == FindOrder("a")
    assert driver.wants() == 321.0  # no stop is placed before a snapshot says what it is; only the plan's policy is due
    driver.shows(other, at=22.0)
    assert driver.alarms == ["another position has taken the place of one that is protected"]
    assert driver.state.replaced_by == other
    driver.settles()
    assert driver.last(PositionClosed)["reason"] == "closed, and another position has taken its place"


def test_a_position_with_its_stop_is_the_same_whatever_its_entry_price() -> None:
    driver = resting()
    driver.shows(A, a_report(), at=10.0)
    driver.shows(A, a_report("3", "95"), at=20.0)
    assert (driver.state.replaced_by, driver.state.quantity, driver.state.reported_entry) == (None, D(3), D(95))


@pytest.mark.parametrize("is_gone", [True, False])
def test_a_stop_that_was_superseded_and_is_left_tells_no_position_from_another_one(is_gone: bool) -> None:
    driver = resting()
    driver.shows(A, a_report(), at=10.0)
    driver.sees("102", at=12.0)
    driver.does()
    left = driver.live["a"]
    driver.fails(ExchangeUnreachable("not cancelled"))
    other = a_report("2", "101")
    driver.shows(left, other, at=20.0)
    assert (driver.state.doubted_stop, driver.state.quantity) == ("b", D(1))
    if is_gone:
        del driver.live["b"]
    driver.shows(left, other, at=21.0)
    assert driver.does() == FindOrder("b")
    driver.shows(left, other, at=22.0)
    assert driver.state.replaced_by == (other if is_gone else None)
    assert (driver.state.doubted_stop, driver.state.quantity) == (("b", D(0)) if is_gone else (None, D(2)))


def test_a_position_that_was_handed_in_behind_it_is_another_one_although_none_was_reported_before() -> None:
    driver = resting()
    driver.step(CheckWanted(SUCCESSOR), 10.0)
    other = a_report("2", "101")
    driver.shows(other, at=11.0)
    assert (driver.state.doubted_stop, driver.state.successor) == ("a", SUCCESSOR)
    driver.shows(other, at=12.0)
    driver.live.clear()
    assert driver.does() == FindOrder("a")
    driver.shows(other, at=13.0)
    assert driver.state.replaced_by == other


def test_a_report_of_the_position_that_was_handed_in_is_of_that_one_whatever_stop_is_left() -> None:
    driver = resting()
    driver.shows(A, a_report(), at=10.0)
    driver.step(CheckWanted(SUCCESSOR), 10.0)
    other = a_report("7", "103")
    driver.shows(A, other, at=11.0)
    assert (driver.state.replaced_by, driver.wants()) == (other, CancelStop("a", "its position is closed"))


def test_a_position_without_a_stop_is_another_one_where_one_was_handed_in_behind_it() -> None:
    driver = unprotected(timing=TIMING)
    driver.step(CheckWanted(SUCCESSOR), 10.0)
    driver.shows(a_report("1", "101"), at=11.0)
    assert driver.state.replaced_by == a_report("1", "101")


def test_a_trailing_order_that_is_left_tells_no_position_from_another_one() -> None:
    driver = resting()
    left = a_stop("z", callback=Percent(1))
    driver.shows(A, a_report(), at=10.0)
    driver.cancels("a", at=19.0)
    driver.shows(left, a_report("1", "90"), at=21.0)
    assert driver.state.replaced_by == a_report("1", "90")


def test_a_looser_stop_that_is_left_does_not_identify_the_position_of_the_stop_that_counts() -> None:
    driver = resting()
    looser = a_stop("z", "97")
    driver.shows(A, looser, a_report(), at=10.0)
    driver.shows(looser, a_report("1", "90"), at=21.0)
    assert (driver.state.replaced_by, driver.state.doubted_stop) == (None, "a")


def test_while_a_stop_is_being_placed_another_entry_price_is_no_other_position_yet() -> None:
    driver = resting()
    driver.shows(A, a_report(), at=10.0)
    driver.cancels("a", at=19.0)
    driver.begins()  # a person has added to the position, and `b` is filled in part as soon as it is placed
    b = driver.executes()
    assert isinstance(b, StopOrder)
    left = a_report("0.7", "100.5")
    driver.shows(left, at=21.0)
    assert (driver.state.replaced_by, driver.state.doubted_stop) == (None, "b")
    driver.answers(b)
    driver.shows(b, left, at=23.0)
    assert (driver.state.replaced_by, driver.state.doubted_stop, driver.state.quantity) == (None, None, D("0.7"))


@pytest.mark.parametrize("error", [StopRejected("more than the position"), ExchangeUnreachable("not sent")])
def test_a_stop_that_was_never_placed_tells_no_position_from_another_one(error: Exception) -> None:
    driver = resting()
    driver.shows(A, a_report(), at=10.0)
    driver.cancels("a", at=19.0)
    driver.begins()
    added_to = a_report("3", "97")
    driver.shows(added_to, at=21.0)
    driver.answers(error=error)
    driver.shows(added_to, at=23.0)
    assert (driver.state.replaced_by, driver.state.doubted_stop, driver.state.quantity) == (None, None, D(3))


@pytest.mark.parametrize(
    ("known", "covered", "reported", "another"),
    [
        (True, True, a_report("2", "100.009"), False),
        (False, True, a_report("2", "95"), False),
        (True, False, a_report("1", "95"), True),
        (True, False, a_report("3", "97"), False),
    ],
    ids=["within a tick", "never reported before", "unprotected, and not larger", "unprotected, and added to"],
)
def test_what_is_another_position_and_what_is_not(known: bool, covered: bool, reported: Any, another: bool) -> None:
    driver = resting()
    if known:
        driver.shows(A, a_report(), at=10.0)
    if not covered:
        driver.cancels("a")
    driver.shows(reported, at=20.0)
    assert (driver.state.replaced_by is not None) is another


def test_fm15_a_position_that_was_filled_before_it_was_ever_reported_is_another_one_at_another_price() -> None:
    driver = resting()
    driver.fills("a", "1", status="filled", at=10.0)
    driver.shows(a_report("1", "95"), at=11.0)
    assert driver.state.replaced_by == a_report("1", "95")


@pytest.mark.parametrize(("changed_at", "same"), [(10.0, True), (10.1, False)])
def test_what_the_update_of_the_last_fill_says_to_be_left_was_added_to_and_is_no_other_position(
    changed_at: float, same: bool
) -> None:
    driver = waiting(timing=TIMING)
    driver.shows(driver.live["a"], a_report(), at=5.0)
    driver.step(CloseWanted("on purpose"))
    driver.at = 10.0
    driver.does()
    driver.step(PositionUpdated(D("0.5"), changed_at), 10.2)
    driver.shows(driver.live["a"], a_report("0.5", "99"), at=12.0)
    assert driver.alarms == (["a closed position is open again"] if same else [ANOTHER])
    assert driver.state.quantity == (D("0.5") if same else 0)


@pytest.mark.parametrize("was_missed", [False, True])
def test_what_is_left_behind_its_live_stop_after_an_exit_of_an_unconfirmed_quantity_is_no_other_position(
    was_missed: bool,
) -> None:
    driver = waiting(timing=TIMING)
    driver.shows(driver.live["a"], a_report(), at=5.0)
    if was_missed:
        driver.step(CheckWanted(), 6.0)  # a person adds to the position, and no list shows it
    driver.step(CloseWanted("on purpose"))
    driver.at = 10.0
    driver.does()
    driver.shows(driver.live["a"], a_report("0.5", "99"), at=12.0)
    assert driver.alarms == (["a closed position is open again"] if was_missed else [ANOTHER])


def test_a_larger_position_whose_stop_we_were_changing_is_the_same_and_gets_another_stop() -> None:
    driver = waiting(market=AMENDS)
    driver.shows(A, a_report(), at=5.0)
    driver.sees("102", at=10.0)
    driver.fails(OutcomeUnknown("lost"))
    driver.live.clear()
    for at in (11.0, 12.0):
        driver.shows(a_report("2", "101"), at=at)
    assert driver.state.doubted_stop is None
    driver.at = 12.0
    assert driver.does() == FindOrder("a")
    driver.shows(a_report("2", "101"), at=13.0)
    assert (driver.state.replaced_by, driver.state.quantity) == (None, D(2))
    assert isinstance(driver.wants(), PlaceStop)


@pytest.mark.parametrize("late", [False, True])
def test_what_the_last_fill_left_open_is_known_after_a_restart_and_after_a_late_update_of_an_earlier_fill(
    late: bool,
) -> None:
    driver = waiting(timing=TIMING)
    driver.shows(driver.live["a"], a_report(), at=5.0)
    left = driver.live["a"]  # a person has added 0.5; the close of the whole 1 is filled, and the stop is left
    driver.step(CloseWanted("on purpose"))
    driver.at = 10.0
    driver.begins()
    if not late:
        driver.fills("b", "1", trade="1", status="filled")
    else:
        driver.at = 11.0
        driver.fills("b", "0.4", trade="2", filled="1", status="filled")
        earlier = Fill("BTC/USDT:USDT", "long", D("0.6"), D(98), "exchange-b", "b", 10.0, "1")
        driver.step(OrderUpdated("b", "partial", earlier, D("0.6")), 12.0)
    driver.step(PositionUpdated(D("0.5"), 11.0 if late else 10.0), 12.0)
    after = driver.restarted(0.0)
    after.shows(left, a_report("0.5", "99"), at=20.0)
    assert (after.alarms, after.state.quantity) == (["a closed position is open again"], D("0.5"))


def test_a_list_of_before_the_last_fill_makes_no_other_position_of_what_an_update_leaves_open() -> None:
    driver = waiting(timing=TIMING)
    driver.shows(driver.live["a"], a_report(), at=5.0)
    driver.step(PositionUpdated(D("1.5"), 6.0), 6.0)  # a person has added to it
    driver.fills("a", "1", trade="1", status="filled", at=10.0)
    driver.shows(a_report("1.5", "101"), at=10.5)
    assert (driver.state.quantity, driver.state.replaced_by) == (D(0), None)


def test_a_closed_position_whose_stop_is_left_is_another_one_at_another_price() -> None:
    driver = resting()
    driver.shows(A, a_report(), at=10.0)
    driver.step(CloseWanted("closed by the bot"), at=11.0)
    driver.begins()
    driver.fills("b", "1", price="100", status="filled", at=11.5)
    driver.answers(error=OutcomeUnknown("no reply"))
    driver.shows(A, a_report("3", "90"), at=13.0)
    assert driver.state.replaced_by == a_report("3", "90")
    assert driver.wants() == CancelStop("a", "its position is closed")


# The entry.


def test_the_first_report_is_held_against_the_entry() -> None:
    driver = opening()
    driver.does()
    driver.shows(A, a_report("0.5"), at=1.0)
    assert isinstance(driver.state.error, UsageError)
    assert driver.settles() == [CancelStop("a", "its position is given up")]
    assert driver.state.is_given_up
    assert "Position.quantity" in driver.last(OpeningFailed)["error"]


@pytest.mark.parametrize("entry", ["100", "50"])
def test_a_stop_that_has_triggered_explains_a_smaller_quantity_and_no_other_entry_price(entry: str) -> None:
    driver = opening()
    driver.begins()
    driver.step(OrderUpdated("a", "triggered"), 1.0)  # its fills come late
    driver.shows(a_stop("a", quantity="0.6"), a_report("0.6", entry), at=1.0)
    assert driver.state.is_given_up == (entry == "50")


def test_a_report_that_may_be_of_an_earlier_position_checks_no_entry() -> None:
    driver = opening(timing=TIMING, at=10.0)
    driver.does()
    driver.shows(A, a_report("0.5", "90"), at=10.5)
    assert (driver.state.is_entry_checked, driver.state.reported_entry) == (False, None)
    driver.shows(A, a_report(), at=10.6)
    assert (driver.state.is_entry_checked, driver.state.reported_entry) == (True, D(100))


# Liquidation.


@pytest.mark.parametrize("side", ["long", "short"])
def test_a_stop_beyond_the_liquidation_price_is_tightened(side: Side) -> None:
    liquidation, nearest = ("99", "99.5") if side == "long" else ("101", "100.49")
    driver = waiting(side, timing=TIMING, market=AMENDS)
    report = a_report(liquidation=liquidation, side=side)
    driver.shows(driver.live["a"], report, at=10.0)
    assert driver.alarms == ["the stop lies beyond the liquidation price"]
    assert driver.settles() == [AmendStop("a", D(nearest), D(1))]
    driver.shows(driver.live["a"], report, at=20.0)
    assert (len(driver.alarms), driver.wants()) == (1, NEVER)


@pytest.mark.parametrize("liquidation", [None, "0", "90"])
def test_a_liquidation_price_that_is_none_or_beyond_the_stop_changes_nothing(liquidation: str | None) -> None:
    driver = resting()
    driver.shows(A, a_report(liquidation=liquidation), at=10.0)
    assert (driver.alarms, driver.state.target, driver.wants()) == ([], D(98), NEVER)


def test_an_unprotected_position_beyond_its_liquidation_price_gets_the_tighter_stop() -> None:
    driver = unprotected(timing=TIMING)
    driver.shows(a_report(liquidation="99"), at=10.0)
    assert driver.wants() == PlaceStop(D("99.5"), D(1))


def test_fm61_a_liquidation_price_on_the_wrong_side_of_the_market_is_ignored_with_one_alarm() -> None:
    driver = resting()
    for at in (10.0, 20.0):
        driver.shows(A, a_report(liquidation="105"), at=at)
    assert driver.alarms == ["the liquidation price is ignored"]
    assert driver.last(Alarm)["detail"] == "105 is not behind the price, 100"
    assert driver.wants() == NEVER
    driver.shows(A, a_report(liquidation="106"), at=30.0)
    assert len(driver.alarms) == 2


def test_a_list_that_was_asked_for_when_the_stop_was_sent_says_nothing_about_it() -> None:
    driver = opening()
    driver.begins()
    driver.answers(a_stop("a"))
    driver.shows(a_report())
    assert driver.row("a").absent_since is None
    driver.sees("105")
    assert driver.wants() == ReplaceStop(D("103.95"), D(1), "a")


def test_a_list_that_was_asked_for_before_a_stop_was_sent_postpones_no_look_up_of_it() -> None:
    driver = opening(timing=TIMING)
    driver.begins()
    driver.step(Answered(None, OutcomeUnknown("no answer"), 1.0), at=0.5)
    driver.shows(a_report(), at=0.0, answered=1.0)
    assert driver.row("a").absent_since is None
    assert driver.wants() == FindOrder("a")
