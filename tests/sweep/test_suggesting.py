"""Suggestions from own positions: excursions and profits with known answers, intervals, and what is not said."""

from __future__ import annotations

from array import array
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trailing import Callback, Percent, Position, TrailPlan, UsageError
from trailing.backtest import Costs, OwnPosition, own_trade, run
from trailing.price_files import Bars, Trades
from trailing.sweep import LEAST_TRADES, Grid, suggest
from trailing.sweep.intervals import draw_weights, mean_interval, quantile_interval

USDT, BTC = "AAA/USDT:USDT", "BBB/BTC:BTC"
BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ROUND = 10
"""Bars of a round: 100, down to 98.5, up to 105, then down to 90 and back to 100."""

COURSE = (100, 98.5, 100, 103, 105, 100, 90, 95, 98, 100)


def bars_of(closes: list[float]) -> Bars:
    units = [round(close * 10) for close in closes]
    opens = [units[0], *units[:-1]]
    begin = int(BEGIN.timestamp() * 1000)
    return Bars(
        path=Path("aaa-usdt-1m.csv"),
        seconds=60.0,
        decimals=1,
        tick=Decimal("0.1"),
        opened_at=array("q", range(begin, begin + 60_000 * len(units), 60_000)),
        open=array("q", opens),
        high=array("q", map(max, opens, units)),
        low=array("q", map(min, opens, units)),
        close=array("q", units),
        off_tick=0,
        gaps=(),
    )


def rounds(count: int) -> Bars:
    return bars_of(list(COURSE) * count)


def own(number: int, exit_price: str = "103", symbol: str = USDT, minutes: int = 4) -> OwnPosition:
    """The position of a round, entered at 100 and closed after so many minutes."""
    opened = BEGIN + number * ROUND * MINUTE
    position = Position(symbol, "long", Decimal(2), Decimal(100), opened)
    return OwnPosition(position=position, closed_at=opened + minutes * MINUTE, exit_price=Decimal(exit_price))


GRID = Grid(initial_stop=(Percent(1), Percent(2)), callback=(Percent(1), Percent(4)), activation=(Percent(2),))


def test_the_excursions_end_with_the_exit_and_leave_out_the_rest_of_its_bar() -> None:
    trade = own_trade(own(0), rounds(1), Costs(fee=Percent("0.1"), slippage=Percent(1)))
    assert (trade.mae, trade.mfe) == (Decimal("1.5"), Decimal(3))
    assert trade.profit == 6 - Decimal("0.1") / 100 * (100 + 103) * 2  # slippage is in the price of the fill
    within = own_trade(own(0, "104", minutes=4), rounds(1), Costs())
    assert within.mfe == 4  # the exit's own price
    late = OwnPosition(position=own(0).position, closed_at=BEGIN + 4.5 * MINUTE, exit_price=Decimal(103))
    assert own_trade(late, rounds(1), Costs()).mfe == 3  # the bar of the exit reaches 105, perhaps afterwards


def test_the_excursions_of_a_short_and_of_trades_without_bars() -> None:
    begin = int(BEGIN.timestamp() * 1000)
    trades = Trades(
        path=Path("aaa-usdt-trades.csv"),
        decimals=0,
        tick=Decimal(1),
        at=array("q", [begin, begin + 1000, begin + 2000, begin + 3000]),
        price_units=array("q", [100, 104, 97, 50]),
        off_tick=0,
    )
    position = Position(USDT, "short", Decimal(1), Decimal(100), BEGIN)
    short = OwnPosition(position=position, closed_at=BEGIN + timedelta(seconds=2), exit_price=Decimal(98))
    trade = own_trade(short, trades, Costs())
    assert (trade.mae, trade.mfe, trade.profit) == (Decimal(4), Decimal(3), Decimal(2))


