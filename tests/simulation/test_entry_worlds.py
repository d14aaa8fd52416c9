"""Test that every world has entries, reproducibly, and that their faults strike at the stated rates."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal as D
from pathlib import Path

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from simulation.laboratory import Scenario, run_world
from simulation.laboratory.entry_bot import DEADLINES
from simulation.laboratory.entry_terms import ATTACHED, ENTRY_FILL, EntryTerms
from simulation.laboratory.fault_schedule import ENTRY_OPERATIONS, FaultSchedule
from simulation.laboratory.harsh_table import CALM, scenario_of
from simulation.monitor_setup import SYMBOL, saved, scenario
from trailing.core.entries import EntryFacts
from trailing.core.model import Position
from trailing.stores.port import AddIntent, CloseStop, Intent, SaveStop, StoreWrite
from trailing.testing.faults import Hangs, Refuses, ReplyLost, Slow, Throttles, Unreachable

HOW_TO = Path(__file__).parents[2] / "docs" / "howto" / "testing.md"
MANY = 4000
NOON = datetime(2026, 1, 1, tzinfo=UTC)
RATES = EntryTerms(
    lost_replies=0.1, hangs=0.05, unreachable=0.1, throttles=0.05, slow=0.1, refusals=0.025, store_failures=0.2
)


def test_worlds_have_every_kind_of_entries_and_the_same_seed_the_same_ones() -> None:
    worlds = [Scenario.from_seed(seed) for seed in range(60)]
    assert worlds == [Scenario.from_seed(seed) for seed in range(60)]
    assert {market.attached_stop for world in worlds for market in world.markets} == {None, "own", "bridge"}
    assert {world.entries.filled for world in worlds} == {None, D("0.1"), D("0.4")}
    assert {world.plan.on_entry_cancelled for world in worlds} == {"protect", "close"}
    assert {world.entries.limits.max_slippage is None for world in worlds} == {True, False}
    assert {world.entries.lost_replies for world in worlds} == {0.02, 0.1}
    assert {world.entries.store_failures for world in worlds} == {0.0, 0.2}
    assert {len(world.entries.waves) for world in worlds} == set(range(2, 7))
    assert f"{DEADLINES[0]:g} s to {DEADLINES[-1] / 60:g} minutes" in HOW_TO.read_text()
    assert Scenario.a_day(0).entries.waves == ()


def test_entries_are_filled_and_place_the_stops_that_they_carry() -> None:
    seen = Counter[object]()
    for seed in range(6):
        seen.update(event[1] for event in run_world(scenario_of(CALM, seed), keep_events=True).events)
    for operation in ("place_entry", "cancel_entry", "find_entry", ENTRY_FILL, ATTACHED):
        assert seen[operation], operation


def schedule(rates: EntryTerms = RATES) -> FaultSchedule:
    return FaultSchedule(replace(scenario(), entries=rates, lost_replies=0.0, unreachable=0.0, refusals=0.0))


@pytest.mark.parametrize("operation", sorted(ENTRY_OPERATIONS))
async def test_requests_of_entries_fail_at_the_stated_rates(
    operation: str, autojump_clock: trio.testing.MockClock
) -> None:
    faults, struck = schedule(), Counter[type[object]]()
    for _ in range(MANY):
        struck[type(faults.fault(operation, SYMBOL, 1))] += 1
    refusals = 0.0 if operation == "find_entry" else RATES.refusals
    rates = {ReplyLost: 0.1, Hangs: 0.05, Unreachable: 0.1, Throttles: 0.05, Slow: 0.1, Refuses: refusals}
    for kind, rate in rates.items():
        assert abs(struck[kind] - MANY * rate) <= 4 * (MANY * rate) ** 0.5, kind
    assert faults.undisturbed_seconds(SYMBOL) == 0
    assert not any(faults.fault("place_stop", SYMBOL, 1) for _ in range(MANY))
    faults.is_unreachable = True
    assert {type(faults.fault(operation, SYMBOL, 1)) for _ in range(100)} == {Hangs, Unreachable}
    faults.is_over = True
    assert faults.fault(operation, SYMBOL, 1) is None


async def test_only_records_and_intents_of_entries_are_refused_by_the_store(
    autojump_clock: trio.testing.MockClock,
) -> None:
    (plain,) = saved(Position(SYMBOL, "long", D(2), D(99), NOON))
    assert isinstance(plain, SaveStop)
    record = replace(plain.record, entry=EntryFacts("e", D(2), D(99), NOON))
    of_entry, ended = SaveStop("paper", "default", record), CloseStop("paper", "default", record)
    intent = Intent("paper", "default", SYMBOL, "long", "one", "e", "entry", D(2), D(99), NOON)
    stop = AddIntent(replace(intent, purpose="stop"))
    faults = schedule()
    refused = sum(faults.store_fails([AddIntent(intent), of_entry]) for _ in range(MANY))
    assert abs(refused - 0.2 * MANY) <= 4 * (0.2 * MANY) ** 0.5
    kept: tuple[list[StoreWrite], ...] = ([plain], [of_entry, ended], [of_entry, stop])
    for entries in kept:
        assert not any(faults.store_fails(entries) for _ in range(100))
    assert not any(schedule(replace(RATES, store_failures=0.0)).store_fails([of_entry]) for _ in range(100))
    faults.is_over = True
    assert not any(faults.store_fails([of_entry]) for _ in range(100))
