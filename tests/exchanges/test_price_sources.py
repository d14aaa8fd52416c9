"""Generated prices depend on their arguments only."""

from __future__ import annotations

import statistics
from decimal import Decimal as D
from itertools import pairwise
from typing import Any

import pytest

from trailing.core.model import Percent, Tick
from trailing.errors import UsageError
from trailing.exchanges.prices import generate_prices

BTC = "BTC/USDT:USDT"


def walk(**changes: Any) -> list[Tick]:
    arguments: dict[str, Any] = {
        "symbol": BTC,
        "seed": 7,
        "start_price": D(100),
        "tick": D("0.01"),
        "step_seconds": 0.5,
        "count": 2000,
        "volatility": Percent("0.1"),
    }
    return list(generate_prices(**(arguments | changes)))


def test_generated_prices_depend_on_seed_and_symbol_only() -> None:
    assert walk() == walk()
    assert walk() != walk(seed=8)
    assert [tick.price for tick in walk()] != [tick.price for tick in walk(symbol="ETH/USDT:USDT")]


def test_generated_prices_start_at_the_start_price_and_are_evenly_spaced() -> None:
    ticks = walk(count=3, start_price=D("99.999"), start_at=10.0, source="mark")
    assert ticks[0] == Tick(BTC, D("100.00"), 10.0, "mark")
    assert [tick.at for tick in ticks] == [10.0, 10.5, 11.0]


def test_generated_prices_move_by_their_volatility() -> None:
    moves = [float(later.price / earlier.price) - 1 for earlier, later in pairwise(walk())]
    assert statistics.stdev(moves) == pytest.approx(0.001, rel=0.1)
    assert all(tick.price % D("0.01") == 0 for tick in walk())
    assert {tick.price for tick in walk(volatility=Percent(0))} == {D(100)}


def test_generated_prices_jump_with_the_given_probability_and_size() -> None:
    calm = walk(seed=8, volatility=Percent(0), jump_probability=0.05, jump_size=Percent(3))
    moves = [float(later.price / earlier.price) - 1 for earlier, later in pairwise(calm)]
    jumps = [move for move in moves if move]
    assert len(jumps) == pytest.approx(100, rel=0.3)
    assert all(abs(jump) == pytest.approx(0.03, abs=0.0003) for jump in jumps)
    assert {jump > 0 for jump in jumps} == {True, False}


def test_generated_prices_never_reach_zero() -> None:
    ticks = walk(volatility=Percent(60), tick=D(1), start_price=D(3))
    assert min(tick.price for tick in ticks) == D(1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("symbol", "BTC"),
        ("seed", "7"),
        ("start_price", D(0)),
        ("start_price", 100.0),
        ("tick", D(-1)),
        ("step_seconds", 0),
        ("count", 0),
        ("count", 1.0),
        ("volatility", D("0.1")),
        ("jump_size", 3),
        ("jump_probability", 1.5),
        ("jump_probability", float("nan")),
        ("start_at", -1),
        ("source", "mid"),
    ],
)
def test_an_invalid_argument_of_generated_prices_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(UsageError, match=field):
        walk(**{field: value})
