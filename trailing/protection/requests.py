"""Send one request to the exchange, with a deadline.

The lease's fence checks each request that changes something. Each stop needs a slot within the number that the exchange allows.
Failures are counted. A request that was sent belongs to the exchange, so that the cancellation of a caller ends its wait and
recalls nothing.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeVar

import trio

from trailing.core.endings import owes_stop
from trailing.core.entry_orders import AttachedStop, EntryOrder, EntryRequest
from trailing.core.inputs import Backfill, Result
from trailing.core.model import StopOrder
from trailing.core.native import check_native_market
from trailing.core.position import PositionState
from trailing.core.requests import (
    AmendStop,
    CancelEntry,
    CancelStop,
    ClosePosition,
    FindEntry,
    FindOrder,
    PlaceEntry,
    PlaceNative,
    PlaceStop,
    ReadCandles,
    ReadFills,
    ReadPrice,
    ReplaceStop,
    Request,
    TakeDownStop,
)
from trailing.errors import (
    AuthenticationFailed,
    ExchangeError,
    ExchangeUnreachable,
    OutcomeUnknown,
    RateLimited,
    TooManyStops,
    TrailingError,
)
from trailing.exchanges.port import Exchange, StopRequest
from trailing.protection.clock import Clock
from trailing.protection.lease import LeaseFence

T = TypeVar("T")

OUTAGE = 3
"""Consecutive failed calls, of any position, that count as an outage. Fewer don't, because one or two fail every day."""

TELL_AGAIN: Final = 3600.0
"""The least seconds between two alarms that the account has no slot for another stop."""


class OutageDetector:
    """Count consecutive calls without an answer, and notice the first answer after an outage.

    Attributes:
        on_return: called at the first answer after an outage; or None.
    """

    def __init__(self) -> None:
        self.on_return: Callable[[], None] | None = None
        self._lost = 0

    def failed(self, error: TrailingError) -> None:
        """Note that a call failed. A refusal and a rate limit count as answers."""
        if isinstance(error, (ExchangeUnreachable, OutcomeUnknown)) and not isinstance(error, RateLimited):
            self._lost += 1
        else:
            self.answered()

    def answered(self) -> None:
        """Note that the exchange answered, whatever the answer was."""
        lost, self._lost = self._lost, 0
        if lost >= OUTAGE and self.on_return is not None:
            self.on_return()


class StopSlots:
    """Reserve the slots that moves have freed, and raise an alarm when no slot is left.

    `trailing.core.stop_slots` decides whether a move has a slot for a second stop.

    Args:
        alarm: called with the problem and its cause.

    Attributes:
        count_stops: returns how many stops the account has, ours and foreign, as far as is known.
    """

    def __init__(self, clock: Clock, alarm: Callable[[str, str], None]) -> None:
        self._clock, self._alarm = clock, alarm
        self._tell_from = -math.inf
        self._moving: set[PositionState] = set()
        self.count_stops: Callable[[], int] = lambda: 0

    def check(self, p: PositionState, request: Request) -> None:
        """Check a request before it is sent.

        Raises:
            TooManyStops: moves that have cancelled their stops need the free slots. Nothing was sent.
        """
        if isinstance(request, TakeDownStop) and p.market.two_stops:
            self._moving.add(p)
            self._tell(p)
        if not isinstance(request, PlaceStop) or not self._moving:
            return
        self._moving = {each for each in self._moving if _needs_slot(each)}
        if self._moving and p not in self._moving:
            raise TooManyStops(
                f"not sent: {len(self._moving)} stops are being moved, which need the free slots. {_most(p)}"
            )

    def note_refused(self, p: PositionState) -> None:
        """Raise an alarm because the exchange refused a stop for its limit."""
        self._tell(p)

    def _tell(self, p: PositionState) -> None:
        now = self._clock.now()
        if now < self._tell_from:
            return
        self._tell_from = now + TELL_AGAIN
        detail = (
            f"{self.count_stops()} stops are live, and conditional orders of other kinds count too. {_most(p)}: a position "
            "beyond it gets no stop, and a move cancels a stop before it places the next one, but for one that an entry carried as a "
            "bridge, which stays where it is until there is a slot. Cancel orders that are not needed"
        )
        self._alarm("the account has no slot for another stop", detail)


