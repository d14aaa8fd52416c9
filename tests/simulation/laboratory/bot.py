"""A bot as users write it: it opens waves, protects them, and hands in unprotected positions again."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import trio
from msgspec.structs import replace

from simulation.laboratory.entry_bot import EntryBot
from simulation.laboratory.scenario import Scenario
from trailing.core.model import Position, Side
from trailing.exchanges.paper import PaperExchange
from trailing.protection.manager import Manager

START = datetime(2026, 1, 1, tzinfo=UTC)
DEADLINE = 10.0
CHECK_EVERY = 20.0


def time_of_day() -> datetime:
    """Return the world's present time of day."""
    return START + timedelta(seconds=trio.current_time())


class Bot:
    """A bot that remembers the positions it has opened, over its own restarts.

    Args:
        note_handed_in: called with symbol and side of each position that is handed in.
        entries: opens positions with entries.
    """

    def __init__(
        self,
        scenario: Scenario,
        exchange: PaperExchange,
        note_handed_in: Callable[[str, Side], object],
        entries: EntryBot,
    ) -> None:
        self._scenario, self._exchange, self._note_handed_in = scenario, exchange, note_handed_in
        self._entries = entries
        self._entries.on_entering = self._forget
        self._draw = random.Random(f"{scenario.seed} bot")
        self._positions: dict[tuple[str, Side], Position] = {}
        self._waves = list(scenario.waves)

    async def run(self, manager: Manager) -> None:
        """Open waves at their times, and protect positions that the manager does not list."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._protect_missing, manager, nursery)
            nursery.start_soon(self._entries.run, manager)
            while self._waves:
                at = self._waves.pop(0)
                if at < trio.current_time():
                    continue  # the bot was dead at that time
                await trio.sleep_until(at)
                wave = [
                    await self._enter(market.symbol)
                    for market in self._scenario.markets
                    if self._is_flat(market.symbol)
                ]
                nursery.start_soon(self._protect, manager, wave)

    def _is_flat(self, symbol: str) -> bool:
        return not self._exchange.actual(symbol)[1] and not self._entries.is_busy(symbol)

    def _forget(self, symbol: str) -> None:
        """Forget the earlier positions of a symbol, because an entry opens another one."""
        for side in ("long", "short"):
            self._positions.pop((symbol, side), None)

    def _is_open(self, key: tuple[str, Side]) -> bool:
        return key[1] in self._exchange.actual(key[0])[1]

    async def _enter(self, symbol: str) -> Position:
        price = self._exchange.actual_price(symbol)
        side: Side = self._draw.choice(("long", "short"))
        position = Position(symbol, side, Decimal(self._draw.randint(1, 9)), price, time_of_day())
        await self._exchange.enter(position)
        self._positions[symbol, side] = position
        return position

    async def _protect(self, manager: Manager, wave: list[Position]) -> None:
        for position in wave:
            self._note_handed_in(position.symbol, position.side)
        await manager.protect_wave(wave, deadline=DEADLINE)

    async def _protect_missing(self, manager: Manager, nursery: trio.Nursery) -> None:
        while True:
            listed = {key for key, unprotected in manager.unprotected().items() if unprotected.state != "closed"}
            listed |= manager.stops().keys() | manager.entries().keys()
            missing = [
                position for key, position in self._positions.items() if key not in listed and self._is_open(key)
            ]
            # An entered position that the manager has given up has no other record than the manager's.
            missing += [
                replace(given_up.position, id=None)
                for key, given_up in manager.unprotected().items()
                if given_up.state == "closed" and key not in self._positions and self._is_open(key)
            ]
            if missing:
                nursery.start_soon(self._protect, manager, missing)
            await trio.sleep(CHECK_EVERY)
