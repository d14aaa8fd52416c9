"""Resume the stored positions when a manager opens, and compare them with the exchange.

Every stored order has an unknown outcome until a snapshot or a look-up shows it. If the account can't be read, the outcome stays
unknown, and the position tasks go on with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import trio

from trailing.core.account import AccountSnapshot, Orphan
from trailing.core.findings import (
    AdoptStop,
    AnotherPosition,
    Finding,
    ForeignInstance,
    NextRequest,
    NotListed,
    OrphanStop,
    PositionFlat,
    Resize,
    Resume,
    StopAbsent,
    Tighten,
    Unresolved,
)
from trailing.core.goals import Protect
from trailing.core.inputs import CheckWanted, PricesMissed
from trailing.core.model import Position, StopOrder
from trailing.core.next_request import next_request
from trailing.core.orders import LIVE
from trailing.core.position import PositionState
from trailing.core.prices import is_tighter
from trailing.core.record import IntendedOrder, StopRecord, restore_position
from trailing.core.states import State
from trailing.errors import AuthenticationFailed, ExchangeError, LeaseLost, TrailingError, UsageError
from trailing.protection.order_ids import mark_of
from trailing.protection.position_task import PositionTask
from trailing.protection.records import RecordKey
from trailing.protection.registry import Key
from trailing.stores.port import Intent, Loaded

if TYPE_CHECKING:
    from trailing.protection.supervision import Supervision

_UNKNOWN_TIME: Final = datetime.min.replace(tzinfo=UTC)
"""Counts as the time of saving of a record that has none."""


def restore(supervision: Supervision, loaded: Loaded) -> tuple[tuple[StopRecord, Exception], ...]:
    """Claim the stored positions. No task works on them yet.

    A position that waited for its key waits again. A record that can't be restored, a second record of one key, and an intent
    without a record each raise an alarm. Of several records of one key, only the last one saved is restored.

    Returns:
        The records of positions that were given up or can't be restored, each with the reason. They may be open, and no task works
        on them.
    """
    registry, reconciler, records = supervision.registry, supervision.reconciler, supervision.records
    known = [order.client_order_id for record in loaded.stops for order in _orders_of(record)]
    known += [intent.client_order_id for intent in loaded.intents]
    reconciler.marks |= {mark for one in known if (mark := mark_of(one)) is not None}
    intents: dict[tuple[str, str, str], list[Intent]] = {}
    for intent in loaded.intents:
        intents.setdefault((intent.symbol, intent.side, intent.identity), []).append(intent)
    given_up: list[tuple[StopRecord, Exception]] = []
    last_saved = _last_saved(supervision, loaded.stops)
    for record in sorted(loaded.stops, key=lambda one: one.is_waiting):
        position, key = record.position, _key(record.position)
        if record.state == State.CLOSED:  # released or given up, so not ours until it is protected again
            if record.is_abandoned:
                given_up.append((record, ExchangeError("it was given up before the process ended")))
            ids = (order.client_order_id for order in _orders_of(record))
            reconciler.released_stops.update(dict.fromkeys(ids, (position.symbol, position.side)))
            continue
        kept = record if record.is_waiting else last_saved[registry.key(position.symbol, position.side)]
        if kept is not record:
            detail = f"{kept.position.side} {kept.position.identity} is kept, {position.identity} was saved before it"
            records.alarm(position, "two records claim one position", detail)
            reconciler.superseded.append(record)
            continue
        try:
            task = _restore(supervision, record, intents.get(key, []))
        except UsageError as error:
            records.alarm(None, f"the record of {position.symbol} {position.side} can't be restored", str(error))
            given_up.append((record, error))
            continue
        held = registry.claim(task)
        if held is not task:
            registry.wait_for(task)
            held.step(CheckWanted(record.position))
        intents.pop(key, None)
    _note_orphans(supervision, intents)
    written = {_key(record.position): number for number, record in enumerate(loaded.stops)}

    def is_protected_again(given_up: Position) -> bool:
        """Return whether it was handed in again since. A position that was handed in before it may still be ending, too."""
        holder = registry.get(given_up.symbol, given_up.side)
        return holder is not None and written[_key(holder.state.position)] >= written[_key(given_up)]

    return tuple(one for one in given_up if not is_protected_again(one[0].position))


def _key(position: Position) -> RecordKey:
    return position.symbol, position.side, position.identity


def _last_saved(supervision: Supervision, stored: Sequence[StopRecord]) -> dict[Key, StopRecord]:
    """Return the record of each key that was saved last. Records of waiting and given-up positions do not count.

    The last position claimed the key when it was free, although it may be released since. So the others have ended, and the store
    lacks their ends. An unknown time is the oldest one. Of equal times, the record that was first written later counts. A released
    position counts only if it was first written later, too, because a clock that was set back must keep no open position out.
    """
    claiming = [
        (number, one)
        for number, one in enumerate(stored)
        if not (one.is_waiting or (one.state == State.CLOSED and one.is_abandoned))
    ]
    last: dict[Key, tuple[int, StopRecord]] = {}
    for number, record in sorted(claiming, key=lambda one: one[1].saved_at or _UNKNOWN_TIME):
        key = supervision.registry.key(record.position.symbol, record.position.side)
        if record.state != State.CLOSED or key not in last or number > last[key][0]:
            last[key] = (number, record)
    return {key: record for key, (_, record) in last.items()}


def _orders_of(record: StopRecord) -> tuple[StopOrder, ...]:
    return record.orders if record.native is None else (*record.orders, record.native)


def _note_orphans(supervision: Supervision, intents: dict[tuple[str, str, str], list[Intent]]) -> None:
    at_risk_until = supervision.now() + supervision.timing.request_validity
    for key, orphaned in intents.items():
        supervision.records.alarm(None, "an intent without a record", " ".join(key))
        for intent in orphaned:
            if intent.purpose == "entry":  # no list of stops shows it, so that only a person can tell what came of it
                detail = (
                    f"{intent.symbol} {intent.side} {intent.client_order_id}: cancel it on the exchange, or adopt it"
                )
                supervision.records.alarm(None, "an entry may be open that no record knows", detail)
                continue
            supervision.orphans[intent.client_order_id] = Orphan(
                intent.symbol, intent.side, intent.identity, intent.client_order_id, intent.purpose, at_risk_until
            )


def _restore(supervision: Supervision, record: StopRecord, intents: Sequence[Intent]) -> PositionTask:
    now, utc = supervision.now(), supervision.records.clock.utc()
    saved_at = record.saved_at if record.saved_at is not None else record.position.opened_at
    state = restore_position(
        record,
        [IntendedOrder(one.client_order_id, one.purpose, one.quantity, one.price) for one in intents],
        supervision.sender.exchange.market(record.position.symbol),
        supervision.timing,
        now,
        dead_seconds=max(0.0, (utc - saved_at).total_seconds()),
        find_after=record_call_seconds(record),
    )
    task = PositionTask(supervision, state)
    task.open_intents = frozenset(intent.client_order_id for intent in intents)
    task.saved = None
    prices_until = record.prices_until or record.saved_at
    if prices_until is not None:
        state.step(PricesMissed(prices_until, utc), now)
    return task


def record_call_seconds(record: StopRecord) -> float:
    """Return the `call_seconds` of a stored plan."""
    return float(record.plan.get("call_seconds", 10.0))


async def recover(supervision: Supervision, *, within: float) -> tuple[Finding, ...]:
    """Read the account until it is known which orders are live, and start the position tasks.

    Each task starts as soon as it is known which of its orders are live.

    Args:
        within: the most seconds for the reading. Then the tasks of all other positions start, too.

    Returns:
        The findings.

    Raises:
        AuthenticationFailed: the exchange does not accept the credentials.
        LeaseLost: stops of another instance are live on the account. Nothing was written.

    Cancellation: the tasks that were started by then run on.
    """
    found = await find_settled(supervision, supervision.watch, within=within)
    for task in supervision.registry.all():
        if not task.is_watched:
            supervision.watch(task)
    return found


async def find_settled(
    supervision: Supervision, on_settled: Callable[[PositionTask], None], *, within: float
) -> tuple[Finding, ...]:
    """Take snapshots until it is known which orders of every restored position are live.

    Orders that snapshots leave in doubt are looked up beside them. It also ends if a snapshot can't be taken.

    Args:
        on_settled: called with each position once its orders are settled.
        within: the most seconds. Then an alarm says that the account was not read in time.

    Returns:
        The findings, also about orders whose outcome is still unknown. There are none if the account was never read.

    Raises:
        AuthenticationFailed, LeaseLost: as `recover`.

    Cancellation: ends the search.
    """
    settling = _Settling(supervision, on_settled)
    with trio.move_on_after(within) as scope:
        await settling.run()
    if scope.cancelled_caught:
        supervision.records.alarm(None, "the account was not read in time", f"within {within} s")
    snapshot = supervision.reader.snapshot
    if snapshot is not None:
        for task in tuple(settling.undecided):
            settling.note(task)
        settling.found += untracked(supervision, snapshot)
    return tuple(settling.found)


class _Settling:
    """Find out which orders of every restored position are live.

    Args:
        on_settled: called with each position once its orders are settled.

    Attributes:
        undecided: the positions whose orders are not settled, each with its state before.
        found: the findings about the others.
    """

    def __init__(self, supervision: Supervision, on_settled: Callable[[PositionTask], None]) -> None:
        self._supervision, self._on_settled = supervision, on_settled
        self._errors: list[TrailingError] = []
        self.undecided = {task: Before(task.state) for task in supervision.registry.all()}
        self.found: list[Finding] = []

    async def run(self) -> None:
        """Take snapshots and look up doubted orders until all is settled, or a snapshot can't be taken.

        Raises:
            AuthenticationFailed, LeaseLost: as `recover`.
        """
        reader = self._supervision.reader
        if self.undecided:
            # A list may still miss what happened just before updates were subscribed.
            await trio.sleep(self._supervision.timing.read_lag)
        async with trio.open_nursery() as look_ups:
            try:
                while await reader.take():
                    self._note_settled()
                    if not self.undecided:
                        break
                    for task in self.undecided:
                        if task.has_order_in_doubt and task.state.request is None:
                            look_ups.start_soon(self._look_up, task, look_ups.cancel_scope)
                    await trio.sleep_until(reader.wanted_at)
            except (AuthenticationFailed, LeaseLost) as error:
                self._errors.append(error)
            look_ups.cancel_scope.cancel()
        if self._errors:
            raise self._errors[0]

    async def _look_up(self, task: PositionTask, search: trio.CancelScope) -> None:
        try:
            await task.look_up()
        except AuthenticationFailed as error:
            self._errors.append(error)
        self._note_settled()
        if self._errors or not self.undecided:
            search.cancel()

    def _note_settled(self) -> None:
        for task in [one for one in self.undecided if one.state.request is None and is_settled(one.state)]:
            self.note(task)
            self._on_settled(task)

    def note(self, task: PositionTask) -> None:
        """Add the findings about a position. It is no longer undecided."""
        is_listed, now = _is_listed(self._supervision, task), self._supervision.now()
        self.found.extend(self.undecided.pop(task).findings(task.state, now, is_listed=is_listed))


def is_settled(state: PositionState) -> bool:
    """Return whether it is known which of a position's orders are live."""
    doubted = any(order.absent_since is not None for order in state.orders.values())
    is_found = state.entry_row is None or state.entry_row.state is LIVE
    return state.ended or not (state.has_unknown or state.exit_sent or doubted or not is_found)


