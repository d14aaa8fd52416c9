"""`trailing backtest`: its entries, its tables, its files, its costs, and what it refuses. And `run` in both orders."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from market_data import EXTRACTS

Run = Callable[..., Any]

START = 1_515_561_000_000  # 2018-01-10 05:10 UTC
D = Decimal


@pytest.fixture
def backtest(run: Run, data: Path) -> Run:
    """Run a backtest with the prices of the small wave; more words can be added."""

    def backtest(*words: object) -> Any:
        return run("backtest", "--prices", data, *words)

    return backtest


FIGURES = ("symbol", "side", "exit_price", "profit", "moves")


def figures(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [
        tuple(D(row[name]) if name == "exit_price" and row[name] else row[name] for name in FIGURES) for row in rows
    ]


def as_numbers(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [(*row[:3], None if row[3] is None else D(row[3]), row[4]) for row in rows]


@pytest.mark.parametrize("costs", [(), ("--slippage", "0.1%", "--fee", "0.05")])
def test_a_wave_has_the_result_of_its_run_in_both_orders(backtest: Run, run: Run, data: Path, costs: Any) -> None:
    words = ("--wave", data / "wave.csv", *costs, "--json")
    by_core = json.loads(backtest(*words).out)
    by_run = json.loads(run("run", "--paper", "--prices", data, *words).out)
    assert [each["candles"] for each in by_core["runs"]] == ["high-first", "low-first"]
    for core, rehearsal in zip(by_core["runs"], by_run["runs"], strict=True):
        rows = rehearsal["report"]["positions"]
        assert core["candles"] == rehearsal["candles"]
        assert as_numbers(figures(core["trades"])) == as_numbers(figures(rows))
        assert [D(trade["stop"]) for trade in core["trades"]] == [D(row["stop_price"]) for row in rows]
        totals = {currency: D(total["profit"]) for currency, total in core["totals"].items()}
        assert totals == {currency: D(profit) for currency, profit in rehearsal["report"]["totals"]["profit"].items()}
    assert {key: list(map(D, pair)) for key, pair in by_core["profit_range"].items()} == {
        key: list(map(D, pair)) for key, pair in by_run["profit_range"].items()
    }
    assert by_core["costs"] == by_run["costs"]


def test_the_report_has_a_row_for_each_trade_and_states_what_it_assumes(backtest: Run, data: Path) -> None:
    ran = backtest("--wave", data / "wave.csv", "--fee", "0.05")
    assert ran.code == 0
    assert ran.out.count("AAA/BTC:BTC") == 2
    assert "candles: high-first" in ran.out
    assert "candles: low-first" in ran.out
    assert "open; the last price is 50 " in ran.out
    assert "2 closed, 2 with a profit, 1 open; before costs" in ran.out
    assert "costs: slippage 0% per fill at market, fee 0.05% per fill, no funding" in ran.out
    assert "both orders were replayed, and neither is a bound" in ran.out
    assert "profit after costs: from" in ran.out
    one = backtest("--wave", data / "wave.csv", "--candles", "low-first")
    assert "assumed: low-first" in one.out
    assert "profit after costs: from" not in one.out


def test_a_csv_file_has_every_trade_of_every_order(backtest: Run, tmp_path: Path) -> None:
    file = tmp_path / "trades.csv"
    words = ("--always-in", "--symbol", "AAA/BTC:BTC", "--side", "both", "--quantity", "0.5", "--csv", file)
    document = json.loads(backtest(*words, "--json").out)
    with file.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    trades = [trade for each in document["runs"] for trade in each["trades"]]
    assert len(rows) == len(trades) > 4
    assert {row["candles"] for row in rows} == {"high-first", "low-first"}
    assert [row["exit_price"] or None for row in rows] == [trade["exit_price"] for trade in trades]
    assert {row["quantity"] for row in rows} == {"0.5"}


def test_a_long_table_is_cut_and_says_so(backtest: Run) -> None:
    ran = backtest("--every", "5m", "--symbol", "AAA/BTC:BTC", "--candles", "low-first")
    assert "the first 100 of 123 trades; --csv FILE writes all of them" in ran.out
    assert ran.out.count("AAA/BTC:BTC") == 100


def test_signals_enter_at_the_next_open(backtest: Run, data: Path) -> None:
    signals = data / "signals.csv"
    signals.write_text(
        "timestamp_ms,symbol,side,quantity,stop_price\n"
        f"{START + 1},AAA/BTC:BTC,long,,99\n"
        f"{START},BBB/BTC:BTC,short,5,\n"
    )
    document = json.loads(
        backtest("--signals", signals, "--quantity", "7", "--candles", "high-first", "--json", "--slippage", "1").out
    )
    (each,) = document["runs"]
    first, second = each["trades"]
    assert (first["entered_at"], first["entry_price"], first["quantity"]) == ("2018-01-10T05:15:00Z", "100.2", "7")
    assert (second["entered_at"], second["quantity"]) == ("2018-01-10T05:10:00Z", "5")
    only = json.loads(
        backtest("--signals", signals, "--symbol", "BBB/BTC:BTC", "--candles", "high-first", "--json").out
    )
    assert len(only["runs"][0]["trades"]) == 1


def test_the_closed_positions_of_a_store_are_entries(backtest: Run, replayed: Any) -> None:
    url = f"sqlite:///{replayed.database}"
    document = json.loads(backtest("--store", url, "--candles", "high-first", "--json").out)
    rows = json.loads(replayed.out)["report"]["positions"]
    closed = [row for row in rows if row["state"] == "closed"]
    assert as_numbers(figures(document["runs"][0]["trades"])) == as_numbers(figures(closed))
    ran = backtest("--store", url, "--symbol", "AAA/BTC:BTC", "--candles", "high-first", "--json")
    assert [trade["symbol"] for trade in json.loads(ran.out)["runs"][0]["trades"]] == ["AAA/BTC:BTC"]
    ran = backtest("--store", url, "--since", "2030-01-01")
    assert (ran.code, "has no closed position with a known entry" in ran.err) == (2, True)


def test_funding_files_are_for_all_symbols_or_for_one(backtest: Run, data: Path) -> None:
    for_all, for_one = data / "funding.csv", data / "aaa.csv"
    for_all.write_text(f"timestamp_ms,rate\n{START + 600_000},0.001\n")
    for_one.write_text(f"timestamp_ms,rate\n{START + 600_000},-0.002\n")
    words = ("--wave", data / "wave.csv", "--candles", "high-first", "--json")
    ran = backtest(*words, "--funding", f"AAA/BTC:BTC={for_one}", "--funding", for_all)
    document = json.loads(ran.out)
    paid = {trade["symbol"]: D(trade["funding"] or 0) for trade in document["runs"][0]["trades"]}
    assert paid["AAA/BTC:BTC"] == D("-0.002") * D("100.4") * 10
    assert paid["BBB/BTC:BTC"] == -D("0.001") * D("200.5") * 5
    assert document["costs"]["funding"] == {"AAA/BTC:BTC": 1, "BBB/BTC:BTC": 1, "CCC/BTC:BTC": 1}


def test_bars_and_trades_can_be_in_one_backtest(run: Run, tmp_path: Path) -> None:
    wave = tmp_path / "wave.csv"
    wave.write_text(
        "symbol,side,quantity,entry_price,opened_at_ms\nXRP/ETH:ETH,long,1000,0.0014,1570770134175\n"
        "XMR/BTC:BTC,long,18,0.02765623,1515561000000\n"
    )
    ran = run("backtest", "--wave", wave, "--prices", EXTRACTS)
    assert ran.code == 0
    assert "a stop fills at the first trade at or beyond its price" in ran.out
    assert "inside a candle the price passes every price" in ran.out
    assert "trade BTC" in ran.out
    assert "trade ETH" in ran.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "backtest wants exactly one of --wave, --signals, --store, --every, --always-in, and got none of them"),
        (("--every", "4h", "--always-in"), "and got --every and --always-in"),
        (("--every", "4h"), "--every needs the symbols: give --symbol BTC/USDT:USDT"),
        (("--every", "0h", "--symbol", "AAA/BTC:BTC"), "--every got '0h', wants a duration above 0"),
        (("--every", "soon", "--symbol", "AAA/BTC:BTC"), "--every got 'soon', wants a duration above 0"),
        (("--every", "999999999w", "--symbol", "AAA/BTC:BTC"), "--every got '999999999w', wants a duration above 0"),
        (("--always-in", "--symbol", "AAA"), "--symbol got 'AAA'"),
        (("--always-in", "--symbol", "DDD/BTC:BTC"), "has no file for DDD/BTC:BTC"),
        (("--always-in", "--symbol", "AAA/BTC:BTC", "--quantity", "x"), "--quantity got 'x', wants a number above 0"),
        (("--always-in", "--symbol", "AAA/BTC:BTC", "--since", "1d"), "--since counts only with --store"),
        (("--always-in", "--symbol", "AAA/BTC:BTC", "--fee", "x"), "--fee got 'x', wants a percentage"),
        (("--always-in", "--symbol", "AAA/BTC:BTC", "--slippage", "100"), "--slippage got '100', wants a percentage"),
        (
            ("--always-in", "--symbol", "AAA/BTC:BTC", "--funding", "CCC/BTC:BTC=x"),
            "--funding: CCC/BTC:BTC has no prices",
        ),
        (("--always-in", "--symbol", "AAA/BTC:BTC", "--funding", "none.csv"), "none.csv can't be read"),
        (
            ("--always-in", "--symbol", "AAA/BTC:BTC", "--csv", "/nowhere/x.csv"),
            "--csv /nowhere/x.csv can't be written",
        ),
        (
            ("--always-in", "--symbol", "AAA/BTC:BTC", "--candles", "peak-first"),
            "--candles: 'peak-first' is not one of",
        ),
        (("--store", "sqlite:///none.db"), "--store"),
        (
            ("--wave", "wave.csv", "--side", "long"),
            "--side counts only with --every or --always-in, because --wave has",
        ),
        (("--wave", "wave.csv", "--quantity", "1"), "--quantity counts only with --signals or --every or --always-in"),
        (("--wave", "wave.csv", "--symbol", "DDD/BTC:BTC"), "wave.csv has no entry of DDD/BTC:BTC"),
    ],
)
def test_a_bad_option_is_one_line(
    backtest: Run, data: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(data)
    ran = backtest(*words)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert message in ran.err


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        ("--signals", "timestamp_ms,symbol\n", "line 1: the field side is missing"),
        ("--signals", "timestamp_ms,symbol,side,sied\n", "line 1: unknown field 'sied'. Did you mean side?"),
        ("--signals", "timestamp_ms,symbol,side,side\n", "line 1: the field side is there twice"),
        ("--signals", "timestamp_ms,symbol,side\n", "has no signal"),
        ("--signals", "timestamp_ms,symbol,side\n1,AAA/BTC:BTC\n", "line 2: the line has 2 values and the header 3"),
        ("--signals", "timestamp_ms,symbol,side\n\n-1,AAA/BTC:BTC,long\n", "line 3: timestamp_ms got '-1'"),
        ("--signals", f"timestamp_ms,symbol,side\n{10**20},AAA/BTC:BTC,long\n", "line 2: timestamp_ms got"),
        ("--signals", f"timestamp_ms,symbol,side\n{START},AAA,long\n", "line 2: symbol got 'AAA'"),
        ("--signals", f"timestamp_ms,symbol,side\n{START},AAA/BTC:BTC,up\n", "line 2: side got 'up'"),
        ("--signals", f"timestamp_ms,symbol,side,quantity\n{START},AAA/BTC:BTC,long,x\n", "line 2: quantity got 'x'"),
        ("--signals", f"timestamp_ms,symbol,side,quantity\n{START},AAA/BTC:BTC,long,-1\n", "line 2: quantity got"),
        (
            "--signals",
            f"timestamp_ms,symbol,side\n{START // 1000},AAA/BTC:BTC,long\n",
            "It looks like seconds instead of",
        ),
        ("--funding", "timestamp_ms,rate\n", "has no payment"),
        ("--funding", "timestamp_ms,rate\nx,0.1\n", "line 2: timestamp_ms got 'x'"),
        ("--funding", "timestamp_ms,rate\n5,x\n", "line 2: rate got 'x'"),
        ("--funding", "timestamp_ms,rate\n5,2\n", "line 2: rate got"),
        ("--funding", "timestamp_ms,rate\n5,0.1\n5,0.1\n", "line 3: timestamp_ms got 5, wants a later time"),
    ],
)
def test_a_bad_line_of_a_file_is_one_line(
    backtest: Run, data: Path, tmp_path: Path, option: str, text: str, message: str
) -> None:
    file = tmp_path / "file.csv"
    file.write_text(text)
    words = (option, file) if option == "--signals" else ("--wave", data / "wave.csv", option, file)
    ran = backtest(*words)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert message in ran.err


def test_an_entry_outside_the_prices_names_both_files_and_the_times(run: Run, data: Path) -> None:
    wave, signals = data / "late.csv", data / "signals.csv"
    wave.write_text("symbol,side,quantity,entry_price,opened_at_ms\nAAA/BTC:BTC,long,10,100,1515661000000\n")
    signals.write_text("timestamp_ms,symbol,side\n1515661000000,AAA/BTC:BTC,long\n")
    ending = (
        f"is 1515661000000 ms (2018-01-11T08:56:40+00:00); {data}/aaa-btc-5m.csv has candles that open from 1515560100000 "
        "ms (2018-01-10T04:55:00+00:00) to 1515596700000 ms (2018-01-10T15:05:00+00:00)\n"
    )
    for words, beginning in (
        (("run", "--paper", "--wave", wave), f"{wave}: AAA/BTC:BTC long: opened_at "),
        (("backtest", "--wave", wave), f"{wave}: AAA/BTC:BTC long: opened_at "),
        (("backtest", "--signals", signals), f"{signals}: AAA/BTC:BTC long: timestamp_ms "),
        (("sweep", "--signals", signals, "--callback", "1"), f"{signals}: AAA/BTC:BTC long: timestamp_ms "),
    ):
        ran = run(*words, "--prices", data)
        assert (ran.code, ran.out, ran.err) == (2, "", f"trailing: {beginning}{ending}")


def test_payments_of_funding_outside_the_prices_are_named(run: Run, data: Path) -> None:
    wave, funding = data / "one.csv", data / "funding.csv"
    wave.write_text("symbol,side,quantity,entry_price,opened_at_ms\nAAA/BTC:BTC,long,10,100,1515561000000\n")
    words = ("--wave", wave, "--prices", data, "--candles", "high-first", "--funding", funding, "--json")
    warning = (
        "trailing: --funding: none of the payments for AAA/BTC:BTC, from 2021-03-12 14:56:40 UTC to 2021-03-12 22:56:40 UTC, lies "
        "within its prices, from 2018-01-10 04:55:00 UTC to 2018-01-10 15:10:00 UTC\n"
    )
    for command in (("run", "--paper"), ("backtest",)):
        funding.write_text("timestamp_ms,rate\n1615561000000,0.0001\n1615589800000,0.0001\n")
        assert run(*command, *words).err.startswith(warning)
        funding.write_text("timestamp_ms,rate\n1515561000000,0.0001\n1615589800000,0.0001\n")
        assert "--funding" not in run(*command, *words).err


def test_the_progress_of_both_orders_is_labelled(run: Run, data: Path) -> None:
    words = ("run", "--paper", "--wave", data / "wave.csv", "--prices", data)
    lines = run(*words, "--json").err.splitlines()
    labels = [line for line in lines if line.startswith("candles: ")]
    assert labels == ["candles: high-first", "candles: low-first"]
    assert lines[0] == labels[0]
    assert "candles: " not in run(*words, "--candles", "low-first").err


def test_a_run_in_both_orders_prints_both_and_the_range(run: Run, data: Path) -> None:
    ran = run("run", "--paper", "--wave", data / "wave.csv", "--prices", data)
    assert ran.code == 0
    assert ran.out.count("3 positions BTC") == 2
    assert [line for line in ran.out.splitlines() if line.startswith("profit after costs: from")] != []
    assert ran.out.count("costs: slippage") == 1


def test_a_run_in_both_orders_that_was_interrupted_goes_on_where_it_was(
    run: Run, data: Path, tmp_path: Path, interrupted_after: Callable[[int], Any]
) -> None:
    words = ("run", "--paper", "--wave", data / "wave.csv", "--prices", data)
    stored = (*words, "--store", f"sqlite:///{tmp_path}/state.db", "--json")
    whole = json.loads(run(*words, "--json").out)
    bookings = 2 + sum(row["moves"] for row in whole["runs"][0]["report"]["positions"])
    with interrupted_after(20):  # in the first order
        ran = run(*stored)
    assert ran.code == 130
    assert [each["candles"] for each in json.loads(ran.out)["runs"]] == ["high-first"]
    assert json.loads(ran.out)["profit_range"] is None
    with interrupted_after(2 * bookings):  # in the second one
        ran = run(*stored)
    assert ran.code == 130
    first, second = json.loads(ran.out)["runs"]
    assert first["resumed_at"] is not None
    assert second["ended"] == "cancelled by SIGINT"
    document = json.loads(run(*stored).out)
    assert [each["ended"] for each in document["runs"]] == ["the data ended", "the data ended"]
    assert document["runs"][1]["resumed_at"] is not None
    for each, wanted in zip(document["runs"], whole["runs"], strict=True):
        assert as_numbers(figures(each["report"]["positions"])) == as_numbers(figures(wanted["report"]["positions"]))
        assert (each["ticks"], each["stops"], each["unprotected"]) == (
            wanted["ticks"],
            wanted["stops"],
            wanted["unprotected"],
        )
    assert document["profit_range"] == whole["profit_range"]
    again = json.loads(run(*stored).out)  # it has ended, so this is a new run
    assert [each["resumed_at"] for each in again["runs"]] == [None, None]


def test_the_second_order_of_an_interrupted_run_can_be_recovered(
    run: Run, data: Path, tmp_path: Path, interrupted_after: Callable[[int], Any]
) -> None:
    words = ("run", "--paper", "--wave", data / "wave.csv", "--prices", data, "--store", f"sqlite:///{tmp_path}/s.db")
    whole = json.loads(run(*words, "--json").out)
    bookings = 2 * (3 + sum(row["moves"] for row in whole["runs"][0]["report"]["positions"]))
    with interrupted_after(bookings + 20):
        assert run(*words).code == 130
    ran = run("recover", "--paper", "--dry-run", "--store", f"sqlite:///{tmp_path}/s.db")
    assert ran.code == 0
    assert "-low-first" in ran.out
