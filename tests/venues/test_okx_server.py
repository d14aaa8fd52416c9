"""Features of the OKX server only: algo orders apart, contracts, margin and position modes, codes for each entry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from ccxt import (
    AuthenticationError,
    BadRequest,
    ExchangeError,
    InvalidNonce,
    InvalidOrder,
    OrderNotFound,
    RateLimitExceeded,
)
from ccxt_client import BTC, ETH, Trader, ask, open_trader
from okx_server import OkxServer
from venue_market import Trigger, Wanted

from trailing import Position
from trailing.core.model import Side, Source

OKX, BTC_ID, ETH_ID = "okx", "BTC-USDT-SWAP", "ETH-USDT-SWAP"
NO_STOP: Mapping[str, Any] = {"slTriggerPx": None, "slOrdPx": None}
TRIGGER: Mapping[str, Any] = {"ordType": "trigger", "orderPx": "-1", **NO_STOP}
TRAILING: Mapping[str, Any] = {"ordType": "move_order_stop", "callbackRatio": "0.05", **NO_STOP}


def okx(trader: Trader) -> OkxServer:
    assert isinstance(trader.server, OkxServer)
    return trader.server


async def place(trader: Trader, own_id: str = "mine", **changes: Any) -> Mapping[str, Any]:
    """Place an algo order with OKX's own request: by default a stop-loss of 80 contracts of a long at 1000."""
    usual = {"instId": BTC_ID, "tdMode": "cross", "side": "sell", "ordType": "conditional", "sz": "80"}
    stop = {"slTriggerPx": "980", "slOrdPx": "-1", "reduceOnly": True, "algoClOrdId": own_id}
    wanted = {name: value for name, value in {**usual, **stop, **changes}.items() if value is not None}
    (entry,) = (await ask(trader.client.privatePostTradeOrderAlgo, wanted))["data"]
    return dict(entry)


async def find(trader: Trader, own_id: str = "mine") -> Mapping[str, Any]:
    (row,) = (await ask(trader.client.privateGetTradeOrderAlgo, {"algoClOrdId": own_id}))["data"]
    return dict(row)


async def pending(trader: Trader, kind: str = "conditional", **params: str) -> list[Mapping[str, Any]]:
    answer = await ask(trader.client.privateGetTradeOrdersAlgoPending, {"ordType": kind, **params})
    return list(answer["data"])


def rejected(code: str) -> Any:
    return pytest.raises(ExchangeError, match=f'"(sC|c)ode":"{code}"')


async def test_a_contract_is_a_part_of_a_coin() -> None:
    async with open_trader(OKX) as trader:
        await trader.enter()
        (position,) = (await ask(trader.client.privateGetAccountPositions, {"instType": "SWAP"}))["data"]
        assert (position["pos"], position["posSide"], position["mgnMode"]) == ("80", "net", "cross")
        await place(trader, sz="30")
        assert [order.wanted.quantity for order in trader.server.market.live_stops()] == [Decimal("0.3")]
        with rejected("51121"):
            await place(trader, "odd", sz="30.005")
        with rejected("51020"):
            await place(trader, "small", sz="0.001")


async def test_algo_orders_are_in_a_list_of_their_own_by_kind() -> None:
    async with open_trader(OKX) as trader:
        await trader.enter()
        placed = await place(trader)
        await place(trader, "entry", triggerPx="970", **TRIGGER)
        assert await ask(trader.client.fetch_open_orders, BTC) == []
        assert [row["algoClOrdId"] for row in await pending(trader)] == ["mine"]
        assert [row["algoClOrdId"] for row in await pending(trader, "trigger")] == ["entry"]
        assert await pending(trader, "conditional,oco", instId=ETH_ID) == []
        with pytest.raises(BadRequest, match="51000"):
            await pending(trader, "conditional,trigger")
        with pytest.raises(OrderNotFound, match="51400"):
            await ask(trader.client.cancel_order, placed["algoId"], BTC)


