"""The process that is killed: a bot that protects a long wave of positions.

``python -m simulation.killing.bot PORT STORE SEED`` writes that it is warm and waits for a line on its standard input. Then it
waits for the account, recovers, protects open positions and opens new ones for those that ended, until its input ends.
"""

from __future__ import annotations

import random
import sys
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import trio
from inspection import Inspection

from simulation.killing.history import ENTERED
from simulation.killing.run_store import CALL_SECONDS
from simulation.killing.stdio import wait_end, wait_line, write_line
from simulation.remote_client import RemoteExchange, open_remote
from trailing.core.model import Percent, Position, Side
from trailing.core.plan import Pacing, TrailPlan
from trailing.core.prices import floor_quantity
from trailing.core.rules import Breakeven, Callback
from trailing.errors import TrailingError
from trailing.logs import configure_logging
from trailing.protection.manager import Manager, open_manager
from trailing.stores import open_store
from trailing.stores.port import Lease
from trailing.stores.urls import is_postgres
from trailing.testing.faulty_store import FaultyStore

PLAN: TrailPlan = TrailPlan(
    initial_stop=Percent("2"),
    rules=(Breakeven(at=Percent("0.4"), offset=Percent("0.05")), Callback(Percent("0.6"), activation=Percent("0.3"))),
    pacing=Pacing(min_interval=0.2),
    exit_grace=1.0,
    journal_wait=5.0,  # long, because a busy disk is not part of this test
    cleanup_seconds=10.0,
    call_seconds=5.0,
    reconcile_every=1.0,
)

_POLL_SECONDS = 0.05
_FREE_SECONDS = 0.04  # until then the record of its last position may still be open
_WAVE_SECONDS = 4.0
_WORTH = Decimal(1000)


class Bot:
    """The bot of one process.

    Attributes:
        exchange, manager, seed: as given.
        draw: the random generator of the bot.
    """

    def __init__(self, exchange: RemoteExchange, manager: Manager, seed: str) -> None:
        self.exchange, self.manager = exchange, manager
        self.draw = random.Random(seed)
        self.seed = seed
        self._entered = 0
        self._free = dict.fromkeys(exchange.symbols, trio.current_time())

    async def run(self) -> None:
        """Protect open positions without protection, again and again."""
        ready = False
        reported: list[tuple[str, Side]] = []
        while True:
            await trio.sleep(_POLL_SECONDS)
            positions = await self._positions_to_protect()
            if positions:
                write_line(event="wave", positions=len(positions))
                await self.manager.protect_wave(positions, deadline=_WAVE_SECONDS)
            unprotected = sorted(self.manager.unprotected())
            if positions or unprotected != reported or not ready:
                write_line(event="trailing" if ready else "ready", unprotected=unprotected)
            ready, reported = True, unprotected

    def free_symbols(self, taken: Collection[str]) -> Sequence[str]:
        """Return the symbols that were free for a while. `taken`: those that are not free now."""
        now = trio.current_time()
        free = [symbol for symbol in self.exchange.symbols if symbol not in taken]
        self._free = {symbol: self._free.get(symbol, now) for symbol in free}
        return [symbol for symbol in free if now - self._free[symbol] >= _FREE_SECONDS]

    async def _positions_to_protect(self) -> Sequence[Position]:
        """Return the open positions without a claim, and a new position for each symbol that was free for a while."""
        claimed = self.claimed()
        open_now: Sequence[Position] = await self.exchange.ask("entered", ENTERED)
        claimed |= (
            self.claimed()
        )  # a position that ended meanwhile counts as claimed, because the reply is older than its end
        to_protect = [position for position in open_now if (position.symbol, position.side) not in claimed]
        taken = {position.symbol for position in open_now} | {symbol for symbol, _ in claimed}
        free = self.free_symbols(taken)
        async with trio.open_nursery() as nursery:
            for symbol in free:
                nursery.start_soon(self._enter, symbol, to_protect)
        return to_protect

    def claimed(self) -> set[tuple[str, Side]]:
        """Return every claimed position, until its last record is written.

        A position that is being closed is in neither of the manager's lists. If the bot handed it in, it would be protected
        anew after its end.
        """
        return Inspection(self.manager).claimed()

    async def _enter(self, symbol: str, entered: list[Position]) -> None:
        side: Side = self.draw.choice(("long", "short"))
        self._entered += 1
        try:
            entered.append(await self._enter_at_market(symbol, side, f"{self.seed}/{self._entered}"))
        except TrailingError:
            return  # the other side is open, or the exchange is slow: an entry that was booked anyway is found later

    async def _enter_at_market(self, symbol: str, side: Side, name: str) -> Position:
        price = (await self.exchange.price(symbol, PLAN.trigger)).price
        quantity = floor_quantity(_WORTH / price, self.exchange.market(symbol).quantity_step)
        position = Position(symbol, side, quantity, price, datetime.now(UTC), id=name)
        await self.exchange.enter(position)
        return position


class _ReportingStore(FaultyStore):
    """A store without faults that writes a line when the account is owned."""

    @asynccontextmanager
    async def acquire_lease(
        self, exchange: str, account: str, *, mark: str, standby: bool = False
    ) -> AsyncIterator[Lease]:
        async with super().acquire_lease(exchange, account, mark=mark, standby=standby) as lease:
            write_line(event="recovering")
            yield lease


async def _run(port: int, store: str, seed: str, kind: type[Bot]) -> None:
    lease_outlives_owner = is_postgres(store)  # a lease on Postgres survives its process, a lock on a file does not
    plan = msgspec.structs.replace(PLAN, call_seconds=CALL_SECONDS) if lease_outlives_owner else PLAN
    async with (
        open_remote(port) as exchange,
        open_store(store) as opened,
        open_manager(exchange, _ReportingStore(opened, {}), plan, standby=lease_outlives_owner) as manager,
    ):
        write_line(event="recovered")
        await kind(exchange, manager, seed).run()


async def main(kind: type[Bot] = Bot) -> None:
    """Run a bot as its command line says, until its input ends. `kind`: the class of the bot."""
    # structlog would import rich for colours, which takes a fifth of a bot's start.
    sys.modules["rich"] = None  # type: ignore[assignment]
    configure_logging("warning")  # to standard error
    write_line(event="warm")
    await wait_line()
    async with trio.open_nursery() as nursery:
        port, store, seed = sys.argv[1:]
        nursery.start_soon(_run, int(port), store, seed, kind)
        await wait_end()
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
