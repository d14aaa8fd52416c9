"""What the witness of every simulated world complains of, and what it excuses: each excuse with its limit."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal as D
from typing import Literal

import pytest
import trio
from inspection import Claim, Key

from simulation.harsh_bench import SYMBOL, Bench, open_bench, saved
from simulation.laboratory.harsh_rates import PART_FILLED
from simulation.laboratory.natives import trails_behind_ours
from simulation.laboratory.witness import ANOTHER_POSITION, Witness
from trailing.core.model import Percent, Position, StopOrder
from trailing.errors import NothingToReduce
from trailing.events import Alarm, PositionClosed
from trailing.exchanges.port import PositionUpdate, StopRequest
from trailing.stores.port import AddIntent, AppendEvent, Intent
from trailing.unprotected import UnprotectedTime

TWICE = "6. a position was closed twice"
LOOSENED = "2. a stop was loosened"
TAKEN_FOR_ANOTHER = "FM 15. a position was taken for another one, and is none"
COUNTED_TWICE = "FM 45. a fill was counted twice"
THREE = "1. more than two stops, or more than one trailing order"
EARLIER = datetime(2026, 1, 1, tzinfo=UTC)


def classes(witness: Witness, of: str) -> list[str]:
    """The complaints of a class."""
    return [what for what in (one.split(": ", 2)[1] for one in witness.broken) if what == of]


# A close comes once.


def intend_exit(bench: Bench, number: int, identity: str = "its identity") -> str:
    """Let the process write down that it is about to close the position. Returns the order's id."""
    own = f"tr0000{number:016x}"
    intent = Intent("paper", "default", SYMBOL, "long", identity, own, "exit", D(1), None, EARLIER)
    bench.witness.note_commit([AddIntent(intent)])
    return own


async def close(bench: Bench, own: str) -> None:
    """Let the process close the position, if there is one."""
    bench.knowledge.note_closing(SYMBOL, "long")
    with suppress(NothingToReduce):
        await bench.paper.close_position(SYMBOL, "long", D(1), own)


@pytest.mark.parametrize(
    ("told_open", "died", "stored", "complaints"),
    [
        (False, False, False, [TWICE]),
        (True, False, False, []),
        (False, True, False, []),
        (False, True, True, [TWICE]),
    ],
)
async def test_a_close_comes_once_unless_the_process_was_told_that_it_is_open_or_died_before_the_end_was_stored(
    told_open: bool, died: bool, stored: bool, complaints: list[str], autojump_clock: trio.testing.MockClock
) -> None:
    async with open_bench() as bench:
        position = await bench.enter()
        await close(bench, intend_exit(bench, 1))
        if stored:
            bench.witness.note_commit(saved(position, closed=True))
        if died:
            bench.witness.process_died()
        if told_open:
            bench.knowledge.note_update(PositionUpdate(SYMBOL, "long", D(1), trio.current_time()))
        await close(bench, intend_exit(bench, 2))
        assert classes(bench.witness, TWICE) == complaints


