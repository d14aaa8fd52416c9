"""The reports of an exchange about an account: both lists, read together as a snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Literal, TypeAlias

import msgspec

from trailing.core.model import Side, StopOrder, check_money, check_symbol
from trailing.errors import UsageError

Key: TypeAlias = tuple[str, Side]
"""Symbol and side of a position."""

Owner: TypeAlias = Literal["ours", "instance", "foreign"]
"""The owner of an order.

``"ours"``: this instance, or an earlier one of this account. ``"instance"``: another instance, with our tag.
``"foreign"``: anything else.
"""


class PositionReport(msgspec.Struct, frozen=True, gc=False):
    """A position as the exchange reports it. A position that it does not report is flat, or not visible yet.

    Raises:
        UsageError: the symbol is not in unified form. Otherwise no report would match and every position would look
            closed.
    """

    symbol: str
    side: Side
    quantity: Decimal
    entry_price: Decimal
    liquidation_price: Decimal | None = None

    def __post_init__(self) -> None:
        check_symbol("PositionReport.symbol", self.symbol)


class OpenOrder(msgspec.Struct, frozen=True, gc=False):
    """An open order of one symbol, of any kind and any owner.

    Its figures are for messages and checks. The protection of positions decides nothing by them.

    Args:
        symbol: ccxt's unified symbol.
        order_id: the exchange's id.
        client_order_id: "": it has none.
        kind: the exchange's own word for its type, such as ``"LIMIT"`` or ``"TAKE_PROFIT_MARKET"``, escaped.
        order_side: whether the order buys or sells.
        side: the side of the position that it can only reduce; None: it may open a position, or that is unknown.
        quantity: the unfilled quantity, in base units; 0: the whole position.
        price: the limit price; None: it has none.
        trigger_price: the price that triggers it; None: it has none, or the exchange does not state it.
        is_conditional: whether it waits for a trigger. Otherwise it is in the order book already.
    """

    symbol: str
    order_id: str
    client_order_id: str
    kind: str
    order_side: Literal["buy", "sell"]
    side: Side | None
    quantity: Decimal
    price: Decimal | None = None
    trigger_price: Decimal | None = None
    is_conditional: bool = False

    def __post_init__(self) -> None:
        check_symbol("OpenOrder.symbol", self.symbol)
        check_money("OpenOrder.quantity", self.quantity, zero=True)

    @property
    def covers_position(self) -> bool:
        """Whether it covers its part of a position, so that the exchange may refuse to reduce that part at market."""
        return self.side is not None and not self.is_conditional


class AccountSnapshot(msgspec.Struct, frozen=True):
    """Both lists of an account: its stop orders and its positions.

    Args:
        asked_at: when both lists were requested, in seconds on the running clock, as every time here. The lists show no
            state that is older than this time less the read lag.
        answered_at: when both lists had arrived. They show no later state.
        ours: our live stops, trailing ones included, by symbol and side.
        others: the stops with our tag that another instance placed.
        reports: the open positions by symbol and side.
        shows_all_stops, shows_all_positions: whether that list was read in full. A list with a doubled or unreadable
            entry proves presence, never absence.
        doubled_orders: client order ids of our stops that were listed more than once. These stops exist, but their
            figures are unknown, so `ours` is without them.
        doubled_positions: symbol and side of positions that were listed more than once or have impossible figures.
            `reports` is without them.
        foreign: the listed stops without our tag.
    """

    asked_at: float
    answered_at: float
    ours: dict[Key, tuple[StopOrder, ...]]
    others: tuple[StopOrder, ...]
    reports: dict[Key, PositionReport]
    shows_all_stops: bool = True
    shows_all_positions: bool = True
    doubled_orders: frozenset[str] = frozenset()
    doubled_positions: frozenset[Key] = frozenset()
    foreign: tuple[StopOrder, ...] = ()

    @property
    def foreign_stops(self) -> int:
        """Return the number of listed stops that are not ours."""
        return len(self.foreign) + len(self.others)

    @property
    def listed_stops(self) -> int:
        """The number of stops that are known to be live, ours and foreign."""
        return self.foreign_stops + len(self.doubled_orders) + sum(map(len, self.ours.values()))

    @property
    def has_positions(self) -> bool:
        """Whether any position is listed."""
        return bool(self.reports or self.doubled_positions)


class SnapshotBuilder:
    """Sort both lists of an account by position, a few entries at a time.

    Args:
        owner_of: returns the owner of an order, by its client order id.
    """

    def __init__(self, owner_of: Callable[[str], Owner]) -> None:
        self._owner_of = owner_of
        self._ours: dict[Key, tuple[StopOrder, ...]] = {}
        self._ids: set[str] = set()
        self._others: list[StopOrder] = []
        self._doubled_orders: set[str] = set()
        self._reports: dict[Key, PositionReport] = {}
        self._doubled_positions: set[Key] = set()
        self._foreign: list[StopOrder] = []

    def add_stops(self, stops: Iterable[StopOrder]) -> None:
        """Add entries of the list of stops."""
        for order in stops:
            own = order.client_order_id
            owner = self._owner_of(own)
            if owner == "instance":
                self._others.append(order)
            elif owner == "ours":
                if own in self._ids:
                    self._doubled_orders.add(own)
                self._ids.add(own)
                key = (order.symbol, order.side)
                self._ours[key] = (*self._ours.get(key, ()), order)
            else:
                self._foreign.append(order)

    def add_positions(self, positions: Iterable[PositionReport]) -> None:
        """Add entries of the list of positions."""
        for report in positions:
            key = (report.symbol, report.side)
            if key in self._reports or not _is_readable(report):
                self._doubled_positions.add(key)
            self._reports[key] = report

    def build(
        self, asked_at: float, answered_at: float, *, shows_all_stops: bool = True, shows_all_positions: bool = True
    ) -> AccountSnapshot:
        """Return the snapshot. Call this once, because it changes the builder's own lists.

        Args:
            asked_at, answered_at: as in `AccountSnapshot`.
            shows_all_stops, shows_all_positions: whether the adapter could read every entry of that list.
        """
        doubled_orders, doubled_positions = frozenset(self._doubled_orders), frozenset(self._doubled_positions)
        if doubled_orders:
            for key, orders in tuple(self._ours.items()):
                self._ours[key] = tuple(one for one in orders if one.client_order_id not in doubled_orders)
        for key in doubled_positions:
            del self._reports[key]
        return AccountSnapshot(
            asked_at,
            answered_at,
            self._ours,
            tuple(self._others),
            self._reports,
            shows_all_stops and not doubled_orders,
            shows_all_positions and not doubled_positions,
            doubled_orders,
            doubled_positions,
            tuple(self._foreign),
        )


def _is_readable(report: PositionReport) -> bool:
    """Return whether the figures of a report can be those of an open position."""
    try:
        check_money("quantity", report.quantity)
        check_money("entry_price", report.entry_price)
        if report.liquidation_price is not None:
            check_money("liquidation_price", report.liquidation_price, zero=True)
    except UsageError:
        return False
    return True


class Orphan(msgspec.Struct, frozen=True):
    """An open intent whose position has no record.

    Args:
        identity: the `Position.identity` of that position.
        at_risk_until: the exchange may execute the request until then, in seconds on the running clock.
    """

    symbol: str
    side: Side
    identity: str
    client_order_id: str
    purpose: Literal["stop", "exit"]
    at_risk_until: float
