"""What became of requests whose outcome is unknown: found out before anything else is done for their position."""

from __future__ import annotations

import trio

from trailing.core.account import Pending
from trailing.core.states import State
from trailing.errors import ExchangeError
from trailing.protection.exits import is_replaced
from trailing.protection.native import take_native
from trailing.protection.opening import announce_opened
from trailing.protection.orders import Orders
from trailing.protection.protection import Protection


async def resolve(orders: Orders, protection: Protection) -> None:
    """Find out what became of every request whose outcome is unknown.

    Raises:
        ExchangeError: it can't be known now.
    """
    for pending in tuple(protection.pending.values()):
        if pending.purpose == "stop":
            await _resolve_stop(orders, protection, pending)
        else:
            await _resolve_exit(orders, protection, pending)
    protection.note_exposure(orders.clock.now())
    await orders.save(protection)
    protection.changed()


async def _resolve_stop(orders: Orders, protection: Protection, pending: Pending) -> None:
    stop = protection.stop
    order = await orders.settle(protection, pending.client_order_id)
    now = orders.clock.now()
    if order is None:
        protection.want(stop.absent(pending.client_order_id, now))
        return
    if order.callback is not None:
        take_native(orders, protection, order)
        return
    bare = stop.order is None
    protection.want(stop.opened(order, now))
    if bare:
        announce_opened(orders, protection, order, now)


async def _resolve_exit(orders: Orders, protection: Protection, pending: Pending) -> None:
    """What the position is, once the close can't be executed any more, tells."""
    stop = protection.stop
    # Until then a read may show the position as it was before the close.
    shown_by = pending.sent_at + orders.exchange.request_validity + orders.exchange.positions_read_lag
    await trio.sleep(max(0.0, shown_by - orders.clock.now()))
    report = await orders.read_position(protection)
    del protection.pending[pending.client_order_id]
    protection.settled |= {pending.client_order_id}
    for fill in protection.unheard:
        protection.note_fill(fill)
    protection.unheard = ()
    if stop.state is not State.EXITING:
        stop.exiting(orders.clock.now())
    if report is not None and not is_replaced(orders, protection, report):
        stop.resized(report.quantity, orders.clock.now())
        stop.exit_failed(ExchangeError("the close was not executed, or not wholly"), orders.clock.now())
