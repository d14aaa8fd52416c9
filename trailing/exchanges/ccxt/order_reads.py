"""Open orders of any kind and owner, and the executions of an order: for messages, for profits, and for users' commands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import trio

from trailing.core.account import OpenOrder
from trailing.core.model import Fill, Market, Side, check_money, check_one_of, refuse
from trailing.errors import ExchangeUnreachable, StopRejected, UsageError
from trailing.exchanges.ccxt.conversion import CLOSED_BY, Raw, base_units, from_venue_id, number, to_venue_id
from trailing.exchanges.ccxt.replies import acknowledged_id
from trailing.exchanges.ccxt.unreadable import UNPARSED, UNREADABLE, as_text, reason
from trailing.exchanges.ccxt.venue import FillRequests, Params, Slot, Venue, fill_in
from trailing.exchanges.ccxt.venue_requests import VenueRequests
from trailing.exchanges.port import PartialList, escaped


class OrderReads:
    """Reads open orders and executions on a venue, and cancels open orders.

    Args:
        requests: sends the requests.
        venue: the venue's row.
    """

    def __init__(self, requests: VenueRequests, venue: Venue) -> None:
        self._requests, self._venue = requests, venue
        self._cancel_params: dict[str, dict[str, Params]] = {}  # of the listed orders, by symbol and order id

    async def open_orders(self, market: Market) -> Sequence[OpenOrder]:
        """Return all open orders of a symbol by order id; a `PartialList` if an entry can't be parsed."""
        orders: dict[str, OpenOrder] = {}
        cancel_params: dict[str, Params] = {}
        left_out: list[str] = []
        for params in self._venue.lists.orders:
            is_conditional = bool(params.get("trigger"))
            for raw in await self._requests.orders("open_orders", market.symbol, params):
                try:
                    order = _open_order(self._venue, market, raw, is_conditional=is_conditional)
                except UNREADABLE as error:
                    left_out.append(f"order {raw.get('id')}: {reason(error)}")
                else:
                    orders[order.order_id] = order
                    names = self._venue.lists.cancel_names
                    cancel_params[order.order_id] = {name: params[name] for name in names if name in params}
        self._cancel_params[market.symbol] = cancel_params
        found = [order for _, order in sorted(orders.items())]
        return PartialList(found, left_out) if left_out else found

    async def cancel_order(self, order: OpenOrder) -> None:
        """Cancel an order of `open_orders`, after the requests in flight for its client order id. Raises as the port says."""
        template: Params = {}
        if order.is_conditional:
            listed = self._cancel_params.get(order.symbol, {}).get(order.order_id, {})
            template = {**self._venue.stops.cancel, **listed}
        own_id = to_venue_id(self._venue, order.client_order_id) if order.client_order_id else ""
        closes: Side = CLOSED_BY[order.order_side]
        raw = await self._requests.call(
            "cancel_order",
            "cancel_order",
            order.order_id,
            order.symbol,
            self._requests.params(template, closes, order.trigger_price, None, own_id),
            symbol=order.symbol,
            about=order.client_order_id or None,
            after_earlier=True,
        )
        if self._venue.verified:  # it is unknown whether the others name the order in their reply
            acknowledged_id("cancel_order", raw)

    async def order_fills(self, market: Market, client_order_id: str, since: datetime) -> Sequence[Fill]:
        """Return the executions of an order of ours, oldest first. Raises as the port says."""
        requests = self._venue.fills
        if requests is None:
            raise UsageError(f"{self._venue.name}: it is not known how to read the executions of an order there")
        own_id = to_venue_id(self._venue, client_order_id)
        ids: Sequence[str] = (own_id,)
        if requests.look_ups:
            ids = await self._executed_as(market.symbol, requests, {Slot.CLIENT_ORDER_ID: own_id})
        fills: dict[str, Fill] = {}
        for order_id in ids:
            values = {Slot.CLIENT_ORDER_ID: own_id, Slot.ORDER_ID: order_id}
            for start, end in _windows(requests, since):
                params = {**fill_in(requests.trades, values), "until": _milliseconds(end)}
                raws = await self._requests.trades(market.symbol, _milliseconds(start), params, requests)
                for raw in raws:
                    try:
                        if str(raw["info"].get(requests.field)) == order_id:
                            fill = _fill(market, client_order_id, raw)
                            fills[str(fill.trade_id)] = fill
                    except UNREADABLE as error:
                        raise ExchangeUnreachable(
                            f"{self._venue.name} order_fills {market.symbol}: an execution can't be parsed: "
                            f"{escaped(reason(error))}"
                        ) from error
        return sorted(fills.values(), key=lambda fill: fill.at)

    async def _executed_as(self, symbol: str, requests: FillRequests, values: Mapping[Slot, Any]) -> Sequence[str]:
        """Return the ids that the executions of an order have; none: it has no executions, or there is no such order.

        Raises:
            ExchangeUnreachable: the ids can't be parsed, because a part of the executions would be a wrong sum.
        """
        for look_up in requests.look_ups:
            params = fill_in(look_up.params, values)
            try:
                raw = await self._requests.call("order_fills", "fetch_order", None, symbol, params, symbol=symbol)
            except StopRejected:  # there is no such order of this kind
                continue
            try:
                listed = raw["info"].get(look_up.list_field) or []
                if not isinstance(listed, list):
                    raise refuse(look_up.list_field, listed, "a list")
                ids = (as_text("id", each) for each in (*listed, raw["info"].get(look_up.field)))
                return tuple(dict.fromkeys(filter(None, ids)))
            except UNREADABLE as error:
                raise ExchangeUnreachable(
                    f"{self._venue.name} order_fills {symbol}: the order can't be parsed: {escaped(reason(error))}"
                ) from error
        return ()


