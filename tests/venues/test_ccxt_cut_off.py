"""Truncated replies to every operation: a write has an unknown outcome, a read fails, and nothing is sent twice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import count
from typing import Any

import pytest
import trio
from real_exchange import BTC, VENUES, Desk, NoRateLimit, open_desk, stop_request
from venue_faults import Fault, Reply, json_reply

from trailing import ExchangeUnreachable, OutcomeUnknown

pytestmark = pytest.mark.parametrize("venue", VENUES)

HTML = {"Content-Type": "text/html"}
JSON = {"Content-Type": "application/json"}

# Each fault comes after the venue has executed the request.
CUTS: Mapping[str, dict[str, Any]] = {
    "closed": {"drop": "after"},
    "reset": {"drop": "reset"},
    "too late": {"reply_delay": 4.0},
    "ended in its middle": {"truncated": True},
    "half of its JSON": {
        "reply": Reply(b'{"retCode":0,"retMsg":"OK","result":{"orderId":"16', 200, JSON),
        "executed": True,
    },
    "a proxy's time-out": {"reply": Reply(b"<html>504 Gateway Time-out</html>", 504, HTML), "executed": True},
    "a proxy's page with status 200": {"reply": Reply(b"<html>Please log in</html>", 200, HTML), "executed": True},
    "nothing with status 200": {"reply": Reply(b"", 200, JSON), "executed": True},
    "an empty object": {"reply": json_reply({}), "executed": True},
    "nothing with status 502": {"reply": Reply(b"", 502), "executed": True},
}


SECONDS = 0.5
"""The time-out of a request whose reply comes too late. It is executed by then."""


@pytest.fixture(autouse=True)
def _no_rate_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the venue refuse no request for its rate, because the requests of a test follow each other at once."""
    monkeypatch.setattr("venue_limits.Window.take", lambda *_: True)


def impatient(client: Any) -> None:
    client.timeout = 2_000


def set_timeout(desk: Desk, cut: str) -> None:
    """Let a reply that never comes in time be given up early. The others get more time, because they come."""
    desk.exchange.session.client.timeout = SECONDS * 1000 if cut == "too late" else 2_000


def changes(desk: Desk) -> Mapping[str, Callable[[], Awaitable[Callable[[], Awaitable[object]]]]]:
    """Return, by operation, a function that prepares it and returns the call."""
    numbers = count()

    async def place() -> Callable[[], Awaitable[object]]:
        return lambda: desk.exchange.place_stop(stop_request(f"tr{next(numbers):020x}", quantity="0.1"))

    async def amend() -> Callable[[], Awaitable[object]]:
        order = await desk.exchange.place_stop(stop_request(f"tr{next(numbers):020x}", quantity="0.1"))
        return lambda: desk.exchange.amend_stop(order, price=Decimal(981), quantity=order.quantity)

    async def cancel() -> Callable[[], Awaitable[object]]:
        order = await desk.exchange.place_stop(stop_request(f"tr{next(numbers):020x}", quantity="0.1"))
        return lambda: desk.exchange.cancel_stop(order)

    async def close() -> Callable[[], Awaitable[object]]:
        return lambda: desk.exchange.close_position(BTC, "long", Decimal("0.1"), f"tr{next(numbers):020x}")

    return {"place_stop": place, "amend_stop": amend, "cancel_stop": cancel, "close_position": close}


@pytest.mark.parametrize("operation", ["place_stop", "amend_stop", "cancel_stop", "close_position"])
async def test_a_write_with_a_truncated_reply_is_unknown_and_sent_once(venue: str, operation: str) -> None:
    if (venue, operation) == ("binanceusdm", "amend_stop"):
        pytest.skip("Binance USD-M has no way to amend a stop")
    async with open_desk(venue, configure=impatient) as desk:
        await desk.enter(quantity="2")
        desk.exchange.session.rate_limiter = NoRateLimit()
        prepare = changes(desk)[operation]
        for cut, settings in CUTS.items():
            change = await prepare()
            set_timeout(desk, cut)
            desk.server.faults.add(Fault(on=operation, **settings))
            before = len(desk.server.seen(operation))
            with pytest.raises(OutcomeUnknown):
                await change()
            await trio.sleep(0.05)  # so that a repeated request would arrive
            seen = desk.server.seen(operation)[before:]
            assert [each.booked for each in seen] == [True], cut
            desk.server.faults.clear()
            set_timeout(desk, "")
            for stop in desk.server.market.live_stops():
                desk.server.market.cancel(stop)


@pytest.mark.parametrize("operation", ["find_stop", "open_stops", "positions", "price", "candles"])
async def test_a_read_with_a_truncated_reply_fails_and_is_sent_once(venue: str, operation: str) -> None:
    async with open_desk(venue, configure=impatient) as desk:
        await desk.enter()
        desk.exchange.session.rate_limiter = NoRateLimit()
        order = await desk.exchange.place_stop(stop_request())
        since = datetime.now(UTC) - timedelta(minutes=5)
        reads: Mapping[str, Callable[[], Awaitable[object]]] = {
            "find_stop": lambda: desk.exchange.find_stop(BTC, order.client_order_id),
            "open_stops": desk.exchange.open_stops,
            "positions": desk.exchange.positions,
            "price": lambda: desk.exchange.price(BTC, "mark"),
            "candles": lambda: desk.exchange.candles(BTC, "mark", since),
        }
        for cut, settings in CUTS.items():
            set_timeout(desk, cut)
            desk.server.faults.add(Fault(on=operation, **settings))
            before = len(desk.server.seen(operation))
            with pytest.raises(ExchangeUnreachable):
                await reads[operation]()
            await trio.sleep(0.05)
            assert len(desk.server.seen(operation)) == before + 1, cut
            desk.server.faults.clear()
        set_timeout(desk, "")
        await reads[operation]()


@pytest.mark.parametrize("status", [407, 511])
async def test_a_network_that_requires_a_login_is_no_authentication_failure(venue: str, status: int) -> None:
    async with open_desk(venue) as desk:
        await desk.enter()
        desk.server.faults.add(Fault(on="*", reply=Reply(b"<html>Log in</html>", status, HTML)))
        for attempt in (desk.exchange.place_stop(stop_request()), desk.exchange.positions()):
            with pytest.raises(ExchangeUnreachable):
                await attempt
        assert desk.stops_there() == set()


async def refuse_tunnels(stream: trio.SocketStream) -> None:
    async with stream:
        await stream.receive_some(1000)
        await stream.send_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")


async def test_a_request_without_a_proxy_tunnel_was_not_sent(venue: str) -> None:
    async with open_desk(venue, configure=impatient) as desk, trio.open_nursery() as nursery:
        await desk.enter()
        (listener,) = await nursery.start(partial(trio.serve_tcp, refuse_tunnels, 0, host="127.0.0.1"))
        client = desk.exchange.session.client
        client.urls["api"] = over_tls(client.urls["api"])
        client.https_proxy = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        before = len(desk.server.requests)
        for attempt in (desk.exchange.place_stop(stop_request()), desk.exchange.positions()):
            with pytest.raises(ExchangeUnreachable):
                await attempt
        assert len(desk.server.requests) == before
        nursery.cancel_scope.cancel()


def over_tls(urls: Any) -> Any:
    """Return a client's URLs with https."""
    if isinstance(urls, dict):
        return {name: over_tls(url) for name, url in urls.items()}
    return urls.replace("http://", "https://")
