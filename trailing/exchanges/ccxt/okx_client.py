"""Changes ccxt's client for OKX where its row can't state them: https://www.okx.com/docs-v5/en/."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ccxt.base.errors import BadResponse, OperationRejected

_NO_ERROR: Final = frozenset({"", "0"})


def adapt(client: Any) -> None:
    """Change a new client: raise for refusals in a reply, keep entry prices, read mark and index prices, amend by client ids.

    Args:
        client: ccxt's client for OKX, which has sent nothing yet.
    """
    _check_entries(client)
    _keep_entry_prices(client)

    fetch_mark_price = client.fetch_mark_price

    async def fetch_mark_price_of_type(symbol: str, params: Mapping[str, Any] = {}) -> Any:
        """Request a mark price with the type of the instrument, which OKX requires and ccxt leaves out."""
        return await fetch_mark_price(symbol, {"instType": client.market(symbol)["info"]["instType"], **params})

    client.fetch_mark_price = fetch_mark_price_of_type

    async def fetch_index_ticker(symbol: str) -> Any:
        market = client.market(symbol)
        answer = await client.publicGetMarketIndexTickers({"instId": market["info"]["uly"]})
        return client.parse_ticker(client.safe_dict(answer["data"], 0, {}), market)

    client.fetch_index_ticker = fetch_index_ticker

    edit_order_request = client.edit_order_request

    def edit_request(order_id: str, *args: Any) -> Any:
        """Leave an empty order id out of an amendment, which names the order by its client order id then."""
        request = edit_order_request(order_id, *args)
        if not order_id:
            request.pop("algoId", None)
        return request

    client.edit_order_request = edit_request


def _check_entries(client: Any) -> None:
    """Raise for a refusal inside a reply, and for a reply without a list.

    A refused order has its code as `sCode` of its entry, and the reply's own code may be 0, 1 or 2. By itself ccxt takes a
    reply of code 0 without `data` for an empty list.
    """
    handle_errors = client.handle_errors

    def handle(status: int, reason: str, url: str, method: str, headers: Any, body: str, value: Any, *rest: Any) -> Any:
        entries = value.get("data") if isinstance(value, Mapping) else None
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, Mapping) and str(entry.get("sCode", "")) not in _NO_ERROR:
                raise OperationRejected(f"{client.id} {body}")
        handled = handle_errors(status, reason, url, method, headers, body, value, *rest)
        if 200 <= status < 300 and not isinstance(entries, list):
            raise BadResponse(f"{client.id}: the reply contains no list")
        return handled

    client.handle_errors = handle


def _keep_entry_prices(client: Any) -> None:
    """Parse a position's entry price as it was before settlements.

    OKX sets `avgPx` of an expiry future with cross margin to the price of the last settlement. To us another entry price
    means another position.
    """
    parse_position = client.parse_position

    def parse(raw: Any, market: Any = None) -> Any:
        position = parse_position(raw, market)
        if raw.get("nonSettleAvgPx"):
            position["entryPrice"] = raw["nonSettleAvgPx"]
        return position

    client.parse_position = parse