@pytest.mark.parametrize("by_the_dead", [True, False])
async def test_a_close_of_a_process_that_died_meanwhile_is_no_close_of_the_next_one(
    by_the_dead: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_bench() as bench:
        await bench.enter()
        own = intend_exit(bench, 1)
        bench.witness.process_died()
        await close(bench, own if by_the_dead else intend_exit(bench, 2))
        await close(bench, intend_exit(bench, 3))
        assert classes(bench.witness, TWICE) == ([] if by_the_dead else [TWICE])


# No stop is looser than one before.


@pytest.mark.parametrize(("market", "complaints"), [("99.5", [LOOSENED]), ("98.9", [])])
async def test_a_looser_stop_is_booked_only_where_the_market_is_beyond_the_tighter_one(
    market: str, complaints: list[str], autojump_clock: trio.testing.MockClock
) -> None:
    async with open_bench() as bench:
        await bench.enter()
        await bench.cancel(await bench.place("99"))
        bench.move_market(market)
        await bench.place("98")
        assert classes(bench.witness, LOOSENED) == complaints


@pytest.mark.parametrize("touched", [True, False])
async def test_a_looser_stop_may_be_booked_beside_one_that_was_triggered_and_is_not_filled(
    touched: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_bench(partial_fills=PART_FILLED) as bench:
        position = await bench.enter(quantity=10)
        await bench.paper.place_stop(StopRequest(SYMBOL, "long", position.quantity, D(99), "tr0000" + "a" * 16))
        if touched:
            bench.move_market("99")
            bench.move_market("99.5")
            assert any(order.triggered for order in bench.paper.actual(SYMBOL)[0])
        await bench.place("98")
        assert classes(bench.witness, LOOSENED) == ([] if touched else [LOOSENED])


# A position is not taken for another one.


@pytest.mark.parametrize(
    ("case", "complaints"),
    [("covered", [TAKEN_FOR_ANOTHER]), ("covered and added to", []), ("never covered", [])],
)
async def test_only_a_position_that_was_added_to_or_never_had_a_stop_may_be_taken_for_another_one(
    case: Literal["covered", "covered and added to", "never covered"],
    complaints: list[str],
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as bench:
        await bench.enter()
        if case != "never covered":
            await bench.place("98")
        bench.witness.lives[SYMBOL, "long"].was_added_to = case == "covered and added to"
        event = Alarm(at=EARLIER, symbol=SYMBOL, side="long", what=ANOTHER_POSITION)
        bench.witness.note_commit([AppendEvent("paper", "default", event)])
        assert classes(bench.witness, TAKEN_FOR_ANOTHER) == complaints


@pytest.mark.parametrize("closed_at_once", [True, False])
async def test_what_stands_there_may_be_taken_for_another_one_where_the_record_is_of_one_that_has_ended(
    closed_at_once: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_bench() as bench:
        before = await bench.enter()
        bench.witness.note_commit(saved(before))
        bench.paper.reduce(SYMBOL, "long", D(1))
        now = Position(SYMBOL, "long", D(1), D(100), EARLIER, id="the next one")
        await bench.paper.enter(now)
        await bench.place("98")
        alarm = AppendEvent("paper", "default", Alarm(at=EARLIER, symbol=SYMBOL, side="long", what=ANOTHER_POSITION))
        ending = saved(before, closed=True) if closed_at_once else []
        bench.witness.note_commit([*ending, *saved(now), alarm] if closed_at_once else [alarm])
        assert classes(bench.witness, TAKEN_FOR_ANOTHER) == []
        await bench.place("98.5")
        bench.witness.note_commit([*saved(now), alarm])
        assert classes(bench.witness, TAKEN_FOR_ANOTHER) == [TAKEN_FOR_ANOTHER]


async def test_a_position_that_was_added_to_may_be_taken_for_another_one_again_after_a_restart(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as bench:
        await bench.enter()
        await bench.place("98")
        bench.witness.lives[SYMBOL, "long"].was_added_to = True
        alarm = AppendEvent("paper", "default", Alarm(at=EARLIER, symbol=SYMBOL, side="long", what=ANOTHER_POSITION))
        for price in ("98.5", "98.6"):
            bench.witness.note_commit([alarm])
            await bench.place(price)
        assert classes(bench.witness, TAKEN_FOR_ANOTHER) == []


# Fills are counted once.


@pytest.mark.parametrize(("told", "complaints"), [("1", []), ("2", [COUNTED_TWICE])])
async def test_no_more_is_counted_as_filled_than_was_filled_of_its_own_orders(
    told: str, complaints: list[str], autojump_clock: trio.testing.MockClock
) -> None:
    async with open_bench() as bench:
        position = await bench.enter(quantity=3)
        bench.witness.note_commit(saved(position))
        await close(bench, intend_exit(bench, 1, position.identity))
        await close(bench, intend_exit(bench, 2, "another one of the same entry price"))
        ended = PositionClosed(
            at=EARLIER,
            symbol=SYMBOL,
            side="long",
            entry_price=position.entry_price,
            quantity=D(told),
            profit=None,
            moves=0,
            unprotected_seconds=0.0,
            unprotected_time=UnprotectedTime(),
            reason="it was closed",
        )
        bench.witness.note_commit([AppendEvent("paper", "default", ended)])
        assert classes(bench.witness, COUNTED_TWICE) == complaints


@pytest.mark.parametrize("are_triggered", [False, True])
async def test_a_third_stop_stands_only_beside_stops_that_were_triggered_and_are_not_filled(
    are_triggered: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_bench(partial_fills=PART_FILLED) as bench:
        await bench.enter(quantity=9)
        await bench.place("98")
        await bench.place("98")
        if are_triggered:
            bench.move_market("97.9")
            assert all(order.triggered for order in bench.paper.actual(SYMBOL)[0])
        await bench.place("97")
        assert bool(classes(bench.witness, THREE)) is not are_triggered


# The exchange trails no later than ours would.


class _Trailed(Claim):
    """A claim of a position that the exchange trails, and whose stop is wanted at a price."""

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
    async with open_bench() as bench:
        bench.move_market(market)
        native = StopOrder(SYMBOL, "long", D(1), D(102), "tr0000" + "b" * 16, "1", callback=Percent(1))
        claim = _Trailed(native, stop, target)
        assert (trails_behind_ours(bench.paper, claim, rounding=D(rounding)) is not None) == is_wrong


@pytest.mark.parametrize(("stop", "is_wrong"), [("98", True), ("100.5", False)])
async def test_a_stop_that_a_person_tightened_beyond_the_exchanges_trailing_order_is_not_behind_it(
    stop: str, is_wrong: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_bench() as bench:
        await bench.enter()
        trails_at_99 = await bench.place("99")
        bench.move_market("101")
        claim = _Trailed(trails_at_99, stop, "100.5")
        assert (trails_behind_ours(bench.paper, claim, rounding=D(0)) is not None) == is_wrong
