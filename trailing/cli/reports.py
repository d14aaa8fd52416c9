"""The report: a row for each position, and their totals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

import msgspec

from trailing.cli.position_summaries import ENDED, PositionSummary
from trailing.core.model import Side
from trailing.unprotected import ALWAYS_PROTECTED, UnprotectedTime

_PLACES = 6
"""Decimal places of seconds, as many as the store keeps."""


class ReportRow(msgspec.Struct, frozen=True, kw_only=True):
    """The row of one position.

    Args:
        state: as in `PositionSummary`.
        slippage: of its entry, in percent, as in `EntryEnded`; None: this library did not enter it.
        exit_price: the average price of the reported fills; None without one.
        profit: in quote units, before fees; None while the position is open, and if a fill was not reported.
        stop_price: the live stop, or the last one.
        unprotected_seconds: seconds without a live stop; of an open position, up to its last record.
        unprotected_time: the same by cause.
        reason: why the position ended, or why it has no stop.
        alarms: the number of alarms, failed moves and failed exits.
    """

    symbol: str
    side: Side
    state: str
    quantity: Decimal | None
    entry_price: Decimal | None
    slippage: Decimal | None
    exit_price: Decimal | None
    profit: Decimal | None
    stop_price: Decimal | None
    moves: int
    unprotected_seconds: float
    unprotected_time: UnprotectedTime
    opened_at: datetime | None
    closed_at: datetime | None
    reason: str | None
    alarms: int


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """The sums of the rows.

    Args:
        closed: positions that ended; `not_entered`: entries of which nothing was filled.
        profit: by quote currency, before fees, of the closed positions whose profit is known.
        profit_unknown: the number of closed positions that `profit` leaves out.
    """

    positions: int
    closed: int
    not_entered: int
    open: int
    profit: dict[str, Decimal]
    profit_unknown: int
    moves: int
    unprotected_seconds: float
    unprotected_time: UnprotectedTime
    alarms: int


class Report(msgspec.Struct, frozen=True):
    """The rows of some positions, and their totals."""

    positions: tuple[ReportRow, ...]
    totals: Totals


def build_report(summaries: Iterable[PositionSummary]) -> Report:
    """Return the report of some positions, in their order."""
    rows = tuple(map(_row, summaries))
    profit: defaultdict[str, Decimal] = defaultdict(Decimal)
    for row in rows:
        if row.profit is not None:
            profit[quote_of(row.symbol)] += row.profit
    ended = sum(row.state in ENDED for row in rows)
    not_entered = sum(row.state == "not entered" for row in rows)
    return Report(
        rows,
        Totals(
            positions=len(rows),
            closed=ended - not_entered,
            not_entered=not_entered,
            open=len(rows) - ended,
            profit=dict(sorted(profit.items())),
            profit_unknown=sum(row.state == "closed" and row.profit is None for row in rows),
            moves=sum(row.moves for row in rows),
            unprotected_seconds=round(sum(row.unprotected_seconds for row in rows), _PLACES),
            unprotected_time=sum((row.unprotected_time for row in rows), ALWAYS_PROTECTED).rounded(_PLACES),
            alarms=sum(row.alarms for row in rows),
        ),
    )


def quote_of(symbol: str) -> str:
    """Return the quote currency of a symbol, in which its profits are."""
    return symbol.partition("/")[2].partition(":")[0]


def _row(summary: PositionSummary) -> ReportRow:
    return ReportRow(
        symbol=summary.symbol,
        side=summary.side,
        state=summary.state,
        quantity=summary.quantity,
        entry_price=summary.entry_price,
        slippage=summary.slippage,
        exit_price=summary.exit_price,
        profit=summary.profit,
        stop_price=summary.stop_price,
        moves=summary.moves,
        unprotected_seconds=round(summary.unprotected_seconds, _PLACES),
        unprotected_time=summary.unprotected_time.rounded(_PLACES),
        opened_at=summary.opened_at,
        closed_at=summary.closed_at,
        reason=summary.reason,
        alarms=summary.alarms,
    )
