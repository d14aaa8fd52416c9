"""What a recovery finds, position by position. As text, each is a sentence for an operator."""

from __future__ import annotations

from decimal import Decimal
from typing import Self, TypeAlias

import msgspec

from trailing.core.account import PositionReport
from trailing.core.model import Side, StopOrder


class _Finding(msgspec.Struct, frozen=True, tag=True):
    """What every finding carries: the position that it is about."""

    symbol: str
    side: Side


class Resume(_Finding, frozen=True):
    """Its stop is live: it is trailed as before."""

    order: StopOrder

    def __str__(self) -> str:
        return f"its stop is live at {self.order.price}"


class AdoptStop(_Finding, frozen=True):
    """A stop of ours is live that had an unknown outcome, was unknown, or has other figures than remembered."""

    order: StopOrder

    def __str__(self) -> str:
        return f"adopt its stop: {self.order.quantity} at {self.order.price}"


class StopAbsent(_Finding, frozen=True):
    """It is confirmed that a stop does not exist: it was never placed, or is gone."""

    client_order_id: str

    def __str__(self) -> str:
        return f"its stop {self.client_order_id} does not exist"


class Unresolved(_Finding, frozen=True):
    """It could not be found out in time whether an order is live: it is looked up until it is known."""

    client_order_id: str

    def __str__(self) -> str:
        return f"it is not known whether its order {self.client_order_id} is live: look it up until it is"


class Resize(_Finding, frozen=True):
    """The exchange reports this quantity; the stop follows it."""

    quantity: Decimal

    def __str__(self) -> str:
        return f"let its stop cover {self.quantity}"


class Tighten(_Finding, frozen=True):
    """Its stop lies beyond the liquidation price: at least this one is wanted."""

    price: Decimal

    def __str__(self) -> str:
        return f"tighten its stop to {self.price}: it lies beyond the liquidation price"


class NotListed(_Finding, frozen=True):
    """The exchange does not list the position. It is closed once that is confirmed."""

    def __str__(self) -> str:
        return "the exchange does not list it: its record is closed once that is confirmed"


class PositionFlat(_Finding, frozen=True):
    """It is confirmed that the position is flat: its record is closed."""

    def __str__(self) -> str:
        return "it is closed: close its record"


class AnotherPosition(_Finding, frozen=True):
    """It has ended, and another position stands in its place that is not protected."""

    report: PositionReport

    def __str__(self) -> str:
        report = self.report
        return f"close its record: another position stands in its place, {report.quantity} at {report.entry_price}"


class NextRequest(_Finding, frozen=True):
    """What is asked of the exchange next for it."""

    request: str

    def __str__(self) -> str:
        return self.request


class OrphanStop(_Finding, frozen=True):
    """A stop of ours is live on an open position that has no record. It is left as it is, since it protects."""

    order: StopOrder

    @classmethod
    def of(cls, order: StopOrder) -> Self:
        """Return the finding about an order."""
        return cls(order.symbol, order.side, order)

    def __str__(self) -> str:
        return f"leave the stop {self.order.client_order_id} at {self.order.price} as it is: protect the position anew"


class ForeignInstance(_Finding, frozen=True):
    """A stop with our tag carries the mark of another instance."""

    order: StopOrder

    @classmethod
    def of(cls, order: StopOrder) -> Self:
        """Return the finding about an order."""
        return cls(order.symbol, order.side, order)

    def __str__(self) -> str:
        return f"the stop {self.order.client_order_id} is another instance's"


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
