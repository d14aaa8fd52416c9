"""A channel that hangs, fails or asks to wait: nothing else waits for it, and it gets the last state of each alert."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise

import pytest
import structlog
import trio
from recording import RecordingChannel, open_watched, raise_alarm
from trio.testing import MockClock
from worlds import a_position

from trailing.alerts import Alert, AlertTargets, NotSent, open_alerts
from trailing.alerts.alert_log import AlertLog
from trailing.alerts.channels import SEND_SECONDS
from trailing.alerts.delivery import BETWEEN, MOST_PAUSE, Delivery
from trailing.alerts.service import FLUSH_SECONDS

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def an_alert(key: str = "stream", *, is_firing: bool = True, text: str = "") -> Alert:
    return Alert(key=key, rule="stream", text=text or f"{key} {is_firing}", is_firing=is_firing, since=NOW, at=NOW)


@asynccontextmanager
async def delivering(channel: RecordingChannel) -> AsyncIterator[Delivery]:
    async with trio.open_nursery() as nursery:
        delivery = Delivery(channel, AlertLog())
        nursery.start_soon(delivery.run)
        yield delivery
        nursery.cancel_scope.cancel()


async def test_the_first_alert_is_sent_at_once_and_later_ones_gather(autojump_clock: MockClock) -> None:
    channel = RecordingChannel()
    async with delivering(channel) as delivery:
        began = trio.current_time()
        delivery.put([an_alert("a")])
        await trio.sleep(1.0)
        delivery.put([an_alert("b")])
        await trio.sleep(1.0)
        delivery.put([an_alert("c")])
        await trio.sleep(60.0)
    assert [(at - began, [alert.key for alert in message.alerts]) for at, message in channel.messages] == [
        (0.0, ["a"]),
        (BETWEEN, ["b", "c"]),
    ]


async def test_a_channel_that_hangs_for_an_hour_gets_the_last_state_of_each_alert(autojump_clock: MockClock) -> None:
    answers = trio.Event()
    channel = RecordingChannel(before=answers.wait)
    async with delivering(channel) as delivery:
        for number in range(3600):
            delivery.put([an_alert("flapping", is_firing=number % 2 == 0), an_alert(f"alarm {number % 7}")])
            await trio.sleep(1.0)
        assert channel.messages == []
        assert delivery.waiting == 8
        answers.set()
        await trio.sleep(SEND_SECONDS + MOST_PAUSE)
    ((_, message),) = channel.messages
    assert {alert.key: alert.is_firing for alert in message.alerts} == {
        "flapping": False,
        **{f"alarm {number}": True for number in range(7)},
    }


async def test_an_alert_whose_sending_hung_is_sent_again(autojump_clock: MockClock) -> None:
    hangs = [1]

    async def hang_once() -> None:
        if hangs:
            hangs.clear()
            await trio.sleep_forever()

    channel = RecordingChannel(before=hang_once)
    async with delivering(channel) as delivery:
        delivery.put([an_alert()])
        await trio.sleep(SEND_SECONDS + 1.0)
        assert delivery.waiting == 1
        assert delivery.failing_since is not None
        await trio.sleep(BETWEEN)
    assert channel.states("stream") == [True]


async def test_a_state_that_changes_while_it_is_being_sent_is_sent_again(autojump_clock: MockClock) -> None:
    channel = RecordingChannel(before=partial(trio.sleep, 3.0))
    async with delivering(channel) as delivery:
        delivery.put([an_alert()])
        await trio.sleep(1.0)
        delivery.put([an_alert(is_firing=False)])
        await trio.sleep(60.0)
    assert channel.states("stream") == [True, False]


async def test_the_pauses_after_failures_double_up_to_a_minute(autojump_clock: MockClock) -> None:
    async def fail() -> None:
        raise NotSent("no")

    channel = RecordingChannel(before=fail)
    async with delivering(channel) as delivery:
        delivery.put([an_alert()])
        await trio.sleep(600.0)
    pauses = [later - earlier for earlier, later in pairwise(channel.tries)]
    assert pauses[:6] == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]


async def test_a_channel_that_asks_to_wait_is_left_alone_for_so_long(autojump_clock: MockClock) -> None:
    limits = [NotSent("429", retry_after=300.0)]

    async def refuse_once() -> None:
        if limits:
            raise limits.pop()

    channel = RecordingChannel(before=refuse_once)
    async with delivering(channel) as delivery:
        began = trio.current_time()
        delivery.put([an_alert()])
        await trio.sleep(100.0)
        delivery.put([an_alert(is_firing=False)])
        await trio.sleep(500.0)
    assert [at - began for at in channel.tries] == [0.0, 300.0]
    assert channel.states("stream") == [False]


async def test_a_bug_of_a_channel_is_a_failure_like_any_other(autojump_clock: MockClock) -> None:
    bugs: list[Exception] = [ZeroDivisionError("a bug")]

    async def fail_once() -> None:
        if bugs:
            raise bugs.pop()

    channel = RecordingChannel(before=fail_once)
    async with delivering(channel) as delivery:
        delivery.put([an_alert()])
        await trio.sleep(60.0)
    assert channel.states("stream") == [True]


async def test_a_failing_channel_logs_its_first_failure_and_its_return(autojump_clock: MockClock) -> None:
    failures: list[Exception] = [NotSent("no")] * 5

    async def fail() -> None:
        if failures:
            raise failures.pop()

    structlog.reset_defaults()
    with structlog.testing.capture_logs() as entries:
        async with delivering(RecordingChannel(before=fail)) as delivery:
            delivery.put([an_alert()])
            await trio.sleep(600.0)
    assert [entry["event"] for entry in entries] == ["AlertsNotSent", "AlertsSentAgain"]


@pytest.mark.parametrize("slow", ["hangs", "fails", "429"])
async def test_a_channel_that_does_not_work_delays_neither_protection_nor_another_channel(
    slow: str, autojump_clock: MockClock
) -> None:
    async def misbehave() -> None:
        if slow == "hangs":
            await trio.sleep(3600.0)
        raise NotSent("no", retry_after=3600.0 if slow == "429" else None)

    async def protected_at(*others: RecordingChannel) -> list[float]:
        """When each of five positions was protected, in seconds from the start."""
        times = []
        async with open_watched(works, others=others) as world:
            raise_alarm(world, "the first")
            await trio.sleep(2.0)
            began = trio.current_time()
            for number in range(5):
                raise_alarm(world, f"alarm {number}")
                await world.protect(a_position(f"COIN{number}/USDT:USDT"), settle=0.0)
                times.append(trio.current_time() - began)
            assert len(world.running.stops()) == 5
            await trio.sleep(10.0)
        return times

    broken, works = RecordingChannel(before=misbehave, name="broken"), RecordingChannel()
    undisturbed = await protected_at()
    works.messages.clear()
    assert await protected_at(broken) == undisturbed
    assert len(works.sent("alarm")) == 6
    assert broken.messages == []


async def test_the_end_waits_for_a_channel_that_hangs_only_a_few_seconds(autojump_clock: MockClock) -> None:
    channel = RecordingChannel(before=trio.sleep_forever)
    with trio.move_on_after(60.0):
        async with open_alerts(AlertTargets([channel])) as alerts:
            alerts.put([an_alert()])
            await trio.sleep(1.0)
            began = trio.current_time()
    assert trio.current_time() - began == FLUSH_SECONDS


async def test_the_end_sends_what_waits_for_a_pause_to_end(autojump_clock: MockClock) -> None:
    failures = [NotSent("429", retry_after=3000.0)]

    async def fail_once() -> None:
        if failures:
            raise failures.pop()

    channel = RecordingChannel(before=fail_once)
    async with open_alerts(AlertTargets([channel])) as alerts:
        alerts.put([an_alert()])
        await trio.sleep(10.0)
        assert channel.messages == []
    assert channel.states("stream") == [True]
