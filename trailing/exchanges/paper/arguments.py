"""Checks of a request's arguments before it is sent."""

from __future__ import annotations

from decimal import Decimal

from trailing.core.model import Market, Side, check_money, check_side, check_source, check_symbol, refuse
from trailing.exchanges.port import StopRequest, check_callback


def check_client_order_id(value: object) -> None:
    """Raise UsageError for a client order id that is no text or is empty."""
    if not isinstance(value, str) or not value:
        raise refuse("client_order_id", value, "a text that is not empty")


def check_stop_request(request: StopRequest, market: Market) -> None:
    """Raise UsageError for a stop request with an invalid value."""
    check_symbol("StopRequest.symbol", request.symbol)
    check_side("StopRequest.side", request.side)
    check_money("StopRequest.quantity", request.quantity)
    check_money("StopRequest.price", request.price)
    check_source("StopRequest.source", request.source)
    check_client_order_id(request.client_order_id)
    check_callback(request, market)


def check_close(symbol: str, side: Side, quantity: Decimal) -> None:
    """Raise UsageError for a close with an invalid value."""
    check_symbol("symbol", symbol)
    check_side("side", side)
    check_money("quantity", quantity)
