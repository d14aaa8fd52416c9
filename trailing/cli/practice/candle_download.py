"""Downloads the candles of one market after another into files, page by page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Final, Literal

import msgspec
import trio

from trailing.core.model import Source
from trailing.errors import ExchangeUnreachable, RateLimited, UsageError
from trailing.exchanges.ccxt.market_data import BarRow, PublicMarketData
from trailing.price_files import Bars, read_prices
from trailing.price_files.origins import Origin, claim_file
from trailing.price_files.writing import BarWriter, open_bar_writer

FIRST_WAIT_SECONDS = 1.0
MOST_TRIES: Final = 8
"""Tries of one page. The waits between them double, up to 30 s: about 90 s together."""

SETTLE_SECONDS: Final = 10.0
"""A bar counts as closed so long after its end, because clocks differ and a venue may still correct it."""

Format = Literal["csv", "parquet"]


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What to download.

    Args:
        since, until: in UTC milliseconds; None: until now.
        out: the directory of the files.
    """

    symbols: tuple[str, ...]
    timeframe: str
    since: int
    until: int | None
    source: Source
    out: Path
    format: Format


class Download(msgspec.Struct, kw_only=True):
    """The download of one market.

    Attributes:
        start, end: bars that open from `start` until before `end` are wanted, in UTC milliseconds.
        at: up to here is done.
        listed_later: the contract was listed after the time that was asked for.
        added: the number of new bars.
        begun: whether it was reached before the command ended.
    """

    symbol: str
    path: Path
    length: int
    tick: Decimal
    start: int
    end: int
    at: int
    listed_later: bool
    added: int = 0
    begun: bool = False

    def read(self, source: Source) -> Bars | None:
        """Return what the file has; None: there is no file. Prices of indexes and marks have finer ticks than the market."""
        if not self.path.exists():
            return None
        bars = read_prices(self.path, tick=self.tick if source == "last" else None)
        assert isinstance(bars, Bars)
        return bars


class DownloadProgress:
    """Shows how far a download is. This one shows nothing."""

    def on_page(self, download: Download) -> None:
        """Show a page that was written."""

    def on_pause(self, download: Download, error: ExchangeUnreachable, seconds: float) -> None:
        """Show that a page failed, and will be requested again in so many seconds."""


def plan_downloads(data: PublicMarketData, wanted: Wanted, *, now: Callable[[], datetime]) -> Sequence[Download]:
    """Return the downloads of all markets, and record in their directory where the files come from.

    Raises:
        UsageError: the venue has no such market or timeframe, no bar can have closed since then, or a file has other prices.
    """
    length = data.check_timeframe(wanted.timeframe)
    closed = int((now().timestamp() - SETTLE_SECONDS) * 1000) - length + 1
    end = closed if wanted.until is None else min(closed, wanted.until)
    downloads = []
    for symbol in wanted.symbols:
        market, listed = data.market(symbol), data.listed_at(symbol) or 0
        start = -(-max(wanted.since, listed // length * length) // length) * length
        if start >= end:
            raise UsageError(
                f"{symbol}: no bar of {wanted.timeframe} has closed between {_write(start)} and {_write(end)}"
            )
        path = wanted.out / f"{_stem(symbol)}-{wanted.timeframe}.{wanted.format}"
        downloads.append(
            Download(
                symbol=symbol,
                path=path,
                length=length,
                tick=market.price_tick,
                start=start,
                end=end,
                at=start,
                listed_later=listed > wanted.since,
            )
        )
    for each in downloads:
        origin = Origin(venue=data.name, symbol=each.symbol, source=wanted.source, since=each.start, tick=each.tick)
        claim_file(each.path, origin)
    return downloads


async def run_download(data: PublicMarketData, wanted: Wanted, download: Download, progress: DownloadProgress) -> None:
    """Download the bars of one market, from the end of its file on.

    Raises:
        UsageError: the file can't be written or continued.
        ExchangeUnreachable: a page can't be read. What was read before is in the file.

    Cancellation: what was read before is in the file.
    """
    download.begun = True
    with open_bar_writer(download.path) as writer:
        if writer.last is not None:
            download.at = writer.last + download.length  # wherever `start` is, so that no hole is left
        progress.on_page(download)
        try:
            await _read_pages(data, wanted, download, writer, progress)
        finally:
            download.added = writer.added
            writer.finish()


async def _read_pages(
    data: PublicMarketData, wanted: Wanted, download: Download, writer: BarWriter, progress: DownloadProgress
) -> None:
    page = data.page_length(wanted.timeframe, wanted.source)
    while download.at < download.end:
        stop = min(download.at + page, download.end)
        rows = await _read_page(data, wanted, download, stop, progress)
        writer.append(rows)
        download.at = stop
        progress.on_page(download)


async def _read_page(
    data: PublicMarketData, wanted: Wanted, download: Download, stop: int, progress: DownloadProgress
) -> Sequence[BarRow]:
    delay, tries = FIRST_WAIT_SECONDS, 0
    while True:
        try:
            return await data.candle_page(download.symbol, wanted.timeframe, wanted.source, download.at, stop)
        except ExchangeUnreachable as error:
            tries += 1
            if tries == MOST_TRIES:
                raise
            pause = max(delay, error.retry_after) if isinstance(error, RateLimited) else delay
            progress.on_pause(download, error, pause)
        await trio.sleep(pause)
        delay = min(2 * delay, 30.0)


def _stem(symbol: str) -> str:
    """Return the beginning of a file's name as `find_price_files` looks for it; with the settle currency where it differs."""
    pair, _, settle = symbol.lower().partition(":")
    base, _, quote = pair.partition("/")
    return f"{base}-{quote}" if settle == quote else f"{base}-{quote}-{settle}"


def _write(at: int) -> str:
    return f"{datetime.fromtimestamp(at / 1000, UTC):%Y-%m-%d %H:%M} UTC"
