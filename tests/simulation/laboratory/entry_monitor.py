"""Check the entries of a world after every booking and price.

An entry that may be filled has its intent in the store, and the running process lists it. It is executed at most once, counted
once, and gone soon after its deadline. Its outcome is true.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Protocol, TypeAlias

import trio
from inspection.paper import working_entries

from simulation.laboratory.fault_schedule import FaultSchedule
from trailing.core.entries import Entry
from trailing.core.entry_orders import EntryOrder
from trailing.core.model import Position, Side
from trailing.core.record import StopRecord
from trailing.exchanges.paper import PaperExchange
from trailing.exchanges.paper.transport import LogEntry
from trailing.protection.waves.entry_outcomes import EntryOutcome, NotEntered, WorkingEntry
from trailing.protection.waves.outcomes import Exited, Protected, TimedOut
from trailing.stores.port import AddIntent, CloseStop, SaveStop, SettleIntent, StoreWrite

GONE_AFTER: Final = 150.0
"""Undisturbed seconds after its deadline within which an entry is cancelled."""

ReportViolation: TypeAlias = Callable[[str, str], None]


class ListsEntries(Protocol):
    """The part of a manager that is checked here."""

    def entries(self) -> Mapping[tuple[str, Side], WorkingEntry]:
        """Return every entry of which more may be filled."""


@dataclass(eq=False)
class HandIn:
    """An entry that the bot has handed in.

    Args:
        until: when it must not rest any more, in seconds of the world.
        cancelled_at: when its call is cancelled from outside, if it has not ended by then.
        order_id: the client order id of its executed order, or None.
        is_settled: whether its outcome said that nothing more of it can be filled.
    """

    entry: Entry
    until: float
    cancelled_at: float
    order_id: str | None = None
    is_settled: bool = False

    def __str__(self) -> str:
        return f"{self.entry.side} {self.entry.symbol}, {self.entry.quantity} at {self.entry.limit or 'market'}"


class EntryMonitor:
    """Compare the entries of the process and of the store with the true state.

    Args:
        manager: returns the manager of the running process, or None.
        was_added_to: whether a person added to a position, so that its lists show more than the entry.
        report_violation: called with the class of a violation and its details.
    """

    def __init__(
        self,
        fault_schedule: FaultSchedule,
        manager: Callable[[], ListsEntries | None],
        was_added_to: Callable[[tuple[str, Side]], bool],
        report_violation: ReportViolation,
    ) -> None:
        self._fault_schedule, self._manager = fault_schedule, manager
        self._was_added_to, self._report_violation = was_added_to, report_violation
        self._exchange: PaperExchange
        self._handed_in: list[HandIn] = []
        self._orders: dict[str, EntryOrder] = {}  # the executed ones in their true state, by client order id
        self._of_order: dict[str, HandIn] = {}
        self._intents: dict[str, tuple[str, Side]] = {}  # the open ones, by client order id of the entry
        self._identities: dict[str, str] = {}  # of the positions, by client order id of the entry
        self._stop_ids: set[str] = set()  # of the stops that entries on record carry
        self._added_to: set[str] = set()  # the entries whose position lists show larger, by client order id
        self._reported: set[tuple[str, str]] = set()

    def set_exchange(self, exchange: PaperExchange) -> None:
        """Set the exchange to check."""
        self._exchange = exchange

    @property
    def executed(self) -> int:
        """The number of executed entries."""
        return len(self._orders)

    def identity(self, client_order_id: str) -> str:
        """Return the identity of the position that an entry opens."""
        return self._identities.get(client_order_id, client_order_id)

    def stop_price(self, client_order_id: str) -> Decimal | None:
        """Return the initial stop with which an entry was handed in."""
        one = self._of_order.get(client_order_id)
        return None if one is None else one.entry.stop_price

    def filled(self, client_order_id: str) -> Decimal:
        """Return the true filled quantity of an entry."""
        order = self._orders.get(client_order_id)
        return Decimal(0) if order is None else order.filled

    # Input.

    def note_handed_in(self, entry: Entry, deadline: float, cancelled_after: float) -> HandIn:
        """Take an entry that the bot hands in. `cancelled_after`: seconds until its call is cancelled from outside."""
        now = trio.current_time()
        one = HandIn(entry, now + min(deadline, cancelled_after), now + cancelled_after)
        self._handed_in.append(one)
        return one

    def was_cancelled(self, key: tuple[str, Side]) -> bool:
        """Whether an executed entry of a key was cancelled from outside."""
        now = trio.current_time()
        return any(
            one.order_id is not None and now >= one.cancelled_at and (one.entry.symbol, one.entry.side) == key
            for one in self._handed_in
        )

    def process_died(self) -> None:
        """Expect the next process to cancel every entry."""
        for one in self._handed_in:
            one.until = min(one.until, trio.current_time())

    def note_outcome(self, one: HandIn, outcome: EntryOutcome) -> None:
        """Check an outcome against the true state."""
        order = None if one.order_id is None else self._orders[one.order_id]
        filled = Decimal(0) if order is None else order.filled
        if isinstance(outcome, TimedOut):
            one.until = min(one.until, trio.current_time())
            self._check_counted(one, outcome, filled)
            return
        one.is_settled = True
        if order is not None and order.is_working:
            self._report_violation("5. an entry works after its outcome", f"{one}: {outcome}")
        if isinstance(outcome, NotEntered):
            if filled:
                self._report_violation("5. an entry that was filled is not entered", f"{one}: {filled}, {outcome}")
            return
        key = (one.entry.symbol, one.entry.side)
        self._check_counted(one, outcome, filled)
        if (
            order is not None
            and outcome.unfilled != order.unfilled
            and not self._may_show_more(order.client_order_id, key)
        ):
            about = f"{one}: {outcome.unfilled} instead of {order.unfilled}"
            self._report_violation("5. an outcome has a wrong unfilled quantity", about)

    def _check_counted(self, one: HandIn, outcome: Protected | Exited | TimedOut, filled: Decimal) -> None:
        assert outcome.unfilled is not None
        counted = one.entry.quantity - outcome.unfilled
        key = (one.entry.symbol, one.entry.side)
        if counted > filled and not self._may_show_more(one.order_id or "", key):
            self._report_violation("FM 45. a fill of an entry was counted twice", f"{one}: {counted} of {filled}")

    def note_order(self, order: EntryOrder) -> None:
        """Take the true state of an entry. Each of those that were handed in is executed at most once."""
        own = order.client_order_id
        is_new = own not in self._orders
        self._orders[own] = order
        if not is_new:
            return
        for one in reversed(self._handed_in):
            if one.order_id is None and not one.is_settled and self._is_of(order, one.entry):
                one.order_id, self._of_order[own] = own, one
                return
        self._report_violation("5. an entry was sent again, or after its outcome", f"{order}")

    def note_attached(self, client_order_id: str) -> None:
        """Take a stop that an entry has placed. Invariant 4: it is on record, under this id."""
        if client_order_id not in self._stop_ids:
            self._report_violation("4. the stop that an entry carries is not on record", client_order_id)

    def note_booking(self, booking: LogEntry) -> None:
        """Take a booking, or a refusal, of the exchange."""
        own = booking.client_order_id
        if booking.operation == "enter" and isinstance(booking.result, Position):
            # The bot enters the same position in another way while the outcome of the entry is unknown.
            opened = (booking.result.symbol, booking.result.side)
            self._added_to.update(unknown for unknown, key in self._intents.items() if key == opened)
        if booking.operation != "place_entry" or own is None:
            return
        if own not in self._intents:
            self._report_violation("4. an entry has no intent in the store", f"{booking}")
        if own in self._orders and not isinstance(booking.result, EntryOrder):
            self._report_violation("5. an entry was sent again", f"{booking}")

    def _is_of(self, order: EntryOrder, entry: Entry) -> bool:
        if entry.limit is not None and order.limit != entry.limit:
            return False
        figures = (order.symbol, order.side, order.quantity)
        identity = entry.id or order.client_order_id
        return figures == (entry.symbol, entry.side, entry.quantity) and identity == self.identity(
            order.client_order_id
        )

    def note_commit(self, entries: Sequence[StoreWrite]) -> None:
        """Take entries that the store has committed."""
        for entry in entries:
            if isinstance(entry, AddIntent) and entry.intent.purpose == "entry":
                self._intents[entry.intent.client_order_id] = (entry.intent.symbol, entry.intent.side)
                self._identities[entry.intent.client_order_id] = entry.intent.identity
            elif isinstance(entry, SettleIntent):
                self._intents.pop(entry.client_order_id, None)
            elif isinstance(entry, (SaveStop, CloseStop)) and entry.record.entry is not None:
                self._note_record(entry.record)

    def _note_record(self, record: StopRecord) -> None:
        facts, key = record.entry, (record.position.symbol, record.position.side)
        assert facts is not None
        if facts.stop_id is not None:
            self._stop_ids.add(facts.stop_id)
        filled = self.filled(facts.id)
        if facts.entered > filled and not self._may_show_more(facts.id, key):
            about = f"{key[1]} {key[0]}: {facts.entered} of {filled} on record"
            self._report_violation("FM 45. a fill of an entry was counted twice", about)

    def _may_show_more(self, client_order_id: str, key: tuple[str, Side]) -> bool:
        """Return whether a person or the bot added to the position of an entry, which may have ended by now."""
        if self._was_added_to(key):
            self._added_to.add(client_order_id)
        return client_order_id in self._added_to

    # Checks.

    def check(self, symbol: str) -> None:
        """Check the working entries of a symbol: they are on record, listed, and gone soon after their deadline."""
        at, calm, manager = trio.current_time(), self._fault_schedule.undisturbed_seconds(symbol), self._manager()
        for order in working_entries(self._exchange, symbol):
            own, about = order.client_order_id, f"{order.side} {symbol}: {order}"
            if own not in self._intents:
                self._report_once("5. an entry works without an intent in the store", own, about)
            if manager is not None:
                listed = manager.entries().get((symbol, order.side))
                if listed is None or listed.client_order_id != own:
                    self._report_once("5. a working entry is not listed", own, about)
            one = self._of_order.get(own)
            if one is not None and min(at - one.until, calm) > GONE_AFTER:
                self._report_once("5. an entry works long after its deadline", own, about)

    def _report_once(self, what: str, own: str, about: str) -> None:
        if (what, own) not in self._reported:
            self._reported.add((what, own))
            self._report_violation(what, about)

    def check_at_rest(self, symbols: Sequence[str], manager: ListsEntries) -> None:
        """Check that no entry is left at the end of the calm time: none works, none is listed, no intent is open."""
        for symbol in symbols:
            for order in working_entries(self._exchange, symbol):
                self._report_violation("5. an entry is left", f"{order.side} {symbol}: {order}")
        for key, entry in manager.entries().items():
            self._report_violation("5. an entry is listed that has ended", f"{key[1]} {key[0]}: {entry}")
        for own in self._intents:
            self._report_violation("4. the intent of an entry that has ended is not settled", own)
