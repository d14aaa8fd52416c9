"""One tracked position beside what a reading shows of it. The rules that are named here are those of `reconcile`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from trailing.core.account import Bounds, PositionReport, Reading, Tracked
from trailing.core.actions import (
    Action,
    AnotherPosition,
    CancelStop,
    LookAgain,
    NativeGone,
    PlaceStop,
    PositionFlat,
    RaiseAlarm,
    Resize,
    Resume,
    StopAbsent,
    StopGone,
    TakeNative,
    TakeStop,
    Tighten,
)
from trailing.core.model import Side, StopOrder
from trailing.core.prices import is_tighter, stop_before_liquidation
from trailing.core.sightings import SECOND_LOOK, Sightings
from trailing.core.states import UNPROTECTED

EMPTY_LOOK = 2.0
"""Seconds between two readings at the least that report no position at all: an empty answer is how a venue stumbles.
A manager that opens waits for it, and with it what was opened meanwhile and wants its stop: so it is no longer."""

CONTRADICTED_LOOK = 60.0
"""The same where the stop of a position that is not reported still stands: a stumble of a venue seldom lasts a minute."""

Reports = Mapping[tuple[str, Side], PositionReport]


class Comparison:
    """What follows for one position that is not busy, and has been quiet for as long as a read may lag behind.

    Args:
        reports: what is open, by symbol and side.
        shown: our stops of this symbol and side, as the reading shows them.
    """

    def __init__(
        self,
        tracked: Tracked,
        reading: Reading,
        reports: Reports,
        shown: Sequence[StopOrder],
        bounds: Bounds,
        sightings: Sightings,
    ) -> None:
        self._tracked, self._reading, self._reports = tracked, reading, reports
        self._shown = {order.client_order_id: order for order in shown if order.callback is None}
        self._natives = {order.client_order_id: order for order in shown if order.callback is not None}
        self._bounds, self._sightings = bounds, sightings
        self._sent_at = {pending.client_order_id: pending.sent_at for pending in tracked.pending}
        self._remembered = {order.client_order_id: order for order in tracked.orders}

    def actions(self) -> Iterator[Action]:
        """What is proved of it, in the order in which it is to be told."""
        tracked = self._tracked
        report = self._reports.get(tracked.key)
        if report is None:
            yield from self._absent()
            return
        live, lost, unsure = self._stops()
        if unsure:
            yield LookAgain(*tracked.key, f"whether its stop {unsure[0]} is live")
        elif not live and self._is_another(report):
            yield AnotherPosition(*tracked.key, report, tuple(self._sent_at))
            return
        yield from (action for action in lost if not unsure)
        yield from self._native()
        yield from self._taken(live)
        strays = self._strays
        if not live and not unsure and strays:
            live.append(self._tightest(strays))
            yield TakeStop(*tracked.key, live[0])
        if live:
            yield from self._leftovers(live)
            yield from self._tighter(live)
        if not unsure:
            yield from self._followed(report, live)

    def leftovers(self) -> Iterator[Action]:
        """Rule 8, of a position that is left alone otherwise: whatever it is at, its stop stands, and a looser one of ours.

        One that is moved all the time is never quiet for long enough to be judged as a whole.
        """
        standing = [order for client_order_id, order in self._shown.items() if client_order_id in self._remembered]
        if standing:
            yield from self._leftovers(standing)

    @property
    def _strays(self) -> list[StopOrder]:
        known = set(self._tracked.known)
        return [order for client_order_id, order in self._shown.items() if client_order_id not in known]

    def _sure_from(self, client_order_id: str) -> float:
        """From when on a reading tells what became of the request under an id."""
        sent_at = self._sent_at.get(client_order_id)
        if sent_at is None:
            return self._tracked.quiet_since
        return sent_at + self._bounds.request_validity + self._bounds.read_lag

    def _absent(self) -> Iterator[Action]:
        """Rules 2 and 4: it is not reported."""
        tracked, key = self._tracked, self._tracked.key
        sure_from = max((self._sure_from(pending.client_order_id) for pending in tracked.pending), default=-math.inf)
        apart = SECOND_LOOK
        if not self._reading.positions:
            apart = CONTRADICTED_LOOK if self._remembered.keys() & self._shown.keys() else EMPTY_LOOK
        if not self._sightings.is_proved(
            "flat", *key, tracked.identity, unchanged_since=tracked.quiet_since, sure_from=sure_from, apart=apart
        ):
            yield LookAgain(*key, "whether the position is closed")
            return
        other = self._reports.get((tracked.symbol, "short" if tracked.side == "long" else "long"))
        if other is not None and not self._bounds.hedged:
            yield RaiseAlarm(*key, "the position was flipped", f"{other.quantity} {other.side} at {other.entry_price}")
        remembered = {*self._remembered, *(() if tracked.native is None else (tracked.native.client_order_id,))}
        for order in (*self._shown.values(), *self._natives.values()):
            if order.client_order_id not in remembered:
                yield CancelStop(*key, order, "its position is closed")
        yield PositionFlat(*key, tuple(self._sent_at))

    def _stops(self) -> tuple[list[StopOrder], list[Action], list[str]]:
        """Rules 2 and 5: which of its known stops are live, what is proved of the others, and which are undecided."""
        tracked, live, lost, unsure = self._tracked, list[StopOrder](), list[Action](), list[str]()
        for client_order_id in tracked.known:
            if client_order_id in self._natives:
                continue
            order = self._shown.get(client_order_id)
            sure_from = self._sure_from(client_order_id)
            if order is not None:
                # A change of a live stop: that it is there proves nothing while the change may still be executed.
                changing = client_order_id in self._remembered and client_order_id in self._sent_at
                if changing and self._reading.asked_at < sure_from:
                    self._sightings.ask_again(sure_from)
                    unsure.append(client_order_id)
                else:
                    live.append(order)
            elif not self._sightings.is_proved(
                "no stop", client_order_id, unchanged_since=tracked.quiet_since, sure_from=sure_from
            ):
                unsure.append(client_order_id)
            elif client_order_id in self._sent_at:
                lost.append(StopAbsent(*tracked.key, client_order_id))
            else:
                lost.append(StopGone(*tracked.key, client_order_id))
        return live, lost, unsure

    def _native(self) -> Iterator[Action]:
        """Rule 16: what became of its trailing order, and whether there is one that nobody remembers."""
        tracked, remembered = self._tracked, self._tracked.native
        known = None if remembered is None else remembered.client_order_id
        for client_order_id, order in self._natives.items():
            if client_order_id in self._sent_at:
                yield TakeNative(*tracked.key, order)
            elif client_order_id != known:
                yield from self._leftover(order, "nobody remembers it")
            elif remembered is not None and order.quantity != remembered.quantity:
                yield TakeNative(*tracked.key, order)
        if known is None or known in self._natives:
            return
        if self._sightings.is_proved("no trailing order", known, unchanged_since=tracked.quiet_since):
            yield NativeGone(*tracked.key, known)
        else:
            yield LookAgain(*tracked.key, f"whether its trailing order {known} is live")

    def _is_another(self, report: PositionReport) -> bool:
        """Rule 6: no stop of it is left, and what is reported was entered at another price."""
        tracked = self._tracked
        if tracked.entry is None or abs(report.entry_price - tracked.entry) < tracked.price_tick:
            return False
        # One that stood bare may have been added to, which changes its entry price as well.
        return bool(tracked.orders) or report.quantity <= tracked.quantity

    def _taken(self, live: Sequence[StopOrder]) -> Iterator[Action]:
        """Rule 5: the exchange's figures count."""
        for order in live:
            remembered = self._remembered.get(order.client_order_id)
            differs = (
                remembered is None
                or abs(remembered.price - order.price) >= self._tracked.price_tick
                or remembered.quantity != order.quantity
            )
            if differs or order.client_order_id in self._sent_at:
                yield TakeStop(*self._tracked.key, order)

    def _tightest(self, orders: Sequence[StopOrder]) -> StopOrder:
        tightest = orders[0]
        for order in orders[1:]:
            if is_tighter(self._tracked.side, order.price, tightest.price):
                tightest = order
        return tightest

    def _leftovers(self, standing: Sequence[StopOrder]) -> Iterator[Action]:
        """Rule 8: stops of ours that nobody remembers, beside one that counts and is at least as tight."""
        counting = self._tightest(standing)
        for order in self._strays:
            if order not in standing and not is_tighter(self._tracked.side, order.price, counting.price):
                yield from self._leftover(order, "its position has another one")

    def _tighter(self, standing: Sequence[StopOrder]) -> Iterator[Action]:
        """Rule 8: one of ours that nobody remembers, and that is tighter than the one that counts, counts instead."""
        counting = self._tightest(standing)
        for order in self._strays:
            if is_tighter(self._tracked.side, order.price, counting.price) and self._is_left_over(order):
                yield TakeStop(*self._tracked.key, order)

    def _leftover(self, order: StopOrder, why: str) -> Iterator[Action]:
        if self._is_left_over(order):
            yield CancelStop(*self._tracked.key, order, why)
        else:
            yield LookAgain(*self._tracked.key, f"whether the stop {order.client_order_id} is left over")

    def _is_left_over(self, order: StopOrder) -> bool:
        # What nobody remembers is remembered by nobody later, whatever its position is at: no rest is needed to tell.
        return self._sightings.is_proved("leftover", order.client_order_id)

    def _followed(self, report: PositionReport, live: Sequence[StopOrder]) -> Iterator[Action]:
        """Rules 9 to 11: what the position's figures ask of its stop."""
        tracked, key = self._tracked, self._tracked.key
        counting = self._tightest(live) if live else None
        resized = report.quantity != tracked.quantity
        if resized or (counting is not None and tracked.coverable and counting.quantity != tracked.coverable):
            yield Resize(*key, report.quantity, report.entry_price)
        nearest = (
            stop_before_liquidation(
                tracked.side, report.liquidation_price, tracked.liquidation_buffer, tracked.price_tick
            )
            if report.liquidation_price
            else None
        )
        tightened = nearest is not None and is_tighter(tracked.side, nearest, tracked.target)
        if nearest is not None and tightened:
            yield Tighten(*key, nearest)
        if counting is not None:
            if not resized and not tightened:
                yield Resume(*key, counting, report.entry_price)
        elif tracked.state is UNPROTECTED or tracked.orders or tracked.pending:
            yield PlaceStop(*key, nearest if nearest is not None and tightened else tracked.target, tracked.coverable)
