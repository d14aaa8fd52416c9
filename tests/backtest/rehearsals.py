"""Replay positions with manager and paper exchange, and return figures that the backtest has to give, too."""

from __future__ import annotations

import csv
import heapq
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import trio

import trailing
from trailing import Market, Position, Tick, TrailPlan
from trailing.backtest import walk
from trailing.backtest.series import Series, first_index, is_bars, times_of
from trailing.cli.practice.replay import Replay, manager_plan
from trailing.cli.practice.replay_clock import ReplayClock
from trailing.core.paths import point_prices, point_times
from trailing.events import Event, ExitFilled, PositionClosed, StopFilled, StopMoved, StopOpened
from trailing.exchanges.prices import PricePoint
from trailing.stores import MemoryStore

TICK = Decimal("1e-8")
"""The price tick of a market that a replay knows nothing of."""


@dataclass
class Bars:
    """Bars in columns, as the backtest takes them."""

    seconds: float
    decimals: int
    opened_at: Sequence[int]
    open: Sequence[int]
    high: Sequence[int]
    low: Sequence[int]
    close: Sequence[int]

    def price(self, units: int) -> Decimal:
        return Decimal(units).scaleb(-self.decimals)


@dataclass
class Trades:
    """Trades in columns, as the backtest takes them."""

    decimals: int
    at: Sequence[int]
    price_units: Sequence[int]

    def price(self, units: int) -> Decimal:
        return Decimal(units).scaleb(-self.decimals)


def read_bars(path: Path, *, seconds: float = 300.0, decimals: int = 8, most: int | None = None) -> Bars:
    columns = [array("q") for _ in range(5)]
    with path.open(newline="") as file:
        for number, row in enumerate(csv.DictReader(file)):
            if number == most:
                break
            columns[0].append(int(row["timestamp_ms"]))
            for column, name in zip(columns[1:], ("open", "high", "low", "close"), strict=True):
                column.append(round(Decimal(row[name]).scaleb(decimals)))
    return Bars(seconds, decimals, *columns)


def read_trades(path: Path, *, decimals: int = 8, most: int | None = None) -> Trades:
    times, prices = array("q"), array("q")
    with path.open(newline="") as file:
        for number, row in enumerate(csv.DictReader(file)):
            if number == most:
                break
            times.append(int(row["timestamp_ms"]))
            prices.append(round(Decimal(row["price"]).scaleb(decimals)))
    return Trades(decimals, times, prices)


@dataclass(frozen=True)
class Figures:
    """What became of one position. The prices are compared as numbers: 1.50 is 1.5."""

    exit_at: float | None
    exit_price: Decimal | None
    reason: str | None
    moves: int
    stops: tuple[Decimal, ...]
    profit: Decimal | None


def walked(
    positions: Iterable[Position],
    plan: TrailPlan,
    prices: Mapping[str, Series],
    *,
    high_first: bool,
    tick: Decimal = TICK,
) -> list[Figures]:
    """The figures by the core alone."""
    found = []
    for position in positions:
        market = Market(position.symbol, price_tick=tick)
        result = walk(position, plan, market, prices[position.symbol], high_first=high_first, keeps_stops=True)
        assert result is not None
        is_open = result.exit_at is None
        gain = (result.exit_price - position.entry_price) * position.quantity
        found.append(
            Figures(
                result.exit_at,
                None if is_open else result.exit_price,
                result.reason,
                result.moves,
                tuple(price for _, price in result.stops),
                None if is_open else gain if position.side == "long" else -gain,
            )
        )
    return found


def rehearsed(
    positions: Sequence[Position],
    plan: TrailPlan,
    prices: Mapping[str, Series],
    *,
    high_first: bool,
    tick: Decimal = TICK,
) -> list[Figures]:
    """The figures by manager, store and paper exchange."""
    by_key = {(position.symbol, position.side): _Story() for position in positions}
    enters_at = {
        position: times_of(series := prices[position.symbol])[first_index(series, position.opened_at)] / 1000
        for position in positions
    }
    start = min(enters_at.values())
    clock = ReplayClock(start, None)
    markets = [Market(symbol, price_tick=tick) for symbol in prices]

    def note(event: Event) -> None:
        if event.symbol is None or event.side is None:
            return
        story = by_key[event.symbol, event.side]
        if isinstance(event, (StopOpened, StopMoved)):
            story.stops.append(event.price)
        elif isinstance(event, (StopFilled, ExitFilled)):
            story.exit_at, story.exit_price = event.at.timestamp(), event.price
        elif isinstance(event, PositionClosed):
            story.reason, story.profit, story.moves = event.reason, event.profit, event.moves

    async def replay() -> None:
        begins = datetime.fromtimestamp(start, UTC)
        hedged = len({position.symbol for position in positions}) < len(positions)
        async with (
            trailing.open_paper(markets=markets, latency=0.0, hedged=hedged, utc_start=begins) as exchange,
            trailing.open_manager(exchange, MemoryStore(), manager_plan(plan), utc_start=begins) as manager,
        ):
            run = Replay(
                positions,
                points_of(prices, plan, start, high_first=high_first),
                clock,
                plan=plan,
                enters_at=enters_at.__getitem__,
                deadline=10.0,
                settle_seconds=1.0,
                prices={},
                on_event=note,
            )
            await run.run(exchange, manager)

    trio.run(replay, clock=clock.clock)
    return [story.figures() for story in by_key.values()]


class _Story:
    def __init__(self) -> None:
        self.exit_at: float | None = None
        self.exit_price: Decimal | None = None
        self.reason: str | None = None
        self.profit: Decimal | None = None
        self.moves: int | None = None
        self.stops: list[Decimal] = []

    def figures(self) -> Figures:
        moves = len(self.stops) - 1 if self.moves is None else self.moves
        return Figures(self.exit_at, self.exit_price, self.reason, moves, tuple(self.stops), self.profit)


def points_of(prices: Mapping[str, Series], plan: TrailPlan, start: float, *, high_first: bool) -> Iterator[PricePoint]:
    """The path of all symbols from a time on."""

    def of(symbol: str, series: Series) -> Iterator[PricePoint]:
        if not is_bars(series):
            for at, units in zip(series.at, series.price_units, strict=True):
                yield PricePoint(Tick(symbol, series.price(units), at / 1000, plan.trigger))
            return
        columns = (series.opened_at, series.open, series.high, series.low, series.close)
        for at, first, high, low, last in zip(*columns, strict=True):
            path = zip(
                point_prices(first, high, low, last, high_first=high_first),
                point_times(at, series.seconds),
                strict=True,
            )
            for number, (units, moment) in enumerate(path):
                tick = Tick(symbol, series.price(units), moment, plan.trigger)
                yield PricePoint(tick, continuous=number > 0, ends_bar=number == 3)

    def when(point: PricePoint) -> tuple[float, bool]:
        return point.tick.at, not point.ends_bar

    merged = heapq.merge(*(of(symbol, series) for symbol, series in prices.items()), key=when)
    return (point for point in merged if when(point) >= (start, True))
