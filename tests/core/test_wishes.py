"""What callers want of a position, what its plan wants as time passes, and how a position ends."""

from __future__ import annotations

import math
from typing import Any

import pytest
from driver import ELSEWHERE, NO_LAG, TIMING, D, a_candle, a_report, a_stop, opening, unprotected, waiting

from trailing.core.goals import PROTECT, Close, Release
from trailing.core.inputs import (
    CandleClosed,
    CheckWanted,
    CloseWanted,
    DeadlineStruck,
    EntryRefused,
    EntryUnreported,
    Frozen,
    OpeningEnded,
    OrderUpdated,
    PositionUpdated,
    ReleaseWanted,
    RetryNow,
    StopFound,
    TimePassed,
)
from trailing.core.model import Percent
from trailing.core.next_request import NEVER
from trailing.core.requests import CancelStop, ClosePosition, FindOrder, PlaceStop
from trailing.core.rules import Callback
from trailing.core.states import State
from trailing.errors import ExchangeUnreachable, NothingToReduce, OutcomeUnknown, RateLimited, StopRejected, UsageError
from trailing.events import OpeningFailed, PositionReleased

# Closing.


def test_a_close_that_its_owner_wants_is_revoked_by_nothing() -> None:
    driver = waiting()
    driver.sees("98", at=1.0)
    driver.at = 3.0
    driver.does()
    driver.step(CloseWanted("on purpose"))
    assert driver.state.goal == Close("on purpose", is_revocable=False)
    driver.fails(StopRejected("no"))
    assert driver.state.goal == Close("on purpose", is_revocable=False)


def test_a_close_that_is_wanted_again_is_tried_at_once() -> None:
    driver = waiting()
    driver.step(CloseWanted("on purpose"))
    driver.fails(RateLimited("slow down", retry_after=60.0))
    assert driver.wants() == 60.0
    driver.step(CloseWanted("again"))
    assert driver.wants() == ClosePosition(D(1), "on purpose")


def test_a_goal_never_falls_back() -> None:
    driver = waiting()
    driver.step(CloseWanted("on purpose"))
    driver.step(ReleaseWanted(cancel_stop=True))
    assert driver.state.goal == Close("on purpose", is_revocable=False, otherwise=Release(cancel_stop=True))
    driver.step(EntryRefused(UsageError("no")))
    assert driver.state.is_given_up
    driver.step(CloseWanted("on purpose"))
    assert driver.state.is_given_up


def test_an_exit_ends_once_the_position_is_confirmed_flat() -> None:
    driver = waiting()
    driver.step(CloseWanted("on purpose"))
    driver.does()
    assert (driver.state.state, driver.wants(), driver.state.snapshot_at) == (State.EXITING, NEVER, 0.0)
    driver.shows(driver.live["a"], ELSEWHERE, at=0.25)
    assert driver.settles() == [CancelStop("a", "its position is closed")]
    assert driver.events == ["ExitStarted", "ExitFilled", "PositionClosed"]
    assert driver.state.exit_reason == "on purpose"


# Releasing.


def test_releasing_leaves_a_live_stop_as_it_is() -> None:
    driver = waiting()
    driver.step(ReleaseWanted(cancel_stop=False))
    assert driver.state.state is State.CLOSED
    assert driver.last(PositionReleased) == {"stop_is_live": True}
    assert list(driver.live) == ["a"]


def test_releasing_with_its_stop_cancels_that_first() -> None:
    driver = waiting()
    driver.step(ReleaseWanted(cancel_stop=True))
    assert not driver.state.ended
    assert driver.settles() == [CancelStop("a", "its position is given back")]
    assert driver.state.ended
    assert driver.last(PositionReleased) == {"stop_is_live": False}


def test_a_release_replaces_a_close_by_software_that_is_not_under_way() -> None:
    driver = unprotected(on_unprotected="close")
    driver.shows_all()
    assert isinstance(driver.wants(), ClosePosition)
    driver.step(ReleaseWanted(cancel_stop=False))
    assert driver.state.goal == Release(cancel_stop=False)


def test_a_release_replaces_an_owners_close_that_was_refused() -> None:
    for is_early in (True, False):
        driver = waiting()
        driver.step(CloseWanted("on purpose"))
        driver.begins()
        if is_early:
            driver.step(ReleaseWanted(cancel_stop=False))
        driver.answers(error=NothingToReduce("a take-profit covers it"))
        if not is_early:
            driver.step(ReleaseWanted(cancel_stop=False))
        assert driver.state.goal == Release(cancel_stop=False)
        driver.shows(*driver.live.values(), a_report(), at=1.0)
        assert driver.state.ended


