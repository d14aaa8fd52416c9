"""Take the account's snapshots for every component that needs one.

One reader reads both lists, one pair at a time. A position, a wave or an adoption requests a snapshot and never reads the
lists itself. So the number of reads does not grow with the number of positions, and the cancellation of a caller ends no read
that others wait for.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from itertools import islice
from typing import Final, Protocol, TypeVar

import trio
from msgspec.structs import replace

from trailing.core.account import AccountSnapshot, Owner, SnapshotBuilder
from trailing.core.inputs import Input, SnapshotTaken
from trailing.core.model import StopOrder
from trailing.core.retries import MOST_FINDING, BackOff, back_off
from trailing.errors import AuthenticationFailed, ExchangeError, ExchangeUnreachable
from trailing.exchanges.port import PartialList
from trailing.protection.clock import Clock
from trailing.protection.requests import RequestSender

T = TypeVar("T")

FIRST_PAUSE: Final = 0.25
"""Seconds between the second and the third snapshot of a series. Each further pause is twice as long, up to `LONGEST_PAUSE`."""

LONGEST_PAUSE: Final = 2.0
"""The longest pause, in seconds. Many positions that end at slightly different times need only a few reads because of it."""

LOOKED_UP: Final = 3
"""The most stops to look up by their ids if a list shows no stop of ours."""

AT_ONCE: Final = 125
"""Positions that take an input before other tasks get their turn. They take a few milliseconds. The journal commits between
these batches, so that a thousand positions cost eight or nine commits."""

SORTED_AT_ONCE: Final = 1_000
"""Entries of a list that are sorted before other tasks get their turn."""


class Judge(Protocol):
    """A position that judges each snapshot."""

    def step(self, what: Input, /) -> None: ...


async def step_in_turns(inputs: Iterable[tuple[Judge, Input]]) -> None:
    """Give each position its input. Other tasks get their turn after every `AT_ONCE` positions."""
    for number, (judge, what) in enumerate(inputs):
        if number % AT_ONCE == AT_ONCE - 1:
            await trio.lowlevel.checkpoint()
        judge.step(what)


class AccountReader:
    """Take snapshots of an account.

    Args:
        judges: returns every position that judges snapshots.
        owner_of: returns the owner of an order, by its client order id.
        live_stops: called with a time on the running clock; returns the stops that a list requested then has to show.
        alarm: called with the failure and its cause when a read fails, once until a read succeeds.
        call_seconds: seconds that the exchange may take for a list, after the wait for the rate limit.
        every: seconds after a snapshot until the next one is taken without a request.

    Attributes:
        on_snapshot: called with each snapshot before the positions judge it.
        snapshot: the last snapshot, or None.
    """

    def __init__(
        self,
        sender: RequestSender,
        clock: Clock,
        judges: Callable[[], Iterable[Judge]],
        owner_of: Callable[[str], Owner],
        live_stops: Callable[[float], Iterable[StopOrder]],
        alarm: Callable[[str, str], None],
        *,
        call_seconds: float,
        every: float,
    ) -> None:
        self._sender, self._clock, self._judges = sender, clock, judges
        self._owner_of, self._live_stops, self._alarm = owner_of, live_stops, alarm
        self._call_seconds, self._every = call_seconds, every
        self._wanted_at = math.inf
        self._is_waited_for = False
        self._sleeps_until = -math.inf
        self._wake = trio.Event()
        self._pause = 0.0
        self._taken = trio.Event()
        self._failed: BackOff | None = None
        self.on_snapshot: Callable[[AccountSnapshot], None] = lambda _: None
        self.snapshot: AccountSnapshot | None = None
        self._begun = self._number = 0  # the number of reads begun, and which of them gave `snapshot`
        sender.slots.count_stops = self.count_stops

    @property
    def wanted_at(self) -> float:
        """The time from which the next snapshot is wanted, in seconds on the running clock.

        It is never before the end of the pause after the last snapshot. Infinite: none is wanted.
        """
        assert self.snapshot is not None, "it is asked only after the first one"
        return max(self._wanted_at, self.snapshot.answered_at + self._pause)

    def count_stops(self) -> int:
        """Return the known number of live stops of the account. Ours count as of now, others as of the last snapshot."""
        ours = sum(1 for _ in self._live_stops(math.inf))
        return ours if self.snapshot is None else ours + self.snapshot.foreign_stops

    def want(self, at: float, *, is_waited_for: bool = False) -> None:
        """Request a snapshot that is read at this time or later. Never wait.

        Args:
            at: in seconds on the running clock.
            is_waited_for: whether a caller waits for it. The pause after the last snapshot is then at most `FIRST_PAUSE`.
        """
        is_sooner = at < self._wanted_at or (is_waited_for and not self._is_waited_for)
        self._wanted_at = min(self._wanted_at, at)
        self._is_waited_for = self._is_waited_for or is_waited_for
        if is_sooner and at < self._sleeps_until:
            self._wake.set()

    async def read(self) -> AccountSnapshot:
        """Return a snapshot whose reading begins after this call.

        Cancellation: ends the wait. The snapshot is taken all the same.
        """
        wanted = self._begun + 1
        self.want(self._clock.now(), is_waited_for=True)
        while self.snapshot is None or self._number < wanted:
            await self._taken.wait()
        return self.snapshot

    async def run(self) -> None:
        """Take a snapshot whenever one is wanted, and `every` seconds after the last one.

        A failed read is tried again after a back-off. The first failure in a row raises an alarm. It never returns.

        Raises:
            AuthenticationFailed: the exchange does not accept the credentials.
        """
        while True:
            await self._wait()
            await self.take()

    async def _wait(self) -> None:
        while True:
            now = self._clock.now()
            last = -math.inf if self.snapshot is None else self.snapshot.answered_at
            at = min(self._wanted_at, last + self._every)
            pause = min(self._pause, FIRST_PAUSE) if self._is_waited_for else self._pause
            at = max(at, last + pause if self._failed is None else self._failed.until)
            if at <= now:
                return
            self._wake, self._sleeps_until = trio.Event(), at
            with trio.CancelScope(deadline=at):
                await self._wake.wait()
            self._sleeps_until = -math.inf

    async def take(self) -> bool:
        """Take a snapshot now, and have every position judge it.

        Returns:
            Whether the account could be read.

        Raises:
            AuthenticationFailed: the exchange does not accept the credentials.
            LeaseLost: `on_snapshot` raises it if the first snapshot shows stops of another instance.
        """
        self._wanted_at, self._is_waited_for = math.inf, False
        self._begun += 1
        number = self._begun
        is_first = self.snapshot is None or self._clock.now() - self.snapshot.answered_at > 2 * LONGEST_PAUSE
        self._pause = 0.0 if is_first else min(max(FIRST_PAUSE, 2 * self._pause), LONGEST_PAUSE)
        try:
            snapshot = await self._read()
        except AuthenticationFailed:
            raise
        except ExchangeError as error:
            self._note_failure(error)
            return False
        self._failed = None
        before, self.snapshot, self._number = self.snapshot, snapshot, number
        self.on_snapshot(snapshot)
        taken = SnapshotTaken(snapshot)
        await step_in_turns((judge, taken) for judge in tuple(self._judges()))
        del before  # not earlier, because freeing a large snapshot takes as long as judging the next one
        self._taken.set()
        self._taken = trio.Event()
        return True

    def _note_failure(self, error: ExchangeError) -> None:
        now = self._clock.now()
        if self._failed is None:
            self._alarm("the account can't be read", str(error))
        self._failed = back_off(self._failed, error, now, 1.0, most=MOST_FINDING)
        self.want(now)

    async def _read(self) -> AccountSnapshot:
        exchange, asked_at = self._sender.exchange, self._clock.now()
        builder, is_partial = SnapshotBuilder(self._owner_of), dict[str, bool]()
        errors: list[ExchangeError] = []

        async def read(
            operation: str, request: Callable[[], Awaitable[Sequence[T]]], add: Callable[[Sequence[T]], None]
        ) -> None:
            try:
                listed = await self._sender.read(operation, request, self._call_seconds)
                is_partial[operation] = isinstance(listed, PartialList)
                for first in range(0, len(listed), SORTED_AT_ONCE):
                    add(listed[first : first + SORTED_AT_ONCE])
                    await trio.lowlevel.checkpoint()
            except ExchangeError as error:
                errors.append(error)
            except Exception as bug:  # no content of the account may end the manager; an alarm and another try follow
                errors.append(ExchangeUnreachable(f"{operation} can't be read: {type(bug).__name__}: {bug}"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, "open_stops", exchange.open_stops, builder.add_stops)
            nursery.start_soon(read, "positions", exchange.positions, builder.add_positions)
        if errors:
            raise next((error for error in errors if isinstance(error, AuthenticationFailed)), errors[0])
        snapshot = builder.build(
            asked_at,
            self._clock.now(),
            shows_all_stops=not is_partial["open_stops"],
            shows_all_positions=not is_partial["positions"],
        )
        if snapshot.ours or not snapshot.shows_all_stops:
            return snapshot
        return await self._confirm_empty(snapshot)

    async def _confirm_empty(self, snapshot: AccountSnapshot) -> AccountSnapshot:
        """Look up a few of our stops by their ids, because a list shows none of ours.

        Lists were seen empty for seconds while all their entries existed. If the list should show fewer than `LOOKED_UP` stops,
        nothing is looked up here, because their positions do so.

        Returns:
            The snapshot unchanged if none of these stops exists. If one is found, the snapshot has it and counts as incomplete.
            If a look-up fails, the snapshot counts as incomplete and another one is requested.

        Raises:
            AuthenticationFailed: the exchange does not accept the credentials.
        """
        asked_at = snapshot.asked_at
        stops = tuple(islice(self._live_stops(asked_at), LOOKED_UP))
        for stop in stops if len(stops) == LOOKED_UP else ():
            finding = partial(self._sender.exchange.find_stop, stop.symbol, stop.client_order_id)
            try:
                found = await self._sender.read("find_stop", finding, self._call_seconds)
            except AuthenticationFailed:
                raise
            except ExchangeError:
                self.want(self._clock.now())
                return replace(snapshot, shows_all_stops=False)
            if found is not None:
                return replace(snapshot, ours={(found.symbol, found.side): (found,)}, shows_all_stops=False)
        return snapshot
