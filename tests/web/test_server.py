"""The page under attack through real sockets: it stays within its limits, and nothing reaches protection."""

from __future__ import annotations

import errno
import resource
import socket
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trio
from pages import Bot, a_position, fetch, open_bot, parse, read_all, served

from trailing import UsageError
from trailing.web import serve, server
from trailing.web.server import MOST_CONNECTIONS, MOST_HEADER_BYTES

GET = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@asynccontextmanager
async def page() -> AsyncIterator[tuple[Bot, int]]:
    """A bot on the real clock, and the port of its page."""
    async with open_bot(utc_start=None) as bot, served(bot) as port:
        yield bot, port


async def check_protects(bot: Bot, symbol: str = "SAFE/USDT:USDT", within: float = 2.0) -> None:
    """Check that a position is protected at once, and that its stop moves with the price."""
    with trio.fail_after(within):
        await bot.protect(a_position(symbol, opened_at=datetime.now(UTC)))
        while (symbol, "long") not in bot.manager.stops():
            await trio.sleep(0.01)


async def test_the_page_its_metrics_and_its_health_are_served() -> None:
    async with page() as (bot, port):
        await check_protects(bot)
        shown = await fetch(port)
        assert (shown.status, shown.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert "server" not in shown.headers
        assert b"trailing_positions" in (await fetch(port, "/metrics")).body
        assert (await fetch(port, "/health")).json == {"ok": True, "problems": []}


async def test_frames_come_as_server_sent_events() -> None:
    async with page() as (bot, port):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream:
            await stream.send_all(GET.replace(b"/health", b"/stream"))
            data = b""
            with trio.fail_after(5):
                while data.count(b"event: change") < 2:
                    data += await stream.receive_some()
                await check_protects(bot)
                while b"SAFE/USDT:USDT" not in data:
                    data += await stream.receive_some()
        assert b"text/event-stream" in data
        assert data.index(b"event: whole") < data.index(b"event: change")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_a_write_changes_nothing_whatever_its_body(method: str) -> None:
    async with page() as (bot, port):
        await check_protects(bot)
        before = (bot.store.commits, len(bot.faulty.calls), bot.manager.stops())
        body = "Content-Length: 20\r\n\r\n" + "x" * 20
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream:
            await stream.send_all(
                f"{method} /stream HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{body}".encode()
            )
            assert parse(await read_all(stream)).status == 405
        assert (bot.store.commits, len(bot.faulty.calls), bot.manager.stops()) == before


async def test_a_body_without_end_is_not_gathered() -> None:
    async with page() as (bot, port):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        tracemalloc.start()
        async with stream:
            await stream.send_all(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n")
            with trio.move_on_after(2.0):
                try:
                    while True:
                        await stream.send_all(b"x" * 100_000)
                except trio.BrokenResourceError:
                    pass
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 5_000_000
        await check_protects(bot)


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * (2 * MOST_HEADER_BYTES),
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * MOST_HEADER_BYTES,
        b"GET /" + b"x" * (2 * MOST_HEADER_BYTES),
        b"\x00" * (2 * MOST_HEADER_BYTES),
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    ],
)
async def test_giant_headers_and_nonsense_are_refused(head: bytes) -> None:
    async with page() as (bot, port):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream:
            with suppress(trio.BrokenResourceError):  # it may be refused before all of it was sent
                await stream.send_all(head)
            data = await read_all(stream)
        assert data == b"" or parse(data).status in (400, 431, 505)
        await check_protects(bot)


@pytest.mark.parametrize(
    "opening",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
        (
            b"GET /stream HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
            b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
        ),
        (
            b"GET /stream HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ),
    ],
)
async def test_another_protocol_gets_no_data(opening: bytes) -> None:
    async with page() as (bot, port):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        data = b""
        async with stream:
            await stream.send_all(opening)
            with trio.move_on_after(1.0):
                data = await read_all(stream)
        assert b"event: whole" not in data
        await check_protects(bot)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0


@pytest.fixture
def many_open_files() -> Iterator[None]:
    """Let this process open 4,096 files, four times as many as an ordinary user's may at first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(soft, 4096)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"a process may open {hard} files here, and {wanted} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_open_files")
async def is_served(port: int) -> bool:
    """Whether the page answers a new client."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        try:
            await stream.send_all(GET[:-2] + b"Connection: close\r\n\r\n")
        except trio.BrokenResourceError:  # it has as many as it takes
            return False
        return (await read_all(stream)).startswith(b"HTTP/1.1 200 ")


