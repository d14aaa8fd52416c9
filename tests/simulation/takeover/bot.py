"""One of the two bots: it waits as a standby, protects a long wave, and is a standby again after it lost the account.

``python -m simulation.takeover.bot PORT STORE NAME`` writes each change of its state, and ends when its standard input ends.
"""

from __future__ import annotations

import itertools
import sys

import msgspec
import trio

from simulation.killing.bot import PLAN as LONG_TIMEOUTS_PLAN
from simulation.killing.bot import Bot
from simulation.killing.stdio import wait_end, write_line
from simulation.remote_client import open_remote
from simulation.takeover.settings import CALL_SECONDS
from trailing.errors import LeaseLost
from trailing.logs import configure_logging
from trailing.protection.manager import open_manager
from trailing.stores import open_store

PLAN = msgspec.structs.replace(LONG_TIMEOUTS_PLAN, call_seconds=CALL_SECONDS, cleanup_seconds=2.0, journal_wait=0.3)


async def _run(port: int, store: str, name: str) -> None:
    async with open_remote(port, name=name) as exchange, open_store(store) as opened:
        for number in itertools.count(1):
            write_line(event="standby")
            try:
                async with open_manager(exchange, opened, PLAN, standby=True) as manager:
                    write_line(event="owns")
                    await Bot(exchange, manager, f"{name}/{number}").run()
            except LeaseLost as error:
                write_line(event="lost", why=str(error))


async def _main() -> None:
    configure_logging("warning")  # to standard error
    port, store, name = sys.argv[1:]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_run, int(port), store, name)
        await wait_end()
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(_main)
