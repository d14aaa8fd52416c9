"""Our orders of one position, and the table of their states.

Each order that exists on the exchange, or may exist, has one row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

import msgspec
from msgspec.structs import replace

from trailing.core.model import Fill, Percent, Side, StopOrder
from trailing.core.prices import is_tighter
from trailing.errors import UsageError

_ZERO = Decimal(0)

Purpose: TypeAlias = Literal["stop", "native", "exit", "entry"]
"""``"stop"`` is a plain stop. ``"native"`` is the exchange's own trailing order beside it. ``"exit"`` is a reduce-only
close at market. ``"entry"`` is the order that opens the position, which is in no table of stops."""


class OrderState(StrEnum):
    """The state of an order, as far as the exchange has reported it."""

    INTENDED = "intended"
    SENT = "sent"
    LIVE = "live"
    CHANGING = "changing"
    CANCELLING = "cancelling"


INTENDED, SENT, LIVE, CHANGING, CANCELLING = OrderState
ENDED: Final = None
"""The next state of an order that leaves the table."""

ORDER_EVENTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "sent": "the request that places it was sent",
        "change sent": "an amendment of it was sent",
        "cancel sent": "a cancellation of it was sent",
        "shown": "the exchange acknowledged it, or a snapshot, a look-up or an update shows it",
        "refused": "the request was surely not executed",
        "absent": "it is confirmed that it does not exist",
        "filled": "it was filled as a whole",
        "cancelled": "it is confirmed that it was cancelled",
        "dropped": "its request was never sent",
    }
)

ORDER_TABLE: Final[Mapping[tuple[OrderState, str], OrderState | None]] = MappingProxyType(
    {
        (INTENDED, "sent"): SENT,
        (INTENDED, "dropped"): ENDED,
        (SENT, "shown"): LIVE,
        (SENT, "refused"): ENDED,
        (SENT, "absent"): ENDED,
        (SENT, "filled"): ENDED,
        (SENT, "cancelled"): ENDED,
        (LIVE, "change sent"): CHANGING,
        (LIVE, "cancel sent"): CANCELLING,
        (LIVE, "shown"): LIVE,
        (LIVE, "absent"): ENDED,
        (LIVE, "filled"): ENDED,
        (LIVE, "cancelled"): ENDED,
        (CHANGING, "shown"): LIVE,
        (CHANGING, "refused"): LIVE,
        (CHANGING, "absent"): ENDED,
        (CHANGING, "filled"): ENDED,
        (CHANGING, "cancelled"): ENDED,
        (CANCELLING, "shown"): LIVE,
        (CANCELLING, "refused"): LIVE,
        (CANCELLING, "absent"): ENDED,
        (CANCELLING, "filled"): ENDED,
        (CANCELLING, "cancelled"): ENDED,
    }
)
"""The next state for each event. A missing pair is illegal, so it raises and changes nothing. The docs draw it."""


class Order(msgspec.Struct, frozen=True, gc=False):
    """One order of ours, as requested and as shown.

    The requested and the shown figures are kept apart. A change is compared with the requested ones, so that an
    exchange which rounds more coarsely than its tick causes no endless changes.

    Args:
        id: our client order id.
        price: the trigger price that was last requested, or a native order's activation price; None for an exit.
        quantity: the quantity that was last requested, less the quantity filled since, in base units.
        order: the order as the exchange last acknowledged or showed it; None: not yet.
        callback: the callback that was requested, for a native order.
        sent_at: when its last request was sent, in seconds on the running clock, as every time here.
        changed_at: when the exchange last acknowledged, filled or pushed something of it. A list that was requested
            before then, plus the read lag, is no evidence about it.
        absent_since: when the first answer came that says that it does not exist: a snapshot or a look-up without it,
            or a refusal; None: there is none.
        missed_at: when the snapshots that do not show it and count were answered.
        find_at: when to look it up by its id; infinite: it is not to be looked up.
        triggered_at: when the exchange reported that it triggered; None: it has not triggered.
        filled: its filled quantity, by any report of the exchange, in base units.
        told: the quantity of the pushed fills that were counted; `told_before`: the same in earlier processes.
        proceeds: the value of those fills, in quote units.
        trades: the ids of the trades that were counted, or the fills themselves if they have no ids.
        is_unwanted: it is cancelled as soon as it is live.
        makes_way: it is being cancelled so that another can be placed, because the exchange takes no second stop.
        is_restored: it comes from the store, and the exchange has not shown it since.
        is_superseded: another stop of its position counts, as long as there is one.
        has_unread: it has ended, and updates may not have reported all of its executions.
        is_echoed: an update has shown it since our last change of it.
    """

    id: str
    purpose: Purpose
    state: OrderState
    price: Decimal | None
    quantity: Decimal
    order: StopOrder | None = None
    callback: Percent | None = None
    sent_at: float = -math.inf
    changed_at: float = -math.inf
    absent_since: float | None = None
    missed_at: tuple[float, ...] = ()
    find_at: float = math.inf
    triggered_at: float | None = None
    filled: Decimal = _ZERO
    told: Decimal = _ZERO
    told_before: Decimal = _ZERO
    proceeds: Decimal = _ZERO
    trades: frozenset[object] = frozenset()
    is_unwanted: bool = False
    makes_way: bool = False
    is_restored: bool = False
    is_superseded: bool = False
    has_unread: bool = False
    is_echoed: bool = False

    def after(self, event: str, **changes: object) -> Order | None:
        """Return this order after an event of `ORDER_EVENTS`, with other changes of its fields.

        None: it leaves the table.

        Raises:
            UsageError: the table does not allow the event.
        """
        try:
            state = ORDER_TABLE[self.state, event]
        except KeyError:
            raise UsageError(f"order {self.id}: {event!r} is impossible while it is {self.state}") from None
        return None if state is None else replace(self, state=state, **changes)

    @property
    def exists(self) -> bool:
        """Return whether the exchange has acknowledged or shown it, and no end is known."""
        return self.state is LIVE or self.state is CHANGING or self.state is CANCELLING

    @property
    def is_sure(self) -> bool:
        """Return whether no evidence says that it may be gone."""
        return self.absent_since is None and self.find_at == math.inf

    @property
    def is_sent(self) -> bool:
        """Return whether its last request was sent, and neither acknowledged nor refused."""
        return self.state is SENT or self.state is CHANGING or self.state is CANCELLING

    def is_stuck(self, at: float, grace: float) -> bool:
        """Return whether it has triggered and should have been filled by now.

        Such an order protects nothing.

        Args:
            at: now, in seconds on the running clock.
            grace: seconds that the exchange has to fill it.
        """
        return self.triggered_at is not None and at >= self.triggered_at + grace

    @property
    def stored(self) -> object:
        """Return the part of it that the store has to hold.

        Until it is acknowledged, this is its id alone, because its intent holds the rest.
        """
        return self.id if self.order is None else self.order


def counts_before(side: Side, newer: Order, older: Order) -> bool:
    """Return whether the newer one of two live stops is the one that counts.

    A superseded stop does not count beside one that is not superseded. Otherwise the tighter one counts, of equal
    prices the larger one, and of equal ones the newer.
    """
    if newer.is_superseded is not older.is_superseded:
        return older.is_superseded
    assert newer.order is not None
    assert older.order is not None
    if newer.order.price == older.order.price and newer.order.quantity != older.order.quantity:
        return newer.order.quantity > older.order.quantity
    return not is_tighter(side, older.order.price, newer.order.price)


def trade_of(fill: Fill) -> object:
    """Return what identifies a fill: the id of its trade, or its figures if it has no id."""
    return fill.trade_id if fill.trade_id is not None else (fill.quantity, fill.price, fill.at)


def unseen(order: Order, fill: Fill, cumulative: Decimal | None) -> tuple[Order, Decimal]:
    """Count a pushed fill once, however often and in whatever order it is pushed.

    Args:
        cumulative: the filled quantity of the order by then, this fill included; None: the exchange does not report it.
            It counts only for a fill without a trade id.

    Returns:
        The order with the fill counted, and the quantity that was not counted before.
    """
    trade = trade_of(fill)
    if trade in order.trades:
        return order, _ZERO
    quantity = fill.quantity
    if fill.trade_id is None and cumulative is not None:
        quantity = min(quantity, max(_ZERO, cumulative - order.told))
    counted = replace(
        order,
        trades=order.trades | {trade},
        told=order.told + quantity,
        proceeds=order.proceeds + quantity * fill.price,
    )
    return counted, quantity
