"""The stored record of a position, with everything that restoring it needs.

The record includes the position's plan. It holds UTC times and elapsed seconds, and never readings of the running
clock, because that clock starts anywhere in each process.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from trailing.core.account import PositionReport
from trailing.core.derived import derive
from trailing.core.entries import EntryFacts
from trailing.core.evidence import CHECK_FIRST, Timing
from trailing.core.goals import PROTECT, Close, End, Goal, Release
from trailing.core.identity import left_open
from trailing.core.model import Candle, Market, Position, StopOrder, check_money, refuse
from trailing.core.orders import CHANGING, LIVE, SENT, Order
from trailing.core.plan import decode_plan
from trailing.core.position import PositionState
from trailing.core.ratchet import Ratchet
from trailing.core.shown import new_stop
from trailing.core.states import State
from trailing.core.unread_fills import counted_before, unread_ids
from trailing.unprotected import ALWAYS_PROTECTED, UnprotectedTime

_ZERO = Decimal(0)


class StopRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A `PositionState` as saved.

    Args:
        plan: the plan, as `trailing.core.plan.encode_plan` returns it.
        state: the state's word, one of `State`.
        quantity: the open rest of the position, in base units, at least 0.
        best: the best price so far.
        last: the last price that counted.
        suspect: a price too far from the last one, which the next one has to confirm.
        target: the tightest stop that was ever wanted.
        orders: the stops that are live as far as the exchange reported, the one that counts last.
        seconds_since_move: from the last move to `saved_at`, rounded to microseconds; None: the stop was not moved.
        unacknowledged_fills: the filled quantity of orders whose acknowledgement has not arrived, by client order id.
        candles: the closed candles that the rules look at.
        foreign_ticks: the number of ticks of a source that is not the plan's.
        reported_entry: the entry price as the exchange last reported it; None: it never did.
        is_abandoned: the position was given up. No task works on it, and it may be open.
        first_stop: the trigger price of the initial stop, which a later plan does not change; None: as `plan` says.
        native: the exchange's own trailing order, if it is live as far as the exchange reported; or None.
        native_task: the next action on it, as `PositionState.native_task`.
        saved_at: the time of day of saving, aware UTC; None: unknown.
        unprotected_time: its unprotected seconds until then, by cause.
        prices_until: `best` includes every price up to this time of day, aware UTC; None: unknown.
        moves: the number of moves of its stop.
        filled, proceeds: the closed quantity, in base units, and its value, in quote units.
        floor: the tightest stop that the exchange ever acknowledged; None: the tightest of `orders`.
        former_floors: the last floors before it.
        close_reason: why its owner wants it closed; None: the owner doesn't.
        release: whether its stop stays if its owner takes the position back; None: the owner doesn't.
        end_reason: why it ended, if it is confirmed flat; None: it is not.
        replaced_by: another position that is open in its place; or None.
        is_waiting: it was handed in while an earlier position of its key was ending.
        left_open: the quantity that the last fill's update reported as left, of a position all of which was filled;
            None: unknown.
        told_fills: the counted quantity of the executions of its acknowledged and its unread orders, by client order
            id.
        entry: its entry, if this library placed it; or None.
        unread_orders: its ended orders some of whose executions may not have been reported, the last one first.
    """

    position: Position
    plan: dict[str, Any]
    state: str
    quantity: Decimal
    best: Decimal
    last: Decimal
    suspect: Decimal | None
    target: Decimal
    orders: tuple[StopOrder, ...]
    seconds_since_move: float | None
    unacknowledged_fills: dict[str, Decimal]
    candles: tuple[Candle, ...]
    foreign_ticks: int
    reported_entry: Decimal | None = None
    is_abandoned: bool = False
    first_stop: Decimal | None = None
    native: StopOrder | None = None
    native_task: Literal["place", "withdraw", "replace"] | None = None
    saved_at: datetime | None = None
    unprotected_time: UnprotectedTime = ALWAYS_PROTECTED
    prices_until: datetime | None = None
    moves: int = 0
    filled: Decimal = Decimal(0)
    proceeds: Decimal = Decimal(0)
    floor: Decimal | None = None
    former_floors: tuple[Decimal, ...] = ()
    close_reason: str | None = None
    release: Literal["keep stop", "cancel stop"] | None = None
    end_reason: str | None = None
    replaced_by: PositionReport | None = None
    is_waiting: bool = False
    left_open: Decimal | None = None
    told_fills: dict[str, Decimal] = {}
    unread_orders: tuple[str, ...] = ()
    entry: EntryFacts | None = None


