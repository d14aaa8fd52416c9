"""Texts from outside can't send escape sequences to a terminal or forge a line, wherever the command shows them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog
import trio

from trailing import Market, Percent, Position, TrailPlan, open_store
from trailing.core.evidence import Timing
from trailing.core.position import PositionState
from trailing.core.ratchet import Ratchet
from trailing.core.record import save_position
from trailing.events import Alarm, Event, OpeningFailed, PositionClosed
from trailing.logs import configure_logging
from trailing.stores.port import AddIntent, AppendEvent, Intent, SaveStop

Run = Callable[..., Any]

EVIL = "\x1b[31m\r\nforged\u202e\u2028\x9b[bold]"
SYMBOL = "A\x1b[31m\u202e[bold]/BTC:BTC"
"""A symbol that is taken, since it has no blanks."""
START = datetime(2026, 1, 1, tzinfo=UTC)


def check_shown(*texts: str) -> None:
    """Check that everything can be printed, and that no line begins with what the evil text has after its line end."""
    for text in texts:
        for line in text.split("\n"):
            assert line.isprintable(), line
            assert not line.startswith("forged")


@pytest.mark.parametrize(
    "words",
    [
        (EVIL,),
        (f"--{EVIL}",),
        ("status", EVIL),
        ("status", f"--{EVIL}"),
        ("status", "--store", EVIL),
        ("status", "--store", f"sqlite:///{EVIL}"),
        ("status", "--store", f"{EVIL}:///x"),
        ("events", "--since", EVIL),
        ("prune", "--older", EVIL),
        ("web", "--store", f"sqlite:///{EVIL}"),
        ("web", "--token-file", EVIL),
        ("demo", "--log-level", EVIL),
        ("doctor", EVIL),
        ("doctor", "bybit", "--symbol", EVIL),
        ("doctor", "bybit", "--credentials", EVIL),
        ("recover", "--exchange", EVIL),
        ("recover", "--paper", "--store", f"sqlite:///{EVIL}"),
        ("run", "--paper", "--wave", EVIL, "--prices", EVIL),
        ("completion", EVIL),
    ],
)
def test_an_option_is_escaped_in_the_one_line_that_refuses_it(run: Run, words: tuple[str, ...]) -> None:
    ran = run(*words)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    check_shown(ran.err)


@pytest.mark.parametrize("text", ["\x1b[31m", "\r", "\n", "\u202e", "\u2028", "\x9b"])
@pytest.mark.parametrize("field", ["symbol", "side", "quantity", "opened_at", "stop_price", "id", "more"])
def test_a_field_of_a_wave_is_escaped_in_the_line_that_refuses_it(run: Run, data: Path, field: str, text: str) -> None:
    position = {"symbol": "AAA/BTC:BTC", "side": "long", "quantity": "10", "entry_price": "0", "opened_at": "x"}
    wave = data / "wave.json"
    wave.write_text(json.dumps([position | {field: f"a{text}b"}]))
    ran = run("run", "--paper", "--wave", wave, "--prices", data)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    check_shown(ran.err)


def test_a_file_name_is_escaped_in_errors_and_messages(run: Run, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / EVIL
    folder.mkdir()
    wave, plan = folder / "wave.csv", folder / "plan.toml"
    wave.write_text("symbol\n")
    plan.write_text("x\n")
    for words in (
        ("--wave", wave, "--prices", data),
        ("--wave", data / "wave.csv", "--prices", folder),
        ("--wave", data / "wave.csv", "--prices", data, "--plan", plan),
        ("--wave", data / "wave.csv", "--prices", f"AAA/BTC:BTC={wave}", "--prices", data),
    ):
        ran = run("run", "--paper", *words)
        assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
        check_shown(ran.err)


def test_the_address_of_a_store_is_escaped_when_a_run_was_interrupted(
    replay: Run, tmp_path: Path, interrupted_after: Callable[[int], Any]
) -> None:
    with interrupted_after(5):
        ran = replay("--store", f"sqlite:///{tmp_path}/{EVIL}.db")
    assert "state saved in sqlite:///" in ran.err
    check_shown(ran.out, ran.err)


def test_a_symbol_is_escaped_in_the_progress_the_tables_and_the_json_of_a_run(
    run: Run, data: Path, tmp_path: Path
) -> None:
    wave, url = data / "wave.csv", f"sqlite:///{tmp_path}/state.db"
    wave.write_text(wave.read_text().replace("CCC/BTC:BTC", SYMBOL))
    words = ("run", "--paper", "--wave", wave, "--prices", data, "--prices", f"{SYMBOL}={data}/ccc-btc-5m.csv")
    ran = run(*words, "--store", url, "--log-level", "debug")
    assert ran.code == 0
    assert r"A\x1b[31m\u202e[bold]/BTC:BTC long: protected" in ran.err
    assert r"A\x1b[31m\u202e[bold]/BTC:BTC" in ran.out
    check_shown(ran.out, ran.err)
    for command in ("status", "events", "report"):
        for further in ((), ("--json",)):
            ran = run(command, "--store", url, *further)
            assert r"\u202e" in ran.out
            check_shown(ran.out, ran.err)
    rows = json.loads(run("report", "--store", url, "--json").out)["accounts"][0]["report"]["positions"]
    assert SYMBOL in {row["symbol"] for row in rows}


@pytest.fixture
def store(tmp_path: Path) -> str:
    """A store that a malicious venue has filled, as it were: account, events, a record and an intent."""
    url = f"sqlite:///{tmp_path}/state.db"
    hundred = Decimal(100)
    about: dict[str, Any] = {"at": START, "symbol": "AAA/USDT:USDT", "side": "long"}
    position = Position("AAA/USDT:USDT", "long", hundred, hundred, START, id=EVIL)
    plan = TrailPlan(initial_stop=Percent("2"))
    record = save_position(PositionState(Ratchet(position, plan, Market(position.symbol)), Timing(), 0.0), 0.0)
    closed = PositionClosed(
        **about, entry_price=hundred, quantity=hundred, profit=None, moves=1, reason=EVIL, unprotected_seconds=0.0
    )
    intent = Intent(
        "paper",
        EVIL,
        symbol="AAA/USDT:USDT",
        side="long",
        identity=position.identity,
        client_order_id=EVIL,
        purpose="stop",
        quantity=hundred,
        price=hundred,
        at=START,
    )
    events: list[Event] = [
        Alarm(at=START, what=EVIL, detail=EVIL),
        OpeningFailed(**about, error=EVIL, unresolved=True),
        closed,
    ]

    async def fill() -> None:
        async with open_store(url) as opened:
            await opened.commit([AppendEvent("paper", EVIL, event) for event in events])
            await opened.commit([SaveStop("paper", EVIL, msgspec.structs.replace(record, state="unprotected"))])
            await opened.commit([AddIntent(intent)])

    trio.run(fill)
    return url


@pytest.mark.parametrize("command", ["status", "events", "report"])
def test_what_a_store_has_is_escaped_in_tables_lines_and_json(run: Run, store: str, command: str) -> None:
    ran = run(command, "--store", store)
    assert ran.code == 0
    assert r"\x1b[31m\r\nforged\u202e\u2028\x9b[bold]" in ran.out
    check_shown(ran.out)
    shown = run(command, "--store", store, "--json").out
    check_shown(shown)
    documents = [json.loads(text) for text in (shown.splitlines() if command == "events" else [shown])]
    assert EVIL in json.dumps(documents, ensure_ascii=False).replace(json.dumps(EVIL, ensure_ascii=False)[1:-1], EVIL)


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_a_log_entry_is_one_line_and_a_traceback_is_indented(as_json: bool) -> None:
    stream = io.StringIO()
    configure_logging(json=as_json, stream=stream)
    log = structlog.get_logger()
    log.warning(
        EVIL, **{EVIL: EVIL, "nested": {EVIL: [EVIL]}, "none": None, "price": Decimal("0.10"), "seconds": 1 / 3}
    )
    (line, *more) = stream.getvalue().splitlines()
    assert more == []
    check_shown(line)
    if as_json:
        assert json.loads(line)[EVIL] == EVIL
    else:
        assert "price=0.10" in line
        assert "seconds=0.333" in line
        assert "none" not in line
        assert "Decimal" not in line
    try:
        raise OSError(EVIL)
    except OSError:
        log.exception("failed")
    check_shown(stream.getvalue())
