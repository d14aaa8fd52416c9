"""The backtest gives exactly the result of the replay with manager and paper exchange.

Each exit (time, price and reason), each stop, the number of moves and the profit of every position are compared.
"""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from market_data import EXTRACTS, FULL
from plans import random_plan
from rehearsals import Bars, Trades, read_bars, read_trades, rehearsed, walked

from trailing import Breakeven, Callback, Pacing, Percent, Position, TrailPlan, UsageError
from trailing.backtest.series import Series, is_bars, times_of
from trailing.core.model import Side

SYMBOL = "AAA/BTC:BTC"
START = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = sorted(path.name for path in EXTRACTS.glob("*-*.csv") if not path.name.startswith("wave"))
CAMPAIGN = os.environ.get("HYPOTHESIS_PROFILE") == "explore"
BARS, PRINTS = 300, 2_000  # of a full file that one plan gets, so that many positions end


def both_sides(series: Series, index: int, *, seconds_before: int = 0) -> list[Position]:
    """A long and a short at the open of a bar, or at a trade."""
    price = series.price(series.open[index] if is_bars(series) else series.price_units[index])
    at = datetime.fromtimestamp(times_of(series)[index] / 1000, UTC) - timedelta(seconds=seconds_before)
    sides: tuple[Side, ...] = ("long", "short")
    return [Position(SYMBOL, side, Decimal("3.7"), price, at) for side in sides]


def check_equal(positions: list[Position], plan: TrailPlan, prices: Mapping[str, Series]) -> int:
    """Check both orders, and return the number of exits."""
    exits = 0
    for high_first in (True, False):
        by_core = walked(positions, plan, prices, high_first=high_first)
        assert rehearsed(positions, plan, prices, high_first=high_first) == by_core
        exits += sum(figures.exit_at is not None for figures in by_core)
    return exits


def read(path: Path) -> Bars | Trades:
    return read_trades(path) if "trades" in path.name else read_bars(path)


def cut(series: Bars | Trades, first: int, count: int) -> Bars | Trades:
    part = slice(first, first + count)
    if isinstance(series, Trades):
        return Trades(series.decimals, series.at[part], series.price_units[part])
    columns = (series.opened_at, series.open, series.high, series.low, series.close)
    return Bars(series.seconds, series.decimals, *(column[part] for column in columns))


def test_there_are_twelve_data_sets() -> None:
    assert len(NAMES) == 12


@pytest.mark.parametrize("name", NAMES)
def test_the_backtest_is_the_replay_on_extracts(name: str) -> None:
    draw, series = random.Random(name), read(EXTRACTS / name)
    plan = random_plan(draw)
    if not is_bars(series):
        assert check_equal(both_sides(series, 0), plan, {SYMBOL: series}) >= 0
        return
    # Opened inside a bar, they begin with the next one.
    assert check_equal(both_sides(series, 3, seconds_before=draw.choice([0, 60])), plan, {SYMBOL: series}) >= 0


@pytest.mark.slow
@pytest.mark.skipif(not FULL.is_dir(), reason="the full price files are not beside the repository")
@pytest.mark.parametrize("name", NAMES)
def test_the_backtest_is_the_replay_on_the_full_files(name: str) -> None:
    """Random plans from random bars on; 200 for each file with HYPOTHESIS_PROFILE=explore."""
    draw, whole = random.Random(name), read(FULL / name)
    exits, plans, count = 0, 200 if CAMPAIGN else 4, BARS if is_bars(whole) else PRINTS
    for _ in range(plans):
        window = cut(whole, draw.randrange(len(times_of(whole)) - count), count)
        positions = both_sides(window, draw.randrange(20), seconds_before=draw.choice([0, 0, 50]) * is_bars(window))
        exits += check_equal(positions, random_plan(draw), {SYMBOL: window})
    assert exits > plans / 2  # of four positions for each plan


prices_of_a_bar = st.tuples(st.integers(-3, 3), st.integers(0, 3), st.integers(0, 3), st.integers(-3, 3))


@st.composite
def random_bars(draw: st.DrawFn) -> Bars:
    """Bars of 60 seconds around 100 or, in a market of few ticks, around 12. Some are missing, some open with a gap."""
    level = draw(st.sampled_from([12, 100]))
    rows = draw(st.lists(prices_of_a_bar, min_size=1, max_size=12))
    missing = draw(st.sets(st.integers(1, 12), max_size=2))
    columns: list[list[int]] = [[], [], [], [], []]
    at, close = int(START.timestamp() * 1000), level
    for number, (gap, up, down, change) in enumerate(rows):
        first = max(4, close + gap)
        close = max(4, first + change)
        if number in missing:
            at += 60_000
        for column, value in zip(
            columns, (at, first, max(first, close) + up, max(1, min(first, close) - down), close), strict=True
        ):
            column.append(value)
        at += 60_000
    return Bars(60.0, 0, *columns)


plans = st.builds(
    TrailPlan,
    initial_stop=st.integers(1, 40).map(Percent),
    rules=st.lists(
        st.one_of(
            st.builds(Callback, st.integers(1, 12).map(Percent), activation=st.integers(0, 6).map(Percent)),
            st.builds(Breakeven, at=st.integers(2, 6).map(Percent), offset=st.integers(0, 1).map(Percent)),
        ),
        max_size=2,
    ).map(tuple),
    pacing=st.builds(
        Pacing,
        min_interval=st.sampled_from([0.0, 20.0, 45.0, 90.0]),
        min_improvement=st.sampled_from([Percent(0), Percent(2)]),
    ),
    max_jump=st.sampled_from([Percent(1), Percent(5), Percent(50)]),
    on_would_trigger=st.sampled_from(["exit", "keep"]),
    min_stop_ticks=st.just(1),
    stale_after=st.just(3600.0),
)


@settings(max_examples=400 if CAMPAIGN else 40)
@given(random_bars(), plans, st.sampled_from(["1", "0.5", "1e-8"]).map(Decimal), st.booleans())
def test_the_backtest_is_the_replay_on_random_paths(
    bars: Bars, plan: TrailPlan, tick: Decimal, high_first: bool
) -> None:
    positions = both_sides(bars, 0)
    try:
        by_core = walked(positions, plan, {SYMBOL: bars}, high_first=high_first, tick=tick)
    except UsageError:  # the manager refuses it, too
        assume(False)
    assert rehearsed(positions, plan, {SYMBOL: bars}, high_first=high_first, tick=tick) == by_core
