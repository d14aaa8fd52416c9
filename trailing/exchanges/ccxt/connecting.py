"""From a venue's row to an exchange that is ready: the client, its markets, the account's mode."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

from trailing.core.model import Market
from trailing.errors import TrailingError, UsageError
from trailing.exchanges.ccxt.binance_dialect import BinanceDialect
from trailing.exchanges.ccxt.bybit_dialect import BybitDialect
from trailing.exchanges.ccxt.client import make_client
from trailing.exchanges.ccxt.conversion import markets_of
from trailing.exchanges.ccxt.credentials import Credentials
from trailing.exchanges.ccxt.dialect import Dialect, Place
from trailing.exchanges.ccxt.errors import explain
from trailing.exchanges.ccxt.exchange import CcxtExchange
from trailing.exchanges.ccxt.limiter import open_limiter
from trailing.exchanges.ccxt.limits import limits_of
from trailing.exchanges.ccxt.reading import Prices, Reading
from trailing.exchanges.ccxt.session import Request, Session, open_session
from trailing.exchanges.ccxt.streams import Streams
from trailing.exchanges.ccxt.venue import Venue
from trailing.exchanges.ccxt.watchdog import QUIET_SECONDS, Watchdog

DIALECTS: Final[Mapping[str, Callable[[Session, Iterable[Place]], Dialect]]] = {
    "binanceusdm": BinanceDialect,
    "bybit": BybitDialect,
}
"""How the venues push, of which that was tried; the others are read."""


@asynccontextmanager
async def connect(
    venue: Venue,
    credentials: Credentials,
    *,
    account: str,
    testnet: bool,
    configure: Callable[[Any], object] | None,
) -> AsyncIterator[CcxtExchange]:
    """An exchange on a venue; `open_ccxt` says what is raised."""
    client = make_client(venue, credentials)
    if testnet and venue.testnet is not None:
        getattr(client, venue.testnet)(True)
    if configure is not None:
        configure(client)
    async with (
        open_limiter(limits_of(venue.name)) as limiter,
        open_session(client, limiter, partial(_explain, venue, credentials)) as session,
    ):
        markets = markets_of(venue, await session.call("markets", "load_markets"))
        for method in venue.prepare:
            await session.call("markets", method)
        streams = _streams(session, venue, markets)
        exchange = CcxtExchange(
            session,
            venue,
            markets,
            streams,
            name=f"{venue.name} testnet" if testnet else venue.name,
            account=account,
            hedged=await _is_hedged(session, venue, next(iter(markets), None)),
        )
        if isinstance(streams, Reading):
            prices = Prices(session, venue)
            session.start_service(streams.run, prices.rounds, partial(prices.read, sources=venue.prices), name="prices")
        else:
            watchdog = Watchdog(streams, exchange.price, venue.prices, QUIET_SECONDS)
            session.start_service(watchdog.run, name="watchdog")
        try:
            yield exchange
        finally:
            streams.end()


def _streams(session: Session, venue: Venue, markets: Mapping[str, Market]) -> Streams | Reading:
    """What pushes, or is read in place of it."""
    dialect = DIALECTS.get(venue.name)
    if dialect is None:
        return Reading()
    raw = session.client.markets
    places = [Place(symbol, raw[symbol]["id"], market.contract_size) for symbol, market in markets.items()]
    return Streams(session, dialect(session, places))


def _explain(venue: Venue, credentials: Credentials, request: Request, error: BaseException) -> TrailingError | None:
    return explain(venue, request, error, credentials.hide)


async def _is_hedged(session: Session, venue: Venue, symbol: str | None) -> bool:
    """Whether a long and a short of one symbol may stand at once. Raises UsageError where we couldn't handle that."""
    hedged = False
    if venue.mode == "fetch_position_mode":
        hedged = bool((await session.call("positions", "fetch_position_mode", symbol))["hedged"])
    elif venue.mode == "position_rows":
        rows = await session.call("positions", "fetch_positions", [symbol])
        hedged = any(row.get("hedged") for row in rows)
    if hedged and venue.hedge is None:
        raise UsageError(f"the account on {venue.name} is in hedge mode, which is only known how to handle elsewhere")
    return hedged
