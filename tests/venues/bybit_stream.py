"""Bybit's streams: trades and tickers for subscribers, and the account's updates after a login."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import msgspec
from binance_shapes import number
from bybit_shapes import execution, position, shown_order, ticker
from venue_market import Event, OrderEvent, PositionEvent, PriceEvent, VenueMarket
from venue_server import API_KEY, SECRET, Clock
from venue_sockets import Socket, Sockets

_PRICES = {"last": "lastPrice", "mark": "markPrice", "index": "indexPrice"}
_SIGNED_IN = "signed in"


class BybitStream:
    """The websocket endpoints."""

    def __init__(self, market: VenueMarket, clock: Clock, sockets: Sockets) -> None:
        self._market = market
        self._clock = clock
        self._sockets = sockets
        self._pushed = 0
        market.listeners.append(self._publish)

    def opened(self, socket: Socket) -> bool:
        """Accept linear markets, and the account."""
        return socket.path in {"/v5/public/linear", "/v5/private"}

    def received(self, socket: Socket, text: str) -> None:
        """Handle pings, logins and subscriptions."""
        message: dict[str, Any] = msgspec.json.decode(text)
        answer = {"success": True, "ret_msg": "", "conn_id": "loopback", "op": message["op"]}
        if "req_id" in message:
            answer["req_id"] = str(message["req_id"])
        private = socket.path == "/v5/private"
        match message["op"]:
            case "ping" if private:
                answer = {"op": "pong", "args": [str(self._clock.now())], "conn_id": "loopback"}
            case "ping":
                answer["ret_msg"] = "pong"
            case "auth":
                if private and self._is_signed(*message["args"]):
                    socket.topics.add(_SIGNED_IN)
                else:
                    answer |= {"success": False, "ret_msg": "Params Error"}
            case "subscribe" if private and _SIGNED_IN not in socket.topics:
                answer |= {"success": False, "ret_msg": "Request not authorized"}
            case "subscribe":
                socket.topics |= set(message["args"])
            case "unsubscribe":
                socket.topics -= set(message["args"])
            case _:
                answer |= {"success": False, "ret_msg": "error:invalid op"}
        socket.send(answer)
        if message["op"] == "subscribe" and not private:
            self._send_snapshots(socket, message["args"])

    def _is_signed(self, key: str, expires: str, signature: str) -> bool:
        wanted = hmac.new(SECRET.encode(), f"GET/realtime{expires}".encode(), hashlib.sha256).hexdigest()
        return key == API_KEY and int(expires) > self._clock.now() and hmac.compare_digest(wanted, signature)

    def _send_snapshots(self, socket: Socket, topics: list[str]) -> None:
        for topic in topics:
            kind, _, name = topic.partition(".")
            found = self._market.by_id.get(name)
            if kind == "tickers" and found is not None and (found.symbol, "last") in self._market.prices:
                socket.send(self._message(topic, ticker(found, self._market), "snapshot"))

    def _publish(self, event: Event) -> None:
        match event:
            case PriceEvent():
                if event.symbol not in self._sockets.silent:
                    self._publish_price(event)
            case PositionEvent():
                holding = self._market.holding(event.symbol, event.leg)
                self._to_account("position", position(event.symbol, event.leg, holding, self._market, pushed=True))
            case OrderEvent() if event.order.stop is None:  # the market order has the ids of its stop
                self._to_account("order", shown_order(event.order, self._market))
                if event.fill is not None:
                    self._to_account("execution", execution(event.fill, event.order, self._market))

    def _publish_price(self, event: PriceEvent) -> None:
        name, now = self._market.instruments[event.symbol].id, self._clock.now()
        self._pushed += 1
        if event.source == "last":
            traded = {"T": now, "s": name, "S": "Buy", "v": "0.01", "p": number(event.price), "L": "ZeroPlusTick"}
            trade = {**traded, "i": f"trade-{self._pushed}", "BT": False}
            self._to_topic(f"publicTrade.{name}", [trade], "snapshot")
        changed = {"symbol": name, _PRICES[event.source]: number(event.price)}
        self._to_topic(f"tickers.{name}", changed, "delta")

    def _message(self, topic: str, data: object, kind: str) -> object:
        return {"topic": topic, "type": kind, "data": data, "cs": self._pushed, "ts": self._clock.now()}

    def _to_topic(self, topic: str, data: object, kind: str) -> None:
        for socket in self._sockets.open:
            if topic in socket.topics:
                socket.send(self._message(topic, data, kind))

    def _to_account(self, topic: str, data: object) -> None:
        self._pushed += 1
        for socket in self._sockets.open:
            if topic in socket.topics and _SIGNED_IN in socket.topics:
                now = self._clock.now()
                socket.send({"id": str(self._pushed), "topic": topic, "creationTime": now, "data": [data]})
