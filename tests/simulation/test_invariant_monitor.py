"""Test the violations that the invariant monitor reports, and each excuse with its limit."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from typing import Literal

import pytest
import trio
from inspection import Claim, Key
from msgspec.structs import replace

from simulation.laboratory.harsh_rates import PART_FILLED
from simulation.laboratory.invariant_monitor import ANOTHER_POSITION, InvariantMonitor
from simulation.laboratory.natives import trails_behind_ours
from simulation.monitor_setup import SYMBOL, MonitorSetup, open_monitor_setup, saved
from trailing.core.model import Percent, Position, StopOrder
from trailing.errors import NothingToReduce
from trailing.events import Alarm, PositionClosed
from trailing.exchanges.port import PositionUpdate, StopRequest
from trailing.stores.port import AddIntent, AppendEvent, Intent
from trailing.unprotected import UnprotectedTime

TWICE = "6. a position was closed twice"
LOOSENED = "2. a stop was loosened"
TAKEN_FOR_ANOTHER = "FM 15. a position was treated as another one, but is the same"
COUNTED_TWICE = "FM 45. a fill was counted twice"
THREE = "1. more than two stops, or more than one trailing order"
EARLIER = datetime(2026, 1, 1, tzinfo=UTC)


def classes(invariant_monitor: InvariantMonitor, of: str) -> list[str]:
    """Return the violations of a class."""
    return [what for what in (one.split(": ", 2)[1] for one in invariant_monitor.broken) if what == of]


# A close comes once.


def intend_exit(setup: MonitorSetup, number: int, identity: str = "its identity") -> str:
    """Store an intent of the process to close the position. Returns the order's id."""
    own = f"tr0000{number:016x}"
    intent = Intent("paper", "default", SYMBOL, "long", identity, own, "exit", D(1), None, EARLIER)
    setup.invariant_monitor.note_commit([AddIntent(intent)])
    return own


async def close(setup: MonitorSetup, own: str) -> None:
    """Close the position as the process does, if there is one."""
    setup.process_view.note_closing(SYMBOL, "long")
    with suppress(NothingToReduce):
        await setup.paper.close_position(SYMBOL, "long", D(1), own)


@pytest.mark.parametrize(
    ("received_open", "died", "stored", "violations"),
    [
        (False, False, False, [TWICE]),
        (True, False, False, []),
        (False, True, False, []),
        (False, True, True, [TWICE]),
    ],
)
async def test_a_close_comes_once_unless_an_update_reported_the_position_open_or_the_process_died_before_storing_the_end(
    received_open: bool, died: bool, stored: bool, violations: list[str], autojump_clock: trio.testing.MockClock
) -> None:
    async with open_monitor_setup() as setup:
        position = await setup.enter()
        await close(setup, intend_exit(setup, 1))
        if stored:
            setup.invariant_monitor.note_commit(saved(position, closed=True))
        if died:
            setup.invariant_monitor.process_died()
        if received_open:
            setup.process_view.note_update(PositionUpdate(SYMBOL, "long", D(1), trio.current_time()))
        await close(setup, intend_exit(setup, 2))
        assert classes(setup.invariant_monitor, TWICE) == violations


async def test_the_record_of_an_earlier_position_that_is_closed_late_is_no_end_of_the_next_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_monitor_setup() as setup:
        earlier = await setup.enter()
        await close(setup, intend_exit(setup, 1, "earlier"))
        await setup.paper.enter(replace(earlier, entry_price=D(101), opened_at=EARLIER + timedelta(hours=1)))
        setup.invariant_monitor.note_commit(saved(earlier, closed=True))
        await close(setup, intend_exit(setup, 2))
        setup.invariant_monitor.process_died()
        await close(setup, intend_exit(setup, 3))
        assert classes(setup.invariant_monitor, TWICE) == []


