"""The demo's screen: live on a terminal; otherwise a line per change, and the tables at the end."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from trailing.cli.listings import Listing
from trailing.cli.position_summaries import PositionSummaries
from trailing.cli.practice.demo_waves import DemoWave, Lane
from trailing.cli.tables import live_table
from trailing.core.model import Tick
from trailing.logs import Level, configure_logging
from trailing.services import open_service_nursery

_REPAINTS_A_SECOND = 10
_WIDTH = 100


class DemoScreen:
    """Shows the waves and the positions of the demo.

    Args:
        to_stderr: show them on standard error instead of standard output.

    Attributes:
        waves: the waves that have started.
        summaries, prices: the positions and their last prices while the market moves.
        market_moves: whether the market has started to move.
        is_live: whether it is shown on a terminal.
    """

    def __init__(self, *, to_stderr: bool) -> None:
        self.waves: list[DemoWave] = []
        self.summaries: PositionSummaries = PositionSummaries()
        self.prices: dict[str, Tick] = {}
        self.market_moves = False
        self._console = Console(stderr=to_stderr, highlight=False)
        self.is_live: bool = self._console.is_terminal

    @asynccontextmanager
    async def shown(self, log_level: Level) -> AsyncIterator[None]:
        """Show the screen until the block ends; the log is printed above it."""
        if not self.is_live:
            configure_logging(log_level)
            yield
            return
        with Live(self.render(), console=self._console, auto_refresh=False) as live:
            configure_logging(log_level)  # only now, because the live screen has replaced standard error

            async def repaint() -> None:
                while True:
                    await trio.sleep(1 / _REPAINTS_A_SECOND)
                    live.update(self.render(), refresh=True)

            async with open_service_nursery() as tasks:
                tasks.start_soon(repaint)
                yield
            live.update(self.render(), refresh=True)

    def lane_changed(self, wave: DemoWave, lane: Lane) -> None:
        """Show that a position of a wave has changed its state."""
        if not self.is_live:
            self._console.print(f"{wave.name}: {lane.position.symbol} {lane.state} at {wave.seconds:.2f} s")

    def print_last(self) -> None:
        """Print the present tables."""
        Console(stderr=self._console.stderr, highlight=False, width=_WIDTH).print(self.render())

    def render(self) -> RenderableType:
        """Return the present screen."""
        parts: list[RenderableType] = [
            Text("Five positions; the exchange takes 2 s to place a stop; each position has 10 s.\n"),
            self._waves_table(),
        ]
        if self.market_moves:
            parts += [Text("\nThen the market moves, and the stops trail it until they are filled.\n")]
            parts += [live_table(self.summaries, self.prices)]
        return Group(*parts)

    def _waves_table(self) -> Table:
        table = Listing(("stop acknowledged after", *(_TITLES[wave.name] for wave in self.waves))).fitting(None)[0]
        if not self.waves:
            return table
        for lanes in zip(*(wave.lanes for wave in self.waves), strict=True):
            position = lanes[0].position
            cells = [_write_lane(wave, lane) for wave, lane in zip(self.waves, lanes, strict=True)]
            table.add_row(f"{position.symbol} {position.side}", *cells)
        table.add_section()
        for title, write in _SUMMARY:
            table.add_row(title, *(write(wave) for wave in self.waves), style="bold")
        return table


def write_svg(path: Path, screen: DemoScreen) -> None:
    """Write the present screen to a file, as a picture of a terminal."""
    console = Console(record=True, width=_WIDTH, file=io.StringIO(), force_terminal=True, highlight=False)
    console.print(Text("$ trailing demo\n", "bold"), screen.render())
    path.write_text(console.export_svg(title="trailing demo"), encoding="utf-8")


_TITLES = {"one lock": "one lock across the I/O", "trailing": "trailing"}


def _write_lane(wave: DemoWave, lane: Lane) -> Text:
    if lane.protected_after is not None:
        return Text(f"{lane.protected_after:.2f} s", "green")
    if lane.state == "timed out":
        return Text(f"never: timed out after {wave.deadline:.0f} s", "bold red")
    return Text(f"{lane.state} {wave.seconds - lane.began_at:.1f} s", "yellow" if lane.state == "placing" else "dim")


def _write_protected(wave: DemoWave) -> str:
    protected = sum(lane.protected_after is not None for lane in wave.lanes)
    return f"{protected} of {len(wave.lanes)}"


def _write_elapsed(wave: DemoWave) -> str:
    return f"{wave.seconds if wave.measured is None else wave.measured.elapsed:.2f} s"


def _write_unprotected(wave: DemoWave) -> str:
    return "" if wave.measured is None else f"{wave.measured.unprotected_seconds:.2f} s"


def _write_untracked(wave: DemoWave) -> str:
    return "" if wave.measured is None else str(wave.measured.untracked)


_SUMMARY = (
    ("protected within 10 s", _write_protected),
    ("the whole wave", _write_elapsed),
    ("unprotected time, all positions", _write_unprotected),
    ("untracked orders", _write_untracked),
)
