"""The bot's own requests through `exchange.call`: settings, orders, refusals, the lease, and the rate limit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal as D
from typing import Any

import pytest
import trio
from ccxt import pro
from real_exchange import BTC, Desk, open_desk, stop_request
from venue_faults import Fault

import trailing
from trailing import EntryRequest, Percent, Position, Protected, TrailPlan
from trailing.errors import CallRejected, ExchangeUnreachable, LeaseLost, OutcomeUnknown, UsageError
from trailing.exchanges.ccxt.calls import find_method
from trailing.exchanges.ccxt.venues import VENUES as VENUES_BY_NAME
from trailing.stores.port import Store

VENUES = ("binanceusdm", "bybit", "okx")
PLAN = TrailPlan(initial_stop=Percent("2"), trigger="last")
SIZES: Mapping[str, str] = {"binanceusdm": "0.2", "bybit": "0.2", "okx": "20"}  # 0.2 BTC; OKX counts contracts
IDS: Mapping[str, str] = {"binanceusdm": "newClientOrderId", "bybit": "orderLinkId", "okx": "clOrdId"}
OURS = "tr00000000000000000001"

by_venue = pytest.mark.parametrize("venue", VENUES)


@asynccontextmanager
async def managed(venue: str, **settings: Any) -> AsyncIterator[tuple[Desk, trailing.Manager]]:
    """Open an exchange on a server with a price, and a manager that owns the account."""
    async with open_desk(venue, **settings) as desk:
        for source in ("last", "mark", "index"):
            await desk.server.move_price(BTC, D(1000), source)
        async with (
            trailing.open_store("memory:") as store,
            trailing.open_manager(desk.exchange, store, PLAN) as manager,
        ):
            yield desk, manager


def changes(desk: Desk) -> list[str]:
    """Return the endpoints of the requests that could change something."""
    return [seen.endpoint for seen in desk.server.requests if not seen.endpoint.startswith("GET")]


@by_venue
async def test_a_balance_is_read_without_a_manager(venue: str) -> None:
    async with open_desk(venue) as desk:
        balance = await desk.exchange.call("fetch_balance")
        assert D(balance["USDT"]["total"]) == 100_000


@by_venue
async def test_the_bot_sets_leverage_and_margin_mode_and_reads_what_is_set(venue: str) -> None:
    async with managed(venue) as (desk, _):
        before = await desk.exchange.entry_settings(BTC)
        assert (before.hedged, before.margin_mode, before.leverage("long")) == (False, "cross", D(20))
        await desk.exchange.call("set_leverage", 7, symbol=BTC)
        await desk.exchange.call("setMarginMode", "isolated", BTC, leverage=7, posSide="net") if venue == "okx" else (
            await desk.exchange.call("setMarginMode", "isolated", BTC)
        )
        after = await desk.exchange.entry_settings(BTC)
        assert (after.leverage("long"), after.leverage("short")) == (D(7), D(7))
        assert after.margin_mode == ("cross" if venue == "okx" else "isolated")  # OKX stores none


@by_venue
async def test_the_bot_places_and_cancels_its_own_limit_order_beside_a_protected_position(venue: str) -> None:
    async with managed(venue) as (desk, manager):
        await desk.enter(quantity="0.8")
        outcome = await manager.protect(Position(BTC, "long", D("0.8"), D(1000), datetime.now(UTC)), deadline=10)
        assert isinstance(outcome, Protected)
        placed = await desk.exchange.call(
            "create_order", BTC, "limit", "buy", SIZES[venue], "900", **{IDS[venue]: "mine1"}
        )
        (order,) = [each for each in desk.server.market.orders.values() if each.wanted.client_order_id == "mine1"]
        assert (order.is_open, order.wanted.quantity, order.wanted.limit) == (True, D("0.2"), D(900))
        await desk.exchange.call("cancel_order", placed["id"], BTC)
        assert not order.is_open
        assert desk.stops_there() == {outcome.stop.client_order_id}


@by_venue
async def test_a_change_needs_a_manager_and_a_read_needs_none(venue: str) -> None:
    async with open_desk(venue) as desk:
        for method, args in (("set_leverage", (5, BTC)), ("create_order", (BTC, "market", "buy", SIZES[venue]))):
            with pytest.raises(UsageError, match=f"{method} changes something, so it needs an open manager"):
                await desk.exchange.call(method, *args)
        assert changes(desk) == []


async def test_nothing_is_changed_after_the_manager_has_ended() -> None:
    async with managed("bybit") as (desk, _):
        await desk.exchange.call("set_leverage", 5, BTC)
        exchange, server = desk.exchange, desk.server
        sent = changes(desk)
    with pytest.raises(UsageError, match="needs an open manager"):
        await exchange.call("set_leverage", 6, BTC)
    assert changes(Desk(exchange, server)) == sent


class LostLease:
    """A fence of a manager whose account another process took."""

    def __init__(self, passes: int) -> None:
        self.passes = passes
        self.busy: list[float] = []

    def check_may_send(self, turn: float, call_seconds: float) -> float:
        self.passes -= 1
        if self.passes < 0:
            raise LeaseLost("not sent: another process owns the account")
        return trio.current_time()

    def extend_busy_until(self, turn_at: float) -> None:
        self.busy.append(turn_at)


@by_venue
@pytest.mark.parametrize("passes", [0, 1])  # before the wait for the rate limit, and after it
async def test_a_change_is_refused_once_the_lease_is_lost(venue: str, passes: int) -> None:
    async with open_desk(venue) as desk:
        fence = LostLease(passes)
        desk.exchange.set_fence(fence)
        with pytest.raises(LeaseLost, match="another process owns the account"):
            await desk.exchange.call("set_leverage", 5, BTC)
        assert (changes(desk), fence.busy) == ([], [])
        await desk.exchange.call("fetch_balance")


class RememberingStore:
    """In front of another store. `lease`: the last one."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner
        self.lease: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_inner"], name)

    @asynccontextmanager
    async def acquire_lease(self, *account: str, **options: Any) -> AsyncIterator[Any]:
        async with self._inner.acquire_lease(*account, **options) as self.lease:
            yield self.lease


