"""The exchange's own trailing order of a position: placed beside its plain stop, watched, and never missed.

Whatever becomes of it, the plain stop stands; and where it does not stand, that one is moved by us. It is placed once: an
exchange that has refused it, or lost it, would most likely do so again.
"""

from __future__ import annotations

from collections.abc import Iterable

import trio

from trailing.core.model import StopOrder
from trailing.core.native import check_native_market
from trailing.core.plan import TrailPlan
from trailing.errors import NothingToReduce, StopRejected, UsageError
from trailing.events import NativeTrailingBegan, NativeTrailingEnded
from trailing.protection.orders import Orders
from trailing.protection.protection import Protection


def check_plan(orders: Orders, plan: TrailPlan, symbols: Iterable[str]) -> None:
    """Refuse a plan that can't be carried out here: as `Gate.check_plan`, or natively on one of the markets.

    A symbol that the exchange does not know is its own position's failure.

    Raises:
        UsageError: nothing was sent.
    """
    orders.gate.check_plan(plan)
    for symbol in set(symbols) if plan.native else ():
        try:
            market = orders.exchange.market(symbol)
        except UsageError:
            continue
        check_native_market(plan, market)


async def attend_native(orders: Orders, protection: Protection) -> None:
    """Do what is to be done about a position's trailing order.

    Raises:
        ExchangeError, StoreError: it could not be done now; or, `OutcomeUnknown`, what was sent is `pending`.

    Cancellation: a request that was sent goes on and is `pending`.
    """
    native = protection.stop.native
    if native is None:
        await _place(orders, protection)
        return
    await orders.withdraw(protection, native)
    _end(orders, protection, native.client_order_id, "we cancelled it")
    await orders.save(protection)


async def _place(orders: Orders, protection: Protection) -> None:
    stop, missed = protection.stop, protection.missed
    now, turn = orders.clock.now(), orders.exchange.next_turn("place_stop")
    if turn or missed is not None:
        # Whoever has no stop yet goes first; and a peak that is not read yet may have passed.
        until = now + turn if missed is None else max(now + turn, missed.read_at)
        with trio.CancelScope(deadline=until):
            await protection.wait_changed()
        return
    try:
        check_native_market(stop.plan, stop.market)
        terms = stop.native_wanted
        if terms is None:
            raise StopRejected("it comes too late: its stop is trailed by now")
        order = await orders.place(protection, terms.activation, stop.coverable, terms.callback)
    except (StopRejected, UsageError) as error:
        protection.want(stop.native_dropped(orders.clock.now()))
        protection.check_wanted |= isinstance(error, NothingToReduce)
        orders.tell(protection, NativeTrailingEnded, reason=str(error))
    else:
        take_native(orders, protection, order)
    await orders.save(protection)


def take_native(orders: Orders, protection: Protection, order: StopOrder) -> None:
    """Take over what the exchange acknowledged, or what was found, without a wait in between."""
    stop = protection.stop
    trailed = stop.native_trails
    protection.want(stop.native_placed(order, orders.clock.now()))
    if trailed or not stop.native_trails:
        return
    assert order.callback is not None
    orders.tell(
        protection,
        NativeTrailingBegan,
        quantity=order.quantity,
        activation=order.price,
        callback=order.callback.value,
        client_order_id=order.client_order_id,
    )


def lose_native(orders: Orders, protection: Protection, client_order_id: str) -> None:
    """It is not live any more, was not filled, and we did not cancel it: the plain stop is moved at once."""
    _end(orders, protection, client_order_id, "it is gone, and we did not cancel it")


async def withdraw_native(orders: Orders, protection: Protection) -> None:
    """Cancel it, where it stands, as nothing of the position is looked after any more. Raises as `Orders.withdraw`."""
    native = protection.stop.native
    if native is not None:
        await orders.withdraw(protection, native)
        protection.stop.native_gone(orders.clock.now())


def _end(orders: Orders, protection: Protection, client_order_id: str, reason: str) -> None:
    native = protection.stop.native
    if native is None or native.client_order_id != client_order_id:
        return  # it was filled meanwhile, or is another one
    protection.want(protection.stop.native_gone(orders.clock.now()))
    orders.tell(protection, NativeTrailingEnded, reason=reason, client_order_id=client_order_id)
