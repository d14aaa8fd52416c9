"""Prices that are asked for: of one symbol, or of many by one request, where nothing pushes them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence, Set
from typing import Any, Final

import trio

from trailing.core.model import Source, Tick
from trailing.errors import ExchangeError
from trailing.exchanges.ccxt.dialect import ticks_of
from trailing.exchanges.ccxt.session import Session
from trailing.exchanges.ccxt.streams import Audience
from trailing.exchanges.ccxt.unreadable import Unreadable
from trailing.exchanges.ccxt.venue import Venue
from trailing.exchanges.port import StreamState

READ_SECONDS: Final = 5.0
"""Seconds from one round of reading to the next, where nothing pushes prices."""

SPACING_SECONDS: Final = 0.5
"""Seconds between two requests of a round: half of what Deribit, the one venue that is read symbol by symbol, lets pass,
so that a stop finds its turn."""


class Prices:
    """What a venue tells of its prices, by its row."""

    def __init__(self, session: Session, venue: Venue) -> None:
        self._session, self._venue = session, venue

    async def read(self, symbols: Sequence[str], sources: Iterable[Source]) -> list[Tick | Unreadable]:
        """Read some sources of one symbol; of several only where the venue tells of all at once.

        Returns:
            A tick for each price, or an `Unreadable` where it can be no price. A symbol without a price now is left out.
        """
        ticks: list[Tick | Unreadable] = []
        for method, fields in _by_method(self._venue, sources).items():
            raws = await self._ask(method, symbols)
            now = trio.current_time()
            for symbol in symbols:
                raw = raws.get(symbol) or {}
                ticks += ticks_of(symbol, ((source, raw.get(field)) for source, field in fields.items()), now)
        return ticks

    def rounds(self, symbols: Set[str]) -> list[list[str]]:
        """The symbols by what one reading can tell of: of one settle currency, or each by itself."""
        if not self._venue.prices_at_once:
            return [[symbol] for symbol in sorted(symbols)]
        groups: dict[str, list[str]] = {}
        for symbol in sorted(symbols):
            groups.setdefault(symbol.rpartition(":")[2], []).append(symbol)
        return list(groups.values())

    async def _ask(self, method: str, symbols: Sequence[str]) -> Any:
        if self._venue.prices_at_once:
            return await self._session.call("price", method, list(symbols))
        return {symbols[0]: await self._session.call("price", method, symbols[0])}


def _by_method(venue: Venue, sources: Iterable[Source]) -> dict[str, dict[Source, str]]:
    methods: dict[str, dict[Source, str]] = {}
    for source in sources:
        method, field = venue.prices[source]
        methods.setdefault(method, {})[source] = field
    return methods


class Reading(Audience):
    """Of a venue that nothing is known of but its requests: its prices are read, and orders are not told."""

    def state(self) -> StreamState:
        """Never everything."""
        return StreamState(False, trio.current_time(), f"prices are read every {READ_SECONDS:g} s, orders are not told")

    async def run(
        self,
        rounds: Callable[[Set[str]], Iterable[Sequence[str]]],
        read: Callable[[Sequence[str]], Awaitable[Iterable[Tick | Unreadable]]],
    ) -> None:
        """Read what is watched while somebody listens, for ever.

        Args:
            rounds: what can be read at once.
            read: reads it.
        """
        while True:
            began = trio.current_time()
            for symbols in rounds(self.watched.keys()) if self._channels else ():
                try:
                    ticks = await read(symbols)
                except ExchangeError:  # whoever listens hears nothing, and has an alarm for that
                    ticks = ()
                for tick in ticks:
                    if isinstance(tick, Unreadable):
                        self.skip(tick.detail)
                    else:
                        self.hear(tick)
                await trio.sleep(SPACING_SECONDS)
            await trio.sleep(max(0.0, began + READ_SECONDS - trio.current_time()))
