"""On Bybit each symbol has a position mode of its own: ccxt's `set_position_mode` sends ``coin=USDT`` or ``symbol=…``.

So the mode of one symbol says nothing certain about another one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal as D

import msgspec
import pytest
from real_exchange import BTC, ETH, KEYS, Desk, open_server, stop_request
from venue_faults import Fault, Request, json_reply

from trailing import EntryRequest, Position, open_ccxt
from trailing.errors import UsageError

OURS = "tr00000000000000000001"
STOP = msgspec.structs.replace(stop_request(), symbol=ETH)


def of_btc(request: Request) -> bool:
    return request.params.get("symbol") == "BTCUSDT"


@asynccontextmanager
async def open_mixed(*, hedged: bool, entered_before: bool = False) -> AsyncIterator[Desk]:
    """Open an exchange with a long position in ETH. `hedged` is the mode of ETH; BTC, the first market, has the other one."""
    async with open_server("bybit", hedged=hedged) as server:
        for symbol in (BTC, ETH):
            for source in ("last", "mark", "index"):
                await server.move_price(symbol, D(1000), source)
        row = {"symbol": "BTCUSDT", "side": "", "size": "0", "avgPrice": "0", "leverage": "10", "tradeMode": 0}
        rows = [{**row, "positionIdx": leg} for leg in ((0,) if hedged else (1, 2))]
        result = {"list": rows, "category": "linear", "nextPageCursor": ""}
        reply = json_reply({"retCode": 0, "retMsg": "OK", "result": result, "time": 1})
        server.faults.add(Fault(on="positions", about=of_btc, reply=reply))
        position = Position(ETH, "long", D("0.8"), D(1000), datetime.now(UTC))
        if entered_before:
            await server.enter(position)
        async with open_ccxt("bybit", credentials=KEYS, configure=server.configure) as exchange:
            if not entered_before:
                await server.enter(position)
            assert [each.symbol for each in await exchange.positions()] == [ETH]
            assert (await exchange.entry_settings(ETH)).hedged is hedged
            yield Desk(exchange, server)


@pytest.mark.parametrize(("hedged", "entered_before"), [(False, False), (False, True), (True, True)])
async def test_a_stop_and_a_close_are_sent_in_the_mode_of_their_symbol(*, hedged: bool, entered_before: bool) -> None:
    async with open_mixed(hedged=hedged, entered_before=entered_before) as desk:
        # BTC is read only if no position of its settle currency is open.
        assert desk.exchange.hedged is (hedged or not entered_before)
        await desk.exchange.place_stop(STOP)
        assert desk.stops_there() == {STOP.client_order_id}
        fill = await desk.exchange.close_position(ETH, "long", D("0.8"), OURS)
        assert fill.quantity == D("0.8")


async def test_a_stop_is_refused_for_a_symbol_that_is_in_hedge_mode_unlike_the_account_when_it_was_opened() -> None:
    async with open_mixed(hedged=True) as desk:
        assert not desk.exchange.hedged
        with pytest.raises(UsageError, match="ETH/USDT:USDT is in hedge mode.*open the exchange again"):
            await desk.exchange.place_stop(STOP)
        fill = await desk.exchange.close_position(ETH, "long", D("0.8"), OURS)  # which is never refused
        assert fill.quantity == D("0.8")


@pytest.mark.parametrize("hedged", [False, True])
async def test_an_entry_is_refused_in_a_symbol_with_another_mode_than_the_account(*, hedged: bool) -> None:
    async with open_mixed(hedged=hedged) as desk:
        with pytest.raises(UsageError, match="ETH/USDT:USDT is in .* mode, and the account is in .* mode"):
            await desk.exchange.place_entry(EntryRequest(ETH, "long", D("0.8"), OURS))
        assert not desk.server.market.live_stops()


async def test_a_symbol_that_was_never_listed_has_the_mode_of_its_settle_currency() -> None:
    async with open_server("bybit", hedged=True) as server:
        await server.move_price(ETH, D(1000), "last")
        async with open_ccxt("bybit", credentials=KEYS, configure=server.configure) as exchange:
            assert exchange.hedged
            await server.enter(Position(ETH, "long", D("0.8"), D(1000), datetime.now(UTC)))
            await exchange.place_stop(STOP)  # no list of positions was read since
