"""Detects subscribed symbols whose prices stopped, although the market moves, and reconnects their connection.

A silent symbol proves nothing: its market may have no trades. So its price is requested. Only if that price has moved while
nothing was pushed, the connection is closed and opened again, and not a second time until a price of the symbol is pushed.
Otherwise a market without trades would interrupt the prices of all other symbols every minute.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Protocol

import trio

from trailing.core.model import Source, Tick
from trailing.errors import ExchangeError

STALE_SECONDS: Final = 30.0
"""Seconds without a price after which it is requested: half of a plan's default `stale_after`, which raises an alarm."""

_GRACE_SECONDS = 1.0
"""Seconds to wait for a price over the connection after the request has returned it."""

_LEAST_WAIT = 0.05


class PriceStream(Protocol):
    """The stream that is monitored.

    Attributes:
        subscriptions: the subscribed symbols, each with the time of its subscription.
        last_ticks: the tick that was pushed last, by symbol and source.
    """

    subscriptions: dict[str, float]
    last_ticks: dict[tuple[str, Source], Tick]

    def expects_prices(self, symbol: str) -> bool:
        """Return whether a symbol's prices should arrive now, and have a subscriber."""

    def publish(self, update: Tick) -> None:
        """Push a price to all subscribers."""

    def reconnect(self, symbol: str, reason: str) -> None:
        """Reconnect the connection of a symbol's prices."""


class StalePriceMonitor:
    """Requests prices that were not pushed for a while.

    Args:
        stream: the stream to monitor.
        read: the exchange's `price`.
        sources: the price sources that should be pushed.
        stale_seconds: seconds, above 0, without a price of a symbol and source after which it is requested.
    """

    def __init__(
        self,
        stream: PriceStream,
        read: Callable[[str, Source], Awaitable[Tick]],
        sources: Iterable[Source],
        stale_seconds: float,
    ) -> None:
        self._stream, self._read = stream, read
        self._sources = tuple(sorted(sources))
        self._stale_seconds = stale_seconds
        self._checked_at: dict[tuple[str, Source], float] = {}
        self._requested: dict[tuple[str, Source], Tick] = {}
        self._reconnected: set[tuple[str, Source]] = set()  # until a price of theirs is pushed again

    async def run(self) -> None:
        """Check all symbols in turn, for ever."""
        while True:
            due = [key for key in self._keys() if self._due_at(key) <= trio.current_time()]
            for key in due:
                if key[0] in self._stream.subscriptions:
                    await self._check(key)
            soonest = min(
                (self._due_at(key) for key in self._keys()), default=trio.current_time() + self._stale_seconds
            )
            await trio.sleep(max(_LEAST_WAIT, min(self._stale_seconds, soonest - trio.current_time())))

    def _keys(self) -> list[tuple[str, Source]]:
        """Return the symbols and sources to check. A lost connection needs no check, nor does a stream without subscribers."""
        keys = [(symbol, source) for symbol in self._stream.subscriptions for source in self._sources]
        self._reconnected.intersection_update(keys)
        for memory in (self._checked_at, self._requested):
            for key in memory.keys() - set(keys):
                del memory[key]
        return [key for key in keys if self._stream.expects_prices(key[0])]

    def _due_at(self, key: tuple[str, Source]) -> float:
        pushed = self._stream.last_ticks.get(key)
        subscribed_at, checked_at = self._stream.subscriptions[key[0]], self._checked_at.get(key, 0.0)
        return max(subscribed_at, checked_at, 0.0 if pushed is None else pushed.at) + self._stale_seconds

    async def _check(self, key: tuple[str, Source]) -> None:
        pushed, before = self._stream.last_ticks.get(key), self._requested.get(key)
        if before is None or (pushed is not None and pushed.at >= before.at):
            self._reconnected.discard(key)
            before = pushed
        self._checked_at[key] = trio.current_time()
        try:
            tick = await self._read(*key)
        except ExchangeError:
            return  # the next check comes after `stale_seconds`
        if self._stream.last_ticks.get(key) is not pushed or key[0] not in self._stream.subscriptions:
            return
        self._requested[key] = tick
        self._stream.publish(tick)
        if before is None or before.price == tick.price or key in self._reconnected:
            return
        await trio.sleep(min(_GRACE_SECONDS, self._stale_seconds / 2))
        if self._stream.last_ticks.get(key) is pushed and self._stream.expects_prices(key[0]):
            self._reconnected.add(key)
            self._stream.reconnect(key[0], f"{key[0]}: the {key[1]} price moved, but was not pushed")
