"""Captures the requests that a venue's real ccxt client would send."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Set
from contextlib import asynccontextmanager
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, urlsplit

import msgspec
import trio

from trailing import Credentials
from trailing.errors import OutcomeUnknown, TrailingError
from trailing.exchanges.ccxt.client import make_client
from trailing.exchanges.ccxt.conversion import markets_of
from trailing.exchanges.ccxt.exchange import CcxtExchange
from trailing.exchanges.ccxt.session import Request, open_session
from trailing.exchanges.ccxt.venues import VENUES
from trailing.exchanges.updates import UpdateChannel

# The venue's id of the market, and its symbol.
MARKETS: Mapping[str, tuple[str, str]] = {
    "binanceusdm": ("BTCUSDT", "BTC/USDT:USDT"),
    "bybit": ("BTCUSDT", "BTC/USDT:USDT"),
    "okx": ("BTC-USDT-SWAP", "BTC/USDT:USDT"),
    "bitget": ("BTCUSDT", "BTC/USDT:USDT"),
    "gate": ("BTC_USDT", "BTC/USDT:USDT"),
    "kucoinfutures": ("XBTUSDTM", "BTC/USDT:USDT"),
    "krakenfutures": ("PF_XBTUSD", "BTC/USD:USD"),
    "hyperliquid": ("0", "BTC/USDC:USDC"),
    "deribit": ("BTC_USDC-PERPETUAL", "BTC/USDC:USDC"),
    "bingx": ("BTC-USDT", "BTC/USDT:USDT"),
}
# Requests that prepare another one. They are not part of the claims.
ASIDE = ("userAbstraction", "/v5/user/query-api", "/v5/account/info", "/time")

Answer: TypeAlias = Callable[[str], object]
"""Returns the venue's reply to a URL."""


class Sent(msgspec.Struct, frozen=True):
    """A captured request. `params` come from query and body."""

    method: str
    path: str
    params: Any


class NoRateLimit:
    """A rate limiter that delays no request."""

    def rate_limit_delay(self, operation: str) -> float:
        return 0.0

    async def acquire(self, operation: str, symbol: str | None = None) -> None:
        await trio.lowlevel.checkpoint()

    def on_rate_limited(self, retry_after: float) -> None:
        pass

    def update_from_headers(self, operation: str, headers: Mapping[str, str]) -> None:
        pass


class Silent:
    """An update source that pushes nothing."""

    async def set_subscriptions(self, symbols: Set[str]) -> None:
        await trio.lowlevel.checkpoint()

    @asynccontextmanager
    async def updates(self) -> AsyncIterator[UpdateChannel]:
        yield UpdateChannel()


def market(venue: str) -> dict[str, Any]:
    """Return a market of ccxt's with a tick of 0.1, and a contract size of 0.01 on venues that count in contracts."""
    venue_id, symbol = MARKETS[venue]
    base, _, rest = symbol.partition("/")
    quote, _, settle = rest.partition(":")
    nothing = {"min": None, "max": None}
    in_contracts = venue in {"okx", "gate", "kucoinfutures"}
    return {
        "id": venue_id,
        "symbol": symbol,
        "base": base,
        "quote": quote,
        "settle": settle,
        "baseId": "0" if venue == "hyperliquid" else base,
        "baseName": base,
        "quoteId": quote,
        "settleId": settle.lower() if venue == "gate" else settle,
        "type": "swap",
        "contract": True,
        "linear": True,
        "swap": True,
        **dict.fromkeys(("spot", "margin", "future", "option", "inverse"), False),
        "contractSize": "0.01" if in_contracts else "1",
        "precision": {"amount": "1" if in_contracts else "0.001", "price": "0.1"},
        "limits": {"amount": {**nothing, "min": "0.001"}, "price": nothing, "cost": nothing, "leverage": nothing},
        "info": {
            "symbol": venue_id,
            "orderTypes": ["LIMIT", "MARKET", "STOP_MARKET", "TRAILING_STOP_MARKET"],
            "instType": "SWAP",
            "uly": f"{base}-{quote}",
            "instFamily": f"{base}-{quote}",
        },
    }


class Capture(msgspec.Struct, frozen=True):
    """An exchange without a network, its market's symbol, and the captured requests."""

    exchange: CcxtExchange
    symbol: str
    sent: list[Sent]


@asynccontextmanager
async def open_capture(venue: str, answer: Answer = lambda _: {}, *, hedged: bool = False) -> AsyncIterator[Capture]:
    """Open an exchange whose requests are captured before they leave the process. Its positions have cross margin."""
    row = VENUES[venue]
    keys = Credentials("0x" + "1" * 40, "0x" + "2" * 64 if venue == "hyperliquid" else "c2VjcmV0", "password")
    client = make_client(row, keys)
    client.set_markets([market(venue)])
    client.currencies = {code: {"id": code, "code": code} for code in ("BTC", "USDC", "USDT")}
    client.options.update(enableUnifiedMargin=False, enableUnifiedAccount=True)
    sent: list[Sent] = []

    async def fetch(url: str, method: str = "GET", headers: object = None, body: str | None = None) -> object:
        target = urlsplit(url)
        params = dict(parse_qsl(target.query))
        if body:
            params = json.loads(body) if body[0] in "[{" else dict(parse_qsl(body))
        if not any(word in f"{url}{body}" for word in ASIDE):
            sent.append(Sent(method, target.path, params))
        return answer(url)

    async def load_markets(*_: object) -> object:
        return client.markets

    client.timeout_on_exit = 0  # there are no connections to close
    client.fetch = fetch
    client.load_markets = load_markets

    def explain(request: Request, error: BaseException) -> TrailingError:
        return OutcomeUnknown(repr(error))

    async with open_session(client, NoRateLimit(), explain) as session:
        markets = markets_of(row, client.markets)
        exchange = CcxtExchange(session, row, markets, Silent(), name=venue, account="default", hedged=hedged)
        symbol = MARKETS[venue][1]
        session.margin_modes.replace({(symbol, "long"): "cross", (symbol, "short"): "cross"})
        yield Capture(exchange, symbol, sent)
