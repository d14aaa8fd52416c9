"""Inspect a running manager, and disturb it: the one place where tests know what stands behind its public face."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from typing import TypeAlias
from unittest import mock

import trio

from trailing import Manager, Market, Position, Ratchet, StopOrder, StopRecord, Tick, TrailPlan
from trailing.core.account import AccountSnapshot, PositionReport
from trailing.core.entry_checks import check_report, check_side
from trailing.core.goals import Close
from trailing.core.inputs import CheckWanted, Frozen, OrderUpdated
from trailing.core.model import Side
from trailing.core.orders import SENT, Order
from trailing.core.position import PositionState
from trailing.core.record import save_position
from trailing.core.refusals import is_doubtful
from trailing.core.requests import PlaceStop
from trailing.events import Event
from trailing.exchanges.port import Update
from trailing.protection.position_task import PositionTask
from trailing.protection.waves.adoption import Adoption
from trailing.protection.waves.outcomes import Outcome
from trailing.protection.waves.wave import Wave

Key: TypeAlias = tuple[str, Side]
"""Symbol and side."""


class Claim:
    """One claimed position. Each property returns its value at the moment of the read.

    Two claims are equal where they are the same claim: a position that ended and was protected again has another one.
    A claim can still be read after its position has ended.
    """

    def __init__(self, inspection: Inspection, task: PositionTask) -> None:
        self._inspection, self._task = inspection, task

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Claim) and other._task is self._task

    def __hash__(self) -> int:
        return hash(self._task)

    def __repr__(self) -> str:
        return f"<claim of the {self.position.side} {self.position.symbol}, {self.state}>"

    @property
    def _state(self) -> PositionState:
        return self._task.state

    @property
    def key(self) -> Key:
        return self.position.symbol, self.position.side

    @property
    def position(self) -> Position:
        """The position as it was handed in."""
        return self._state.position

    @property
    def plan(self) -> TrailPlan:
        return self._state.plan

    @property
    def state(self) -> str:
        """The state in the public words: ``"trailing"``, ``"exiting"`` and so on."""
        return self._state.state.value

    @property
    def quantity(self) -> Decimal:
        """What is left of the position."""
        return self._state.quantity

    @property
    def error(self) -> Exception | None:
        """The last error of a request, until the exchange confirms something."""
        return self._state.error

    @property
    def is_opened(self) -> bool:
        """Whether the opening has ended, with or without a stop."""
        return not self._state.is_opening

    @property
    def is_closed(self) -> bool:
        """Whether the position has ended. Its last record may still be on the way to the store."""
        return self._state.ended

    @property
    def is_frozen(self) -> bool:
        """Whether a bug froze the position: its stop is live and is not moved."""
        return self._state.is_frozen

    @property
    def is_entry_doubted(self) -> bool:
        """Whether it may be another position: another entry price was reported, or another one was handed in."""
        return self._state.doubted_stop is not None or self._state.successor is not None

    # Work.

    @property
    def has_task(self) -> bool:
        """Whether a position task answers for it: one runs whenever there is work."""
        return self._task.is_watched

    @property
    def is_at_work(self) -> bool:
        """Whether its task is doing a request right now."""
        return self._state.request is not None

    @property
    def has_unknown_request(self) -> bool:
        """Whether a request was sent whose outcome is unknown, or is in flight."""
        return any(order.is_sent for order in self._state.orders.values())

    @property
    def has_request_wanted(self) -> bool:
        """Whether a request is to be sent now that was not begun yet."""
        return self._task.wakes_at() <= trio.current_time()

    @property
    def has_work(self) -> bool:
        """Whether a request is in flight, unknown or wanted, so that the exchange may hold two stops or none."""
        return bool(
            self._task.has_unfinished
            or self.is_at_work
            or self.has_request_wanted
            or self.state == "exiting"
            or self.has_native_work
        )

    @property
    def has_native_work(self) -> bool:
        """Whether the exchange's own trailing order is to be placed, replaced or cancelled."""
        return self._state.native_task is not None

    @property
    def checked_at(self) -> float:
        """When the last snapshot that it judged was asked for."""
        return self._state.checked_at

    # Prices and orders.

    @property
    def peak(self) -> Decimal:
        """The best price so far."""
        return self._state.ratchet.best

    @property
    def target(self) -> Decimal:
        """The tightest stop price wanted so far."""
        return self._state.target

    @property
    def stop(self) -> StopOrder | None:
        """The live stop that counts, as the exchange acknowledged it."""
        return self._state.stop

    @property
    def stop_price(self) -> Decimal | None:
        """The price of that stop."""
        return None if self._state.stop is None else self._state.stop.price

    @property
    def native(self) -> StopOrder | None:
        """The exchange's own trailing order, as the exchange acknowledged it."""
        return None if self._state.native is None else self._state.native.order

    @property
    def is_trailed_by_exchange(self) -> bool:
        """Whether the exchange's own trailing order moves in place of our stop."""
        return self._state.is_trailed_by_exchange

    @property
    def candle_builder(self) -> object | None:
        """The object that builds candles for its rules; None where no rule looks at candles."""
        return self._task.candles

    # Records.

    @property
    def record(self) -> StopRecord:
        """The record that a save would write now."""
        return save_position(self._state, trio.current_time())

    @property
    def is_stored(self) -> bool:
        """Whether the store holds everything that the exchange acknowledged."""
        return self._task.save_at is None and self._task.saved == self._state.facts

    @property
    def is_backfilled(self) -> bool:
        """Whether the candles of every price gap were read, but for the bar that was open at the gap's end."""
        gap = self._state.gap
        return gap is None or gap.is_last_try

    # What a test makes happen to it.

    def check(self) -> float:
        """Ask for a snapshot. Returns the time that `checked_at` reaches once it is judged."""
        self._task.step(CheckWanted())
        return self._state.check_from

    def want_move(self, price: Decimal) -> None:
        """Have the stop moved, as if a rule wanted it now."""
        self._state.ratchet.target = price
        self._task.poke()

    def want_exit(self, reason: str = "on purpose", *, later: bool = False) -> None:
        """Have the position closed, as if software had confirmed a crossing; `later`: its task is not woken for it."""
        self._state.goal = Close(reason, is_revocable=True)
        if not later:
            self._task.poke()

    def report_entry(self, price: Decimal) -> None:
        """Have another entry price noted, and its record saved, as after a snapshot that shows it."""
        self._state.reported_entry = price
        self._task.step(CheckWanted())

    def break_candles(self) -> None:
        """Let the next tick raise ZeroDivisionError for this position, and for no other one of its symbol."""

        class Broken:
            def advance(self, *_: object) -> None:
                raise ZeroDivisionError("a bug")

        self._task.candles = Broken()  # type: ignore[assignment]

    @contextmanager
    def unknown_request(self) -> Iterator[None]:
        """Let a request have an unknown outcome within the block."""
        self._state.orders["unknown"] = Order("unknown", "stop", SENT, Decimal(1), Decimal(1))
        yield
        del self._state.orders["unknown"]


