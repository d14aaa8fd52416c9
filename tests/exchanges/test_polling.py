"""Polled prices: their requests, their fields, and their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal as D
from itertools import pairwise
from typing import Any

import pytest
import trio
from captured import MARKETS, open_capture
from trio.testing import MockClock

from trailing import ExchangeUnreachable, StreamState, Tick
from trailing.exchanges.ccxt.polling import POLL_SECONDS, SPACING_SECONDS, PolledUpdates, PriceReader
from trailing.exchanges.ccxt.stream_protocol import ticks_of
from trailing.exchanges.ccxt.unreadable import Unreadable
from trailing.exchanges.ccxt.unverified import UNVERIFIED
from trailing.exchanges.ccxt.venues import VENUES

BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"
SOURCES = ("last", "mark", "index")

# Each venue's replies by the end of the path, as its documentation and ccxt's comments show them: 100 for the last price,
# 101 for the mark price, 102 for the index price, and other figures in similar fields.
ANSWERS: Mapping[str, Mapping[str, Any]] = {
    "okx": {
        "/market/tickers?instType=SWAP": {
            "code": "0",
            "data": [{"instType": "SWAP", "instId": "BTC-USDT-SWAP", "last": "100", "askPx": "7", "open24h": "8"}],
        },
        "/public/mark-price?instType=SWAP": {
            "code": "0",
            "data": [{"instType": "SWAP", "instId": "BTC-USDT-SWAP", "markPx": "101", "ts": "1"}],
        },
    },
    "bitget": {
        "/mix/market/tickers?productType=USDT-FUTURES": {
            "code": "00000",
            "data": [{"symbol": "BTCUSDT", "lastPr": "100", "askPr": "7", "indexPrice": "102", "markPrice": "101"}],
        },
    },
    "gate": {
        "/futures/usdt/tickers?timezone=utc0": [
            {"contract": "BTC_USDT", "last": "100", "mark_price": "101", "index_price": "102", "low_24h": "7"}
        ],
    },
    "kucoinfutures": {
        "/contracts/active": {
            "code": "200000",
            "data": [{"symbol": "XBTUSDTM", "lastTradePrice": 100, "markPrice": 101, "indexPrice": 102, "lowPrice": 7}],
        },
    },
    "krakenfutures": {
        "/tickers": {
            "result": "success",
            "tickers": [
                {"symbol": "PF_XBTUSD", "last": 100, "markPrice": 101, "indexPrice": 102, "bid": 7, "open24h": 8}
            ],
        },
    },
    "hyperliquid": {
        "/info": [
            {"universe": [{"name": "BTC", "szDecimals": 5, "maxLeverage": 50}]},
            [{"markPx": "101", "midPx": "7", "oraclePx": "102", "prevDayPx": "8", "funding": "0.1"}],
        ],
    },
    "deribit": {
        "/public/ticker?instrument_name=BTC_USDC-PERPETUAL": {
            "result": {
                "instrument_name": "BTC_USDC-PERPETUAL",
                "last_price": 100,
                "mark_price": 101,
                "index_price": 102,
                "best_bid_price": 7,
            }
        },
    },
    "bingx": {
        "/swap/v2/quote/ticker": {"code": 0, "data": [{"symbol": "BTC-USDT", "lastPrice": "100", "openPrice": "7"}]},
        "/swap/v2/quote/premiumIndex": {
            "code": 0,
            "data": [{"symbol": "BTC-USDT", "markPrice": "101", "indexPrice": "102", "lastFundingRate": "0.1"}],
        },
    },
}


def answer(venue: str) -> Any:
    def answered(url: str) -> object:
        ends = [text for end, text in ANSWERS[venue].items() if url.endswith(end) or f"{end}?" in url]
        assert len(ends) == 1, url
        return ends[0]

    return answered


@pytest.mark.parametrize("venue", ANSWERS)
async def test_every_price_is_read_from_its_field_with_the_fewest_requests(venue: str) -> None:
    row = VENUES[venue]
    async with open_capture(venue, answer(venue)) as capture:
        prices = PriceReader(capture.exchange.session, row)
        ticks = await prices.read([capture.symbol], row.prices.methods)
        assert {tick.source: tick.price for tick in ticks if isinstance(tick, Tick)} == {
            source: D(100 + SOURCES.index(source)) for source in row.prices.methods
        }
        assert len(capture.sent) == len(ANSWERS[venue])
        for source in row.prices.methods:
            tick = await capture.exchange.price(capture.symbol, source)
            assert (tick.symbol, tick.source, tick.price) == (capture.symbol, source, D(100 + SOURCES.index(source)))


@pytest.mark.parametrize("venue", ANSWERS)
async def test_a_symbol_missing_from_the_reply_has_no_price(venue: str) -> None:
    async with open_capture(
        venue, lambda _: [{"universe": []}, []] if venue == "hyperliquid" else nothing(venue)
    ) as capture:
        with pytest.raises(ExchangeUnreachable):
            await capture.exchange.price(capture.symbol, "mark")


async def test_fm47_an_invalid_polled_price_is_skipped_and_counted_and_the_others_are_pushed(
    autojump_clock: MockClock,
) -> None:
    streams = PolledUpdates()
    async with open_capture("okx", answer("okx")) as capture, trio.open_nursery() as nursery:
        prices, bad = PriceReader(capture.exchange.session, VENUES["okx"]), ("1e400", "-1", "x", "1")

        async def read(symbols: Sequence[str]) -> list[Tick | Unreadable]:
            await trio.lowlevel.checkpoint()
            return [each for text in bad for each in ticks_of(BTC, [("last", text)], trio.current_time())]

        await streams.set_subscriptions({BTC})
        async with streams.updates() as updates:
            nursery.start_soon(streams.run, prices.batches, read)
            await trio.sleep(POLL_SECONDS * 1.5)
            ticks = [each for each in updates.receive_waiting(100) if isinstance(each, Tick)]
            assert [tick.price for tick in ticks] == [1, 1]
            assert streams.unreadable == 6
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("bad", ["1e400", "0." + "3" * 40])
async def test_fm47_an_invalid_requested_price_is_an_unreachable_exchange(bad: str) -> None:
    tickers = {"code": "0", "data": [{"instType": "SWAP", "instId": "BTC-USDT-SWAP", "last": bad}]}
    async with open_capture("okx", lambda _: tickers) as capture:
        with pytest.raises(ExchangeUnreachable, match=f"okx price: {BTC}: the last price is '.*which is no price"):
            await capture.exchange.price(capture.symbol, "last")


def nothing(venue: str) -> object:
    if venue == "gate":
        return []
    return {"data": [], "tickers": [], "result": {}}


@pytest.mark.parametrize("venue", VENUES)
def test_every_trigger_source_is_a_price_source_too(venue: str) -> None:
    assert set(VENUES[venue].stops.sources) <= set(VENUES[venue].prices.methods)


def test_every_unverified_venue_is_tested_here() -> None:
    assert {venue.name for venue in UNVERIFIED} == set(ANSWERS) == set(MARKETS) - {"binanceusdm", "bybit"}


class FakePrices:
    """A venue's prices. Records which were requested, and when."""

    def __init__(self, *, at_once: bool) -> None:
        self.at_once = at_once
        self.reachable = True
        self.asked: list[tuple[float, tuple[str, ...]]] = []

    def batches(self, symbols: Any) -> list[list[str]]:
        return [sorted(symbols)] if self.at_once else [[symbol] for symbol in sorted(symbols)]

    async def read(self, symbols: Sequence[str]) -> list[Tick]:
        self.asked.append((trio.current_time(), tuple(symbols)))
        await trio.lowlevel.checkpoint()
        if not self.reachable:
            raise ExchangeUnreachable("no")
        return [Tick(symbol, D(1000), trio.current_time(), "mark") for symbol in symbols]


