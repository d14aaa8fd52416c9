"""`--tick`: prices and stops are rounded to the market's tick, alike in every command, and the rounded prices are counted."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
D = Decimal

TICK = D("0.25")
WIDE = ("--initial-stop", "1.1%,2.3%", "--callback", "0.7%")


@pytest.fixture
def wave(data: Path) -> tuple[object, ...]:
    return ("--wave", data / "wave.csv", "--prices", data)


def plan(data: Path) -> tuple[object, ...]:
    """A plan whose stops are hardly ever multiples of a tick by themselves."""
    file = data / "plan.toml"
    file.write_text('initial_stop = "2.3%"\n[[rules]]\ntype = "Callback"\ndistance = "0.7%"\n')
    return ("--plan", file)


def test_backtest_and_run_agree_and_every_stop_is_a_multiple_of_the_tick(
    run: Run, data: Path, wave: tuple[object, ...]
) -> None:
    words = (*wave, *plan(data), "--tick", TICK, "--json")
    by_core, by_run = json.loads(run("backtest", *words).out), json.loads(run("run", "--paper", *words).out)
    for core, rehearsal in zip(by_core["runs"], by_run["runs"], strict=True):
        rows = rehearsal["report"]["positions"]
        stops = [D(trade["stop"]) for trade in core["trades"]]
        assert stops == [D(row["stop_price"]) for row in rows]
        assert [stop % TICK for stop in stops] == [0, 0, 0]
        exits = [None if trade["exit_price"] is None else D(trade["exit_price"]) for trade in core["trades"]]
        assert exits == [None if row["exit_price"] is None else D(row["exit_price"]) for row in rows]


def test_a_sweep_has_the_profits_of_a_backtest(run: Run, data: Path, wave: tuple[object, ...], tmp_path: Path) -> None:
    words = (*wave, "--tick", TICK, "--json")
    trades = tmp_path / "trades.csv"
    swept = json.loads(run("sweep", *words, *WIDE, "--trades", trades).out)
    wider = next(each for each in swept["best"] if each["values"]["initial_stop"] == "2.3%")
    walked = json.loads(run("backtest", *words, *plan(data)).out)
    shares = [
        sum(
            D(trade["profit"]) / D(trade["entry_price"]) / D(trade["quantity"])
            for trade in each["trades"]
            if trade["profit"]
        )
        + sum(  # an open trade counts at the last price
            (D(trade["last_price"]) - D(trade["entry_price"])) / D(trade["entry_price"])
            for trade in each["trades"]
            if trade["last_price"]
        )
        for each in walked["runs"]
    ]
    assert [wider["profit_high_first"], wider["profit_low_first"]] == pytest.approx([float(100 * s) for s in shares])


@pytest.mark.parametrize("command", [("backtest",), ("run", "--paper"), ("sweep", *WIDE)])
def test_the_report_counts_the_prices_that_were_off(
    run: Run, data: Path, wave: tuple[object, ...], command: tuple[str, ...]
) -> None:
    with (data / "aaa-btc-5m.csv").open(newline="") as file:
        prices = [D(row[name]) for row in csv.DictReader(file) for name in ("open", "high", "low", "close")]
    off = "prices were off the tick 0.25, and were rounded to it"
    assert run(*command, *wave, "--tick", TICK).out.count(off) == 3
    assert off not in run(*command, *wave).out
    only = run(*command, *wave, "--tick", f"AAA/BTC:BTC={TICK}").out
    assert only.count(off) == 1
    count = sum(price % TICK != 0 for price in prices)
    assert f"aaa-btc-5m.csv: {count} of {len(prices)} {off}" in only


def test_a_tick_of_a_symbol_counts_before_that_of_all(run: Run, wave: tuple[object, ...]) -> None:
    out = run("backtest", *wave, "--tick", "AAA/BTC:BTC=0.5", "--tick", "0.25").out
    assert "were off the tick 0.5," in out
    assert out.count("were off the tick 0.25,") == 2


def record(data: Path, source: str, **more: Any) -> None:
    """Write what `trailing candles` records beside its files."""
    of_file = {"venue": "bybit", "symbol": "AAA/BTC:BTC", "source": source, "since": 0, **more}
    (data / "candles.json").write_text(json.dumps({"aaa-btc-5m.csv": of_file}))


def test_the_tick_that_was_recorded_with_the_download_counts(run: Run, data: Path, wave: tuple[object, ...]) -> None:
    words = ("backtest", *wave, *plan(data), "--candles", "low-first")

    def stop_of(*more: object) -> Decimal:
        return D(json.loads(run(*words, "--json", *more).out)["runs"][0]["trades"][0]["stop"])

    record(data, "last", tick="0.25")
    assert run(*words).out.count("were off the tick 0.25,") == 1
    assert stop_of() % TICK == 0
    assert "were off the tick 0.5," in run(*words, "--tick", "0.5").out
    record(data, "mark", tick="0.25")
    assert "were off the tick" not in run(*words).out  # a mark has a finer tick than the stops that it triggers
    assert stop_of() % TICK == 0
    record(data, "last")  # by an earlier version
    assert "were off the tick" not in run(*words).out
    assert stop_of() % TICK != 0


@pytest.mark.parametrize("command", [("backtest",), ("run", "--paper"), ("sweep", *WIDE)])
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("0",), "--tick got '0', wants a number above 0, such as 0.1, or SYMBOL=0.1"),
        (("x",), "--tick got 'x', wants a number above 0"),
        (("AAA/BTC:BTC=nan",), "--tick got 'AAA/BTC:BTC=nan', wants a number above 0"),
        (("AAA=1",), "--tick got 'AAA'"),
        (("AAB/BTC:BTC=1",), "--tick: AAB/BTC:BTC has no prices. Did you mean"),
        (("1", "2"), "--tick is given twice for every symbol"),
        (("1000",), "wants at least the tick 1000"),
    ],
)
def test_a_wrong_tick_is_refused_in_one_line(
    run: Run, wave: tuple[object, ...], command: tuple[str, ...], words: tuple[str, ...], message: str
) -> None:
    ran = run(*command, *wave, *(word for text in words for word in ("--tick", text)))
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
    assert ran.err.count("\n") == 1


def test_a_run_is_resumed_only_with_the_same_tick(
    run: Run, wave: tuple[object, ...], tmp_path: Path, interrupted_after: Any
) -> None:
    words = ("run", "--paper", *wave, "--candles", "low-first", "--store", f"sqlite:///{tmp_path / 'state.db'}")
    with interrupted_after(5):
        assert run(*words, "--tick", TICK).code == 130
    other = run(*words, "--tick", "0.5")
    assert (other.code, "which had another --tick. Give the same to resume it" in other.err) == (2, True)
    assert run(*words, "--tick", TICK).code == 0
