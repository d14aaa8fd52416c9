"""Silent symbols: when their price is requested, and when their connection is replaced."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal as D

import trio
from trio.testing import MockClock

from trailing import ExchangeUnreachable, Tick
from trailing.core.model import Source
from trailing.exchanges.ccxt.stale_prices import STALE_SECONDS, StalePriceMonitor
from trailing.exchanges.ccxt.streams import UpdateBroadcast

BTC = "BTC/USDT:USDT"


class FakeStream(UpdateBroadcast):
    """A stream, and the exchange behind it, which has one price."""

    def __init__(self) -> None:
        super().__init__()
        self.price = D(1000)
        self.published: list[D] = []
        self.reads: list[float] = []
        self.reconnects: list[float] = []
        self.reachable = True
        self.on_read: Callable[[], object] = lambda: None

    def expects_prices(self, symbol: str) -> bool:
        return True

    def publish(self, update: object) -> None:
        assert isinstance(update, Tick)
        self.published.append(update.price)

    def reconnect(self, symbol: str, reason: str) -> None:
        assert symbol in reason
        self.reconnects.append(trio.current_time())

    async def read(self, symbol: str, source: Source) -> Tick:
        self.reads.append(trio.current_time())
        if not self.reachable:
            raise ExchangeUnreachable("no")
        tick = Tick(symbol, self.price, trio.current_time(), source)
        self.on_read()
        return tick

    def push(self, price: D) -> None:
        self.price = price
        self.on_update(Tick(BTC, price, trio.current_time()))


@asynccontextmanager
async def watched() -> AsyncIterator[FakeStream]:
    stream = FakeStream()
    await stream.set_subscriptions({BTC})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(StalePriceMonitor(stream, stream.read, ["last"], STALE_SECONDS).run)
        yield stream
        nursery.cancel_scope.cancel()


async def test_a_market_without_trades_for_ten_minutes_causes_no_reconnect(autojump_clock: MockClock) -> None:
    async with watched() as stream:
        stream.push(D(1000))
        started_at = trio.current_time()
        await trio.sleep(605)
        assert stream.reconnects == []
        assert [at - started_at for at in stream.reads] == [STALE_SECONDS * number for number in range(1, 21)]
        assert stream.published == [D(1000)] * 21


async def test_a_price_that_moves_without_a_push_causes_one_reconnect(
    autojump_clock: MockClock,
) -> None:
    async with watched() as stream:
        stream.push(D(1000))
        for step in range(1, 10):
            stream.price = D(1000) + step
            await trio.sleep(STALE_SECONDS)
        assert len(stream.reconnects) == 1
        assert stream.published[-1] >= 1008
        stream.push(D(1020))
        await trio.sleep(STALE_SECONDS + 2)
        assert len(stream.reconnects) == 1
        stream.price = D(1030)
        await trio.sleep(2 * STALE_SECONDS + 5)
        assert len(stream.reconnects) == 2


async def test_a_late_price_causes_no_reconnect(autojump_clock: MockClock) -> None:
    async with watched() as stream, trio.open_nursery() as nursery:
        stream.push(D(1000))

        async def push_late() -> None:
            await trio.sleep(0.5)
            stream.push(D(1001))

        stream.on_read = lambda: nursery.start_soon(push_late)
        stream.price = D(1001)
        await trio.sleep(STALE_SECONDS + 5)
        assert (stream.reconnects, stream.published) == ([], [D(1000), D(1001), D(1001)])


async def test_a_price_pushed_during_the_request_replaces_its_reply(autojump_clock: MockClock) -> None:
    async with watched() as stream:
        stream.push(D(1000))
        stream.on_read = lambda: stream.push(D(1005))
        await trio.sleep(STALE_SECONDS + 5)
        assert (stream.reconnects, stream.published) == ([], [D(1000), D(1005)])


async def test_a_failed_price_request_is_repeated_later(autojump_clock: MockClock) -> None:
    async with watched() as stream:
        stream.reachable = False
        await trio.sleep(3 * STALE_SECONDS + 1)
        assert len(stream.reads) == 3
        assert stream.published == stream.reconnects == []


async def test_an_unsubscribed_symbol_is_not_requested(autojump_clock: MockClock) -> None:
    async with watched() as stream:
        await trio.sleep(STALE_SECONDS + 1)
        await stream.set_subscriptions(set())
        await trio.sleep(10 * STALE_SECONDS)
        assert len(stream.reads) == 1
