"""What this project answers: creations one by one, under a lock that is held across all of their I/O.

It is here to be measured beside `trailing`. A manager like this one gave each of five positions 10 s, took 2 s and more
for each, and left positions without a stop.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import trio

from trailing.core.model import Position, StopOrder
from trailing.core.plan import TrailPlan
from trailing.events import StopOpened
from trailing.exchanges.port import Exchange, StopRequest
from trailing.stores.port import AddIntent, AppendEvent, Intent, Store
from trailing.unprotected import UnprotectedTime


class LockedManager:
    """Creates stops under one lock.

    Args:
        store: stands for the event log and for the database, which were written before the lock was given back.
        acknowledged: called when a stop is live.
        began: called when a creation has the lock.

    Attributes:
        stops: those that it keeps track of, by symbol.
    """

    def __init__(
        self,
        exchange: Exchange,
        store: Store,
        plan: TrailPlan,
        *,
        began: Callable[[Position], None],
        acknowledged: Callable[[Position], None],
    ) -> None:
        self.stops: dict[str, StopOrder] = {}
        self._exchange, self._store, self._plan = exchange, store, plan
        self._began, self._acknowledged = began, acknowledged
        self._lock = trio.Lock()

    async def create_stop(self, position: Position) -> None:
        """Place a position's stop, note it, log it, store it.

        Cancellation: leaves behind what was sent, and nobody keeps track of it.
        """
        async with self._lock:
            self._began(position)
            order = await self._exchange.place_stop(
                StopRequest(
                    symbol=position.symbol,
                    side=position.side,
                    quantity=position.quantity,
                    price=self._plan.first_stop(position, self._exchange.market(position.symbol)),
                    client_order_id=f"baseline{position.symbol[:3].lower()}",
                )
            )
            self._acknowledged(position)
            self.stops[position.symbol] = order
            await self._write(position, order)

    async def _write(self, position: Position, order: StopOrder) -> None:
        """The event log, then the database: a commit each."""
        account, at = ("paper", self._exchange.account), datetime.now(UTC)
        unprotected_time = UnprotectedTime(opening=max(0.0, (at - position.opened_at).total_seconds()))
        event = StopOpened(
            at=at,
            symbol=order.symbol,
            side=order.side,
            quantity=order.quantity,
            price=order.price,
            client_order_id=order.client_order_id,
            unprotected_seconds=unprotected_time.total,
            unprotected_time=unprotected_time,
        )
        await self._store.commit([AppendEvent(*account, event)])
        intent = Intent(
            *account,
            symbol=order.symbol,
            side=order.side,
            identity=position.identity,
            client_order_id=order.client_order_id,
            purpose="stop",
            quantity=order.quantity,
            price=order.price,
            at=at,
        )
        await self._store.commit([AddIntent(intent)])
