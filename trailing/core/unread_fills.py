"""Executions that no update has reported, read from the exchange's own trades.

They are read before the end of a position is published. A stop that was filled while no process ran, or while the
stream was down, is only known to be gone. Without its executions the profit of its position is unknown, which is None
and never 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from trailing.core.endings import OUTSIDE, count_closed
from trailing.core.goals import End
from trailing.core.model import Fill
from trailing.core.orders import Order, trade_of
from trailing.core.requests import ReadFills
from trailing.core.retries import FIRST, BackOff
from trailing.errors import RateLimited, UsageError
from trailing.events import ExitFilled, StopFilled

if TYPE_CHECKING:
    from trailing.core.position import PositionState

_ZERO = Decimal(0)

MOST_READS: Final = 3
"""Failed reads of one order after which its executions stay unknown."""


def unread_ids(p: PositionState) -> Iterator[str]:
    """Yield the ids of orders whose executions may not all have been reported.

    The order that ended last comes first.
    """
    return (order.id for order in reversed(p.ended_orders.values()) if order.has_unread)


def wanted_read(p: PositionState) -> str | None:
    """Return the id of the order whose executions are to be read next.

    None: no read is wanted. While another position waits for the key, no executions are read, and the end is published
    with the known ones.
    """
    if not isinstance(p.goal, End) or p.is_given_up or p.is_awaited or p.orders or p.profit is not None:
        return None
    return next(unread_ids(p), None)


def fills_read(p: PositionState, request: ReadFills, _: object, result: Sequence[Fill], at: float) -> None:
    """Count the executions of an order that were not counted before."""
    order = _note_read(p, request)
    if order is None:
        return
    counted = _ZERO
    for fill, quantity in _uncounted(order, result):
        counted += quantity
        count_closed(p, quantity, quantity * fill.price)
        p.last_fill = fill
        event = ExitFilled if order.purpose == "exit" else StopFilled
        own_id = {} if order.purpose == "exit" else {"client_order_id": order.id}
        p.tell(event, quantity=quantity, price=fill.price, left=p.quantity, **own_id)
    told, trades = order.told + counted, order.trades | {trade_of(fill) for fill in result}
    # An update of one of them may still come.
    filled = max(order.filled, told)
    p.ended_orders[order.id] = replace(order, told=told, filled=filled, trades=trades, has_unread=False)
    if p.profit is not None and p.exit_reason == OUTSIDE:
        p.exit_reason = "closed by the bot" if order.purpose == "exit" else "the stop was filled"


def _uncounted(order: Order, fills: Sequence[Fill]) -> Iterator[tuple[Fill, Decimal]]:
    """Yield the executions of an order that were not counted, with the quantities.

    Executions that were counted are recognized by their trade ids. If these are not known, because the exchange gave
    none or an earlier process counted them, the counted quantity is left out of the oldest executions.
    """
    known = sum((fill.quantity for fill in fills if fill.trade_id in order.trades), _ZERO)
    counted = order.told_before + max(_ZERO, order.told - known)
    for fill in fills:
        if fill.trade_id in order.trades:
            continue
        new = max(_ZERO, fill.quantity - counted)
        counted = max(_ZERO, counted - fill.quantity)
        if new:
            yield fill, new


def counted_before(p: PositionState) -> dict[str, Decimal]:
    """Return the counted quantities of orders whose executions a later process may read.

    The keys are client order ids.
    """
    counted = [order for order in p.orders.values() if order.order is not None]
    counted += [order for order in p.ended_orders.values() if order.has_unread]
    return {order.id: quantity for order in counted if (quantity := order.told_before + order.told)}


def fills_failed(p: PositionState, request: ReadFills, _: object, error: Exception, at: float) -> None:
    """Let the read be tried again a few times, after which the executions stay unknown."""
    failed = p.back_offs["fills"]
    if isinstance(error, RateLimited):  # its turn comes later, which does not count as a failure
        p.back_offs["fills"] = BackOff(failed.failures - 1, at + max(FIRST, error.retry_after))
    elif isinstance(error, UsageError) or failed.failures >= MOST_READS:
        _note_read(p, request)


def _note_read(p: PositionState, request: ReadFills) -> Order | None:
    """Note that nothing more is to be read of an order, and return it.

    None: the order was forgotten.
    """
    p.back_offs.pop("fills", None)
    order = p.ended_orders.get(request.id)
    if order is not None:
        p.ended_orders[request.id] = replace(order, has_unread=False)
    return order
