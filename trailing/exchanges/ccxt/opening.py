"""The door to real exchanges: what can be set, which venues there are, and why another one is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
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

    Its requests are tasks of its own: they run on until the block has ended, so that a shielded clean-up inside still
    gets its answers.

    Args:
        venue: ``"binanceusdm"`` or ``"bybit"``; see `allow_unverified` for others.
        credentials: of a key that may read and trade futures; it needs no right to withdraw.
        account: what the account is called here; keys of the store have it in them.
        testnet: the venue's test network, or its demo trading; the exchange's name says so.
        allow_unverified: take a venue of which only the requests were ever looked at. Nobody has seen it answer, and
            nobody has seen a stop of ours trigger there. Try it with what you can afford to lose.
        configure: called with ccxt's client before its first use, for proxies, hosts and options.

    Raises:
        UsageError: naming the field, what it got and what it wants; nothing was sent.
        AuthenticationFailed: the exchange does not take the credentials.
        ExchangeUnreachable: its markets, or the account's mode, can't be read now.

    Cancellation: of the block around it reaches the exchange when the block has ended.
    """
    row = find_venue(venue, allow_unverified=allow_unverified)
    if not isinstance(credentials, Credentials):
        raise UsageError("credentials wants a Credentials value")  # and what it got is not shown
    if not isinstance(account, str) or not account:
        raise refuse("account", account, "a text that is not empty")
    if testnet and row.testnet is None:
        raise UsageError(f"testnet got True, which {venue} has none of that ccxt knows")
    if configure is not None and not callable(configure):
        raise refuse("configure", configure, "a callable, or None")
    # ccxt takes seconds to import; in a thread, the tasks that run beside this one get their turns meanwhile.
    connecting = await trio.to_thread.run_sync(import_module, "trailing.exchanges.ccxt.connecting")
    async with connecting.connect(row, credentials, account=account, testnet=testnet, configure=configure) as exchange:
        yield exchange


def find_venue(name: object, *, allow_unverified: bool) -> Venue:
    """The row of a venue. Raises UsageError where there is none, or none that may be used."""
    known = sorted(VENUES)
    if not isinstance(name, str) or name not in VENUES:
        if isinstance(name, str) and name in REFUSED:
            raise UsageError(f"venue got {name!r}, which can't be used safely: {REFUSED[name]}")
        raise refuse("venue", name, "one of " + ", ".join(map(repr, known)))
    venue = VENUES[name]
    if not venue.verified and not allow_unverified:
        raise UsageError(
            f"venue got {name!r}, which is unverified: what is sent there was looked at, but nobody has seen it answer,"
            " or a stop trigger there. allow_unverified=True takes it all the same"
        )
    return venue
