"""What each venue wants to be sent for a reduce-only stop, and how it says no: data, in one shape for all.

A parameter that a venue doesn't read is no error there: ccxt drops the trigger price and sells at once, at market. So
nothing is ever sent that doesn't stand in the venue's row, and a venue without a row is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, Literal, TypeAlias

import msgspec

from trailing.core.model import Source


class Slot(Enum):
    """What a row leaves open, to be filled for each request."""

    PRICE = "price"
    CLIENT_ORDER_ID = "client order id"
    SOURCE = "source"
    DIRECTION = "direction"


PRICE: Final = Slot.PRICE
CLIENT_ORDER_ID: Final = Slot.CLIENT_ORDER_ID
SOURCE: Final = Slot.SOURCE
DIRECTION: Final = Slot.DIRECTION

Params: TypeAlias = Mapping[str, Any]
"""Parameters of a ccxt call by name; a `Slot` stands for what is filled in."""


def filled(params: Params, values: Mapping[Slot, Any]) -> dict[str, Any]:
    """The parameters of one request: a fresh dict, since ccxt writes into those that it gets."""
    return {name: values[value] if isinstance(value, Slot) else value for name, value in params.items()}


class Codes(msgspec.Struct, frozen=True, kw_only=True):
    """What a venue's replies say, by its codes; an entry with a blank in it is a phrase of its messages.

    Args:
        would_trigger: the price is already at or beyond the stop.
        nothing_to_reduce: there is no position, or not enough of one.
        duplicate: the client order id was used before.
        too_many: no more stops are taken.
        gone: there is no such live order.
        unchanged: a stop stands as it was asked for already.
        refused: other refusals that ccxt has no class for.
        clock: the request's time is too far from the venue's; it was not executed.
        limited: the rate limit; it was not executed.
        unknown: the venue doesn't know either.
    """

    would_trigger: frozenset[str] = frozenset()
    nothing_to_reduce: frozenset[str] = frozenset()
    duplicate: frozenset[str] = frozenset()
    too_many: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()
    unchanged: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()
    clock: frozenset[str] = frozenset()
    limited: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()


class Venue(msgspec.Struct, frozen=True, kw_only=True):
    """One venue's row.

    Args:
        name: what `open_ccxt` calls it.
        client: ccxt's class.
        verified: over a server that behaves like it; else only the requests are known.
        options: of ccxt's client.
        place: parameters of `create_order`, beside a market order of the closing side. Where `price_too`, the trigger
            price is its price too.
        amend: parameters of `edit_order`; None: it can't change a stop, and a new one is placed before the old goes.
        amend_type: the order type that `edit_order` gets.
        cancel: parameters of `cancel_order`.
        find: parameters of `fetch_order` without an order id; None: the symbol's lists are looked through.
        find_list: parameters of `fetch_open_orders` on the symbol then.
        lists: parameters of `fetch_open_orders` on the account, for each of the lists that stops may be in.
        position_lists: parameters of `fetch_positions`, for each of the lists that positions may be in.
        page: how many entries a list is asked for, and has at most; None: lists come whole.
        cursor: the raw entry's field that leads to the next page, and the parameter that it is passed back by; "":
            there is none, and a list that fills its page is not believed.
        close: parameters of `create_order` for the closing at market.
        fetch_close: parameters of `fetch_order` for it, by the order's id, where the answer doesn't tell of the fill.
        hedge: further parameters of `place` and `close` in hedge mode; None: hedge mode is refused.
        sources: its words for the trigger sources; a source that isn't here is refused. Where it has only one and no
            word for it, the word is "".
        source_field: the raw order's field that holds such a word; "": there is none, the only source is meant.
        stop_types: what the raw order's `type_field` holds for stops that close, where its lists hold others too.
        leg_field: the raw order's field that names the position's side in hedge mode.
        two_stops: two reduce-only stops of a position may stand at once.
        prices: ccxt's method, and the field of its answer, for the price of each source.
        candles: `fetch_ohlcv`'s parameters for the bars of each source.
        id_form: how our client order ids are written there: ``"plain"``; ``"t-"``: behind it; ``"0x"``: as 128 bits.
        mode: how to learn whether the account is hedged; None: the venue has no hedge mode.
        minimum_spares_stops: reduce-only orders need not reach the minimal worth.
        prepare: methods of ccxt's to be called once, before the first order.
        credential_names: what ccxt calls key, secret and password.
        testnet: ccxt's method that switches to it; None: there is none.
        request_validity: seconds, as of `Exchange`.
        read_lag: seconds, as of `Exchange`.
    """

    name: str
    client: str
    codes: Codes
    place: Params
    cancel: Params
    close: Params
    sources: Mapping[Source, str]
    verified: bool = False
    options: Params = {}
    price_too: bool = False
    amend: Params | None = None
    amend_type: str = "market"
    find: Params | None = None
    find_list: Params = {}
    lists: tuple[Params, ...] = ({},)
    position_lists: tuple[Params, ...] = ({},)
    page: int | None = None
    cursor: str = ""
    fetch_close: Params = {}
    hedge: Params | None = None
    source_field: str = ""
    type_field: str = ""
    stop_types: frozenset[str] = frozenset()
    leg_field: str = ""
    two_stops: bool = True
    prices: Mapping[Source, tuple[str, str]]
    candles: Mapping[Source, Params]
    id_form: Literal["plain", "t-", "0x"] = "plain"
    mode: Literal["fetch_position_mode", "position_rows"] | None = None
    minimum_spares_stops: bool = False
    prepare: tuple[str, ...] = ()
    credential_names: tuple[str, str, str] = ("apiKey", "secret", "password")
    testnet: Literal["set_sandbox_mode", "enable_demo_trading"] | None = None
    request_validity: float = 10.0
    read_lag: float = 1.0


# https://developers.binance.com/docs/derivatives/usds-margined-futures/error-code
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
    cancel={"trigger": True},
    find={"trigger": True, "clientOrderId": CLIENT_ORDER_ID},
    lists=({"trigger": True},),
    close={"clientOrderId": CLIENT_ORDER_ID, "reduceOnly": True},
    hedge={"hedged": True},
    sources={"mark": "MARK_PRICE", "last": "CONTRACT_PRICE"},
    source_field="workingType",
    type_field="orderType",
    stop_types=frozenset({"STOP_MARKET"}),
    leg_field="positionSide",
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
    codes=Codes(
        would_trigger=frozenset({"-2021"}),
        nothing_to_reduce=frozenset({"-2022", "-4112", "-4118"}),
        duplicate=frozenset({"-4116", "-4111", "-20132"}),
        too_many=frozenset({"-4045"}),
        gone=frozenset({"-2011", "-2013"}),
        refused=frozenset({"-4061", "-4120"}),
        clock=frozenset({"-1021", "-5028"}),
        limited=frozenset({"-1003", "-1015"}),
        unknown=frozenset({"-1000", "-1001", "-1006", "-1007", "-1008"}),
    ),
)

# https://bybit-exchange.github.io/docs/v5/error
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
    position_lists=({"settleCoin": "USDT"}, {"settleCoin": "USDC"}),
    page=50,
    cursor="nextPageCursor",
    close={"clientOrderId": CLIENT_ORDER_ID, "reduceOnly": True},
    fetch_close={"acknowledged": True},
    hedge={"hedged": True},
    sources={"last": "LastPrice", "mark": "MarkPrice", "index": "IndexPrice"},
    source_field="triggerBy",
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
        nothing_to_reduce=frozenset({"110017"}),
        duplicate=frozenset({"110072"}),
        too_many=frozenset({"110009"}),
        gone=frozenset({"110001", "110008", "110010"}),
        unchanged=frozenset({"34040"}),
        clock=frozenset({"10002"}),
        limited=frozenset({"10006", "10018"}),
        unknown=frozenset({"10000", "10016"}),
    ),
)

VENUES: Final[Mapping[str, Venue]] = {venue.name: venue for venue in (_BINANCE, _BYBIT)}
"""By the name that `open_ccxt` takes."""

REFUSED: Final[Mapping[str, str]] = {
    "mexc": "ccxt does not check whether a cancel there worked, and no look-up finds a stop by its client order id",
    "htx": "client order ids are numbers there, so that a stop can't be known as ours",
}
"""Venues that can't be used safely, and why."""
