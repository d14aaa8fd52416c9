"""The exchange's process: a paper exchange with prices that move in real time, served to one bot after the other.

``python -m simulation.killing.market SEED POSITIONS`` prints its port, and ends when its standard input ends.
"""

from __future__ import annotations

import random
import sys
from decimal import Decimal
from functools import partial

import trio
from inspection.paper import watch_entries, working_entries

from simulation.killing.history import ENTERED, HISTORY, SHAKE, TAKEN, Attached, Event, History, PartEntered, to_events
from simulation.killing.ledger import Ledger
from simulation.killing.markets import JITTER, LATENCY, VALIDITY, all_markets, first_price
from simulation.killing.stdio import wait_end, write_line
from simulation.remote import Services, serve_exchange
from simulation.remote_wire import OPERATIONS
from trailing.core.entry_orders import EntryOrder
from trailing.core.model import Market, Position, StopOrder, Tick
from trailing.errors import ExchangeUnreachable, UsageError
from trailing.exchanges.paper import PaperExchange, open_paper

TICK_SECONDS = 0.05
_NOISE = 0.0006  # share of the price, for each tick
_TREND = 0.0004
_TREND_ENDS = 0.02  # probability at each tick
PART_ENTERED = Decimal("0.4")
"""The share of an entry that one price fills."""

_SHAKE = 0.03  # further than the widest stop, and too small for the confirmation of jumps


class MovingMarket:
    """Move the prices, and report the true state.

    Args:
        exchange: the exchange, opened with `record=True`.
        markets: by symbol.
    """

    def __init__(self, exchange: PaperExchange, markets: dict[str, Market], seed: int) -> None:
        self._exchange, self._markets = exchange, markets
        self._draw = random.Random(f"{seed}/market")
        self._prices = {symbol: first_price(seed, symbol) for symbol in markets}
        self._trends = dict.fromkeys(markets, 0.0)
        self._ledger = Ledger()
        self._events: list[Event] = []
        self._taken = 0
        self._entering: set[str] = set()
        self._attached: list[StopOrder] = []
        self._filled: dict[str, Decimal] = {}  # by client order id of the entry
        watch_entries(exchange, self._note_entry, self._attached.append)

    async def walk(self) -> None:
        """Move all prices, again and again."""
        while True:
            for symbol in self._markets:
                if self._draw.random() < _TREND_ENDS:
                    self._trends[symbol] = self._draw.gauss(0, _TREND)
                self._move(symbol, self._trends[symbol] + self._draw.gauss(0, _NOISE))
            await trio.sleep(TICK_SECONDS)

    def _move(self, symbol: str, share: float) -> None:
        self._prices[symbol] *= 1 + share
        # The random walk is float; the price is rounded as text before it becomes a Decimal.
        price = Decimal(f"{self._prices[symbol]:.10f}").quantize(self._markets[symbol].price_tick)
        self._exchange.feed(Tick(symbol, price, trio.current_time()))

    def _catch_up(self) -> int:
        """Take the exchange's new bookings. Returns the number of events."""
        log = self._exchange.log
        new = to_events(log[self._taken :])
        self._taken = len(log)
        new += tuple(Attached(trio.current_time(), stop) for stop in self._attached)  # resized after an exit
        self._attached.clear()
        self._events += new
        for event in new:
            self._ledger.note(event)
        return len(self._events)

    def _note_entry(self, order: EntryOrder) -> None:
        """Take a change of an entry as events: what it has filled, and the stop that it has placed or resized."""
        at, own = trio.current_time(), order.client_order_id
        new: list[Event] = []
        if order.filled > self._filled.get(own, Decimal(0)):
            self._filled[own] = order.filled
            new.append(PartEntered(at, order))
        new += [Attached(at, stop) for stop in self._attached]
        self._attached.clear()
        self._catch_up()
        self._events += new
        for event in new:
            self._ledger.note(event)

    async def history(self, since: int) -> History:
        """Return the events since a number of events and the present state, read until no event came in between."""
        while True:
            before = self._catch_up()
            try:
                stops, positions = await self._exchange.open_stops(), await self._exchange.positions()
            except ExchangeUnreachable:
                continue  # this process was blocked for longer than a request is valid
            if self._catch_up() == before:
                new = tuple(self._events[since:])
                entries = tuple(one for symbol in self._markets for one in working_entries(self._exchange, symbol))
                return History(trio.current_time(), before, new, tuple(stops), tuple(positions), entries)

    async def entered(self) -> tuple[Position, ...]:
        """Return every open position as it was entered."""
        await trio.lowlevel.checkpoint()
        self._catch_up()
        return tuple(entry.position for entry in self._ledger.open.values())

    async def taken(self) -> tuple[str, ...]:
        """Return the symbols with an open position or a working entry."""
        is_open = {position.symbol for position in await self.entered()}
        return tuple(one for one in self._markets if one in is_open or working_entries(self._exchange, one))

    async def enter(self, position: Position) -> None:
        """Book an entry, unless the symbol has a position: two bots may find it free at a takeover.

        Raises:
            UsageError: the symbol has an open position.
        """
        self._catch_up()
        symbol = position.symbol
        if symbol in self._entering or any(symbol == taken for taken, _ in self._ledger.open):
            raise UsageError(f"{symbol} has an open position")
        self._entering.add(symbol)
        try:
            await self._exchange.enter(position)
        finally:
            self._entering.remove(symbol)

    async def shake(self, positions: int) -> int:
        """Let the price jump beyond the stops of some open positions. Returns their number."""
        entered = await self.entered()
        shaken = self._draw.sample(entered, min(positions, len(entered)))
        for position in shaken:
            self._move(position.symbol, -_SHAKE if position.side == "long" else _SHAKE)
        return len(shaken)


async def run_market(seed: int, positions: int, ended: trio.Event, task_status: trio.TaskStatus[int]) -> None:
    """Open the exchange, move its prices and serve it until the event. Reports its port as started."""
    markets = all_markets(seed, positions)
    async with (
        open_paper(
            latency=LATENCY,
            jitter=JITTER,
            seed=seed,
            markets=markets,
            request_validity=VALIDITY,
            record=True,
            partial_entries=PART_ENTERED,
        ) as exchange,
        trio.open_nursery() as nursery,
    ):
        market = MovingMarket(exchange, markets, seed)
        services: Services = {
            "history": (HISTORY, market.history),
            "entered": (ENTERED, market.entered),
            "taken": (TAKEN, market.taken),
            "shake": (SHAKE, market.shake),
            "enter": (OPERATIONS["enter"], market.enter),
        }
        port = await nursery.start(partial(serve_exchange, exchange, symbols=tuple(markets), services=services))
        nursery.start_soon(market.walk)
        task_status.started(port)
        await ended.wait()
        nursery.cancel_scope.cancel()


async def _main() -> None:
    seed, positions = map(int, sys.argv[1:])
    ended = trio.Event()
    async with trio.open_nursery() as nursery:
        port = await nursery.start(run_market, seed, positions, ended)
        write_line(port=port)
        await wait_end()
        ended.set()


if __name__ == "__main__":
    trio.run(_main)
