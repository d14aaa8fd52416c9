"""Test the violations that the monitors of a harsh world report, and each excuse with its limit."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal as D
from functools import partial

import pytest
import trio
from inspection import Claim, Inspection, Key
from msgspec.structs import replace

import trailing
from simulation.laboratory.cancellations import UNNOTICED_SECONDS
from simulation.laboratory.harsh_lists import UNREADABLE
from simulation.laboratory.harsh_rates import PART_FILLED
from simulation.laboratory.invariant_monitor import RECENT_SECONDS, SETTLED_AFTER
from simulation.laboratory.monitored_exchange import MonitoredExchange
from simulation.laboratory.position_monitor import EXIT_WITHIN
from simulation.laboratory.process import KillableExchange, Process
from simulation.laboratory.process_view import BOTH_LISTS
from simulation.laboratory.request_monitor import STARTS_WITHIN
from simulation.laboratory.waits import LONGEST_WAIT, Waits
from simulation.monitor_setup import ONE_STOP, PLAN, SYMBOL, MonitorSetup, open_monitor_setup, saved
from trailing.core.account import PositionReport
from trailing.core.model import Position, StopOrder
from trailing.errors import ExchangeUnreachable, RateLimited
from trailing.exchanges.paper.transport import LogEntry
from trailing.exchanges.port import OrderUpdate, PositionUpdate, StopRequest
from trailing.testing.invariants import MOST_LISTS, MOST_REPEATS, REPEATED_WITHIN

LOOSER = "2. a request is looser than a live stop"
BESIDE = "1. a missing stop is placed beside a live one"
NO_REASON = "11. a live stop was cancelled for no allowed reason"
NOT_CROSSED = "6. a position was closed whose stop was not crossed"
STILL_OPEN = "12. the record of an open position was closed"


def ended(order: StopOrder) -> OrderUpdate:
    """Return the update of a stop's end."""
    own, theirs = order.client_order_id, order.order_id
    return OrderUpdate(order.symbol, order.side, own, theirs, "cancelled", trio.current_time())


# Invariant 2: no request is looser than a live stop.


