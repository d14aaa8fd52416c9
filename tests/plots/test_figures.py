"""The figures have what was walked: the stop's steps, the sums of profits, the excursions, the grid with its plateau."""

from __future__ import annotations

from array import array
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bokeh.models.annotations import BoxAnnotation

import trailing.sweep
from trailing import Callback, Percent, Position, TrailPlan
from trailing.backtest import AlwaysIn, Backtest, run
from trailing.plots.equity import equity_figure
from trailing.plots.excursions import excursion_figure
from trailing.plots.figures import MOST_POINTS, UNPROTECTED, thin
from trailing.plots.heat_map import heat_map, outline
from trailing.plots.price import MOST_TRADES, price_figure
from trailing.price_files import Bars
from trailing.sweep import Grid
from trailing.unprotected import UnprotectedStretch

BTC = "BTC/USDT:USDT"
BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def bars_of(*closes: int) -> Bars:
    """Return one-minute bars in whole units. Each opens at the close of the bar before."""
    opens = [closes[0], *closes[:-1]]
    return Bars(
        path=Path("btc-usdt-1m.csv"),
        seconds=60.0,
        decimals=0,
        tick=Decimal(1),
        opened_at=array("q", (milliseconds(BEGIN + number * MINUTE) for number in range(len(closes)))),
        open=array("q", opens),
        high=array("q", map(max, opens, closes)),
        low=array("q", map(min, opens, closes)),
        close=array("q", closes),
        off_tick=0,
        gaps=(),
    )


def milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)


PLAN = TrailPlan(initial_stop=Percent(5), rules=(Callback(Percent(2)),))
RISE_AND_FALL = bars_of(100, 200, 300, 200)


def backtest(series: Bars = RISE_AND_FALL, plan: TrailPlan = PLAN) -> Backtest:
    position = Position(BTC, "long", Decimal(2), Decimal(100), BEGIN)
    return run(plan, {BTC: series}, [position], candles="low-first", keeps_stops=True)


def columns(figure: Any) -> list[dict[str, Any]]:
    return [renderer.data_source.data for renderer in figure.renderers]


def legend(figure: Any) -> dict[str, Any]:
    (shown,) = figure.legend
    return {item.label.value: item.renderers for item in shown.items}


def test_the_stop_is_a_step_line_from_the_entry_to_the_exit() -> None:
    (each,) = backtest().runs
    (trade,) = each.trades
    drawn = price_figure(RISE_AND_FALL, each.trades, each.stops, (), name="price")
    (stop,) = legend(drawn.figure)["stop"]
    times, prices = stop.data_source.data["x"], stop.data_source.data["y"]
    assert list(dict.fromkeys(prices[:-1].tolist())) == [95, 98, 196, 294]
    assert (times[0], prices[0]) == (milliseconds(BEGIN), 95)
    assert trade.exited_at is not None
    assert (times[-2], prices[-2]) == (milliseconds(trade.exited_at), 294)
    assert np.isnan(prices[-1])
    corners = zip(times[:-2], times[1:-1], prices[:-2], prices[1:-1], strict=True)
    assert all(left == right or price == following for left, right, price, following in corners)


def test_entries_and_exits_are_at_their_times_and_prices_and_say_why() -> None:
    (each,) = backtest().runs
    shown = legend(price_figure(RISE_AND_FALL, each.trades, each.stops, (), name="price").figure)
    (entry,), (exited,) = shown["entry"], shown["exit, profit"]
    assert (entry.data_source.data["at"].tolist(), entry.data_source.data["price"].tolist()) == (
        [milliseconds(BEGIN)],
        [100],
    )
    assert exited.data_source.data["price"].tolist() == [294]
    assert exited.data_source.data["what"] == ["long exit at 294, profit 388: the stop was filled"]
    assert "exit, loss" not in shown


def test_the_price_is_a_band_from_the_lowest_to_the_highest_with_the_close_inside() -> None:
    (each,) = backtest().runs
    figure = price_figure(RISE_AND_FALL, each.trades, each.stops, (), name="price").figure
    band, close = (renderer.data_source.data for renderer in legend(figure)["price"])
    assert band["y1"].tolist() == [100, 100, 200, 200]
    assert band["y2"].tolist() == [100, 200, 300, 300]
    assert close["y"].tolist() == [100, 200, 300, 200]
    assert close["x"].tolist() == [milliseconds(BEGIN + number * MINUTE) for number in range(1, 5)]


def test_many_bars_keep_their_extremes_in_fewer_points() -> None:
    closes = [1000 + number % 7 for number in range(10_000)]
    closes[4321] = 5000
    series = bars_of(*closes)
    each = run(
        TrailPlan(initial_stop=Percent(90)),
        {BTC: series},
        [Position(BTC, "long", Decimal(1), Decimal(1000), BEGIN)],
        candles="high-first",
        keeps_stops=True,
    ).runs[0]
    band, _ = (
        renderer.data_source.data
        for renderer in legend(price_figure(series, each.trades, each.stops, (), name="price").figure)["price"]
    )
    assert len(band["y2"]) <= MOST_POINTS
    assert (band["y1"].min(), band["y2"].max()) == (1000, 5000)


def test_unprotected_stretches_are_red_and_only_then_in_the_legend() -> None:
    (each,) = backtest().runs
    stretch = UnprotectedStretch(BTC, "long", BEGIN, BEGIN + MINUTE)
    figure = price_figure(RISE_AND_FALL, each.trades, each.stops, (stretch,), name="price").figure
    (box,) = [box for box in figure.center if isinstance(box, BoxAnnotation)]
    assert (box.left, box.right) == (milliseconds(BEGIN), milliseconds(BEGIN + MINUTE))
    assert box.fill_color == UNPROTECTED
    assert "unprotected" in legend(figure)
    assert "unprotected" not in legend(price_figure(RISE_AND_FALL, each.trades, each.stops, (), name="price").figure)


