"""Entries on the venues' local servers: markets with prices, and the unprotected time by the server's own book."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import trio
from real_exchange import KEYS, Desk, open_server
from venue_market import Event, Instrument, VenueMarket, instrument
from venue_server import VenueServer

from trailing import Callback, Percent, TrailPlan, open_ccxt
from trailing.core.model import Source

PRICE = Decimal(1000)
SOURCES: tuple[Source, ...] = ("last", "mark", "index")
PLAN = TrailPlan(initial_stop=Percent("2"), rules=(Callback(Percent("1"), activation=Percent("1")),), trigger="mark")
FREE: Mapping[str, Mapping[str, Any]] = {
    "binanceusdm": {"order_limits": (10**6, 10**6), "weight_limit": 10**6},
    "bybit": {"order_limit": 10**6},
    "okx": {"limited": False},
}
"""The settings of a server that refuses no request for its rate."""


def coins(number: int) -> tuple[Instrument, ...]:
    """Return that many contracts."""
    return tuple(instrument(f"C{each:02}", "0.1", "0.001", "5") for each in range(number))


class BookTimes:
    """Notes at each booking of a venue since when each symbol has a position and no live stop.

    Attributes:
        seconds: without a stop, by symbol, once it had a position.
    """

    def __init__(self, market: VenueMarket) -> None:
        self._market = market
        self._since: dict[str, float] = {}
        self.seconds: dict[str, float] = {}
        market.listeners.append(self._note)

    def _note(self, _: Event) -> None:
        now = trio.current_time()
        covered = {order.wanted.symbol for order in self._market.live_stops()}
        for (symbol, _leg), holding in self._market.holdings.items():
            if holding.quantity:
                self.seconds.setdefault(symbol, 0.0)
            if symbol in self._since:
                self.seconds[symbol] += now - self._since.pop(symbol)
            if holding.quantity and symbol not in covered:
                self._since[symbol] = now


class EntryDesk(Desk, frozen=True):
    """A desk, and the times of its server's book."""

    times: BookTimes


def set_prices(server: VenueServer, symbols: Sequence[str], price: Decimal = PRICE) -> None:
    """Set all prices of these symbols."""
    for symbol in symbols:
        for source in SOURCES:
            server.market.move_price(symbol, price, source)


@asynccontextmanager
async def entry_desk(
    venue: str, instruments: Sequence[Instrument], *, latency: float = 0.0, **settings: Any
) -> AsyncIterator[EntryDesk]:
    """Open an exchange on a server with an empty account, and with prices.

    Args:
        latency: the round trip of each request. Frames of the stream take half of it. Opening takes none.
    """
    async with open_server(venue, instruments=tuple(instruments), **settings) as server:
        set_prices(server, [each.symbol for each in instruments])
        server.sockets.delay = latency / 2
        async with open_ccxt(venue, credentials=KEYS, configure=server.configure) as exchange:
            server.faults.latency = latency
            yield EntryDesk(exchange, server, BookTimes(server.market))
