"""Websocket protocol of Bybit: https://bybit-exchange.github.io/docs/v5/ws/connect.

Trades come by `publicTrade`. Mark and index price come by `tickers`, which sends only the fields that changed. A stop that
triggers keeps its ids. Its fills come by `execution`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Literal

from trailing.core.model import Fill, Source, refuse
from trailing.exchanges.ccxt.conversion import is_ours
from trailing.exchanges.ccxt.entry_updates import EntryUpdates, is_entry
from trailing.exchanges.ccxt.session import Session
from trailing.exchanges.ccxt.stream_protocol import (
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
from trailing.exchanges.ccxt.unreadable import Unreadable, as_text
from trailing.exchanges.port import OrderStatus, OrderUpdate, escaped

_LEGS: Final[Mapping[int, str]] = {0: "both", 1: "long", 2: "short"}
_STATUSES: Final[Mapping[str, OrderStatus]] = {
    "New": "live",
    "Untriggered": "live",
    "Triggered": "triggered",
    "Cancelled": "cancelled",
    "Rejected": "cancelled",
    "Deactivated": "cancelled",
    "PartiallyFilledCanceled": "cancelled",
}
_NO_STOP: Final = frozenset({"", "UNKNOWN"})
_PRICES: Final[tuple[tuple[Source, str], ...]] = (("mark", "markPrice"), ("index", "indexPrice"))
_TRADES: Final = frozenset({"Trade", "AdlTrade", "BustTrade", "BlockTrade", "Delivery"})
"""Types of executions that are fills of an order: https://bybit-exchange.github.io/docs/v5/enum#exectype."""
_NO_REASON: Final = frozenset({"", "UNKNOWN", "EC_NoError"})
_WORKING: Final = frozenset({"New", "PartiallyFilled"})
"""Statuses of an entry that may be filled further."""
_REMEMBERED: Final = 1_000
"""Of how many stops of positions it is remembered which entry carried them."""
_EXPIRES_MS: Final = 10_000
"""Milliseconds within which the login must arrive. The same as in ccxt."""