async def test_a_list_has_a_hundred_algo_orders_on_a_page() -> None:
    async with open_trader(OKX, most_stops=200) as trader:
        await trader.enter()
        trigger = Trigger(Decimal(980), "last", rising=False)
        stop = Wanted(symbol=BTC, side="sell", quantity=Decimal("0.8"), client_order_id="", trigger=trigger)
        for number in range(130):
            trader.server.market.place(msgspec.structs.replace(stop, client_order_id=f"stop{number}"))
        first = await pending(trader)
        second = await pending(trader, after=first[-1]["algoId"])
        assert [row["algoClOrdId"] for row in (*first, *second)] == [f"stop{number}" for number in range(129, -1, -1)]
        assert (len(first), len(await pending(trader, limit="7"))) == (100, 7)


async def test_an_algo_order_is_amended_in_place() -> None:
    async with open_trader(OKX) as trader:
        await trader.enter()
        placed = await place(trader, slTriggerPxType="mark")

        async def amend(price: str, **params: str) -> Mapping[str, Any]:
            ids = {"instId": BTC_ID, "algoId": placed["algoId"], "newSlTriggerPx": price, "newSlOrdPx": "-1"}
            (entry,) = (await ask(trader.client.privatePostTradeAmendAlgos, {**ids, **params}))["data"]
            return dict(entry)

        answer = await amend("985", reqId="first", newSz="40")
        assert (answer["algoId"], answer["reqId"], answer["sCode"]) == (placed["algoId"], "first", "0")
        row = await find(trader)
        assert [row[name] for name in ("slTriggerPx", "slTriggerPxType", "sz", "state")] == [
            "985",
            "mark",
            "40",
            "live",
        ]
        with rejected("51304"):
            await amend("1000")
        with rejected("51000"):
            await amend("985.05")
        with rejected("51526"):
            await amend("985", newTpTriggerPx="1100")
        await trader.cancel_stop(placed["algoId"])
        with rejected("51503"):
            await amend("986")
        with rejected("51527"):
            await amend("986", algoId="17")


async def test_ccxt_resets_the_trigger_source_to_the_last_price_by_default() -> None:
    async with open_trader(OKX) as trader:
        await trader.enter()
        placed = await place(trader, slTriggerPxType="mark")
        params = {"newSlTriggerPx": "985", "newSlOrdPx": "-1"}
        await ask(trader.client.edit_order, placed["algoId"], BTC, "conditional", "sell", None, None, params)
        assert (await find(trader))["slTriggerPxType"] == "last"


async def test_an_amended_trigger_order_has_the_last_price_unless_the_request_states_another() -> None:
    async with open_trader(OKX) as trader:
        await trader.enter()
        await place(trader, triggerPx="980", triggerPxType="mark", **TRIGGER)
        ids = {"instId": BTC_ID, "algoClOrdId": "mine"}
        await ask(trader.client.privatePostTradeAmendAlgos, {**ids, "newTriggerPx": "985", "newOrdPx": "-1"})
        row = await find(trader)
        assert (row["triggerPx"], row["triggerPxType"], row["slTriggerPx"]) == ("985", "last", "")


@pytest.mark.parametrize(
    ("source", "codes"),
    [
        ("last", ("51280", "51279", "51278", "51277")),
        ("mark", ("51304", "51303", "51302", "51300")),
        ("index", ("51308", "51307", "51306", "51305")),
    ],
)
async def test_a_trigger_price_beyond_the_market_has_a_code_for_its_source_side_and_role(
    source: Source, codes: tuple[str, ...]
) -> None:
    async with open_trader(OKX, hedged=True) as trader:
        await trader.enter("long")
        await trader.enter("short")
        for number, code in enumerate(codes):
            role, sells = ("tp", "sl")[number % 2 == 0], number < 2
            own = {f"{role}TriggerPx": "1010" if (role == "sl") == sells else "990", f"{role}OrdPx": "-1"}
            trigger: Mapping[str, Any] = {**NO_STOP, **own, f"{role}TriggerPxType": source}
            side = {"side": "sell", "posSide": "long"} if sells else {"side": "buy", "posSide": "short"}
            with rejected(code):
                await place(trader, **trigger, **side)


