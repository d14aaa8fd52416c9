"""The real, unmodified ccxt client against a venue's server, driven by trio through trio-asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeAlias

import trio_asyncio
from binance_server import open_binance_server
from bybit_server import open_bybit_server
from ccxt import pro
from okx_server import PASSPHRASE, open_okx_server
from venue_server import API_KEY, SECRET, VenueServer

from trailing.core.model import Position, Side, Source

Client: TypeAlias = Any
"""A ccxt client. Its methods are asyncio coroutine functions; `ask` calls them."""

BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"
VENUES = ("binanceusdm", "bybit", "okx")
_OPEN: Mapping[str, Callable[..., AbstractAsyncContextManager[Any]]] = {
    "binanceusdm": open_binance_server,
    "bybit": open_bybit_server,
    "okx": open_okx_server,
}
_NO_SNAPSHOT = {"watchPositions": {"fetchPositionsSnapshot": False, "awaitPositionsSnapshot": False}}
_OPTIONS: Mapping[str, Mapping[str, object]] = {
    "binanceusdm": _NO_SNAPSHOT,
    "bybit": {"defaultType": "swap", "fetchMarkets": {"types": ["linear"]}, **_NO_SNAPSHOT},
    "okx": {"defaultType": "swap", "fetchMarkets": {"types": ["swap"]}},
}
_SOURCES: Mapping[str, Mapping[Source, Mapping[str, str]]] = {
    "binanceusdm": {"last": {"workingType": "CONTRACT_PRICE"}, "mark": {"workingType": "MARK_PRICE"}},
    "bybit": {
        "last": {"triggerBy": "LastPrice"},
        "mark": {"triggerBy": "MarkPrice"},
        "index": {"triggerBy": "IndexPrice"},
    },
    "okx": {
        "last": {"slTriggerPxType": "last"},
        "mark": {"slTriggerPxType": "mark"},
        "index": {"slTriggerPxType": "index"},
    },
}


async def ask(method: Callable[..., Any], *args: Any) -> Any:
    """Call a method of a client from trio. Cancellation reaches it."""
    return await trio_asyncio.aio_as_trio(method)(*args)


@asynccontextmanager
async def open_client(
    venue: str, configure: Callable[[Client], None], options: Mapping[str, object] | None = None, **config: Any
) -> AsyncIterator[Client]:
    """Open a ccxt client with its markets loaded.

    Its `pushed` has the frames that it received, its `loop_errors` the errors of the loop outside of calls.
    """
    async with trio_asyncio.open_loop() as loop:
        options = {**_OPTIONS[venue], **(options or {})}
        keys = {"apiKey": API_KEY, "secret": SECRET, "password": PASSPHRASE}
        client = getattr(pro, venue)({**keys, "enableRateLimit": False, "options": options, **config})
        configure(client)
        handle, client.pushed, client.loop_errors = client.handle_message, [], []
        # Without this handler, an error in a callback would end trio-asyncio's loop.
        loop.set_exception_handler(lambda _, context: client.loop_errors.append(context["exception"]))

        def note(socket: Any, message: Any) -> None:
            client.pushed.append(message)
            handle(socket, message)

        client.handle_message = note
        try:
            await ask(client.load_markets)
            yield client
        finally:
            await ask(client.close)


class Trader:
    """The requests of a bot on any venue in ccxt's terms, with a long of 0.8 BTC at 1000. OKX counts contracts."""

    def __init__(self, venue: str, server: VenueServer, client: Client) -> None:
        self.venue: str = venue
        self.server: VenueServer = server
        self.client: Client = client

    async def enter(self, side: Side = "long", symbol: str = BTC) -> None:
        """Open the position."""
        await self.server.enter(Position(symbol, side, Decimal("0.8"), Decimal("1000"), datetime.now(UTC)))

    async def place_stop(
        self,
        own_id: str,
        price: str = "980",
        *,
        quantity: str = "0.8",
        side: str = "sell",
        source: Source = "last",
        **params: object,
    ) -> Any:
        """Place a reduce-only stop."""
        wanted = {"stopLossPrice": price, "reduceOnly": True, "clientOrderId": own_id, **_SOURCES[self.venue][source]}
        return await ask(self.client.create_order, BTC, "market", side, self.contracts(quantity), None, wanted | params)

    async def close(self, own_id: str, quantity: str = "0.8") -> Any:
        """Close at market, reduce-only."""
        wanted = {"reduceOnly": True, "clientOrderId": own_id}
        return await ask(self.client.create_order, BTC, "market", "sell", self.contracts(quantity), None, wanted)

    def contracts(self, quantity: str) -> str:
        """Return a quantity of BTC in contracts."""
        return str(Decimal(quantity) / Decimal(str(self.client.market(BTC)["contractSize"])))

    async def open_stops(self) -> Any:
        """List the live stops of the account."""
        kinds = {"binanceusdm": {"type": "swap"}, "bybit": {}, "okx": {"ordType": "conditional"}}
        params = {"trigger": True, **kinds[self.venue]}
        self.client.options["warnOnFetchOpenOrdersWithoutSymbol"] = False
        return await ask(self.client.fetch_open_orders, None, None, None, params)

    async def find_stop(self, own_id: str) -> Any:
        """Look a stop up by our client order id, live or ended."""
        if self.venue == "bybit":
            found = await ask(self.client.fetch_open_orders, BTC, None, None, {"orderLinkId": own_id})
            return found[0]
        return await ask(self.client.fetch_order, None, BTC, {"trigger": True, "clientOrderId": own_id})

    async def cancel_stop(self, order_id: str) -> Any:
        """Cancel a stop."""
        return await ask(self.client.cancel_order, order_id, BTC, {"trigger": True} if self.venue != "bybit" else {})

    async def positions(self) -> list[tuple[str, str, Decimal]]:
        """Return symbol, side and quantity of the open positions."""
        reported = await ask(self.client.fetch_positions)
        sizes = [Decimal(str(self.client.market(each["symbol"])["contractSize"])) for each in reported]
        return [
            (each["symbol"], each["side"], Decimal(str(each["contracts"])) * size)
            for each, size in zip(reported, sizes, strict=True)
        ]


@asynccontextmanager
async def open_trader(
    venue: str, *, options: Mapping[str, object] | None = None, config: Mapping[str, Any] | None = None, **server: Any
) -> AsyncIterator[Trader]:
    """Open a venue's server and a client for it."""
    async with (
        _OPEN[venue](**server) as opened,
        open_client(venue, opened.configure, options, **(config or {})) as client,
    ):
        yield Trader(venue, opened, client)