class BybitProtocol:
    """Implements `StreamProtocol` for Bybit.

    Args:
        session: holds the client with the keys.
        instruments: the markets whose frames are parsed.
    """

    sources: frozenset[Source] = frozenset({"last", "mark", "index"})
    symbols_per_connection: int = 250  # a connection takes 21,000 characters of topics
    topics_per_request: int = 100
    account_topics: tuple[tuple[str, ...], ...] = (("order", "execution", "position"),)
    heartbeat: str | None = '{"op":"ping"}'
    renewal_seconds: float | None = None

    def __init__(self, session: Session, instruments: Iterable[Instrument]) -> None:
        self._client = session.client
        self._entries = EntryUpdates()
        self._bridges: dict[
            str, str
        ] = {}  # the client order id of the entry that carried a stop, by the stop's order id
        instruments = tuple(instruments)
        self._instruments: Mapping[str, Instrument] = {instrument.id: instrument for instrument in instruments}
        self._ids: Mapping[str, str] = {instrument.symbol: instrument.id for instrument in instruments}

    def topics(self, symbol: str) -> tuple[str, ...]:
        """Return the topics of trades, and of mark and index price."""
        name = self._ids[symbol]
        return (f"publicTrade.{name}", f"tickers.{name}")

    def subscription_message(self, number: int, topics: Sequence[str], *, subscribe: bool) -> str:
        """Return a request to subscribe or unsubscribe."""
        return json.dumps(
            {"op": "subscribe" if subscribe else "unsubscribe", "args": list(topics), "req_id": str(number)}
        )

    async def price_url(self) -> str:
        """Return the URL for prices of linear contracts."""
        return str(self._client.implode_hostname(self._client.urls["api"]["ws"]["public"]["linear"]))

    async def account_url(self, topics: Sequence[str]) -> str:  # noqa: ARG002 - all on one connection
        """Return the URL for the account, unified or not."""
        return str(self._client.implode_hostname(self._client.urls["api"]["ws"]["private"]["contract"]))

    def login_message(self) -> str | None:
        """Return the login, signed with the secret and stamped with the venue's time."""
        expires = str(self._client.nonce() + _EXPIRES_MS)
        text = self._client.encode(f"GET/realtime{expires}")
        signature = self._client.hmac(text, self._client.encode(self._client.secret), hashlib.sha256, "hex")
        return json.dumps({"op": "auth", "args": [self._client.apiKey, expires, signature]})

    async def renew(self) -> None:
        """Do nothing: a connection to Bybit does not expire."""

    def parse(self, frame: Frame, now: float) -> Iterable[Message]:
        """Return what a frame says; nothing for a topic that is not used."""
        topic = frame.get("topic")
        if topic is None:
            return _parse_reply(frame)
        kind, _, name = topic.partition(".")
        match kind:
            case "publicTrade":
                return ticks_of(self._instruments[name].symbol, (("last", trade["p"]) for trade in frame["data"]), now)
            case "tickers":
                data = frame["data"]
                return ticks_of(
                    self._instruments[name].symbol, ((each, data.get(field)) for each, field in _PRICES), now
                )
            case "order" if not name:
                return parse_each(frame["data"], lambda each: self._parse_order(each, now))
            case "execution" if not name:
                return parse_each(frame["data"], lambda each: self._parse_fill(each, now))
            case "position" if not name:
                return parse_each(frame["data"], lambda each: self._parse_position(each, now))
        return ()  # for one, execution.fast, which does not state what an execution closes

    def release_overdue(self, now: float) -> Iterable[Message]:  # noqa: ARG002 - nothing is held back
        """Return nothing: every update names its order."""
        return ()

    def _instrument(self, data: Mapping[str, Any]) -> Instrument | None:
        return self._instruments.get(data["symbol"]) if data.get("category") == "linear" else None

    def _parse_order(self, order: Mapping[str, Any], now: float) -> Iterable[Message]:
        instrument, word = self._instrument(order), _status_of(order)
        if instrument is None:
            return ()
        leg, reduces = _LEGS[order["positionIdx"]], bool(order["reduceOnly"])
        order_id, own_id = as_text("orderId", order["orderId"]), as_text("orderLinkId", order["orderLinkId"])
        is_stop = order.get("stopOrderType", "") not in _NO_STOP
        if not is_stop and is_entry(own_id, order["side"].lower(), leg, reduces=reduces):
            return self._parse_entry(instrument, leg, (own_id, order_id), order, now)
        entry = as_text("parentOrderLinkId", order.get("parentOrderLinkId"))
        if order.get("stopOrderType") == "StopLoss" and not own_id and is_ours(entry):
            own_id = self._bridges[order_id] = entry
            if len(self._bridges) > _REMEMBERED:
                del self._bridges[next(iter(self._bridges))]
        if word is None:
            return ()
        side = order_side(order["side"].lower(), leg, reduces=reduces)
        filled = cumulative(order.get("cumExecQty"), instrument)
        reason = _reason_of(order) if word == "cancelled" else ""
        return (OrderUpdate(instrument.symbol, side, own_id, order_id, word, now, filled=filled, reason=reason),)

    def _parse_entry(
        self, instrument: Instrument, leg: str, ids: tuple[str, str], order: Mapping[str, Any], now: float
    ) -> Iterable[Message]:
        word = order["orderStatus"]
        if word == "Created":
            return ()
        is_working, ends_early = word in _WORKING, _STATUSES.get(word) == "cancelled"
        if not is_working and not ends_early and word != "Filled":
            raise refuse("orderStatus", word, "a status of a plain order")
        return (
            self._entries.update(
                instrument,
                order["side"].lower(),
                leg,
                ids,
                now,
                quantity=order["qty"],
                filled=order["cumExecQty"],
                average_price=order["avgPrice"],
                limit=None if order["orderType"] == "Market" else order["price"],
                is_working=is_working,
                reason=_reason_of(order) if ends_early else "",
            ),
        )

    def _parse_fill(self, execution: Mapping[str, Any], now: float) -> Iterable[Message]:
        instrument = self._instrument(execution)
        if instrument is None or execution["execType"] == "Funding":
            return ()
        kind = execution["execType"]
        if kind not in _TRADES:  # such as CorporateAction or MovePosition: a snapshot shows what became of the position
            return (Unreadable(f"{instrument.symbol}: an execution of type {kind!r} is no fill"),)
        closed, order_id = execution.get("closedSize"), as_text("orderId", execution["orderId"])
        own_id = as_text("orderLinkId", execution["orderLinkId"]) or self._bridges.get(order_id, "")
        reduces = bool(Decimal(closed or 0))
        if closed and not reduces and is_ours(own_id):  # of an entry, whose sum the topic of orders tells
            before = Decimal(execution["orderQty"]) - Decimal(execution["leavesQty"]) - Decimal(execution["execQty"])
            timed = None if before else self._entries.on_first_fill(order_id, execution["execTime"], now)
            return () if timed is None else (timed,)
        fill = Fill(
            symbol=instrument.symbol,
            side=order_side(execution["side"].lower(), "", reduces=reduces),
            quantity=Decimal(execution["execQty"]) * instrument.contract_size,
            price=Decimal(execution["execPrice"]),
            order_id=order_id,
            client_order_id=own_id,
            at=now,
            trade_id=execution.get("execId") or None,
        )
        # `leavesQty` is also 0 for an order larger than the position, once it has closed the position. So it does not tell
        # the sum of the fills; the trade ids prevent that a repeated fill is counted twice.
        status: Literal["partial", "filled"] = "partial" if Decimal(execution["leavesQty"]) else "filled"
        return (OrderUpdate(fill.symbol, fill.side, fill.client_order_id, fill.order_id, status, now, fill),)

    def _parse_position(self, position: Mapping[str, Any], now: float) -> Iterable[Message]:
        instrument = self._instrument(position)
        if instrument is None:
            return ()
        size = Decimal(position["size"])
        signed = -size if position["side"] == "Sell" else size
        return position_updates(instrument, _LEGS[position["positionIdx"]], signed, now)


def _status_of(order: Mapping[str, Any]) -> OrderStatus | None:
    """Return an order's status; None: its executions tell it, or it is nothing new."""
    word = order["orderStatus"]
    if word == "New" and order.get("stopOrderType", "") not in _NO_STOP:
        return "triggered"  # before that it was Untriggered
    return _STATUSES.get(word)


def _reason_of(order: Mapping[str, Any]) -> str:
    """Return why an order was cancelled or rejected, escaped; "": the venue states no reason."""
    stated = (order.get("rejectReason", ""), order.get("cancelType", ""))
    return escaped(next((each for each in stated if each not in _NO_REASON), ""))


def _parse_reply(frame: Frame) -> Iterable[Message]:
    """Return the reply to a request; nothing for a pong."""
    if frame.get("op") in {"ping", "pong"} or frame.get("ret_msg") == "pong":
        return ()
    if frame.get("op") in {"auth", "subscribe", "unsubscribe"}:
        reason = str(frame.get("ret_msg") or frame.get("retMsg") or "refused without a reason")
        return (RequestReply("" if frame.get("success") else reason),)
    return ()
