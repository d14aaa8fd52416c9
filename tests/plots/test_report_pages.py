"""The pages: whole, small, without any address to load from, and with every text escaped."""

from __future__ import annotations

import dataclasses
import html
import json
import re
from array import array
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import trailing.sweep
from trailing import Callback, Percent, TrailPlan, UsageError
from trailing.backtest import AlwaysIn, Every, run
from trailing.plots import backtest_page, sweep_page
from trailing.price_files import Bars
from trailing.sweep import Grid

BTC, ETH = "BTC/USDT:USDT", "ETH/BTC:BTC"
EVIL = '</script><img src=x onerror="alert(1)">&amp;'
BEGIN = 1_767_571_200_000
PLAN = TrailPlan(initial_stop=Percent(3), rules=(Callback(Percent(1)),))


def bars(count: int = 500, swing: int = 40) -> Bars:
    closes = [10_000 + swing * (number % 37) - 15 * (number % 11) for number in range(count)]
    opens = [closes[0], *closes[:-1]]
    return Bars(
        path=Path("btc-usdt-1m.csv"),
        seconds=60.0,
        decimals=1,
        tick=Decimal("0.1"),
        opened_at=array("q", range(BEGIN, BEGIN + 60_000 * count, 60_000)),
        open=array("q", opens),
        high=array("q", map(max, opens, closes)),
        low=array("q", map(min, opens, closes)),
        close=array("q", closes),
        off_tick=0,
        gaps=(),
    )


PRICES = {BTC: bars(), ETH: bars(swing=25)}


def documents(page: str) -> str:
    """The data of the figures, as Bokeh's script takes them."""
    (found,) = re.findall(r"const docs_json = '(.*?)';", page)
    return html.unescape(found.replace("\\\\", "\\"))  # it is JSON in a literal of JavaScript


def own_text(page: str) -> str:
    """The page without the library that is in it."""
    return re.sub(r"<script type=\"text/javascript\">.*?</script>", "", page, flags=re.DOTALL)


def test_a_backtest_has_totals_equity_by_currency_prices_excursions_trades_and_notes() -> None:
    result = run(PLAN, PRICES, AlwaysIn(sides=("long", "short")), keeps_stops=True)
    page = backtest_page(result, PRICES, notes=["costs: none", "warning: few trades"])
    headings = re.findall(r"<h2>(.*?)</h2>", page)
    assert headings == [
        "Totals",
        "Equity in BTC",
        "Equity in USDT",
        f"Price of {BTC}",
        f"Price of {ETH}",
        "MAE and MFE",
        "Trades",
        "What this assumes",
    ]
    for each in result.runs:
        for totals in each.totals.values():
            assert f">{totals.profit:f}</td>" in page
    assert "<li>costs: none</li>" in page
    assert '<li class="warning">warning: few trades</li>' in page
    assert json.loads(documents(page))


def test_every_text_from_outside_is_escaped_in_the_page_and_in_its_data() -> None:
    result = run(PLAN, {BTC: bars()}, AlwaysIn(), keeps_stops=True)
    each = result.runs[0]
    evil = replace(each.trades[0], reason=EVIL)
    run_of_evil = replace(each, trades=(evil, *each.trades[1:]))
    page = backtest_page(replace(result, runs=(run_of_evil,)), {BTC: bars()}, title=EVIL, notes=[EVIL])
    assert "<img" not in page.replace(documents(page), "")
    assert page.count("</script>") == 4  # the library, two of its calls, and ours
    assert EVIL in json.dumps(json.loads(documents(page))).replace('\\"', '"')
    assert page.count(html.escape(EVIL, quote=False).replace('"', "&#34;")) == 4


def test_a_page_loads_nothing() -> None:
    page = backtest_page(run(PLAN, PRICES, AlwaysIn(), keeps_stops=True), PRICES)
    assert re.findall(r"<(?:script|img|iframe|link)\b[^>]*?(?:src|href)=\"(?!data:)", own_text(page)) == []
    assert "@import" not in page
    assert "url(http" not in page


def test_a_sweep_of_20_by_20_plans_over_a_month_of_minutes_is_below_3_megabytes() -> None:
    steps = tuple(Percent(Decimal(number) / 4) for number in range(1, 21))
    grid = Grid(initial_stop=steps, callback=steps)
    result = trailing.sweep.run({BTC: bars(43_200)}, grid, Every(seconds=14_400, sides=("long", "short")))
    page = sweep_page(result, lines=["found: nothing"], notes=["costs: none"])
    assert len(page.encode()) < 3_000_000
    headings = re.findall(r"<h2>(.*?)</h2>", page)
    assert headings[:4] == ["Heat map", "Best plans", "Equity of the best plan", f"Price of {BTC}"]
    assert "<p>found: nothing</p>" in page


def test_six_symbols_with_many_trades_stay_below_3_megabytes_and_the_rest_are_counted() -> None:
    prices = {f"C{number}/USDT:USDT": bars(6_000) for number in range(8)}
    result = run(PLAN, prices, AlwaysIn(sides=("long", "short")), candles="low-first", keeps_stops=True)
    page = backtest_page(result, prices)
    assert page.count("<h2>Price of ") == 6
    assert "6 of 8 symbols are drawn, those with the most trades." in page
    assert len(page.encode()) < 3_000_000


def test_the_order_in_which_the_trades_gained_less_is_drawn_and_named() -> None:
    result = run(PLAN, {BTC: bars()}, AlwaysIn(), keeps_stops=True)
    profits: dict[Any, Decimal] = {each.candles: each.totals["USDT"].profit for each in result.runs}
    assert len(set(profits.values())) == 2
    assert f"Candles: {min(profits, key=lambda name: profits[name])}, the order" in backtest_page(result, {BTC: bars()})


def test_a_result_without_stops_is_refused() -> None:
    with pytest.raises(UsageError, match="run it with keeps_stops=True"):
        backtest_page(run(PLAN, PRICES, AlwaysIn()), PRICES)


def test_a_best_plan_with_an_impossible_first_stop_has_no_trades_and_says_why() -> None:
    low = bars()
    result = trailing.sweep.run({BTC: low}, Grid(callback=(Percent(1), Percent(2))), AlwaysIn())
    refused = tuple(replace(each, refused=3) for each in result.best)
    page = sweep_page(dataclasses.replace(result, best=refused))
    assert "the best plan has no possible first stop for 3 entries" in page


def test_times_are_utc() -> None:
    result = run(PLAN, {BTC: bars()}, AlwaysIn(), keeps_stops=True)
    first = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=BEGIN)
    assert f"{first:%Y-%m-%d %H:%M:%S}" in backtest_page(result, {BTC: bars()})
