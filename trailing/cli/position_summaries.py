"""Summaries of positions, made from their events, for the live table and the reports."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from trailing.cli.messages import write_plainly
from trailing.core.model import Position, Side
from trailing.core.record import StopRecord
from trailing.events import (
    Alarm,
    EntryEnded,
    EntryFilled,
    EntryPlaced,
    Event,
    ExitFailed,
    ExitFilled,
    ExitStarted,
    MoveFailed,
    OpeningFailed,
    PositionClosed,
    PositionReleased,
    StopFilled,
    StopGone,
    StopMoved,
    StopOpened,
)
from trailing.unprotected import ALWAYS_PROTECTED, UnprotectedTime

ENDED = ("closed", "released", "not entered")


class PositionSummary:
    """The history of one position in figures, up to its latest event.

    Attributes:
        state: ``"entering"``, ``"opening"``, ``"protected"``, ``"unprotected"``, ``"exiting"``, ``"given up"`` (without
            a live stop, and nothing more is tried), ``"closed"``, ``"released"`` or ``"not entered"``.
        slippage: of its entry, in percent, as in `EntryEnded`; None: it was not entered by this library.
        quantity, entry_price, opened_at: None while they are unknown.
        stop_price: the live stop, or the last one.
        moves: how many the exchange has acknowledged.
        unprotected_seconds: seconds without a live stop, as of the latest event or record; `unprotected_time`: by cause.
        filled, proceeds: the sums of the reported fills, in base and quote units.
        profit: in quote units, before fees; None while the position is open, and if it is unknown.
        closed_at: when its last part was filled; without a reported fill, when snapshots confirmed that it is flat.
        unprotected_stretches: the times without a live stop that have ended, as (since, until).
        alarms: the number of alarms, failed moves and failed exits.
    """

    def __init__(self, symbol: str, side: Side) -> None:
        self.symbol: str = symbol
        self.side: Side = side
        self.state: str = "opening"
        self.quantity: Decimal | None = None
        self.entry_price: Decimal | None = None
        self.opened_at: datetime | None = None
        self.stop_price: Decimal | None = None
        self.moves: int = 0
        self.unprotected_seconds: float = 0.0
        self.unprotected_time: UnprotectedTime = ALWAYS_PROTECTED
        self.unprotected_stretches: list[tuple[datetime, datetime]] = []
        self._unprotected_since: datetime | None = None
        self.filled: Decimal = Decimal(0)
        self.proceeds: Decimal = Decimal(0)
        self.profit: Decimal | None = None
        self.closed_at: datetime | None = None
        self._filled_at: datetime | None = None
        self.reason: str | None = None
        self.alarms: int = 0
        self.slippage: Decimal | None = None

    @property
    def exit_price(self) -> Decimal | None:
        """The average price of the reported fills; None without one."""
        return self.proceeds / self.filled if self.filled else None

    def add_position(self, position: Position) -> None:
        """Take quantity, entry price and opening time from the position."""
        self.quantity, self.entry_price = position.quantity, position.entry_price
        self.opened_at = position.opened_at

    def add_record(self, record: StopRecord) -> None:
        """Take unprotected time from the record, because events report it only after it has ended."""
        self.add_position(record.position)
        if record.unprotected_time.total > self.unprotected_seconds:
            self.unprotected_seconds, self.unprotected_time = record.unprotected_time.total, record.unprotected_time

    def add_event(self, event: Event) -> None:
        """Apply the next event."""
        match event:
            case EntryPlaced():
                self.state, self.quantity = "entering", event.quantity
            case EntryFilled():
                self.state = "opening" if self.state == "entering" else self.state
                self.entry_price, self.opened_at = event.price, self.opened_at or event.at
                if self.stop_price is None:
                    self._unprotected_since = self._unprotected_since or event.at
            case EntryEnded():
                self.quantity, self.slippage = event.filled, event.slippage
                if not event.filled:
                    self.state, self.closed_at = "not entered", event.at
                    self.reason = event.reason or "it was not filled"
            case StopOpened():
                if self.stop_price is None and self._unprotected_since is None:
                    self._unprotected_since = event.at - timedelta(seconds=event.unprotected_seconds)
                self.state, self.stop_price = "protected", event.price
                self.unprotected_seconds, self.unprotected_time = event.unprotected_seconds, event.unprotected_time
                self.reason = None
                if self.opened_at is None:
                    # It was unprotected from its opening until now.
                    self.opened_at = event.at - timedelta(seconds=event.unprotected_seconds)
                if self.quantity is None:
                    self.quantity = event.quantity
                self._end_stretch(event.at)
            case StopMoved():
                self.moves += 1
                self.stop_price = event.price
                self.unprotected_seconds += event.unprotected_seconds
                self.unprotected_time += event.unprotected_time
                self._unprotected_since = event.at - timedelta(seconds=event.unprotected_seconds)
                self._end_stretch(event.at)
            case StopFilled() | ExitFilled():
                self.filled += event.quantity
                self.proceeds += event.quantity * event.price
                self._filled_at = None if event.left else event.at
            case OpeningFailed():
                self.state, self.reason = "given up" if event.given_up else "unprotected", write_plainly(event.error)
                self._unprotected_since = self._unprotected_since or event.at
            case StopGone():
                self.state = "unprotected"
                self._unprotected_since = self._unprotected_since or event.at
            case ExitStarted():
                self.state, self.reason = "exiting", event.reason
            case PositionClosed():
                self._close(event)
            case PositionReleased():
                self.state, self.closed_at = "released", event.at
                self._end_stretch(event.at)
                self.reason = (
                    "released, its stop stays live" if event.stop_is_live else "released, its stop was cancelled"
                )
            case MoveFailed() | ExitFailed() | Alarm():
                self.alarms += 1

    def _end_stretch(self, at: datetime) -> None:
        since, self._unprotected_since = self._unprotected_since, None
        if since is not None and since < at:
            self.unprotected_stretches.append((since, at))

    def _close(self, event: PositionClosed) -> None:
        self.state, self.reason = "closed", event.reason
        self.closed_at = event.at if self._filled_at is None else self._filled_at
        self._end_stretch(self.closed_at)
        self.entry_price = event.entry_price
        self.profit = event.profit
        self.moves = event.moves
        self.unprotected_seconds, self.unprotected_time = event.unprotected_seconds, event.unprotected_time
        if self.quantity is None:
            self.quantity = event.quantity


class PositionSummaries:
    """The summaries of one account's positions, in the order of their first events.

    Args:
        positions: positions that come first, in this order.
    """

    def __init__(self, positions: Sequence[Position] = ()) -> None:
        self._all: list[PositionSummary] = []
        self._current: dict[tuple[str, Side], PositionSummary] = {}
        for position in positions:
            self._begin(position.symbol, position.side).add_position(position)

    def __iter__(self) -> Iterator[PositionSummary]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def of(self, symbol: str, side: Side) -> PositionSummary:
        """Return the summary of the latest position of a symbol and side."""
        return self._current.get((symbol, side)) or self._begin(symbol, side)

    def add_event(self, event: Event) -> None:
        """Apply an event to its position; an event of the whole manager changes nothing."""
        if event.symbol is None or event.side is None:
            return
        summary = self.of(event.symbol, event.side)
        if summary.state in ENDED and isinstance(event, (EntryPlaced, StopOpened, OpeningFailed, ExitStarted)):
            summary = self._begin(event.symbol, event.side)
        summary.add_event(event)

    def add_records(self, records: Iterable[StopRecord]) -> None:
        """Add what the store's records hold of open positions."""
        for record in records:
            summary = self.of(record.position.symbol, record.position.side)
            if summary.state not in ENDED:
                summary.add_record(record)

    def _begin(self, symbol: str, side: Side) -> PositionSummary:
        summary = self._current[symbol, side] = PositionSummary(symbol, side)
        self._all.append(summary)
        return summary
