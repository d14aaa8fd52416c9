"""What the monitors of a harsh world complain of, and what they excuse: each excuse with its limit."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal as D
from functools import partial

import pytest
import trio
from inspection import Claim, Inspection, Key
from msgspec.structs import replace

import trailing
from simulation.harsh_bench import ONE_STOP, PLAN, SYMBOL, Bench, open_bench, saved
from simulation.laboratory.cancellations import UNTOLD_SECONDS
from simulation.laboratory.harsh_lists import UNREADABLE
from simulation.laboratory.harsh_rates import PART_FILLED
from simulation.laboratory.knowledge import BOTH_LISTS
from simulation.laboratory.monitored_exchange import MonitoredExchange
from simulation.laboratory.position_monitor import EXIT_WITHIN
from simulation.laboratory.process import MortalExchange, Process
from simulation.laboratory.request_monitor import STARTS_WITHIN
from simulation.laboratory.waits import LONGEST_WAIT, Waits
from simulation.laboratory.witness import PATIENCE
from trailing.core.account import PositionReport
from trailing.core.model import Position, StopOrder
from trailing.errors import ExchangeUnreachable, RateLimited
from trailing.exchanges.paper.transport import LogEntry
from trailing.exchanges.port import OrderUpdate, PositionUpdate, StopRequest
from trailing.testing.invariants import MOST_LISTS, MOST_REPEATS, REPEATED_WITHIN

LOOSER = "2. a request is looser than a live stop"
BESIDE = "1. a stop is placed as a missing one beside a live one"
NO_REASON = "11. a live stop was cancelled for no allowed reason"
NOT_CROSSED = "6. a position was closed whose stop was not crossed"
STILL_OPEN = "12. the record of an open position was closed"


def ended(order: StopOrder) -> OrderUpdate:
    """The update that tells of a stop's end."""
    own, theirs = order.client_order_id, order.order_id
    return OrderUpdate(order.symbol, order.side, own, theirs, "cancelled", trio.current_time())


# Invariant 2: no request is looser than a live stop.


