"""A look at symbols that say nothing: a quiet market is left in peace, a deaf connection is dialled again.

One silent symbol proves nothing. Its price is read, and only where that has moved while nothing came, the connection is
given up: once, until the symbol is heard again. Otherwise a market without trades would cost everybody their prices
every minute.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Protocol

import trio

from trailing.core.model import Source, Tick
from trailing.errors import ExchangeError

QUIET_SECONDS: Final = 30.0
"""Seconds without a price after which it is read: half of a plan's default `stale_after`, which is an alarm."""

_GRACE_SECONDS = 1.0
"""Seconds that a price may still be on its way over the connection when its reading has shown it already."""

_LEAST_WAIT = 0.05


class Watched(Protocol):
    """What the watchdog looks after: `watched` since when, and what was pushed `last`."""

    watched: dict[str, float]
    last: dict[tuple[str, Source], Tick]

    def is_heard(self, symbol: str) -> bool:
        """Whether somebody listens, and a symbol's prices should come."""

    def tell(self, update: Tick) -> None:
        """Hand a price to everybody."""

    def redial(self, symbol: str, why: str) -> None:
        """Give up the connection that a symbol's prices should come over."""


class Watchdog:
    """Reads the prices that are not pushed.

    Args:
        read: the exchange's `price`.
        sources: those that should be pushed.
        quiet: seconds, above 0, without a price of a symbol and source after which it is read.
    """

    def __init__(
        self,
        streams: Watched,
        read: Callable[[str, Source], Awaitable[Tick]],
        sources: Iterable[Source],
        quiet: float,
    ) -> None:
        self._streams, self._read = streams, read
        self._sources = tuple(sorted(sources))
        self._quiet = quiet
        self._looked_at: dict[tuple[str, Source], float] = {}
        self._shown: dict[tuple[str, Source], Tick] = {}  # what was read
        self._deaf: set[tuple[str, Source]] = set()

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            due = [key for key in self._keys() if self._due_at(key) <= trio.current_time()]
            for key in due:
                if key[0] in self._streams.watched:
                    await self._look(key)
            soonest = min((self._due_at(key) for key in self._keys()), default=trio.current_time() + self._quiet)
            await trio.sleep(max(_LEAST_WAIT, min(self._quiet, soonest - trio.current_time())))

    def _keys(self) -> list[tuple[str, Source]]:
        """What is to be pushed now; none while nobody listens, and none of a lost connection, which is known."""
        watched = [(symbol, source) for symbol in self._streams.watched for source in self._sources]
        self._deaf.intersection_update(watched)
        for memory in (self._looked_at, self._shown):
            for key in memory.keys() - set(watched):
                del memory[key]
        return [key for key in watched if self._streams.is_heard(key[0])]

    def _due_at(self, key: tuple[str, Source]) -> float:
        heard = self._streams.last.get(key)
        times = (self._streams.watched[key[0]], self._looked_at.get(key, 0.0), 0.0 if heard is None else heard.at)
        return max(times) + self._quiet

    async def _look(self, key: tuple[str, Source]) -> None:
        heard, before = self._streams.last.get(key), self._shown.get(key)
        if before is None or (heard is not None and heard.at >= before.at):
            self._deaf.discard(key)
            before = heard
        self._looked_at[key] = trio.current_time()
        try:
            tick = await self._read(*key)
        except ExchangeError:
            return  # the next look is in a while
        if self._streams.last.get(key) is not heard or key[0] not in self._streams.watched:
            return
        self._shown[key] = tick
        self._streams.tell(tick)
        if before is None or before.price == tick.price or key in self._deaf:
            return
        await trio.sleep(min(_GRACE_SECONDS, self._quiet / 2))
        if self._streams.last.get(key) is heard and self._streams.is_heard(key[0]):
            self._deaf.add(key)
            self._streams.redial(key[0], f"the {key[1]} price of {key[0]} has moved, and was not pushed")