def _open_order(venue: Venue, market: Market, raw: Raw, *, is_conditional: bool) -> OpenOrder:
    """Convert an open order of ccxt's. Raises an `UNREADABLE` error if it can't be parsed.

    Args:
        is_conditional: whether it is from a list of conditional orders. Otherwise its trigger price tells.
    """
    if UNPARSED in raw:
        raise UsageError(raw[UNPARSED])
    info = raw["info"]
    check_one_of("symbol", raw.get("symbol"), (market.symbol,))
    check_one_of("side", raw.get("side"), ("sell", "buy"))
    if not raw.get("id"):
        raise UsageError("id is missing")
    own_id = info.get(venue.fields.client_order_id) or raw.get("clientOrderId") or ""
    words = [str(info[field]) for field in venue.lists.kind_fields if info.get(field)] or [str(raw.get("type"))]
    leg = str(info.get(venue.fields.position_side)).lower()
    closes = CLOSED_BY[raw["side"]]
    reduces = leg == closes or (
        leg not in CLOSED_BY.values() and bool(raw.get("reduceOnly") or info.get("closePosition"))
    )
    contracts = number(raw.get("remaining")) or number(raw.get("amount")) or Decimal(0)
    triggers = (raw.get(name) for name in ("triggerPrice", "stopLossPrice", "takeProfitPrice"))
    trigger_price = next(filter(None, map(number, triggers)), None)
    return OpenOrder(
        symbol=market.symbol,
        order_id=escaped(str(raw["id"])),
        client_order_id=from_venue_id(venue, escaped(str(own_id))),
        kind=escaped(" ".join(words), 60),
        order_side=raw["side"],
        side=closes if reduces else None,
        quantity=base_units(contracts, market),
        price=number(raw.get("price")) or None,
        trigger_price=trigger_price,
        is_conditional=is_conditional or trigger_price is not None,
    )


def _fill(market: Market, client_order_id: str, raw: Raw) -> Fill:
    """Convert an execution of ccxt's. Raises an `UNREADABLE` error if it can't be parsed."""
    check_one_of("side", raw.get("side"), ("sell", "buy"))
    age = datetime.now(UTC).timestamp() - raw["timestamp"] / 1000
    return Fill(
        symbol=market.symbol,
        side=CLOSED_BY[raw["side"]],
        quantity=base_units(_above_zero("amount", raw), market),
        price=_above_zero("price", raw),
        order_id=escaped(str(raw["order"])),
        client_order_id=client_order_id,
        at=trio.current_time() - max(age, 0.0),
        trade_id=escaped(str(raw["id"])),
    )


def _above_zero(name: str, raw: Raw) -> Decimal:
    value: Any = number(raw.get(name))
    check_money(name, value)
    found: Decimal = value
    return found


def _windows(requests: FillRequests, since: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Split the time from `since` until now into windows that one request may cover, oldest first."""
    now = datetime.now(UTC)
    start = max(since, now - timedelta(days=requests.kept_days))
    while start < now:
        end = min(start + timedelta(days=requests.window_days), now)
        yield start, end
        start = end


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)
