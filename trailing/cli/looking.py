"""`trailing status`, `events` and `report`: look into a store, and change nothing."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Final, NoReturn

import msgspec
import trio

from trailing.cli.reports import Report, build_report, to_json
from trailing.cli.signals import Interruption, run_until_signal
from trailing.cli.stories import Stories, Story
from trailing.cli.tables import UNKNOWN, new_table, print_report, print_table, write_money, write_state, write_time
from trailing.core.model import Position
from trailing.core.record import StopRecord
from trailing.core.states import State
from trailing.errors import UsageError
from trailing.events import PositionClosed
from trailing.stores import open_store
from trailing.stores.port import EventRecord, Intent, Store

LOOK_SECONDS: Final = 5.0
"""How often a follower reads the store although nothing has happened; `status` because peaks are saved without an event,
and `events` because it ends where the store can't be reached any more."""

GATHER_SECONDS: Final = 0.5
"""How long it lets things happen before it shows them, so that a wave is not shown a thousand times."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Account(msgspec.Struct, frozen=True):
    """What is open in an account."""

    exchange: str
    account: str
    stops: tuple[StopRecord, ...]
    intents: tuple[Intent, ...]


class AccountReport(msgspec.Struct, frozen=True):
    """What became of the positions of an account."""

    exchange: str
    account: str
    report: Report


def show_status(url: str, *, json: bool) -> int:
    """Print what is open."""
    accounts, interruption = run_until_signal(partial(_read_accounts, url))
    if accounts is None:
        return interruption.exit_code
    if json:
        print(to_json({"accounts": accounts}))
    else:
        _print_accounts(accounts)
    return interruption.exit_code


def follow_status(url: str, *, json: bool) -> int:
    """Print what is open, and again after each change of it, until a signal comes."""
    _, interruption = run_until_signal(partial(_follow_status, url, json=json))
    return interruption.exit_code


def show_report(url: str, since: datetime | None, *, json: bool) -> int:
    """Print what became of the positions of every account, as far as events since a time tell."""
    reports, interruption = run_until_signal(partial(_read_reports, url, since))
    if reports is None:
        return interruption.exit_code
    if json:
        print(to_json({"since": since, "accounts": reports}))
        return interruption.exit_code
    for told in reports:
        print_report(told.report, title=f"{told.exchange} {told.account}")
    if not reports:
        print(
            "no position was heard of" if since is None else f"no position was heard of since {write_time(since)} UTC"
        )
    return interruption.exit_code


def show_events(url: str, since: datetime | None, *, follow: bool, json: bool) -> int:
    """Print events, oldest first; with `follow`, new ones too until a signal comes."""
    write = _write_json if json else _write_line
    _, interruption = run_until_signal(partial(_copy_events, url, since, write, follow=follow))
    return interruption.exit_code


async def _read_accounts(url: str, _: Interruption) -> list[Account]:
    async with _open(url) as store:
        return await _list_accounts(store)


async def _list_accounts(store: Store) -> list[Account]:
    accounts = []
    for exchange, account in await store.accounts():
        loaded = await store.load(exchange, account)
        # By time and name: positions of one moment are written in any order.
        stops = sorted(loaded.stops, key=lambda record: _order(record.position))
        accounts.append(Account(exchange, account, tuple(stops), tuple(loaded.intents)))
    return accounts


async def _follow_status(url: str, _: Interruption, *, json: bool) -> None:
    async with _open(url) as store:
        await _print_changes(store, json=json)


async def _print_changes(store: Store, *, json: bool) -> NoReturn:
    happening = store.events(datetime.now(UTC), follow=True)
    shown: list[Account] | None = None
    while True:
        accounts = await _list_accounts(store)
        if accounts != shown:
            shown = accounts
            if json:
                sys.stdout.buffer.write(msgspec.json.encode({"at": datetime.now(UTC), "accounts": accounts}) + b"\n")
            else:
                print(f"{write_time(datetime.now(UTC))} UTC")
                _print_accounts(accounts)
            sys.stdout.flush()
        # Peaks are saved without an event, so that it looks now and then by itself.
        with trio.move_on_after(LOOK_SECONDS):
            await anext(happening)
        with trio.move_on_after(GATHER_SECONDS):
            while True:
                await anext(happening)


async def _read_reports(url: str, since: datetime | None, _: Interruption) -> list[AccountReport]:
    told: dict[tuple[str, str], Stories] = {}
    async with _open(url) as store:
        async for record in store.events(since):
            told.setdefault((record.exchange, record.account), Stories()).take(record.event)
        for exchange, account in await store.accounts():
            loaded = await store.load(exchange, account)
            told.setdefault((exchange, account), Stories()).know(loaded.stops)
    return [AccountReport(*key, build_report(sorted(told[key], key=_order))) for key in sorted(told) if len(told[key])]


async def _copy_events(
    url: str, since: datetime | None, write: Callable[[EventRecord], None], _: Interruption, *, follow: bool
) -> None:
    async with _open(url) as store, trio.open_nursery() as nursery:
        if follow:
            nursery.start_soon(_check_reachable, store)
        async for record in store.events(since, follow=follow):
            write(record)


async def _check_reachable(store: Store) -> NoReturn:
    """Read from a store again and again. Raises StoreError when it can't be reached, for which a follower waits."""
    while True:
        await trio.sleep(LOOK_SECONDS)
        await store.accounts()