def test_a_position_that_never_had_a_stop_is_drawn_too() -> None:
    (each,) = backtest().runs
    stretch = UnprotectedStretch(BTC, "long", BEGIN, BEGIN + MINUTE)
    figure = price_figure(RISE_AND_FALL, each.trades, [()], (stretch,), name="price").figure
    (stop,) = legend(figure)["stop"]
    assert len(stop.data_source.data["x"]) == 0
    assert "unprotected" in legend(figure)


def test_of_too_many_trades_the_latest_are_drawn_and_counted() -> None:
    (each,) = backtest().runs
    drawn = price_figure(RISE_AND_FALL, each.trades * 400, each.stops * 400, (), name="price")
    assert (drawn.trades, drawn.of) == (MOST_TRADES, 400)


def test_the_equity_is_the_sum_of_profits_by_the_time_of_exits() -> None:
    series = bars_of(100, 200, 190, 100, 120, 100)
    result = run(PLAN, {BTC: series}, AlwaysIn(sides=("long", "short")), candles="both", keeps_stops=True)
    figure = equity_figure(result.runs, "USDT", name="equity")
    assert list(legend(figure)) == ["high-first", "low-first"]
    for renderers, each in zip(legend(figure).values(), result.runs, strict=True):
        times = renderers[0].data_source.data["x"].tolist()
        assert times == sorted(times)
        assert (times[0], renderers[0].data_source.data["y"][0]) == (milliseconds(BEGIN), 0)
        assert renderers[0].data_source.data["y"][-1] == pytest.approx(float(each.totals["USDT"].profit))


def test_thinned_values_keep_the_ends_and_the_extremes() -> None:
    values = np.zeros(100_000)
    values[[5, 77_777]] = -3, 9
    kept = thin(values)
    assert len(kept) <= MOST_POINTS
    assert {0, 5, 77_777, 99_999} <= set(kept.tolist())
    assert thin(values[:7]).tolist() == list(range(7))


def test_the_excursions_are_those_of_the_trades_in_three_kinds() -> None:
    result = run(PLAN, {BTC: bars_of(100, 200, 100, 90, 99, 99)}, AlwaysIn(), candles="high-first")
    (each,) = result.runs
    shown = legend(excursion_figure(each.trades, name="excursions"))
    points = {
        kind: [
            tuple(pair)
            for pair in zip(*(renderers[0].data_source.data[name].tolist() for name in ("mae", "mfe")), strict=True)
        ]
        for kind, renderers in shown.items()
    }
    assert sum(map(len, points.values())) == len(each.trades)
    first = each.trades[0]
    assert points["profit"][0] == (float(first.mae), float(first.mfe))
    assert points["open"] != []


@pytest.fixture(scope="module")
def swept() -> trailing.sweep.SweepResult:
    closes = [1000 + 40 * (number % 12) for number in range(300)]
    grid = Grid(
        initial_stop=tuple(map(Percent, (2, 4, 6))),
        callback=(None, Percent(1), Percent(3)),
        activation=(Percent(0), Percent(2)),
    )
    return trailing.sweep.run({BTC: bars_of(*closes)}, grid, AlwaysIn())


def test_the_heat_map_has_each_plan_in_the_plane_of_the_best_one(swept: trailing.sweep.SweepResult) -> None:
    profits = [swept.plan_result(number).profit for number in range(len(swept.plans))]
    drawn = heat_map(swept, profits, name="heat_map")
    assert drawn is not None
    best = swept.cells[swept.best[0].number]
    assert drawn.fixed == {"activation": swept.axes["activation"][best[2]]}
    cells, *_, star = columns(drawn.figure)
    plane = {cell[:2]: profits[number] for number, cell in enumerate(swept.cells) if cell[2] == best[2]}
    assert dict(
        zip(zip(cells["x"].tolist(), cells["y"].tolist(), strict=True), cells["profit"].tolist(), strict=True)
    ) == {cell: np.float32(profit) for cell, profit in plane.items()}
    assert (star["x"], star["y"]) == ([best[0]], [best[1]])
    assert drawn.figure.yaxis[0].major_label_overrides == {0: "none", 1: "1%", 2: "3%"}


def test_the_plateau_is_outlined_where_it_ends() -> None:
    assert sorted(outline({(0, 0)})) == [
        (-0.5, -0.5, -0.5, 0.5),
        (-0.5, -0.5, 0.5, -0.5),
        (-0.5, 0.5, 0.5, 0.5),
        (0.5, -0.5, 0.5, 0.5),
    ]
    assert len(list(outline({(0, 0), (1, 0)}))) == 6


def test_one_axis_is_a_line_and_none_has_no_figure() -> None:
    prices = {BTC: bars_of(*(1000 + 40 * (number % 12) for number in range(100)))}
    for stops, count in (((2, 4, 6), 3), ((2,), 0)):
        result = trailing.sweep.run(prices, Grid(initial_stop=tuple(map(Percent, stops))), AlwaysIn())
        profits = [result.plan_result(number).profit for number in range(len(result.plans))]
        drawn = heat_map(result, profits, name="heat_map")
        assert (0 if drawn is None else len(columns(drawn.figure)[0]["x"])) == count
