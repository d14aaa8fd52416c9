"""Why OKX cancelled an order: https://www.okx.com/docs-v5/en/#order-book-trading-trade-ws-order-channel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from trailing.exchanges.port import escaped

_BY_REQUEST: Final = frozenset({"", "1"})
_CANCEL_SOURCES: Final[Mapping[str, str]] = {
    "0": "by the system",
    "2": "reduce-only, insufficient margin",
    "3": "risk of liquidation",
    "6": "ADL",
    "7": "delivery",
    "14": "IOC, the rest was not filled",
    "15": "the price is beyond the limit",
    "17": "the position was already closed",
    "20": "cancel all after",
    "21": "the position was closed",
    "22": "reduce-only, other orders have a better price",
    "23": "reduce-only, other orders have a better price",
    "27": "price limit",
    "32": "self trade prevention",
    "33": "too many matches for one taker order",
}
"""What a `cancelSource` means, of those that a reduce-only market order can meet."""


def cancel_reason(order: Mapping[str, Any]) -> str:
    """Return why OKX cancelled an order, escaped; "": a request cancelled it."""
    source = str(order.get("cancelSource") or "")
    if source in _BY_REQUEST:
        return ""
    stated = order.get("cancelSourceReason") or _CANCEL_SOURCES.get(source, "")
    return escaped(f"cancelSource {source} {stated}".rstrip())
