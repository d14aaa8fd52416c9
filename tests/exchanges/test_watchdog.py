"""When a symbol says nothing: what is read, and what costs a connection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal as D

import trio
from trio.testing import MockClock

from trailing import ExchangeUnreachable, Tick
from trailing.core.model import Source
from trailing.exchanges.ccxt.streams import Audience
from trailing.exchanges.ccxt.watchdog import QUIET_SECONDS, Watchdog

BTC = "BTC/USDT:USDT"


class Line(Audience):
    """A connection, and the exchange behind it, which has one price."""

    def __init__(self) -> None:
        super().__init__()
        self.price = D(1000)
        self.told: list[D] = []
        self.reads: list[float] = []
        self.redialled: list[float] = []
        self.reachable = True
        self.on_read: Callable[[], object] = lambda: None

    def is_heard(self, symbol: str) -> bool:
        return True

    def tell(self, update: object) -> None:
        assert isinstance(update, Tick)
        self.told.append(update.price)

    def redial(self, symbol: str, why: str) -> None:
        assert symbol in why
        self.redialled.append(trio.current_time())

    async def read(self, symbol: str, source: Source) -> Tick:
        self.reads.append(trio.current_time())
        if not self.reachable:
            raise ExchangeUnreachable("no")
        tick = Tick(symbol, self.price, trio.current_time(), source)
        self.on_read()
        return tick

    def push(self, price: D) -> None:
        self.price = price
        self.hear(Tick(BTC, price, trio.current_time()))


@asynccontextmanager
async def watched() -> AsyncIterator[Line]:
    line = Line()
    await line.set_subscriptions({BTC})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Watchdog(line, line.read, ["last"], QUIET_SECONDS).run)
        yield line
        nursery.cancel_scope.cancel()


async def test_a_market_without_trades_for_ten_minutes_costs_no_connection(autojump_clock: MockClock) -> None:
    async with watched() as line:
        line.push(D(1000))
        started_at = trio.current_time()
        await trio.sleep(605)
        assert line.redialled == []
        assert [at - started_at for at in line.reads] == [QUIET_SECONDS * number for number in range(1, 21)]
        assert line.told == [D(1000)] * 21


async def test_a_price_that_moves_unheard_costs_one_connection_until_it_is_heard_again(
    autojump_clock: MockClock,
) -> None:
    async with watched() as line:
        line.push(D(1000))
        for step in range(1, 10):
            line.price = D(1000) + step
            await trio.sleep(QUIET_SECONDS)
        assert len(line.redialled) == 1
        assert line.told[-1] >= 1008
        line.push(D(1020))
        await trio.sleep(QUIET_SECONDS + 2)
        assert len(line.redialled) == 1
        line.price = D(1030)
        await trio.sleep(2 * QUIET_SECONDS + 5)
        assert len(line.redialled) == 2


async def test_a_price_that_is_only_late_costs_nothing(autojump_clock: MockClock) -> None:
    async with watched() as line, trio.open_nursery() as nursery:
        line.push(D(1000))

        async def push_late() -> None:
            await trio.sleep(0.5)
            line.push(D(1001))

        line.on_read = lambda: nursery.start_soon(push_late)
        line.price = D(1001)
        await trio.sleep(QUIET_SECONDS + 5)
        assert (line.redialled, line.told) == ([], [D(1000), D(1001), D(1001)])


async def test_a_price_that_is_pushed_while_it_is_read_makes_the_reading_worthless(autojump_clock: MockClock) -> None:
    async with watched() as line:
        line.push(D(1000))
        line.on_read = lambda: line.push(D(1005))
        await trio.sleep(QUIET_SECONDS + 5)
        assert (line.redialled, line.told) == ([], [D(1000), D(1005)])


async def test_what_can_not_be_read_is_read_again_in_a_while(autojump_clock: MockClock) -> None:
    async with watched() as line:
        line.reachable = False
        await trio.sleep(3 * QUIET_SECONDS + 1)
        assert len(line.reads) == 3
        assert line.told == line.redialled == []


async def test_a_symbol_that_is_not_watched_any_more_is_not_read(autojump_clock: MockClock) -> None:
    async with watched() as line:
        await trio.sleep(QUIET_SECONDS + 1)
        await line.set_subscriptions(set())
        await trio.sleep(10 * QUIET_SECONDS)
        assert len(line.reads) == 1
