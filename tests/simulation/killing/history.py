"""What truly happened on the exchange, as its process tells it: the bookings that matter, and how it stands after them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import msgspec

from simulation.remote_wire import Operation
from trailing.core.account import PositionReport
from trailing.core.model import Fill, Position, StopOrder
from trailing.exchanges.paper.transport import LogEntry


class Entered(msgspec.Struct, frozen=True, tag=True):
    """A position was opened."""

    at: float
    position: Position


class Accepted(msgspec.Struct, frozen=True, tag=True):
    """A stop was booked, or changed in place."""

    at: float
    order: StopOrder


class Withdrawn(msgspec.Struct, frozen=True, tag=True):
    """A stop was cancelled."""

    at: float
    symbol: str
    client_order_id: str


class Filled(msgspec.Struct, frozen=True, tag=True):
    """A stop or a close took something off a position."""

    at: float
    fill: Fill


Event: TypeAlias = Entered | Accepted | Withdrawn | Filled


class History(msgspec.Struct, frozen=True):
    """What happened since some number of events.

    Args:
        now: seconds on the exchange's clock, as every `at` in the events.
        number: of events so far; to be asked with the next time.
        events: in the order of booking.
        stops, positions: as they stand after the last event.
    """

    now: float
    number: int
    events: tuple[Event, ...]
    stops: tuple[StopOrder, ...]
    positions: tuple[PositionReport, ...]


HISTORY = Operation(tuple[int], History)
"""From a number of events to the `History` since then."""

ENTERED = Operation(tuple[()], tuple[Position, ...])
"""Every open position, as it was entered: the bot's own books, if it had any."""

SHAKE = Operation(tuple[int], int, changes=True)
"""Let the market jump beyond the stops of so many open positions. Returns how many there were."""


def to_events(bookings: Iterable[LogEntry]) -> tuple[Event, ...]:
    """What of the exchange's log is an event here: what was booked, and neither refused nor only read."""
    events: list[Event] = []
    for booking in bookings:
        result = booking.result
        if isinstance(result, Position):
            events.append(Entered(booking.at, result))
        elif isinstance(result, StopOrder) and booking.operation in {"place_stop", "amend_stop"}:
            events.append(Accepted(booking.at, result))
        elif booking.operation == "cancel_stop" and result is None:
            assert booking.symbol is not None
            assert booking.client_order_id is not None
            events.append(Withdrawn(booking.at, booking.symbol, booking.client_order_id))
        elif isinstance(result, Fill) and booking.operation == "fill":
            events.append(Filled(booking.at, result))
    return tuple(events)
