"""Entry orders on a venue: placing, look-up and cancellation."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from trailing.core.entry_orders import EntryOrder, EntryRequest
from trailing.core.model import Market, Side, check_money, check_one_of
from trailing.core.prices import EXACT
from trailing.errors import EntryRejected, ExchangeUnreachable, NoSuchEntry, OutcomeUnknown, StopRejected, UsageError
from trailing.exchanges.ccxt.bridges import Bridges
from trailing.exchanges.ccxt.conversion import Raw, amount, from_venue_id, number, order_id_of, text, to_venue_id
from trailing.exchanges.ccxt.entry_requests import EntryFields, EntryRequests
from trailing.exchanges.ccxt.replies import acknowledged_id
from trailing.exchanges.ccxt.session import Session
from trailing.exchanges.ccxt.stream_protocol import opens_position, order_side
from trailing.exchanges.ccxt.unreadable import UNPARSED, UNREADABLE, as_text, reason
from trailing.exchanges.ccxt.venue import Slot, Venue, fill_in
from trailing.exchanges.ccxt.venue_requests import VenueRequests
from trailing.exchanges.port import check_entry_request, check_entry_steps, escaped

OPENING: Final[Mapping[Side, str]] = {"long": "buy", "short": "sell"}
"""The side of the order that opens a position."""

_ENDED: Final = ("closed", "canceled", "expired", "rejected")
_LEGS: Final = {"1": "long", "2": "short"}  # Bybit's words
_WITH_A_REASON: Final = frozenset({"expired", "rejected"})


class EntryOrders:
    """Sends the requests about entry orders by the venue's row.

    Args:
        session: of the requests.
        requests: sends them.
        venue: the venue's row.
        bridges: is told of each entry that carries a stop as a bridge.
        name: of the exchange, for messages.
    """

    def __init__(self, session: Session, requests: VenueRequests, venue: Venue, bridges: Bridges, *, name: str) -> None:
        self._session, self._requests, self._venue, self._name = session, requests, venue, name
        self._bridges = bridges

    async def place(self, market: Market, request: EntryRequest) -> EntryOrder:
        """Place an entry. Raises as `Exchange.place_entry`."""
        entries = self._rows(request.symbol, request.client_order_id)
        check_entry_request(request, market)
        check_entry_steps(request, market)  # because ccxt would round
        self._requests.check_can_enter(request.symbol)
        if request.stop is not None and entries.bridge is not None:
            self._bridges.note(request.client_order_id)
        raw = await self._requests.call(
            "place_entry",
            "create_order",
            request.symbol,
            "market" if request.limit is None else "limit",
            OPENING[request.side],
            amount(self._venue, request.quantity, market),
            None if request.limit is None else text(request.limit),
            self._params(entries, request),
            symbol=request.symbol,
            about=request.client_order_id,
        )
        try:
            order_id = acknowledged_id("place_entry", raw)
        except StopRejected as error:
            raise EntryRejected(f"{self._venue.name} {request.symbol}: {error}") from error
        info = raw.get("info")
        if not isinstance(info, Mapping) or entries.fields.quantity not in info:  # the venue acknowledges the ids only
            ids = (request.client_order_id, order_id)
            nothing = Decimal(0)
            return EntryOrder(
                request.symbol,
                request.side,
                request.quantity,
                *ids,
                is_working=True,
                filled=nothing,
                limit=request.limit,
            )
        try:
            return self._read(market, request.client_order_id, raw)
        except ExchangeUnreachable as error:
            raise OutcomeUnknown(f"{error}, so the order may exist") from error

    async def cancel(self, market: Market, client_order_id: str) -> None:
        """Cancel what is not filled of an entry. Raises as `Exchange.cancel_entry`."""
        entries = self._rows(market.symbol, client_order_id)
        raw = await self._requests.call(
            "cancel_entry",
            "cancel_order",
            None,
            market.symbol,
            fill_in(entries.cancel, self._ids(client_order_id)),
            symbol=market.symbol,
            about=client_order_id,
            after_earlier=True,
        )
        try:
            acknowledged_id("cancel_entry", raw)
        except StopRejected as error:
            raise OutcomeUnknown(f"{self._venue.name} {market.symbol}: {error}") from error

    async def find(self, market: Market, client_order_id: str) -> EntryOrder | None:
        """Return an entry, working or ended. Raises as `Exchange.find_entry`."""
        entries = self._rows(market.symbol, client_order_id)
        await self._session.wait_for(client_order_id)
        for method, template in entries.find:
            params = fill_in(template, self._ids(client_order_id))
            args = (None, market.symbol) if method == "fetch_order" else (market.symbol, None, None)
            try:
                found = await self._requests.call("find_entry", method, *args, params, symbol=market.symbol)
            except NoSuchEntry:
                continue
            for raw in [found] if method == "fetch_order" else found:
                return self._read(market, client_order_id, raw)
        return None

    def _rows(self, symbol: str, client_order_id: str) -> EntryRequests:
        """Return the venue's rows about entries. Raises UsageError if it has none."""
        if self._venue.entries is None:
            raise UsageError(f"{symbol} entry {client_order_id}: {self._name} is not supported for entries yet")
        return self._venue.entries

    def _ids(self, client_order_id: str) -> Mapping[Slot, Any]:
        return {Slot.CLIENT_ORDER_ID: to_venue_id(self._venue, client_order_id)}

    def _params(self, entries: EntryRequests, request: EntryRequest) -> dict[str, Any]:
        params = {**fill_in(entries.place, self._ids(request.client_order_id))}
        if request.stop is not None:
            stop, own_id = request.stop, to_venue_id(self._venue, request.stop.client_order_id)
            params |= self._requests.params(entries.stop, request.side, stop.price, stop.source, own_id)
        return {**params, **self._requests.entry_params(request.symbol, request.side)}

    def _read(self, market: Market, client_order_id: str, raw: Any) -> EntryOrder:
        """Return the entry with a client order id. Raises ExchangeUnreachable if the reply is not that entry."""
        assert self._venue.entries is not None
        try:
            return _entry_of(self._venue, self._venue.entries.fields, market, client_order_id, raw)
        except UNREADABLE as error:
            raise ExchangeUnreachable(
                f"{self._venue.name} {market.symbol}: the order {client_order_id} can't be parsed: {escaped(reason(error))}"
            ) from error


