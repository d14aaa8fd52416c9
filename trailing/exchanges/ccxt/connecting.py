"""From a venue's row to an exchange that is ready: the client, its markets, the account's mode."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from functools import partial
from typing import Any

import trio

from trailing.errors import TrailingError, UsageError
from trailing.exchanges.ccxt.conversion import markets_of
from trailing.exchanges.ccxt.credentials import Credentials
from trailing.exchanges.ccxt.errors import explain, scrub
from trailing.exchanges.ccxt.exchange import CcxtExchange
from trailing.exchanges.ccxt.session import REQUEST_SECONDS, Request, Session, Unlimited, open_session
from trailing.exchanges.ccxt.venues import Venue


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
    client = await trio.to_thread.run_sync(_make_client, venue, credentials)
    if testnet and venue.testnet is not None:
        getattr(client, venue.testnet)(True)
    if configure is not None:
        configure(client)
    async with open_session(client, Unlimited(), partial(_explain, venue, credentials)) as session:
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


def _make_client(venue: Venue, credentials: Credentials) -> Any:
    """In a thread: importing ccxt takes seconds."""
    from ccxt import pro  # noqa: PLC0415

    keys = dict(zip(venue.credential_names, credentials.values, strict=True))
    client = getattr(pro, venue.client)(
        {
            **{name: value for name, value in keys.items() if value is not None},
            "enableRateLimit": False,  # ours has lanes, and gives credit for idle time
            "number": Decimal,
            "timeout": int(REQUEST_SECONDS * 1000),
            "options": dict(venue.options),
        }
    )
    # ccxt's own logger gets every request with its headers: the key is in them.
    client.logger = logging.Logger("ccxt", level=logging.CRITICAL + 1)
    return client


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