class Before:
    """The stops and figures of a position before the recovery, to find what the recovery changed."""

    def __init__(self, state: PositionState) -> None:
        self._orders = {one.id: one.order for one in state.orders.values() if one.purpose != "exit"}
        self._quantity, self._target = state.quantity, state.target

    def findings(self, state: PositionState, at: float, *, is_listed: bool) -> Iterator[Finding]:
        """Yield the findings about a position, and its next request.

        Args:
            state: of the position, after the recovery.
            at: now, in seconds on the running clock.
            is_listed: whether the last snapshot shows the position.
        """
        key = (state.position.symbol, state.position.side)
        if state.replaced_by is not None:
            yield AnotherPosition(*key, state.replaced_by)
            return
        if not is_listed:
            yield NotListed(*key)
        for order_id, remembered in self._orders.items():
            order = state.orders.get(order_id)
            if order is None:
                if state.quantity:
                    yield StopAbsent(*key, order_id)
            elif not order.is_sent and order.order is not None and order.order != remembered:
                yield AdoptStop(*key, order.order)
        for order_id, order in state.orders.items():
            if order.is_sent:
                yield Unresolved(*key, order_id)
            elif order_id not in self._orders and order.order is not None:
                yield AdoptStop(*key, order.order)
        if not state.quantity:
            yield PositionFlat(*key)
        elif state.quantity != self._quantity:
            yield Resize(*key, state.quantity)
        if state.floor is not None and is_tighter(key[1], state.floor, self._target):
            yield Tighten(*key, state.floor)
        if isinstance(state.goal, Protect) and state.stop is not None and state.quantity == self._quantity:
            yield Resume(*key, state.stop)
        request = next_request(state, at)
        if not isinstance(request, float):
            yield NextRequest(*key, str(request))


def _is_listed(supervision: Supervision, task: PositionTask) -> bool:
    snapshot, position = supervision.reader.snapshot, task.state.position
    key = (position.symbol, position.side)
    return snapshot is not None and (key in snapshot.reports or key in snapshot.doubled_positions)


def untracked(supervision: Supervision, snapshot: AccountSnapshot) -> Iterator[Finding]:
    """Yield a finding for each stop that has no record.

    These are all stops of other instances, and our stops behind open positions without a claim.
    """
    for order in snapshot.others:
        yield ForeignInstance.of(order)
    for key, orders in snapshot.ours.items():
        if supervision.registry.get(*key) is None and key in snapshot.reports:
            for order in orders:
                yield OrphanStop.of(order)
