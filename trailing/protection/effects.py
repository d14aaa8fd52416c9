"""Publish the events that the states of positions give out, and alarms that name open orders.

Open orders are read only for the text of an alarm. The read delays no position, because it runs beside all requests and has the
lowest priority of the rate limit. If it fails, the alarm is raised without names.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import trio

from trailing.core.account import OpenOrder
from trailing.core.inputs import Publish
from trailing.core.model import Position
from trailing.core.position import PositionState
from trailing.exchanges.port import PartialList, escaped
from trailing.protection.order_ids import is_ours
from trailing.protection.records import Records
from trailing.protection.requests import RequestSender

_MOST_NAMED: Final = 5
"""The most orders that an alarm names. It counts the others."""


class EffectPublisher:
    """Publish the effects of positions. An alarm that names open orders is raised after they were read.

    Args:
        sender: reads the open orders.
        records: publishes the events.
        tasks: the service nursery in which the open orders are read.
    """

    def __init__(self, sender: RequestSender, records: Records, tasks: trio.Nursery) -> None:
        self._sender, self._records, self._tasks = sender, records, tasks

    def publish(self, state: PositionState, effects: Sequence[Publish]) -> None:
        """Publish effects of one position, without waiting.

        An alarm that names open orders is raised later, by a task that reads them first. If the service nursery is cancelled, it
        is raised now and names none.
        """
        for effect in effects:
            if not effect.names_orders or self._tasks.cancel_scope.cancel_called:
                self._records.tell(state.position, effect.event, **effect.fields)
                continue
            seconds = state.plan.call_seconds
            raising = partial(raise_alarm, **effect.fields, call_seconds=seconds)
            self._tasks.start_soon(raising, self._sender, self._records, state.position)


async def raise_alarm(
    sender: RequestSender, records: Records, position: Position, what: str, detail: str, *, call_seconds: float
) -> None:
    """Read the open orders of a position's symbol, and raise an alarm that names them.

    It names only the orders that may cover the position. The orders are read once.

    Args:
        what, detail: of the alarm. The names are added to the detail.
        call_seconds: seconds for the read, after the wait for the rate limit.

    Cancellation: the alarm is raised without names.
    """
    named = "its open orders could not be read before the manager ended"
    try:
        reading = partial(sender.exchange.open_orders, position.symbol)
        named = name_orders(position, await sender.read("open_orders", reading, call_seconds))
    except Exception as error:  # also a bug of an adapter: the alarm says so, and nothing depends on the names
        named = f"its open orders can't be read: {type(error).__name__}: {escaped(str(error))}"
    finally:
        records.alarm(position, what, f"{detail}; {named}")


def name_orders(position: Position, orders: Sequence[OpenOrder]) -> str:
    """Return a text that names the open orders that would reduce a position, except ours.

    Args:
        orders: the open orders of its symbol.
    """
    closing = "sell" if position.side == "long" else "buy"
    others = [order for order in orders if order.order_side == closing and not is_ours(order.client_order_id)]
    others.sort(key=lambda order: order.side != position.side)  # reduce-only orders first
    texts = [_name(order) for order in others[:_MOST_NAMED]]
    if len(others) > _MOST_NAMED:
        texts.append(f"and {len(others) - _MOST_NAMED} more")
    named = f"open orders that may cover it: {', '.join(texts)}" if texts else "no other open order would reduce it"
    if isinstance(orders, PartialList):
        named += f"; {len(orders.left_out)} could not be parsed: {orders.left_out[0]}"
    return f"{named}; cancel what covers it, and the exit goes through by itself" if texts else named


def _name(order: OpenOrder) -> str:
    quantity = f"{order.quantity:f}" if order.quantity else "the whole position"
    prices = (("at", order.price), ("triggered at", order.trigger_price))
    shown = "".join(f" {word} {price:f}" for word, price in prices if price is not None)
    return f"{order.kind} {order.order_side} {quantity}{shown} ({order.client_order_id or order.order_id})"
