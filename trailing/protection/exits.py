"""Closing a position: the one exit authority. Every close is reduce-only, so that no two of them cross zero."""

from __future__ import annotations

import trio

from trailing.core.account import PositionReport
from trailing.core.model import Fill
from trailing.core.prices import is_crossed
from trailing.errors import ExchangeError, NothingToReduce, StopRejected, TrailingError
from trailing.events import ExitFailed, ExitFilled, ExitStarted, PositionClosed
from trailing.protection.native import withdraw_native
from trailing.protection.orders import Orders
from trailing.protection.protection import Protection


async def confirm_crossing(orders: Orders, protection: Protection) -> bool:
    """Whether the exchange's own price confirms that the stop, live or wanted, is crossed.

    Raises:
        ExchangeUnreachable, AuthenticationFailed: it can't be read now.
    """
    stop = protection.stop
    price = await orders.read_price(protection)
    # What is wanted and not yet sent is crossed too, unless the plan keeps the stop that stands.
    kept = stop.order if stop.plan.on_would_trigger == "keep" and not stop.native_trails else None
    crossed = is_crossed(stop.position.side, price, stop.target if kept is None else kept.price)
    if not crossed:
        stop.exit_unconfirmed(price, orders.clock.now())
    return crossed


async def close_out(orders: Orders, protection: Protection, reason: str) -> Fill | None:
    """Close at market what is left of the position, once.

    Returns:
        The fill, or None where the exchange says that there is nothing to reduce: reading the position decides.

    Raises:
        ExchangeError: it did not go through; or, `OutcomeUnknown`, it is `pending`.

    Cancellation: the request goes on and is `pending`; the position stays `exiting`.
    """
    stop = protection.stop
    stop.exiting(orders.clock.now())
    if not stop.quantity:  # filled meanwhile, while the crossing was confirmed: reading the position decides
        return None
    protection.exit_reason = reason
    orders.tell(protection, ExitStarted, reason=reason)
    try:
        fill = await orders.close(protection, stop.quantity)
    except NothingToReduce:
        return None
    except TrailingError as error:
        stop.exit_failed(error, orders.clock.now())
        protection.error = error
        orders.tell(protection, ExitFailed, error=str(error))
        raise
    protection.unheard = ()
    now = orders.clock.now()
    stop.exited(fill, now)
    protection.note_exposure(now)
    protection.note_fill(fill)
    orders.tell(protection, ExitFilled, quantity=fill.quantity, price=fill.price, left=stop.quantity)
    return fill


async def finish(orders: Orders, protection: Protection) -> None:
    """Close the record once the position is read back as flat and our orders for it are gone; else go on with the rest.

    Raises:
        ExchangeError: it can't be known, or the rest can't be closed, now.
    """
    stop = protection.stop
    expected = stop.quantity
    report = await orders.read_position(protection)
    if report is not None and not expected:
        await trio.sleep(orders.exchange.positions_read_lag)
        report = await orders.read_position(protection)
    if report is None:
        await end(orders, protection)
        return
    if is_replaced(orders, protection, report):
        await end(orders, protection)
        return
    stop.resized(report.quantity, orders.clock.now())
    if not expected:
        # All that we knew of is closed, yet some of it stands: it is not ours to close, but it wants its stop.
        now = orders.clock.now()
        stop.exit_failed(StopRejected("the position was closed and is open again"), now)
        protection.note_exposure(now, "move")
        orders.alarm(protection, "a closed position is open again", f"{report.quantity}")
    elif await close_out(orders, protection, protection.exit_reason) is None:
        raise ExchangeError("the exchange reports a position that it says it can't reduce")


def is_replaced(orders: Orders, protection: Protection, report: PositionReport) -> bool:
    """Whether another position stands where this one was closed, which is not ours to close; an alarm tells of it.

    What was left of ours would stand at the entry price that it is known by.
    """
    known = protection.stop.reported_entry
    if known is None or abs(report.entry_price - known) < protection.stop.market.price_tick:
        return False
    protection.replaced_by = report
    protection.found_flat = protection.exit_reason
    what = f"{report.quantity} at {report.entry_price}"
    orders.alarm(protection, "another position stands in the place of one that is protected", what)
    return True


async def end(orders: Orders, protection: Protection) -> None:
    """The position is flat: withdraw what is left of our orders and write the last record."""
    stop, position = protection.stop, protection.position
    for order in tuple(stop.orders.values()):
        await orders.withdraw(protection, order)
        stop.gone(order.client_order_id, orders.clock.now())
    await withdraw_native(orders, protection)
    now = orders.clock.now()
    stop.flat(now)
    protection.note_exposure(now)
    exposure = protection.exposure_at(now)
    orders.tell(
        protection,
        PositionClosed,
        entry_price=position.entry_price,
        quantity=protection.filled,
        profit=protection.profit,
        moves=protection.moves,
        exposure=exposure.total,
        exposure_by=exposure,
        reason=protection.exit_reason,
    )
    await orders.save(protection)
