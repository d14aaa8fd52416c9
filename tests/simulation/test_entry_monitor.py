"""Test the violations of entries that the monitors of a world report, and each excuse with its limit."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal as D
from typing import Any

import pytest
import trio
import trio.testing
from inspection.paper import working_entries
from msgspec.structs import replace

from simulation.laboratory.entry_monitor import GONE_AFTER, HandIn
from simulation.laboratory.invariant_monitor import LISTED_AFTER, SETTLED_AFTER
from simulation.monitor_setup import BRIDGE, OWN, PLAN, SYMBOL, FakeManager, MonitorSetup, open_monitor_setup, saved
from trailing.core.entries import Entry, EntryFacts
from trailing.core.entry_orders import AttachedStop, EntryOrder, EntryRequest
from trailing.core.model import Position
from trailing.errors import EntryRejected, ExchangeError
from trailing.exchanges.port import StopRequest
from trailing.protection.waves.entry_outcomes import NotEntered, WorkingEntry
from trailing.protection.waves.outcomes import Protected, TimedOut
from trailing.stores.port import AddIntent, Intent, SaveStop, SettleIntent
from trailing.unprotected import ALWAYS_PROTECTED

NOON = datetime(2026, 1, 1, tzinfo=UTC)
OWN_ID, STOP_ID = "tr0000" + "e" * 16, "tr0000" + "f" * 16
NO_INTENT, NOT_LISTED = "5. an entry works without an intent in the store", "5. a working entry is not listed"
LONG_AFTER = "5. an entry works long after its deadline"
AGAIN, AFTER_OUTCOME = "5. an entry was sent again", "5. an entry was sent again, or after its outcome"
COUNTED_TWICE = "FM 45. a fill of an entry was counted twice"
NOT_CROSSED = "6. a position was closed whose stop was not crossed"


class Entering(MonitorSetup):
    """A setup whose process enters the long position of a symbol, with a limit of 99."""

    one: HandIn

    def hand_in(self, symbol: str = SYMBOL, *, deadline: float = 60.0, cancelled_after: float = math.inf) -> HandIn:
        self.one = self.entry_monitor.note_handed_in(Entry(symbol, "long", D(2), D(99)), deadline, cancelled_after)
        return self.one

    def intend(self, symbol: str = SYMBOL, own: str = OWN_ID) -> None:
        intent = Intent("paper", "default", symbol, "long", own, own, "entry", D(2), D(99), NOON)
        self.note_commit(AddIntent(intent))

    def note_commit(self, *entries: Any) -> None:
        self.entry_monitor.note_commit(entries)
        self.invariant_monitor.note_commit(entries)
        self.positions.note_commit(entries)

    def record(self, symbol: str, entered: str, *orders: Any) -> None:
        """Store the record of the position, with an entry that carries a stop."""
        position = Position(symbol, "long", D(2), D(99), NOON, id=OWN_ID)
        (entry,) = saved(position)
        assert isinstance(entry, SaveStop)
        stop_id = OWN_ID if symbol == BRIDGE else STOP_ID
        facts = EntryFacts(OWN_ID, D(2), D(99), NOON, stop_id=stop_id, stop_price=D(97), entered=D(entered))
        self.note_commit(SaveStop("paper", "default", replace(entry.record, entry=facts, orders=orders)))

    async def place_entry(self, symbol: str = SYMBOL, own: str = OWN_ID, stop_id: str = STOP_ID) -> EntryOrder:
        stop = None
        if symbol != SYMBOL:
            stop = AttachedStop(D(97), own if symbol == BRIDGE else stop_id, "last")
        return await self.paper.place_entry(EntryRequest(symbol, "long", D(2), own, D(99), stop))

    def list_entry(self, order: EntryOrder) -> None:
        entry = WorkingEntry(
            order.symbol,
            order.side,
            order.quantity,
            order.filled,
            order.limit,
            order.client_order_id,
            is_acknowledged=True,
            is_ending=False,
        )
        self.manager = FakeManager(entry)

    def move(self, price: str, symbol: str = SYMBOL) -> None:
        self.move_market(price, symbol)
        self.invariant_monitor.check(symbol)
        self.entry_monitor.check(symbol)

    @property
    def classes(self) -> list[str]:
        broken = [one.split(": ", 2)[1] for one in self.invariant_monitor.broken]
        return [*self.violations, *broken]


@asynccontextmanager
async def open_entering(symbol: str = SYMBOL, **options: Any) -> AsyncIterator[Entering]:
    """A setup with a price of 100, whose entry was handed in and has its intent in the store."""
    async with open_monitor_setup(kind=Entering, **options) as setup:
        assert isinstance(setup, Entering)
        setup.move_market("100", symbol)
        setup.hand_in(symbol)
        setup.intend(symbol)
        yield setup


def protected(setup: Entering, *, filled: str, unfilled: str) -> Protected:
    (stop, *_) = setup.paper.actual(SYMBOL)[0]
    position = Position(SYMBOL, "long", D(filled), D(99), NOON)
    return Protected(
        position=position,
        elapsed=1.0,
        unprotected_time=ALWAYS_PROTECTED,
        entry=setup.one.entry,
        unfilled=D(unfilled),
        uncovered=D(0),
        stop=stop,
    )


def not_entered(setup: Entering) -> NotEntered:
    return NotEntered(entry=setup.one.entry, elapsed=1.0, reason="unfilled", error=ExchangeError("too late"))


@pytest.mark.parametrize("symbol", [SYMBOL, OWN, BRIDGE])
async def test_an_entry_that_is_on_record_listed_filled_and_protected_is_no_violation(
    symbol: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_entering(symbol, partial_entries=D("0.5")) as setup:
        setup.record(symbol, "0")
        setup.list_entry(await setup.place_entry(symbol))
        setup.move("99", symbol)
        setup.record(symbol, "1")
        setup.move("99", symbol)
        assert working_entries(setup.paper, symbol) == ()
        setup.note_commit(SettleIntent("paper", "default", OWN_ID))
        setup.manager = FakeManager()
        setup.entry_monitor.check_at_rest([symbol], setup.manager)
        assert setup.invariant_monitor.histories[symbol, "long"].ever_protected is (symbol != SYMBOL)
        assert setup.classes == []


async def test_an_entry_that_works_has_an_intent_and_is_listed(autojump_clock: trio.testing.MockClock) -> None:
    async with open_entering() as setup:
        order = await setup.place_entry()
        setup.move("100")
        assert setup.violations == []  # no process runs
        setup.manager = FakeManager()
        setup.move("100")
        setup.move("100")
        assert setup.violations == [NOT_LISTED]
        setup.list_entry(order)
        setup.note_commit(SettleIntent("paper", "default", OWN_ID))
        setup.move("100")
        assert setup.violations == [NOT_LISTED, NO_INTENT]


async def test_an_entry_is_sent_only_with_an_intent_in_the_store(autojump_clock: trio.testing.MockClock) -> None:
    async with open_entering() as setup:
        setup.note_commit(SettleIntent("paper", "default", OWN_ID))
        await setup.place_entry()
        assert setup.violations == ["4. an entry has no intent in the store"]


async def test_an_entry_is_sent_once(autojump_clock: trio.testing.MockClock) -> None:
    async with open_entering() as setup:
        await setup.place_entry()
        with pytest.raises(EntryRejected):
            await setup.place_entry()
        assert setup.violations == [AGAIN]
        another = "tr0000" + "d" * 16
        setup.intend(own=another)
        await setup.place_entry(own=another)
        assert setup.violations == [AGAIN, AFTER_OUTCOME]


async def test_an_entry_is_not_sent_after_its_outcome(autojump_clock: trio.testing.MockClock) -> None:
    async with open_entering() as setup:
        setup.entry_monitor.note_outcome(setup.one, not_entered(setup))
        assert setup.violations == []
        await setup.place_entry()
        assert setup.violations == [AFTER_OUTCOME]


@pytest.mark.parametrize("cause", ["deadline", "cancelled", "death"])
async def test_an_entry_is_gone_some_time_after_its_end(cause: str, autojump_clock: trio.testing.MockClock) -> None:
    async with open_entering() as setup:
        setup.hand_in(deadline=500.0, cancelled_after=20.0 if cause == "cancelled" else math.inf)
        setup.list_entry(await setup.place_entry())
        await trio.sleep(20)
        if cause == "death":
            setup.entry_monitor.process_died()
        begun = trio.current_time() if cause != "deadline" else trio.current_time() + 480
        await trio.sleep_until(begun + GONE_AFTER - 1)
        setup.move("100")
        assert setup.violations == []
        setup.fault_schedule.disturb(SYMBOL)
        await trio.sleep(GONE_AFTER - 1)
        setup.move("100")
        assert setup.violations == []
        await trio.sleep(2)
        setup.move("100")
        assert setup.violations == [LONG_AFTER]


async def test_an_outcome_is_true(autojump_clock: trio.testing.MockClock) -> None:
    async with open_entering(partial_entries=D("0.5")) as setup:
        await setup.place_entry()
        setup.entry_monitor.note_outcome(setup.one, not_entered(setup))
        assert setup.violations == ["5. an entry works after its outcome"]
        setup.move("99")
        setup.entry_monitor.note_outcome(setup.one, not_entered(setup))
        assert setup.violations[1:] == [
            "5. an entry works after its outcome",
            "5. an entry that was filled is not entered",
        ]
        await setup.paper.cancel_entry(SYMBOL, OWN_ID)
        await setup.place("97")
        setup.violations.clear()
        setup.entry_monitor.note_outcome(setup.one, protected(setup, filled="1", unfilled="1"))
        assert setup.violations == []
        setup.entry_monitor.note_outcome(setup.one, protected(setup, filled="2", unfilled="0"))
        assert setup.violations == [COUNTED_TWICE, "5. an outcome has a wrong unfilled quantity"]
        setup.invariant_monitor.histories[SYMBOL, "long"].was_added_to = True  # by a person, which lists show as well
        setup.entry_monitor.note_outcome(setup.one, protected(setup, filled="2", unfilled="0"))
        assert setup.violations[2:] == []


async def test_an_outcome_of_an_entry_that_may_still_work_ends_its_rest(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_entering() as setup:
        await setup.place_entry()
        timed_out = TimedOut(
            position=Position(SYMBOL, "long", D(2), D(99), NOON),
            elapsed=1.0,
            unprotected_time=ALWAYS_PROTECTED,
            entry=setup.one.entry,
            unfilled=D(2),
            uncovered=D(0),
            stop=None,
            error=None,
        )
        setup.entry_monitor.note_outcome(setup.one, timed_out)
        assert setup.one.until == trio.current_time()
        setup.entry_monitor.note_outcome(setup.one, replace(timed_out, unfilled=D(1)))
        assert setup.violations == [COUNTED_TWICE]


async def test_a_record_holds_no_more_than_was_filled(autojump_clock: trio.testing.MockClock) -> None:
    async with open_entering(OWN, partial_entries=D("0.5")) as setup:
        setup.record(OWN, "0")
        await setup.place_entry(OWN)
        setup.move("99", OWN)
        setup.record(OWN, "1")
        assert setup.violations == []
        setup.record(OWN, "2")
        assert setup.violations == [COUNTED_TWICE]


async def test_the_stop_that_an_entry_carries_is_on_record(autojump_clock: trio.testing.MockClock) -> None:
    async with open_entering(OWN) as setup:
        await setup.place_entry(OWN)
        setup.move("99", OWN)
        assert setup.violations == ["4. the stop that an entry carries is not on record"]


async def test_nothing_of_an_entry_is_left_at_the_end(autojump_clock: trio.testing.MockClock) -> None:
    async with open_entering() as setup:
        order = await setup.place_entry()
        setup.list_entry(order)
        assert setup.manager is not None
        setup.entry_monitor.check_at_rest([SYMBOL], setup.manager)
        assert setup.violations == [
            "5. an entry is left",
            "5. an entry is listed that has ended",
            "4. the intent of an entry that has ended is not settled",
        ]


# What entries excuse in the other monitors.


async def test_a_position_that_grows_may_have_a_third_stop_and_a_part_without_one_for_a_while(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_entering(OWN, partial_entries=D("0.5")) as setup:
        setup.hand_in(OWN, deadline=10 * SETTLED_AFTER)
        setup.record(OWN, "0")
        await setup.place_entry(OWN)
        setup.move("99", OWN)
        for number in range(2):
            own = f"tr0000{number:016x}"
            setup.note_commit(
                AddIntent(Intent("paper", "default", OWN, "long", OWN_ID, own, "stop", D(1), D(97), NOON))
            )
            await setup.paper.place_stop(StopRequest(OWN, "long", D(1), D("97.5"), own, "last"))
        await trio.sleep(2 * SETTLED_AFTER)
        setup.move("100", OWN)
        assert setup.classes == []  # the entry works, so that the stop that it carries may come
        setup.move("99", OWN)
        assert len(setup.paper.actual(OWN)[0]) == 3
        assert setup.classes == []
        await setup.paper.cancel_stop(setup.paper.actual(OWN)[0][-1])
        await trio.sleep(LISTED_AFTER)
        setup.move("100", OWN)
        await trio.sleep(SETTLED_AFTER + 1)
        setup.move("100", OWN)
        assert setup.classes == [
            "1. a position has two stops for too long",
            "1. a part of a position has no stop for too long",
        ]


@pytest.mark.parametrize(
    ("policy", "cancelled_after", "excused"),
    [("close", 0.0, True), ("close", math.inf, False), ("protect", 0.0, False)],
)
async def test_a_plan_may_close_what_was_filled_of_an_entry_that_was_cancelled(
    policy: Any, cancelled_after: float, excused: bool, autojump_clock: trio.testing.MockClock
) -> None:
    plan = replace(PLAN, on_entry_cancelled=policy)
    async with open_entering(plan=plan) as setup:
        setup.hand_in(cancelled_after=cancelled_after)
        await setup.place_entry()
        setup.move("99")
        setup.was_cancelled = setup.entry_monitor.was_cancelled((SYMBOL, "long"))
        await setup.paper.close_position(SYMBOL, "long", D(2), "tr0000" + "c" * 16)
        assert setup.violations == ([] if excused else [NOT_CROSSED])


async def test_what_is_filled_after_the_end_of_the_position_may_be_closed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_entering(partial_entries=D("0.5")) as setup:
        await setup.place_entry()
        setup.move("99")
        await setup.paper.close_position(SYMBOL, "long", D(1), "tr0000" + "c" * 16)
        assert setup.violations == [NOT_CROSSED]
        setup.move("99")
        await setup.paper.close_position(SYMBOL, "long", D(1), "tr0000" + "b" * 16)
        assert setup.violations == [NOT_CROSSED]


async def test_a_price_beyond_the_stop_that_fills_the_entry_justifies_an_exit(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_entering() as setup:
        await setup.place_entry()
        setup.move("90")
        await setup.paper.close_position(SYMBOL, "long", D(2), "tr0000" + "c" * 16)
        assert setup.violations == []


async def test_a_missing_stop_may_be_placed_beside_the_one_that_the_entry_has_placed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_entering(OWN) as setup:
        setup.record(OWN, "0")
        await setup.place_entry(OWN)
        setup.move("99", OWN)
        setup.process_view.note_shown(setup.paper.actual(OWN)[0])
        setup.requests.check_missing(OWN, "long")
        assert setup.violations == []


async def test_a_stop_that_the_entry_has_placed_counts_as_ours_once_it_is_on_record(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_entering(OWN) as setup:
        setup.record(OWN, "0")
        await setup.place_entry(OWN)
        setup.move("99", OWN)
        history = setup.invariant_monitor.histories[OWN, "long"]
        assert history.tightest is None
        (stop,) = setup.paper.actual(OWN)[0]
        setup.record(OWN, "2", replace(stop, price=D("97.5")))  # what the process assumes
        assert history.tightest == D(97)
        setup.record(OWN, "2", replace(stop, price=D("98")))
        assert history.tightest == D(97)


async def test_a_peak_is_expected_from_the_average_price_on(autojump_clock: trio.testing.MockClock) -> None:
    async with open_entering(partial_entries=D("0.5")) as setup:
        own = "tr0000" + "a" * 16
        setup.entry_monitor.note_handed_in(Entry(SYMBOL, "long", D(2)), 60.0, math.inf)
        setup.intend(own=own)
        await setup.paper.place_entry(EntryRequest(SYMBOL, "long", D(2), own))
        history = setup.invariant_monitor.histories[SYMBOL, "long"]
        assert history.expected_peak == 100
        setup.move("98")
        assert history.expected_peak == 99
        assert not history.expects_better_than(D(99))
