"""Unprotected seconds by cause, in the reports of `run` and `report`."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from trailing import Market, Percent, Position, TrailPlan, UnprotectedTime, open_store
from trailing.core.evidence import Timing
from trailing.core.position import PositionState
from trailing.core.ratchet import Ratchet
from trailing.core.record import save_position
from trailing.events import Event, PositionClosed, StopGone, StopMoved, StopOpened
from trailing.stores.port import AppendEvent, SaveStop

Run = Callable[..., Any]

START = datetime(2026, 1, 1, tzinfo=UTC)
HUNDRED = Decimal(100)


def at(seconds: float, symbol: str) -> dict[str, Any]:
    return {"at": START + timedelta(seconds=seconds), "symbol": symbol, "side": "long"}


def seconds_of(seconds: UnprotectedTime) -> dict[str, Any]:
    return {"unprotected_seconds": seconds.total, "unprotected_time": seconds}


def opened(seconds: float, symbol: str, unprotected_time: UnprotectedTime) -> StopOpened:
    return StopOpened(
        **at(seconds, symbol), quantity=HUNDRED, price=HUNDRED, client_order_id="tr1", **seconds_of(unprotected_time)
    )


def moved(seconds: float, symbol: str, unprotected_time: UnprotectedTime) -> StopMoved:
    return StopMoved(
        **at(seconds, symbol),
        previous=HUNDRED,
        price=HUNDRED,
        client_order_id="tr1",
        reason="it rose",
        **seconds_of(unprotected_time),
    )


@pytest.fixture
def store(tmp_path: Path) -> str:
    """A position that has ended, and an unprotected one whose record has more seconds than its events."""
    url = f"sqlite:///{tmp_path}/state.db"
    closed, unprotected = "AAA/USDT:USDT", "BBB/USDT:USDT"
    events: list[Event] = [
        opened(2, closed, UnprotectedTime(opening=2.0)),
        moved(60, closed, UnprotectedTime(move=0.5)),
        PositionClosed(
            **at(90, closed),
            entry_price=HUNDRED,
            quantity=HUNDRED,
            profit=Decimal(7),
            moves=1,
            reason="the stop was filled",
            **seconds_of(UnprotectedTime(opening=2.0, move=0.5, outage=4.25)),
        ),
        opened(3, unprotected, UnprotectedTime(opening=1.0, refused=2.0)),
        moved(60, unprotected, UnprotectedTime(move=0.125)),
        StopGone(**at(80, unprotected), client_order_id="tr1"),
    ]
    position = Position(unprotected, "long", HUNDRED, HUNDRED, START)
    plan = TrailPlan(initial_stop=Percent("2"))
    record = msgspec.structs.replace(
        save_position(PositionState(Ratchet(position, plan, Market(unprotected)), Timing(), 0.0), 0.0),
        state="unprotected",
        unprotected_time=UnprotectedTime(opening=1.0, move=0.125, refused=2.0, cancelled=10.0),
    )

    async def fill() -> None:
        async with open_store(url) as opened_store:
            await opened_store.commit([AppendEvent("paper", "default", event) for event in events])
            await opened_store.commit([SaveStop("paper", "default", record)])

    trio.run(fill)
    return url


def test_a_report_has_unprotected_seconds_by_cause_for_each_position_and_in_total(run: Run, store: str) -> None:
    (account,) = json.loads(run("report", "--store", store, "--json").out)["accounts"]
    closed, unprotected = account["report"]["positions"]
    nothing = {"opening": 0.0, "move": 0.0, "outage": 0.0, "refused": 0.0, "cancelled": 0.0}
    assert (closed["state"], closed["unprotected_seconds"]) == ("closed", 6.75)
    assert closed["unprotected_time"] == nothing | {"opening": 2.0, "move": 0.5, "outage": 4.25}
    assert (unprotected["state"], unprotected["unprotected_seconds"]) == ("unprotected", 13.125)
    assert unprotected["unprotected_time"] == nothing | {
        "opening": 1.0,
        "move": 0.125,
        "refused": 2.0,
        "cancelled": 10.0,
    }
    totals = account["report"]["totals"]
    assert totals["unprotected_seconds"] == 19.875
    assert totals["unprotected_time"] == {
        "opening": 3.0,
        "move": 0.625,
        "outage": 4.25,
        "refused": 2.0,
        "cancelled": 10.0,
    }


def test_the_table_of_a_report_names_the_causes_above_zero(run: Run, store: str) -> None:
    header, *rows = run("report", "--store", store).out.splitlines()[1:]
    assert "unprotected s" in header
    assert "by cause" in header
    assert "13.125  opening 1.000, move 0.125, refused 2.000, cancelled 10.000  " in rows[1]
    assert "6.750  opening 2.000, move 0.500, outage 4.250  " in rows[0]
    assert "19.875  opening 3.000, move 0.625, outage 4.250, refused 2.000, cancelled 10.000" in rows[2]


def test_events_after_the_last_record_count(run: Run, store: str) -> None:
    async def go_on() -> None:
        async with open_store(store) as opened_store:
            event = opened(100, "BBB/USDT:USDT", UnprotectedTime(opening=1.0, move=0.125, refused=2.0, cancelled=20.0))
            await opened_store.commit([AppendEvent("paper", "default", event)])
            await opened_store.commit(
                [AppendEvent("paper", "default", moved(110, "BBB/USDT:USDT", UnprotectedTime(move=0.25)))]
            )

    trio.run(go_on)
    (account,) = json.loads(run("report", "--store", store, "--json").out)["accounts"]
    unprotected = account["report"]["positions"][1]
    assert (unprotected["state"], unprotected["unprotected_seconds"]) == ("protected", 23.375)
    assert (unprotected["unprotected_time"]["cancelled"], unprotected["unprotected_time"]["move"]) == (20.0, 0.375)


def test_events_for_people_name_the_causes(run: Run, store: str) -> None:
    first = run("events", "--store", store).out.splitlines()[0]
    assert first.endswith('unprotected_seconds=2.000 unprotected_time="opening 2.000"')


def test_a_run_separates_the_opening_from_the_time_after_its_deadline(replay: Run) -> None:
    ran = replay("--latency", "3", "--deadline", "1", "--json")
    for row in json.loads(ran.out)["report"]["positions"]:
        assert row["unprotected_time"]["opening"] == 1.0
        assert row["unprotected_time"]["outage"] == pytest.approx(row["unprotected_seconds"] - 1.0)
        assert row["unprotected_seconds"] > 1.0
    assert "opening 1.000, outage " in replay("--latency", "3", "--deadline", "1").out
    slow = json.loads(replay("--latency", "3", "--json").out)["report"]
    assert (
        slow["totals"]["unprotected_time"]["opening"]
        == pytest.approx(slow["totals"]["unprotected_seconds"])
        == pytest.approx(9.0)
    )


def test_a_position_that_never_got_a_stop_is_unprotected_in_its_report(run: Run, replay: Run, data: Path) -> None:
    plan, url = data / "plan.toml", f"sqlite:///{data}/state.db"
    plan.write_text('initial_stop = "2%"\non_unprotected = "report"\non_late_order = "cancel"\ncleanup_seconds = 60\n')
    ran = replay("--latency", "3", "--deadline", "1", "--plan", plan, "--store", url, "--json")
    report = json.loads(ran.out)["report"]
    for row in report["positions"]:
        assert row["state"] == "given up"
        assert row["unprotected_time"]["opening"] == 1.0
        assert row["unprotected_time"]["outage"] > 0
    (account,) = json.loads(run("report", "--store", url, "--json").out)["accounts"]
    assert account["report"] == report
