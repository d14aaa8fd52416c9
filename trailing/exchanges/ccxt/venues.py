"""The rows of the verified venues, and all venues by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from trailing.core.model import CallbackRange, Percent
from trailing.exchanges.ccxt.entry_requests import BridgeRequests, EntryFields, EntryRequests
from trailing.exchanges.ccxt.error_codes import ErrorCodes
from trailing.exchanges.ccxt.okx_venue import OKX
from trailing.exchanges.ccxt.unverified import UNVERIFIED
from trailing.exchanges.ccxt.venue import (
    CALLBACK,
    CLIENT_ORDER_ID,
    ORDER_ID,
    POSITION_INDEX,
    PRICE,
    SOURCE,
    AccountMode,
    ClientSetup,
    CloseRequests,
    Delays,
    FillRequests,
    ListRequests,
    LookUp,
    NativeTrailing,
    NextPage,
    OrderFields,
    OrderFormat,
    PriceRequests,
    StopRequests,
    Venue,
)

# https://developers.binance.com/docs/derivatives/usds-margined-futures/trade/rest-api: callbackRate
_BINANCE_TRAILING = NativeTrailing(
    place={
        "trailingPercent": CALLBACK,
        "trailingTriggerPrice": PRICE,
        "workingType": SOURCE,
        "clientOrderId": CLIENT_ORDER_ID,
        "reduceOnly": True,
    },
    callbacks=CallbackRange(Percent("0.1"), Percent(10), Percent("0.1")),
    types=frozenset({"TRAILING_STOP_MARKET"}),
    activation_field="activatePrice",
    callback_field="callbackRate",
)

# https://developers.binance.com/docs/derivatives/usds-margined-futures/error-code. For HTTP 503 the page general-info: the
# internal error and -1008 are failures; an unknown error says nothing about the order.
_BINANCE_ERRORS = ErrorCodes(
    would_trigger=frozenset({"-2021", "-4142"}),
    # -4118: "Please check your existing position and open orders". None of them says that the position is gone.
    nothing_to_reduce=frozenset({"-2022", "-2024", "-4112", "-4118"}),
    duplicate=frozenset({"-4116", "-4111", "-20132"}),
    too_many=frozenset({"-4045"}),
    gone=frozenset({"-2013", "Unknown order sent."}),  # -2011 also stands for other refused cancellations
    busy=frozenset({"-1008", "-1016", "-4117", "Internal error; unable to process your request. Please try again."}),
    refused=frozenset(
        {
            *("-1112", "-2020", "-2023", "-4061", "-4109", "-4120", "-4135"),
            # About one market, or temporary. ccxt takes these for invalid credentials.
            *("-4087", "-4088", "-4192", "-4400", "-4401", "-4402"),
        }
    ),
    key=frozenset({"-2014", "-2015"}),
    clock=frozenset({"-1021", "-5028"}),
    limited=frozenset({"-1003", "-1015"}),
    unknown=frozenset({"-1000", "-1001", "-1006", "-1007", "-1008"}),
)

_BINANCE_ENTRIES = EntryRequests(
    place={"clientOrderId": CLIENT_ORDER_ID},
    find=(("fetch_order", {"clientOrderId": CLIENT_ORDER_ID}),),
    cancel={"clientOrderId": CLIENT_ORDER_ID},
    fields=EntryFields(
        client_order_id="clientOrderId",
        quantity="origQty",
        filled="executedQty",
        average_price="avgPrice",
        limit="price",
        type="type",
        updated_at="updateTime",
        reduce_only="reduceOnly",
        position_side="positionSide",
        reason="status",
    ),
)

_BINANCE = Venue(
    name="binanceusdm",
    verified=True,
    client=ClientSetup(
        class_name="binanceusdm",
        options={
            "defaultType": "swap",
            "fetchCurrencies": False,
            "warnOnFetchOpenOrdersWithoutSymbol": False,
            "adjustForTimeDifference": True,
            "recvWindow": 5000,
        },
        testnet_method="enable_demo_trading",
    ),
    account=AccountMode(mode_from="fetch_position_mode", hedge_params={"hedged": True}),
    orders=OrderFormat(min_notional_exempt=True),  # -4164: "unless you choose reduce only"
    stops=StopRequests(
        place={
            "stopLossPrice": PRICE,
            "workingType": SOURCE,
            "clientOrderId": CLIENT_ORDER_ID,
            "reduceOnly": True,
        },
        sources={"mark": "MARK_PRICE", "last": "CONTRACT_PRICE"},
        cancel={"trigger": True},
        most_stops=200,  # change log of 2025-12-29: over all symbols
        trailing=_BINANCE_TRAILING,
    ),
    closes=CloseRequests(place={"clientOrderId": CLIENT_ORDER_ID, "reduceOnly": True}),
    entries=_BINANCE_ENTRIES,
    lists=ListRequests(
        find={"trigger": True, "clientOrderId": CLIENT_ORDER_ID},
        stops=({"trigger": True},),
        orders=({}, {"trigger": True}),
        kind_fields=("orderType", "type"),  # of a conditional order, and of a plain one
        bare_list_paths=("/openAlgoOrders", "/openOrders", "/userTrades", "/positionRisk", "/klines", "PriceKlines"),
        other_markets=r"\w+USD_(PERP|\d{6})",  # inverse contracts, which move to this API
        raw_position_methods=("fapiPrivateV3GetPositionRisk", "parse_position_risk"),
    ),
    # .../trade/rest-api/Account-Trade-List: seven days in one request, half a year at most. A stop's market order has an id of
    # its own.
    fills=FillRequests(
        look_ups=(
            LookUp(params={"trigger": True, "clientOrderId": CLIENT_ORDER_ID}, field="actualOrderId"),
            LookUp(params={"clientOrderId": CLIENT_ORDER_ID}, field="orderId"),
        ),
        trades={"orderId": ORDER_ID},
        field="orderId",
        page_size=1000,
        next_page=NextPage(param="fromId", field="id", is_newer=True),
        window_days=7,
        kept_days=180,
    ),
    fields=OrderFields(
        source="workingType",
        type="orderType",  # as its pages say; recorded lists have it as `type`
        other_type="type",
        stop_types=frozenset({"STOP_MARKET"}),
        status="algoStatus",
        triggered_statuses=frozenset({"TRIGGERING", "TRIGGERED"}),
        filled="actualQty",
        quantity="quantity",
        position_side="positionSide",
        position_quantity="positionAmt",
    ),
    prices=PriceRequests(
        methods={
            "last": ("fetch_ticker", "last"),
            "mark": ("fetch_funding_rate", "markPrice"),
            "index": ("fetch_funding_rate", "indexPrice"),
        },
        candles={"last": {}, "mark": {"price": "mark"}, "index": {"price": "index"}},
    ),
    delays=Delays(
        request_validity=6.0,  # recvWindow, and 1 s by which a request's time may be ahead
        orders_read_lag=5.0,  # GET algoOrder replied -2013 for more than 3 s after the order: freqtrade issue 12681
    ),
    errors=_BINANCE_ERRORS,
)

# https://bybit-exchange.github.io/docs/v5/error
_BYBIT_ERRORS = ErrorCodes(
    would_trigger=frozenset({"110092", "110093"}),
    no_position=frozenset({"110034", "current position is zero"}),
    nothing_to_reduce=frozenset({"110017"}),  # "orderQty will be truncated to zero": flat, or covered by other orders
    duplicate=frozenset({"110072"}),
    too_many=frozenset({"110009"}),
    # The phrase comes with 10001 where the stop of a position that is flat is cleared.
    gone=frozenset({"110001", "110008", "110010", "can not set tp/sl/ts for zero position"}),
    # The phrase comes with 10001, the code of every invalid request.
    unchanged=frozenset({"34040", "The order remains unchanged"}),
    busy=frozenset({"110063", "110079"}),
    refused=frozenset(
        {
            *("10029", "110065", "110066", "110067", "110068", "110069"),
            *("110095", "110097", "110098", "110099", "110100", "110103"),  # before a market has opened
            *("110074", "30228"),  # the market is not live, or is being delisted
            *("110080", "110090", "110123", "110124", "110125", "110132"),  # limits and terms of the account
            *("110118", "110120", "110121"),  # no price for a market order, or beyond the price limits
            *("110135", "110136", "110137"),  # event futures
        }
    ),
    key=frozenset({"10003", "10004", "10005", "10007", "10010", "33004"}),
    clock=frozenset({"10002", "request expired"}),
    limited=frozenset({"10006", "429"}),
    banned=frozenset({"10018", "access too frequent"}),
    unknown=frozenset({"5004", "10000", "10014", "10016", "40004"}),  # 10014: the request was received twice
)

# https://bybit-exchange.github.io/docs/v5/order/create-order, .../open-order and .../position/trading-stop. The stop of an
# entry with tpslMode Full is live from the first fill on, for the whole position, and has no orderLinkId of its own.
_BYBIT_ENTRIES = EntryRequests(
    place={"clientOrderId": CLIENT_ORDER_ID},
    find=(
        ("fetch_open_orders", {"orderLinkId": CLIENT_ORDER_ID}),
        ("fetch_open_orders", {"orderLinkId": CLIENT_ORDER_ID, "openOnly": 1}),  # those that ended lately
        ("fetch_canceled_and_closed_orders", {"orderLinkId": CLIENT_ORDER_ID}),
    ),
    cancel={"orderLinkId": CLIENT_ORDER_ID},
    fields=EntryFields(
        client_order_id="orderLinkId",
        quantity="qty",
        filled="cumExecQty",
        average_price="avgPrice",
        limit="price",
        type="orderType",
        updated_at="updatedTime",
        reduce_only="reduceOnly",
        position_side="positionIdx",
        reason="rejectReason",
    ),
    attached_stop="bridge",
    stop={"stopLoss": PRICE, "slTriggerBy": SOURCE, "tpslMode": "Full", "slOrderType": "Market"},
    bridge=BridgeRequests(
        find_list={"trigger": True},
        parent_field="parentOrderLinkId",
        type_field="stopOrderType",
        types=frozenset({"StopLoss"}),
        shown_type="Stop",
        clear_method="privatePostV5PositionTradingStop",
        clear={"category": "linear", "tpslMode": "Full", "stopLoss": "0"},
    ),
)

_BYBIT = Venue(
    name="bybit",
    verified=True,
    client=ClientSetup(
        class_name="bybit",
        options={
            "defaultType": "swap",
            "defaultSubType": "linear",
            "fetchMarkets": {"types": ["linear"]},
            "fetchCurrencies": False,
            "adjustForTimeDifference": True,
            "recvWindow": 5000,
            "watchPositions": {"fetchPositionsSnapshot": False, "awaitPositionsSnapshot": False},
        },
        prepare_methods=("is_unified_enabled",),
        testnet_method="set_sandbox_mode",
    ),
    # Not ccxt's parameter `hedged`: with that, ccxt leaves reduceOnly out of a close.
    account=AccountMode(mode_from="position_rows", hedge_params={"positionIdx": POSITION_INDEX}),
    stops=StopRequests(
        place={
            "stopLossPrice": PRICE,
            "triggerBy": SOURCE,
            "clientOrderId": CLIENT_ORDER_ID,
            "reduceOnly": True,
            # Otherwise Bybit cancels a triggered stop for which the margin does not suffice.
            "closeOnTrigger": True,
        },
        sources={"last": "LastPrice", "mark": "MarkPrice", "index": "IndexPrice"},
        amend={"triggerPrice": PRICE, "triggerBy": SOURCE},
    ),
    closes=CloseRequests(
        place={"clientOrderId": CLIENT_ORDER_ID, "reduceOnly": True},
        fetch={"acknowledged": True},
    ),
    entries=_BYBIT_ENTRIES,
    lists=ListRequests(
        find_list={"trigger": True, "orderLinkId": CLIENT_ORDER_ID},
        stops=({"trigger": True, "settleCoin": "USDT"}, {"trigger": True, "settleCoin": "USDC"}),
        kind_fields=("stopOrderType", "orderType"),
        positions=({"settleCoin": "USDT", "limit": 200}, {"settleCoin": "USDC", "limit": 200}),
        page_size=50,
        cursor="nextPageCursor",
        list_fields=dict.fromkeys(("/order/realtime", "/position/list", "kline"), "result.list"),
    ),
    # https://bybit-exchange.github.io/docs/v5/order/execution: seven days in one request, two years at most.
    fills=FillRequests(
        trades={"orderLinkId": CLIENT_ORDER_ID}, field="orderLinkId", page_size=100, window_days=7, kept_days=730
    ),
    fields=OrderFields(
        source="triggerBy",
        type="stopOrderType",
        stop_types=frozenset({"Stop"}),  # not StopLoss, TakeProfit and TrailingStop, which belong to the position
        execution_type="orderType",
        status="orderStatus",
        triggered_statuses=frozenset({"Triggered", "New", "PartiallyFilled"}),  # a waiting stop is Untriggered
        quantity="qty",
        position_quantity="size",
    ),
    prices=PriceRequests(
        methods={
            "last": ("fetch_ticker", "last"),
            "mark": ("fetch_ticker", "markPrice"),
            "index": ("fetch_ticker", "indexPrice"),
        },
        candles={"last": {}, "mark": {"price": "mark"}, "index": {"price": "index"}},
    ),
    delays=Delays(
        request_validity=6.0,  # recv_window, and 1 s by which a request's time may be ahead
        ban_seconds=600.0,  # https://bybit-exchange.github.io/docs/v5/rate-limit: ten minutes
    ),
    errors=_BYBIT_ERRORS,
)

VENUES: Final[Mapping[str, Venue]] = {venue.name: venue for venue in (_BINANCE, _BYBIT, OKX, *UNVERIFIED)}
"""The venues by the name that `open_ccxt` accepts."""

REFUSED: Final[Mapping[str, str]] = {
    "mexc": "ccxt does not check whether a cancel there succeeded, and no look-up finds a stop by its client order id",
    "htx": "client order ids are numbers there, so a stop can't be recognised as ours",
    # https://docs.woox.io: clientAlgoOrderId of an algo order. The 80 bits of our id don't fit in its 63.
    "woo": "client order ids of its stops are integers, so a stop can't be recognised as ours",
    # It does not help to list the symbols that have a position or a record: an order that may exist is confirmed absent by a
    # list of the whole account, also if its position is flat and its record is lost.
    "phemex": "its stops are listed by symbol only, so a stop of ours without a position and a record would count as gone "
    "while it is live, and would close the next position of that symbol",
}
"""Venues that can't be used safely, and why."""
