"""The findings of a recovery and of later snapshots.

The text of a finding names its position, the state on the exchange and the consequence.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Self, TypeAlias

import msgspec

from trailing.core.account import PositionReport
from trailing.core.model import Side, StopOrder


class _Finding(msgspec.Struct, frozen=True, tag=True):
    """A finding about one position. `message` is its text without the position."""

    symbol: str
    side: Side

    if TYPE_CHECKING:

        @property
        def message(self) -> str: ...

    def __str__(self) -> str:
        return f"{self.symbol} {self.side}: {self.message}"


class Resume(_Finding, frozen=True):
    """The stop is live and is trailed as before."""

    order: StopOrder

    @property
    def message(self) -> str:
        return f"its stop is live at {self.order.price}"


class AdoptStop(_Finding, frozen=True):
    """A live stop of ours had an unknown outcome, had no record, or differs from its record."""

    order: StopOrder

    @property
    def message(self) -> str:
        return f"adopt its live stop of {self.order.quantity} at {self.order.price}"


class StopAbsent(_Finding, frozen=True):
    """The absence of a stop is confirmed. It was never placed, or it is gone."""

    client_order_id: str

    @property
    def message(self) -> str:
        return f"stop {self.client_order_id} does not exist"


class Unresolved(_Finding, frozen=True):
    """The recovery did not confirm in time whether an order is live. The position's task goes on to find out."""

    client_order_id: str

    @property
    def message(self) -> str:
        return f"order {self.client_order_id} may be live: look it up until its state is confirmed"


class Resize(_Finding, frozen=True):
    """The exchange reports another quantity than the record. The stop is resized to it."""

    quantity: Decimal

    @property
    def message(self) -> str:
        return f"resize its stop to {self.quantity}"


class Tighten(_Finding, frozen=True):
    """No looser stop than this price is wanted any more, although the record allowed one.

    The stop lies beyond the liquidation price, or a live stop of ours is tighter than the record says.
    """

    price: Decimal

    @property
    def message(self) -> str:
        return f"let its stop be no looser than {self.price}, for its liquidation price or a live stop of ours"


class NotListed(_Finding, frozen=True):
    """The exchange does not list the position. Its record is closed once that is confirmed."""

    @property
    def message(self) -> str:
        return "not listed by the exchange: close its record once that is confirmed"


class PositionFlat(_Finding, frozen=True):
    """The position is confirmed flat, and its record is closed."""

    @property
    def message(self) -> str:
        return "closed on the exchange: close its record"


class AnotherPosition(_Finding, frozen=True):
    """The position has ended. Another one is open in its place, without protection."""

    report: PositionReport

    @property
    def message(self) -> str:
        report = self.report
        return f"closed, and another position of {report.quantity} at {report.entry_price} is open in its place: close its record"


class NextRequest(_Finding, frozen=True):
    """The next request for the position."""

    request: str

    @property
    def message(self) -> str:
        return self.request


class OrphanStop(_Finding, frozen=True):
    """A stop of ours is live on an open position without a record. It is kept, because it protects the position."""

    order: StopOrder

    @classmethod
    def of(cls, order: StopOrder) -> Self:
        """Return the finding about an order."""
        return cls(order.symbol, order.side, order)

    @property
    def message(self) -> str:
        return f"stop {self.order.client_order_id} at {self.order.price} is live without a record, and is kept: adopt the position"


class ForeignInstance(_Finding, frozen=True):
    """A stop with our tag carries the mark of another instance."""

    order: StopOrder

    @classmethod
    def of(cls, order: StopOrder) -> Self:
        """Return the finding about an order."""
        return cls(order.symbol, order.side, order)

    @property
    def message(self) -> str:
        return f"stop {self.order.client_order_id} belongs to another instance"


Finding: TypeAlias = (
    Resume
    | AdoptStop
    | StopAbsent
    | Unresolved
    | Resize
    | Tighten
    | NotListed
    | PositionFlat
    | AnotherPosition
    | NextRequest
    | OrphanStop
    | ForeignInstance
)
