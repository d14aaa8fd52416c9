"""What is known of an account when it is reconciled: what the exchange reports, and what is tracked."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec

from trailing.core.model import Percent, Side, StopOrder, check_symbol
from trailing.core.states import CLOSED, State


class PositionReport(msgspec.Struct, frozen=True, gc=False):
    """A position as the exchange reports it. One that it doesn't report is flat, or not visible yet.

    Raises:
        UsageError: the symbol is not in unified form. Beside it every position would look closed.
    """

    symbol: str
    side: Side
    quantity: Decimal
    entry_price: Decimal
    liquidation_price: Decimal | None = None

    def __post_init__(self) -> None:
        check_symbol("PositionReport.symbol", self.symbol)


class Reading(msgspec.Struct, frozen=True):
    """The account's two lists.

    Args:
        asked_at: seconds on the running clock, as every time here; the lists show no earlier state than that, less the
            read lag.
        answered_at: when both were there: they show no later one.
        stops: every live stop, ours or not.
    """

    asked_at: float
    answered_at: float
    stops: tuple[StopOrder, ...]
    positions: tuple[PositionReport, ...]


class Pending(msgspec.Struct, frozen=True, gc=False):
    """A request whose outcome isn't known. `sent_at`: minus infinity for a stop that is stored, and not looked up yet."""

    client_order_id: str
    purpose: Literal["stop", "exit"]
    sent_at: float


class Orphan(msgspec.Struct, frozen=True):
    """An open intent whose position has no record. `at_risk_until`: until then the request may still be executed."""

    symbol: str
    side: Side
    identity: str
    client_order_id: str
    purpose: Literal["stop", "exit"]
    at_risk_until: float


class Tracked(msgspec.Struct, frozen=True, kw_only=True):
    """A position that is looked after.

    Args:
        quantity: as known; `coverable`: what of it a stop can cover.
        orders: its live stops as remembered, the one that counts last.
        native: the exchange's own trailing order beside them, as remembered; or None.
        pending: its requests of unknown outcome.
        target: the tightest stop that was ever wanted.
        entry: its entry price as the exchange last reported it; None: it never did.
        quiet_since: when it last changed by us, or we were told that it did.
        busy: its own task, or its opening, is at something.
    """

    symbol: str
    side: Side
    identity: str
    state: State
    quantity: Decimal
    orders: tuple[StopOrder, ...]
    pending: tuple[Pending, ...]
    target: Decimal
    coverable: Decimal
    price_tick: Decimal
    liquidation_buffer: Percent
    entry: Decimal | None
    quiet_since: float
    busy: bool
    native: StopOrder | None = None

    @property
    def key(self) -> tuple[str, Side]:
        """Symbol and side."""
        return self.symbol, self.side

    def is_left_alone(self, asked_at: float, read_lag: float) -> bool:
        """Whether a reading that was asked for then can't tell of it: it is at something, or has just been."""
        return self.busy or self.state is CLOSED or asked_at < self.quiet_since + read_lag

    @property
    def known(self) -> tuple[str, ...]:
        """The client order ids of its stops, live or of unknown outcome."""
        pending = (pending.client_order_id for pending in self.pending if pending.purpose == "stop")
        return tuple(dict.fromkeys((*(order.client_order_id for order in self.orders), *pending)))


class Bounds(msgspec.Struct, frozen=True):
    """What the exchange promises: seconds after which a read shows a write, and for which a request may be executed."""

    read_lag: float
    request_validity: float
    hedged: bool