async def test_the_limit_of_algo_orders_is_counted_for_each_kind() -> None:
    async with open_trader(OKX, most_stops=1) as trader:
        await trader.enter()
        await trader.enter("long", ETH)
        trigger: Mapping[str, Any] = {**TRIGGER, "triggerPx": "970"}
        kinds: tuple[tuple[Mapping[str, Any], str], ...] = (({}, "51261"), (trigger, "51299"), (TRAILING, "51260"))
        for number, (kind, code) in enumerate(kinds):
            await place(trader, f"first{number}", **kind)
            with rejected(code):
                await place(trader, f"second{number}", **kind)
        await place(trader, "eth", instId=ETH_ID, sz="8")
        with rejected("51299"):
            await place(trader, "ethTrigger", instId=ETH_ID, sz="8", **trigger)


async def test_a_client_order_id_is_letters_and_digits_and_used_once_while_it_is_live() -> None:
    async with open_trader(OKX) as trader:
        await trader.enter()
        for own_id in ("with-dash", "x" * 33):
            with rejected("51000"):
                await place(trader, own_id)
        placed = await place(trader)
        with rejected("51065"):
            await place(trader, slTriggerPx="970")
        await trader.cancel_stop(placed["algoId"])
        again = await place(trader)
        assert (await find(trader))["algoId"] == again["algoId"] != placed["algoId"]


async def test_an_algo_order_has_the_plain_client_order_id_unless_it_has_one_of_its_own() -> None:
    async with open_trader(OKX) as trader:
        await trader.enter()
        await place(trader, algoClOrdId=None, clOrdId="plain")
        assert (await find(trader, "plain"))["clOrdId"] == "plain"
        await place(trader, "own", clOrdId="other")
        assert (await find(trader, "own"))["clOrdId"] == "other"


async def test_each_entry_of_a_cancellation_has_a_code() -> None:
    async with open_trader(OKX) as trader:
        await trader.enter()
        placed = await place(trader)
        ids = [{"instId": BTC_ID, "algoId": "17"}, {"instId": BTC_ID, "algoClOrdId": "mine"}]
        answer = await ask(trader.client.privatePostTradeCancelAlgos, ids)
        assert answer["code"] == "2"
        assert [(entry["algoId"], entry["sCode"]) for entry in answer["data"]] == [
            ("17", "51400"),
            (placed["algoId"], "0"),
        ]
        with pytest.raises(OrderNotFound, match='"code":"1"'):
            await ask(trader.client.privatePostTradeCancelAlgos, ids)
        with pytest.raises(ExchangeError, match="50025"):
            await ask(trader.client.privatePostTradeCancelAlgos, ids * 6)
        assert [seen.client_order_id for seen in trader.server.seen("cancel_stop")] == [None, None, None]


async def test_a_refusal_can_come_within_a_success() -> None:
    async with open_trader(OKX) as trader:
        await trader.enter()
        okx(trader).okx.refusals_within_success = True
        entry = await place(trader, tdMode="cash")
        assert (entry["algoId"], entry["sCode"], entry["sMsg"]) == ("", "51000", "Parameter tdMode error")


async def test_an_ended_algo_order_is_found_by_id_and_in_the_history() -> None:
    async with open_trader(OKX) as trader:
        await trader.enter()
        placed = await place(trader)
        await trader.cancel_stop(placed["algoId"])
        assert (await find(trader))["state"] == "canceled"
        assert await pending(trader) == []
        history = trader.client.privateGetTradeOrdersAlgoHistory
        for params, count in (
            ({"state": "canceled"}, 1),
            ({"state": "effective"}, 0),
            ({"algoId": placed["algoId"]}, 1),
        ):
            assert len((await ask(history, {"ordType": "conditional", **params}))["data"]) == count
        with pytest.raises(ExchangeError, match="50015"):
            await ask(history, {"ordType": "conditional"})
        with pytest.raises(OrderNotFound, match="51603"):
            await find(trader, "unknown")


