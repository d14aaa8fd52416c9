"""Binance's streams: trades, tickers and mark prices for subscribers, and the account's updates for its listen key."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec
from binance_shapes import ALGO_STATUS, WORKING_TYPE, number, plain_status, trailed
from venue_market import Event, Leg, Order, OrderEvent, OrderStatus, PositionEvent, PriceEvent, VenueFill, VenueMarket
from venue_server import Clock
from venue_sockets import Socket, Sockets

_PUBLIC = frozenset({"trade", "bookTicker"})


class BinanceStream:
    """The websocket endpoints. `fills_first`: an algo order's trigger is pushed after all of its fills."""

    def __init__(self, market: VenueMarket, clock: Clock, sockets: Sockets, *, fills_first: bool) -> None:
        self._market = market
        self._clock = clock
        self._sockets = sockets
        self._fills_first = fills_first
        self._listen_key = ""
        self._trades = 0
        market.listeners.append(self._publish)

    def listen_key(self, _: Mapping[str, str]) -> object:
        """Return the account's listen key, the same until it expires."""
        self._listen_key = self._listen_key or secrets.token_hex(32)
        return {"listenKey": self._listen_key}

    def expire_listen_key(self) -> None:
        """Expire the listen key. Connections with it get a message, stay open, and get nothing more."""
        key, self._listen_key = self._listen_key, ""
        for socket in self._sockets.open:
            if socket.query.get("listenKey") == key:
                socket.send({"e": "listenKeyExpired", "E": self._clock.now(), "listenKey": key})

    def opened(self, socket: Socket) -> bool:
        """Accept market data by category, and the account with its listen key."""
        category = socket.path.split("/")[1]
        if category == "private":
            return bool(self._listen_key) and socket.query.get("listenKey") == self._listen_key
        return category in {"market", "public"}

    def received(self, socket: Socket, text: str) -> None:
        """Handle SUBSCRIBE and UNSUBSCRIBE for the streams of the socket's category."""
        message: dict[str, Any] = msgspec.json.decode(text)
        topics = set(message.get("params", ()))
        public = socket.path.startswith("/public")
        if any((topic.partition("@")[2].partition("@")[0] in _PUBLIC) != public for topic in topics):
            socket.send({"error": {"code": 2, "msg": "Invalid request: invalid stream"}, "id": message["id"]})
            return
        if message["method"] == "SUBSCRIBE":
            socket.topics |= topics
        elif message["method"] == "UNSUBSCRIBE":
            socket.topics -= topics
        socket.send({"result": None, "id": message["id"]})

    def _publish(self, event: Event) -> None:
        match event:
            case PriceEvent():
                if event.symbol not in self._sockets.silent:
                    self._publish_price(event)
            case PositionEvent():
                self._to_account("ACCOUNT_UPDATE", a=self._account(event))
            case OrderEvent() if event.order.wanted.trigger is not None:
                self._publish_algo(event.order, event.status)
            case OrderEvent():
                if event.fill is not None:
                    self._to_account("TRADE_LITE", **_lite(event.fill, self._market))
                self._to_account("ORDER_TRADE_UPDATE", o=self._plain(event))

    def _publish_algo(self, order: Order, status: OrderStatus) -> None:
        if status == "partial" or (status == "triggered" and self._fills_first):
            return
        if status == "filled" and self._fills_first:
            self._to_account("ALGO_UPDATE", o=self._algo(order, "TRIGGERED"))
        triggering = status == "triggered" and order.execution is None
        self._to_account("ALGO_UPDATE", o=self._algo(order, "TRIGGERING" if triggering else ALGO_STATUS[status]))

    def _publish_price(self, event: PriceEvent) -> None:
        found, now, prices = self._market.instruments[event.symbol], self._clock.now(), self._market.prices
        name, price = found.id.lower(), number(event.price)
        if event.source == "last":
            self._trades += 1
            trade = {"E": now, "T": now, "s": found.id, "p": price, "q": "0.01", "m": False}
            self._to_topic(f"{name}@trade", {"e": "trade", "t": self._trades, "X": "MARKET", **trade})
            self._to_topic(f"{name}@aggTrade", {"e": "aggTrade", "a": self._trades, "f": 1, "l": 1, **trade})
            ticker = {"E": now, "s": found.id, "c": price, "o": price, "h": price, "l": price, "v": "0", "q": "0"}
            self._to_topic(f"{name}@ticker", {"e": "24hrTicker", **ticker, "C": now})
            self._to_topic(f"{name}@miniTicker", {"e": "24hrMiniTicker", **ticker})
        else:
            mark, index = (prices.get((event.symbol, source), event.price) for source in ("mark", "index"))
            message = {"e": "markPriceUpdate", "E": now, "s": found.id, "p": number(mark), "i": number(index)}
            for topic in (f"{name}@markPrice@1s", f"{name}@markPrice"):
                self._to_topic(topic, {**message, "r": "0.0001", "T": now})

    def _to_topic(self, topic: str, message: object) -> None:
        for socket in self._sockets.open:
            if topic in socket.topics:
                socket.send(message)

    def _to_account(self, event: str, **content: object) -> None:
        now = self._clock.now()
        for socket in self._sockets.open:
            if self._listen_key and socket.query.get("listenKey") == self._listen_key:
                socket.send({"e": event, "E": now, "T": now, **content})

    def _account(self, event: PositionEvent) -> object:
        """Return the changed position. In hedge mode the empty entry of one-way mode comes first, as in recorded frames."""
        legs: tuple[Leg, ...] = ("both", event.leg) if self._market.hedged else (event.leg,)
        return {"m": "ORDER", "B": [], "P": [self._position(event.symbol, leg) for leg in legs]}

    def _position(self, symbol: str, leg: Leg) -> object:
        holding = self._market.holding(symbol, leg)
        return {
            "s": self._market.instruments[symbol].id,
            "pa": number(holding.quantity),
            "ep": number(holding.entry_price) if holding.quantity else "0",
            "cr": "0",
            "up": "0",
            "mt": "cross",
            "iw": "0",
            "ps": leg.upper(),
            "ma": "USDT",
            "bep": "0",
        }

    def _algo(self, order: Order, status: str) -> object:
        wanted, trigger, execution = order.wanted, order.wanted.trigger, order.execution
        assert trigger is not None
        shown = {
            "caid": wanted.client_order_id,
            "aid": order.number,
            "at": "CONDITIONAL",
            "o": "STOP_MARKET" if trigger.callback is None else "TRAILING_STOP_MARKET",
            "s": self._market.instruments[wanted.symbol].id,
            "S": wanted.side.upper(),
            "ps": wanted.leg.upper(),
            "f": "GTC",
            "q": number(wanted.quantity),
            "X": status,
            "ai": "" if execution is None else str(execution.number),
            "tp": number(trigger.price) if trigger.callback is None else trailed(order),
            "p": "0",
            "V": "EXPIRE_MAKER",
            "wt": WORKING_TYPE[trigger.source],
            "pm": "NONE",
            "cp": False,
            "pP": False,
            "R": wanted.reduce_only,
            "tt": 0 if execution is None else execution.created_at,
            "gtd": 0,
            "rm": "Reduce Only reject" if order.status == "rejected" else "",
        }
        if execution is not None:
            shown |= {"ap": number(order.average), "aq": number(order.filled), "act": "MARKET"}
        return shown

    def _plain(self, event: OrderEvent) -> object:
        order, wanted = event.order, event.order.wanted
        kind = "MARKET" if wanted.limit is None else "LIMIT"
        word = plain_status(order, event.status)
        executed = word if event.status in {"live", "cancelled"} else "TRADE"
        return {
            "s": self._market.instruments[wanted.symbol].id,
            "c": wanted.client_order_id,
            "S": wanted.side.upper(),
            "o": kind,
            "f": "GTC",
            "q": number(wanted.quantity),
            "p": number(wanted.limit or Decimal(0)),
            "ap": number(order.average),
            "sp": "0",
            "x": executed,
            "X": word,
            "i": order.number,
            **_filled(event.fill),
            "z": number(order.filled),
            "T": order.updated_at,
            "b": "0",
            "a": "0",
            "R": wanted.reduce_only,
            "wt": "CONTRACT_PRICE",
            "ot": kind,
            "ps": wanted.leg.upper(),
            "cp": False,
            "rp": "0",
            "pP": False,
        }


def _lite(fill: VenueFill, market: VenueMarket) -> dict[str, object]:
    """Return the additional fields of a fill in an order's update."""
    wanted = fill.order.wanted
    numbers = {"q": number(wanted.quantity), "p": "0", "L": number(fill.price), "l": number(fill.quantity)}
    ids = {"s": market.instruments[wanted.symbol].id, "c": wanted.client_order_id, "i": fill.order.number}
    return {**numbers, **ids, "S": wanted.side.upper(), "m": False, "t": fill.number}


def _filled(fill: VenueFill | None) -> dict[str, object]:
    if fill is None:
        return {"l": "0", "L": "0", "t": 0, "m": False}
    numbers = {"l": number(fill.quantity), "L": number(fill.price), "n": "0", "N": "USDT"}
    return {**numbers, "t": fill.number, "m": False}
