"""Public market data of a venue: its markets, and pages of its candles. It needs no keys."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, TypeAlias

from trailing.core.checks import check_money, check_source, check_symbol
from trailing.core.model import Market, Source, refuse
from trailing.errors import UsageError, suggest
from trailing.exchanges.ccxt.limits import DOWNLOADS
from trailing.exchanges.ccxt.session import Session
from trailing.exchanges.ccxt.unreadable import UNREADABLE, reason
from trailing.exchanges.ccxt.venue import Venue
from trailing.exchanges.port import escaped

BarRow: TypeAlias = tuple[int, str, str, str, str, str]
"""A bar as texts: UTC milliseconds of the open, open, high, low, close, and the volume or ``""``."""

_UNIT_MS: Final = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DAY: Final = _UNIT_MS["d"]
_LONGEST_PAGE: Final = 200 * _DAY
"""The most time between begin and end of a request: Binance allows 200 days for mark and index prices."""

_log = logging.getLogger(__name__)


class PublicMarketData:
    """The public market data of a venue. `open_market_data` creates it.

    Attributes:
        name: the venue's name.
        timeframes: the venue's lengths of bars up to a day, in milliseconds, the shortest first.
    """

    def __init__(self, session: Session, venue: Venue, markets: Mapping[str, Market]) -> None:
        self.name: str = venue.name
        lengths = {name: length for name in session.client.timeframes if (length := _length_of(name)) is not None}
        self.timeframes: Mapping[str, int] = dict(sorted(lengths.items(), key=lambda item: item[1]))
        self._session = session
        self._venue = venue
        self._markets = markets

    def market(self, symbol: str) -> Market:
        """Return a market's rules. Raises UsageError for an unknown symbol."""
        check_symbol("symbol", symbol)
        try:
            return self._markets[symbol]
        except KeyError:
            raise UsageError(
                f"{self.name} lists no linear contract {symbol}.{suggest(symbol, self._markets)}".rstrip()
            ) from None

    def listed_at(self, symbol: str) -> int | None:
        """Return when a contract was listed, in UTC milliseconds; None: the venue does not say."""
        self.market(symbol)
        created = self._session.client.markets[symbol].get("created")
        return created if isinstance(created, int) else None

    def check_timeframe(self, timeframe: str) -> int:
        """Return the milliseconds of a bar. Raises UsageError for a length that the venue does not have."""
        if timeframe not in self.timeframes:
            raise refuse("timeframe", timeframe, f"one of {', '.join(self.timeframes)}, as {self.name} has them")
        return self.timeframes[timeframe]

    def page_length(self, timeframe: str, source: Source) -> int:
        """Return the milliseconds that one page of candles covers at most."""
        length, prices = self.check_timeframe(timeframe), self._venue.prices
        return min(prices.history_pages.get(source, prices.candle_page), _LONGEST_PAGE // length) * length

    async def candle_page(self, symbol: str, timeframe: str, source: Source, start: int, end: int) -> Sequence[BarRow]:
        """Read the bars that open from `start` until before `end`, oldest first. The last one may still be open.

        Args:
            timeframe: one of `timeframes`.
            start, end: in UTC milliseconds, at most `page_length` apart.

        Raises:
            UsageError: the venue has no such candles.
            ExchangeUnreachable: the candles can't be read now.
        """
        self.market(symbol)
        length = self.check_timeframe(timeframe)
        check_source("source", source)
        params = self._venue.prices.candles.get(source)
        if params is None:
            raise refuse("source", source, f"a source that {self.name} has candles of")
        limit = -(-(end - start) // length)
        operation = DOWNLOADS[source != "last"]
        asked = (symbol, timeframe, start, limit, {**params, "until": end - 1})
        rows = await self._session.call(operation, "fetch_ohlcv", *asked)
        bars = {bar[0]: bar for row in rows if (bar := _bar_of(symbol, row, source)) is not None}
        return [bars[at] for at in sorted(bars) if start <= at < end]


def _length_of(timeframe: str) -> int | None:
    """Return the milliseconds of a bar up to a day; None for any other word."""
    found = re.fullmatch(r"([1-9]\d{0,3})([mhd])", timeframe)
    length = 0 if found is None else int(found[1]) * _UNIT_MS[found[2]]
    return length if 0 < length <= _DAY else None


def _bar_of(symbol: str, row: Sequence[Any], source: Source) -> BarRow | None:
    """Return ccxt's row as a bar; None, with a line in the log, for one that can't be parsed."""
    try:
        prices = [_money(price) for price in row[1:5]]
        volume = row[5] if source == "last" and len(row) > 5 and row[5] is not None else ""
        return int(row[0]), prices[0], prices[1], prices[2], prices[3], volume and f"{Decimal(str(volume)):f}"
    except UNREADABLE as error:
        _log.warning("%s: left out a candle that can't be parsed: %s", symbol, escaped(reason(error)))
        return None


def _money(value: Any) -> str:
    price = Decimal(str(value))
    check_money("price", price)
    return f"{price:f}"