async def test_a_manager_that_lost_its_lease_lets_no_change_pass() -> None:
    async with open_desk("bybit") as desk, trailing.open_store("memory:") as inner:
        store: Any = RememberingStore(inner)
        async with trailing.open_manager(desk.exchange, store, PLAN):
            await desk.exchange.call("set_leverage", 5, BTC)
            before = changes(desk)
            store.lease.lost = "another process owns the account"  # which the manager has not noticed yet
            with pytest.raises(LeaseLost, match="not sent: another process owns the account"):
                await desk.exchange.call("set_leverage", 6, BTC)
            store.lease.lost = None
            assert changes(desk) == before


@by_venue
async def test_a_change_that_names_an_id_with_our_tag_is_refused(venue: str) -> None:
    naming: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        ((OURS, BTC), {}),
        (("1", BTC), {IDS[venue]: OURS}),
        (("1", BTC), {"ids": [{"of": (OURS,)}]}),
        (("1", BTC), {OURS: "1"}),
        ((OURS.encode(), BTC), {}),
        ((f"t-{OURS.upper()}", BTC), {}),
        ((f"0x7472{OURS[2:]}{'0' * 8}", BTC), {}),
    ]
    async with managed(venue) as (desk, _):
        before = changes(desk)
        for args, named in naming:
            with pytest.raises(UsageError, match=r"cancel_order got '.*', an id of an order that the manager placed"):
                await desk.exchange.call("cancel_order", *args, **named)
        assert changes(desk) == before


async def test_arguments_without_an_end_are_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    async with managed("bybit") as (desk, _):
        with pytest.raises(UsageError, match="the arguments have more than 20 levels"):
            await desk.exchange.call("cancel_order", "1", BTC, of=endless)


@by_venue
async def test_a_stop_of_ours_can_t_be_cancelled_by_the_exchange_s_id(venue: str) -> None:
    async with managed(venue) as (desk, manager):
        await desk.enter()
        await manager.protect(Position(BTC, "long", D("0.8"), D(1000), datetime.now(UTC)), deadline=10)
        (stop,) = manager.stops().values()
        before = changes(desk)
        for params in ({}, {"trigger": True}):
            with pytest.raises(UsageError, match=f"got id {stop.order_id}, an order that the manager placed"):
                await desk.exchange.call("cancel_order", stop.order_id, BTC, **params)
        assert changes(desk) == before
        assert desk.stops_there() == {stop.client_order_id}


