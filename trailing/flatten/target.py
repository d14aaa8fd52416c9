"""The state of one position that an emergency exit closes. It judges snapshots by `trailing.core.evidence` alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal

import trio

from trailing.core.account import AccountSnapshot, Key
from trailing.core.evidence import CONFIRM_AFTER, FlatEvidence, Timing
from trailing.core.inputs import Input, SnapshotTaken
from trailing.core.model import Fill, Side, StopOrder
from trailing.core.prices import EXACT
from trailing.core.retries import BackOff, back_off
from trailing.errors import ExchangeUnreachable, NoSuchPosition, NothingToReduce, OutcomeUnknown
from trailing.flatten.result import ClosedPosition, OpenPosition

_ZERO = Decimal(0)

RETRY_SECONDS = 5.0
"""The most seconds between two tries to close a position."""


class Target:
    """One position, its evidence and its closes. All times are in seconds on the running clock.

    Attributes:
        key: its symbol and side.
        flat: the evidence for and against the position being flat.
        quantity: as it was listed last, in base units; None: it was not listed yet, or not readable.
        is_listed: whether a snapshot lists it that shows our last close. So it has to be closed.
        is_flat: whether it is confirmed flat.
        is_done: whether its orders are cancelled, too.
        stops: its live stops in the last snapshot, ours and foreign.
        unknown: the quantity of each close of unknown outcome, by client order id.
        again_at: the time from which another snapshot can decide.
        tries: the back-off after failed closes and cancels; None: the last one did not fail.
        error: what kept it open, or its orders live; None: nothing did.
        not_cancelled: the orders of the flat position that could not be cancelled, in words.
    """

    def __init__(self, key: Key, timing: Timing) -> None:
        self.key: Key = key
        self.flat: FlatEvidence = FlatEvidence(-math.inf)
        self.quantity: Decimal | None = None
        self.is_listed: bool = False
        self.is_flat: bool = False
        self.is_done: bool = False
        self.stops: tuple[StopOrder, ...] = ()
        self.unknown: dict[str, Decimal] = {}
        self.again_at: float = math.inf
        self.tries: BackOff | None = None
        self.error: Exception | None = None
        self.not_cancelled: tuple[str, ...] = ()
        self._timing = timing
        self._request_in_flight = False
        self._has_closed = False
        self._done_at = -math.inf
        self._filled = self._proceeds = _ZERO
        self._changed = trio.Event()

    @property
    def symbol(self) -> str:
        """The symbol of the position."""
        return self.key[0]

    @property
    def side(self) -> Side:
        """The side of the position."""
        return self.key[1]

    @property
    def due_at(self) -> float:
        """When it may be tried again to close it."""
        return -math.inf if self.tries is None else self.tries.until

    def step(self, what: Input) -> None:
        """Judge a snapshot. While a close is in flight, no snapshot decides."""
        assert isinstance(what, SnapshotTaken), what
        snapshot = what.snapshot
        self.stops = _stops_of(snapshot, self.key)
        if self._request_in_flight:
            return
        if self.is_done and self.stops and snapshot.asked_at >= self._done_at + self._timing.orders_read_lag:
            self.is_done = False  # a stop is listed although its cancellation was acknowledged
        if self.key in snapshot.reports or self.key in snapshot.doubled_positions:
            self._on_listed(snapshot)
        elif snapshot.shows_all_positions:
            self._on_absent(snapshot)
        else:
            self.again_at = snapshot.answered_at + CONFIRM_AFTER
        self.notify()

    def _on_listed(self, snapshot: AccountSnapshot) -> None:
        shown_from = self.flat.shown_from(self._timing)
        if snapshot.asked_at < shown_from:
            self.again_at = shown_from
            return
        self.flat.note_shown()
        self.is_listed, self.is_flat, self.is_done, self.again_at = True, False, False, math.inf
        report = snapshot.reports.get(self.key)
        if report is not None:
            self.quantity = report.quantity
        elif self.quantity is None:
            self.error = ExchangeUnreachable("it is listed twice, or with figures that can't be those of a position")

    def _on_absent(self, snapshot: AccountSnapshot) -> None:
        other: Side = "short" if self.side == "long" else "long"
        is_flipped = not self._timing.hedged and (self.symbol, other) in snapshot.reports
        if is_flipped and snapshot.asked_at >= self.flat.shown_from(self._timing):
            self.flat.note_flat(snapshot.answered_at, "other side")
        verdict = self.flat.judge(
            snapshot.asked_at,
            snapshot.answered_at,
            self._timing,
            is_empty=not snapshot.has_positions,
            has_stop=bool(snapshot.ours.get(self.key)),
            is_closing=self._has_closed,
        )
        self.is_listed = False
        self.is_flat = self.is_flat or verdict.confirmed
        self.again_at = math.inf if self.is_flat else verdict.again_at

    def begin_close(self) -> None:
        """Note that a close is sent."""
        self._request_in_flight = self._has_closed = True

    def on_fill(self, fill: Fill, asked: Decimal, at: float) -> None:
        """Note the fill of a close, as its answer states it.

        Args:
            asked: the quantity of the close.
        """
        self._request_in_flight = False
        self.on_fills_read((fill,), fill.quantity >= asked, at)

    def on_fills_read(self, fills: Sequence[Fill], is_all: bool, at: float) -> None:  # noqa: FBT001 - as `on_fill`
        """Note the fills of a close.

        Args:
            is_all: whether they are of the whole quantity that the close asked for.
        """
        self.is_listed, self.error, self.tries = False, None, None
        for fill in fills:
            self._filled += fill.quantity
            self._proceeds = EXACT.add(self._proceeds, EXACT.multiply(fill.quantity, fill.price))
        if is_all:
            self.flat.note_flat(at, "fill")
        else:
            self.flat.note_changed(at)
            self.flat.note_flat(at, "refusal")
        self.again_at = self.flat.shown_from(self._timing)

    def on_close_failed(self, error: Exception, own_id: str, at: float, spread: float) -> None:
        """Note that a close failed.

        Args:
            own_id: its client order id.
            spread: as for `back_off`.
        """
        self._request_in_flight = False
        if isinstance(error, OutcomeUnknown):
            assert self.quantity is not None
            self.unknown[own_id] = self.quantity
            self.flat.note_changed(at)
        elif isinstance(error, NothingToReduce):
            self.flat.note_flat(at, "refusal" if isinstance(error, NoSuchPosition) else "nothing to reduce")
        if isinstance(error, (OutcomeUnknown, NothingToReduce)):
            self.is_listed, self.again_at = False, max(at, self.flat.shown_from(self._timing))
        self.on_failed(error, at, spread)

    def on_failed(self, error: Exception, at: float, spread: float) -> None:
        """Note that a request for the position failed, so that the next one waits."""
        self.error = error
        self.tries = back_off(self.tries, error, at, spread, most=RETRY_SECONDS)

    def on_done(self, at: float) -> None:
        """Note that the orders of the flat position are cancelled."""
        self.is_done, self._done_at, self.error, self.tries = True, at, None, None
        self.notify()

    def notify(self) -> None:
        """Wake every task that waits for a change."""
        self._changed.set()
        self._changed = trio.Event()

    async def wait_changed(self) -> None:
        """Wait until a snapshot was judged."""
        await self._changed.wait()

    def closed(self) -> ClosedPosition:
        """Return what was closed."""
        price = EXACT.divide(self._proceeds, self._filled) if self._filled else None
        return ClosedPosition(
            self.symbol, self.side, self._filled, None if price is None else round(price, 12).normalize()
        )

    def still_open(self) -> OpenPosition:
        """Return the position with the reason why it is not closed."""
        return OpenPosition(self.symbol, self.side, self.quantity, self._reason())

    def _reason(self) -> str:
        if self._request_in_flight:
            return "a close was sent and not answered; it may be executed"
        if self.unknown:
            return f"a close has an unknown outcome, and the position is not confirmed flat: {self.error}"
        if self.error is not None:
            return str(self.error)
        if self._has_closed:
            return "closed, but not confirmed flat yet"
        if self.is_listed:
            return "no close was sent"
        return "not listed, but not confirmed flat either; a stop of ours is live behind it"


def _stops_of(snapshot: AccountSnapshot, key: Key) -> tuple[StopOrder, ...]:
    foreign = (order for order in snapshot.foreign if (order.symbol, order.side) == key)
    return (*snapshot.ours.get(key, ()), *foreign)
