"""`open_ccxt` on a venue's local server."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeAlias

import msgspec
import trio
from binance_server import open_binance_server
from bybit_server import open_bybit_server
from inspection.ccxt_exchange import topics_of
from okx_server import PASSPHRASE, open_okx_server
from venue_server import API_KEY, SECRET, VenueServer
from venue_sockets import Socket

from trailing import Credentials, Position, StopRequest
from trailing.core.model import Side, Source
from trailing.exchanges.ccxt import open_ccxt, venues
from trailing.exchanges.ccxt.exchange import CcxtExchange
from trailing.exchanges.ccxt.venue import Venue

BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"
VENUES = ("binanceusdm", "bybit", "okx")
KEYS = Credentials(API_KEY, SECRET, PASSPHRASE)  # only OKX has a passphrase
Opener: TypeAlias = Any

OPENERS: Mapping[str, Opener] = {
    "binanceusdm": open_binance_server,
    "bybit": open_bybit_server,
    "okx": open_okx_server,
}


def with_delays(venue: str, **delays: float) -> Venue:
    """Return a venue's row with other delays, in seconds."""
    row = venues.VENUES[venue]
    return msgspec.structs.replace(row, delays=msgspec.structs.replace(row.delays, **delays))


class NoRateLimit:
    """A rate limiter that delays no request."""

    def rate_limit_delay(self, operation: str) -> float:
        return 0.0

    async def acquire(self, operation: str, symbol: str | None = None) -> None:
        await trio.lowlevel.checkpoint()

    def on_rate_limited(self, retry_after: float) -> None: ...

    def update_from_headers(self, operation: str, headers: Mapping[str, str]) -> None: ...


class Desk(msgspec.Struct, frozen=True):
    """An exchange, its server, and short methods for both."""

    exchange: CcxtExchange
    server: VenueServer

    async def enter(self, side: Side = "long", quantity: str = "0.8", symbol: str = BTC) -> None:
        """Open a position at 1000."""
        await self.server.enter(Position(symbol, side, Decimal(quantity), Decimal(1000), datetime.now(UTC)))

    def price_sockets(self) -> list[Socket]:
        """Return the server's connections of prices, without the account's."""
        return [each for each in self.server.sockets.open if not re.search("private|business", each.path)]

    def topics(self) -> set[str]:
        """Return the server's subscribed topics of prices."""
        return {topic for socket in self.price_sockets() for topic in socket.topics}

    async def until_subscribed(self, *symbols: str) -> None:
        """Wait until the server pushes the prices of these symbols."""
        with trio.fail_after(10):
            while not self.topics() >= topics_of(self.exchange, *symbols):
                await trio.sleep(0.02)

    def stops_there(self) -> set[str]:
        """Return the client order ids of the live stops on the server."""
        return {order.wanted.client_order_id for order in self.server.market.live_stops()}


def stop_request(
    client_order_id: str = "trabcd0123456789abcdef",
    *,
    price: str = "980",
    quantity: str = "0.8",
    side: Side = "long",
    source: Source = "last",
) -> StopRequest:
    """Return a stop for the position that `Desk.enter` opens."""
    return StopRequest(BTC, side, Decimal(quantity), Decimal(price), client_order_id, source)


def open_server(venue: str, **settings: Any) -> AbstractAsyncContextManager[VenueServer]:
    """Open a venue's local server."""
    return OPENERS[venue](**settings)  # type: ignore[no-any-return]


@asynccontextmanager
async def open_desk(
    venue: str,
    *,
    credentials: Credentials | None = None,
    configure: Callable[[Any], object] = lambda _: None,
    **settings: Any,
) -> AsyncIterator[Desk]:
    """Open an exchange on a server with an empty account."""
    async with open_server(venue, **settings) as server:

        def configure_both(client: Any) -> None:
            server.configure(client)
            configure(client)

        async with open_ccxt(venue, credentials=credentials or KEYS, configure=configure_both) as exchange:
            yield Desk(exchange, server)
