"""No number of a frame reaches a subscriber that can be no price and no quantity, and none raises."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal as D
from typing import Any

import msgspec
import pytest

from trailing import OrderUpdate, Tick
from trailing.core.model import check_money
from trailing.exchanges.ccxt.binance_protocol import BinanceProtocol
from trailing.exchanges.ccxt.bybit_protocol import BybitProtocol
from trailing.exchanges.ccxt.stream_protocol import Instrument, Message, parse_frame
from trailing.exchanges.ccxt.unreadable import Unreadable
from trailing.exchanges.port import PositionUpdate

BTC = Instrument("BTC/USDT:USDT", "BTCUSDT", D("0.001"))


class NoSession:
    client = None


PROTOCOLS: Mapping[str, Any] = {"binanceusdm": BinanceProtocol, "bybit": BybitProtocol}
FRAMES: Mapping[str, Mapping[str, Any]] = {
    "binanceusdm": {
        "trade": {"e": "aggTrade", "s": "BTCUSDT", "p": "980.5"},
        "mark price": {"e": "markPriceUpdate", "s": "BTCUSDT", "p": "980.5", "i": "980.6"},
        "fill": {
            "e": "ORDER_TRADE_UPDATE",
            "o": {
                "s": "BTCUSDT",
                "c": "tr0123456789abcdef0123",
                "S": "SELL",
                "o": "MARKET",
                "x": "TRADE",
                "X": "FILLED",
                "i": 55,
                "l": "2",
                "L": "980",
                "z": "2",
                "t": 7,
                "R": True,
                "ps": "BOTH",
            },
        },
        "stop": {
            "e": "ALGO_UPDATE",
            "o": {
                "s": "BTCUSDT",
                "caid": "mine",
                "aid": 11,
                "S": "SELL",
                "ps": "BOTH",
                "X": "FINISHED",
                "ai": "",
                "q": "2",
                "aq": "1",
            },
        },
        "position": {"e": "ACCOUNT_UPDATE", "a": {"P": [{"s": "BTCUSDT", "pa": "2", "ps": "BOTH"}]}},
    },
    "bybit": {
        "trade": {"topic": "publicTrade.BTCUSDT", "data": [{"p": "980.5"}]},
        "mark price": {"topic": "tickers.BTCUSDT", "data": {"markPrice": "980.5", "indexPrice": "980.6"}},
        "fill": {
            "topic": "execution",
            "data": [
                {
                    "category": "linear",
                    "symbol": "BTCUSDT",
                    "execType": "Trade",
                    "side": "Sell",
                    "execQty": "2",
                    "execPrice": "980",
                    "closedSize": "2",
                    "leavesQty": "0",
                    "execId": "e",
                    "orderId": "11",
                    "orderLinkId": "mine",
                }
            ],
        },
        "stop": {
            "topic": "order",
            "data": [
                {
                    "category": "linear",
                    "symbol": "BTCUSDT",
                    "orderStatus": "Cancelled",
                    "positionIdx": 0,
                    "side": "Sell",
                    "reduceOnly": True,
                    "cumExecQty": "1",
                    "orderLinkId": "m",
                    "orderId": "11",
                }
            ],
        },
        "position": {
            "topic": "position",
            "data": [{"category": "linear", "symbol": "BTCUSDT", "positionIdx": 0, "side": "Buy", "size": "2"}],
        },
    },
}
CASES = [(venue, kind) for venue, frames in FRAMES.items() for kind in frames]
BAD = (
    *(
        '"1e400"',
        '"1E+999999"',
        '"-1e400"',
        '"1e-999999"',
        f'"0.{"3" * 40}"',
        f'"{"9" * 5000}"',
        '"NaN"',
        '"-Infinity"',
    ),
    *('"sNaN"', '"abc"', '""', '"\\u0661"', '"1_000"', '" 5 "', '"-5"', "-5", "1e400", "1e-400", "9" * 5000, "null"),
    *("true", "[]", "{}", '["5"]', '{"5": "5"}'),
)


def numbers(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each number in a frame, as text too."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from numbers(each, (*path, name))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from numbers(each, (*path, index))
    elif isinstance(value, int) or str(value).replace(".", "").isdecimal():
        yield path


def with_number(frame: Any, path: tuple[Any, ...], text: str) -> str:
    """Return a frame with another number, as JSON."""
    copy = json.loads(json.dumps(frame))
    inner = copy
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = "<number>"
    return json.dumps(copy).replace('"<number>"', text)


def figures(message: Message) -> Iterator[D]:
    """Yield the numbers of a message."""
    match message:
        case Tick():
            yield message.price
        case PositionUpdate():
            yield message.quantity
        case OrderUpdate():
            if message.filled is not None:
                yield message.filled
            if message.fill is not None:
                yield from (message.fill.quantity, message.fill.price)


@pytest.mark.parametrize(("venue", "kind"), CASES)
def test_fm62_no_number_of_a_frame_is_published_that_can_be_none(venue: str, kind: str) -> None:
    frame = FRAMES[venue][kind]
    published = 0
    for path in numbers(frame):
        for bad in BAD:
            protocol = PROTOCOLS[venue](NoSession(), [BTC])
            try:
                messages = [*parse_frame(protocol, with_number(frame, path, bad), 7.0), *protocol.release_overdue(99.0)]
            except msgspec.DecodeError:
                continue  # it costs the connection
            for message in messages:
                for figure in figures(message):
                    check_money(f"{path} {bad}", figure, zero=True)
                    published += 1
    assert published or kind in {"trade", "position"}


@pytest.mark.parametrize(("venue", "kind"), CASES)
def test_the_frames_are_right_as_they_are(venue: str, kind: str) -> None:
    protocol = PROTOCOLS[venue](NoSession(), [BTC])
    messages = list(parse_frame(protocol, json.dumps(FRAMES[venue][kind]), 7.0))
    assert messages
    assert not any(isinstance(message, Unreadable) for message in messages)


@pytest.mark.parametrize("bad", ["NaN", "-1", "1e400", "Infinity", f"0.{'3' * 40}"])
def test_an_update_takes_no_number_that_can_be_no_quantity(bad: str) -> None:
    with pytest.raises(ValueError, match="quantity"):
        PositionUpdate("BTC/USDT:USDT", "long", D(bad), 0.0)
    with pytest.raises(ValueError, match="filled"):
        OrderUpdate("BTC/USDT:USDT", "long", "a", "1", "live", 0.0, filled=D(bad))
