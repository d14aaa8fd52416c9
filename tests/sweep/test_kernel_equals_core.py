"""The kernel gives the trades of the core: every bar, price, number of moves and stop, and the sums of the profits."""

from __future__ import annotations

import random
from array import array
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_data import extracts, repeated_full, slow_full
from markets import BEGIN

from trailing import Breakeven, Callback, Chandelier, Market, Percent, Rule, Steps, TrailPlan
from trailing.backtest import AlwaysIn, Costs, Every
from trailing.backtest import run as backtest
from trailing.price_files import read_prices
from trailing.sweep import kernel, run
from trailing.sweep.lanes import Lane, make_lanes
from trailing.sweep.pieces import walk_by_core, walk_by_kernel

SYMBOL = "AAA/BTC:BTC"
BARS = (
    *(
        "ada-btc",
        "dash-btc",
        "etc-btc",
        "eth-btc",
        "ltc-btc",
        "nxt-btc",
        "trx-btc",
        "xlm-btc",
        "xmr-btc",
        "xrp-usdt-usdt",
    ),
    "zec-btc",
)
LANDING = ("nxt-btc", "xrp-usdt-usdt")
"""The full files that are walked before a landing: of a market in few ticks, and of one with another quote."""
ENTRIES = (AlwaysIn(sides=("long", "short")), Every(seconds=3600.0, sides=("long", "short")))


def percent(draw: random.Random, least: int, most: int) -> Percent:
    return Percent(Decimal(draw.randint(least, most)) / 100)


def random_plan(draw: random.Random) -> TrailPlan:
    rules: list[Rule] = []
    if draw.random() < 0.8:
        rules.append(Callback(percent(draw, 5, 300), activation=percent(draw, 0, 400)))
    if draw.random() < 0.4:
        at = draw.randint(20, 300)
        rules.append(Breakeven(at=Percent(Decimal(at) / 100), offset=percent(draw, 0, at - 1)))
    if draw.random() < 0.3:
        profits = sorted(draw.sample(range(10, 300), 3))
        distances = sorted(draw.sample(range(10, 300), 3), reverse=True)
        pairs = zip(profits, distances, strict=True)
        rules.append(Steps(tuple((percent(draw, a, a), percent(draw, b, b)) for a, b in pairs)))
    if draw.random() < 0.3:
        rules.append(Chandelier(Decimal(draw.randint(10, 40)) / 10, draw.choice((1, 3, 7))))
    return TrailPlan(
        initial_stop=percent(draw, 10, 600),
        rules=tuple(rules),
        min_stop_ticks=draw.choice((1, 2)),
        max_jump=draw.choice((Percent("0.1"), Percent(10))),
        candle_seconds=300.0,
    )


def by_kernel(lane: Lane, plan: TrailPlan, *, high_first: bool) -> tuple[list[list[int]], int]:
    trades = walk_by_kernel(lane, plan, high_first=high_first)
    taken = [trade for trade in trades if trade[5] != kernel.REFUSED]
    return taken, len(trades) - len(taken)


def assert_same_trades(prices: Any, tick: Decimal, plans: Sequence[TrailPlan], *, of_core: bool = True) -> int:
    """Compare every trade under both entries, sides and orders, and return their number."""
    number = 0
    for entries in ENTRIES:
        for lane in make_lanes(plans, {SYMBOL: prices}, entries, {SYMBOL: Market(SYMBOL, price_tick=tick)}):
            assert not lane.by_core
            for plan in plans:
                for high_first in (True, False):
                    walked = walk_by_core(lane, plan, high_first=high_first)
                    assert by_kernel(lane, plan, high_first=high_first) == walked
                    number += len(walked[0])
    return number


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        pytest.param(*folder.values, name, marks=folder.marks, id=f"{name}-{folder.id}")
        for name in BARS
        for folder in (extracts, slow_full if name in LANDING else repeated_full)
    ],
)
def test_every_trade_on_real_bars_is_that_of_the_core(folder: Path, name: str) -> None:
    prices = read_prices(folder / f"{name}-5m.csv")
    draw = random.Random(name)
    for tick in ("0.00000001", "0.0000005"):
        assert assert_same_trades(prices, Decimal(tick), [random_plan(draw) for _ in range(5)]) > 20