class IntendedOrder(msgspec.Struct, frozen=True):
    """An order that may exist, because its intent is stored and not settled."""

    id: str
    purpose: Literal["stop", "exit", "entry"]
    quantity: Decimal
    price: Decimal | None


def save_position(
    p: PositionState, at: float, saved_at: datetime | None = None, *, prices_until: datetime | None = None
) -> StopRecord:
    """Return everything that `restore_position` needs.

    Args:
        at: now, in seconds on the running clock.
        saved_at: the time of day, aware UTC.
        prices_until: the best price includes every price up to this time of day, aware UTC.
    """
    ratchet, live, native = p.ratchet, p.live, p.native
    stops = [
        one.order for one in p.orders.values() if one.purpose == "stop" and one.order is not None and one is not live
    ]
    if live is not None and live.order is not None:
        stops.append(live.order)
    goal = p.goal
    released = goal.otherwise if isinstance(goal, Close) else goal
    release: Literal["keep stop", "cancel stop"] | None = None
    if isinstance(released, Release):
        release = "cancel stop" if released.cancel_stop else "keep stop"
    return StopRecord(
        position=p.position,
        plan=ratchet.plan.encoded,
        state=p.state,
        quantity=p.quantity,
        best=ratchet.best,
        last=ratchet.last,
        suspect=ratchet.suspect,
        target=ratchet.target,
        orders=tuple(stops),
        seconds_since_move=None if p.moved_at is None else round(at - p.moved_at, 6),
        unacknowledged_fills={one.id: one.told for one in p.orders.values() if one.order is None and one.told},
        candles=ratchet.candles,
        foreign_ticks=ratchet.foreign_ticks,
        reported_entry=p.reported_entry,
        is_abandoned=p.is_given_up,
        first_stop=ratchet.first_stop,
        native=None if native is None else native.order,
        native_task=p.native_task,
        saved_at=saved_at,
        unprotected_time=p.unprotected_time_at(at),
        prices_until=prices_until,
        moves=p.moves,
        filled=p.filled,
        proceeds=p.proceeds,
        floor=p.floor,
        former_floors=p.former_floors,
        close_reason=goal.reason if isinstance(goal, Close) and not goal.is_revocable else None,
        release=release,
        end_reason=goal.reason if isinstance(goal, End) and not goal.is_given_up else None,
        replaced_by=p.replaced_by,
        left_open=None if p.quantity else left_open(p),
        told_fills=counted_before(p),
        unread_orders=tuple(unread_ids(p)),
        entry=p.entry,
    )


