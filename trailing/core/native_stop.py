"""What a trailing stop knows of the exchange's own trailing order, which stands beside its plain stop.

While that order stands, no move of the plain stop is wanted: what is seen and what would be wanted is kept up to date as ever,
and is wanted as soon as the order does not stand any more.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from trailing.core.kept import KeptStop
from trailing.core.model import Fill, StopOrder
from trailing.core.native import NativeTerms, native_terms
from trailing.core.plan import TrailPlan
from trailing.core.prices import floor_quantity
from trailing.core.trail import Decision, NativeTask

_ZERO = Decimal(0)


class NativeStop(KeptStop):
    """The part of a `TrailingStop` that is about `native`; see there for what its attributes mean."""

    __slots__ = ()

    native: StopOrder | None
    native_task: NativeTask | None
    quantity: Decimal

    @property
    def coverable(self) -> Decimal:
        """What a stop can cover of the position: its quantity, down to the market's step."""
        return floor_quantity(self.quantity, self.market.quantity_step)

    @property
    def native_trails(self) -> bool:
        """Whether the exchange trails, so that no move of the plain stop is wanted."""
        return self.native is not None and self.native_task is None

    @property
    def native_wanted(self) -> NativeTerms | None:
        """The trailing order that is to be placed; None: it would come too late, as the plain stop is trailed by now."""
        terms = native_terms(self.plan, self.position, self.market)
        untouched = self.order is not None and self.order.price == self.target
        return terms if untouched and self._is_ahead(terms.activation, self.best) else None

    def native_placed(self, order: StopOrder, at: float) -> Decision | None:
        """The exchange's own trailing order was acknowledged, or found; one that isn't wanted is to be withdrawn.

        So is one whose price was reached by then: it may have been so before the exchange booked it, which then knows of
        no such peak.
        """
        early = self._early.pop(order.client_order_id, _ZERO)
        if early >= order.quantity:
            self.native, self.native_task = None, None
            return self._decide(at)
        known, self.native = self.native, msgspec.structs.replace(order, quantity=order.quantity - early)
        if known is None:
            untouched = self._is_ahead(order.price, self.best)
            self.native_task = None if untouched and self._is_as_planned(self.native) else "withdraw"
            self._asked = None
        return self._decide(at)

    def native_dropped(self, at: float) -> Decision | None:
        """It is not to be placed any more: the exchange refused it, or it came too late."""
        self.native_task = None
        return self._decide(at)

    def native_gone(self, at: float) -> Decision | None:
        """It does not stand any more and was not filled: what the plain stop has missed meanwhile is wanted now."""
        if self.native_trails:
            self._asked = self._moved_at = None
        self.native, self.native_task = None, "place" if self.native_task == "replace" else None
        return self._decide(at)

    def _is_as_planned(self, order: StopOrder) -> bool:
        if not self.plan.native or order.quantity != self.coverable:
            return False
        terms = native_terms(self.plan, self.position, self.market)
        return (order.price, order.callback) == (terms.activation, terms.callback)

    def _take_over(self) -> None:
        """Trail by ourselves: a trailing order that stands is to be withdrawn."""
        if self.native is not None and self.native_task is None:
            self.native_task = "withdraw"

    def _replan_native(self, plan: TrailPlan) -> None:
        """What is to be done about `native` under another plan, which has just been taken."""
        if self.native is None:
            self.native_task = "place" if plan.native else None
        elif self.native_task is not None or not self._is_as_planned(self.native):
            self.native_task = "replace" if plan.native else "withdraw"

    def _fill_native(self, fill: Fill) -> bool:
        """Take a fill off `native`, where it is one of its fills. One of the plain stop ends the trailing."""
        native = self.native
        if native is None:
            return False
        if fill.client_order_id != native.client_order_id:
            self._take_over()
            return False
        left = native.quantity - fill.quantity
        self.native = msgspec.structs.replace(native, quantity=left) if left > _ZERO else None
        if self.native is None:
            self.native_task = None
        return True
