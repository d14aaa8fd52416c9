"""The parts of a hostile world, as its steps use them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from decimal import Decimal
from functools import partial
from typing import TypeAlias

import trio
from inspection import Key
from inspection.paper import working_entries

from simulation.healing.bot import Bot
from simulation.healing.faults import CallOutages, StreamOutages
from simulation.healing.scenario import SIDES, SYMBOLS, TICK, HostileScenario
from simulation.laboratory.bot import time_of_day
from trailing.core.model import Position, StopOrder, Tick
from trailing.exchanges.paper import PaperExchange
from trailing.protection.manager import Manager
from trailing.protection.order_ids import is_ours

Done: TypeAlias = str | None
"""What a step did, for the log; None: nothing."""


class World:
    """The exchange, the faults and the bot of one world.

    Attributes:
        draw: the random generator of the steps.
        manager: the manager that runs; None: none runs.
        program: the nursery of the program that runs. It runs the calls of the bot.
        running_calls: the scope and the name of each call of the bot that runs.
        healed_at: when everything healed, in seconds of the world; None: the world is hostile.
        broken: the violations, each as ``"at 12.345: class: details"``.
        log: the steps so far, each with its time, and everything else that is noted.
        steps: how often each step was done.
        requests: how many requests of each kind reached the exchange, by operation and symbol.
    """

    def __init__(self, scenario: HostileScenario) -> None:
        self.scenario = scenario
        self.draw: random.Random = random.Random(f"{scenario.seed} hostile steps")
        self.calls: CallOutages = CallOutages(scenario.seed)
        self.exchange: PaperExchange
        self.stream: StreamOutages
        self.bot: Bot
        self.manager: Manager | None = None
        self.program: trio.Nursery | None = None
        self.running_calls: dict[trio.CancelScope, str] = {}
        self.broken: list[str] = []
        self.healed_at: float | None = None
        self.log: list[tuple[object, ...]] = []
        self.steps: Counter[str] = Counter()
        self.requests: Counter[tuple[str, str | None]] = Counter()

    def note(self, *what: object) -> None:
        """Add a line to the log."""
        self.log.append((round(trio.current_time(), 3), " ".join(map(str, what))))

    def report_violation(self, what: str, about: str = "") -> None:
        """Add a violation."""
        self.broken.append(f"at {trio.current_time():.3f}: {what}: {about}")

    def latency(self, operation: str, symbol: str | None) -> float:
        """Count a request, and return the seconds that it takes."""
        self.requests[operation, symbol] += 1
        return self.scenario.latency

    @property
    def running(self) -> Manager:
        """The manager, which has to run."""
        assert self.manager is not None
        return self.manager

    def start_call(self, call: Callable[..., Awaitable[object]], *arguments: object) -> None:
        """Start a call of the bot, which goes on beside the steps."""
        assert self.program is not None
        self.program.start_soon(self._run_call, partial(call, self.running, *arguments), call.__name__)

    async def _run_call(self, call: Callable[[], Awaitable[object]], name: str) -> None:
        with trio.CancelScope() as scope:
            self.running_calls[scope] = name
            try:
                await call()
            finally:
                del self.running_calls[scope]

    # The market.

    def price(self, symbol: str) -> Decimal:
        """Return the present price of a symbol."""
        return self.exchange.actual_price(symbol)

    def feed(self, symbol: str, price: Decimal) -> str:
        """Let the market jump to a price."""
        self.exchange.feed(Tick(symbol, rounded(price), trio.current_time()))
        return f"{symbol} {rounded(price)}"

    def feed_again(self) -> None:
        """Push the present price of each symbol."""
        for symbol in SYMBOLS:
            self.feed(symbol, self.price(symbol))

    # The account, in truth.

    def held(self, key: Key) -> Decimal:
        """Return the open quantity of a position; 0: it is flat."""
        return self.exchange.actual(key[0])[1].get(key[1], Decimal(0))

    def stops(self, key: Key) -> list[StopOrder]:
        """Return the live stops of a position that are ours and not left by a release."""
        left = self.left_stops()
        stops = [one for one in self.exchange.actual(key[0])[0] if one.side == key[1]]
        return [one for one in stops if is_ours(one.client_order_id) and one.client_order_id not in left]

    def left_stops(self) -> set[str]:
        """Return the ids of the stops that a release has left, and that are no position's stop since.

        A stop that was requested before the release is left, too.
        """
        stops = {} if self.manager is None else self.manager.stops()
        of_released = [
            one for key in self.bot.released for one in self.exchange.actual(key[0])[0] if one.side == key[1]
        ]
        left = self.bot.left_stops | {stop.client_order_id for stop in of_released}
        return left - {stop.client_order_id for stop in stops.values()}

    @property
    def is_full(self) -> bool:
        """Whether the account takes no further stop."""
        most = self.scenario.venue["most_stops"]
        return most is not None and sum(len(self.exchange.actual(symbol)[0]) for symbol in SYMBOLS) >= most

    def draw_symbol(self) -> str:
        """Draw a symbol."""
        return self.draw.choice(SYMBOLS)

    def draw_open(self) -> Key | None:
        """Draw an open position; None: there is none."""
        found = [key for key in KEYS if self.held(key)]
        return self.draw.choice(found) if found else None

    def draw_stop(self) -> StopOrder | None:
        """Draw a live stop; None: there is none."""
        found = [stop for symbol in SYMBOLS for stop in self.exchange.actual(symbol)[0]]
        return self.draw.choice(found) if found else None

    def draw_free(self) -> Key | None:
        """Draw a symbol and side of which a position can be opened; None: this draw has none."""
        key: Key = (self.draw_symbol(), self.draw.choice(SIDES))
        sides = (key[1],) if self.exchange.hedged else SIDES
        taken = [side for side in sides if self.held((key[0], side)) or (key[0], side) in self.running.entries()]
        entries = [entry for entry in working_entries(self.exchange, key[0]) if entry.side in sides]
        return None if taken or entries or key in self.bot.released else key

    def position(self, key: Key, quantity: Decimal) -> Position:
        """Return a position that is opened now."""
        return Position(*key, quantity, self.price(key[0]), time_of_day())


KEYS: tuple[Key, ...] = tuple((symbol, side) for symbol in SYMBOLS for side in SIDES)
"""Every symbol and side."""


def rounded(price: Decimal) -> Decimal:
    """Round a price to the market's tick."""
    return price.quantize(TICK)
