"""A venue's row: what to send for a reduce-only stop, how to parse the replies, and how the venue states a refusal.

If a venue does not read a parameter, ccxt reports no error: it drops the trigger price and places a market order at once.
So a request contains only parameters of the venue's row, and a venue without a row is refused.

The docstrings name the source of each value:

- *ccxt*: the source of ccxt's class for the venue, read for the pinned version;
- *API*: the venue's API documentation; the row links to the page;
- *capture*: the request that ccxt would send, which tests/exchanges/test_ccxt_requests.py compares with the row.

The page "Add a venue" of the documentation says in which order to fill in a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, Literal, TypeAlias

import msgspec

from trailing.core.model import CallbackRange, Source
from trailing.exchanges.ccxt.entry_requests import EntryRequests
from trailing.exchanges.ccxt.error_codes import ErrorCodes


class Slot(Enum):
    """A placeholder among the parameters of a row. Each request fills it in."""

    PRICE = "price"
    CLIENT_ORDER_ID = "client order id"
    POSITION_INDEX = "position index"
    SOURCE = "source"
    DIRECTION = "direction"
    CALLBACK = "callback"
    ORDER_ID = "order id"


PRICE: Final = Slot.PRICE
CLIENT_ORDER_ID: Final = Slot.CLIENT_ORDER_ID
POSITION_INDEX: Final = Slot.POSITION_INDEX
SOURCE: Final = Slot.SOURCE
DIRECTION: Final = Slot.DIRECTION
CALLBACK: Final = Slot.CALLBACK
ORDER_ID: Final = Slot.ORDER_ID

Params: TypeAlias = Mapping[str, Any]
"""Parameters of a ccxt call by name. A `Slot` is replaced by a value of the request."""


def fill_in(params: Params, values: Mapping[Slot, Any]) -> dict[str, Any]:
    """Return the parameters of one request. The dict is new each time, because ccxt modifies it."""
    return {name: _fill_in(value, values) for name, value in params.items()}


def _fill_in(value: Any, values: Mapping[Slot, Any]) -> Any:
    if isinstance(value, Slot):
        return values[value]
    if isinstance(value, Mapping):
        return fill_in(value, values)
    return [_fill_in(each, values) for each in value] if isinstance(value, (list, tuple)) else value


class ClientSetup(msgspec.Struct, frozen=True, kw_only=True):
    """How ccxt's client is created.

    Args:
        class_name: ccxt's class in `ccxt.pro`. Source: ccxt.
        options: ccxt's `options` of the client. Source: ccxt.
        skipped_methods: methods of the client that send requests of ccxt's own, and are replaced by nothing. Source: ccxt.
        prepare_methods: methods of the client to call once before the first order. Source: ccxt.
        credential_names: ccxt's names of key, secret and password (`requiredCredentials`). Source: ccxt.
        testnet_method: the method that switches to the test network; None: there is none. Source: ccxt.
        backdate_seconds: seconds by which a request's timestamp is set back, so that it expires earlier. Source: API.
        accepted_seconds: how long the venue accepts a request after it was sent, where no `recvWindow` states it; None: not
            known. Source: API.
    """

    class_name: str
    options: Params = {}
    skipped_methods: tuple[str, ...] = ()
    prepare_methods: tuple[str, ...] = ()
    credential_names: tuple[str, str, str] = ("apiKey", "secret", "password")
    testnet_method: Literal["set_sandbox_mode", "enable_demo_trading"] | None = None
    backdate_seconds: float = 0.0
    accepted_seconds: float | None = None


class AccountMode(msgspec.Struct, frozen=True, kw_only=True):
    """Hedge mode and margin mode of an account.

    Args:
        mode_from: how to read whether the account is in hedge mode: ccxt's method, or the field `hedged` of its positions, if
            each symbol has a mode of its own; None: the venue has no hedge mode, or does not state it. Source: ccxt.
        hedge_params: additional parameters of a request that places an order in hedge mode; `POSITION_INDEX` is 1 for a long
            position and 2 for a short one. None: hedge mode is refused. Source: ccxt, capture.
        margin_mode: the only margin mode that orders are sent for; a position in another one is not protected. None: orders
            are for the position's own mode. Source: ccxt, capture.
        margin_param: parameter of an order with the margin mode of its position; "": the venue needs none. Source: ccxt.
    """

    mode_from: Literal["fetch_position_mode", "position_rows"] | None = None
    hedge_params: Params | None = None
    margin_mode: Literal["cross", "isolated"] | None = None
    margin_param: str = ""


class OrderFormat(msgspec.Struct, frozen=True, kw_only=True):
    """How the values of an order are written.

    Args:
        amount_unit: ccxt's unit of an amount: ``"contracts"``, of `Market.contract_size` base units each; ``"whole
            contracts"``: whole numbers only; ``"base"``: base units. Source: ccxt, capture.
        significant_figures: the most significant figures of a price, to which it is tightened; None: any. Source: API.
        id_form: how client order ids are written: ``"plain"``; ``"t-"``: with that prefix; ``"0x"``: as 128 bits in hex.
            Source: API, capture.
        price_required: a market order needs a price: the stop's trigger price, or the market price. Source: ccxt.
        may_omit_ids: it is not known whether the venue lists the client order ids of stops. Source: API, reports.
        min_notional_exempt: reduce-only orders need not reach the market's minimum notional. Source: API.
    """

    amount_unit: Literal["contracts", "whole contracts", "base"] = "contracts"
    significant_figures: int | None = None
    id_form: Literal["plain", "t-", "0x"] = "plain"
    price_required: bool = False
    may_omit_ids: bool = False
    min_notional_exempt: bool = False


class NativeTrailing(msgspec.Struct, frozen=True, kw_only=True):
    """A venue's own trailing orders. They must be allowed beside a plain stop, and carry a client order id.

    Args:
        place: parameters of `create_order` at market; `PRICE` is the activation price. Source: ccxt, capture.
        callbacks: the distances behind the best price that the venue accepts, in percent. Source: API.
        types: the values of `OrderFields.type` for such an order. Source: API.
        activation_field: field of the venue's order with the activation price. Source: API.
        callback_field: field of the venue's order with the callback, in percent. Source: API.
    """

    place: Params
    callbacks: CallbackRange
    types: frozenset[str]
    activation_field: str
    callback_field: str


class StopRequests(msgspec.Struct, frozen=True, kw_only=True):
    """Requests that place, change and cancel a stop.

    Args:
        place: parameters of `create_order` for a market order of the closing side. Source: ccxt, capture.
        sources: the venue's word for each price source by which a stop can trigger. A source that is missing is refused.
            "": the venue has only this source and no word for it. Source: API, capture.
        amend: parameters of `edit_order`; None: the venue can't amend a stop, so a move places a new stop before it cancels
            the old one. Source: ccxt, capture.
        amend_type: the order type to pass to `edit_order`. Source: ccxt.
        cancel: parameters of `cancel_order`. Source: ccxt, capture.
        amend_by_client_id, cancel_by_client_id: parameters besides, where the order id is unknown, because an entry carried the
            stop and no list has shown it yet. Source: API, ccxt, capture.
        two_stops: two reduce-only stops may be live for one position at the same time. Source: API.
        most_stops: the most live conditional orders of an account, all symbols and kinds together; None: there is no such
            limit, or it is unknown. Source: API.
        trailing: the venue's own trailing orders; None: it has none that carry a client order id and a percentage.
    """

    place: Params
    sources: Mapping[Source, str]
    amend: Params | None = None
    amend_type: str = "market"
    cancel: Params = {}
    amend_by_client_id: Params = {}
    cancel_by_client_id: Params = {}
    two_stops: bool = True
    most_stops: int | None = None
    trailing: NativeTrailing | None = None

    def amend_params(self, order_id: str) -> Params:
        """Return the parameters that amend a stop. `order_id`: empty, if it is unknown."""
        assert self.amend is not None
        return self.amend if order_id else {**self.amend, **self.amend_by_client_id}

    def cancel_params(self, order_id: str) -> Params:
        """Return the parameters that cancel a stop. `order_id`: empty, if it is unknown."""
        return self.cancel if order_id else {**self.cancel, **self.cancel_by_client_id}


class CloseRequests(msgspec.Struct, frozen=True, kw_only=True):
    """Requests that close a position at market.

    Args:
        place: parameters of `create_order`. Source: ccxt, capture.
        fetch: parameters of `fetch_order` by order id, where the reply to `place` does not state the fill. Source: ccxt.
        exact_in_hedge_mode: in hedge mode, a close larger than its position is refused instead of reduced. Source: API.
    """

    place: Params
    fetch: Params = {}
    exact_in_hedge_mode: bool = False


class NextPage(msgspec.Struct, frozen=True, kw_only=True):
    """How to request the page after a full one, by the numbers of its entries.

    Args:
        param: parameter of the request. Source: API.
        field: field of the venue's entry with its number; "": ccxt's `id`. Source: API.
        is_newer: it begins behind the largest number, and its request has no times; False: before the smallest. Source: API.
    """

    param: str
    field: str = ""
    is_newer: bool = False


class ListRequests(msgspec.Struct, frozen=True, kw_only=True):
    """Requests that look up one order, or list orders and positions.

    Args:
        find: parameters of `fetch_order` without an order id; None: the symbol's open orders are listed. Source: ccxt, capture.
        find_list: parameters of `fetch_open_orders` for the symbol in that case. Source: ccxt, capture.
        stops: parameters of `fetch_open_orders` for the account, for each list that can contain stops. Source: ccxt, capture.
        orders: parameters of `fetch_open_orders` for a symbol, for each list of its open orders. Source: ccxt, capture.
        cancel_names: parameters of `orders` that a cancellation of an order from that list needs too. Source: ccxt, capture.
        kind_fields: fields of the venue's open orders that together name the type; (): ccxt's word is used. Source: API.
        positions: parameters of `fetch_positions`, for each list of positions. Source: ccxt, capture.
        page_size: entries to request for one page of orders, the most that it has; None: there are no pages. Source: API.
        cursor: field of the first entry that leads to the next page; "": there is none. Then, and without `next_page`, a full
            page is an error, because the list may be incomplete. Source: ccxt.
        next_page: how to request the next page of orders, where there is no cursor. Source: API.
        bare_list_paths: ends of the URL paths whose reply must be a plain JSON list. Source: API.
        list_fields: ends of the URL paths whose reply must have a JSON list in a field, and that field, with dots. Source: API.
        other_markets: pattern of ccxt's symbols of listed markets that are no linear contracts; "": none. Source: ccxt.
        unlisted_markets: pattern of linear contracts that `stops` and `positions` leave out, which are refused. Source: ccxt.
        raw_position_methods: ccxt's method that returns the venue's positions, and the one that parses a position, for use
            instead of `fetch_positions`, if that leaves out positions that it can't parse, or parses a long list at once; None:
            it does not. Source: ccxt.
        raw_position_list: field of that reply with the positions, which the client has checked; "": the reply is the list.
            Source: API.
    """

    find: Params | None = None
    find_list: Params = {}
    stops: tuple[Params, ...] = ({},)
    orders: tuple[Params, ...] = ({},)
    cancel_names: tuple[str, ...] = ()
    kind_fields: tuple[str, ...] = ()
    positions: tuple[Params, ...] = ({},)
    page_size: int | None = None
    cursor: str = ""
    next_page: NextPage | None = None
    bare_list_paths: tuple[str, ...] = ()
    list_fields: Mapping[str, str] = {}
    other_markets: str = ""
    unlisted_markets: str = ""
    raw_position_methods: tuple[str, str] | None = None
    raw_position_list: str = ""


class LookUp(msgspec.Struct, frozen=True, kw_only=True):
    """A request that finds an order of ours, so that its executions can be read.

    Args:
        params: parameters of `fetch_order` without an order id. Source: ccxt, capture.
        field: field of the venue's order with the id that its executions have; it is empty if there are none. Source: API.
        list_field: field with a list of such ids, where the venue may split an order; "": there is none. Source: API.
    """

    params: Params
    field: str
    list_field: str = ""


class FillRequests(msgspec.Struct, frozen=True, kw_only=True):
    """Requests that read the executions of an order of ours.

    Args:
        look_ups: for each kind of order, tried in this order; (): executions carry our client order id. Source: API.
        trades: parameters of `fetch_my_trades`; `ORDER_ID` is the id of the look-up. Source: ccxt, capture.
        field: field of the venue's execution with the id that `trades` asks for. Source: API.
        page_size: the executions of one page. Source: API.
        next_page: how to request the next page, where there is no `ListRequests.cursor`; None: a full page is an error.
        window_days: the longest time between begin and end of one request, in days. Source: API.
        kept_days: how far back the venue states executions, in days. Source: API.
    """

    look_ups: tuple[LookUp, ...] = ()
    trades: Params
    field: str
    page_size: int
    next_page: NextPage | None = None
    window_days: int
    kept_days: int


class OrderFields(msgspec.Struct, frozen=True, kw_only=True):
    """Fields of the venue's own orders and positions, which ccxt keeps as `info`. Source of all: API, ccxt.

    A field inside another one is written with a dot: ``"trigger.price"``.

    Args:
        client_order_id, trigger_price: of an order; "": ccxt parses them correctly.
        source: the word of `StopRequests.sources`; "": there is none, because the venue has only one source.
        type: the order's type; "": the lists contain only stop-market orders.
        other_type: a second name of the field `type`, for a venue whose pages and payloads use both; "": there is none.
        stop_types: the values of `type` for plain stop-market orders.
        execution_type: the type of the order that a triggered stop becomes, ``"Market"`` for a stop at market; "": `type` tells
            it, or all are at market.
        status: the order's status; "": the venue does not tell a triggered stop from a waiting one.
        triggered_statuses: the values of `status` for a stop that has triggered and not ended.
        filled: the filled amount, where ccxt reports a triggered stop as filled; "": ccxt's value is correct.
        quantity: the quantity, which is 0 if the order has none of its own; "": unknown.
        position_side: the side of the position in hedge mode, long or short; "": unknown.
        position_quantity: of a position, its quantity, which must be present; "": unknown.
    """

    client_order_id: str = ""
    trigger_price: str = ""
    source: str = ""
    type: str = ""
    other_type: str = ""
    stop_types: frozenset[str] = frozenset()
    execution_type: str = ""
    status: str = ""
    triggered_statuses: frozenset[str] = frozenset()
    filled: str = ""
    quantity: str = ""
    position_side: str = ""
    position_quantity: str = ""


class PriceRequests(msgspec.Struct, frozen=True, kw_only=True):
    """Requests for prices and candles.

    Args:
        methods: for each price source ccxt's method, and the field of its result. Source: ccxt.
        batched: the methods take a list of symbols of one settle currency, and need one request for all. Source: ccxt.
        candles: for each price source the parameters of `fetch_ohlcv`. A missing source has no candles. Source: ccxt.
        candle_page: candles to request at once. A shorter page is the last one. Source: ccxt.
        history_pages: the candles of a page of a download, where it may be larger than `candle_page`. Source: ccxt.
    """

    methods: Mapping[Source, tuple[str, str]]
    candles: Mapping[Source, Params]
    batched: bool = False
    candle_page: int = 1000
    history_pages: Mapping[Source, int] = {}


class Delays(msgspec.Struct, frozen=True, kw_only=True):
    """Times of the venue, in seconds.

    Args:
        request_validity: how long a sent request may still be executed, as in `Exchange`. Source: API (`recvWindow`).
        orders_read_lag: after this time a read shows an earlier write of an order, as in `Exchange`. Source: API, reports.
        positions_read_lag: after this time a read shows an earlier fill, as in `Exchange`. Source: API, reports.
        ban_seconds: how long an address is banned, where no Retry-After says longer. Source: API.
    """

    request_validity: float = 10.0
    orders_read_lag: float = 1.0
    positions_read_lag: float = 1.0
    ban_seconds: float = 600.0


class Venue(msgspec.Struct, frozen=True, kw_only=True):
    """One venue's row.

    Args:
        name: what `open_ccxt` calls it.
        verified: tested with a server that behaves like the venue; False: only its requests were checked.
        client: how ccxt's client is created.
        stops: requests that place, change and cancel a stop.
        closes: requests that close a position.
        entries: requests about entry orders; None: they are refused, because they were not tried there.
        prices: requests for prices and candles.
        lists: requests that look up and list orders and positions.
        fills: requests that read an order's executions; None: it is not known how.
        fields: the fields of the venue's orders and positions.
        orders: how the values of an order are written.
        account: hedge mode and margin mode.
        delays: the venue's times, in seconds.
        errors: what the codes of its replies mean.
    """

    name: str
    verified: bool = False
    client: ClientSetup
    stops: StopRequests
    closes: CloseRequests
    entries: EntryRequests | None = None
    prices: PriceRequests
    lists: ListRequests = ListRequests()
    fills: FillRequests | None = None
    fields: OrderFields = OrderFields()
    orders: OrderFormat = OrderFormat()
    account: AccountMode = AccountMode()
    delays: Delays = Delays()
    errors: ErrorCodes = ErrorCodes()
