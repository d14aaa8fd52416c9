"""One position's trailing stop: ticks, acknowledgements and failures in, decisions out.

Nothing here waits, reads a clock or logs. State moves on the exchange's word, never on intent; an event that the table
of states does not allow raises and changes nothing.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from trailing.core.model import Fill, StopOrder, check_money, refuse
from trailing.core.native_stop import NativeStop
from trailing.core.plan import TrailPlan
from trailing.core.prices import is_tighter
from trailing.core.states import CLOSED, EXITING, LIVE, OPENING, TRANSITIONS, UNPROTECTED, UNRESOLVED, State
from trailing.core.trail import Decision, ExitPosition, MoveStop
from trailing.errors import OutcomeUnknown, TrailingError, UsageError, WouldTrigger

_ZERO = Decimal(0)


class TrailingStop(NativeStop):
    """The state of one position's protection.

    Args:
        position: what is to be protected.
        plan: how.
        market: the exchange's rules for its symbol.
        at: seconds on the running clock, as every `at` of the methods.

    Raises:
        UsageError: where the plan gives no possible stop for this position.

    Attributes:
        state: a `State`.
        quantity: what is left of the position, in base units.
        first_price: the initial stop.
        order: the live stop that counts, the tightest, or None.
        orders: all live stops, by client order id; two only inside a move.
        native: the exchange's own trailing order, live as far as the exchange said, beside `orders`; or None.
        native_task: what is to be done about it: ``"place"`` it; ``"withdraw"`` it; ``"replace"`` it by another one.
            None: nothing; where it stands, no move of `order` is wanted.
        target: the tightest stop ever wanted: what to place where none is live.
        best: the best price so far.
        bug: what a rule raised; from then on no rule is asked any more, and the stop stays where it is. Or None.
        due_at: when to call `on_time` although no tick came, or None.
        reported_entry: the entry price as the exchange last reported it, by which another position in its place is
            known; None: it never did.
        given_up: it was closed although it is open, perhaps: no stop could be placed.
        foreign_ticks: ticks of a source that isn't the plan's: counted, and otherwise ignored.
    """

    __slots__ = ()

    due_at: float | None
    quantity: Decimal
    target: Decimal

    @property
    def price(self) -> Decimal | None:
        """The trigger price of the stop that the exchange holds, or None."""
        return self.order.price if self.order is not None else None

    @property
    def can_be_covered(self) -> bool:
        """Whether the market takes a stop that is as small as this position."""
        coverable = self.coverable
        return coverable > 0 and coverable >= self.market.min_quantity

    @property
    def uncovered(self) -> Decimal:
        """What no live stop covers of the position."""
        return self.quantity - min(self.quantity, self.order.quantity if self.order is not None else _ZERO)

    # What became of stops.

    def opened(self, order: StopOrder, at: float) -> Decision | None:
        """A stop was acknowledged, or found, where none was known to be live."""
        return self._acknowledge(order, at)

    def found(self, order: StopOrder, at: float) -> Decision | None:
        """A stop was found live by a read, with the figures that it has now: what was filled of it before is in them."""
        self._early.pop(order.client_order_id, None)
        return self._acknowledge(order, at)

    def moved(self, order: StopOrder, at: float) -> Decision | None:
        """A move was acknowledged. Where it is a new order, the old one stays live until it is `gone`."""
        return self._acknowledge(order, at)

    def _acknowledge(self, order: StopOrder, at: float) -> Decision | None:
        early = self._early.get(order.client_order_id, _ZERO)
        orders = {**self.orders, order.client_order_id: order}
        if early >= order.quantity:
            del orders[order.client_order_id]
        elif early:
            orders[order.client_order_id] = msgspec.structs.replace(order, quantity=order.quantity - early)
        trailed = self._trailed or is_tighter(self.position.side, order.price, self.first_price)
        self._enter("acknowledged", EXITING if self.state is EXITING else self._state_with(orders, trailed=trailed))
        self._early.pop(order.client_order_id, None)
        self._trailed = trailed
        self._asked = None
        self._set_orders(orders)
        if is_tighter(self.position.side, order.price, self.target):
            self.target = order.price
        return self._decide(at)

    def open_failed(self, error: TrailingError, at: float) -> None:
        """A stop could not be placed where none is live."""
        self._enter_failure(error)
        self._decide(at)

    def move_failed(self, error: TrailingError, at: float) -> Decision | None:
        """A move did not go through. `due_at` is now: `on_time` wants it again as soon as the caller thinks fit.

        Returns:
            `ExitPosition` where the market was already there and the plan says so.
        """
        self._enter_failure(error)
        self._asked = self._moved_at = None
        decision = self._postpone(at)
        if self.state in LIVE and isinstance(error, WouldTrigger) and self.plan.on_would_trigger == "exit":
            self.due_at = None  # the exit is wanted now; where it is not confirmed, `exit_unconfirmed` decides anew
            return ExitPosition("the market is at the stop")
        return decision

    def _enter_failure(self, error: TrailingError) -> None:
        if isinstance(error, OutcomeUnknown):
            self._enter("unknown", UNRESOLVED)
        elif self.state in LIVE or self.state is EXITING:
            self._enter("refused", self.state)
        else:
            self._enter("refused", UNPROTECTED)

    def absent(self, client_order_id: str, at: float) -> Decision | None:
        """A stop of unknown outcome is proved not to exist."""
        self._without("absent", client_order_id)
        self._asked = None
        return self._decide(at)

    def gone(self, client_order_id: str, at: float) -> Decision | None:
        """A stop is not live any more and was not filled: somebody, perhaps we, cancelled it."""
        self._without("gone", client_order_id)
        return self._decide(at)

    def _without(self, event: str, client_order_id: str) -> None:
        orders = {key: order for key, order in self.orders.items() if key != client_order_id}
        state = self.state
        if state in LIVE or (event == "absent" and state in (OPENING, UNRESOLVED)):
            state = self._state_with(orders, trailed=self._trailed, spent=UNPROTECTED)
        if self._enter(event, state):
            self._set_orders(orders)

    # What became of the position.

    def filled(self, fill: Fill, at: float) -> Decision | None:
        """One of the position's stops was filled, wholly or in part. One not acknowledged yet is kept until it is."""
        quantity = max(_ZERO, self.quantity - fill.quantity)
        orders = dict(self.orders)
        order = orders.pop(fill.client_order_id, None)
        if order is not None and order.quantity > fill.quantity:
            orders[fill.client_order_id] = msgspec.structs.replace(order, quantity=order.quantity - fill.quantity)
        state = self.state
        if state in LIVE or state is UNPROTECTED:
            state = EXITING if not quantity else self._state_with(orders, trailed=self._trailed)
        if not self._enter("filled", state):
            return None
        if not self._fill_native(fill) and order is None:
            self._early[fill.client_order_id] = self._early.get(fill.client_order_id, _ZERO) + fill.quantity
        self.quantity = quantity
        self._set_orders(orders)
        return self._decide(at)

    def exited(self, fill: Fill, at: float) -> None:
        """A close at market was filled, wholly or in part."""
        if self._enter("filled", EXITING):
            self.quantity = max(_ZERO, self.quantity - fill.quantity)
            self._decide(at)

    def resized(self, quantity: Decimal, at: float) -> Decision | None:
        """The exchange reports another quantity than was known, above 0.

        Returns:
            A `MoveStop` to the same price where the live stop covers another quantity; reduce-only as it is, one that
            is larger than the position may stay where no smaller one is allowed.
        """
        check_money("quantity", quantity)
        if not self._enter("resized", self.state):
            return None
        self.quantity = quantity
        if self.native is not None and self.native.quantity != self.coverable:
            self._take_over()
        decision = self._decide(at)
        live = self.order if self.state in LIVE and self.can_be_covered else None
        if decision is None and live is not None and live.quantity != self.coverable:
            return MoveStop(self._asked if self._asked is not None else live.price, "resized")
        return decision

    def tighten(self, price: Decimal, at: float) -> Decision | None:
        """Want at least this stop, whatever the rules say: the liquidation price would strike before the present one."""
        if is_tighter(self.position.side, price, self.target):
            self.target = price
            self._take_over()
        decision = self._decide(at)
        if decision is None and self.state in LIVE and self.order is not None:
            return MoveStop(self.target, "liquidation") if self.target != self.order.price else None
        return decision

    def replan(self, plan: TrailPlan, at: float) -> Decision | None:
        """Go on under another plan, which replaces the present one as a whole; its rules are asked at once.

        Nothing loosens: `target`, `best` and `first_price` stay, so that the plan's `initial_stop` counts for nothing any
        more. Its pacing runs from the last move. The closed candles are kept where the plan's are of the same length and
        source. A rule that failed is forgotten with its plan.

        Raises:
            UsageError: the position has ended; the plan has no possible first stop for it; or it has another trigger,
                while a stop stands, or may stand, with the present one.
        """
        self._enter("replanned", self.state)
        if plan.trigger != self.plan.trigger and (self.orders or self.state in (OPENING, UNRESOLVED)):
            wants = f"{self.plan.trigger!r}, as long as a stop stands, or may stand, with that trigger"
            raise refuse("TrailPlan.trigger", plan.trigger, wants)
        plan.first_stop(self.position, self.market)
        self._take_plan(plan)
        self._replan_native(plan)
        return self._decide(at)

    def exiting(self, at: float) -> None:
        """A close at market begins: the crossing is confirmed, or the bot wants it."""
        self._enter("crossed", EXITING)
        self._decide(at)

    def exit_unconfirmed(self, price: Decimal, at: float) -> None:
        """The exchange's own price does not confirm the crossing: the feed was wrong, or it is over."""
        self._last = price
        self._crossed_at = None
        self._postpone(at)

    def exit_failed(self, error: TrailingError, at: float) -> None:
        """The close did not go through, or its outcome is unknown."""
        if isinstance(error, OutcomeUnknown):
            self._enter("unknown", UNRESOLVED)
        else:
            self._enter("exit_failed", self._state_with(self.orders, trailed=self._trailed, spent=UNPROTECTED))
        self._crossed_at = None
        self._postpone(at)

    def flat(self, at: float) -> None:
        """The position was read back as flat, and all our orders for it are gone."""
        if (self.orders or self.native is not None) and self.state is not CLOSED:
            live = len(self.orders) + (self.native is not None)
            raise UsageError(f"{self.position.symbol} {self.position.side} can't close: {live} stops live")
        if self._enter("flat", CLOSED):
            self.quantity = _ZERO
        self._decide(at)

    def released(self, at: float, *, given_up: bool = False) -> None:
        """The position is no longer ours to protect; a stop that is live stays as it is.

        Args:
            given_up: nobody wants it so; it stands without a stop.
        """
        self._enter("released", CLOSED)
        self.given_up = given_up
        self._decide(at)

    def _state_with(self, orders: dict[str, StopOrder], *, trailed: bool, spent: State = EXITING) -> State:
        if orders:
            return State.TRAILING if trailed else State.WAITING
        return UNPROTECTED if self.quantity else spent

    def _enter(self, event: str, state: State) -> bool:
        """Move to a state if the table allows it; False where the event is to be ignored."""
        allowed = TRANSITIONS.get((self.state, event))
        if allowed is None or (allowed and state not in allowed):
            raise UsageError(f"{self.position.symbol} {self.position.side}: {event!r} can't make {self.state} {state}")
        if allowed:
            self.state = state
        return bool(allowed)

    def __repr__(self) -> str:
        key = f"{self.position.symbol} {self.position.side}"
        return f"<TrailingStop {key} {self.state} stop={self.price} target={self.target} best={self.best}>"
