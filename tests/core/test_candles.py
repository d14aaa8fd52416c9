"""Closed candles out of ticks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from trailing.core.candles import CandleBuilder
from trailing.core.model import Candle

D = Decimal
SYMBOL = "BTC/USDT:USDT"
MIDNIGHT = datetime(2026, 1, 2, tzinfo=UTC)


def take(builder: CandleBuilder, price: str, seconds: float) -> Candle | None:
    closed = builder.advance(MIDNIGHT + timedelta(seconds=seconds))
    builder.add(D(price))
    return closed


def test_the_first_tick_after_its_end_closes_a_candle() -> None:
    builder = CandleBuilder(SYMBOL, "mark", 60.0)
    prices = [("100", 3.0), ("104", 10.0), ("98", 20.0), ("101", 59.9)]
    assert [take(builder, price, at) for price, at in prices] == [None] * 4
    assert take(builder, "102", 60.0) == Candle(SYMBOL, MIDNIGHT, 60.0, D(100), D(104), D(98), D(101), "mark")
    opened_at = MIDNIGHT + timedelta(minutes=1)
    assert take(builder, "90", 121.0) == Candle(SYMBOL, opened_at, 60.0, D(102), D(102), D(102), D(102), "mark")


def test_a_bar_without_ticks_makes_no_candle() -> None:
    builder = CandleBuilder(SYMBOL, "mark", 60.0)
    take(builder, "100", 0.0)
    closed = take(builder, "101", 600.0)
    assert closed is not None
    assert closed.opened_at == MIDNIGHT
    closed = take(builder, "101", 660.0)
    assert closed is not None
    assert closed.opened_at == MIDNIGHT + timedelta(minutes=10)


def test_a_tick_from_before_the_bar_counts_in_the_bar() -> None:
    builder = CandleBuilder(SYMBOL, "mark", 60.0)
    take(builder, "100", 60.0)
    assert take(builder, "99", 59.0) is None
    closed = take(builder, "100", 120.0)
    assert closed is not None
    assert (closed.low, closed.close) == (D(99), D(99))


@given(st.lists(st.tuples(st.decimals("1", "200", places=2), st.floats(0, 50)), min_size=1))
def test_no_price_is_outside_the_candles_that_close_over_it(steps: list[tuple[Decimal, float]]) -> None:
    builder = CandleBuilder(SYMBOL, "mark", 15.0)
    seconds = 0.0
    shown: list[Decimal] = []
    open_prices: list[Decimal] = []
    for price, pause in [*steps, (D(1), 100.0)]:
        seconds += pause
        closed = take(builder, str(price), seconds)
        if closed is not None:
            assert (closed.open, closed.close) == (open_prices[0], open_prices[-1])
            assert (closed.high, closed.low) == (max(open_prices), min(open_prices))
            shown += open_prices
            open_prices = []
        open_prices.append(price)
    assert shown == [price for price, _ in steps]
