"""What the paper exchange states of orders: the open ones as a user sees them, and the executions of each order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from trailing.core.account import OpenOrder
from trailing.core.model import Fill, StopOrder


class Executions:
    """The executions of an account, by client order id.

    Args:
        lag: seconds from an execution until it is stated, at least 0.
    """

    def __init__(self, lag: float) -> None:
        self._lag = lag
        self._fills: defaultdict[str, list[Fill]] = defaultdict(list)

    def add(self, fill: Fill) -> None:
        """Add an execution. Their times never decrease."""
        self._fills[fill.client_order_id].append(fill)

    def of_order(self, client_order_id: str, since: float, at: float) -> Sequence[Fill]:
        """Return the executions of an order that a read shows at a time, oldest first. Times are of the running clock."""
        fills = self._fills.get(client_order_id, ())
        return tuple(fill for fill in fills if since <= fill.at <= at - self._lag)


def as_open_order(stop: StopOrder) -> OpenOrder:
    """Return a live stop as an open order."""
    return OpenOrder(
        symbol=stop.symbol,
        order_id=stop.order_id,
        client_order_id=stop.client_order_id,
        kind="STOP_MARKET" if stop.callback is None else "TRAILING_STOP_MARKET",
        order_side="sell" if stop.side == "long" else "buy",
        side=stop.side,
        quantity=stop.quantity,
        trigger_price=stop.price,
        is_conditional=True,
    )
