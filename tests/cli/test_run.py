"""A wave is replayed on the paper exchange, from the files to the report."""

from __future__ import annotations

import csv
import json
import re
import time
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from market_data import EXTRACTS, extracts, on_real_prices, repeated_full, slow_full

Run = Callable[..., Any]

START = 1_515_561_000_000

LOOSE_PLAN = """
initial_stop = "15%"
[[rules]]
type = "Callback"
distance = "12%"
activation = "1%"
[pacing]
min_interval = 30
"""


def read_events(run: Run, store: str) -> list[dict[str, Any]]:
    ran = run("events", "--store", store, "--json")
    assert ran.code == 0
    return [json.loads(line) for line in ran.out.splitlines()]


def check_adds_up(document: dict[str, Any]) -> None:
    """Check each figure of a report against the figures that it follows from."""
    rows, totals = document["report"]["positions"], document["report"]["totals"]
    closed = [row for row in rows if row["state"] == "closed"]
    for row in closed:
        gain = (Decimal(row["exit_price"]) - Decimal(row["entry_price"])) * Decimal(row["quantity"])
        assert Decimal(row["profit"]) == (gain if row["side"] == "long" else -gain)
    assert totals["positions"] == len(rows)
    assert totals["closed"] == len(closed)
    assert totals["open"] == len(rows) - len(closed)
    assert totals["moves"] == sum(row["moves"] for row in rows)
    assert sum(map(Decimal, totals["profit"].values())) == sum(Decimal(row["profit"]) for row in closed)
    assert totals["unprotected_seconds"] == pytest.approx(sum(row["unprotected_seconds"] for row in rows))


def check_monotone(events: list[dict[str, Any]], rows: list[dict[str, Any]]) -> None:
    """Check that no stop was loosened, and that every move in the events is in the report."""
    for row in rows:
        own = [
            event
            for event in (e["event"] for e in events)
            if (event["symbol"], event["side"]) == (row["symbol"], row["side"])
        ]
        prices = [Decimal(event["price"]) for event in own if event["type"] in ("StopOpened", "StopMoved")]
        assert prices == sorted(prices, reverse=row["side"] == "short")
        assert len(prices) - 1 == row["moves"]
        assert prices[-1] == Decimal(row["stop_price"])


