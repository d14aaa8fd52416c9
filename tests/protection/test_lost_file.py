"""The SQLite file of a running bot is deleted: an alarm says so, and `on_store_failure` decides what goes on."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import trio
from inspection import Inspection
from worlds import BTC, PLAN, a_position

import trailing
from trailing import Protected, Refused
from trailing.errors import StoreError
from trailing.events import Alarm, Event


@pytest.mark.parametrize("policy", ["protect", "refuse"])
async def test_deleting_the_file_raises_an_alarm_and_counts_as_a_failure_of_the_store(
    policy: str, tmp_path: Path
) -> None:
    path = tmp_path / "bot.db"
    plan = msgspec.structs.replace(PLAN, on_store_failure=policy, journal_wait=2.0)
    first, second = a_position(), a_position("ETH/USDT:USDT")
    events: list[Event] = []
    async with (
        trailing.open_paper() as exchange,
        trailing.open_store(f"sqlite:///{path}") as store,
        trailing.open_manager(exchange, store, plan) as manager,
    ):
        Inspection(manager).record_events(events)
        for position in (first, second):
            await exchange.enter(position)
        assert isinstance(await manager.protect(first, deadline=10.0), Protected)
        path.unlink()
        outcome = await manager.protect(second, deadline=10.0)
        if policy == "refuse":
            assert isinstance(outcome, Refused)
            assert isinstance(outcome.error, StoreError)
            assert "the file was deleted while the store was open" in str(outcome.error)
            assert manager.stops().keys() == {BTC}
        else:
            assert isinstance(outcome, Protected)
            with trio.fail_after(10):
                while not (alarms := [event for event in events if isinstance(event, Alarm)]):
                    await trio.sleep(0.01)
            assert alarms[0].what == "an order is placed that the store does not know of"
            assert f"{path}: the file was deleted while the store was open" in alarms[0].detail
