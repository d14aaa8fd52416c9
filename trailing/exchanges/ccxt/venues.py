"""The venues: two that were tried over servers of their kind, and the way to all the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from trailing.core.model import CallbackRange, Percent
from trailing.exchanges.ccxt.unverified import UNVERIFIED
from trailing.exchanges.ccxt.venue import CALLBACK, CLIENT_ORDER_ID, PRICE, SOURCE, Codes, Trailing, Venue

# https://developers.binance.com/docs/derivatives/usds-margined-futures/error-code, and of what comes with HTTP 503 its page
# general-info: the internal error and -1008 are failures, an unknown error says nothing of the order.
_BINANCE = Venue(
    name="binanceusdm",
    client="binanceusdm",
    verified=True,
    options={
        "defaultType": "swap",
        "fetchCurrencies": False,
        "warnOnFetchOpenOrdersWithoutSymbol": False,
        "adjustForTimeDifference": True,
        "recvWindow": 5000,
    },
    place={
        "stopLossPrice": PRICE,
        "workingType": SOURCE,
        "clientOrderId": CLIENT_ORDER_ID,
        "reduceOnly": True,
    },
    trailing=Trailing(
        place={
            "trailingPercent": CALLBACK,
            "trailingTriggerPrice": PRICE,
            "workingType": SOURCE,
            "clientOrderId": CLIENT_ORDER_ID,
            "reduceOnly": True,
        },
        # https://developers.binance.com/docs/derivatives/usds-margined-futures/trade/rest-api: callbackRate
        callbacks=CallbackRange(Percent("0.1"), Percent(10), Percent("0.1")),
        types=frozenset({"TRAILING_STOP_MARKET"}),
        activation_field="activatePrice",
        callback_field="callbackRate",
    ),
    cancel={"trigger": True},
    find={"trigger": True, "clientOrderId": CLIENT_ORDER_ID},
    lists=({"trigger": True},),
    bare_lists=("/openAlgoOrders", "/positionRisk", "/klines", "PriceKlines"),
    close={"clientOrderId": CLIENT_ORDER_ID, "reduceOnly": True},
    hedge={"hedged": True},
    sources={"mark": "MARK_PRICE", "last": "CONTRACT_PRICE"},
    source_field="workingType",
    type_field="orderType",
    stop_types=frozenset({"STOP_MARKET"}),
    status_field="algoStatus",
    triggered=frozenset({"TRIGGERING", "TRIGGERED"}),
    filled_field="actualQty",
    leg_field="positionSide",
    quantity_field="quantity",
    held_field="positionAmt",
    other_markets=r"\w+USD_(PERP|\d{6})",  # inverse ones, which move to this API
    raw_positions=("fapiPrivateV3GetPositionRisk", "parse_position_risk"),
    prices={
        "last": ("fetch_ticker", "last"),
        "mark": ("fetch_funding_rate", "markPrice"),
        "index": ("fetch_funding_rate", "indexPrice"),
    },
    candles={"last": {}, "mark": {"price": "mark"}, "index": {"price": "index"}},
    mode="fetch_position_mode",
    minimum_spares_stops=True,  # -4164: "unless you choose reduce only"
    testnet="enable_demo_trading",
    request_validity=6.0,  # recvWindow, and the second by which a request's time may be ahead
    orders_read_lag=5.0,  # GET algoOrder answered -2013 for more than 3 s after a placing: freqtrade issue 12681
    codes=Codes(
        would_trigger=frozenset({"-2021", "-4142"}),
        nothing_to_reduce=frozenset({"-2022", "-2024", "-4112", "-4118"}),
        duplicate=frozenset({"-4116", "-4111", "-20132"}),
        too_many=frozenset({"-4045"}),
        gone=frozenset({"-2013", "Unknown order sent."}),  # -2011 is said of other refused cancellations too
        busy=frozenset(
            {"-1008", "-1016", "-4117", "Internal error; unable to process your request. Please try again."}
        ),
        # The last ones are of a market, or for a while; ccxt takes them for a matter of the key.
        refused=frozenset(
            {
                *("-1112", "-2020", "-2023", "-4061", "-4109", "-4120", "-4135"),
                *("-4087", "-4088", "-4192", "-4400", "-4401", "-4402"),
            }
        ),
        key=frozenset({"-2014", "-2015"}),
        clock=frozenset({"-1021", "-5028"}),
        limited=frozenset({"-1003", "-1015"}),
        unknown=frozenset({"-1000", "-1001", "-1006", "-1007", "-1008"}),
    ),
)

# https://bybit-exchange.github.io/docs/v5/error, and its page on rate limits for the ban: ten minutes
_BYBIT = Venue(
    name="bybit",
    client="bybit",
    verified=True,
    options={
        "defaultType": "swap",
        "defaultSubType": "linear",
        "fetchMarkets": {"types": ["linear"]},
        "fetchCurrencies": False,
        "adjustForTimeDifference": True,
        "recvWindow": 5000,
        "watchPositions": {"fetchPositionsSnapshot": False, "awaitPositionsSnapshot": False},
    },
    place={"stopLossPrice": PRICE, "triggerBy": SOURCE, "clientOrderId": CLIENT_ORDER_ID, "reduceOnly": True},
    amend={"triggerPrice": PRICE, "triggerBy": SOURCE},
    cancel={},
    find_list={"trigger": True, "orderLinkId": CLIENT_ORDER_ID},
    lists=({"trigger": True, "settleCoin": "USDT"}, {"trigger": True, "settleCoin": "USDC"}),
    position_lists=({"settleCoin": "USDT", "limit": 200}, {"settleCoin": "USDC", "limit": 200}),
    page=50,
    cursor="nextPageCursor",
    close={"clientOrderId": CLIENT_ORDER_ID, "reduceOnly": True},
    fetch_close={"acknowledged": True},
    hedge={"hedged": True},
    sources={"last": "LastPrice", "mark": "MarkPrice", "index": "IndexPrice"},
    source_field="triggerBy",
    status_field="orderStatus",
    triggered=frozenset({"Triggered", "New", "PartiallyFilled"}),  # a conditional order that waits is Untriggered
    quantity_field="qty",
    held_field="size",
    prices={
        "last": ("fetch_ticker", "last"),
        "mark": ("fetch_ticker", "markPrice"),
        "index": ("fetch_ticker", "indexPrice"),
    },
    candles={"last": {}, "mark": {"price": "mark"}, "index": {"price": "index"}},
    prepare=("is_unified_enabled",),
    mode="position_rows",
    testnet="set_sandbox_mode",
    request_validity=6.0,  # recv_window, and the second by which a request's time may be ahead
    codes=Codes(
        would_trigger=frozenset({"110092", "110093"}),
        nothing_to_reduce=frozenset({"110017", "110034"}),
        duplicate=frozenset({"110072"}),
        too_many=frozenset({"110009"}),
        gone=frozenset({"110001", "110008", "110010"}),
        # Said with 10001, the code of whatever is wrong with a request.
        unchanged=frozenset({"34040", "The order remains unchanged"}),
        busy=frozenset({"110063", "110079"}),
        refused=frozenset(
            {
                *("10029", "110065", "110066", "110067", "110068", "110069"),
                *("110095", "110097", "110098", "110099", "110100", "110103"),  # before a market has opened
            }
        ),
        key=frozenset({"10003", "10004", "10005", "10007", "10010", "33004"}),
        clock=frozenset({"10002", "request expired"}),
        limited=frozenset({"10006", "429"}),
        banned=frozenset({"10018", "access too frequent"}),
        unknown=frozenset({"5004", "10000", "10014", "10016", "40004"}),  # 10014: the request is there twice
    ),
)

VENUES: Final[Mapping[str, Venue]] = {venue.name: venue for venue in (_BINANCE, _BYBIT, *UNVERIFIED)}
"""By the name that `open_ccxt` takes."""

REFUSED: Final[Mapping[str, str]] = {
    "mexc": "ccxt does not check whether a cancel there worked, and no look-up finds a stop by its client order id",
    "htx": "client order ids are numbers there, so that a stop can't be known as ours",
    # Asking for the symbols that have a position, or are known, is no way out: an order that may exist is proved absent by
    # a list of the whole account, also where its position is flat and its record is lost.
    "phemex": "its stops are listed by symbol only: one of ours on a symbol with no position left, and whose record is lost, "
    "would be taken for gone while it stands, and would close the next position there",
}
"""Venues that can't be used safely, and why."""
