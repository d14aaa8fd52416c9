"""A venue's server on 127.0.0.1: HTTP and websockets on one ephemeral port, in front of a venue's API."""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import format_datetime
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

import h11
import msgspec
import trio
from venue_faults import Faults, RawReply, Reply, Request, Treatment
from venue_market import Order, OrderSide, VenueMarket, Wanted
from venue_sockets import Socket, Sockets

from trailing.core.model import Position, Source
from trailing.errors import UsageError

API_KEY, SECRET = "loopback-key", "loopback-secret"
_CHUNK = 65_536


class Clock:
    """The venue's clock.

    Attributes:
        skew: seconds by which it is ahead of ours; below 0: behind.
        stopped_at: the milliseconds at which it is stopped; None: it runs.
    """

    def __init__(self) -> None:
        self.skew: float = 0.0
        self.stopped_at: int | None = None

    def now(self) -> int:
        """Return the milliseconds since 1970."""
        if self.stopped_at is not None:
            return self.stopped_at
        return int((datetime.now(UTC).timestamp() + self.skew) * 1000)


class Seen(msgspec.Struct, frozen=True):
    """A request that the server got.

    Args:
        at: seconds on the running clock, when it arrived.
        operation: the port's method name, if there is one.
        booked: it changed the account.
        status: of the reply, sent or not; None: the request was lost before.
    """

    at: float
    operation: str
    endpoint: str
    params: Mapping[str, Any]
    client_order_id: str | None
    booked: bool
    status: int | None


class Face(Protocol):
    """A venue's API."""

    def operation(self, request: Request) -> str:
        """Return a request's operation: the port's method, or one of the venue only; empty: unknown."""

    def handle(self, request: Request) -> Reply:
        """Execute a request."""

    def opened(self, socket: Socket) -> bool:
        """Return whether a websocket is accepted."""

    def received(self, socket: Socket, text: str) -> None:
        """Handle a frame."""