@pytest.mark.parametrize("form", [list, str, "{},".format, lambda ids: [{"orderId": ids}], '[{{"orderId":{}}}]'.format])
async def test_an_entry_of_ours_can_t_be_cancelled_by_a_list_of_ids(form: Callable[[Any], Any]) -> None:
    async with managed("binanceusdm") as (desk, _):
        for source in ("last", "mark", "index"):
            await desk.server.move_price(BTC, D(1000), source)
        order = await desk.exchange.place_entry(EntryRequest(BTC, "long", D("0.6"), OURS, limit=D(900)))
        before = changes(desk)
        ids: Any = int(order.order_id)
        with pytest.raises(UsageError, match=f"got .* {order.order_id}, an order that the manager placed"):
            wanted = form([ids] if form in (list, str) else ids)
            await desk.exchange.call("fapiPrivateDeleteBatchOrders", symbol="BTCUSDT", orderIdList=wanted)
        assert changes(desk) == before


@pytest.mark.parametrize("named", [{}, {"orderId": ""}, {"orderIdList": []}, {"orderIdList": "[]"}])
async def test_a_cancellation_that_names_no_order_is_refused(named: dict[str, Any]) -> None:
    async with managed("binanceusdm") as (desk, _):
        before = changes(desk)
        with pytest.raises(UsageError, match="got no order id, and may cancel the stops, too"):
            await desk.exchange.call("fapiPrivateDeleteBatchOrders", symbol="BTCUSDT", **named)
        assert changes(desk) == before


CANCEL_ALL = {
    "bitget": ("privateMixPostMixV1OrderCancelSymbolOrders", "privateMixPostMixV1PlanCancelSymbolPlan"),
    "gate": ("privateFuturesDeleteSettlePriceOrders", "privateDeliveryDeleteSettlePriceOrders"),
    "kucoinfutures": ("futuresPrivateDeleteStopOrders", "utaPrivatePostAccountModeOrderCancelAll"),
    "krakenfutures": ("privatePostCancelallorders", "privatePostCancelallordersafter"),
    "deribit": (
        "privateGetCancelAll",
        "privateGetCancelAllByCurrency",
        "privateGetCancelAllByInstrument",
        "privateGetEnableCancelOnDisconnect",
    ),
    "bingx": ("swapV2PrivateDeleteTradeAllOpenOrders", "swapV2PrivatePostTradeCancelAllAfter"),
}
POSITION_MODE = {
    "bitget": ("privateMixPostV2MixAccountSetPositionMode", "privateUtaPostV3AccountSetHoldMode"),
    "gate": ("privateFuturesPostSettleDualMode", "privateFuturesPostSettleSetPositionMode"),
    "kucoinfutures": ("futuresPrivatePostPositionSwitchPositionMode",),
    "bingx": ("swapV1PrivatePostPositionSideDual",),
}
SINGLE = {
    "gate": "privateFuturesDeleteSettlePriceOrdersOrderId",
    "kucoinfutures": "futuresPrivateDeleteOrdersOrderId",
    "deribit": "privateGetCancel",
    "bingx": "swapV2PrivateDeleteTradeOrder",
    "bitget": "privateMixPostV2MixOrderCancelPlanOrder",
}


@pytest.mark.parametrize(("methods", "reason"), [(CANCEL_ALL, "cancel the stops"), (POSITION_MODE, "position mode")])
def test_calls_that_reach_every_stop_or_change_the_position_mode_are_refused_on_unverified_venues(
    methods: Mapping[str, tuple[str, ...]], reason: str
) -> None:
    for venue, names in methods.items():
        row = VENUES_BY_NAME[venue]
        client = getattr(pro, row.client.class_name)()
        for name in names:
            with pytest.raises(UsageError, match=reason):
                find_method(client, row, name)


@pytest.mark.parametrize("venue", SINGLE)
def test_a_call_that_cancels_a_single_order_is_allowed_on_unverified_venues(venue: str) -> None:
    row = VENUES_BY_NAME[venue]
    client = getattr(pro, row.client.class_name)()
    assert find_method(client, row, SINGLE[venue]).kind == "call_cancel"


