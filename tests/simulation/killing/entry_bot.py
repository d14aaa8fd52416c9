"""The process that is killed while it enters waves: ``python -m simulation.killing.entry_bot PORT STORE SEED``.

It opens its positions with entries, and protects nothing itself: what an earlier bot has entered, the library has to protect.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from functools import partial

import trio

from simulation.killing.bot import PLAN, Bot, main
from simulation.killing.history import TAKEN
from simulation.killing.stdio import write_line
from trailing.core.entries import Entry
from trailing.core.model import Side
from trailing.core.prices import floor_quantity
from trailing.errors import TrailingError

_POLL_SECONDS = 0.05
_WORTH = Decimal(1000)
_AT_MARKET = 0.4
_DEADLINES = (0.1, 0.4, 1.0)
"""Seconds of a wave, one of which is drawn."""

_AWAY = ("-0.0005", "0.0005", "0.001")
"""How far a limit is from the price, as a share of it; below 0: it is filled at once."""


class EntryBot(Bot):
    """A bot that enters a wave for all free symbols, again and again. Several waves run at once."""

    async def run(self) -> None:
        """Enter waves until the process ends."""
        is_ready = False
        reported: list[tuple[str, Side]] = []
        async with trio.open_nursery() as waves:
            while True:
                await trio.sleep(_POLL_SECONDS)
                entries = await self._entries()
                unprotected = sorted(self.manager.unprotected())
                if not is_ready or unprotected != reported:
                    write_line(event="trailing" if is_ready else "ready", unprotected=unprotected)
                if entries:
                    write_line(event="wave", positions=len(entries))
                    deadline = self.draw.choice(_DEADLINES)
                    waves.start_soon(partial(self.manager.enter_wave, entries, deadline=deadline))
                is_ready, reported = True, unprotected

    async def _entries(self) -> Sequence[Entry]:
        """Return an entry for each symbol that was free for a while."""
        taken: Sequence[str] = await self.exchange.ask("taken", TAKEN)
        claimed = {symbol for symbol, _ in self.claimed()}
        entries: list[Entry] = []
        for symbol in self.free_symbols({*taken, *claimed}):
            try:
                entries.append(await self._an_entry(symbol))
            except TrailingError:
                continue  # the exchange is slow
        return entries

    async def _an_entry(self, symbol: str) -> Entry:
        price, market = (await self.exchange.price(symbol, PLAN.trigger)).price, self.exchange.market(symbol)
        side: Side = self.draw.choice(("long", "short"))
        quantity = floor_quantity(_WORTH / price, market.quantity_step)
        if self.draw.random() < _AT_MARKET:
            return Entry(symbol, side, quantity)
        away = Decimal(self.draw.choice(_AWAY)) * (-1 if side == "long" else 1)
        limit = floor_quantity(price * (1 + away), market.price_tick)
        return Entry(symbol, side, quantity, limit)


if __name__ == "__main__":
    trio.run(partial(main, EntryBot))
