"""`trailing suggest`: its tables, its JSON, its page, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import trio

from trailing import open_store
from trailing.events import Event, PositionClosed, StopFilled, StopGone, StopMoved, StopOpened
from trailing.stores.port import AppendEvent

Run = Callable[..., Any]

BTC, ETH = "BTC/USDT:USDT", "ETH/BTC:BTC"
BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
COURSE = (100, 98.5, 100, 103, 105, 100, 90, 95, 98, 100)
"""Closes of the minutes of a round, at whose first open a position was entered."""

AXES = ("--initial-stop", "1%,2%", "--callback", "1%,4%", "--activation", "2%")


def events_of(symbol: str, number: int, exit_price: str = "103") -> list[Event]:
    """What a store has of the position of a round, which lost its stop for a minute and was closed after four."""
    opened = BEGIN + timedelta(minutes=10 * number)

    def at(minutes: int) -> Any:
        return {"symbol": symbol, "side": "long", "at": opened + timedelta(minutes=minutes)}

    two, price = Decimal(2), Decimal(exit_price)
    return [
        StopOpened(**at(0), quantity=two, price=Decimal(98), client_order_id="1", unprotected_seconds=0.0),
        StopMoved(**at(1), previous=Decimal(98), price=Decimal(99), client_order_id="2", reason="Callback"),
        StopGone(**at(2), client_order_id="2"),
        StopOpened(**at(3), quantity=two, price=Decimal(99), client_order_id="3", unprotected_seconds=60.0),
        StopFilled(**at(4), quantity=two, price=price, left=Decimal(0), client_order_id="3"),
        PositionClosed(
            **at(4),
            entry_price=Decimal(100),
            quantity=two,
            profit=(price - 100) * 2,
            moves=1,
            unprotected_seconds=60.0,
            reason="the stop was filled",
        ),
    ]


def write_store(path: Path, *groups: tuple[str, int]) -> str:
    """Write closed positions of symbols into a store, and return its URL."""
    url = f"sqlite:///{path}"

    async def write() -> None:
        events = [event for symbol, count in groups for number in range(count) for event in events_of(symbol, number)]
        events.sort(key=lambda event: event.at)
        async with open_store(url) as store:
            await store.commit([AppendEvent("paper", "main", event) for event in events])

    trio.run(write)
    return url


def write_prices(folder: Path, rounds: int) -> Path:
    """Write the prices of both symbols."""
    folder.mkdir()
    closes = list(COURSE) * rounds
    opens = [closes[0], *closes[:-1]]
    lines = ["timestamp_ms,open,high,low,close"]
    for minute, (first, last) in enumerate(zip(opens, closes, strict=True)):
        at = int((BEGIN + timedelta(minutes=minute)).timestamp() * 1000)
        lines.append(f"{at},{first},{max(first, last)},{min(first, last)},{last}")
    for name in ("btc-usdt-1m.csv", "eth-btc-1m.csv"):
        (folder / name).write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def suggested(run: Run, tmp_path: Path) -> Run:
    """Suggest from 35 positions in USDT and 3 in BTC; more words can be added."""
    url = write_store(tmp_path / "bot.db", (BTC, 35), (ETH, 3))
    prices = write_prices(tmp_path / "prices", 36)

    def suggested(*words: object) -> Any:
        return run("suggest", "--store", url, "--prices", prices, *AXES, *words)

    return suggested


def test_the_report_has_the_own_trades_the_excursions_and_the_best_plans_of_each_currency(suggested: Run) -> None:
    ran = suggested("--candles", "low-first", "--best", 2)
    assert (ran.code, ran.err) == (0, "")
    lines = [" ".join(line.split()) for line in ran.out.splitlines()]
    few = "not enough trades: 3 closed positions in BTC, and at least 30 are needed, because an interval from fewer trades "
    for line in (
        "own positions, BTC",
        f"{few}is too narrow",
        "own positions, USDT",
        "own profit in USDT: 3.00 % (3.00 to 3.00) per trade, 35 trades",
        "MAE of the 35 trades with a profit: half at most 1.50 % (1.50 to 1.50)",
        "MFE of the 35 trades with a profit: nine of ten at most 3.00 % (3.00 to 3.00)",
        "MAE of the 0 trades without a profit: not enough trades, at least 30 are needed",
        "the best of 4 plans on the own entries, USDT, per trade",
        "2% 1% 2% 3.95 3.95 3.95 0.95 0.95 0.95 0 0",
        "costs: slippage 0% per fill at market, fee 0% per fill, no funding",
    ):
        assert line in lines, line
    assert any(line.startswith("BTC/USDT:USDT long 2 100 103 6 1 1.50 3.00 ") for line in lines)


def test_the_json_has_the_same_and_no_number_where_there_are_not_enough_trades(suggested: Run) -> None:
    document = json.loads(suggested("--json", "--candles", "low-first").out)
    btc, usdt = document["currencies"]
    assert document["least_trades"] == 30
    assert "positions" not in btc
    assert (btc["currency"], btc["enough_trades"], btc["own"], btc["best"], btc["chance"]) == (
        "BTC",
        False,
        None,
        [],
        None,
    )
    assert (btc["totals"]["profit"], usdt["totals"]["profit"]) == ("18", "210")
    assert (usdt["currency"], usdt["enough_trades"], usdt["tried"]) == ("USDT", True, 4)
    best = usdt["best"][0]
    assert best["values"] == {"initial_stop": "2%", "callback": "1%", "activation": "2%"}
    assert best["plan"]["initial_stop"]["percent"] == "2"
    assert best["mean"]["value"] == pytest.approx(3.95)
    assert [trade["mae"] for trade in usdt["trades"]] == ["1.5000"] * 35


def test_symbols_and_times_can_be_chosen(suggested: Run) -> None:
    only = json.loads(suggested("--json", "--symbol", ETH).out)
    assert [each["currency"] for each in only["currencies"]] == ["BTC"]
    later = json.loads(suggested("--json", "--since", "2026-01-05T00:30").out)
    assert [len(each["trades"]) for each in later["currencies"]] == [32]


def test_fees_count_for_own_and_plan_and_slippage_for_the_plan_alone(suggested: Run) -> None:
    words = ("--json", "--symbol", BTC, "--candles", "low-first")
    (usdt,) = json.loads(suggested(*words, "--fee", "0.1", "--slippage", "0.2").out)["currencies"]
    assert usdt["own"]["value"] == pytest.approx(3 - 0.1 * 2.03)
    received = 103.95 * 0.998
    assert usdt["best"][0]["mean"]["value"] == pytest.approx(received - 100 - 0.1 * (1 + received / 100))


def test_prices_are_rounded_to_the_tick(suggested: Run) -> None:
    (usdt,) = json.loads(suggested("--json", "--symbol", BTC, "--tick", "1").out)["currencies"]
    assert {trade["mae"] for trade in usdt["trades"]} == {"2.0000"}  # 98.5 is rounded to 98


def test_a_page_has_the_real_stops_and_the_unprotected_times_in_red(suggested: Run, tmp_path: Path) -> None:
    file = tmp_path / "own.html"
    assert suggested("--html", file).code == 0
    page = file.read_text()
    assert "<h2>Best plans on the own entries, USDT</h2>" in page
    assert "<h2>Own equity in BTC</h2>" in page
    assert f"<h2>Price of {BTC}</h2>" in page
    assert "Red: no live stop, in 35 stretches." in page
    assert "<p>not enough trades: 3 closed positions in BTC" in page
    assert len(page) < 3_000_000


def test_positions_outside_of_the_prices_are_left_out_and_counted(run: Run, tmp_path: Path) -> None:
    url = write_store(tmp_path / "bot.db", (BTC, 5))
    ran = run("suggest", "--store", url, "--prices", write_prices(tmp_path / "prices", 3), *AXES)
    assert ran.code == 0
    assert "left out: 2 closed USDT positions that the prices don't cover from entry to exit" in ran.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--chandelier", "x"), "--chandelier got 'x', wants"),
        (("--best", "0"), "--best got 0, wants a whole number of at least 1"),
        (("--symbol", "BTC"), "--symbol got 'BTC'"),
        (("--symbol", "XRP/USDT:USDT"), "has no closed position of XRP/USDT:USDT whose entry and profit are known"),
        (("--since", "2030-01-01"), "has no closed position whose entry and profit are known"),
        (("--since", "soon"), "--since"),
        (("--fee", "-1"), "--fee"),
        (("--html", "/nowhere/own.html"), "--html got '/nowhere/own.html', wants a file in a directory that exists"),
    ],
)
def test_what_cannot_be_right_is_refused_in_one_line(suggested: Run, words: tuple[str, ...], message: str) -> None:
    ran = suggested(*words)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
    assert ran.err.count("\n") == 1


def test_a_store_that_is_missing_and_an_empty_grid_are_refused(run: Run, tmp_path: Path) -> None:
    missing = run("suggest", "--store", f"sqlite:///{tmp_path / 'no.db'}", "--prices", tmp_path, *AXES)
    assert (missing.code, missing.err.count("\n")) == (2, 1)
    empty = run("suggest", "--store", "sqlite:///no.db", "--prices", tmp_path)
    assert (empty.code, "the grid is empty" in empty.err) == (2, True)