@pytest.mark.parametrize("by_the_dead", [True, False])
async def test_a_close_of_a_process_that_died_meanwhile_is_no_close_of_the_next_one(
    by_the_dead: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_monitor_setup() as setup:
        await setup.enter()
        own = intend_exit(setup, 1)
        setup.invariant_monitor.process_died()
        await close(setup, own if by_the_dead else intend_exit(setup, 2))
        await close(setup, intend_exit(setup, 3))
        assert classes(setup.invariant_monitor, TWICE) == ([] if by_the_dead else [TWICE])


# No stop is looser than one before.


@pytest.mark.parametrize(("market", "violations"), [("99.5", [LOOSENED]), ("98.9", [])])
async def test_a_looser_stop_is_booked_only_where_the_market_is_beyond_the_tighter_one(
    market: str, violations: list[str], autojump_clock: trio.testing.MockClock
) -> None:
    async with open_monitor_setup() as setup:
        await setup.enter()
        await setup.cancel(await setup.place("99"))
        setup.move_market(market)
        await setup.place("98")
        assert classes(setup.invariant_monitor, LOOSENED) == violations


@pytest.mark.parametrize(("when_sent", "violations"), [("99.5", [LOOSENED]), ("98.9", [])])
async def test_the_market_may_be_back_when_a_looser_stop_is_booked_that_was_sent_while_it_was_beyond_the_tighter_one(
    when_sent: str, violations: list[str], autojump_clock: trio.testing.MockClock
) -> None:
    async with open_monitor_setup() as setup:
        await setup.enter()
        await setup.cancel(await setup.place("99"))
        setup.move_market(when_sent)
        setup.invariant_monitor.note_sent("place_stop", SYMBOL)
        setup.move_market("99.5")
        await setup.place("98")
        assert classes(setup.invariant_monitor, LOOSENED) == violations


@pytest.mark.parametrize("touched", [True, False])
async def test_a_looser_stop_may_be_booked_beside_one_that_was_triggered_and_is_not_filled(
    touched: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_monitor_setup(partial_fills=PART_FILLED) as setup:
        position = await setup.enter(quantity=10)
        await setup.paper.place_stop(StopRequest(SYMBOL, "long", position.quantity, D(99), "tr0000" + "a" * 16))
        if touched:
            setup.move_market("99")
            setup.move_market("99.5")
            assert any(order.triggered for order in setup.paper.actual(SYMBOL)[0])
        await setup.place("98")
        assert classes(setup.invariant_monitor, LOOSENED) == ([] if touched else [LOOSENED])


# A position is not taken for another one.


@pytest.mark.parametrize(
    ("case", "violations"),
    [("protected", [TAKEN_FOR_ANOTHER]), ("protected and added to", []), ("never protected", [])],
)
async def test_only_a_position_that_was_added_to_or_never_protected_may_be_treated_as_another_one(
    case: Literal["protected", "protected and added to", "never protected"],
    violations: list[str],
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_monitor_setup() as setup:
        await setup.enter()
        if case != "never protected":
            await setup.place("98")
        setup.invariant_monitor.histories[SYMBOL, "long"].was_added_to = case == "protected and added to"
        event = Alarm(at=EARLIER, symbol=SYMBOL, side="long", what=ANOTHER_POSITION)
        setup.invariant_monitor.note_commit([AppendEvent("paper", "default", event)])
        assert classes(setup.invariant_monitor, TAKEN_FOR_ANOTHER) == violations


@pytest.mark.parametrize("closed_at_once", [True, False])
async def test_a_position_may_be_treated_as_another_one_if_the_recorded_one_has_ended(
    closed_at_once: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_monitor_setup() as setup:
        before = await setup.enter()
        setup.invariant_monitor.note_commit(saved(before))
        setup.paper.reduce(SYMBOL, "long", D(1))
        now = Position(SYMBOL, "long", D(1), D(100), EARLIER, id="the next one")
        await setup.paper.enter(now)
        await setup.place("98")
        alarm = AppendEvent("paper", "default", Alarm(at=EARLIER, symbol=SYMBOL, side="long", what=ANOTHER_POSITION))
        ending = saved(before, closed=True) if closed_at_once else []
        setup.invariant_monitor.note_commit([*ending, *saved(now), alarm] if closed_at_once else [alarm])
        assert classes(setup.invariant_monitor, TAKEN_FOR_ANOTHER) == []
        await setup.place("98.5")
        setup.invariant_monitor.note_commit([*saved(now), alarm])
        assert classes(setup.invariant_monitor, TAKEN_FOR_ANOTHER) == [TAKEN_FOR_ANOTHER]


async def test_a_position_that_was_added_to_may_be_treated_as_another_one_again_after_a_restart(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_monitor_setup() as setup:
        await setup.enter()
        await setup.place("98")
        setup.invariant_monitor.histories[SYMBOL, "long"].was_added_to = True
        alarm = AppendEvent("paper", "default", Alarm(at=EARLIER, symbol=SYMBOL, side="long", what=ANOTHER_POSITION))
        for price in ("98.5", "98.6"):
            setup.invariant_monitor.note_commit([alarm])
            await setup.place(price)
        assert classes(setup.invariant_monitor, TAKEN_FOR_ANOTHER) == []


# Fills are counted once.


@pytest.mark.parametrize(("reported", "violations"), [("1", []), ("2", [COUNTED_TWICE])])
async def test_no_more_is_counted_as_filled_than_was_filled_of_its_own_orders(
    reported: str, violations: list[str], autojump_clock: trio.testing.MockClock
) -> None:
    async with open_monitor_setup() as setup:
        position = await setup.enter(quantity=3)
        setup.invariant_monitor.note_commit(saved(position))
        await close(setup, intend_exit(setup, 1, position.identity))
        await close(setup, intend_exit(setup, 2, "another one of the same entry price"))
        ended = PositionClosed(
            at=EARLIER,
            symbol=SYMBOL,
            side="long",
            entry_price=position.entry_price,
            quantity=D(reported),
            profit=None,
            moves=0,
            unprotected_seconds=0.0,
            unprotected_time=UnprotectedTime(),
            reason="it was closed",
        )
        setup.invariant_monitor.note_commit([AppendEvent("paper", "default", ended)])
        assert classes(setup.invariant_monitor, COUNTED_TWICE) == violations


@pytest.mark.parametrize("are_triggered", [False, True])
async def test_a_third_stop_is_live_only_beside_triggered_unfilled_stops(
    are_triggered: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_monitor_setup(partial_fills=PART_FILLED) as setup:
        await setup.enter(quantity=9)
        await setup.place("98")
        await setup.place("98")
        if are_triggered:
            setup.move_market("97.9")
            assert all(order.triggered for order in setup.paper.actual(SYMBOL)[0])
        await setup.place("97")
        assert bool(classes(setup.invariant_monitor, THREE)) is not are_triggered


# The exchange trails no later than ours would.


class _Trailed(Claim):
    """A claim of a position that the exchange trails, with a wanted price of its stop."""

    def __init__(self, native: StopOrder, stop: str, target: str) -> None:
        self._native, self._stop, self._target = native, stop, target

    @property
    def key(self) -> Key:
        return SYMBOL, "long"

    @property
    def is_trailed_by_exchange(self) -> bool:
        return True

    @property
    def native(self) -> StopOrder:
        return self._native

    @property
    def stop_price(self) -> D:
        return D(self._stop)

    @property
    def target(self) -> D:
        return D(self._target)


@pytest.mark.parametrize(
    ("stop", "target", "market", "rounding", "is_wrong"),
    [
        ("98", "98", "100", "0", False),
        ("98", "98.05", "100", "0", True),
        ("98", "98.05", "100", "0.1", False),
        ("98", "98.1", "100", "0.1", True),
        ("98", "99", "99.5", "0", True),
        ("98", "99", "98.9", "0", False),
    ],
)
async def test_the_exchange_may_trail_behind_ours_by_its_rounding_and_where_ours_would_be_beyond_the_market(
    stop: str, target: str, market: str, rounding: str, is_wrong: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_monitor_setup() as setup:
        setup.move_market(market)
        native = StopOrder(SYMBOL, "long", D(1), D(102), "tr0000" + "b" * 16, "1", callback=Percent(1))
        claim = _Trailed(native, stop, target)
        assert (trails_behind_ours(setup.paper, claim, rounding=D(rounding)) is not None) == is_wrong


@pytest.mark.parametrize(("stop", "is_wrong"), [("98", True), ("100.5", False)])
async def test_a_stop_that_a_person_tightened_beyond_the_exchanges_trailing_order_is_not_behind_it(
    stop: str, is_wrong: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_monitor_setup() as setup:
        await setup.enter()
        trails_at_99 = await setup.place("99")
        setup.move_market("101")
        claim = _Trailed(trails_at_99, stop, "100.5")
        assert (trails_behind_ours(setup.paper, claim, rounding=D(0)) is not None) == is_wrong
