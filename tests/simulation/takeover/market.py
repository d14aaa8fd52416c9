"""The exchange's process: like that of `simulation.killing`, but it refuses stale requests and records the writes.

``python -m simulation.takeover.market SEED POSITIONS ONE_STOP`` prints its port, and ends when its standard input ends.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial

import trio

from simulation.killing.history import ENTERED, HISTORY
from simulation.killing.market import MovingMarket
from simulation.killing.stdio import wait_end, write_line
from simulation.remote import Services, serve_exchange
from simulation.remote_wire import OPERATIONS, Call
from simulation.takeover.settings import LONGEST, SHORTEST, VALIDITY, WRITES, Write, markets_of
from trailing.errors import ExchangeUnreachable
from trailing.exchanges.paper import open_paper

_CHANGES = {"place_stop", "amend_stop", "cancel_stop", "close_position"}


class WriteRecorder:
    """Delay, check and record the calls that change something, before the exchange executes them."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(f"{seed}/delays")
        self._writes: list[Write] = []

    async def carry_out(self, call: Call, function: Callable[[], Awaitable[object]]) -> object:
        """Delay a call, refuse it if it is stale, else record and execute it at once."""
        if call.operation not in _CHANGES:
            return await function()
        await trio.sleep(self._draw.uniform(SHORTEST, LONGEST))
        age = time.monotonic() - call.sent_at
        if age > VALIDITY:
            raise ExchangeUnreachable(f"{call.operation} is {age:.3f} s old; provably not executed")
        self._writes.append(Write(datetime.now(UTC), call.by, call.operation, bytes(call.arguments).decode()))
        return await function()

    async def writes(self, since: int) -> tuple[Write, ...]:
        """Return the writes since a number of writes."""
        await trio.lowlevel.checkpoint()
        return tuple(self._writes[since:])


async def _main() -> None:
    seed, positions, one_stop = map(int, sys.argv[1:])
    markets, recorder = markets_of(seed, positions, one_stop=bool(one_stop)), WriteRecorder(seed)
    async with (
        open_paper(seed=seed, markets=markets, request_validity=VALIDITY, record=True) as exchange,
        trio.open_nursery() as nursery,
    ):
        market = MovingMarket(exchange, markets, seed)
        services: Services = {
            "history": (HISTORY, market.history),
            "entered": (ENTERED, market.entered),
            "enter": (OPERATIONS["enter"], market.enter),
            "writes": (WRITES, recorder.writes),
        }
        serve = partial(serve_exchange, exchange, symbols=tuple(markets), services=services, carrier=recorder.carry_out)
        port = await nursery.start(serve)
        nursery.start_soon(market.walk)
        write_line(port=port)
        await wait_end()
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(_main)