REFUSED = [
    ("_init", "wants the name of a method of ccxt"),
    ("", "wants the name of a method of ccxt"),
    ("close", "opens and closes its client by itself"),
    ("load_markets", "are read when the exchange is opened"),
    ("loadTimeDifference", "are read when the exchange is opened"),
    ("watch_orders", "it uses a connection of its own"),
    ("un_watch_tickers", "it uses a connection of its own"),
    ("create_order_ws", "it uses a connection of its own"),
    ("cancel_all_orders", "it would cancel the stops, too"),
    ("set_position_mode", "reads the position mode when it is opened"),
    ("fetch_balanse", "no method of ccxt .* Did you mean fetch_balance"),
    ("sign", "no method of ccxt"),
    ("markets", "no method of ccxt"),
    ("fetch2", "no method of ccxt"),
    ("set_sandbox_mode", "no method of ccxt"),
]


@by_venue
async def test_a_method_that_can_t_be_called_is_refused_in_one_line(venue: str) -> None:
    async with open_desk(venue) as desk:
        before = len(desk.server.requests)
        for method, reason in REFUSED:
            with pytest.raises(UsageError, match=reason) as caught:
                await desk.exchange.call(method)
            assert "\n" not in str(caught.value)
        assert len(desk.server.requests) == before


WRONG: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
    ((), {}, "set_leverage got no leverage, which it needs"),
    ((5, BTC, {}, {}), {}, "set_leverage got .* wants"),
    ((5, BTC, 3), {}, "set_leverage got .* wants"),
    ((5,), {"leverage": 6}, "set_leverage got leverage twice"),
    ((5, BTC), {"maxRetriesOnFailure": 3}, "a call is never repeated"),
    ((5000, BTC), {}, "call set_leverage: BadRequest .* between 1 and 125"),
    (("x", BTC), {}, "call set_leverage: TypeError"),
    ((5, "NO/USDT:USDT"), {}, "call set_leverage: BadSymbol"),
    ((5, BTC), {"params": 3}, "set_leverage got .* wants"),
]


async def test_wrong_arguments_are_the_caller_s_error_and_nothing_is_sent() -> None:
    async with managed("binanceusdm") as (desk, _):
        before = changes(desk)
        for args, named, reason in WRONG:
            with pytest.raises(UsageError, match=reason):
                await desk.exchange.call("set_leverage", *args, **named)
        assert changes(desk) == before


async def test_an_endpoint_of_the_venue_can_be_called_by_ccxt_s_name() -> None:
    async with managed("binanceusdm") as (desk, _):
        read = await desk.exchange.call("fapiPrivateGetSymbolConfig", symbol="BTCUSDT")
        assert read[0]["leverage"] == 20
        await desk.exchange.call("fapiprivate_post_leverage", {"symbol": "BTCUSDT", "leverage": 9})
        assert (await desk.exchange.call("fapiPrivateGetSymbolConfig", {}, symbol="BTCUSDT"))[0]["leverage"] == 9
        with pytest.raises(UsageError, match="it would cancel the stops"):
            await desk.exchange.call("fapiPrivateDeleteAllOpenOrders", symbol="BTCUSDT")


KINDS: Mapping[str, Mapping[str, str]] = {
    "binanceusdm": {
        "fetch_open_orders": "call_read",
        "fapiPrivateGetOpenOrders": "call_read",
        "fapiPrivateGetPositionSideDual": "call_read",
        "createLimitBuyOrder": "call_order",
        "fapiPrivatePostOrder": "call_order",
        "fapiPrivatePutOrder": "call_amend",
        "fapiPrivateDeleteOrder": "call_cancel",
        "setLeverage": "call_change",
        "transfer": "call_change",
    },
    "bybit": {
        "privatePostV5OrderCreate": "call_order",
        "privatePostV5OrderAmend": "call_amend",
        "private_post_v5_order_cancel": "call_cancel",
        "edit_order": "call_amend",
    },
    "okx": {
        "privatePostTradeOrderAlgo": "call_order",
        "privatePostTradeAmendAlgos": "call_amend",
        "privatePostTradeCancelAlgos": "call_cancel",
        "closePosition": "call_order",
    },
    "deribit": {"privateGetBuy": "call_change"},  # it is unverified, and places orders by GET
}


@pytest.mark.parametrize("venue", KINDS)
def test_a_call_counts_in_the_limit_of_its_kind(venue: str) -> None:
    row = VENUES_BY_NAME[venue]
    client = getattr(pro, row.client.class_name)()
    assert {name: find_method(client, row, name).kind for name in KINDS[venue]} == KINDS[venue]


