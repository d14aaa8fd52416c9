"""Walk many plans from each of some entries on, and keep the profit of each trade apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from trailing.backtest.costs import Costs
from trailing.backtest.entries import EntryPoint
from trailing.backtest.series import Series
from trailing.core.model import Market
from trailing.core.paths import AssumedOrder, name_order
from trailing.core.plan import TrailPlan
from trailing.sweep.kernel import REFUSALS, STILL_OPEN
from trailing.sweep.lanes import Lane, make_lanes, make_timeline
from trailing.sweep.pieces import make_pieces, walk_piece
from trailing.sweep.running import SEGMENTS, Progress


class PerEntry(msgspec.Struct, frozen=True, kw_only=True):
    """The trades of plans under one order of a bar's extremes.

    Args:
        candles: the order; None: there are no bars.
        profits: per plan and entry, as a share of the entry's value, after costs; 0 for a refused entry.
        still_open: per plan, the trades that are open when the data end.
        refused: per plan, the entries for which it has no possible first stop.
        reasons: why the core walked trades, each with their number. The kernel walked the others.
    """

    candles: AssumedOrder | None
    profits: npt.NDArray[np.float64]
    still_open: npt.NDArray[np.int64]
    refused: npt.NDArray[np.int64]
    reasons: Counter[str]


class Steps:
    """Reports the progress: a step is all plans on one entry under one order.

    Args:
        total: the number of steps.
    """

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def advance(self) -> None:
        """Report a further step."""
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self._total)


def walk_per_entry(
    plans: tuple[TrailPlan, ...],
    prices: Mapping[str, Series],
    entries: Sequence[EntryPoint],
    markets: Mapping[str, Market],
    costs: Costs,
    high_first: bool | None,  # noqa: FBT001 - as `assumed_orders` returns it
    steps: Steps,
) -> PerEntry:
    """Return the trades of all plans, by the kernel where it is exact, else by the core.

    Args:
        high_first: whether the high of a bar is assumed to come first; None: there are no bars.
    """
    found = PerEntry(
        candles=name_order(high_first),
        profits=np.zeros((len(plans), len(entries))),
        still_open=np.zeros(len(plans), np.int64),
        refused=np.zeros(len(plans), np.int64),
        reasons=Counter(),
    )
    columns = {id(entry): column for column, entry in enumerate(entries)}
    timeline, tables = make_timeline(prices, SEGMENTS, Decimal("0.5")), dict[object, Any]()
    for lane in make_lanes(plans, prices, entries, markets):
        for reason, count in Counter(lane.by_core.values()).items():
            found.reasons[reason] += count * len(lane.entries)
        entry_share, exit_share = map(float, lane.cost_shares(costs))
        for single in _one_by_one(lane):
            column = columns[id(single.entries[0])]
            for piece in make_pieces(
                single,
                plans,
                (entry_share, exit_share),
                timeline,
                high_first=high_first is not False,
                tables=tables,
            ):
                result, rows = walk_piece(piece), list(piece.numbers)
                found.profits[rows, column] = result.profits.sum(axis=1)
                found.still_open[rows] += result.counts[:, STILL_OPEN]
                found.refused[rows] += result.counts[:, REFUSALS]
            steps.advance()
    return found


def _one_by_one(lane: Lane) -> Iterator[Lane]:
    for entry, start in zip(lane.entries, lane.starts, strict=True):
        yield replace(lane, entries=(entry,), starts=(start,))