def test_a_release_that_waits_for_a_close_by_software_is_stored() -> None:
    driver = unprotected(on_unprotected="close")
    driver.shows_all()
    assert isinstance(driver.begins(), ClosePosition)
    driver.step(ReleaseWanted(cancel_stop=True))
    assert isinstance(driver.state.goal, Close)
    assert driver.restarted(0.0).state.goal == Release(cancel_stop=True)


def test_a_release_that_cancels_the_stop_counts_more_during_a_close_by_software_too() -> None:
    driver = unprotected(on_unprotected="close")
    driver.shows_all()
    assert isinstance(driver.begins(), ClosePosition)
    driver.step(ReleaseWanted(cancel_stop=True))
    driver.step(ReleaseWanted(cancel_stop=False))
    driver.answers(error=ExchangeUnreachable("no"))
    assert driver.state.goal == Release(cancel_stop=True)


def test_a_release_waits_for_the_request_under_way_and_for_what_is_unknown() -> None:
    driver = waiting(timing=TIMING)
    driver.sees("102", at=10.0)
    driver.begins()
    driver.step(ReleaseWanted(cancel_stop=False))
    assert not driver.state.ended
    driver.executes()
    driver.answers(error=OutcomeUnknown("?"))
    assert not driver.state.ended
    assert driver.does() == FindOrder("b")
    assert not driver.state.ended
    assert driver.does() == CancelStop("a", "another stop of its position counts")
    assert driver.state.ended


def test_a_release_waits_for_the_snapshot_that_is_wanted() -> None:
    driver = waiting()
    driver.step(CheckWanted())
    driver.step(ReleaseWanted(cancel_stop=False))
    assert not driver.state.ended
    driver.shows_all(at=1.0)
    assert driver.state.ended


def test_a_release_waits_until_it_is_confirmed_that_the_position_is_flat_where_an_update_says_so() -> None:
    driver = waiting()
    driver.step(PositionUpdated(D(0), 0.0))
    driver.step(ReleaseWanted(cancel_stop=False))
    for at in (0.1, 0.5):
        assert not driver.state.ended
        driver.shows(*driver.live.values(), at=at)
    driver.settles()
    assert driver.events[-1] == "PositionClosed"


def test_a_release_does_not_wait_for_lists_that_do_not_show_the_position_and_nothing_else_says_that_it_is_flat() -> (
    None
):
    driver = waiting()
    driver.step(CheckWanted())
    driver.step(ReleaseWanted(cancel_stop=False))
    driver.shows(*driver.live.values(), at=1.0)
    assert driver.last(PositionReleased) == {"stop_is_live": True}


def test_a_stop_that_is_gone_before_its_cancellation_ends_a_release() -> None:
    driver = waiting()
    driver.step(ReleaseWanted(cancel_stop=True))
    driver.cancels("a")
    assert driver.state.ended
    assert "StopGone" not in driver.events


# The end.


INPUTS: list[Any] = [
    PositionUpdated(D(5), 99.0),
    OrderUpdated("a", "cancelled"),
    TimePassed(),
    CheckWanted(),
    RetryNow(),
    CloseWanted("on purpose"),
    ReleaseWanted(cancel_stop=True),
    DeadlineStruck(final=True),
    EntryRefused(UsageError("no")),
    OpeningEnded(),
    Frozen(ValueError("no")),
    StopFound(a_stop("z")),
]


@pytest.mark.parametrize("input_", INPUTS, ids=lambda one: type(one).__name__)
def test_nothing_brings_a_position_back_that_has_ended(input_: Any) -> None:
    driver = waiting()
    driver.step(ReleaseWanted(cancel_stop=False))
    driver.told.clear()
    before = driver.state.facts
    driver.step(input_, 99.0)
    driver.sees("1", "98", "150", "150")
    assert (driver.state.facts, driver.told, driver.wants(), driver.state.snapshot_at) == (before, [], NEVER, math.inf)
    assert driver.state.state is State.CLOSED


def test_the_rules_are_asked_once_a_stop_is_found_behind_an_adopted_position() -> None:
    driver = opening(rules=(Callback(Percent(1)),))
    driver.live["z"] = a_stop("z", "98")
    driver.step(StopFound(driver.live["z"]))
    assert driver.state.target == 99


# A position without a stop.


