"""What a trailing stop is made of, and how it is kept over a restart."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import ClassVar, Self

from trailing.core.model import Market, Position, StopOrder, check_money
from trailing.core.plan import TrailPlan, decode_plan
from trailing.core.prices import is_tighter
from trailing.core.record import StopRecord
from trailing.core.states import State
from trailing.core.trail import Trail
from trailing.errors import UsageError
from trailing.exposure import UNEXPOSED, Exposure

_ZERO = Decimal(0)


class KeptStop(Trail):
    """The part of a `TrailingStop` that is saved and restored; see there for what its attributes mean."""

    __slots__ = ("_early", "_trailed", "given_up", "quantity", "reported_entry")

    due_at: float | None
    target: Decimal

    def __init__(self, position: Position, plan: TrailPlan, market: Market, at: float) -> None:
        super().__init__(position, plan, market, at)
        self.quantity: Decimal = position.quantity
        self.reported_entry: Decimal | None = None
        self.given_up: bool = False
        self._trailed = False
        self._early: dict[str, Decimal] = {}

    def save(
        self,
        saved_at: datetime | None = None,
        *,
        exposure: Exposure = UNEXPOSED,
        heard_until: datetime | None = None,
        moves: int = 0,
        filled: Decimal = _ZERO,
        proceeds: Decimal = _ZERO,
    ) -> StopRecord:
        """Everything that `restore` needs, without a reading of the running clock.

        Args:
            saved_at: the time of day, aware UTC.
            exposure, heard_until, moves, filled, proceeds: the shell's, which measures them; see `StopRecord`.
        """
        return StopRecord(
            position=self.position,
            plan=self.plan.encoded,
            state=self.state,
            quantity=self.quantity,
            best=self.best,
            last=self._last,
            suspect=self._suspect,
            target=self.target,
            trailed=self._trailed,
            orders=tuple(self.orders.values()),
            asked=self._asked,
            since_move=self._since(self._moved_at),
            since_crossing=self._since(self._crossed_at),
            due_in=None if self.due_at is None else round(self.due_at - self._now, 6),
            early=dict(self._early),
            candles=self._candles,
            foreign_ticks=self.foreign_ticks,
            reported_entry=self.reported_entry,
            given_up=self.given_up,
            first_price=self.first_price,
            native=self.native,
            native_task=self.native_task,
            saved_at=saved_at,
            exposure=exposure,
            heard_until=heard_until,
            moves=moves,
            filled=filled,
            proceeds=proceeds,
        )

    def _since(self, at: float | None) -> float | None:
        return None if at is None else round(self._now - at, 6)

    @classmethod
    def restore(cls, record: StopRecord, market: Market, at: float) -> Self:
        """The stop that was saved, with the moment of saving taken for `at`.

        Raises:
            UsageError: where the record can't be right.
        """
        stop = cls(record.position, decode_plan(record.plan), market, at)
        try:
            stop.state = State(record.state)
        except ValueError:
            raise UsageError(f"StopRecord.state got {record.state!r}, wants one of {[*State]}") from None
        check_money("StopRecord.quantity", record.quantity, zero=True)
        for name in ("best", "last", "target"):
            check_money(f"StopRecord.{name}", getattr(record, name))
        stop.quantity, stop.best, stop.target = record.quantity, record.best, record.target
        if record.first_price is not None:
            check_money("StopRecord.first_price", record.first_price)
            stop.first_price = record.first_price
        stop._last, stop._suspect, stop._trailed, stop._asked = (
            record.last,
            record.suspect,
            record.trailed,
            record.asked,
        )
        stop._moved_at = None if record.since_move is None else at - record.since_move
        stop._crossed_at = None if record.since_crossing is None else at - record.since_crossing
        stop.due_at = None if record.due_in is None else at + record.due_in
        stop._deferred = stop.due_at is not None and stop._crossed_at is None
        stop._early, stop._candles = dict(record.early), record.candles
        stop.foreign_ticks = record.foreign_ticks
        stop.reported_entry, stop.given_up = record.reported_entry, record.given_up
        stop.native, stop.native_task = record.native, record.native_task
        stop._set_orders({order.client_order_id: order for order in record.orders})
        stop._kept = stop.order is not None and stop._is_crossed(stop._last, stop.target)
        stop._arm()
        return stop

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KeptStop) and self.market == other.market and self.save() == other.save()

    __hash__: ClassVar[None] = None  # type: ignore[assignment]

    def _set_orders(self, orders: dict[str, StopOrder]) -> None:
        self.orders = orders
        self.order = None
        for order in orders.values():
            if self.order is None or not is_tighter(self.position.side, self.order.price, order.price):
                self.order = order
