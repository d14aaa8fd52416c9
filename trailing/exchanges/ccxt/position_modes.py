"""The position mode of each symbol, on venues where it is not one for the whole account."""

from __future__ import annotations

from collections.abc import Iterable

from trailing.exchanges.ccxt.conversion import Raw
from trailing.exchanges.ccxt.unreadable import UNPARSED


class PositionModes:
    """The position modes that the venue's positions state.

    A venue lists a symbol if a position is open, or if the request named it. Any other symbol is taken to have the mode of the
    first symbol of its settle currency. If that is wrong, the venue refuses the order.
    """

    def __init__(self) -> None:
        self._by_symbol: dict[str, bool] = {}
        self._by_currency: dict[str, bool] = {}

    @property
    def is_any_hedged(self) -> bool:
        """Whether a listed symbol is in hedge mode."""
        return any(self._by_symbol.values())

    def is_known(self, symbol: str) -> bool:
        """Return whether a symbol of the same settle currency was listed."""
        return settle_currency(symbol) in self._by_currency

    def is_hedged(self, symbol: str, *, default: bool) -> bool:
        """Return whether a symbol is in hedge mode. `default`: the mode, if no symbol of its settle currency was listed."""
        return self._by_symbol.get(symbol, self._by_currency.get(settle_currency(symbol), default))

    def note(self, raws: Iterable[Raw]) -> None:
        """Note the modes that positions state. An entry that can't be parsed states none."""
        for raw in raws:
            symbol, hedged = raw.get("symbol"), raw.get("hedged")
            if UNPARSED not in raw and isinstance(symbol, str) and isinstance(hedged, bool):
                self._by_symbol[symbol] = hedged
                self._by_currency.setdefault(settle_currency(symbol), hedged)


def settle_currency(symbol: str) -> str:
    """Return the settle currency of a unified symbol: USDC of BTC/USDC:USDC-261225; "" if it has none."""
    return symbol.partition(":")[2].partition("-")[0]