async def test_a_triggered_algo_order_becomes_an_order_with_ids_of_its_own() -> None:
    async with open_trader(OKX, parts=2) as trader:
        await trader.enter()
        placed = await place(trader)
        await trader.server.move_price(BTC, Decimal("979"), "last")
        row = await find(trader)
        assert [row[name] for name in ("state", "actualSz", "actualPx", "actualSide")] == [
            "effective",
            "80",
            "979",
            "sl",
        ]
        assert row["ordIdList"] == [row["ordId"]] != [""]
        assert row["clOrdId"] == f"{placed['algoId']}_0"
        assert row["triggerTime"] != ""
        (order,) = (await ask(trader.client.privateGetTradeOrder, {"instId": BTC_ID, "clOrdId": row["clOrdId"]}))[
            "data"
        ]
        expected = {"ordId": row["ordId"], "algoId": placed["algoId"], "algoClOrdId": "mine", "source": "7"}
        assert {name: order[name] for name in expected} == expected
        assert [order[name] for name in ("state", "accFillSz", "avgPx", "ordType")] == ["filled", "80", "979", "market"]
        fills = (await ask(trader.client.privateGetTradeFills, {"instId": BTC_ID, "ordId": row["ordId"]}))["data"]
        assert [(fill["fillSz"], fill["fillPx"], fill["tradeId"]) for fill in fills] == [
            ("40", "979", "2"),
            ("40", "979", "1"),
        ]
        older = {"instType": "SWAP", "after": fills[0]["billId"]}
        assert (await ask(trader.client.privateGetTradeFillsHistory, older))["data"] == fills[1:]


async def test_an_algo_order_that_fails_states_a_code_and_leaves_the_position() -> None:
    async with open_trader(OKX) as trader:
        await trader.enter()
        okx(trader).okx_market.fails_triggered = "51008"
        await place(trader)
        await trader.server.move_price(BTC, Decimal("980"), "last")
        row = await find(trader)
        assert [row[name] for name in ("state", "failCode", "ordId", "ordIdList")] == ["order_failed", "51008", "", []]
        assert await trader.positions() == [(BTC, "long", Decimal("0.8"))]


async def test_an_algo_order_without_a_position_fails_when_it_triggers() -> None:
    async with open_trader(OKX) as trader:
        await trader.enter()
        await place(trader)
        await trader.close("close")
        assert [row["state"] for row in await pending(trader)] == ["live"]
        await trader.server.move_price(BTC, Decimal("980"), "last")
        assert [(await find(trader))[name] for name in ("state", "failCode")] == ["order_failed", "51169"]


async def test_the_order_of_a_triggered_algo_order_can_be_cancelled_by_the_venue() -> None:
    async with open_trader(OKX) as trader:
        await trader.enter()
        okx(trader).okx_market.cancels_triggered = True
        await place(trader)
        await trader.server.move_price(BTC, Decimal("980"), "last")
        row = await find(trader)
        (order,) = (await ask(trader.client.privateGetTradeOrder, {"instId": BTC_ID, "ordId": row["ordId"]}))["data"]
        assert row["state"] == "effective"
        assert [order[name] for name in ("state", "accFillSz", "cancelSource")] == ["canceled", "0", "27"]
        assert await trader.positions() == [(BTC, "long", Decimal("0.8"))]


async def test_a_trigger_order_triggers_in_the_direction_of_its_price() -> None:
    async with open_trader(OKX) as trader:
        await trader.enter()
        await place(trader, "below", triggerPx="980", triggerPxType="index", sz="40", **TRIGGER)
        await place(trader, "above", triggerPx="1020", sz="40", **TRIGGER)
        with rejected("51250"):
            await place(trader, "at", triggerPx="1000", **TRIGGER)
        await trader.server.move_price(BTC, Decimal("1020"), "last")
        assert [(await find(trader, own_id))["state"] for own_id in ("below", "above")] == ["live", "effective"]
        await trader.server.move_price(BTC, Decimal("980"), "index")
        assert await trader.positions() == []


