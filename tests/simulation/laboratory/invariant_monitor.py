"""Check the invariants of a simulated world after every step of exchange and store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from decimal import Decimal

import trio
from inspection.paper import working_entries

from simulation.laboratory.counted_fills import CountedFills
from simulation.laboratory.entry_terms import ATTACHED, ENTRY_FILL
from simulation.laboratory.fault_schedule import FaultSchedule
from simulation.laboratory.position_history import Key, PositionHistory
from trailing.core.model import Fill, Position, StopOrder, Tick
from trailing.core.prices import is_crossed
from trailing.core.record import StopRecord
from trailing.errors import NothingToReduce, WouldTrigger
from trailing.events import Alarm, PositionClosed
from trailing.exchanges.paper import PaperExchange
from trailing.exchanges.paper.transport import LogEntry
from trailing.protection.order_ids import is_ours
from trailing.protection.waves.outcomes import is_untracked
from trailing.stores.port import AddIntent, AppendEvent, CloseStop, Intent, SaveStop, SettleIntent, StoreWrite

ANOTHER_POSITION = "another position has taken the place of one that is protected"
"""The text of the alarm."""

SETTLED_AFTER = 150.0
"""Undisturbed seconds after which every check of a symbol has to hold: two snapshots and some retries."""

LISTED_AFTER = 90.0
"""Undisturbed seconds after which the manager has to list an unprotected position: one snapshot and its latency."""

RECENT_SECONDS = 30.0
"""Seconds for which a disturbance explains that a position is unprotected."""

_UNPROTECTED, _UNREPORTED = "a position is unprotected for too long", "an unprotected position is not listed"
_TWO_STOPS, _LEFTOVER = "a position has two stops for too long", "a stop is left over without a position"
_UNCOVERED = "a part of a position has no stop for too long"
_EXPECTED = (_UNPROTECTED, _UNREPORTED, _TWO_STOPS, _LEFTOVER, _UNCOVERED)


class InvariantMonitor:
    """Take the bookings of the exchange and the commits of the store, and collect violations.

    Args:
        receives_prices: whether the prices of a symbol reach a process that protects a position of it.
        unprotected_error: returns the error of a position that the process lists as unprotected, True if it has no error,
            and False if the process does not list the position.
        had_to_close: whether the last report of a position said that it is open when the process last requested its close.
        explains: returns the cause of unprotected time since a time at which the process cancelled a stop for an allowed reason.

    Attributes:
        broken: the violations, in the order of their discovery.
        events: all bookings, to compare two runs; empty unless `keep_events`.
        histories: the open positions, by symbol and side.
        open_seconds: summed over all positions.
        unprotected_seconds: the part of `open_seconds` without a live stop, by cause.
        steps: the number of checks.
        why_down: the cause of unprotected time while no process runs; None: a process runs.
    """

    def __init__(
        self,
        fault_schedule: FaultSchedule,
        receives_prices: Callable[[str], bool],
        unprotected_error: Callable[[Key], Exception | bool],
        had_to_close: Callable[[Key], bool],
        explains: Callable[[Key, float], str | None],
        *,
        keep_events: bool,
    ) -> None:
        self._fault_schedule, self._receives_prices = fault_schedule, receives_prices
        self._unprotected_error, self._keep_events = unprotected_error, keep_events
        self._had_to_close, self._explains = had_to_close, explains
        self._exchange: PaperExchange
        self._written: dict[str, Intent] = {}  # the open intents, by client order id
        self._wrong_since: dict[tuple[str, Key], float] = {}
        self._ended: dict[Key, bool] = {}
        self._closes: set[str] = set()  # the client order ids of all closes that arrived
        self._closed_as: dict[Key, str] = {}  # the identity of the position that the last close of a key closed
        self._ended_on_record: set[Key] = set()
        # The intents, by client order id, that were open when their process died.
        self._written_by_dead: set[str] = set()
        self._entered: dict[Key, Position] = {}
        self._on_record: dict[Key, str] = {}  # the identity of the last record's position
        self._counted_fills = CountedFills(self.report_violation)
        self._attached: dict[str, Decimal] = {}  # the prices of the stops that entries have placed, by client order id
        self._attached_on_record: set[str] = set()
        self._booked = False
        self.why_down: str | None = "no process"
        self.broken: list[str] = []
        self.events: list[tuple[object, ...]] = []
        self.histories: dict[Key, PositionHistory] = {}
        self.open_seconds: float = 0.0
        self.unprotected_seconds: Counter[str] = Counter()
        self.steps: int = 0

    def set_exchange(self, exchange: PaperExchange) -> None:
        """Set the exchange to check."""
        self._exchange = exchange

    def report_violation(self, what: str, about: str = "") -> None:
        """Add a violation. `what`: the text of its class; `about`: its details."""
        self.broken.append(f"at {trio.current_time():.3f}: {what}: {about}")

    def was_added_to(self, key: Key) -> bool:
        """Return whether a person added to the open position of a key."""
        history = self.histories.get(key)
        return history is not None and history.was_added_to

    def note_attached_soon(self, stops: Iterable[StopOrder]) -> None:
        """Take the stops that an entry has just placed, before the booking of its fill."""
        self._attached |= {order.client_order_id: order.price for order in stops}

    def process_died(self) -> None:
        """Forget the prices that the dead process received, and the ends that are not on record."""
        self.why_down = "dead"
        self._ended = {key: by_us for key, by_us in self._ended.items() if key in self._ended_on_record}
        self._written_by_dead |= self._written.keys()
        for history in self.histories.values():
            history.forget_prices()

    def note_commit(self, entries: Sequence[StoreWrite]) -> None:
        """Take entries that the store has committed."""
        closed = {
            _key_of(one.record): one.record.position.identity
            for one in entries
            if isinstance(one, CloseStop) and not is_untracked(one.record.position)
        }
        for entry in entries:
            if isinstance(entry, AddIntent):
                intent = entry.intent
                self._written[intent.client_order_id] = intent
                self._counted_fills.note_intent(intent)
            elif isinstance(entry, SettleIntent):
                self._written.pop(entry.client_order_id, None)
            elif isinstance(entry, SaveStop):
                self._note_saved(entry.record)
            elif isinstance(entry, CloseStop):
                self._counted_fills.note_record(entry.record)
                self._note_closed(entry.record.position)
            elif isinstance(entry, AppendEvent):
                event = entry.event
                if isinstance(event, Alarm) and event.what == ANOTHER_POSITION and event.symbol and event.side:
                    key = (event.symbol, event.side)
                    self._note_another(key, closed.get(key, self._on_record.get(key)))
                elif isinstance(event, PositionClosed) and event.symbol and event.side:
                    self._counted_fills.check((event.symbol, event.side), event)
        self.steps += 1

    def _note_saved(self, record: StopRecord) -> None:
        key, identity = _key_of(record), record.position.identity
        self._counted_fills.note_record(record)
        if not (record.is_waiting or record.is_abandoned):
            self._on_record[key] = identity
        history = self.histories.get(key)
        for order in record.orders:
            own, live = order.client_order_id, self._exchange.actual(key[0])[0]
            if history is not None and own in self._attached.keys() - self._attached_on_record:
                self._attached_on_record.add(own)
                true = [one.price for one in live if one.client_order_id == own]
                history.note_on_record(order.price, self._attached[own], *true)

    def _note_closed(self, position: Position) -> None:
        """Check that a position whose record is closed has no live stop of ours.

        The record of an earlier position may be closed after another one was opened. Then the other one has no end on record.
        """
        key: Key = (position.symbol, position.side)
        history = self.histories.get(key)
        if history is None or position.identity == self._entered[key].identity:
            self._ended_on_record.add(key)
        if history is not None:  # whether it may be closed is judged elsewhere; its peak is gone with it
            history.note_record_closed(trio.current_time())
        stops, held = self._exchange.actual(position.symbol)
        leftovers = [order for order in stops if order.side == position.side and is_ours(order.client_order_id)]
        if leftovers and position.side not in held:
            self.report_violation("5. a stop was left behind a position whose record is closed", f"{leftovers}")

    def note_booking(self, booking: LogEntry) -> None:
        """Take a booking, or a refusal, of the exchange."""
        self._booked = True
        if self._keep_events:
            self.events.append(
                (booking.at, booking.operation, booking.symbol, booking.client_order_id, str(booking.result))
            )
        if booking.symbol is None:
            return
        if isinstance(booking.result, Position):
            key: Key = (booking.result.symbol, booking.result.side)
            if key not in self.histories:
                self._entered[key] = booking.result
            elif booking.operation == ENTRY_FILL:
                self.histories[key].note_average(booking.result.entry_price)
        if isinstance(booking.result, Fill) and booking.operation == "fill":
            self._counted_fills.note_fill(booking.result)
        own = booking.client_order_id
        if own is not None and booking.operation in ("cancel_stop", "amend_stop") and not is_ours(own):
            self.report_violation("FM 31. an order that isn't ours was touched", f"{booking}")
        if isinstance(booking.result, StopOrder) and booking.operation in ("place_stop", "amend_stop"):
            self._note_stop(booking.result)
        elif isinstance(booking.result, StopOrder) and booking.operation == "amend_by_hand":
            history = self.histories.get((booking.result.symbol, booking.result.side))
            if history is not None:
                history.stop_loosened(booking.result.price)
        elif isinstance(booking.result, StopOrder) and booking.operation == ATTACHED:
            history = self.histories.get((booking.result.symbol, booking.result.side))
            if history is not None:
                history.note_attached(booking.result.client_order_id)
        elif booking.operation == "close_position":
            self._note_close(booking)
        elif isinstance(booking.result, Fill) and booking.result.client_order_id in self._written:
            fill = booking.result
            history = self.histories.get((fill.symbol, fill.side))
            if history is not None and self._written[fill.client_order_id].purpose == "exit":
                history.closed_by_us = fill.client_order_id not in self._written_by_dead
        self.check(booking.symbol)

    def _note_close(self, booking: LogEntry) -> None:
        """Check that a close has its intent, and comes once. A close of unknown outcome is looked up, and not sent again.

        Excuses: the process has to close a position that its last update reports open, if the update of the end comes late, or
        whose entry it sees filled further after that;
        a position that is open on record, if the process that closed it died before it stored the end; and one that the bot
        has handed in again, after it was closed under another identity.
        """
        intent = self._written.get(booking.client_order_id or "")
        if intent is None:
            self.report_violation("4. a close has no intent in the store", f"{booking}")
            return
        key: Key = (intent.symbol, intent.side)
        if intent.client_order_id in self._closes:
            self.report_violation("6. a close was sent twice", f"{intent.side} {intent.symbol}")
        self._closes.add(intent.client_order_id)
        if isinstance(booking.result, Fill):
            self._closed_as[key] = intent.identity
        is_again = self._ended.get(key) and self._closed_as.get(key) == intent.identity
        if isinstance(booking.result, NothingToReduce) and is_again and not self._had_to_close(key):
            self.report_violation("6. a position was closed twice", f"{intent.side} {intent.symbol}")

    def note_sent(self, operation: str, symbol: str | None) -> None:
        """Take a request that leaves for the exchange. The market may be elsewhere when its stop is booked."""
        if operation in ("place_stop", "amend_stop"):
            for history in self.histories.values():
                if history.symbol == symbol:
                    history.was_crossed_when_sent = self._is_crossed(history)

    def _is_crossed(self, history: PositionHistory) -> bool:
        """Whether the market is at or beyond the tightest stop of a position."""
        tightest, price = history.tightest, self._exchange.actual_price(history.symbol)
        return tightest is not None and is_crossed(history.side, price, tightest)

    def _note_stop(self, order: StopOrder) -> None:
        if order.client_order_id not in self._written:
            self.report_violation("4. an order has no intent in the store", f"{order}")
        if order.callback is not None:
            return
        history = self.histories.get((order.symbol, order.side))
        if history is None:
            return
        if history.was_crossed_when_sent or self._is_crossed(history):
            history.tightest = None  # excuse: beyond the market the exchange takes only a looser stop
        asked = self._written[order.client_order_id].price if order.client_order_id in self._written else None
        if asked is not None and asked == history.tightest:
            history.tightest = (
                None  # excuse: the exchange may round a stop that is placed anew where a person has put it
            )
        wrong = history.stop_booked(order.price)
        if wrong is not None:
            self.report_violation("2. a stop was loosened", f"{order.side} {order.symbol} {wrong}")

    def _note_another(self, key: Key, identity: str | None) -> None:
        """Take a position that the process treats as another one than the recorded one of that identity.

        Excuses: the process is right if the recorded position has ended. It can't distinguish them if a person added to the
        position, which changes its entry price, and its stop was lost without an update.
        """
        history = self.histories.pop(key, None)
        is_another = identity is not None and key in self._entered and identity != self._entered[key].identity
        if history is not None and not (is_another or history.was_added_to) and history.ever_protected:
            self.report_violation("FM 15. a position was treated as another one, but is the same", f"{key[1]} {key[0]}")
        self.check(key[0])
        if history is not None and key in self.histories:
            self.histories[key].was_added_to = history.was_added_to
            # What a person added may have made the entry price worse, and the other position begins there.
            self.histories[key].note_average(self._exchange.actual_price(key[0]))

    def take_price(self, tick: Tick) -> None:
        """Take a price of the market."""
        at, must_check = trio.current_time(), self._booked or bool(self._wrong_since)
        for side in ("long", "short"):
            history = self.histories.get((tick.symbol, side))
            if history is not None:
                history.take_price(tick.price, at, self._receives_prices)
                must_check = must_check or history.unprotected_since is not None
        if must_check:  # else nothing has changed since the last check, which found no violation
            self._booked = False
            self.check(tick.symbol)

    def check(self, symbol: str) -> None:
        """Check the positions and stops of a symbol."""
        self.steps += 1
        at, calm = trio.current_time(), self._fault_schedule.undisturbed_seconds(symbol)
        stops, held = self._exchange.actual(symbol)
        for side in ("long", "short"):
            key: Key = (symbol, side)
            ours = [order for order in stops if order.side == side and is_ours(order.client_order_id)]
            history = self.histories.get(key)
            if history is not None and side not in held:
                self._end(key, history, at)
                history = None
            elif history is None and side in held:
                leftovers = {order.client_order_id for order in ours}
                history = self.histories[key] = PositionHistory(
                    symbol, key[1], at, self._entered[key].entry_price, leftovers
                )
                self._ended.pop(key, None)
                self._ended_on_record.discard(key)
            plain = [order for order in ours if order.callback is None]
            if history is not None and (not plain) != (history.unprotected_since is not None):
                history.note_protection(at, self._cause_of_unprotected_time(history), protected=bool(plain))
            if history is not None:
                history.note_stops(plain)
            # A triggered stop that is not filled protects nothing.
            protecting = [order for order in plain if not order.triggered]
            carried = sum(order.client_order_id in self._attached for order in protecting)
            # The stop that an entry carries may come while ours is being moved.
            if len(protecting) > 2 + min(1, carried) or len(ours) - len(plain) > 1:
                about = f"{side} {symbol}, {len(protecting)} stops, {len(ours) - len(plain)} trailing orders"
                self.report_violation("1. more than two stops, or more than one trailing order", about)
            wrong = self._what_is_wrong(key, history, plain, ours)
            if wrong or self._wrong_since:
                for what in _EXPECTED:
                    self._expect(what, key, calm, at, wrong=what in wrong)

    def _what_is_wrong(
        self, key: Key, history: PositionHistory | None, plain: Sequence[StopOrder], ours: Sequence[StopOrder]
    ) -> Collection[str]:
        """Return the faults that may exist for a moment but must not last. A trailing order does not count as a stop."""
        wrong = list[str]()
        if history is not None and not plain:
            error = self._unprotected_error(key)
            # A plan may keep a position whose price is beyond its stop. The manager then lists it.
            if not isinstance(error, WouldTrigger):
                wrong.append(_UNPROTECTED)
            if not error:
                wrong.append(_UNREPORTED)
        is_entering = bool(working_entries(self._exchange, key[0]))
        if len(plain) > 1 and not is_entering:  # the stop that an entry carries covers what is still to be filled
            wrong.append(_TWO_STOPS)
        if history is None and ours:
            wrong.append(_LEFTOVER)
        covered = max((order.quantity for order in plain), default=None)
        if covered is not None and covered < self._exchange.actual(key[0])[1].get(key[1], Decimal(0)):
            wrong.append(_UNCOVERED)
        return wrong

    def _expect(self, what: str, key: Key, calm: float, at: float, *, wrong: bool) -> None:
        """Report a fault that lasts longer than its time without disturbances."""
        if not wrong:
            self._wrong_since.pop((what, key), None)
            return
        since = self._wrong_since.setdefault((what, key), at)
        if min(at - since, calm) > (LISTED_AFTER if what == _UNREPORTED else SETTLED_AFTER):
            self.report_violation(f"1. {what}", f"{key[1]} {key[0]}, since {since:.3f}")
            self._wrong_since[what, key] = at

    def _end(self, key: Key, history: PositionHistory, at: float) -> None:
        if history.unprotected_since is not None:
            history.note_protection(at, self._cause_of_unprotected_time(history), protected=False)
        self.open_seconds += at - history.entered_at
        self.unprotected_seconds.update(history.unprotected_seconds)
        self._ended[key] = history.closed_by_us
        del self.histories[key]

    def finish(self) -> None:
        """Count the positions that are still open at the end of the world."""
        at = trio.current_time()
        for key, history in tuple(self.histories.items()):
            self._end(key, history, at)

    def _cause_of_unprotected_time(self, history: PositionHistory) -> str:
        """Return the cause of a position's unprotected time until now.

        Excuse: that a position whose stop was filled has grown is known from a snapshot, which disturbances delay.
        """
        since = history.unprotected_since
        if since == history.entered_at or not history.ever_protected:
            return "opening"
        explained = None if since is None else self._explains((history.symbol, history.side), since)
        if explained is not None:
            return explained
        if self.why_down is not None:
            return self.why_down
        calm = self._fault_schedule.unexplained_seconds(history.symbol)
        open_for = 0.0 if since is None else trio.current_time() - since
        if since is None or calm - open_for < RECENT_SECONDS:
            return "disturbed"
        has_grown = history.was_added_to or history.has_grown
        if has_grown and self._fault_schedule.undisturbed_seconds(history.symbol) < open_for:
            return "disturbed"
        if history.crossed_at is not None and trio.current_time() - history.crossed_at < RECENT_SECONDS:
            return "crossed"
        if not self._exchange.market(history.symbol).two_stops and not self._exchange.market(history.symbol).can_amend:
            return "move"
        about = f"{history.side} {history.symbol}, since {since:.3f}"
        self.report_violation("1. a position was unprotected without a cause", about)
        return "unexplained"


def _key_of(record: StopRecord) -> Key:
    return record.position.symbol, record.position.side
