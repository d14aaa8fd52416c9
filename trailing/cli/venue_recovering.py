"""`trailing recover --exchange`: an account on a real exchange beside what a bot's store knows of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Final

import trio

from trailing.cli.complaints import complain
from trailing.cli.plans import DEFAULT_PLAN
from trailing.cli.recoveries import Recovery, carried_out, rehearsed, show, wait_settled
from trailing.cli.signals import Interruption, run_until_signal
from trailing.errors import ExchangeError, UsageError
from trailing.exchanges.ccxt import Credentials, open_ccxt
from trailing.exchanges.ccxt.opening import find_venue
from trailing.exchanges.port import Exchange
from trailing.logs import Level
from trailing.protection.manager import open_manager, plan_recovery
from trailing.stores import open_store

SETTLE_SECONDS: Final = 900.0
"""How long the positions may take to be settled: three times as long as a plan tries by default (`retry_for`)."""


def recover_venue(
    venue: str,
    store_url: str,
    *,
    account: str,
    file: Path | None,
    table: str | None,
    testnet: bool,
    allow_unverified: bool,
    dry_run: bool,
    json: bool,
    log_level: Level,
) -> int:
    """Recover what a store knows of an account, and print what was found.

    Returns:
        The exit code; 1 where a position stands without a stop afterwards.

    Raises:
        UsageError: the store knows nothing of the account, or the venue or its credentials can't be taken.
    """
    if store_url == "memory:":
        raise UsageError("--store got memory:, which knows nothing when it is opened")
    find_venue(venue, allow_unverified=allow_unverified)
    credentials = Credentials.from_environment() if file is None else Credentials.from_file(file, table)
    opening = open_ccxt(
        venue, credentials=credentials, account=account, testnet=testnet, allow_unverified=allow_unverified
    )
    work = partial(_run, opening, store_url, _rehearse if dry_run else _recover)
    recovery, interruption = run_until_signal(work, log_level=log_level)
    return show(recovery, interruption, json=json)


async def _run(
    opening: AbstractAsyncContextManager[Exchange],
    store_url: str,
    work: Callable[[Exchange, str], Awaitable[Recovery]],
    interruption: Interruption,
) -> Recovery | None:
    recovery = None
    with interruption.cancels():  # this block alone, because what was recovered by then is printed
        async with opening as exchange:
            await _check_known(exchange, store_url)
            recovery = await work(exchange, store_url)
    return recovery


async def _check_known(exchange: Exchange, store_url: str) -> None:
    """Refuse a store that would be created by a slip of the pen, or that is another account's."""
    async with open_store(store_url, read_only=True) as store:
        known = await store.accounts()
    if (exchange.name, exchange.account) not in known:
        others = ", ".join(f"{name} {account}" for name, account in known) or "nothing"
        raise UsageError(f"--store knows nothing open of {exchange.name} {exchange.account}; it knows of {others}")


async def _rehearse(exchange: Exchange, store_url: str) -> Recovery:
    async with open_store(store_url, read_only=True) as store:
        with trio.move_on_after(SETTLE_SECONDS):
            return rehearsed(exchange, await plan_recovery(exchange, store, DEFAULT_PLAN))
        raise ExchangeError(f"what the account shows was not clear within {SETTLE_SECONDS:g} s; nothing was changed")


async def _recover(exchange: Exchange, store_url: str) -> Recovery:
    # Each position has its own plan in the store: this one protects none.
    async with open_store(store_url) as store, open_manager(exchange, store, DEFAULT_PLAN) as manager:
        with trio.move_on_after(SETTLE_SECONDS) as settling:
            await wait_settled(manager)
        if settling.cancelled_caught:
            complain(f"not every position was settled within {SETTLE_SECONDS:g} s: see which have no stop")
        return carried_out(exchange, manager)
