"""OKX's streams: prices on the public address, the account on the private one, algo orders on the business one.

Each address takes its own channels only. A connection on which no text was sent for 30 s is closed with code 4004.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import msgspec
import trio
from okx_market import Contract, OkxMarket, algo_type
from okx_shapes import (
    USER_ID,
    algo_state,
    balance,
    index_ticker,
    mark_price,
    number,
    position,
    pushed_algo_order,
    pushed_order,
    ticker,
)
from venue_market import Event, Order, OrderEvent, OrderStatus, PositionEvent, PriceEvent
from venue_server import API_KEY, SECRET, Clock
from venue_sockets import Socket, Sockets

from trailing.core.model import Source

PASSPHRASE = "loopback-passphrase"
_CHANNELS: Mapping[str, frozenset[str]] = {
    "/ws/v5/public": frozenset({"trades", "tickers", "mark-price", "index-tickers"}),
    "/ws/v5/private": frozenset({"orders", "positions", "account"}),
    "/ws/v5/business": frozenset({"orders-algo", "algo-advance"}),
}
_BUSINESS, _COUNTED = _CHANNELS["/ws/v5/business"], _CHANNELS["/ws/v5/private"]
_TYPED = _BUSINESS | {"orders", "positions"}
_SIGNED_IN = "signed in"
_LOGIN_SECONDS = 30
_ERRORS: Mapping[str, str] = {
    "60004": "Invalid timestamp",
    "60005": "Invalid apiKey",
    "60006": "Timestamp request expired",
    "60007": "Invalid sign",
    "60011": "Please log in",
    "60012": "Invalid request: {0}",
    "60018": "Wrong URL or {0} doesn't exist. Please use the correct URL, channel and parameters referring to API document.",
    "60019": "Invalid op: {0}",
    "60024": "Wrong passphrase",
    "60028": "The current operation is not supported by this URL. Please use the correct WebSocket URL for the operation.",
    "60031": "The WebSocket endpoint does not allow multiple or repeated logins.",
    "64001": "This channel has been migrated to the '/business' URL. Please subscribe using the new URL.",
    "64002": 'This channel is not supported by "/business" URL. Please use "/private" URL(for private channels), '
    'or "/public" URL(for public channels).',
}

_Arg = Mapping[str, Any]


def signed(text: str) -> str:
    """Return the venue's signature of a text."""
    return base64.b64encode(hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).digest()).decode()


