"""Prices by request: for one symbol, or for all subscribed symbols of a venue whose stream is not supported."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence, Set
from typing import Any, Final

import trio

from trailing.core.model import Source, Tick, check_source
from trailing.errors import ExchangeError, ExchangeUnreachable, UsageError
from trailing.exchanges.ccxt.session import Session
from trailing.exchanges.ccxt.stream_protocol import ticks_of
from trailing.exchanges.ccxt.streams import UpdateBroadcast
from trailing.exchanges.ccxt.unreadable import Unreadable
from trailing.exchanges.ccxt.venue import Venue
from trailing.exchanges.port import StreamState, escaped

POLL_SECONDS: Final = 5.0
"""Seconds from the begin of one round of requests to the next, on venues whose prices are polled."""

SPACING_SECONDS: Final = 0.5
"""Seconds between two requests of a round. On Deribit, the one venue that is polled symbol by symbol, this uses half of the
rate limit, so that stops can pass."""


class PriceReader:
    """Reads the prices of a venue by the methods of its row.

    Args:
        session: sends the requests.
        venue: the venue's row.
    """

    def __init__(self, session: Session, venue: Venue) -> None:
        self._session, self._venue = session, venue

    async def read(self, symbols: Sequence[str], sources: Iterable[Source]) -> list[Tick | Unreadable]:
        """Read the prices of some sources. Several symbols are possible where the venue takes them in one request.

        Args:
            symbols: one of the batches that `batches` returns.
            sources: the price sources.

        Returns:
            A tick for each price, or an `Unreadable` for a value that can be no price. A missing price is left out.
        """
        ticks: list[Tick | Unreadable] = []
        for method, fields in _by_method(self._venue, sources).items():
            raws = await self._request(method, symbols)
            now = trio.current_time()
            for symbol in symbols:
                raw = raws.get(symbol) or {}
                ticks += ticks_of(symbol, ((source, raw.get(field)) for source, field in fields.items()), now)
        return ticks

    async def read_one(self, symbol: str, source: Source, name: str) -> Tick:
        """Return the present price of a symbol. Raises as `Exchange.price`. `name`: of the exchange, for messages."""
        check_source("source", source)
        if source not in self._venue.prices.methods:
            raise UsageError(f"source got {source!r}, but {name} does not publish its {source} price")
        for found in await self.read([symbol], [source]):
            if isinstance(found, Tick):
                return found
            raise ExchangeUnreachable(f"{name} price: {escaped(found.detail)}")
        raise ExchangeUnreachable(f"{name} price: the reply contains no {source} price of {symbol}")

    def batches(self, symbols: Set[str]) -> list[list[str]]:
        """Return the symbols in batches for one request each: those of one settle currency, or one symbol."""
        if not self._venue.prices.batched:
            return [[symbol] for symbol in sorted(symbols)]
        groups: dict[str, list[str]] = {}
        for symbol in sorted(symbols):
            groups.setdefault(symbol.rpartition(":")[2], []).append(symbol)
        return list(groups.values())

    async def _request(self, method: str, symbols: Sequence[str]) -> Any:
        if self._venue.prices.batched:
            return await self._session.call("price", method, list(symbols))
        return {symbols[0]: await self._session.call("price", method, symbols[0])}


def _by_method(venue: Venue, sources: Iterable[Source]) -> dict[str, dict[Source, str]]:
    methods: dict[str, dict[Source, str]] = {}
    for source in sources:
        method, field = venue.prices.methods[source]
        methods.setdefault(method, {})[source] = field
    return methods


class PolledUpdates(UpdateBroadcast):
    """Updates of a venue whose stream is not supported: prices are polled; orders and positions are not published."""

    def __repr__(self) -> str:
        return f"<PolledUpdates: {len(self.subscriptions)} symbols every {POLL_SECONDS:g} s, {self.unreadable} entries unreadable>"

    def state(self) -> StreamState:
        """Return that the stream is down, because orders and positions are not published."""
        detail = f"prices are polled every {POLL_SECONDS:g} s; orders and positions are not pushed"
        return StreamState(False, trio.current_time(), detail)

    async def run(
        self,
        batches: Callable[[Set[str]], Iterable[Sequence[str]]],
        read: Callable[[Sequence[str]], Awaitable[Iterable[Tick | Unreadable]]],
    ) -> None:
        """Poll the subscribed symbols while there is a subscriber, for ever.

        Args:
            batches: splits the symbols into those that one request can read.
            read: reads one batch.
        """
        while True:
            began_at = trio.current_time()
            for symbols in batches(self.subscriptions.keys()) if self._channels else ():
                try:
                    ticks = await read(symbols)
                except ExchangeError:  # the manager raises an alarm when prices stay away for too long
                    ticks = ()
                for tick in ticks:
                    if isinstance(tick, Unreadable):
                        self.on_unreadable(tick.detail)
                    else:
                        self.on_update(tick)
                await trio.sleep(SPACING_SECONDS)
            await trio.sleep(max(0.0, began_at + POLL_SECONDS - trio.current_time()))
