"""A bot in a process of its own: it protects a long of BTC on a served venue, and closes everything on SIGUSR1 twice."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any

import trio
from real_exchange import BTC, KEYS
from venue_server import redirected

import trailing
from trailing import Percent, Position, Protected, TrailPlan


async def main(venue: str, host: str, store_url: str) -> None:
    def configure(client: Any) -> None:
        client.urls["api"] = redirected(client.urls["api"], host)
        client.timeout_on_exit = 0

    plan = TrailPlan(initial_stop=Percent(2), trigger="mark")
    async with (
        trailing.open_ccxt(venue, credentials=KEYS, configure=configure) as exchange,
        trailing.open_store(store_url) as store,
        trailing.open_manager(exchange, store, plan) as manager,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(lambda task_status: trailing.close_all_on_signal(manager, task_status=task_status))
        position = Position(BTC, "long", Decimal("0.8"), Decimal(1000), datetime.now(UTC))
        assert isinstance(await manager.protect(position, deadline=10.0), Protected)
        sys.stderr.write("protected\n")
        sys.stderr.flush()
        await trio.sleep_forever()


if __name__ == "__main__":
    trailing.configure_logging("warning")
    trio.run(partial(main, *sys.argv[1:]))