class OkxStream:
    """The websocket endpoints.

    Args:
        fills_first: an algo order's trigger is pushed after the fills of its order. Both have channels of their own, so the
            venue promises no order between them.
        in_parts: a triggered algo order is `partially_effective` until its order is filled.

    Attributes:
        silence_seconds: after so many seconds without a text, a connection is closed.
        snapshot_seconds: the interval of regular pushes of positions and balance; mark prices: twice as long.
    """

    def __init__(self, market: OkxMarket, clock: Clock, sockets: Sockets, *, fills_first: bool, in_parts: bool) -> None:
        self.silence_seconds: float = 30.0
        self.snapshot_seconds: float = 5.0
        self._market = market
        self._clock = clock
        self._sockets = sockets
        self._fills_first = fills_first
        self._in_parts = in_parts
        self._trades = 130_639_474
        self._request_ids: dict[int, str] = {}
        self._args: WeakKeyDictionary[Socket, dict[str, _Arg]] = WeakKeyDictionary()
        market.listeners.append(self._publish)

    async def run(self) -> None:
        """Close silent connections and push the regular snapshots, until cancelled."""
        pushed_at = trio.current_time()
        while True:
            await trio.sleep(min(0.5, self.silence_seconds / 4))
            now = trio.current_time()
            for socket in self._sockets.open:
                if now - socket.active_at > self.silence_seconds:
                    socket.close(4004, "No data received in 30s")
            if now - pushed_at >= self.snapshot_seconds:
                pushed_at = now
                for socket, arg in self._subscriptions({"positions", "account", "mark-price"}):
                    if not (arg["channel"] == "positions" and _only_events(arg)):
                        self._send_present(socket, arg)

    def announce_upgrade(self) -> None:
        """Push the notice that the connections will end soon. The business address has none."""
        text = "The connection will soon be closed for a service upgrade. Please reconnect."
        for socket in self._sockets.open:
            if socket.path != "/ws/v5/business":
                socket.send({"event": "notice", "code": "64008", "msg": text, "connId": _connection(socket)})

    def push(self, channel: str, rows: list[Any], **more: object) -> None:
        """Push rows of a test to all subscriptions of a channel, whatever they name. `more` are fields beside the rows."""
        for socket, arg in self._subscriptions({channel}):
            self._push(socket, arg, rows, **more)

    def amended(self, order: Order, request_id: str) -> None:
        """Note the id of the request that amends an order. The order's update has it."""
        self._request_ids[order.number] = request_id

    def algo_state(self, order: Order) -> str:
        """Return an algo order's state."""
        state = algo_state(order)
        if state == "effective" and self._market.as_recorded:
            return "order_placed" if order.is_open else "filled"
        return "partially_effective" if self._in_parts and state == "effective" and order.is_open else state

    def opened(self, socket: Socket) -> bool:
        """Accept the three addresses."""
        return socket.path in _CHANNELS

    def received(self, socket: Socket, text: str) -> None:
        """Handle pings, logins and subscriptions."""
        if text == "ping":
            socket.send_text("pong")
            return
        try:
            message = msgspec.json.decode(text)
            operation, args = message["op"], message["args"]
        except (msgspec.DecodeError, KeyError, TypeError):
            self._refuse(socket, {}, "60012", text)
            return
        match operation:
            case "login":
                self._log_in(socket, message)
            case "subscribe" | "unsubscribe":
                for arg in args:
                    self._subscribe(socket, message, arg)
            case _:
                self._refuse(socket, message, "60019", operation)

    def _answer(self, socket: Socket, message: _Arg, answer: Mapping[str, object]) -> None:
        named = {"id": message["id"]} if "id" in message else {}
        socket.send({**named, **answer, "connId": _connection(socket)})

    def _refuse(self, socket: Socket, message: _Arg, code: str, about: str = "") -> None:
        self._answer(socket, message, {"event": "error", "code": code, "msg": _ERRORS[code].format(about)})

    def _log_in(self, socket: Socket, message: _Arg) -> None:
        code = "60031" if _SIGNED_IN in socket.topics else self._refusal(socket, *message["args"])
        if not code:
            socket.topics.add(_SIGNED_IN)
            self._answer(socket, message, {"event": "login", "code": "0", "msg": ""})
            return
        self._refuse(socket, message, code)
        socket.close(4001, "Login Failed")

    def _refusal(self, socket: Socket, keys: _Arg) -> str:
        """Return the code that refuses a login; empty: it is right."""
        sent = str(keys.get("timestamp", ""))
        if socket.path == "/ws/v5/public":
            return "60028"
        if keys.get("apiKey") != API_KEY:
            return "60005"
        if keys.get("passphrase") != PASSPHRASE:
            return "60024"
        if not sent.replace(".", "", 1).isdigit():
            return "60004"
        if abs(self._clock.now() - float(sent) * 1000) > _LOGIN_SECONDS * 1000:
            return "60006"
        return "" if hmac.compare_digest(signed(f"{sent}GET/users/self/verify"), str(keys.get("sign", ""))) else "60007"

    def _subscribe(self, socket: Socket, message: _Arg, arg: _Arg) -> None:
        channel = arg.get("channel", "")
        if channel not in _CHANNELS[socket.path]:
            elsewhere = any(channel in channels for channels in _CHANNELS.values())
            moved = "64001" if channel in _BUSINESS else "64002" if socket.path == "/ws/v5/business" else "60018"
            self._refuse(socket, message, moved if elsewhere else "60018", f"channel:{channel}")
            return
        if socket.path != "/ws/v5/public" and _SIGNED_IN not in socket.topics:
            self._refuse(socket, message, "60011")
            return
        if channel in _TYPED and arg.get("instType") not in {"SWAP", "ANY"}:
            self._refuse(socket, message, "60018", f"channel:{channel},instType:{arg.get('instType')}")
            return
        if socket.path == "/ws/v5/public" and self._named(arg) is None:
            self._refuse(socket, message, "60018", f"channel:{channel},instId:{arg.get('instId')}")
            return
        topic, args = _topic(arg), self._args.setdefault(socket, {})
        self._answer(socket, message, {"event": message["op"], "arg": arg})
        if message["op"] == "unsubscribe":
            socket.topics.discard(topic)
            args.pop(topic, None)
            return
        socket.topics.add(topic)
        args[topic] = arg
        if channel in _COUNTED:
            count = len({each for each, _ in self._subscriptions({channel})})
            counted = {"event": "channel-conn-count", "channel": channel, "connCount": str(count)}
            socket.send({**counted, "connId": _connection(socket)})
        self._send_present(socket, arg)

    def _named(self, arg: _Arg) -> Contract | None:
        """Return the contract of a public channel. That of index prices names the index."""
        for each in self._market.contracts.values():
            if arg.get("instId") == (each.index if arg["channel"] == "index-tickers" else each.id):
                return each
        return None

    def _subscriptions(self, channels: Iterable[str]) -> list[tuple[Socket, _Arg]]:
        return [
            (socket, arg)
            for socket in self._sockets.open
            for arg in self._args.get(socket, {}).values()
            if arg["channel"] in channels
        ]

    def _send_present(self, socket: Socket, arg: _Arg) -> None:
        """Push the present state of a channel that has one."""
        market, channel = self._market, arg["channel"]
        rows: list[object] = []
        found = self._named(arg)
        match channel:
            case "positions":
                for (symbol, leg), holding in market.holdings.items():
                    if holding.quantity and _wants(arg, market.contracts[symbol]):
                        rows.append({**position(symbol, leg, holding, market), "pTime": str(market.now())})
            case "account":
                rows.append(balance(market))
            case "algo-advance":
                for order in market.live_stops():
                    trails = algo_type(order.wanted) == "move_order_stop"
                    if trails and _wants(arg, market.contracts[order.wanted.symbol]):
                        rows.append(pushed_algo_order(order, market, self.algo_state(order), ""))
                if not rows:
                    return
            case "tickers" | "mark-price" | "index-tickers" if found is not None:
                if (found.symbol, _SOURCES[channel]) not in market.prices or found.symbol in self._sockets.silent:
                    return
                rows.append(_PRICES[channel](found, market))
            case _:
                return
        paged = {"eventType": "snapshot", "curPage": 1, "lastPage": True} if channel in {"positions", "account"} else {}
        self._push(socket, arg, rows, **paged)

    def _push(self, socket: Socket, arg: _Arg, rows: list[object], **more: object) -> None:
        user = {} if socket.path == "/ws/v5/public" else {"uid": USER_ID}
        shown = {name: value for name, value in arg.items() if name != "extraParams"}
        socket.send({"arg": {**shown, **user}, **more, "data": rows})

    def _push_all(self, channel: str, each: Contract, row: object, **more: object) -> None:
        for socket, arg in self._subscriptions({channel}):
            if _wants(arg, each):
                self._push(socket, arg, [row], **more)

    def _publish(self, event: Event) -> None:
        match event:
            case PriceEvent():
                if event.symbol not in self._sockets.silent:
                    self._publish_price(event)
            case PositionEvent():
                holding = self._market.holding(event.symbol, event.leg)
                row = position(event.symbol, event.leg, holding, self._market)
                pushed = {**row, "pTime": str(self._market.now())}
                self._push_all("positions", self._market.contracts[event.symbol], pushed, eventType="event_update")
            case OrderEvent() if event.order.wanted.trigger is not None:
                self._publish_algo(event.order, event.status)
            case OrderEvent():
                row = pushed_order(event.order, self._market, event.fill)
                self._push_all("orders", self._market.contracts[event.order.wanted.symbol], row)

    def _publish_algo(self, order: Order, status: OrderStatus) -> None:
        """Push an algo order's change. One that has triggered is pushed once: with its order, or after the fills."""
        ending = status == "filled" and (self._fills_first or self._in_parts or self._market.as_recorded)
        starting = status == "triggered" and order.execution is not None and not self._fills_first
        if status in {"triggered", "partial", "filled"} and not ending and not starting:
            return
        request_id = self._request_ids.pop(order.number, "") if status == "live" else ""
        row = pushed_algo_order(order, self._market, self.algo_state(order), request_id)
        channel = "algo-advance" if algo_type(order.wanted) == "move_order_stop" else "orders-algo"
        self._push_all(channel, self._market.contracts[order.wanted.symbol], row)

    def _publish_price(self, event: PriceEvent) -> None:
        each, market = self._market.contracts[event.symbol], self._market
        match event.source:
            case "last":
                self._trades += 1
                trade = {"instId": each.id, "tradeId": str(self._trades), "px": number(event.price), "sz": "1"}
                more = {"side": "buy", "ts": str(market.now()), "count": "1", "source": "0", "seqId": self._trades}
                self._push_all("trades", each, {**trade, **more})
                self._push_all("tickers", each, ticker(each, market))
            case "mark":
                self._push_all("mark-price", each, mark_price(each, market))
            case "index":
                self._push_all("index-tickers", each, index_ticker(each, market))


