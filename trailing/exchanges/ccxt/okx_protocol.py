"""Websocket protocol of OKX: https://www.okx.com/docs-v5/en/#overview-websocket.

Stops are algo orders, which are pushed over a connection of their own (`/business`). A stop that triggers places a market
order. Its frames name the stop (`algoId`, `algoClOrdId`), so its fills are reported under the stop's ids. Quantities are in
contracts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Literal

from trailing.core.model import Fill, Side, Source, check_one_of
from trailing.exchanges.ccxt.entry_updates import EntryUpdates, is_entry
from trailing.exchanges.ccxt.okx_reasons import cancel_reason
from trailing.exchanges.ccxt.session import Session
from trailing.exchanges.ccxt.stream_protocol import (
    ConnectionExpired,
    Frame,
    Instrument,
    Message,
    RequestReply,
    cumulative,
    order_side,
    parse_each,
    position_updates,
    ticks_of,
)
from trailing.exchanges.ccxt.unreadable import Unreadable
from trailing.exchanges.port import OrderStatus, OrderUpdate, escaped

_ALGO_STATES: Final[Mapping[str, OrderStatus]] = {
    "live": "live",
    "effective": "triggered",
    "partially_effective": "triggered",
    "order_placed": "triggered",
    "canceled": "cancelled",
    "order_failed": "cancelled",
    "partially_failed": "cancelled",
}
"""The status of a stop by OKX's word. A state that is missing can't be parsed, so the account is read."""

_WORKING: Final = ("live", "partially_filled")
_CANCELLED: Final = frozenset({"canceled", "mmp_canceled"})
_FORCED: Final = frozenset({"adl", "full_liquidation", "partial_liquidation", "delivery"})
"""Categories of orders by which OKX itself reduces a position. They are not marked as reduce-only."""

_PRICES: Final[Mapping[str, tuple[Source, str]]] = {
    "trades": ("last", "px"),
    "mark-price": ("mark", "markPx"),
    "index-tickers": ("index", "idxPx"),
}
"""The price source of a channel, and the field of its entries with the price."""

_SIDES: Final[Mapping[str, tuple[Side, ...]]] = {"long": ("long",), "short": ("short",)}
"""The sides of which a position of a leg tells; in net mode both."""

_TOO_MANY_REQUESTS: Final = "60014"
"""The code of an error after too many requests over one connection. A new connection has a new count."""

_REMEMBERED: Final = 1_000
"""How many of the last stops are remembered."""

_EVERYTHING: Final = "ANY"
"""The type of instruments that the account's topics name."""


