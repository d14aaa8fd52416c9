"""Connects to a venue: creates the client, reads the markets and the account's mode, and starts the stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

from trailing.core.entry_orders import MarginMode
from trailing.core.model import Market
from trailing.errors import TrailingError, UsageError
from trailing.exchanges.ccxt.binance_protocol import BinanceProtocol
from trailing.exchanges.ccxt.bybit_protocol import BybitProtocol
from trailing.exchanges.ccxt.client import make_client
from trailing.exchanges.ccxt.clock import warn_of_skew
from trailing.exchanges.ccxt.conversion import markets_of
from trailing.exchanges.ccxt.credentials import Credentials
from trailing.exchanges.ccxt.errors import explain
from trailing.exchanges.ccxt.exchange import CcxtExchange
from trailing.exchanges.ccxt.limits import limits_of
from trailing.exchanges.ccxt.market_data import PublicMarketData
from trailing.exchanges.ccxt.okx_protocol import OkxProtocol
from trailing.exchanges.ccxt.polling import PolledUpdates, PriceReader
from trailing.exchanges.ccxt.position_modes import settle_currency
from trailing.exchanges.ccxt.session import Request, Session, open_session
from trailing.exchanges.ccxt.stale_prices import STALE_SECONDS, StalePriceMonitor
from trailing.exchanges.ccxt.stream_protocol import Instrument, StreamProtocol
from trailing.exchanges.ccxt.streams import Streams
from trailing.exchanges.ccxt.venue import Venue
from trailing.exchanges.ccxt.venue_limiter import open_limiter

STREAM_PROTOCOLS: Final[Mapping[str, Callable[[Session, Iterable[Instrument], bool], StreamProtocol]]] = {
    "binanceusdm": lambda session, instruments, hedged: BinanceProtocol(session, instruments, hedged=hedged),
    "bybit": lambda session, instruments, _: BybitProtocol(session, instruments),
    "okx": lambda session, instruments, _: OkxProtocol(session, instruments),
}
"""The websocket protocols by the venue's name, and whether the account is in hedge mode. All other venues are polled."""


@asynccontextmanager
async def connect(
    venue: Venue,
    credentials: Credentials,
    *,
    account: str,
    testnet: bool,
    margin_mode: MarginMode,
    configure: Callable[[Any], object] | None,
) -> AsyncIterator[CcxtExchange]:
    """Open an exchange on a venue. Arguments and errors: as `open_ccxt`."""
    client = make_client(venue, credentials)
    if testnet and venue.client.testnet_method is not None:
        getattr(client, venue.client.testnet_method)(True)
    if configure is not None:
        configure(client)
    async with (
        open_limiter(limits_of(venue.name)) as limiter,
        open_session(client, limiter, partial(_explain, venue, credentials)) as session,
    ):
        if client.options.get("adjustForTimeDifference"):  # ccxt would sign requests before it measures the difference
            await session.call("time", "load_time_difference")
            warn_of_skew(venue, client)
        markets = markets_of(venue, await session.call("markets", "load_markets"))
        for method in venue.client.prepare_methods:
            await session.call("markets", method)
        hedged = await _is_hedged(session, venue, markets)
        updates = _updates(session, venue, markets, hedged=hedged)
        exchange = CcxtExchange(
            session,
            venue,
            markets,
            updates,
            name=f"{venue.name} testnet" if testnet else venue.name,
            account=account,
            hedged=hedged,
            margin_mode=margin_mode,
        )
        sources = venue.prices.methods
        if isinstance(updates, PolledUpdates):
            prices = PriceReader(session, venue)
            session.start_service(updates.run, prices.batches, partial(prices.read, sources=sources), name="prices")
        else:
            monitor = StalePriceMonitor(updates, exchange.price, sources, STALE_SECONDS)
            session.start_service(monitor.run, name="stale prices")
        try:
            yield exchange
        finally:
            updates.end()


@asynccontextmanager
async def connect_public(venue: Venue, *, configure: Callable[[Any], object] | None) -> AsyncIterator[PublicMarketData]:
    """Open the public market data of a venue, without keys. Arguments and errors: as `open_market_data`."""
    client = make_client(venue, None)
    if configure is not None:
        configure(client)
    async with (
        open_limiter(limits_of(venue.name)) as limiter,
        open_session(client, limiter, partial(_explain, venue, None)) as session,
    ):
        yield PublicMarketData(session, venue, markets_of(venue, await session.call("markets", "load_markets")))


def _updates(session: Session, venue: Venue, markets: Mapping[str, Market], *, hedged: bool) -> Streams | PolledUpdates:
    protocol = STREAM_PROTOCOLS.get(venue.name)
    if protocol is None:
        return PolledUpdates()
    raw = session.client.markets
    instruments = [Instrument(symbol, raw[symbol]["id"], market.contract_size) for symbol, market in markets.items()]
    return Streams(session, protocol(session, instruments, hedged))


def _explain(
    venue: Venue, credentials: Credentials | None, request: Request, error: BaseException
) -> TrailingError | None:
    return explain(venue, request, error, str if credentials is None else credentials.hide)


async def _is_hedged(session: Session, venue: Venue, symbols: Iterable[str]) -> bool:
    """Return whether the account is in hedge mode. Raises UsageError if that is not supported on the venue.

    Where each symbol has a mode of its own, the account is in hedge mode if one is: of an open position, or the first symbol of
    a settle currency without one.
    """
    hedged = False
    if venue.account.mode_from == "fetch_position_mode":
        hedged = bool((await session.call("positions", "fetch_position_mode", next(iter(symbols), None)))["hedged"])
    elif venue.account.mode_from == "position_rows":
        modes = session.position_modes
        for params in venue.lists.positions:
            modes.note(await session.call("positions", "fetch_positions", None, dict(params)))
        for symbol in {settle_currency(each): each for each in reversed(tuple(symbols))}.values():  # the first of each
            if not modes.is_known(symbol):
                modes.note(await session.call("positions", "fetch_positions", [symbol]))
        hedged = modes.is_any_hedged
    if hedged and venue.account.hedge_params is None:
        raise UsageError(
            f"the account on {venue.name} is in hedge mode, which is not supported there; set it to one-way mode"
        )
    return hedged
