"""Bare seconds by cause, in the reports of `run` and `report`."""

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

from trailing import Exposure, Market, Percent, Position, TrailPlan, open_store
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


def told(seconds: Exposure) -> dict[str, Any]:
    return {"exposure": seconds.total, "exposure_by": seconds}


def opened(seconds: float, symbol: str, exposure: Exposure) -> StopOpened:
    return StopOpened(**at(seconds, symbol), quantity=HUNDRED, price=HUNDRED, client_order_id="tr1", **told(exposure))


def moved(seconds: float, symbol: str, exposure: Exposure) -> StopMoved:
    return StopMoved(
        **at(seconds, symbol),
        previous=HUNDRED,
        price=HUNDRED,
        client_order_id="tr1",
        reason="it rose",
        **told(exposure),
    )


@pytest.fixture
def store(tmp_path: Path) -> str:
    """A position that has ended, and one that stands bare: its record knows of more than its events tell."""
    url = f"sqlite:///{tmp_path}/state.db"
    closed, bare = "AAA/USDT:USDT", "BBB/USDT:USDT"
    events: list[Event] = [
        opened(2, closed, Exposure(opening=2.0)),
        moved(60, closed, Exposure(move=0.5)),
        PositionClosed(
            **at(90, closed),
            entry_price=HUNDRED,
            quantity=HUNDRED,
            profit=Decimal(7),
            moves=1,
            reason="the stop was filled",
            **told(Exposure(opening=2.0, move=0.5, outage=4.25)),
        ),
        opened(3, bare, Exposure(opening=1.0, refused=2.0)),
        moved(60, bare, Exposure(move=0.125)),
        StopGone(**at(80, bare), client_order_id="tr1"),
    ]
    position = Position(bare, "long", HUNDRED, HUNDRED, START)
    plan = TrailPlan(initial_stop=Percent("2"))
    record = msgspec.structs.replace(
        save_position(PositionState(Ratchet(position, plan, Market(bare)), Timing(), 0.0), 0.0),
        state="unprotected",
        exposure=Exposure(opening=1.0, move=0.125, refused=2.0, cancelled=10.0),
    )

    async def fill() -> None:
        async with open_store(url) as opened_store:
            await opened_store.commit([AppendEvent("paper", "default", event) for event in events])
            await opened_store.commit([SaveStop("paper", "default", record)])

    trio.run(fill)
    return url


def test_a_report_tells_bare_seconds_by_cause_for_each_position_and_in_all(run: Run, store: str) -> None:
    (account,) = json.loads(run("report", "--store", store, "--json").out)["accounts"]
    closed, bare = account["report"]["positions"]
    nothing = {"opening": 0.0, "move": 0.0, "outage": 0.0, "refused": 0.0, "cancelled": 0.0}
    assert (closed["state"], closed["exposure"]) == ("closed", 6.75)
    assert closed["exposure_by"] == nothing | {"opening": 2.0, "move": 0.5, "outage": 4.25}
    assert (bare["state"], bare["exposure"]) == ("unprotected", 13.125)
    assert bare["exposure_by"] == nothing | {"opening": 1.0, "move": 0.125, "refused": 2.0, "cancelled": 10.0}
    totals = account["report"]["totals"]
    assert totals["exposure"] == 19.875
    assert totals["exposure_by"] == {"opening": 3.0, "move": 0.625, "outage": 4.25, "refused": 2.0, "cancelled": 10.0}


def test_the_table_of_a_report_names_the_causes_that_there_were(run: Run, store: str) -> None:
    header, *rows = run("report", "--store", store).out.splitlines()[1:]
    assert "bare s" in header
    assert "by cause" in header
    assert "13.125  opening 1.000, move 0.125, refused 2.000, cancelled 10.000  " in rows[1]
    assert "6.750  opening 2.000, move 0.500, outage 4.250  " in rows[0]
    assert "19.875  opening 3.000, move 0.625, outage 4.250, refused 2.000, cancelled 10.000" in rows[2]


def test_what_events_tell_since_the_last_record_counts(run: Run, store: str) -> None:
    async def go_on() -> None:
        async with open_store(store) as opened_store:
            event = opened(100, "BBB/USDT:USDT", Exposure(opening=1.0, move=0.125, refused=2.0, cancelled=20.0))
            await opened_store.commit([AppendEvent("paper", "default", event)])
            await opened_store.commit(
                [AppendEvent("paper", "default", moved(110, "BBB/USDT:USDT", Exposure(move=0.25)))]
            )

    trio.run(go_on)
    (account,) = json.loads(run("report", "--store", store, "--json").out)["accounts"]
    bare = account["report"]["positions"][1]
    assert (bare["state"], bare["exposure"]) == ("protected", 23.375)
    assert (bare["exposure_by"]["cancelled"], bare["exposure_by"]["move"]) == (20.0, 0.375)


def test_events_for_people_name_the_causes(run: Run, store: str) -> None:
    first = run("events", "--store", store).out.splitlines()[0]
    assert first.endswith("exposure=2.0 exposure_by=opening 2.000")


def test_a_run_tells_what_of_its_bare_seconds_was_the_deadline_s(replay: Run) -> None:
    ran = replay("--latency", "3", "--deadline", "1", "--json")
    for row in json.loads(ran.out)["report"]["positions"]:
        assert row["exposure_by"]["opening"] == 1.0
        assert row["exposure_by"]["outage"] == pytest.approx(row["exposure"] - 1.0)
        assert row["exposure"] > 1.0
    assert "opening 1.000, outage " in replay("--latency", "3", "--deadline", "1").out
    slow = json.loads(replay("--latency", "3", "--json").out)["report"]
    assert slow["totals"]["exposure_by"]["opening"] == pytest.approx(slow["totals"]["exposure"]) == pytest.approx(9.0)


def test_a_position_that_never_got_a_stop_is_bare_in_its_report(run: Run, replay: Run, data: Path) -> None:
    plan, url = data / "plan.toml", f"sqlite:///{data}/state.db"
    plan.write_text('initial_stop = "2%"\non_unprotected = "report"\non_late_order = "cancel"\ncleanup_seconds = 60\n')
    ran = replay("--latency", "3", "--deadline", "1", "--plan", plan, "--store", url, "--json")
    report = json.loads(ran.out)["report"]
    for row in report["positions"]:
        assert row["state"] == "unprotected"
        assert row["exposure_by"]["opening"] == 1.0
        assert row["exposure_by"]["outage"] > 0
    (account,) = json.loads(run("report", "--store", url, "--json").out)["accounts"]
    assert account["report"] == report
