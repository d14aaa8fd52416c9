"""From a venue's row to an exchange that is ready: the client, its markets, the account's mode."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from trailing.errors import TrailingError, UsageError
from trailing.exchanges.ccxt.client import make_client
from trailing.exchanges.ccxt.conversion import markets_of
from trailing.exchanges.ccxt.credentials import Credentials
from trailing.exchanges.ccxt.errors import explain, scrub
from trailing.exchanges.ccxt.exchange import CcxtExchange
from trailing.exchanges.ccxt.limiter import open_limiter
from trailing.exchanges.ccxt.limits import limits_of
from trailing.exchanges.ccxt.session import Request, Session, open_session
from trailing.exchanges.ccxt.venue import Venue


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
        yield CcxtExchange(
            session,
            venue,
            markets,
            name=f"{venue.name} testnet" if testnet else venue.name,
            account=account,
            hedged=await _is_hedged(session, venue, next(iter(markets), None)),
        )


def _explain(venue: Venue, credentials: Credentials, request: Request, error: BaseException) -> TrailingError | None:
    scrub(error, credentials.hide)  # it goes on as the cause of ours, and into whatever prints that
    return explain(venue, request, error)


async def _is_hedged(session: Session, venue: Venue, symbol: str | None) -> bool:
    """Whether a long and a short of one symbol may stand at once. Raises UsageError where we couldn't handle that."""
    hedged = False
    if venue.mode == "fetch_position_mode":
        hedged = bool((await session.call("positions", "fetch_position_mode", symbol))["hedged"])
    elif venue.mode == "position_rows":
        rows = await session.call("positions", "fetch_positions", [symbol])
        hedged = any(row["hedged"] for row in rows)
    if hedged and venue.hedge is None:
        raise UsageError(f"the account on {venue.name} is in hedge mode, which is only known how to handle elsewhere")
    return hedged
