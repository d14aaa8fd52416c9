"""The updates of a real exchange, also when a connection freezes, breaks, sends bad frames or is silent."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal as D
from typing import Any

import pytest
import trio
from documented_frames import DOCUMENTED
from inspection.ccxt_exchange import repr_of_streams, subscribed_symbols, topics_of, unreadable_entries
from market_data import VENUE_PAYLOADS
from okx_frames import OKX_FRAMES
from real_exchange import BTC, ETH, VENUES, Desk, open_desk, stop_request
from trio.testing import wait_all_tasks_blocked
from venue_faults import Fault, json_reply
from venue_sockets import Socket

from trailing import OrderUpdate, StreamState, Tick
from trailing.core.model import Source
from trailing.exchanges.port import PositionUpdate, Update

pytestmark = pytest.mark.parametrize("venue", VENUES)

SILENCE = 0.6
QUIET = 0.3
SOURCES: tuple[Source, ...] = ("last", "mark", "index")


class Recorder:
    """Records the updates of an exchange."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.heard: list[Update] = []

    async def listen(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with self.desk.exchange.updates() as updates:
            task_status.started()
            async for update in updates:
                self.heard.append(update)

    async def until(self, holds: Callable[[], object], seconds: float = 30.0) -> float:
        """Wait until a condition is true, and return the seconds that it took."""
        started_at = trio.current_time()
        with trio.fail_after(seconds):
            while not holds():
                await trio.sleep(0.005)
        return trio.current_time() - started_at

    async def until_up(self) -> None:
        """Wait until all topics are subscribed."""
        await self.until(lambda: self.states() and self.states()[-1] and self.topics() >= self.wanted())

    def states(self) -> list[bool]:
        return [update.connected for update in self.heard if isinstance(update, StreamState)]

    def prices(self, symbol: str = BTC, source: Source = "last") -> list[D]:
        ticks = (update for update in self.heard if isinstance(update, Tick))
        return [tick.price for tick in ticks if (tick.symbol, tick.source) == (symbol, source)]

    def orders(self) -> list[tuple[str, str]]:
        return [(each.client_order_id, each.status) for each in self.heard if isinstance(each, OrderUpdate)]

    def topics(self) -> set[str]:
        """Return the server's subscribed topics of prices."""
        return self.desk.topics()

    def wanted(self) -> set[str]:
        """Return the expected topics."""
        return topics_of(self.desk.exchange, *subscribed_symbols(self.desk.exchange))


@asynccontextmanager
async def open_recorder(venue: str, *symbols: str, **settings: Any) -> AsyncIterator[Recorder]:
    async with open_desk(venue, **settings) as desk, trio.open_nursery() as nursery:
        await desk.enter()
        recorder = Recorder(desk)
        await desk.exchange.set_subscriptions(set(symbols or (BTC,)))
        await nursery.start(recorder.listen)
        await recorder.until_up()
        yield recorder
        nursery.cancel_scope.cancel()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trailing.exchanges.ccxt.websocket.SILENCE_SECONDS", SILENCE)


@pytest.fixture
def nosy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trailing.exchanges.ccxt.connecting.STALE_SECONDS", QUIET)


async def test_opening_the_stream_does_not_wait_for_the_network(venue: str) -> None:
    async with open_desk(venue) as desk, desk.exchange.updates() as updates:
        entered_at = trio.current_time()
        (first,) = updates.receive_waiting(10)
        assert first == StreamState(False, first.at, "not connected yet")
        with trio.fail_after(5):
            then = await updates.receive()
        assert then == StreamState(True, then.at)
        assert entered_at < then.at <= trio.current_time()
        async with desk.exchange.updates() as others:
            assert others.receive_waiting(10) == []


async def test_every_price_is_exact_with_its_source_and_the_running_clock(venue: str) -> None:
    async with open_recorder(venue) as recorder:
        moved_at = trio.current_time()
        for number, source in enumerate(SOURCES):
            await recorder.desk.server.move_price(BTC, D(f"1001.{number}"), source)
        # The price at the subscription may come first.
        expected = [[D(f"1001.{number}")] for number, _ in enumerate(SOURCES)]
        await recorder.until(lambda: [recorder.prices(source=source)[-1:] for source in SOURCES] == expected)
        ticks = [update for update in recorder.heard if isinstance(update, Tick) and update.price > 1001]
        assert all(moved_at - 1 < tick.at <= trio.current_time() for tick in ticks)


async def test_a_burst_arrives_complete_and_in_order_for_each_symbol(venue: str) -> None:
    async with open_recorder(venue, BTC, ETH) as recorder:
        for step in range(300):
            recorder.desk.server.market.move_price(BTC, D(1000) + step, "last")
            recorder.desk.server.market.move_price(ETH, D(2000) + step, "last")
        await recorder.until(lambda: len(recorder.prices(ETH)) >= 300)
        assert recorder.prices(BTC) == [D(1000) + step for step in range(300)]
        assert recorder.prices(ETH) == [D(2000) + step for step in range(300)]


async def test_a_stop_s_placing_fill_and_flat_position_are_pushed_without_a_request(venue: str) -> None:
    async with open_recorder(venue, parts=3) as recorder:
        request = stop_request()
        await recorder.desk.exchange.place_stop(request)
        await recorder.until(recorder.orders)
        asked = len(recorder.desk.server.requests)
        await recorder.desk.server.move_price(BTC, D(979), "last")
        await recorder.until(lambda: (request.client_order_id, "filled") in recorder.orders())
        own = [status for name, status in recorder.orders() if name == request.client_order_id]
        if venue == "okx" and own.count("triggered") == 1:
            own.insert(1, "triggered")  # of two connections, that of the stop may be the later one
        assert own == ["live", "triggered", "triggered", "partial", "partial", "filled"]
        updates = (update for update in recorder.heard if isinstance(update, OrderUpdate))
        fills = [update.fill for update in updates if update.client_order_id == request.client_order_id and update.fill]
        assert sum(fill.quantity for fill in fills) == D("0.8")
        assert {(fill.symbol, fill.side, fill.price, fill.client_order_id) for fill in fills} == {
            (BTC, "long", D(979), request.client_order_id)
        }
        await recorder.until(
            lambda: any(
                isinstance(each, PositionUpdate) and not each.quantity and each.side == "long"
                for each in recorder.heard
            )
        )
        assert len(recorder.desk.server.requests) == asked


async def test_an_external_cancel_of_a_stop_is_pushed_at_once(venue: str) -> None:
    async with open_recorder(venue) as recorder:
        request = stop_request()
        await recorder.desk.exchange.place_stop(request)
        (order,) = recorder.desk.server.market.live_stops()
        recorder.desk.server.market.cancel(order)
        assert await recorder.until(lambda: (request.client_order_id, "cancelled") in recorder.orders()) < 0.5


async def test_the_venue_s_subscriptions_follow_set_subscriptions(venue: str) -> None:
    async with open_recorder(venue, BTC) as recorder:
        set_subscriptions, move = recorder.desk.exchange.set_subscriptions, recorder.desk.server.move_price
        opened = recorder.desk.server.sockets.opened
        await set_subscriptions({BTC, ETH})
        await recorder.until(
            lambda: recorder.topics() == recorder.wanted() and any("eth" in each.lower() for each in recorder.topics())
        )
        await move(ETH, D(50), "last")
        await recorder.until(lambda: recorder.prices(ETH) == [50])
        await set_subscriptions({ETH})
        await move(BTC, D(1005), "last")  # still arrives, but is not subscribed any more
        await recorder.until(
            lambda: (
                recorder.topics() == recorder.wanted() and not any("btc" in each.lower() for each in recorder.topics())
            )
        )
        await set_subscriptions(set())
        await recorder.until(lambda: recorder.topics() == set())
        assert recorder.prices(BTC) == []
        assert recorder.desk.server.sockets.opened == opened


async def test_a_lost_connection_without_topics_does_not_count_as_down(venue: str) -> None:
    async with open_recorder(venue) as recorder:
        sockets = recorder.desk.server.sockets
        await recorder.desk.exchange.set_subscriptions(set())
        await recorder.until(lambda: recorder.topics() == set())
        states = len(recorder.states())
        of_account = len(sockets.open) - 1
        (socket,) = recorder.desk.price_sockets()
        socket.kill()
        await recorder.until(lambda: len(sockets.open) == of_account)
        await trio.sleep(0.3)
        assert recorder.states()[states:] == []
        await recorder.desk.exchange.set_subscriptions({BTC})
        await recorder.until(lambda: recorder.topics() == recorder.wanted() != set())


REFUSED_TOPIC = {"event": "error", "code": "60018", "msg": "Wrong URL or channel:trades doesn't exist.", "connId": "a"}


async def test_a_refused_symbol_does_not_block_the_prices_of_others(venue: str) -> None:
    async with open_recorder(venue) as recorder:
        face = recorder.desk.server.face
        receive, refused = face.received, []

        def refuse_eth(socket: Socket, text: str) -> None:
            if "subscribe" in text.lower() and re.search("eth-?usdt", text.lower()):
                refused.append(text)
                number = json.loads(text).get("id")
                no = {"error": {"code": 2, "msg": "Invalid request"}, "id": number, "op": "subscribe", "success": False}
                socket.send(REFUSED_TOPIC if venue == "okx" else no)
            else:
                receive(socket, text)

        face.received = refuse_eth  # type: ignore[method-assign]
        recorder.desk.server.sockets.kill()
        await recorder.desk.exchange.set_subscriptions({BTC, ETH})
        await recorder.until(lambda: recorder.states()[-2:] == [False, True] and len(refused) >= 4)
        assert recorder.topics() == topics_of(recorder.desk.exchange, BTC)
        await recorder.desk.server.move_price(BTC, D(1001), "last")
        await recorder.until(lambda: recorder.prices() == [1001])


async def test_a_frozen_connection_is_replaced_in_time_with_the_same_subscriptions(venue: str, impatient: None) -> None:
    async with open_recorder(venue, BTC, ETH) as recorder:
        sockets = recorder.desk.server.sockets
        topics, opened, states = recorder.topics(), sockets.opened, len(recorder.states())
        connections = len(sockets.open)
        sockets.freeze()
        assert SILENCE / 2 < await recorder.until(lambda: recorder.states()[states:] == [False]) < SILENCE + 0.3
        await recorder.until(lambda: recorder.states()[states:] == [False, True])
        assert recorder.topics() == topics
        assert sockets.opened == opened + connections
        await recorder.desk.server.move_price(BTC, D(1001), "last")
        await recorder.until(lambda: recorder.prices() == [1001])


@pytest.mark.parametrize("fault", ["killed", "bad frame"])
async def test_a_connection_that_closes_or_sends_no_json_is_replaced_at_once(venue: str, fault: str) -> None:
    async with open_recorder(venue) as recorder:
        sockets, states = recorder.desk.server.sockets, len(recorder.states())
        if fault == "killed":
            sockets.kill()
        else:
            sockets.send_text("{ this is no JSON")
        assert await recorder.until(lambda: recorder.states()[states:] == [False]) < 0.5
        await recorder.until_up()
        assert recorder.states()[states:] == [False, True]
        assert recorder.topics() == recorder.wanted()
        await recorder.desk.exchange.place_stop(stop_request())
        await recorder.until(recorder.orders)


def price_frame(venue: str, price: str) -> dict[str, object]:
    """Return the venue's frame of a trade of BTC."""
    if venue == "binanceusdm":
        return {"e": "aggTrade", "s": "BTCUSDT", "p": price}
    if venue == "okx":
        name = "BTC-USDT-SWAP"
        trades = [{"instId": name, "px": price}, {"instId": name, "px": "1002"}]
        return {"arg": {"channel": "trades", "instId": name}, "data": trades}
    return {"topic": "publicTrade.BTCUSDT", "data": [{"p": price}, {"p": "1002"}]}


@pytest.mark.parametrize("bad", ["1E+999999", "1e400", "-5", "NaN", "a price", "0." + "3" * 40, ["1000"]])
async def test_fm47_an_invalid_price_is_skipped_and_counted_and_the_stream_continues(venue: str, bad: Any) -> None:
    async with open_recorder(venue) as recorder:
        sockets, states = recorder.desk.server.sockets, len(recorder.states())
        opened = sockets.opened
        for socket in recorder.desk.price_sockets():
            socket.send(price_frame(venue, bad))
            socket.send(price_frame(venue, "1001"))
        await recorder.until(lambda: 1001 in recorder.prices())
        assert set(recorder.prices()) <= {1001, 1002}
        assert unreadable_entries(recorder.desk.exchange) == 1
        assert "1 entries unreadable" in repr_of_streams(recorder.desk.exchange)
        assert (sockets.opened, recorder.states()[states:]) == (opened, [])


def account_frames(venue: str) -> list[dict[str, object]]:
    """Return account updates with entries that can't be parsed, in shapes that a venue documents or might send."""
    if venue == "binanceusdm":
        order = {"s": "BTCUSDT", "c": "x", "S": "SELL", "o": "LIMIT", "X": "NEW", "i": 5, "l": "0", "L": "0", "R": True}
        return [
            {"e": "ORDER_TRADE_UPDATE", "o": {**order, "x": "CALCULATED"}},
            {"e": "ORDER_TRADE_UPDATE", "o": {**order, "x": "TRADE", "l": "1e400", "L": "1000"}},
            {"e": "ORDER_TRADE_UPDATE", "o": None},
            {"e": "ALGO_UPDATE", "o": {"s": "BTCUSDT", "X": "NEW"}},
            {"e": "ACCOUNT_UPDATE", "a": {"P": [{"s": "BTCUSDT", "pa": ""}]}},
        ]
    if venue == "okx":
        return okx_account_frames()
    execution = {
        "category": "linear",
        "symbol": "BTCUSDT",
        "side": "",
        "orderId": "1",
        "orderLinkId": "",
        "leavesQty": "0",
    }
    return [
        {
            "topic": "execution",
            "data": [{**execution, "execType": "CorporateAction", "execQty": "0", "execPrice": "0"}],
        },
        {"topic": "execution", "data": [{**execution, "execType": "Trade", "execQty": "1e400", "execPrice": "1"}]},
        {"topic": "order", "data": [None]},
        {"topic": "order", "data": [{"category": "linear", "symbol": "BTCUSDT", "orderStatus": "New"}]},
        {"topic": "position", "data": [{"category": "linear", "symbol": "BTCUSDT", "size": "", "side": "Buy"}]},
    ]


def okx_account_frames() -> list[dict[str, object]]:
    """Return such updates of OKX."""
    about = {"instId": "BTC-USDT-SWAP", "side": "sell", "posSide": "net", "algoId": "", "algoClOrdId": ""}
    order = {**about, "ordId": "1", "clOrdId": "", "category": "normal", "reduceOnly": "true", "state": "filled"}
    rows = (
        ("orders", {**order, "side": ""}),
        ("orders", {**order, "tradeId": "1", "fillSz": "1e400", "fillPx": "1"}),
        ("orders", None),
        ("orders-algo", {"instId": "BTC-USDT-SWAP", "state": "live"}),
        ("orders-algo", {**about, "algoId": "1", "state": "sleeping"}),
        ("positions", {"instId": "BTC-USDT-SWAP", "pos": "", "posSide": "net", "mgnMode": "cross"}),
    )
    return [{"arg": {"channel": channel, "instType": "ANY"}, "data": [row]} for channel, row in rows]


def position_frame(venue: str) -> dict[str, object]:
    """Return a position update whose first entry can't be parsed, and whose second one can."""
    if venue == "binanceusdm":
        both = [{"s": "BTCUSDT", "pa": "much", "ps": "BOTH"}, {"s": "BTCUSDT", "pa": "0.5", "ps": "BOTH"}]
        return {"e": "ACCOUNT_UPDATE", "a": {"P": both}}
    if venue == "okx":
        held = {"instId": "BTC-USDT-SWAP", "posSide": "net", "mgnMode": "cross"}
        return {
            "arg": {"channel": "positions", "instType": "ANY"},
            "data": [{**held, "pos": "much"}, {**held, "pos": "50"}],
        }
    entry = {"category": "linear", "symbol": "BTCUSDT", "side": "Buy", "positionIdx": 0}
    return {"topic": "position", "data": [{**entry, "size": "much"}, {**entry, "size": "0.5"}]}


async def test_fm53_an_unparseable_update_is_skipped_and_counted_and_a_snapshot_is_requested(
    venue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trailing.exchanges.ccxt.streams.PAUSE_SECONDS", 0.7)
    async with open_recorder(venue) as recorder:
        sockets, began = recorder.desk.server.sockets, len(recorder.heard)
        (account,) = (each for each in sockets.open if "private" in each.path)
        opened, frames = sockets.opened, account_frames(venue)
        for frame in frames:
            account.send(frame)
        account.send(position_frame(venue))
        await recorder.until(lambda: any(isinstance(each, PositionUpdate) for each in recorder.heard[began:]))
        assert unreadable_entries(recorder.desk.exchange) == len(frames) + 1

        def asked() -> list[StreamState]:
            return [each for each in recorder.heard[began:] if isinstance(each, StreamState)]

        await recorder.until(asked)
        account.send(frames[0])
        await recorder.until(lambda: len(asked()) == 2)
        assert asked()[1].at - asked()[0].at >= 0.7  # snapshots are requested with a pause between them
        assert all(each.connected and each.detail.startswith("an update can't be parsed: ") for each in asked())
        await trio.sleep(0.8)
        assert len(asked()) == 2
        assert sockets.opened == opened
        await recorder.desk.exchange.place_stop(stop_request())
        await recorder.until(recorder.orders)


def all_frames(venue: str) -> list[Any]:
    """Return the documented frames of a venue, and the recorded ones where they are at hand."""
    patterns = {
        "binanceusdm": ("binance/futures/*_data_json/*.json",),
        "bybit": ("bybit/ws_*.json",),
        "okx": ("okx/ws_*.json",),
    }
    recorded = [path for pattern in patterns[venue] for path in sorted(VENUE_PAYLOADS.glob(pattern))]
    documented = OKX_FRAMES if venue == "okx" else DOCUMENTED[venue]
    return [frame for _, frame, _ in documented] + [json.loads(path.read_text()) for path in recorded]


async def test_fm53_no_documented_or_recorded_frame_costs_a_connection(venue: str) -> None:
    async with open_recorder(venue) as recorder:
        sockets, states, frames = recorder.desk.server.sockets, len(recorder.states()), all_frames(venue)
        opened = sockets.opened
        for socket in sockets.open:
            for frame in frames:
                socket.send(frame)
        await recorder.desk.exchange.place_stop(stop_request())
        await recorder.until(lambda: (stop_request().client_order_id, "live") in recorder.orders())
        await recorder.desk.server.move_price(BTC, D(1001), "last")
        await recorder.until(lambda: recorder.prices()[-1:] == [1001])
        assert len(frames) >= 20
        assert (sockets.opened, set(recorder.states()[states:]) - {True}) == (opened, set())


async def test_a_connection_with_pongs_only_stays_open(venue: str, impatient: None) -> None:
    async with open_recorder(venue) as recorder:
        opened, heard = recorder.desk.server.sockets.opened, len(recorder.heard)
        await trio.sleep(5 * SILENCE)
        assert recorder.desk.server.sockets.opened == opened
        assert recorder.heard[heard:] == []


async def test_an_illiquid_symbol_is_requested_and_causes_no_reconnect(venue: str, nosy: None) -> None:
    async with open_recorder(venue, BTC, ETH) as recorder:
        server = recorder.desk.server
        await server.move_price(ETH, D(50), "last")
        await recorder.until(lambda: recorder.prices(ETH))
        opened, states = server.sockets.opened, len(recorder.states())
        await recorder.until(lambda: len(recorder.prices(ETH)) >= 4)
        assert server.sockets.opened == opened
        assert len(recorder.states()) == states
        assert set(recorder.prices(ETH)) == {50}
        assert {seen.operation for seen in server.requests[-10:]} == {"price"}


async def test_a_price_that_moves_without_a_push_causes_one_reconnect_and_is_requested_from_then_on(
    venue: str, nosy: None
) -> None:
    async with open_recorder(venue) as recorder:
        server = recorder.desk.server
        await server.move_price(BTC, D(1001), "last")
        await recorder.until(recorder.prices)
        opened = server.sockets.opened
        server.sockets.silent.add(BTC)
        for step in range(2, 14):
            await server.move_price(BTC, D(1000) + step, "last")
            await trio.sleep(QUIET)
        assert server.sockets.opened == opened + 1
        assert recorder.states()[-2:] == [False, True]
        assert recorder.prices()[-1] >= 1010
        server.sockets.silent.clear()
        await server.move_price(BTC, D(1100), "last")
        assert await recorder.until(lambda: recorder.prices()[-1] == 1100) < QUIET


async def test_the_exchange_closes_in_time_with_open_dead_or_pending_connections(venue: str, impatient: None) -> None:
    async with open_desk(venue) as desk:
        await desk.exchange.set_subscriptions({BTC})
        async with desk.exchange.updates() as updates:
            assert isinstance(await updates.receive(), StreamState)
        ended_at = trio.current_time()
    assert trio.current_time() - ended_at < 1.5
    async with open_recorder(venue) as recorder:
        recorder.desk.server.sockets.freeze()
        ended_at = trio.current_time()
    assert trio.current_time() - ended_at < 2.5


async def test_a_subscriber_reaches_the_end_when_the_exchange_is_closed(venue: str) -> None:
    async with trio.open_nursery() as nursery:
        async with open_desk(venue) as desk:
            recorder = Recorder(desk)
            await nursery.start(recorder.listen)
        with trio.fail_after(1):
            await wait_all_tasks_blocked()
    assert recorder.states()[0] is False


async def test_a_failed_account_connection_is_retried_and_reported(venue: str) -> None:
    if venue != "binanceusdm":
        pytest.skip("the account stream is opened without a listen key")
    async with open_desk(venue) as desk, trio.open_nursery() as nursery:
        desk.server.faults.add(Fault(on="listen_key", reply=json_reply({"code": -1001, "msg": "Internal error"}, 503)))
        recorder = Recorder(desk)
        await nursery.start(recorder.listen)
        await recorder.until(lambda: len(desk.server.seen("listen_key")) >= 3)
        assert recorder.states() == [False]
        desk.server.faults.clear()
        await recorder.until(lambda: recorder.states() == [False, True])
        nursery.cancel_scope.cancel()


async def test_a_listen_key_that_expires_is_replaced(venue: str) -> None:
    if venue != "binanceusdm":
        pytest.skip("the account stream is opened without a listen key")
    async with open_recorder(venue) as recorder:
        states = len(recorder.states())
        recorder.desk.server.expire_listen_key()  # type: ignore[attr-defined]
        await recorder.until(lambda: recorder.states()[states:] == [False, True])
        await recorder.desk.exchange.place_stop(stop_request())
        await recorder.until(recorder.orders)
