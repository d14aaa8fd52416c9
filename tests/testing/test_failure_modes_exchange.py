"""Failure modes of which the exchange's conformance test is the proof."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest
import trio

from trailing.core.model import Position, Source, StopOrder, Tick
from trailing.exchanges.paper import PaperExchange, open_paper
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


async def test_fm14_place_list_fetch_move_cancel_list_is_a_contract_that_an_invisible_stop_breaks(
    autojump_clock: trio.testing.MockClock,
) -> None:
    @asynccontextmanager
    async def sound() -> AsyncIterator[ExchangeUnderTest]:
        async with open_paper(latency=0.5) as exchange:
            yield Bench(exchange)

    @asynccontextmanager
    async def moved() -> AsyncIterator[ExchangeUnderTest]:
        async with open_paper(latency=0.5) as exchange:
            yield Bench(StopsMovedToAnotherEndpoint(exchange))

    await check_exchange(sound)
    with pytest.raises(AssertionError, match=r"^a placed stop can be listed .* later open_stops shows None"):
        await check_exchange(moved)
