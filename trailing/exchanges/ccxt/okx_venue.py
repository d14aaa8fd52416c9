"""The row of OKX: https://www.okx.com/docs-v5/en/."""

from __future__ import annotations

from typing import Final

from trailing.exchanges.ccxt.entry_requests import EntryFields, EntryRequests
from trailing.exchanges.ccxt.error_codes import ErrorCodes
from trailing.exchanges.ccxt.venue import (
    CLIENT_ORDER_ID,
    ORDER_ID,
    PRICE,
    SOURCE,
    AccountMode,
    ClientSetup,
    CloseRequests,
    Delays,
    FillRequests,
    ListRequests,
    LookUp,
    NextPage,
    OrderFields,
    PriceRequests,
    StopRequests,
    Venue,
)

# https://www.okx.com/docs-v5/en/#error-code-rest-api. A refused order has its code as `sCode` of its entry.
_ERRORS = ErrorCodes(
    would_trigger=frozenset(
        {
            *("51277", "51278", "51279", "51280"),  # by the last price
            *("51300", "51302", "51303", "51304"),  # by the mark price
            *("51305", "51306", "51307", "51308"),  # by the index price
            *("51051", "51053"),  # by the best ask or bid
        }
    ),
    nothing_to_reduce=frozenset(
        {
            # No such position. None of these says that the position is gone, because one of the other margin mode gets them too.
            *("51023", "51043", "51058", "51169", "51170", "51205", "51521", "51522"),
            *("51112", "51115", "51148", "51168", "51171", "51206"),  # other closing orders cover it
        }
    ),
    duplicate=frozenset({"50071", "51011", "51016", "51065", "51068"}),
    too_many=frozenset({"51025", "51088", "51102", "51103", "51117", "51165", "51174", "51261", "51299"}),
    # 51416: it has triggered. A look-up tells the two cases apart.
    gone=frozenset({"51063", "51400", "51401", "51402", "51405", "51416", "51503", "51509", "51510", "51527", "51603"}),
    busy=frozenset(
        {
            *("50001", "50005", "50013"),
            *("50017", "50018", "50019", "50020", "50021", "50022", "50023"),  # frozen for ADL, liquidation or funding
            *("51028", "51029", "51030", "51032", "51290", "51342", "51513", "54012"),
        }
    ),
    refused=frozenset(
        {
            *("50012", "50015", "50016", "50025", "50036", "50037", "50038", "50062", "50067", "50072"),
            # About one account, instrument or kind of order. ccxt takes some of these for invalid credentials.
            *(
                "50007",
                "50008",
                "50009",
                "50027",
                "50028",
                "50029",
                "50032",
                "50033",
                "50051",
                "50052",
                "50059",
                "50060",
            ),
            *("51009", "51010", "51024", "51155"),
        }
    ),
    key=frozenset(
        {
            *("50030", "50035", "50100", "50101", "50103", "50104", "50105", "50106", "50107", "50110", "50111"),
            *("50113", "50114", "50119", "50120", "50121"),
        }
    ),
    clock=frozenset({"50102", "50112"}),
    limited=frozenset({"50011", "50040", "50061", "51113"}),
    # 51410: it is being cancelled. 51412: the cancellation timed out, or the order has triggered.
    unknown=frozenset({"50004", "50026", "50042", "51054", "51149", "51410", "51412"}),
)

_ACCEPTED: Final = 30.0
"""Seconds after its timestamp until which OKX executes a request."""

_BACKDATED: Final = 20.0
"""Seconds by which requests are dated back.

Only plain orders have an `expTime` that shortens this. Dated back by
20 s, a request of unknown outcome is settled after 10 s. The 10 s are left for the way, and for the clock.
"""

_FUTURES: Final = ({"instType": "SWAP"}, {"instType": "FUTURES"})

# .../#order-book-trading-trade-post-place-order: attachAlgoOrds. The stop becomes an algo order under its own id when the
# entry has been filled, or when the rest of a partly filled one has been cancelled.
_ENTRIES: Final = EntryRequests(
    place={"clientOrderId": CLIENT_ORDER_ID},
    find=(("fetch_order", {"clientOrderId": CLIENT_ORDER_ID}),),
    cancel={"clientOrderId": CLIENT_ORDER_ID},
    fields=EntryFields(
        client_order_id="clOrdId",
        quantity="sz",
        filled="accFillSz",
        average_price="avgPx",
        limit="px",
        type="ordType",
        updated_at="fillTime",
        reduce_only="reduceOnly",
        position_side="posSide",
        reason="cancelSourceReason",
    ),
    attached_stop="own",
    stop={
        "attachAlgoOrds": [
            {"attachAlgoClOrdId": CLIENT_ORDER_ID, "slTriggerPx": PRICE, "slTriggerPxType": SOURCE, "slOrdPx": "-1"}
        ]
    },
)

