"""What is set for entries in a symbol: position mode, margin mode and leverage, by the venue's own endpoints."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from typing import Any, Final

import trio

from trailing.core.entry_orders import EntrySettings, MarginMode
from trailing.core.model import Side
from trailing.errors import ExchangeError, ExchangeUnreachable, UsageError
from trailing.exchanges.ccxt.conversion import number
from trailing.exchanges.ccxt.session import Session
from trailing.exchanges.ccxt.unreadable import UNREADABLE, reason
from trailing.exchanges.ccxt.venue import Venue
from trailing.exchanges.ccxt.venue_requests import VenueRequests
from trailing.exchanges.port import escaped

# https://developers.binance.com/docs/derivatives/usds-margined-futures/account/rest-api/Symbol-Config and Account-Config
_BINANCE_MODES: Final[Mapping[str, MarginMode]] = {"CROSSED": "cross", "CROSS": "cross", "ISOLATED": "isolated"}
# https://bybit-exchange.github.io/docs/v5/account/account-info: the margin mode of the whole account. `tradeMode` of a
# position is the symbol's, in accounts without that mode.
_BYBIT_MODES: Final[Mapping[str, MarginMode]] = {
    "REGULAR_MARGIN": "cross",
    "ISOLATED_MARGIN": "isolated",
    "PORTFOLIO_MARGIN": "portfolio",
}
_BYBIT_LEGS: Final[Mapping[str, tuple[Side, ...]]] = {"0": ("long", "short"), "1": ("long",), "2": ("short",)}
# https://www.okx.com/docs-v5/en/#trading-account-rest-api-get-leverage. Each order states its margin mode itself.
_OKX_LEGS: Final[Mapping[str, tuple[Side, ...]]] = {"net": ("long", "short"), "long": ("long",), "short": ("short",)}


class SettingsReader:
    """Reads what is set for entries. Tasks that read the account's part at the same time share one request.

    Args:
        session: of the requests.
        requests: sends them.
        venue: the venue's row.
        name: of the exchange, for messages.
    """

    def __init__(self, session: Session, requests: VenueRequests, venue: Venue, *, name: str) -> None:
        self._session, self._requests, self._venue, self._name = session, requests, venue, name
        self._reading: trio.Event | None = None
        self._account: Any = None
        self._read_at = -math.inf

    async def read(self, symbol: str) -> EntrySettings:
        """Return what is set for a symbol. Raises as `Exchange.entry_settings`."""
        reader = _READERS.get(self._venue.name)
        if reader is None:
            raise UsageError(f"{symbol}: {self._name} is not supported for entries yet")
        try:
            return await reader(self, symbol)
        except ExchangeError:  # of a request
            raise
        except UNREADABLE as error:
            raise ExchangeUnreachable(
                f"{self._name} entry_settings {symbol}: the reply can't be parsed: {escaped(reason(error))}"
            ) from error

    def market_id(self, symbol: str) -> str:
        """Return the venue's id of a symbol."""
        return str(self._session.client.markets[symbol]["id"])

    async def account(self, method: str) -> Any:
        """Return the reply to a request about the account, which was sent after this call began."""
        asked_at = trio.current_time()
        while self._read_at < asked_at:
            if self._reading is not None:
                await self._reading.wait()
                continue
            began_at, self._reading = trio.current_time(), trio.Event()
            try:
                self._account = await self._requests.call("account_mode", method, {})
                self._read_at = began_at
            finally:
                self._reading.set()
                self._reading = None
        return self._account

    async def of_symbol(self, symbol: str, method: str, params: Mapping[str, Any]) -> Any:
        """Return the reply to a request about a symbol."""
        return await self._requests.call("entry_settings", method, dict(params), symbol=symbol)

    async def margin_mode(self, symbol: str) -> MarginMode | None:
        """Return the margin mode that an entry will state; None: the two sides differ."""
        return await self._requests.entry_margin_mode(symbol)


async def _read_binance(reader: SettingsReader, symbol: str) -> EntrySettings:
    account = await reader.account("fapiPrivateGetAccountConfig")
    (row,) = await reader.of_symbol(symbol, "fapiPrivateGetSymbolConfig", {"symbol": reader.market_id(symbol)})
    leverage = _leverage(row["leverage"])
    return EntrySettings(
        symbol,
        _flag(account["dualSidePosition"]),
        _BINANCE_MODES[str(row["marginType"]).upper()],
        leverage,
        leverage,
    )


async def _read_bybit(reader: SettingsReader, symbol: str) -> EntrySettings:
    account = (await reader.account("privateGetV5AccountInfo"))["result"]
    wanted = {"category": "linear", "symbol": reader.market_id(symbol)}
    rows = (await reader.of_symbol(symbol, "privateGetV5PositionList", wanted))["result"]["list"]
    legs = _legs(rows, "positionIdx", "leverage", _BYBIT_LEGS)
    mode: MarginMode = (
        "isolated" if any(str(row["tradeMode"]) == "1" for row in rows) else _BYBIT_MODES[account["marginMode"]]
    )
    return EntrySettings(symbol, all(str(row["positionIdx"]) != "0" for row in rows), mode, legs["long"], legs["short"])


async def _read_okx(reader: SettingsReader, symbol: str) -> EntrySettings:
    (account,) = (await reader.account("privateGetAccountConfig"))["data"]
    hedged = {"long_short_mode": True, "net_mode": False}[account["posMode"]]
    mode = await reader.margin_mode(symbol)
    if mode is None:
        return EntrySettings(symbol, hedged)
    wanted = {"instId": reader.market_id(symbol), "mgnMode": mode}
    rows = (await reader.of_symbol(symbol, "privateGetAccountLeverageInfo", wanted))["data"]
    legs = _legs(rows, "posSide", "lever", _OKX_LEGS)
    return EntrySettings(symbol, hedged, mode, legs["long"], legs["short"])


_READERS: Final[Mapping[str, Callable[[SettingsReader, str], Awaitable[EntrySettings]]]] = {
    "binanceusdm": _read_binance,
    "bybit": _read_bybit,
    "okx": _read_okx,
}
"""The readers by the venue's name."""


def _legs(
    rows: list[Any], leg: str, leverage: str, sides: Mapping[str, tuple[Side, ...]]
) -> Mapping[Side, Decimal | None]:
    """Return the leverage of each side. There must be a row for each."""
    found = {side: _leverage(row[leverage]) for row in rows for side in sides[str(row[leg])]}
    return {"long": found["long"], "short": found["short"]}


def _leverage(value: Any) -> Decimal | None:
    """Return a leverage; None: the venue states none, as Bybit does in portfolio margin."""
    return number(value) or None


def _flag(value: Any) -> bool:
    return {"true": True, "false": False}[str(value).lower()]
