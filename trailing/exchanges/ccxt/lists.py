"""The account's lists of stops and positions, read entry by entry: what can't be read costs no other entry."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, TypeVar

from trailing.core.account import PositionReport
from trailing.core.model import Market, StopOrder
from trailing.errors import ExchangeUnreachable, UsageError
from trailing.exchanges.ccxt.conversion import Raw, is_linear, is_ours, position_of, stop_of
from trailing.exchanges.ccxt.requests import Requests
from trailing.exchanges.ccxt.unreadable import UNPARSED, UNREADABLE, reason
from trailing.exchanges.ccxt.venue import Venue
from trailing.exchanges.port import PartialList, escaped

T = TypeVar("T", StopOrder, PositionReport)

_NAMES: Final = ("symbol", "id", "clientOrderId")


class Lists:
    """The lists of an account on a venue.

    Args:
        markets: ours, by symbol.
        raw_markets: all of ccxt's, by symbol. An entry of one that is no linear contract is left out by design.
    """

    def __init__(
        self, requests: Requests, venue: Venue, markets: Mapping[str, Market], raw_markets: Mapping[str, Raw]
    ) -> None:
        self._requests, self._venue, self._markets = requests, venue, markets
        self._others: Collection[str] = frozenset(
            symbol for symbol, raw in raw_markets.items() if symbol not in markets and not is_linear(raw)
        )

    async def stops(self) -> Sequence[StopOrder]:
        """Return all live stops in the order of symbol and client order id; a `PartialList` where an entry can't be read."""
        raws = [raw for params in self._venue.lists for raw in await self._requests.orders("open_stops", None, params)]
        stops, left_out = self._read_stops(raws)
        return _whole_or_partial(sorted(stops, key=lambda stop: (stop.symbol, stop.client_order_id)), left_out)

    async def positions(self) -> Sequence[PositionReport]:
        """Return all open positions in the order of symbol and side; a `PartialList` where an entry can't be read."""
        raws = [raw for params in self._venue.position_lists for raw in await self._requests.positions(params)]
        reports, left_out = self._read(
            "position", raws, lambda raw: position_of(self._venue, self._markets, raw), _key_of_position
        )
        return _whole_or_partial(sorted(reports, key=_key_of_position), left_out)

    def find(self, raws: Iterable[Raw], client_order_id: str) -> StopOrder | None:
        """Return the live stop under an id among orders; None: it is none of them.

        Raises:
            ExchangeUnreachable: it is not shown, and one of the orders can't be read, which may be it.
        """
        stops, left_out = self._read_stops(raws)
        found = next((stop for stop in stops if stop.client_order_id == client_order_id), None)
        if found is None and left_out:
            raise ExchangeUnreachable(f"{self._venue.name} find_stop: {escaped(left_out[0])}")
        return found

    def _read_stops(self, raws: Iterable[Raw]) -> tuple[Collection[StopOrder], list[str]]:
        return self._read("order", raws, lambda raw: stop_of(self._venue, self._markets, raw), _key_of_stop)

    def _read(
        self,
        kind: Literal["order", "position"],
        raws: Iterable[Raw],
        read: Callable[[Raw], T | None],
        key_of: Callable[[T], object],
    ) -> tuple[Collection[T], list[str]]:
        """Return the entries that could be read, one for each key, and why others could not."""
        entries: dict[object, T] = {}
        left_out: list[str] = []
        for raw in raws:
            try:
                if UNPARSED in raw:
                    raise UsageError(raw[UNPARSED])
                entry = None if self._is_of_other_market(raw.get("symbol")) else read(raw)
            except UNREADABLE as error:
                left_out.append(f"{_name_of(kind, raw)}: {reason(error)}")
                continue
            # What moves from one page to the next while they are read comes twice, as the same.
            if entry is not None and entries.setdefault(key_of(entry), entry) != entry:
                left_out.append(f"{_name_of(kind, raw)}: listed twice, with other values")
        return entries.values(), left_out

    def _is_of_other_market(self, symbol: Any) -> bool:
        if not isinstance(symbol, str) or symbol in self._markets:
            return False
        return symbol in self._others or re.fullmatch(self._venue.other_markets, symbol) is not None


def _key_of_stop(stop: StopOrder) -> object:
    """Return what only one entry can have: our client order id. Foreign ones need not be unique everywhere."""
    return stop.client_order_id if is_ours(stop.client_order_id) else (stop.order_id,)


def _key_of_position(report: PositionReport) -> tuple[str, str]:
    return report.symbol, report.side


def _name_of(kind: str, raw: Raw) -> str:
    names = (f"{name} {raw[name]}" for name in _NAMES if raw.get(name))
    return " ".join((kind, ", ".join(names))).rstrip()


def _whole_or_partial(entries: list[T], left_out: list[str]) -> Sequence[T]:
    return PartialList(entries, left_out) if left_out else entries
