"""What a manager finds in its store when it opens: stops that it tracks on, orders whose outcome it still has to learn.

A stop that the exchange does not list is not believed gone: it is unresolved until it was looked up.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable

import trio

from trailing.core.model import StopOrder
from trailing.core.record import StopRecord
from trailing.core.states import State
from trailing.core.stop import TrailingStop
from trailing.errors import ExchangeError, OutcomeUnknown, UsageError
from trailing.protection.orders import Orders
from trailing.protection.protection import Pending, Protection
from trailing.protection.registry import Registry
from trailing.stores.port import Intent, Store


async def resume(
    orders: Orders, registry: Registry, store: Store, call_seconds: float, keep: Callable[[Protection], None]
) -> None:
    """Claim everything stored and have each position kept.

    Raises:
        StoreError: the store can't be read; nothing was done.

    Cancellation: what was handed over by then is kept.
    """
    exchange = orders.exchange
    loaded = await store.load(exchange.name, exchange.account)
    if not loaded.stops and not loaded.intents:
        return
    listed: dict[str, StopOrder] = {}
    with trio.move_on_after(call_seconds) as scope:
        try:
            listed = {order.client_order_id: order for order in await exchange.open_stops()}
        except ExchangeError as error:
            orders.alarm(None, "the exchange's stops can't be read", str(error))
    if scope.cancelled_caught:
        orders.alarm(None, "the exchange's stops can't be read", f"no answer within {call_seconds} s")
    intents: defaultdict[tuple[str, str, str], list[Intent]] = defaultdict(list)
    for intent in loaded.intents:
        intents[intent.symbol, intent.side, intent.identity].append(intent)
    for record in loaded.stops:
        position = record.position
        own = intents.pop((position.symbol, position.side, position.identity), [])
        if record.state == State.CLOSED:  # released, or given up: it is nobody's until it is protected again
            continue
        try:
            protection = _restore(orders, record, own, listed)
        except UsageError as error:
            orders.alarm(None, f"the record of {position.symbol} {position.side} can't be restored", str(error))
            continue
        if registry.claim(position, protection) is protection:
            keep(protection)
        else:
            orders.alarm(protection, "two records claim one position", position.identity)
    for key in intents:
        orders.alarm(None, "an intent without a record", " ".join(key))


def _restore(orders: Orders, record: StopRecord, intents: list[Intent], listed: dict[str, StopOrder]) -> Protection:
    now = orders.clock.now()
    market = orders.exchange.market(record.position.symbol)
    stop = TrailingStop.restore(record, market, now)
    bare = max(0.0, (orders.clock.utc() - record.position.opened_at).total_seconds()) if not stop.orders else 0.0
    protection = Protection(record.position, stop, claimed_at=now, bare_for=bare)
    for intent in intents:
        protection.pending[intent.client_order_id] = Pending(intent.client_order_id, intent.purpose, now)
    for client_order_id in tuple(stop.orders):
        if client_order_id in listed:
            protection.want(stop.moved(listed[client_order_id], now))  # the exchange's word, whatever was stored
        else:
            protection.pending[client_order_id] = Pending(client_order_id, "stop", -math.inf)
    if protection.pending and stop.state is not State.EXITING:
        error = OutcomeUnknown("the process ended before it was known")
        (stop.open_failed if stop.order is None else stop.move_failed)(error, now)
    elif stop.state is State.OPENING:
        stop.open_failed(ExchangeError("the process ended before it was sent"), now)
    protection.note_exposure(now)
    protection.check_wanted = True
    protection.save_at = now
    protection.opened = True
    return protection
