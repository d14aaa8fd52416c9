"""Check a process's requests in a harsh world: invariants 1, 2, 7 and 13.

The docstring of each method has its excuses.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, TypeAlias

import trio
from inspection import Claim, Key

from simulation.laboratory.leftovers import Leftovers
from simulation.laboratory.process_view import ProcessView
from trailing.core.account import PositionReport
from trailing.core.model import Side, StopOrder
from trailing.core.prices import is_tighter
from trailing.errors import RateLimited, TrailingError
from trailing.exchanges.paper import PaperExchange
from trailing.protection.order_ids import is_ours
from trailing.testing.invariants import MOST_LISTS, MOST_REPEATS, REPEATED_WITHIN

LONGEST_BACKOFF: Final = 30.0
"""The most seconds of a back-off."""

STARTS_WITHIN: Final = 15.0
"""Seconds within which a stop or an exit is tried for an unprotected position, if no needed request backs off."""

_PROTECTING_REQUESTS: Final = ("place_stop", "price", "close_position")
"""The requests that an unprotected position needs: its stop, or its exit, for which the price is read first."""

_LISTS: Final[tuple[tuple[str | None, str], ...]] = ((None, "positions"), (None, "open_stops"))
"""The requests for both lists of the account. They have no symbol."""

ReportViolation: TypeAlias = Callable[[str, str], None]


@dataclass
class _OfOneProcess:
    """The requests of one process.

    Args:
        times: the times of each request within the window.
        tried_at: the time of the last request that protects, by symbol.
        backs_off: the time until which an operation may back off after its failure, by symbol and operation.
        throttled: the time until which the exchange throttles an operation, by symbol and operation.
        missing_since: the time since which a position is unprotected without a reported violation.
        unconfirmed_at: the time of the last list reply that did not confirm a position: the other list failed, or the list
            of positions did not show the position, or with a wrong quantity.
        refused_as_gone: the time of the first refused change of a stop that has ended.
    """

    times: dict[tuple[object, ...], deque[float]] = field(default_factory=dict)
    tried_at: dict[str, float] = field(default_factory=dict)
    backs_off: dict[tuple[str | None, str], float] = field(default_factory=dict)
    throttled: dict[tuple[str | None, str], float] = field(default_factory=dict)
    missing_since: dict[Key, float] = field(default_factory=dict)
    unconfirmed_at: dict[Key, float] = field(default_factory=dict)
    refused_as_gone: dict[Key, float] = field(default_factory=dict)


class RequestMonitor:
    """Take every request of the running process and its result.

    Args:
        exchange: the true state.
        process_view: the data that the process has received.
        leftovers: the stops of positions that have ended, which the checks ignore.
        report_violation: called with the class of a violation and its details.
    """

    def __init__(
        self,
        exchange: PaperExchange,
        process_view: ProcessView,
        leftovers: Leftovers,
        report_violation: ReportViolation,
    ) -> None:
        self._exchange, self._process_view, self._leftovers = exchange, process_view, leftovers
        self._report_violation = report_violation
        self._quiet_until: dict[tuple[object, ...], float] = {}
        self._process = _OfOneProcess()

    def process_died(self) -> None:
        """Forget the requests of the dead process."""
        self._process = _OfOneProcess()

    def note_request(self, operation: str, symbol: str | None, *figures: object) -> None:
        """Take a request of the process. Invariant 13: the same request is not repeated without a back-off."""
        if symbol is not None and operation in _PROTECTING_REQUESTS:
            self._process.tried_at[symbol] = trio.current_time()
        if symbol is not None:
            self._count((operation, symbol, *figures), MOST_REPEATS)
        elif operation in {"positions", "open_stops"}:
            self._count(("account lists",), MOST_LISTS)

    def _count(self, request: tuple[object, ...], most: int) -> None:
        now, times = trio.current_time(), self._process.times.setdefault(request, deque())
        while times and times[0] <= now - REPEATED_WITHIN:
            times.popleft()
        times.append(now)
        if len(times) > most and now >= self._quiet_until.get(request, 0.0):
            self._report_violation(
                f"13. {request[0]} is repeated too often", f"{len(times)} times in {REPEATED_WITHIN:g} s, {request}"
            )
            self._quiet_until[request] = now + 60.0  # one report a minute is enough

    def note_failure(self, operation: str, symbol: str | None, error: TrailingError) -> None:
        """Take the failure of a request. Its kind may back off now."""
        now, wait = trio.current_time(), error.retry_after if isinstance(error, RateLimited) else 0.0
        self._process.throttled[symbol, operation] = now + wait
        self._process.backs_off[symbol, operation] = now + max(wait, LONGEST_BACKOFF)

    def note_answer(self, operation: str, symbol: str | None) -> None:
        """Take the reply to a request. Its kind does not back off any more."""
        if (symbol, operation) in _LISTS and any(one in self._process.backs_off for one in _LISTS):
            self._note_unconfirmed(self._process.missing_since)  # the other list of this snapshot may still come
        self._process.backs_off.pop((symbol, operation), None)
        self._process.throttled.pop((symbol, operation), None)

    def note_positions(self, reports: Sequence[PositionReport]) -> None:
        """Take the list of positions that the process receives. It confirms a position listed once with the true quantity."""
        shown: dict[Key, list[Decimal]] = {key: [] for key in self._process.missing_since}
        for report in reports:
            if (report.symbol, report.side) in shown:
                shown[report.symbol, report.side].append(report.quantity)
        self._note_unconfirmed(
            (symbol, side)
            for (symbol, side), quantities in shown.items()
            if quantities != [self._exchange.actual(symbol)[1].get(side)]
        )

    def _note_unconfirmed(self, keys: Iterable[Key]) -> None:
        self._process.unconfirmed_at |= dict.fromkeys(keys, trio.current_time())

    def tried_at(self, symbol: str) -> float:
        """Return the time at which the process last tried to protect or exit a symbol, in seconds of the world; 0: never."""
        return self._process.tried_at.get(symbol, 0.0)

    def is_throttled(self, operation: str, symbol: str) -> bool:
        """Whether the exchange still throttles an operation of a symbol."""
        return trio.current_time() < self._process.throttled.get((symbol, operation), 0.0)

    def check_not_looser(self, symbol: str, side: Side, price: Decimal) -> None:
        """Invariant 2: no request is looser than a live stop of ours that protects.

        Excuse: before the process has received the price of that stop, which a person may have amended, it can't avoid it.
        """
        for order in self._protecting_stops(symbol, side):
            shown = self._process_view.shown_price(order)
            if shown is not None and all(is_tighter(side, one, than=price) for one in (order.price, shown)):
                self._report_violation(
                    "2. a request is looser than a live stop", f"{side} {symbol}: {price}, live {order}"
                )

    def check_missing(self, symbol: str, side: Side) -> None:
        """Invariant 1: no missing stop is placed while a live one protects the position.

        Excuses: the process need not assume a stop that it has not received, or that it has cancelled; and not one that an
        entry has placed, as long as it does not know that its entry has ended.
        """
        for order in filter(self._process_view.must_assume_live, self._protecting_stops(symbol, side)):
            if self._process_view.is_attached(order):
                continue
            self._report_violation("1. a missing stop is placed beside a live one", f"{side} {symbol}: {order}")

    def _protecting_stops(self, symbol: str, side: Side) -> Iterator[StopOrder]:
        """Yield our stops that are not triggered, because a triggered stop protects nothing (failure mode 52)."""
        return (order for order in self._our_stops(symbol, side) if not order.triggered)

    def _our_stops(self, symbol: str, side: Side) -> Iterator[StopOrder]:
        """Yield our live plain stops that were placed for the present position."""
        for order in self._exchange.actual(symbol)[0]:
            plain = order.side == side and order.callback is None and is_ours(order.client_order_id)
            if plain and not self._leftovers.is_left_over(order):
                yield order

    # Missing requests.

    def note_refused_as_gone(self, order: StopOrder) -> None:
        """Take a refused change of a stop. It counts if the stop has ended, whichever position it was placed for."""
        live_stops, _ = self._exchange.actual(order.symbol)
        if all(live.client_order_id != order.client_order_id for live in live_stops):
            self._process.refused_as_gone.setdefault((order.symbol, order.side), trio.current_time())

    def check_tries(self, claims: Sequence[Claim]) -> None:
        """Invariant 7: the requests of an unprotected position never wait for the back-off of another kind.

        A position is unprotected if the process says so, or if a change of its ended stop was refused.

        Excuses: placing, the price and closing may each back off after their own failure. So may the reads that confirm the
        end of the stop, and the lists that show whether a doubted position is another one. A wrong list confirms as little
        as a failed one. A bug that froze the position was reported already.
        """
        process, frozen = self._process, {claim.key for claim in claims if claim.is_frozen}
        doubted = {claim.key for claim in claims if claim.is_entry_doubted}
        unprotected = {claim.key for claim in claims if claim.state == "unprotected"} - frozen
        for key, refused_at in tuple(process.refused_as_gone.items()):
            is_open = key[1] in self._exchange.actual(key[0])[1]
            if not is_open or any(self._our_stops(*key)) or self.tried_at(key[0]) > refused_at or key in frozen:
                del process.refused_as_gone[key]
        since = process.refused_as_gone | dict.fromkeys(unprotected, trio.current_time())
        process.missing_since = {key: process.missing_since.get(key, at) for key, at in since.items()}
        for key in since:
            self._check_try(key, is_confirmed=key in unprotected, is_doubted=key in doubted)

    def _check_try(self, key: Key, *, is_confirmed: bool, is_doubted: bool) -> None:
        symbol, side = key
        needs: list[tuple[str | None, str]] = [(symbol, operation) for operation in _PROTECTING_REQUESTS]
        if not is_confirmed:
            needs += [(symbol, "find_stop"), *_LISTS]
        elif is_doubted:
            needs += _LISTS
        rests_until = [self._process.backs_off.get(need, 0.0) for need in needs]
        if is_doubted:
            rests_until.append(self._process.unconfirmed_at.get(key, 0.0))
        waited = trio.current_time() - max(self._process.missing_since[key], self.tried_at(symbol), *rests_until)
        if waited > STARTS_WITHIN:
            self._report_violation(
                "7. no request is made for an unprotected position", f"{side} {symbol} for {waited:.0f} s"
            )
            self._process.missing_since[key] = trio.current_time()
