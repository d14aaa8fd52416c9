"""What an adapter reads of position mode, margin mode and leverage, and the margin mode that OKX's entries state."""

from __future__ import annotations

from decimal import Decimal as D
from typing import Any

import pytest
import trio
from real_exchange import BTC, ETH, KEYS, open_desk, open_server
from venue_faults import Fault, json_reply

import trailing
from trailing import EntryRequest, open_ccxt
from trailing.core.entry_orders import EntrySettings
from trailing.errors import AuthenticationFailed, ExchangeUnreachable, RateLimited, UsageError

OURS = "tr00000000000000000001"
by_venue = pytest.mark.parametrize("venue", ["binanceusdm", "bybit", "okx"])


def settings(**changes: Any) -> EntrySettings:
    usual: dict[str, Any] = {
        "hedged": False,
        "margin_mode": "cross",
        "long_leverage": D(20),
        "short_leverage": D(20),
        **changes,
    }
    return EntrySettings(BTC, **usual)


@by_venue
@pytest.mark.parametrize("hedged", [False, True])
async def test_position_mode_margin_mode_and_leverage_are_read(venue: str, hedged: bool) -> None:
    async with open_desk(venue, hedged=hedged) as desk:
        assert await desk.exchange.entry_settings(BTC) == settings(hedged=hedged)
        there = desk.server.market.settings
        keys: list[tuple[str, ...]] = [(BTC,)]
        if venue == "bybit":
            keys = [("long", BTC)] if hedged else [("long", BTC), ("short", BTC)]
        if venue == "okx":
            keys = [("BTC-USDT-SWAP", "cross", "long" if hedged else "net")]
        there.leverages |= dict.fromkeys(keys, "7")
        there.margin_modes |= {"": "ISOLATED_MARGIN", BTC: "ISOLATED"}
        mode = "cross" if venue == "okx" else "isolated"
        one_side = hedged and venue != "binanceusdm"
        after = settings(hedged=hedged, margin_mode=mode, long_leverage=D(7), short_leverage=D(20 if one_side else 7))
        assert await desk.exchange.entry_settings(BTC) == after


@by_venue
async def test_ten_tasks_at_once_share_the_requests_about_the_account(venue: str) -> None:
    async with open_desk(venue) as desk:
        before = len(desk.server.requests)
        async with trio.open_nursery() as nursery:
            for symbol in (BTC, ETH) * 5:
                nursery.start_soon(desk.exchange.entry_settings, symbol)
        endpoints = [seen.endpoint for seen in desk.server.requests[before:]]
        mode = {"binanceusdm": "accountConfig", "bybit": "account/info", "okx": "account/config"}[venue]
        counted = [each for each in endpoints if each.endswith(mode)]
        assert len(counted) <= 2  # that of the first task, and one that was sent after the others had asked
        await desk.exchange.entry_settings(BTC)  # a later task reads the account again
        assert len([each for each in desk.server.requests if each.endpoint.endswith(mode)]) > len(counted)


@by_venue
async def test_a_mode_that_was_switched_since_the_exchange_was_opened_is_told(venue: str) -> None:
    async with open_desk(venue) as desk:
        desk.server.market.hedged = True
        assert (desk.exchange.hedged, (await desk.exchange.entry_settings(BTC)).hedged) == (False, True)


@by_venue
@pytest.mark.parametrize("reply", [{}, {"dualSidePosition": "maybe"}, {"code": "0", "data": [{"posMode": "odd"}]}])
async def test_a_reply_that_can_t_be_parsed_is_unreachable(venue: str, reply: dict[str, Any]) -> None:
    operation = {"binanceusdm": "account_mode", "bybit": "account", "okx": "account"}[venue]
    async with open_desk(venue) as desk:
        known = {"retCode": 0, "result": {"marginMode": "ODD"}} if venue == "bybit" else reply
        desk.server.faults.add(Fault(on=operation, reply=json_reply(known)))
        with pytest.raises(ExchangeUnreachable):
            await desk.exchange.entry_settings(BTC)


async def test_a_failed_request_keeps_its_error_with_the_time_of_a_rate_limit() -> None:
    async with open_desk("binanceusdm") as desk:
        limited = json_reply({"code": -1003, "msg": "Too many requests."}, 429, {"Retry-After": "37"})
        desk.server.faults.add(Fault(on="entry_settings", reply=limited))
        with pytest.raises(RateLimited) as raised:
            await desk.exchange.entry_settings(BTC)
        assert raised.value.retry_after == 37
    async with open_desk("binanceusdm") as desk:
        refused = json_reply({"code": -2015, "msg": "Invalid API-key, IP, or permissions for action."}, 401)
        desk.server.faults.add(Fault(on="entry_settings", reply=refused))
        with pytest.raises(AuthenticationFailed):
            await desk.exchange.entry_settings(BTC)


async def test_the_paper_exchange_has_the_settings_that_it_was_opened_with() -> None:
    async with trailing.open_paper(leverage=5, hedged=True) as exchange:
        found = await exchange.entry_settings(BTC)
        assert found == settings(hedged=True, margin_mode="isolated", long_leverage=D(5), short_leverage=D(5))


@pytest.mark.parametrize("mode", [None, "cross", "isolated"])
async def test_an_entry_on_okx_states_the_margin_mode_that_the_settings_show(mode: Any) -> None:
    async with open_server("okx") as server:
        for source in ("last", "mark", "index"):
            await server.move_price(BTC, D(1000), source)
        server.market.settings.leverages["BTC-USDT-SWAP", "isolated", "net"] = "3"
        async with open_ccxt("okx", credentials=KEYS, configure=server.configure, margin_mode=mode) as exchange:
            shown = await exchange.entry_settings(BTC)
            assert (shown.margin_mode, shown.leverage("long")) == (mode or "cross", D(3 if mode == "isolated" else 20))
            await exchange.place_entry(EntryRequest(BTC, "long", D("0.6"), OURS))
        assert server.seen("place_entry")[0].params["tdMode"] == (mode or "cross")


async def test_an_open_position_decides_the_margin_mode_of_the_next_entry_on_okx() -> None:
    async with open_desk("okx", margin_mode="isolated", hedged=True) as desk:
        await desk.server.move_price(BTC, D(1000), "last")
        await desk.enter("short")
        assert (await desk.exchange.entry_settings(BTC)).margin_mode == "isolated"
        await desk.exchange.place_entry(EntryRequest(BTC, "long", D("0.6"), OURS))
        assert desk.server.seen("place_entry")[0].params["tdMode"] == "isolated"


async def test_two_sides_in_different_margin_modes_have_none_in_common() -> None:
    async with open_desk("okx", hedged=True) as desk:
        modes = desk.exchange.session.margin_modes
        modes.replace({(BTC, "long"): "cross", (BTC, "short"): "isolated"})
        found = await desk.exchange.entry_settings(BTC)
        assert found == EntrySettings(BTC, hedged=True)


async def test_a_margin_mode_is_refused_where_the_venue_stores_it() -> None:
    with pytest.raises(
        UsageError, match="margin_mode got 'isolated', wants None, because bybit stores the margin mode"
    ):
        async with open_ccxt("bybit", credentials=KEYS, margin_mode="isolated"):
            pass
    with pytest.raises(UsageError, match="margin_mode got 'both', wants 'cross', 'isolated' or None"):
        async with open_ccxt("okx", credentials=KEYS, margin_mode="both"):  # type: ignore[arg-type]
            pass
