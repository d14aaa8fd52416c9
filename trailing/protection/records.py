"""Persists and publishes the state of an account's positions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from trailing.core.model import Position
from trailing.core.orders import INTENDED
from trailing.core.record import StopRecord, save_position
from trailing.core.requests import AmendStop, ClosePosition, PlaceNative, PlaceStop, ReplaceStop, Request
from trailing.errors import LeaseLost, StoreError
from trailing.events import Alarm, Event, Level
from trailing.protection.clock import Clock
from trailing.protection.journal import Journal
from trailing.stores.port import AddIntent, AppendEvent, CloseStop, Intent, SaveStop, SettleIntent, StoreWrite

if TYPE_CHECKING:
    from trailing.protection.position_task import PositionTask

_SILENT_UNCONFIGURED: frozenset[Level] = frozenset({"debug", "info"})
"""Logged only where structlog is configured: else it would write them to standard output."""


class EventLog:
    """Writes events to the log."""

    def __init__(self) -> None:
        import structlog  # noqa: PLC0415 - importing it takes 0.1 s, which `import trailing` need not wait for

        # Bound once: the logger that structlog hands out configures itself anew with every use.
        self._log = structlog.get_logger("trailing").bind()
        self._silent = frozenset[Level]() if structlog.is_configured() else _SILENT_UNCONFIGURED

    def write(self, event: Event) -> None:
        """Write one, where its level is wanted."""
        if event.level in self._silent:
            return
        fields = msgspec.structs.asdict(event)
        del fields["at"]
        getattr(self._log, event.level)(type(event).__name__, **fields)


class EventPublisher:
    """Publishes events.

    Args:
        log: where they are logged; None: nowhere.

    Attributes:
        dropped: events that a subscriber's full channel did not take.
    """

    def __init__(self, journal: Journal, log: EventLog | None, exchange: str, account: str) -> None:
        self._journal, self._log = journal, log
        self._exchange, self._account = exchange, account
        self._subscribers: set[trio.MemorySendChannel[Event]] = set()
        self.dropped: int = 0

    def publish(self, event: Event) -> None:
        """Tell everybody, now."""
        self._journal.post(AppendEvent(self._exchange, self._account, event))
        for subscriber in self._subscribers:
            try:
                subscriber.send_nowait(event)
            except trio.WouldBlock:
                self.dropped += 1
        if self._log is not None:
            self._log.write(event)

    @asynccontextmanager
    async def subscribe(self, capacity: int) -> AsyncIterator[trio.MemoryReceiveChannel[Event]]:
        """Events from now on, through a channel of this capacity; what finds it full is dropped and counted."""
        send, receive = trio.open_memory_channel[Event](capacity)
        self._subscribers.add(send)
        with send, receive:
            try:
                yield receive
            finally:
                self._subscribers.discard(send)


_NO_IDS: Final[frozenset[str]] = frozenset()
"""One for all positions: an empty set of its own takes 216 bytes."""

SAVE_AGAIN: Final = 5.0
"""Seconds between tries to save what the store did not take."""


@dataclass(frozen=True, slots=True)
class Records:
    """The records, intents and events of one account.

    Args:
        exchange, account: the account that they are stored under.
    """

    exchange: str
    account: str
    journal: Journal
    clock: Clock
    publisher: EventPublisher

    # The store.

    async def commit_intent(self, task: PositionTask, order_id: str, request: Request) -> None:
        """Store that an order may exist from now on, with the position's record, before it can.

        After a crash an intent therefore always has its position, its plan and what was known before. The intents that
        are settled by now end in the same commit, so that a placing which is refused again and again leaves no heap of them.

        Raises:
            StoreError: the store did not take it, and the plan refuses to go on without, or the lease is lost.

        Cancellation: ends the waiting; it may still be written, and is settled with the next save.
        """
        state, settled = task.state, self.settled(task)
        task.open_intents |= {order_id}
        facts = state.facts
        entries: tuple[StoreWrite, ...] = (
            *(SettleIntent(self.exchange, self.account, earlier) for earlier in settled),
            AddIntent(self._intent(task, order_id, request)),
            SaveStop(self.exchange, self.account, self.record(task)),
        )
        try:
            await self.journal.write(*entries, within=state.plan.journal_wait)
        except StoreError as error:
            refuses = state.plan.on_store_failure == "refuse" and not isinstance(request, ClosePosition)
            if refuses or isinstance(error, LeaseLost):
                raise
            self.alarm(state.position, "an order is placed that the store does not know of", f"{order_id}: {error}")
            return
        task.open_intents -= settled
        task.saved, task.saved_best = facts, state.ratchet.best

    def hand_in(self, task: PositionTask) -> None:
        """Have a position's record written, and the intents settled whose outcome it holds. Never waits.

        Where the store does not take it within `journal_wait`, it is handed in again later, with an alarm the first time.
        """
        state = task.state
        settled = self.settled(task)
        task.open_intents = (task.open_intents - settled) or _NO_IDS
        task.saved, task.saved_best = state.facts, state.ratchet.best
        record = self.record(task)
        # For good only where it is flat: one that was released or given up is still open, and may be protected again.
        flat = state.ended and not state.quantity
        last = CloseStop if flat else SaveStop

        def on_answer(error: StoreError | None) -> None:
            if error is None:
                task.save_at = None
                return
            task.open_intents |= settled
            if task.save_at is None:
                self.alarm(state.position, "the store does not hold what the exchange acknowledged", str(error))
            task.save_at = self.clock.now() + SAVE_AGAIN
            task.poke()

        self.journal.hand_in(
            last(self.exchange, self.account, record),
            *(SettleIntent(self.exchange, self.account, order_id) for order_id in settled),
            within=state.plan.journal_wait,
            on_answer=on_answer,
        )

    def hand_in_record(self, record: StopRecord) -> None:
        """Have a record written that no task has. Never waits; a failure is an alarm."""
        position = record.position

        def on_answer(error: StoreError | None) -> None:
            if error is not None:
                self.alarm(position, "the store does not hold what became of a position without a stop", str(error))

        last = SaveStop if record.quantity else CloseStop
        self.journal.hand_in(last(self.exchange, self.account, record), on_answer=on_answer)

    async def wait_stored(self, seconds: float, *, shield: bool = False) -> bool:
        """Wait until the store holds what was handed in so far, at most so long. What it does not take has its own alarm.

        Returns:
            Whether it holds all of it.
        """
        with trio.move_on_after(seconds, shield=shield) as scope:
            await self.journal.flush()
        return not scope.cancelled_caught

    def record(self, task: PositionTask) -> StopRecord:
        """Return a position's record as it is now."""
        now, state = self.clock.now(), task.state
        ticked_at = self.clock.utc_at(task.last_tick_at)
        prices_until = ticked_at if state.gap is None else min(ticked_at, state.gap.since)
        record = save_position(state, now, self.clock.utc_at(now), prices_until=prices_until)
        return msgspec.structs.replace(record, is_waiting=True) if task.is_waiting else record

    def _intent(self, task: PositionTask, order_id: str, request: Request) -> Intent:
        position = task.state.position
        quantity, price = Decimal(0), None
        match request:
            case PlaceStop() | ReplaceStop() | AmendStop():
                quantity, price = request.quantity, request.price
            case PlaceNative():
                quantity, price = request.quantity, request.activation
            case _:
                assert isinstance(request, ClosePosition), request
                quantity = request.quantity
        return Intent(
            exchange=self.exchange,
            account=self.account,
            symbol=position.symbol,
            side=position.side,
            identity=position.identity,
            client_order_id=order_id,
            purpose="exit" if isinstance(request, ClosePosition) else "stop",
            quantity=quantity,
            price=price,
            at=self.clock.utc(),
        )

    @staticmethod
    def settled(task: PositionTask) -> frozenset[str]:
        """Return the intents in the store whose outcome is known."""
        if not task.open_intents:
            return task.open_intents
        state = task.state
        # A live order of a request under way may be changed as soon as the request's intent is stored.
        unknown = {
            order.id
            for order in state.orders.values()
            if order.is_sent or order.state is INTENDED or order.id == state.request_id
        }
        return task.open_intents - unknown

    # Events.

    def tell(self, position: Position | None, event: Callable[..., Event], **fields: object) -> None:
        """Publish what happened to a position, or (None) to the account, now."""
        symbol = None if position is None else position.symbol
        side = None if position is None else position.side
        self.publisher.publish(event(at=self.clock.utc(), symbol=symbol, side=side, **fields))

    def alarm(self, position: Position | None, what: str, detail: str = "") -> None:
        """Publish an alarm for a position, or for the account if None."""
        self.tell(position, Alarm, what=what, detail=detail)
