"""Converts between our values and ccxt's: units, sides, client order ids, orders, positions and candles."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, InvalidOperation
from typing import Any, Final, TypeAlias, TypeVar

from trailing.core.account import PositionReport
from trailing.core.model import (
    Candle,
    Market,
    Percent,
    Side,
    Source,
    StopOrder,
    check_money,
    check_one_of,
    check_side,
    refuse,
)
from trailing.core.prices import EXACT, remainder
from trailing.errors import UsageError
from trailing.exchanges.ccxt.unreadable import UNREADABLE, as_text, reason
from trailing.exchanges.ccxt.venue import NativeTrailing, Venue
from trailing.exchanges.port import escaped

T = TypeVar("T")

_log = logging.getLogger(__name__)

Raw: TypeAlias = Mapping[str, Any]
"""An entry of a venue's reply, as ccxt parsed it. Its field `info` holds the venue's own entry."""

CLOSING: Final[Mapping[Side, str]] = {"long": "sell", "short": "buy"}
"""The side of the order that closes a position."""

CLOSED_BY: Final[Mapping[str, Side]] = {"sell": "long", "buy": "short"}
"""The side of the position that an order closes."""

_LEGS: Final[Mapping[str, Side]] = {"long": "long", "short": "short"}

CANDLE_SECONDS: Final = 60.0

_ENDED: Final = frozenset({"closed", "canceled", "canceling", "expired", "rejected", "pause"})
"""ccxt's statuses of an order that is not live. OKX's paused orders do not wait for their price."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_ID: Final = 100  # the longest that a venue accepts has 64
_ORDER_ID = re.compile(r"[0-9A-Za-z][\w:-]{0,99}", re.ASCII)
_OURS = re.compile(r"tr([0-9a-f]{20})")
_IN_128_BITS = re.compile(r"0x[0-9a-fA-F]{32}")
_OURS_IN_128_BITS = re.compile(r"0x7472([0-9a-f]{20})0{8}")


def markets_of(venue: Venue, raw_markets: Mapping[str, Raw]) -> dict[str, Market]:
    """Return the linear contracts among ccxt's markets, by symbol, without those whose stops would not be listed."""
    return {
        symbol: market
        for symbol, raw in raw_markets.items()
        if not _is_unlisted(venue, symbol) and (market := _market(venue, symbol, raw)) is not None
    }


def _is_unlisted(venue: Venue, symbol: str) -> bool:
    """Return whether the venue's lists leave a market out. A stop there would count as absent."""
    return re.fullmatch(venue.lists.unlisted_markets, symbol) is not None


def unknown_market(venue: Venue, name: str, symbol: str) -> UsageError:
    """Return the error for a symbol that `markets_of` does not contain. `name` is that of the exchange."""
    if _is_unlisted(venue, symbol):
        return UsageError(
            f"symbol got {symbol!r}, which can't be protected on {name}, because its lists of stops and positions leave this "
            "market out"
        )
    return UsageError(
        f"symbol got {symbol!r}, but {name} lists no such linear contract among the markets that were read when the exchange was "
        "opened; open it again if the contract was listed later"
    )


def is_linear(raw: Raw) -> bool:
    """Return whether a market is a linear contract that is settled in its quote currency."""
    return bool(raw.get("contract") and raw.get("linear") and raw.get("quote") == raw.get("settle"))


def _market(venue: Venue, symbol: str, raw: Raw) -> Market | None:
    try:
        if not is_linear(raw):
            return None
        tick, step = number(raw["precision"]["price"]), number(raw["precision"]["amount"])
        if tick is None or step is None:
            return None
        size = Decimal(1) if venue.orders.amount_unit == "base" else number(raw["contractSize"]) or Decimal(1)
        least = number(raw["limits"]["amount"]["min"]) or Decimal(0)
        worth = None if venue.orders.min_notional_exempt else number(raw["limits"]["cost"]["min"])
        return Market(
            symbol=symbol,
            price_tick=tick,
            quantity_step=EXACT.multiply(step, size),
            min_quantity=EXACT.multiply(least, size),
            min_notional=worth or Decimal(0),
            contract_size=size,
            can_amend=venue.stops.amend is not None,
            two_stops=venue.stops.two_stops,
            native_callbacks=None if venue.stops.trailing is None else venue.stops.trailing.callbacks,
            most_stops=venue.stops.most_stops,
            attached_stop=None if venue.entries is None else venue.entries.attached_stop,
        )
    except UNREADABLE:  # its symbol or its rules are not those of a linear contract
        return None


