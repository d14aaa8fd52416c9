"""`trailing prune`: delete old events from a store."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

from trailing.cli.json_output import print_json
from trailing.cli.signals import Interruption, run_until_signal
from trailing.cli.stores import open_stored
from trailing.cli.tables import write_time
from trailing.cli.time_options import parse_since
from trailing.core.model import refuse


def main(*, older: str, store: str, json: bool) -> int:
    """Delete the events before a time, and print how many they were.

    Args:
        older: a duration back from now or a UTC time.
        store: the store's address.
        json: print JSON.

    Returns:
        The exit code.

    Raises:
        UsageError: `older` can't be right.
    """
    before = parse_since(older, "--older")
    assert before is not None
    if before > datetime.now(UTC):
        raise refuse("--older", older, "a time in the past, because every event would be deleted")
    deleted, interruption = run_until_signal(partial(_prune, store, before))
    if deleted is not None and json:
        print_json({"before": before, "deleted": deleted})
    elif deleted is not None:
        print(f"deleted {deleted} events from before {write_time(before)} UTC")
    return interruption.exit_code


async def _prune(url: str, before: datetime, _: Interruption) -> int:
    async with open_stored(url):
        pass  # opened to read only first, because a store that does not exist must not be created
    async with open_stored(url, read_only=False) as store:
        return await store.prune(before)
