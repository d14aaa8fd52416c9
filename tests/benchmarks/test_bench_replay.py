"""What a bar costs in a backtest and in a replay with the whole library, in one run."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from figures import best, report
from market_data import FULL

from trailing import Callback, Percent, Position, TrailPlan
from trailing.backtest import AlwaysIn, Every, run
from trailing.cli.practice.plan_files import DEFAULT_PLAN
from trailing.core.model import Side
from trailing.price_files import Bars, read_prices

sys.path.insert(0, str(Path(__file__).parents[1] / "backtest"))
from rehearsals import rehearsed, walked

PAIRS = ("ada", "dash", "etc", "eth", "ltc", "nxt", "trx", "xlm", "xmr", "zec")
WIDE = TrailPlan(
    initial_stop=Percent(60),
    rules=(Callback(Percent(40), activation=Percent(1)),),
    stale_after=3600.0,
    candle_seconds=300.0,
)
"""No position ends, so that every bar is walked; each has a score of moves."""

pytestmark = pytest.mark.skipif(not FULL.is_dir(), reason="the full price files are not beside the repository")


def read_all() -> dict[str, Bars]:
    series = {}
    for pair in PAIRS:
        prices = read_prices(FULL / f"{pair}-btc-5m.csv")
        assert isinstance(prices, Bars)
        series[f"{pair.upper()}/BTC:BTC"] = prices
    return series


def positions_in(series: dict[str, Bars]) -> list[Position]:
    sides: tuple[Side, Side] = ("long", "short")
    return [
        Position(
            symbol,
            sides[number % 2],
            Decimal(1),
            bars.price(bars.open[4]),
            datetime.fromtimestamp(bars.opened_at[4] / 1000, UTC),
        )
        for number, (symbol, bars) in enumerate(series.items())
    ]


def cpu_seconds(work: object) -> float:
    """The processor time of a call, because a busy machine makes a replay wait."""
    assert callable(work)
    started = time.process_time()
    work()
    return time.process_time() - started


def test_a_bar_in_a_backtest_and_in_a_replay() -> None:
    series = read_all()
    positions = positions_in(series)
    bars = sum(len(each) - 4 for each in series.values())
    with report("replay: ten pairs, twenty days of 5-minute bars") as figures:
        reading = best(lambda: cpu_seconds(read_all), 3) / bars
        core = best(lambda: cpu_seconds(lambda: walked(positions, WIDE, series, high_first=True)), 5) / bars
        whole = best(lambda: cpu_seconds(lambda: rehearsed(positions, WIDE, series, high_first=True)), 2) / bars
        figures.add("read a bar from CSV", f"{reading * 1e6:.1f} µs")
        figures.add("backtest, one position to the end", f"{core * 1e6:.2f} µs per bar", "at most 5 µs")
        figures.add("run --paper, the same positions", f"{whole * 1e6:.1f} µs per bar and position", "at most 60 µs")
        figures.add("… beside the backtest", f"{whole / core:.0f} x")
        for name, entries in (("every 4 h", Every(seconds=14_400.0)), ("always in", AlwaysIn())):
            result = run(DEFAULT_PLAN, series, entries, candles="high-first")
            trades = result.runs[0].trades
            walked_bars = sum(trade.bars for trade in trades)
            seconds = best(lambda: cpu_seconds(lambda: run(DEFAULT_PLAN, series, entries, candles="high-first")), 3)  # noqa: B023
            figures.add(
                f"backtest, {name}, the default plan",
                f"{seconds / walked_bars * 1e6:.2f} µs per bar, {seconds / len(trades) * 1e6:.0f} µs per trade",
                "at most 5 µs per bar",
            )
    assert core < whole
