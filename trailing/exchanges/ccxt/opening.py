"""Opens real exchanges: checks the settings and finds the venue's row."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any

import trio

from trailing.core.model import refuse
from trailing.errors import UsageError
from trailing.exchanges.ccxt.credentials import Credentials
from trailing.exchanges.ccxt.venue import Venue
from trailing.exchanges.ccxt.venues import REFUSED, VENUES

if TYPE_CHECKING:
    from trailing.exchanges.ccxt.exchange import CcxtExchange
    from trailing.exchanges.ccxt.market_data import PublicMarketData


@asynccontextmanager
async def open_ccxt(
    venue: str,
    *,
    credentials: Credentials,
    account: str = "default",
    testnet: bool = False,
    allow_unverified: bool = False,
    configure: Callable[[Any], object] | None = None,
) -> AsyncIterator[CcxtExchange]:
    """Open an account on a real exchange.

    Requests are tasks of the exchange. They continue until the block has ended, so that a shielded clean-up in the block
    receives its replies.

    Args:
        venue: ``"binanceusdm"``, ``"bybit"`` or ``"okx"``; see `allow_unverified` for others.
        credentials: an API key that may read and trade futures. It needs no permission to withdraw.
        account: your name for the account. The store keeps records by exchange and account.
        testnet: use the venue's test network or demo trading. The exchange's name ends with " testnet" then.
        allow_unverified: accept a venue whose requests were checked, but not its replies. No stop of ours was ever triggered
            there. Begin with an amount that you can afford to lose.
        configure: called with ccxt's client before its first use, to set proxies, hosts and options.

    Raises:
        UsageError: a value is wrong; the message names the field, the value and what is accepted. Nothing was sent.
        AuthenticationFailed: the exchange does not accept the credentials.
        ExchangeUnreachable: the markets or the account's mode can't be read now.

    Cancellation: of the surrounding scope reaches the exchange when the block has ended.
    """
    row = find_venue(venue, allow_unverified=allow_unverified)
    if not isinstance(credentials, Credentials):
        raise UsageError("credentials wants a Credentials value")  # the value is not shown, it may be a key
    if not isinstance(account, str) or not account:
        raise refuse("account", account, "a text that is not empty")
    if testnet and row.client.testnet_method is None:
        raise UsageError(f"testnet=True: ccxt knows no testnet for {venue}")
    if configure is not None and not callable(configure):
        raise refuse("configure", configure, "a callable, or None")
    # The import of ccxt takes seconds. In a thread, it doesn't block other tasks.
    connecting = await trio.to_thread.run_sync(import_module, "trailing.exchanges.ccxt.connecting")
    async with connecting.connect(row, credentials, account=account, testnet=testnet, configure=configure) as exchange:
        yield exchange


@asynccontextmanager
async def open_market_data(
    venue: str, *, configure: Callable[[Any], object] | None = None
) -> AsyncIterator[PublicMarketData]:
    """Open the public market data of a verified venue. It needs no keys.

    Args:
        venue: ``"binanceusdm"``, ``"bybit"`` or ``"okx"``.
        configure: as in `open_ccxt`.

    Raises:
        UsageError: the venue is unknown or unverified.
        ExchangeUnreachable: the markets can't be read now.
    """
    row = find_venue(venue, allow_unverified=False)
    connecting = await trio.to_thread.run_sync(import_module, "trailing.exchanges.ccxt.connecting")
    async with connecting.connect_public(row, configure=configure) as data:
        yield data


def find_venue(name: object, *, allow_unverified: bool) -> Venue:
    """Return the row of a venue.

    Args:
        name: the venue's name.
        allow_unverified: accept an unverified venue.

    Raises:
        UsageError: there is no such venue, or it may not be used.
    """
    if not isinstance(name, str) or name not in VENUES:
        if isinstance(name, str) and name in REFUSED:
            raise UsageError(f"venue got {name!r}, which can't be used safely: {REFUSED[name]}")
        similar = get_close_matches(name.lower(), VENUES, 1) if isinstance(name, str) else []
        hint = f" (did you mean {similar[0]!r}?)" if similar else ""
        raise refuse("venue", name, f"one of {', '.join(map(repr, sorted(VENUES)))}{hint}")
    venue = VENUES[name]
    if not venue.verified and not allow_unverified:
        raise UsageError(
            f"venue got {name!r}, which is unverified: its requests were checked, but not its replies, and no stop of ours "
            "was ever triggered there. Pass allow_unverified=True to use it at your own risk"
        )
    return venue
