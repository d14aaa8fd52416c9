"""Prices that move by themselves, as on a real venue: up and down by a few ticks, each source by itself."""

from __future__ import annotations

from decimal import Decimal
from itertools import count

import trio
from real_exchange import BTC
from venue_server import VenueServer

from trailing.core.model import Source

PRICE = Decimal(1000)
STEP_SECONDS = 0.02
_OFFSETS = tuple(Decimal(offset) for offset in ("0", "0.3", "-0.2", "0.1", "-0.4", "0.2"))
_SOURCES: tuple[Source, ...] = ("last", "mark", "index")


async def move_prices(server: VenueServer) -> None:
    """Move the prices of BTC for ever."""
    for number in count():
        for shift, source in enumerate(_SOURCES):
            server.market.move_price(BTC, PRICE + _OFFSETS[(number + shift) % len(_OFFSETS)], source)
        await trio.sleep(STEP_SECONDS)
