"""The progress of a replay on standard error: a live table on a terminal, otherwise a line per event."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import trio
from rich.console import Console
from rich.live import Live
from rich.table import Table

from trailing.cli.messages import write_plainly
from trailing.cli.position_summaries import PositionSummaries
from trailing.cli.tables import UNKNOWN, live_table, write_money, write_time
from trailing.core.model import Tick
from trailing.events import Event, OpeningFailed, PositionClosed, StopOpened
from trailing.logs import Level, configure_logging, escape_unprintable
from trailing.services import open_service_nursery

_REPAINT_SECONDS: Final = 0.2


@asynccontextmanager
async def show_progress(
    summaries: PositionSummaries, prices: Mapping[str, Tick], log_level: Level, *, title: str | None = None
) -> AsyncIterator[Callable[[Event], None]]:
    """Show the positions until the block ends, and direct the log so that it does not disturb the table.

    Args:
        summaries: every event is added to them.
        prices: the last price of each symbol.
        log_level: the lowest level that is logged.
        title: a line above the positions; None: there is none.

    Returns:
        The function to call with every event.
    """
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        configure_logging(log_level)
        if title is not None:
            console.print(title)

        def print_event(event: Event) -> None:
            summaries.add_event(event)
            line = _line(event)
            if line is not None:
                console.print(escape_unprintable(line), soft_wrap=True, markup=False)

        yield print_event
        return

    def table() -> Table:
        return live_table(summaries, prices, console.width, title=title)

    with Live(table(), console=console, auto_refresh=False) as live:
        configure_logging(log_level)  # only now, because the live table has replaced standard error

        async def repaint() -> None:
            # The trio clock keeps the data's time; only a thread can wait for a fifth of a real second.
            while True:
                await trio.to_thread.run_sync(time.sleep, _REPAINT_SECONDS, abandon_on_cancel=True)
                live.update(table(), refresh=True)

        async with open_service_nursery() as tasks:
            tasks.start_soon(repaint)
            yield summaries.add_event
        live.update(table(), refresh=True)


def _line(event: Event) -> str | None:
    """Return the line of an event that protects or ends a position; None for any other event."""
    begin = f"{write_time(event.at)} {event.symbol} {event.side}:"
    match event:
        case StopOpened():
            return f"{begin} protected, stop at {write_money(event.price)}, after {event.unprotected_seconds:.3f} s"
        case PositionClosed():
            moves = "1 move" if event.moves == 1 else f"{event.moves} moves"
            profit = UNKNOWN if event.profit is None else write_money(event.profit)
            return f"{begin} closed, profit {profit}, {moves}: {event.reason}"
        case OpeningFailed():
            return f"{begin} unprotected{', and given up' if event.given_up else ''}: {write_plainly(event.error)}"
        case _:
            return None