@pytest.mark.parametrize("distance", [{"callbackRatio": "0.05"}, {"callbackSpread": "55"}])
@pytest.mark.parametrize("activation", [None, "1050"])
async def test_a_trailing_order_follows_the_best_price(distance: dict[str, str], activation: str | None) -> None:
    async with open_trader(OKX) as trader:
        await trader.enter()
        order: Mapping[str, Any] = {**TRAILING, "callbackRatio": None, **distance}
        await place(trader, activePx=activation, **order)
        for price in ("1060", "1100", "1046"):
            await trader.server.move_price(BTC, Decimal(price), "last")
        row = await find(trader)
        assert [row[name] for name in ("state", "moveTriggerPx", "activePx")] == ["live", "1045", activation or ""]
        await trader.server.move_price(BTC, Decimal("1045"), "last")
        assert await trader.positions() == []


async def test_a_trailing_order_is_refused_beyond_its_activation_and_can_t_be_amended() -> None:
    async with open_trader(OKX) as trader:
        await trader.enter()
        with rejected("51258"):
            await place(trader, activePx="990", **TRAILING)
        with rejected("51311"):
            await place(trader, **{**TRAILING, "callbackRatio": "1.5"})
        placed = await place(trader, activePx="1010", **TRAILING)
        with rejected("51506"):
            await ask(trader.client.privatePostTradeAmendAlgos, {"instId": BTC_ID, "algoId": placed["algoId"]})


async def test_long_short_mode_needs_the_position_side_and_states_positions_by_side() -> None:
    async with open_trader(OKX, hedged=True) as trader:
        await trader.enter("long")
        await trader.enter("short")
        with rejected("51000"):
            await place(trader)
        rows = (await ask(trader.client.privateGetAccountPositions))["data"]
        assert [(row["posSide"], row["pos"]) for row in rows] == [("long", "80"), ("short", "80")]
        await place(trader, posSide="short", side="buy", slTriggerPx="1020")
        await trader.server.move_price(BTC, Decimal("1020"), "last")
        assert await trader.positions() == [(BTC, "long", Decimal("0.8"))]
        config = (await ask(trader.client.privateGetAccountConfig))["data"][0]
        assert (config["posMode"], config["acctLv"]) == ("long_short_mode", "2")


async def test_net_mode_takes_no_position_side_but_net() -> None:
    async with open_trader(OKX) as trader:
        await trader.enter()
        with rejected("51000"):
            await place(trader, posSide="long")
        assert (await place(trader, posSide="net"))["sCode"] == "0"


@pytest.mark.parametrize("margin_mode", ["cross", "isolated"])
async def test_an_order_of_another_margin_mode_finds_no_position(margin_mode: str) -> None:
    other = "isolated" if margin_mode == "cross" else "cross"
    async with open_trader(OKX, margin_mode=margin_mode) as trader:
        await trader.enter()
        with rejected("51169"):
            await place(trader, tdMode=other)
        close = {"instId": BTC_ID, "side": "sell", "ordType": "market", "sz": "80", "reduceOnly": True}
        with rejected("51169"):
            await ask(trader.client.privatePostTradeOrder, {**close, "tdMode": other})
        with rejected("51010"):
            await ask(trader.client.privatePostTradeOrder, {**close, "tdMode": other, "reduceOnly": False})
        await place(trader, tdMode=margin_mode)
        answer = await ask(trader.client.privatePostTradeOrder, {**close, "tdMode": margin_mode, "clOrdId": "close"})
        assert (answer["code"], answer["data"][0]["clOrdId"], answer["data"][0]["sCode"]) == ("0", "close", "0")
        assert await trader.positions() == []


