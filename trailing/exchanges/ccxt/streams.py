"""What comes from a real exchange unasked: to everybody who listens, of the symbols that are watched."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Set
from contextlib import asynccontextmanager
from typing import Final

import trio

from trailing.core.model import Source, Tick
from trailing.exchanges.ccxt.dialect import Dialect
from trailing.exchanges.ccxt.line import Line
from trailing.exchanges.ccxt.session import Session
from trailing.exchanges.port import StreamState, Update, escaped
from trailing.exchanges.updates import UpdateChannel

_PROMPT = 1.0
"""Seconds that a connection may take to be there first. Where it takes longer, what was pushed meanwhile has to be read."""


PAUSE_SECONDS: Final = 10.0
"""Seconds between two log lines, or two requests for a snapshot, that follow from entries that can't be read."""

_log = logging.getLogger(__name__)


class Audience:
    """Those who listen, and what they want to hear.

    Attributes:
        watched: the symbols whose prices are wanted, and from when on.
        last: what was pushed last, by symbol and source; nothing of symbols that are not watched.
        unreadable: how many prices and other entries were skipped because they could not be read.
    """

    def __init__(self) -> None:
        self._channels: list[UpdateChannel] = []
        self.unreadable: int = 0
        self.watched: dict[str, float] = {}
        self._log_at = -math.inf
        self.last: dict[tuple[str, Source], Tick] = {}

    @property
    def dropped(self) -> int:
        """Ticks that were thinned out for those who listen now and don't keep up."""
        return sum(channel.dropped for channel in self._channels)

    async def set_subscriptions(self, symbols: Set[str]) -> None:
        """The symbols whose prices are wanted from now on, as a whole. Waits for nothing."""
        now = trio.current_time()
        self.watched = {symbol: self.watched.get(symbol, now) for symbol in sorted(symbols)}
        self.last = {key: tick for key, tick in self.last.items() if key[0] in symbols}
        await trio.lowlevel.checkpoint()

    @asynccontextmanager
    async def updates(self) -> AsyncIterator[UpdateChannel]:
        """A channel of what comes from now on; where that isn't everything, the first update says so."""
        channel = UpdateChannel()
        state = self.state()
        if not state.connected:
            channel.push(state)
        self._channels.append(channel)
        try:
            yield channel
        finally:
            self._channels.remove(channel)
            channel.close()

    def state(self) -> StreamState:
        """Whether everything comes that is wanted."""
        raise NotImplementedError

    def is_heard(self, symbol: str) -> bool:  # noqa: ARG002
        """Whether somebody listens, and a symbol's prices should come."""
        return bool(self._channels)

    def hear(self, update: Update) -> None:
        """Hand an update to everybody; a price that nobody asked for, or asks for any more, to nobody."""
        if type(update) is Tick:
            if update.symbol not in self.watched:
                return
            self.last[update.symbol, update.source] = update
        self.tell(update)

    def skip(self, detail: str, *, of_account: bool = False) -> None:  # noqa: ARG002
        """Count something that can't be read, and log it; at most one line in `PAUSE_SECONDS`."""
        self.unreadable += 1
        now = trio.current_time()
        if now >= self._log_at:
            self._log_at = now + PAUSE_SECONDS
            _log.warning("skipped what can't be read (%d so far): %s", self.unreadable, escaped(detail))

    def tell(self, update: Update) -> None:
        """Hand an update to everybody."""
        for channel in self._channels:
            channel.push(update)

    def end(self) -> None:
        """Let every subscriber reach the end of its channel."""
        for channel in self._channels:
            channel.end()


class Streams(Audience):
    """Over the account's connection and those of prices. They are dialled when somebody listens, and stay from then on."""

    def __init__(self, session: Session, dialect: Dialect) -> None:
        super().__init__()
        self._session, self._dialect = session, dialect
        self._account = Line(session, dialect, self, dialect.account_address, account=True)
        self._prices: list[Line] = []
        self._line_of: dict[str, Line] = {}
        self._down: dict[Line, str] = {self._account: "it is being connected"}
        self._started = False
        self._unread = ""
        self._ask_at = -math.inf

    def __repr__(self) -> str:
        lines = [self._account, *self._prices]
        return f"<Streams: {sum(line.is_up for line in lines)} of {len(lines)} up, {len(self.watched)} symbols watched, {self.dropped} ticks dropped, {self.unreadable} entries unreadable>"

    async def set_subscriptions(self, symbols: Set[str]) -> None:
        """The symbols whose prices are wanted from now on, as a whole. Waits for nothing."""
        carried: dict[Line, list[str]] = {line: [] for line in self._prices}
        for symbol, line in self._line_of.items():
            if symbol in symbols:
                carried[line].append(symbol)
        room = [line for line, its in carried.items() for _ in range(self._dialect.symbols_per_line - len(its))][::-1]
        for symbol in sorted(symbols - self._line_of.keys()):
            if not room:
                line = self._new_line()
                carried[line] = []
                room = [line] * self._dialect.symbols_per_line
            carried[room.pop()].append(symbol)
        self._line_of = {symbol: line for line, its in carried.items() for symbol in its}
        for line, its in carried.items():
            line.want(frozenset(topic for symbol in its for topic in self._dialect.topics(symbol)))
        await super().set_subscriptions(symbols)

    @asynccontextmanager
    async def updates(self) -> AsyncIterator[UpdateChannel]:
        """A channel of what is pushed from now on; where a line is not up yet, the first update says so."""
        if not self._started:
            self._started = True
            for line in (self._account, *self._prices):
                self._start(line)
        async with super().updates() as channel:
            yield channel

    def is_heard(self, symbol: str) -> bool:
        """Whether somebody listens, and a symbol's prices are subscribed to."""
        return bool(self._channels) and self._line_of[symbol].is_up

    def redial(self, symbol: str, why: str) -> None:
        """Give up the connection that a symbol's prices should come over."""
        self._line_of[symbol].redial(why)

    def up(self, line: Line, seconds: float) -> None:
        """A line is there. What was pushed while it was not has to be read, once all of them are."""
        was_down = self._down.pop(line, None) is not None
        if (was_down or seconds > _PROMPT) and not self._down:
            self._unread = ""  # the snapshot that is read now shows it
            self.tell(self.state())

    def skip(self, detail: str, *, of_account: bool = False) -> None:
        """Count something that can't be read. Where it was the account's, `look_overdue` asks for a snapshot."""
        super().skip(detail)
        if of_account:
            self._unread = detail

    def look_overdue(self) -> None:
        """Ask for a snapshot where an update of the account can't be read, at most once in `PAUSE_SECONDS`."""
        now = trio.current_time()
        if self._unread and not self._down and now >= self._ask_at:
            self._ask_at = now + PAUSE_SECONDS
            self.tell(StreamState(True, now, f"an update can't be read: {escaped(self._unread)}"))
            self._unread = ""

    def lost(self, line: Line, why: str) -> None:
        """A line is not there."""
        were_up = not self._down
        self._down[line] = why
        if were_up:
            self.tell(self.state())

    def state(self) -> StreamState:
        """Whether all lines are up that were once up, or should be by now."""
        return StreamState(not self._down, trio.current_time(), "; ".join(sorted(set(self._down.values()))))

    def _new_line(self) -> Line:
        line = Line(self._session, self._dialect, self, self._dialect.price_address)
        self._prices.append(line)
        if self._started:
            self._start(line)
        return line

    def _start(self, line: Line) -> None:
        self._session.start_service(line.run, name=repr(line))
