"""Exchange calls for one order, each with a deadline, each unknown outcome to be settled.

A request that was sent belongs to the exchange. What may exist is written down before it can, and stays on the books
until somebody has looked.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Literal, TypeVar

import trio

from trailing.core.account import Pending, PositionReport
from trailing.core.model import Candle, Fill, Percent, Side, Source, StopOrder, Tick
from trailing.errors import ExchangeUnreachable, OutcomeUnknown, RateLimited, StopRejected, TrailingError
from trailing.exchanges.port import StopRequest
from trailing.protection.books import Books
from trailing.protection.clock import Clock
from trailing.protection.gate import Gate
from trailing.protection.order_ids import OrderIds
from trailing.protection.protection import Protection
from trailing.protection.reach import Reach

T = TypeVar("T")

_LOOK_AGAIN = 0.25
"""Seconds between two reads of what isn't settled yet; any figure well under the clean-up's 5 s would do."""


class _FailureNoted:
    """What keeps a bare position bare is what its last request failed with; one that was cancelled, too."""

    __slots__ = ("_clock", "_protection")

    def __init__(self, protection: Protection, clock: Clock) -> None:
        self._protection, self._clock = protection, clock

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is not None:
            self._protection.note_failure(error, self._clock.now())


@dataclass(frozen=True, slots=True)
class Orders(Books):
    """What placing, looking up and cancelling one account's orders needs."""

    ids: OrderIds
    reach: Reach
    gate: Gate

    # Sending.

    async def place(
        self, protection: Protection, price: Decimal, quantity: Decimal, callback: Percent | None = None
    ) -> StopOrder:
        """Write a stop down and place it. Afterwards it is acknowledged, surely absent, or `pending`.

        Args:
            callback: of a trailing order; as of `StopRequest`.

        Raises:
            StopRejected, ExchangeUnreachable, AuthenticationFailed: no order exists, and the intent is settled.
            RateLimited: also where its turn can't come before the caller's deadline.
            OutcomeUnknown: it is `pending`.
            StoreError: where the plan refuses to place what could not be written down, or the lease is lost; nothing was
                sent.

        Cancellation: the request, if it was sent, goes on; it is `pending`.
        """
        position, client_order_id = protection.position, self.ids.new()
        trigger = protection.plan.trigger
        request = StopRequest(position.symbol, position.side, quantity, price, client_order_id, trigger, callback)
        with _FailureNoted(protection, self.clock):
            await self.write_intent(protection, client_order_id, "stop", quantity, price)
            turn = self.exchange.next_turn("place_stop")
            if turn and self.clock.now() + turn > trio.current_effective_deadline():
                self._settled(protection, client_order_id)
                raise RateLimited(f"its turn comes in {turn:.1f} s, after the deadline", retry_after=turn)
            return await self._send(
                protection, client_order_id, "stop", "place_stop", partial(self.exchange.place_stop, request)
            )

    async def amend(self, protection: Protection, order: StopOrder, price: Decimal, quantity: Decimal) -> StopOrder:
        """Write a change down and make it, in place. Errors and cancellation as `place`."""
        await self.write_intent(protection, order.client_order_id, "stop", quantity, price)
        return await self._send(
            protection,
            order.client_order_id,
            "stop",
            "amend_stop",
            partial(self.exchange.amend_stop, order, price=price, quantity=quantity),
        )

    async def close(self, protection: Protection, quantity: Decimal) -> Fill:
        """Write a reduce-only close at market down and send it. Errors and cancellation as `place`."""
        position = protection.position
        client_order_id = self.ids.new()
        with _FailureNoted(protection, self.clock):
            await self.write_intent(protection, client_order_id, "exit", quantity, None)
            return await self._send(
                protection,
                client_order_id,
                "exit",
                "close_position",
                partial(self.exchange.close_position, position.symbol, position.side, quantity, client_order_id),
            )

    async def _send(
        self,
        protection: Protection,
        client_order_id: str,
        purpose: Literal["stop", "exit"],
        operation: str,
        request: Callable[[], Awaitable[T]],
    ) -> T:
        protection.pending[client_order_id] = Pending(client_order_id, purpose, self.clock.now())
        try:
            answer = await self._change(operation, request, protection.plan.call_seconds)
        except OutcomeUnknown:
            raise
        except TrailingError:
            self._settled(protection, client_order_id)
            raise
        self._settled(protection, client_order_id)
        protection.confirm(self.clock.now())
        return answer

    @staticmethod
    def _settled(protection: Protection, client_order_id: str) -> None:
        protection.pending.pop(client_order_id, None)
        protection.settled |= {client_order_id}

    async def cancel(self, order: StopOrder, *, call_seconds: float) -> None:
        """Ask for a stop to be cancelled, once. `call_seconds`: for the call, plus its turn. Raises ExchangeError, LeaseLost."""
        await self._change("cancel_stop", partial(self.exchange.cancel_stop, order), call_seconds)

    async def _change(self, operation: str, request: Callable[[], Awaitable[T]], call_seconds: float) -> T:
        """Send what changes something: the only way to the exchange for it, through the gate."""
        # No await between this and the request: nobody else's request can take the turn.
        turn = self.exchange.next_turn(operation)
        began = self.gate.let_pass(turn, call_seconds)
        try:
            return await self._call(request(), began, call_seconds + turn)
        except BaseException as error:
            if not isinstance(error, TrailingError) or isinstance(error, OutcomeUnknown):
                self.gate.note_unanswered(began + turn)
            raise

    async def _call(self, calling: Awaitable[T], began: float, seconds: float) -> T:
        deadline = began + seconds
        try:
            if trio.current_effective_deadline() <= deadline:
                answer = await calling  # the caller's own deadline strikes first
            else:
                with trio.CancelScope(deadline=deadline) as scope:
                    answer = await calling
                if scope.cancelled_caught:
                    raise OutcomeUnknown(f"no answer within {seconds} s")
        except TrailingError as error:
            self.reach.failed(error)
            raise
        self.reach.answered()
        return answer

    async def _read(self, protection: Protection, operation: str, reading: Awaitable[T]) -> T:
        try:
            with _FailureNoted(protection, self.clock):
                seconds = protection.plan.call_seconds + self.exchange.next_turn(operation)
                answer = await self._call(reading, self.clock.now(), seconds)
        except OutcomeUnknown as error:
            raise ExchangeUnreachable(f"a read was not answered: {error}") from error
        protection.confirm(self.clock.now())
        return answer

    async def _ask(self, operation: str, reading: Awaitable[T], call_seconds: float) -> T:
        """A read for no position that is protected."""
        try:
            seconds = call_seconds + self.exchange.next_turn(operation)
            return await self._call(reading, self.clock.now(), seconds)
        except OutcomeUnknown as error:
            raise ExchangeUnreachable(f"a read was not answered: {error}") from error

    # Settling.

    async def settle(self, protection: Protection, client_order_id: str) -> StopOrder | None:
        """Find out what became of a stop of unknown outcome: live, or None: it is not, and never will be.

        Absence is believed after two reads, the second one later than any time at which the request could still be
        executed or a read could still miss it. The intent stays on the books until the caller saves.

        Raises:
            AuthenticationFailed: and nothing else: it goes on until it knows, or until the caller's deadline.
        """
        pending = protection.pending.get(client_order_id)
        executed_by = pending.sent_at + self.exchange.request_validity if pending is not None else -math.inf
        if client_order_id in protection.stop.orders:
            # A change of a live stop: that it is found proves nothing while the change may still be executed.
            await trio.sleep(max(0.0, executed_by + self.exchange.orders_read_lag - self.clock.now()))
        order = await self._look_up(protection, client_order_id, executed_by)
        self._settled(protection, client_order_id)
        return order

    async def _look_up(self, protection: Protection, client_order_id: str, executed_by: float) -> StopOrder | None:
        sure_from = executed_by + self.exchange.orders_read_lag
        seen_absent = False
        while True:
            asked_at = self.clock.now()
            try:
                finding = self.exchange.find_stop(protection.position.symbol, client_order_id)
                order = await self._read(protection, "find_stop", finding)
            except ExchangeUnreachable:
                await trio.sleep(_LOOK_AGAIN)
                continue
            if order is not None:
                return order
            if seen_absent and asked_at >= sure_from:
                return None
            seen_absent = True
            await trio.sleep(max(_LOOK_AGAIN, sure_from - self.clock.now()))

    async def withdraw(self, protection: Protection, order: StopOrder) -> None:
        """Cancel a stop and return once it is surely gone, cancelled or filled.

        Raises:
            AuthenticationFailed, LeaseLost: and nothing else: it goes on until it knows, or until the caller's deadline.
        """
        protection.cancelling |= {order.client_order_id}
        try:
            while True:
                sent_at = self.clock.now()
                try:
                    await self.cancel(order, call_seconds=protection.plan.call_seconds)
                    break
                except ExchangeUnreachable:
                    await trio.sleep(_LOOK_AGAIN)
                except (OutcomeUnknown, StopRejected):
                    executed_by = sent_at + self.exchange.request_validity
                    if await self._look_up(protection, order.client_order_id, executed_by) is None:
                        break
            protection.confirm(self.clock.now())
        finally:
            protection.cancelling -= {order.client_order_id}

    async def read_position(self, protection: Protection) -> PositionReport | None:
        """The position as the exchange reports it, or None: it is flat.

        Flatness is believed after two reads, the second one later than a read could still miss an earlier write.

        Raises:
            ExchangeUnreachable, AuthenticationFailed: it can't be read now.
        """
        position = protection.position
        return await self._look_for_position(
            position.symbol,
            position.side,
            lambda: self._read(protection, "positions", self.exchange.positions()),
        )

    async def find_position(self, symbol: str, side: Side, *, call_seconds: float) -> PositionReport | None:
        """A position that nobody protects, as `read_position` gives one. `call_seconds`: for each read, plus its turn."""
        return await self._look_for_position(
            symbol, side, lambda: self._ask("positions", self.exchange.positions(), call_seconds)
        )

    async def _look_for_position(
        self, symbol: str, side: Side, read: Callable[[], Awaitable[Sequence[PositionReport]]]
    ) -> PositionReport | None:
        sure_from = self.clock.now() + self.exchange.positions_read_lag
        seen_flat = False
        while True:
            asked_at = self.clock.now()
            for report in await read():
                if (report.symbol, report.side) == (symbol, side):
                    return report
            if seen_flat and asked_at >= sure_from:
                return None
            seen_flat = True
            await trio.sleep(max(0.0, sure_from - self.clock.now()))

    async def read_price(self, protection: Protection) -> Decimal:
        """The exchange's own price of the plan's source, now. Raises as `read_position`."""
        reading = self.exchange.price(protection.position.symbol, protection.plan.trigger)
        return (await self._read(protection, "price", reading)).price

    async def find_stops(self, symbol: str, side: Side, *, call_seconds: float) -> Sequence[StopOrder]:
        """The live stops of a position that nobody protects, ours or not. See `find_position`."""
        stops = await self._ask("open_stops", self.exchange.open_stops(), call_seconds)
        return tuple(order for order in stops if (order.symbol, order.side) == (symbol, side))

    async def find_price(self, symbol: str, source: Source, *, call_seconds: float) -> Tick:
        """The exchange's own price of a symbol that nobody protects. See `find_position`."""
        return await self._ask("price", self.exchange.price(symbol, source), call_seconds)

    async def read_candles(self, protection: Protection, since: datetime) -> Sequence[Candle]:
        """The closed candles of the plan's source that opened at or after a time. Raises as `read_position`."""
        position = protection.position
        reading = self.exchange.candles(position.symbol, protection.plan.trigger, since)
        return await self._read(protection, "candles", reading)
