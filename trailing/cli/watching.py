"""Watching a replay: a live table on a terminal, else a line for what matters. All of it on standard error."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import trio
from rich.console import Console
from rich.live import Live

from trailing.cli.stories import Stories
from trailing.cli.tables import UNKNOWN, live_table, write_money, write_time
from trailing.core.model import Tick
from trailing.events import Event, OpeningFailed, PositionClosed, StopOpened
from trailing.logs import Level, configure_logging
from trailing.services import open_service_nursery

_REPAINT_SECONDS: Final = 0.2


@asynccontextmanager
async def watch(
    stories: Stories, prices: Mapping[str, Tick], log_level: Level
) -> AsyncIterator[Callable[[Event], None]]:
    """Show how positions stand for as long as the block lasts, and let the log go where it doesn't disturb that.

    Args:
        stories: is told every event.
        prices: the last one of each symbol.

    Returns:
        What to call with every event.
    """
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        configure_logging(log_level)

        def print_event(event: Event) -> None:
            stories.take(event)
            line = _line(event)
            if line is not None:
                console.print(line, soft_wrap=True, markup=False)

        yield print_event
        return
    with Live(live_table(stories, prices), console=console, auto_refresh=False) as live:
        configure_logging(log_level)  # now, as the live table has put itself before standard error

        async def repaint() -> None:
            # The clock is the data's: only a thread knows how long a fifth of a second is.
            while True:
                await trio.to_thread.run_sync(time.sleep, _REPAINT_SECONDS, abandon_on_cancel=True)
                live.update(live_table(stories, prices), refresh=True)

        async with open_service_nursery() as tasks:
            tasks.start_soon(repaint)
            yield stories.take
        live.update(live_table(stories, prices), refresh=True)


def _line(event: Event) -> str | None:
    """The events that a log of a replay should have: one when a position is protected, and how it ended."""
    begin = f"{write_time(event.at)} {event.symbol} {event.side}:"
    match event:
        case StopOpened():
            return f"{begin} a stop at {write_money(event.price)}, after {event.unprotected_seconds:.3f} s"
        case PositionClosed():
            profit = UNKNOWN if event.profit is None else write_money(event.profit)
            return f"{begin} closed, profit {profit} after {event.moves} moves: {event.reason}"
        case OpeningFailed():
            return f"{begin} no stop: {event.error}"
        case _:
            return None
