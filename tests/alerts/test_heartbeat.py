"""The heartbeat is fetched every minute while all is well, and falls silent as soon as something is not."""

from __future__ import annotations

import pytest
import structlog
import trio
from recording import RecordingChannel, open_watched, raise_alarm
from trio.testing import MockClock
from worlds import PLAN, open_world

import trailing
from trailing.alerts import AlertRules, AlertTargets, Heartbeat, NotSent, open_alerts


class CountingHeartbeat(Heartbeat):
    """Note when it is fetched; `error`: what a fetch raises."""

    def __init__(self) -> None:
        super().__init__("https://monitor.example.com/s3cr3t-path")
        self.fetched: list[float] = []
        self.error: Exception | None = None

    async def fetch(self) -> None:
        self.fetched.append(trio.current_time())
        if self.error is not None:
            raise self.error


async def test_a_heartbeat_is_sent_every_minute_while_all_is_well(autojump_clock: MockClock) -> None:
    heartbeat = CountingHeartbeat()
    async with open_alerts(AlertTargets(heartbeat=heartbeat)) as alerts, open_world(with_manager=False) as world:
        await trio.sleep(100.0)
        assert heartbeat.fetched == []  # no manager is watched yet
        began = trio.current_time()
        async with alerts.watch(trailing.open_manager(world.exchange, world.store, PLAN)):
            await trio.sleep(299.0)
        await trio.sleep(600.0)
    assert len(heartbeat.fetched) == 5
    assert heartbeat.fetched[0] - began <= 1.0
    assert [later - earlier for earlier, later in zip(heartbeat.fetched, heartbeat.fetched[1:], strict=False)] == [
        60.0
    ] * 4


async def test_a_heartbeat_falls_silent_while_an_alert_fires_and_returns(autojump_clock: MockClock) -> None:
    heartbeat = CountingHeartbeat()
    async with open_watched(RecordingChannel(), AlertRules(quiet_seconds=300.0), heartbeat=heartbeat) as world:
        await trio.sleep(30.5)
        raise_alarm(world, "a test of alarms")
        raised = trio.current_time()
        await trio.sleep(600.0)
    pairs = zip(heartbeat.fetched, heartbeat.fetched[1:], strict=False)
    ((silent_from, silent_until),) = ((a, b) for a, b in pairs if b - a > 61.0)
    assert silent_from < raised
    assert 300.0 <= silent_until - raised <= 302.0


async def test_a_heartbeat_falls_silent_while_a_channel_can_t_send(autojump_clock: MockClock) -> None:
    async def fail() -> None:
        raise NotSent("no")

    heartbeat, channel = CountingHeartbeat(), RecordingChannel(before=fail)
    async with open_watched(channel, AlertRules(quiet_seconds=10.0), heartbeat=heartbeat) as world:
        raise_alarm(world, "a test of alarms")
        await trio.sleep(600.0)
    assert len(heartbeat.fetched) <= 2


async def test_a_heartbeat_falls_silent_while_the_looks_fail(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    heartbeat = CountingHeartbeat()
    async with open_watched(RecordingChannel(), heartbeat=heartbeat):
        await trio.sleep(10.0)
        monkeypatch.setattr(trailing.Manager, "health", lambda _: 1 / 0)
        await trio.sleep(600.0)
    assert len(heartbeat.fetched) == 1


async def test_a_monitor_that_does_not_answer_is_logged_once_and_ends_nothing(autojump_clock: MockClock) -> None:
    heartbeat = CountingHeartbeat()
    structlog.reset_defaults()
    with structlog.testing.capture_logs() as entries:
        async with open_watched(RecordingChannel(), heartbeat=heartbeat):
            for error in (NotSent("no"), ZeroDivisionError("a bug"), None):
                heartbeat.error = error
                await trio.sleep(180.0)
    assert [entry["event"] for entry in entries] == ["HeartbeatNotSent"]
    assert len(heartbeat.fetched) == 9
