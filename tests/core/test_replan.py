"""Known answers of a position whose plan changes: nothing loosens, and the new rules count at once.

The first plan is that of `driver`: entry 100, initial stop 98, from 101 on 1 % behind the best price.
"""

from __future__ import annotations

from typing import Any

import pytest
from driver import D, Driver, Fails, a_candle, a_plan, a_stop, amending, opening, unprotected, waiting

from trailing.core.goals import PROTECT, Close
from trailing.core.inputs import CandleClosed, CloseWanted, PlanReplaced, ReleaseWanted
from trailing.core.model import Percent, Side
from trailing.core.next_request import NEVER
from trailing.core.plan import Pacing, TrailPlan
from trailing.core.requests import AmendStop, ClosePosition, PlaceStop, ReadPrice
from trailing.core.rules import Callback, Chandelier
from trailing.core.states import State
from trailing.errors import OutcomeUnknown, RateLimited, UsageError
from trailing.events import PlanChanged


def replans(driver: Driver, at: float | None = None, **fields: Any) -> TrailPlan:
    plan = a_plan(**fields)
    driver.step(PlanReplaced(plan), at)
    return plan


@pytest.mark.parametrize(
    ("side", "peak", "target"), [("long", "104", "103.48"), ("short", "96", "96.48")], ids=["long", "short"]
)
def test_the_rules_of_a_new_plan_are_asked_at_once_with_the_best_price_so_far(
    side: Side, peak: str, target: str
) -> None:
    driver = amending(side, rules=())
    driver.sees(peak)
    before = driver.state.plan
    plan = replans(driver, rules=(Callback(Percent("0.5")),))
    assert driver.wants() == AmendStop("a", D(target), D(1))
    assert (driver.state.plan, driver.state.state, driver.state.ratchet.best) == (plan, State.WAITING, D(peak))
    assert driver.last(PlanChanged) == {"previous": before.encoded, "plan": plan.encoded}


def test_a_new_plan_that_wants_less_loosens_nothing() -> None:
    driver = amending()
    driver.sees("105")
    driver.does()
    replans(driver, initial_stop=Percent(20), rules=(Callback(Percent(5)),))
    assert driver.wants() == NEVER
    assert (driver.state.target, driver.state.ratchet.first_stop, driver.stop_price) == (
        D("103.95"),
        D(98),
        D("103.95"),
    )
    driver.sees("106")
    assert driver.wants() == NEVER
    driver.sees("110")
    assert driver.wants() == AmendStop("a", D("104.5"), D(1))


def test_a_tighter_initial_stop_counts_for_nothing_any_more() -> None:
    driver = waiting()
    replans(driver, initial_stop=Percent(1))
    assert (driver.state.target, driver.state.ratchet.first_stop, driver.wants()) == (D(98), D(98), NEVER)


def test_no_rule_is_asked_before_the_first_stop_was_tried() -> None:
    driver = opening(rules=())
    driver.sees("104")
    replans(driver)
    assert driver.wants() == PlaceStop(D(98), D(1))


def test_a_stop_at_its_first_price_is_no_trailed_one_after_a_change_and_a_restart() -> None:
    driver = opening()
    replans(driver, initial_stop=Percent(3))
    driver.does()
    driver = driver.restarted()
    driver.shows_all()
    assert (driver.state.state, driver.state.ratchet.first_stop) == (State.WAITING, D(98))


def test_a_change_survives_a_restart() -> None:
    driver = waiting(rules=())
    driver.sees("104")
    plan = replans(driver, pacing=Pacing(min_interval=30.0), exit_grace=7.0)
    assert driver.restarted(at=50.0).state.plan == plan


def test_every_back_off_ends_with_the_plan_before() -> None:
    driver = amending()
    driver.sees("102")
    driver.fails(RateLimited("slow down", retry_after=60.0))
    replans(driver)
    assert driver.wants() == AmendStop("a", D("100.98"), D(1))


# Pacing.


def test_a_deferred_improvement_is_due_by_the_new_pacing() -> None:
    driver = amending(pacing=Pacing(min_interval=60.0))
    driver.sees("105")
    driver.does()
    driver.sees("106", at=10.0)
    assert driver.wants() == 60.0
    replans(driver, 11.0, pacing=Pacing(min_interval=20.0))
    assert driver.wants() == 20.0
    replans(driver, 12.0)
    assert driver.wants() == AmendStop("a", D("104.94"), D(1))


def test_a_plan_that_begins_to_pace_counts_from_the_last_move() -> None:
    driver = amending()
    driver.sees("105", at=10.0)
    driver.does()
    replans(driver, 12.0, pacing=Pacing(min_interval=20.0))
    driver.sees("106", at=13.0)
    assert driver.wants() == 30.0


def test_a_move_under_way_is_not_wanted_twice() -> None:
    driver = amending()
    driver.sees("105")
    driver.begins()
    replans(driver, initial_stop=Percent(3))
    driver.answers(driver.executes())
    assert driver.wants() == NEVER


# Crossings.


def test_the_grace_of_a_crossed_stop_runs_anew_by_the_new_plan() -> None:
    driver = waiting(exit_grace=100.0)
    driver.sees("98", at=0.0)
    assert driver.wants() == 100.0
    replans(driver, 6.0, exit_grace=5.0)
    assert driver.wants() == 11.0
    assert driver.wants(11.0) == ReadPrice("crossing")


