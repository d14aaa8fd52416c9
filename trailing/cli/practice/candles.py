"""`trailing candles`: download the candles of a venue into price files, without keys."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from trailing.cli import USAGE
from trailing.cli.json_output import print_json
from trailing.cli.messages import errors_named, print_message
from trailing.cli.practice.candle_download import (
    Download,
    DownloadProgress,
    Format,
    Wanted,
    plan_downloads,
    run_download,
)
from trailing.cli.signals import Interruption, run_until_signal
from trailing.cli.tables import write_time
from trailing.cli.time_options import parse_since
from trailing.core.model import Source, check_symbol
from trailing.errors import ExchangeError, ExchangeUnreachable, RateLimited, UsageError, suggest
from trailing.exchanges.ccxt.opening import open_market_data
from trailing.exchanges.ccxt.venues import VENUES
from trailing.extras import import_extra
from trailing.logs import Level
from trailing.price_files import Bars, Gap, describe_prices


class CandleFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file as the command reports it.

    Args:
        bars, added: the number of all bars in the file, and of the new ones.
        first, last: when the first and the last bar open; None: there is no bar.
        missing: the number of missing bars between them; `gaps`: where they are.
        off_tick: the number of prices that are no multiple of the market's tick.
        complete: whether everything that was asked for is in the file.
    """

    symbol: str
    path: str
    bars: int
    added: int
    first: datetime | None
    last: datetime | None
    missing: int
    gaps: tuple[Gap, ...]
    off_tick: int
    complete: bool


class CandlesDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What the command prints with ``--json``."""

    venue: str
    source: Source
    timeframe: str
    ended: str
    files: tuple[CandleFile, ...]


def main(
    *,
    venue: str,
    symbol: Sequence[str],
    timeframe: str,
    since: str,
    until: str | None,
    source: Source,
    out: str,
    format: Format,  # noqa: A002 - the name of the option
    json: bool,
    log_level: Level,
) -> int:
    """Download candles and report the files. The arguments are the options of `trailing candles`.

    Returns:
        The exit code.

    Raises:
        UsageError: an option can't be right, or a file can't be continued.
        ExchangeUnreachable: the venue can't be reached.
    """
    _check_venue(venue)
    for each in symbol:
        check_symbol("SYMBOL", each)
    begin, end = parse_since(since), parse_since(until, "--until")
    now = datetime.now(UTC)
    if begin is None or begin >= min(now, end or now):
        limit = "--until" if end is not None and end < now else "now"
        raise UsageError(f"--since got {since!r}, wants a time before {limit}")
    if format == "parquet":
        import_extra("pyarrow.parquet", extra="parquet", purpose="Parquet files")
    wanted = Wanted(
        symbols=tuple(dict.fromkeys(symbol)),
        timeframe=timeframe,
        since=int(begin.timestamp() * 1000),
        until=None if end is None else int(end.timestamp() * 1000),
        source=source,
        out=_make_directory(out),
        format=format,
    )
    downloads: list[Download] = []
    failures: list[ExchangeError] = []

    async def work(interruption: Interruption) -> None:
        with interruption.cancels():
            async with open_market_data(venue) as data, _show_progress() as progress:
                with errors_named("--timeframe", "timeframe"):
                    data.check_timeframe(wanted.timeframe)
                with errors_named("SYMBOL", "symbol"):
                    downloads.extend(plan_downloads(data, wanted, now=lambda: now))
                for download in downloads:
                    try:
                        await run_download(data, wanted, download, progress)
                    except ExchangeError as error:
                        failures.append(error)
                        break

    _, interruption = run_until_signal(work, log_level=log_level)
    begun = [download for download in downloads if download.begun]
    if interruption.by is not None and not begun:
        return interruption.exit_code
    contents = [download.read(wanted.source) for download in begun]
    files = tuple(map(_describe, begun, contents))
    ended = "failed" if failures else "complete"
    if interruption.by is not None:
        ended = f"cancelled by {interruption.by.name}"
    if json:
        print_json(CandlesDocument(venue=venue, source=source, timeframe=timeframe, ended=ended, files=files))
    else:
        _print(begun, contents, files)
    if ended != "complete":
        print_message(f"{failures[0] if failures else ended}; the same command continues")
    return interruption.exit_code or (USAGE if failures else 0)


def _check_venue(venue: str) -> None:
    verified = [name for name, row in VENUES.items() if row.verified]
    if venue not in verified:
        known = "unverified" if venue in VENUES else "unknown"
        raise UsageError(
            f"VENUE: {known} venue {venue!r}.{suggest(venue, verified)} Candles come from {', '.join(verified)}"
        )


def _make_directory(out: str) -> Path:
    path = Path(out)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out: {path} can't be made: {error.strerror or error}") from error
    return path


def _describe(download: Download, bars: Bars | None) -> CandleFile:
    first, last = (None, None) if bars is None else (bars.opened_at[0], bars.opened_at[-1])
    gaps = () if bars is None else bars.gaps
    return CandleFile(
        symbol=download.symbol,
        path=str(download.path),
        bars=0 if bars is None else len(bars),
        added=download.added,
        first=None if first is None else datetime.fromtimestamp(first / 1000, UTC),
        last=None if last is None else datetime.fromtimestamp(last / 1000, UTC),
        missing=sum(gap.bars for gap in gaps),
        gaps=gaps,
        off_tick=0 if bars is None else bars.off_tick,
        complete=download.at >= download.end,
    )


def _print(downloads: Sequence[Download], contents: Sequence[Bars | None], files: Sequence[CandleFile]) -> None:
    for download, bars, file in zip(downloads, contents, files, strict=True):
        if bars is None or file.first is None or file.last is None:
            print(f"{file.path}: no bars")
            continue
        print(
            f"{file.path}: {file.bars} bars, {file.added} of them new, from {write_time(file.first)} to "
            f"{write_time(file.last)} UTC"
        )
        if download.listed_later and download.start == bars.starts_at:
            print(f"{download.path.name}: the contract was listed later than --since")
        for line in describe_prices(bars):
            print(line)


class _Lines(DownloadProgress):
    """Prints pauses only, because standard error is no terminal."""

    def on_pause(self, download: Download, error: ExchangeUnreachable, seconds: float) -> None:
        why = "the rate limit is reached" if isinstance(error, RateLimited) else str(error)
        print_message(f"{download.symbol}: {why}; trying again in {seconds:.0f} s")


class _Bars(_Lines):
    """Shows a progress bar of each market."""

    def __init__(self, shown: Progress) -> None:
        self._shown = shown
        self._tasks: dict[str, TaskID] = {}

    def on_page(self, download: Download) -> None:
        total = (download.end - download.start) // download.length
        done = min(total, (download.at - download.start) // download.length)
        if download.symbol not in self._tasks:
            self._tasks[download.symbol] = self._shown.add_task(download.symbol, total=total, completed=done)
        self._shown.update(self._tasks[download.symbol], completed=done)


@asynccontextmanager
async def _show_progress() -> AsyncIterator[DownloadProgress]:
    """Show the progress on standard error until the block ends: bars on a terminal, otherwise a line for each pause."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield _Lines()
        return
    columns: list[Any] = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=console) as shown:
        yield _Bars(shown)
