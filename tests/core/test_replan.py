"""Known answers of a stop whose plan changes while it runs: nothing loosens, and the new rules count at once.

The entry is at 100 and the initial stop 2 % behind it; the first plan follows the best price at 1 % from a profit of 1 %
on: a long's best of 105 wants 103.95.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from trailing.core.model import Candle, Market, Percent, Position, Side, Source, StopOrder, Tick
from trailing.core.plan import Pacing, TrailPlan
from trailing.core.record import StopRecord
from trailing.core.rules import Callback, Chandelier, History, Rule
from trailing.core.states import EXITING, TRAILING, UNPROTECTED, UNRESOLVED, WAITING
from trailing.core.stop import TrailingStop
from trailing.core.trail import ExitPosition, MoveStop
from trailing.errors import OutcomeUnknown, StopRejected, UsageError

D = Decimal
SYMBOL = "BTC/USDT:USDT"
MARKET = Market(SYMBOL, price_tick=D("0.01"))
OPENED = datetime(2026, 1, 2, tzinfo=UTC)
FOLLOWS = Callback(Percent(1), activation=Percent(1))


class Fails(Rule, frozen=True):
    """A rule that raises."""

    def propose(self, history: History) -> Decimal | None:
        raise ZeroDivisionError


def a_plan(**fields: Any) -> TrailPlan:
    given: dict[str, Any] = {"initial_stop": Percent(2), "rules": (FOLLOWS,)} | fields
    return TrailPlan(**given)


def opening(side: Side = "long", **plan: Any) -> TrailingStop:
    return TrailingStop(Position(SYMBOL, side, D(1), D(100), OPENED), a_plan(**plan), MARKET, 0.0)


def order(stop: TrailingStop, price: Decimal | str, name: str = "a") -> StopOrder:
    return StopOrder(SYMBOL, stop.position.side, D(1), D(price), name, f"exchange-{name}")


def waiting(side: Side = "long", **plan: Any) -> TrailingStop:
    stop = opening(side, **plan)
    stop.opened(order(stop, stop.first_price), 0.0)
    return stop


def unprotected() -> TrailingStop:
    stop = opening()
    stop.open_failed(StopRejected("no"), 0.0)
    return stop


def tick(price: str, at: float = 0.0, source: Source = "last") -> Tick:
    return Tick(SYMBOL, D(price), at, source)


def candle(number: int, source: Source = "last") -> Candle:
    opened_at = OPENED + timedelta(minutes=number)
    return Candle(SYMBOL, opened_at, 60.0, D(100), D(101), D(99), D(100), source)


def again(stop: TrailingStop, at: float = 0.0) -> TrailingStop:
    kept = msgspec.json.encode(stop.save())
    restored = TrailingStop.restore(msgspec.json.decode(kept, type=StopRecord), MARKET, at)
    assert restored == stop
    assert (restored.plan, restored.first_price) == (stop.plan, stop.first_price)
    return restored


@pytest.mark.parametrize(
    ("side", "peak", "target"), [("long", "104", "103.48"), ("short", "96", "96.48")], ids=["long", "short"]
)
def test_the_rules_of_a_new_plan_are_asked_at_once_with_the_best_price_so_far(
    side: Side, peak: str, target: str
) -> None:
    stop = waiting(side, rules=())
    assert stop.on_tick(tick(peak)) is None
    plan = a_plan(rules=(Callback(Percent("0.5")),))
    assert stop.replan(plan, 1.0) == MoveStop(D(target), "trailing")
    assert (stop.plan, stop.state, stop.best) == (plan, WAITING, D(peak))


def test_a_new_plan_that_wants_less_loosens_nothing() -> None:
    stop = waiting()
    stop.on_tick(tick("105"))
    stop.moved(order(stop, "103.95", "b"), 0.0)
    stop.gone("a", 0.0)
    assert stop.replan(a_plan(initial_stop=Percent(20), rules=(Callback(Percent(5)),)), 1.0) is None
    assert (stop.target, stop.best, stop.first_price, stop.price) == (D("103.95"), D(105), D(98), D("103.95"))
    assert stop.on_tick(tick("106")) is None
    assert stop.on_tick(tick("110")) == MoveStop(D("104.5"), "trailing")


def test_a_tighter_initial_stop_counts_for_nothing_any_more() -> None:
    stop = waiting()
    assert stop.replan(a_plan(initial_stop=Percent(1)), 1.0) is None
    assert (stop.target, stop.first_price) == (D(98), D(98))


def test_a_stop_at_its_first_price_is_no_trailed_one_after_a_change_and_a_restart() -> None:
    stop = opening()
    stop.replan(a_plan(initial_stop=Percent(3)), 0.0)
    stop = again(stop)
    stop.opened(order(stop, "98"), 0.0)
    assert (stop.state, stop.first_price) == (WAITING, D(98))


def test_a_change_survives_a_restart() -> None:
    stop = waiting(rules=())
    stop.on_tick(tick("104"))
    stop.replan(a_plan(pacing=Pacing(min_interval=30.0), exit_grace=7.0), 1.0)
    stop = again(stop, 50.0)
    assert (stop.plan.pacing.min_interval, stop.plan.exit_grace) == (30.0, 7.0)


def test_a_record_of_before_there_were_changes_has_the_first_price_of_its_plan() -> None:
    record = msgspec.structs.replace(waiting().save(), first_price=None)
    assert TrailingStop.restore(record, MARKET, 0.0).first_price == D(98)


def test_a_first_price_that_is_no_price_is_refused() -> None:
    record = msgspec.structs.replace(waiting().save(), first_price=D(0))
    with pytest.raises(UsageError, match="StopRecord.first_price got"):
        TrailingStop.restore(record, MARKET, 0.0)


# Pacing.


def test_a_deferred_improvement_is_due_by_the_new_pacing() -> None:
    stop = waiting(pacing=Pacing(min_interval=60.0))
    assert isinstance(stop.on_tick(tick("105")), MoveStop)
    stop.moved(order(stop, "103.95"), 0.0)
    assert stop.on_tick(tick("106", 10.0)) is None
    assert stop.due_at == 60.0
    assert stop.replan(a_plan(pacing=Pacing(min_interval=20.0)), 11.0) is None
    assert stop.due_at == 20.0
    assert stop.replan(a_plan(), 12.0) == MoveStop(D("104.94"), "trailing")
    assert stop.due_at is None


def test_a_plan_that_begins_to_pace_counts_from_the_last_move() -> None:
    stop = waiting()
    stop.on_tick(tick("105", 10.0))
    stop.moved(order(stop, "103.95"), 11.0)
    assert stop.replan(a_plan(pacing=Pacing(min_interval=20.0)), 12.0) is None
    assert stop.on_tick(tick("106", 13.0)) is None
    assert stop.due_at == 30.0


def test_a_move_under_way_is_not_wanted_twice() -> None:
    stop = waiting()
    assert isinstance(stop.on_tick(tick("105")), MoveStop)
    assert stop.replan(a_plan(initial_stop=Percent(3)), 1.0) is None
    assert stop.moved(order(stop, "103.95"), 2.0) is None


# Crossings.


def test_a_grace_that_is_over_by_the_new_plan_is_an_exit() -> None:
    stop = waiting(exit_grace=100.0)
    stop.on_tick(tick("98", 0.0))
    assert stop.due_at == 100.0
    assert isinstance(stop.replan(a_plan(exit_grace=5.0), 6.0), ExitPosition)


def test_a_price_beyond_what_a_new_plan_wants_is_an_exit_or_kept_by_its_policy() -> None:
    for policy in ("exit", "keep"):
        stop = waiting(rules=())
        stop.on_tick(tick("105"))
        stop.on_tick(tick("103"))
        decision = stop.replan(a_plan(on_would_trigger=policy), 1.0)
        assert isinstance(decision, ExitPosition) is (policy == "exit")
        assert decision is None or policy == "exit"


def test_a_smaller_jump_is_believed_by_the_new_plan_only() -> None:
    stop = waiting(rules=())
    stop.on_tick(tick("104"))
    stop.replan(a_plan(max_jump=Percent(1)), 0.0)
    assert stop.on_tick(tick("106")) is None
    assert stop.best == 104
    stop.on_tick(tick("106.1"))
    assert stop.best == D("106.1")


# Candles.


def chandelier(**fields: Any) -> TrailPlan:
    return a_plan(rules=(Chandelier(D("1.5"), 2),), **fields)


@pytest.mark.parametrize(
    ("plan", "kept"),
    [
        (a_plan(rules=(Chandelier(D(3), 4),)), 3),
        (a_plan(rules=(Chandelier(D(3), 1),)), 2),
        (a_plan(), 0),
        (chandelier(candle_seconds=300.0), 0),
    ],
    ids=["more", "fewer", "none", "of another length"],
)
def test_candles_are_kept_where_the_new_plan_wants_such(plan: TrailPlan, kept: int) -> None:
    stop = opening(rules=(Chandelier(D("1.5"), 2),))
    stop.opened(order(stop, "98"), 0.0)
    all_of_them = [candle(number) for number in range(5)]
    for each in all_of_them:
        stop.on_candle(each, 0.0)
    assert stop.save().candles == tuple(all_of_them[-3:])
    stop.replan(plan, 1.0)
    assert stop.save().candles == tuple(all_of_them[5 - kept :])


# What is refused.


@pytest.mark.parametrize("maker", [opening, waiting], ids=["opening", "waiting"])
def test_the_trigger_can_not_be_changed_while_a_stop_has_it_or_may_have_it(maker: Any) -> None:
    stop = maker()
    before = stop.save()
    with pytest.raises(UsageError, match="TrailPlan.trigger got 'mark', wants 'last', as long as a stop stands"):
        stop.replan(a_plan(trigger="mark"), 1.0)
    assert stop.save() == before
    stop.open_failed(OutcomeUnknown("?"), 1.0) if stop.order is None else stop.move_failed(OutcomeUnknown("?"), 1.0)
    assert stop.state is UNRESOLVED
    with pytest.raises(UsageError, match="TrailPlan.trigger"):
        stop.replan(a_plan(trigger="mark"), 1.0)


@pytest.mark.parametrize("state", [UNPROTECTED, EXITING])
def test_a_position_without_a_stop_takes_another_trigger(state: Any) -> None:
    stop = unprotected()
    stop.on_candle(candle(0), 0.0)
    if state is EXITING:
        stop.exiting(0.0)
    assert stop.on_tick(tick("140")) is None  # suspected
    stop.replan(chandelier(trigger="mark"), 1.0)
    assert (stop.state, stop.save().suspect) == (state, None)
    stop.on_tick(tick("101", source="last"))
    assert (stop.foreign_ticks, stop.best) == (1, D(100))
    stop.on_tick(tick("102", source="mark"))
    assert stop.best == 102


def test_candles_of_another_trigger_are_forgotten() -> None:
    stop = unprotected()
    stop.replan(chandelier(), 0.0)
    stop.on_candle(candle(0), 0.0)
    stop.replan(chandelier(trigger="mark"), 1.0)
    assert stop.save().candles == ()


def test_a_plan_without_a_possible_first_stop_is_refused_as_it_could_not_be_restored() -> None:
    stop = waiting()
    before = stop.save()
    with pytest.raises(UsageError, match="TrailPlan.initial_stop got"):
        stop.replan(a_plan(initial_stop=D(120)), 1.0)
    assert stop.save() == before


def test_an_ended_position_takes_no_plan() -> None:
    stop = waiting()
    stop.released(0.0)
    with pytest.raises(UsageError, match="'replanned' can't make closed closed"):
        stop.replan(a_plan(trigger="mark"), 1.0)


def test_a_rule_that_failed_is_forgotten_with_its_plan() -> None:
    stop = waiting(rules=(Fails(),))
    stop.on_tick(tick("105"))
    assert isinstance(stop.bug, ZeroDivisionError)
    assert stop.replan(a_plan(), 1.0) == MoveStop(D("103.95"), "trailing")
    assert stop.bug is None
    stop.moved(order(stop, "103.95"), 2.0)
    assert stop.state is TRAILING


def test_a_new_rule_that_fails_is_noted_and_moves_nothing() -> None:
    stop = waiting()
    assert stop.replan(a_plan(rules=(Fails(),)), 1.0) is None
    assert isinstance(stop.bug, ZeroDivisionError)
    assert stop.target == 98
