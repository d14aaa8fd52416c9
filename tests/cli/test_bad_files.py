"""A bad file gets one line that names the file, the line and the field, exit code 2, and nothing is changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]

HEADER = "symbol,side,quantity,entry_price,opened_at_ms"
GOOD = "AAA/BTC:BTC,long,10,100,1515561000000"


def refused(run: Run, data: Path, *words: object) -> str:
    """The one line that a run was refused with, once it is sure that nothing was written."""
    before = sorted(data.parent.rglob("*"))
    ran = run("run", "--paper", *words, "--prices", data, "--store", f"sqlite:///{data}/state.db")
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.count("\n") == 1
    assert ran.err.startswith("trailing: ")
    assert sorted(data.parent.rglob("*")) == before
    return str(ran.err)


@pytest.mark.parametrize(
    ("text", "line", "field"),
    [
        (f"{HEADER}\n{GOOD}\nBBB/BTC:BTC,long,ten,100,1515561000000\n", 3, "quantity got 'ten'"),
        (f"{HEADER}\nAAA/BTC:BTC,long,0,100,1515561000000\n", 2, "quantity got"),
        (f"{HEADER}\nAAA/BTC:BTC,long,10,-1,1515561000000\n", 2, "entry_price got"),
        (f"{HEADER}\nAAA/BTC:BTC,long,10,NaN,1515561000000\n", 2, "entry_price got"),
        (f"{HEADER}\nAAA/BTC:BTC,up,10,100,1515561000000\n", 2, "side got 'up'"),
        (f"{HEADER}\nAAABTC,long,10,100,1515561000000\n", 2, "symbol got 'AAABTC'"),
        (f"{HEADER}\nAAA/BTC:BTC,long,10,100,2018-01-10\n", 2, "opened_at_ms got '2018-01-10'"),
        (f"{HEADER}\nAAA/BTC:BTC,long,10,100,{'9' * 30}\n", 2, "opened_at_ms got"),
        (f"{HEADER},stop_price\n{GOOD},x\n", 2, "stop_price got 'x'"),
        (f"{HEADER}\n{GOOD},1\n", 2, "line got"),
        (f"{HEADER}\n\n{GOOD}\n{GOOD}\n", 4, "symbol got 'AAA/BTC:BTC' long again (line 3)"),
        ("symbol,side,quantity,opened_at_ms\n", 1, "wants entry_price"),
        ("symbol,side,quantity,entry_price\n", 1, "wants opened_at_ms or opened_at"),
        (f"{HEADER},leverage\n{GOOD},3\n", 1, "fields got 'leverage'"),
        (f"{HEADER}\n", 1, "wants at least one"),
        ("", 1, "wants symbol"),
    ],
)
def test_a_bad_wave_in_csv_is_refused_by_line_and_column(
    run: Run, data: Path, text: str, line: int, field: str
) -> None:
    wave = data / "bad.csv"
    wave.write_text(text)
    error = refused(run, data, "--wave", wave)
    assert error.startswith(f"trailing: {wave}, line {line}: ")
    assert field in error


POSITION = '{"symbol": "AAA/BTC:BTC", "side": "long", "quantity": 10, "entry_price": 100.5, "opened_at": "2018-01-10T05:10:00Z"}'


@pytest.mark.parametrize(
    ("text", "line", "field"),
    [
        (f"[\n{POSITION},\n{POSITION.replace('10,', 'true,', 1).replace('AAA', 'BBB')}\n]", 3, "quantity got True"),
        (f"[{POSITION.replace('05:10:00Z', 'noon')}]", 1, "opened_at got '2018-01-10Tnoon'"),
        (f"[{POSITION.replace('05:10:00Z', '05:10:00')}]", 1, "opened_at got"),
        (f"[{POSITION}\n {POSITION}]", 2, "expecting ',' or ']'"),
        (f"[{POSITION}", 1, "expecting ',' or ']'"),
        (f"[\n{POSITION[:-1]}\n\n", 4, "it is no JSON"),
        (f"[{POSITION}]\n[]", 2, "more behind the list"),
        ("[\n3]", 2, "position got"),
        ("{}", 1, "wants a list"),
        ("[]", 1, "wants at least one"),
        (f"[{POSITION.replace('side', 'site')}]", 1, "wants side"),
    ],
)
def test_a_bad_wave_in_json_is_refused_by_line_and_field(
    run: Run, data: Path, text: str, line: int, field: str
) -> None:
    wave = data / "bad.json"
    wave.write_text(text)
    error = refused(run, data, "--wave", wave)
    assert error.startswith(f"trailing: {wave}, line {line}: ")
    assert field in error


@pytest.mark.parametrize(
    ("text", "line", "field"),
    [
        ('initial_stop = "2%"\nexit_grace =\n', None, "line 2"),
        ("initial_stop = 2.0\n", 1, "initial_stop got 2.0"),
        ('\ninitial_stop = "200%"\n', 2, "initial_stop got"),
        ('initial_stop = "2%"\n\nfoo = 1\n', 3, "unknown field `foo`"),
        ('initial_stop = "2%"\n[pacing]\nmin_interval = "soon"\n', 3, "$.pacing.min_interval"),
        ('initial_stop = "2%"\n[pacing]\nmin_interval = -1\n', 3, "min_interval got -1"),
        (
            'initial_stop = "2%"\n[[rules]]\ntype = "Callback"\ndistance = "1%"\n[[rules]]\ntype = "Callback"\ndistance = "0%"\n',
            7,
            "distance got",
        ),
        ('initial_stop = "2%"\n[[rules]]\ntype = "Nope"\n', 3, "'Nope'"),
        ('initial_stop = "2%"\nretry_for = 2020-01-01\n', 2, "retry_for got '2020-01-01'"),
        ("", None, "initial_stop"),
    ],
)
def test_a_bad_plan_is_refused_by_line_and_field(run: Run, data: Path, text: str, line: int | None, field: str) -> None:
    plan = data / "plan.toml"
    plan.write_text(text)
    error = refused(run, data, "--wave", data / "wave.csv", "--plan", plan)
    assert error.startswith(f"trailing: {plan}{'' if line is None else f', line {line}'}: ")
    assert field in error


def test_a_bad_price_late_in_a_file_is_refused_before_anything_is_begun(run: Run, data: Path) -> None:
    prices = data / "bbb-btc-5m.csv"
    lines = prices.read_text().splitlines()
    lines[100] = lines[100].replace(",", ",-", 1)
    prices.write_text("\n".join(lines))
    error = refused(run, data, "--wave", data / "wave.csv")
    assert error.startswith(f"trailing: {prices}, line 101: open got '-")


FIRST_PRICE, LAST_PRICE = 1_515_560_100_000, 1_515_596_999_000  # of each file: the bars of 04:55 to 15:05 UTC


@pytest.mark.parametrize(
    ("opened_at_ms", "written"),
    [
        (1_515_561_000, "1515561000 ms (1970-01-18T12:59:21+00:00)"),  # seconds
        (FIRST_PRICE - 1, "1515560099999 ms (2018-01-10T04:54:59.999000+00:00)"),
        (LAST_PRICE + 1, "1515596999001 ms (2018-01-10T15:09:59.001000+00:00)"),
    ],
)
def test_a_position_opened_before_its_first_price_or_after_the_last_is_refused(
    run: Run, data: Path, opened_at_ms: int, written: str
) -> None:
    wave, prices = data / "wave.csv", data / "bbb-btc-5m.csv"
    wave.write_text(wave.read_text().replace("short,5,200,1515561000000", f"short,5,200,{opened_at_ms}"))
    assert refused(run, data, "--wave", wave) == (
        f"trailing: {wave}: opened_at of BBB/BTC:BTC short got {written}, wants a time in {prices}, "
        "from 1515560100000 ms (2018-01-10T04:55:00+00:00) to 1515596999000 ms (2018-01-10T15:09:59+00:00)\n"
    )


def test_both_positions_of_a_symbol_are_to_be_opened_between_its_prices(run: Run, data: Path) -> None:
    wave = data / "wave.csv"
    wave.write_text(f"{wave.read_text()}AAA/BTC:BTC,short,10,100,{LAST_PRICE + 1}\n")
    assert "opened_at of AAA/BTC:BTC short got" in refused(run, data, "--wave", wave, "--candles", "high-first")


@pytest.mark.parametrize("opened_at_ms", [FIRST_PRICE, FIRST_PRICE + 1, LAST_PRICE])
def test_a_position_opened_at_or_inside_the_first_bar_or_at_the_last_price_is_replayed(
    run: Run, data: Path, opened_at_ms: int
) -> None:
    wave = data / "one.csv"
    wave.write_text(f"{HEADER}\nAAA/BTC:BTC,long,10,100,{opened_at_ms}\n")
    assert run("run", "--paper", "--wave", wave, "--prices", data).code == 0


def test_a_symbol_without_prices_is_refused_with_the_name_that_its_file_should_have(run: Run, data: Path) -> None:
    (data / "ccc-btc-5m.csv").unlink()
    error = refused(run, data, "--wave", data / "wave.csv")
    assert "no file for CCC/BTC:BTC, wants ccc-btc-5m.csv or ccc-btc-trades.csv" in error


def test_a_symbol_with_several_files_is_refused_until_one_is_chosen(run: Run, data: Path) -> None:
    candles = data / "aaa-btc-5m.csv"
    other = data / "AAA-BTC-BTC-5m.csv"
    other.write_text(candles.read_text())
    assert "several files for AAA/BTC:BTC" in refused(run, data, "--wave", data / "wave.csv")
    words = ("run", "--paper", "--wave", data / "wave.csv", "--prices", data)
    assert run(*words, "--prices", f"AAA/BTC:BTC={other}").code == 0


@pytest.mark.parametrize(
    ("prices", "why"),
    [
        ("nowhere", "does not exist"),
        ("AAA/BTC:BTC=nowhere.csv", "does not exist"),
        ("ZZZ/BTC:BTC={data}/aaa-btc-5m.csv", "not in the wave"),
        ("AAA/BTC:BTC={data}/wave.csv", "wants a name that ends in"),
        ("AAA/BTC:BTC={data}", "wants a file"),
    ],
)
def test_prices_that_can_not_be_meant_are_refused(run: Run, data: Path, prices: str, why: str) -> None:
    error = refused(run, data, "--wave", data / "wave.csv", "--prices", prices.format(data=data))
    assert why in error


@pytest.mark.parametrize(
    "words",
    [
        ("--speed", "0"),
        ("--speed", "fast"),
        ("--speed", "inf"),
        ("--deadline", "0"),
        ("--latency", "-1"),
        ("--candles", "middle-first"),
        ("--bogus", "1"),
    ],
)
def test_an_option_that_can_not_be_right_is_refused(run: Run, data: Path, words: tuple[str, ...]) -> None:
    assert words[0].strip("-") in refused(run, data, "--wave", data / "wave.csv", *words)


def test_a_file_that_is_not_there_is_named(run: Run, data: Path) -> None:
    assert "nowhere.toml can't be read" in refused(run, data, "--wave", data / "wave.csv", "--plan", "nowhere.toml")
    assert "nowhere.csv can't be read" in refused(run, data, "--wave", "nowhere.csv")


def test_a_store_that_is_none_is_refused(run: Run, data: Path) -> None:
    words = ("run", "--paper", "--wave", data / "wave.csv", "--prices", data, "--store")
    assert run(*words, "state.db").code == 2
    (data / "text.db").write_text("this is no database, but a text that is longer than a header of one would be" * 9)
    ran = run(*words, f"sqlite:///{data}/text.db")
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert f"{data}/text.db" in ran.err


def test_a_run_wants_to_be_told_that_it_is_on_paper(run: Run, data: Path) -> None:
    ran = run("run", "--wave", data / "wave.csv", "--prices", data)
    assert (ran.code, ran.out) == (2, "")
    assert "--paper" in ran.err


@pytest.mark.parametrize("words", [("frobnicate",), ("run",), ("report", "--since", "yesterday"), ("status", "x")])
def test_words_that_are_no_command_get_one_line(run: Run, words: tuple[str, ...]) -> None:
    ran = run(*words)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
