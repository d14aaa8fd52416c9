"""Known answers of the table of rules: what is asked of the exchange next, and when.

The plan is that of `driver`: entry 100, initial stop 98, from 101 on 1 % behind the best price.
"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest
from driver import (
    AMENDS,
    ELSEWHERE,
    MARKET,
    ONE_STOP,
    OPENED,
    SUCCESSOR,
    TIMING,
    D,
    Driver,
    a_report,
    a_stop,
    a_tick,
    opening,
    unprotected,
    waiting,
)

from trailing.core.evidence import CHECK_FIRST
from trailing.core.inputs import (
    CheckWanted,
    CloseWanted,
    DeadlineStruck,
    Frozen,
    OpeningEnded,
    OrderUpdated,
    PricesMissed,
    ReleaseWanted,
    RetryNow,
    Sent,
    StopFound,
    TimePassed,
)
from trailing.core.model import Market, Percent, Side
from trailing.core.next_request import NEVER, RULES, refresh
from trailing.core.plan import Pacing
from trailing.core.requests import (
    KINDS,
    AmendStop,
    CancelStop,
    ClosePosition,
    FindOrder,
    PlaceNative,
    PlaceStop,
    ReadCandles,
    ReadPrice,
    ReplaceStop,
    Request,
    TakeDownStop,
)
from trailing.core.retries import TOLD_AFTER
from trailing.core.states import State
from trailing.errors import (
    ExchangeUnreachable,
    OutcomeUnknown,
    RateLimited,
    StopRejected,
    UsageError,
    WouldTrigger,
)
from trailing.events import Alarm

PACED: dict[str, Any] = {"pacing": Pacing(min_interval=30.0, min_improvement=Percent("0.1"), override=Percent(2))}


def paced(**plan: Any) -> Driver:
    """One whose stop was moved to 100.98 at 10 s."""
    driver = waiting(**(PACED | plan))
    driver.sees("102", at=10.0)
    assert driver.settles() == [ReplaceStop(D("100.98"), D(1), "a"), CancelStop("a", SUPERSEDED)]
    return driver


SUPERSEDED = "another stop of its position counts"


# Requests.


@pytest.mark.parametrize(
    "request_",
    [
        PlaceStop(D(98), D(1)),
        ReplaceStop(D(98), D(1), "a"),
        AmendStop("a", D(98), D(1)),
        TakeDownStop("a"),
        CancelStop("a", "it is not wanted any more"),
        FindOrder("a"),
        ReadPrice("jump"),
        ClosePosition(D(1), "on purpose"),
        PlaceNative(D(101), Percent(1), D(1)),
        ReadCandles(OPENED),
    ],
    ids=lambda request: type(request).__name__,
)
def test_every_request_has_a_kind_and_reads_as_a_sentence(request_: Request) -> None:
    assert request_.kind in KINDS
    assert str(request_)[0].islower()
    assert "Decimal" not in str(request_)
    assert request_.writes or not request_.creates


def test_every_rule_says_what_it_does() -> None:
    assert all(rule.__doc__ for rule in RULES)


# The first stop.


@pytest.mark.parametrize(("side", "first"), [("long", "98"), ("short", "102")])
def test_a_new_position_wants_its_first_stop(side: Side, first: str) -> None:
    driver = opening(side)
    assert driver.wants() == PlaceStop(D(first), D(1))
    assert (driver.state.state, driver.state.ratchet.first_stop) == (State.OPENING, D(first))
    assert (driver.state.stop, driver.state.uncovered) == (None, D(1))


def test_an_acknowledged_first_stop_covers_the_position_and_nothing_is_due() -> None:
    driver = waiting()
    assert (driver.state.state, driver.stop_price, driver.state.uncovered) == (State.WAITING, D(98), D(0))
    assert driver.wants() == NEVER
    assert driver.wants(1e9) == NEVER


def test_a_peak_during_the_opening_is_wanted_as_soon_as_the_stop_is_live() -> None:
    driver = opening()
    driver.sees("102")
    assert driver.does() == PlaceStop(D(98), D(1))
    assert driver.wants() == ReplaceStop(D("100.98"), D(1), "a")


def test_a_rest_that_is_too_small_for_a_stop_is_closed() -> None:
    driver = waiting()
    driver.fills("a", "0.95")
    driver.cancels("a")
    assert driver.state.coverable == 0
    assert driver.wants() == 10.0  # what took the stop away may have taken the position with it: a snapshot comes first
    driver.shows(a_report("0.05"))
    assert driver.wants() == ClosePosition(D("0.05"), "what is left is too small for a stop")


# Moves.


@pytest.mark.parametrize(
    ("market", "move"),
    [
        (MARKET, [ReplaceStop(D("100.98"), D(1), "a"), CancelStop("a", SUPERSEDED)]),
        (AMENDS, [AmendStop("a", D("100.98"), D(1))]),
        (ONE_STOP, [TakeDownStop("a"), PlaceStop(D("100.98"), D(1))]),
    ],
    ids=["two stops", "amend", "one stop"],
)
def test_a_move_amends_else_replaces_else_takes_the_stop_down_first(market: Market, move: list[Request]) -> None:
    driver = waiting(market=market)
    driver.sees("102")
    assert driver.settles() == move
    assert (driver.stop_price, driver.state.state, driver.state.moves) == (D("100.98"), State.TRAILING, 1)
    assert len(driver.live) == 1


def test_a_peak_while_a_move_is_under_way_is_sent_after_it() -> None:
    driver = waiting(market=AMENDS)
    driver.sees("102")
    driver.begins()
    driver.sees("103")
    driver.answers(driver.executes())
    assert driver.wants() == AmendStop("a", D("101.97"), D(1))


def test_fm39_a_move_is_sent_with_the_figures_of_the_moment_in_which_it_leaves() -> None:
    driver = waiting(market=AMENDS)
    driver.sees("102")
    assert driver.begins_only() == AmendStop("a", D("100.98"), D(1))
    driver.sees("104")
    assert driver.leaves() == AmendStop("a", D("102.96"), D(1))


def test_fm39_a_request_that_is_looser_than_a_live_stop_is_refused_before_it_leaves() -> None:
    driver = waiting()
    driver.step(StopFound(a_stop("z", "99")))
    driver.sees("102")
    driver.begins_only()
    before = driver.state.facts
    with pytest.raises(UsageError, match="a stop at 98.5 would be looser than z at 99"):
        driver.step(Sent(ReplaceStop(D("98.5"), D(1), "a")))
    assert (driver.state.is_sent, driver.state.facts) == (False, before)


def test_nothing_leaves_where_another_request_is_wanted_by_then() -> None:
    driver = waiting()
    driver.sees("102")
    driver.begins_only()
    driver.step(CloseWanted("on purpose"))
    assert refresh(driver.state, driver.at) is None
    driver.answers()
    assert names_of(driver) == ["a"]
    assert driver.wants() == ClosePosition(D(1), "on purpose")


def test_nothing_leaves_where_the_same_request_is_wanted_for_another_order() -> None:
    driver = waiting()
    driver.step(StopFound(a_stop("z", "99")))
    driver.live["z"] = a_stop("z", "99")
    assert driver.begins_only() == CancelStop("a", SUPERSEDED)
    driver.cancels("a")
    driver.step(StopFound(a_stop("y", "97")))
    assert refresh(driver.state, driver.at) is None
    assert driver.wants() == NEVER
    driver.answers()
    assert driver.wants() == CancelStop("y", SUPERSEDED)


def names_of(driver: Driver) -> list[str]:
    return list(driver.state.orders)


def test_the_figures_of_a_request_do_not_change_between_its_beginning_and_its_leaving_where_nothing_else_does() -> None:
    for market in (MARKET, AMENDS, ONE_STOP):
        driver = waiting(market=market)
        driver.sees("102")
        while not isinstance(driver.wants(), float):
            begun = driver.begins_only()
            assert refresh(driver.state, driver.at) == begun
            driver.leaves()
            driver.answers(driver.executes())


def test_a_stop_is_not_replaced_while_two_of_them_are_there() -> None:
    driver = waiting()
    driver.sees("102")
    driver.does()
    driver.fails(ExchangeUnreachable("no"))
    assert (names_of(driver), driver.state.stop) == (["a", "b"], driver.live["b"])
    driver.sees("104")
    assert driver.wants() == 0.2
    assert driver.wants(0.2) == CancelStop("a", SUPERSEDED)


def test_the_stop_that_counts_covers_the_whole_position_before_another_is_cancelled() -> None:
    driver = waiting(market=AMENDS)
    driver.step(StopFound(a_stop("z", "99", "0.5")))
    driver.live["z"] = a_stop("z", "99", "0.5")
    assert driver.settles() == [AmendStop("z", D(99), D(1)), CancelStop("a", SUPERSEDED)]


def test_a_second_stop_that_a_person_may_have_tightened_is_looked_up_before_it_is_cancelled() -> None:
    driver = waiting(timing=TIMING)
    driver.step(StopFound(a_stop("z", "99")))
    driver.live["z"] = a_stop("z", "99")
    driver.step(OrderUpdated("a", "live"), 20.0)
    driver.at = 21.0
    assert driver.fails(RateLimited("wait", retry_after=1.0)) == FindOrder("a")
    assert isinstance(driver.wants(), float)
    driver.live["a"] = a_stop("a", "99.5")
    driver.at = 60.0
    assert driver.settles() == [FindOrder("a"), CancelStop("z", SUPERSEDED)]


def test_a_stop_beside_one_that_may_be_gone_is_not_cancelled() -> None:
    driver = waiting(timing=TIMING)
    driver.step(StopFound(a_stop("z", "99")))
    driver.shows(a_stop("a"), a_report(), at=10.0)
    assert driver.row("z").absent_since == 10.0
    assert driver.wants() == NEVER


def test_a_stop_beside_the_one_that_counts_is_kept_while_the_end_of_that_one_may_have_been_missed() -> None:
    driver = waiting()
    driver.step(StopFound(a_stop("z", "99")))
    assert isinstance(driver.wants(), CancelStop)
    driver.live["z"] = a_stop("z", "99")
    driver.step(CheckWanted(), 1.0)
    assert driver.settles() == [FindOrder("z"), FindOrder("a"), CancelStop("a", SUPERSEDED)]


def test_a_superseded_stop_is_looked_up_before_it_is_cancelled_if_updates_of_it_may_have_been_missed() -> None:
    driver = waiting()
    driver.step(CheckWanted(), 1.0)
    driver.sees("102", at=2.0)
    driver.live["a"] = a_stop("a", "101.5")  # by a person, meanwhile
    assert driver.settles() == [ReplaceStop(D("100.98"), D(1), "a"), FindOrder("a"), CancelStop("b", SUPERSEDED)]
    assert driver.stop_price == D("101.5")


def test_a_superseded_stop_is_looked_up_if_updates_are_missed_before_it_is_cancelled() -> None:
    driver = waiting()
    driver.sees("102", at=2.0)
    driver.does()
    driver.step(CheckWanted(), 3.0)
    assert driver.settles() == [FindOrder("b"), FindOrder("a"), CancelStop("a", SUPERSEDED)]


@pytest.mark.parametrize("market", [AMENDS, ONE_STOP])
def test_the_live_stop_is_looked_up_before_a_move_changes_it_if_updates_of_it_may_have_been_missed(
    market: Market,
) -> None:
    driver = waiting(market=market)
    driver.step(CheckWanted(), 1.0)
    driver.live["a"] = a_stop("a", "101.5")  # by a person, meanwhile
    driver.sees("102", at=2.0)
    assert driver.settles() == [FindOrder("a")]
    assert driver.stop_price == D("101.5")
    driver.sees("104")
    assert driver.settles()[0] in (AmendStop("a", D("102.96"), D(1)), TakeDownStop("a"))


@pytest.mark.parametrize("market", [AMENDS, ONE_STOP])
def test_a_stop_that_has_triggered_is_not_moved(market: Market) -> None:
    driver = waiting(market=market)
    driver.step(OrderUpdated("a", "triggered"))
    driver.sees("102", at=1.0)
    assert not isinstance(driver.wants(), (AmendStop, TakeDownStop))


def test_a_move_does_not_wait_for_look_ups_that_fail_again_and_again() -> None:
    driver = waiting(market=AMENDS)
    driver.step(CheckWanted(), 1.0)
    driver.sees("102", at=2.0)
    for _ in range(TOLD_AFTER):
        wanted = driver.wants()
        driver.at = wanted if isinstance(wanted, float) else driver.at
        assert driver.fails(ExchangeUnreachable("no")) == FindOrder("a")
    assert driver.wants() == AmendStop("a", D("100.98"), D(1))


def test_a_stop_beside_one_that_is_being_filled_is_kept_until_a_snapshot_shows_that_one() -> None:
    driver = waiting(timing=TIMING)
    driver.sees("102", at=10.0)
    driver.begins()
    answer = driver.executes()
    driver.fills("b", "0.4", trade="1")
    driver.answers(answer)
    assert driver.wants() == NEVER
    driver.shows(driver.live["a"], driver.live["b"], a_report("0.6"), at=12.0)
    assert driver.wants() == CancelStop("a", SUPERSEDED)


def test_a_stop_is_not_taken_down_while_it_may_be_of_another_position() -> None:
    driver = waiting(market=ONE_STOP)
    driver.shows(a_stop("a"), a_report(), at=1.0)
    driver.shows(a_report("2", "101"), at=2.0)
    driver.shows(a_stop("a"), ELSEWHERE, at=3.0)
    driver.sees("102")
    assert (driver.state.doubted_stop, driver.wants()) == ("a", NEVER)
    driver.shows(a_stop("a"), a_report("2", "101"), at=4.0)
    assert driver.wants() == TakeDownStop("a")


def test_a_stop_whose_absence_would_make_it_another_position_is_not_cancelled() -> None:
    driver = waiting(timing=TIMING)
    driver.shows(driver.live["a"], a_report(), at=5.0)
    driver.sees("102", at=10.0)
    driver.begins()  # another stop takes its place
    driver.shows(a_report("2", "101"), at=12.0)
    driver.answers(driver.executes())
    assert driver.state.doubted_stop == "a"
    assert not isinstance(driver.wants(), CancelStop)
    driver.shows(driver.live["a"], driver.live["b"], a_report("2", "101"), at=20.0)
    assert driver.state.doubted_stop is None
    assert driver.wants(20.0) == CancelStop("a", SUPERSEDED)


def test_a_stop_is_not_taken_down_while_placing_backs_off() -> None:
    driver = waiting(market=ONE_STOP)
    driver.sees("102")
    driver.does()
    driver.fails(ExchangeUnreachable("not sent"))
    driver.shows_all(at=0.1)
    driver.at = 0.2
    driver.does()
    assert driver.stop_price == D("100.98")
    driver.sees("103")
    driver.does()
    driver.fails(RateLimited("slow down", retry_after=9.0))
    driver.step(StopFound(a_stop("z", "99")))
    assert driver.wants() == 9.2


# Pacing.


def test_an_improvement_inside_the_interval_is_due_at_its_end() -> None:
    driver = paced()
    driver.sees("103", at=15.0)
    assert driver.wants() == 40.0
    assert driver.wants(39.9) == 40.0
    assert driver.wants(40.0) == ReplaceStop(D("101.97"), D(1), "b")


def test_a_deferred_improvement_grows_with_later_peaks_and_keeps_its_time() -> None:
    driver = paced()
    driver.sees("103", at=15.0)
    driver.sees("103.5", at=20.0)
    assert driver.wants() == 40.0
    assert driver.wants(41.0) == ReplaceStop(D("102.47"), D(1), "b")  # 103.5 * 0.99 = 102.465


def test_an_improvement_beyond_the_override_does_not_wait() -> None:
    driver = paced()
    driver.sees("104", at=15.0)  # 102.96 is 1.96 % above 100.98
    assert driver.wants() == 40.0
    driver.sees("104.05", at=16.0)  # 2.01 %
    assert driver.wants() == ReplaceStop(D("103.01"), D(1), "b")


def test_an_improvement_that_is_too_small_is_neither_sent_nor_due() -> None:
    driver = paced()
    driver.sees("102.09", at=100.0)  # 101.07 is 0.09 % above 100.98
    assert driver.wants() == NEVER
    driver.sees("102.11", at=101.0)
    assert driver.wants() == ReplaceStop(D("101.09"), D(1), "b")


def test_the_interval_runs_from_the_moment_in_which_the_last_move_was_sent() -> None:
    driver = waiting(market=AMENDS, **PACED)
    driver.sees("102", at=10.0)
    driver.begins()
    driver.sees("103", at=11.0)
    driver.at = 12.0
    driver.answers(driver.executes())
    assert driver.wants() == 40.0
    assert driver.wants(40.0) == AmendStop("a", D("101.97"), D(1))


def test_a_move_that_failed_does_not_use_up_the_interval() -> None:
    driver = paced()
    driver.sees("103", at=50.0)
    driver.fails(ExchangeUnreachable("not sent"))
    assert driver.wants() == 50.2
    assert driver.wants(50.2) == ReplaceStop(D("101.97"), D(1), "b")


def test_a_stop_that_a_hand_loosened_is_put_back_without_waiting_for_the_pacing() -> None:
    driver = paced()
    driver.live["b"] = a_stop("b", "99")
    driver.shows_all(at=11.0)
    assert driver.wants() == ReplaceStop(D("100.98"), D(1), "b")


@pytest.mark.parametrize("market", [MARKET, AMENDS, ONE_STOP], ids=["two stops", "amend", "one stop"])
def test_the_next_move_waits_for_its_interval_whichever_requests_a_move_takes(market: Market) -> None:
    driver = waiting(market=market, **PACED)
    driver.sees("102", at=10.0)
    driver.settles()
    driver.sees("103", at=12.0)
    assert (driver.wants(), driver.state.moved_at) == (40.0, 10.0)


@pytest.mark.parametrize("market", [MARKET, AMENDS, ONE_STOP], ids=["two stops", "amend", "one stop"])
def test_a_move_whose_answer_was_lost_counts_for_the_pacing_once_it_is_seen(market: Market) -> None:
    driver = waiting(market=market, **PACED)
    driver.sees("102", at=10.0)
    if isinstance(driver.wants(), TakeDownStop):
        driver.does()
    driver.fails(OutcomeUnknown("lost"), executed=True)
    driver.at = 17.0
    driver.settles()
    driver.sees("103", at=18.0)
    assert (driver.stop_price, driver.wants()) == (D("100.98"), 40.0)


# Crossings.


@pytest.mark.parametrize(("side", "crossing"), [("long", "98"), ("short", "102")])
def test_a_crossed_stop_has_its_grace_to_fill(side: Side, crossing: str) -> None:
    driver = waiting(side)
    driver.sees(crossing, at=5.0)
    assert driver.wants() == 7.0
    assert driver.wants(6.9) == 7.0
    assert driver.wants(7.0) == ReadPrice("crossing")
    assert driver.settles()[1:] == [ClosePosition(D(1), "the stop was crossed and not filled within 2.0 s")]


def test_the_grace_runs_from_the_first_crossing_price() -> None:
    driver = waiting(exit_grace=5.0)
    driver.sees("97.9", at=5.0)
    driver.sees("97.5", at=8.0)
    assert driver.wants() == 10.0


def test_a_price_that_comes_back_ends_the_crossing() -> None:
    driver = waiting()
    driver.sees("98", at=5.0)
    driver.sees("98.5", at=6.0)
    assert driver.wants() == NEVER
    driver.sees("98", at=20.0)
    assert driver.wants() == 22.0


def test_a_deferred_stop_that_is_crossed_is_an_exit_by_software_which_pacing_does_not_hold_up() -> None:
    driver = paced()
    driver.sees("104", at=15.0)
    driver.sees("103", at=16.0)  # 102.96 is deferred
    driver.sees("102.96", at=17.0)
    assert driver.settles() == [ReadPrice("crossing"), ClosePosition(D(1), "a stop that was not sent yet is crossed")]


def test_a_crossed_target_that_gains_too_little_to_be_sent_is_no_exit() -> None:
    driver = paced()
    driver.sees("102.09", at=100.0)  # 101.07 is 0.09 % above 100.98
    driver.sees("101.05")
    assert driver.wants() == NEVER


def test_a_deferred_stop_that_is_crossed_leaves_the_live_one_where_the_plan_says_so() -> None:
    driver = paced(on_would_trigger="keep")
    driver.sees("104", at=15.0)
    driver.sees("102", at=16.0)
    assert (driver.stop_price, driver.state.target) == (D("100.98"), D("102.96"))
    assert driver.settles() == []
    assert driver.wants(41.0) == NEVER


def test_a_deferred_stop_that_was_crossed_and_kept_moves_on_when_the_price_is_ahead_of_it_again() -> None:
    driver = paced(on_would_trigger="keep")
    driver.sees("104", at=15.0)
    driver.sees("102", at=16.0)  # 102.96 is crossed
    driver.sees("103.5", at=17.0)
    assert driver.wants() == 40.0
    assert driver.wants(40.0) == ReplaceStop(D("102.96"), D(1), "b")


def test_a_crossed_target_whose_move_is_under_way_waits_for_the_move() -> None:
    driver = waiting(market=AMENDS)
    driver.sees("104")
    driver.begins()
    driver.sees("102", at=1.0)
    driver.at = 2.0
    driver.answers(driver.executes())
    assert driver.wants() == 4.0  # it is crossed, and now it has its grace


@pytest.mark.parametrize("side", ["long", "short"])
def test_an_unprotected_position_is_closed_when_its_target_is_crossed(side: Side) -> None:
    driver = unprotected(side)
    driver.at = 1.0
    driver.fails(ExchangeUnreachable("no"))
    driver.sees("98.01" if side == "long" else "101.99", at=1.1)
    assert driver.wants() == 1.2
    driver.sees("98" if side == "long" else "102")
    assert driver.does() == ReadPrice("crossing")
    assert driver.wants() == ClosePosition(D(1), "the price is beyond the stop of a position that has none")


def test_an_unprotected_position_is_kept_where_the_plan_says_so() -> None:
    driver = unprotected(on_would_trigger="keep")
    driver.sees("97", at=2.0)
    assert driver.wants() == PlaceStop(D(98), D(1))


def test_fm46_a_crossing_that_the_exchanges_own_price_does_not_confirm_is_forgotten() -> None:
    driver = waiting()
    driver.sees("98", at=5.0)
    driver.at, driver.price = 7.0, D(99)
    assert driver.does() == ReadPrice("crossing")
    assert (driver.state.state, driver.wants(), driver.stop_price) == (State.WAITING, NEVER, D(98))
    driver.sees("98", at=9.0)
    assert driver.wants() == 11.0


def test_a_crossed_live_stop_is_confirmed_also_where_the_plan_keeps_what_is_live() -> None:
    driver = waiting(on_would_trigger="keep")
    driver.sees("98", at=5.0)
    driver.at = 7.0
    assert driver.settles() == [
        ReadPrice("crossing"),
        ClosePosition(D(1), "the stop was crossed and not filled within 2.0 s"),
    ]


def test_a_crossed_target_that_is_kept_is_no_reason_to_close_where_the_live_stop_was_not_crossed() -> None:
    driver = waiting(on_would_trigger="keep")
    driver.sees("104", at=1.0)
    driver.fails(StopRejected("no"))
    driver.sees("150", "150")  # a jump, so that the exchange's own price is asked for
    driver.price = D(102)
    assert driver.does() == ReadPrice("jump")
    assert driver.wants(2.0) == NEVER
    assert driver.stop_price == D(98)


def test_an_exit_that_is_not_confirmed_leaves_the_deferred_improvement_wanted() -> None:
    driver = paced()
    driver.sees("104", at=15.0)
    driver.sees("102.96", at=40.0)
    driver.price = D("103.5")
    assert driver.does() == ReadPrice("crossing")
    assert driver.wants() == ReplaceStop(D("102.96"), D(1), "b")


def test_a_market_that_is_at_the_refused_stop_is_an_exit() -> None:
    driver = waiting()
    driver.sees("102")
    driver.fails(WouldTrigger("too late"))
    assert (driver.state.state, driver.stop_price) == (State.WAITING, D(98))
    driver.price = D("100.5")
    assert driver.settles() == [ReadPrice("crossing"), ClosePosition(D(1), "the market is at the stop")]


def test_a_move_that_would_trigger_keeps_the_live_stop_where_the_plan_says_so() -> None:
    driver = waiting(on_would_trigger="keep")
    driver.sees("102", at=10.0)
    driver.fails(WouldTrigger("too late"))
    assert (driver.state.state, driver.stop_price, driver.wants()) == (State.WAITING, D(98), 10.2)
    driver.sees("100.5")
    assert driver.wants(10.3) == NEVER


@pytest.mark.parametrize("policy", ["exit", "keep"])
def test_a_stop_that_was_refused_moves_on_when_the_price_is_ahead_of_the_target_again(policy: str) -> None:
    driver = waiting(on_would_trigger=policy)
    driver.sees("104", at=10.0)
    driver.fails(WouldTrigger("too late") if policy == "keep" else StopRejected("no"))
    driver.sees("102.5", at=10.1)  # 102.96 is crossed
    driver.sees("103.5", at=13.0)
    assert driver.wants() == ReplaceStop(D("102.96"), D(1), "a")


# Back-off.


def test_fm40_a_missing_stop_does_not_wait_for_the_back_off_of_a_move() -> None:
    driver = waiting()
    driver.sees("102")
    driver.fails(RateLimited("slow down", retry_after=60.0))
    assert driver.wants() == 60.0
    driver.cancels("a")
    assert driver.wants() == PlaceStop(D("100.98"), D(1))


def test_fm40_an_exit_waits_for_no_back_off_of_another_kind() -> None:
    driver = waiting()
    driver.sees("102")
    driver.fails(RateLimited("slow down", retry_after=60.0))
    driver.step(CloseWanted("on purpose"))
    assert driver.wants() == ClosePosition(D(1), "on purpose")


def test_each_failure_of_a_kind_doubles_its_wait_up_to_half_a_minute() -> None:
    driver, waits = opening(), []
    for _ in range(10):
        driver.fails(ExchangeUnreachable("no"))
        due = driver.wants()
        assert isinstance(due, float)
        waits.append(round(due - driver.at, 6))
        driver.at = due
    assert waits == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]
    driver.step(RetryNow())
    driver.fails(ExchangeUnreachable("no"), spread=0.5)
    assert driver.wants() == driver.at + 0.1


def test_a_request_that_went_through_ends_the_back_off_of_its_kind() -> None:
    driver = waiting(market=AMENDS)
    driver.sees("102")
    driver.fails(ExchangeUnreachable("no"))
    driver.at = 0.2
    driver.does()
    assert driver.state.back_offs == {}


def test_fm60_a_cancellation_that_keeps_failing_backs_off_and_is_told_once() -> None:
    driver = waiting()
    driver.sees("102")
    driver.does()
    for _ in range(6):
        driver.fails(ExchangeUnreachable("503"))
        due = driver.wants()
        assert isinstance(due, float)
        driver.at = due
    assert driver.alarms == ["a request keeps failing"]
    assert driver.last(Alarm)["detail"] == f"cancel a: {SUPERSEDED}: ExchangeUnreachable: 503"


# Fall-backs of a refused target.


def test_a_target_that_was_refused_backs_off_and_the_floor_is_placed_at_once() -> None:
    driver = waiting(market=ONE_STOP, on_would_trigger="keep")
    driver.sees("102")
    driver.does()  # the stop is taken down
    assert driver.fails(WouldTrigger("too late")) == PlaceStop(D("100.98"), D(1))
    assert driver.does() == PlaceStop(D(98), D(1))
    assert driver.stop_price == D(98)
    due = driver.wants()
    assert isinstance(due, float)
    assert due > driver.at


def test_a_first_stop_that_was_refused_and_has_no_fall_back_backs_off() -> None:
    driver = opening(on_would_trigger="keep")
    driver.fails(WouldTrigger("too late"))
    assert driver.wants() == 0.2
    assert driver.wants(0.2) == PlaceStop(D(98), D(1))


def test_a_stop_moves_as_far_as_the_price_allows_where_the_target_is_beyond_it() -> None:
    driver = waiting(on_would_trigger="keep", market=AMENDS)
    driver.sees("102")
    driver.does()
    driver.sees("104")
    driver.sees("102.5")
    driver.live["a"] = a_stop("a", "99")  # a person loosened it; 102.96 is crossed, the floor of 100.98 is not
    driver.shows_all()
    assert driver.wants() == AmendStop("a", D("100.98"), D(1))


def test_a_resize_keeps_the_price_where_the_target_was_refused() -> None:
    driver = waiting(on_would_trigger="keep", market=AMENDS)
    driver.sees("102")
    driver.fails(WouldTrigger("too late"))
    driver.shows(driver.live["a"], a_report("2"), at=0.2)
    assert driver.wants() == AmendStop("a", D(98), D(2))


# Unknown outcomes.


def test_a_request_of_unknown_outcome_is_looked_up_at_once_and_no_other_stop_is_placed_meanwhile() -> None:
    driver = opening(timing=TIMING)
    driver.fails(OutcomeUnknown("no answer"))
    assert driver.state.state is State.UNRESOLVED
    assert driver.does() == FindOrder("a")
    assert driver.wants() == 4.0  # until it can't be executed any more and would be shown
    assert driver.wants(4.0) == FindOrder("a")
    driver.does()
    assert driver.wants() == PlaceStop(D(98), D(1))


def test_the_order_that_is_due_first_is_looked_up_first() -> None:
    driver = waiting()
    driver.sees("102")
    driver.fails(OutcomeUnknown("no answer"))
    driver.step(OrderUpdated("b", "open"))
    assert driver.wants() == FindOrder("b")


@pytest.mark.parametrize("is_shown", [True, False])
def test_an_exit_by_software_waits_for_the_snapshot_that_a_check_wants_for_some_seconds_at_the_most(
    is_shown: bool,
) -> None:
    driver = waiting(timing=TIMING)
    driver.sees("98", at=10.0)
    driver.step(CheckWanted(), 12.0)  # its stop may have been filled, and another position entered
    assert driver.wants() == 13.0 + CHECK_FIRST
    driver.shows(ELSEWHERE, at=13.0)  # which may leave the position out
    assert driver.wants() == 13.0 + CHECK_FIRST
    if is_shown:
        driver.shows_all(at=13.0)
    else:
        driver.at = 13.0 + CHECK_FIRST
    assert driver.does() == ReadPrice("crossing")
    driver.step(CheckWanted())
    assert driver.wants() == driver.at + 1.0 + CHECK_FIRST
    driver.step(CloseWanted("on purpose"))
    assert isinstance(driver.wants(), ClosePosition)


def test_checks_that_follow_each_other_without_a_snapshot_put_an_exit_off_once() -> None:
    driver = waiting(timing=TIMING)
    driver.sees("98", at=10.0)
    for at in (12.0, 17.0, 22.0, 27.0):  # the connection comes and goes, and the lists fail
        driver.step(CheckWanted(), at)
    assert driver.wants(13.0 + CHECK_FIRST) == ReadPrice("crossing")
    driver.step(CheckWanted(), 29.0)
    assert driver.wants() == 30.0 + CHECK_FIRST
    driver.step(CheckWanted(is_resumed=True), 39.0)
    assert driver.wants() == 40.0 + CHECK_FIRST


def test_no_exit_by_software_hits_a_position_that_was_handed_in_behind_it() -> None:
    driver = waiting(timing=TIMING)
    driver.sees("98", at=10.0)
    driver.step(CheckWanted(SUCCESSOR), 12.0)  # its stop was filled, perhaps, and another position entered
    driver.at = 13.0 + CHECK_FIRST
    assert driver.wants() == NEVER
    driver.shows(ELSEWHERE, at=30.0)  # which may leave the position out
    assert driver.wants() == NEVER
    driver.shows_all(at=31.0)
    assert driver.does() == ReadPrice("crossing")


@pytest.mark.parametrize("is_closing", [False, True])
def test_no_exit_by_software_hits_a_position_that_may_be_another_one(is_closing: bool) -> None:
    driver = waiting()
    driver.shows_all(at=1.0)
    driver.sees("98", at=10.0)
    driver.at = 12.0
    if is_closing:
        assert driver.does() == ReadPrice("crossing")
    driver.shows(a_report("2", "101"), at=13.0)
    assert (driver.state.doubted_stop, driver.wants(), driver.state.snapshot_at) == ("a", NEVER, 13.25)
    driver.shows(a_stop("a"), a_report("2", "101"), at=14.0)
    assert isinstance(driver.wants(), ClosePosition if is_closing else ReadPrice)


def test_nothing_is_placed_for_a_position_that_may_be_another_one() -> None:
    moved, missing = waiting(), waiting()
    missing.cancels("a")
    for driver in (moved, missing):
        driver.step(CheckWanted(SUCCESSOR))
        driver.sees("102")
        assert isinstance(driver.wants(), float)
        driver.shows_all(at=1.0)
    assert isinstance(moved.wants(), ReplaceStop)
    assert isinstance(missing.wants(), PlaceStop)


# Price gaps.


def test_the_candles_of_a_price_gap_are_read() -> None:
    driver = waiting()
    driver.step(PricesMissed(OPENED + timedelta(minutes=5), OPENED + timedelta(minutes=9)), 540.0)
    assert driver.wants() == ReadCandles(OPENED + timedelta(minutes=4))


def test_no_candles_are_read_for_a_position_that_is_closed_or_frozen() -> None:
    gap = PricesMissed(OPENED + timedelta(minutes=5), OPENED + timedelta(minutes=9))
    driver = waiting()
    driver.step(Frozen(ValueError("on purpose")))
    driver.step(gap)
    assert driver.wants() == NEVER
    driver = waiting()
    driver.step(CloseWanted("on purpose"))
    driver.begins()
    driver.answers(error=StopRejected("no"))
    driver.step(gap)
    assert driver.wants() == 0.2


def test_a_frozen_stop_is_not_moved_and_no_crossing_of_a_target_closes_it() -> None:
    driver = waiting()
    driver.sees("102")
    driver.step(Frozen(ValueError("on purpose")))
    assert driver.wants() == NEVER
    driver.sees("100.5")
    assert driver.wants() == NEVER


# Cancelling.


def test_an_order_that_came_too_late_is_cancelled_as_soon_as_it_is_live() -> None:
    driver = opening(on_late_order="cancel", timing=TIMING)
    driver.begins()
    driver.step(DeadlineStruck(final=False))
    driver.answers(driver.executes())
    assert driver.does() == CancelStop("a", "it is not wanted any more")
    assert driver.live == {}


@pytest.mark.parametrize(
    ("input_", "why"),
    [
        (ReleaseWanted(cancel_stop=True), "its position is given back"),
        (DeadlineStruck(final=True), "its position is given up"),
    ],
)
def test_what_is_left_of_a_position_is_cancelled_with_the_reason(input_: Any, why: str) -> None:
    driver = waiting()
    driver.step(input_)
    assert driver.does() == CancelStop("a", why)
    assert driver.state.ended


def behind_its_floor(market: Market) -> Driver:
    """A position with a live stop at 99, looser than the floor that its liquidation price asks for: the price is between them."""
    driver = opening(market=market)
    driver.live["z"] = a_stop("z", "99")
    driver.step(StopFound(driver.live["z"]))
    driver.step(OpeningEnded())
    driver.sees("100.5")
    driver.shows(driver.live["z"], a_report(liquidation="99.5"))
    driver.sees("99.8")
    assert (driver.state.target, driver.wants()) == (D(100), NEVER)
    return driver


def test_a_stop_that_is_cancelled_to_be_resized_is_placed_where_it_was() -> None:
    driver = behind_its_floor(ONE_STOP)
    driver.shows(driver.live["z"], a_report("2"))
    assert driver.settles() == [TakeDownStop("z"), PlaceStop(D(99), D(2))]


def test_an_externally_cancelled_stop_is_placed_at_its_old_price_while_a_tighter_one_is_crossed() -> None:
    driver = behind_its_floor(MARKET)
    driver.cancels("z")
    assert driver.wants() == PlaceStop(D(99), D(1))


def test_the_stop_that_was_live_before_is_placed_where_a_tighter_one_is_refused() -> None:
    driver = behind_its_floor(MARKET)
    driver.sees("100.5")
    driver.fails(WouldTrigger("too late"))
    driver.cancels("z")
    assert driver.wants() == PlaceStop(D(99), D(1))


@pytest.mark.parametrize("missed", [CheckWanted(), PricesMissed(OPENED, OPENED + timedelta(minutes=2))])
def test_a_price_of_before_a_gap_makes_no_stop_looser(missed: CheckWanted | PricesMissed) -> None:
    driver = behind_its_floor(MARKET)
    driver.step(missed)
    driver.cancels("z")
    assert driver.fails(WouldTrigger("too late")) == PlaceStop(D(100), D(1))
    assert driver.wants() == PlaceStop(D(99), D(1))


def test_a_stop_that_was_looser_than_the_floor_is_placed_where_all_tighter_ones_are_crossed() -> None:
    driver = behind_its_floor(MARKET)
    for price in ("99.5", "100.5"):  # a person amends it; the price is beyond the second one
        driver.shows(a_stop("z", price), a_report())
    driver.cancels("z")
    assert driver.wants() == PlaceStop(D("99.5"), D(1))


def test_each_price_counts_while_the_stop_is_looser_than_a_floor_that_the_price_is_beyond() -> None:
    driver = behind_its_floor(AMENDS)
    driver.step(TimePassed())
    assert not driver.state.ratchet.take_if_quiet(a_tick("100.1"))
    driver.sees("100.1")
    assert driver.does() == AmendStop("z", D(100), D(1))
    assert driver.state.ratchet.take_if_quiet(a_tick("100.2"))


def tightened_by_hand() -> Driver:
    """A position without a stop: a person had tightened it to 99."""
    driver = waiting()
    driver.shows(a_stop("a", "99"), a_report())
    driver.cancels("a")
    return driver


def test_a_stop_that_was_live_before_and_is_refused_is_tried_once_more_before_a_looser_one() -> None:
    driver = tightened_by_hand()
    driver.fails(ExchangeUnreachable("no answer"))
    for due in (0.2, 0.61):
        driver.at = due
        assert driver.wants() == PlaceStop(D(99), D(1))
        driver.fails(StopRejected("no"))
    assert driver.does() == PlaceStop(D(98), D(1))


def test_a_stop_that_was_live_before_and_is_beyond_the_market_now_gives_way_to_a_looser_one_at_once() -> None:
    driver = tightened_by_hand()
    assert driver.fails(WouldTrigger("too late")) == PlaceStop(D(99), D(1))
    assert driver.wants() == PlaceStop(D(98), D(1))


# Policies.


def test_the_policy_for_an_unprotected_position_wakes_it_up() -> None:
    driver = unprotected(retry_for=5.0)
    driver.fails(RateLimited("slow down", retry_after=60.0))
    assert driver.wants() == 10.0  # a snapshot is wanted first, and may take as long as a call
    driver.shows_all()
    assert driver.wants() == 5.0
    driver.step(TimePassed(), 5.0)
    assert driver.state.is_given_up


def test_nothing_is_wanted_while_a_request_is_under_way_or_after_the_end() -> None:
    driver = waiting()
    driver.step(OpeningEnded())
    driver.sees("102")
    driver.begins()
    assert driver.wants() == NEVER
    driver.answers(driver.executes())
    driver.step(ReleaseWanted(cancel_stop=False))
    driver.shows_all()
    assert driver.does() == CancelStop("a", "another stop of its position counts")
    assert driver.state.ended
    assert driver.wants() == math.inf


@pytest.mark.parametrize("in_flight", [True, False])
def test_a_move_that_was_refused_for_an_old_quantity_is_tried_again_at_once_with_the_new_one(in_flight: bool) -> None:
    driver = waiting(market=AMENDS)
    driver.sees("105")
    smaller = driver.live["a"], a_report("0.5")
    driver.begins()
    if in_flight:
        driver.shows(*smaller)
    driver.answers(error=StopRejected("larger than the position"))
    if not in_flight:
        assert "move" in driver.state.back_offs
        driver.shows(*smaller)
    assert "move" not in driver.state.back_offs
    assert driver.settles()[-1] == AmendStop("a", D("103.95"), D("0.5"))


def test_another_quantity_ends_the_back_off_of_a_refusal_and_not_that_of_a_throttle() -> None:
    for error, waits in (
        (StopRejected("larger than the position"), False),
        (RateLimited("wait", retry_after=30.0), True),
    ):
        driver = waiting(market=AMENDS)
        driver.sees("105")
        driver.fails(error)
        driver.shows(driver.live["a"], a_report("0.5"))
        assert ("move" in driver.state.back_offs) == waits
