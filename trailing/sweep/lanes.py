"""The entries of one symbol and side, with its prices in whole numbers."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from trailing.backtest.costs import Costs
from trailing.backtest.entries import AlwaysIn, EntryPoint, Every, enter_at, generate_every
from trailing.backtest.series import Series, first_index, is_bars, times_of
from trailing.core.model import Market, Side
from trailing.core.plan import TrailPlan
from trailing.core.rules import Chandelier
from trailing.sweep.encoding import Integers, Scale, decimals, find_scale, largest_amount, largest_share
from trailing.sweep.exactness import why_not_by_kernel, why_not_exact

_LARGEST: Final = 2**63 - 1
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Timeline(NamedTuple):
    """The segments of time, the same for all symbols, by which profits are added up.

    Args:
        edges: UTC milliseconds; a segment reaches from one edge to the next.
        early: the number of segments of the first part of the walk-forward.
    """

    edges: tuple[int, ...]
    early: int

    @property
    def length(self) -> int:
        """Return the number of segments."""
        return len(self.edges) - 1

    def segments_of(self, times: Sequence[int]) -> Integers:
        """Return the segment of each time."""
        found = np.searchsorted(np.array(self.edges[1:-1], np.int64), np.asarray(times, np.int64), side="right")
        return found.astype(np.int64)


class Columns(msgspec.Struct, frozen=True):
    """The bars of a symbol as plain columns, which every executor can send to another process."""

    seconds: float
    decimals: int
    opened_at: Any
    open: Any
    high: Any
    low: Any
    close: Any

    def price(self, units: int) -> Decimal:
        """Return a price of the columns as a Decimal."""
        return Decimal((0, tuple(map(int, str(units))), -self.decimals))


class TradeColumns(msgspec.Struct, frozen=True):
    """The trades of a symbol as plain columns."""

    decimals: int
    at: Any
    price_units: Any

    def price(self, units: int) -> Decimal:
        """Return a price of the column as a Decimal."""
        return Decimal((0, tuple(map(int, str(units))), -self.decimals))


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """The entries of one symbol and side.

    Args:
        at_market: whether the entries are fills at market, which have slippage.
        always_in: whether each end is followed by another entry.
        series: the prices; `market`: the market.
        entries: the entries, by time. Of an `AlwaysIn` only the first one.
        starts: the index of the first price of each entry.
        scale: the units; `prices`: four rows in these units, None if they do not fit into 64 bits.
        by_core: why the core walks a plan, by its number; the kernel walks the others.
    """

    symbol: str
    side: Side
    at_market: bool
    always_in: bool
    series: Any
    market: Market
    entries: tuple[EntryPoint, ...]
    starts: tuple[int, ...]
    scale: Scale
    prices: Any
    by_core: dict[int, str]

    @property
    def sign(self) -> int:
        """Return 1 for a long, and -1 for a short, whose prices the kernel negates."""
        return 1 if self.side == "long" else -1

    def cost_shares(self, costs: Costs) -> tuple[Decimal, Decimal]:
        """Return the shares of the entry price and of the exit price that a trade costs, as `trailing.backtest` does."""
        slippage, fee = costs.slippage.value / 100, costs.fee.value / 100
        paid = slippage if self.at_market else Decimal(0)
        return paid + fee * (1 + self.sign * paid), slippage + fee * (1 - self.sign * slippage)

    def after(self, index: int) -> int:
        """Return the index of the next entry after an end: the next bar, or the first trade of a later millisecond."""
        times = times_of(self.series)
        after = index + 1
        while after < len(times) and times[after] == times[index]:
            after += 1
        return after

    def enter(self, index: int) -> EntryPoint:
        """Return the entry that follows an end."""
        return enter_at(self.series, index, self.symbol, self.side, self.entries[0].position.quantity)


def make_lanes(
    plans: Sequence[TrailPlan],
    prices: Mapping[str, Series],
    entries: Sequence[EntryPoint] | Every | AlwaysIn,
    markets: Mapping[str, Market],
) -> tuple[Lane, ...]:
    """Return a lane for each symbol, side and kind of entry, in a fixed order."""
    columns = {symbol: _columns(series) for symbol, series in prices.items()}
    known = _KernelPlans(plans)
    scales: dict[tuple[str, int], tuple[Scale, Any, dict[int, str]]] = {}
    lanes = []
    for (symbol, side, at_market), found in _grouped(prices, entries).items():
        series, market = columns[symbol], markets[symbol]
        digits = max(series.decimals, *(decimals(entry.position.entry_price) for entry in found))
        if (symbol, digits) not in scales:
            scales[symbol, digits] = _encode(known, series, market, digits)
        scale, rows, by_core = scales[symbol, digits]
        if any(entry.position.stop_price is not None for entry in found):
            by_core = dict.fromkeys(range(len(plans)), "a position has a stop of its own") | by_core
        lanes.append(
            Lane(
                symbol=symbol,
                side=side,
                at_market=at_market,
                always_in=isinstance(entries, AlwaysIn),
                series=series,
                market=market,
                entries=tuple(found),
                starts=tuple(first_index(series, entry.position.opened_at) for entry in found),
                scale=scale,
                prices=rows,
                by_core=by_core,
            )
        )
    return tuple(lanes)


def _grouped(
    prices: Mapping[str, Series], entries: Sequence[EntryPoint] | Every | AlwaysIn
) -> dict[tuple[str, Side, bool], list[EntryPoint]]:
    groups: dict[tuple[str, Side, bool], list[EntryPoint]] = {}
    for entry in _all(prices, entries):
        key = (entry.position.symbol, entry.position.side, entry.at_market)
        groups.setdefault(key, []).append(entry)
    for group in groups.values():
        group.sort(key=lambda entry: entry.position.opened_at)
    return groups


def _all(prices: Mapping[str, Series], entries: Sequence[EntryPoint] | Every | AlwaysIn) -> Iterator[EntryPoint]:
    if isinstance(entries, AlwaysIn):
        for symbol, series in prices.items():
            for side in entries.sides:
                yield enter_at(series, 0, symbol, side, entries.quantity)
    elif isinstance(entries, Every):
        for symbol, series in prices.items():
            yield from generate_every(entries, symbol, series)
    else:
        yield from entries


def _columns(series: Series) -> Columns | TradeColumns:
    if is_bars(series):
        rows = map(_plain, (series.opened_at, series.open, series.high, series.low, series.close))
        return Columns(float(series.seconds), series.decimals, *rows)
    return TradeColumns(series.decimals, _plain(series.at), _plain(series.price_units))


def _plain(column: Sequence[int]) -> Sequence[int]:
    """Return a column of whole numbers of Python, as the core takes them."""
    return column if isinstance(column, (array, list)) else list(map(int, column))


class _PriceKind(NamedTuple):
    """What decides which plans the kernel can walk: the length of the bars (None: trades), and whether they are aligned."""

    bar_seconds: float | None
    is_aligned: bool


class _KernelPlans:
    """The plans of a sweep as the kernel takes them. What symbols have in common is computed once.

    Args:
        plans: all plans.
    """

    def __init__(self, plans: Sequence[TrailPlan]) -> None:
        self._plans = plans
        self.by_core: Callable[[_PriceKind], Mapping[int, str]] = cache(self._find_by_core)
        self.units: Callable[[_PriceKind, int, Decimal], tuple[Scale, int, int]] = cache(self._find_units)

    def __len__(self) -> int:
        return len(self._plans)

    def _find_by_core(self, kind: _PriceKind) -> Mapping[int, str]:
        """Return why the core walks a plan, by its number."""
        found = ((number, why_not_by_kernel(plan, **kind._asdict())) for number, plan in enumerate(self._plans))
        return {number: why for number, why in found if why is not None}

    def _find_units(self, kind: _PriceKind, digits: int, tick: Decimal) -> tuple[Scale, int, int]:
        """Return the units of the other plans, and their largest share and amount in them."""
        by_core = self.by_core(kind)
        known = [plan for number, plan in enumerate(self._plans) if number not in by_core]
        scale = find_scale(known, digits, tick)
        return scale, largest_share(known, scale.den), largest_amount(known, scale)


def _encode(
    plans: _KernelPlans, series: Columns | TradeColumns, market: Market, digits: int
) -> tuple[Scale, Any, dict[int, str]]:
    """Return the units of a symbol, its prices in them, and why the core walks a plan, by its number."""
    has_bars = isinstance(series, Columns)
    kind = _PriceKind(None, True)
    if isinstance(series, Columns):
        kind = _PriceKind(series.seconds, not any(at % round(series.seconds * 1000) for at in series.opened_at))
    by_core = dict(plans.by_core(kind))
    scale, share, amount = plans.units(kind, digits, market.price_tick)
    factor = 10 ** (scale.digits - series.decimals)
    if isinstance(series, Columns):
        lowest, highest, rows = min(series.low), max(series.high), (series.open, series.high, series.low, series.close)
    else:
        lowest, highest, rows = min(series.price_units), max(series.price_units), (series.price_units,) * 4
    if len(by_core) < len(plans):
        why = why_not_exact(scale, share, amount, lowest * factor, highest * factor, len(rows[0]))
        if why is not None:
            by_core |= dict.fromkeys((number for number in range(len(plans)) if number not in by_core), why)
    if highest * factor > _LARGEST:
        return scale, None, by_core
    encoded = np.array(rows if has_bars else rows[:1], np.int64) * factor
    return scale, encoded if has_bars else np.repeat(encoded, 4, axis=0), by_core


def make_timeline(prices: Mapping[str, Series], segments: int, first_part: Decimal) -> Timeline:
    """Return segments of equal length over the time of all prices.

    Args:
        segments: their number, at least 2.
        first_part: the share of them that is the first part of the walk-forward.
    """
    begin = min(times_of(series)[0] for series in prices.values())
    end = max(times_of(series)[-1] for series in prices.values()) + 1
    edges = tuple(begin + (end - begin) * number // segments for number in range(segments + 1))
    return Timeline(edges, min(segments - 1, max(1, round(segments * first_part))))


def periods_of(plans: Sequence[TrailPlan]) -> tuple[int, ...]:
    """Return the periods of all Chandelier rules."""
    return tuple(sorted({rule.period for plan in plans for rule in plan.rules if isinstance(rule, Chandelier)}))
