"""`trailing flatten`: close every position of an account on a real exchange."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final

import trio

from trailing.cli.json_output import print_json
from trailing.cli.messages import print_message
from trailing.cli.operate.flatten_output import print_result, print_survey
from trailing.cli.operate.venue_options import check_venue, read_credentials
from trailing.cli.signals import Interruption, run_until_signal
from trailing.cli.stores import check_stored, open_stored
from trailing.core.account import Key
from trailing.core.model import check_seconds, check_symbol
from trailing.errors import StoreError, UsageError
from trailing.exchanges.ccxt import open_ccxt
from trailing.exchanges.port import Exchange
from trailing.flatten.account import Flattening, open_flattening

STORE_SECONDS: Final = 5.0
"""Seconds that the store may take to say who owns the account. The exit goes on without its answer."""

SURVEY_SECONDS: Final = 30.0
"""Seconds in which the account must be read before the user is asked."""

_LONGEST_ANSWER: Final = 100


def main(
    venue: str,
    *,
    symbol: Sequence[str] | None,
    only_ours: bool,
    store: str | None,
    account: str,
    credentials: str | None,
    table: str | None,
    testnet: bool,
    allow_unverified: bool,
    yes: bool,
    deadline: float,
    json: bool,
) -> int:
    """Close every position of an account. The arguments are the options of `trailing flatten`.

    Returns:
        The exit code; 1 while anything is open.

    Raises:
        UsageError: an option can't be right, or there is no terminal to ask at and no `--yes`.
    """
    for each in symbol or ():
        check_symbol("--symbol", each)
    check_seconds("--deadline", deadline, zero=False)
    if json and not yes:
        raise UsageError("flatten: --json needs --yes, because a program can't be asked")
    if not yes and not sys.stdin.isatty():
        raise UsageError("flatten: --yes must be given, because there is no terminal to ask at")
    if store is not None:
        check_stored(store)
    check_venue("VENUE", venue, allow_unverified=allow_unverified)
    keys = read_credentials(credentials, table)
    opening = open_ccxt(venue, credentials=keys, account=account, testnet=testnet, allow_unverified=allow_unverified)
    command = _Command(
        frozenset(symbol or ()), store, only_ours=only_ours, asks=not yes, deadline=deadline, is_quiet=json
    )
    try:
        _, interruption = run_until_signal(lambda each: command.run(opening, each))
    except BaseException:
        command.print(json=json)
        raise
    command.print(json=json)
    return interruption.exit_code if interruption.by is not None else command.exit_code


class _Command:
    """One run of the command.

    Args:
        asks: whether the user is asked before anything is closed.
        is_quiet: whether the survey is not printed.
    """

    def __init__(
        self,
        symbols: frozenset[str],
        store: str | None,
        *,
        only_ours: bool,
        asks: bool,
        deadline: float,
        is_quiet: bool,
    ) -> None:
        self._symbols, self._store, self._only_ours = symbols, store, only_ours
        self._asks, self._deadline, self._is_quiet = asks, deadline, is_quiet
        self._recorded: set[Key] = set()
        self._flattening: Flattening | None = None

    async def run(self, opening: AbstractAsyncContextManager[Exchange], interruption: Interruption) -> None:
        """Close what is to be closed. A signal ends it, and the result so far is printed afterwards."""
        with interruption.cancels():
            async with opening as exchange, trio.open_nursery() as nursery:
                if self._only_ours:
                    await self._read_store(exchange)
                else:
                    nursery.start_soon(self._read_store, exchange)
                flattening = open_flattening(
                    exchange,
                    symbols=self._symbols,
                    only_ours=self._only_ours,
                    recorded=self._recorded,
                    tell=print_message,
                )
                async with flattening as self._flattening:
                    if await self._confirm(self._flattening):
                        await self._flattening.run(self._deadline)
                nursery.cancel_scope.cancel()

    @property
    def exit_code(self) -> int:
        """0 if nothing is open."""
        return 0 if self._flattening is not None and self._flattening.result().is_done else 1

    def print(self, *, json: bool) -> None:
        """Print the result so far."""
        if self._flattening is None:
            print_message("flatten: the account was not read, and nothing was closed")
        elif json:
            print_json(self._flattening.result())
        else:
            print_result(self._flattening.result())

    async def _read_store(self, exchange: Exchange) -> None:
        """Say who owns the account, and read which positions the store knows. Never fail."""
        if self._store is None:
            return
        with trio.move_on_after(STORE_SECONDS) as scope:
            try:
                async with open_stored(self._store) as store:
                    owner = await store.lease_owner(exchange.name, exchange.account)
                    loaded = await store.load(exchange.name, exchange.account)
            except (StoreError, UsageError) as error:
                print_message(f"flatten: the store can't be read, and the exit goes on without it: {error}")
                return
            self._recorded |= {(record.position.symbol, record.position.side) for record in loaded.stops}
            if owner is None:
                print_message(f"flatten: no process owns {exchange.name} {exchange.account} in the store")
            else:
                print_message(
                    f"flatten: {exchange.name} {exchange.account} is owned by {owner}; the exit goes on all the same. End that "
                    "process, because it may open positions again"
                )
        if scope.cancelled_caught:
            print_message(f"flatten: the store did not answer within {STORE_SECONDS:g} s; the exit goes on without it")

    async def _confirm(self, flattening: Flattening) -> bool:
        """Show what will be closed, and return whether to close it."""
        if not self._asks and self._is_quiet:
            return True
        with trio.move_on_after(SURVEY_SECONDS) as scope:
            survey = await (flattening.survey() if self._asks else flattening.look())
        if scope.cancelled_caught:
            print_message(f"flatten: the account could not be read within {SURVEY_SECONDS:g} s")
            return not self._asks
        try:
            print_survey(survey)
        except OSError:  # standard output is full or its reader has gone, which must not keep positions open
            if self._asks:
                raise
        if not self._asks or not (survey.positions or survey.stops_without_position):
            return True
        print("Close them at market now? Type yes: ", end="", file=sys.stderr, flush=True)
        answer = await _read_line()
        if answer.strip().lower() == "yes":
            return True
        print_message("flatten: the answer was not yes, so nothing was closed")
        return False


async def _read_line() -> str:
    """Return what the user types at the terminal. No thread reads it, because a thread could not be cancelled."""
    await trio.lowlevel.wait_readable(sys.stdin.fileno())
    return os.read(sys.stdin.fileno(), _LONGEST_ANSWER).decode(errors="replace")
