"""A venue's local server in its own thread, for commands that run their own loops."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any, TypeVar

import trio
from real_exchange import KEYS, open_server
from venue_server import VenueServer

from trailing import Percent, Position, Protected, TrailPlan, open_ccxt, open_manager, open_store

T = TypeVar("T")
PLAN = TrailPlan(initial_stop=Percent("2"), trigger="mark")
CHANGES = {"place_stop", "amend_stop", "cancel_stop", "close_position"}


class Served:
    """A venue in its own thread.

    Attributes:
        server: read it freely, but change it only by `do`.
        bot: opens an account there.
    """

    def __init__(self, venue: str, server: VenueServer, token: trio.lowlevel.TrioToken, store: str) -> None:
        self.venue, self.server, self._token, self.store = venue, server, token, store
        self.bot: Callable[[], Any] = partial(open_ccxt, venue, credentials=KEYS, configure=server.configure)

    def do(self, what: Callable[..., T], *args: Any) -> T:
        """Call a function in the venue's thread."""
        return trio.from_thread.run_sync(what, *args, trio_token=self._token)

    def protect(self, *symbols: str) -> None:
        """Run a bot that protects a long of each symbol, and ends."""

        async def protect() -> None:
            async with (
                self.bot() as exchange,
                open_store(self.store) as store,
                open_manager(exchange, store, PLAN) as manager,
            ):
                wave = [Position(each, "long", Decimal("0.8"), Decimal(1000), datetime.now(UTC)) for each in symbols]
                report = await manager.protect_wave(wave, deadline=10)
                assert {type(outcome) for outcome in report.outcomes} == {Protected}

        for symbol in symbols:
            self.do(self.server.market.enter, symbol, "buy", Decimal("0.8"), Decimal(1000))
        trio.run(protect)

    def stops(self) -> dict[str, Decimal]:
        """Return the live trigger prices by symbol."""
        live = self.do(self.server.market.live_stops)
        return {order.wanted.symbol: order.wanted.trigger.price for order in live if order.wanted.trigger is not None}

    def changes(self) -> list[str]:
        """Return the requests that change something."""
        return [seen.operation for seen in self.server.requests if seen.operation in CHANGES]


@contextmanager
def serving(
    venue: str, store: str, *beside: Callable[[VenueServer], Awaitable[object]], **settings: Any
) -> Iterator[Served]:
    """Serve a venue with an empty account until the block ends, with tasks that act on its market."""
    there, over = threading.Event(), trio.Event()
    served: list[Served] = []

    async def serve() -> None:
        async with open_server(venue, **settings) as server, trio.open_nursery() as tasks:
            for task in beside:
                tasks.start_soon(task, server)
            served.append(Served(venue, server, trio.lowlevel.current_trio_token(), store))
            there.set()
            await over.wait()
            tasks.cancel_scope.cancel()

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    assert there.wait(5)
    try:
        yield served[0]
    finally:
        served[0].do(over.set)
        thread.join(5)
