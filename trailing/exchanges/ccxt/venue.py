"""The shape of what is known of a venue: what it wants to be sent for a reduce-only stop, and how it says no.

A parameter that a venue doesn't read is no error there: ccxt drops the trigger price and sells at once, at market. So
nothing is ever sent that doesn't stand in the venue's row, and a venue without a row is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, Literal, TypeAlias

import msgspec

from trailing.core.model import CallbackRange, Source


class Slot(Enum):
    """What a row leaves open, to be filled for each request."""

    PRICE = "price"
    CLIENT_ORDER_ID = "client order id"
    SOURCE = "source"
    DIRECTION = "direction"
    CALLBACK = "callback"


PRICE: Final = Slot.PRICE
CLIENT_ORDER_ID: Final = Slot.CLIENT_ORDER_ID
SOURCE: Final = Slot.SOURCE
DIRECTION: Final = Slot.DIRECTION
CALLBACK: Final = Slot.CALLBACK

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
        gone: there is no such live order: it was filled, was cancelled, or never existed.
        unchanged: said to an amendment: the stop stands as it was asked for already.
        busy: it can't be done now and was not executed; asked again later, it may be.
        refused: other refusals, which ccxt has no class for, or takes for a matter of the credentials.
        key: the credentials are not taken, or have no right to this.
        clock: the request's time is too far from the venue's; it was not executed.
        limited: the rate limit; it was not executed.
        banned: the address is banned for `Venue.ban_seconds`, where no Retry-After says longer; it was not executed.
        unknown: the venue doesn't know either.
    """

    would_trigger: frozenset[str] = frozenset()
    nothing_to_reduce: frozenset[str] = frozenset()
    duplicate: frozenset[str] = frozenset()
    too_many: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()
    unchanged: frozenset[str] = frozenset()
    busy: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()
    key: frozenset[str] = frozenset()
    clock: frozenset[str] = frozenset()
    limited: frozenset[str] = frozenset()
    banned: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()


class Trailing(msgspec.Struct, frozen=True, kw_only=True):
    """A venue's own trailing orders, which stand beside plain stops and carry a client order id.

    Args:
        place: parameters of `create_order`, beside a market order of the closing side; the price is where it begins.
        callbacks: how far behind the best price they may follow.
        types: what the row's `type_field` says of one.
        activation_field, callback_field: the raw order's price from which on it trails, and how far behind, in percent.
    """

    place: Params
    callbacks: CallbackRange
    types: frozenset[str]
    activation_field: str
    callback_field: str