@pytest.mark.parametrize("policy", ["exit", "keep"])
def test_a_price_beyond_what_a_new_plan_wants_is_an_exit_or_kept_by_its_policy(policy: str) -> None:
    driver = waiting(rules=())
    driver.sees("105", "103")
    replans(driver, on_would_trigger=policy)
    assert driver.wants() == (ReadPrice("crossing") if policy == "exit" else NEVER)


def test_a_smaller_jump_is_believed_by_the_new_plan_only() -> None:
    driver = waiting(rules=())
    driver.sees("104")
    replans(driver, max_jump=Percent(1))
    driver.sees("106")
    assert driver.state.ratchet.best == 104
    driver.sees("106.1")
    assert driver.does() == ReadPrice("jump")
    assert driver.state.ratchet.best == D("106.1")


def test_an_exit_that_the_plan_before_wanted_is_decided_anew() -> None:
    driver = waiting()
    driver.sees("98", at=1.0)
    driver.at, driver.price = 3.0, D("97.9")
    driver.does()
    assert driver.wants() == ClosePosition(D(1), "the stop was crossed and not filled within 2.0 s")
    replans(driver, exit_grace=5.0)
    assert (driver.state.goal, driver.wants()) == (PROTECT, 8.0)


def test_an_exit_that_may_be_executed_or_that_its_owner_wants_goes_on() -> None:
    driver = waiting()
    driver.sees("98", at=1.0)
    driver.at, driver.price = 3.0, D("97.9")
    driver.does()
    driver.begins()
    replans(driver)
    assert isinstance(driver.state.goal, Close)
    driver.answers(error=OutcomeUnknown("?"))
    replans(driver)
    assert isinstance(driver.state.goal, Close)
    driver = waiting()
    driver.step(CloseWanted("on purpose"))
    replans(driver)
    assert driver.wants() == ClosePosition(D(1), "on purpose")


# Candles.


def chandelier(**fields: Any) -> dict[str, Any]:
    return {"rules": (Chandelier(D("1.5"), 2),)} | fields


@pytest.mark.parametrize(
    ("plan", "kept"),
    [
        ({"rules": (Chandelier(D(3), 4),)}, 3),
        ({"rules": (Chandelier(D(3), 1),)}, 2),
        ({}, 0),
        (chandelier(candle_seconds=300.0), 0),
    ],
    ids=["more", "fewer", "none", "of another length"],
)
def test_candles_are_kept_where_the_new_plan_wants_such(plan: dict[str, Any], kept: int) -> None:
    driver = waiting(**chandelier())
    all_of_them = [a_candle(number) for number in range(5)]
    for each in all_of_them:
        driver.step(CandleClosed(each))
    assert driver.state.ratchet.candles == tuple(all_of_them[-3:])
    replans(driver, **plan)
    assert driver.state.ratchet.candles == tuple(all_of_them[5 - kept :])


# What is refused.


@pytest.mark.parametrize("stage", ["being placed", "of unknown outcome", "live"])
def test_the_trigger_can_not_be_changed_while_a_stop_has_it_or_may_have_it(stage: str) -> None:
    driver = opening()
    driver.begins_only()
    if stage != "being placed":
        driver.leaves()
        driver.answers(driver.executes(), error=OutcomeUnknown("?") if stage == "of unknown outcome" else None)
    before = driver.state.facts
    with pytest.raises(UsageError, match="TrailPlan.trigger got 'mark', wants 'last', as long as a stop is live"):
        replans(driver, trigger="mark")
    assert driver.state.facts == before


@pytest.mark.parametrize("closed", [False, True])
def test_a_position_without_a_stop_takes_another_trigger(closed: bool) -> None:
    driver = unprotected()
    if closed:
        driver.step(CloseWanted("on purpose"))
    driver.sees("140")  # suspected
    replans(driver, **chandelier(trigger="mark"))
    assert driver.state.ratchet.suspect is None
    driver.sees("101", source="last")
    assert (driver.state.ratchet.foreign_ticks, driver.state.ratchet.best) == (1, D(100))
    driver.sees("102", source="mark")
    assert driver.state.ratchet.best == 102


def test_candles_of_another_trigger_are_forgotten() -> None:
    driver = unprotected(**chandelier())
    driver.step(CandleClosed(a_candle(0)))
    replans(driver, **chandelier(trigger="mark"))
    assert driver.state.ratchet.candles == ()


def test_a_plan_without_a_possible_first_stop_is_refused_as_it_could_not_be_restored() -> None:
    driver = waiting()
    before = driver.state.facts
    with pytest.raises(UsageError, match="TrailPlan.initial_stop got"):
        replans(driver, initial_stop=D(120))
    assert driver.state.facts == before


def test_an_ended_position_takes_no_plan() -> None:
    driver = waiting()
    driver.step(ReleaseWanted(cancel_stop=False))
    before = driver.state.plan
    replans(driver, trigger="mark")
    assert driver.state.plan is before


# Rules that fail.


def test_a_rule_that_failed_is_forgotten_with_its_plan() -> None:
    driver = amending(rules=(Fails(),))
    assert driver.state.is_frozen
    driver.sees("105")
    replans(driver)
    assert (driver.state.is_frozen, driver.state.error) == (False, None)
    assert driver.does() == AmendStop("a", D("103.95"), D(1))
    assert driver.state.state is State.TRAILING


def test_a_new_rule_that_fails_is_noted_and_moves_nothing() -> None:
    driver = waiting()
    replans(driver, rules=(Fails(),))
    assert isinstance(driver.state.ratchet.bug, ZeroDivisionError)
    assert (driver.state.target, driver.state.is_frozen, driver.wants()) == (D(98), True, NEVER)
    assert driver.live == {"a": a_stop("a")}
