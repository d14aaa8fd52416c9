"""The true history of the exchange, as its process reports it: its relevant bookings and its present state."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import msgspec

from simulation.remote_wire import Operation
from trailing.core.account import PositionReport
from trailing.core.entry_orders import EntryOrder
from trailing.core.model import Fill, Position, StopOrder
from trailing.exchanges.paper.transport import LogEntry


class Entered(msgspec.Struct, frozen=True, tag=True):
    """A position was opened."""

    at: float
    position: Position


class PartEntered(msgspec.Struct, frozen=True, tag=True):
    """A part of an entry was filled. `order`: the entry with all that is filled so far."""

    at: float
    order: EntryOrder


class Attached(msgspec.Struct, frozen=True, tag=True):
    """An entry has placed or resized the stop that it carries."""

    at: float
    order: StopOrder


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
    """A stop or a close reduced a position."""

    at: float
    fill: Fill


Event: TypeAlias = Entered | PartEntered | Attached | Accepted | Withdrawn | Filled


class History(msgspec.Struct, frozen=True):
    """The events since a given number of events.

    Args:
        now: seconds on the exchange's clock, as every `at` in the events.
        number: number of events so far, for the next request.
        events: the new events in the order of booking.
        stops, positions, entries: the state after the last event. Of the entries, those that work.
    """

    now: float
    number: int
    events: tuple[Event, ...]
    stops: tuple[StopOrder, ...]
    positions: tuple[PositionReport, ...]
    entries: tuple[EntryOrder, ...] = ()


HISTORY = Operation(tuple[int], History)
"""Return the `History` since a number of events."""

ENTERED = Operation(tuple[()], tuple[Position, ...])
"""Return every open position as it was entered, because the bot itself stores none."""

TAKEN = Operation(tuple[()], tuple[str, ...])
"""Return the symbols with an open position or a working entry."""

SHAKE = Operation(tuple[int], int, changes=True)
"""Let the market jump beyond the stops of some open positions. Returns their number."""


def to_events(bookings: Iterable[LogEntry]) -> tuple[Event, ...]:
    """Return the events of the exchange's log: bookings, without refusals and reads."""
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
