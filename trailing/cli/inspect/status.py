"""`trailing status`: show the open stops of a store, and the orders of unknown outcome."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Final, NoReturn

import msgspec
import trio

from trailing.cli.json_output import print_json
from trailing.cli.listings import Listing, print_listing
from trailing.cli.signals import Interruption, run_until_signal
from trailing.cli.stores import open_stored
from trailing.cli.tables import write_money, write_state, write_time
from trailing.core.record import StopRecord
from trailing.core.states import State
from trailing.stores.port import Intent, Store

READ_SECONDS: Final = 5.0
"""Seconds after which `--follow` reads the store although there was no event, because peaks are saved without one."""

GATHER_SECONDS: Final = 0.5
"""Seconds in which events are gathered before the status is shown again, so that a wave is not shown a thousand times."""


class Account(msgspec.Struct, frozen=True):
    """The open stops and the intents of an account."""

    exchange: str
    account: str
    stops: tuple[StopRecord, ...]
    intents: tuple[Intent, ...]


def main(*, store: str, follow: bool, json: bool) -> int:
    """Show what is open in a store.

    Args:
        store: the store's address.
        follow: show it again after each change, until a signal comes.
        json: print JSON; with `follow`, one object per line.

    Returns:
        The exit code.
    """
    if follow:
        _, interruption = run_until_signal(partial(_follow, store, json=json))
        return interruption.exit_code
    accounts, interruption = run_until_signal(partial(_read, store))
    if accounts is not None and json:
        print_json({"accounts": accounts})
    elif accounts is not None:
        _print_accounts(accounts)
    return interruption.exit_code


async def _read(url: str, _: Interruption) -> list[Account]:
    async with open_stored(url) as store:
        return await _list_accounts(store)


async def _list_accounts(store: Store) -> list[Account]:
    accounts = []
    for exchange, account in await store.accounts():
        loaded = await store.load(exchange, account)
        # sorted, because the positions of one moment are written in any order
        stops = sorted(
            loaded.stops,
            key=lambda record: (record.position.opened_at, record.position.symbol, record.position.side),
        )
        accounts.append(Account(exchange, account, tuple(stops), tuple(loaded.intents)))
    return accounts


async def _follow(url: str, _: Interruption, *, json: bool) -> None:
    async with open_stored(url) as store:
        await _print_changes(store, json=json)


async def _print_changes(store: Store, *, json: bool) -> NoReturn:
    events = store.events(datetime.now(UTC), follow=True)
    shown: list[Account] | None = None
    while True:
        accounts = await _list_accounts(store)
        if accounts != shown:
            shown = accounts
            now = datetime.now(UTC)
            if json:
                print_json({"at": now, "accounts": accounts}, indent=0)
            else:
                print(f"{write_time(now)} UTC")
                _print_accounts(accounts)
        with trio.move_on_after(READ_SECONDS):
            await anext(events)
        with trio.move_on_after(GATHER_SECONDS):
            while True:
                await anext(events)


def _print_accounts(accounts: list[Account]) -> None:
    for account in accounts:
        _print_account(account)
    if not accounts:
        print("nothing is open")


def _print_account(account: Account) -> None:
    numbers = ("quantity", "entry", "stop", "best")
    title = f"{account.exchange} {account.account}"
    stops = Listing(
        ("position", "side", "state", *numbers, "opened (UTC)"),
        right=numbers,
        left_out=("best", "opened (UTC)", "entry", "quantity", "state"),
        title=title,
    )
    for record in account.stops:
        position = record.position
        stops.add_row(
            position.symbol,
            position.side,
            write_state(
                "given up" if record.state == State.CLOSED else record.state
            ),  # closed for us, but still open on the exchange
            write_money(record.quantity),
            write_money(position.entry_price),
            write_money(record.orders[-1].price) if record.orders else "none",
            write_money(record.best),
            write_time(position.opened_at),
        )
    notes = [
        f"{record.position.symbol} {record.position.side}: the exchange trails {write_money(native.quantity)} from "
        f"{write_money(native.price)} on, {native.callback} behind the best price, order {native.client_order_id}"
        for record in account.stops
        if (native := record.native) is not None
    ]
    notes += [
        f"{intent.symbol} {intent.side}: unknown outcome of {intent.purpose} order {intent.client_order_id}, "
        f"{write_money(intent.quantity)}{'' if intent.price is None else f' at {write_money(intent.price)}'}, "
        f"sent {write_time(intent.at)} UTC; a running bot or trailing recover finds out"
        for intent in account.intents
    ]
    print_listing(stops, notes=notes)
