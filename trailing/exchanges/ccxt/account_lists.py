"""The account's lists of stops and positions. An entry that can't be parsed costs no other entry."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, TypeVar

import trio

from trailing.core.account import PositionReport
from trailing.core.model import Market, StopOrder
from trailing.errors import ExchangeUnreachable, UsageError
from trailing.exchanges.ccxt.bridges import Bridges
from trailing.exchanges.ccxt.client import BURST
from trailing.exchanges.ccxt.conversion import Raw, client_order_id_of, is_linear, is_ours, position_of, stop_of
from trailing.exchanges.ccxt.unnamed_stops import UnnamedStops
from trailing.exchanges.ccxt.unreadable import UNPARSED, UNREADABLE, reason
from trailing.exchanges.ccxt.venue import Venue
from trailing.exchanges.ccxt.venue_requests import VenueRequests
from trailing.exchanges.port import PartialList, escaped

T = TypeVar("T", StopOrder, PositionReport)

_NAMES: Final = ("symbol", "id", "clientOrderId")


class AccountLists:
    """Reads the lists of an account on a venue.

    Args:
        requests: sends the requests.
        venue: the venue's row.
        markets: the linear contracts, by symbol.
        raw_markets: all of ccxt's markets, by symbol. Entries in markets that are no linear contracts are skipped.
        unnamed: recognises stops of ours that are listed without their client order ids.
        bridges: recognises stops of positions that entries of ours carried.
    """

    def __init__(
        self,
        requests: VenueRequests,
        venue: Venue,
        markets: Mapping[str, Market],
        raw_markets: Mapping[str, Raw],
        unnamed: UnnamedStops,
        bridges: Bridges,
    ) -> None:
        self._requests, self._venue, self._markets, self._unnamed = requests, venue, markets, unnamed
        self._bridges = bridges
        self._others: Collection[str] = frozenset(
            symbol for symbol, raw in raw_markets.items() if symbol not in markets and not is_linear(raw)
        )

    async def stops(self) -> Sequence[StopOrder]:
        """Return all live stops by symbol and client order id; a `PartialList` if an entry can't be parsed."""
        raws = [
            raw for params in self._venue.lists.stops for raw in await self._requests.orders("open_stops", None, params)
        ]
        stops, left_out = await self._read_stops(await self._with_bridges(raws))
        return _whole_or_partial(sorted(stops, key=lambda stop: (stop.symbol, stop.client_order_id)), left_out)

    async def positions(self) -> Sequence[PositionReport]:
        """Return all open positions by symbol and side; a `PartialList` if an entry can't be parsed."""
        raws = await self._requests.positions()
        reports, left_out = await self._read(
            "position", raws, lambda raw: position_of(self._venue, self._markets, raw), _key_of_position
        )
        return _whole_or_partial(sorted(reports, key=_key_of_position), left_out)

    async def find(self, raws: Sequence[Raw], client_order_id: str, *, only: bool) -> StopOrder | None:
        """Return the live stop with a client order id among orders; None: it is none of them.

        Args:
            raws: orders, as ccxt parsed them.
            client_order_id: ours.
            only: the venue was asked for this id only, so that an order with another one is no reply to the request.

        Raises:
            ExchangeUnreachable: the id is not listed, but an order can't be parsed and may be that stop, or is none that was
                asked for.
        """
        stops, left_out = await self._read_stops(raws)
        if only and any(not self._has_id(raw, client_order_id) for raw in raws):
            raise ExchangeUnreachable(f"{self._venue.name} find_stop: the reply is an order that was not asked for")
        found = next((stop for stop in stops if stop.client_order_id == client_order_id), None)
        if found is None and left_out:
            raise ExchangeUnreachable(f"{self._venue.name} find_stop: an order can't be parsed: {escaped(left_out[0])}")
        return found

    async def find_bridge(self, symbol: str, client_order_id: str) -> StopOrder | None:
        """Return the live stop of a position that an entry carried, by the entry's id; None: there is none.

        Raises:
            ExchangeUnreachable: it is not listed, but an order can't be parsed and may be that stop.
        """
        if self._bridges.rows is None:
            return None
        raws = await self._requests.orders("find_stop", symbol, dict(self._bridges.rows.find_list))
        carried = [raw for raw in raws if UNPARSED in raw or self._bridges.entry_of(raw) == client_order_id]
        return await self.find(await self._with_bridges(carried), client_order_id, only=False)

    async def _with_bridges(self, raws: Sequence[Raw]) -> Sequence[Raw]:
        """Return orders with the bridges among them as stops of ours. Their quantities are read from the positions."""
        entries = [self._bridges.entry_of(raw) for raw in raws]
        if not any(entries):
            return raws
        held = await self.positions()
        return [
            raw if entry is None else self._bridges.shown(raw, entry, self._markets, held)
            for raw, entry in zip(raws, entries, strict=True)
        ]

    def _has_id(self, raw: Raw, client_order_id: str) -> bool:
        try:
            return UNPARSED in raw or client_order_id_of(self._venue, raw) == client_order_id
        except UsageError:  # it counts as an order that can't be parsed
            return True

    def _read_stop(self, raw: Raw) -> StopOrder | None:
        stop = stop_of(self._venue, self._markets, raw)
        return None if stop is None else self._unnamed.named(stop)

    async def _read_stops(self, raws: Iterable[Raw]) -> tuple[Collection[StopOrder], list[str]]:
        return await self._read("order", raws, self._read_stop, _key_of_stop)

    async def _read(
        self,
        kind: Literal["order", "position"],
        raws: Iterable[Raw],
        read: Callable[[Raw], T | None],
        key_of: Callable[[T], object],
    ) -> tuple[Collection[T], list[str]]:
        """Return the entries that could be parsed, one for each key, and a text for each entry that could not."""
        entries: dict[object, T] = {}
        left_out: list[str] = []
        for number, raw in enumerate(raws):
            if number % BURST == 0:
                await trio.lowlevel.checkpoint()
            try:
                if UNPARSED in raw:
                    raise UsageError(raw[UNPARSED])
                entry = None if self._is_of_other_market(raw.get("symbol")) else read(raw)
            except UNREADABLE as error:
                left_out.append(f"{_name_of(kind, raw)}: {reason(error)}")
                continue
            # An entry that moves to the next page between two requests is listed twice, with the same values.
            if entry is not None and entries.setdefault(key_of(entry), entry) != entry:
                left_out.append(f"{_name_of(kind, raw)}: listed twice with different values")
        return entries.values(), left_out

    def _is_of_other_market(self, symbol: Any) -> bool:
        if not isinstance(symbol, str) or symbol in self._markets:
            return False
        return symbol in self._others or re.fullmatch(self._venue.lists.other_markets, symbol) is not None


def _key_of_stop(stop: StopOrder) -> object:
    """Return a unique key: our client order id, or the order id, because foreign client order ids may repeat."""
    return stop.client_order_id if is_ours(stop.client_order_id) else (stop.order_id,)


def _key_of_position(report: PositionReport) -> tuple[str, str]:
    return report.symbol, report.side


def _name_of(kind: str, raw: Raw) -> str:
    names = (f"{name} {raw[name]}" for name in _NAMES if raw.get(name))
    return " ".join((kind, ", ".join(names))).rstrip()


def _whole_or_partial(entries: list[T], left_out: list[str]) -> Sequence[T]:
    return PartialList(entries, left_out) if left_out else entries
