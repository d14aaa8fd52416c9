"""How long an entered position has no stop, by the exchange's own book."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
import trio
from worlds import open_world

from trailing import Entry, Protected
from trailing.exchanges.paper import PaperExchange

D = Decimal
LATENCY = 0.2
SYMBOLS = tuple(f"COIN{number}/USDT:USDT" for number in range(50))


class Book(trio.abc.Instrument):
    """Adds up, after each step of any task, for how long each position had no live stop."""

    def __init__(self, paper: PaperExchange) -> None:
        self._paper = paper
        self._since: dict[str, float] = {}
        self.seconds = dict.fromkeys(SYMBOLS, 0.0)

    def after_task_step(self, _: trio.lowlevel.Task) -> None:
        at = trio.current_time()
        for symbol in SYMBOLS:
            stops, held = self._paper.actual(symbol)
            if held and not stops:
                self._since.setdefault(symbol, at)
            elif symbol in self._since:
                self.seconds[symbol] += at - self._since.pop(symbol)


@pytest.mark.parametrize(("attached", "most"), [(None, LATENCY), ("own", 0.0), ("bridge", 0.0)])
async def test_fifty_entries_have_no_stop_for_one_round_trip_or_not_at_all(
    attached: Any, most: float, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(latency=LATENCY, attached_stop=attached) as world:
        for symbol in SYMBOLS:
            world.feed("100", symbol)
        book = Book(world.paper)
        trio.lowlevel.add_instrument(book)
        try:
            report = await world.running.enter_wave([Entry(symbol, "long", D(1)) for symbol in SYMBOLS], deadline=10.0)
            await trio.sleep(10.0)
        finally:
            trio.lowlevel.remove_instrument(book)
        assert all(isinstance(outcome, Protected) for outcome in report.outcomes)
        assert max(book.seconds.values()) == pytest.approx(most, abs=1e-6)