def restore_position(
    record: StopRecord,
    intended: Iterable[IntendedOrder],
    market: Market,
    timing: Timing,
    at: float,
    *,
    dead_seconds: float = 0.0,
    find_after: float = 0.0,
) -> PositionState:
    """Return the state that a record holds.

    The stored orders are not believed. Each of them has an unknown outcome until the exchange shows it.

    Args:
        intended: its orders whose intents are not settled.
        at: now, in seconds on the running clock.
        dead_seconds: seconds in which no process has worked on it.
        find_after: seconds after which its orders are looked up one by one, if no snapshot has shown them.

    Raises:
        UsageError: a field of the record is impossible.
    """
    _check(record)
    p = PositionState(Ratchet(record.position, decode_plan(record.plan), market), timing, at)
    ratchet = p.ratchet
    ratchet.best, ratchet.last, ratchet.target = record.best, record.last, record.target
    ratchet.suspect, ratchet.candles, ratchet.foreign_ticks = record.suspect, record.candles, record.foreign_ticks
    if record.first_stop is not None:
        ratchet.first_stop = record.first_stop
    p.quantity, p.left_open_before, p.reported_entry = record.quantity, record.left_open, record.reported_entry
    p.floor, p.former_floors, p.native_task = record.floor, record.former_floors, record.native_task
    p.moves, p.filled, p.proceeds = record.moves, record.filled, record.proceeds
    p.unprotected_time, p.unprotected_span = record.unprotected_time, None
    if record.entry is not None:  # no more of it is to be filled, and what came of it is looked up
        now = (record.saved_at or record.entry.handed_in) + timedelta(seconds=dead_seconds)
        p.entry = replace(record.entry, was_sent=True, is_over=True, handed_in=now)
    p.moved_at = None if record.seconds_since_move is None else at - record.seconds_since_move
    p.is_opening, p.is_entry_checked, p.was_tried = False, True, True
    if not (record.is_waiting or (p.entry is not None and not p.entry.entered)):
        p.policy_from = at
    _restore_orders(p, record, intended, at, find_at=at + find_after)
    p.goal = _goal_of(record)
    if isinstance(p.goal, End) and not p.goal.is_given_up:
        p.exit_reason, p.replaced_by = p.goal.reason, record.replaced_by
    if not (record.quantity or record.left_open or p.entry):
        p.flat.note_flat(at, "fill")  # fills have closed all of it, so that two lists decide as before the restart
    p.check_from = p.missed_until = at + timing.read_lag
    p.checked_by = p.check_from + CHECK_FIRST
    derive(p, at)
    if p.unprotected_span is not None:
        p.unprotected_span = replace(p.unprotected_span, cause="outage")
        p.unprotected_time = p.unprotected_time.plus("outage", max(0.0, dead_seconds))
    return p


def _restore_orders(
    p: PositionState, record: StopRecord, intended: Iterable[IntendedOrder], at: float, *, find_at: float
) -> None:
    """Add each order that may exist to the table, and each whose executions are to be read to the ended ones."""
    for order in (*record.orders, *(() if record.native is None else (record.native,))):
        told = record.told_fills.get(order.client_order_id, _ZERO)
        row = replace(new_stop(order), state=CHANGING, find_at=find_at, is_restored=True)
        p.put(replace(row, filled=told, told_before=told))
        if order.callback is None and record.floor is None:
            p.raise_floor(order.price)
    for intent in intended:
        if intent.purpose == "entry":
            row = Order(intent.id, "entry", SENT, intent.price, intent.quantity, sent_at=at, find_at=at)
            p.entry_row = replace(row, is_restored=True)
            continue
        known = p.orders.get(intent.id)
        if known is not None:
            p.put(replace(known, price=intent.price, quantity=intent.quantity, sent_at=at))
            continue
        told = record.unacknowledged_fills.get(intent.id, _ZERO)
        order = Order(intent.id, intent.purpose, SENT, intent.price, max(_ZERO, intent.quantity - told), sent_at=at)
        looked_up_at = math.inf if intent.purpose == "exit" else find_at
        p.put(replace(order, told=told, filled=told, find_at=looked_up_at, is_restored=True))
    for order_id in reversed(record.unread_orders):
        told = record.told_fills.get(order_id, _ZERO)
        p.ended_orders[order_id] = Order(order_id, "stop", LIVE, None, _ZERO, told_before=told, has_unread=True)


def _goal_of(record: StopRecord) -> Goal:
    """Return the goal of the work on the position. A close that software had decided on is decided anew."""
    if record.is_abandoned:
        return End("given up", is_given_up=True)
    if record.end_reason is not None:
        return End(record.end_reason)
    if record.close_reason is not None:
        return Close(record.close_reason, is_revocable=False)
    if record.release is not None:
        return Release(cancel_stop=record.release == "cancel stop")
    return PROTECT


def _check(record: StopRecord) -> None:
    if record.state not in list(State):
        raise refuse("StopRecord.state", record.state, f"one of {[str(state) for state in State]}")
    check_money("StopRecord.quantity", record.quantity, zero=True)
    for name in ("best", "last", "target"):
        check_money(f"StopRecord.{name}", getattr(record, name))
    for name in ("first_stop", "floor", "left_open"):
        if getattr(record, name) is not None:
            check_money(f"StopRecord.{name}", getattr(record, name), zero=name == "left_open")
    if record.entry is not None:
        record.entry.check()
    for price in record.former_floors:
        check_money("StopRecord.former_floors", price)