def test_a_wave_is_protected_trailed_and_reported(replay: Run, run: Run, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/state.db"
    ran = replay("--store", store, "--json")
    assert ran.code == 0
    document = json.loads(ran.out)
    rows = document["report"]["positions"]
    assert [(row["symbol"], row["side"], row["state"]) for row in rows] == [
        ("AAA/BTC:BTC", "long", "closed"),
        ("BBB/BTC:BTC", "short", "closed"),
        ("CCC/BTC:BTC", "long", "protected"),
    ]
    assert rows[0]["moves"] > 10
    assert Decimal(rows[0]["profit"]) > 0
    assert rows[0]["opened_at"] == "2018-01-10T05:10:00Z"
    assert document["ended"] == "the data ended"
    assert (document["stops"], document["unprotected"], document["unknown_outcomes"], document["dropped"]) == (
        1,
        0,
        0,
        0,
    )
    assert document["candles"] == "high-first"
    assert document["plan"]["initial_stop"] == {"percent": "2"}
    check_adds_up(document)
    check_monotone(read_events(run, store), rows)


@pytest.mark.parametrize(
    ("entry", "plan", "message"),
    [
        ("AAA/BTC:BTC,long,10,100,1515561000000,", 'initial_stop = "150"', "TrailPlan.initial_stop got 150, wants"),
        (
            "AAA/BTC:BTC,long,10,100,1515561000000,120",
            'initial_stop = "2%"',
            "Position.stop_price of AAA/BTC:BTC got 120",
        ),
        ("BBB/BTC:BTC,short,5,200,1515561000000,200.01", 'initial_stop = "2%"', "wants at least 2 ticks of 0.01"),
    ],
)
def test_a_position_without_a_possible_first_stop_is_refused_before_the_replay(
    run: Run, data: Path, entry: str, plan: str, message: str
) -> None:
    wave, own_plan = data / "one.csv", data / "plan.toml"
    wave.write_text(f"symbol,side,quantity,entry_price,opened_at_ms,stop_price\n{entry}\n")
    own_plan.write_text(plan)
    for command in (("run", "--paper"), ("backtest",)):
        ran = run(*command, "--wave", wave, "--prices", data, "--plan", own_plan, "--tick", "0.01")
        assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
        assert f"{wave}: {entry[:11]} {entry.split(',')[1]}: " in ran.err
        assert message in ran.err


def test_a_position_that_the_manager_refuses_has_its_reason(
    replay: Run, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trailing.cli.practice.replay_job.check_first_stop", lambda *_: None)
    (data / "plan.toml").write_text('initial_stop = "150"\n')
    (data / "wave.csv").write_text(
        f"symbol,side,quantity,entry_price,opened_at_ms\nAAA/BTC:BTC,long,10,100,{START}\nCCC/BTC:BTC,long,2,50,{START}\n"
    )
    ran = replay("--plan", data / "plan.toml", "--json")
    document = json.loads(ran.out)
    for row in document["report"]["positions"]:
        assert row["state"] == "given up"
        assert row["reason"].startswith("UsageError: TrailPlan.initial_stop got 150, wants a distance")
    assert (document["ended"], document["unprotected"]) == ("2 positions were given up without a stop", 2)
    assert "05:10:00 AAA/BTC:BTC long: unprotected, and given up: UsageError: TrailPlan.initial_stop" in ran.err


def test_a_position_that_is_given_up_does_not_count_as_ended(replay: Run, data: Path) -> None:
    (data / "plan.toml").write_text('initial_stop = "2%"\non_unprotected = "report"\non_late_order = "cancel"\n')
    (data / "wave.csv").write_text(
        "symbol,side,quantity,entry_price,opened_at_ms\n"
        f"AAA/BTC:BTC,long,10,100,{START}\nBBB/BTC:BTC,short,5,200,{START}\n"
    )
    words = ("--plan", data / "plan.toml", "--latency", "0.7", "--deadline", "0.5")
    document = json.loads(replay(*words, "--json").out)
    assert {row["state"] for row in document["report"]["positions"]} == {"given up"}
    assert (document["ended"], document["unprotected"]) == ("2 positions were given up without a stop", 2)
    assert "every position has ended" not in replay(*words).out


def test_the_same_input_gives_the_same_bytes_every_time(replay: Run, replayed: Any, tmp_path: Path) -> None:
    """With another database, and without one."""
    for words in (("--store", f"sqlite:///{tmp_path}/state.db"), ()):
        assert replay("--json", *words).out == replayed.out
    tables = {replay("--latency", "0.7").out for _ in range(2)}
    assert len(tables) == 1


def test_all_due_work_is_done_before_the_next_price(run: Run, data: Path) -> None:
    words = write_trades(data, [(0, "100"), (1_000, "103"), (2_000, "103")])
    for _ in range(8):
        # The order arrives after half of 2 s, at the time of the price that triggers it.
        (row,) = json.loads(run(*words, "--latency", "2", "--json").out)["report"]["positions"]
        assert (row["exit_price"], row["reason"]) == ("103", "the stop was filled")


def test_standard_output_has_only_json(replay: Run) -> None:
    ran = replay("--json")
    json.loads(ran.out)
    assert "AAA/BTC:BTC long: protected, stop at 98, after 0.000 s" in ran.err


def test_a_replay_states_its_assumptions(replay: Run, run: Run, data: Path) -> None:
    ran = replay()
    assert "costs: slippage 0% per fill at market, fee 0% per fill, no funding" in ran.out
    assert "inside a candle the price passes every price, and a stop fills at its own price" in ran.out
    assert "plan (the default): initial stop 2%; Breakeven(at 0.8%, offset 0.05%); Callback(" in ran.out
    assert "assumed: high-first" in ran.out
    plan = data / "plan.toml"
    plan.write_text('initial_stop = "3%"\nstale_after = 7200.0\n')
    ran = replay("--plan", plan, "--candles", "low-first")
    assert "plan: initial stop 3%; stale_after 7200; candle_seconds 300" in ran.out
    assert "assumed: low-first" in ran.out
    ran = run(*write_trades(data, [(0, "100"), (1_000, "103")]))
    assert "a stop fills at the first trade at or beyond its price, at the price of that trade" in ran.out


def test_the_order_of_high_and_low_matters(run: Run, data: Path) -> None:
    """Only if the peak comes first, this bar reaches the stop on its way down."""
    wave, prices = data / "one.csv", data / "one-btc-5m.csv"
    wave.write_text("symbol,side,quantity,entry_price,opened_at_ms\nONE/BTC:BTC,long,1,100,1515561000000\n")
    prices.write_text(
        "timestamp_ms,open,high,low,close\n1515561000000,100,102,99,101.8\n1515561300000,101.8,101.9,101.7,101.8\n"
    )
    ends = {}
    for order in ("high-first", "low-first"):
        ran = run("run", "--paper", "--wave", wave, "--prices", prices, "--candles", order, "--json")
        row = json.loads(ran.out)["report"]["positions"][0]
        ends[order] = (row["state"], row["exit_price"])
    assert ends == {
        "high-first": ("closed", "101.490"),  # 0.5 % behind the high, on the way to the low
        "low-first": ("protected", None),
    }


def write_candle(data: Path, candle: str) -> tuple[object, ...]:
    """Write a long from 100 on with one candle; return the words that replay it."""
    wave, prices = data / "one.csv", data / "one-btc-5m.csv"
    wave.write_text("symbol,side,quantity,entry_price,opened_at_ms\nONE/BTC:BTC,long,1,100,1515561000000\n")
    prices.write_text(f"timestamp_ms,open,high,low,close\n1515561000000,{candle}\n")
    return "run", "--paper", "--wave", wave, "--prices", prices, "--candles", "high-first", "--json"


@pytest.mark.parametrize("latency", ["0", "5"])
def test_a_stop_that_was_moved_between_two_points_of_a_candle_fills_at_its_new_price(
    run: Run, data: Path, latency: str
) -> None:
    """The high comes after 100 s and the low after 200 s."""
    ran = run(*write_candle(data, "100,102,97,99"), "--latency", latency)
    (row,) = json.loads(ran.out)["report"]["positions"]
    assert (row["exit_price"], row["reason"]) == ("101.490", "the stop was filled")


@pytest.mark.parametrize("trigger", ["last", "mark", "index"])
def test_a_close_at_market_fills_at_the_replay_s_price_whatever_the_plan_s_trigger(
    run: Run, data: Path, trigger: str
) -> None:
    plan = data / "plan.toml"
    plan.write_text(f'initial_stop = "2%"\ntrigger = "{trigger}"\n')
    ran = run(*write_candle(data, "97,97.5,96,97"), "--plan", plan, "--latency", "1")
    (row,) = json.loads(ran.out)["report"]["positions"]
    assert (row["exit_price"], row["reason"]) == ("97", "the price was already beyond the initial stop")


def test_a_wave_in_json_has_the_result_of_the_same_wave_in_csv(replay: Run, run: Run, data: Path) -> None:
    lines = (data / "wave.csv").read_text().splitlines()
    names = lines[0].split(",")
    wave = data / "wave.json"
    rows = [dict(zip(names, line.split(","), strict=True)) for line in lines[1:]]
    rows[0]["opened_at"] = "2018-01-10T05:10:00Z"
    del rows[0]["opened_at_ms"]
    wave.write_text(json.dumps(rows))
    ran = run("run", "--paper", "--wave", wave, "--prices", data, "--candles", "high-first", "--json")
    assert ran.out == replay("--json").out


def test_latency_is_unprotected_time_in_the_data_s_time(replay: Run) -> None:
    document = json.loads(replay("--latency", "3", "--json").out)
    assert [row["unprotected_seconds"] for row in document["report"]["positions"]] == pytest.approx([3.0] * 3)


def test_a_position_that_can_not_be_protected_in_time_is_reported_and_tried_again(replay: Run) -> None:
    document = json.loads(replay("--latency", "3", "--deadline", "1", "--json").out)
    rows = document["report"]["positions"]
    assert all(row["unprotected_seconds"] > 1 for row in rows)
    assert [row["state"] for row in rows] == ["closed", "closed", "protected"]


def test_a_speed_divides_the_data_s_time_and_does_not_change_the_result(run: Run, data: Path) -> None:
    words = write_trades(data, [(0, "100"), (1_000, "98"), (20_000, "97"), (40_000, "98.5")])
    started = time.monotonic()
    slow = json.loads(run(*words, "--speed", "40", "--json").out)
    assert time.monotonic() - started >= 1.0
    fast = json.loads(run(*words, "--json").out)
    for row in (*slow["report"]["positions"], *fast["report"]["positions"]):
        del row["unprotected_seconds"], row["unprotected_time"], row["closed_at"]
    assert slow["report"]["positions"] == fast["report"]["positions"]


def write_trades(data: Path, trades: list[tuple[int, str]]) -> tuple[object, ...]:
    """Write a short with trades at milliseconds after its opening; return the words that replay it."""
    wave, prices = data / "one.csv", data / "one-btc-trades.csv"
    wave.write_text("symbol,side,quantity,entry_price,opened_at_ms\nONE/BTC:BTC,short,3,100,1515561000000\n")
    lines = [f"{1515561000000 + milliseconds},{price},1,buy" for milliseconds, price in trades]
    prices.write_text("\n".join(["timestamp_ms,price,amount,side", *lines]))
    return "run", "--paper", "--wave", wave, "--prices", prices


def test_trades_are_replayed_tick_by_tick(run: Run, data: Path) -> None:
    trades = [(0, "100"), (0, "99.5"), (1, "98"), (1, "97.5"), (1, "98"), (2, "97.9"), (70_000, "98.5")]
    document = json.loads(run(*write_trades(data, trades), "--json").out)
    (row,) = document["report"]["positions"]
    # The third trade of a millisecond fills the stop that the second one has moved. The next trade still counts, because the
    # second snapshot confirms the end a quarter of a second later.
    assert document["ticks"] == 6
    assert (row["stop_price"], row["exit_price"], row["profit"], row["moves"]) == ("97.9875", "98", "6", 2)
    assert (row["state"], row["closed_at"]) == ("closed", "2018-01-10T05:10:00.001000Z")
    assert document["candles"] is None


@pytest.mark.parametrize("prices", [extracts, slow_full])
def test_real_trades_are_all_replayed(run: Run, tmp_path: Path, prices: Path) -> None:
    wave, store = tmp_path / "wave.csv", f"sqlite:///{tmp_path}/state.db"
    trades = read_rows(prices / "xrp-eth-trades.csv")
    entry = f"{trades[0]['price']},{trades[0]['timestamp_ms']}"
    wave.write_text(f"symbol,side,quantity,entry_price,opened_at_ms\nXRP/ETH:ETH,long,1000,{entry}\n")
    plan = tmp_path / "plan.toml"
    plan.write_text(LOOSE_PLAN)
    words = ("run", "--paper", "--wave", wave, "--prices", prices / "xrp-eth-trades.csv", "--plan", plan)
    ran = run(*words, "--store", store, "--json")
    document = json.loads(ran.out)
    assert document["ticks"] == len(trades)
    check_adds_up(document)
    check_monotone(read_events(run, store), document["report"]["positions"])
    assert document["report"]["positions"][0]["moves"] > 0
    assert run(*words, "--json").out == ran.out


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@on_real_prices
@pytest.mark.parametrize(
    ("wave", "order", "gapped"),
    [
        ("wave-10.csv", "high-first", 0),
        ("wave-10.csv", "low-first", 0),
        ("wave-gap.csv", "high-first", 1),
        ("wave-gap.csv", "low-first", 1),
    ],
)
def test_every_exit_over_candles_is_at_its_stop_or_at_the_open_of_a_candle_that_gapped(
    run: Run, prices: Path, wave: str, order: str, gapped: int
) -> None:
    ran = run("run", "--paper", "--wave", EXTRACTS / wave, "--prices", prices, "--candles", order, "--json")
    rows = json.loads(ran.out)["report"]["positions"]
    assert len(rows) == len(read_rows(EXTRACTS / wave))
    at_an_open = 0
    for row in rows:
        assert (row["state"], row["reason"]) == ("closed", "the stop was filled")
        base, quote, _ = re.split("[/:]", row["symbol"].lower())
        closed_at = datetime.fromisoformat(row["closed_at"]).timestamp() * 1000
        candles = read_rows(prices / f"{base}-{quote}-5m.csv")
        # A close has the time of the next open, at which a stop fills only at the open itself.
        is_open = any(
            (int(candle["timestamp_ms"]), Decimal(candle["open"])) == (closed_at, Decimal(row["exit_price"]))
            for candle in candles
        )
        begun = [c for c in candles if int(c["timestamp_ms"]) < closed_at + (1 if is_open else 0)]
        candle = begun[-1]
        stop, first, high, low = (
            Decimal(text) for text in (row["stop_price"], candle["open"], candle["high"], candle["low"])
        )
        if is_open:
            assert first <= stop if row["side"] == "long" else first >= stop
            assert Decimal(row["exit_price"]) == first
            at_an_open += 1
        else:
            assert low <= stop <= high
            assert Decimal(row["exit_price"]) == stop
    assert at_an_open == gapped


@pytest.mark.parametrize(
    ("prices", "plan", "runs", "closed"),
    [
        pytest.param(*extracts.values, None, 3, 10, id="extracts"),
        pytest.param(*extracts.values, LOOSE_PLAN, 2, 0, id="extracts, loose plan"),
        pytest.param(*slow_full.values, None, 3, 10, id="full files", marks=slow_full.marks),
        pytest.param(*repeated_full.values, None, 20, 10, id="full files, 20 times", marks=repeated_full.marks),
        pytest.param(*slow_full.values, LOOSE_PLAN, 2, 10, id="full files, loose plan", marks=slow_full.marks),
    ],
)
def test_a_wave_over_ten_real_pairs_gives_the_same_bytes_each_time_and_a_report_that_adds_up(
    run: Run, tmp_path: Path, prices: Path, plan: str | None, runs: int, closed: int
) -> None:
    words = ["run", "--paper", "--wave", prices / "wave-10.csv", "--prices", prices, "--candles", "low-first", "--json"]
    if plan is not None:
        (tmp_path / "plan.toml").write_text(plan)
        words += ["--plan", tmp_path / "plan.toml"]
    outputs = set()
    for number in range(runs):
        store = f"sqlite:///{tmp_path}/{number}.db"
        outputs.add(run(*words, "--store", store).out)
    assert len(outputs) == 1
    document = json.loads(outputs.pop())
    states = [row["state"] for row in document["report"]["positions"]]
    assert sorted(states) == ["closed"] * closed + ["protected"] * (10 - closed)
    assert document["dropped"] == 0
    check_adds_up(document)
    check_monotone(read_events(run, store), document["report"]["positions"])
