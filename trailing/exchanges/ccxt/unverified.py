"""Venues of which only the requests are known, as ccxt sends them: nobody here has seen them answered.

The rows say what ccxt's source says. What a venue does with it (whether a stop triggers, how it is listed, which code
a refusal has) was not tried; an order that carries our tag and can't be read makes
its list partial, and is never "no order".
None of them is sent amendments but OKX: elsewhere an amendment drops the trigger source or the reduce-only flag, or
goes to another endpoint. Hedge mode is refused on all of them, where the venue tells of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from trailing.core.model import Source
from trailing.exchanges.ccxt.venue import CLIENT_ORDER_ID, PRICE, SOURCE, Codes, Venue

_CLOSE: Final = {"clientOrderId": CLIENT_ORDER_ID, "reduceOnly": True}
_TICKERS: Final[Mapping[Source, tuple[str, str]]] = {
    "last": ("fetch_tickers", "last"),
    "mark": ("fetch_tickers", "markPrice"),
    "index": ("fetch_tickers", "indexPrice"),
}

_OKX = Venue(
    name="okx",
    client="okx",
    options={"defaultType": "swap"},
    testnet="set_sandbox_mode",
    mode="fetch_position_mode",
    cross_only=True,  # ccxt's default
    # Cancelling and looking up go by algoClOrdId, which ccxt doesn't make of a clientOrderId.
    place={"stopLossPrice": PRICE, "slTriggerPxType": SOURCE, "algoClOrdId": CLIENT_ORDER_ID, "reduceOnly": True},
    amend={"newSlTriggerPx": PRICE, "newSlTriggerPxType": SOURCE, "newSlOrdPx": "-1"},
    amend_type="conditional",
    cancel={"trigger": True},
    close=_CLOSE,
    find_list={"trigger": True, "ordType": "conditional"},
    lists=({"trigger": True, "ordType": "conditional"},),
    page=100,
    sources={
        "last": "last",
        "mark": "mark",
    },  # "index" too; but ccxt reads no index price that a stop could be trailed by
    id_field="algoClOrdId",
    source_field="slTriggerPxType",
    prices={"last": ("fetch_tickers", "last"), "mark": ("fetch_mark_prices", "markPrice")},
    prices_at_once=True,
    candles={"last": {}, "mark": {"price": "mark"}, "index": {"price": "index"}},
    codes=Codes(
        would_trigger=frozenset({"51277", "51278", "51279", "51280"}),
        duplicate=frozenset({"51016"}),
    ),
)

_BITGET = Venue(
    name="bitget",
    client="bitget",
    options={"defaultType": "swap", "uta": False},
    testnet="set_sandbox_mode",
    cross_only=True,  # ccxt's default
    place={"triggerPrice": PRICE, "triggerType": SOURCE, "clientOrderId": CLIENT_ORDER_ID, "reduceOnly": True},
    cancel={"trigger": True, "planType": "normal_plan"},
    close=_CLOSE,
    find_list={"trigger": True, "planType": "normal_plan"},
    lists=({"trigger": True, "planType": "normal_plan"},),
    page=100,
    sources={"last": "fill_price", "mark": "mark_price"},
    source_field="triggerType",
    prices={"last": ("fetch_tickers", "last"), "mark": ("fetch_tickers", "markPrice")},
    prices_at_once=True,
    candles={"last": {}, "mark": {"price": "mark"}},
    codes=Codes(would_trigger=frozenset({"40917", "45122"}), gone=frozenset({"43025"})),
)

_GATE = Venue(
    name="gate",
    client="gate",
    options={"defaultType": "swap", "unifiedAccount": False},
    testnet="set_sandbox_mode",
    place={"stopLossPrice": PRICE, "price_type": SOURCE, "clientOrderId": CLIENT_ORDER_ID, "reduceOnly": True},
    cancel={"trigger": True},
    close=_CLOSE,
    amounts="whole contracts",
    id_form="t-",
    find_list={"trigger": True},
    lists=({"trigger": True},),
    page=100,
    sources={"last": "0", "mark": "1", "index": "2"},
    source_field="trigger.price_type",
    prices=_TICKERS,
    prices_at_once=True,
    candles={"last": {}, "mark": {"price": "mark"}, "index": {"price": "index"}},
    codes=Codes(
        would_trigger=frozenset({"AUTO_TRIGGER_PRICE_LESS_LAST", "AUTO_TRIGGER_PRICE_GREATE_LAST"}),
        nothing_to_reduce=frozenset({"POSITION_NOT_FOUND"}),
    ),
)

_KUCOIN = Venue(
    name="kucoinfutures",
    client="kucoinfutures",
    options={"defaultType": "swap", "uta": False},
    mode="fetch_position_mode",
    place={
        "stopLossPrice": PRICE,
        "stopPriceType": SOURCE,
        "clientOrderId": CLIENT_ORDER_ID,
        "reduceOnly": True,
    },
    close=_CLOSE,
    amounts="whole contracts",
    find_list={"trigger": True},
    lists=({"trigger": True},),
    page=50,
    sources={"last": "TP", "mark": "MP", "index": "IP"},
    source_field="stopPriceType",
    prices=_TICKERS,
    prices_at_once=True,
    candles={"last": {}},
)

_KRAKEN = Venue(
    name="krakenfutures",
    client="krakenfutures",
    testnet="set_sandbox_mode",
    place={"stopLossPrice": PRICE, "triggerSignal": SOURCE, "clientOrderId": CLIENT_ORDER_ID, "reduceOnly": True},
    close=_CLOSE,
    sources={"last": "last", "mark": "mark", "index": "index"},
    source_field="triggerSignal",
    type_field="orderType",
    stop_types=frozenset({"stop", "stp"}),
    prices=_TICKERS,
    prices_at_once=True,
    candles={"last": {}, "mark": {"price": "mark"}, "index": {"price": "index"}},
    # Said as the status of a request that succeeded.
    codes=Codes(
        nothing_to_reduce=frozenset({"wouldNotReducePosition"}),
        duplicate=frozenset({"clientOrderIdAlreadyExist"}),
        too_many=frozenset({"tooManySmallOrders"}),
        busy=frozenset({"marketSuspended", "marketInactive"}),
        refused=frozenset({"selfFill"}),
    ),
)

_HYPERLIQUID = Venue(
    name="hyperliquid",
    client="hyperliquid",
    # ccxt would have the account pay a fee to it, and say who brought the customer.
    options={
        "defaultType": "swap",
        "fetchMarkets": {"types": ["swap"]},  # those of other dexes are told of by requests of their own
        "builderFee": False,
        "refSet": True,
        "approvedBuilderFee": False,
    },
    skips=("initialize_client",),
    credential_names=("walletAddress", "privateKey", "password"),
    testnet="set_sandbox_mode",
    place={"stopLossPrice": PRICE, "clientOrderId": CLIENT_ORDER_ID, "reduceOnly": True},
    close=_CLOSE,
    price_too=True,
    id_form="0x",
    significant_figures=5,
    sources={"mark": ""},
    type_field="orderType",
    stop_types=frozenset({"Stop Market"}),
    prices={"mark": ("fetch_funding_rates", "markPrice")},
    prices_at_once=True,
    candles={"last": {}},
    codes=Codes(would_trigger=frozenset({"Invalid TP/SL price."})),
)

_DERIBIT = Venue(
    name="deribit",
    client="deribit",
    options={"defaultType": "swap"},
    testnet="set_sandbox_mode",
    place={"stopLossPrice": PRICE, "trigger": SOURCE, "label": CLIENT_ORDER_ID, "reduceOnly": True},
    close={"label": CLIENT_ORDER_ID, "reduceOnly": True},
    amounts="base",
    lists=({"currency": "USDC"}, {"currency": "USDT"}),
    sources={"last": "last_price", "mark": "mark_price", "index": "index_price"},
    id_field="label",
    price_field="trigger_price",
    source_field="trigger",
    type_field="order_type",
    stop_types=frozenset({"stop_market"}),
    prices={
        "last": ("fetch_ticker", "last"),
        "mark": ("fetch_ticker", "markPrice"),
        "index": ("fetch_ticker", "indexPrice"),
    },
    candles={"last": {}},
    codes=Codes(would_trigger=frozenset({"10034", "10035", "11036"}), too_many=frozenset({"11035"})),
)

_BINGX = Venue(
    name="bingx",
    client="bingx",
    options={"defaultType": "swap"},
    testnet="set_sandbox_mode",
    mode="fetch_position_mode",
    place={"stopLossPrice": PRICE, "workingType": SOURCE, "clientOrderId": CLIENT_ORDER_ID, "reduceOnly": True},
    close=_CLOSE,
    sources={"last": "CONTRACT_PRICE", "mark": "MARK_PRICE", "index": "INDEX_PRICE"},
    source_field="workingType",
    type_field="type",
    stop_types=frozenset({"STOP_MARKET"}),
    prices={
        "last": ("fetch_tickers", "last"),
        "mark": ("fetch_mark_prices", "markPrice"),
        "index": ("fetch_mark_prices", "indexPrice"),
    },
    prices_at_once=True,
    candles={"last": {}, "mark": {"price": "mark"}},
    codes=Codes(nothing_to_reduce=frozenset({"101205"})),
)

_WOO = Venue(
    name="woo",
    client="woo",
    options={"defaultType": "swap"},
    credential_names=("apiKey", "secret", "uid"),
    testnet="set_sandbox_mode",
    place={
        "triggerPrice": PRICE,
        "triggerPriceType": SOURCE,
        "clientOrderId": CLIENT_ORDER_ID,
        "reduceOnly": True,
    },
    cancel={"trigger": True},
    close=_CLOSE,
    find_list={"trigger": True},
    lists=({"trigger": True},),
    page=100,
    sources={"last": "MARKET_PRICE", "mark": "MARK_PRICE"},
    id_field="clientAlgoOrderId",
    source_field="triggerPriceType",
    type_field="algoType",
    stop_types=frozenset({"STOP"}),
    prices={"last": ("fetch_tickers", "last"), "mark": ("fetch_tickers", "markPrice")},
    prices_at_once=True,
    candles={"last": {}},
    codes=Codes(would_trigger=frozenset({"317150", "317151"}), duplicate=frozenset({"-1007"})),
)

UNVERIFIED: Final = (_OKX, _BITGET, _GATE, _KUCOIN, _KRAKEN, _HYPERLIQUID, _DERIBIT, _BINGX, _WOO)
"""In no particular order."""
