"""The part of the bot that opens positions with entries, and leaves their protection to the library."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Final

import trio
from inspection.paper import working_entries

from simulation.laboratory.entry_monitor import EntryMonitor
from simulation.laboratory.scenario import TICK, Scenario
from trailing.core.entries import Entry
from trailing.core.model import Side
from trailing.exchanges.paper import PaperExchange
from trailing.protection.manager import Manager

DEADLINES: Final = (3.0, 15.0, 60.0, 240.0)
"""Seconds for the entries of a wave, one of which is drawn."""

RESTS_AFTERWARDS: Final = 30.0
"""Seconds after an entry for which the bot does nothing else with its symbol: no request in flight takes longer."""

_CANCELLED, _DOUBLED, _AT_MARKET, _OWN_STOP = 0.25, 0.1, 0.4, 0.2


class EntryBot:
    """A bot that enters waves, over its own restarts. Some of its calls are cancelled from outside.

    Attributes:
        on_entering: called with the symbol of each entry.
    """

    def __init__(self, scenario: Scenario, exchange: PaperExchange, entry_monitor: EntryMonitor) -> None:
        self._scenario, self._exchange, self._entry_monitor = scenario, exchange, entry_monitor
        self._draw = random.Random(f"{scenario.seed} entry bot")
        self._waves = list(scenario.entries.waves)
        self._calls: dict[str, int] = {}  # the number of running calls, by symbol
        self._ended_at: dict[str, float] = {}
        self._number = 0
        self.on_entering: Callable[[str], object] = lambda _: None

    def is_busy(self, symbol: str) -> bool:
        """Whether an entry of a symbol may still be filled, or ended just now."""
        rests = trio.current_time() - self._ended_at.get(symbol, -math.inf) < RESTS_AFTERWARDS
        return rests or bool(self._calls.get(symbol)) or bool(working_entries(self._exchange, symbol))

    async def run(self, manager: Manager) -> None:
        """Enter waves at their times."""
        async with trio.open_nursery() as nursery:
            while self._waves:
                at = self._waves.pop(0)
                if at < trio.current_time():
                    continue  # the bot was dead at that time
                await trio.sleep_until(at)
                symbols = [market.symbol for market in self._scenario.markets]
                free = [one for one in symbols if not self.is_busy(one) and not self._exchange.actual(one)[1]]
                wave = [self._an_entry(symbol) for symbol in free]
                if wave and self._draw.random() < _DOUBLED:
                    wave.append(self._an_entry(wave[0].symbol))
                if wave:
                    nursery.start_soon(self._enter, manager, wave)

    def _an_entry(self, symbol: str) -> Entry:
        draw, price = self._draw, self._exchange.actual_price(symbol)
        side: Side = draw.choice(("long", "short"))
        behind = -1 if side == "long" else 1
        limit: Decimal | None = None
        if draw.random() >= _AT_MARKET:  # some are filled at once, most rest
            limit = (price * (1 + behind * Decimal(str(draw.choice((-0.001, 0.0, 0.0005, 0.002)))))).quantize(TICK)
        stop_price = None
        if draw.random() < _OWN_STOP:
            stop_price = (price * (1 + behind * Decimal("0.015"))).quantize(TICK)
        self._number += 1
        identity = f"entry {self._number}" if draw.random() < 0.5 else None
        return Entry(symbol, side, Decimal(draw.randint(1, 9)), limit, stop_price, identity)

    async def _enter(self, manager: Manager, wave: Sequence[Entry]) -> None:
        deadline = self._draw.choice(DEADLINES)
        cancelled_after = self._draw.uniform(0, deadline) if self._draw.random() < _CANCELLED else math.inf
        handed_in = [self._entry_monitor.note_handed_in(entry, deadline, cancelled_after) for entry in wave]
        for entry in wave:
            self._calls[entry.symbol] = self._calls.get(entry.symbol, 0) + 1
            self.on_entering(entry.symbol)
        try:
            with trio.move_on_after(cancelled_after):
                report = await manager.enter_wave(wave, deadline=deadline)
                for one, outcome in zip(handed_in, report.outcomes, strict=True):
                    self._entry_monitor.note_outcome(one, outcome)
        finally:
            for entry in wave:
                self._calls[entry.symbol] -= 1
                self._ended_at[entry.symbol] = trio.current_time()
