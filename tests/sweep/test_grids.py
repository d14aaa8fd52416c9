"""A grid gives every possible combination once, and refuses what can't be swept before anything runs."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from trailing import Breakeven, Callback, Chandelier, Pacing, Percent, Steps, TrailPlan, UsageError
from trailing.sweep import MOST_PLANS, Grid
from trailing.sweep.grids import plans_of


def percents(*values: str) -> tuple[Percent, ...]:
    return tuple(map(Percent, values))


def test_a_grid_has_every_combination_in_the_order_of_its_axes() -> None:
    plans, cells = plans_of(
        Grid(initial_stop=percents("1", "2"), callback=percents("0.5", "1"), activation=percents("0", "1"))
    )
    assert cells == ((0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1), (1, 0, 0), (1, 0, 1), (1, 1, 0), (1, 1, 1))
    assert plans[3] == TrailPlan(initial_stop=Percent(1), rules=(Callback(Percent(1), activation=Percent(1)),))


def test_a_rule_that_is_left_out_has_one_plan_for_all_values_that_depend_on_it() -> None:
    plans, cells = plans_of(Grid(callback=(None, Percent(1)), activation=percents("0", "1", "2")))
    assert cells == ((0, 0), (1, 0), (1, 1), (1, 2))
    assert plans[0].rules == ()


def test_an_offset_that_is_not_less_than_its_profit_is_left_out() -> None:
    plans, _ = plans_of(Grid(breakeven=percents("0.5", "1"), breakeven_offset=percents("0", "0.5")))
    assert [plan.rules for plan in plans] == [
        (Breakeven(at=Percent("0.5")),),
        (Breakeven(at=Percent(1)),),
        (Breakeven(at=Percent(1), offset=Percent("0.5")),),
    ]


def test_the_base_plan_keeps_its_fields_and_the_rules_that_no_axis_varies() -> None:
    kept = Breakeven(at=Percent(1))
    base = TrailPlan(initial_stop=Percent(3), rules=(Callback(Percent(9)), kept), trigger="mark", min_stop_ticks=5)
    steps = Steps(((Percent(1), Percent(1)),))
    plans, _ = plans_of(Grid(callback=percents("1"), steps=(steps,), chandelier=(Decimal(3),), base=base))
    (plan,) = plans
    assert plan.initial_stop == Percent(3)
    assert plan.rules == (kept, Callback(Percent(1)), steps, Chandelier(Decimal(3)))
    assert (plan.trigger, plan.min_stop_ticks) == ("mark", 5)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({}, "the grid is empty"),
        ({"initial_stop": [Percent(1)]}, "a tuple of values"),
        ({"callback": percents("1", "1")}, "each value once"),
        ({"activation": percents("1")}, "Grid.activation has values, but Grid.callback has none"),
        ({"breakeven_offset": percents("1")}, "Grid.breakeven has none"),
        ({"chandelier_period": (5,)}, "Grid.chandelier has none"),
    ],
)
def test_an_axis_that_cannot_be_right_is_refused(axes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Grid(**axes)


def test_a_grid_of_a_billion_plans_is_refused_by_its_size_alone() -> None:
    thousand = tuple(Percent(Decimal(number) / 100) for number in range(1, 1001))
    with pytest.raises(
        UsageError, match=r"1,000,000,000 plans \(1000 x 1000 x 1000\), and a sweep takes at most 100,000"
    ):
        Grid(initial_stop=thousand, callback=thousand, activation=thousand)


def test_a_grid_without_a_possible_plan_is_refused() -> None:
    with pytest.raises(UsageError, match="no combination of its values is a possible plan"):
        plans_of(Grid(breakeven=percents("0.5"), breakeven_offset=percents("0.5")))


def test_a_value_that_no_plan_can_have_is_refused_with_its_field() -> None:
    with pytest.raises(UsageError, match=r"Callback\.distance got"):
        plans_of(Grid(callback=percents("100")))


@pytest.mark.parametrize(
    ("plans", "message"),
    [
        ([], "there is no plan to sweep"),
        ([Pacing()], "wants a Grid, or TrailPlan objects"),
        ([TrailPlan(initial_stop=Percent(1))] * (MOST_PLANS + 1), "there are 100,001 plans"),
    ],
)
def test_plans_that_cannot_be_swept_are_refused(plans: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plans_of(plans)
