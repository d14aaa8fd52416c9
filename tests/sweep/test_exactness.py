"""The kernel walks a plan only where its arithmetic is that of the core, and the result says which did."""

from __future__ import annotations

from array import array
from decimal import Decimal, localcontext
from typing import Any

import pytest
from markets import BEGIN, SYMBOL, random_walk, time_of

from trailing import Callback, Chandelier, History, Market, Pacing, Percent, Position, Rule, TrailPlan, UsageError
from trailing.backtest import AlwaysIn, Every
from trailing.backtest import run as backtest
from trailing.core.model import refuse
from trailing.sweep import run
from trailing.sweep.lanes import make_lanes

MARKETS = {SYMBOL: Market(SYMBOL, price_tick=Decimal("0.2"))}
CALLBACK = Callback(Percent(1))


class BelowLastLow(Rule, frozen=True):
    """A rule of a bot's own."""

    candles_needed = 1

    def propose(self, history: History) -> Decimal | None:
        return history.candles[-1].low if history.side == "long" and history.candles else None


class TighterCallback(Callback, frozen=True):
    """A bot's own kind of a rule that the kernel knows."""


def plan(*rules: Rule, **fields: Any) -> TrailPlan:
    return TrailPlan(initial_stop=Percent(2), rules=rules, candle_seconds=300.0, **fields)


@pytest.mark.parametrize(
    ("slow", "reason"),
    [
        (plan(BelowLastLow()), "the kernel does not have the rule BelowLastLow"),
        (plan(TighterCallback(Percent(1))), "the kernel does not have the rule TighterCallback"),
        (plan(CALLBACK, pacing=Pacing(min_interval=900.0)), "the pacing of the plan defers moves"),
        (plan(CALLBACK, on_would_trigger="keep"), "the plan has on_would_trigger = 'keep'"),
        (
            TrailPlan(initial_stop=Percent(2), rules=(Chandelier(Decimal(2), 3),), candle_seconds=900.0),
            "candles of 900 s are built from bars of 300 s",
        ),
    ],
)
def test_the_core_walks_a_plan_that_the_kernel_cannot_and_says_why(slow: TrailPlan, reason: str) -> None:
    prices = {SYMBOL: random_walk(1, 400)}
    fast = plan(CALLBACK)
    result = run(prices, [fast, slow], AlwaysIn(), markets=MARKETS, candles="high-first")
    (walked,) = result.walked
    assert (walked.by_kernel, walked.by_core, walked.reasons) == (1, 1, {reason: 1})
    (order,) = result.orders
    for number, each in enumerate((fast, slow)):
        (of_core,) = backtest(each, prices, AlwaysIn(), markets=MARKETS, candles="high-first").runs
        assert order.counts[number, 0] == len(of_core.trades) > 1
        gained = 0.0
        for trade in of_core.trades:
            price = trade.exit_price or trade.last_price
            assert price is not None
            gained += float(price / trade.entry_price - 1)
        assert order.profits[number].sum() == pytest.approx(gained, abs=1e-12)


class Huge:
    """Bars whose prices times a percentage need more than 64 bits."""

    seconds = 300.0
    decimals = 8

    def __init__(self, factor: int) -> None:
        walk = random_walk(2, 300)
        self.opened_at = walk.opened_at
        self.open, self.high, self.low, self.close = (
            [price * factor for price in column] for column in (walk.open, walk.high, walk.low, walk.close)
        )

    def price(self, units: int) -> Decimal:
        return Decimal(units).scaleb(-8)


@pytest.mark.parametrize("factor", [10**10, 10**16])
def test_prices_that_are_too_large_for_64_bits_are_walked_by_the_core(factor: int) -> None:
    prices = {SYMBOL: Huge(factor)}
    plans = [plan(CALLBACK), plan(Callback(Percent(2)))]
    result = run(prices, plans, AlwaysIn(sides=("short",)), candles="low-first")
    (walked,) = result.walked
    assert walked.by_kernel == 0
    assert "are too large for 64 bits" in next(iter(walked.reasons))
    (order,) = result.orders
    (of_core,) = backtest(plans[0], prices, AlwaysIn(sides=("short",)), candles="low-first").runs
    profit = sum(trade.entry_price - trade.exit_price for trade in of_core.trades if trade.exit_price is not None)
    entered, left = order.sums[0][0]
    assert Decimal(int(entered - left)).scaleb(-8) == profit
    assert order.profits[0].sum() != 0


def test_a_decimal_context_of_few_digits_leaves_every_plan_to_the_core() -> None:
    prices = {SYMBOL: random_walk(1, 50)}
    with localcontext(prec=8):
        (lane,) = make_lanes([plan(CALLBACK)], prices, AlwaysIn(), MARKETS)
    assert lane.by_core == {0: "products have 10 digits, and Decimal keeps 8"}


def test_a_least_price_below_the_tick_leaves_every_plan_to_the_core() -> None:
    prices = {SYMBOL: random_walk(1, 50)}
    (lane,) = make_lanes([plan(CALLBACK)], prices, AlwaysIn(), {SYMBOL: Market(SYMBOL, price_tick=Decimal(5000))})
    assert lane.by_core == {0: "the least price is below the tick"}


def test_a_position_with_a_stop_of_its_own_is_walked_by_the_core() -> None:
    walk = random_walk(1, 200)
    position = Position(SYMBOL, "long", Decimal(1), Decimal(1000), time_of(0), stop_price=Decimal(990))
    result = run({SYMBOL: walk}, [plan(CALLBACK)], [position], markets=MARKETS)
    assert result.walked[0].reasons == {"a position has a stop of its own": 1}


class Trades:
    """The opens of bars, as trades, several in one millisecond."""

    decimals = 2

    def __init__(self) -> None:
        walk = random_walk(3, 600)
        self.at = array("q", (BEGIN + 1000 * (number // 3) for number in range(600)))
        self.price_units = walk.open

    def price(self, units: int) -> Decimal:
        return Decimal(units).scaleb(-2)


@pytest.mark.parametrize("entries", [AlwaysIn(sides=("long", "short")), Every(seconds=20.0)])
def test_trades_have_no_order_of_extremes_and_chandeliers_on_them_are_walked_by_the_core(entries: Any) -> None:
    prices = {SYMBOL: Trades()}
    plans = [plan(Callback(Percent("0.5"))), plan(Chandelier(Decimal(2), 3))]
    result = run(prices, plans, entries, markets=MARKETS)
    assert result.walked[0].reasons == {"Chandelier needs candles, and the prices are trades": 1}
    (order,) = result.orders
    assert order.candles is None
    for number, each in enumerate(plans):
        (of_core,) = backtest(each, prices, entries, markets=MARKETS).runs
        assert order.counts[number, 0] == len(of_core.trades)


def test_a_rule_that_fails_ends_the_sweep_with_its_error() -> None:
    class Failing(Rule, frozen=True):
        def propose(self, history: History) -> Decimal | None:
            raise refuse("Failing", history.best, "nothing")

    with pytest.raises(UsageError, match="a rule of the plan failed"):
        run({SYMBOL: random_walk(1, 50)}, [plan(Failing())], AlwaysIn(), markets=MARKETS)
