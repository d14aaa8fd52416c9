"""Apply pushed updates to a position's state.

They are prices, candles, fills, and changes of its orders and of the position.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from trailing.core.endings import count_closed, note_all_filled, note_cut_short, take_off, tell_backfilled
from trailing.core.entering import look_up, on_own_stop_live
from trailing.core.gaps import PriceGap
from trailing.core.goals import Close, End
from trailing.core.identity import left_open
from trailing.core.inputs import CandleClosed, OrderUpdated, PositionUpdated, PriceSeen, PricesMissed
from trailing.core.model import Fill
from trailing.core.orders import CANCELLING, LIVE, Order, unseen
from trailing.core.shown import end_order, withdraw_native
from trailing.events import ExitFilled, StopFilled

if TYPE_CHECKING:
    from trailing.core.position import PositionState

_ZERO = Decimal(0)

OWN_CHANGE: Final = 5.0
"""Seconds after a change of ours in which the first update of the order is about that change. Any other update is about
a change by a person, so that the order is looked up."""


def on_price(p: PositionState, seen: PriceSeen, at: float) -> None:
    """Take a price that is not quiet."""
    if p.ratchet.take(seen.tick) and p.was_tried and not p.is_frozen:
        p.ratchet.ask_rules()


def on_candle(p: PositionState, closed: CandleClosed, at: float) -> None:
    """Take a closed candle."""
    if not p.is_frozen and p.ratchet.take_candle(closed.candle) and p.was_tried:
        p.ratchet.ask_rules()


def on_prices_missed(p: PositionState, missed: PricesMissed, at: float) -> None:
    """Have the peaks of a price gap read, if candles can show them.

    If they can't, the gap is published as unknown.
    """
    gap = PriceGap(missed.since, missed.until, at).joined(p.gap)
    if gap.is_shown_by_candles(p.position.opened_at):
        p.gap = gap
    else:
        tell_backfilled(p, gap.since, gap.until, gap.until, ())


def on_order_updated(p: PositionState, update: OrderUpdated, at: float) -> None:
    """Take an update of one of the position's orders. Updates of other orders are ignored."""
    order = p.orders.get(update.id)
    if update.fill is not None:
        before = p.ended_orders.get(update.id) if order is None else order
        if before is not None:
            _filled(p, before, update, update.fill, at, has_ended=order is None)
        return
    if order is None:
        carries_it = p.is_entering and p.entry is not None and p.entry.has_own_stop and p.entry.stop_id == update.id
        if carries_it and update.status == "live":
            on_own_stop_live(p, at)
        return
    if order.purpose == "exit":
        return
    if update.status == "cancelled":
        end_order(p, order, "cancelled", at, update.reason)
    elif update.status == "triggered":
        p.put(replace(order, changed_at=at, triggered_at=at if order.triggered_at is None else order.triggered_at))
    elif order.is_sent and order.state is not CANCELLING:
        # It exists. It is looked up for its figures, unless an answer is about to show them. A second update may be of
        # a later change, which that answer does not show.
        is_first = order.id == p.request_id and not order.is_echoed
        find_at = order.find_at if is_first else min(order.find_at, at)
        p.put(replace(order, changed_at=at, find_at=find_at, is_echoed=True))
    elif order.purpose == "stop" and order.state is LIVE:
        is_ours = at < order.changed_at + OWN_CHANGE and not order.is_echoed
        find_at = order.find_at if is_ours else min(order.find_at, at + p.timing.orders_read_lag)
        p.put(replace(order, changed_at=order.changed_at if is_ours else at, find_at=find_at, is_echoed=True))