_SOURCES: Mapping[str, Source] = {"tickers": "last", "mark-price": "mark", "index-tickers": "index"}
_PRICES: Mapping[str, Callable[[Contract, OkxMarket], object]] = {
    "tickers": ticker,
    "mark-price": mark_price,
    "index-tickers": index_ticker,
}


def _topic(arg: _Arg) -> str:
    """Return a subscription as one text, such as `trades:BTC-USDT-SWAP` or `orders:SWAP`."""
    about = arg.get("instId") or arg.get("instFamily") or arg.get("instType") or arg.get("ccy") or ""
    return f"{arg['channel']}:{about}"


def _wants(arg: _Arg, each: Contract) -> bool:
    """Return whether a subscription includes a contract."""
    named = {"instId": (each.id, each.index), "instFamily": (each.index,)}
    return all(arg[name] in ids for name, ids in named.items() if name in arg)


def _only_events(arg: _Arg) -> bool:
    """Return whether a subscription excludes the regular snapshots: `updateInterval` is 0."""
    extra = arg.get("extraParams", "{}")
    try:
        decoded = msgspec.json.decode(extra) if isinstance(extra, str) else extra
    except msgspec.DecodeError:
        return False
    return isinstance(decoded, dict) and str(decoded.get("updateInterval", "")) == "0"


def _connection(socket: Socket) -> str:
    return f"{id(socket) & 0xFFFFFFFF:08x}"
