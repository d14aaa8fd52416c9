"""`trailing prune`: delete old events from a store."""

from __future__ import annotations

from datetime import datetime
from functools import partial

from trailing.cli.reports import to_json
from trailing.cli.signals import Interruption, run_until_signal
from trailing.cli.tables import write_time
from trailing.errors import UsageError
from trailing.stores import open_store


def prune_store(url: str, before: datetime, *, json: bool) -> int:
    """Delete the events before a time, and say how many there were."""
    if url == "memory:":
        raise UsageError("--store got memory:, which nobody but its own process can prune")
    deleted, interruption = run_until_signal(partial(_prune, url, before))
    if deleted is None:
        return interruption.exit_code
    if json:
        print(to_json({"before": before, "deleted": deleted}))
    else:
        print(f"{deleted} events before {write_time(before)} UTC were deleted")
    return interruption.exit_code


async def _prune(url: str, before: datetime, _: Interruption) -> int:
    async with open_store(url, read_only=True):
        pass  # what is not there is not created, only to be pruned
    async with open_store(url) as store:
        return await store.prune(before)