async def test_the_first_order_of_a_flat_contract_chooses_its_margin_mode() -> None:
    async with open_trader(OKX) as trader:
        await trader.server.move_price(BTC, Decimal("1000"), "last")
        await trader.server.move_price(BTC, Decimal("1000"), "mark")
        order = {"instId": BTC_ID, "side": "sell", "ordType": "market", "sz": "80", "tdMode": "isolated"}
        await ask(trader.client.privatePostTradeOrder, order)
        (row,) = (await ask(trader.client.privateGetAccountPositions))["data"]
        assert (row["mgnMode"], row["pos"], row["margin"], row["imr"]) == ("isolated", "-80", "80", "")


async def test_portfolio_margin_has_no_reduce_only_orders() -> None:
    async with open_trader(OKX, account_level="4") as trader:
        await trader.enter()
        with pytest.raises(InvalidOrder, match="51205"):
            await place(trader)


async def test_an_algo_order_for_the_whole_position_ends_with_it() -> None:
    async with open_trader(OKX) as trader:
        with rejected("51058"):
            await place(trader, sz=None, closeFraction="1")
        await trader.enter()
        with pytest.raises(InvalidOrder, match="51328"):
            await place(trader, sz=None, closeFraction="1", reduceOnly=False)
        await place(trader, "whole", sz=None, closeFraction="1")
        with rejected("51088"):
            await place(trader, "second", sz=None, closeFraction="1")
        await place(trader, "tied", cxlOnClosePos=True)
        await place(trader, "loose")
        (row,) = (await ask(trader.client.privateGetAccountPositions))["data"]
        assert [algo["algoId"] for algo in row["closeOrderAlgo"]] == [(await find(trader, "whole"))["algoId"]]
        await trader.close("close")
        states = [(await find(trader, own_id))["state"] for own_id in ("whole", "tied", "loose")]
        assert states == ["canceled", "canceled", "live"]


async def test_an_algo_order_for_the_whole_position_takes_what_was_added_later() -> None:
    async with open_trader(OKX) as trader:
        await trader.enter()
        await place(trader, sz=None, closeFraction="1")
        await trader.enter()
        await trader.server.move_price(BTC, Decimal("980"), "last")
        row = await find(trader)
        assert (row["sz"], row["closeFraction"], row["actualSz"]) == ("", "1", "160")
        assert await trader.positions() == []


def long_of(trader: Trader) -> Position:
    return Position(BTC, "long", Decimal("0.8"), Decimal("1000"), datetime.now(UTC))


async def test_an_order_at_market_cancels_the_limit_orders_in_its_way_in_net_mode() -> None:
    async with open_trader(OKX) as trader:
        await trader.enter()
        trader.server.rest_take_profit(long_of(trader), Decimal("1100"), "takeprofit")
        (open_order,) = await ask(trader.client.fetch_open_orders, BTC)
        assert (open_order["clientOrderId"], open_order["price"], open_order["amount"]) == ("takeprofit", 1100, 80)
        await trader.close("part", "0.3")
        (order,) = (await ask(trader.client.privateGetTradeOrder, {"instId": BTC_ID, "clOrdId": "takeprofit"}))["data"]
        assert [order[name] for name in ("state", "cancelSource", "reduceOnly")] == ["canceled", "23", "true"]
        assert await trader.positions() == [(BTC, "long", Decimal("0.5"))]


async def test_a_limit_order_binds_the_position_in_long_short_mode() -> None:
    async with open_trader(OKX, hedged=True) as trader:
        await trader.enter()
        resting = trader.server.rest_take_profit(long_of(trader), Decimal("1100"), "takeprofit")
        close = {
            "instId": BTC_ID,
            "tdMode": "cross",
            "side": "sell",
            "posSide": "long",
            "ordType": "market",
            "sz": "80",
        }
        with pytest.raises(InvalidOrder, match="51112"):
            await ask(trader.client.privatePostTradeOrder, close)
        await place(trader, posSide="long")
        await trader.server.move_price(BTC, Decimal("980"), "last")
        assert [(await find(trader))[name] for name in ("state", "failCode")] == ["order_failed", "51112"]
        ids = {"instId": BTC_ID, "clOrdId": "takeprofit"}
        await ask(trader.client.privatePostTradeCancelOrder, ids)
        assert not resting.is_open
        await ask(trader.client.privatePostTradeOrder, close)
        assert await trader.positions() == []


