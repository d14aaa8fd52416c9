"""A bad file is refused with one line that names file, line and field, exit code 2, and no change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]

HEADER = "symbol,side,quantity,entry_price,opened_at_ms"
GOOD = "AAA/BTC:BTC,long,10,100,1515561000000"


def refused(run: Run, data: Path, *words: object) -> str:
    """Return the line that a run was refused with, after checking that nothing was written."""
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
        (f"{HEADER}\nAAA/BTC:BTC,long,10,-1,1515561000000\n", 2, "entry_price got -1, wants"),
        (f"{HEADER}\nAAA/BTC:BTC,long,1E+999,1,1515561000000\n", 2, "quantity got 1E+999, wants"),
        (f"{HEADER}\nAAA/BTC:BTC,long,10,NaN,1515561000000\n", 2, "entry_price got"),
        (f"{HEADER}\nAAA/BTC:BTC,up,10,100,1515561000000\n", 2, "side got 'up'"),
        (f"{HEADER}\nAAABTC,long,10,100,1515561000000\n", 2, "symbol got 'AAABTC'"),
        (f"{HEADER}\nAAA/BTC:BTC,long,10,100,2018-01-10\n", 2, "opened_at_ms got '2018-01-10'"),
        (f"{HEADER}\nAAA/BTC:BTC,long,10,100,{'9' * 30}\n", 2, "opened_at_ms got"),
        (f"{HEADER},stop_price\n{GOOD},x\n", 2, "stop_price got 'x'"),
        (f"{HEADER}\n{GOOD},1\n", 2, "the line has 6 values and the header 5"),
        (f"{HEADER}\n\n{GOOD}\n{GOOD}\n", 4, "AAA/BTC:BTC long is already in line 3"),
        ("symbol,side,quantity,opened_at_ms\n", 1, "the field entry_price is missing"),
        ("symbol,side,quantity,entry_price\n", 1, "exactly one of the fields opened_at_ms and opened_at"),
        (f"{HEADER},leverage\n{GOOD},3\n", 1, "unknown field 'leverage'. The fields are entry_price, id,"),
        (f"{HEADER}\n".replace("quantity", "quantitiy"), 1, "unknown field 'quantitiy'. Did you mean quantity?"),
        (f"{HEADER}\n", None, "has no position"),
        ("", None, "is empty"),
        (f"{HEADER},quantity\n{GOOD},20\n", 1, "the field quantity is there twice"),
    ],
)
def test_a_bad_wave_in_csv_is_refused_by_line_and_column(
    run: Run, data: Path, text: str, line: int | None, field: str
) -> None:
    wave = data / "bad.csv"
    wave.write_text(text)
    error = refused(run, data, "--wave", wave)
    assert error.startswith(f"trailing: {wave} " if line is None else f"trailing: {wave}, line {line}: ")
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
        (f"[\n{POSITION[:-1]}\n\n", 4, "not JSON"),
        (f'[\n{POSITION[:-1]}, "quantity": 20}}]', 2, "the field quantity is there twice"),
        (f'[{POSITION[:-1]}, "id": {{"a": 1, "a": 2}}}}]', 1, "the field a is there twice"),
        (f'[{POSITION[:-1]}, "id": "a\\ud800"}}]', 1, "id got 'a\\ud800', wants a text that is not empty and has no"),
        (" \n", None, "is empty"),
        (f"[{POSITION}]\n[]", 2, "text after the list"),
        ("[\n3]", 2, "position got"),
        ("{}", 1, "has to be a list"),
        ("[]", None, "has no position"),
        (f"[{POSITION.replace('side', 'site')}]", 1, "unknown field 'site'. Did you mean side?"),
        (f"[\n{'[' * 100_000}", 2, "nested too deeply"),
        (f'[{POSITION[:-1]}, "id": {"[" * 100_000}', 1, "nested too deeply"),
    ],
)
def test_a_bad_wave_in_json_is_refused_by_line_and_field(
    run: Run, data: Path, text: str, line: int | None, field: str
) -> None:
    wave = data / "bad.json"
    wave.write_text(text)
    error = refused(run, data, "--wave", wave)
    assert error.startswith(f"trailing: {wave} " if line is None else f"trailing: {wave}, line {line}: ")
    assert field in error


@pytest.mark.parametrize(
    ("text", "line", "field"),
    [
        ('initial_stop = "2%"\nexit_grace =\n', None, "line 2"),
        ("initial_stop = 2.0\n", 1, "initial_stop got 2.0"),
        ('\ninitial_stop = "200%"\n', 2, "initial_stop got"),
        ('initial_stop = "2%"\n\nfoo = 1\n', 3, "unknown field `foo`"),
        ('initial_stop = "2%"\ntriger = "mark"\n', 2, "unknown field `triger`. Did you mean trigger?"),
        (
            'initial_stop = "2%"\n[pacing]\nmin_intervall = 1\n',
            3,
            "plan.pacing has the unknown field `min_intervall`. Did you mean min_interval?",
        ),
        (f"initial_stop = {'[' * 100_000}", None, "nested too deeply"),
        (f"retry_for = {'9' * 5000}", None, "not TOML"),
        (
            'initial_stop = "2%"\n[pacing]\nmin_interval = "soon"\n',
            3,
            "plan.pacing.min_interval got 'soon', wants a number",
        ),
        ('initial_stop = "2%"\n[pacing]\nmin_interval = -1\n', 3, "min_interval got -1"),
        (
            'initial_stop = "2%"\n[[rules]]\ntype = "Callback"\ndistance = "1%"\n[[rules]]\ntype = "Callback"\ndistance = "0%"\n',
            7,
            "distance got",
        ),
        ('initial_stop = "2%"\n[[rules]]\ntype = "Nope"\n', 3, "'Nope'"),
        ('initial_stop = "2%"\n[[rules]]\ntype = "Calback"\n', 3, "Did you mean Callback?"),
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


def test_a_bad_price_late_in_a_file_is_refused_before_the_replay_starts(run: Run, data: Path) -> None:
    prices = data / "bbb-btc-5m.csv"
    lines = prices.read_text().splitlines()
    lines[100] = lines[100].replace(",", ",-", 1)
    prices.write_text("\n".join(lines))
    error = refused(run, data, "--wave", data / "wave.csv")
    assert error.startswith(f"trailing: {prices}, line 101: open got '-")


FIRST_OPEN, LAST_OPEN = 1_515_560_100_000, 1_515_596_700_000  # of each file: the bars of 04:55 to 15:05 UTC


@pytest.mark.parametrize(
    ("opened_at_ms", "written"),
    [
        (1_515_561_000, "1515561000 ms (1970-01-18T12:59:21+00:00)"),  # seconds
        (FIRST_OPEN - 1, "1515560099999 ms (2018-01-10T04:54:59.999000+00:00)"),
        (LAST_OPEN + 1, "1515596700001 ms (2018-01-10T15:05:00.001000+00:00)"),
    ],
)
def test_a_position_opened_before_its_first_open_or_after_the_last_is_refused(
    run: Run, data: Path, opened_at_ms: int, written: str
) -> None:
    wave, prices = data / "wave.csv", data / "bbb-btc-5m.csv"
    wave.write_text(wave.read_text().replace("short,5,200,1515561000000", f"short,5,200,{opened_at_ms}"))
    hint = ". It looks like seconds instead of milliseconds" if opened_at_ms < FIRST_OPEN / 100 else ""
    assert refused(run, data, "--wave", wave) == (
        f"trailing: {wave}: BBB/BTC:BTC short: opened_at is {written}; {prices} has candles that open "
        f"from 1515560100000 ms (2018-01-10T04:55:00+00:00) to 1515596700000 ms (2018-01-10T15:05:00+00:00){hint}\n"
    )


def test_both_positions_of_a_symbol_have_to_be_opened_between_its_prices(run: Run, data: Path) -> None:
    wave = data / "wave.csv"
    wave.write_text(f"{wave.read_text()}AAA/BTC:BTC,short,10,100,{LAST_OPEN + 1}\n")
    assert "AAA/BTC:BTC short: opened_at is" in refused(run, data, "--wave", wave, "--candles", "high-first")


@pytest.mark.parametrize("opened_at_ms", [FIRST_OPEN, FIRST_OPEN + 1, LAST_OPEN])
def test_a_position_opened_at_or_inside_the_first_bar_or_at_the_last_open_is_replayed(
    run: Run, data: Path, opened_at_ms: int
) -> None:
    wave = data / "one.csv"
    wave.write_text(f"{HEADER}\nAAA/BTC:BTC,long,10,100,{opened_at_ms}\n")
    assert run("run", "--paper", "--wave", wave, "--prices", data).code == 0


def test_a_symbol_without_prices_is_refused_with_the_name_that_its_file_should_have(run: Run, data: Path) -> None:
    (data / "ccc-btc-5m.csv").unlink()
    error = refused(run, data, "--wave", data / "wave.csv")
    assert "no file for CCC/BTC:BTC; name it ccc-btc-5m.csv or ccc-btc-trades.csv" in error


def test_a_symbol_with_several_files_is_refused_until_one_is_chosen(run: Run, data: Path) -> None:
    candles = data / "aaa-btc-5m.csv"
    other = data / "AAA-BTC-BTC-5m.csv"
    other.write_text(candles.read_text())
    error = refused(run, data, "--wave", data / "wave.csv")
    assert f"several files for AAA/BTC:BTC: {other}, {candles};" in error
    words = ("run", "--paper", "--wave", data / "wave.csv", "--prices", data)
    assert run(*words, "--prices", f"AAA/BTC:BTC={other}").code == 0


@pytest.mark.parametrize(
    ("prices", "why"),
    [
        ("nowhere", "does not exist"),
        ("AAA/BTC:BTC=nowhere.csv", "does not exist"),
        ("ZZZ/BTC:BTC={data}/aaa-btc-5m.csv", "not in the wave"),
        ("AAB/BTC:BTC={data}/aaa-btc-5m.csv", "AAB/BTC:BTC is not in the wave. Did you mean AAA/BTC:BTC?"),
        ("AAA/BTC:BTC={data}/wave.csv", "wave.csv, line 1: header got"),
        ("AAA/BTC:BTC=/dev/null", "the name of /dev/null has to end in .csv or .parquet"),
        ("AAA/BTC:BTC={data}", "is a directory; give a file"),
        ("=nowhere.csv", "--prices got '=nowhere.csv', wants a directory, a file, or SYMBOL=FILE"),
        ("AAA/BTC:BTC=", "--prices got 'AAA/BTC:BTC=', wants a directory, a file, or SYMBOL=FILE"),
    ],
)
def test_prices_that_fit_no_position_are_refused(run: Run, data: Path, prices: str, why: str) -> None:
    error = refused(run, data, "--wave", data / "wave.csv", "--prices", prices.format(data=data))
    assert why in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--speed", "0"), "--speed got '0', wants a number above 0, or 'max'"),
        (("--speed", "fast"), "--speed got 'fast'"),
        (("--speed", "inf"), "--speed got 'inf'"),
        (("--deadline", "0"), "--deadline got 0.0"),
        (("--deadline", "soon"), "run: --deadline: 'soon' is not a number"),
        (("--deadline",), "run: --deadline needs a value. See trailing run --help"),
        (("--latency=-1",), "--latency got -1.0"),
        (("--candles", "hihg-first"), "--candles: 'hihg-first' is not one of both, high-first"),
        (("--candles", "hihg-first"), "Did you mean high-first?"),
        (("--bogus", "1"), "run: unknown option '--bogus'. See trailing run --help"),
        (("--stroe=1",), "run: unknown option '--stroe'. Did you mean --store?"),
        (("--new=1",), "run: --new takes no value"),
        (("--speed", "1", "--speed=2"), "run: --speed is given twice. See trailing run --help"),
        (("extra",), "run: unexpected argument 'extra'"),
    ],
)
def test_an_option_that_can_not_be_right_is_refused_by_its_name(
    run: Run, data: Path, words: tuple[str, ...], message: str
) -> None:
    assert message in refused(run, data, "--wave", data / "wave.csv", *words)


def test_the_file_of_a_bot_is_no_plan_file(run: Run, data: Path) -> None:
    bot = data / "trailing.toml"
    bot.write_text('[venue]\nname = "paper"\n[plan]\ninitial_stop = "2%"\n')
    error = refused(run, data, "--wave", data / "wave.csv", "--plan", bot)
    assert error.startswith(f"trailing: {bot} is the file of a bot, whose plan is in its section [plan]. ")


def test_values_of_the_library_are_written_without_its_python(run: Run, data: Path) -> None:
    plan, wave = data / "plan.toml", data / "wave.json"
    plan.write_text('initial_stop = "2%"\nmax_jump = "120%"\n')
    assert "TrailPlan.max_jump got 120%, wants" in refused(run, data, "--wave", data / "wave.csv", "--plan", plan)
    wave.write_text(f"[{POSITION.replace('05:10:00Z', '05:10:00')}]")
    assert "opened_at got 2018-01-10T05:10:00, wants an aware datetime in UTC" in refused(run, data, "--wave", wave)
    wave.write_text(f"[{POSITION.replace('05:10:00Z', '05:10:00+01:00')}]")
    assert "opened_at got " in refused(run, data, "--wave", wave)


@pytest.mark.parametrize("command", ["status", "recover --paper", "prune --older 1d"])
def test_a_store_that_is_a_directory_or_missing_is_named_so(run: Run, tmp_path: Path, command: str) -> None:
    ran = run(*command.split(), "--store", f"sqlite:///{tmp_path}")
    assert (ran.code, ran.err) == (
        2,
        f"trailing: --store sqlite:///{tmp_path}: {tmp_path} is a directory; give a file\n",
    )
    ran = run(*command.split(), "--store", f"sqlite:///{tmp_path}/none.db")
    assert (ran.code, ran.err.endswith(f": there is no file {tmp_path}/none.db\n")) == (2, True)


def test_a_run_into_a_directory_is_refused(run: Run, data: Path) -> None:
    words = ("run", "--paper", "--wave", data / "wave.csv", "--prices", data, "--candles", "high-first")
    ran = run(*words, "--store", f"sqlite:///{data}")
    assert (ran.code, ran.err) == (2, f"trailing: --store sqlite:///{data}: {data} is a directory; give a file\n")


def test_pruning_up_to_a_time_to_come_is_refused(run: Run, replayed: Any, tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(replayed.database.read_bytes())
    ran = run("prune", "--store", f"sqlite:///{path}", "--older", "2999-01-01")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        "trailing: --older got '2999-01-01', wants a time in the past, because every event would be deleted\n"
    )
    assert run("events", "--store", f"sqlite:///{path}").out != ""


def test_a_missing_file_is_named(run: Run, data: Path) -> None:
    assert "nowhere.toml can't be read" in refused(run, data, "--wave", data / "wave.csv", "--plan", "nowhere.toml")
    assert "nowhere.csv can't be read" in refused(run, data, "--wave", "nowhere.csv")


def test_a_store_that_can_not_be_opened_is_refused(run: Run, data: Path) -> None:
    words = ("run", "--paper", "--wave", data / "wave.csv", "--prices", data, "--store")
    ran = run(*words, "state.db")
    assert (ran.code, ran.err.startswith("trailing: --store got an address without a scheme")) == (2, True)
    (data / "text.db").write_text("this is no database, but a text that is longer than a header of one would be" * 9)
    ran = run(*words, f"sqlite:///{data}/text.db")
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert f"{data}/text.db" in ran.err


@pytest.mark.parametrize(("option", "mebibytes"), [("--wave", 16), ("--plan", 1)])
def test_a_file_that_is_too_large_is_refused_by_its_size(run: Run, data: Path, option: str, mebibytes: int) -> None:
    large = data / "large"
    with large.open("wb") as file:
        file.truncate(mebibytes * 2**20 + 1)
    error = refused(run, data, *(() if option == "--wave" else ("--wave", data / "wave.csv")), option, large)
    assert error == f"trailing: {large} is larger than {mebibytes} MiB, the most that is read of such a file\n"


def test_a_file_that_is_no_text_is_refused_by_the_bad_byte(run: Run, data: Path) -> None:
    wave = data / "latin.csv"
    wave.write_bytes(b"symbol,side\nB\xfc")
    assert refused(run, data, "--wave", wave) == f"trailing: {wave} is not UTF-8 text: byte 0xfc at position 13\n"


def test_a_run_without_paper_is_refused(run: Run, data: Path) -> None:
    ran = run("run", "--wave", data / "wave.csv", "--prices", data)
    assert (ran.code, ran.out) == (2, "")
    assert "--paper" in ran.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("frobnicate",), "unknown command 'frobnicate'. See trailing --help"),
        (("stauts",), "unknown command 'stauts'. Did you mean status? See trailing --help"),
        (("--json", "status"), "the first word has to be a command, not '--json'"),
        (("run",), "run: --wave and --prices must be given. See trailing run --help"),
        (("prune",), "prune: --older must be given"),
        (("doctor",), "doctor: VENUE must be given"),
        (("doctor", "binanceusmd"), "VENUE: unknown venue 'binanceusmd'. Did you mean binanceusdm?"),
        (("report", "--since", "yesterday"), "--since got 'yesterday', wants a duration"),
        (("status", "x"), "status: unexpected argument 'x'"),
        (("completion", "csh"), "completion: SHELL: 'csh' is not one of bash, zsh, fish"),
    ],
)
def test_words_that_are_no_command_are_refused_in_one_line(run: Run, words: tuple[str, ...], message: str) -> None:
    ran = run(*words)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert ran.err.startswith(f"trailing: {message}")
