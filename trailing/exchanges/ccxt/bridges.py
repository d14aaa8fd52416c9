"""Stops of whole positions that entries carried, on a venue that keeps them without a client order id (a bridge).

Such a stop names the entry that carried it. It is shown under the entry's client order id, with the position's quantity,
because the venue keeps it as large as the position. A stop of a position that names no entry of ours is foreign.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from trailing.core.account import PositionReport
from trailing.core.model import Market, StopOrder
from trailing.core.prices import EXACT
from trailing.errors import UsageError
from trailing.exchanges.ccxt.conversion import CLOSED_BY, Raw, is_ours, number, text
from trailing.exchanges.ccxt.entry_requests import BridgeRequests
from trailing.exchanges.ccxt.unreadable import UNPARSED
from trailing.exchanges.ccxt.venue import Venue
from trailing.exchanges.ccxt.venue_requests import POSITION_INDEXES, VenueRequests

_REMEMBERED: Final = 1_000
"""Of how many entries it is remembered that they carried a stop."""


class Bridges:
    """Recognises the bridges among a venue's orders, and clears them. On other venues it recognises none.

    Args:
        requests: sends the requests.
        venue: the venue's row.
        raw_markets: all of ccxt's markets, by symbol.
    """

    def __init__(self, requests: VenueRequests, venue: Venue, raw_markets: Mapping[str, Raw]) -> None:
        self._requests, self._raw_markets = requests, raw_markets
        self.rows: BridgeRequests | None = None if venue.entries is None else venue.entries.bridge
        self._known: OrderedDict[str, None] = OrderedDict()

    def note(self, client_order_id: str) -> None:
        """Note that an entry carries a stop."""
        self._known[client_order_id] = None
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    def is_known(self, client_order_id: str) -> bool:
        """Return whether a client order id is that of an entry that carried a stop, as far as this process knows."""
        return client_order_id in self._known

    def entry_of(self, raw: Raw) -> str | None:
        """Return the client order id of the entry that carried a stop of ccxt's; None: no entry of ours did."""
        info = raw.get("info")
        if self.rows is None or not isinstance(info, Mapping):
            return None
        kind, entry = info.get(self.rows.type_field), info.get(self.rows.parent_field)
        if not isinstance(kind, str) or not isinstance(entry, str) or raw.get("clientOrderId"):
            return None
        return entry if kind in self.rows.types and is_ours(entry) else None

    def shown(self, raw: Raw, entry: str, markets: Mapping[str, Market], held: Sequence[PositionReport]) -> Raw:
        """Return a bridge as a stop of ours, with the quantity of its position.

        A position may be listed later than its stop. Then the quantity is the one that the order states; without one, the order
        can't be parsed.
        """
        assert self.rows is not None
        self.note(entry)
        symbol, side = raw.get("symbol"), CLOSED_BY.get(str(raw.get("side")))
        whole = next((each.quantity for each in held if (each.symbol, each.side) == (symbol, side)), None)
        info = {**raw["info"], self.rows.type_field: self.rows.shown_type}
        named = {**raw, "info": info, "clientOrderId": entry}
        if whole is not None and isinstance(symbol, str) and symbol in markets:
            contracts = text(EXACT.divide(whole, markets[symbol].contract_size))
            return {**named, "amount": contracts, "remaining": contracts}
        if not _is_quantity(raw.get("remaining")) and not _is_quantity(raw.get("amount")):
            return {**raw, UNPARSED: "its position is not listed, so its quantity is unknown"}
        return named

    async def clear(self, order: StopOrder) -> None:
        """Clear the stop of a position. Raises as `Exchange.cancel_stop`."""
        assert self.rows is not None
        params: dict[str, Any] = {
            **self.rows.clear,
            "symbol": self._raw_markets[order.symbol]["id"],
            "positionIdx": POSITION_INDEXES[order.side] if self._requests.is_hedged(order.symbol) else 0,
        }
        await self._requests.call(
            "clear_bridge", self.rows.clear_method, params, symbol=order.symbol, about=order.client_order_id
        )


def _is_quantity(value: Any) -> bool:
    """Return whether a number of ccxt's is a quantity above 0."""
    try:
        return bool(number(value))
    except UsageError:
        return False
