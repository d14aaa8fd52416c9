"""Each rule of the alerts, with a real manager on virtual time: it fires once, at its second, and recovers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from recording import RecordingChannel, open_watched, raise_alarm
from rented import RentingStore
from trio.testing import MockClock
from worlds import BTC, PLAN, SYMBOL, a_position, open_world

import trailing
from trailing import LeaseLost, StoreError
from trailing.alerts import AlertRules, AlertTargets, open_alerts, service
from trailing.exchanges.port import StreamState, Update
from trailing.exchanges.updates import UpdateChannel
from trailing.testing import Fails, FaultyExchange, Hangs, Unreachable
from trailing.testing.faults import Fault

LATE = 1.0
"""A rule looks once a second, so that an alert may be late by so much."""


# Alarms that come beside some alerts. A message about one of them would delay the next message by a few seconds.
QUIET = AlertRules(
    ignored_alarms=frozenset(
        {
            "a request keeps failing",
            "an order is placed that the store does not know of",
            "no price of its trigger source",
            "the store does not hold what the exchange acknowledged",
        }
    )
)


class Switch:
    """A fault of some operations that a test switches on and off."""

    def __init__(self, fault: Fault, *operations: str) -> None:
        self.is_on, self._fault, self._operations = False, fault, operations

    def __call__(self, operation: str, *_: object) -> Fault | None:
        return self._fault if self.is_on and operation in self._operations else None


class PushingExchange(FaultyExchange):
    """An exchange whose stream a test pushes states into."""

    present: UpdateChannel

    @asynccontextmanager
    async def _updates(self) -> AsyncIterator[trio.abc.ReceiveChannel[Update]]:
        async with self.inner.updates() as updates:
            assert isinstance(updates, UpdateChannel)
            self.present = updates
            yield updates

    def updates(self) -> Any:
        return self._updates()

    def push(self, *, connected: bool) -> None:
        self.present.push(StreamState(connected, trio.current_time(), "pushed by the test"))


async def test_a_position_without_a_stop_fires_once_by_its_age_and_recovers(autojump_clock: MockClock) -> None:
    switch, channel = Switch(Unreachable(), "place_stop"), RecordingChannel()
    async with open_watched(channel, QUIET, exchange_faults=switch) as world:
        await trio.sleep(3.0)
        switch.is_on = True
        await world.enter(a_position())
        began = trio.current_time()
        await world.running.protect(a_position(), deadline=2.0)
        assert BTC in world.running.unprotected()
        await trio.sleep_until(began + 9.5)
        assert channel.messages == []
        await trio.sleep_until(began + 60.0)
        ((fired_at, alert),) = channel.sent("unprotected")
        assert 10.0 <= fired_at - began <= 10.0 + LATE
        assert (alert.symbol, alert.side, alert.is_firing, alert.account) == (*BTC, True, "paper default")
        assert "BTC/USDT:USDT long (1.5 at 100): no live stop for 1" in alert.text
        assert "ExchangeUnreachable" in alert.text
        switch.is_on = False
        with trio.fail_after(120):
            while BTC not in world.running.stops():
                await trio.sleep(0.5)
        ended = trio.current_time()
        await trio.sleep(10.0)
        (_, (_, over)) = channel.sent("unprotected")
        # By its own time, because the message about an alarm of the recovery may come first and delay it.
        assert abs((over.at - alert.at).total_seconds() - (ended - fired_at)) <= LATE
        assert over.text.startswith("BTC/USDT:USDT long: protected again, its stop is at 98, after ")
        assert (over.is_firing, over.key) == (False, alert.key)


async def test_positions_that_are_protected_in_time_send_nothing(autojump_clock: MockClock) -> None:
    channel = RecordingChannel()
    async with open_watched(channel, latency=2.0) as world:
        for number in range(20):
            await world.protect(a_position(f"COIN{number}/USDT:USDT"), deadline=30.0)
    assert channel.sent("unprotected") == []


async def test_a_close_that_does_not_go_through_fires_once_and_recovers(autojump_clock: MockClock) -> None:
    switch, channel = Switch(Unreachable(), "close_position"), RecordingChannel()
    async with open_watched(channel, QUIET, exchange_faults=switch) as world:
        await world.protect()
        switch.is_on = True
        began = trio.current_time()
        await world.running.close(*BTC, deadline=5.0)
        await trio.sleep_until(began + 14.5)
        assert channel.sent("close") == []
        await trio.sleep_until(began + 60.0)
        ((fired_at, alert),) = channel.sent("close")
        assert 15.0 <= fired_at - began <= 15.0 + LATE
        assert "still open 15 s after a close at market began" in alert.text
        switch.is_on = False
        with trio.fail_after(120):
            while BTC in world.inside.claimed():
                await trio.sleep(0.5)
        await trio.sleep(10.0)
        assert channel.states("close") == [True, False]
        assert "the close is over, because the position is closed" in channel.sent("close")[-1][1].text


async def test_an_alarm_fires_once_however_often_it_is_raised_and_recovers_when_it_is_quiet(
    autojump_clock: MockClock,
) -> None:
    channel = RecordingChannel()
    async with open_watched(channel, AlertRules(quiet_seconds=60.0)) as world:
        await trio.sleep(5.5)
        for _ in range(3):
            raise_alarm(world, "a test of alarms", detail="no real one")
            await trio.sleep(1.0)
        last = trio.current_time()
        await trio.sleep(40.0)
        ((fired_at, alert),) = channel.sent("alarm")
        assert fired_at == 6.0
        assert alert.text == "The account: a test of alarms (no real one)."
        await trio.sleep_until(last + 80.0)
        assert channel.states("alarm") == [True, False]
        assert channel.sent("alarm")[-1][0] == last - 0.5 + 60.0
        assert channel.sent("alarm")[-1][1].text.endswith("not repeated for 60 s. It was raised 3 times.")


async def test_the_alarms_of_a_position_recover_when_it_is_closed(autojump_clock: MockClock) -> None:
    channel = RecordingChannel()
    async with open_watched(channel) as world:
        await world.protect()
        raise_alarm(world, "a test of alarms", a_position())
        await trio.sleep(10.0)
        await world.running.close(*BTC, deadline=10.0)
        await trio.sleep(10.0)
        assert channel.states("alarm") == [True, False]
        assert channel.sent("alarm")[-1][1].text.startswith("BTC/USDT:USDT long: a test of alarms: over, because")


async def test_an_ignored_alarm_sends_nothing(autojump_clock: MockClock) -> None:
    channel = RecordingChannel()
    async with open_watched(channel, AlertRules(ignored_alarms=frozenset({"a test of alarms"}))) as world:
        raise_alarm(world, "a test of alarms")
        await trio.sleep(10.0)
    assert channel.messages == []


async def test_a_stream_that_is_down_fires_once_and_recovers(autojump_clock: MockClock) -> None:
    channel = RecordingChannel()
    async with open_alerts(AlertTargets([channel])) as alerts, open_world(with_manager=False) as world:
        exchange = PushingExchange(world.paper, {})
        async with alerts.watch(trailing.open_manager(exchange, world.store, PLAN)):
            await trio.sleep(2.0)
            exchange.push(connected=False)
            began = trio.current_time()
            await trio.sleep_until(began + 29.5)
            assert channel.sent("stream") == []
            await trio.sleep_until(began + 70.0)
            ((fired_at, alert),) = channel.sent("stream")
            assert 30.0 <= fired_at - began <= 30.0 + LATE
            assert "has been disconnected for 30 s" in alert.text
            exchange.push(connected=True)
            await trio.sleep(10.0)
            assert channel.states("stream") == [True, False]


async def test_a_stream_that_is_lost_for_a_moment_sends_no_alert_of_its_rule(autojump_clock: MockClock) -> None:
    channel = RecordingChannel()
    async with open_alerts(AlertTargets([channel])) as alerts, open_world(with_manager=False) as world:
        exchange = PushingExchange(world.paper, {})
        async with alerts.watch(trailing.open_manager(exchange, world.store, PLAN)):
            for _ in range(10):
                exchange.push(connected=False)
                await trio.sleep(20.0)
                exchange.push(connected=True)
                await trio.sleep(5.0)
    assert channel.sent("stream") == []


@pytest.mark.parametrize(
    ("fault", "rules"),
    [(Hangs(), {"store", "journal"}), (Fails(StoreError("disk full")), {"store"})],
    ids=["hangs", "fails"],
)
async def test_a_store_that_is_down_fires_once_and_recovers(
    fault: Fault, rules: set[str], autojump_clock: MockClock
) -> None:
    switch, channel = Switch(fault, "commit"), RecordingChannel()
    async with open_watched(channel, QUIET, store_faults=switch) as world:
        await world.protect()
        await trio.sleep(30.0)
        assert channel.messages == []
        switch.is_on = True
        began = trio.current_time()
        world.feed("110")
        await trio.sleep(5.0)
        world.feed("120")
        await trio.sleep_until(began + 28.0)
        assert channel.sent("store") == []
        await trio.sleep_until(began + 90.0)
        ((fired_at, alert),) = channel.sent("store")
        assert 30.0 <= fired_at - began <= 30.0 + 2 * LATE
        assert "The store has committed nothing for 3" in alert.text
        for rule in rules:
            assert channel.states(rule) == [True], rule
        if "journal" in rules:
            assert 11.0 <= channel.sent("journal")[0][0] - began <= 11.0 + 2 * LATE


async def test_a_store_that_is_up_again_recovers(autojump_clock: MockClock) -> None:
    switch, channel = Switch(Fails(StoreError("disk full")), "commit"), RecordingChannel()
    async with open_watched(channel, store_faults=switch) as world:
        await world.protect()
        switch.is_on = True
        world.feed("110")
        await trio.sleep(90.0)
        assert channel.states("store") == [True]
        switch.is_on = False
        await trio.sleep(20.0)
        assert channel.states("store") == [True, False]


async def test_a_journal_that_catches_up_recovers(autojump_clock: MockClock) -> None:
    released = trio.Event()
    channel = RecordingChannel()

    class SlowStore:
        """A store whose commits wait while `is_stuck`."""

        is_stuck = False

        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self.__dict__["_inner"], name)

        @asynccontextmanager
        async def acquire_lease(self, *account: str, **options: Any) -> AsyncIterator[Any]:
            async with self._inner.acquire_lease(*account, **options) as lease:
                commit = lease.commit

                async def wait_and_commit(entries: Any) -> None:
                    if SlowStore.is_stuck:
                        await released.wait()
                    await commit(entries)

                lease.commit = wait_and_commit
                yield lease

    async with open_watched(channel, store=lambda world: SlowStore(world.memory)) as world:
        await world.protect()
        SlowStore.is_stuck = True
        world.feed("110")
        await trio.sleep(60.0)
        assert channel.states("journal") == [True]
        assert channel.states("store") == [True]
        released.set()
        await trio.sleep(10.0)
        assert channel.states("journal") == [True, False]
        assert channel.states("store") == [True, False]


async def test_a_lost_lease_and_the_end_of_its_manager_fire_once_and_recover_with_the_next_manager(
    autojump_clock: MockClock,
) -> None:
    channel = RecordingChannel()
    async with open_alerts(AlertTargets([channel])) as alerts, open_world(with_manager=False) as world:
        store = RentingStore(world.memory, seconds=600.0)
        with pytest.raises(LeaseLost):
            async with alerts.watch(trailing.open_manager(world.exchange, store, PLAN)):
                await trio.sleep(10.5)
                store.lease.lose()
                lost_at = trio.current_time()
                await trio.sleep_forever()
        await trio.sleep(30.0)
        ((fired_at, lease),) = channel.sent("lease")
        assert fired_at - lost_at <= LATE
        assert "Another process owns the account" in lease.text
        assert channel.states("ended") == [True]
        assert "The manager ended with LeaseLost: " in channel.sent("ended")[0][1].text
        assert [alert.rule for alert in alerts.firing()].count("ended") == 1
        async with alerts.watch(trailing.open_manager(world.exchange, RentingStore(world.memory, 600.0), PLAN)):
            await trio.sleep(30.0)
            assert channel.states("lease") == [True, False]
            assert channel.states("ended") == [True, False]


async def test_a_lease_that_has_expired_fires_and_recovers_when_it_is_renewed(autojump_clock: MockClock) -> None:
    channel = RecordingChannel()
    async with open_alerts(AlertTargets([channel])) as alerts, open_world(with_manager=False) as world:
        store = RentingStore(world.memory, seconds=60.0)
        began = trio.current_time()
        async with alerts.watch(trailing.open_manager(world.exchange, store, PLAN)):
            await trio.sleep(80.0)
            ((fired_at, _),) = channel.sent("lease")
            assert 60.0 <= fired_at - began <= 60.0 + LATE
            store.lease.renew()
            await trio.sleep(10.0)
            assert channel.states("lease") == [True, False]


async def test_a_manager_that_can_t_be_opened_sends_an_alert(autojump_clock: MockClock) -> None:
    channel = RecordingChannel()
    async with open_alerts(AlertTargets([channel])) as alerts, open_world(with_manager=False) as world:
        store = world.store
        async with trailing.open_manager(world.exchange, store, PLAN):
            with pytest.raises(LeaseLost):
                async with alerts.watch(trailing.open_manager(world.exchange, store, PLAN)):
                    pass
        await trio.sleep(1.0)
        assert "The manager ended with LeaseLost" in channel.sent("ended")[0][1].text


@pytest.mark.parametrize("error", [ValueError("a bug of the bot"), ExceptionGroup("two", [ValueError(), KeyError()])])
async def test_a_bot_that_fails_sends_an_alert_before_the_process_ends(
    error: Exception, autojump_clock: MockClock
) -> None:
    channel = RecordingChannel()
    with pytest.raises(type(error)):
        async with open_watched(channel):
            raise error
    ((_, alert),) = channel.sent("ended")
    assert f"The manager ended with {type(error).__name__}" in alert.text


async def test_a_bot_that_is_cancelled_or_ends_in_order_sends_nothing(autojump_clock: MockClock) -> None:
    channel = RecordingChannel()
    with trio.move_on_after(10.0) as scope:
        async with open_watched(channel) as world:
            await world.protect()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    async with open_watched(channel) as world:
        await world.protect()
    assert channel.messages == []


async def test_a_bot_that_ends_in_order_and_leaves_a_position_without_a_stop_sends_an_alert(
    autojump_clock: MockClock,
) -> None:
    switch, channel = Switch(Unreachable(), "place_stop"), RecordingChannel()
    async with open_watched(channel, exchange_faults=switch) as world:
        switch.is_on = True
        await world.enter(a_position())
        await world.running.protect(a_position(), deadline=2.0)
    ((_, alert),) = channel.sent("ended")
    assert "The manager ended in order." in alert.text
    assert f"Without a live stop: {SYMBOL} long." in alert.text


async def test_alarms_of_the_manager_s_end_are_sent(autojump_clock: MockClock) -> None:
    switch, channel = Switch(Hangs(), "commit"), RecordingChannel()
    async with open_watched(channel, store_faults=switch) as world:
        await world.protect()
        switch.is_on = True
        world.feed("110")
        await trio.sleep(0.5)
    assert "the journal did not drain" in " ".join(alert.text for _, alert in channel.sent("alarm"))


async def test_events_that_were_lost_are_reported_and_recover(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "CAPACITY", 10)
    channel = RecordingChannel()
    async with open_watched(channel, AlertRules(quiet_seconds=60.0)) as world:
        await trio.sleep(5.5)
        for number in range(20):
            raise_alarm(world, f"alarm {number}")
        began = trio.current_time()
        await trio.sleep(10.0)
        assert channel.states("events") == [True]
        assert channel.sent("events")[0][0] - began <= LATE
        assert len(channel.sent("alarm")) == 10
        await trio.sleep(60.0)
        assert channel.states("events") == [True, False]


async def test_two_managers_with_one_name_are_refused(autojump_clock: MockClock) -> None:
    async with open_alerts(AlertTargets()) as alerts, open_world(with_manager=False) as world:
        again = alerts.watch(trailing.open_manager(world.exchange, world.store, PLAN))
        async with alerts.watch(trailing.open_manager(world.exchange, world.store, PLAN)):
            with pytest.raises(trailing.UsageError, match="watched already; give each its own name"):
                await again.__aenter__()


async def test_a_bug_in_a_look_ends_neither_the_bot_nor_the_alerts(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = RecordingChannel()
    async with open_watched(channel) as world:
        with monkeypatch.context() as patch:
            patch.setattr(trailing.Manager, "health", lambda _: 1 / 0)
            await trio.sleep(10.0)
        raise_alarm(world, "a test of alarms")
        await trio.sleep(2.0)
        assert channel.states("alarm") == [True]
        assert len(await world.protect()) == 1
