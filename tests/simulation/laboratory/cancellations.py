"""Invariant 11 in a harsh world: a live stop is cancelled only for an allowed reason, judged by the true state."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import trio

from simulation.laboratory.harsh_rates import COARSE_TICKS
from simulation.laboratory.leftovers import Leftovers
from simulation.laboratory.process_view import ProcessView
from simulation.laboratory.request_monitor import STARTS_WITHIN, ReportViolation, RequestMonitor
from simulation.laboratory.scenario import TICK
from trailing.core.model import Side, StopOrder
from trailing.core.plan import TrailPlan
from trailing.core.prices import is_tighter
from trailing.exchanges.paper import PaperExchange
from trailing.exchanges.paper.transport import LogEntry
from trailing.protection.order_ids import is_ours

UNNOTICED_SECONDS: Final = 120.0
"""Seconds for which the end of a stop may go unnoticed without an update: a snapshot each minute, and retries."""


class Cancellations:
    """Judge each cancellation of a plain stop of ours.

    A cancellation is allowed in these cases, as in the design:

    - the position of the stop is flat, whether or not another position is in its place;
    - another live stop of the position is at least as tight;
    - the market takes one stop only, and placing is not throttled;
    - the plan cancels late orders, and the position is being opened;
    - the stop was triggered and not filled, so that it protects nothing (failure mode 52).

    Args:
        exchange: the true state.
        process_view: the data that the process has received.
        leftovers: the stops of positions that have ended. They may be cancelled at any time.
        requests: the requests of the process.
        is_opening: whether a position is being opened.
    """

    def __init__(
        self,
        exchange: PaperExchange,
        plan: TrailPlan,
        process_view: ProcessView,
        leftovers: Leftovers,
        requests: RequestMonitor,
        is_opening: Callable[[str, Side], bool],
        report_violation: ReportViolation,
    ) -> None:
        self._exchange, self._plan = exchange, plan
        self._process_view, self._leftovers, self._requests = process_view, leftovers, requests
        self._is_opening, self._report_violation = is_opening, report_violation
        self._stops: dict[str, StopOrder] = {}
        self._ended: dict[str, tuple[StopOrder, float]] = {}
        self._allowed: set[str] = set()
        self._asked_late: set[str] = set()
        self._booked: dict[tuple[str, Side], float] = {}  # time at which a stop of a position was last cancelled
        self._only_ones: dict[tuple[str, Side], float] = {}  # time of the reply, for the only stop of a position
        self._explained: dict[tuple[str, Side], tuple[float, str]] = {}  # time and cause of the last allowed one

    def note_asked(self, order: StopOrder) -> None:
        """Take a cancellation that the process requests.

        Excuse: the reason may hold at the request and no longer at the booking.
        """
        stop = self._stops.get(order.client_order_id)
        if stop is None or self._why_not(stop) is None:
            self._allowed.add(order.client_order_id)
        if self._is_late(order):
            self._asked_late.add(order.client_order_id)

    def note_booking(self, booking: LogEntry) -> None:
        """Take a booking, or a refusal, of the exchange."""
        order, own = booking.result, booking.client_order_id
        if isinstance(order, StopOrder) and is_ours(order.client_order_id) and order.callback is None:
            self._stops[order.client_order_id] = order
        elif own in self._stops and booking.operation == "cancel_by_hand":
            self._ended[own] = (self._stops.pop(own), booking.at)
        elif own in self._stops and booking.operation == "cancel_stop" and booking.result is None:
            cancelled = self._stops.pop(own)
            self._booked[cancelled.symbol, cancelled.side] = booking.at
            wrong = self._why_not(cancelled)
            if wrong is not None and own not in self._allowed:
                self._report_violation(f"11. {wrong}", f"{cancelled}")
            elif self._takes_two(cancelled.symbol):
                is_late = self._is_late(cancelled) or own in self._asked_late
                self._explained[cancelled.symbol, cancelled.side] = (booking.at, "opening" if is_late else "disturbed")

    def note_answered(self, order: StopOrder) -> None:
        """Take the reply to a cancellation.

        Excuse: if the reply is lost, the process has to read the outcome first.
        """
        if not self._takes_two(order.symbol):
            self._only_ones[order.symbol, order.side] = trio.current_time()

    def process_died(self) -> None:
        """Forget the cancellations of the dead process, because the next one does not continue them."""
        self._only_ones.clear()

    def check(self) -> None:
        """Check that a stop or an exit is tried after cancelling the only stop, and within `STARTS_WITHIN` of the reply."""
        for (symbol, side), at in tuple(self._only_ones.items()):
            stops, held = self._exchange.actual(symbol)
            has_stop = any(order.side == side and is_ours(order.client_order_id) for order in stops)
            if side not in held or has_stop or self._requests.tried_at(symbol) >= self._booked.get((symbol, side), at):
                del self._only_ones[symbol, side]
            elif trio.current_time() - at > STARTS_WITHIN:
                del self._only_ones[symbol, side]
                self._report_violation(
                    "11. the only stop was cancelled and none was tried in its place", f"{side} {symbol}"
                )

    def _is_late(self, order: StopOrder) -> bool:
        return self._plan.on_late_order == "cancel" and self._is_opening(order.symbol, order.side)

    def explains(self, symbol: str, side: Side, at: float) -> str | None:
        """Return why a position is unprotected since a time at which the process cancelled a stop of it for an allowed reason.

        Returns:
            ``"opening"``: its plan cancels late orders. ``"disturbed"``: the process took another stop for live whose end was not
            reported to it. None: no stop was cancelled then.
        """
        cancelled_at, cause = self._explained.get((symbol, side), (-math.inf, ""))
        return cause if cancelled_at == at else None

    def _takes_two(self, symbol: str) -> bool:
        market = self._exchange.market(symbol)
        return market.two_stops or market.can_amend

    def _why_not(self, order: StopOrder) -> str | None:
        """Return why the cancellation of a stop is not allowed now; None: it is allowed."""
        stops, held = self._exchange.actual(order.symbol)
        if order.side not in held or self._leftovers.is_left_over(order) or self._is_superseded(order, stops):
            return None
        if any(one.client_order_id == order.client_order_id and one.triggered for one in stops):
            return None
        if self._is_late(order):
            return None
        if self._takes_two(order.symbol):
            return "a live stop was cancelled for no allowed reason"
        if self._requests.is_throttled("place_stop", order.symbol):
            return "the only stop was cancelled while placing was throttled"
        return None

    def _is_superseded(self, order: StopOrder, live: tuple[StopOrder, ...]) -> bool:
        """Whether another stop of the position is at least as tight.

        Excuses: the process may use the last price it received of a stop, and the requested price if the market rounds
        coarsely. It may take a stop for live until an update reports the end or, without an update, until the snapshots
        of `UNNOTICED_SECONDS` have shown it.
        """
        now, received_end = trio.current_time(), self._process_view.received_end
        ended = [
            one
            for one, at in self._ended.values()
            if now - at < UNNOTICED_SECONDS and not received_end(one.client_order_id)
        ]
        return any(self._may_supersede(one, order) for one in (*live, *ended))

    def _may_supersede(self, one: StopOrder, order: StopOrder) -> bool:
        key = (order.symbol, order.side, None)
        if one.client_order_id == order.client_order_id or (one.symbol, one.side, one.callback) != key:
            return False
        possible, rounded = self._process_view.possible_prices, COARSE_TICKS * TICK
        return is_ours(one.client_order_id) and any(
            not is_tighter(order.side, cancelled, than=left) or abs(cancelled - left) < rounded
            for cancelled in possible(order)
            for left in possible(one)
        )