def number(value: Any) -> Decimal | None:
    """Return a number of ccxt's, exact; None if it is missing. Raises UsageError if it can be no price and no quantity."""
    if value is None or value == "":
        return None
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        raise refuse("number", value, "a decimal number") from None
    check_money("number", found.copy_abs(), zero=True)
    return found


def text(value: Decimal) -> str:
    """Return a number as text for a venue, never in scientific notation."""
    return format(value, "f")


def tightened(venue: Venue, side: Side, price: Decimal) -> Decimal:
    """Return a stop's price with at most the significant figures that the venue accepts. It is never looser."""
    if venue.orders.significant_figures is None:
        return price
    # Whole numbers may have any number of figures.
    places = Decimal(1).scaleb(min(0, price.adjusted() - venue.orders.significant_figures + 1))
    return price.quantize(places, ROUND_CEILING if side == "long" else ROUND_FLOOR, EXACT)


def amount(venue: Venue, quantity: Decimal, market: Market) -> str | int:
    """Return a quantity in base units as the amount that ccxt expects."""
    contracts = EXACT.divide(quantity, market.contract_size)
    return int(contracts) if venue.orders.amount_unit == "whole contracts" else text(EXACT.normalize(contracts))


def base_units(contracts: Decimal, market: Market) -> Decimal:
    """Return a number of contracts in base units, without the zeros that the contract size adds."""
    quantity = EXACT.normalize(EXACT.multiply(contracts, market.contract_size))
    return quantity if quantity.as_tuple().exponent <= 0 else EXACT.quantize(quantity, Decimal(1))  # type: ignore[operator]


def check_steps(market: Market, price: Decimal, quantity: Decimal) -> None:
    """Raise UsageError unless the price is a multiple of the market's tick, and the quantity one of its step."""
    check_money("StopRequest.price", price)
    check_money("StopRequest.quantity", quantity)
    if remainder(price, market.price_tick):
        raise refuse("StopRequest.price", price, f"a multiple of {market.symbol}'s tick, {market.price_tick}")
    if remainder(quantity, market.quantity_step):
        raise refuse("StopRequest.quantity", quantity, f"a multiple of {market.symbol}'s step, {market.quantity_step}")


def to_venue_id(venue: Venue, client_order_id: str) -> str:
    """Return a client order id as the venue writes it. Raises UsageError if the venue can't represent it.

    A foreign id of 128 bits stays as it is, so that its order can be cancelled.
    """
    if venue.orders.id_form == "t-":
        return f"t-{client_order_id}"
    if venue.orders.id_form == "0x" and not _IN_128_BITS.fullmatch(client_order_id):
        ours = _OURS.fullmatch(client_order_id)
        if ours is None:
            raise UsageError(
                f"{venue.name} can't represent the client order id {client_order_id!r}; use one that trailing creates"
            )
        return f"0x7472{ours[1]}{'0' * 8}"
    return client_order_id


def from_venue_id(venue: Venue, client_order_id: str) -> str:
    """Return a client order id as we write it, from the venue's form. Foreign ids stay as they are."""
    if venue.orders.id_form == "t-":
        return client_order_id.removeprefix("t-")
    ours = _OURS_IN_128_BITS.fullmatch(client_order_id) if venue.orders.id_form == "0x" else None
    return client_order_id if ours is None else f"tr{ours[1]}"


def is_ours(client_order_id: str) -> bool:
    """Return whether a client order id has our form."""
    return _OURS.fullmatch(client_order_id) is not None


