"""A sweep finds an edge that was planted, and none in random walks."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from markets import SYMBOL, random_walk, trends

from trailing import Market, Percent
from trailing.backtest import AlwaysIn
from trailing.sweep import Grid, run
from trailing.sweep.chance import best_by_chance

MARKETS = {SYMBOL: Market(SYMBOL, price_tick=Decimal("0.2"))}
GRID = Grid(
    initial_stop=tuple(map(Percent, (1, 2, 4))),
    callback=tuple(map(Percent, ("0.75", "1", "1.5", "2", "3", "4"))),
    activation=tuple(map(Percent, ("0", "0.5", "1"))),
)


@pytest.mark.parametrize(
    ("walks", "most"),
    [pytest.param(100, 8, marks=pytest.mark.slow), pytest.param(400, 30, marks=pytest.mark.repeats)],  # 4 s and 15 s
)
def test_on_random_walks_few_by_chance_figures_call_a_false_alarm(walks: int, most: int) -> None:
    rare = found = 0
    for seed in range(walks):
        result = run(
            {SYMBOL: random_walk(seed, 3000)}, GRID, AlwaysIn(sides=("long", "short")), markets=MARKETS, best=1
        )
        assert result.ranges is not None
        assert result.ranges > 3
        rare += result.chance.probability <= 0.05
        found += result.is_found
    assert found <= rare <= most


@pytest.mark.slow  # 6 s of computing
def test_of_100_markets_with_a_planted_edge_at_least_80_are_found() -> None:
    found = 0
    for seed in range(100):
        prices, signals = trends(seed, 40, up=0.52)
        found += run({SYMBOL: prices}, GRID, signals, markets=MARKETS, best=1).is_found
    assert found >= 80


def test_ten_random_walks_are_not_found_and_ten_planted_edges_are() -> None:
    walks = [
        run({SYMBOL: random_walk(seed, 3000)}, GRID, AlwaysIn(sides=("long", "short")), markets=MARKETS, best=1)
        for seed in range(10)
    ]
    assert sum(result.is_found for result in walks) <= 1
    markets = [trends(seed, 40, up=0.52) for seed in range(10)]
    planted = [run({SYMBOL: prices}, GRID, signals, markets=MARKETS, best=1) for prices, signals in markets]
    assert sum(result.is_found for result in planted) >= 8


def test_the_best_of_many_plans_gains_more_by_chance_than_one_plan() -> None:
    draw = np.random.default_rng(1)
    profits = draw.normal(0, 0.01, (500, 64))
    one, many = (best_by_chance(some, resamples=2000, seed=0) for some in (profits[:1], profits))
    # The total of a plan has a standard deviation of 8 %. The median of the best of 500 such is 3.0 of them.
    assert abs(one.median) < 1
    error = 100 * float(profits[0].std()) * 8
    assert one.one_in_twenty == pytest.approx(1.645 * error, rel=0.1)
    assert many.median == pytest.approx(3.0 * 8, rel=0.15)
    assert (one.tried, many.tried) == (1, 500)


def test_the_probability_is_that_of_the_normal_distribution_for_one_plan() -> None:
    draw = np.random.default_rng(2)
    profits = draw.normal(0, 0.01, (1, 64))
    profits += 0.02 * 64**0.5 / 64 - profits.mean()  # two standard errors above 0
    error = float(profits.std()) * 64**0.5
    chance = best_by_chance(profits, resamples=20_000, seed=0)
    assert chance.best == pytest.approx(100 * 0.02 * 64**0.5)
    expected = 0.5 * (
        1 - np.tanh(0.7978845608 * (chance.best / 100 / error) * (1 + 0.044715 * (chance.best / 100 / error) ** 2))
    )
    assert chance.probability == pytest.approx(float(expected), abs=0.01)


def test_the_figure_does_not_depend_on_how_many_plans_are_computed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    profits = np.random.default_rng(3).normal(0, 0.01, (50, 64))
    whole = best_by_chance(profits, resamples=200, seed=0)
    monkeypatch.setattr("trailing.sweep.chance.PLANS_AT_ONCE", 7)
    parts = best_by_chance(profits, resamples=200, seed=0)
    assert parts.median == pytest.approx(whole.median)
    assert parts.probability == whole.probability
