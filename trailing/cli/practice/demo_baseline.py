"""The mistake that this project was written to avoid: one lock, held across all I/O of a stop's creation.

The demo measures it beside `trailing`. A manager like this one had 10 s for each of five positions, took more than 2 s for
each, and left positions without a stop.
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
    """Creates stops one after the other, under one lock.

    Args:
        store: in place of the event log and the database, which were written before the lock was released.
        began: called when a creation has the lock.
        acknowledged: called when a stop is live.

    Attributes:
        stops: the tracked stops by symbol.
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
        """Place a position's stop, track it, log it and store it.

        Cancellation: leaves an order that was sent on the exchange, untracked.
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
        """Write the event log, then the database, with one commit each."""
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
