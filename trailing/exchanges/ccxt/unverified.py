"""The rows of the unverified venues: their requests are checked as ccxt sends them, but their replies were never tested.

The rows follow ccxt's source. How the venue handles a request (whether a stop triggers, how it is listed, which code a
refusal has) was not tested. An order with a client order id of ours that can't be parsed makes its list partial; it is never
treated as absent. None is sent amendments: an amendment drops the trigger source or the reduce-only flag, or goes to a wrong
endpoint. Hedge mode is refused on all of them, where the venue states it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from trailing.core.model import Source
from trailing.exchanges.ccxt.error_codes import ErrorCodes
from trailing.exchanges.ccxt.venue import (
    CLIENT_ORDER_ID,
    PRICE,
    SOURCE,
    AccountMode,
    ClientSetup,
    CloseRequests,
    ListRequests,
    OrderFields,
    OrderFormat,
    Params,
    PriceRequests,
    StopRequests,
    Venue,
)

_CLOSES: Final = CloseRequests(place={"clientOrderId": CLIENT_ORDER_ID, "reduceOnly": True})
_TICKERS: Final[Mapping[Source, tuple[str, str]]] = {
    "last": ("fetch_tickers", "last"),
    "mark": ("fetch_tickers", "markPrice"),
    "index": ("fetch_tickers", "indexPrice"),
}
_LAST: Final[Mapping[Source, Params]] = {"last": {}}
_LAST_AND_MARK: Final[Mapping[Source, Params]] = {**_LAST, "mark": {"price": "mark"}}
_LAST_MARK_AND_INDEX: Final[Mapping[Source, Params]] = {**_LAST_AND_MARK, "index": {"price": "index"}}

_BITGET = Venue(
    name="bitget",
    client=ClientSetup(
        class_name="bitget",
        options={"defaultType": "swap", "uta": False},
        testnet_method="set_sandbox_mode",
    ),
    account=AccountMode(margin_mode="cross"),  # cross margin is ccxt's default
    stops=StopRequests(
        place={"triggerPrice": PRICE, "triggerType": SOURCE, "clientOrderId": CLIENT_ORDER_ID, "reduceOnly": True},
        sources={"last": "fill_price", "mark": "mark_price"},
        cancel={"trigger": True, "planType": "normal_plan"},
    ),
    closes=_CLOSES,
    lists=ListRequests(
        find_list={"trigger": True, "planType": "normal_plan"},
        stops=({"trigger": True, "planType": "normal_plan"},),
        # https://www.bitget.com/api-doc/contract/plan/get-orders-plan-pending: planType
        orders=({}, *({"trigger": True, "planType": each} for each in ("normal_plan", "profit_loss", "track_plan"))),
        cancel_names=("planType",),
        page_size=100,
        unlisted_markets=r".+:USDC.*",  # they are of another productType than ccxt's default
    ),
    fields=OrderFields(source="triggerType"),
    prices=PriceRequests(
        methods={"last": ("fetch_tickers", "last"), "mark": ("fetch_tickers", "markPrice")},
        candles=_LAST_AND_MARK,
        batched=True,
    ),
    errors=ErrorCodes(would_trigger=frozenset({"40917", "45122"}), gone=frozenset({"43025"})),
)

_GATE = Venue(
    name="gate",
    client=ClientSetup(
        class_name="gate",
        options={"defaultType": "swap", "unifiedAccount": False},
        testnet_method="set_sandbox_mode",
    ),
    # The API documents client order ids of plain orders only: https://www.gate.com/docs/developers/apiv4/#futures. ccxt issue
    # 27998 shows stops without theirs.
    orders=OrderFormat(amount_unit="whole contracts", id_form="t-", may_omit_ids=True),
    stops=StopRequests(
        place={"stopLossPrice": PRICE, "price_type": SOURCE, "clientOrderId": CLIENT_ORDER_ID, "reduceOnly": True},
        sources={"last": "0", "mark": "1", "index": "2"},
        cancel={"trigger": True},
    ),
    closes=_CLOSES,
    lists=ListRequests(
        find_list={"trigger": True},
        stops=({"trigger": True},),
        orders=({}, {"trigger": True}),
        page_size=100,
        unlisted_markets=r".+-\d{6}",  # dated contracts have endpoints of their own (/delivery)
    ),
    fields=OrderFields(source="trigger.price_type"),
    prices=PriceRequests(methods=_TICKERS, candles=_LAST_MARK_AND_INDEX, batched=True),
    errors=ErrorCodes(
        would_trigger=frozenset({"AUTO_TRIGGER_PRICE_LESS_LAST", "AUTO_TRIGGER_PRICE_GREATE_LAST"}),
        no_position=frozenset({"POSITION_NOT_FOUND"}),
    ),
)

_KUCOIN = Venue(
    name="kucoinfutures",
    client=ClientSetup(class_name="kucoinfutures", options={"defaultType": "swap", "uta": False}),
    # An order for another mode than the position's is refused with 330005.
    account=AccountMode(mode_from="fetch_position_mode", margin_mode="isolated"),
    orders=OrderFormat(amount_unit="whole contracts"),
    stops=StopRequests(
        place={
            "stopLossPrice": PRICE,
            "stopPriceType": SOURCE,
            "clientOrderId": CLIENT_ORDER_ID,
            "reduceOnly": True,
            "marginMode": "isolated",
        },
        sources={"last": "TP", "mark": "MP", "index": "IP"},
    ),
    closes=CloseRequests(place={**_CLOSES.place, "marginMode": "isolated"}),
    lists=ListRequests(
        find_list={"trigger": True}, stops=({"trigger": True},), orders=({}, {"trigger": True}), page_size=50
    ),
    fields=OrderFields(source="stopPriceType"),
    prices=PriceRequests(methods=_TICKERS, candles=_LAST, batched=True),
)

_KRAKEN = Venue(
    name="krakenfutures",
    client=ClientSetup(class_name="krakenfutures", testnet_method="set_sandbox_mode"),
    stops=StopRequests(
        place={"stopLossPrice": PRICE, "triggerSignal": SOURCE, "clientOrderId": CLIENT_ORDER_ID, "reduceOnly": True},
        sources={"last": "last", "mark": "mark", "index": "index"},
    ),
    closes=_CLOSES,
    fields=OrderFields(
        client_order_id="cli_ord_id",  # as in the venue's stream; ccxt reads the other spelling, cliOrdId
        source="triggerSignal",
        type="orderType",
        stop_types=frozenset({"stop", "stp"}),
    ),
    prices=PriceRequests(methods=_TICKERS, candles=_LAST_MARK_AND_INDEX, batched=True),
    # Kraken returns these as the status of a successful request.
    errors=ErrorCodes(
        nothing_to_reduce=frozenset({"wouldNotReducePosition"}),
        duplicate=frozenset({"clientOrderIdAlreadyExist"}),
        too_many=frozenset({"tooManySmallOrders"}),
        busy=frozenset({"marketSuspended", "marketInactive"}),
        refused=frozenset({"selfFill"}),
    ),
)

_HYPERLIQUID = Venue(
    name="hyperliquid",
    client=ClientSetup(
        class_name="hyperliquid",
        options={
            "defaultType": "swap",
            "fetchMarkets": {"types": ["swap"]},  # the markets of other dexes would need requests of their own
            # Otherwise ccxt approves a fee to itself, and sets itself as referrer.
            "builderFee": False,
            "refSet": True,
            "approvedBuilderFee": False,
            "defaultSlippage": "0.1",  # as the venue's own trading page; ccxt's 5 % leave a stop unfilled in a larger gap
        },
        skipped_methods=("initialize_client",),
        credential_names=("walletAddress", "privateKey", "password"),
        testnet_method="set_sandbox_mode",
    ),
    orders=OrderFormat(price_required=True, id_form="0x", significant_figures=5),
    stops=StopRequests(
        place={"stopLossPrice": PRICE, "clientOrderId": CLIENT_ORDER_ID, "reduceOnly": True},
        sources={"mark": ""},
    ),
    closes=_CLOSES,
    fields=OrderFields(type="orderType", stop_types=frozenset({"Stop Market"})),
    prices=PriceRequests(methods={"mark": ("fetch_funding_rates", "markPrice")}, candles=_LAST, batched=True),
    errors=ErrorCodes(would_trigger=frozenset({"Invalid TP/SL price."})),
)

_DERIBIT = Venue(
    name="deribit",
    client=ClientSetup(class_name="deribit", options={"defaultType": "swap"}, testnet_method="set_sandbox_mode"),
    orders=OrderFormat(amount_unit="base"),
    stops=StopRequests(
        place={"stopLossPrice": PRICE, "trigger": SOURCE, "label": CLIENT_ORDER_ID, "reduceOnly": True},
        sources={"last": "last_price", "mark": "mark_price", "index": "index_price"},
    ),
    closes=CloseRequests(place={"label": CLIENT_ORDER_ID, "reduceOnly": True}),
    lists=ListRequests(stops=({"currency": "USDC"}, {"currency": "USDT"})),
    fields=OrderFields(
        client_order_id="label",
        trigger_price="trigger_price",
        source="trigger",
        type="order_type",
        stop_types=frozenset({"stop_market"}),
    ),
    prices=PriceRequests(
        methods={
            "last": ("fetch_ticker", "last"),
            "mark": ("fetch_ticker", "markPrice"),
            "index": ("fetch_ticker", "indexPrice"),
        },
        candles=_LAST,
    ),
    errors=ErrorCodes(would_trigger=frozenset({"10034", "10035", "11036"}), too_many=frozenset({"11035"})),
)

_BINGX = Venue(
    name="bingx",
    client=ClientSetup(class_name="bingx", options={"defaultType": "swap"}, testnet_method="set_sandbox_mode"),
    account=AccountMode(mode_from="fetch_position_mode"),
    stops=StopRequests(
        place={"stopLossPrice": PRICE, "workingType": SOURCE, "clientOrderId": CLIENT_ORDER_ID, "reduceOnly": True},
        sources={"last": "CONTRACT_PRICE", "mark": "MARK_PRICE", "index": "INDEX_PRICE"},
    ),
    closes=_CLOSES,
    fields=OrderFields(source="workingType", type="type", stop_types=frozenset({"STOP_MARKET"})),
    prices=PriceRequests(
        methods={
            "last": ("fetch_tickers", "last"),
            "mark": ("fetch_mark_prices", "markPrice"),
            "index": ("fetch_mark_prices", "indexPrice"),
        },
        candles=_LAST_AND_MARK,
        batched=True,
    ),
    errors=ErrorCodes(no_position=frozenset({"101205"})),
)

UNVERIFIED: Final = (_BITGET, _GATE, _KUCOIN, _KRAKEN, _HYPERLIQUID, _DERIBIT, _BINGX)
"""All unverified venues, in no particular order."""
