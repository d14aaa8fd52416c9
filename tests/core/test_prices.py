"""Price arithmetic that depends on the side."""

from __future__ import annotations

from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trailing.core.model import Percent, Side
from trailing.core.prices import (
    ahead,
    behind,
    first_crossing,
    floor_quantity,
    is_better,
    is_crossed,
    is_tighter,
    is_within,
    round_stop,
)

sides: st.SearchStrategy[Side] = st.sampled_from(("long", "short"))
prices = st.decimals("1e-18", "1e9", places=18, allow_nan=False, allow_infinity=False)
ticks = st.sampled_from([Decimal(text) for text in ("1e-18", "1e-8", "0.00025", "0.01", "0.05", "0.5", "1", "25")])


@pytest.mark.parametrize(
    ("side", "start", "end", "first"),
    [
        ("long", 100, 95, 98),
        ("long", 100, 98, 98),
        ("long", 100, 99, None),
        ("long", 97, 100, 97),
        ("long", 97, 97, 97),
        ("long", 99, 105, None),
        ("short", 95, 100, 98),
        ("short", 95, 98, 98),
        ("short", 95, 97, None),
        ("short", 99, 95, 99),
        ("short", 99, 99, 99),
        ("short", 97, 90, None),
    ],
)
def test_a_stop_at_98_is_crossed_first_where_the_path_reaches_it_or_begins_beyond_it(
    side: Side, start: int, end: int, first: int | None
) -> None:
    assert first_crossing(side, Decimal(98), Decimal(start), Decimal(end)) == first


@given(sides, prices, ticks)
def test_rounding_a_stop_never_loosens_it(side: Side, price: Decimal, tick: Decimal) -> None:
    assert not is_tighter(side, price, round_stop(side, price, tick))


@given(sides, prices, ticks)
def test_a_rounded_stop_is_the_nearest_multiple_of_the_tick(side: Side, price: Decimal, tick: Decimal) -> None:
    with localcontext(prec=60):
        rounded = round_stop(side, price, tick)
        assert rounded % tick == 0
        assert abs(rounded - price) < tick


@given(sides, prices, ticks)
def test_rounding_a_stop_twice_is_rounding_it_once(side: Side, price: Decimal, tick: Decimal) -> None:
    rounded = round_stop(side, price, tick)
    assert round_stop(side, rounded, tick) == rounded


@given(sides, prices, ticks)
def test_rounding_is_exact_whatever_the_ambient_context_says(side: Side, price: Decimal, tick: Decimal) -> None:
    with localcontext(prec=3):
        narrow = round_stop(side, price, tick), floor_quantity(price, tick)
    with localcontext(prec=90):
        assert (round_stop(side, price, tick), floor_quantity(price, tick)) == narrow


@pytest.mark.parametrize("side", ["long", "short"])
def test_a_price_of_more_ticks_than_the_context_has_digits_is_rounded_exactly(side: Side) -> None:
    tick = Decimal("0.01")
    with localcontext(prec=28):
        assert round_stop(side, Decimal("1e30"), tick) == Decimal("1e30")
        assert floor_quantity(Decimal("1e30"), tick) == Decimal("1e30")
        above = round_stop(side, Decimal("1000000000000000000000000000000.005"), tick)
    expected = "1000000000000000000000000000000." + ("01" if side == "long" else "00")
    assert above == Decimal(expected)


@given(prices, ticks)
def test_a_floored_quantity_is_the_largest_multiple_of_the_step_not_above(quantity: Decimal, step: Decimal) -> None:
    with localcontext(prec=60):
        floored = floor_quantity(quantity, step)
        assert floored % step == 0
        assert 0 <= quantity - floored < step


@pytest.mark.parametrize(
    ("side", "price", "rounded"),
    [("long", "98.001", "98.01"), ("short", "102.009", "102.00"), ("long", "98.01", "98.01"), ("short", "0.004", "0")],
)
def test_a_stop_is_rounded_towards_the_market(side: Side, price: str, rounded: str) -> None:
    assert round_stop(side, Decimal(price), Decimal("0.01")) == Decimal(rounded)


def test_a_long_has_its_stop_below_and_a_short_above() -> None:
    hundred, two = Decimal(100), Percent(2)
    assert behind("long", hundred, two) == ahead("short", hundred, two) == Decimal(98)
    assert behind("short", hundred, two) == ahead("long", hundred, two) == Decimal(102)
    assert behind("long", hundred, Decimal(3)) == Decimal(97)
    assert behind("short", hundred, Decimal(3)) == Decimal(103)


def test_a_stop_is_crossed_at_its_price_already() -> None:
    stop, below, above = Decimal(100), Decimal("99.99"), Decimal("100.01")
    assert [is_crossed("long", price, stop) for price in (below, stop, above)] == [True, True, False]
    assert [is_crossed("short", price, stop) for price in (below, stop, above)] == [False, True, True]


@given(sides, prices, prices)
def test_tighter_and_better_are_the_same_direction_and_strict(side: Side, one: Decimal, other: Decimal) -> None:
    assert is_tighter(side, one, other) == is_better(side, one, other)
    assert is_better(side, one, other) + is_better(side, other, one) == (one != other)
    assert is_better("long", one, other) == is_better("short", other, one)


def test_within_counts_the_limit_itself() -> None:
    assert is_within(Decimal(110), Decimal(100), Percent(10))
    assert is_within(Decimal(90), Decimal(100), Percent(10))
    assert not is_within(Decimal("110.01"), Decimal(100), Percent(10))
    assert not is_within(Decimal("89.99"), Decimal(100), Percent(10))