class VenueServer:
    """A running venue: its market, clock, faults, websockets and received requests.

    Attributes:
        host: with the port.
        market, clock, faults, sockets, face: for tests to read and to change.
        requests: all received requests, in order.
        endless_bytes: sent of replies that never end.
        socket_refusal: status and location of the answer to a websocket that is not accepted.
    """

    def __init__(self, market: VenueMarket, clock: Clock, sockets: Sockets, face: Face) -> None:
        self.market: VenueMarket = market
        self.clock: Clock = clock
        self.faults: Faults = Faults()
        self.sockets: Sockets = sockets
        self.requests: list[Seen] = []
        self.host: str = ""
        self.endless_bytes: int = 0
        self.socket_refusal: tuple[int, str] = (404, "")
        self.face: Face = face

    def configure(self, client: Any) -> None:
        """Point a ccxt client at this server: for `open_ccxt(configure=…)`."""
        client.urls["api"] = redirected(client.urls["api"], self.host)
        client.timeout_on_exit = 0  # ccxt sleeps 0.25 s for encrypted connections; these are not encrypted

    async def enter(self, position: Position) -> None:
        """Add a filled entry. Missing prices of the market are set to the entry price.

        Raises UsageError if the other side is open, in one-way mode.
        """
        held = self.market.holding(position.symbol, "both").quantity
        if (held < 0) if position.side == "long" else (held > 0):
            raise UsageError(
                f"{position.symbol}: can't enter {position.side} against an open position, in one-way mode"
            )
        side: OrderSide = "buy" if position.side == "long" else "sell"
        self.market.enter(position.symbol, side, position.quantity, position.entry_price)
        await trio.lowlevel.checkpoint()

    def rest_take_profit(self, position: Position, price: Decimal, client_order_id: str = "bot-take-profit") -> Order:
        """Place a reduce-only limit order for a whole position, as a bot's own take-profit."""
        return self.market.place(
            Wanted(
                symbol=position.symbol,
                side="sell" if position.side == "long" else "buy",
                quantity=position.quantity,
                client_order_id=client_order_id,
                leg=position.side if self.market.hedged else "both",
                reduce_only=not self.market.hedged,
                limit=price,
            )
        )

    async def move_price(self, symbol: str, price: Decimal, source: Source) -> None:
        """Move the price of one source."""
        self.market.move_price(symbol, price, source)
        await trio.lowlevel.checkpoint()

    def seen(self, operation: str) -> list[Seen]:
        """Return the requests of one operation."""
        return [seen for seen in self.requests if seen.operation == operation]

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.host = f"127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        task_status.started()
        await trio.serve_listeners(self._serve_client, listeners)

    async def _serve_client(self, stream: trio.SocketStream) -> None:
        connection = h11.Connection(h11.SERVER)
        try:
            while await self._serve_request(connection, stream):
                connection.start_next_cycle()
        except (trio.BrokenResourceError, h11.RemoteProtocolError):
            pass  # the client closed the connection meanwhile
        finally:
            await trio.aclose_forcefully(stream)

    async def _serve_request(self, connection: h11.Connection, stream: trio.SocketStream) -> bool:
        """Answer one request, and return whether the connection stays open."""
        head = await _next_event(connection, stream)
        if not isinstance(head, h11.Request):
            return False
        body = bytearray()
        while isinstance(event := await _next_event(connection, stream), h11.Data):
            body += event.data
        if any(name == b"upgrade" and value.lower() == b"websocket" for name, value in head.headers):
            await self._serve_socket(connection, stream, head)
            return False
        request = _request(head, body.decode())
        operation = self.face.operation(request)
        treatment = self.faults.treat(operation, request)
        reply = await self._answer(request, operation, treatment)
        if treatment.drop == "reset":
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close sends a RST
        if reply is None:
            return False
        if isinstance(reply, RawReply):
            await self._send_raw(stream, reply)
            return False
        date = format_datetime(datetime.fromtimestamp(self.clock.now() / 1000, UTC), usegmt=True)
        headers = [*reply.headers.items(), ("Date", date), ("Content-Length", str(len(reply.body)))]
        answer = connection.send(h11.Response(status_code=reply.status, headers=headers)) or b""
        if treatment.truncated:
            await stream.send_all(answer + reply.body[: len(reply.body) // 2])
            return False
        answer += connection.send(h11.Data(data=reply.body)) or b""
        answer += connection.send(h11.EndOfMessage()) or b""
        await stream.send_all(answer)
        return connection.our_state is h11.DONE

    async def _send_raw(self, stream: trio.SocketStream, reply: RawReply) -> None:
        await stream.send_all(reply.head)
        while reply.endless:
            await stream.send_all(reply.endless)
            self.endless_bytes += len(reply.endless)
        while not reply.closes and await stream.receive_some(_CHUNK):
            pass

    async def _answer(self, request: Request, operation: str, treatment: Treatment) -> Reply | RawReply | None:
        if treatment.delay:
            await trio.sleep(treatment.delay)
        if treatment.drop == "before":
            self._note(operation, request, booked=False, status=None)
            return None
        changes, reply = self.market.changes, treatment.reply
        if treatment.executed:
            answer = self.face.handle(request)
            reply = answer if reply is None else reply
        assert reply is not None
        status = reply.status if isinstance(reply, Reply) else None
        self._note(operation, request, booked=self.market.changes != changes, status=status)
        if treatment.reply_delay:
            await trio.sleep(treatment.reply_delay)
        return None if treatment.drop is not None else reply

    def _note(self, operation: str, request: Request, *, booked: bool, status: int | None) -> None:
        ids = ("clientAlgoId", "newClientOrderId", "origClientOrderId", "orderLinkId", "algoClOrdId", "clOrdId")
        entry = request.params["batch"][0] if request.params.get("batch") else request.params
        own_id = next((entry[name] for name in ids if name in entry), None)
        params, at = dict(request.params), trio.current_time()
        self.requests.append(Seen(at, operation, request.endpoint, params, own_id, booked, status))

    async def _serve_socket(self, connection: h11.Connection, stream: trio.SocketStream, head: h11.Request) -> None:
        target = urlsplit(head.target.decode())
        websocket = Socket(target.path, dict(parse_qsl(target.query)), stream)
        if not self.face.opened(websocket):
            status, location = self.socket_refusal
            headers = [("Content-Length", "0"), ("Connection", "close"), ("Location", location)]
            refusal = h11.Response(status_code=status, headers=headers)
            await stream.send_all((connection.send(refusal) or b"") + (connection.send(h11.EndOfMessage()) or b""))
            return
        websocket.delay = self.sockets.delay
        self.sockets.opened += 1
        self.sockets.open.append(websocket)
        try:
            await websocket.serve(list(head.headers), connection.trailing_data[0], self.face.received)
        finally:
            self.sockets.open.remove(websocket)


async def _next_event(connection: h11.Connection, stream: trio.SocketStream) -> object:
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(await stream.receive_some(_CHUNK))
    return event


def _request(head: h11.Request, body: str) -> Request:
    target = urlsplit(head.target.decode())
    headers = {name.decode(): value.decode() for name, value in head.headers}
    params: dict[str, Any] = dict(parse_qsl(target.query, keep_blank_values=True))
    if headers.get("content-type", "").startswith("application/json"):
        entries = msgspec.json.decode(body) if body else {}
        params |= entries if isinstance(entries, dict) else {"batch": entries}
    else:
        params |= dict(parse_qsl(body, keep_blank_values=True))
    return Request(head.method.decode(), target.path, params, target.query + body, headers)


def redirected(urls: Any, host: str) -> Any:
    """Return a ccxt client's URLs with another host, without encryption."""
    if isinstance(urls, dict):
        return {name: redirected(url, host) for name, url in urls.items()}
    target = urlsplit(urls)
    return f"{'ws' if target.scheme == 'wss' else 'http'}://{host}{target.path}"