def stop_of(venue: Venue, markets: Mapping[str, Market], raw: Raw) -> StopOrder | None:
    """Convert an order of ccxt's into the live stop, plain or trailing, that it is.

    Returns:
        The stop; None: the order is not live, is of another kind, has no quantity of its own, or opens a position.

    Raises:
        UsageError: the order can't be parsed, or has a client order id of ours but is not a stop as we place them. Treated
            as absent, the stop would be placed again.
    """
    order_id = order_id_of(raw)  # an entry without one is no order of any kind
    triggered = bool(venue.fields.status) and _field(raw, venue.fields.status) in venue.fields.triggered_statuses
    status = "open" if triggered else raw.get("status")  # ccxt reports some triggered stops as closed
    if status in _ENDED:
        return None
    client_order_id = client_order_id_of(venue, raw)
    trailing = venue.stops.trailing if _is_trailing(venue, raw) else None
    if not _is_stop(venue, raw):
        _refuse_ours(client_order_id)
        return None
    check_one_of("status", status, ("open",))
    side, price, left = _side_of(venue, raw), _price_of(venue, trailing, raw), _left_of(venue, raw, triggered=triggered)
    if triggered and not left:  # filled completely, but not reported as ended yet
        return None
    if side is None or not price or not left:
        _refuse_ours(client_order_id)
        return None
    market = _market_of(markets, raw)
    return StopOrder(
        symbol=market.symbol,
        side=side,
        quantity=base_units(left, market),
        price=price,
        client_order_id=client_order_id,
        order_id=order_id,
        source=_source_of(venue, raw),
        callback=None
        if trailing is None
        else Percent(_required("callback", number(_field(raw, trailing.callback_field)))),
        triggered=triggered,
    )


def order_id_of(raw: Raw) -> str:
    """Return the venue's id of an order. Raises UsageError if it is missing or can be none."""
    order_id = _required("id", as_text("id", raw.get("id")))
    if not _ORDER_ID.fullmatch(order_id):
        raise refuse("id", order_id[:100], "an order id")
    return order_id


def client_order_id_of(venue: Venue, raw: Raw) -> str:
    """Return the client order id of an order as we write it; "" if it has none. Raises UsageError if it can be none."""
    found = as_text("client order id", _field(raw, venue.fields.client_order_id) or raw.get("clientOrderId"))
    if len(found) > _LONGEST_ID or not found.isprintable():
        raise refuse("client order id", found[:_LONGEST_ID], f"a printable text of at most {_LONGEST_ID} characters")
    return from_venue_id(venue, found)


def _refuse_ours(client_order_id: str) -> None:
    """Raise UsageError for an order with a client order id of ours that is not a stop as we place them."""
    if is_ours(client_order_id):
        raise UsageError("it has a client order id of ours, but is not a stop as we place them")


def _required(name: str, value: T | None) -> T:
    if not value:
        raise UsageError(f"{name} is missing")
    return value


def _market_of(markets: Mapping[str, Market], raw: Raw) -> Market:
    symbol = raw.get("symbol")
    market = markets.get(symbol) if isinstance(symbol, str) else None
    if market is None:
        raise refuse("symbol", symbol, "a linear contract that the exchange listed when it was opened")
    return market


def _price_of(venue: Venue, trailing: NativeTrailing | None, raw: Raw) -> Decimal | None:
    """Return the trigger price; None: orders of its kind have none, or it trails from the market price on."""
    first = venue.fields.trigger_price if trailing is None else trailing.activation_field
    prices = (_field(raw, first), raw.get("triggerPrice"), raw.get("stopLossPrice"))
    price = next(filter(None, map(number, prices)), None)
    return _required("trigger price", price) if venue.fields.type and trailing is None else price


