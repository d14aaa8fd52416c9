"""The table of states: every event in every state is a transition of the table, ignored, or raises and changes nothing."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest

from trailing.core.model import Fill, Market, Percent, Position, StopOrder, Tick
from trailing.core.plan import Pacing, TrailPlan
from trailing.core.rules import Callback
from trailing.core.states import (
    CLOSED,
    EVENTS,
    EXITING,
    LIVE,
    OPENING,
    TRAILING,
    TRANSITIONS,
    UNPROTECTED,
    UNRESOLVED,
    WAITING,
    State,
)
from trailing.core.stop import TrailingStop
from trailing.errors import OutcomeUnknown, StopRejected, UsageError

D = Decimal
SYMBOL = "BTC/USDT:USDT"
MARKET = Market(SYMBOL, price_tick=D("0.01"))
PLAN = TrailPlan(initial_stop=Percent(2), rules=(Callback(Percent(1), activation=Percent(1)),))
OTHER = TrailPlan(initial_stop=Percent(1), rules=(Callback(Percent("0.5")),), pacing=Pacing(min_interval=9.0))
AT = 50.0


def order(name: str = "first", price: str = "98", quantity: str = "1") -> StopOrder:
    return StopOrder(SYMBOL, "long", D(quantity), D(price), name, f"exchange-{name}")


def fill(name: str = "first", quantity: str = "1") -> Fill:
    return Fill(SYMBOL, "long", D(quantity), D(98), f"exchange-{name}", name, AT)


def opening() -> TrailingStop:
    position = Position(SYMBOL, "long", D(1), D(100), datetime(2026, 1, 2, tzinfo=UTC))
    return TrailingStop(position, PLAN, MARKET, AT)


def waiting() -> TrailingStop:
    stop = opening()
    stop.opened(order(), AT)
    return stop


def trailing_stop() -> TrailingStop:
    stop = waiting()
    stop.on_tick(Tick(SYMBOL, D(105), AT))
    stop.moved(order(price="103.95"), AT)
    return stop


def exiting() -> TrailingStop:
    stop = waiting()
    stop.exiting(AT)
    return stop


def unresolved() -> TrailingStop:
    stop = waiting()
    stop.move_failed(OutcomeUnknown("no answer"), AT)
    return stop


def unprotected() -> TrailingStop:
    stop = opening()
    stop.open_failed(StopRejected("no"), AT)
    return stop


def closed() -> TrailingStop:
    stop = waiting()
    stop.released(AT)
    return stop


MAKERS: dict[State, Callable[[], TrailingStop]] = {
    OPENING: opening,
    WAITING: waiting,
    TRAILING: trailing_stop,
    EXITING: exiting,
    UNRESOLVED: unresolved,
    UNPROTECTED: unprotected,
    CLOSED: closed,
}

CALLS: dict[str, list[Callable[[TrailingStop], object]]] = {
    "acknowledged": [lambda stop: stop.opened(order("next"), AT), lambda stop: stop.moved(order("next", "99"), AT)],
    "refused": [
        lambda stop: stop.open_failed(StopRejected("no"), AT),
        lambda stop: stop.move_failed(StopRejected("no"), AT),
    ],
    "unknown": [
        lambda stop: stop.open_failed(OutcomeUnknown("?"), AT),
        lambda stop: stop.move_failed(OutcomeUnknown("?"), AT),
        lambda stop: stop.exit_failed(OutcomeUnknown("?"), AT),
    ],
    "absent": [lambda stop: stop.absent("first", AT), lambda stop: stop.absent("next", AT)],
    "gone": [lambda stop: stop.gone("first", AT), lambda stop: stop.gone("next", AT)],
    "filled": [
        lambda stop: stop.filled(fill(), AT),
        lambda stop: stop.filled(fill(quantity="0.4"), AT),
        lambda stop: stop.filled(fill("next", "0.4"), AT),
    ],
    "resized": [lambda stop: stop.resized(D("0.7"), AT)],
    "replanned": [lambda stop: stop.replan(OTHER, AT), lambda stop: stop.replan(PLAN, AT)],
    "crossed": [lambda stop: stop.exiting(AT)],
    "exit_failed": [lambda stop: stop.exit_failed(StopRejected("no"), AT)],
    "flat": [lambda stop: stop.flat(AT)],
    "released": [lambda stop: stop.released(AT)],
}

EVERY = [(state, event, call) for state in State for event in EVENTS for call in range(len(CALLS[event]))]


def test_the_table_speaks_of_known_states_and_events_only() -> None:
    assert set(MAKERS) == set(State)
    assert set(CALLS) == set(EVENTS)
    assert {event for _, event in TRANSITIONS} == set(EVENTS)
    assert {state for state, _ in TRANSITIONS} == set(State)


@pytest.mark.parametrize("state", State)
def test_each_state_is_reached(state: State) -> None:
    assert MAKERS[state]().state is state


@pytest.mark.parametrize(("state", "event", "call"), EVERY)
def test_every_event_in_every_state_does_what_the_table_says(state: State, event: str, call: int) -> None:
    stop = MAKERS[state]()
    before = stop.save()
    allowed = TRANSITIONS.get((state, event))
    if event == "flat" and stop.orders and state is not CLOSED:
        allowed = None  # a position with a live stop can't be closed: the stop has to be gone first
    if allowed is None:
        with pytest.raises(UsageError, match=f"^{SYMBOL} long"):
            CALLS[event][call](stop)
        assert stop.save() == before
    elif not allowed:
        assert CALLS[event][call](stop) is None
        assert stop.save() == before
    else:
        CALLS[event][call](stop)
        assert stop.state in allowed


def test_nothing_brings_a_closed_position_back() -> None:
    assert all(not targets for (state, _), targets in TRANSITIONS.items() if state is CLOSED)
    stop = waiting()
    stop.gone("first", AT)
    stop.flat(AT)
    before = stop.save()
    for price in ("1", "98", "100", "150", "150"):
        assert stop.on_tick(Tick(SYMBOL, D(price), AT)) is None
    assert stop.on_time(1e9) is None
    assert msgspec.structs.replace(stop.save(), last=before.last) == before


def test_every_target_of_the_table_is_reached_and_no_other() -> None:
    choose = random.Random(20260102)
    names = ("first", "next", "third")

    def any_order() -> StopOrder:
        return order(choose.choice(names), choose.choice(("98", "99")), choose.choice(("0.4", "1")))

    calls: list[tuple[str, Callable[[TrailingStop], object]]] = [
        ("acknowledged", lambda stop: stop.opened(any_order(), AT)),
        ("filled", lambda stop: stop.filled(fill(choose.choice(names), choose.choice(("0.4", "1"))), AT)),
        ("filled", lambda stop: stop.exited(fill("exit", "0.4"), AT)),
        *((event, call) for event, calls in CALLS.items() for call in calls if event not in ("acknowledged", "filled")),
    ]
    reached = set()
    for _ in range(10000):
        stop = opening()
        for _ in range(8):
            event, call = choose.choice(calls)
            before = stop.state
            try:
                call(stop)
            except UsageError:
                continue
            if TRANSITIONS[before, event]:
                reached.add((before, event, stop.state))
    table = {(state, event, target) for (state, event), targets in TRANSITIONS.items() for target in targets}
    # Waiting and trailing mean that a stop is live: what is flat has none any more, and one more does not take it away.
    never = {(state, "flat", CLOSED) for state in LIVE}
    never |= {(state, "acknowledged", target) for state in LIVE for target in (EXITING, UNPROTECTED)}
    assert sorted(reached - table) == []
    assert sorted(table - never - reached) == []