async def test_a_limit_order_is_filled_and_cancelled_by_id() -> None:
    async with open_trader(OKX) as trader:
        await trader.enter()
        order = {
            "instId": BTC_ID,
            "tdMode": "cross",
            "side": "sell",
            "ordType": "limit",
            "sz": "40",
            "reduceOnly": True,
        }
        for own_id, price in (("near", "1050"), ("far", "1100")):
            await ask(trader.client.privatePostTradeOrder, {**order, "px": price, "clOrdId": own_id})
        await trader.server.move_price(BTC, Decimal("1050"), "last")
        (left,) = (await ask(trader.client.privateGetTradeOrdersPending, {"instType": "SWAP"}))["data"]
        assert (left["clOrdId"], left["px"]) == ("far", "1100")
        await ask(trader.client.cancel_order, left["ordId"], BTC)
        assert await trader.positions() == [(BTC, "long", Decimal("0.4"))]
        with pytest.raises(OrderNotFound, match="51400"):
            await ask(trader.client.cancel_order, left["ordId"], BTC)
        with pytest.raises(InvalidOrder, match="51016"):
            trader.server.rest_take_profit(long_of(trader), Decimal("1100"), "twice")
            await ask(trader.client.privatePostTradeOrder, {**order, "px": "1200", "clOrdId": "twice"})


Change = Callable[[dict[str, str]], object]


def without(header: str) -> Change:
    return lambda headers: headers.pop(header)


def changed(header: str, value: str) -> Change:
    return lambda headers: headers.update({header: value})


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (without("OK-ACCESS-KEY"), "50103"),
        (without("OK-ACCESS-PASSPHRASE"), "50104"),
        (without("OK-ACCESS-SIGN"), "50106"),
        (without("OK-ACCESS-TIMESTAMP"), "50107"),
        (changed("OK-ACCESS-KEY", "another"), "50111"),
        (changed("OK-ACCESS-PASSPHRASE", "another"), "50105"),
        (changed("OK-ACCESS-SIGN", "another"), "50113"),
        (changed("OK-ACCESS-TIMESTAMP", "yesterday"), "50112"),
        (changed("OK-ACCESS-TIMESTAMP", "2020-03-28T12:21:41.274Z"), "50102"),
        (changed("x-simulated-trading", "1"), "50101"),
    ],
)
async def test_a_wrong_header_has_a_code_and_status_401(change: Change, code: str) -> None:
    async with open_trader(OKX) as trader:
        await trader.enter()
        sign = trader.client.sign

        def sign_and_change(*args: Any) -> Any:
            request = sign(*args)
            change(request["headers"])
            return request

        trader.client.sign = sign_and_change
        with pytest.raises((AuthenticationError, InvalidNonce), match=code):
            await trader.place_stop("mine")
        assert [(seen.status, seen.booked) for seen in trader.server.seen("place_stop")] == [(401, False)]


async def test_a_key_without_permissions_has_a_code() -> None:
    async with open_trader(OKX) as trader:
        okx(trader).okx.authorized = False
        with pytest.raises(AuthenticationError, match="50114"):
            await trader.positions()
        assert trader.server.requests[-1].status == 401


async def test_demo_trading_needs_its_header() -> None:
    async with open_trader(OKX, demo=True, config={"headers": {"x-simulated-trading": "1"}}) as trader:
        assert await trader.positions() == []
        trader.client.headers = {}
        with pytest.raises(AuthenticationError, match="50101"):
            await trader.positions()


