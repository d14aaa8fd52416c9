"""Reads and assertions that all checks of a store share."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

from trailing.stores.port import EventRecord, Loaded, Store

HERE = ("testex", "main")
"""The exchange and account that most checks write to."""

FOLLOW_SECONDS = 10.0
"""Seconds in which a follower must receive a new event."""


async def load(store: Store, key: tuple[str, str]) -> Loaded:
    """Return the open records and intents of an account."""
    loaded = await store.load(*key)
    return Loaded(stops=tuple(loaded.stops), intents=tuple(loaded.intents))


async def read(store: Store, since: datetime | None = None) -> list[EventRecord]:
    """Return the events of all accounts."""
    return [record async for record in store.events(since)]


def require_growing(records: Sequence[EventRecord]) -> None:
    """Check that the number of each event is higher than that of the one before."""
    numbers = [record.number for record in records]
    if any(later <= earlier for earlier, later in pairwise(numbers)):
        raise AssertionError(f"the number of an event is higher than that of the one before: {numbers}")


def same(got: Any, wanted: Any, what: str) -> None:
    """Check that two values are equal. `what`: the expectation, for the error."""
    if got != wanted:
        raise AssertionError(f"{what}:\n got    {got!r}\n wanted {wanted!r}")