async def test_a_request_may_be_looser_than_an_amended_stop_until_the_process_was_shown_the_amendment(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as bench:
        await bench.enter()
        order = await bench.place("98")
        amended = bench.amend_by_hand(order, "99")
        bench.requests.check_not_looser(SYMBOL, "long", D("98.5"))
        assert bench.complaints == []
        bench.knowledge.note_shown((amended,))
        bench.requests.check_not_looser(SYMBOL, "long", D("98.5"))
        assert bench.complaints == [LOOSER]


async def test_a_stop_in_one_list_counts_as_shown_once_the_other_list_is_there(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as bench:
        await bench.enter()
        amended = bench.amend_by_hand(await bench.place("98"), "99")
        bench.knowledge.note_listed((amended,))
        bench.requests.check_not_looser(SYMBOL, "long", D("98.5"))
        assert bench.complaints == []
        await trio.sleep(BOTH_LISTS)
        bench.requests.check_not_looser(SYMBOL, "long", D("98.5"))
        assert bench.complaints == [LOOSER]


async def test_a_price_that_a_stop_never_had_excuses_no_request(autojump_clock: trio.testing.MockClock) -> None:
    async with open_bench() as bench:
        await bench.enter()
        order = await bench.place("98")
        bench.knowledge.note_shown((replace(order, price=D(80)),))
        bench.requests.check_not_looser(SYMBOL, "long", D(90))
        assert bench.complaints == [LOOSER]


async def test_a_dead_process_leaves_no_knowledge(autojump_clock: trio.testing.MockClock) -> None:
    async with open_bench() as bench:
        await bench.enter()
        await bench.place("98")
        bench.knowledge.process_died()
        bench.requests.check_not_looser(SYMBOL, "long", D(90))
        assert bench.complaints == []


async def test_a_stop_that_a_person_loosened_has_its_time_to_be_tightened_and_not_longer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as bench:
        await bench.enter()
        bench.amend_by_hand(await bench.place("98"), "95")
        bench.positions.look(SYMBOL, _Listed(SYMBOL))
        await trio.sleep(PATIENCE)
        bench.positions.look(SYMBOL, _Listed(SYMBOL))
        assert bench.complaints == []
        bench.move_market("97")  # the tighter stop can't be placed now
        bench.positions.look(SYMBOL, _Listed(SYMBOL))
        bench.move_market("100")
        await trio.sleep(PATIENCE)
        bench.positions.look(SYMBOL, _Listed(SYMBOL))
        assert bench.complaints == []
        await trio.sleep(PATIENCE + 1)
        bench.positions.look(SYMBOL, _Listed(SYMBOL))
        assert bench.complaints == ["2. a stop that was loosened by hand stays so"]


async def test_a_price_that_a_person_gave_a_stop_is_not_ours_when_it_is_looked_up(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as bench:
        await bench.enter()
        order = await bench.place("98")
        bench.amend_by_hand(order, "99")
        await bench.paper.find_stop(SYMBOL, order.client_order_id)
        bench.amend_by_hand(order, "98")
        bench.positions.look(SYMBOL, _Listed(SYMBOL))
        await trio.sleep(PATIENCE + 1)
        bench.positions.look(SYMBOL, _Listed(SYMBOL))
        assert bench.complaints == []


# Invariant 11: what allows a cancellation.


async def test_a_live_stop_is_cancelled_only_where_another_one_is_as_tight_or_the_position_is_flat(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as bench:
        await bench.enter()
        first, second = await bench.place("98"), await bench.place("98.5")
        await bench.cancel(first)
        assert bench.complaints == []
        await bench.cancel(second)
        assert bench.complaints == [NO_REASON]
        third = await bench.place("98")
        bench.paper.reduce(SYMBOL, "long", D(1))
        await bench.cancel(third)
        assert bench.complaints == [NO_REASON]


async def test_a_stop_of_a_position_that_has_ended_is_no_stop_of_the_one_in_its_place(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as bench:
        await bench.enter()
        left = await bench.place("99")
        bench.paper.reduce(SYMBOL, "long", D(1))
        await bench.enter()
        bench.requests.check_not_looser(SYMBOL, "long", D(98))
        bench.requests.check_missing(SYMBOL, "long")
        await bench.cancel(left)
        assert bench.complaints == []
        own = await bench.place("99")
        bench.requests.check_not_looser(SYMBOL, "long", D(98))
        await bench.cancel(own)
        assert bench.complaints == [LOOSER, NO_REASON]


async def test_what_allowed_a_cancellation_when_it_was_asked_for_may_change_until_it_is_booked(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as bench:
        await bench.enter()
        first, second = await bench.place("98"), await bench.place("98.5")
        bench.cancellations.note_asked(first)
        bench.paper.cancel_by_hand(second.client_order_id)
        bench.knowledge.note_update(ended(second))
        await bench.paper.cancel_stop(first)
        assert bench.complaints == []


@pytest.mark.parametrize("shown", [False, True])
async def test_a_stop_supersedes_as_long_as_the_process_was_not_shown_that_a_person_loosened_it(
    shown: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_bench() as bench:
        await bench.enter()
        first, second = await bench.place("98"), await bench.place("98.5")
        amended = bench.amend_by_hand(second, "95")
        if shown:
            bench.knowledge.note_shown((amended,))
        await bench.cancel(first)
        assert bench.complaints == ([NO_REASON] if shown else [])


@pytest.mark.parametrize("shown", [False, True])
async def test_a_stop_is_superseded_as_long_as_the_process_was_not_shown_that_a_person_tightened_it(
    shown: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_bench() as bench:
        await bench.enter()
        first, _ = await bench.place("98"), await bench.place("98.5")
        amended = bench.amend_by_hand(first, "99")
        if shown:
            bench.knowledge.note_shown((amended,))
        await bench.cancel(first)
        assert bench.complaints == ([NO_REASON] if shown else [])


@pytest.mark.parametrize(
    ("told", "seconds", "complaints"), [(False, 1, []), (True, 1, [NO_REASON]), (False, UNTOLD_SECONDS, [NO_REASON])]
)
async def test_a_stop_supersedes_after_its_end_until_the_process_is_told_or_has_read_the_account(
    told: bool, seconds: float, complaints: list[str], autojump_clock: trio.testing.MockClock
) -> None:
    async with open_bench() as bench:
        await bench.enter()
        first, second = await bench.place("98"), await bench.place("98.5")
        bench.paper.cancel_by_hand(second.client_order_id)
        if told:
            bench.knowledge.note_update(ended(second))
        await trio.sleep(seconds)
        await bench.cancel(first)
        assert bench.complaints == complaints


@pytest.mark.parametrize(("second", "complaints"), [("97.95", []), ("97.9", [NO_REASON])])
async def test_a_stop_supersedes_one_that_is_tighter_by_what_a_market_may_round(
    second: str, complaints: list[str], autojump_clock: trio.testing.MockClock
) -> None:
    async with open_bench() as bench:
        await bench.enter()
        first = await bench.place("98")
        await bench.place(second)
        await bench.cancel(first)
        assert bench.complaints == complaints


@pytest.mark.parametrize("touched", [True, False])
async def test_a_stop_that_was_triggered_and_is_not_filled_is_no_protection(
    touched: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_bench(partial_fills=PART_FILLED) as bench:
        position = await bench.enter(quantity=10)
        own = "tr0000" + "a" * 16
        order = await bench.paper.place_stop(StopRequest(SYMBOL, "long", position.quantity, D(99), own))
        bench.knowledge.note_shown((order,))
        if touched:
            bench.move_market("99")
            bench.move_market("99.5")
        (order,) = bench.paper.actual(SYMBOL)[0]
        assert order.triggered == touched
        bench.requests.check_not_looser(SYMBOL, "long", D(98))
        bench.requests.check_missing(SYMBOL, "long")
        await bench.cancel(order)
        assert bench.complaints == ([] if touched else [LOOSER, BESIDE, NO_REASON])


@pytest.mark.parametrize(
    ("opening", "policy", "complaints"),
    [(True, "cancel", []), (True, "adopt", [NO_REASON]), (False, "cancel", [NO_REASON])],
)
async def test_a_late_order_is_cancelled_only_while_its_position_is_opened_and_by_a_plan_that_says_so(
    opening: bool, policy: str, complaints: list[str], autojump_clock: trio.testing.MockClock
) -> None:
    async with open_bench(replace(PLAN, on_late_order=policy)) as bench:
        await bench.enter()
        bench.opening = opening
        await bench.cancel(await bench.place("98"))
        assert bench.complaints == complaints


async def test_the_only_stop_is_cancelled_for_another_one_that_is_tried_soon(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as bench:
        await bench.enter(ONE_STOP)
        await bench.cancel(await bench.place("98", ONE_STOP))
        await trio.sleep(STARTS_WITHIN)
        bench.requests.note_request("place_stop", ONE_STOP, "long", D("98.5"), D(1))
        await trio.sleep(STARTS_WITHIN)
        bench.cancellations.look()
        assert bench.complaints == []
        await bench.cancel(await bench.place("98", ONE_STOP))
        bench.cancellations.process_died()
        await trio.sleep(STARTS_WITHIN + 1)
        bench.cancellations.look()
        assert bench.complaints == []
        await bench.cancel(await bench.place("98", ONE_STOP))
        await trio.sleep(STARTS_WITHIN + 1)
        bench.cancellations.look()
        assert bench.complaints == ["11. the only stop was cancelled and none was tried in its place"]


async def test_a_cancellation_of_the_only_stop_whose_answer_was_lost_has_to_be_found_out_first(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as bench:
        await bench.enter(ONE_STOP)
        await bench.paper.cancel_stop(await bench.place("98", ONE_STOP))
        await trio.sleep(STARTS_WITHIN + 1)
        bench.cancellations.look()
        assert bench.complaints == []


async def test_the_only_stop_is_not_cancelled_while_placing_is_throttled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as bench:
        await bench.enter(ONE_STOP)
        order = await bench.place("98", ONE_STOP)
        bench.requests.note_failure("place_stop", ONE_STOP, RateLimited("later", retry_after=30))
        await bench.cancel(order)
        assert bench.complaints == ["11. the only stop was cancelled while placing was throttled"]


# Exits.


async def test_an_exit_may_follow_the_price_that_justifies_it_for_as_long_as_closing_may_be_throttled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as bench:
        await bench.enter(quantity=3)
        await bench.paper.close_position(SYMBOL, "long", D(1), "tr0000" + "a" * 16)
        assert bench.complaints == [NOT_CROSSED]
        bench.move_market("97.9")
        bench.move_market("99")
        await trio.sleep(EXIT_WITHIN - 1)
        await bench.paper.close_position(SYMBOL, "long", D(1), "tr0000" + "b" * 16)
        assert bench.complaints == [NOT_CROSSED]
        await trio.sleep(2)
        await bench.paper.close_position(SYMBOL, "long", D(1), "tr0000" + "c" * 16)
        assert bench.complaints == [NOT_CROSSED, NOT_CROSSED]


async def test_an_exit_is_justified_by_what_a_rule_wants_or_a_person_amended(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as bench:
        await bench.enter(quantity=3)
        bench.move_market("102")  # the rule wants 101.49
        bench.move_market("101.4")
        await bench.paper.close_position(SYMBOL, "long", D(1), "tr0000" + "a" * 16)
        assert bench.complaints == []
    async with open_bench() as bench:
        await bench.enter(quantity=3)
        order = bench.amend_by_hand(await bench.place("98"), "99.5")
        bench.paper.cancel_by_hand(order.client_order_id)
        bench.move_market("99.4")
        await bench.paper.close_position(SYMBOL, "long", D(1), "tr0000" + "a" * 16)
        assert bench.complaints == []


# Invariant 12: what is listed, and what is on record.


class _Listed(Inspection):
    """A manager that has no claims, and lists a position or none."""

    def __init__(self, symbol: str | None) -> None:
        self._symbol = symbol

    def claims(self) -> tuple[Claim, ...]:
        return ()

    def listed(self) -> set[Key]:
        return set() if self._symbol is None else {(self._symbol, "long")}


async def test_a_position_that_was_handed_in_is_listed_and_one_on_record_after_a_restart_too(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as bench:

        async def look(listed: str | None) -> int:
            """Look twice, 16 s apart. Returns the number of complaints."""
            for _ in range(2):
                bench.positions.look(SYMBOL, _Listed(listed))
                await trio.sleep(16)
            return len(bench.complaints)

        position = await bench.enter()
        assert await look(None) == 0  # nobody handed it in
        bench.positions.note_handed_in((SYMBOL, "long"))
        assert await look(SYMBOL) == 0
        assert await look(None) == 1
        bench.positions.process_died()
        assert await look(None) == 1  # the next process was given nothing
        bench.positions.note_commit(saved(position))
        bench.positions.process_died()
        assert await look(None) == 2
        assert set(bench.complaints) == {"12. a position is listed nowhere"}


async def test_a_claimed_position_is_in_a_list_at_every_moment(autojump_clock: trio.testing.MockClock) -> None:
    position = Position(SYMBOL, "long", D(1), D(100), datetime(2026, 1, 1, tzinfo=UTC))
    async with (
        open_bench() as bench,
        trailing.open_store("memory:") as store,
        trailing.open_manager(bench.paper, store, PLAN) as manager,
    ):
        inside = Inspection(manager)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(manager.protect, position, deadline=5.0))
            await trio.sleep(0.001)
            bench.positions.look(SYMBOL, inside)  # it is being opened
            assert bench.complaints == []
            inside.forget_to_list(SYMBOL)
            for _ in range(2):
                bench.positions.look(SYMBOL, inside)
            assert bench.complaints == ["12. a position is claimed and in no list"]
            nursery.cancel_scope.cancel()


async def test_the_record_of_an_open_position_is_not_closed(autojump_clock: trio.testing.MockClock) -> None:
    async with open_bench() as bench:
        position = await bench.enter()
        bench.positions.note_commit(saved(position))
        bench.positions.note_commit(saved(position, closed=True))
        assert bench.complaints == [STILL_OPEN]


@pytest.mark.parametrize(
    ("added", "stop", "excused"),
    [
        (True, "none", True),
        (True, "stands", False),
        (True, "cancelled by the process", False),
        (True, "superseded", True),
        (False, "none", False),
    ],
)
async def test_a_position_without_a_stop_that_a_person_added_to_may_be_taken_for_another_one(
    added: bool, stop: str, excused: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_bench() as bench:
        position = await bench.enter()
        if added:
            await bench.paper.enter(Position(SYMBOL, "long", D(1), D(101), datetime(2026, 1, 2, tzinfo=UTC)))
        if stop != "none":
            first = await bench.place("98")
        if stop == "cancelled by the process":
            await bench.cancel(first)
        if stop == "superseded":
            second = await bench.place("98.5")
            await bench.cancel(first)
            bench.paper.cancel_by_hand(second.client_order_id)
        bench.complaints.clear()
        bench.positions.note_commit(saved(position, closed=True))
        assert bench.complaints == ([] if excused else [STILL_OPEN])


@pytest.mark.parametrize(
    ("struck", "told_open", "cancelled", "excused"),
    [
        (True, False, False, True),
        (False, False, False, False),
        (True, True, False, False),
        (True, False, True, False),
    ],
)
async def test_a_position_without_a_stop_may_be_missing_in_a_list_where_nothing_else_told_the_process_of_it(
    struck: bool, told_open: bool, cancelled: bool, excused: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_bench() as bench:
        position = await bench.enter()
        if struck:
            bench.log.note("wrong_lists")
        if told_open:
            bench.knowledge.note_update(PositionUpdate(SYMBOL, "long", D(1), trio.current_time()))
        if cancelled:  # by the process itself, which so took the evidence away
            bench.opening = True
            order = await bench.place("98")
            await bench.paper.cancel_stop(order)
            bench.complaints.clear()
        bench.positions.note_commit(saved(position, closed=True))
        assert bench.complaints == ([] if excused else [STILL_OPEN])


# Invariants 1, 7 and 13: what is asked for, and what is not.


@pytest.mark.parametrize("excuse", [None, "not shown", "ended", "cancelled", "missing in two lists"])
async def test_no_stop_is_placed_as_a_missing_one_beside_one_that_the_process_has_to_believe_in(
    excuse: str | None, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_bench() as bench:
        await bench.enter()
        order = await bench.place("98", shown=excuse != "not shown")
        if excuse == "ended":
            bench.knowledge.note_update(ended(order))
        if excuse == "cancelled":
            bench.knowledge.note_cancelled(order)
        if excuse == "missing in two lists":
            await bench.enter(ONE_STOP)
            other = await bench.place("98", ONE_STOP)
            bench.knowledge.note_listed((other,))
            bench.knowledge.note_listed((other,))
        else:
            bench.knowledge.note_listed(())
            bench.knowledge.note_listed(())
        bench.requests.check_missing(SYMBOL, "long")
        assert bench.complaints == ([] if excuse else [BESIDE])


async def test_a_position_whose_stop_is_gone_waits_for_no_back_off_but_that_of_what_it_needs(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as bench:
        await bench.enter()
        order = await bench.place("98")
        bench.paper.cancel_by_hand(order.client_order_id)
        bench.requests.note_told_gone(order)
        bench.requests.note_failure("place_stop", SYMBOL, ExchangeUnreachable("not now"))
        await trio.sleep(30 + STARTS_WITHIN)
        bench.requests.check_tries(())
        assert bench.complaints == []
        bench.requests.note_failure("amend_stop", SYMBOL, RateLimited("later", retry_after=90))
        await trio.sleep(1)
        bench.requests.check_tries(())
        assert bench.complaints == ["7. nothing is tried for a position without a stop"]


class _Unprotected(Claim):
    """A claim of a position without a stop, frozen or not."""

    def __init__(self, *, is_frozen: bool = False, is_entry_doubted: bool = False) -> None:
        self._is_frozen, self._is_entry_doubted = is_frozen, is_entry_doubted

    @property
    def key(self) -> Key:
        return SYMBOL, "long"

    @property
    def state(self) -> str:
        return "unprotected"

    @property
    def is_frozen(self) -> bool:
        return self._is_frozen

    @property
    def is_entry_doubted(self) -> bool:
        return self._is_entry_doubted


@pytest.mark.parametrize("is_frozen", [False, True])
async def test_a_position_that_the_process_says_is_unprotected_is_not_left_alone_unless_a_bug_froze_it(
    is_frozen: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_bench() as bench:
        await bench.enter()
        claims = (_Unprotected(is_frozen=is_frozen),)
        bench.requests.check_tries(claims)
        await trio.sleep(STARTS_WITHIN)
        bench.requests.check_tries(claims)
        assert bench.complaints == []
        await trio.sleep(1)
        bench.requests.check_tries(claims)
        assert bench.complaints == ([] if is_frozen else ["7. nothing is tried for a position without a stop"])


@pytest.mark.parametrize("is_entry_doubted", [False, True])
async def test_a_position_without_a_stop_that_may_be_another_one_may_have_to_wait_for_the_lists_that_tell(
    is_entry_doubted: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_bench() as bench:
        await bench.enter()
        claims = (_Unprotected(is_entry_doubted=is_entry_doubted),)
        bench.requests.check_tries(claims)
        bench.requests.note_failure("positions", None, ExchangeUnreachable("not now"))
        await trio.sleep(STARTS_WITHIN + 1)
        bench.requests.check_tries(claims)
        assert bench.complaints == ([] if is_entry_doubted else ["7. nothing is tried for a position without a stop"])
        await trio.sleep(30)
        bench.requests.check_tries(claims)
        assert set(bench.complaints) == {"7. nothing is tried for a position without a stop"}


@pytest.mark.parametrize("wrong", ["failing", "missing", "doubled", "unreadable", None])
async def test_a_list_that_is_wrong_tells_no_position_from_another_one(
    wrong: str | None, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_bench() as bench:
        position = await bench.enter()
        claims = (_Unprotected(is_entry_doubted=True),)
        bench.requests.check_tries(claims)
        report = PositionReport(SYMBOL, "long", position.quantity, position.entry_price)
        lists: dict[str | None, list[PositionReport]] = {
            "missing": [],
            "doubled": [report, report],
            "unreadable": [replace(report, quantity=UNREADABLE)],
        }
        await trio.sleep(10)
        if wrong == "failing":
            bench.requests.note_failure("positions", None, ExchangeUnreachable("not now"))
            bench.requests.note_answer("open_stops", None)
            bench.requests.note_answer("positions", None)
        bench.requests.note_positions(lists.get(wrong, [report]))
        bench.requests.note_answer("positions", None)
        await trio.sleep(STARTS_WITHIN - 5)
        bench.requests.check_tries(claims)
        assert bench.complaints == ([] if wrong else ["7. nothing is tried for a position without a stop"])
        await trio.sleep(6)
        bench.requests.check_tries(claims)
        assert set(bench.complaints) == {"7. nothing is tried for a position without a stop"}


@pytest.mark.parametrize("lives", [True, False])
async def test_a_call_that_gets_no_answer_in_time_has_failed_and_may_back_off_unless_its_process_is_dead(
    lives: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_bench() as bench:
        await bench.enter()
        mortal, process = MortalExchange(bench.paper, Process(), bench.weather), Process()
        seen = MonitoredExchange(
            mortal, process, bench.requests, bench.knowledge, bench.cancellations, lambda *_: "unprotected"
        )
        claims = (_Unprotected(),)
        bench.requests.check_tries(claims)
        with trio.move_on_after(0.001):
            process.alive = lives
            await seen.price(SYMBOL, "last")
        await trio.sleep(STARTS_WITHIN + 1)
        bench.requests.check_tries(claims)
        assert bench.complaints == ([] if lives else ["7. nothing is tried for a position without a stop"])
        await trio.sleep(30)
        bench.requests.check_tries(claims)
        assert set(bench.complaints) == {"7. nothing is tried for a position without a stop"}


@pytest.mark.parametrize("operation", ["find_stop", "positions", "open_stops"])
async def test_a_process_that_was_refused_a_change_of_a_stop_may_have_to_wait_for_the_reads_that_confirm_its_end(
    operation: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_bench() as bench:
        await bench.enter()
        order = await bench.place("98")
        bench.paper.cancel_by_hand(order.client_order_id)
        bench.requests.note_told_gone(order)
        symbol = SYMBOL if operation == "find_stop" else None
        bench.requests.note_failure(operation, symbol, ExchangeUnreachable("not now"))
        await trio.sleep(30 + STARTS_WITHIN)
        bench.requests.check_tries(())
        assert bench.complaints == []
        bench.requests.note_answer(operation, symbol)
        bench.requests.check_tries(())
        assert bench.complaints == ["7. nothing is tried for a position without a stop"]


async def test_the_same_request_is_not_repeated_beyond_what_a_back_off_makes_of_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as bench:
        for _ in range(2 * MOST_REPEATS):
            bench.requests.note_request("find_stop", SYMBOL, "one")
            bench.requests.note_request("find_stop", SYMBOL, "one of two")
            await trio.sleep(REPEATED_WITHIN / MOST_REPEATS)
        assert bench.complaints == []
        for _ in range(MOST_REPEATS + 1):
            bench.requests.note_request("find_stop", SYMBOL, "one")
        assert bench.complaints == ["13. find_stop again and again"]


async def test_the_account_s_lists_are_not_asked_for_once_for_each_position(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_bench() as bench:
        for operation in ("positions", "open_stops"):
            for _ in range(MOST_LISTS // 2):
                bench.requests.note_request(operation, None)
        assert bench.complaints == []
        bench.requests.note_request("positions", None)
        assert bench.complaints == ["13. account lists again and again"]


@pytest.mark.parametrize("sick", [None, SYMBOL, ONE_STOP])
async def test_only_the_requests_of_a_sick_symbol_may_wait_long(
    sick: str | None, autojump_clock: trio.testing.MockClock
) -> None:
    complaints: list[str] = []
    waits = Waits(lambda what, _: complaints.append(what))
    waits.note_sent("amend_stop", SYMBOL)
    await trio.sleep(LONGEST_WAIT)
    waits.look(sick)
    assert complaints == []
    await trio.sleep(1)
    waits.look(sick)
    waits.note_booking(LogEntry(trio.current_time(), "amend_stop", SYMBOL, None, None))
    assert complaints == ([] if sick == SYMBOL else ["7. amend_stop waits for the requests of another symbol"])


# What a strike excuses of the checks of the ordinary worlds.


async def test_a_strike_postpones_what_has_to_be_in_order_until_it_ends_and_explains_no_missing_stop_by_itself(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bench = Bench(PLAN)
    await trio.sleep(1000)
    bench.log.note("throttles", until=1050)
    assert (bench.weather.calm_for(SYMBOL), bench.weather.unexplained_for(SYMBOL)) == (-50, 1000)
    await trio.sleep(60)
    assert bench.weather.calm_for(SYMBOL) == 10
    bench.log.note("silent_losses", SYMBOL, explains=True)
    assert (bench.weather.calm_for(SYMBOL), bench.weather.unexplained_for(SYMBOL)) == (0, 0)
    assert bench.weather.unexplained_for(ONE_STOP) == 1060
