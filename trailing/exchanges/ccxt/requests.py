"""The requests of a real exchange: made from the venue's row, asked again where that is safe, page by page."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import trio

from trailing.core.model import Percent, Side, Source, check_money, check_source, refuse
from trailing.errors import ExchangeUnreachable, NothingToReduce, OutcomeUnknown, StopRejected, UsageError
from trailing.exchanges.ccxt.conversion import Raw, number, text
from trailing.exchanges.ccxt.errors import ClockOff
from trailing.exchanges.ccxt.session import Session
from trailing.exchanges.ccxt.venue import Params, Slot, Venue, filled

_FILL_WAITS = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds between the looks at a closing order whose acknowledgement didn't tell of its fill."""


class Requests:
    """What is sent in a session, by the venue's row.

    Args:
        hedged: whether the account is in hedge mode.
    """

    def __init__(self, session: Session, venue: Venue, *, hedged: bool) -> None:
        self._session = session
        self._venue = venue
        self._hedged = hedged

    async def call(
        self,
        operation: str,
        name: str,
        *args: Any,
        symbol: str | None = None,
        about: str | None = None,
        after_earlier: bool = False,
    ) -> Any:
        """Call a method of ccxt's; where the venue refused it for its time, learn the venue's time and ask once more."""
        try:
            return await self._session.call(
                operation, name, *args, symbol=symbol, client_order_id=about, after_earlier=after_earlier
            )
        except ClockOff:
            await self._session.call(operation, "load_time_difference")
            return await self._session.call(operation, name, *args, symbol=symbol, client_order_id=about)

    def params(
        self,
        template: Params,
        side: Side,
        price: Decimal | None,
        source: Source | None,
        own_id: str,
        callback: Percent | None = None,
    ) -> dict[str, Any]:
        """The parameters of a request about an order; one that places it says `hedge` too."""
        values: dict[Slot, Any] = {
            Slot.CLIENT_ORDER_ID: own_id,
            Slot.DIRECTION: "descending" if side == "long" else "ascending",
        }
        if price is not None:
            values[Slot.PRICE] = text(price)
        if callback is not None:
            values[Slot.CALLBACK] = text(callback.value)
        if source is not None:
            check_source("StopRequest.source", source)
            if source not in self._venue.sources:
                wants = ", ".join(map(repr, self._venue.sources))
                raise refuse("StopRequest.source", source, f"one that {self._venue.name} triggers by: {wants}")
            values[Slot.SOURCE] = self._venue.sources[source]
        return filled(template, values)

    @property
    def hedge(self) -> Params:
        """Which leg of a hedge an order is for, which only a request that places one says."""
        return self._venue.hedge if self._hedged and self._venue.hedge is not None else {}

    async def orders(self, operation: str, symbol: str | None, params: Params) -> list[Raw]:
        """Open orders, page by page. Each page is a request with a turn of its own."""
        return await self._pages(operation, "fetch_open_orders", (symbol, None, self._venue.page), params, symbol)

    async def positions(self, params: Params) -> list[Raw]:
        """Positions, page by page."""
        return await self._pages("positions", "fetch_positions", (None,), params)

    async def _pages(
        self, operation: str, name: str, args: tuple[Any, ...], params: Params, symbol: str | None = None
    ) -> list[Raw]:
        raws: list[Raw] = []
        size = args[-1] or params.get("limit")
        further = params
        while True:
            page = list(await self.call(operation, name, *args, dict(further), symbol=symbol))
            raws += page
            # ccxt notes the cursor in the first entry of the answer, and then sorts them by their time.
            cursor = self._venue.cursor and next(
                filter(None, (raw["info"].get(self._venue.cursor) for raw in page)), ""
            )
            if not cursor and (size is None or len(page) < size):
                return raws
            if not cursor:
                raise ExchangeUnreachable(f"{self._venue.name} {operation}: a list is longer than a page of it shows")
            further = {**params, "cursor": cursor}

    async def fill_of(self, symbol: str, order_id: str, raw: Raw) -> tuple[Decimal, Decimal]:
        """How many contracts a closing order has closed, and at what price: from its answer, or by asking."""
        for wait in (*_FILL_WAITS, None):
            try:
                quantity, price = number(raw.get("filled")), number(raw.get("average"))
                for name, value in (("filled", quantity), ("average", price)):
                    check_money(name, value or Decimal(0), zero=True)
            except UsageError as error:
                raise OutcomeUnknown(
                    f"{self._venue.name} close_position: the order {order_id} was taken, its fill can't be read: {error}"
                ) from error
            ended = raw.get("status") in {"closed", "canceled", "expired", "rejected"}
            if ended and quantity and price:
                return quantity, price
            if ended and not quantity:
                raise NothingToReduce(f"{self._venue.name} close_position: the order {order_id} ended without a fill")
            if wait is None:
                break
            try:
                params = dict(self._venue.fetch_close)
                raw = await self.call("find_stop", "fetch_order", order_id, symbol, params, symbol=symbol)
            except (ExchangeUnreachable, StopRejected):  # not shown yet, or not reached
                await trio.sleep(wait)
                continue
            if raw.get("status") == "open":
                await trio.sleep(wait)
        raise OutcomeUnknown(
            f"{self._venue.name} close_position: the order {order_id} was taken, its fill is not known"
        )
