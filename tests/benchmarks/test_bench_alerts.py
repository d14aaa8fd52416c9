"""What alerts cost the manager: for each event that it publishes, and for each look."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from itertools import pairwise

import trio
from figures import best, report
from inspection import Inspection

import trailing
from trailing import Callback, Percent, Position, TrailPlan
from trailing.alerts import Alert, AlertRules, AlertTargets, Message, open_alerts
from trailing.alerts.conditions import Conditions, Look
from trailing.alerts.messages import compose
from trailing.events import Alarm, Event, StopMoved
from trailing.protection.health import Health
from trailing.protection.journal import JournalStatistics
from trailing.protection.waves.outcomes import Unprotected

EVENTS = 10_000
NOW = datetime(2026, 1, 1, tzinfo=UTC)
PLAN = TrailPlan(initial_stop=Percent("2"), rules=(Callback(Percent("1"), activation=Percent("1")),))


class Nowhere:
    """A channel that never ends."""

    name = "nowhere"

    async def send(self, message: Message) -> None:
        await trio.sleep_forever()


def some_events() -> list[Event]:
    """What a busy second brings: moves of many positions, and an alarm of each hundredth."""
    events: list[Event] = []
    for number in range(EVENTS):
        place = {"symbol": f"COIN{number % 200}/USDT:USDT", "side": "long", "at": NOW}
        if number % 100:
            price = Decimal(100)
            events.append(StopMoved(**place, previous=price, price=price, client_order_id="tr1", reason="Callback"))  # type: ignore[arg-type]
        else:
            events.append(Alarm(**place, what="a test of alarms"))  # type: ignore[arg-type]
    return events


async def a_second(events: Sequence[Event], *, watched: bool) -> float:
    """Seconds for each event on the manager's side."""
    async with (
        open_alerts(AlertTargets([Nowhere()])) as alerts,
        trailing.open_paper() as exchange,
        trailing.open_store("memory:") as store,
    ):
        opening = trailing.open_manager(exchange, store, PLAN)
        async with alerts.watch(opening) if watched else opening as manager:
            inside = Inspection(manager)
            await trio.sleep(1.2)
            started = time.perf_counter()
            for event in events:
                inside.publish(event)
            published = time.perf_counter() - started
            await trio.sleep(1.5)
            return published / len(events)


def test_what_an_event_costs_the_manager() -> None:
    events = some_events()
    with report(f"alerts: {EVENTS:,} events in a second") as figures:
        alone = best(lambda: trio.run(lambda: a_second(events, watched=False)), 5)
        watched = best(lambda: trio.run(lambda: a_second(events, watched=True)), 5)
        figures.add("an event without alerts", f"{alone * 1e6:.2f} µs")
        figures.add("an event with alerts", f"{watched * 1e6:.2f} µs")
        figures.add("… more on the manager's side", f"{(watched - alone) * 1e6:.2f} µs", "at most 5 µs")
        figures.add("the alerts' side of an event", f"{best(lambda: taken(events), 5) * 1e6:.2f} µs")
    assert watched - alone <= 5e-6


def a_look(positions: int, now: float, *, unprotected: bool) -> Look:
    listed = {}
    if unprotected:
        for number in range(positions):
            position = Position(f"COIN{number}/USDT:USDT", "long", Decimal(1), Decimal(100), NOW)
            listed[position.symbol, position.side] = Unprotected(position, "opening", None)
    journal = JournalStatistics(commits=1, entries=1, failures=0, dropped=0, waiting=0)
    health = Health(
        exchange="paper",
        account="default",
        stream_connected=True,
        lease_seconds=60.0,
        journal=journal,
        journal_is_behind=False,
    )
    return Look(now=now, utc=NOW, unprotected=listed, health=health)


def taken(events: Sequence[Event]) -> float:
    """Seconds for each event in the look that takes a second's events."""
    conditions, look = Conditions(AlertRules()), a_look(0, 1.0, unprotected=False)
    started = time.perf_counter()
    for event in events:
        conditions.take(event)
    conditions.look(look)
    return (time.perf_counter() - started) / len(events)


def looks(positions: int) -> tuple[float, float, float]:
    """Seconds of a look while none of so many unprotected positions is old, when as many as a look takes fire, and of their message."""
    conditions = Conditions(AlertRules())
    first, second, third = (a_look(positions, now, unprotected=True) for now in (0.0, 5.0, 10.0))
    conditions.look(first)
    times = [time.perf_counter()]
    conditions.look(second)
    times.append(time.perf_counter())
    fired: Sequence[Alert] = conditions.look(third)
    times.append(time.perf_counter())
    assert len(fired) == min(positions, 1_000)
    compose(fired)
    times.append(time.perf_counter())
    young, old, message = (later - earlier for earlier, later in pairwise(times))
    return young, old, message


def test_what_a_look_costs() -> None:
    with report("alerts: one look, all positions unprotected") as figures:
        for positions in (200, 2_000, 20_000):
            for index, what in enumerate(("none is old", "all that a look takes fire", "their message")):
                seconds = best(partial(_one_of_looks, positions, index))
                figures.add(f"{positions:,} positions: {what}", f"{seconds * 1e3:.2f} ms")


def _one_of_looks(positions: int, index: int) -> float:
    return looks(positions)[index]
