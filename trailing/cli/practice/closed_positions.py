"""The closed positions of a bot's store, with what is known of each."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Final

import msgspec

from trailing.backtest import OwnPosition
from trailing.backtest.walk import Stops
from trailing.cli.position_summaries import PositionSummaries, PositionSummary
from trailing.cli.signals import Interruption, run_until_signal
from trailing.cli.stores import open_stored
from trailing.cli.time_options import parse_since
from trailing.core.model import Position
from trailing.events import StopMoved, StopOpened
from trailing.logs import Level
from trailing.unprotected import UnprotectedStretch

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class ClosedPosition(msgspec.Struct, frozen=True):
    """A closed position of a store.

    Args:
        summary: its history in figures.
        stops: the time (seconds since 1970) and the price of each acknowledged stop.
    """

    summary: PositionSummary
    stops: Stops

    @property
    def position(self) -> Position | None:
        """The position; None: its quantity, entry price or time is unknown."""
        summary = self.summary
        if summary.quantity is None or summary.entry_price is None or summary.opened_at is None:
            return None
        return Position(summary.symbol, summary.side, summary.quantity, summary.entry_price, summary.opened_at)

    @property
    def own(self) -> OwnPosition | None:
        """The position with its exit; None: its entry, its exit or its profit is unknown."""
        position, summary = self.position, self.summary
        if position is None or summary.exit_price is None or summary.closed_at is None or summary.profit is None:
            return None
        return OwnPosition(
            position=position,
            closed_at=max(summary.closed_at, position.opened_at),
            exit_price=summary.exit_price,
            reason=summary.reason or "",
            moves=summary.moves,
            stops=self.stops,
        )


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """The closed positions of all accounts of a store, by the time of their entry.

    Args:
        exit_code: not 0: a signal ended the reading, and there is nothing.
    """

    positions: tuple[ClosedPosition, ...] = ()
    exit_code: int = 0

    @property
    def unprotected(self) -> tuple[UnprotectedStretch, ...]:
        """The times in which they had no live stop."""
        return tuple(
            UnprotectedStretch(closed.summary.symbol, closed.summary.side, since, until)
            for closed in self.positions
            for since, until in closed.summary.unprotected_stretches
        )


def read_closed_positions(url: str, since: str | None, wanted: Sequence[str], log_level: Level) -> Stored:
    """Read the closed positions of a store.

    Args:
        since: events from then on, as it was typed; None: all.
        wanted: the symbols; empty: all.

    Raises:
        UsageError: an option can't be right.
        StoreError: the store can't be read.
    """
    read = partial(_read, url, parse_since(since))
    found, interruption = run_until_signal(read, log_level=log_level)
    if found is None:
        return Stored(exit_code=interruption.exit_code)
    return Stored(positions=tuple(closed for closed in found if not wanted or closed.summary.symbol in wanted))


async def _read(url: str, since: datetime | None, _: Interruption) -> list[ClosedPosition]:
    accounts: dict[tuple[str, str], PositionSummaries] = {}
    stops: dict[PositionSummary, list[tuple[float, Decimal]]] = {}
    async with open_stored(url) as store:
        async for record in store.events(since):
            summaries, event = accounts.setdefault((record.exchange, record.account), PositionSummaries()), record.event
            summaries.add_event(event)
            if isinstance(event, (StopOpened, StopMoved)) and event.symbol is not None and event.side is not None:
                summary = summaries.of(event.symbol, event.side)
                stops.setdefault(summary, []).append((event.at.timestamp(), event.price))
    found = [
        ClosedPosition(summary, tuple(stops.get(summary, ())))
        for summaries in accounts.values()
        for summary in summaries
        if summary.state == "closed"
    ]
    return sorted(found, key=lambda each: (each.summary.opened_at or _EPOCH, each.summary.symbol, each.summary.side))