class RequestSender:
    """Send requests to one account's exchange.

    Args:
        fence: decides whether a request that changes something may be sent.
        outage: counts the calls without an answer.
        alarm: called with the problem and its cause: the exchange has refused the credentials twice, or accepts no more stops.

    Attributes:
        slots: keeps the account within the stops that the exchange allows.
    """

    def __init__(
        self,
        exchange: Exchange,
        clock: Clock,
        fence: LeaseFence,
        outage: OutageDetector,
        alarm: Callable[[str, str], None],
    ) -> None:
        self.exchange: Exchange = exchange
        self.fence: LeaseFence = fence
        self.outage: OutageDetector = outage
        self.slots: StopSlots = StopSlots(clock, alarm)
        self._clock, self._alarm, self._is_refused = clock, alarm, False
        self._throttled_until: dict[str, float] = {}  # by symbol: placing a stop, as the exchange last asked for

    async def perform(self, p: PositionState, request: Request, order_id: str | None) -> Result:
        """Send a position's request, and return what the exchange answers.

        Args:
            order_id: the client order id of the order that it is about, or of the order that it places; None: it is about none.

        Raises:
            ExchangeError: as the port says.
            RateLimited: also, without a request, for a stop whose turn comes after the caller's deadline, and for a request that
                has to leave the limit to more urgent ones: to cancel a stop inside a move, to place a trailing order, to read
                fills.
            TooManyStops: also, without a request, if moves need the free slots.
            AuthenticationFailed: a second request was refused, too.
            LeaseLost: another process owns the account.
            UsageError: the market can't trail natively by the plan.

        Cancellation: a request that was sent goes on.
        """
        self.slots.check(p, request)
        try:
            return await self._perform(p, request, order_id)
        except TooManyStops:
            self.slots.note_refused(p)
            raise

    async def _perform(self, p: PositionState, request: Request, order_id: str | None) -> Result:
        exchange, position, plan = self.exchange, p.position, p.plan
        seconds = plan.call_seconds
        match request:
            case PlaceStop() | ReplaceStop():
                return await self._place_stop(p, request, order_id)
            case AmendStop():
                amend = partial(
                    exchange.amend_stop, _order(p, order_id), price=request.price, quantity=request.quantity
                )
                return await self.change("amend_stop", amend, seconds)
            case TakeDownStop():
                self._check_next_turn(position.symbol)
                await self.cancel(_order(p, order_id), seconds)
            case CancelStop():
                await self.cancel(_order(p, order_id), seconds)
            case FindOrder():
                finding = partial(exchange.find_stop, position.symbol, request.id)
                return await self.read("find_stop", finding, seconds)
            case ReadPrice():
                return await self.read("price", partial(exchange.price, position.symbol, plan.trigger), seconds)
            case ClosePosition():
                assert order_id is not None
                close = partial(exchange.close_position, position.symbol, position.side, request.quantity, order_id)
                return await self.change("close_position", close, seconds)
            case PlaceNative():
                return await self._place_native(p, request, order_id)
            case PlaceEntry():
                return await self._place_entry(p, request)
            case CancelEntry():
                cancelling = partial(exchange.cancel_entry, position.symbol, request.id)
                await self.change("cancel_entry", cancelling, seconds)
            case FindEntry():
                looking = partial(exchange.find_entry, position.symbol, request.id)
                return await self.read("find_entry", looking, seconds)
            case ReadFills():
                turn = exchange.rate_limit_delay("order_fills")
                if turn:  # requests that protect a position or its profit go first
                    raise RateLimited(f"its turn comes in {turn:.1f} s", retry_after=turn)
                fills = partial(exchange.order_fills, position.symbol, request.id, request.since)
                return await self.read("order_fills", fills, seconds)
            case _:
                assert isinstance(request, ReadCandles), request
                reading = partial(exchange.candles, position.symbol, plan.trigger, request.since)
                candles = await self.read("candles", reading, seconds)
                tick = await self.read("price", partial(exchange.price, position.symbol, plan.trigger), seconds)
                return Backfill(candles, tick)
        return None

    async def _place_stop(self, p: PositionState, request: PlaceStop | ReplaceStop, order_id: str | None) -> StopOrder:
        assert order_id is not None
        self._check_turn("place_stop")
        position, plan = p.position, p.plan
        stop = StopRequest(position.symbol, position.side, request.quantity, request.price, order_id, plan.trigger)
        try:
            return await self.change("place_stop", partial(self.exchange.place_stop, stop), plan.call_seconds)
        except RateLimited as limited:
            self._throttled_until[position.symbol] = self._clock.now() + limited.retry_after
            raise

    def _check_next_turn(self, symbol: str) -> None:
        """Raise RateLimited if the next stop of a symbol has to wait. Cancelling its stop would leave the position unprotected."""
        throttled = self._throttled_until.get(symbol, -math.inf) - self._clock.now()
        turn = max(self.exchange.rate_limit_delay("place_stop"), throttled)
        if turn > 0:
            raise RateLimited(f"the next stop can be placed in {turn:.1f} s", retry_after=turn)

    async def _place_native(self, p: PositionState, request: PlaceNative, order_id: str | None) -> StopOrder:
        assert order_id is not None
        position, plan = p.position, p.plan
        check_native_market(plan, p.market)
        turn = self.exchange.rate_limit_delay("place_stop")
        if turn:  # positions without a stop go first
            raise RateLimited(f"its turn comes in {turn:.1f} s", retry_after=turn)
        stop = StopRequest(
            position.symbol,
            position.side,
            request.quantity,
            request.activation,
            order_id,
            plan.trigger,
            request.callback,
        )
        return await self.change("place_stop", partial(self.exchange.place_stop, stop), plan.call_seconds)

    async def _place_entry(self, p: PositionState, request: PlaceEntry) -> EntryOrder:
        position, plan, entry = p.position, p.plan, p.entry
        assert entry is not None
        self._check_turn("place_entry")
        stop: AttachedStop | None = None
        if request.stop is not None:
            assert entry.stop_id is not None
            stop = AttachedStop(request.stop, entry.stop_id, plan.trigger)
        order = EntryRequest(position.symbol, position.side, request.quantity, request.id, request.limit, stop)
        return await self.change("place_entry", partial(self.exchange.place_entry, order), plan.call_seconds)

    def _check_turn(self, operation: str) -> None:
        """Raise RateLimited if the rate limit lets a request pass only after the caller's deadline."""
        turn = self.exchange.rate_limit_delay(operation)
        if turn and self._clock.now() + turn > trio.current_effective_deadline():
            raise RateLimited(f"its turn comes in {turn:.1f} s, after the deadline", retry_after=turn)

    async def cancel(self, order: StopOrder, call_seconds: float) -> None:
        """Cancel a stop, in one try. `call_seconds`: after the wait for the rate limit. Raises ExchangeError, LeaseLost."""
        await self.change("cancel_stop", partial(self.exchange.cancel_stop, order), call_seconds)

    async def change(self, operation: str, request: Callable[[], Awaitable[T]], call_seconds: float) -> T:
        """Send a request that changes something, after the check of the fence. No other function sends one.

        Args:
            operation: the name of the port's method, for the rate limit.
            request: calls that method.
            call_seconds: seconds for the call, after the wait for the rate limit.

        Raises:
            ExchangeError: as the port says, or ExchangeUnreachable from the fence.
            LeaseLost: another process owns the account. Nothing was sent.

        Cancellation: the request may still be executed, so the lease stays busy for `request_validity`.
        """
        # No await comes between this and the request, so that no other request can take the turn.
        turn = self.exchange.rate_limit_delay(operation)
        began = self.fence.check_may_send(turn, call_seconds)
        try:
            return await self._call(request, began, call_seconds + turn)
        except BaseException as error:
            if not isinstance(error, TrailingError) or isinstance(error, OutcomeUnknown):
                self.fence.extend_busy_until(began + turn)
            raise

    async def read(self, operation: str, request: Callable[[], Awaitable[T]], call_seconds: float) -> T:
        """Send a request that changes nothing, and return the answer. The lease is not needed for it.

        Args:
            operation, request, call_seconds: as in `change`.

        Raises:
            ExchangeUnreachable: it can't be read now.
            ExchangeError: as the port says.
            AuthenticationFailed: a second request was refused, too.
        """
        seconds = call_seconds + self.exchange.rate_limit_delay(operation)
        try:
            return await self._call(request, self._clock.now(), seconds)
        except OutcomeUnknown as error:
            raise ExchangeUnreachable(f"a read was not answered: {error}") from error

    async def _call(self, request: Callable[[], Awaitable[T]], began: float, seconds: float) -> T:
        deadline, calling = began + seconds, request()
        try:
            if trio.current_effective_deadline() <= deadline:
                answer = await calling  # the caller's own deadline strikes first
            else:
                with trio.CancelScope(deadline=deadline) as scope:
                    answer = await calling
                if scope.cancelled_caught:
                    raise OutcomeUnknown(f"no answer within {seconds} s")
        except AuthenticationFailed as error:
            self.outage.failed(error)
            await self.confirm_refusal(error, seconds)
            raise
        except TrailingError as error:
            self.outage.failed(error)
            raise
        self.outage.answered()
        return answer

    async def confirm_refusal(self, error: AuthenticationFailed, seconds: float) -> None:
        """Return if the exchange refuses the credentials again. One refusal may be its own mistake.

        The first confirmed refusal raises an alarm.

        Args:
            error: the first refusal.
            seconds: for the second request, a read of the positions.

        Raises:
            ExchangeUnreachable: the exchange accepts them, or did not answer. The refused request was not executed and may be
                sent again.
        """
        with trio.move_on_after(seconds) as scope:
            try:
                await self.exchange.positions()
            except AuthenticationFailed:
                if not self._is_refused:
                    self._is_refused = True
                    self._alarm("the exchange does not accept the credentials", str(error))
                return
            except ExchangeError as unclear:
                raise ExchangeUnreachable(f"refused once, and not confirmed: {error}") from unclear
        if scope.cancelled_caught:
            raise ExchangeUnreachable(f"refused once, and not confirmed within {seconds} s: {error}")
        raise ExchangeUnreachable(f"refused once, and not the second time: {error}")


def _order(p: PositionState, order_id: str | None) -> StopOrder:
    assert order_id is not None
    order = p.orders[order_id].order
    assert order is not None
    return order


def _needs_slot(p: PositionState) -> bool:
    """Return whether a move has cancelled its stop, or is about to, and the next one is still to be placed."""
    return not p.ended and (owes_stop(p) or isinstance(p.request, TakeDownStop))


def _most(p: PositionState) -> str:
    most = p.market.most_stops
    return "The exchange allows no more" if most is None else f"The exchange allows {most}"
