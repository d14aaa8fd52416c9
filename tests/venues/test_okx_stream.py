"""OKX's websockets: addresses, logins, pings, the account's channels, and the life of an algo order on them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
import trio
from okx_market import OkxWanted
from okx_server import PASSPHRASE, OkxServer, open_okx_server
from okx_shapes import algo_id
from okx_stream import signed
from venue_market import Trigger
from venue_server import API_KEY
from wsproto import ConnectionType, WSConnection
from wsproto.events import CloseConnection, Request, TextMessage

from trailing import Position
from trailing.core.model import Side

BTC, BTC_ID = "BTC/USDT:USDT", "BTC-USDT-SWAP"
PUBLIC, PRIVATE, BUSINESS = (f"/ws/v5/{name}" for name in ("public", "private", "business"))
ORDERS = {"channel": "orders", "instType": "SWAP"}
ALGO_ORDERS = {"channel": "orders-algo", "instType": "SWAP"}
TRAILING_ORDERS = {"channel": "algo-advance", "instType": "SWAP"}
POSITIONS = {"channel": "positions", "instType": "SWAP"}


class Wire:
    """A client's end of a websocket."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._protocol = WSConnection(ConnectionType.CLIENT)
        self._frames: list[str] = []
        self.close_code: int | None = None

    async def open(self, host: str, path: str) -> None:
        await self._stream.send_all(self._protocol.send(Request(host=host, target=path)))
        self._protocol.receive_data(await self._stream.receive_some())
        self._read()

    async def send(self, value: object) -> None:
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        await self._stream.send_all(self._protocol.send(TextMessage(data=text)))

    async def text(self) -> str:
        """Return the next text. Fails after 5 s, or if the server closes the connection."""
        with trio.fail_after(5):
            while not self._frames:
                assert self.close_code is None, f"closed: {self.close_code}"
                self._protocol.receive_data(await self._stream.receive_some() or None)
                self._read()
        return self._frames.pop(0)

    async def frame(self) -> Mapping[str, Any]:
        return dict(msgspec.json.decode(await self.text()))

    async def rows(self, channel: str) -> list[Mapping[str, Any]]:
        """Return the rows of the next frame of a channel. Other frames are passed over."""
        while True:
            frame = await self.frame()
            if frame.get("arg", {}).get("channel") == channel and "data" in frame:
                return list(frame["data"])

    async def until_closed(self) -> int | None:
        with pytest.raises(AssertionError, match="closed"):
            while True:
                await self.text()
        return self.close_code

    def _read(self) -> None:
        for event in self._protocol.events():
            match event:
                case TextMessage():
                    self._frames.append(event.data)
                case CloseConnection():
                    self.close_code = int(event.code)

    async def log_in(self, **changes: str) -> Mapping[str, Any]:
        sent = changes.pop("timestamp", str(int(time.time())))
        keys = {"apiKey": API_KEY, "passphrase": PASSPHRASE, "timestamp": sent}
        sign = signed(f"{sent}GET/users/self/verify")
        await self.send({"op": "login", "args": [{**keys, "sign": sign, **changes}]})
        return await self.frame()

    async def subscribe(self, *args: Mapping[str, str]) -> None:
        await self.send({"op": "subscribe", "args": args})
        answered = 0
        while answered < len(args):
            frame = await self.frame()
            assert frame["event"] != "error", frame
            answered += frame["event"] == "subscribe"


@asynccontextmanager
async def connected(server: OkxServer, path: str) -> AsyncIterator[Wire]:
    host, _, port = server.host.partition(":")
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        wire = Wire(stream)
        await wire.open(server.host, path)
        yield wire


@asynccontextmanager
async def signed_in(server: OkxServer, path: str, *args: Mapping[str, str]) -> AsyncIterator[Wire]:
    async with connected(server, path) as wire:
        assert (await wire.log_in())["event"] == "login"
        await wire.subscribe(*args)
        yield wire


async def enter(server: OkxServer, side: Side = "long") -> None:
    await server.enter(Position(BTC, side, Decimal("0.8"), Decimal(1000), datetime.now(UTC)))


def place_stop(server: OkxServer, own_id: str = "mine", price: str = "980") -> Any:
    trigger = Trigger(Decimal(price), "last", rising=False)
    return server.market.place(
        OkxWanted(
            symbol=BTC,
            side="sell",
            quantity=Decimal("0.8"),
            client_order_id=own_id,
            leg="long" if server.market.hedged else "both",
            reduce_only=True,
            trigger=trigger,
            margin_mode="cross",
            algo_type="conditional",
        )
    )


