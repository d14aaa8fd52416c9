"""Bodies and frames are read up to a limit: beyond it they are unreadable, and take no more memory."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal as D
from itertools import count
from typing import Any

import msgspec
import pytest
import trio
from binance_shapes import position_risk
from bybit_shapes import position as bybit_position
from inspection.ccxt_exchange import stream_state
from okx_market import OkxMarket
from okx_shapes import position as okx_position
from real_exchange import BTC, VENUES, Desk, NoRateLimit, open_desk, open_server, stop_request
from venue_faults import Fault, RawReply, Reply, Request, json_reply
from venue_server import API_KEY, SECRET

from trailing import Credentials, ExchangeUnreachable, OutcomeUnknown, PartialList
from trailing.exchanges.ccxt import open_ccxt
from trailing.exchanges.ccxt.http_replies import limit_of

pytestmark = pytest.mark.parametrize("venue", VENUES)

ON_THE_WAY = 16 * 2**20
"""Bytes that the kernel's and the client's buffers may hold of a reply that is not read any more."""

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNK = b"10000\r\n" + b'{"a":1},' * 8192 + b"\r\n"
ENDLESS: Mapping[str, RawReply] = {
    "chunked": RawReply(HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n[\r\n", CHUNK),
    "without a length": RawReply(HEAD + b"\r\n[", b'{"a":1},' * 8192),
    "of a stated length": RawReply(HEAD + b"Content-Length: 1000000000000\r\n\r\n[", b'{"a":1},' * 8192),
}


def frame(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def bomb() -> RawReply:
    """Return a reply of gzip that decompresses to a thousand times its size, without an end."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    head = packer.compress(b"[" + b" " * 2**20) + packer.flush(zlib.Z_FULL_FLUSH)
    more = packer.compress(b" " * 2**24) + packer.flush(zlib.Z_FULL_FLUSH)
    return RawReply(HEAD + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n" + frame(head), frame(more))


CALLS: Mapping[str, Callable[[Desk], Awaitable[object]]] = {
    "positions": lambda desk: desk.exchange.positions(),
    "open_stops": lambda desk: desk.exchange.open_stops(),
    "find_stop": lambda desk: desk.exchange.find_stop(BTC, stop_request().client_order_id),
    "price": lambda desk: desk.exchange.price(BTC, "mark"),
    "place_stop": lambda desk: desk.exchange.place_stop(stop_request()),
    "close_position": lambda desk: desk.exchange.close_position(BTC, "long", D("0.8"), stop_request().client_order_id),
}
CHANGES = {"place_stop", "close_position"}


@pytest.mark.parametrize("kind", ENDLESS)
@pytest.mark.parametrize("operation", CALLS)
async def test_fm66_an_endless_body_is_read_up_to_its_limit_only(venue: str, operation: str, kind: str) -> None:
    async with open_desk(venue) as desk:
        await desk.enter()
        desk.server.faults.add(Fault(on=operation, raw=ENDLESS[kind]))
        with (
            trio.fail_after(4),  # the limit ends it, not the request's time-out
            pytest.raises(OutcomeUnknown if operation in CHANGES else ExchangeUnreachable, match="is larger than"),
        ):
            await CALLS[operation](desk)
        assert desk.server.endless_bytes < limit_of(operation).size + ON_THE_WAY


async def test_fm66_of_a_compressed_body_the_decompressed_size_counts(venue: str) -> None:
    async with open_desk(venue) as desk:
        await desk.enter()
        await desk.exchange.positions()  # an order on OKX states the margin mode of its position
        desk.server.faults.add(Fault(on="*", raw=bomb()))
        for operation, call in CALLS.items():
            with (
                trio.fail_after(4),
                pytest.raises(OutcomeUnknown if operation in CHANGES else ExchangeUnreachable, match="is larger than"),
            ):
                await call(desk)
        assert desk.server.endless_bytes < len(CALLS) * 2**20


async def test_fm66_a_compressed_body_below_the_limit_is_read(venue: str) -> None:
    async with open_desk(venue) as desk:
        await desk.enter()
        face = desk.server.face
        handle = type(face).handle

        def compress(request: Any) -> Reply:
            reply = handle(face, request)
            return Reply(gzip.compress(reply.body), reply.status, {**reply.headers, "Content-Encoding": "gzip"})

        face.handle = compress  # type: ignore[method-assign]
        assert len(await desk.exchange.positions()) == 1


def of_many(venue: str, count: int, entry: Any) -> Reply:
    """Return a list of positions."""
    if venue == "binanceusdm":
        return json_reply([entry] * count)
    if venue == "okx":
        return json_reply({"code": "0", "data": [entry] * count, "msg": ""})
    return json_reply({"retCode": 0, "retMsg": "OK", "result": {"list": [entry] * count, "nextPageCursor": ""}})


@pytest.mark.parametrize("operation", ["positions", "open_stops", "find_stop"])
async def test_fm66_a_list_of_more_entries_than_can_be_parsed_in_time_is_unreadable(venue: str, operation: str) -> None:
    if (venue, operation) == ("binanceusdm", "find_stop"):
        pytest.skip("the reply is one order")
    most = limit_of(operation).entries
    async with open_desk(venue) as desk:
        desk.server.faults.add(Fault(on=operation, reply=of_many(venue, most + 1, {})))
        with pytest.raises(ExchangeUnreachable, match=f"{most + 1} entries"):
            await CALLS[operation](desk)


async def test_fm66_thousands_of_positions_are_read(venue: str) -> None:
    async with open_desk(venue) as desk:
        await desk.enter()
        desk.exchange.session.rate_limiter = NoRateLimit()
        market = desk.server.market
        holding = market.holding(BTC, "both")
        if venue == "binanceusdm":
            reply = of_many(venue, 10_000, position_risk(BTC, "both", holding, market))
            desk.server.faults.add(Fault(on="positions", reply=reply))
        elif isinstance(market, OkxMarket):
            # At once, so up to the size of a reply. OKX has some hundreds of contracts.
            reply = of_many(venue, 4000, okx_position(BTC, "both", holding, market))
            desk.server.faults.add(Fault(on="positions", reply=reply))
        else:  # in pages of 200
            entry, face = bybit_position(BTC, "both", holding, market), desk.server.face
            handle = type(face).handle

            def page(request: Request) -> Reply:
                if face.operation(request) != "positions" or request.params.get("settleCoin") != "USDT":
                    return handle(face, request)
                number = int(request.params.get("cursor", 0)) + 1
                result = {
                    "list": [entry] * (200 if number < 50 else 199),
                    "nextPageCursor": str(number) if number < 50 else "",
                }
                return json_reply({"retCode": 0, "retMsg": "OK", "result": result})

            face.handle = page  # type: ignore[method-assign]
        reports = await desk.exchange.positions()
        assert not isinstance(reports, PartialList)
        assert [(report.symbol, report.quantity) for report in reports] == [(BTC, D("0.8"))]  # copies of one


@pytest.mark.parametrize("cursor", ["same", "another"])
async def test_fm66_a_list_without_a_last_page_is_unreadable(venue: str, cursor: str) -> None:
    if venue == "binanceusdm":
        pytest.skip("lists of Binance have no pages")
    async with open_desk(venue) as desk:
        desk.exchange.session.rate_limiter = NoRateLimit()
        face, pages = desk.server.face, count()

        def page(request: Request) -> Reply:
            if venue == "okx":  # a page of 100 is followed by one of older orders
                first = 10**9 - (0 if cursor == "same" else next(pages) * 100)
                rows = [{"algoId": str(first - number), "ordType": "conditional"} for number in range(100)]
                return json_reply({"code": "0", "data": rows, "msg": ""})
            next_one = "same" if cursor == "same" else f"page-{next(pages)}"
            return json_reply({"retCode": 0, "retMsg": "OK", "result": {"list": [{}], "nextPageCursor": next_one}})

        face.handle = page  # type: ignore[method-assign]
        paged = (desk.exchange.positions, desk.exchange.open_stops)
        for read in paged if venue == "bybit" else paged[1:]:  # OKX lists all positions at once
            with pytest.raises(ExchangeUnreachable, match="pages|leads to itself"):
                await read()


async def test_fm66_a_list_of_markets_without_a_last_page_is_given_up(venue: str) -> None:
    if venue != "bybit":
        pytest.skip("only Bybit's list of markets has pages")
    async with open_server(venue) as server:
        face = server.face
        handle = type(face).handle

        def page(request: Request) -> Reply:
            params = {name: value for name, value in request.params.items() if name != "cursor"}
            reply = handle(face, msgspec.structs.replace(request, params=params))
            return Reply(reply.body.replace(b'"nextPageCursor":""', b'"nextPageCursor":"x"'), 200, reply.headers)

        face.handle = page  # type: ignore[method-assign]
        with trio.fail_after(10), pytest.raises(OutcomeUnknown, match="more than 100 requests"):
            async with open_ccxt(venue, credentials=Credentials(API_KEY, SECRET), configure=server.configure):
                pass
        assert 90 < len(server.seen("markets")) <= 100


async def test_fm66_candles_that_do_not_go_on_end_the_reading(venue: str) -> None:
    async with open_desk(venue) as desk:
        desk.exchange.session.rate_limiter = NoRateLimit()
        row = [60_000, "1", "2", "0.5", "1.5", "9"]

        async def fetch(*_: Any) -> list[list[Any]]:
            return [row] * 1000

        desk.exchange.session.client.fetch_ohlcv = fetch
        with trio.fail_after(5), pytest.raises(ExchangeUnreachable, match="no candle since"):
            await desk.exchange.candles(BTC, "last", datetime(1970, 1, 1, tzinfo=UTC))


async def until_connected(desk: Desk) -> None:
    """Wait until all streams are up."""
    with trio.fail_after(5):
        while not stream_state(desk.exchange).connected:
            await trio.sleep(0.01)


@pytest.mark.parametrize("text", ['{"e":' + "[" * 50_000, '{"a":' * 50_000, "[" * 50_000])
async def test_fm66_a_deeply_nested_frame_costs_one_connection_and_no_more(venue: str, text: str) -> None:
    async with open_desk(venue) as desk, desk.exchange.updates():
        await desk.exchange.set_subscriptions({BTC})
        await until_connected(desk)
        for socket in tuple(desk.server.sockets.open):
            socket.send_text(text)
        with trio.fail_after(5):
            while stream_state(desk.exchange).connected:
                await trio.sleep(0.01)
            await until_connected(desk)


async def test_fm66_a_frame_beyond_the_limit_costs_its_connection(venue: str) -> None:
    async with open_desk(venue) as desk, desk.exchange.updates():
        await desk.exchange.set_subscriptions({BTC})
        await until_connected(desk)
        for socket in tuple(desk.server.sockets.open):
            socket.send_text(msgspec.json.encode({"e": "x" * 2**21}).decode())
        with trio.fail_after(5):
            while stream_state(desk.exchange).connected:
                await trio.sleep(0.01)
            assert "exceeds limit" in stream_state(desk.exchange).detail
            await until_connected(desk)
