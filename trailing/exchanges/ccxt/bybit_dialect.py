"""What Bybit says over its websockets, as updates: https://bybit-exchange.github.io/docs/v5/ws/connect.

Trades come by `publicTrade`; mark and index price are in `tickers`, which tells only what has changed. A stop that
triggers keeps its ids; its fills are told by `execution`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Literal

from trailing.core.model import Fill, Source
from trailing.exchanges.ccxt.dialect import (
    Answer,
    Frame,
    Heard,
    Place,
    cumulative,
    order_side,
    position_updates,
    read_each,
    ticks_of,
)
from trailing.exchanges.ccxt.session import Session
from trailing.exchanges.port import OrderStatus, OrderUpdate

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
_NO_TRADE: Final = frozenset({"Funding", "Settle"})
_NO_REASON: Final = frozenset({"", "UNKNOWN", "EC_NoError"})
_EXPIRES_MS: Final = 10_000
"""Milliseconds within which signing in has to arrive; ccxt's."""


class BybitDialect:
    """As `Dialect` says."""

    sources: frozenset[Source] = frozenset({"last", "mark", "index"})
    symbols_per_line: int = 250  # of 21,000 characters of topics a connection
    topics_per_request: int = 100
    account_topics: tuple[str, ...] = ("order", "execution", "position")
    heartbeat: str | None = '{"op":"ping"}'
    renewal_seconds: float | None = None

    def __init__(self, session: Session, places: Iterable[Place]) -> None:
        self._client = session.client
        places = tuple(places)
        self._places: Mapping[str, Place] = {place.id: place for place in places}
        self._ids: Mapping[str, str] = {place.symbol: place.id for place in places}

    def topics(self, symbol: str) -> tuple[str, ...]:
        """Trades, and mark and index price."""
        name = self._ids[symbol]
        return (f"publicTrade.{name}", f"tickers.{name}")

    def request(self, number: int, topics: Sequence[str], *, wanted: bool) -> str:
        """Subscribe or unsubscribe."""
        return json.dumps({"op": "subscribe" if wanted else "unsubscribe", "args": list(topics), "req_id": str(number)})

    async def price_address(self) -> str:
        """Of linear contracts."""
        return str(self._client.implode_hostname(self._client.urls["api"]["ws"]["public"]["linear"]))

    async def account_address(self) -> str:
        """Of contracts, on a unified account or not."""
        return str(self._client.implode_hostname(self._client.urls["api"]["ws"]["private"]["contract"]))

    def sign_in(self) -> str | None:
        """With the secret, and the venue's time."""
        expires = str(self._client.nonce() + _EXPIRES_MS)
        text = self._client.encode(f"GET/realtime{expires}")
        signature = self._client.hmac(text, self._client.encode(self._client.secret), hashlib.sha256, "hex")
        return json.dumps({"op": "auth", "args": [self._client.apiKey, expires, signature]})

    async def renew(self) -> None:
        """A connection here lives on."""

    def read(self, frame: Frame, now: float) -> Iterable[Heard]:
        """What a frame says; nothing, where it is of no topic that is asked for."""
        topic = frame.get("topic")
        if topic is None:
            return _read_answer(frame)
        kind, _, name = topic.partition(".")
        match kind:
            case "publicTrade":
                return ticks_of(self._places[name].symbol, (("last", trade["p"]) for trade in frame["data"]), now)
            case "tickers":
                data = frame["data"]
                return ticks_of(self._places[name].symbol, ((each, data.get(field)) for each, field in _PRICES), now)
            case "order":
                return read_each(frame["data"], lambda each: self._read_order(each, now))
            case "execution":
                return read_each(frame["data"], lambda each: self._read_fill(each, now))
            case "position":
                return read_each(frame["data"], lambda each: self._read_position(each, now))
        return ()

    def overdue(self, now: float) -> Iterable[Heard]:  # noqa: ARG002 - nothing is kept back
        """Nothing: what is said here says whose it is."""
        return ()

    def _place(self, data: Mapping[str, Any]) -> Place | None:
        return self._places.get(data["symbol"]) if data.get("category") == "linear" else None

    def _read_order(self, order: Mapping[str, Any], now: float) -> Iterable[Heard]:
        place, word = self._place(order), _status_of(order)
        if place is None or word is None:
            return ()
        leg = _LEGS[order["positionIdx"]]
        side = order_side(order["side"].lower(), leg, reduces=bool(order["reduceOnly"]))
        filled = cumulative(order.get("cumExecQty"), place)
        said = (order.get("rejectReason", ""), order.get("cancelType", ""))
        reason = next((each for each in said if each not in _NO_REASON), "") if word == "cancelled" else ""
        ids = (order["orderLinkId"], order["orderId"])
        return (OrderUpdate(place.symbol, side, *ids, word, now, filled=filled, reason=reason),)

    def _read_fill(self, execution: Mapping[str, Any], now: float) -> Iterable[Heard]:
        place = self._place(execution)
        if place is None or execution["execType"] in _NO_TRADE:
            return ()
        reduces = bool(Decimal(execution.get("closedSize") or 0))
        fill = Fill(
            symbol=place.symbol,
            side=order_side(execution["side"].lower(), "", reduces=reduces),
            quantity=Decimal(execution["execQty"]) * place.contract_size,
            price=Decimal(execution["execPrice"]),
            order_id=execution["orderId"],
            client_order_id=execution["orderLinkId"],
            at=now,
            trade_id=execution.get("execId") or None,
        )
        # Nothing is left of an order for more than the position either, once it has filled all of the position. So what
        # is left does not tell the sum of the fills; the trade ids keep a repeated fill from being counted again.
        status: Literal["partial", "filled"] = "partial" if Decimal(execution["leavesQty"]) else "filled"
        return (OrderUpdate(fill.symbol, fill.side, fill.client_order_id, fill.order_id, status, now, fill),)

    def _read_position(self, position: Mapping[str, Any], now: float) -> Iterable[Heard]:
        place = self._place(position)
        if place is None:
            return ()
        size = Decimal(position["size"])
        signed = -size if position["side"] == "Sell" else size
        return position_updates(place, _LEGS[position["positionIdx"]], signed, now)


def _status_of(order: Mapping[str, Any]) -> OrderStatus | None:
    """Return what an order's status says of it; None where that is told by its executions, or is nothing new."""
    word = order["orderStatus"]
    if word == "New" and order.get("stopOrderType", "") not in _NO_STOP:
        return "triggered"  # while it waited, it was Untriggered
    return _STATUSES.get(word)


def _read_answer(frame: Frame) -> Iterable[Heard]:
    """What answers a request; pongs are none."""
    if frame.get("op") in {"ping", "pong"} or frame.get("ret_msg") == "pong":
        return ()
    if frame.get("op") in {"auth", "subscribe", "unsubscribe"}:
        return (Answer("" if frame.get("success") else str(frame.get("ret_msg") or "it was refused")),)
    return ()
