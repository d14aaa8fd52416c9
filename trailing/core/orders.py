"""Our orders of one position that exist on the exchange, or may exist: one row each, and the table of their states."""

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

Purpose: TypeAlias = Literal["stop", "native", "exit"]
"""A plain stop; the exchange's own trailing order beside it; a reduce-only close at market."""


class OrderState(StrEnum):
    """Where an order stands, as far as the exchange has said."""

    INTENDED = "intended"
    SENT = "sent"
    LIVE = "live"
    CHANGING = "changing"
    CANCELLING = "cancelling"


INTENDED, SENT, LIVE, CHANGING, CANCELLING = OrderState
ENDED: Final = None
"""Where an order's state leads to that leaves the table."""

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
"""Where each event leads to. A pair that is missing is illegal: it raises and changes nothing. The docs draw it."""


class Order(msgspec.Struct, frozen=True, gc=False):
    """One order of ours, as asked for and as shown.

    Asked and shown are kept apart: a change is wanted only against what was asked for, so that an exchange which rounds
    more coarsely than its tick causes no endless changes.

    Args:
        id: our client order id.
        price: the trigger price that was last asked for; None for an exit.
        quantity: what was last asked for, less what was filled since, in base units.
        order: what the exchange last acknowledged or showed; None: nothing yet.
        callback: of a native order, as asked for.
        sent_at: when its last request was sent, in seconds on the running clock, as every time here.
        changed_at: when the exchange last acknowledged, filled or pushed something of it. A list that was asked for
            before then, plus the read lag, is no evidence about it.
        absent_since: when the first snapshot or look-up without it was answered; None: none was.
        missed_at: when the snapshots without it that count were answered.
        find_at: from when on it is looked up by its id; infinite: it isn't.
        triggered_at: when the exchange showed it as triggered; None: it is not.
        filled: what the exchange has filled of it, by whatever it said, in base units.
        told: what pushed fills have said of that; `told_before`: the same in earlier processes.
        proceeds: what those fills were worth, in quote units.
        trades: the trades, or where they have no ids the fills, that were counted.
        is_unwanted: it is cancelled as soon as it is live.
        makes_way: it is being cancelled so that another can be placed, where the market allows one stop only.
        is_restored: it comes from the store, and the exchange has not shown it since.
        is_superseded: another stop of its position counts, as long as there is one.
        has_unread: it ended, and some of its executions may not have been reported.
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

    def after(self, event: str, **changes: object) -> Order | None:
        """This order after an event of `ORDER_EVENTS`, with other changes of its fields. None: it left the table.

        Raises:
            UsageError: the table does not allow the event.
        """
        try:
            state = ORDER_TABLE[self.state, event]
        except KeyError:
            raise UsageError(f"order {self.id}: {event!r} is impossible while it is {self.state}") from None
        return None if state is None else replace(self, state=state, **changes)

    @property
    def stands(self) -> bool:
        """Whether the exchange has acknowledged or shown it, so that it exists as far as is known."""
        return self.state is LIVE or self.state is CHANGING or self.state is CANCELLING

    @property
    def is_sent(self) -> bool:
        """Whether its last request may still be open: sent, and neither acknowledged nor refused."""
        return self.state is SENT or self.state is CHANGING or self.state is CANCELLING

    def is_stuck(self, at: float, grace: float) -> bool:
        """Whether it triggered so long ago that it should have been filled by now: it protects nothing. In seconds."""
        return self.triggered_at is not None and at >= self.triggered_at + grace

    @property
    def stored(self) -> object:
        """What of it the store has to hold: a placing under its id alone, since its intent holds the rest."""
        return self.id if self.order is None else self.order


def counts_before(side: Side, newer: Order, older: Order) -> bool:
    """Whether the newer one of two live stops of a position is the one that counts: it is at least as tight."""
    if newer.is_superseded is not older.is_superseded:
        return older.is_superseded
    assert newer.order is not None
    assert older.order is not None
    return not is_tighter(side, older.order.price, newer.order.price)


def unseen(order: Order, fill: Fill, cumulative: Decimal | None) -> tuple[Order, Decimal]:
    """Count a pushed fill once, however often and in whatever order it is pushed.

    Args:
        cumulative: what the exchange had filled of the order by then, this fill included; None: it doesn't say.

    Returns:
        The order with the fill counted, and the quantity that was not counted before.
    """
    trade: object = fill.trade_id if fill.trade_id is not None else (fill.quantity, fill.price, fill.at)
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
