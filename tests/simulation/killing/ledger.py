"""The ledger: each position according to the exchange's history, and the invariants that the history breaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Set
from decimal import Decimal

from simulation.killing.history import Accepted, Attached, Entered, Event, Filled, History, PartEntered
from trailing.core.entry_orders import EntryOrder
from trailing.core.model import Fill, Position, StopOrder
from trailing.core.prices import is_tighter
from trailing.testing.invariants import Key, never_crossed_zero, nothing_loosened

TWO_STOPS = 2
"""The live stops that are allowed during a move."""


class LedgerEntry:
    """One position from its entry on.

    Attributes:
        remaining: the remaining quantity, in base units; 0: the position has ended.
        stops: the live stops, by client order id.
        tightest: the tightest stop that was ever accepted, or None.
        last_tightest: the price of the tightest live stop at the last event, or None.
        attached: the client order ids of the stops that its entry has placed.
        has_outgrown: whether more is open than its stop covered, which was filled as a whole, and no stop was accepted since.
    """

    def __init__(self, position: Position) -> None:
        self.position: Position = position
        self.remaining: Decimal = position.quantity
        self.stops: dict[str, StopOrder] = {}
        self.tightest: Decimal | None = None
        self.last_tightest: Decimal | None = None
        self.attached: set[str] = set()
        self.has_outgrown: bool = False
        self.filled: Counter[str] = Counter()  # by client order id of a stop

    def keep_stops(self, live: Set[str]) -> None:
        """Forget the stops that the exchange has filled or cancelled. The others may be looser."""
        kept = {own: stop for own, stop in self.stops.items() if own in live}
        if len(kept) < len(self.stops):
            self.stops, self.last_tightest = kept, None

    def __str__(self) -> str:
        return f"{self.position.side} {self.position.symbol} ({self.position.identity})"


class Ledger:
    """The positions of the exchange's history, which it takes piece by piece.

    Args:
        anew: whether positions may be protected anew while stops are live that their bot has no record of. An owner without
            its store may leave the two of a move. So two more stops are allowed, and the new one may be looser. The tightest
            live stop counts.
        one_stop: the symbols of the markets that take one stop only. The old stop is cancelled there before the next one is
            placed, and the stop that the entry has placed may be looser meanwhile.

    Attributes:
        open: the open positions, by symbol and side.
        entered, accepted, ended: the number of entered positions, accepted stops and ended positions.
        number: number of events so far, for the next request to the exchange.
    """

    def __init__(self, *, anew: bool = False, one_stop: Set[str] = frozenset()) -> None:
        self._anew, self._one_stop = anew, one_stop
        self.open: dict[Key, LedgerEntry] = {}
        self.entered: int = 0
        self.accepted: int = 0
        self.ended: int = 0
        self.number: int = 0
        self._owners: dict[str, LedgerEntry] = {}
        self._by_entry: dict[str, LedgerEntry] = {}

    def take(self, history: History) -> list[str]:
        """Take the events since the last call. Returns the invariants that they broke."""
        self.number = history.number
        broken = [each for event in history.events for each in self.note(event)]
        reported = {(report.symbol, report.side): report.quantity for report in history.positions}
        if reported != {key: entry.remaining for key, entry in self.open.items()}:
            broken.append(f"the ledger differs from the exchange, which reports {reported}")
        live = {stop.client_order_id for stop in history.stops}
        for entry in self.open.values():  # no event tells which stops the exchange has cancelled by itself
            entry.keep_stops(live)
        return broken

    def note(self, event: Event) -> Iterable[str]:
        """Take one event. Returns the invariants that it broke."""
        match event:
            case Entered():
                return self._enter(event.position)
            case PartEntered():
                return self._enter_part(event.order)
            case Attached():
                return self._attach(event.order)
            case Accepted():
                return self._accept(event.order)
            case Filled():
                return self._fill(event.fill)
            case _:
                entry = self._owners[event.client_order_id]
                entry.stops.pop(event.client_order_id, None)
                return self._check_tightest(entry)

    def _enter(self, position: Position) -> list[str]:
        key = position.symbol, position.side
        before = self.open.get(key)
        self.entered += 1
        self.open[key] = LedgerEntry(position)
        return [] if before is None else [f"the {before} was entered again, as {position.identity}"]

    def _enter_part(self, order: EntryOrder) -> list[str]:
        """Enlarge the position of an entry. What is filled after its end opens the same position again."""
        key, own = (order.symbol, order.side), order.client_order_id
        entry, before = self._by_entry.get(own), self.open.get(key)
        assert order.average_price is not None
        assert order.first_filled_at is not None
        position = Position(order.symbol, order.side, order.filled, order.average_price, order.first_filled_at, id=own)
        if entry is None:
            entry = self._by_entry[own] = LedgerEntry(position)
            self.entered += 1
        else:
            entry.remaining += order.filled - entry.position.quantity
            entry.position = position
            entry.has_outgrown = entry.has_outgrown or not entry.stops
        self.open[key] = entry
        return [] if before in {None, entry} else [f"the {before} was entered again, as {own}"]

    def _attach(self, order: StopOrder) -> list[str]:
        """Take the stop that an entry carries. It may be looser than ours, and is not ours to be moved."""
        entry = self.open.get((order.symbol, order.side))
        if entry is None:
            return []
        self._owners[order.client_order_id] = entry
        entry.stops[order.client_order_id] = order
        entry.attached.add(order.client_order_id)
        return self._check_number(entry) + self._check_tightest(entry)

    def _check_number(self, entry: LedgerEntry) -> list[str]:
        """Check the number of live stops. Beside the two of a move, there may be the one that the entry has placed."""
        allowed = TWO_STOPS * (1 + self._anew) + len(entry.attached & entry.stops.keys())
        if len(entry.stops) <= allowed:
            return []
        ids = ", ".join(entry.stops)
        return [f"1. the {entry} has {len(entry.stops)} live stops ({ids}), {allowed} are allowed"]

    def _accept(self, order: StopOrder) -> list[str]:
        entry = self.open[order.symbol, order.side]
        self.accepted += 1
        self._owners[order.client_order_id] = entry
        entry.stops[order.client_order_id] = order
        entry.has_outgrown = False
        before = entry.tightest
        broken: list[str] = []
        if before is not None and not self._anew:
            broken += _named(entry, nothing_loosened(order.side, (before, order.price)))
        if before is None or is_tighter(order.side, order.price, than=before):
            entry.tightest = order.price
        return [*broken, *self._check_number(entry), *self._check_tightest(entry)]

    def _check_tightest(self, entry: LedgerEntry) -> list[str]:
        """Check that the tightest live stop was not loosened."""
        if entry.position.symbol in self._one_stop and entry.stops.keys() <= entry.attached:
            return []  # ours is being moved
        tightest: Decimal | None = None
        for stop in entry.stops.values():
            if tightest is None or is_tighter(stop.side, stop.price, than=tightest):
                tightest = stop.price
        if tightest is None or not entry.remaining:
            return []
        before, entry.last_tightest = entry.last_tightest, tightest
        return [] if before is None else _named(entry, nothing_loosened(entry.position.side, (before, tightest)))

    def _fill(self, fill: Fill) -> list[str]:
        key = fill.symbol, fill.side
        entry = self.open.get(key)
        if entry is None:
            return [f"6. no exit makes a position cross zero: {fill} without an open position"]
        broken: list[str] = []
        owner = self._owners.get(fill.client_order_id, entry)
        if owner is not entry:
            broken.append(f"6. an exit of another position: the stop of the {owner} has closed the {entry}")
        before, entry.remaining = entry.remaining, entry.remaining - fill.quantity
        entry.filled[fill.client_order_id] += fill.quantity  # type: ignore[assignment]  # a Counter of quantities
        stop = entry.stops.get(fill.client_order_id)
        if stop is not None and entry.filled[fill.client_order_id] >= stop.quantity:
            entry.has_outgrown = True
            entry.keep_stops(entry.stops.keys() - {fill.client_order_id})
        broken += _named(entry, never_crossed_zero((before, entry.remaining)))
        if entry.remaining <= 0:
            self.ended += 1
            del self.open[key]
        return broken


def _named(entry: LedgerEntry, broken: Iterable[str]) -> list[str]:
    return [f"{each}, of the {entry}" for each in broken]
