"""The exchange's stream: listened to, subscribed to what is protected, and opened again where it ends or falls silent."""

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
"""Looks at the stream within the time that it may be silent: one look's time is how exactly that is kept."""

_AT_ONCE = 100
"""Updates that are taken, where so many are there, before other tasks get their turn: some milliseconds of work."""

_PROMPT = 2.0
"""Seconds that a position's prices may take to come after it was claimed. Where they take longer, its candles are read:
a request for each position of a wave, which would be too many for every wave."""


class Stream:
    """Listens to the exchange, and has every update taken.

    Args:
        silence: seconds, above 0, without any update, while prices are subscribed, after which it is opened anew.
        call_seconds: how long the exchange may take to subscribe to prices, above 0.
        prices: whether the exchange's prices are wanted.

    Attributes:
        opened: it was tried to open it, once at least.
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
        """Listen for ever. What ends is opened again, further and further apart until something is heard.

        Raises:
            AuthenticationFailed: the exchange does not take the credentials.
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
        """Take updates until there are no more, or none come. Returns what happened."""
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
                    self._feed.take(StreamState(True, self._records.clock.now(), "it is heard again"))
                self._lost = False
                self._feed.take(update)

    async def _wait_silent(self) -> None:
        looks = 0
        while looks < _LOOKS:
            taken = self._taken
            await trio.sleep(self._silence / _LOOKS)
            looks = looks + 1 if self._taken == taken and self._subscribed else 0

    async def _keep_subscribed(self) -> None:
        """Keep the exchange's subscriptions equal to the symbols that are claimed."""
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
        """Prices of these are heard from now on."""
        unheard_before = self._records.clock.now() - _PROMPT
        new = (held for held in self._registry.all() if held.state.position.symbol in symbols)
        self._feed.note_missed([held for held in new if held.last_tick_at < unheard_before])

    async def _subscribe(self, symbols: frozenset[str]) -> None:
        with trio.move_on_after(self._call_seconds) as scope:
            await self._exchange.set_subscriptions(symbols)
        if scope.cancelled_caught:
            raise ExchangeUnreachable(f"no answer within {self._call_seconds} s")

    async def _confirm_refusal(self, error: AuthenticationFailed) -> str:
        """Return why it goes on although the credentials were refused once. Raises AuthenticationFailed: twice."""
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
