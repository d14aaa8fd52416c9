"""Frames of entry orders in the form that the venues document, and exactly what is read in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal as D
from typing import Any, Final

from documented_frames import AT, BTC, MS, Frame, bybit_fill_frame, bybit_order_frame, order_frame

from trailing import EntryOrder, EntryUpdate, Fill, OrderUpdate
from trailing.core.model import Side
from trailing.exchanges.ccxt.stream_protocol import Message
from trailing.exchanges.ccxt.unreadable import Unreadable

OURS: Final = "tr0123456789abcdef0123"


def entry_update(
    filled: str = "0",
    average: str | None = None,
    *,
    order_id: str = "501",
    ended: bool = False,
    first_ms: int | None = None,
    limit: str | None = "61000.10",
    side: Side = "long",
    reason: str = "",
) -> EntryUpdate:
    """Return the update of an entry of 0.3."""
    order = EntryOrder(
        BTC,
        side,
        D("0.3"),
        OURS,
        order_id,
        is_working=not ended,
        filled=D(filled),
        average_price=None if average is None else D(average),
        first_filled_at=None if first_ms is None else datetime.fromtimestamp(first_ms / 1000, UTC),
        limit=None if limit is None else D(limit),
        reason=reason,
    )
    return EntryUpdate(order, AT)


def entry_frame(**changes: Any) -> Frame:
    """Return Binance's ORDER_TRADE_UPDATE of an entry of ours with a limit, for a long."""
    return order_frame(c=OURS, S="BUY", R=False, **changes)


def _foreign(order_id: str, own_id: str) -> OrderUpdate:
    return OrderUpdate(BTC, "long", own_id, order_id, "live", AT, filled=D(0))


def bybit_entry_frame(**changes: Any) -> Frame:
    """Return Bybit's frame of an entry of ours with a limit, for a long."""
    entry = {"orderLinkId": OURS, "side": "Buy", "orderType": "Limit", "price": "61000.10", "timeInForce": "GTC"}
    entry |= {"reduceOnly": False, "closeOnTrigger": False, "stopOrderType": "", "triggerPrice": "", "triggerBy": ""}  # type: ignore[dict-item]
    return bybit_order_frame(**{**entry, "orderStatus": "New", **changes})


def bybit_entry_execution(**changes: Any) -> Frame:
    """Return Bybit's frame of the first execution of that entry."""
    entry = {"orderLinkId": OURS, "side": "Buy", "closedSize": "0", "stopOrderType": "UNKNOWN"}
    return bybit_fill_frame(**{**entry, **changes})


def _filled(side: Side, ids: tuple[str, str]) -> OrderUpdate:
    fill = Fill(BTC, side, D("0.1"), D("58990.5"), ids[1], ids[0], AT, "e-801")
    return OrderUpdate(BTC, side, *ids, "partial", AT, fill)


_UNKNOWN_STATUS: Final = Unreadable("orderStatus got 'Untriggered', wants a status of a plain order")
_TRADED: Final = {"x": "TRADE", "l": "0.1", "L": "61000.1", "t": 9}
_AT_MARKET: Final = {"o": "MARKET", "ot": "MARKET", "p": "0"}

ENTRIES: Final[Mapping[str, Sequence[tuple[str, Frame, list[Message]]]]] = {
    "binanceusdm": [
        ("an entry", entry_frame(), [entry_update()]),
        ("an entry at market", entry_frame(**_AT_MARKET), [entry_update(limit=None)]),
        (
            "the first fill of an entry",
            entry_frame(**_TRADED, X="PARTIALLY_FILLED", z="0.1", ap="61000.1"),
            [entry_update("0.1", "61000.1", first_ms=MS)],
        ),
        (
            "a later fill of an entry, whose first was not heard",
            entry_frame(**_TRADED, X="PARTIALLY_FILLED", z="0.2", ap="60995.05"),
            [entry_update("0.2", "60995.05")],
        ),
        (
            "the only fill of an entry",
            entry_frame(**{**_TRADED, "l": "0.3"}, X="FILLED", z="0.3", ap="61000.1"),
            [entry_update("0.3", "61000.1", ended=True, first_ms=MS)],
        ),
        (
            "a cancelled entry",
            entry_frame(x="CANCELED", X="CANCELED", z="0.1", ap="61000.1"),
            [entry_update("0.1", "61000.1", ended=True)],
        ),
        (
            "an entry at market of which a part expires",
            entry_frame(**_AT_MARKET, x="EXPIRED", X="EXPIRED", z="0.1", ap="61000.1"),
            [entry_update("0.1", "61000.1", ended=True, limit=None, reason="EXPIRED")],
        ),
        (
            "an entry of a short in hedge mode",
            order_frame(c=OURS, S="SELL", R=False, ps="SHORT"),
            [entry_update(side="short")],
        ),
        (
            "an order of ours that closes a long in hedge mode",
            order_frame(c=OURS, S="SELL", R=False, ps="LONG"),
            [OrderUpdate(BTC, "long", OURS, "501", "live", AT, filled=D(0))],
        ),
        ("an entry of another program", order_frame(S="BUY", R=False), [_foreign("501", "own-1")]),
    ],
    "bybit": [
        ("an entry", bybit_entry_frame(), [entry_update(order_id="b-701")]),
        (
            "an entry at market that is filled at once",
            bybit_entry_frame(orderType="Market", price="", orderStatus="Filled", cumExecQty="0.3", avgPrice="61000.1"),
            [entry_update("0.3", "61000.1", order_id="b-701", ended=True, limit=None)],
        ),
        (
            "a fill of an entry",
            bybit_entry_frame(orderStatus="PartiallyFilled", cumExecQty="0.1", avgPrice="61000.1"),
            [entry_update("0.1", "61000.1", order_id="b-701")],
        ),
        (
            "a cancelled entry",
            bybit_entry_frame(orderStatus="Cancelled", cumExecQty="0.1", avgPrice="61000.1", cancelType="CancelByUser"),
            [entry_update("0.1", "61000.1", order_id="b-701", ended=True, reason="CancelByUser")],
        ),
        (
            "a rejected entry",
            bybit_entry_frame(orderStatus="Rejected", rejectReason="EC_PerCancelRequest"),
            [entry_update(order_id="b-701", ended=True, reason="EC_PerCancelRequest")],
        ),
        ("a status that no plain order has", bybit_entry_frame(orderStatus="Untriggered"), [_UNKNOWN_STATUS]),
        ("a created entry", bybit_entry_frame(orderStatus="Created"), []),
        ("an execution of an entry", bybit_entry_execution(), []),
        (
            "an execution that does not say whether it closes",
            bybit_fill_frame(orderLinkId=OURS, closedSize="", side="Sell"),
            [_filled("short", (OURS, "b-701"))],
        ),
        (
            "a stop of the position that an entry carried",
            bybit_order_frame(orderLinkId="", stopOrderType="StopLoss", parentOrderLinkId=OURS),
            [OrderUpdate(BTC, "long", OURS, "b-701", "live", AT, filled=D(0))],
        ),
        (
            "a stop of the position that the user set",
            bybit_order_frame(orderLinkId="", stopOrderType="StopLoss", parentOrderLinkId=""),
            [OrderUpdate(BTC, "long", "", "b-701", "live", AT, filled=D(0))],
        ),
    ],
}
"""By venue: what a frame tells, the frame, and what is read in it."""
