"""Harsh faults of the account's two lists: empty lists, wrong entries, wrong liquidation prices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final, TypeVar

import msgspec
import trio
from msgspec.structs import replace

from simulation.laboratory.fault_log import FaultLog
from simulation.laboratory.harsh_rates import EMPTY_SECONDS
from simulation.laboratory.scenario import TICK
from trailing.core.account import PositionReport
from trailing.core.model import StopOrder
from trailing.errors import ExchangeUnreachable
from trailing.exchanges.port import PartialList

Entry = TypeVar("Entry", PositionReport, StopOrder)

_LISTS: Final = ("positions", "open_stops")

UNREADABLE: Final = Decimal("1E+400")
"""A quantity beyond the range of our calculations."""

STRANGE_IDS: Final = ("", "0", "1578938", "tr", "tr0123", "x" * 300, "\N{PILE OF POO}\x00{}", 1578938)
"""Client order ids of foreign orders. The last one is not a string: an adapter of ours once returned such an id."""

_FOREIGN: Final = "FOREIGN/USDT:USDT"


class EmptyLists:
    """One list, or both, are empty for some seconds although there are entries."""

    def __init__(self, log: FaultLog) -> None:
        self._log, self._draw = log, log.draw("empty_lists")
        self._until = dict.fromkeys(_LISTS, 0.0)

    def show(self, name: str, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Return the entries that the list `name` shows."""
        now = trio.current_time()
        if self._log.is_over or not entries:
            return entries
        if now >= self._until[name]:
            if self._draw.random() >= self._log.rates.empty_lists:
                return entries
            until = now + self._draw.uniform(*EMPTY_SECONDS)
            for one in self._draw.choice(((name,), _LISTS)):
                self._until[one] = until
        self._log.note("empty_lists", until=self._until[name])
        return ()


class _WrongEntry(msgspec.Struct, frozen=True):
    """A fault of the list entry with the key `key`, and its end in seconds of the world."""

    what: str
    key: object
    until: float


class WrongLists:
    """An entry of a list is missing, doubled, unreadable or foreign for some seconds. The other entries are right.

    At the port, unreadable means one of three things: the whole list fails with `ExchangeUnreachable`; a `PartialList`
    leaves out the unreadable stop; or a position has a quantity beyond all bounds.
    """

    def __init__(self, log: FaultLog) -> None:
        self._log, self._draw = log, log.draw("wrong_lists")
        self._wrong: dict[str, _WrongEntry] = {}

    def show(self, name: str, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Return the entries that the list `name` shows. Raises ExchangeUnreachable for an unreadable list."""
        now = trio.current_time()
        if self._log.is_over or not entries:
            return entries
        wrong = self._wrong.get(name)
        if wrong is None or now >= wrong.until:
            if self._draw.random() >= self._log.rates.wrong_lists:
                return entries
            what = self._draw.choice(("missing", "missing", "doubled", "failing", "unreadable", "foreign"))
            until = now + self._draw.uniform(*EMPTY_SECONDS)
            wrong = self._wrong[name] = _WrongEntry(what, _key_of(self._draw.choice(entries)), until)
        self._log.note("wrong_lists", until=wrong.until)
        if wrong.what == "failing":
            raise ExchangeUnreachable(f"{name}: an entry can't be read")
        shown: list[Entry] = []
        left_out: list[str] = []
        for entry in entries:
            if _key_of(entry) != wrong.key:
                shown.append(entry)
            elif wrong.what == "unreadable" and isinstance(entry, StopOrder):
                left_out.append(f"order {entry.client_order_id}: its quantity can't be read")
            else:
                shown += self._instead(entry, wrong.what)
        return PartialList(shown, left_out) if left_out else tuple(shown)

    def _instead(self, entry: Entry, what: str) -> tuple[Entry, ...]:
        """Return the entries that are listed instead of `entry`."""
        if what == "missing":
            return ()
        if what == "doubled":
            return (entry, replace(entry, quantity=entry.quantity / 2))
        if what == "unreadable":
            return (replace(entry, quantity=UNREADABLE),)
        return (entry, self._foreign(entry), self._foreign(entry))

    def _foreign(self, like: Entry) -> Entry:
        if isinstance(like, PositionReport):
            return replace(like, symbol=_FOREIGN, liquidation_price=None)
        strange: Any = self._draw.choice(STRANGE_IDS)
        return replace(like, client_order_id=strange, order_id=f"foreign {strange!r}")


def _key_of(entry: PositionReport | StopOrder) -> object:
    return entry.client_order_id if isinstance(entry, StopOrder) else (entry.symbol, entry.side)


class WrongLiquidations:
    """The positions of some symbols are reported with a liquidation price on the wrong side of the market.

    Args:
        symbols: the symbols of the world.
        price: returns the present market price of a symbol.
    """

    def __init__(self, log: FaultLog, symbols: Sequence[str], price: Callable[[str], Decimal]) -> None:
        self._log, self._price = log, price
        draw, rate = log.draw("wrong_liquidations"), log.rates.wrong_liquidations
        drawn = {symbol: (draw.random(), Decimal(draw.randint(1, 300)) / 1000) for symbol in symbols}
        self._off = {symbol: off for symbol, (chance, off) in drawn.items() if chance < rate}

    def show(self, reports: Sequence[PositionReport]) -> Sequence[PositionReport]:
        """Return the reports, with wrong liquidation prices for some symbols."""
        return reports if self._log.is_over else tuple(self._shown(report) for report in reports)

    def _shown(self, report: PositionReport) -> PositionReport:
        off = self._off.get(report.symbol)
        if off is None:
            return report
        self._log.note("wrong_liquidations", report.symbol)
        off = off if report.side == "long" else -off
        return replace(report, liquidation_price=(self._price(report.symbol) * (1 + off)).quantize(TICK))
