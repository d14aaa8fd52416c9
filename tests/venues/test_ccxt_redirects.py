"""No redirect is followed: neither keys nor signed requests reach another server, and a redirected request is not executed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal as D

import pytest
import trio
from inspection.ccxt_exchange import stream_state
from real_exchange import BTC, VENUES, Desk, open_desk, stop_request
from venue_faults import Fault, Reply
from venue_server import API_KEY, SECRET

from trailing import ExchangeUnreachable, OutcomeUnknown, StopRequest
from trailing.core.model import StopOrder

pytestmark = pytest.mark.parametrize("venue", VENUES)

READS: Mapping[str, Callable[[Desk], Awaitable[object]]] = {
    "find_stop": lambda desk: desk.exchange.find_stop(BTC, stop_request().client_order_id),
    "open_stops": lambda desk: desk.exchange.open_stops(),
    "positions": lambda desk: desk.exchange.positions(),
    "price": lambda desk: desk.exchange.price(BTC, "mark"),
    "candles": lambda desk: desk.exchange.candles(BTC, "last", datetime.now(UTC)),
}


def as_order(request: StopRequest, order_id: str = "7") -> StopOrder:
    """Return the stop of a request, as if the venue had acknowledged it."""
    return StopOrder(
        request.symbol,
        request.side,
        request.quantity,
        request.price,
        request.client_order_id,
        order_id,
        request.source,
    )


WRITES: Mapping[str, Callable[[Desk], Awaitable[object]]] = {
    "place_stop": lambda desk: desk.exchange.place_stop(stop_request()),
    "amend_stop": lambda desk: desk.exchange.amend_stop(as_order(stop_request()), price=D(981), quantity=D("0.8")),
    "cancel_stop": lambda desk: desk.exchange.cancel_stop(as_order(stop_request())),
    "close_position": lambda desk: desk.exchange.close_position(BTC, "long", D("0.8"), stop_request().client_order_id),
}


class Elsewhere:
    """Another server. Attributes: `host`, with its port; `received`, all bytes that reached it."""

    def __init__(self, host: str) -> None:
        self.host: str = host
        self.received: bytes = b""
        self.connections: int = 0

    async def serve(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        async for data in stream:
            self.received += data
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")


@asynccontextmanager
async def open_elsewhere() -> AsyncIterator[Elsewhere]:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    elsewhere = Elsewhere(f"127.0.0.1:{listeners[0].socket.getsockname()[1]}")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, elsewhere.serve, listeners)
        yield elsewhere
        nursery.cancel_scope.cancel()


def redirect(status: int, host: str, scheme: str = "http") -> Reply:
    location = f"{scheme}://{host}/stolen?signature={SECRET}"
    return Reply(b"", status, {"Location": location})


async def enter(desk: Desk) -> None:
    """Open a position and read it, because an order on OKX states the margin mode of its position."""
    await desk.enter()
    await desk.exchange.positions()


def writes_of(desk: Desk) -> Mapping[str, Callable[[Desk], Awaitable[object]]]:
    can_amend = desk.exchange.venue.stops.amend is not None
    return {name: write for name, write in WRITES.items() if can_amend or name != "amend_stop"}


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_fm65_a_redirected_request_was_not_executed_and_nothing_reaches_the_other_server(
    venue: str, status: int
) -> None:
    async with open_elsewhere() as elsewhere, open_desk(venue) as desk:
        await enter(desk)
        desk.server.faults.add(Fault(on="*", reply=redirect(status, elsewhere.host)))
        for name, call in {**READS, **writes_of(desk)}.items():
            with pytest.raises(ExchangeUnreachable) as raised:
                await call(desk)
            message = str(raised.value)
            assert elsewhere.host.partition(":")[0] in message, name
            assert str(status) in message
            assert API_KEY not in message
            assert SECRET not in message
        assert {each.operation for each in desk.server.requests} >= {*READS, *writes_of(desk)}
        assert (elsewhere.connections, elsewhere.received) == (0, b"")
        assert not desk.stops_there()


@pytest.mark.parametrize("status", [300, 303, 304, 305, 399])
async def test_fm65_of_another_3xx_the_outcome_of_a_change_is_unknown_and_a_read_fails(venue: str, status: int) -> None:
    async with open_elsewhere() as elsewhere, open_desk(venue) as desk:
        await enter(desk)
        desk.server.faults.add(Fault(on="*", reply=redirect(status, elsewhere.host)))
        for read in READS.values():
            with pytest.raises(ExchangeUnreachable, match=str(status)):
                await read(desk)
        for write in writes_of(desk).values():
            with pytest.raises(OutcomeUnknown, match=str(status)):
                await write(desk)
        assert elsewhere.connections == 0


async def test_fm65_a_redirect_to_the_same_server_is_not_followed_either(venue: str) -> None:
    async with open_desk(venue) as desk:
        before = len(desk.server.requests)
        desk.server.faults.add(Fault(on="positions", reply=redirect(307, desk.server.host)))
        with pytest.raises(ExchangeUnreachable, match="307"):
            await desk.exchange.positions()
        assert len(desk.server.requests) == before + 1


@pytest.mark.parametrize("location", ["", "/fapi", "//", "http://[::1", "mailto:a@b", "http://a b/"])
async def test_fm65_a_redirect_without_a_usable_location_is_not_followed_either(venue: str, location: str) -> None:
    async with open_desk(venue) as desk:
        desk.server.faults.add(Fault(on="positions", reply=Reply(b"", 302, {"Location": location})))
        with pytest.raises(ExchangeUnreachable, match="answered 302, a redirect to"):
            await desk.exchange.positions()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_fm65_a_redirect_at_a_websocket_handshake_is_not_followed(venue: str, status: int) -> None:
    async with open_elsewhere() as elsewhere, open_desk(venue) as desk:
        desk.server.face.opened = lambda _: False  # type: ignore[method-assign,assignment]
        desk.server.socket_refusal = (status, f"ws://{elsewhere.host}/stolen")
        async with desk.exchange.updates():
            await desk.exchange.set_subscriptions({BTC})
            with trio.fail_after(5):
                while f"127.0.0.1 answered {status}" not in stream_state(desk.exchange).detail:
                    await trio.sleep(0.02)
        assert (elsewhere.connections, elsewhere.received) == (0, b"")