def _left_of(venue: Venue, raw: Raw, *, triggered: bool) -> Decimal | None:
    """Return the contracts that are not filled yet; None or 0: the order has no quantity of its own."""
    whole, left = number(raw.get("amount")), number(raw.get("remaining"))
    if triggered and venue.fields.filled and whole is not None:  # ccxt reports all of it as filled
        return whole - (number(_field(raw, venue.fields.filled)) or 0)
    left = whole if left is None else left
    if left is None and venue.fields.quantity:  # ccxt also leaves out a 0
        left = number(_field(raw, venue.fields.quantity))
        if left is None:
            raise UsageError("quantity is missing")
    return left


def _is_stop(venue: Venue, raw: Raw) -> bool:
    if raw.get("takeProfitPrice") and not raw.get("stopLossPrice"):
        return False
    if venue.fields.execution_type and _field(raw, venue.fields.execution_type) != "Market":
        return False
    if not venue.fields.type:
        return True
    kind = _kind_of(venue, raw)
    if kind is None:
        raise UsageError(f"{venue.fields.type} is missing")
    return as_text(venue.fields.type, kind) in venue.fields.stop_types or _is_trailing(venue, raw)


def _is_trailing(venue: Venue, raw: Raw) -> bool:
    return venue.stops.trailing is not None and _kind_of(venue, raw) in venue.stops.trailing.types


def _kind_of(venue: Venue, raw: Raw) -> Any:
    """Return the venue's word for the type of an order; None: the entry has none."""
    kind, other = _field(raw, venue.fields.type), venue.fields.other_type
    return _field(raw, other) if kind is None and other else kind


def _side_of(venue: Venue, raw: Raw) -> Side | None:
    """Return the side of the position that an order closes; None: it opens one."""
    check_one_of("side", raw.get("side"), ("sell", "buy"))
    closes = CLOSED_BY[raw["side"]]
    if venue.fields.position_side:
        leg = str(_field(raw, venue.fields.position_side)).lower()
        check_one_of(venue.fields.position_side, leg, ("long", "short", "both", "net"))
        if leg in _LEGS:
            return closes if _LEGS[leg] == closes else None
    return None if raw.get("reduceOnly") is False else closes


def _source_of(venue: Venue, raw: Raw) -> Source:
    if not venue.fields.source:
        return next(iter(venue.stops.sources))
    word = str(_field(raw, venue.fields.source))
    check_one_of(venue.fields.source, word, tuple(venue.stops.sources.values()))
    return next(source for source, known in venue.stops.sources.items() if known == word)


def _field(raw: Raw, path: str) -> Any:
    """Return a field of the venue's own entry, by a path with dots; None if it is missing."""
    value: Any = raw["info"]
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def position_of(venue: Venue, markets: Mapping[str, Market], raw: Raw) -> PositionReport | None:
    """Convert a position of ccxt's; None: it is flat. Raises UsageError if it can't be parsed."""
    held = number(raw.get("contracts"))
    if venue.fields.position_quantity and number(_field(raw, venue.fields.position_quantity)) is None:
        raise UsageError("quantity is missing")
    if held is not None and not held:
        return None
    market = _market_of(markets, raw)
    check_side("side", raw.get("side"))
    quantity = base_units(_required("quantity", held).copy_abs(), market)
    entry_price = _required("entry price", number(raw.get("entryPrice")))
    check_money("quantity", quantity)
    check_money("entry price", entry_price)
    return PositionReport(
        market.symbol, raw["side"], quantity, entry_price, number(raw.get("liquidationPrice")) or None
    )


def candles_of(symbol: str, source: Source, rows: Sequence[Any]) -> list[Candle]:
    """Convert ccxt's rows (UTC milliseconds, open, high, low, close) into minute candles. A row that can't be parsed is left out."""
    candles: list[Candle] = []
    for row in rows:
        try:
            opened_at = _EPOCH + timedelta(milliseconds=int(row[0]))
            bar = [Decimal(str(price)) for price in row[1:5]]
            candles.append(Candle(symbol, opened_at, CANDLE_SECONDS, bar[0], bar[1], bar[2], bar[3], source))
        except UNREADABLE as error:
            _log.warning("%s: left out a candle that can't be parsed: %s", symbol, escaped(reason(error)))
    return candles
