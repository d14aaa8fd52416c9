"""The state of one position in one object with one writer.

`PositionState.step` is the only writer. It takes inputs, and `trailing.core.next_request` derives the next request, so
no decision is stored that could outlive its reasons. Nothing here waits, reads a clock or logs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from msgspec.structs import replace

from trailing.core.account import PositionReport
from trailing.core.derived import derive, derive_from_price
from trailing.core.entries import EntryFacts
from trailing.core.entry_checks import coverable
from trailing.core.evidence import FlatEvidence, Timing
from trailing.core.gaps import PriceGap
from trailing.core.goals import PROTECT, End, Goal
from trailing.core.handlers import HANDLERS
from trailing.core.identity import left_open
from trailing.core.inputs import Begun, Input, PriceSeen, Publish
from trailing.core.model import Fill, Market, Position, StopOrder
from trailing.core.orders import Order
from trailing.core.plan import TrailPlan
from trailing.core.prices import is_tighter
from trailing.core.ratchet import Ratchet
from trailing.core.refusals import Refusal
from trailing.core.requests import Kind, Request
from trailing.core.retries import BackOff
from trailing.core.states import State, state_of
from trailing.events import Alarm, Event
from trailing.unprotected import ALWAYS_PROTECTED, Cause, UnprotectedSpan, UnprotectedTime

_ZERO = Decimal(0)


@dataclass(slots=True, eq=False, repr=False)
class PositionState:
    """The state of one protected position.

    Args:
        ratchet: the price side, with the position, its plan, its market, the best price and the plan's stop.
        timing: the delays that the exchange states.
        claimed_at: when the position was claimed, in seconds on the running clock, as every time here.
        opened_at: when it was opened. A list requested before then, plus the read lag, may show an earlier position.
        unprotected_time: its earlier unprotected seconds, by cause; `unprotected_span`: the present ones, or None.
        entry: its entry order, if this library places or placed it; or None.

    Attributes:
        position, market: the protected position, and the exchange's rules for its symbol.
        goal: the goal of the work on the position.
        quantity: the open rest of the position, in base units.
        orders: our orders that exist or may exist, by client order id.
        entry_row: the entry, as `orders` has the others, until nothing more of it can be filled; or None.
        listed_more: when the list was answered that showed more than its known fills, and how much; or None.
        floor: the tightest stop that was acknowledged or that the liquidation price asked for; or None. No request is
            looser, unless the floor can't be placed. `former_floors`: the last other stops.
        reported_entry: the exchange's entry price, by which another position is recognized; None: none was reported.
        native_task: the next action on the trailing order, ``"place"``, ``"withdraw"`` or ``"replace"``; or None.
        replaced_by: another position that is open in its place and is not protected; or None.
        request: the request under way, or None; `request_id`: its order; `is_sent`, `sent_at`: if and when it left.
        back_offs: the back-offs, by kind of request; `short_lived`: that of stops that ended soon after their placing.
        moved_at: when the last acknowledged move was sent, or None.
        crossed_at: when the price crossed both the live stop and the plan's, or None.
        would_trigger: the exchange said that the price is beyond a wanted stop; `refused_stop`: the price refused last.
        full_until: until when no second stop is placed beside the live one, because the account has no slot for it.
        taken_down: the stop that was cancelled so that another can be placed, until one is; or None.
        error: the last error of a request, until one succeeds; `refusal`: refusals because nothing can be reduced.
        flat: the evidence for the position being flat.
        check_from: a snapshot is wanted that is requested at this time or later; infinite: none is.
        missed_until: a snapshot requested at this time or later shows what may have been missed; infinite: nothing was.
        checked_by: until when an exit by software waits for such a snapshot.
        again_at: when another snapshot can decide an open question; infinite: there is none.
        checked_at, shown_at, listed_at: when the last snapshot was requested that judged it, told its quantity, lists it.
        policy_from: when `retry_for` begins. Infinite until placing a stop was answered.
        leftovers: our stops in snapshots that have no row, with when they were first shown.
        ended_orders: the last orders that left the table, by id, with `changed_at` then. A late list or fill may be of one.
        missing_stops: stops that lists and look-ups lost, while no list has shown a stop since; `missing_since`: when
            the last of them was lost.
        is_listing_untrusted: its lists don't show a stop that counts as live, so they prove no absence.
        is_lookup_untrusted: a look-up does not show the stop in place of a missing one, so look-ups prove no absence.
        updated_at: when the change happened that an update last reported; `told_quantity`: the quantity that it left.
        left_open_before: `left_open` as an earlier process stored it, or as a later update than the last fill's changed it.
        is_rest_unknown: a close was sent of a quantity that no list had shown since something may have been missed.
        doubted_stop: the unlisted stop that counted at a change of the entry price. Without it, the position is gone.
        successor: another position of its key, handed in by a caller, until a snapshot shows which is open; or None.
        is_awaited: another position of its key was handed in, and waits for its end.
        is_opening: a caller's deadline runs for the first stop, and the plan's policies don't count yet.
        was_tried: a first stop was requested. From then on the rules are asked.
        is_entry_checked: its figures were compared with the exchange's own.
        is_frozen: a rule or the task failed, so its stop stays where it is.
        gap: a time without prices whose peaks are to be read; `told_liquidation`: the price of the last alarm; or None.
        moves, filled, proceeds, last_fill, exit_reason: counts, sums and words for its report.
        confirmed_at: when the exchange last confirmed a request that is no read; None: never.
        live: the live stop that counts: the tightest that is not superseded, the newest of equals; or None.
        is_covered: whether a stop of ours is live, as far as is known.
        has_unknown: whether a stop or trailing order has an unknown outcome; `exit_sent`: whether a close is unsettled.
        has_unwanted, has_doubted, has_triggered: whether an order is unwanted, is to be looked up, has triggered.
        is_calm: it has one sure stop, and nothing but `CALM_RULES` can want something of it.
        cause, effects: the cause if it becomes unprotected now; the present step's events and alarms to publish.
        ended: nothing is to be done for it any more.
    """

    ratchet: Ratchet
    timing: Timing
    claimed_at: float
    opened_at: float = -math.inf
    unprotected_time: UnprotectedTime = ALWAYS_PROTECTED
    entry: EntryFacts | None = None
    position: Position = field(init=False)
    market: Market = field(init=False)
    goal: Goal = PROTECT
    quantity: Decimal = field(init=False)
    orders: dict[str, Order] = field(default_factory=dict)
    entry_row: Order | None = None
    listed_more: tuple[float, Decimal] | None = None
    floor: Decimal | None = None
    former_floors: tuple[Decimal, ...] = ()
    reported_entry: Decimal | None = None
    native_task: Any = field(init=False)
    replaced_by: PositionReport | None = None
    request: Request | None = None
    request_id: str | None = None
    is_sent: bool = False
    sent_at: float = -math.inf
    back_offs: dict[Kind, BackOff] = field(default_factory=dict)
    short_lived: BackOff | None = None
    moved_at: float | None = None
    crossed_at: float | None = None
    would_trigger: bool = False
    refused_stop: Decimal | None = None
    full_until: float = -math.inf
    taken_down: StopOrder | None = None
    error: Exception | None = None
    refusal: Refusal | None = None
    flat: FlatEvidence = field(init=False)
    check_from: float = math.inf
    missed_until: float = math.inf
    checked_by: float = -math.inf
    again_at: float = math.inf
    checked_at: float = -math.inf
    shown_at: float = -math.inf
    listed_at: float = -math.inf
    leftovers: dict[str, float] = field(default_factory=dict)
    ended_orders: dict[str, Order] = field(default_factory=dict)
    missing_since: float = -math.inf
    missing_stops: tuple[StopOrder, ...] = ()
    is_listing_untrusted: bool = False
    is_lookup_untrusted: bool = False
    updated_at: float = -math.inf
    told_quantity: Decimal | None = None
    left_open_before: Decimal | None = None
    is_rest_unknown: bool = False
    doubted_stop: str | None = None
    successor: Position | None = None
    is_awaited: bool = False
    is_opening: bool = True
    was_tried: bool = False
    is_entry_checked: bool = False
    is_frozen: bool = False
    is_rounding_told: bool = False
    is_doubt_told: bool = False
    told_liquidation: Decimal | None = None
    gap: PriceGap | None = None
    moves: int = 0
    filled: Decimal = _ZERO
    proceeds: Decimal = _ZERO
    last_fill: Fill | None = None
    exit_reason: str = "the stop was filled"
    confirmed_at: float | None = None
    unprotected_span: UnprotectedSpan | None = field(init=False)
    policy_from: float = math.inf
    live: Order | None = None
    is_covered: bool = False
    has_unknown: bool = False
    exit_sent: bool = False
    has_unwanted: bool = False
    has_doubted: bool = False
    has_triggered: bool = False
    is_calm: bool = False
    ended: bool = False
    effects: list[Publish] = field(default_factory=list)
    cause: Cause = "cancelled"

    def __post_init__(self) -> None:
        self.position = position = self.ratchet.position
        self.market = self.ratchet.market
        self.quantity = position.quantity
        self.native_task = "place" if self.ratchet.plan.native else None
        self.flat = FlatEvidence(self.claimed_at)
        self.unprotected_span = UnprotectedSpan(self.claimed_at, "opening", self.claimed_at)
        if self.entry is not None:  # nothing is open yet, and the exchange will report what is
            self.quantity, self.unprotected_span, self.is_entry_checked = _ZERO, None, True

    # Its readers use these.

    @property
    def plan(self) -> TrailPlan:
        """Return the plan that protects it."""
        return self.ratchet.plan

    @property
    def stop(self) -> StopOrder | None:
        """Return the live stop that counts, as the exchange acknowledged it."""
        return None if self.live is None else self.live.order

    @property
    def native(self) -> Order | None:
        """Return the exchange's own trailing order, if it is live as far as known."""
        return next((order for order in self.orders.values() if order.purpose == "native" and order.exists), None)

    @property
    def is_trailed_by_exchange(self) -> bool:
        """Return whether the exchange's own trailing order trails, so that the plain stop rests."""
        return self.ratchet.plan.native and self.native_task is None and self.native is not None

    @property
    def target(self) -> Decimal:
        """Return the wanted stop: the plan's, or the floor if that is tighter."""
        target, floor = self.ratchet.target, self.floor
        return floor if floor is not None and is_tighter(self.position.side, floor, target) else target

    @property
    def coverable(self) -> Decimal:
        """Return the quantity that a stop can cover, a multiple of the market's step. 0: it is too small for a stop."""
        return coverable(self.market, self.quantity)

    @property
    def uncovered(self) -> Decimal:
        """Return the quantity of the position that the live stop does not cover."""
        stop = self.stop
        return self.quantity - min(self.quantity, stop.quantity if stop is not None else _ZERO)

    @property
    def is_entering(self) -> bool:
        """Return whether more of its entry may be filled, as far as known."""
        return self.entry is not None and (self.entry_row is not None or self.entry.is_wanted)

    def is_bridge(self, order: Order) -> bool:
        """Return whether a stop is the one that the entry carried, of the whole position and under the entry's own id."""
        return self.entry is not None and self.entry.has_bridge and order.id == self.entry.id

    @property
    def is_unprotected(self) -> bool:
        """Return whether it is open without a live stop, as far as known."""
        return not self.is_covered and bool(self.quantity) and not self.ended

    @property
    def may_be_open(self) -> bool:
        """Return whether it may be open. Fills alone do not confirm that it is flat: one may be of another order."""
        return bool(self.quantity) or not (isinstance(self.goal, End) or self.flat.is_told_by_update)

    @property
    def is_given_up(self) -> bool:
        """Return whether it ended although it may be open. No task works on it any more."""
        return isinstance(self.goal, End) and self.goal.is_given_up

    @property
    def snapshot_at(self) -> float:
        """Return the time from which a snapshot of the account is wanted. Infinite: none is."""
        return math.inf if self.ended else min(self.check_from, self.again_at)

    @property
    def state(self) -> State:
        """Return the state of the position, as reports name it."""
        return state_of(self)

    @property
    def profit(self) -> Decimal | None:
        """Return the profit in quote units, before fees. None: the reported fills are not the whole position's."""
        if abs(self.filled - self.position.quantity) >= self.market.quantity_step:
            return None
        gain = self.proceeds - self.filled * self.position.entry_price
        return gain if self.position.side == "long" else -gain

    @property
    def facts(self) -> tuple[object, ...]:
        """Return the facts that the store has to hold. Two states with equal facts need no save."""
        return (
            self.goal,
            self.position,
            self.quantity,
            self.entry,
            self.entry_row is None,
            tuple(order.stored for order in self.orders.values()),
            self.floor,
            self.ratchet.plan,
            self.reported_entry,
            self.native_task,
            self.replaced_by,
            self.filled,
            None if self.quantity else left_open(self),
            self.ended,
        )

    def unprotected_time_at(self, at: float) -> UnprotectedTime:
        """Return all unprotected seconds until now."""
        span = self.unprotected_span
        return self.unprotected_time if span is None else self.unprotected_time + span.until(at)

    # The one writer.

    def step(self, what: Input, at: float) -> list[Publish]:
        """Apply an input. A position that has ended ignores every input.

        Returns:
            The events and alarms to publish.

        Raises:
            UsageError: the input is impossible, and has changed nothing.
        """
        if self.ended:
            return []
        HANDLERS[type(what)](self, what, at)
        if type(what) is PriceSeen:
            derive_from_price(self, at)
        elif type(what) is not Begun:  # nothing follows from a request before it is sent
            derive(self, at)
        effects, self.effects = self.effects, []
        return effects

    # The handlers use these. `step` alone calls the handlers.

    def tell(self, event: Callable[..., Event], **fields: Any) -> None:
        """Publish an event after the step."""
        self.effects.append(Publish(event, fields))

    def alarm(self, what: str, detail: str = "", *, names_orders: bool = False) -> None:
        """Publish an alarm after the step. `names_orders`: with the open orders of its symbol, which are read first."""
        self.effects.append(Publish(Alarm, {"what": what, "detail": detail}, names_orders=names_orders))

    def aim(self, goal: Goal) -> None:
        """Take a goal, if its rank is above the present one's."""
        if goal.rank > self.goal.rank:
            self.goal = goal

    def want_snapshot(self, at: float) -> None:
        """Want a snapshot that shows the position as it is now."""
        self.check_from = at + self.timing.positions_read_lag

    def raise_floor(self, price: Decimal) -> None:
        """Tighten the floor to this price, or remember a looser one among the former floors."""
        other: Decimal | None = price
        if self.floor is None or is_tighter(self.position.side, price, self.floor):
            self.floor, other = price, self.floor
        if other is not None and other not in (self.floor, *self.former_floors):
            self.former_floors = (*self.former_floors, other)[-_REMEMBERED:]

    def put(self, order: Order) -> None:
        """Put an order into the table, or replace it there."""
        self.orders[order.id] = order

    def drop(self, order: Order, event: str, at: float, cause: Cause) -> None:
        """Remove an order from the table. `cause`: why the position is unprotected, if it is now."""
        del self.orders[order.id]
        has_unread = event == "absent" or order.filled > order.told_before + order.told
        self.ended_orders[order.id] = replace(order, changed_at=at, has_unread=has_unread)
        if len(self.ended_orders) > _REMEMBERED:
            del self.ended_orders[next(iter(self.ended_orders))]
        self.cause = "move" if order.makes_way else cause
        if order.makes_way:
            self.taken_down = order.order

    def change(
        self, before: Order, event: str, at: float, cause: Cause = "cancelled", **changes: object
    ) -> Order | None:
        """Apply an event of the table of orders, and return the order. None: it left the table.

        Args:
            cause: why the position is unprotected, if it is now.
            changes: changes of other fields of the order.
        """
        after = before.after(event, **changes)
        if after is None:
            self.drop(before, event, at, cause)
        else:
            self.put(after)
        return after

    def freeze(self, bug: Exception) -> None:
        """Keep the stop where it is, because a rule or the task failed. The first time raises an alarm."""
        self.error = bug
        if not self.is_frozen:
            self.is_frozen = True
            self.alarm("frozen: its stop stays live and is not moved", f"{type(bug).__name__}: {bug}")

    def __repr__(self) -> str:
        price = None if self.stop is None else self.stop.price
        return f"<PositionState {self.position.symbol} {self.position.side} {self.state} stop={price}>"


_REMEMBERED: Final = 16
"""Most ended orders, and former floors, that are remembered. A position has few at once, and lists lag by seconds."""
