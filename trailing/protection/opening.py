"""One position's way to its live stop: claimed before, then journal, place, commit; clean-up on every way out.

A partial order never survives: it becomes a tracked stop, or it is cancelled and confirmed gone; and what can't be
settled in time stays claimed and on the books.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import trio

from trailing.core.model import Fill, StopOrder
from trailing.core.prices import is_crossed
from trailing.core.states import State
from trailing.errors import (
    AuthenticationFailed,
    ExchangeError,
    ExchangeUnreachable,
    NothingToReduce,
    OutcomeUnknown,
    RateLimited,
    StoreError,
    TrailingError,
    WouldTrigger,
)
from trailing.events import OpeningFailed, StopOpened
from trailing.protection.exits import close_out
from trailing.protection.orders import Orders
from trailing.protection.protection import Protection
from trailing.protection.sanity import Door


def backoffs(first: float = 0.2, most: float = 30.0) -> Iterator[float]:
    """Seconds to wait before each further try: doubling, with jitter between half and all of it."""
    seconds = first
    while True:
        yield seconds * random.uniform(0.5, 1.0)
        seconds = min(most, seconds * 2)


class Opening:
    """The opening of one claimed position.

    Args:
        scope: whose deadline is the position's; what else cancels the opening comes from outside.
        standing: a stop of ours that stands behind it already, and is taken over. It stays, whatever comes of the rest.

    Attributes:
        protected: the stop, once it is acknowledged and no check speaks against it.
        late: a stop that was found live, as planned, after the deadline, and kept.
        final: it ended without a stop and is not to be tried again: refused for good, or cancelled from outside.
        acknowledged_after: seconds from the claim to the acknowledgement, or None.
    """

    def __init__(
        self,
        orders: Orders,
        protection: Protection,
        door: Door,
        scope: trio.CancelScope,
        *,
        standing: StopOrder | None = None,
    ) -> None:
        self._standing = standing
        self._orders, self._protection, self._door, self._scope = orders, protection, door, scope
        self.protected: StopOrder | None = None
        self.late: StopOrder | None = None
        self.final: bool = False
        self.acknowledged_after: float | None = None

    async def run(self) -> StopOrder | Fill:
        """Get a live stop behind the position, or, where the price is already beyond it, close the position.

        Returns:
            The stop, or the fill of the close.

        Raises:
            TrailingError: it ended without a stop, and nothing of it is left, or what may be is on the books.

        Cancellation: cleaned up under a shield of the plan's `cleanup_seconds`, then raised again.
        """
        protection = self._protection
        try:
            return await self._open()
        except BaseException as error:
            if isinstance(error, trio.Cancelled) and self.protected is not None:
                raise  # the stop stands, is tracked, and its record is handed in: there is nothing to clean up
            if isinstance(error, Exception):
                protection.error = error
                retried = isinstance(error, (ExchangeError, StoreError)) and not isinstance(error, AuthenticationFailed)
                self.final = not retried
            else:
                self.final = not self._scope.cancel_called
            await self._clean_up(error)  # noqa: ASYNC102 - shields itself, with a deadline
            raise
        finally:
            protection.opened = True
            protection.changed()

    async def _open(self) -> StopOrder | Fill:
        protection, stop, door = self._protection, self._protection.stop, self._door
        known = door.known_price(stop)
        door.check_size(stop, known)
        waits = backoffs()
        while True:
            if known is not None:
                door.check_side(stop, known)
            try:
                order = self._standing or await self._place(waits)
                break
            except WouldTrigger:
                fill = await self._exit_if_crossed()
                if fill is not None:
                    return fill
                await trio.sleep(next(waits))
                known = door.known_price(stop)
        self._commit(order)
        await door.wait_read()
        report = door.report(stop)
        door.check_report(stop, report)
        stop.reported_entry = None if report is None else report.entry_price
        self.protected = order
        liquidation_stop = door.liquidation_stop(stop, report)
        if liquidation_stop is not None:
            protection.want(stop.tighten(liquidation_stop, self._orders.clock.now()))
            self._orders.alarm(protection, "the stop lies beyond the liquidation price", str(liquidation_stop))
        await self._orders.save(protection)
        return order

    async def _place(self, waits: Iterator[float]) -> StopOrder:
        orders, protection, stop = self._orders, self._protection, self._protection.stop
        while True:
            try:
                return await orders.place(protection, stop.target, stop.coverable)
            except OutcomeUnknown:
                for client_order_id in tuple(protection.pending):
                    order = await orders.settle(protection, client_order_id)
                    if order is not None:
                        return order
            except ExchangeUnreachable as error:
                wait = error.retry_after if isinstance(error, RateLimited) else next(waits)
                if trio.current_time() + wait >= trio.current_effective_deadline():
                    raise
                await trio.sleep(wait)

    def _commit(self, order: StopOrder) -> None:
        """Take over what the exchange acknowledged, without a wait in between: no deadline throws it away."""
        orders, protection = self._orders, self._protection
        now = orders.clock.now()
        protection.want(protection.stop.opened(order, now))
        if order != self._standing:
            self.acknowledged_after = now - protection.claimed_at
        announce_opened(orders, protection, order, now)

    async def _exit_if_crossed(self) -> Fill | None:
        protection, stop, door = self._protection, self._protection.stop, self._door
        if stop.plan.on_would_trigger == "keep":
            raise WouldTrigger("the price is already beyond the stop, and the plan does not exit")
        await door.wait_read()
        price = await self._orders.read_price(protection)
        report = door.report(stop)
        door.check_entry(stop, price if report is None else report.entry_price)
        door.check_side(stop, price)
        if not is_crossed(stop.position.side, price, stop.target):
            return None
        fill = await close_out(self._orders, protection, "the price was already beyond the initial stop")
        if fill is None:
            raise NothingToReduce("there is nothing to close")
        return fill

    async def _clean_up(self, error: BaseException) -> None:
        """Settle what may exist, within the plan's `cleanup_seconds`, the saving included."""
        orders, protection, stop = self._orders, self._protection, self._protection.stop
        seconds = max(0.0, stop.plan.cleanup_seconds - stop.plan.journal_wait)
        if isinstance(error, trio.Cancelled):  # its text names tasks, and tells nobody anything
            failure: TrailingError = ExchangeError("cancelled from outside" if self.final else "the deadline struck")
        else:
            failure = error if isinstance(error, TrailingError) else ExchangeError(f"{type(error).__name__}: {error}")
        with trio.move_on_after(seconds, shield=True) as scope:
            try:
                await self._settle_pending()
                await self._withdraw_unwanted()
            except TrailingError as second:
                orders.alarm(protection, "a clean-up failed", f"{second}, after {failure}")
        if scope.cancelled_caught:
            orders.alarm(protection, "a clean-up did not end in time", str(failure))
        now = orders.clock.now()
        if stop.state is State.OPENING:
            stop.open_failed(OutcomeUnknown(str(failure)) if protection.pending else failure, now)
        if stop.order is not None:
            self.late = stop.order
            announce_opened(orders, protection, stop.order, now)
        else:
            announce_failure(orders, protection, failure)
        if self.final and stop.state is State.UNPROTECTED:
            stop.released(now, given_up=True)
        with trio.CancelScope(shield=True, deadline=now + stop.plan.journal_wait):
            await orders.save(protection)

    async def _settle_pending(self) -> None:
        orders, protection = self._orders, self._protection
        for pending in tuple(protection.pending.values()):
            if pending.purpose == "stop":
                order = await orders.settle(protection, pending.client_order_id)
                if order is not None:
                    now = orders.clock.now()
                    protection.want(protection.stop.opened(order, now))
                    protection.note_exposure(now)

    async def _withdraw_unwanted(self) -> None:
        """Keep a stop that is live as planned after the deadline; withdraw any other."""
        orders, protection, stop = self._orders, self._protection, self._protection.stop
        late = self._scope.cancel_called and stop.plan.on_late_order == "adopt"
        for order in tuple(stop.orders.values()):
            as_planned = order.price == stop.first_price and order.quantity == stop.coverable
            if order != self._standing and not (late and as_planned):
                await orders.withdraw(protection, order)
                now = orders.clock.now()
                stop.gone(order.client_order_id, now)
                protection.note_exposure(now, "outage")  # it came too late


def announce_opened(orders: Orders, protection: Protection, order: StopOrder, now: float) -> None:
    """Note and tell that a stop stands behind a position that had none."""
    protection.note_exposure(now)
    exposure = protection.exposure_at(now)
    orders.tell(
        protection,
        StopOpened,
        quantity=order.quantity,
        price=order.price,
        client_order_id=order.client_order_id,
        exposure=exposure.total,
        exposure_by=exposure,
    )


def announce_failure(orders: Orders, protection: Protection, error: Exception) -> None:
    """Tell that a position has no stop."""
    text = f"{type(error).__name__}: {error}"
    orders.tell(protection, OpeningFailed, error=text, unresolved=bool(protection.pending))
