"""Failure modes of which the exchange's conformance test is the proof."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import trio

from trailing.core.model import Position, Source, StopOrder, Tick
from trailing.errors import UsageError
from trailing.exchanges.paper import PaperExchange, open_paper
from trailing.exchanges.port import StopRequest
from trailing.testing import ExchangeUnderTest, check_exchange


class Bench:
    def __init__(self, exchange: Any) -> None:
        self.exchange = exchange

    async def enter(self, position: Position) -> None:
        await self.exchange.enter(position)

    async def move_price(self, symbol: str, price: Decimal, source: Source) -> None:
        self.exchange.feed(Tick(symbol, price, trio.current_time(), source))
        await trio.lowlevel.checkpoint()


class StopsMovedToAnotherEndpoint:
    """The exchange takes stops as ever, and shows them no more where they used to be."""

    def __init__(self, inner: PaperExchange) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def open_stops(self) -> Sequence[StopOrder]:
        await self.inner.open_stops()
        return ()


@pytest.mark.parametrize("foreign", ["BTCUSDT", "BTC/USDT", "BTC/USD:BTC"])
async def test_fm04_the_exchange_refuses_a_foreign_form_before_anything_is_sent(
    foreign: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_paper(latency=0.5, record=True) as exchange:
        since = datetime(2026, 1, 1, tzinfo=UTC)
        requests: list[Callable[[], Awaitable[object]]] = [
            lambda: exchange.place_stop(StopRequest(foreign, "long", Decimal(1), Decimal(98), "a")),
            lambda: exchange.find_stop(foreign, "a"),
            lambda: exchange.price(foreign, "last"),
            lambda: exchange.close_position(foreign, "long", Decimal(1), "b"),
            lambda: exchange.candles(foreign, "last", since),
            lambda: exchange.set_subscriptions({"BTC/USDT:USDT", foreign}),
        ]
        for request in requests:
            with pytest.raises(UsageError, match="wants a linear contract in unified form"):
                await request()
        with pytest.raises(UsageError, match="wants a linear contract in unified form"):
            exchange.market(foreign)
        assert (exchange.log, trio.current_time()) == ([], 0.0)


@pytest.mark.parametrize("ways", [{}, {"can_amend": True}, {"two_stops": False}], ids=repr)
async def test_fm14_place_list_fetch_move_cancel_list_is_a_contract_that_an_invisible_stop_breaks(
    ways: dict[str, Any], autojump_clock: trio.testing.MockClock
) -> None:
    @asynccontextmanager
    async def sound() -> AsyncIterator[ExchangeUnderTest]:
        async with open_paper(latency=0.5, **ways) as exchange:
            yield Bench(exchange)

    @asynccontextmanager
    async def moved() -> AsyncIterator[ExchangeUnderTest]:
        async with open_paper(latency=0.5, **ways) as exchange:
            yield Bench(StopsMovedToAnotherEndpoint(exchange))

    await check_exchange(sound)
    with pytest.raises(AssertionError, match=r"^a placed stop can be listed .* later open_stops shows None"):
        await check_exchange(moved)
