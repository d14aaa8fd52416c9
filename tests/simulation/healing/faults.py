"""The faults of a hostile world: calls of exchange and store that fail for a while, and a stream that is silent."""

from __future__ import annotations

import math
import random
from contextlib import ExitStack
from typing import Final

import trio
from inspection.paper import push_stream_state, updates_silenced

from trailing.errors import EntryRejected, StopRejected, StoreError
from trailing.exchanges.paper import PaperExchange
from trailing.testing.faults import Fails, Fault, Hangs, Refuses, ReplyLost, Slow, Throttles, Unreachable

GROUPS: Final = (
    ("positions", "open_stops"),
    ("positions",),
    ("open_stops",),
    ("place_stop", "amend_stop"),
    ("find_stop", "find_entry"),
    ("cancel_stop", "cancel_entry"),
    ("place_entry",),
    ("close_position",),
    ("price",),
    ("candles",),
)
"""Operations that fail together."""

REFUSED: Final = frozenset({"place_stop", "amend_stop", "cancel_stop", "close_position", "place_entry", "cancel_entry"})
"""The operations that an exchange may refuse."""


class CallOutages:
    """The operations that fail, each until a time. It is a `CallFaults`.

    Attributes:
        store_failed_at: when a call of the store last failed, in seconds of the world.
    """

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(f"{seed} call outages")
        self._faults: dict[str, tuple[float, Fault]] = {}
        self._store_fails: frozenset[str] = frozenset()
        self._store_fails_until = 0.0
        self.store_failed_at: float = -math.inf
        self.outage: int = 0
        self.is_unreachable: bool = False

    def begin(self) -> str:
        """Let a group of operations fail for a while."""
        draw, group = self._draw, self._draw.choice(GROUPS)
        faults: list[Fault] = [Unreachable(), ReplyLost(), Hangs(), Hangs(booked=True), Throttles(2.0), Slow(1.5)]
        if set(group) <= REFUSED:
            error = EntryRejected if group == ("place_entry",) else StopRejected
            faults.append(Refuses(error("refused by the simulation")))
        fault, seconds = draw.choice(faults), draw.choice((0.5, 3.0, 20.0, 90.0))
        self._faults.update(dict.fromkeys(group, (trio.current_time() + seconds, fault)))
        return f"{' and '.join(group)}: {fault} for {seconds:g} s"

    def begin_of_store(self) -> str:
        """Let the store's commits fail for a while, and sometimes its reading too, as at a restart."""
        seconds = self._draw.choice((1.0, 10.0, 30.0))
        self._store_fails = frozenset({"commit", "load"} if self._draw.random() < 0.3 else {"commit"})
        self._store_fails_until = trio.current_time() + seconds
        return f"{' and '.join(sorted(self._store_fails))} for {seconds:g} s"

    def end(self) -> None:
        """End all faults."""
        self._faults.clear()
        self._store_fails_until = 0.0

    def fault(self, operation: str, _symbol: str | None, _number: int, /) -> Fault | None:
        """Return the fault of a call of the exchange that is made now, or None."""
        until, fault = self._faults.get(operation, (0.0, None))
        return fault if trio.current_time() < until else None

    def store_fault(self, operation: str, _symbol: str | None, _number: int, /) -> Fault | None:
        """Return the fault of a call of the store that is made now, or None."""
        if operation not in self._store_fails or trio.current_time() >= self._store_fails_until:
            return None
        self.store_failed_at = trio.current_time()
        return Fails(StoreError("the simulation refuses it"))


class StreamOutages:
    """A stream that is silent without a sign, is disconnected, or only reports that it is."""

    def __init__(self, exchange: PaperExchange) -> None:
        self._exchange = exchange
        self._silence = ExitStack()
        self.is_silent: bool = False

    async def report_loss(self, seconds: float) -> None:
        """Report that the stream is lost, and after some seconds that it is back. No update is lost."""
        push_stream_state(self._exchange, connected=False)
        await trio.sleep(seconds)
        push_stream_state(self._exchange, connected=True)

    async def lose(self, seconds: float) -> None:
        """Disconnect the stream for some seconds, in which updates are lost."""
        self._exchange.disconnect("by the simulation")
        try:
            await trio.sleep(seconds)
        finally:
            self._exchange.reconnect("by the simulation")

    def silence(self) -> None:
        """Lose every update from now on, without a report."""
        if not self.is_silent:
            self._silence.enter_context(updates_silenced(self._exchange))
            self.is_silent = True

    def end_silence(self) -> None:
        """Push updates again, over a new connection."""
        if self.is_silent:
            self._silence.close()
            self.is_silent = False
            push_stream_state(self._exchange, connected=False)
            push_stream_state(self._exchange, connected=True)
