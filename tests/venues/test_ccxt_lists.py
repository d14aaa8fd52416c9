"""Lists longer than one page are read completely."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
import trio
from ccxt import pro
from foreign_entries import add, numbered, positions
from real_exchange import VENUES, NoRateLimit, open_desk
from venue_market import Trigger, Wanted, instrument

from trailing.exchanges.ccxt.client import BURST
from trailing.exchanges.ccxt.venues import VENUES as VENUE_ROWS

SYMBOLS = tuple(f"X{number}/USDT:USDT" for number in range(230))
FOREIGN = tuple(numbered(1000))
INSTRUMENTS = tuple(instrument(symbol.partition("/")[0], "0.1", "0.001", "5") for symbol in SYMBOLS)


@pytest.mark.parametrize("venue", VENUES)
@pytest.mark.parametrize("count", [49, 50, 100, 230])
async def test_every_stop_and_every_position_is_listed_once(venue: str, count: int) -> None:
    async with open_desk(venue, instruments=INSTRUMENTS, most_stops=500) as desk:
        symbols = SYMBOLS[:count]  # a page of stops has 50 entries, one of positions 200
        for symbol in symbols:
            await desk.enter(symbol=symbol)
            trigger = Trigger(Decimal(980), "last", rising=False)
            wanted = Wanted(
                symbol=symbol,
                side="sell",
                quantity=Decimal("0.8"),
                client_order_id=f"stop-{symbol[:-10]}",
                reduce_only=True,
                trigger=trigger,
            )
            desk.server.market.place(wanted)
        assert [stop.symbol for stop in await desk.exchange.open_stops()] == sorted(symbols)
        assert [report.symbol for report in await desk.exchange.positions()] == sorted(symbols)


@pytest.mark.parametrize("venue", VENUES)
async def test_other_tasks_run_while_a_thousand_positions_are_parsed(
    venue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn, parsed = 0, Counter[int]()
    row = VENUE_ROWS[venue]
    client = getattr(pro, row.client.class_name)
    name = (row.lists.raw_position_methods or ("", "parse_position"))[1]
    parse = getattr(client, name)

    def parse_and_count(*args: Any) -> Any:
        parsed[turn] += 1
        return parse(*args)

    async def take_turns() -> None:
        nonlocal turn
        while True:
            await trio.lowlevel.checkpoint()
            turn += 1

    monkeypatch.setattr(client, name, parse_and_count)
    instruments = tuple(instrument(name, "0.1", "0.001", "5") for name in FOREIGN)
    async with open_desk(venue, instruments=instruments) as desk:
        desk.exchange.session.rate_limiter = NoRateLimit()
        add(desk.server, venue, [], positions(venue, FOREIGN))
        parsed.clear()
        async with trio.open_nursery() as tasks:
            tasks.start_soon(take_turns)
            assert len(await desk.exchange.positions()) == 1000
            tasks.cancel_scope.cancel()
    assert sum(parsed.values()) == 1000
    assert max(parsed.values()) <= 2 * BURST  # asyncio's loop may run twice in a turn
