"""The task that owns one position: it wakes when something is wanted of it, and does one thing at a time.

What is unknown is settled first, then what is bare is covered, then what is wanted is done.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import msgspec
import trio

from trailing.core.states import State
from trailing.core.trail import ExitPosition, MoveStop
from trailing.errors import (
    AuthenticationFailed,
    ExchangeError,
    RateLimited,
    StopRejected,
    TrailingError,
    WouldTrigger,
)
from trailing.events import PositionReleased
from trailing.protection.books import SAVE_AGAIN
from trailing.protection.exits import close_out, confirm_crossing, end, finish
from trailing.protection.moves import move, trim
from trailing.protection.native import attend_native, withdraw_native
from trailing.protection.opening import announce_failure, announce_opened, backoffs
from trailing.protection.orders import Orders
from trailing.protection.peaks import READ_AGAIN, catch_up
from trailing.protection.protection import Missed, Protection
from trailing.protection.resolving import resolve

_UNSETTLED = (State.UNPROTECTED, State.UNRESOLVED, State.EXITING)


def wakes_at(protection: Protection) -> float:
    """When a position has something for its task to do: a time on the running clock, past or to come.

    Infinite where it has nothing to do before something changes.
    """
    stop = protection.stop
    if (
        protection.wanted is not None
        or protection.pending
        or stop.state in _UNSETTLED
        or len(stop.orders) > 1
        or protection.exit_wanted is not None
        or protection.release_wanted is not None
        or protection.check_wanted
        or protection.found_flat is not None
        or stop.native_task is not None
        or (stop.bug is not None and not protection.frozen)
    ):
        return protection.not_before
    at = math.inf if protection.save_at is None else protection.save_at
    if not protection.frozen:
        if stop.due_at is not None:
            at = min(at, stop.due_at)
        if protection.missed is not None:
            at = min(at, protection.missed.read_at)
    return max(at, protection.not_before)


class Keeper:
    """Keeps one position protected, as long as it has something to do or a time to wait for.

    Args:
        closing: tells whether the manager is ending, so that nothing new is begun.
    """

    def __init__(self, orders: Orders, protection: Protection, *, closing: Callable[[], bool]) -> None:
        self._orders, self._protection, self._closing = orders, protection, closing
        self._waits: Iterator[float] = backoffs()

    async def run(self) -> bool:
        """Do what there is to do. A failure backs off and is tried again; a bug freezes the position, its stop stands.

        Returns:
            Whether it is over: the position is closed, released or given up, or the manager is ending. Otherwise there
            is nothing to do until something changes.

        Raises:
            AuthenticationFailed: the exchange does not take the credentials any more, which nobody here can mend.
        """
        orders, protection, clock = self._orders, self._protection, self._orders.clock
        while not protection.closed:
            if self._closing() and not protection.unfinished:
                await self._orders.save(protection)
                return True
            if protection.stop.bug is not None:
                self._orders.freeze(protection, protection.stop.bug)
            now, at = clock.now(), wakes_at(protection)
            if at > now:
                if at == math.inf:
                    return False
                with trio.CancelScope(deadline=at):
                    await protection.wait_changed()
                continue
            if not protection.frozen:
                protection.want(protection.stop.on_time(now))
            protection.at_work = True
            try:
                await self._step()
                protection.changed()  # whoever waits for what has just been done looks now
                self._waits = backoffs()
            except AuthenticationFailed as error:
                orders.alarm(protection, "the exchange does not accept the credentials", str(error))
                raise
            except TrailingError as error:
                self._failed(error)
            except Exception as bug:  # one position's bug is not the others'
                self._freeze(bug)
            finally:
                if protection.changing:
                    protection.quiet_since = clock.now()
                protection.at_work, protection.reading = False, None
        return True

    # What to do.

    async def _step(self) -> None:
        orders, protection, stop = self._orders, self._protection, self._protection.stop
        if protection.found_flat is not None:
            protection.exit_reason = protection.found_flat
            await end(orders, protection)
        elif protection.pending or stop.state is State.UNRESOLVED:
            await resolve(orders, protection)
        elif stop.state is State.EXITING:
            await finish(orders, protection)
        elif protection.exit_wanted is not None:
            await self._exit(protection.exit_wanted)
        elif protection.release_wanted is not None:
            await self._release(cancel_stop=protection.release_wanted)
        elif stop.state is State.UNPROTECTED:
            await self._cover()
        elif len(stop.orders) > 1:
            await trim(orders, protection)
        elif protection.check_wanted:
            await self._check()
        elif protection.wanted is not None:
            await self._follow()
        elif protection.missed is not None and protection.missed.read_at <= orders.clock.now():
            await self._catch_up(protection.missed)
        elif stop.native_task is not None:
            await attend_native(orders, protection)
        else:
            await self._save_again()

    async def _exit(self, reason: str) -> None:
        try:
            await close_out(self._orders, self._protection, reason)
        finally:
            self._protection.changed()

    async def _release(self, *, cancel_stop: bool) -> None:
        orders, protection, stop = self._orders, self._protection, self._protection.stop
        if protection.check_wanted:  # it may have been closed meanwhile, and then there is nothing to release
            await self._check()
            if protection.closed:
                return
        if cancel_stop:
            for order in tuple(stop.orders.values()):
                await orders.withdraw(protection, order)
                stop.gone(order.client_order_id, orders.clock.now())
            await withdraw_native(orders, protection)
        stop.released(orders.clock.now())
        orders.tell(protection, PositionReleased, stop_stands=bool(stop.orders))
        await orders.save(protection)

    async def _cover(self) -> None:
        """Place a stop behind a position that has none, by the plan's policy."""
        orders, protection, stop = self._orders, self._protection, self._protection.stop
        bare_for = orders.clock.now() - protection.bare.since if protection.bare is not None else 0.0
        if isinstance(protection.wanted, ExitPosition):
            await self._follow()
            return
        if not stop.can_be_covered:
            await self._exit("what is left is too small for a stop")
            return
        if stop.plan.on_unprotected != "retry" or bare_for >= stop.plan.retry_for:
            if protection.check_wanted:  # what took the stop away may have taken the position with it
                await self._check()
            else:
                await self._give_up()
            return
        try:
            order = await orders.place(protection, stop.target, stop.coverable)
        except WouldTrigger as error:
            stop.open_failed(error, orders.clock.now())
            if stop.plan.on_would_trigger == "exit" and await confirm_crossing(orders, protection):
                await self._exit("the price is beyond the stop of a position that has none")
                return
            raise
        except StopRejected as error:  # perhaps the position is not what it was
            stop.open_failed(error, orders.clock.now())
            await self._check()
            if not protection.closed:
                raise
            return
        except TrailingError as error:
            stop.open_failed(error, orders.clock.now())
            raise
        protection.wanted = None
        now = orders.clock.now()
        protection.want(stop.opened(order, now))
        announce_opened(orders, protection, order, now)
        await orders.save(protection)
        protection.changed()

    async def _give_up(self) -> None:
        orders, protection, plan = self._orders, self._protection, self._protection.plan
        if plan.on_unprotected == "close" or (plan.on_unprotected == "retry" and plan.retry_then == "close"):
            await self._exit("no stop could be placed")
            return
        error = protection.error if protection.error is not None else ExchangeError("no stop could be placed")
        announce_failure(orders, protection, error)
        protection.error = error
        stop = protection.stop
        stop.released(orders.clock.now(), given_up=True)
        await orders.save(protection)

    async def _check(self) -> None:
        """Read the position, and follow what has become of it."""
        orders, protection, stop = self._orders, self._protection, self._protection.stop
        protection.check_wanted = False
        protection.checks += 1
        number, begun_at = protection.checks, orders.clock.now()
        try:
            await trio.sleep(orders.exchange.positions_read_lag)
            report = await orders.read_position(protection)
        except TrailingError:
            protection.check_wanted = True
            raise
        if report is not None and protection.quiet_since > begun_at:
            protection.check_wanted = True  # something was told of it meanwhile, which this reading may not show yet
            return
        protection.checked = number
        if report is None:
            protection.exit_reason = "closed from outside"
            await end(orders, protection)
        else:
            stop.reported_entry = report.entry_price
            if report.quantity != stop.quantity:
                protection.want(stop.resized(report.quantity, orders.clock.now()))
        protection.changed()

    async def _catch_up(self, missed: Missed) -> None:
        """Read the peaks that were missed; where they can't be read now, later, and everything else meanwhile.

        Where it stands bare by then, or is to be closed, that goes first, and they are read anew behind it.
        """
        protection = self._protection
        try:
            with trio.CancelScope() as protection.reading:
                await catch_up(self._orders, protection, missed)
        except AuthenticationFailed:
            raise
        except ExchangeError as error:
            protection.error = error
            if protection.missed is missed:
                read_at = self._orders.clock.now() + READ_AGAIN
                protection.missed = msgspec.structs.replace(missed, read_at=read_at)

    async def _save_again(self) -> None:
        """Save what the store does not hold, unless it is stuck: handing more in would only make the heap larger."""
        if self._orders.journal.is_behind:
            self._protection.save_at = self._orders.clock.now() + SAVE_AGAIN
        else:
            await self._orders.save(self._protection)

    async def _follow(self) -> None:
        """Carry out the newest decision."""
        orders, protection, stop = self._orders, self._protection, self._protection.stop
        wanted, protection.wanted = protection.wanted, None
        if isinstance(wanted, ExitPosition):
            try:
                crossed = await confirm_crossing(orders, protection)
            except TrailingError:
                protection.wanted = protection.wanted or wanted  # a price that can't be read takes nothing back
                raise
            if crossed:
                await self._exit(wanted.reason)
        elif isinstance(wanted, MoveStop) and stop.order is not None and not protection.frozen:
            if not stop.can_be_covered or (wanted.price, stop.coverable) == (stop.order.price, stop.order.quantity):
                return  # nothing to do, or a smaller stop than the market takes: the one that stands covers it
            try:
                await move(orders, protection, wanted.price, wanted.reason)
            except TrailingError:
                # A better price is wanted again by itself; a larger quantity is told only once.
                if protection.wanted is None and stop.order is not None and stop.order.quantity < stop.coverable:
                    protection.wanted = MoveStop(stop.order.price, wanted.reason)
                raise

    # What went wrong.

    def _failed(self, error: TrailingError) -> None:
        protection, now = self._protection, self._orders.clock.now()
        protection.error = error
        if protection.settled and protection.save_at is None:  # the intent of what came to nothing is on the books yet
            protection.save_at = now + SAVE_AGAIN
        wait = next(self._waits)
        if isinstance(error, RateLimited):
            wait = max(wait, error.retry_after)
        protection.not_before = now + wait
        protection.changed()

    def _freeze(self, bug: Exception) -> None:
        self._orders.freeze(self._protection, bug)
        self._protection.not_before = self._orders.clock.now() + next(self._waits)
