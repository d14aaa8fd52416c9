"""The part of a venue's row about entry orders: the requests, and the fields that state an entry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from trailing.core.entry_orders import AttachedStopKind


class EntryFields(msgspec.Struct, frozen=True, kw_only=True):
    """Fields of the venue's own plain orders. Source of all: API.

    Args:
        client_order_id: our id.
        quantity, filled: in the unit of the venue's amounts.
        average_price: of its fills; empty or 0: nothing is filled.
        limit: its limit; empty or 0: it is at market.
        type: the order's type.
        updated_at: the time of its last change, or of its last fill, in milliseconds. An order at market is executed at one
            moment, so it is the time of its first fill too.
        reduce_only: whether it can only reduce a position.
        position_side: the side of the position in hedge mode.
        reason: why it expired or was rejected.
    """

    client_order_id: str
    quantity: str
    filled: str
    average_price: str
    limit: str
    type: str
    updated_at: str
    reduce_only: str
    position_side: str
    reason: str


class BridgeRequests(msgspec.Struct, frozen=True, kw_only=True):
    """How a stop of a whole position is recognised that an entry carried, and how it is cleared.

    Args:
        find_list: parameters of `fetch_open_orders` for a symbol, whose list has such stops. Source: ccxt, capture.
        parent_field: field of the venue's order with the client order id of the entry. Source: API.
        type_field: field of the order's type; `types`: its values for such stops; `shown_type`: for stops as we place them.
            Source: API.
        clear_method: ccxt's method that clears the stop of a position, and `clear` its parameters. Source: API.
    """

    find_list: Mapping[str, Any]
    parent_field: str
    type_field: str
    types: frozenset[str]
    shown_type: str
    clear_method: str
    clear: Mapping[str, Any]


class EntryRequests(msgspec.Struct, frozen=True, kw_only=True):
    """Requests that place, look up and cancel an entry order.

    Args:
        place: parameters of `create_order`, for an order at market and for one with a limit. Source: ccxt, capture.
        find: for each list that may contain the order, ccxt's method and its parameters without an order id, tried in this
            order. Source: ccxt, capture.
        cancel: parameters of `cancel_order` without an order id. Source: ccxt, capture.
        fields: the fields of the venue's plain orders.
        attached_stop: how an entry carries its stop, as `Market.attached_stop`. Source: API.
        bridge: how such a stop is recognised and cleared, if `attached_stop` is ``"bridge"``.
        stop: parameters of an entry that carries a stop. `PRICE`, `SOURCE` and `CLIENT_ORDER_ID` are the stop's. Source: API.
    """

    place: Mapping[str, Any]
    find: tuple[
        tuple[Literal["fetch_order", "fetch_open_orders", "fetch_canceled_and_closed_orders"], Mapping[str, Any]], ...
    ]
    cancel: Mapping[str, Any]
    fields: EntryFields
    attached_stop: AttachedStopKind | None = None
    bridge: BridgeRequests | None = None
    stop: Mapping[str, Any] = {}
