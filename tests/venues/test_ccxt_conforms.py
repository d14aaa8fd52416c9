"""The adapter keeps the port's contract over both loopback venues, in one-way and in hedge mode."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from real_exchange import VENUES, Desk, open_desk

from trailing.core.model import Position, Source
from trailing.exchanges.ccxt import venues
from trailing.exchanges.ccxt.exchange import CcxtExchange
from trailing.testing import check_exchange

READ_LAG = 0.02
"""Seconds: the servers show every write at once, and the checks wait so long for each."""


class Bench:
    """An exchange under test: the adapter, and a hand on the venue's market."""

    def __init__(self, desk: Desk) -> None:
        self.exchange: CcxtExchange = desk.exchange
        self._server = desk.server

    async def enter(self, position: Position) -> None:
        await self._server.enter(position)

    async def move_price(self, symbol: str, price: Decimal, source: Source) -> None:
        await self._server.move_price(symbol, price, source)


def generous(client: Any) -> None:
    client.timeout_on_exit = 0  # plain connections are closed at once


@pytest.mark.slow
@pytest.mark.parametrize("hedged", [False, True], ids=["one-way", "hedged"])
@pytest.mark.parametrize("venue", VENUES)
async def test_the_adapter_passes_the_exchange_s_conformance_test(
    venue: str, hedged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = msgspec.structs.replace(venues.VENUES[venue], read_lag=READ_LAG, request_validity=READ_LAG)
    monkeypatch.setattr("trailing.exchanges.ccxt.opening.VENUES", {venue: row})

    @asynccontextmanager
    async def maker() -> AsyncIterator[Bench]:
        async with open_desk(venue, configure=generous, hedged=hedged) as desk:
            yield Bench(desk)

    await check_exchange(maker, seconds=20.0)