@pytest.mark.parametrize("folder", [extracts, slow_full])
def test_every_trade_on_real_trades_is_that_of_the_core(folder: Path) -> None:
    prices = read_prices(folder / "xrp-eth-trades.csv")
    draw = random.Random(1)
    plans = [random_plan(draw) for _ in range(12)]
    without = [plan for plan in plans if not plan.candles_needed]
    assert assert_same_trades(prices, Decimal("0.00000001"), without) > 20


class DrawnBars:
    """Bars of five minutes in whole numbers."""

    seconds = 300.0
    decimals = 1

    def __init__(self, rows: Sequence[tuple[int, int, int, int]]) -> None:
        self.opened_at = array("q", (BEGIN + 300_000 * number for number in range(len(rows))))
        self.open, self.high, self.low, self.close = (array("q", column) for column in zip(*rows, strict=True))

    def price(self, units: int) -> Decimal:
        return Decimal(units).scaleb(-1)


bar = st.lists(st.integers(30, 60), min_size=4, max_size=4).map(
    lambda prices: (prices[0], max(prices), min(prices), prices[1])
)


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(bar, min_size=1, max_size=40),
    seed=st.integers(0, 2**32),
    tick=st.sampled_from(["0.1", "0.3", "1", "2"]),
)
def test_the_kernel_agrees_on_gaps_equal_prices_and_markets_of_few_ticks(
    rows: list[tuple[int, int, int, int]], seed: int, tick: str
) -> None:
    draw = random.Random(seed)
    plan = random_plan(draw)
    widened = [
        TrailPlan(
            initial_stop=Percent(plan.initial_stop.value * 5),  # type: ignore[union-attr]
            rules=(*plan.rules, Callback(Decimal("0.7"), activation=Decimal("0.25"))),
            candle_seconds=300.0,
        ),
        TrailPlan(initial_stop=Decimal("1.5"), rules=(Breakeven(at=Percent("0.1"), offset=Decimal("0.3")),)),
        plan,
    ]
    assert_same_trades(DrawnBars(rows), Decimal(tick), widened)


@pytest.mark.parametrize("candles", ["high-first", "low-first"])
def test_the_exact_sums_give_the_profit_of_the_backtest(candles: Any) -> None:
    folder = extracts.values[0]
    assert isinstance(folder, Path)
    prices = {f"{name[:3].upper()}/BTC:BTC": read_prices(folder / f"{name}-5m.csv") for name in ("ada-btc", "xmr-btc")}
    draw = random.Random(3)
    plans = [random_plan(draw) for _ in range(6)]
    costs = Costs(fee=Percent("0.045"), slippage=Percent("0.013"))
    for entries in ENTRIES:
        result = run(prices, plans, entries, costs=costs, candles=candles)
        (order,) = result.orders
        lanes = make_lanes(plans, prices, entries, {symbol: Market(symbol) for symbol in prices})
        for number, plan in enumerate(plans):
            (walked,) = backtest(plan, prices, entries, costs=costs, candles=candles).runs
            profit = Decimal(0)
            for lane, sums in zip(lanes, order.sums, strict=True):
                entered, left = (Decimal(int(total)).scaleb(-lane.scale.digits) for total in sums[number])
                entry_share, exit_share = lane.cost_shares(costs)
                profit += lane.sign * (left - entered) - entry_share * entered - exit_share * left
            assert profit == walked.totals["BTC"].profit
            assert order.counts[number, kernel.TRADES] == walked.totals["BTC"].trades
            assert order.counts[number, kernel.GAINS] >= walked.totals["BTC"].won
            assert order.counts[number, kernel.MOVES] == walked.totals["BTC"].moves
