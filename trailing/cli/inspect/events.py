"""`trailing events`: show the events of a store."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any, Final, NoReturn

import msgspec
import trio

from trailing.cli.json_output import print_json, to_json
from trailing.cli.signals import Interruption, run_until_signal
from trailing.cli.stores import open_stored
from trailing.cli.tables import UNKNOWN, write_money, write_time
from trailing.cli.time_options import parse_since
from trailing.events import PositionClosed
from trailing.logs import escape_unprintable
from trailing.stores.port import EventRecord, Store
from trailing.unprotected import ALWAYS_PROTECTED, UnprotectedTime

CHECK_SECONDS: Final = 5.0
"""Seconds between two reads with which `--follow` checks that the store can still be reached."""


def main(*, store: str, since: str | None, follow: bool, json: bool) -> int:
    """Print events, oldest first.

    Args:
        store: the store's address.
        since: a duration back from now or a UTC time; None: all events.
        follow: continue with new events until a signal comes.
        json: print one JSON object per line.

    Returns:
        The exit code.

    Raises:
        UsageError: `since` can't be right.
    """
    write = partial(print_json, indent=0) if json else _print_line
    _, interruption = run_until_signal(partial(_copy, store, parse_since(since), write, follow=follow))
    return interruption.exit_code


async def _copy(
    url: str, since: datetime | None, write: Callable[[EventRecord], None], _: Interruption, *, follow: bool
) -> None:
    async with open_stored(url) as store, trio.open_nursery() as nursery:
        if follow:
            nursery.start_soon(_check_reachable, store)
        async for record in store.events(since, follow=follow):
            write(record)


async def _check_reachable(store: Store) -> NoReturn:
    """Read from a store at intervals, so that an unreachable store raises a StoreError."""
    while True:
        await trio.sleep(CHECK_SECONDS)
        await store.accounts()


def _print_line(record: EventRecord) -> None:
    event = record.event
    fields = {
        name: _write_value(value)
        for name, value in msgspec.structs.asdict(event).items()
        if name not in ("at", "symbol", "side") and value not in (None, ALWAYS_PROTECTED)
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
    print(escape_unprintable(" ".join(words)), flush=True)


def _write_value(value: Any) -> str:
    match value:
        case Decimal():
            return write_money(value)
        case float():
            return f"{value:.3f}"
        case datetime():
            return f'"{write_time(value)}"'
        case UnprotectedTime():
            return f'"{value}"'
        case str():
            return f'"{value}"' if " " in value or not value else value
        case _:
            return to_json(value, indent=0)