@pytest.mark.parametrize(
    ("plan", "after"),
    [
        ({"on_unprotected": "retry", "retry_for": 5.0}, "given up"),
        ({"on_unprotected": "retry", "retry_for": 5.0, "retry_then": "close"}, "closed"),
        ({"on_unprotected": "report"}, "given up"),
        ({"on_unprotected": "close"}, "closed"),
    ],
)
def test_a_position_without_a_stop_is_given_up_or_closed_as_its_plan_says(plan: dict[str, Any], after: str) -> None:
    driver = opening(**plan)
    driver.fails(ExchangeUnreachable("no"))
    driver.step(TimePassed(), 5.0)
    assert driver.state.goal == PROTECT  # the opening has not ended
    driver.step(OpeningEnded())
    driver.step(TimePassed(), 5.0)
    if after == "given up":
        assert driver.state.is_given_up
        assert isinstance(driver.state.error, ExchangeUnreachable)
        assert driver.events[-1] == "OpeningFailed"
    else:
        assert driver.wants() == ClosePosition(D(1), "no stop could be placed")


def test_a_position_that_no_request_failed_for_is_given_up_with_a_reason() -> None:
    driver = unprotected(on_unprotected="report")
    driver.shows_all()
    assert driver.state.is_given_up
    failed = driver.last(OpeningFailed)
    assert (failed["error"], failed["given_up"]) == ("ExchangeError: no stop could be placed", True)


def test_the_policy_waits_for_what_is_unknown() -> None:
    driver = opening(on_unprotected="report", timing=TIMING)
    driver.fails(OutcomeUnknown("?"))
    driver.step(OpeningEnded())
    driver.step(TimePassed(), 1.0)
    assert driver.state.goal == PROTECT
    assert driver.last(OpeningFailed)["unresolved"] is True


def test_the_policy_waits_for_a_snapshot_only_as_long_as_a_call_may_take() -> None:
    driver = unprotected(on_unprotected="close", call_seconds=4.0)
    assert driver.wants() == 4.0
    driver.step(TimePassed(), 4.0)
    assert driver.wants() == ClosePosition(D(1), "no stop could be placed")


@pytest.mark.parametrize("policy", ["close", "report"])
def test_a_stop_is_placed_while_the_policy_waits_because_a_list_leaves_the_position_out(policy: str) -> None:
    driver = unprotected(on_unprotected=policy)
    driver.shows(a_report(symbol="ETH/USDT:USDT"))
    assert driver.wants() == PlaceStop(D(98), D(1))
    driver.does()
    driver.shows_all()
    assert driver.state.goal == PROTECT


def test_a_stop_is_placed_while_the_policy_waits_for_a_close_of_an_earlier_process() -> None:
    driver = unprotected(on_unprotected="close", timing=TIMING)
    driver.shows_all(at=1.0)
    assert driver.begins() == ClosePosition(D(1), "no stop could be placed")
    driver = driver.restarted(2.0)
    driver.shows_all(at=3.0)
    assert driver.wants() == PlaceStop(D(98), D(1))


def test_giving_up_twice_is_told_once() -> None:
    driver = opening()
    driver.step(StopFound(a_stop("z")))
    driver.step(EntryRefused(UsageError("no")))
    driver.step(EntryRefused(UsageError("again")))
    assert driver.events == ["StopOpened", "OpeningFailed"]


# The opening.


def test_an_opening_that_is_cancelled_withdraws_what_it_placed() -> None:
    driver = opening()
    driver.does()
    driver.step(DeadlineStruck(final=True))
    assert driver.settles() == [CancelStop("a", "its position is given up")]
    assert driver.state.is_given_up
    assert str(driver.state.error) == "cancelled from outside"


def test_a_clean_up_that_fails_does_not_hide_why_a_position_was_given_up() -> None:
    driver = opening()
    driver.does()
    driver.step(EntryRefused(UsageError("a wrong entry price")))
    driver.fails(ExchangeUnreachable("no"))
    assert str(driver.state.error) == "a wrong entry price"
    driver.at = 0.2
    driver.does()
    assert (driver.state.ended, str(driver.state.error)) == (True, "a wrong entry price")


def test_an_opening_that_is_cancelled_goes_on_where_the_plan_protects() -> None:
    driver = opening(on_wave_cancelled="protect")
    driver.step(DeadlineStruck(final=True))
    assert (driver.state.goal, str(driver.state.error)) == (PROTECT, "cancelled from outside")
    assert driver.wants() == PlaceStop(D(98), D(1))


def test_a_deadline_withdraws_no_position_and_names_itself_unless_a_request_failed() -> None:
    driver = opening()
    driver.step(DeadlineStruck(final=False))
    assert (driver.state.goal, str(driver.state.error)) == (PROTECT, "the deadline struck")
    driver = opening()
    driver.fails(ExchangeUnreachable("no"))
    driver.step(DeadlineStruck(final=False))
    assert str(driver.state.error) == "no"


