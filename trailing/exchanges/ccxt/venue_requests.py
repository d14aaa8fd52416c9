"""Requests to a real exchange: built from the venue's row, repeated where that is safe, and read page by page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, get_args

import trio

from trailing.core.entry_orders import MarginMode
from trailing.core.model import Percent, Side, Source, check_money, check_source, refuse
from trailing.errors import (
    AuthenticationFailed,
    ExchangeUnreachable,
    NothingToReduce,
    OutcomeUnknown,
    StopRejected,
    UsageError,
)
from trailing.exchanges.ccxt.clock import warn_of_skew
from trailing.exchanges.ccxt.conversion import Raw, number, text
from trailing.exchanges.ccxt.errors import ClockOff
from trailing.exchanges.ccxt.margin_modes import PositionKey
from trailing.exchanges.ccxt.session import Session
from trailing.exchanges.ccxt.unreadable import UNPARSED
from trailing.exchanges.ccxt.venue import FillRequests, NextPage, Params, Slot, Venue, fill_in
from trailing.exchanges.port import escaped

POSITION_INDEXES: Final[Mapping[Side, int]] = {"long": 1, "short": 2}
"""Bybit's index of a position in hedge mode. In one-way mode it is 0."""

FILL_WAITS = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds between look-ups of a closing order whose reply did not state its fill."""


MOST_PAGES: Final = 200
"""Pages of one list. Bybit's have 50 orders or 200 positions. A list without a last page would be read for ever."""


_LONGEST_CURSOR = 1000
"""Characters of the cursor of the next page. Bybit's have about 100."""


