"""Persists and publishes the state of an account's positions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import msgspec
import trio

from trailing.core.model import Position
from trailing.core.orders import INTENDED
from trailing.core.record import StopRecord, save_position
from trailing.core.requests import AmendStop, ClosePosition, PlaceEntry, PlaceNative, PlaceStop, ReplaceStop, Request
from trailing.core.states import State
from trailing.errors import LeaseLost, StoreError
from trailing.events import Alarm, Event, Level
from trailing.protection.clock import Clock
from trailing.protection.journal import Journal
from trailing.stores.port import AddIntent, AppendEvent, CloseStop, Intent, SaveStop, SettleIntent, StoreWrite

if TYPE_CHECKING:
    from trailing.protection.position_task import PositionTask

_SILENT_UNCONFIGURED: frozenset[Level] = frozenset({"debug", "info"})
"""Levels that are logged only if structlog is configured. Otherwise it would write them to standard output."""


class EventLog:
    """Write events to the log."""

    def __init__(self) -> None:
        import structlog  # noqa: PLC0415 - importing it takes 0.1 s, which `import trailing` need not wait for

        # Bound once, because the unbound logger of structlog configures itself again with every use.
        self._log = structlog.get_logger("trailing").bind()
        self._silent = frozenset[Level]() if structlog.is_configured() else _SILENT_UNCONFIGURED

    def write(self, event: Event) -> None:
        """Write an event if its level is logged."""
        if event.level in self._silent:
            return
        fields = msgspec.structs.asdict(event)
        del fields["at"]
        getattr(self._log, event.level)(type(event).__name__, **fields)


class EventPublisher:
    """Publish events to the store, to subscribers and to the log.

    Args:
        log: writes events to the log; None: they are not logged.

    Attributes:
        dropped: events that a subscriber's full channel did not take.
    """

    def __init__(self, journal: Journal, log: EventLog | None, exchange: str, account: str) -> None:
        self._journal, self._log = journal, log
        self._exchange, self._account = exchange, account
        self._subscribers: set[trio.MemorySendChannel[Event]] = set()
        self.dropped: int = 0

    def publish(self, event: Event) -> None:
        """Publish an event now, without waiting."""
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
        """Open a channel of all events from now on. Events that find it full are dropped and counted."""
        send, receive = trio.open_memory_channel[Event](capacity)
        self._subscribers.add(send)
        with send, receive:
            try:
                yield receive
            finally:
                self._subscribers.discard(send)


_NO_IDS: Final[frozenset[str]] = frozenset()
"""One empty set for all positions, because each empty set of a position would take 216 bytes."""

RecordKey: TypeAlias = tuple[str, str, str]
"""Symbol, side and identity of a position."""

Writes: TypeAlias = tuple[StoreWrite, ...]
"""What is committed together."""

SAVE_AGAIN: Final = 5.0
"""Seconds between two tries to save a record that the store did not take."""


@dataclass(frozen=True, slots=True)
class Records:
    """The records, intents and events of one account.

    Args:
        exchange, account: the account that they are stored under.

    Attributes:
        unstored: the last records, with the intents that they settle, that the store did not take and that no loop hands in again.
            They are of positions that have ended, wait for their key, or have no task.
        newest: the last writes of each record whose answer has not arrived. An older write that fails is not repeated.
    """

    exchange: str
    account: str
    journal: Journal
    clock: Clock
    publisher: EventPublisher
    unstored: dict[RecordKey, Writes] = field(default_factory=dict)
    newest: dict[RecordKey, Writes] = field(default_factory=dict)

    # The store.

    async def commit_intent(self, task: PositionTask, order_id: str, request: Request) -> None:
        """Store an intent and the position's record, before the order can exist.

        So after a crash, each intent has its position, its plan and the earlier facts. The same commit deletes the intents whose
        outcome is known, so that repeated refusals leave no heap of intents. Unstored records of its symbol are handed in first.
        If the store does not take the intent and no error is raised, an alarm says that the order is placed all the same.

        Raises:
            StoreError: the store did not take the intent, and the plan's `on_store_failure` is ``"refuse"``. A close is never
                refused for that, and an entry always is.
            LeaseLost: another process owns the account.

        Cancellation: ends the wait. The intent may still be written, and is settled with a later save.
        """
        state, settled = task.state, self.settled(task)
        task.open_intents |= {order_id}
        facts, record = state.facts, self.record(task)
        entries: Writes = (
            *(SettleIntent(self.exchange, self.account, earlier) for earlier in settled),
            AddIntent(self._intent(task, order_id, request)),
            SaveStop(self.exchange, self.account, record),
        )
        self._begin(_key(record), entries)
        try:
            await self.journal.write(*entries, within=state.plan.journal_wait)
        except StoreError as error:
            refuses = state.plan.on_store_failure == "refuse" and not isinstance(request, ClosePosition)
            refuses = refuses or isinstance(request, PlaceEntry)
            if refuses or isinstance(error, LeaseLost):
                raise
            self.alarm(state.position, "an order is placed that the store does not know of", f"{order_id}: {error}")
            return
        finally:
            self._end(_key(record), entries)
        task.open_intents -= settled
        task.saved, task.saved_best = facts, state.ratchet.best

    def hand_in(self, task: PositionTask) -> None:
        """Hand in a position's record, and settle the intents whose outcome it holds. Never wait.

        Unstored records of its symbol are handed in first. If the store does not take the record within `journal_wait`, it is
        handed in again later. The first such failure in a row raises an alarm.
        """
        state = task.state
        settled = self.settled(task)
        if state.ended:  # an earlier entry that settles some may still fail, and nothing is handed in after this one
            settled |= task.settling
        task.open_intents = (task.open_intents - settled) or _NO_IDS
        task.settling |= settled
        task.saved, task.saved_best = state.facts, state.ratchet.best
        record = self.record(task)
        # A record is closed only for a flat position. A released or abandoned one is open and may be protected again.
        flat = state.ended and not state.quantity
        last = CloseStop if flat else SaveStop

        entries = (
            last(self.exchange, self.account, record),
            *(SettleIntent(self.exchange, self.account, order_id) for order_id in settled),
        )
        key = _key(record)
        self._begin(key, entries)

        def on_answer(error: StoreError | None) -> None:
            is_newest = self._end(key, entries)
            task.settling = (task.settling - settled) or _NO_IDS
            if error is None:
                task.save_at = None
                return
            task.open_intents |= settled
            if task.save_at is None:
                self.alarm(state.position, "the store does not hold what the exchange acknowledged", str(error))
            task.save_at = self.clock.now() + SAVE_AGAIN
            if is_newest and (state.ended or task.is_waiting):  # no loop of it runs
                self.unstored[key] = entries
            task.poke()

        self.journal.hand_in(*entries, within=state.plan.journal_wait, on_answer=on_answer)

    def hand_in_record(self, record: StopRecord) -> None:
        """Hand in the record of a position without a task. Never wait. A failure raises an alarm, and `store_again` repeats it."""
        last = SaveStop if record.quantity else CloseStop
        entries, key = (last(self.exchange, self.account, record),), _key(record)
        self._begin(key, entries)

        def on_answer(error: StoreError | None) -> None:
            is_newest = self._end(key, entries)
            if error is not None:
                if is_newest:
                    self.unstored[key] = entries
                detail, position = str(error), record.position
                self.alarm(position, "the store does not hold what became of a position without a stop", detail)

        self.journal.hand_in(*entries, on_answer=on_answer)

    def close(self, record: StopRecord) -> None:
        """Close the record of a position without a task in the store, as if it were flat. Never wait."""
        self.hand_in_record(msgspec.structs.replace(record, state=State.CLOSED.value, quantity=Decimal(0)))

    def store_again(self, symbol: str | None = None) -> None:
        """Hand in the unstored records again, of one symbol or (None) of all. Never wait."""
        for key, entries in tuple(self.unstored.items()):
            if symbol not in (None, key[0]):
                continue
            del self.unstored[key]
            self.newest[key] = entries

            def on_answer(error: StoreError | None, key: RecordKey = key, entries: Writes = entries) -> None:
                if self._end(key, entries) and error is not None:
                    self.unstored[key] = entries

            self.journal.hand_in(*entries, on_answer=on_answer)

    def _begin(self, key: RecordKey, entries: Writes) -> None:
        """Note the newest writes of a record, which are handed in next. They replace its unstored ones.

        The unstored records of other positions of its symbol are handed in now, because a position that claims the key after
        another one must not be stored before that one's end. They are writes of their own, so that one that the store never takes
        keeps no later record out of the store.
        """
        self.unstored.pop(key, None)
        self.newest[key] = entries
        self.store_again(key[0])

    def _end(self, key: RecordKey, entries: Writes) -> bool:
        """Note that writes of a record were answered. Return whether they are still its newest ones."""
        if self.newest.get(key) is not entries:
            return False
        del self.newest[key]
        return True

    async def wait_stored(self, seconds: float, *, shield: bool = False) -> bool:
        """Wait until the store has taken what was handed in so far, or its commit has failed.

        A record that the store does not take raises its own alarm.

        Args:
            seconds: the most seconds to wait.
            shield: whether a cancellation from outside does not end the wait.

        Returns:
            False if the time was over first.
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
        purpose: Literal["stop", "exit", "entry"] = "stop"
        quantity, price = Decimal(0), None
        match request:
            case PlaceStop() | ReplaceStop() | AmendStop():
                quantity, price = request.quantity, request.price
            case PlaceNative():
                quantity, price = request.quantity, request.activation
            case PlaceEntry():
                purpose, quantity, price = "entry", request.quantity, request.limit
            case _:
                assert isinstance(request, ClosePosition), request
                purpose, quantity = "exit", request.quantity
        return Intent(
            exchange=self.exchange,
            account=self.account,
            symbol=position.symbol,
            side=position.side,
            identity=position.identity,
            client_order_id=order_id,
            purpose=purpose,
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
        if state.entry is not None and state.entry_row is not None:
            unknown.add(state.entry.id)
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


def _key(record: StopRecord) -> RecordKey:
    position = record.position
    return position.symbol, position.side, position.identity
