"""Keep the exchange's stream open, and subscribed to the claimed symbols."""

from __future__ import annotations

import trio

from trailing.errors import AuthenticationFailed, ExchangeError, ExchangeUnreachable
from trailing.exchanges.port import StreamState, Update
from trailing.exchanges.updates import waiting
from trailing.protection.clock import pauses
from trailing.protection.feed import Feed
from trailing.protection.records import Records
from trailing.protection.registry import Registry
from trailing.protection.requests import RequestSender

_LOOKS = 4
"""Checks of the stream within the time that it may be silent. The silence is noticed at most one check later."""

_AT_ONCE = 100
"""The most queued updates that are taken before other tasks get their turn. They take a few milliseconds."""

_PROMPT = 2.0
"""The most seconds from a claim to the subscription of its prices without a price gap. After a longer time the candles of the
position are read. To read them for every position of every wave would be too many requests."""


class Stream:
    """Listen to the exchange's stream, and give every update to the feed.

    A stream that ends, or is silent for too long, is opened again.

    Args:
        silence: seconds without any update, above 0, after which it is opened again. They count only while prices are subscribed.
        call_seconds: seconds that the exchange may take to subscribe to prices, above 0.
        prices: whether the exchange's prices are wanted.

    Attributes:
        opened: set once the first try to open the stream has succeeded or failed.
    """

    def __init__(
        self,
        sender: RequestSender,
        records: Records,
        registry: Registry,
        feed: Feed,
        *,
        silence: float,
        call_seconds: float,
        prices: bool,
    ) -> None:
        self._sender, self._exchange = sender, sender.exchange
        self._records, self._registry, self._feed = records, registry, feed
        self._silence, self._call_seconds, self._prices = silence, call_seconds, prices
        self._taken = 0
        self._subscribed: frozenset[str] = frozenset()
        self._lost = False
        self._failed = False
        self.opened: trio.Event = trio.Event()

    async def run(self) -> None:
        """Listen without end. The waits before it is opened again double until an update comes.

        Raises:
            AuthenticationFailed: the exchange does not accept the credentials.
        """
        waits = pauses()
        while True:
            taken = self._taken
            try:
                async with self._exchange.updates() as updates:
                    if self.opened.is_set():
                        self._feed.note_opened()
                    self.opened.set()
                    why = await self._listen(updates)
            except AuthenticationFailed as error:
                why = await self._confirm_refusal(error)
            except ExchangeError as error:
                why = str(error)
                self.opened.set()
            if self._taken != taken:
                waits = pauses()
            self._lose(why)
            await trio.sleep(next(waits))

    async def _listen(self, updates: trio.abc.ReceiveChannel[Update]) -> str:
        """Take updates until the channel ends or is silent for too long. Return which of both, in words."""
        silent = False

        async def end_silence() -> None:
            nonlocal silent
            await self._wait_silent()
            silent = True
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(end_silence)
            if self._prices:
                nursery.start_soon(self._keep_subscribed)
            await self._take_all(updates)
            nursery.cancel_scope.cancel()
        return f"nothing came for {self._silence:g} s" if silent else "it ended"

    async def _take_all(self, updates: trio.abc.ReceiveChannel[Update]) -> None:
        async for first in updates:
            for update in (first, *waiting(updates, _AT_ONCE)):
                self._taken += 1
                if self._lost and not isinstance(update, StreamState):
                    self._feed.take(StreamState(True, self._records.clock.now(), "updates arrive again"))
                self._lost = False
                self._feed.take(update)

    async def _wait_silent(self) -> None:
        looks = 0
        while looks < _LOOKS:
            taken = self._taken
            await trio.sleep(self._silence / _LOOKS)
            looks = looks + 1 if self._taken == taken and self._subscribed else 0

    async def _keep_subscribed(self) -> None:
        """Keep the exchange's subscriptions equal to the claimed symbols. The first failure in a row raises an alarm."""
        self._subscribed = frozenset()
        waits = pauses()
        while True:
            symbols = self._registry.symbols()
            if symbols != self._subscribed:
                try:
                    await self._subscribe(symbols)
                except ExchangeError as error:
                    why = await self._confirm_refusal(error) if isinstance(error, AuthenticationFailed) else str(error)
                    if not self._failed:
                        self._records.alarm(None, "the prices can't be subscribed", why)
                    self._failed = True
                    await trio.sleep(next(waits))
                    continue
                self._note_late(symbols - self._subscribed)
                self._subscribed, self._failed, waits = symbols, False, pauses()
            while self._registry.symbols() == symbols:
                await self._registry.wait_changed()

    def _note_late(self, symbols: frozenset[str]) -> None:
        """Give a price gap to each newly subscribed position without a price for `_PROMPT` seconds."""
        unheard_before = self._records.clock.now() - _PROMPT
        new = (held for held in self._registry.all() if held.state.position.symbol in symbols)
        self._feed.note_missed([held for held in new if held.last_tick_at < unheard_before])

    async def _subscribe(self, symbols: frozenset[str]) -> None:
        with trio.move_on_after(self._call_seconds) as scope:
            await self._exchange.set_subscriptions(symbols)
        if scope.cancelled_caught:
            raise ExchangeUnreachable(f"no answer within {self._call_seconds} s")

    async def _confirm_refusal(self, error: AuthenticationFailed) -> str:
        """Return why the stream goes on although the credentials were refused once.

        Raises:
            AuthenticationFailed: they were refused twice.
        """
        try:
            await self._sender.confirm_refusal(error, self._call_seconds)
        except ExchangeError as unconfirmed:
            return str(unconfirmed)
        finally:
            self.opened.set()
        raise error

    def _lose(self, why: str) -> None:
        if not self._lost:
            self._lost = True
            self._records.alarm(None, "the stream of the exchange is opened again", why)
        self._feed.take(StreamState(False, self._records.clock.now(), why))
