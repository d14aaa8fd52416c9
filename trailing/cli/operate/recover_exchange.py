"""`trailing recover --exchange`: recover an account on a real exchange from a bot's store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final

import trio

from trailing.cli.messages import print_message
from trailing.cli.operate.recovery_result import Recovery, dry_run_result, print_result, recovery_result, wait_settled
from trailing.cli.operate.venue_options import check_venue, read_credentials
from trailing.cli.practice.plan_files import DEFAULT_PLAN
from trailing.cli.signals import Interruption, run_until_signal
from trailing.cli.stores import check_exists, check_stored, open_stored
from trailing.errors import ExchangeError, UsageError
from trailing.exchanges.ccxt import open_ccxt
from trailing.exchanges.port import Exchange
from trailing.logs import Level
from trailing.protection.health import IS_WATCHED
from trailing.protection.manager import open_manager, plan_recovery

SETTLE_SECONDS: Final = 900.0
"""Seconds until every position has to be settled: three times the default `retry_for` of a plan."""


def recover_exchange(
    venue: str,
    store_url: str,
    *,
    account: str,
    credentials: str | None,
    table: str | None,
    testnet: bool,
    allow_unverified: bool,
    dry_run: bool,
    json: bool,
    log_level: Level,
) -> int:
    """Recover an account from a store, and print the result.

    Args:
        credentials: the file of the credentials; None: the credentials are in environment variables.
        table: the table in that file that has the credentials.

    Returns:
        The exit code; 1 if a position has no stop afterwards.

    Raises:
        UsageError: the store has nothing open of the account, or the venue or its credentials can't be right.
    """
    check_stored(store_url)
    check_venue("--exchange", venue, allow_unverified=allow_unverified)
    keys = read_credentials(credentials, table)
    check_exists(store_url)
    opening = open_ccxt(venue, credentials=keys, account=account, testnet=testnet, allow_unverified=allow_unverified)
    work = partial(_run, opening, store_url, _dry_run if dry_run else _recover)
    recovery, interruption = run_until_signal(work, log_level=log_level)
    return print_result(recovery, interruption, json=json)


async def _run(
    opening: AbstractAsyncContextManager[Exchange],
    store_url: str,
    work: Callable[[Exchange, str], Awaitable[Recovery]],
    interruption: Interruption,
) -> Recovery | None:
    recovery = None
    with interruption.cancels():  # only this block, because the result so far is printed after it
        async with opening as exchange:
            await _check_known(exchange, store_url)
            recovery = await work(exchange, store_url)
    return recovery


async def _check_known(exchange: Exchange, store_url: str) -> None:
    """Refuse a store that has nothing open of the account, so that a misspelt name is noticed."""
    async with open_stored(store_url) as store:
        known = await store.accounts()
    if (exchange.name, exchange.account) not in known:
        others = ", ".join(f"{name} {account}" for name, account in known) or "nothing"
        raise UsageError(f"--store has nothing open of {exchange.name} {exchange.account}; it has {others}")


async def _dry_run(exchange: Exchange, store_url: str) -> Recovery:
    async with open_stored(store_url) as store:
        with trio.move_on_after(SETTLE_SECONDS):
            return dry_run_result(exchange, await plan_recovery(exchange, store, DEFAULT_PLAN))
        raise ExchangeError(f"recover: no result within {SETTLE_SECONDS:g} s; nothing was changed, try again")


async def _recover(exchange: Exchange, store_url: str) -> Recovery:
    IS_WATCHED.set(True)  # a person reads what the command prints
    # Each position has its own plan in the store, so the default plan is not used.
    async with open_stored(store_url, read_only=False) as store, open_manager(exchange, store, DEFAULT_PLAN) as manager:
        with trio.move_on_after(SETTLE_SECONDS) as settling:
            await wait_settled(manager)
        if settling.cancelled_caught:
            print_message(
                f"recover: not every position was settled within {SETTLE_SECONDS:g} s; trailing status shows which have no stop"
            )
        return recovery_result(exchange, manager)
