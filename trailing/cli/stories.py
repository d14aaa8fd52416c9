"""What became of positions, told by their events: behind the live table, `run`'s report and `trailing report`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from trailing.core.model import Position, Side
from trailing.core.record import StopRecord
from trailing.events import (
    Alarm,
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

ENDED = ("closed", "released")


class Story:
    """One position, from its first event to its last.

    Attributes:
        state: ``"opening"``, ``"protected"``, ``"unprotected"``, ``"exiting"``, ``"closed"`` or ``"released"``.
        quantity, entry_price, opened_at: None where no event told them.
        stop_price: the live stop, or the last one.
        moves: acknowledged.
        unprotected_seconds: bare seconds, as far as they were told; `unprotected_time`: by cause.
        filled, proceeds: the fills that were reported, in base and quote units.
        profit: in quote units, before fees; None until it is closed, and where it is not known.
        closed_at: when its last part was filled, which the exchange's lists confirm later; else when it was found closed.
        alarms: how many, failures of moves and exits among them.
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
        self.filled: Decimal = Decimal(0)
        self.proceeds: Decimal = Decimal(0)
        self.profit: Decimal | None = None
        self.closed_at: datetime | None = None
        self._filled_at: datetime | None = None
        self.reason: str | None = None
        self.alarms: int = 0

    @property
    def exit_price(self) -> Decimal | None:
        """The average over the fills that were reported; None where there was none."""
        return self.proceeds / self.filled if self.filled else None

    def know(self, position: Position) -> None:
        """Take what events don't tell from the position itself."""
        self.quantity, self.entry_price = position.quantity, position.entry_price
        self.opened_at = position.opened_at

    def remember(self, record: StopRecord) -> None:
        """Take what events don't tell from its record: that it stands bare is told only when that is over."""
        self.know(record.position)
        if record.unprotected_time.total > self.unprotected_seconds:
            self.unprotected_seconds, self.unprotected_time = record.unprotected_time.total, record.unprotected_time

    def take(self, event: Event) -> None:
        """Go on with what happened next."""
        match event:
            case StopOpened():
                self.state, self.stop_price = "protected", event.price
                self.unprotected_seconds, self.unprotected_time = event.unprotected_seconds, event.unprotected_time
                self.reason = None
                if self.opened_at is None:
                    # Nothing covered it from its opening until now.
                    self.opened_at = event.at - timedelta(seconds=event.unprotected_seconds)
                if self.quantity is None:
                    self.quantity = event.quantity
            case StopMoved():
                self.moves += 1
                self.stop_price = event.price
                self.unprotected_seconds += event.unprotected_seconds
                self.unprotected_time += event.unprotected_time
            case StopFilled() | ExitFilled():
                self.filled += event.quantity
                self.proceeds += event.quantity * event.price
                self._filled_at = None if event.left else event.at
            case OpeningFailed():
                self.state, self.reason = "unprotected", event.error
            case StopGone():
                self.state = "unprotected"
            case ExitStarted():
                self.state, self.reason = "exiting", event.reason
            case PositionClosed():
                self._close(event)
            case PositionReleased():
                self.state, self.closed_at = "released", event.at
                self.reason = "released, its stop stands" if event.stop_is_live else "released, its stop was cancelled"
            case MoveFailed() | ExitFailed() | Alarm():
                self.alarms += 1

    def _close(self, event: PositionClosed) -> None:
        self.state, self.reason = "closed", event.reason
        self.closed_at = event.at if self._filled_at is None else self._filled_at
        self.entry_price = event.entry_price
        self.profit = event.profit
        self.moves = event.moves
        self.unprotected_seconds, self.unprotected_time = event.unprotected_seconds, event.unprotected_time
        if self.quantity is None:
            self.quantity = event.quantity


class Stories:
    """All positions of one account, in the order in which they were first heard of.

    Args:
        positions: known from the start, in the order in which they are to be told.
    """

    def __init__(self, positions: Sequence[Position] = ()) -> None:
        self._all: list[Story] = []
        self._current: dict[tuple[str, Side], Story] = {}
        for position in positions:
            self._begin(position.symbol, position.side).know(position)

    def __iter__(self) -> Iterator[Story]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def of(self, symbol: str, side: Side) -> Story:
        """The latest position of a symbol and side."""
        return self._current.get((symbol, side)) or self._begin(symbol, side)

    def take(self, event: Event) -> None:
        """Tell an event of a position; one of the whole manager is nobody's."""
        if event.symbol is None or event.side is None:
            return
        story = self.of(event.symbol, event.side)
        if story.state in ENDED and isinstance(event, (StopOpened, OpeningFailed, ExitStarted)):
            story = self._begin(event.symbol, event.side)
        story.take(event)

    def know(self, records: Iterable[StopRecord]) -> None:
        """Add what the store holds of open positions."""
        for record in records:
            story = self.of(record.position.symbol, record.position.side)
            if story.state not in ENDED:
                story.remember(record)

    def _begin(self, symbol: str, side: Side) -> Story:
        story = self._current[symbol, side] = Story(symbol, side)
        self._all.append(story)
        return story