def test_the_best_plan_has_the_profit_that_was_planted() -> None:
    (found,) = suggest([own(number) for number in range(40)], {USDT: rounds(41)}, GRID, candles="low-first")
    best, *others = found.best
    assert best.values == {"initial_stop": "2%", "callback": "1%", "activation": "2%"}
    # Up to 105 and 1 % down: 103.95.
    assert best.mean.value == pytest.approx(3.95)
    assert (best.mean.low, best.mean.high) == pytest.approx((3.95, 3.95))
    assert best.gain.value == pytest.approx(0.95)
    assert found.own is not None
    assert found.own.value == pytest.approx(3)
    by_values = {(each.values["initial_stop"], each.values["callback"]): each.mean.value for each in others}
    assert by_values == pytest.approx(
        {("2%", "4%"): 0.8, ("1%", "1%"): -1, ("1%", "4%"): -1}
    )  # the dip to 98.5 ends it
    assert (found.tried, found.left_out, found.totals.profit) == (4, 0, Decimal(240))


def test_a_plan_counts_with_the_order_in_which_it_gained_less() -> None:
    positions, prices = [own(number) for number in range(40)], {USDT: rounds(41)}
    means = {}
    for candles in ("both", "high-first", "low-first"):
        (found,) = suggest(positions, prices, GRID, candles=candles)
        means[candles] = {each.number: (each.mean.value, each.candles) for each in found.best}
    assert means["high-first"] != means["low-first"]
    for number, worse in means["both"].items():
        assert worse[0] == min(means["high-first"][number][0], means["low-first"][number][0])
        assert worse[1] is not None
        assert worse == means[worse[1]][number]


def test_each_profit_is_that_of_a_backtest() -> None:
    draw = np.random.default_rng(3)
    closes = (1000 + np.cumsum(draw.normal(0, 4, 1500))).round(1).tolist()
    series = bars_of(closes)
    given = []
    for number in range(35):
        opened = BEGIN + 40 * number * MINUTE
        side: Any = "long" if number % 2 else "short"
        position = Position(USDT, side, Decimal(1), series.price(series.open[40 * number]), opened)
        given.append(OwnPosition(position=position, closed_at=opened + 30 * MINUTE, exit_price=position.entry_price))
    costs = Costs(fee=Percent("0.05"), slippage=Percent("0.1"))
    (found,) = suggest(
        given, {USDT: series}, Grid(initial_stop=(Percent(1),), callback=(Percent("0.5"), Percent(2))), costs=costs
    )
    for each in found.best:
        result = run(each.plan, {USDT: series}, [one.position for one in given], costs=costs)
        (walked,) = [walked for walked in result.runs if walked.candles == each.candles]
        closed = [trade for trade in walked.trades if trade.profit is not None]
        assert len(closed) == len(given) - each.still_open
        if not each.still_open:
            shares = [Fraction(trade.profit or 0) / Fraction(trade.entry_price) for trade in closed]
            assert each.mean.value == pytest.approx(float(100 * sum(shares) / len(shares)))
    assert any(not each.still_open for each in found.best)


def test_fewer_than_the_least_trades_give_no_number() -> None:
    positions = [own(number) for number in range(LEAST_TRADES)]
    prices = {USDT: rounds(LEAST_TRADES + 1)}
    (few,) = suggest(positions[1:], prices, GRID)
    assert (few.own, few.best, few.chance) == (None, (), None)
    assert {each.quantile for each in few.excursions} == {None}
    assert len(few.trades) == LEAST_TRADES - 1
    (enough,) = suggest(positions, prices, GRID)
    assert enough.own is not None
    assert len(enough.best) == 4


def test_currencies_are_not_mixed() -> None:
    positions = [own(number) for number in range(35)] + [own(number, "90", BTC) for number in range(3)]
    first, second = suggest(positions, {USDT: rounds(36), BTC: rounds(36)}, GRID)
    assert (first.currency, len(first.trades), first.totals.profit, first.own) == ("BTC", 3, Decimal(-60), None)
    assert (second.currency, len(second.trades), second.totals.profit) == ("USDT", 35, Decimal(210))
    assert second.own is not None
    assert second.own.value == pytest.approx(3)


