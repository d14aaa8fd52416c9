"""Lists longer than one page are read completely."""

from __future__ import annotations

from decimal import Decimal

import pytest
from real_exchange import VENUES, open_desk
from venue_market import Trigger, Wanted, instrument

SYMBOLS = tuple(f"X{number}/USDT:USDT" for number in range(230))
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
