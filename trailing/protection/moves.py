"""Moving a stop without leaving the position bare, by what the market allows."""

from __future__ import annotations

from decimal import Decimal

from trailing.core.model import StopOrder
from trailing.errors import NothingToReduce, StopRejected, TrailingError, WouldTrigger
from trailing.events import MoveFailed, StopMoved
from trailing.protection.orders import Orders
from trailing.protection.protection import Protection


async def move(orders: Orders, protection: Protection, price: Decimal, reason: str) -> None:
    """Move the live stop: amend it where the market can; else place the new one, then cancel the old one where two may
    stand; else cancel and place, the bare window measured.

    Raises:
        ExchangeError: the move did not go through; or, `OutcomeUnknown`, it is `pending`. Where the exchange knows of no
            position, this is to be read next.

    Cancellation: a request that was sent goes on and is `pending`.
    """
    stop = protection.stop
    old = stop.order
    assert old is not None
    try:
        if stop.market.can_amend:
            new = await orders.amend(protection, old, price, stop.coverable)
        elif stop.market.two_stops:
            new = await orders.place(protection, price, stop.coverable)
        else:
            await _take_down(orders, protection, old)
            new = await _put_up(orders, protection, price, old.price)
    except TrailingError as error:
        now = orders.clock.now()
        if stop.order is None:
            stop.open_failed(error, now)
        else:
            protection.want(stop.move_failed(error, now))
        protection.error = error
        protection.check_wanted |= isinstance(error, NothingToReduce)
        orders.tell(protection, MoveFailed, price=price, error=str(error))
        raise
    acknowledge(orders, protection, old, new, reason)
    await orders.save(protection)
    await trim(orders, protection)


def acknowledge(orders: Orders, protection: Protection, old: StopOrder, new: StopOrder, reason: str) -> None:
    """Take over what the exchange acknowledged, without a wait in between."""
    now = orders.clock.now()
    protection.want(protection.stop.moved(new, now))
    protection.moves += 1
    exposure = protection.note_exposure(now)
    orders.tell(
        protection,
        StopMoved,
        previous=old.price,
        price=new.price,
        client_order_id=new.client_order_id,
        reason=reason,
        exposure=exposure.total,
        exposure_by=exposure,
    )


async def trim(orders: Orders, protection: Protection) -> None:
    """Withdraw every live stop but the one that counts."""
    stop = protection.stop
    looser = [order for order in stop.orders.values() if order is not stop.order]
    for order in looser:
        await orders.withdraw(protection, order)
        stop.gone(order.client_order_id, orders.clock.now())
    if looser:
        await orders.save(protection)


async def _take_down(orders: Orders, protection: Protection, order: StopOrder) -> None:
    await orders.withdraw(protection, order)
    now = orders.clock.now()
    protection.stop.gone(order.client_order_id, now)
    protection.note_exposure(now, "move")


async def _put_up(orders: Orders, protection: Protection, price: Decimal, fallback: Decimal) -> StopOrder:
    """Place the new stop, or the old one again where the market is already at the new one."""
    try:
        return await orders.place(protection, price, protection.stop.coverable)
    except WouldTrigger:
        if price == fallback:
            raise
        return await orders.place(protection, fallback, protection.stop.coverable)
    except StopRejected:
        return await orders.place(protection, fallback, protection.stop.coverable)