def test_positions_that_the_prices_do_not_cover_are_left_out_and_counted() -> None:
    positions = [own(number) for number in range(5)]
    (found,) = suggest(positions, {USDT: rounds(4)}, GRID)
    assert (len(found.trades), found.left_out) == (4, 1)
    early = OwnPosition(
        position=Position(USDT, "long", Decimal(2), Decimal(100), BEGIN - MINUTE),
        closed_at=BEGIN + MINUTE,
        exit_price=Decimal(100),
    )
    with pytest.raises(UsageError, match="the prices cover none of 1 closed positions, from entry to exit"):
        suggest([early], {USDT: rounds(4)}, GRID)


def test_excursions_are_told_apart_by_how_the_trade_ended() -> None:
    positions = [own(number, "103" if number % 2 else "99") for number in range(70)]
    (found,) = suggest(positions, {USDT: rounds(71)}, GRID)
    of = {(each.kind, each.won, each.level): each for each in found.excursions}
    assert {each.trades for each in of.values()} == {35}
    median = of["mae", True, 0.5].quantile
    assert median is not None
    assert (median.value, median.low, median.high) == (1.5, 1.5, 1.5)
    assert of["mfe", False, 0.9].quantile is not None


def test_the_seed_alone_decides_the_intervals() -> None:
    positions = [own(number, str(99 + number % 7)) for number in range(40)]
    prices = {USDT: rounds(41)}
    first, again, other = (suggest(positions, prices, GRID, seed=seed)[0] for seed in (1, 1, 2))
    assert first == again
    assert first.own != other.own
    assert first.own is not None
    assert first.own.low < first.own.value < first.own.high


def test_the_interval_of_a_mean_is_that_of_the_textbook_for_many_trades() -> None:
    values = np.random.default_rng(0).normal(1.0, 2.0, 400)
    found = mean_interval(values, draw_weights(400, resamples=4000, seed=0))
    error = values.std() / 20
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)
    median = quantile_interval(values, 0.5, resamples=2000, seed=0)
    assert median.value == pytest.approx(np.median(values))
    assert median.low < median.value < median.high


def test_own_trades_that_no_plan_beats_are_probably_not_beaten_by_chance() -> None:
    (found,) = suggest([own(number, "105") for number in range(40)], {USDT: rounds(41)}, GRID)
    assert found.best[0].gain.high < 0
    assert found.chance is not None
    assert found.chance.probability == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"costs": 1}, "costs got 1, wants a Costs"),
        ({"best": 0}, "best got 0, wants a whole number of at least 1"),
        ({"resamples": 0}, "resamples got 0"),
        ({"plans": []}, "there is no plan to sweep"),
        (
            {
                "plans": [
                    TrailPlan(
                        initial_stop=Percent(1), rules=(Callback(Percent(1), activation=Percent(1)),), native=True
                    )
                ]
            },
            "native got True",
        ),
        ({"prices": {}}, "AAA/USDT:USDT has no prices"),
        ({"candles": "best"}, "candles"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(arguments: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"prices": {USDT: rounds(2)}, "plans": GRID, **arguments}
    with pytest.raises(UsageError, match=message) as refused:
        suggest([own(0)], given.pop("prices"), given.pop("plans"), **given)
    assert "\n" not in str(refused.value)


def test_more_profits_than_memory_is_given_are_refused_before_anything_is_walked() -> None:
    plans = [TrailPlan(initial_stop=Percent(1))] * 100_000
    with pytest.raises(
        UsageError, match="100,000 plans on 201 positions are 20,100,000 profits, and at most 20,000,000"
    ):
        suggest([own(number) for number in range(201)], {USDT: rounds(202)}, plans)


def test_a_wrong_own_position_is_refused() -> None:
    position = own(1).position
    with pytest.raises(UsageError, match="OwnPosition.closed_at got .*, wants a time not before opened_at"):
        OwnPosition(position=position, closed_at=BEGIN, exit_price=Decimal(1))
    with pytest.raises(UsageError, match="exit_price"):
        OwnPosition(position=position, closed_at=position.opened_at, exit_price=Decimal(0))