class Venue(msgspec.Struct, frozen=True, kw_only=True):
    """One venue's row. Fields of a raw order may be inside of others: ``"trigger.price"``.

    Args:
        name: what `open_ccxt` calls it.
        client: ccxt's class.
        codes: how it says no.
        verified: over a server that behaves like it; else only the requests are known.
        options: of ccxt's client.
        skips: methods of ccxt's client that send what nobody asked for, and are not called.
        prepare: methods of ccxt's client to be called once, before the first order.
        credential_names: what ccxt calls key, secret and password.
        testnet: ccxt's method that switches to its test network; None: there is none.
        mode: how to learn whether the account is hedged; None: the venue has no hedge mode, or doesn't tell.
        place: parameters of `create_order`, beside a market order of the closing side.
        trailing: the venue's own trailing orders; None: it has none, or none that carries an id and a percentage.
        amend: parameters of `edit_order`; None: it can't change a stop, and a new one is placed before the old goes.
        amend_type: the order type that `edit_order` gets.
        cancel: parameters of `cancel_order`.
        close: parameters of `create_order` for the closing at market.
        fetch_close: parameters of `fetch_order` for it, by the order's id, where the answer doesn't tell of the fill.
        hedge: further parameters of `place` and `close` in hedge mode; None: hedge mode is refused.
        cross_only: orders are sent for cross margin, and cover no isolated position.
        price_too: an order needs a price beside its parameters: the trigger price, or the market's.
        amounts: what ccxt takes for an amount: ``"contracts"``, of `Market.contract_size` each; ``"whole contracts"``:
            only whole numbers; ``"base"``: base units, whatever the contract's size.
        significant_figures: of a price, which is tightened to so many; None: only the tick counts.
        id_form: how our client order ids are written there: ``"plain"``; ``"t-"``: behind it; ``"0x"``: as 128 bits.
        find: parameters of `fetch_order` without an order id; None: a list of the symbol's orders is looked through.
        find_list: parameters of `fetch_open_orders` on the symbol then.
        lists: parameters of `fetch_open_orders` on the account, for each of the lists that stops may be in.
        position_lists: parameters of `fetch_positions`, for each of the lists that positions may be in.
        bare_lists: ends of the paths that are answered with a list and nothing round it.
        page: how many entries a list of orders is asked for, and has at most; None: lists come whole.
        cursor: the raw entry's field that leads to the next page, and the parameter that it is passed back by; "":
            there is none, and a list that fills its page is not believed.
        sources: its words for the trigger sources; one that isn't here is refused. A venue with only one has no word
            for it, and it is "".
        id_field, price_field: the raw order's client order id and trigger price, where ccxt doesn't read them.
        source_field: where the raw order has such a word; "": nowhere, the only source is meant.
        type_field, stop_types: the raw order's type, and what it is for stops that close; "": lists hold nothing else.
        status_field, triggered: the raw order's status, and what it is for stops that have triggered and have not ended; "": the
            venue does not tell them from those that wait.
        filled_field: the raw order's filled amount, of a venue whose triggered stops ccxt takes for filled; "": ccxt's counts.
        quantity_field: the raw order's quantity, 0 where it has none of its own; "": such an order is not told from an odd one.
        held_field: the raw position's quantity; without it ccxt would work it out of the position's worth. "": not known.
        other_markets: a pattern of the symbols that ccxt gives to what is in the lists, and is no linear contract; "": none.
        raw_positions: ccxt's method that answers with the raw positions, and the one that reads one of them, where its own
            list leaves out positions that it can't read; None: it does not.
        leg_field: the raw order's field that names the position's side in hedge mode.
        two_stops: two reduce-only stops of a position may stand at once.
        prices: ccxt's method, and the field of its answer, for the price of each source.
        prices_at_once: that method takes a list of symbols of one settle currency, and answers by symbol, with one request.
        candles: `fetch_ohlcv`'s parameters for the bars of each source.
        minimum_spares_stops: reduce-only orders need not reach the minimal worth.
        ban_seconds: for which an address is banned that sent too much, where the reply doesn't say.
        request_validity, orders_read_lag, positions_read_lag: seconds, as of `Exchange`.
    """

    name: str
    client: str
    codes: Codes = Codes()
    verified: bool = False
    options: Params = {}
    skips: tuple[str, ...] = ()
    prepare: tuple[str, ...] = ()
    credential_names: tuple[str, str, str] = ("apiKey", "secret", "password")
    testnet: Literal["set_sandbox_mode", "enable_demo_trading"] | None = None
    mode: Literal["fetch_position_mode", "position_rows"] | None = None
    place: Params
    trailing: Trailing | None = None
    amend: Params | None = None
    amend_type: str = "market"
    cancel: Params = {}
    close: Params
    fetch_close: Params = {}
    hedge: Params | None = None
    cross_only: bool = False
    price_too: bool = False
    amounts: Literal["contracts", "whole contracts", "base"] = "contracts"
    significant_figures: int | None = None
    id_form: Literal["plain", "t-", "0x"] = "plain"
    find: Params | None = None
    find_list: Params = {}
    lists: tuple[Params, ...] = ({},)
    position_lists: tuple[Params, ...] = ({},)
    bare_lists: tuple[str, ...] = ()
    page: int | None = None
    cursor: str = ""
    sources: Mapping[Source, str]
    id_field: str = ""
    price_field: str = ""
    source_field: str = ""
    type_field: str = ""
    stop_types: frozenset[str] = frozenset()
    status_field: str = ""
    triggered: frozenset[str] = frozenset()
    filled_field: str = ""
    leg_field: str = ""
    quantity_field: str = ""
    held_field: str = ""
    other_markets: str = ""
    raw_positions: tuple[str, str] | None = None
    two_stops: bool = True
    prices: Mapping[Source, tuple[str, str]]
    prices_at_once: bool = False
    candles: Mapping[Source, Params]
    minimum_spares_stops: bool = False
    ban_seconds: float = 600.0
    request_validity: float = 10.0
    orders_read_lag: float = 1.0
    positions_read_lag: float = 1.0