@by_venue
async def test_a_refusal_of_the_venue_is_a_call_rejected(venue: str) -> None:
    async with managed(venue) as (desk, _):
        with pytest.raises(CallRejected):
            await desk.exchange.call("cancel_order", "123", BTC)
        with pytest.raises(CallRejected):
            await desk.exchange.call("create_order", BTC, "limit", "buy", SIZES[venue], "900", reduceOnly=True)


@by_venue
async def test_a_change_without_a_reply_has_an_unknown_outcome_and_is_never_repeated(venue: str) -> None:
    async with managed(venue) as (desk, _):
        before = len(changes(desk))
        desk.server.faults.add(Fault(on="place_entry", drop="after"))
        with pytest.raises(OutcomeUnknown, match="call create_order"):
            await desk.exchange.call("create_order", BTC, "limit", "buy", SIZES[venue], "900")
        assert len(changes(desk)) == before + 1
        assert len(desk.server.market.orders) == 1


async def test_a_change_without_a_reply_keeps_the_account_busy() -> None:
    async with open_desk("bybit") as desk:
        fence = LostLease(100)
        desk.exchange.set_fence(fence)
        desk.server.faults.add(Fault(on="place_entry", drop="after"))
        with pytest.raises(OutcomeUnknown):
            await desk.exchange.call("create_order", BTC, "limit", "buy", "0.1", "900")
        assert len(fence.busy) == 1


@by_venue
async def test_a_clock_that_is_off_is_no_reason_to_repeat_a_call(venue: str) -> None:
    async with managed(venue) as (desk, _):
        before = len(changes(desk))
        desk.server.clock.skew = 3600.0
        with pytest.raises(ExchangeUnreachable):
            await desk.exchange.call("set_leverage", 5, BTC)
        desk.server.clock.skew = 0.0
        assert len(changes(desk)) == before + 1


@by_venue
async def test_a_cancelled_caller_recalls_nothing_that_was_sent(venue: str) -> None:
    async with managed(venue) as (desk, _):
        desk.server.faults.latency = 0.3
        with trio.move_on_after(0.1) as scope:
            await desk.exchange.call("create_order", BTC, "limit", "buy", SIZES[venue], "900")
        assert scope.cancelled_caught
        with trio.fail_after(5):
            while not desk.server.market.orders:
                await trio.sleep(0.02)


@by_venue
async def test_a_burst_of_200_calls_delays_a_stop_by_at_most_one_turn(venue: str) -> None:
    async with managed(venue) as (desk, _):
        await desk.enter()
        limiter: Any = desk.exchange.session.rate_limiter
        if venue == "binanceusdm":
            limiter.limit_tokens("orders in 10 s", 80.0)  # of 150, so that five calls are sent at once, not 75
        async with trio.open_nursery() as nursery:
            for number in range(200):
                order = (BTC, "limit", "buy", SIZES[venue], str(900 + number % 50))
                nursery.start_soon(desk.exchange.call, "create_order", *order)
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert desk.exchange.rate_limit_delay("place_stop") == 0.0
            assert desk.exchange.rate_limit_delay("call_order") > 0.0
            placed = await desk.exchange.place_stop(stop_request())
            nursery.cancel_scope.cancel()
        assert desk.stops_there() == {placed.client_order_id}
        assert len(desk.server.seen("place_entry")) < 200


async def test_every_request_of_a_call_with_several_waits_for_its_turn() -> None:
    async with open_desk("bybit") as desk:
        waits: list[str] = []
        acquire = desk.exchange.session.rate_limiter.acquire

        async def count(operation: str, symbol: str | None = None) -> None:
            waits.append(operation)
            await acquire(operation, symbol)

        desk.exchange.session.rate_limiter.acquire = count  # type: ignore[method-assign]
        before = len(desk.server.requests)
        since = int((datetime.now(UTC).timestamp() - 3 * 24 * 3600) * 1000)
        await desk.exchange.call("fetch_ohlcv", BTC, "1m", since, 3000, paginate=True, maxEntriesPerRequest=1000)
        assert waits == ["call_read"] * (len(desk.server.requests) - before)
        assert len(waits) > 1


async def test_the_paper_exchange_has_no_calls() -> None:
    async with trailing.open_paper() as exchange:
        with pytest.raises(UsageError, match="call got 'fetch_balance', but the paper exchange has no methods of ccxt"):
            await exchange.call("fetch_balance")