def _entry_of(venue: Venue, fields: EntryFields, market: Market, client_order_id: str, raw: Raw) -> EntryOrder:
    """Convert an order of ccxt's. Raises an `UNREADABLE` error if it is not the entry with that id."""
    if UNPARSED in raw:
        raise UsageError(raw[UNPARSED])
    info, status = raw["info"], raw.get("status")
    own_id = from_venue_id(venue, as_text("client order id", info[fields.client_order_id]))
    check_one_of("client order id", own_id, (client_order_id,))
    check_one_of("symbol", raw.get("symbol"), (market.symbol,))
    check_one_of("side", raw.get("side"), ("sell", "buy"))
    check_one_of("status", status, ("open", *_ENDED))
    leg, reduces = str(info.get(fields.position_side)).lower(), str(info[fields.reduce_only]).lower() == "true"
    leg = _LEGS.get(leg, leg)
    if not opens_position(raw["side"], leg, reduces=reduces):
        raise UsageError("it is an order that closes")
    filled = EXACT.multiply(number(info[fields.filled]) or Decimal(0), market.contract_size)
    at_market = str(info[fields.type]).lower() == "market"
    stated_at = info.get(fields.updated_at) if filled and at_market else None
    return EntryOrder(
        symbol=market.symbol,
        side=order_side(raw["side"], leg, reduces=False),
        quantity=EXACT.multiply(_above_zero(number(info[fields.quantity])), market.contract_size),
        client_order_id=client_order_id,
        order_id=order_id_of(raw),
        is_working=status == "open",
        filled=filled,
        average_price=number(info[fields.average_price]) or None,
        first_filled_at=datetime.fromtimestamp(int(stated_at) / 1000, UTC) if stated_at else None,
        limit=None if at_market else number(info[fields.limit]),
        reason=escaped(as_text("reason", info.get(fields.reason))) if status in _WITH_A_REASON else "",
    )


def _above_zero(value: Decimal | None) -> Decimal:
    found: Any = value
    check_money("quantity", found)
    return Decimal(found)