async def test_a_text_ping_is_answered_with_a_text_pong() -> None:
    async with open_okx_server() as server, connected(server, PUBLIC) as wire:
        await wire.send("ping")
        assert await wire.text() == "pong"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"apiKey": "another"}, "60005"),
        ({"passphrase": "another"}, "60024"),
        ({"sign": "another"}, "60007"),
        ({"timestamp": "1538054050"}, "60006"),
        ({"timestamp": "now"}, "60004"),
    ],
)
async def test_a_wrong_login_has_a_code_and_ends_the_connection(changes: dict[str, str], code: str) -> None:
    async with open_okx_server() as server, connected(server, PRIVATE) as wire:
        answer = await wire.log_in(**changes)
        assert (answer["event"], answer["code"]) == ("error", code)
        assert await wire.until_closed() == 4001


async def test_a_connection_signs_in_once() -> None:
    async with open_okx_server() as server, connected(server, PRIVATE) as wire:
        assert (await wire.log_in())["code"] == "0"
        assert (await wire.log_in())["code"] == "60031"


@pytest.mark.parametrize(
    ("path", "arg", "code"),
    [
        (PRIVATE, ORDERS, "60011"),
        (BUSINESS, ALGO_ORDERS, "60011"),
        (PRIVATE, ALGO_ORDERS, "64001"),
        (PUBLIC, ALGO_ORDERS, "64001"),
        (BUSINESS, {"channel": "trades", "instId": BTC_ID}, "64002"),
        (PUBLIC, ORDERS, "60018"),
        (PUBLIC, {"channel": "trades", "instId": "XYZ-USDT-SWAP"}, "60018"),
        (PUBLIC, {"channel": "unheard-of", "instId": BTC_ID}, "60018"),
    ],
)
async def test_a_channel_is_only_served_at_its_address_and_after_a_login(
    path: str, arg: Mapping[str, str], code: str
) -> None:
    async with open_okx_server() as server, connected(server, path) as wire:
        await wire.send({"id": "7", "op": "subscribe", "args": [arg]})
        answer = await wire.frame()
        assert (answer["event"], answer["code"], answer["id"]) == ("error", code, "7")


@pytest.mark.parametrize(
    ("text", "code"), [("{", "60012"), ('{"op": "subscribe"}', "60012"), ('{"op": "x", "args": []}', "60019")]
)
async def test_a_request_that_can_t_be_read_is_an_error(text: str, code: str) -> None:
    async with open_okx_server() as server, connected(server, PUBLIC) as wire:
        await wire.send(text)
        assert (await wire.frame())["code"] == code


async def test_a_connection_without_a_text_for_some_time_is_closed() -> None:
    async with open_okx_server() as server, connected(server, PUBLIC) as silent, connected(server, PUBLIC) as alive:
        assert server.stream.silence_seconds == 30.0
        server.stream.silence_seconds = 0.4
        for _ in range(8):
            await trio.sleep(0.1)
            await alive.send("ping")
            assert await alive.text() == "pong"
        assert await silent.until_closed() == 4004


async def test_an_upgrade_is_announced_on_public_and_private_connections() -> None:
    async with (
        open_okx_server() as server,
        connected(server, PUBLIC) as public,
        connected(server, BUSINESS) as business,
    ):
        server.stream.announce_upgrade()
        notice = await public.frame()
        assert (notice["event"], notice["code"]) == ("notice", "64008")
        await business.send("ping")
        assert await business.text() == "pong"


async def test_prices_are_pushed_with_the_subscription_s_own_argument() -> None:
    args = [{"channel": name, "instId": BTC_ID} for name in ("trades", "tickers", "mark-price")]
    args.append({"channel": "index-tickers", "instId": "BTC-USDT"})
    async with open_okx_server() as server, connected(server, PUBLIC) as wire:
        await wire.subscribe(*args)
        for price, source in (("1001", "last"), ("1002", "mark"), ("1003", "index")):
            await server.move_price(BTC, Decimal(price), source)  # type: ignore[arg-type]
        frames = [await wire.frame() for _ in range(4)]
        assert [frame["arg"] for frame in frames] == args
        rows = [frame["data"][0] for frame in frames]
        assert [row.get("px") or row.get("last") or row.get("markPx") or row["idxPx"] for row in rows] == [
            *("1001", "1001", "1002", "1003")
        ]
        await wire.send({"op": "unsubscribe", "args": args[:1]})
        assert (await wire.frame())["event"] == "unsubscribe"
        await server.move_price(BTC, Decimal("1004"), "last")
        assert (await wire.frame())["arg"]["channel"] == "tickers"


