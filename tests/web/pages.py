"""What the tests of the page share: a small bot on the paper exchange, and requests with and without a socket."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple

import trio

import trailing
from trailing import Callback, Manager, Pacing, Percent, Position, Tick, TrailPlan
from trailing.exchanges.paper import PaperExchange
from trailing.stores import MemoryStore
from trailing.testing import FaultyExchange, FaultyStore
from trailing.testing.faults import Faults
from trailing.web import Metrics, serve
from trailing.web.access import App

START = datetime(2026, 1, 1, tzinfo=UTC)
BTC = "BTC/USDT:USDT"
PLAN = TrailPlan(
    initial_stop=Percent("2"),
    rules=(Callback(Percent("1"), activation=Percent("1")),),
    pacing=Pacing(min_interval=0.0, min_improvement=Percent("0")),
)


def a_position(symbol: str = BTC, *, opened_at: datetime | None = None, **changes: Any) -> Position:
    """A long position of 1.5 at 100."""
    fields: dict[str, Any] = {"side": "long", "quantity": Decimal("1.5"), "entry_price": Decimal(100)} | changes
    return Position(symbol=symbol, opened_at=opened_at or START, **fields)


@dataclass
class Bot:
    """A manager on the paper exchange."""

    paper: PaperExchange
    faulty: FaultyExchange
    store: MemoryStore
    metrics: Metrics
    manager: Manager

    async def protect(self, *positions: Position, deadline: float = 5.0) -> None:
        for position in positions:
            await self.paper.enter(position)
        await self.manager.protect_wave(positions, deadline=deadline)

    def feed(self, price: str, symbol: str = BTC) -> None:
        self.paper.feed(Tick(symbol, Decimal(price), trio.current_time()))


@asynccontextmanager
async def open_bot(
    *,
    latency: float = 0.0,
    faults: Faults | None = None,
    store_faults: Faults | None = None,
    plan: TrailPlan = PLAN,
    utc_start: datetime | None = START,
) -> AsyncIterator[Bot]:
    """Open a bot whose exchange is measured. Without `utc_start` its times of day are this machine's."""
    store, metrics = MemoryStore(), Metrics()
    async with trailing.open_paper(latency=latency, utc_start=utc_start) as paper:
        faulty = FaultyExchange(paper, faults or {})
        measured = metrics.measure(faulty)
        behind = FaultyStore(store, store_faults or {})
        async with trailing.open_manager(measured, behind, plan, utc_start=utc_start) as manager:
            yield Bot(paper, faulty, store, metrics, manager)


@asynccontextmanager
async def served(bot: Bot, **options: Any) -> AsyncIterator[int]:
    """Serve a bot's page at a free port, which is yielded."""
    async with trio.open_nursery() as nursery:
        serving = partial(serve, bot.manager, metrics=bot.metrics, **{"bind": "127.0.0.1:0", **options})
        url: str = await nursery.start(serving)
        yield int(url.rstrip("/").rpartition(":")[2])
        nursery.cancel_scope.cancel()


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def ask(
    app: App,
    path: str = "/",
    *,
    method: str = "GET",
    headers: Iterable[tuple[str, str]] = (("host", "localhost"),),
    version: str = "1.1",
) -> Answer:
    """Send a request to an application without a socket."""
    sent: list[Any] = []

    async def receive() -> Any:
        await trio.sleep_forever()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "http_version": version,
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers],
        "server": ("127.0.0.1", 8787),
        "root_path": "",
    }
    await app(scope, receive, send)
    start, *bodies = sent
    found = {name.decode(): value.decode() for name, value in start["headers"]}
    return Answer(start["status"], found, b"".join(each.get("body", b"") for each in bodies))


async def fetch(
    port: int, path: str = "/", *, method: str = "GET", headers: str = "", host: str = "127.0.0.1"
) -> Answer:
    """Send a request through a socket."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        request = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n"
        await stream.send_all(request.encode())
        return parse(await read_all(stream))


async def read_all(stream: trio.SocketStream, seconds: float = 10.0) -> bytes:
    """Read until the server closes."""
    data = b""
    with trio.fail_after(seconds):
        try:
            async for chunk in stream:
                data += chunk
        except trio.BrokenResourceError:
            pass
    return data


def parse(data: bytes) -> Answer:
    """Return the answer in the bytes of a connection."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Answer(int(first.split()[1]), headers, body)