async def test_a_request_may_be_looser_than_an_amended_stop_until_the_process_has_received_the_amendment(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_monitor_setup() as setup:
        await setup.enter()
        order = await setup.place("98")
        amended = setup.amend_by_hand(order, "99")
        setup.requests.check_not_looser(SYMBOL, "long", D("98.5"))
        assert setup.violations == []
        setup.process_view.note_shown((amended,))
        setup.requests.check_not_looser(SYMBOL, "long", D("98.5"))
        assert setup.violations == [LOOSER]


async def test_a_stop_in_one_list_counts_as_received_after_the_other_list(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_monitor_setup() as setup:
        await setup.enter()
        amended = setup.amend_by_hand(await setup.place("98"), "99")
        setup.process_view.note_listed((amended,))
        setup.requests.check_not_looser(SYMBOL, "long", D("98.5"))
        assert setup.violations == []
        await trio.sleep(BOTH_LISTS)
        setup.requests.check_not_looser(SYMBOL, "long", D("98.5"))
        assert setup.violations == [LOOSER]


async def test_a_stop_that_a_list_shows_twice_has_no_price_that_counts(autojump_clock: trio.testing.MockClock) -> None:
    async with open_monitor_setup() as setup:
        await setup.enter()
        amended = setup.amend_by_hand(await setup.place("98"), "99")
        setup.process_view.note_listed((amended, replace(amended, quantity=D(7))))
        await trio.sleep(BOTH_LISTS)
        setup.requests.check_not_looser(SYMBOL, "long", D("98.5"))
        assert setup.violations == []


async def test_a_price_that_a_stop_never_had_excuses_no_request(autojump_clock: trio.testing.MockClock) -> None:
    async with open_monitor_setup() as setup:
        await setup.enter()
        order = await setup.place("98")
        setup.process_view.note_shown((replace(order, price=D(80)),))
        setup.requests.check_not_looser(SYMBOL, "long", D(90))
        assert setup.violations == [LOOSER]


async def test_the_view_of_a_dead_process_is_forgotten(autojump_clock: trio.testing.MockClock) -> None:
    async with open_monitor_setup() as setup:
        await setup.enter()
        await setup.place("98")
        setup.process_view.process_died()
        setup.requests.check_not_looser(SYMBOL, "long", D(90))
        assert setup.violations == []


async def test_a_stop_that_a_person_loosened_has_to_be_tightened_in_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_monitor_setup() as setup:
        await setup.enter()
        setup.amend_by_hand(await setup.place("98"), "95")
        setup.positions.check(SYMBOL, _Listed(SYMBOL))
        await trio.sleep(SETTLED_AFTER)
        setup.positions.check(SYMBOL, _Listed(SYMBOL))
        assert setup.violations == []
        setup.move_market("97")  # the tighter stop can't be placed now
        setup.positions.check(SYMBOL, _Listed(SYMBOL))
        setup.move_market("100")
        await trio.sleep(SETTLED_AFTER)
        setup.positions.check(SYMBOL, _Listed(SYMBOL))
        assert setup.violations == []
        await trio.sleep(SETTLED_AFTER + 1)
        setup.positions.check(SYMBOL, _Listed(SYMBOL))
        assert setup.violations == ["2. a stop that was loosened by hand is not tightened again"]


async def test_a_price_that_a_person_gave_a_stop_is_not_ours_when_it_is_looked_up(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_monitor_setup() as setup:
        await setup.enter()
        order = await setup.place("98")
        setup.amend_by_hand(order, "99")
        await setup.paper.find_stop(SYMBOL, order.client_order_id)
        setup.amend_by_hand(order, "98")
        setup.positions.check(SYMBOL, _Listed(SYMBOL))
        await trio.sleep(SETTLED_AFTER + 1)
        setup.positions.check(SYMBOL, _Listed(SYMBOL))
        assert setup.violations == []


# Invariant 11: what allows a cancellation.


async def test_a_live_stop_is_cancelled_only_where_another_one_is_as_tight_or_the_position_is_flat(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_monitor_setup() as setup:
        await setup.enter()
        first, second = await setup.place("98"), await setup.place("98.5")
        await setup.cancel(first)
        assert setup.violations == []
        await setup.cancel(second)
        assert setup.violations == [NO_REASON]
        third = await setup.place("98")
        setup.paper.reduce(SYMBOL, "long", D(1))
        await setup.cancel(third)
        assert setup.violations == [NO_REASON]


async def test_a_stop_of_a_position_that_has_ended_is_no_stop_of_the_one_in_its_place(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_monitor_setup() as setup:
        await setup.enter()
        left = await setup.place("99")
        setup.paper.reduce(SYMBOL, "long", D(1))
        await setup.enter()
        setup.requests.check_not_looser(SYMBOL, "long", D(98))
        setup.requests.check_missing(SYMBOL, "long")
        await setup.cancel(left)
        assert setup.violations == []
        own = await setup.place("99")
        setup.requests.check_not_looser(SYMBOL, "long", D(98))
        await setup.cancel(own)
        assert setup.violations == [LOOSER, NO_REASON]


async def test_the_reason_of_a_cancellation_may_end_between_request_and_booking(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_monitor_setup() as setup:
        await setup.enter()
        first, second = await setup.place("98"), await setup.place("98.5")
        setup.cancellations.note_asked(first)
        setup.paper.cancel_by_hand(second.client_order_id)
        setup.process_view.note_update(ended(second))
        await setup.paper.cancel_stop(first)
        assert setup.violations == []


@pytest.mark.parametrize("shown", [False, True])
async def test_a_loosened_stop_supersedes_until_the_process_has_received_the_change(
    shown: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_monitor_setup() as setup:
        await setup.enter()
        first, second = await setup.place("98"), await setup.place("98.5")
        amended = setup.amend_by_hand(second, "95")
        if shown:
            setup.process_view.note_shown((amended,))
        await setup.cancel(first)
        assert setup.violations == ([NO_REASON] if shown else [])


@pytest.mark.parametrize("shown", [False, True])
async def test_a_tightened_stop_is_superseded_until_the_process_has_received_the_change(
    shown: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_monitor_setup() as setup:
        await setup.enter()
        first, _ = await setup.place("98"), await setup.place("98.5")
        amended = setup.amend_by_hand(first, "99")
        if shown:
            setup.process_view.note_shown((amended,))
        await setup.cancel(first)
        assert setup.violations == ([NO_REASON] if shown else [])


@pytest.mark.parametrize(
    ("received_end", "seconds", "violations"),
    [(False, 1, []), (True, 1, [NO_REASON]), (False, UNNOTICED_SECONDS, [NO_REASON])],
)
async def test_an_ended_stop_supersedes_until_the_process_has_received_or_read_its_end(
    received_end: bool, seconds: float, violations: list[str], autojump_clock: trio.testing.MockClock
) -> None:
    async with open_monitor_setup() as setup:
        await setup.enter()
        first, second = await setup.place("98"), await setup.place("98.5")
        setup.paper.cancel_by_hand(second.client_order_id)
        if received_end:
            setup.process_view.note_update(ended(second))
        await trio.sleep(seconds)
        await setup.cancel(first)
        assert setup.violations == violations


@pytest.mark.parametrize(("second", "violations"), [("97.95", []), ("97.9", [NO_REASON])])
async def test_a_stop_supersedes_one_that_is_tighter_by_what_a_market_may_round(
    second: str, violations: list[str], autojump_clock: trio.testing.MockClock
) -> None:
    async with open_monitor_setup() as setup:
        await setup.enter()
        first = await setup.place("98")
        await setup.place(second)
        await setup.cancel(first)
        assert setup.violations == violations


@pytest.mark.parametrize("touched", [True, False])
async def test_a_stop_that_was_triggered_and_is_not_filled_is_no_protection(
    touched: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_monitor_setup(partial_fills=PART_FILLED) as setup:
        position = await setup.enter(quantity=10)
        own = "tr0000" + "a" * 16
        order = await setup.paper.place_stop(StopRequest(SYMBOL, "long", position.quantity, D(99), own))
        setup.process_view.note_shown((order,))
        if touched:
            setup.move_market("99")
            setup.move_market("99.5")
        (order,) = setup.paper.actual(SYMBOL)[0]
        assert order.triggered == touched
        setup.requests.check_not_looser(SYMBOL, "long", D(98))
        setup.requests.check_missing(SYMBOL, "long")
        await setup.cancel(order)
        assert setup.violations == ([] if touched else [LOOSER, BESIDE, NO_REASON])


@pytest.mark.parametrize(
    ("opening", "policy", "violations"),
    [(True, "cancel", []), (True, "adopt", [NO_REASON]), (False, "cancel", [NO_REASON])],
)
async def test_a_late_order_is_cancelled_only_while_its_position_is_opened_and_by_a_plan_that_says_so(
    opening: bool, policy: str, violations: list[str], autojump_clock: trio.testing.MockClock
) -> None:
    async with open_monitor_setup(replace(PLAN, on_late_order=policy)) as setup:
        await setup.enter()
        setup.opening = opening
        await setup.cancel(await setup.place("98"))
        assert setup.violations == violations


@pytest.mark.parametrize("opening", [True, False])
async def test_a_late_order_that_its_plan_cancels_explains_the_time_until_the_next_stop(
    opening: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_monitor_setup(replace(PLAN, on_late_order="cancel")) as setup:
        await setup.enter()
        setup.opening, setup.invariant_monitor.why_down = opening, None
        late = await setup.place("98")
        setup.invariant_monitor.check(SYMBOL)
        await trio.sleep(RECENT_SECONDS + 1)
        await setup.cancel(late)
        setup.invariant_monitor.check(SYMBOL)
        await setup.place("98")
        setup.invariant_monitor.check(SYMBOL)
        unexplained = [what for what in setup.invariant_monitor.broken if "without a cause" in what]
        assert len(unexplained) == (0 if opening else 1)


async def test_the_only_stop_is_cancelled_for_another_one_that_is_tried_soon(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_monitor_setup() as setup:
        await setup.enter(ONE_STOP)
        await setup.cancel(await setup.place("98", ONE_STOP))
        await trio.sleep(STARTS_WITHIN)
        setup.requests.note_request("place_stop", ONE_STOP, "long", D("98.5"), D(1))
        await trio.sleep(STARTS_WITHIN)
        setup.cancellations.check()
        assert setup.violations == []
        await setup.cancel(await setup.place("98", ONE_STOP))
        setup.cancellations.process_died()
        await trio.sleep(STARTS_WITHIN + 1)
        setup.cancellations.check()
        assert setup.violations == []
        await setup.cancel(await setup.place("98", ONE_STOP))
        await trio.sleep(STARTS_WITHIN + 1)
        setup.cancellations.check()
        assert setup.violations == ["11. the only stop was cancelled and none was tried in its place"]


async def test_a_cancellation_with_a_lost_reply_has_to_be_read_before_the_next_stop_is_due(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_monitor_setup() as setup:
        await setup.enter(ONE_STOP)
        await setup.paper.cancel_stop(await setup.place("98", ONE_STOP))
        await trio.sleep(STARTS_WITHIN + 1)
        setup.cancellations.check()
        assert setup.violations == []


async def test_the_only_stop_is_not_cancelled_while_placing_is_throttled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_monitor_setup() as setup:
        await setup.enter(ONE_STOP)
        order = await setup.place("98", ONE_STOP)
        setup.requests.note_failure("place_stop", ONE_STOP, RateLimited("later", retry_after=30))
        await setup.cancel(order)
        assert setup.violations == ["11. the only stop was cancelled while placing was throttled"]


# Exits.


async def test_an_exit_may_follow_the_price_that_justifies_it_for_as_long_as_closing_may_be_throttled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_monitor_setup() as setup:
        await setup.enter(quantity=3)
        await setup.paper.close_position(SYMBOL, "long", D(1), "tr0000" + "a" * 16)
        assert setup.violations == [NOT_CROSSED]
        setup.move_market("97.9")
        setup.move_market("99")
        await trio.sleep(EXIT_WITHIN - 1)
        await setup.paper.close_position(SYMBOL, "long", D(1), "tr0000" + "b" * 16)
        assert setup.violations == [NOT_CROSSED]
        await trio.sleep(2)
        await setup.paper.close_position(SYMBOL, "long", D(1), "tr0000" + "c" * 16)
        assert setup.violations == [NOT_CROSSED, NOT_CROSSED]


async def test_an_exit_is_justified_by_what_a_rule_wants_or_a_person_amended(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_monitor_setup() as setup:
        await setup.enter(quantity=3)
        setup.move_market("102")  # the rule wants 101.49
        setup.move_market("101.4")
        await setup.paper.close_position(SYMBOL, "long", D(1), "tr0000" + "a" * 16)
        assert setup.violations == []
    async with open_monitor_setup() as setup:
        await setup.enter(quantity=3)
        order = setup.amend_by_hand(await setup.place("98"), "99.5")
        setup.paper.cancel_by_hand(order.client_order_id)
        setup.move_market("99.4")
        await setup.paper.close_position(SYMBOL, "long", D(1), "tr0000" + "a" * 16)
        assert setup.violations == []


# Invariant 12: what is listed, and what is on record.


class _Listed(Inspection):
    """A manager without claims that lists one position or none."""

    def __init__(self, symbol: str | None) -> None:
        self._symbol = symbol

    def claims(self) -> tuple[Claim, ...]:
        return ()

    def listed(self) -> set[Key]:
        return set() if self._symbol is None else {(self._symbol, "long")}


async def test_a_position_that_was_handed_in_is_listed_and_one_on_record_after_a_restart_too(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_monitor_setup() as setup:

        async def check(listed: str | None) -> int:
            """Check twice, 16 s apart. Returns the number of violations."""
            for _ in range(2):
                setup.positions.check(SYMBOL, _Listed(listed))
                await trio.sleep(16)
            return len(setup.violations)

        position = await setup.enter()
        assert await check(None) == 0  # the position was not handed in
        setup.positions.note_handed_in((SYMBOL, "long"))
        assert await check(SYMBOL) == 0
        assert await check(None) == 1
        setup.positions.process_died()
        assert await check(None) == 1  # the next process has no record
        setup.positions.note_commit(saved(position))
        setup.positions.process_died()
        assert await check(None) == 2
        assert set(setup.violations) == {"12. a position is listed nowhere"}


async def test_a_claimed_position_is_in_a_list_at_every_moment(autojump_clock: trio.testing.MockClock) -> None:
    position = Position(SYMBOL, "long", D(1), D(100), datetime(2026, 1, 1, tzinfo=UTC))
    async with (
        open_monitor_setup() as setup,
        trailing.open_store("memory:") as store,
        trailing.open_manager(setup.paper, store, PLAN) as manager,
    ):
        inside = Inspection(manager)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(manager.protect, position, deadline=5.0))
            await trio.sleep(0.001)
            setup.positions.check(SYMBOL, inside)  # it is being opened
            assert setup.violations == []
            inside.forget_to_list(SYMBOL)
            for _ in range(2):
                setup.positions.check(SYMBOL, inside)
            assert setup.violations == ["12. a position is claimed and in no list"]
            nursery.cancel_scope.cancel()


async def test_the_record_of_an_open_position_is_not_closed(autojump_clock: trio.testing.MockClock) -> None:
    async with open_monitor_setup() as setup:
        position = await setup.enter()
        setup.positions.note_commit(saved(position))
        setup.positions.note_commit(saved(position, closed=True))
        assert setup.violations == [STILL_OPEN]


@pytest.mark.parametrize(
    ("added", "stop", "excused"),
    [
        (True, "none", True),
        (True, "live", False),
        (True, "cancelled by the process", False),
        (True, "superseded", True),
        (False, "none", False),
    ],
)
async def test_an_unprotected_position_that_a_person_added_to_may_be_treated_as_another_one(
    added: bool, stop: str, excused: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_monitor_setup() as setup:
        position = await setup.enter()
        if added:
            await setup.paper.enter(Position(SYMBOL, "long", D(1), D(101), datetime(2026, 1, 2, tzinfo=UTC)))
        if stop != "none":
            first = await setup.place("98")
        if stop == "cancelled by the process":
            await setup.cancel(first)
        if stop == "superseded":
            second = await setup.place("98.5")
            await setup.cancel(first)
            setup.paper.cancel_by_hand(second.client_order_id)
        setup.violations.clear()
        setup.positions.note_commit(saved(position, closed=True))
        assert setup.violations == ([] if excused else [STILL_OPEN])


@pytest.mark.parametrize(
    ("struck", "received_open", "cancelled", "excused"),
    [
        (True, False, False, True),
        (False, False, False, False),
        (True, True, False, False),
        (True, False, True, False),
    ],
)
async def test_an_unprotected_position_that_lists_leave_out_may_be_closed_without_an_update_of_it(
    struck: bool, received_open: bool, cancelled: bool, excused: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_monitor_setup() as setup:
        position = await setup.enter()
        if struck:
            setup.log.note("wrong_lists")
        if received_open:
            setup.process_view.note_update(PositionUpdate(SYMBOL, "long", D(1), trio.current_time()))
        if cancelled:  # by the process itself, so that the loss is no evidence
            setup.opening = True
            order = await setup.place("98")
            await setup.paper.cancel_stop(order)
            setup.violations.clear()
        setup.positions.note_commit(saved(position, closed=True))
        assert setup.violations == ([] if excused else [STILL_OPEN])


# Invariants 1, 7 and 13: what is asked for, and what is not.


@pytest.mark.parametrize("excuse", [None, "not shown", "ended", "cancelled", "missing in two lists"])
async def test_no_missing_stop_is_placed_beside_one_that_the_process_must_assume_live(
    excuse: str | None, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_monitor_setup() as setup:
        await setup.enter()
        order = await setup.place("98", shown=excuse != "not shown")
        if excuse == "ended":
            setup.process_view.note_update(ended(order))
        if excuse == "cancelled":
            setup.process_view.note_cancelled(order)
        if excuse == "missing in two lists":
            await setup.enter(ONE_STOP)
            other = await setup.place("98", ONE_STOP)
            setup.process_view.note_listed((other,))
            setup.process_view.note_listed((other,))
        else:
            setup.process_view.note_listed(())
            setup.process_view.note_listed(())
        setup.requests.check_missing(SYMBOL, "long")
        assert setup.violations == ([] if excuse else [BESIDE])


async def test_an_unprotected_position_waits_only_for_back_offs_of_requests_that_it_needs(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_monitor_setup() as setup:
        await setup.enter()
        order = await setup.place("98")
        setup.paper.cancel_by_hand(order.client_order_id)
        setup.requests.note_refused_as_gone(order)
        setup.requests.note_failure("place_stop", SYMBOL, ExchangeUnreachable("not now"))
        await trio.sleep(30 + STARTS_WITHIN)
        setup.requests.check_tries(())
        assert setup.violations == []
        setup.requests.note_failure("amend_stop", SYMBOL, RateLimited("later", retry_after=90))
        await trio.sleep(1)
        setup.requests.check_tries(())
        assert setup.violations == ["7. no request is made for an unprotected position"]


class _Unprotected(Claim):
    """A claim of an unprotected position, frozen or not."""

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
async def test_a_listed_unprotected_position_gets_requests_unless_a_bug_froze_it(
    is_frozen: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_monitor_setup() as setup:
        await setup.enter()
        claims = (_Unprotected(is_frozen=is_frozen),)
        setup.requests.check_tries(claims)
        await trio.sleep(STARTS_WITHIN)
        setup.requests.check_tries(claims)
        assert setup.violations == []
        await trio.sleep(1)
        setup.requests.check_tries(claims)
        assert setup.violations == ([] if is_frozen else ["7. no request is made for an unprotected position"])


@pytest.mark.parametrize("is_entry_doubted", [False, True])
async def test_a_doubted_unprotected_position_may_wait_for_the_lists(
    is_entry_doubted: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_monitor_setup() as setup:
        await setup.enter()
        claims = (_Unprotected(is_entry_doubted=is_entry_doubted),)
        setup.requests.check_tries(claims)
        setup.requests.note_failure("positions", None, ExchangeUnreachable("not now"))
        await trio.sleep(STARTS_WITHIN + 1)
        setup.requests.check_tries(claims)
        assert setup.violations == ([] if is_entry_doubted else ["7. no request is made for an unprotected position"])
        await trio.sleep(30)
        setup.requests.check_tries(claims)
        assert set(setup.violations) == {"7. no request is made for an unprotected position"}


@pytest.mark.parametrize("throttled", [True, False])
async def test_a_doubted_position_waits_for_the_other_list_once_a_throttled_one_is_answered(
    throttled: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_monitor_setup() as setup:
        await setup.enter()
        claims = (_Unprotected(is_entry_doubted=True),)
        setup.requests.check_tries(claims)
        if throttled:
            setup.requests.note_failure("positions", None, RateLimited("not now", retry_after=70.0))
        await trio.sleep(70)
        setup.requests.note_answer("positions", None)
        setup.requests.check_tries(claims)
        assert setup.violations == ([] if throttled else ["7. no request is made for an unprotected position"])


@pytest.mark.parametrize("wrong", ["failing", "missing", "doubled", "unreadable", None])
async def test_a_wrong_list_does_not_confirm_a_doubted_position(
    wrong: str | None, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_monitor_setup() as setup:
        position = await setup.enter()
        claims = (_Unprotected(is_entry_doubted=True),)
        setup.requests.check_tries(claims)
        report = PositionReport(SYMBOL, "long", position.quantity, position.entry_price)
        lists: dict[str | None, list[PositionReport]] = {
            "missing": [],
            "doubled": [report, report],
            "unreadable": [replace(report, quantity=UNREADABLE)],
        }
        await trio.sleep(10)
        if wrong == "failing":
            setup.requests.note_failure("positions", None, ExchangeUnreachable("not now"))
            setup.requests.note_answer("open_stops", None)
            setup.requests.note_answer("positions", None)
        setup.requests.note_positions(lists.get(wrong, [report]))
        setup.requests.note_answer("positions", None)
        await trio.sleep(STARTS_WITHIN - 5)
        setup.requests.check_tries(claims)
        assert setup.violations == ([] if wrong else ["7. no request is made for an unprotected position"])
        await trio.sleep(6)
        setup.requests.check_tries(claims)
        assert set(setup.violations) == {"7. no request is made for an unprotected position"}


@pytest.mark.parametrize("is_alive", [True, False])
async def test_a_call_that_gets_no_answer_in_time_has_failed_and_may_back_off_unless_its_process_is_dead(
    is_alive: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_monitor_setup() as setup:
        await setup.enter()
        killable, process = KillableExchange(setup.paper, Process(), setup.fault_schedule), Process()
        monitored = MonitoredExchange(
            killable, process, setup.requests, setup.process_view, setup.cancellations, lambda *_: "unprotected"
        )
        claims = (_Unprotected(),)
        setup.requests.check_tries(claims)
        with trio.move_on_after(0.001):
            process.alive = is_alive
            await monitored.price(SYMBOL, "last")
        await trio.sleep(STARTS_WITHIN + 1)
        setup.requests.check_tries(claims)
        assert setup.violations == ([] if is_alive else ["7. no request is made for an unprotected position"])
        await trio.sleep(30)
        setup.requests.check_tries(claims)
        assert set(setup.violations) == {"7. no request is made for an unprotected position"}


@pytest.mark.parametrize("operation", ["find_stop", "positions", "open_stops"])
async def test_a_process_that_was_refused_a_change_of_a_stop_may_have_to_wait_for_the_reads_that_confirm_its_end(
    operation: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_monitor_setup() as setup:
        await setup.enter()
        order = await setup.place("98")
        setup.paper.cancel_by_hand(order.client_order_id)
        setup.requests.note_refused_as_gone(order)
        symbol = SYMBOL if operation == "find_stop" else None
        setup.requests.note_failure(operation, symbol, ExchangeUnreachable("not now"))
        await trio.sleep(30 + STARTS_WITHIN)
        setup.requests.check_tries(())
        assert setup.violations == []
        setup.requests.note_answer(operation, symbol)
        setup.requests.check_tries(())
        assert setup.violations == ["7. no request is made for an unprotected position"]


async def test_the_same_request_is_not_repeated_beyond_what_a_back_off_makes_of_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_monitor_setup() as setup:
        for _ in range(2 * MOST_REPEATS):
            setup.requests.note_request("find_stop", SYMBOL, "one")
            setup.requests.note_request("find_stop", SYMBOL, "one of two")
            await trio.sleep(REPEATED_WITHIN / MOST_REPEATS)
        assert setup.violations == []
        for _ in range(MOST_REPEATS + 1):
            setup.requests.note_request("find_stop", SYMBOL, "one")
        assert setup.violations == ["13. find_stop is repeated too often"]


async def test_the_account_s_lists_are_not_asked_for_once_for_each_position(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_monitor_setup() as setup:
        for operation in ("positions", "open_stops"):
            for _ in range(MOST_LISTS // 2):
                setup.requests.note_request(operation, None)
        assert setup.violations == []
        setup.requests.note_request("positions", None)
        assert setup.violations == ["13. account lists is repeated too often"]


@pytest.mark.parametrize("sick", [None, SYMBOL, ONE_STOP])
async def test_only_the_requests_of_a_sick_symbol_may_wait_long(
    sick: str | None, autojump_clock: trio.testing.MockClock
) -> None:
    violations: list[str] = []
    waits = Waits(lambda what, _: violations.append(what))
    waits.note_sent("amend_stop", SYMBOL)
    await trio.sleep(LONGEST_WAIT)
    waits.check(sick)
    assert violations == []
    await trio.sleep(1)
    waits.check(sick)
    waits.note_booking(LogEntry(trio.current_time(), "amend_stop", SYMBOL, None, None))
    assert violations == ([] if sick == SYMBOL else ["7. amend_stop waits for the requests of another symbol"])


# What a strike excuses of the checks of the ordinary worlds.


async def test_a_strike_postpones_what_has_to_be_in_order_until_it_ends_and_explains_no_missing_stop_by_itself(
    autojump_clock: trio.testing.MockClock,
) -> None:
    setup = MonitorSetup(PLAN)
    await trio.sleep(1000)
    setup.log.note("throttles", until=1050)
    assert (setup.fault_schedule.undisturbed_seconds(SYMBOL), setup.fault_schedule.unexplained_seconds(SYMBOL)) == (
        -50,
        1000,
    )
    await trio.sleep(60)
    assert setup.fault_schedule.undisturbed_seconds(SYMBOL) == 10
    setup.log.note("silent_losses", SYMBOL, explains=True)
    assert (setup.fault_schedule.undisturbed_seconds(SYMBOL), setup.fault_schedule.unexplained_seconds(SYMBOL)) == (
        0,
        0,
    )
    assert setup.fault_schedule.unexplained_seconds(ONE_STOP) == 1060
