"""The path of prices inside a bar."""

from __future__ import annotations

import pytest

from trailing import UsageError
from trailing.core.paths import CANDLE_ORDERS, assumed_orders, name_order, point_prices, point_times


@pytest.mark.parametrize(("seconds", "times"), [(300.0, (0, 100, 200, 300)), (60.0, (0, 20, 40, 60))])
def test_the_points_of_a_bar_lie_at_its_begin_its_thirds_and_its_end(seconds: float, times: tuple[int, ...]) -> None:
    start = 1_515_561_000
    assert point_times(start * 1000, seconds) == tuple(start + time for time in times)


@pytest.mark.parametrize("milliseconds", [0, 1, 17, 333, 999])
def test_a_close_has_exactly_the_time_of_the_next_open(milliseconds: int) -> None:
    opened_at = 1_515_561_000_000 + milliseconds
    assert point_times(opened_at, 60.0)[3] == point_times(opened_at + 60_000, 60.0)[0]


@pytest.mark.parametrize(("high_first", "prices"), [(True, (5, 9, 1, 4)), (False, (5, 1, 9, 4))])
def test_the_order_says_which_extreme_comes_first(high_first: bool, prices: tuple[int, ...]) -> None:
    assert point_prices(5, 9, 1, 4, high_first=high_first) == prices


def test_both_are_two_replays_and_an_order_is_one() -> None:
    assert [assumed_orders(order) for order in CANDLE_ORDERS] == [(True, False), (True,), (False,)]
    with pytest.raises(UsageError, match="candles got 'peak-first', wants one of both, high-first, low-first"):
        assumed_orders("peak-first")  # type: ignore[arg-type]


def test_an_order_has_a_name_unless_there_are_no_bars() -> None:
    assert [name_order(each) for each in (True, False, None)] == ["high-first", "low-first", None]
