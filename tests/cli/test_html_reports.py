"""`--html` of the practice commands: a page beside the report, refused before anything is walked if it can't be written."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from trailing.cli.position_summaries import PositionSummary
from trailing.events import EntryFilled, Event, OpeningFailed, PositionClosed, StopGone, StopMoved, StopOpened
from trailing.unprotected import UnprotectedTime

Run = Callable[..., Any]

BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
OF = {"symbol": "BTC/USDT:USDT", "side": "long"}


def test_a_backtest_writes_a_page_beside_its_report(run: Run, data: Path, tmp_path: Path) -> None:
    words = ("backtest", "--prices", data, "--wave", data / "wave.csv", "--fee", "0.05")
    file = tmp_path / "report.html"
    assert run(*words, "--html", file).out == run(*words).out
    page = file.read_text()
    assert "<h2>Price of AAA/BTC:BTC</h2>" in page
    assert "<li>costs: slippage 0% per fill at market, fee 0.05% per fill, no funding</li>" in page
    assert "<li>which extreme of a candle came first is unknown: both orders were replayed" in page


def test_the_json_is_the_same_with_a_page(run: Run, data: Path, tmp_path: Path) -> None:
    words = ("backtest", "--prices", data, "--wave", data / "wave.csv", "--json")
    assert run(*words, "--html", tmp_path / "report.html").out == run(*words).out


def test_a_sweep_writes_its_heat_map_judgement_and_warnings(run: Run, data: Path, tmp_path: Path) -> None:
    file = tmp_path / "sweep.html"
    axes = ("--initial-stop", "1%:3%:1%", "--callback", "none,0.5%,1%")
    ran = run("sweep", "--prices", data, "--wave", data / "wave.csv", *axes, "--html", file)
    assert (ran.code, ran.err) == (0, "")
    page = file.read_text()
    assert "<h2>Heat map</h2>" in page
    assert '<p class="warning">warning: the best plan rests on 3 trades' in page
    assert "<p>by chance: the best of 9 plans" in page


@pytest.mark.parametrize("command", ["backtest", "sweep"])
def test_a_file_that_cannot_be_written_is_refused_before_prices_are_read(
    run: Run, tmp_path: Path, command: str
) -> None:
    axes = ("--callback", "1%") if command == "sweep" else ()
    for file in (tmp_path, tmp_path / "no" / "report.html"):
        ran = run(command, "--prices", "nowhere", "--always-in", *axes, "--html", file)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err == f"trailing: --html got '{file}', wants a file in a directory that exists\n"


def test_a_missing_extra_is_one_line_that_says_what_to_install(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "bokeh", None)
    ran = run("backtest", "--prices", "nowhere", "--always-in", "--html", tmp_path / "report.html")
    assert ran.code == 2
    assert ran.err == "trailing: HTML reports need bokeh, which is not installed: pip install 'trailing[plot]'\n"


def test_the_unprotected_stretches_of_a_store_are_in_the_page(run: Run, data: Path, tmp_path: Path) -> None:
    store, file = f"sqlite:///{tmp_path / 'state.db'}", tmp_path / "report.html"
    wave = ("--wave", data / "wave.csv", "--prices", data)
    assert run("run", "--paper", *wave, "--candles", "high-first", "--store", store, "--latency", "5").code == 0
    ran = run("backtest", "--store", store, "--prices", data, "--candles", "high-first", "--html", file)
    assert ran.code == 0
    assert "Red: no live stop, in 1 stretch." in file.read_text()


def stretches(*events: Event) -> list[tuple[float, float]]:
    """The unprotected stretches after these events, in minutes since `BEGIN`."""
    summary = PositionSummary("BTC/USDT:USDT", "long")
    for event in events:
        summary.add_event(event)
    return [
        ((since - BEGIN) / timedelta(minutes=1), (until - BEGIN) / timedelta(minutes=1))
        for since, until in summary.unprotected_stretches
    ]


def at(minute: int) -> Any:
    return {**OF, "at": BEGIN + timedelta(minutes=minute)}


def a_stop(minute: int, unprotected_minutes: int = 0) -> StopOpened:
    seconds = 60.0 * unprotected_minutes
    price = Decimal(90)
    return StopOpened(**at(minute), quantity=Decimal(1), price=price, client_order_id="1", unprotected_seconds=seconds)


def test_a_stretch_lasts_from_the_entry_or_the_loss_of_a_stop_until_the_next_stop_or_the_end() -> None:
    filled = EntryFilled(**at(0), quantity=Decimal(1), price=Decimal(100), unfilled=Decimal(0), client_order_id="e")
    moved = StopMoved(
        **at(8),
        previous=Decimal(90),
        price=Decimal(91),
        client_order_id="2",
        reason="",
        unprotected_seconds=60.0,
        unprotected_time=UnprotectedTime(move=60.0),
    )
    gone = StopGone(**at(12), client_order_id="2")
    failed = OpeningFailed(**at(14), error="refused", unresolved=False)
    closed = PositionClosed(
        **at(20),
        entry_price=Decimal(100),
        quantity=Decimal(1),
        profit=Decimal(0),
        moves=1,
        unprotected_seconds=0.0,
        reason="closed",
    )
    assert stretches(filled, a_stop(3, 3), moved, gone, failed, closed) == [(0, 3), (7, 8), (12, 20)]
    assert stretches(a_stop(5, 2), gone, a_stop(15, 5)) == [(3, 5), (12, 15)]
    assert stretches(a_stop(0), closed) == []