class VenueRequests:
    """Builds and sends requests by the venue's row.

    Args:
        session: sends them.
        venue: the venue's row.
        hedged: whether the account is in hedge mode.
        entry_margin_mode: of entries in a symbol without a position, on a venue where each order states its margin mode.
    """

    def __init__(
        self, session: Session, venue: Venue, *, hedged: bool, entry_margin_mode: MarginMode = "cross"
    ) -> None:
        self._session, self._entry_margin_mode = session, entry_margin_mode
        self._venue = venue
        self._hedged = hedged
        self._modes_reading: trio.Event | None = None
        self._modes_read_at = -math.inf

    async def call(
        self,
        operation: str,
        name: str,
        *args: Any,
        symbol: str | None = None,
        about: str | None = None,
        after_earlier: bool = False,
    ) -> Any:
        """Call a method of ccxt's client. If the venue rejects its timestamp, load the venue's time and call once more.

        Args:
            operation: the port's method name.
            name: the client's method.
            args: its arguments.
            symbol: whose share of the rate limit it uses; None: of no symbol.
            about: the client order id that it is about; None: none.
            after_earlier: wait first until the calls in flight for that id have ended.

        Raises and cancellation: as `Session.call`.
        """
        try:
            return await self._session.call(
                operation, name, *args, symbol=symbol, client_order_id=about, after_earlier=after_earlier
            )
        except ClockOff:
            await self._session.call(operation, "load_time_difference")
            warn_of_skew(self._venue, self._session.client)
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
        """Return the parameters of a request about an order. A request that places an order needs `position_params` too."""
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
            if source not in self._venue.stops.sources:
                wants = ", ".join(map(repr, self._venue.stops.sources))
                raise refuse(
                    "StopRequest.source",
                    source,
                    f"a price source by which stops trigger on {self._venue.name}: {wants}",
                )
            values[Slot.SOURCE] = self._venue.stops.sources[source]
        return fill_in(template, values)

    def is_hedged(self, symbol: str) -> bool:
        """Return whether a symbol is in hedge mode. On most venues the whole account has one mode."""
        if self._venue.account.mode_from != "position_rows":
            return self._hedged
        return self._session.position_modes.is_hedged(symbol, default=self._hedged)

    def check_can_protect(self, symbol: str) -> None:
        """Refuse a stop for a symbol in hedge mode if the account was in one-way mode when the exchange was opened.

        The manager would take an open position of the other side for a reversal of this one. Raises UsageError.
        """
        if self.is_hedged(symbol) and not self._hedged:
            raise UsageError(
                f"{symbol} is in hedge mode, and the account was in one-way mode when the exchange was opened; open the exchange "
                "again"
            )

    def check_can_enter(self, symbol: str) -> None:
        """Refuse an entry in a symbol whose mode is not that of the account. Raises UsageError."""
        if self.is_hedged(symbol) is not self._hedged:
            mode = {True: "hedge mode", False: "one-way mode"}
            raise UsageError(
                f"{symbol} is in {mode[self.is_hedged(symbol)]}, and the account is in {mode[self._hedged]}; set the same mode for "
                "all symbols, and open the exchange again"
            )

    async def position_params(self, symbol: str, side: Side, *, must_exist: bool) -> Params:
        """Return the parameters that name a position: its side in hedge mode, and its margin mode, where the venue needs them.

        Only requests that place an order need them. The positions are read if the margin mode is not known. Tasks that need
        it at the same time share one reading.

        Args:
            symbol, side: of the position.
            must_exist: False: if the venue lists no such position, the order is sent with ccxt's default mode, and the venue
                refuses it.

        Raises:
            NothingToReduce: the venue lists no such position (yet). Nothing was sent.
        """
        account, params = self._venue.account, self.hedge_params(symbol, side)
        if account.margin_param:
            mode = await self._margin_mode(symbol, side)
            if mode is not None:
                params[account.margin_param] = mode
            elif must_exist:
                raise NothingToReduce(
                    f"{self._venue.name} {symbol}: not sent, because the venue lists no {side} position, and so no margin mode"
                )
        return params

    def entry_params(self, symbol: str, side: Side) -> Params:
        """Return the parameters that name the position of an entry, with its margin mode, where the venue needs one.

        It is the mode of the side's open position, or else of the other side's, or else the one that `open_ccxt` was given.
        """
        account, params = self._venue.account, self.hedge_params(symbol, side)
        if not account.margin_param:
            return params
        modes = self._session.margin_modes
        own, other = modes.get(symbol, side), modes.get(symbol, "short" if side == "long" else "long")
        return {**params, account.margin_param: own or other or self._entry_margin_mode}

    def hedge_params(self, symbol: str, side: Side) -> dict[str, Any]:
        """Return the parameters that name a side in hedge mode; none in one-way mode."""
        if not self.is_hedged(symbol) or self._venue.account.hedge_params is None:
            return {}
        return fill_in(self._venue.account.hedge_params, {Slot.POSITION_INDEX: POSITION_INDEXES[side]})

    async def entry_margin_mode(self, symbol: str) -> MarginMode | None:
        """Return the margin mode that `entry_params` gives to entries of a symbol; None: those of the two sides differ.

        The positions are read if no open position of the symbol is known.
        """
        sides: tuple[Side, ...] = get_args(Side)
        if all(self._session.margin_modes.get(symbol, side) is None for side in sides):
            await self._margin_mode(symbol, "long")
        found = {self.entry_params(symbol, side)[self._venue.account.margin_param] for side in sides}
        if len(found) != 1:
            return None
        return "isolated" if found == {"isolated"} else "cross"

    async def _margin_mode(self, symbol: str, side: Side) -> str | None:
        """Return a position's margin mode; None: a reading that began after this call lists no such position."""
        asked_at = trio.current_time()
        while (mode := self._session.margin_modes.get(symbol, side)) is None and self._modes_read_at < asked_at:
            if self._modes_reading is not None:
                await self._modes_reading.wait()
                continue
            began_at, self._modes_reading = trio.current_time(), trio.Event()
            try:
                await self.positions()
                self._modes_read_at = began_at
            finally:
                self._modes_reading.set()
                self._modes_reading = None
        return mode

    async def orders(self, operation: str, symbol: str | None, params: Params) -> list[Raw]:
        """Return open orders. Each page is one request to the rate limit."""
        lists = self._venue.lists
        args = (symbol, None, lists.page_size)
        return await self._pages(operation, "fetch_open_orders", args, params, symbol, next_page=lists.next_page)

    async def trades(self, symbol: str, since: int, params: Params, rows: FillRequests) -> list[Raw]:
        """Return our executions of a symbol since a time in UTC milliseconds. Each page is one request to the rate limit."""
        args = (symbol, since, rows.page_size)
        return await self._pages("order_fills", "fetch_my_trades", args, params, symbol, next_page=rows.next_page)

    async def positions(self) -> list[Raw]:
        """Return the positions of the account. Each page of each list is one request to the rate limit."""
        raws: list[Raw] = []
        for params in self._venue.lists.positions:
            raws += await self._pages("positions", "fetch_positions", (None,), params)
        self._session.margin_modes.replace(_margin_modes(raws))
        self._session.position_modes.note(raws)
        return raws

    async def _pages(
        self,
        operation: str,
        name: str,
        args: tuple[Any, ...],
        params: Params,
        symbol: str | None = None,
        *,
        next_page: NextPage | None = None,
    ) -> list[Raw]:
        raws: list[Raw] = []
        size = args[-1] or params.get("limit")
        further = params
        for _ in range(MOST_PAGES):
            page = list(await self.call(operation, name, *args, dict(further), symbol=symbol))
            raws += page
            following = self._following(operation, page, size, next_page)
            if following is None:
                return raws
            if not following:
                raise ExchangeUnreachable(
                    f"{self._venue.name} {operation}: the list fills its page of {size} entries and may be incomplete"
                )
            if next_page is not None and next_page.is_newer:
                args, params = (symbol, None, size), {name: each for name, each in params.items() if name != "until"}
            if further == {**params, **following}:
                raise ExchangeUnreachable(f"{self._venue.name} {operation}: a page of the list leads to itself")
            further = {**params, **following}
        raise ExchangeUnreachable(f"{self._venue.name} {operation}: the list has more than {MOST_PAGES} pages")

    def _following(
        self, operation: str, page: list[Raw], size: int | None, next_page: NextPage | None
    ) -> Params | None:
        """Return the parameters that lead to the next page; None: this is the last one; empty: none are known."""
        # ccxt stores the cursor in the first entry of the reply, and then sorts the entries by time.
        cursor = self._venue.lists.cursor and next(
            filter(None, (raw["info"].get(self._venue.lists.cursor) for raw in page)), ""
        )
        if not isinstance(cursor, str) or len(cursor) > _LONGEST_CURSOR:
            raise ExchangeUnreachable(f"{self._venue.name} {operation}: the reply's cursor can't be parsed")
        if cursor:
            return {"cursor": cursor}
        if self._venue.lists.cursor or size is None or len(page) < size:
            return None  # a venue with cursors may fill its last page
        return {} if next_page is None else _numbered(page, next_page)

    async def fill_of(self, symbol: str, order_id: str, raw: Raw) -> tuple[Decimal, Decimal]:
        """Return the contracts that a closing order has closed, and the average price: from its reply or by look-up."""
        shown = escaped(order_id)
        for wait in (*FILL_WAITS, None):
            try:
                quantity, price = number(raw.get("filled")), number(raw.get("average"))
                for name, value in (("filled", quantity), ("average", price)):
                    check_money(name, value or Decimal(0), zero=True)
            except UsageError as error:
                raise OutcomeUnknown(
                    f"{self._venue.name} close_position {symbol}: order {shown} was accepted, but its fill can't be parsed: {error}"
                ) from error
            ended = raw.get("status") in {"closed", "canceled", "expired", "rejected"}
            if ended and quantity and price:
                return quantity, price
            if ended and quantity == 0:  # None: the reply does not state it
                raise NothingToReduce(f"{self._venue.name} close_position {symbol}: order {shown} ended without a fill")
            if wait is None:
                break
            try:
                params = dict(self._venue.closes.fetch)
                raw = await self.call("find_stop", "fetch_order", order_id, symbol, params, symbol=symbol)
            except (ExchangeUnreachable, StopRejected):  # not listed yet, or not reached
                await trio.sleep(wait)
                continue
            except AuthenticationFailed as error:  # of the look-up; the close was accepted
                raise OutcomeUnknown(
                    f"{self._venue.name} close_position {symbol}: order {shown} was accepted, but its look-up was refused: {error}"
                ) from error
            if raw.get("status") == "open":
                await trio.sleep(wait)
        raise OutcomeUnknown(
            f"{self._venue.name} close_position {symbol}: order {shown} was accepted, but its fill is not known"
        )


def _numbered(page: list[Raw], next_page: NextPage) -> Params:
    """Return the parameter that leads to the next page; empty: no entry has a number."""
    found = (raw["info"].get(next_page.field) if next_page.field else raw.get("id") for raw in page)
    numbers = [int(each) for each in map(str, found) if each.isdecimal()]
    if not numbers:
        return {}
    return {next_page.param: str(max(numbers) + 1 if next_page.is_newer else min(numbers))}


def _margin_modes(raws: list[Raw]) -> dict[PositionKey, str]:
    """Return the margin modes that a list of open positions states. An entry that can't be parsed states none."""
    return {
        (raw["symbol"], raw["side"]): raw["marginMode"]
        for raw in raws
        if UNPARSED not in raw and raw.get("side") in ("long", "short") and raw.get("marginMode")
    }