async def test_limits_are_counted_in_two_seconds_by_instrument_and_entry() -> None:
    async with open_trader(OKX, order_limit=3) as trader:
        await trader.enter()
        await trader.enter("long", ETH)
        trader.server.clock.stopped_at = trader.server.clock.now() // 2000 * 2000
        ids = [(await place(trader, f"stop{number}"))["algoId"] for number in range(3)]
        with pytest.raises(RateLimitExceeded, match="50011"):
            await place(trader, "fourth")
        assert trader.server.requests[-1].status == 429
        await place(trader, "eth", instId=ETH_ID, sz="8")
        cancel = trader.client.privatePostTradeCancelAlgos
        with pytest.raises(RateLimitExceeded, match="50011"):
            await ask(cancel, [{"instId": BTC_ID, "algoId": algo_id} for algo_id in (*ids, "17")])
        assert len(await pending(trader, instId=BTC_ID)) == 3
        trader.server.clock.stopped_at += 2000
        await ask(cancel, [{"instId": BTC_ID, "algoId": algo_id} for algo_id in ids])
        assert await pending(trader, instId=BTC_ID) == []


async def test_lists_can_be_late() -> None:
    async with open_trader(OKX) as trader:
        await trader.enter()
        placed = await place(trader)
        trader.server.clock.stopped_at = trader.server.clock.now() + 1
        okx(trader).okx.reads.read_lag_ms = 1000
        assert await pending(trader) == []
        with pytest.raises(OrderNotFound, match="51603"):
            await find(trader)
        trader.server.clock.stopped_at += 2000
        assert len(await pending(trader)) == 1
        await trader.cancel_stop(placed["algoId"])
        assert [row["state"] for row in (*await pending(trader), await find(trader))] == ["live", "live"]
        trader.server.clock.stopped_at += 1000
        assert await pending(trader) == []
        assert (await find(trader))["state"] == "canceled"


async def test_foreign_rows_are_listed_besides() -> None:
    async with open_trader(OKX) as trader:
        await trader.enter()
        await place(trader)
        reads = okx(trader).okx.reads
        reads.foreign_algo_orders = [{"algoId": "17", "ordType": "oco", "instId": BTC_ID, "instType": "SWAP"}]
        reads.foreign_positions = [{"instId": "BTC-USD-SWAP", "instType": "SWAP", "pos": "1", "posSide": "net"}]
        assert [row["algoId"] for row in await pending(trader, "conditional,oco")][1:] == ["17"]
        rows = (await ask(trader.client.privateGetAccountPositions, {"instType": "SWAP"}))["data"]
        assert [row["instId"] for row in rows] == [BTC_ID, "BTC-USD-SWAP"]


@pytest.mark.parametrize("side", ["long", "short"])
async def test_without_a_position_a_reduce_only_order_is_refused(side: Side) -> None:
    async with open_trader(OKX) as trader:
        await trader.enter()
        await trader.close("close")
        order = {"side": "sell"} if side == "long" else {"side": "buy", "slTriggerPx": "1020"}
        with rejected("51169"):
            await place(trader, **order)


async def test_an_unknown_path_contract_or_parameter_is_an_error() -> None:
    async with open_trader(OKX) as trader:
        await trader.enter()
        with pytest.raises(ExchangeError, match="404"):
            await ask(trader.client.privateGetAccountBills)
        with pytest.raises(ExchangeError, match="51001"):
            await place(trader, instId="XYZ-USDT-SWAP")
        with rejected("51000"):
            await place(trader, stopPrice="1")


async def test_lists_of_prices_need_the_type_of_instruments() -> None:
    async with open_trader(OKX) as trader:
        await trader.enter()
        for request in (trader.client.publicGetPublicMarkPrice, trader.client.publicGetMarketTickers):
            with pytest.raises(ExchangeError, match="50014"):
                await ask(request, {"instId": BTC_ID})
            assert (await ask(request, {"instType": "SWAP", "instId": BTC_ID}))["data"]
