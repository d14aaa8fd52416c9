"""Pieces of a sweep: some plans on one lane under one order of a bar's extremes. An executor may walk each anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from trailing.backtest.series import first_index, times_of
from trailing.backtest.simulated import check_entry_of
from trailing.backtest.walk import Walk, walk
from trailing.core.paths import point_times
from trailing.core.plan import TrailPlan
from trailing.errors import UsageError
from trailing.sweep import kernel
from trailing.sweep.encoding import Integers, PlanTable, encode_plans, view_bars
from trailing.sweep.lanes import Columns, Lane, Timeline, TradeColumns, periods_of

STEPS: Final = 25_000_000
"""Bars times plans of a piece for the kernel: about a tenth of a second."""

_CORE_STEPS: Final = 100_000
"""Bars times plans of a piece for the core: about a third of a second."""

COUNT_COLUMNS: Final = 6

_NOT_LISTED: Final = np.zeros((0, kernel.TRADE_COLUMNS), np.int64)

_STOP_FILLED: Final = "the stop was filled"
"""The core's reason of an exit by the live stop."""


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a sweep.

    Args:
        plans: the plans that the core walks; empty if the kernel walks the piece.
        numbers: the numbers of its plans.
        table, periods: the numbers of the plans for the kernel; None: the core walks the piece.
        high_first: whether the high of a bar is assumed to come first.
        costs: the shares of the entry price and of the exit price that a trade costs.
    """

    lane: Lane
    plans: tuple[TrailPlan, ...]
    numbers: tuple[int, ...]
    table: PlanTable | None
    periods: tuple[int, ...]
    high_first: bool
    costs: tuple[float, float]
    timeline: Timeline

    @property
    def by_kernel(self) -> bool:
        """Return whether the kernel walks the piece, and not the core."""
        return self.table is not None

    @property
    def steps(self) -> int:
        """Return how much work it is: about the number of bars that the kernel walks in the same time."""
        bars = len(times_of(self.lane.series)) * len(self.numbers)
        return bars if self.by_kernel else bars * (STEPS // _CORE_STEPS)


class PieceResult(NamedTuple):
    """The results of a piece, one row for each of its plans.

    Args:
        counts: as the kernel counts, `trailing.sweep.kernel.TRADES` and so on.
        sums: the sums of the entry prices and of the exit prices of closed trades, in the units of the lane.
        profits: per segment, as a share of the entry price.
    """

    counts: Integers
    sums: npt.NDArray[Any]
    profits: npt.NDArray[np.float64]


def make_pieces(
    lane: Lane,
    plans: Sequence[TrailPlan],
    costs: tuple[float, float],
    timeline: Timeline,
    *,
    high_first: bool,
    tables: dict[object, PlanTable],
) -> Iterator[Piece]:
    """Yield the pieces of a lane, in a fixed order.

    Args:
        tables: keeps the tables of plans, because many lanes have the same one.
    """
    fast = [number for number in range(len(plans)) if number not in lane.by_core]
    known = [plans[number] for number in fast]
    periods = periods_of(known)
    key = (lane.side, lane.scale, tuple(fast))
    if key not in tables:
        tables[key] = encode_plans(known, lane.side, lane.scale, periods)
    table = tables[key]
    for numbers, by_kernel, steps in ((fast, True, STEPS), (sorted(lane.by_core), False, _CORE_STEPS)):
        size = _size(lane, steps)
        for begin in range(0, len(numbers), size):
            some = tuple(numbers[begin : begin + size])
            yield Piece(
                lane=lane,
                plans=() if by_kernel else tuple(plans[number] for number in some),
                numbers=some,
                table=PlanTable(*(rows[begin : begin + size] for rows in table)) if by_kernel else None,
                periods=periods,
                high_first=high_first,
                costs=costs,
                timeline=timeline,
            )


def count_pieces(lane: Lane, plans: int) -> int:
    """Return how many pieces `make_pieces` yields for a lane and a number of plans."""
    by_core = len(lane.by_core)
    return sum(-(-count // _size(lane, steps)) for count, steps in ((plans - by_core, STEPS), (by_core, _CORE_STEPS)))


def _size(lane: Lane, steps: int) -> int:
    """Return how many plans a piece has."""
    return max(1, steps // len(times_of(lane.series)))


def walk_piece(piece: Piece) -> PieceResult:
    """Walk the plans of a piece."""
    plans, segments = len(piece.numbers), piece.timeline.length
    result = PieceResult(
        np.zeros((plans, COUNT_COLUMNS), np.int64),
        np.zeros((plans, 2), np.int64 if piece.by_kernel else object),
        np.zeros((plans, segments), np.float64),
    )
    if piece.table is not None:
        _by_kernel(piece, piece.table, result)
    else:
        for row, plan in enumerate(piece.plans):
            _by_core(piece, plan, row, result)
    return result


def _by_kernel(piece: Piece, table: PlanTable, result: PieceResult) -> None:
    lane = piece.lane
    view = view_bars(lane.prices, lane.side, piece.periods)
    segments, closes = _marks(piece, view.closes)
    kernel.walk_plans(
        piece.high_first == (lane.side == "long"),
        lane.always_in,
        _following(lane),
        np.array(lane.starts, np.int64),
        _entry_prices(lane),
        lane.scale.tick,
        lane.scale.den,
        np.array(piece.costs),
        tuple(view),
        tuple(table),
        segments,
        closes,
        piece.timeline.early,
        *result,
        _NOT_LISTED,
    )
    np.abs(result.sums, out=result.sums)  # a short is walked on negated prices


def _by_core(piece: Piece, plan: TrailPlan, row: int, result: PieceResult) -> None:
    lane = piece.lane
    trades, result.counts[row, kernel.REFUSALS] = walk_by_core(lane, plan, high_first=piece.high_first)
    closed = [trade for trade in trades if trade[5] != kernel.OPEN]
    result.sums[row] = [sum(abs(trade[column]) for trade in closed) for column in (1, 3)]
    if not trades:
        return
    if lane.prices is not None:
        closes, listed = lane.sign * lane.prices[3], np.array(trades, np.int64)
    else:  # prices that need more than 64 bits: the shares need no more than a float
        factor = 10 ** (lane.scale.digits - lane.series.decimals)
        closes = np.array([float(lane.sign * price * factor) for price in closes_of(lane.series)])
        listed = np.array(trades, np.float64)
    segments, marks = _marks(piece, closes)
    kernel.add_trades(
        row,
        listed,
        np.array(piece.costs),
        segments,
        marks,
        piece.timeline.early,
        result.counts,
        result.profits,
    )


def walk_by_core(lane: Lane, plan: TrailPlan, *, high_first: bool) -> tuple[list[list[int]], int]:
    """Return the trades of a plan as the core makes them, and the number of refused entries.

    Each trade has the columns of `trailing.sweep.kernel.TRADE_COLUMNS`.
    """
    trades = list[list[int]]()
    refused = 0
    pending = iter(lane.entries)
    entry = next(pending, None)
    while entry is not None:
        position = entry.position
        try:
            check_entry_of(position, plan, lane.market)
        except UsageError:
            refused += 1
            last = first_index(lane.series, position.opened_at)
        else:
            walked = walk(position, plan, lane.market, lane.series, high_first=high_first)
            assert walked is not None, "make_lanes gives entries within the prices"
            last = walked.last
            trades.append(_row(lane, walked))
        if lane.always_in:
            following = lane.after(last)
            entry = lane.enter(following) if following < len(times_of(lane.series)) else None
        else:
            entry = next(pending, None)
    return trades, refused


def walk_by_kernel(lane: Lane, plan: TrailPlan, *, high_first: bool) -> list[list[int]]:
    """Return the trades of a plan as the kernel makes them, refused ones included."""
    periods = periods_of((plan,))
    most = len(times_of(lane.series)) if lane.always_in else len(lane.starts)
    trades, counts = np.zeros((most, kernel.TRADE_COLUMNS), np.int64), np.zeros((1, COUNT_COLUMNS), np.int64)
    view = view_bars(lane.prices, lane.side, periods)
    kernel.walk_plans(
        high_first == (lane.side == "long"),
        lane.always_in,
        _following(lane),
        np.array(lane.starts, np.int64),
        _entry_prices(lane),
        lane.scale.tick,
        lane.scale.den,
        np.zeros(2),
        tuple(view),
        tuple(encode_plans((plan,), lane.side, lane.scale, periods)),
        np.zeros(len(view.closes), np.int64),
        view.closes[-1:],
        0,
        counts,
        np.zeros((1, 2), np.int64),
        np.zeros((1, 1)),
        trades,
    )
    found: list[list[int]] = trades[: counts[0, [kernel.TRADES, kernel.REFUSALS]].sum()].tolist()
    return found


def closes_of(series: Columns | TradeColumns) -> Sequence[int]:
    """Return the close of each bar, or the price of each trade."""
    closes: Sequence[int] = series.close if isinstance(series, Columns) else series.price_units
    return closes


def _row(lane: Lane, walked: Walk) -> list[int]:
    entry, price = lane.scale.price(walked.position.entry_price), lane.scale.price(walked.exit_price)
    stop = 0 if walked.stop is None else lane.scale.price(walked.stop)
    series, point = lane.series, 3
    if isinstance(series, Columns) and walked.exit_at is not None:
        point = point_times(series.opened_at[walked.last], series.seconds).index(walked.exit_at)
    elif walked.exit_at is not None:
        point = 0
    if walked.exit_at is None:
        end = kernel.OPEN
    elif walked.reason != _STOP_FILLED:
        end = kernel.BEYOND
    else:
        end = kernel.STOPPED if point else kernel.GAPPED
    return [walked.first, lane.sign * entry, walked.last, lane.sign * price, point, end, walked.moves, lane.sign * stop]


def _entry_prices(lane: Lane) -> Integers:
    return np.array([lane.sign * lane.scale.price(entry.position.entry_price) for entry in lane.entries], np.int64)


def _following(lane: Lane) -> Integers:
    """Return the index of the next entry after an end at each index."""
    times = np.asarray(times_of(lane.series), np.int64)
    return np.searchsorted(times, times, side="right").astype(np.int64)


def _marks(piece: Piece, closes: npt.NDArray[Any]) -> tuple[Integers, npt.NDArray[Any]]:
    """Return the segment of each bar, and the last close before the end of each segment."""
    segments = piece.timeline.segments_of(times_of(piece.lane.series))
    last = np.searchsorted(segments, np.arange(piece.timeline.length), side="right") - 1
    return segments, closes[np.maximum(last, 0)]