def _order(told: Story | Position) -> tuple[datetime, str, str]:
    at = told.opened_at if isinstance(told, Position) else told.opened_at or told.closed_at
    return at or _EPOCH, told.symbol, told.side


@asynccontextmanager
async def _open(url: str) -> AsyncIterator[Store]:
    if url == "memory:":
        raise UsageError("--store got memory:, which nobody but its own process can look into")
    async with open_store(url, read_only=True) as store:
        yield store


def _write_json(record: EventRecord) -> None:
    sys.stdout.write(msgspec.json.encode(record).decode() + "\n")
    sys.stdout.flush()


def _write_line(record: EventRecord) -> None:
    event = record.event
    fields = {
        name: value
        for name, value in msgspec.structs.asdict(event).items()
        if name not in ("at", "symbol", "side") and value is not None
    }
    if isinstance(event, PositionClosed) and event.profit is None:
        fields["profit"] = UNKNOWN
    words = [
        f"{event.at:%Y-%m-%d %H:%M:%S.%f}"[:-3],
        f"{event.level:7}",
        type(event).__name__,
        *([f"{event.symbol} {event.side}"] if event.symbol is not None else []),
        *(f"{name}={value}" for name, value in fields.items()),
    ]
    print(*words, flush=True)


def _print_accounts(accounts: list[Account]) -> None:
    for account in accounts:
        _print_account(account)
    if not accounts:
        print("nothing is open")


def _print_account(account: Account) -> None:
    numbers = ("quantity", "entry", "stop", "best")
    title = f"{account.exchange} {account.account}"
    stops = new_table("position", "side", "state", *numbers, "opened (UTC)", right=numbers, title=title)
    for record in account.stops:
        position = record.position
        stops.add_row(
            position.symbol,
            position.side,
            write_state("given up" if record.state == State.CLOSED else record.state),  # yet still open, so it is here
            write_money(record.quantity),
            write_money(position.entry_price),
            write_money(record.orders[-1].price) if record.orders else "none",
            write_money(record.best),
            write_time(position.opened_at),
        )
    notes = [
        f"trailed by the exchange: the {record.position.side} {record.position.symbol}, {write_money(native.quantity)} from "
        f"{write_money(native.price)} on, {native.callback} behind the best price, {native.client_order_id}"
        for record in account.stops
        if (native := record.native) is not None
    ]
    notes += [
        f"may exist: {intent.purpose} {intent.client_order_id} for {intent.symbol} {intent.side}, "
        f"{write_money(intent.quantity)}{'' if intent.price is None else f' at {write_money(intent.price)}'}, "
        f"sent {write_time(intent.at)} UTC"
        for intent in account.intents
    ]
    print_table(stops, notes=notes)
