"""A paper account is saved as values and restored in another process."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal as D
from typing import Any

import msgspec
import pytest
import trio

from trailing.core.model import Position, Tick
from trailing.errors import StopRejected
from trailing.exchanges.paper import PaperExchange, open_paper
from trailing.exchanges.paper.saved import SavedMarketBook
from trailing.exchanges.port import OrderUpdate, StopRequest

BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"
START = datetime(2026, 1, 1, 12, tzinfo=UTC)
WAYS: dict[str, Any] = {"leverage": 10, "partial_fills": D("0.5"), "hedged": True, "utc_start": START}


def a_position(symbol: str = BTC, side: Any = "long") -> Position:
    return Position(symbol, side, D(2), D(100), START)


async def a_busy_account() -> tuple[list[SavedMarketBook], list[Any]]:
    """Return the saved state of an account, and what its reads show."""
    async with open_paper(**WAYS) as exchange:
        for position in (a_position(), a_position(side="short"), a_position(ETH)):
            await exchange.enter(position)
        await exchange.place_stop(StopRequest(BTC, "long", D(2), D(98), "a"))
        await exchange.place_stop(StopRequest(BTC, "short", D(2), D(103), "b", "mark"))
        await exchange.place_stop(StopRequest(ETH, "long", D(1), D(97), "c"))
        exchange.feed(Tick(BTC, D("97.5"), 0.0))  # half of it is filled, the rest is a market order now
        await exchange.cancel_stop((await exchange.open_stops())[2])
        return [exchange.save(BTC), exchange.save(ETH)], await shown(exchange)


async def shown(exchange: PaperExchange) -> list[Any]:
    return [await exchange.open_stops(), await exchange.positions(), (await exchange.price(BTC, "last")).price]


async def test_a_restored_account_shows_what_the_saved_one_showed() -> None:
    places, before = await a_busy_account()
    assert before[0]
    assert len(before[1]) == 3
    again = [msgspec.json.decode(msgspec.json.encode(place), type=SavedMarketBook) for place in places]
    assert again == places
    async with open_paper(
        **WAYS, orders_read_lag=5.0, positions_read_lag=5.0
    ) as exchange:  # a restored state is visible without the read lag
        exchange.restore(again)
        assert await shown(exchange) == before
        assert [exchange.save(BTC), exchange.save(ETH)] == places


async def test_a_restored_account_continues_like_the_saved_one() -> None:
    places, _ = await a_busy_account()
    async with open_paper(**WAYS) as exchange:
        exchange.restore(places, ["a", "b", "c"])
        async with exchange.updates() as updates:
            exchange.feed(Tick(BTC, D(99), 0.0))  # any tick fills a triggered stop
            filled = await updates.receive()
        assert isinstance(filled, OrderUpdate)
        assert filled.fill is not None
        assert (filled.filled, filled.fill.trade_id) == (D(2), f"trade-{BTC}-2")
        assert exchange.actual(BTC)[1] == {"short": D(2)}
        order = await exchange.place_stop(StopRequest(ETH, "long", D(1), D(97), "d"))
        assert order.order_id == "paper-ETH/USDT:USDT-2"
        with pytest.raises(StopRejected, match="duplicate client order id 'a'"):
            await exchange.place_stop(StopRequest(ETH, "long", D(1), D(97), "a"))
        exchange.feed(Tick(ETH, D(89), 0.0))  # the stop fills, and the rest is liquidated
        assert exchange.actual(ETH) == ((), {})


async def test_remembered_ticks_are_in_the_candles_and_trigger_nothing() -> None:
    async with open_paper(utc_start=START) as exchange:
        await exchange.enter(a_position())
        await exchange.place_stop(StopRequest(BTC, "long", D(2), D(98), "a"))
        now = trio.current_time()
        for seconds, price in ((-170, "101"), (-160, "97"), (-130, "99"), (-100, "102")):
            exchange.remember(Tick(BTC, D(price), now + seconds))
        assert len(await exchange.open_stops()) == 1
        assert (await exchange.price(BTC, "last")).price == 102
        first, second = await exchange.candles(BTC, "last", datetime(2026, 1, 1, tzinfo=UTC))
        assert (first.open, first.high, first.low, first.close) == (D(101), D(101), D(97), D(99))
        assert second.close == 102
