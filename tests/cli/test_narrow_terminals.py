"""Tables on terminals of several widths: side, stop and profit are shown whole, and no figure is cut."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from trailing.cli.listings import Listing

Run = Callable[..., Any]

WIDTHS = (40, 60, 80, 100, 120, 200)


@pytest.fixture
def on_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command as on a terminal of a width; return the lines of its table, without escape sequences."""

    def on_terminal(width: int, *words: object) -> list[str]:
        with monkeypatch.context() as patch:
            patch.setattr(Console, "is_terminal", property(lambda _: True))
            patch.setenv("TERM", "xterm")
            patch.setenv("COLUMNS", str(width))
            out = run(*words).out
        lines = re.sub(r"\x1b\[[\d;]*m", "", out).splitlines()
        return [line for line in lines if line.startswith("position ") or ":BTC " in line or " BTC " in line]

    return on_terminal


@pytest.fixture
def store(replayed: Any, tmp_path: Path) -> str:
    path = tmp_path / "state.db"
    path.write_bytes(replayed.database.read_bytes())
    return f"sqlite:///{path}"


@pytest.mark.parametrize("width", WIDTHS)
def test_a_backtest_shows_sides_and_profits_in_any_width(on_terminal: Run, data: Path, width: int) -> None:
    words = ("--wave", data / "wave.csv", "--prices", data, "--candles", "high-first")
    header, *rows = on_terminal(width, "backtest", *words)
    assert {"position", "side", "entry", "profit"} <= set(header.split())
    assert ("exit" in header.split()) is (width >= 60)
    assert [row.split()[:2] for row in rows[:3]] == [
        ["AAA/BTC:BTC", "long"],
        ["BBB/BTC:BTC", "short"],
        ["CCC/BTC:BTC", "long"],
    ]
    assert [figure in row for figure, row in zip(("115.196", "16.507", " 50", "131.703"), rows, strict=True)] == [
        True
    ] * 4
    assert "…" not in "".join(rows)
    assert max(map(len, (header, *rows))) <= width


@pytest.mark.parametrize("width", WIDTHS)
def test_a_report_shows_stops_and_profits_in_any_width(on_terminal: Run, store: str, width: int) -> None:
    header, *rows = on_terminal(width, "report", "--store", store)
    assert {"position", "side", "profit", "stop"} <= set(header.split())
    assert all(
        figure in row
        for figures, row in zip((("115.196", "111.5196"), ("16.507", "196.6986")), rows, strict=False)
        for figure in figures
    )
    assert "…" not in "".join(rows)
    assert max(map(len, (header, *rows))) <= width


@pytest.mark.parametrize("width", WIDTHS)
def test_the_status_shows_stops_in_any_width(on_terminal: Run, store: str, width: int) -> None:
    header, row = on_terminal(width, "status", "--store", store)
    assert {"position", "side", "stop"} <= set(header.split())
    assert "2018-01-10 05:20:00" in row or width < 80
    assert row.split()[:2] == ["CCC/BTC:BTC", "long"]
    assert " 49 " in row
    assert max(map(len, (header, row))) <= width


def test_the_sentence_of_the_totals_is_below_the_table(run: Run, data: Path) -> None:
    out = run("backtest", "--wave", data / "wave.csv", "--prices", data, "--candles", "high-first").out
    assert "\nBTC: 2 closed, 2 with a profit, 1 open; before costs 131.703\n" in out


def test_columns_are_left_out_in_their_order_and_every_other_one_is_whole() -> None:
    listing = Listing(("position", "side", "price", "words"), right=("price",), left_out=("price",), wrapped=("words",))
    listing.add_row("BTC/USDT:USDT", "short", "1234.5678", "one two three four five six seven")

    def shown(width: int) -> str:
        table, needed = listing.fitting(width)
        console = Console(width=max(width, needed), legacy_windows=False)
        with console.capture() as captured:
            console.print(table)
        return captured.get()

    assert "1234.5678" in shown(80)
    assert "one two three four five six seven" in shown(80)
    assert "1234.5678" in shown(55)  # the words take two lines
    assert "seven" in shown(55)
    assert "one two three four five six seven" not in shown(55)
    assert "1234.5678" not in shown(46)
    for width in (46, 20):
        assert all(word in shown(width) for word in ("BTC/USDT:USDT", "short", "seven"))