async def test_all_symbols_are_polled_together_while_there_is_a_subscriber(autojump_clock: MockClock) -> None:
    streams, prices = PolledUpdates(), FakePrices(at_once=True)
    symbols = {f"C{number}/USDT:USDT" for number in range(200)}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(streams.run, prices.batches, prices.read)
        await streams.set_subscriptions(symbols)
        await trio.sleep(62)
        assert prices.asked == []  # there is no subscriber
        async with streams.updates() as updates:
            first = updates.receive_nowait()
            assert isinstance(first, StreamState)
            assert not first.connected
            assert "orders and positions are not pushed" in first.detail
            await trio.sleep(3 * POLL_SECONDS)
            assert {asked for _, asked in prices.asked} == {tuple(sorted(symbols))}
            times = [at for at, _ in prices.asked]
            assert [round(later - at, 6) for at, later in pairwise(times)] == [POLL_SECONDS] * 2
            assert len(updates.receive_waiting(10_000)) == 600
            prices.reachable = False
            await trio.sleep(2 * POLL_SECONDS)
            assert updates.receive_waiting(10_000) == []
            prices.reachable = True
            await trio.sleep(POLL_SECONDS)
            assert len(updates.receive_waiting(10_000)) == 200
            streams.end()
            with pytest.raises(trio.EndOfChannel):
                updates.receive_nowait()
        nursery.cancel_scope.cancel()


async def test_polling_symbol_by_symbol_is_spaced_to_leave_the_rate_limit_to_others(
    autojump_clock: MockClock,
) -> None:
    streams, prices = PolledUpdates(), FakePrices(at_once=False)
    symbols = {f"C{number:02}/USDT:USDT" for number in range(30)}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(streams.run, prices.batches, prices.read)
        await streams.set_subscriptions(symbols)
        async with streams.updates():
            await trio.sleep(POLL_SECONDS + 2 * 30 * SPACING_SECONDS)
        nursery.cancel_scope.cancel()
    times = [at for at, (symbol,) in prices.asked if symbol == min(symbols)]
    assert times[1] - times[0] == pytest.approx(30 * SPACING_SECONDS)
    every = [at for at, _ in prices.asked]
    assert min(later - at for at, later in pairwise(every)) == pytest.approx(SPACING_SECONDS)


async def test_symbols_are_polled_together_by_settle_currency(autojump_clock: MockClock) -> None:
    prices = PriceReader(None, VENUES["bitget"])  # type: ignore[arg-type]
    assert prices.batches({BTC, ETH, "BTC/USDC:USDC"}) == [["BTC/USDC:USDC"], [BTC, ETH]]
    assert PriceReader(None, VENUES["deribit"]).batches({BTC, ETH}) == [[BTC], [ETH]]  # type: ignore[arg-type]
