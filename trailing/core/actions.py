"""What follows from a reading of the account. As text, each is a sentence for whoever reads the plan of a recovery."""

from __future__ import annotations

from decimal import Decimal
from typing import TypeAlias

import msgspec

from trailing.core.account import PositionReport
from trailing.core.model import Side, StopOrder


class _Action(msgspec.Struct, frozen=True, tag=True):
    """What every action carries: whose it is."""

    symbol: str
    side: Side


class Resume(_Action, frozen=True):
    """Its stop stands: it is looked after as before. `entry_price`: as reported."""

    order: StopOrder
    entry_price: Decimal

    def __str__(self) -> str:
        return f"its stop stands at {self.order.price}"


class TakeStop(_Action, frozen=True):
    """A stop of ours is live, and was of unknown outcome, or unknown, or stands otherwise than remembered."""

    order: StopOrder

    def __str__(self) -> str:
        return f"take its stop over: {self.order.quantity} at {self.order.price}"


class StopAbsent(_Action, frozen=True):
    """A stop of unknown outcome is proved not to be live, and never will be."""

    client_order_id: str

    def __str__(self) -> str:
        return f"its stop {self.client_order_id} does not exist"


class StopGone(_Action, frozen=True):
    """A stop that was live is proved not to be any more."""

    client_order_id: str

    def __str__(self) -> str:
        return f"its stop {self.client_order_id} is gone"


class TakeNative(_Action, frozen=True):
    """A trailing order of ours is live, and was of unknown outcome, or stands otherwise than remembered."""

    order: StopOrder

    def __str__(self) -> str:
        return f"take its trailing order over: {self.order.quantity} from {self.order.price} on"


class NativeGone(_Action, frozen=True):
    """The exchange's own trailing order is proved not to be live any more: its stop is moved by us again."""

    client_order_id: str

    def __str__(self) -> str:
        return f"its trailing order {self.client_order_id} is gone: move its stop ourselves"


class PlaceStop(_Action, frozen=True):
    """It stands without a stop: place one."""

    price: Decimal
    quantity: Decimal

    def __str__(self) -> str:
        return f"place a stop: {self.quantity} at {self.price}"


class CancelStop(_Action, frozen=True):
    """A stop of ours is left over: cancel it."""

    order: StopOrder
    why: str

    def __str__(self) -> str:
        return f"cancel the leftover stop {self.order.client_order_id} at {self.order.price}: {self.why}"


class Resize(_Action, frozen=True):
    """The exchange reports this quantity, at this entry price; the stop follows it."""

    quantity: Decimal
    entry_price: Decimal

    def __str__(self) -> str:
        return f"let its stop cover {self.quantity}"


class PositionFlat(_Action, frozen=True):
    """It is proved flat: close the record. `settled`: requests whose outcome that settles, by client order id."""

    settled: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "it is closed: close the record"


class AnotherPosition(_Action, frozen=True):
    """It has ended, and another position stands in its place, which nobody looks after. `settled`: as `PositionFlat`."""

    report: PositionReport
    settled: tuple[str, ...] = ()

    def __str__(self) -> str:
        report = self.report
        return f"close the record: another position stands in its place, {report.quantity} at {report.entry_price}"


class Tighten(_Action, frozen=True):
    """Its stop lies beyond the liquidation price: want at least this one."""

    price: Decimal

    def __str__(self) -> str:
        return f"tighten its stop to {self.price}: it lies beyond the liquidation price"


class SettleIntent(_Action, frozen=True):
    """An intent without a record is proved to have come to nothing."""

    client_order_id: str

    def __str__(self) -> str:
        return f"write the intent {self.client_order_id} off: it came to nothing"


class AdoptStop(_Action, frozen=True):
    """A stop of ours stands on an open position that has no record. It is left standing, as it protects."""

    order: StopOrder

    def __str__(self) -> str:
        return f"leave the stop {self.order.client_order_id} at {self.order.price} standing: protect the position anew"


class ForeignInstance(_Action, frozen=True):
    """A stop with our tag carries the mark of another instance."""

    order: StopOrder

    def __str__(self) -> str:
        return f"the stop {self.order.client_order_id} is another instance's"


class RaiseAlarm(_Action, frozen=True):
    """Somebody should look."""

    what: str
    detail: str

    def __str__(self) -> str:
        return f"alarm: {self.what}: {self.detail}"


class LookAgain(_Action, frozen=True):
    """It takes another reading to know."""

    what: str

    def __str__(self) -> str:
        return f"look again: {self.what}"


Action: TypeAlias = (
    Resume
    | TakeStop
    | StopAbsent
    | StopGone
    | TakeNative
    | NativeGone
    | PlaceStop
    | CancelStop
    | Resize
    | PositionFlat
    | AnotherPosition
    | Tighten
    | SettleIntent
    | AdoptStop
    | ForeignInstance
    | RaiseAlarm
    | LookAgain
)