class Inspection:
    """Everything that tests ask of a running manager."""

    def __init__(self, manager: Manager) -> None:
        self._manager, self.supervision = manager, manager._supervision
        self._records, self._sender = self.supervision.records, self.supervision.sender

    # Claims.

    def claims(self) -> tuple[Claim, ...]:
        """Every claimed position, in the order of the claims."""
        return tuple(Claim(self, task) for task in self.supervision.registry.all())

    def claims_of(self, symbol: str) -> tuple[Claim, ...]:
        """The claimed positions of a symbol: at most one, or two where the account is hedged."""
        return tuple(Claim(self, task) for task in self.supervision.registry.of_symbol(symbol))

    def claim(self, symbol: str, side: Side) -> Claim | None:
        """The claim of a position, or None."""
        return next((claim for claim in self.claims_of(symbol) if claim.position.side == side), None)

    def claimed(self) -> set[Key]:
        """The keys of all claims."""
        return {claim.key for claim in self.claims()}

    def listed(self) -> set[Key]:
        """The keys that a caller finds in `stops()`, in `unprotected()` or in `entries()`."""
        manager = self._manager
        return manager.stops().keys() | manager.unprotected().keys() | manager.entries().keys()

    def closing(self) -> set[Key]:
        """The keys of all claims of whose position nothing is left, so that no list has to name it."""
        return {claim.key for claim in self.claims() if not claim.quantity}

    def listed_beside(self) -> set[Key]:
        """The keys that may be listed beside a live stop: another position waits or was given up, or ours can't be reduced."""
        supervision = self.supervision
        states = (task.state for task in supervision.registry.all())
        waiting = (task.state for task in supervision.registry.waiting())
        doubted = (state for state in states if is_doubtful(state))
        positions = (state.position for state in (*waiting, *doubted))
        return {(position.symbol, position.side) for position in positions} | supervision.given_up.listed.keys()

    def with_task(self) -> set[Key]:
        """The keys of all claims that a position task answers for."""
        return {claim.key for claim in self.claims() if claim.has_task}

    def with_work(self) -> set[Key]:
        """The keys of all claims with a request that is in flight, unknown or wanted."""
        return {claim.key for claim in self.claims() if claim.has_work}

    def with_unknown_request(self) -> set[Key]:
        """The keys of all claims with a request whose outcome is unknown."""
        return {claim.key for claim in self.claims() if claim.has_unknown_request}

    def natives(self) -> dict[Key, StopOrder]:
        """The exchange's own trailing order of every claim that has one."""
        return {claim.key: claim.native for claim in self.claims() if claim.native is not None}

    def released_stops(self) -> tuple[str, ...]:
        """The client order ids of the stops that were left live when their positions were released."""
        return tuple(self.supervision.reconciler.released_stops)

    def alarmed_orders(self) -> set[str]:
        """The client order ids that an alarm has told of, and none tells of again."""
        return set(self.supervision.reconciler._alarmed)

    def remove(self, claim: Claim) -> None:
        """End a claim, as at the end of its position."""
        self.supervision.registry.release(claim._task)

    def note_claiming(self, *, most: int) -> list[Key]:
        """Return a list that every attempt to claim a position is added to from now on.

        The attempt after `most` attempts raises AssertionError, because a loop without a wait would never end.
        """
        claim, keys = self.supervision.registry.claim, list[Key]()

        def noted(new: PositionTask) -> PositionTask:
            position = new.state.position
            keys.append((position.symbol, position.side))
            assert len(keys) <= most, "it asks again and again without a wait"
            return claim(new)

        self.supervision.registry.claim = noted  # type: ignore[method-assign]
        return keys

    # Work that a test asks for.

    def reconcile_now(self) -> None:
        """Ask for a snapshot of the account, compared with the claims as soon as it is read."""
        self.supervision.check_all()

    async def read_account(self) -> AccountSnapshot:
        """Wait for a snapshot that is asked for from now on, as an adoption does."""
        return await self.supervision.reader.read()

    async def save(self, claim: Claim) -> None:
        """Write a claim's record."""
        self._records.hand_in(claim._task)
        await self._records.journal.flush()

    def freeze(self, claim: Claim, bug: Exception) -> None:
        """Freeze a position, as after a bug of its task."""
        claim._task.step(Frozen(bug))

    async def protect_over(
        self, standing: StopOrder, position: Position, plan: TrailPlan, *, deadline: float
    ) -> Outcome:
        """Protect a position behind which this stop of ours was found, as an adoption does."""
        wave = Wave(self.supervision, plan, deadline, is_reported=True)
        (outcome,) = await wave.run_each([partial(wave.protect, position, standing=standing)])
        return outcome

    async def find_to_adopt(
        self, symbol: str, side: Side, plan: TrailPlan, stop_price: Decimal | None, *, within: float
    ) -> tuple[Position, StopOrder | None]:
        """What an adoption reads first: the position, and a live stop of ours that it may take, or None."""
        given = {} if stop_price is None else {(symbol, side): stop_price}
        found = await Adoption(self.supervision, plan, within, given).find((symbol, side), wants_price=bool(given))
        return found.position, found.standing

    def lose_native(self, claim: Claim, client_order_id: str) -> None:
        """Note that a trailing order of the exchange's own has vanished."""
        claim._task.step(OrderUpdated(client_order_id, "cancelled"))

    # Orders and the lease.

    def new_order_id(self) -> str:
        """A client order id that carries the manager's own mark."""
        return self.supervision.ids.new()

    async def send_place(self, claim: Claim, price: Decimal, quantity: Decimal) -> StopOrder:
        """Place a stop of a position, at once."""
        request, state = PlaceStop(price, quantity), claim._state
        placed = await self._sender.perform(state, request, self.new_order_id())
        assert isinstance(placed, StopOrder)
        return placed

    async def send_cancel(self, order: StopOrder, *, call_seconds: float) -> None:
        """Cancel a stop, at once."""
        await self._sender.cancel(order, call_seconds)

    def check_may_send(self, rate_limit_delay: float, call_seconds: float) -> float:
        """Return when a request would be sent. Raises where it might be executed after the end of the lease."""
        return self._sender.fence.check_may_send(rate_limit_delay, call_seconds)

    def extend_busy_until(self, at: float) -> None:
        """Note a request that was sent and given up: the exchange may execute it until `at`, plus its validity."""
        self._sender.fence.extend_busy_until(at)

    # Events, the journal and the clock.

    def publish(self, event: Event) -> None:
        """Publish an event to the log, the store and the subscribers."""
        self._records.publisher.publish(event)

    def record_events(self, events: list[Event]) -> None:
        """Add every event from now on to a list, before anybody else gets it."""
        self.call_with_events(events.append)

    def call_with_events(self, take: Callable[[Event], object]) -> None:
        """Call a function with every event from now on, before anybody else gets it."""
        publish = self._records.publisher.publish

        def keep(event: Event) -> None:
            take(event)
            publish(event)

        self._records.publisher.publish = keep  # type: ignore[method-assign]

    def entries_waiting(self) -> int:
        """How many entries were handed to the journal and are not in the store."""
        return self._records.journal.statistics().waiting

    def set_clock_ahead(self, seconds: float) -> None:
        """Let the manager's clock show a later time than the exchange's and the store's."""
        self._records.clock.now = self.supervision.now = lambda: trio.current_time() + seconds

    # Bugs on purpose.

    def break_feed(self) -> None:
        """Let whatever the exchange pushes next raise ZeroDivisionError in the manager's stream task."""
        self.supervision.feed.take = lambda _: 1 / 0  # type: ignore[assignment,method-assign]

    def take(self, update: Update) -> None:
        """Take an update as if the exchange had pushed it."""
        self.supervision.feed.take(update)

    def forget_to_list(self, symbol: str) -> None:
        """Let `unprotected()` leave a symbol's positions out."""
        unprotected = self.supervision.unprotected
        self.supervision.unprotected = lambda: {  # type: ignore[method-assign]
            key: listed for key, listed in unprotected().items() if key[0] != symbol
        }


def check_reported(position: Position, report: PositionReport, plan: TrailPlan) -> None:
    """Check a position against the exchange's report of it, as its opening does. Raises UsageError."""
    check_report(position, plan, Market(position.symbol), report)


def check_given_stop(position: Position, price: Decimal) -> None:
    """Check a position's own stop price against the market's price, as its opening does. Raises UsageError."""
    check_side(position, price)


@contextmanager
def bug_on_ticks_of(symbol: str) -> Iterator[None]:
    """Let every tick of a symbol that could move a stop raise ZeroDivisionError in the core, within the block."""
    take = Ratchet.take

    def broken(ratchet: Ratchet, tick: Tick) -> bool:
        if tick.symbol == symbol:
            raise ZeroDivisionError("planted")
        return take(ratchet, tick)

    with mock.patch.object(Ratchet, "take", broken):
        yield