async def test_a_thousand_idle_connections_keep_nothing_from_protection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "IDLE_SECONDS", 3.0)
    async with page() as (bot, port):
        before = open_files()
        clients: list[socket.socket] = []
        tracemalloc.start()
        try:
            for _ in range(1000):
                client = socket.socket()
                client.setblocking(False)
                assert client.connect_ex(("127.0.0.1", port)) in (0, errno.EINPROGRESS)
                clients.append(client)
                if len(clients) % 50 == 0:
                    await trio.sleep(0.01)
            await trio.sleep(0.3)
            held = open_files() - before - len(clients)
            assert held <= MOST_CONNECTIONS + 5  # and what the bot has opened itself
            await check_protects(bot)
            bot.feed("50", "SAFE/USDT:USDT")  # its stop triggers, and the position ends
            with trio.fail_after(5):
                await bot.manager.wait_closed()
            _, peak = tracemalloc.get_traced_memory()
            assert peak < 30_000_000
            with trio.fail_after(30):  # they are closed for being idle, and so are those that were waiting behind them
                while open_files() - before - len(clients) > 2 or not await is_served(port):
                    await trio.sleep(0.1)
        finally:
            tracemalloc.stop()
            for client in clients:
                client.close()


async def test_a_request_in_drops_of_a_byte_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "IDLE_SECONDS", 0.5)
    async with page() as (_, port):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        began = trio.current_time()
        async with stream:
            with trio.fail_after(5):
                try:
                    while True:
                        await stream.send_all(b"G")
                        await trio.sleep(0.1)
                except trio.BrokenResourceError:
                    pass
        assert trio.current_time() - began < 3


async def stuck(port: int) -> trio.SocketStream:
    """A client that asks for much, and takes nothing of it."""
    sock = trio.socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await sock.connect(("127.0.0.1", port))
    stream = trio.SocketStream(sock)
    await stream.send_all(GET.replace(b"/health", b"/static/uPlot.iife.min.js") * 100)
    return stream


async def test_clients_that_take_nothing_do_not_keep_the_bot_from_ending() -> None:
    async with AsyncExitStack() as stack:
        async with open_bot(utc_start=None) as bot, served(bot) as port:
            for _ in range(10):
                await stack.enter_async_context(await stuck(port))
            await trio.sleep(0.5)
            await check_protects(bot)
            ends = trio.current_time()
        assert trio.current_time() - ends < 2.0


async def test_a_client_that_takes_nothing_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SEND_SECONDS", 0.3)
    async with page() as (_, port), await stuck(port) as stream:
        await trio.sleep(1.0)
        data = await read_all(stream)
        assert len(data) < 51_000 * 100


async def test_an_error_of_the_page_does_not_end_the_bot(monkeypatch: pytest.MonkeyPatch) -> None:
    async with page() as (bot, port):
        monkeypatch.setattr(bot.manager, "overview", None)
        for path in ("/metrics", "/stream"):
            assert (await fetch(port, path)).status == 500
        monkeypatch.undo()
        await check_protects(bot)
        await trio.sleep(1.2)
        assert (await fetch(port, "/health")).status == 200


async def test_a_port_that_is_taken_is_refused_by_name() -> None:
    async with page() as (bot, port), trio.open_nursery() as nursery:
        with pytest.raises(UsageError, match=f"bind 127.0.0.1:{port}: "):
            await serve(bot.manager, bind=f"127.0.0.1:{port}")
        with pytest.raises(UsageError, match="a token is needed"):
            await serve(bot.manager, bind="0.0.0.0:0")
        with pytest.raises(UsageError, match="hosts wants a token"):
            await serve(bot.manager, bind="127.0.0.1:0", hosts=("bot.example",))
        nursery.cancel_scope.cancel()


async def test_a_missing_extra_is_one_sentence_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trailing.extras.find_spec", lambda name: None if name == "hypercorn" else object())
    async with open_bot() as bot:
        with pytest.raises(
            UsageError, match=r"^hypercorn is not installed. Install it with: pip install 'trailing\[web\]'$"
        ):
            await serve(bot.manager)


async def test_with_a_token_data_is_served_to_its_bearer_alone() -> None:
    token = "a-token-of-many-letters"
    async with open_bot(utc_start=None) as bot, served(bot, token=token) as port:
        for path in ("/metrics", "/health", "/stream"):
            assert (await fetch(port, path)).status == 401
        opened = await fetch(port, "/session", headers=f"Authorization: Bearer {token}\r\n")
        cookie = opened.headers["set-cookie"].partition(";")[0]
        assert (await fetch(port, "/metrics", headers=f"Cookie: {cookie}\r\n")).status == 200
        assert (await fetch(port, "/metrics", headers=f"Authorization: Bearer {token}\r\n")).status == 200