async def test_a_subscription_of_positions_begins_with_a_snapshot_and_goes_on_with_changes() -> None:
    async with open_okx_server() as server:
        await enter(server, "short")
        async with connected(server, PRIVATE) as wire:
            await wire.log_in()
            await wire.send({"op": "subscribe", "args": [POSITIONS]})
            answer, count, snapshot = [await wire.frame() for _ in range(3)]
            assert (answer["event"], count["event"], count["connCount"]) == ("subscribe", "channel-conn-count", "1")
            assert (snapshot["eventType"], snapshot["curPage"], snapshot["lastPage"]) == ("snapshot", 1, True)
            assert set(snapshot["arg"]) == {"channel", "instType", "uid"}
            assert [(row["posSide"], row["pos"]) for row in snapshot["data"]] == [("net", "-80")]
            server.market.enter(BTC, "buy", Decimal("0.8"), Decimal(1000))
            update = await wire.frame()
            assert update["eventType"] == "event_update"
            assert "curPage" not in update
            assert [(row["pos"], row["avgPx"]) for row in update["data"]] == [("0", "")]


@pytest.mark.parametrize("interval", [None, "0"])
async def test_open_positions_are_pushed_regularly_unless_the_subscription_excludes_it(interval: str | None) -> None:
    extra = {"extraParams": '{"updateInterval": "0"}'} if interval == "0" else {}
    async with open_okx_server() as server:
        server.stream.snapshot_seconds = 0.2
        await enter(server)
        async with signed_in(server, PRIVATE, {**POSITIONS, **extra}) as wire:
            await wire.rows("positions")
            if interval is None:
                assert [row["pos"] for row in await wire.rows("positions")] == ["80"]
                return
            await trio.sleep(1.2)
            await wire.send("ping")
            assert await wire.text() == "pong"


async def test_the_account_is_pushed_when_it_is_subscribed() -> None:
    async with open_okx_server() as server, signed_in(server, PRIVATE, {"channel": "account"}) as wire:
        (row,) = await wire.rows("account")
        assert [detail["ccy"] for detail in row["details"]] == ["USDT"]


async def test_an_algo_order_is_pushed_from_its_placing_to_its_trigger() -> None:
    async with open_okx_server(parts=2) as server:
        await enter(server)
        async with signed_in(server, BUSINESS, ALGO_ORDERS) as business, signed_in(server, PRIVATE, ORDERS) as private:
            order = place_stop(server)
            server.stream.amended(order, "r1")
            server.market.amend(order, order.wanted.quantity, Trigger(Decimal(985), "last", rising=False))
            await server.move_price(BTC, Decimal("979"), "last")
            (placed,), (amended,), (triggered,) = [await business.rows("orders-algo") for _ in range(3)]
            assert (placed["state"], placed["slTriggerPx"], placed["reqId"]) == ("live", "980", "")
            assert (amended["slTriggerPx"], amended["reqId"], amended["amendResult"]) == ("985", "r1", "0")
            names = ("state", "actualSz", "actualPx", "actualSide", "failCode", "algoClOrdId")
            assert [triggered[name] for name in names] == ["effective", "80", "979", "sl", "", "mine"]
            assert triggered["ordIdList"] == [triggered["ordId"]]
            (live,), (first,), (last,) = [await private.rows("orders") for _ in range(3)]
            for row in (live, first, last):
                assert (row["ordId"], row["algoId"]) == (triggered["ordId"], triggered["algoId"])
                assert (row["algoClOrdId"], row["clOrdId"]) == ("mine", triggered["clOrdId"])
            states = [(row["state"], row["tradeId"], row["fillSz"], row["accFillSz"]) for row in (live, first, last)]
            assert states == [
                ("live", "", "0", "0"),
                ("partially_filled", "1", "40", "40"),
                ("filled", "2", "40", "80"),
            ]


async def test_a_cancelled_and_a_failed_algo_order_are_pushed() -> None:
    async with open_okx_server() as server:
        await enter(server)
        async with signed_in(server, BUSINESS, ALGO_ORDERS) as wire:
            server.market.cancel(place_stop(server, "first"))
            place_stop(server, "second")
            server.okx_market.fails_triggered = "51008"
            await server.move_price(BTC, Decimal("979"), "last")
            pushed = [(await wire.rows("orders-algo"))[0] for _ in range(4)]
            assert [(row["algoClOrdId"], row["state"], row["failCode"]) for row in pushed] == [
                ("first", "live", ""),
                ("first", "canceled", ""),
                ("second", "live", ""),
                ("second", "order_failed", "51008"),
            ]


