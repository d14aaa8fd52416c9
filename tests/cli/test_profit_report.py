"""An unknown profit is shown as unknown, and the totals say what they leave out."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from sqlite3 import connect
from typing import Any

import pytest
import trio
from rich.console import Console

from trailing import Position, UnprotectedTime, open_store
from trailing.cli.position_summaries import PositionSummaries
from trailing.cli.practice.progress import show_progress
from trailing.cli.tables import live_table
from trailing.events import Event, PositionClosed, PositionReleased, StopFilled, StopOpened
from trailing.stores.port import AppendEvent

Run = Callable[..., Any]

START = datetime(2026, 1, 1, tzinfo=UTC)
KNOWN, UNSEEN, OLD, HALF, RELEASED = (f"{coin}/USDT:USDT" for coin in ("AAA", "BBB", "CCC", "DDD", "EEE"))


def at(seconds: float, symbol: str) -> dict[str, Any]:
    return {"at": START + timedelta(seconds=seconds), "symbol": symbol, "side": "long"}


def opened(symbol: str) -> StopOpened:
    price = Decimal(98)
    return StopOpened(**at(2, symbol), quantity=Decimal(2), price=price, client_order_id="tr1", unprotected_seconds=2.0)


def filled(symbol: str, quantity: str) -> StopFilled:
    quantity_filled = Decimal(quantity)
    return StopFilled(
        **at(90, symbol), quantity=quantity_filled, price=Decimal(98), left=2 - quantity_filled, client_order_id="tr1"
    )


def closed(symbol: str, quantity: str, profit: str | None) -> PositionClosed:
    return PositionClosed(
        **at(95, symbol),
        entry_price=Decimal(100),
        quantity=Decimal(quantity),
        profit=None if profit is None else Decimal(profit),
        moves=0,
        unprotected_seconds=2.0,
        unprotected_time=UnprotectedTime(opening=2.0),
        reason="the stop was filled",
    )


EVENTS: list[Event] = [
    *(opened(symbol) for symbol in (KNOWN, UNSEEN, OLD, HALF, RELEASED)),
    *(filled(KNOWN, "2"), closed(KNOWN, "2", "-4")),
    closed(UNSEEN, "0", None),
    closed(OLD, "0", "0"),
    *(filled(HALF, "1"), closed(HALF, "1", None)),
    PositionReleased(**at(96, RELEASED), stop_is_live=True),
]


@pytest.fixture
def store(tmp_path: Path) -> str:
    """Five positions; only one has a known profit."""
    url = f"sqlite:///{tmp_path}/state.db"

    async def fill() -> None:
        async with open_store(url) as opened_store:
            await opened_store.commit([AppendEvent("paper", "default", event) for event in EVENTS])

    trio.run(fill)
    make_old(tmp_path / "state.db")
    return url


def make_old(database: Path) -> None:
    """Write a profit of 0 into an event, as older versions did for an unknown profit."""
    with closing(connect(database)) as connection, connection:
        changed = connection.execute(
            "UPDATE events SET body = json_set(body, '$.profit', '0')"
            " WHERE json_extract(body, '$.type') = 'PositionClosed' AND json_extract(body, '$.symbol') = ?",
            (OLD,),
        )
        assert changed.rowcount == 1


def test_a_report_in_json_has_null_for_an_unknown_profit_and_counts_what_the_totals_leave_out(
    run: Run, store: str
) -> None:
    (account,) = json.loads(run("report", "--store", store, "--json").out)["accounts"]
    rows = {row["symbol"]: (row["state"], row["profit"], row["exit_price"]) for row in account["report"]["positions"]}
    assert rows == {
        KNOWN: ("closed", "-4", "98"),
        UNSEEN: ("closed", None, None),
        OLD: ("closed", None, None),
        HALF: ("closed", None, "98"),
        RELEASED: ("released", None, None),
    }
    totals = account["report"]["totals"]
    assert (totals["profit"], totals["profit_unknown"]) == ({"USDT": "-4"}, 3)


def test_a_report_for_people_says_unknown_and_what_the_totals_leave_out(run: Run, store: str) -> None:
    lines = run("report", "--store", store).out.splitlines()
    words = {line.split()[0]: line.split()[1:] for line in lines if "/USDT:USDT" in line}
    assert words[KNOWN][:6] == ["long", "closed", "2", "100", "98", "-4"]
    assert words[UNSEEN][:6] == ["long", "closed", "2", "100", "unknown", "unknown"]
    assert words[OLD][:6] == words[UNSEEN][:6]
    assert words[HALF][:6] == ["long", "closed", "2", "100", "98", "unknown"]
    assert "unknown" not in words[RELEASED]
    assert lines[-1] == "the profit leaves out 3 closed positions with an unknown exit price"


def test_totals_without_a_known_profit_are_unknown_and_not_zero(run: Run, store: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/other.db"

    async def fill() -> None:
        async with open_store(url) as opened_store:
            await opened_store.commit(
                [AppendEvent("paper", "default", event) for event in (opened(UNSEEN), closed(UNSEEN, "0", None))]
            )

    trio.run(fill)
    *_, totals, note = run("report", "--store", url).out.splitlines()
    assert totals.split()[:5] == ["1", "position", "1", "closed", "unknown"]
    assert note == "the profit leaves out 1 closed position with an unknown exit price"


def test_a_report_with_only_known_profits_has_no_such_note(replay: Run) -> None:
    assert "leaves out" not in replay().out
    assert json.loads(replay("--json").out)["report"]["totals"]["profit_unknown"] == 0


def test_events_say_null_in_json_and_unknown_to_people(run: Run, store: str) -> None:
    events = [json.loads(line)["event"] for line in run("events", "--store", store, "--json").out.splitlines()]
    assert [event["profit"] for event in events if event["type"] == "PositionClosed"] == ["-4", None, None, None]
    lines = [line for line in run("events", "--store", store).out.splitlines() if "PositionClosed" in line]
    assert [("profit=unknown" in line, "profit=-4" in line) for line in lines] == [
        (False, True),
        (True, False),
        (True, False),
        (True, False),
    ]


async def test_the_progress_of_a_replay_shows_an_unknown_profit(capsys: pytest.CaptureFixture[str]) -> None:
    summaries = PositionSummaries([Position(UNSEEN, "long", Decimal(2), Decimal(100), START)])
    async with show_progress(summaries, {}, "error") as on_event:
        on_event(opened(UNSEEN))
        on_event(closed(UNSEEN, "0", None))
    assert "BBB/USDT:USDT long: closed, profit unknown, 0 moves: the stop was filled" in capsys.readouterr().err
    console = Console(width=200)
    with console.capture() as shown:
        console.print(live_table(summaries, {}))
    assert shown.get().count("unknown") == 2