def test_after_a_deadline_a_stop_that_comes_late_is_kept_or_cancelled_as_the_plan_says() -> None:
    for policy in ("adopt", "cancel"):
        driver = opening(on_late_order=policy)
        driver.begins_only()
        driver.step(DeadlineStruck(final=False))
        driver.leaves()
        driver.answers(driver.executes())
        wanted = driver.wants()
        assert wanted == (CancelStop("a", "it is not wanted any more") if policy == "cancel" else NEVER)


def test_a_stop_that_is_found_after_the_clean_up_is_kept_because_another_one_would_be_placed() -> None:
    driver = opening(on_late_order="cancel")
    driver.begins_only()
    driver.step(DeadlineStruck(final=False))
    driver.leaves()
    driver.step(OpeningEnded())
    driver.answers(driver.executes())
    assert (driver.wants(), driver.stop_price) == (NEVER, D(98))


def test_a_stop_that_was_live_before_the_deadline_is_kept() -> None:
    driver = opening(on_late_order="cancel")
    driver.does()
    driver.step(DeadlineStruck(final=False))
    assert driver.wants() == NEVER


def test_the_end_of_an_opening_without_a_stop_is_told() -> None:
    driver = opening()
    driver.step(OpeningEnded())
    assert driver.last(OpeningFailed) == {
        "error": "ExchangeError: it has no stop yet",
        "unresolved": False,
        "given_up": False,
    }
    driver = opening()
    driver.does()
    driver.step(OpeningEnded())
    assert driver.events == ["StopOpened"]


def test_the_end_of_an_opening_that_was_given_up_is_not_told_twice() -> None:
    driver = opening()
    driver.begins()
    driver.step(EntryRefused(UsageError("no")))
    driver.step(OpeningEnded())
    assert driver.events == ["OpeningFailed"]


def test_an_entry_without_a_snapshot_is_checked_by_the_last_price() -> None:
    driver = opening()
    driver.does()
    driver.step(EntryUnreported(D(50)))
    assert driver.settles() == [CancelStop("a", "its position is given up")]
    for price in (D(101), None):
        driver = opening()
        driver.does()
        driver.step(EntryUnreported(price))
        driver.step(EntryUnreported(D(50)))  # it was checked
        assert driver.wants() == NEVER


# Bugs.


def test_a_frozen_position_keeps_its_stop_is_told_once_and_takes_prices() -> None:
    driver = waiting()
    driver.step(Frozen(ValueError("on purpose")))
    driver.step(Frozen(ValueError("again")))
    assert driver.alarms == ["frozen: its stop stays live and is not moved"]
    driver.sees("105")
    driver.step(CandleClosed(a_candle(0)))
    assert (driver.state.ratchet.best, driver.state.target, driver.wants()) == (D(105), D(98), NEVER)


def test_a_price_of_another_source_asks_no_rule() -> None:
    driver = waiting()
    driver.sees("105", source="mark")
    assert (driver.state.ratchet.foreign_ticks, driver.wants()) == (1, NEVER)


# What its readers ask.


def test_a_position_that_its_fills_alone_say_is_flat_may_be_open_until_an_update_says_so() -> None:
    driver = waiting()
    driver.fills("a", "1", status="filled")
    assert driver.state.may_be_open
    driver.step(PositionUpdated(D(0), 1.0), 1.0)
    assert not driver.state.may_be_open


def test_the_words_of_its_state() -> None:
    driver = waiting()
    assert repr(driver.state) == "<PositionState BTC/USDT:USDT long waiting stop=98>"
    assert repr(opening().state) == "<PositionState BTC/USDT:USDT long opening stop=None>"
    assert driver.state.plan.initial_stop == driver.state.ratchet.plan.initial_stop
    driver.step(CloseWanted("on purpose"))
    assert driver.state.state is State.EXITING


@pytest.mark.parametrize(("side", "profit"), [("long", -2), ("short", -2)])
def test_its_profit_is_known_once_all_of_it_was_filled(side: Any, profit: int) -> None:
    driver = waiting(side)
    price = "98" if side == "long" else "102"
    driver.fills("a", "0.4", price=price, trade="1")
    assert driver.state.profit is None
    driver.fills("a", "0.6", price=price, trade="2", status="filled")
    assert driver.state.profit == D(profit)


def test_two_states_of_equal_facts_need_no_save() -> None:
    driver = waiting(timing=NO_LAG)
    before = driver.state.facts
    driver.sees("99", "100.5")
    assert driver.state.facts == before
    driver.sees("102")
    assert driver.begins_only() is not None
    assert driver.state.facts != before
