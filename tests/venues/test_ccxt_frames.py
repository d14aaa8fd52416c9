"""No websocket frame of any kind ends an exchange: at most it costs its connection, which opens again."""

from __future__ import annotations

from decimal import Decimal as D
from itertools import count, repeat

import pytest
import trio
from inspection.ccxt_exchange import stream_state
from real_exchange import BTC, VENUES, Desk, open_desk
from venue_server import API_KEY, SECRET

from trailing import Tick

pytestmark = pytest.mark.parametrize("venue", VENUES)

FRAMES = (
    *("", " ", "null", "0", '"pong"', "[]", "{}", "[[]]", "[null]", "{", '{"e":', "<html>", "NaN", '{"a":NaN}', "{}{}"),
    *('{"e":null}', '{"e":7}', '{"e":[]}', '{"e":{}}', '{"e":"aggTrade"}', '{"e":"aggTrade","s":7,"p":8}', '{"e":"?"}'),
    *('{"e":"aggTrade","s":"BTCUSDT","p":[]}', '{"e":"markPriceUpdate","s":"BTCUSDT","p":{},"i":[]}'),
    *('{"e":"ORDER_TRADE_UPDATE"}', '{"e":"ORDER_TRADE_UPDATE","o":null}', '{"e":"ORDER_TRADE_UPDATE","o":[]}'),
    *('{"e":"ORDER_TRADE_UPDATE","o":{"s":"BTCUSDT"}}', '{"e":"ORDER_TRADE_UPDATE","o":{"s":[]}}'),
    *('{"e":"ALGO_UPDATE"}', '{"e":"ALGO_UPDATE","o":7}', '{"e":"ALGO_UPDATE","o":{"s":"BTCUSDT","aid":{},"caid":[]}}'),
    *('{"e":"ACCOUNT_UPDATE","a":null}', '{"e":"ACCOUNT_UPDATE","a":{"P":7}}', '{"e":"ACCOUNT_UPDATE","a":{"P":{}}}'),
    *('{"e":"ACCOUNT_UPDATE","a":{"P":[null,7,[],{},"x"]}}', '{"e":"listenKeyExpired"}', '{"id":1}', '{"code":-1}'),
    *('{"id":1,"error":{"code":[]}}', '{"topic":null}', '{"topic":7}', '{"topic":[]}', '{"topic":""}', '{"topic":"."}'),
    *(
        '{"topic":"order"}',
        '{"topic":"order","data":null}',
        '{"topic":"order","data":7}',
        '{"topic":"order","data":{}}',
    ),
    *('{"topic":"order","data":[null,7,[],{},"x"]}', '{"topic":"execution","data":[{"category":"linear"}]}'),
    *('{"topic":"position","data":[{"category":"linear","symbol":"BTCUSDT","positionIdx":9}]}', '{"op":"auth"}'),
    *('{"topic":"publicTrade.NOSUCH","data":[]}', '{"topic":"publicTrade.BTCUSDT","data":[{}]}', '{"op":[]}'),
    *('{"topic":"tickers.BTCUSDT","data":[]}', '{"op":"subscribe","success":false}', '{"ret_msg":[]}'),
    *("\N{ROCKET}" * 100, '{"e":"' + "x" * 500_000 + '"}', '{"a":' + "9" * 100_000 + "}", '{"a":1e999999999}'),
    *("[" * 100_000, '{"e":' * 100_000, '{"e":"ORDER_TRADE_UPDATE","o":' + "[" * 900 + "]" * 900 + "}"),
)


async def next_price(desk: Desk) -> None:
    """Wait until a price arrives."""
    async with desk.exchange.updates() as updates:
        for price in count(1000):
            await desk.server.move_price(BTC, D(price), "last")
            with trio.move_on_after(0.1):
                async for update in updates:
                    if isinstance(update, Tick) and update.price == D(price):
                        return


async def test_fm53_no_frame_ends_an_exchange_and_prices_go_on(
    venue: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trailing.exchanges.ccxt.websocket.reconnect_delays", lambda: repeat(0.0))
    async with open_desk(venue) as desk, desk.exchange.updates():
        await desk.exchange.set_subscriptions({BTC})
        for text in FRAMES:
            with trio.fail_after(20):
                while not stream_state(desk.exchange).connected:
                    await trio.sleep(0.01)
                for socket in tuple(desk.server.sockets.open):
                    socket.send_text(text)
                await next_price(desk)  # else the next frame is lost with the connection
        assert await desk.exchange.positions() == []
    shown = "\n".join(record.getMessage() for record in caplog.records)
    assert API_KEY not in shown
    assert SECRET not in shown
    assert all(line.isprintable() for line in shown.splitlines())