async def test_a_trigger_can_be_pushed_after_the_fills() -> None:
    async with open_okx_server(fills_first=True) as server:
        await enter(server)
        async with signed_in(server, BUSINESS, ALGO_ORDERS) as wire:
            place_stop(server)
            await server.move_price(BTC, Decimal("979"), "last")
            states = [(await wire.rows("orders-algo"))[0]["state"] for _ in range(2)]
            assert states == ["live", "effective"]


async def test_an_algo_order_can_be_effective_in_part_first() -> None:
    async with open_okx_server(in_parts=True, parts=2) as server:
        await enter(server)
        async with signed_in(server, BUSINESS, ALGO_ORDERS) as wire:
            place_stop(server)
            await server.move_price(BTC, Decimal("979"), "last")
            states = [(await wire.rows("orders-algo"))[0]["state"] for _ in range(3)]
            assert states == ["live", "partially_effective", "effective"]


async def test_a_trigger_can_have_the_states_and_fields_of_the_recorded_frames() -> None:
    async with open_okx_server() as server:
        server.okx_market.as_recorded = True
        await enter(server)
        async with signed_in(server, BUSINESS, ALGO_ORDERS) as business, signed_in(server, PRIVATE, ORDERS) as private:
            order = place_stop(server)
            await server.move_price(BTC, Decimal("979"), "last")
            states = [(await business.rows("orders-algo"))[0]["state"] for _ in range(3)]
            assert states == ["live", "order_placed", "filled"]
            (row,) = await private.rows("orders")
            assert (row["linkedAlgoOrd"], row["source"]) == ({"algoId": algo_id(order)}, "algo")
            assert row.keys() & {"algoId", "algoClOrdId"} == set()


async def test_a_trailing_order_is_pushed_on_a_channel_of_its_own() -> None:
    async with open_okx_server() as server:
        await enter(server)
        async with signed_in(server, BUSINESS, ALGO_ORDERS, TRAILING_ORDERS) as wire:
            entry = {"instId": BTC_ID, "tdMode": "cross", "side": "sell", "ordType": "move_order_stop", "sz": "80"}
            server.okx.trading.place_algo(
                {**entry, "reduceOnly": True, "callbackRatio": "0.05", "algoClOrdId": "trail"}
            )
            (row,) = await wire.rows("algo-advance")
            assert (row["state"], row["callbackRatio"], row["algoClOrdId"]) == ("live", "0.05", "trail")
            await server.move_price(BTC, Decimal("950"), "last")
            assert [each["state"] for each in await wire.rows("algo-advance")] == ["effective"]


async def test_a_test_can_push_rows_of_its_own() -> None:
    row = {"instId": BTC_ID, "state": "filled", "category": "full_liquidation"}
    async with open_okx_server() as server, signed_in(server, PRIVATE, ORDERS) as wire:
        server.stream.push("orders", [row])
        assert await wire.rows("orders") == [row]


@pytest.mark.parametrize("positions_first", [False, True])
async def test_a_position_is_pushed_before_or_after_the_fill(positions_first: bool) -> None:
    async with open_okx_server(positions_first=positions_first) as server:
        await enter(server)
        async with signed_in(server, PRIVATE, ORDERS, {**POSITIONS, "extraParams": '{"updateInterval": "0"}'}) as wire:
            await wire.rows("positions")
            place_stop(server)
            await server.move_price(BTC, Decimal("979"), "last")
            frames = [await wire.frame() for _ in range(3)]
            pushed = [frame["data"][0].get("state", frame["data"][0].get("pos")) for frame in frames]
            assert pushed == (["live", "0", "filled"] if positions_first else ["live", "filled", "0"])


async def test_positions_of_long_short_mode_are_pushed_above_zero() -> None:
    async with open_okx_server(hedged=True, margin_mode="isolated") as server:
        await enter(server)
        await enter(server, "short")
        async with signed_in(server, PRIVATE, POSITIONS) as wire:
            rows = await wire.rows("positions")
            assert [(row["posSide"], row["pos"], row["mgnMode"]) for row in rows] == [
                ("long", "80", "isolated"),
                ("short", "80", "isolated"),
            ]