OKX: Final = Venue(
    name="okx",
    verified=True,
    client=ClientSetup(
        class_name="okx",
        options={
            "defaultType": "swap",
            "fetchMarkets": {"types": ["swap", "future"]},
            "adjustForTimeDifference": True,
            "createOrder": "privatePostTradeOrder",  # a batch of one has the same rate limit
        },
        testnet_method="set_sandbox_mode",
        backdate_seconds=_BACKDATED,
        accepted_seconds=_ACCEPTED - _BACKDATED,
    ),
    account=AccountMode(
        mode_from="fetch_position_mode",
        hedge_params={"hedged": True},
        margin_param="marginMode",
    ),
    stops=StopRequests(
        # A cancel and a look-up use algoClOrdId, which ccxt does not derive from clientOrderId.
        place={"stopLossPrice": PRICE, "slTriggerPxType": SOURCE, "algoClOrdId": CLIENT_ORDER_ID, "reduceOnly": True},
        sources={"last": "last", "mark": "mark", "index": "index"},
        amend={"newSlTriggerPx": PRICE, "newSlTriggerPxType": SOURCE, "newSlOrdPx": "-1"},
        amend_type="conditional",
        cancel={"trigger": True},
        amend_by_client_id={"algoClOrdId": CLIENT_ORDER_ID},
        cancel_by_client_id={"clientOrderId": CLIENT_ORDER_ID},
    ),
    closes=CloseRequests(
        place={"clientOrderId": CLIENT_ORDER_ID, "reduceOnly": True},
        exact_in_hedge_mode=True,  # 51112: long/short mode has no reduce-only orders
    ),
    entries=_ENTRIES,
    lists=ListRequests(
        find={"trigger": True, "clientOrderId": CLIENT_ORDER_ID},
        stops=tuple({"trigger": True, "ordType": "conditional,oco", **each} for each in _FUTURES),
        orders=(
            {},
            {"trigger": True, "ordType": "conditional,oco"},
            {"trigger": True, "ordType": "trigger"},
            {"trigger": True, "ordType": "move_order_stop"},
        ),
        kind_fields=("ordType",),
        positions=_FUTURES,
        page_size=100,
        next_page=NextPage(param="after"),
        other_markets=r"\w+-USD-(SWAP|\d{6})",  # inverse contracts; new expiry dates are listed every week
        raw_position_methods=("privateGetAccountPositions", "parse_position"),  # all positions are in one reply
        raw_position_list="data",
    ),
    # .../#order-book-trading-trade-get-transaction-details-last-3-months
    fills=FillRequests(
        look_ups=(
            LookUp(params={"trigger": True, "clientOrderId": CLIENT_ORDER_ID}, field="ordId", list_field="ordIdList"),
            LookUp(params={"clientOrderId": CLIENT_ORDER_ID}, field="ordId"),
        ),
        trades={"ordId": ORDER_ID},
        field="ordId",
        page_size=100,
        next_page=NextPage(param="after", field="billId"),
        window_days=90,
        kept_days=90,
    ),
    fields=OrderFields(
        client_order_id="algoClOrdId",
        trigger_price="slTriggerPx",
        source="slTriggerPxType",
        type="slOrdPx",
        stop_types=frozenset({"-1"}),  # at market; any other value is the price of a limit order
        status="state",
        triggered_statuses=frozenset({"partially_effective"}),
        filled="actualSz",
        position_side="posSide",
        position_quantity="pos",
    ),
    prices=PriceRequests(
        methods={
            "last": ("fetch_ticker", "last"),
            "mark": ("fetch_mark_price", "markPrice"),
            "index": ("fetch_index_ticker", "indexPrice"),
        },
        candles={"last": {}, "mark": {"price": "mark"}, "index": {"price": "index"}},
        candle_page=100,  # the most of mark and index price
        history_pages={"last": 300},
    ),
    delays=Delays(
        request_validity=_ACCEPTED - _BACKDATED + 1.0,  # 1 s by which a request's time may be ahead
        # An acknowledgement says that the request was accepted, not that the order is listed.
        orders_read_lag=2.0,
    ),
    errors=_ERRORS,
)