class OkxProtocol:
    """Implements `StreamProtocol` for OKX.

    Args:
        session: holds the client with the keys, and the margin modes of the positions.
        instruments: the markets whose frames are parsed.
    """

    sources: frozenset[Source] = frozenset({"last", "mark", "index"})
    symbols_per_connection: int = 100
    topics_per_request: int = 100  # a request takes 64 KB; a connection takes 480 requests an hour
    account_topics: tuple[tuple[str, ...], ...] = (
        (f"orders:{_EVERYTHING}", f"positions:{_EVERYTHING}"),
        (f"orders-algo:{_EVERYTHING}",),
    )
    heartbeat: str | None = "ping"
    renewal_seconds: float | None = None

    def __init__(self, session: Session, instruments: Iterable[Instrument]) -> None:
        self._session = session
        instruments = tuple(instruments)
        self._instruments: Mapping[str, Instrument] = {instrument.id: instrument for instrument in instruments}
        self._ids: Mapping[str, str] = {instrument.symbol: instrument.id for instrument in instruments}
        self._symbols_of_index: dict[str, list[str]] = {}
        for instrument in instruments:
            self._symbols_of_index.setdefault(_index_of(instrument.id), []).append(instrument.symbol)
        self._held: dict[tuple[str, str], dict[str, Decimal]] = {}  # by instrument and leg: contracts by margin mode
        self._entries = EntryUpdates()
        self._stops: dict[str, str] = {}  # client order ids by id, the latest last
        self._executed: dict[str, str] = {}  # those whose order was filled or cancelled

    def topics(self, symbol: str) -> tuple[str, ...]:
        """Return the topics of trades, mark price and index price."""
        name = self._ids[symbol]
        return (f"trades:{name}", f"mark-price:{name}", f"index-tickers:{_index_of(name)}")

    def subscription_message(self, number: int, topics: Sequence[str], *, subscribe: bool) -> str:
        """Return a request to subscribe or unsubscribe. OKX confirms each of its topics."""
        operation = "subscribe" if subscribe else "unsubscribe"
        return json.dumps({"id": str(number), "op": operation, "args": [_argument(topic) for topic in topics]})

    async def price_url(self) -> str:
        """Return the URL for prices."""
        return str(self._session.client.get_url("trades", "public"))

    async def account_url(self, topics: Sequence[str]) -> str:
        """Return the URL for algo orders, or the one for orders and positions."""
        access = "business" if any(topic.startswith("orders-algo") for topic in topics) else "private"
        return str(self._session.client.get_url("account", access))

    def login_message(self) -> str | None:
        """Return the login, signed with the secret and stamped with the time of the client's requests."""
        client = self._session.client
        stamp = str(client.nonce() // 1000)
        text = client.encode(f"{stamp}GET/users/self/verify")
        signature = client.hmac(text, client.encode(client.secret), hashlib.sha256, "base64")
        login = {"apiKey": client.apiKey, "passphrase": client.password, "timestamp": stamp, "sign": signature}
        return json.dumps({"op": "login", "args": [login]})

    async def renew(self) -> None:
        """Do nothing: a connection to OKX does not expire."""

    def parse(self, frame: Frame, now: float) -> Iterable[Message]:
        """Return what a frame says; nothing for a channel that is not used."""
        if "event" in frame:
            return self._parse_event(frame)
        channel, data = frame["arg"]["channel"], frame["data"]
        match channel:
            case "orders":
                return parse_each(data, lambda each: self._parse_order(each, now))
            case "orders-algo":
                return parse_each(data, lambda each: self._parse_stop(each, now))
            case "positions":
                if frame.get("eventType") == "snapshot" and frame.get("curPage") == 1:  # it has all open positions
                    self._held.clear()
                    self._session.margin_modes.replace({})
                return parse_each(data, lambda each: self._parse_position(each, now))
            case "trades" | "mark-price" | "index-tickers":
                return self._parse_prices(channel, data, now)
        return ()

    def release_overdue(self, now: float) -> Iterable[Message]:  # noqa: ARG002 - nothing is held back
        """Return nothing: every update names its order."""
        return ()

    def _parse_event(self, frame: Frame) -> Iterable[Message]:
        """Return the reply to a request, or that the connection ends."""
        match frame["event"]:
            case "login" if frame.get("code") == "0":
                return (RequestReply(),)
            case "subscribe" | "unsubscribe":
                return (RequestReply(topic=_topic(frame["arg"])),)
            case "error" if frame.get("code") == _TOO_MANY_REQUESTS:
                return (ConnectionExpired(str(frame.get("msg")) or "too many requests over this connection"),)
            case "error" | "login":
                return (
                    RequestReply(f"{frame.get('code', '')} {frame.get('msg') or 'refused without a reason'}".lstrip()),
                )
            case "notice" | "channel-conn-count-error":
                return (ConnectionExpired(str(frame.get("msg") or f"too many connections for {frame.get('channel')}")),)
        return ()

    def _parse_prices(self, channel: str, data: Iterable[Mapping[str, Any]], now: float) -> Iterable[Message]:
        source, field = _PRICES[channel]
        messages: list[Message] = []
        for entry in data:
            name = entry["instId"]
            symbols = self._symbols_of_index[name] if source == "index" else (self._instruments[name].symbol,)
            for symbol in symbols:
                messages += ticks_of(symbol, ((source, entry[field]),), now)
        return messages

    def _parse_order(self, order: Mapping[str, Any], now: float) -> Iterable[Message]:
        instrument = self._instruments.get(order["instId"])
        if instrument is None:
            return ()
        reduces = order["reduceOnly"] == "true" or order["category"] in _FORCED
        side = _side_of(order, reduces=reduces)
        if is_entry(order["clOrdId"], order["side"], order["posSide"], reduces=reduces):
            return (self._parse_entry(instrument, order, now),)
        stop = self._stop_of(order)
        order_id, client_order_id = stop or (order["ordId"], order["clOrdId"])
        filled = cumulative(order.get("accFillSz"), instrument)
        state = order["state"]
        if stop and state != "live":
            _remember(self._executed, *stop)
        if order.get("tradeId") and Decimal(order["fillSz"]):
            fill = Fill(
                symbol=instrument.symbol,
                side=side,
                quantity=Decimal(order["fillSz"]) * instrument.contract_size,
                price=Decimal(order["fillPx"]),
                order_id=order_id,
                client_order_id=client_order_id,
                at=now,
                trade_id=order["tradeId"],
            )
            ended: Literal["partial", "filled"] = "filled" if state == "filled" else "partial"
            return (OrderUpdate(instrument.symbol, side, client_order_id, order_id, ended, now, fill, filled),)
        if state in _CANCELLED:
            reason = cancel_reason(order)
            return (
                OrderUpdate(
                    instrument.symbol, side, client_order_id, order_id, "cancelled", now, filled=filled, reason=reason
                ),
            )
        if state != "live":
            return ()
        if stop:
            return (OrderUpdate(instrument.symbol, side, client_order_id, order_id, "triggered", now, filled=filled),)
        if order["ordType"] == "market":  # it is filled or cancelled next
            return ()
        return (OrderUpdate(instrument.symbol, side, client_order_id, order_id, "live", now, filled=filled),)

    def _parse_entry(self, instrument: Instrument, order: Mapping[str, Any], now: float) -> Message:
        filled, state = order["accFillSz"], order["state"]
        check_one_of("state", state, (*_WORKING, *_CANCELLED, "filled"))
        is_first = bool(order.get("tradeId")) and Decimal(order["fillSz"]) == Decimal(filled) > 0
        return self._entries.update(
            instrument,
            order["side"],
            order["posSide"],
            (order["clOrdId"], order["ordId"]),
            now,
            quantity=order["sz"],
            filled=filled,
            average_price=order["avgPx"],
            limit=None if order["ordType"] == "market" else order["px"],
            is_working=state in _WORKING,
            reason=cancel_reason(order) if state in _CANCELLED else "",
            first_fill_ms=order["fillTime"] if is_first else None,
        )

    def _parse_stop(self, stop: Mapping[str, Any], now: float) -> Iterable[Message]:
        instrument = self._instruments.get(stop["instId"])
        if instrument is None:
            return ()
        _remember(self._stops, stop["algoId"], stop["algoClOrdId"])
        state = stop["state"]
        if state == "filled":  # its market order reports the fills
            return ()
        status = _ALGO_STATES[state]
        if (
            status == "triggered" and stop["algoId"] in self._executed
        ):  # its order was told first, by another connection
            return ()
        fail_code = stop.get("failCode") or ""
        reason = escaped(f"{state} {fail_code}".rstrip()) if status == "cancelled" and state != "canceled" else ""
        side = _side_of(stop, reduces=True)
        updates: list[Message] = [
            OrderUpdate(instrument.symbol, side, stop["algoClOrdId"], stop["algoId"], status, now, reason=reason)
        ]
        if (
            stop.get("amendResult") == "-1"
        ):  # acknowledged, and then not carried out: a snapshot shows the present price
            updates.append(Unreadable(f"{instrument.symbol}: OKX did not amend the stop {stop['algoClOrdId']}"))
        return updates

    def _stop_of(self, order: Mapping[str, Any]) -> tuple[str, str] | None:
        """Return id and client order id of the stop that placed an order."""
        if order.get("algoId"):
            return order["algoId"], order["algoClOrdId"]
        # In a recorded frame the order names its stop only here. OKX documents this for the limit order of a take-profit.
        linked = (order.get("linkedAlgoOrd") or {}).get("algoId")
        return (linked, self._stops[linked]) if linked in self._stops and order["ordType"] != "limit" else None

    def _parse_position(self, position: Mapping[str, Any], now: float) -> Iterable[Message]:
        instrument = self._instruments.get(position["instId"])
        if instrument is None:
            return ()
        leg, mode = position["posSide"], position["mgnMode"]
        held = self._held.setdefault((instrument.id, leg), {})
        held[mode] = Decimal(position["pos"])
        # An empty position of the other margin mode says nothing about this one.
        updates = position_updates(instrument, leg, sum(held.values(), Decimal(0)), now)
        open_side = next((update.side for update in updates if update.quantity), None)
        open_mode = next((each for each, contracts in held.items() if contracts), None)
        for side in _SIDES.get(leg, ("long", "short")):
            self._session.margin_modes.set(instrument.symbol, side, open_mode if side == open_side else None)
        return updates


def _remember(stops: dict[str, str], stop_id: str, client_order_id: str) -> None:
    stops.pop(stop_id, None)
    stops[stop_id] = client_order_id
    if len(stops) > _REMEMBERED:
        del stops[next(iter(stops))]


def _side_of(order: Mapping[str, Any], *, reduces: bool) -> Side:
    check_one_of("side", order["side"], ("buy", "sell"))
    check_one_of("posSide", order["posSide"], ("net", "long", "short"))
    return order_side(order["side"], order["posSide"], reduces=reduces)


def _index_of(instrument_id: str) -> str:
    """Return the index of an instrument such as BTC-USDT-SWAP, which OKX names by its currencies: BTC-USDT."""
    return "-".join(instrument_id.split("-")[:2])


def _argument(topic: str) -> dict[str, str]:
    """Return a topic as OKX writes it."""
    channel, _, name = topic.partition(":")
    if name != _EVERYTHING:
        return {"channel": channel, "instId": name}
    # By default all positions are repeated every 5 s.
    extra = {"extraParams": json.dumps({"updateInterval": "0"})} if channel == "positions" else {}
    return {"channel": channel, "instType": name, **extra}


def _topic(argument: Mapping[str, Any]) -> str:
    """Return our name of a topic."""
    return f"{argument['channel']}:{argument.get('instId') or argument.get('instType')}"
