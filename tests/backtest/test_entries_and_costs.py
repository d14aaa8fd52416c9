"""Backtests as a user of the library runs them: entries, costs, results, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from rehearsals import Bars, Trades

from trailing import Callback, Market, Percent, Position, TrailPlan, UsageError
from trailing.backtest import AlwaysIn, Costs, EntryPoint, Every, FundingRate, Signal, run

D = Decimal
SYMBOL = "AAA/USDT:USDT"
START = datetime(2026, 1, 1, tzinfo=UTC)
START_MS = int(START.timestamp() * 1000)
PLAN = TrailPlan(initial_stop=Percent(2), rules=(Callback(Percent(1), activation=Percent(1)),))
HOUR = 3_600_000


def hours(*closes: int, first: int = START_MS) -> Bars:
    """Bars of an hour from close to close, in hundredths, with no wick."""
    opens = [closes[0], *closes[:-1]]
    highs = [max(pair) for pair in zip(opens, closes, strict=True)]
    lows = [min(pair) for pair in zip(opens, closes, strict=True)]
    times = [first + number * HOUR for number in range(len(closes))]
    return Bars(3600.0, 2, times, opens, highs, lows, list(closes))


def a_position(**changes: Any) -> Position:
    values: dict[str, Any] = {"quantity": D(3), "entry_price": D(100), "opened_at": START, "id": None} | changes
    return Position(SYMBOL, changes.get("side", "long"), values["quantity"], values["entry_price"], values["opened_at"])


FALL = hours(10000, 10000, 9700, 9700)
"""A long from 100 is stopped at 98 in the third hour."""


@pytest.mark.parametrize(
    ("side", "series", "exit_price"), [("long", FALL, "98"), ("short", hours(10000, 10000, 10300, 10300), "102")]
)
def test_each_cost_is_subtracted_exactly(side: str, series: Bars, exit_price: str) -> None:
    costs = Costs(slippage=Percent("0.1"), fee=Percent("0.05"))
    (each,) = run(PLAN, {SYMBOL: series}, [a_position(side=side)], costs=costs, candles="low-first").runs
    (trade,) = each.trades
    left = D(exit_price)
    slipped = left * D("0.001")
    filled = left - slipped if side == "long" else left + slipped
    assert (trade.exit_price, trade.gross) == (left, D(-6))
    assert trade.slippage == slipped * 3  # the entry was paid
    assert trade.fees == (100 + filled) * D("0.0005") * 3
    assert trade.profit == -6 - trade.slippage - trade.fees
    assert each.totals["USDT"].profit == trade.profit


def test_an_entry_at_market_has_slippage_too() -> None:
    costs = Costs(slippage=Percent(1))
    signal = Signal(symbol=SYMBOL, side="long", at=START, quantity=D(3))
    (each,) = run(PLAN, {SYMBOL: FALL}, [signal, EntryPoint(a_position())], costs=costs, candles="high-first").runs
    assert [trade.slippage for trade in each.trades] == [D("5.94"), D("2.94")]
    assert [trade.profit for trade in each.trades] == [D("-11.94"), D("-8.94")]


def test_funding_is_paid_at_each_time_within_the_position_at_the_open_of_that_bar() -> None:
    rates = tuple(
        FundingRate(START_MS + number * HOUR, D(rate)) for number, rate in enumerate(["0.5", "0.01", "0.02", "0.5"])
    )
    costs = Costs(funding={SYMBOL: rates})
    series = hours(10000, 9900, 9900, 9700)  # stopped between 3 h and 4 h, at 98
    (each,) = run(PLAN, {SYMBOL: series}, [a_position()], costs=costs, candles="high-first").runs
    (trade,) = each.trades
    # Not at its entry; 1 h: the bar opens at 100; 2 h: at 99; 3 h: at 99, at that very time.
    assert trade.funding == (D("0.01") * 100 + D("0.02") * 99 + D("0.5") * 99) * 3
    assert trade.profit == -6 - trade.funding
    rising = hours(10000, 10000, 10000, 10300)
    (each,) = run(PLAN, {SYMBOL: rising}, [a_position(side="short")], costs=costs, candles="high-first").runs
    assert each.trades[0].funding == -(D("0.01") * 100 + D("0.02") * 100 + D("0.5") * 100) * 3


def test_funding_between_bars_and_trades_takes_the_last_price() -> None:
    series = hours(10000, 9900, 9700)
    series.opened_at = [START_MS, START_MS + HOUR, START_MS + 5 * HOUR]
    rates = (FundingRate(START_MS + 3 * HOUR, D("0.01")),)
    (each,) = run(
        PLAN, {SYMBOL: series}, [a_position()], costs=Costs(funding={SYMBOL: rates}), candles="low-first"
    ).runs
    assert each.trades[0].funding == D("0.01") * 99 * 3
    trades = Trades(2, [START_MS, START_MS + HOUR, START_MS + 4 * HOUR], [10000, 9950, 9700])
    (each,) = run(PLAN, {SYMBOL: trades}, [a_position()], costs=Costs(funding={SYMBOL: rates})).runs
    assert each.trades[0].funding == D("0.01") * D("99.5") * 3


def test_every_interval_has_an_entry_at_its_first_open_whether_earlier_ones_have_ended_or_not() -> None:
    series = hours(*[10000] * 10, first=START_MS + HOUR)
    del series.opened_at[7], series.open[7], series.high[7], series.low[7], series.close[7]  # 08:00
    result = run(PLAN, {SYMBOL: series}, Every(seconds=4 * 3600.0, sides=("long", "short")), candles="high-first")
    entered = [(trade.entered_at.hour, trade.side) for trade in result.runs[0].trades]
    assert entered == [(4, "long"), (4, "short"), (9, "long"), (9, "short")]
    assert result.runs[0].totals["USDT"].open == 4
    assert result.runs[0].totals["USDT"].profit == 0


def test_always_in_enters_again_at_the_open_after_each_exit() -> None:
    series = hours(10000, 9700, 9700, 9400, 9400)
    (each,) = run(PLAN, {SYMBOL: series}, AlwaysIn(quantity=D(2)), candles="high-first").runs
    assert [(trade.entered_at.hour, trade.entry_price, trade.exit_price, trade.bars) for trade in each.trades] == [
        (0, D(100), D(98), 2),
        (2, D(97), D("95.06"), 2),
        (4, D(94), None, 1),
    ]
    assert each.trades[-1].last_price == D(94)
    trades = Trades(2, [START_MS, START_MS + 1, START_MS + 1, START_MS + 2], [10000, 9700, 9600, 9700])
    (each,) = run(PLAN, {SYMBOL: trades}, AlwaysIn()).runs
    assert [(trade.entry_price, trade.exit_price) for trade in each.trades] == [(D(100), D(97)), (D(97), None)]


def test_a_signal_inside_a_bar_enters_at_the_next_open_with_its_own_stop() -> None:
    signal = Signal(symbol=SYMBOL, side="long", at=START + timedelta(minutes=5), stop_price=D(99))
    (each,) = run(PLAN, {SYMBOL: FALL}, [signal], candles="high-first").runs
    (trade,) = each.trades
    assert (trade.entered_at, trade.entry_price, trade.exit_price) == (START + timedelta(hours=1), D(100), D(99))


def test_both_orders_are_walked_and_give_a_range() -> None:
    bars = Bars(3600.0, 2, [START_MS], [10000], [10300], [9990], [10290])
    result = run(PLAN, {SYMBOL: bars}, [a_position()])
    assert [each.candles for each in result.runs] == ["high-first", "low-first"]
    assert [each.trades[0].exit_price for each in result.runs] == [D("101.97"), None]
    assert result.profit_range == {"USDT": (D(0), D("5.91"))}
    trades = Trades(2, [START_MS, START_MS + 1], [10000, 9700])
    (each,) = run(PLAN, {SYMBOL: trades}, [a_position()]).runs
    assert each.candles is None


def test_the_trades_are_records_and_columns() -> None:
    (each,) = run(PLAN, {SYMBOL: FALL}, [a_position()], candles="low-first").runs
    (record,) = each.records()
    columns = each.columns()
    assert list(record) == list(columns)
    assert {name: [value] for name, value in record.items()} == columns
    assert (record["exit_price"], record["mae"], record["bars"]) == (D(98), D("2.0000"), 3)
    assert str(record["profit"]) == "-6"


def test_a_market_s_tick_rounds_the_stops() -> None:
    markets = {SYMBOL: Market(SYMBOL, price_tick=D("0.5"))}
    position = a_position(entry_price=D("100.3"))
    (each,) = run(PLAN, {SYMBOL: FALL}, [position], candles="low-first", markets=markets).runs
    assert each.trades[0].exit_price == D("98.5")  # 98.294 rounded towards the market


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        (lambda: run(PLAN, {}, AlwaysIn()), "prices got no symbol"),
        (lambda: run(PLAN, {"AAA": FALL}, AlwaysIn()), "prices got 'AAA'"),
        (lambda: run(PLAN, {SYMBOL: Trades(2, [], [])}, AlwaysIn()), f"{SYMBOL} has no price"),
        (lambda: run(PLAN, {SYMBOL: FALL}, []), "there is nothing to enter"),
        (lambda: run(PLAN, {SYMBOL: FALL}, [1]), "entries got 1, wants"),  # type: ignore[list-item]
        (lambda: run(None, {SYMBOL: FALL}, AlwaysIn()), "plan got None"),  # type: ignore[arg-type]
        (lambda: run(PLAN, {SYMBOL: FALL}, AlwaysIn(), costs=0), "costs got 0"),  # type: ignore[arg-type]
        (
            lambda: run(PLAN, {SYMBOL: FALL}, AlwaysIn(), candles="peak-first"),  # type: ignore[arg-type]
            "candles got 'peak-first', wants one of both",
        ),
        (
            lambda: run(PLAN, {SYMBOL: FALL}, [a_position(opened_at=datetime(1970, 1, 21, tzinfo=UTC))]),
            "opened at 1970-01-21T00:00:00+00:00, before its first price at 2026-01-01T00:00:00+00:00. Is it in seconds",
        ),
        (
            lambda: run(PLAN, {SYMBOL: FALL}, [a_position(opened_at=START + timedelta(hours=3, seconds=1))]),
            "after the open of its last bar at 2026-01-01T03:00:00+00:00",
        ),
        (
            lambda: run(PLAN, {SYMBOL: FALL}, [Signal(symbol="BBB/USDT:USDT", side="long", at=START)]),
            "BBB/USDT:USDT has no prices. Did you mean AAA/USDT:USDT?",
        ),
        (
            lambda: run(PLAN, {SYMBOL: FALL}, [a_position(entry_price=D("1e-8"))]),
            f"{SYMBOL} long: TrailPlan.initial_stop got",
        ),
        (lambda: Every(seconds=0), "Every.seconds got 0"),
        (lambda: Every(seconds=1e-6), "at least a millisecond"),
        (lambda: AlwaysIn(sides=()), "AlwaysIn.sides got ()"),
        (lambda: AlwaysIn(sides=("up",)), "AlwaysIn.sides got 'up'"),  # type: ignore[arg-type]
        (lambda: AlwaysIn(quantity=D(0)), "AlwaysIn.quantity got"),
        (lambda: Costs(fee=Percent(100)), "Costs.fee got"),
        (lambda: FundingRate(1, D(1)), "FundingRate.rate got"),
        (lambda: FundingRate(-1, D(0)), "FundingRate.at got -1"),
        (
            lambda: Costs(funding={SYMBOL: (FundingRate(5, D(0)), FundingRate(5, D(0)))}),
            f"Costs.funding of {SYMBOL} has times that do not increase",
        ),
    ],
)
def test_bad_input_is_one_line_before_anything_runs(refused: Callable[[], object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        refused()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_interval_that_never_begins_in_the_data_is_refused() -> None:
    with pytest.raises(UsageError, match="no interval of Every begins within the prices"):
        run(PLAN, {SYMBOL: hours(10000, 10000, first=START_MS + HOUR)}, Every(seconds=86400.0))
