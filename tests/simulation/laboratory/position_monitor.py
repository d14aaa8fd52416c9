"""Check a process's positions in a harsh world against the true state.

The checks are those of invariants 2, 8, 9 and 12, and of exits. The docstring of each method has its excuses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence, Set
from decimal import Decimal
from typing import Final

import trio
from inspection import Claim, Inspection

from simulation.laboratory.bugs import is_laboratory_bug
from simulation.laboratory.entry_terms import ENTRY_FILL
from simulation.laboratory.fault_log import FaultLog
from simulation.laboratory.fault_schedule import FaultSchedule
from simulation.laboratory.harsh_rates import COARSE_TICKS, EMPTY_SECONDS
from simulation.laboratory.invariant_monitor import SETTLED_AFTER
from simulation.laboratory.position_history import Key
from simulation.laboratory.process_view import ProcessView
from simulation.laboratory.request_monitor import ReportViolation
from simulation.laboratory.scenario import TICK, Scenario
from simulation.laboratory.tracks import Track
from trailing.core.model import Fill, Position, Side, StopOrder, Tick
from trailing.core.prices import is_crossed, is_tighter
from trailing.exchanges.paper import PaperExchange
from trailing.exchanges.paper.transport import LogEntry
from trailing.protection.order_ids import is_ours
from trailing.stores.port import CloseStop, SaveStop, StoreWrite

LISTED_WITHIN: Final = 15.0
"""Seconds after which a position that was handed in must be in one of the manager's lists."""

EXIT_WITHIN: Final = 240.0
"""Seconds within which an exit may follow its justifying price: closing may be throttled for 90 s twice, and back off."""


