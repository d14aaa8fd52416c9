"""Checks what the reply to an order acknowledges."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from trailing.core.model import check_money
from trailing.errors import OutcomeUnknown, StopRejected, UsageError
from trailing.exchanges.ccxt.conversion import Raw, number, order_id_of
from trailing.exchanges.port import escaped


def acknowledged_id(operation: str, raw: Raw) -> str:
    """Return the order's id from the reply to `operation`.

    Raises:
        StopRejected: the reply says that the venue rejected the order.
        OutcomeUnknown: the reply contains no order id, such as an HTML page.
    """
    reply: Raw = raw if isinstance(raw, Mapping) else {}
    if reply.get("status") == "rejected":
        raise StopRejected(f"{operation}: the venue rejected the order {escaped(str(reply.get('id')))}")
    try:
        order_id = order_id_of(reply)
    except UsageError as error:
        raise OutcomeUnknown(f"{operation}: the reply contains no order id, so the order may exist: {error}") from error
    if not any(map(str.isdigit, order_id)):  # each id that a venue has given to an order has digits
        raise OutcomeUnknown(f"{operation}: the reply contains {order_id} as order id, so the order may exist")
    return order_id


def acknowledged_price(raw: Any) -> Decimal | None:
    """Return the trigger price of a reply; None: it shows none. Raises OutcomeUnknown if it can't be parsed."""
    if not isinstance(raw, Mapping):
        return None
    try:
        price = number(raw.get("triggerPrice"))
        check_money("triggerPrice", price or Decimal(0), zero=True)
    except UsageError as error:
        raise OutcomeUnknown(f"place_stop: the reply can't be parsed, so the order may exist: {error}") from error
    return price
