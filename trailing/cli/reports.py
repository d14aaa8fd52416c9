"""The report: a row for each position, and totals that add up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from trailing.cli.stories import ENDED, Story
from trailing.core.model import Side
from trailing.unprotected import ALWAYS_PROTECTED, UnprotectedTime

_PLACES = 6
"""Digits of a second: what the store keeps."""


class ReportRow(msgspec.Struct, frozen=True, kw_only=True):
    """One position.

    Args:
        state: as in `Story`.
        exit_price: the average over the fills that were reported; None where there was none.
        profit: in quote units, before fees; None until it is closed, and where it is not known because a fill was not
            reported.
        stop_price: the live stop, or the last one.
        unprotected_seconds: seconds without a live stop, of an open position up to its last record; `unprotected_time`: by cause.
        reason: why it ended, or why it has no stop.
        alarms: failed moves, failed exits and alarms.
    """

    symbol: str
    side: Side
    state: str
    quantity: Decimal | None
    entry_price: Decimal | None
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
    """Sums over the rows.

    Args:
        profit: by quote currency, of the closed positions whose profit is known, before fees.
        profit_unknown: how many closed positions that leaves out.
    """

    positions: int
    closed: int
    open: int
    profit: dict[str, Decimal]
    profit_unknown: int
    moves: int
    unprotected_seconds: float
    unprotected_time: UnprotectedTime
    alarms: int


class Report(msgspec.Struct, frozen=True):
    """What became of some positions."""

    positions: tuple[ReportRow, ...]
    totals: Totals


def build_report(stories: Iterable[Story]) -> Report:
    """The report of some positions, in their order."""
    rows = tuple(map(_row, stories))
    profit: defaultdict[str, Decimal] = defaultdict(Decimal)
    for row in rows:
        if row.profit is not None:
            profit[quote_of(row.symbol)] += row.profit
    closed = sum(row.state in ENDED for row in rows)
    return Report(
        rows,
        Totals(
            positions=len(rows),
            closed=closed,
            open=len(rows) - closed,
            profit=dict(sorted(profit.items())),
            profit_unknown=sum(row.state == "closed" and row.profit is None for row in rows),
            moves=sum(row.moves for row in rows),
            unprotected_seconds=round(sum(row.unprotected_seconds for row in rows), _PLACES),
            unprotected_time=sum((row.unprotected_time for row in rows), ALWAYS_PROTECTED).rounded(_PLACES),
            alarms=sum(row.alarms for row in rows),
        ),
    )


def quote_of(symbol: str) -> str:
    """The currency in which a symbol's profits are."""
    return symbol.partition("/")[2].partition(":")[0]


def to_json(value: Any, *, indent: int = 2) -> str:
    """A value as JSON: money as text, times in ISO 8601."""
    return msgspec.json.format(msgspec.json.encode(value), indent=indent).decode()


def _row(story: Story) -> ReportRow:
    return ReportRow(
        symbol=story.symbol,
        side=story.side,
        state=story.state,
        quantity=story.quantity,
        entry_price=story.entry_price,
        exit_price=story.exit_price,
        profit=story.profit,
        stop_price=story.stop_price,
        moves=story.moves,
        unprotected_seconds=round(story.unprotected_seconds, _PLACES),
        unprotected_time=story.unprotected_time.rounded(_PLACES),
        opened_at=story.opened_at,
        closed_at=story.closed_at,
        reason=story.reason,
        alarms=story.alarms,
    )