class PositionMonitor:
    """Compare the positions of the process with the true state.

    Args:
        exchange: the true state.
        was_cancelled: whether an entry of a position was cancelled from outside.
        report_violation: called with the class of a violation and its details.
    """

    def __init__(
        self,
        scenario: Scenario,
        exchange: PaperExchange,
        fault_schedule: FaultSchedule,
        log: FaultLog,
        process_view: ProcessView,
        was_cancelled: Callable[[Key], bool],
        report_violation: ReportViolation,
    ) -> None:
        self._was_cancelled = was_cancelled
        self._scenario, self._exchange, self._fault_schedule = scenario, exchange, fault_schedule
        self._log, self._process_view, self._report_violation = log, process_view, report_violation
        self._tracks: dict[Key, Track] = {}
        self._orders: set[str] = set()  # the client order ids of all stops and trailing orders that were booked for us
        self._stops: dict[str, Key] = {}  # the position of each plain stop, by client order id
        self._ended: dict[str, Track] = {}  # the positions that have ended, by identity
        self._frozen: set[Claim] = set()
        self._unlisted: set[Claim] = set()

    # Input.

    def note_handed_in(self, key: Key) -> None:
        """Take a position that the bot hands in."""
        track = self._tracks.get(key)
        if track is not None:
            track.handed_in = True

    def process_died(self) -> None:
        """Reset the state of the dead process. The next one starts with the records only."""
        for track in self._tracks.values():
            track.handed_in, track.unlisted_since = track.on_record, None
            track.cancelled_at = -math.inf  # the next process can't know why the stop is gone
        self._frozen.clear()
        self._unlisted.clear()

    def note_commit(self, entries: Sequence[StoreWrite]) -> None:
        """Take entries that the store has committed."""
        for entry in entries:
            if isinstance(entry, (SaveStop, CloseStop)):
                position = entry.record.position
                track = self._tracks.get((position.symbol, position.side))
                if track is not None and track.position.identity == position.identity:
                    track.on_record = isinstance(entry, SaveStop)
                    if not track.on_record:
                        self._note_closed(track)

    def _note_closed(self, track: Track) -> None:
        """Invariant 12: the record of a position is closed only after the position has ended.

        Both excuses are for an open position whose stop was lost without an update. If a person added to it, which changes
        its entry price, it looks like another position. If the lists show other positions but not this one, and no update
        reported it open, it looks closed.
        """
        symbol, side = track.key
        if side not in self._exchange.actual(symbol)[1]:
            return
        just_cancelled = (
            trio.current_time() - track.cancelled_at < 2 * EMPTY_SECONDS[1]
        )  # the process cancelled the stop itself
        if self._has_stop(track) or just_cancelled or not (track.was_added_to or self._is_missing_unseen(track)):
            self._report_violation("12. the record of an open position was closed", f"{track.position}")
        else:
            track.forget()

    def _is_missing_unseen(self, track: Track) -> bool:
        """Whether lists may recently have left the position out, and no update contradicted them."""
        recently = trio.current_time() - 2 * EMPTY_SECONDS[1]
        struck_at = self._log.struck_at.get(("wrong_lists", None), -math.inf)
        return struck_at > recently and not self._process_view.received_open(*track.key)

    def note_booking(self, booking: LogEntry) -> None:
        """Take a booking, or a refusal, of the exchange."""
        result = booking.result
        if isinstance(result, Position):
            self._note_entry(result, booking.at, is_ours=booking.operation == ENTRY_FILL)
        elif isinstance(result, StopOrder):
            self._note_stop(booking.operation, result)
        elif result is None and booking.operation == "cancel_stop":
            self._note_cancelled(booking)
        elif isinstance(result, Fill) and booking.operation == "fill":
            if is_ours(result.client_order_id) and result.client_order_id not in self._orders:
                self._check_exit(result)
            if result.side not in self._exchange.actual(result.symbol)[1]:
                ended = self._tracks.pop((result.symbol, result.side), None)
                if ended is not None:
                    self._ended[ended.position.identity] = ended

    def _note_entry(self, position: Position, at: float, *, is_ours: bool) -> None:
        """Take an entry. `is_ours`: the library has placed it, so that its intent is on record and it must be listed."""
        key = (position.symbol, position.side)
        track = self._tracks.get(key)
        if track is None:
            market = self._exchange.market(position.symbol)
            track = self._tracks[key] = Track(position, self._scenario.plan, market, at)
            track.handed_in = track.on_record = is_ours
            if is_ours:  # the price that has filled it may be beyond its stop already
                track.take_price(self._exchange.actual_price(position.symbol), at)
                before = self._ended.get(position.identity)
                if before is not None:  # it was closed while its entry was filling, which the manager may not know
                    track.take_price(before.best, at)
        elif is_ours and track.position.identity == position.identity:
            track.entered(position, trio.current_time())
        else:
            track.was_added_to = True

    def _note_stop(self, operation: str, order: StopOrder) -> None:
        track = self._tracks.get((order.symbol, order.side))
        if not is_ours(order.client_order_id):
            return
        self._orders.add(order.client_order_id)
        if order.callback is not None:
            return
        self._stops[order.client_order_id] = (order.symbol, order.side)
        if track is not None:
            track.cancelled_at = -math.inf  # what happens next is this stop's doing
            track.note_stop(order.price, ours=operation in {"place_stop", "amend_stop"})

    def _note_cancelled(self, booking: LogEntry) -> None:
        """Note the time at which the process itself cancelled the last stop of a position."""
        key = self._stops.get(booking.client_order_id or "")
        track = None if key is None else self._tracks.get(key)
        if track is not None and not self._has_stop(track):
            track.cancelled_at = booking.at

    def _has_stop(self, track: Track) -> bool:
        symbol, side = track.key
        return any(
            order.side == side and order.callback is None and is_ours(order.client_order_id)
            for order in self._exchange.actual(symbol)[0]
        )

    def _check_exit(self, fill: Fill) -> None:
        """No exit without a price of the market that is at or beyond a stop which is justified.

        Excuses: the exit may come some time after that price, because closing may be throttled. A plan may close what was
        filled of an entry that is cancelled. And after the end of a position, its entry may be filled further until it is
        cancelled, which is closed at once.
        """
        track = self._tracks.get((fill.symbol, fill.side))
        if track is None:
            return
        if track.position.identity in self._ended:
            return
        if self._scenario.plan.on_entry_cancelled == "close" and self._was_cancelled(track.key):
            return
        if track.crossed_at is None or trio.current_time() - track.crossed_at > EXIT_WITHIN:
            about = f"{fill.side} {fill.symbol} at {fill.price}, the tightest justified stop is {track.justified}"
            self._report_violation("6. a position was closed whose stop was not crossed", about)

    def note_price(self, tick: Tick) -> None:
        """Take a price of the market, before the orders that it triggers."""
        for track in self._of(tick.symbol):
            track.take_price(tick.price, trio.current_time())

    # Checks.

    def check(self, symbol: str, inside: Inspection) -> None:
        """Check the positions of a symbol. `inside`: the manager of the running process."""
        at, claims = trio.current_time(), inside.claims()
        self._check_frozen(claims)
        listed = inside.listed()
        self._check_claims_listed(claims, listed)
        for track in self._of(symbol):
            self._check_listed(track, claims, at, listed=track.key in listed)
            self._check_loosened(track, at)

    def _of(self, symbol: str) -> Iterator[Track]:
        return (track for key, track in self._tracks.items() if key[0] == symbol)

    def _check_frozen(self, claims: Sequence[Claim]) -> None:
        """Invariant 9: no bug in a position task. A bug of the laboratory is raised."""
        for claim in claims:
            if claim.is_frozen and claim not in self._frozen:
                self._frozen.add(claim)
                if claim.error is not None and is_laboratory_bug(claim.error):
                    raise claim.error
                self._report_violation("9. a bug froze a position", f"{claim.key[1]} {claim.key[0]}: {claim.error!r}")

    def _check_claims_listed(self, claims: Sequence[Claim], listed: Set[Key]) -> None:
        """Invariant 12: a claimed position is always in one of the manager's lists until its quantity is 0."""
        for claim in claims:
            if claim.key in listed or not claim.quantity:
                self._unlisted.discard(claim)
            elif claim not in self._unlisted:
                self._unlisted.add(claim)
                self._report_violation(
                    "12. a position is claimed and in no list", f"{claim.key[1]} {claim.key[0]}, {claim.state}"
                )

    def _check_listed(self, track: Track, claims: Sequence[Claim], at: float, *, listed: bool) -> None:
        """Invariant 12: an open position that was handed in is in one of the manager's lists."""
        if listed or not track.handed_in:
            track.unlisted_since = None
            return
        if track.unlisted_since is None:
            track.unlisted_since = at
        if at - track.unlisted_since > LISTED_WITHIN:
            is_exiting = any(claim.key == track.key and claim.state == "exiting" for claim in claims)
            what = "a position that is being closed is listed nowhere" if is_exiting else "a position is listed nowhere"
            self._report_violation(f"12. {what}", f"{track.key[1]} {track.key[0]}, since {track.unlisted_since:.3f}")
            track.unlisted_since = at

    def _check_loosened(self, track: Track, at: float) -> None:
        """Invariant 2: a stop that a person loosened is tightened again.

        Excuses: tightening may take `SETTLED_AFTER` undisturbed seconds; it is impossible while the market is beyond the
        tighter stop; and a market may round a requested price.
        """
        symbol, side = track.key
        live = list(self._triggers_of(symbol, side))
        own, price = track.own, self._exchange.actual_price(symbol)
        if (
            not live
            or own is None
            or is_crossed(side, price, own)
            or any(not is_tighter(side, own, than=one) or abs(own - one) < COARSE_TICKS * TICK for one in live)
        ):
            track.loosened_since = None
            return
        if track.loosened_since is None:
            track.loosened_since = at
        if min(at - track.loosened_since, self._fault_schedule.undisturbed_seconds(symbol)) > SETTLED_AFTER:
            self._report_violation(
                "2. a stop that was loosened by hand is not tightened again", f"{side} {symbol}: {live}, ours was {own}"
            )
            track.loosened_since = at

    def _triggers_of(self, symbol: str, side: Side) -> Iterator[Decimal]:
        """Yield the present trigger prices of our orders of a position, trailing orders included."""
        for order in self._exchange.actual(symbol)[0]:
            trigger = self._exchange.actual_trailing(symbol, order.client_order_id)
            if order.side == side and is_ours(order.client_order_id) and trigger is not None:
                yield trigger

    def check_peak(self, claim: Claim) -> None:
        """Invariant 8: the stored peak is a price that the market had."""
        track = self._tracks.get(claim.key)
        if track is None or track.position.identity != claim.position.identity:
            return
        if is_tighter(claim.key[1], claim.peak, than=track.best):
            about = f"{claim.key[1]} {claim.key[0]} stores {claim.peak}, the best price was {track.best}"
            self._report_violation("8. the stored peak is a price that the market never had", about)
