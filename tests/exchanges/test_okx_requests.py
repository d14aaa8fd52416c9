"""What OKX needs beyond the other venues: margin modes, the position's side, pages by order id, and dated requests."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import trio
from captured import Capture, open_capture
from trio.testing import wait_all_tasks_blocked

from trailing import Credentials, ExchangeUnreachable, NothingToReduce, StopOrder, StopRequest, TrailingError
from trailing.core.model import Side
from trailing.exchanges.ccxt.client import make_client
from trailing.exchanges.ccxt.venues import VENUES

BTC = "BTC/USDT:USDT"
ID = "tr0123456789abcdef0123"
QUANTITY, PRICE = D("0.03"), D("49000.5")


def query(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


def position(mode: str, **changes: str) -> dict[str, str]:
    entry = {"instType": "SWAP", "instId": "BTC-USDT-SWAP", "posSide": "net", "pos": "3", "mgnMode": mode}
    return {**entry, "avgPx": "50000", "liqPx": "", "lever": "3", "imr": "5", "upl": "0", **changes}


def positions(*entries: dict[str, str]) -> Callable[[str], object]:
    """Return a venue that lists these positions, and acknowledges every order."""

    def answer(url: str) -> object:
        if "/account/positions" in url:
            kind = query(url)["instType"]
            return {"code": "0", "data": [each for each in entries if each["instType"] == kind], "msg": ""}
        return {"code": "0", "data": [{"algoId": "11", "ordId": "11", "sCode": "0", "sMsg": ""}], "msg": ""}

    return answer


def request(side: Side = "long", own_id: str = ID) -> StopRequest:
    return StopRequest(BTC, side, QUANTITY, PRICE, own_id, "mark")


def sent(capture: Capture, path: str) -> list[Any]:
    return [each.params for each in capture.sent if each.path.endswith(path)]


def forget(capture: Capture) -> None:
    capture.exchange.session.margin_modes.replace({})


async def close(capture: Capture) -> None:
    """Send a closing order. Its fill is looked up, which this venue does not answer."""
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as patience, pytest.raises(TrailingError):
            nursery.start_soon(give_up_when_sent, capture, patience)
            await capture.exchange.close_position(BTC, "long", QUANTITY, ID)


async def give_up_when_sent(capture: Capture, patience: trio.CancelScope) -> None:
    with trio.fail_after(10):
        while not sent(capture, "/trade/order"):
            await trio.sleep(0.01)
    patience.deadline = trio.current_time() + 0.05


@pytest.mark.parametrize("mode", ["cross", "isolated"])
async def test_a_stop_and_a_close_state_the_margin_mode_of_their_position(mode: str) -> None:
    async with open_capture("okx", positions(position(mode))) as capture:
        forget(capture)
        await capture.exchange.place_stop(request())
        assert [params["instType"] for params in sent(capture, "/account/positions")] == ["SWAP", "FUTURES"]
        assert [params["tdMode"] for params in sent(capture, "/order-algo")] == [mode]
        await close(capture)
        assert [params["tdMode"] for params in sent(capture, "/trade/order") if "tdMode" in params] == [mode]
        assert len(sent(capture, "/account/positions")) == 2  # it is known, so it is not read again


async def test_stops_of_one_wave_share_one_reading_of_the_margin_modes() -> None:
    async with open_capture("okx", positions(position("isolated"))) as capture:
        forget(capture)
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(capture.exchange.place_stop, request(own_id=f"tr{number:020x}"))
        assert len(sent(capture, "/account/positions")) == 2
        assert [params["tdMode"] for params in sent(capture, "/order-algo")] == ["isolated"] * 20


async def test_a_stop_is_not_sent_before_the_venue_lists_its_position() -> None:
    async with open_capture("okx", positions(position("isolated", posSide="short"))) as capture:
        forget(capture)
        with pytest.raises(NothingToReduce, match=f"okx {BTC}: not sent, because the venue lists no long position"):
            await capture.exchange.place_stop(request())
        assert sent(capture, "/order-algo") == []
        await close(capture)  # the venue refuses it, if there is no such position
        assert [params["tdMode"] for params in sent(capture, "/trade/order") if "tdMode" in params] == ["cross"]


async def test_a_list_that_can_not_be_read_now_is_read_again_by_the_next_stop() -> None:
    works = False

    def answer(url: str) -> object:
        return positions(position("isolated"))(url) if works else {"code": "0", "data": [None], "msg": ""}

    async with open_capture("okx", answer) as capture:
        forget(capture)
        with pytest.raises(TrailingError):
            await capture.exchange.place_stop(request())
        works = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(capture.exchange.place_stop, request())
            await wait_all_tasks_blocked()
        assert [params["tdMode"] for params in sent(capture, "/order-algo")] == ["isolated"]


@pytest.mark.parametrize(("side", "leg"), [("long", "long"), ("short", "short")])
async def test_an_order_in_long_short_mode_names_the_position_s_side(side: Side, leg: str) -> None:
    async with open_capture("okx", positions(), hedged=True) as capture:
        await capture.exchange.place_stop(request(side))
        await close(capture)
        (stop,) = sent(capture, "/order-algo")
        assert (stop["posSide"], stop["side"], stop["algoClOrdId"]) == (leg, "sell" if side == "long" else "buy", ID)
        assert "reduceOnly" not in stop  # OKX ignores it in this mode
        (closing, *_) = sent(capture, "/trade/order")
        assert (closing["posSide"], closing["clOrdId"], closing["ordType"]) == ("long", ID, "market")


async def test_a_full_page_of_stops_leads_to_the_next_one_by_the_oldest_id() -> None:
    def entry(number: int) -> dict[str, str]:
        order = {"instType": "SWAP", "instId": "BTC-USDT-SWAP", "ordType": "conditional", "state": "live", "sz": "1"}
        order |= {"side": "sell", "posSide": "net", "reduceOnly": "true", "slTriggerPx": "980", "slOrdPx": "-1"}
        return {
            **order,
            "slTriggerPxType": "mark",
            "algoId": str(number),
            "algoClOrdId": f"foreign{number}",
            "cTime": "7",
        }

    def answer(url: str) -> object:
        asked = query(url)
        if asked["instType"] == "FUTURES":
            return {"code": "0", "data": [], "msg": ""}
        numbers = range(int(asked.get("after", "1250")) - 1, 1000 - 1, -1)[:100]  # the newest first
        return {"code": "0", "data": [entry(number) for number in numbers], "msg": ""}

    async with open_capture("okx", answer) as capture:
        stops = await capture.exchange.open_stops()
        assert {stop.order_id for stop in stops} == {str(number) for number in range(1000, 1250)}
        assert [each.params.get("after") for each in capture.sent] == [None, "1150", "1050", None]


async def test_a_venue_that_repeats_a_page_has_an_incomplete_list() -> None:
    order = {"instId": "BTC-USDT-SWAP", "state": "live", "side": "sell", "algoId": "7", "sz": "1", "posSide": "net"}
    async with open_capture("okx", lambda _: {"code": "0", "data": [order] * 100}) as capture:
        with pytest.raises(ExchangeUnreachable, match="a page of the list leads to itself"):
            await capture.exchange.open_stops()


@pytest.mark.parametrize(
    "changes",
    [
        {"slTriggerPx": "", "slOrdPx": "", "tpTriggerPx": "1100", "tpOrdPx": "-1"},
        {"slOrdPx": "975"},
        {"sz": "", "closeFraction": "1"},
        {"reduceOnly": "false"},
        {"posSide": "short"},
        {"state": "pause"},
        {"state": "effective"},
    ],
)
async def test_an_order_that_is_no_stop_as_we_place_them_is_left_out_and_the_list_stays_complete(
    changes: dict[str, str],
) -> None:
    order = {"instType": "SWAP", "instId": "BTC-USDT-SWAP", "ordType": "conditional", "state": "live", "sz": "1"}
    order |= {"side": "sell", "posSide": "net", "reduceOnly": "true", "slTriggerPx": "980", "slOrdPx": "-1"}
    order |= {"slTriggerPxType": "index", "algoId": "1", "algoClOrdId": "theirs"}
    other = {**order, **changes, "algoId": "2"}
    async with open_capture(
        "okx", lambda url: {"code": "0", "data": [order, other] if "SWAP" in url else []}
    ) as capture:
        stops = await capture.exchange.open_stops()
        assert type(stops) is list
        assert [(stop.order_id, stop.source, stop.price) for stop in stops] == [("1", "index", D(980))]


async def test_a_settlement_does_not_change_a_position_s_entry_price() -> None:
    settled = position("cross", avgPx="50900", nonSettleAvgPx="50000")
    async with open_capture(
        "okx", positions(settled, position("cross", posSide="short", nonSettleAvgPx=""))
    ) as capture:
        assert [report.entry_price for report in await capture.exchange.positions()] == [50000, 50000]


async def test_each_price_source_has_its_endpoint() -> None:
    async with open_capture(
        "okx", lambda _: {"code": "0", "data": [{"last": "1", "markPx": "2", "idxPx": "3"}]}
    ) as capture:
        prices = [(await capture.exchange.price(BTC, source)).price for source in ("last", "mark", "index")]
        assert prices == [1, 2, 3]
        assert [(each.path, each.params) for each in capture.sent] == [
            ("/api/v5/market/ticker", {"instId": "BTC-USDT-SWAP"}),
            ("/api/v5/public/mark-price", {"instId": "BTC-USDT-SWAP", "instType": "SWAP"}),
            ("/api/v5/market/index-tickers", {"instId": "BTC-USDT"}),
        ]


async def test_candles_are_read_page_by_page_of_a_hundred() -> None:
    since = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=250)
    start = int(since.timestamp() * 1000)

    def answer(url: str) -> object:
        asked = query(url)
        opened = range(max(start, int(asked["before"]) + 1), min(start + 250 * 60_000, int(asked["after"])), 60_000)
        return {"code": "0", "data": [[str(at), "1", "2", "1", "2", "0", "0", "0", "1"] for at in reversed(opened)]}

    async with open_capture("okx", answer) as capture:
        for source in ("last", "mark", "index"):
            capture.sent.clear()
            candles = await capture.exchange.candles(BTC, source, since)
            assert len(candles) == 250, source
            assert len(capture.sent) == 3, source


def test_a_request_is_dated_back_and_so_expires_ten_seconds_after_it_was_sent() -> None:
    client = make_client(VENUES["okx"], Credentials("key", "secret", "password"))
    client.milliseconds = lambda: 1_700_000_020_000
    signed = client.sign("trade/order-algo", ["private"], "POST", {"instId": "BTC-USDT-SWAP"})
    assert signed["headers"]["OK-ACCESS-TIMESTAMP"] == "2023-11-14T22:13:20.000Z"
    assert datetime.fromisoformat("2023-11-14T22:13:20.000Z").timestamp() == 1_700_000_000
    assert signed["headers"]["OK-ACCESS-PASSPHRASE"] == "password"
    assert VENUES["okx"].delays.request_validity == 30 - 20 + 1
    assert re.fullmatch(r"[A-Za-z0-9+/]{43}=", signed["headers"]["OK-ACCESS-SIGN"])


async def test_a_stop_whose_order_id_is_unknown_is_amended_and_cancelled_by_its_client_order_id() -> None:
    # An entry carried it, and no list has shown it yet.
    carried = StopOrder(BTC, "long", QUANTITY, PRICE, ID, "", "mark")
    async with open_capture("okx", positions()) as capture:
        amended = await capture.exchange.amend_stop(carried, price=PRICE + 1, quantity=QUANTITY)
        assert amended.order_id == "11"
        await capture.exchange.cancel_stop(carried)
        (amendment,) = sent(capture, "/amend-algos")
        assert (amendment["algoClOrdId"], "algoId" in amendment, "clOrdId" in amendment) == (ID, False, False)
        assert sent(capture, "/cancel-algos") == [[{"algoClOrdId": ID, "instId": "BTC-USDT-SWAP"}]]