def _filled(p: PositionState, before: Order, update: OrderUpdated, fill: Fill, at: float, *, has_ended: bool) -> None:
    """Count a fill once, for the report and for the quantity.

    The report counts every pushed fill. The quantity is reduced only by the part that nothing has shown before.
    """
    order, quantity = unseen(before, fill, update.filled)
    known = max(order.told_before + order.told, update.filled or _ZERO)
    new = max(_ZERO, known - order.filled)
    # A later snapshot's quantity already excludes it. One that was asked for at the very moment of the fill may not.
    is_late = fill.at < p.shown_at and fill.at + p.timing.positions_read_lag <= p.shown_at
    if has_ended and is_late:
        new = _ZERO
    if not quantity and not new:
        return
    closed = _ZERO if is_late else new
    if is_late and new:
        p.want_snapshot(at)  # in case the exchange's clock is behind ours
    if closed > fill.quantity:  # earlier fills, shown by a snapshot, closed the part of it that exceeds the position
        closed = max(fill.quantity, new - max(_ZERO, order.quantity - p.quantity))
    order = replace(order, filled=order.filled + new, changed_at=at)
    if has_ended:
        p.ended_orders[order.id] = order
    else:
        p.put(order)
        _shrink(p, order, new, update, at)
    if isinstance(p.goal, End) and not p.is_given_up and fill.at > p.checked_at:
        p.alarm("a stop of a position that has ended was filled", f"{fill.quantity} of the position in its place")
        return
    take_off(p, closed, fill)
    count_closed(p, quantity, quantity * fill.price)
    if quantity and (p.last_fill is None or fill.at >= p.last_fill.at):
        p.last_fill = fill
    if not p.quantity:
        note_all_filled(p, at)
    elif new and fill.at > p.updated_at:  # otherwise the last update of the position includes it
        p.flat.note_changed(at)
    if order.purpose == "exit":
        p.tell(ExitFilled, quantity=fill.quantity, price=fill.price, left=p.quantity)
        if update.status == "filled" and p.quantity and new < order.quantity and fill.at > p.updated_at:
            note_cut_short(p, at)
        return
    p.tell(StopFilled, quantity=fill.quantity, price=fill.price, left=p.quantity, client_order_id=fill.client_order_id)
    if p.live is not None and p.quantity and order.purpose == "stop":
        withdraw_native(p)


def _shrink(p: PositionState, order: Order, new: Decimal, update: OrderUpdated, at: float) -> None:
    """Reduce an order by the filled quantity that was not shown before."""
    left, shown = order.quantity - new, order.order
    if order.purpose == "exit":
        if update.status == "filled" and order.id != p.request_id:  # perhaps for less than requested
            p.change(order, "filled", at, "move")
        else:
            p.put(replace(order, quantity=max(_ZERO, left)))
    elif update.status == "filled" or (shown is None and left <= _ZERO):
        p.change(order, "filled", at, "move")
        if order.purpose == "native":
            p.native_task = None
    elif left <= _ZERO:  # the shown quantity contained some of these fills already, so the rest is looked up
        p.put(replace(order, find_at=min(order.find_at, at)))
    elif new:
        shown = None if shown is None else replace(shown, quantity=max(left, shown.quantity - new))
        p.put(replace(order, quantity=left, order=shown))


def on_position_updated(p: PositionState, update: PositionUpdated, at: float) -> None:
    """Take an update of the position, or of the one of the other side where only one may be open.

    A snapshot reads the position's quantity, because updates come late and out of order.
    """
    if update.is_other_side and p.timing.hedged:
        return  # it says nothing of this one
    if update.changed_at < max(p.updated_at, min(p.opened_at, p.claimed_at)):
        return  # it is late; a newer one came, or it is about an earlier position
    left = _ZERO if update.is_other_side else update.quantity
    if update.changed_at == p.updated_at and p.told_quantity is not None and left > p.told_quantity:
        return  # fills of one moment come in any order, and again, so the least quantity is the last one
    was_left_open = left_open(p)
    p.updated_at, p.told_quantity = update.changed_at, left
    p.left_open_before = left if was_left_open else None
    if p.is_entering and left > p.quantity:
        look_up(p, at)
    if update.is_other_side:
        if update.quantity:
            p.alarm("the position was flipped", f"{update.quantity} of the other side")
            p.flat.note_flat(at, "update")
            p.want_snapshot(at)
    elif not update.quantity:
        p.flat.note_flat(at, "update")
        p.want_snapshot(at)
    elif isinstance(p.goal, Close) and p.flat.is_said:
        p.flat.note_contradicted()
        p.want_snapshot(at)  # another position may be open in its place, so a snapshot comes before any close
    else:
        p.flat.note_changed(at)
        if update.quantity != p.quantity:
            p.want_snapshot(at)
