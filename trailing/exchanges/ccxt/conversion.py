"""Between our values and ccxt's: base units and contracts, sides, ids, orders and positions."""

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
from trailing.core.prices import EXACT
from trailing.errors import UsageError
from trailing.exchanges.ccxt.unreadable import UNREADABLE, reason
from trailing.exchanges.ccxt.venue import Trailing, Venue
from trailing.exchanges.port import escaped

T = TypeVar("T")

_log = logging.getLogger(__name__)

Raw: TypeAlias = Mapping[str, Any]
"""What ccxt makes of a venue's answer."""

CLOSING: Final[Mapping[Side, str]] = {"long": "sell", "short": "buy"}
"""The side of the order that closes a position."""

_CLOSED_BY: Final[Mapping[str, Side]] = {"sell": "long", "buy": "short"}
_LEGS: Final[Mapping[str, Side]] = {"long": "long", "short": "short"}

CANDLE_SECONDS: Final = 60.0

_ENDED: Final = frozenset({"closed", "canceled", "canceling", "expired", "rejected"})
"""What ccxt calls the state of an order that is not live any more."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OURS = re.compile(r"tr([0-9a-f]{20})")
_OURS_IN_128_BITS = re.compile(r"0x7472([0-9a-f]{20})0{8}")


def markets_of(venue: Venue, raw_markets: Mapping[str, Raw]) -> dict[str, Market]:
    """The linear contracts among ccxt's markets, by symbol."""
    return {
        symbol: market
        for symbol, raw in raw_markets.items()
        if is_linear(raw) and (market := _market(venue, symbol, raw)) is not None
    }


def is_linear(raw: Raw) -> bool:
    """Return whether a market of ccxt's is a linear contract that is settled in its quote currency."""
    return bool(raw["contract"] and raw["linear"] and raw["quote"] == raw["settle"])


def _market(venue: Venue, symbol: str, raw: Raw) -> Market | None:
    try:
        tick, step = number(raw["precision"]["price"]), number(raw["precision"]["amount"])
        if tick is None or step is None:
            return None
        size = Decimal(1) if venue.amounts == "base" else number(raw["contractSize"]) or Decimal(1)
        least = number(raw["limits"]["amount"]["min"]) or Decimal(0)
        worth = None if venue.minimum_spares_stops else number(raw["limits"]["cost"]["min"])
        return Market(
            symbol=symbol,
            price_tick=tick,
            quantity_step=EXACT.multiply(step, size),
            min_quantity=EXACT.multiply(least, size),
            min_notional=worth or Decimal(0),
            contract_size=size,
            can_amend=venue.amend is not None,
            two_stops=venue.two_stops,
            native_callbacks=None if venue.trailing is None else venue.trailing.callbacks,
        )
    except UsageError:  # a symbol, or rules, that no linear contract has
        return None


def number(value: Any) -> Decimal | None:
    """Return a number of ccxt's, exact; None where there is none. Raises UsageError where it can be no price and no quantity."""
    if value is None or value == "":
        return None
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        raise refuse("number", value, "a decimal number") from None
    check_money("number", found.copy_abs(), zero=True)
    return found


def text(value: Decimal) -> str:
    """A number as venues take it: never in scientific notation."""
    return format(value, "f")


def tightened(venue: Venue, side: Side, price: Decimal) -> Decimal:
    """A stop's price as the venue can write it: with no more significant figures than it takes, and not looser."""
    if venue.significant_figures is None:
        return price
    # Whole numbers may have any number of figures.
    places = Decimal(1).scaleb(min(0, price.adjusted() - venue.significant_figures + 1))
    return price.quantize(places, ROUND_CEILING if side == "long" else ROUND_FLOOR, EXACT)


def amount(venue: Venue, quantity: Decimal, market: Market) -> str | int:
    """A quantity in base units as the amount that ccxt takes."""
    contracts = EXACT.divide(quantity, market.contract_size)
    return int(contracts) if venue.amounts == "whole contracts" else text(EXACT.normalize(contracts))


def id_there(venue: Venue, client_order_id: str) -> str:
    """A client order id as a venue takes it. Raises UsageError where it can't be written there."""
    if venue.id_form == "t-":
        return f"t-{client_order_id}"
    if venue.id_form == "0x":
        ours = _OURS.fullmatch(client_order_id)
        if ours is None:
            raise UsageError(f"{venue.name} takes no client order id such as {client_order_id!r}")
        return f"0x7472{ours[1]}{'0' * 8}"
    return client_order_id


def id_here(venue: Venue, client_order_id: str) -> str:
    """A venue's client order id as we know it; those that nobody here made stay as they are."""
    if venue.id_form == "t-":
        return client_order_id.removeprefix("t-")
    ours = _OURS_IN_128_BITS.fullmatch(client_order_id) if venue.id_form == "0x" else None
    return client_order_id if ours is None else f"tr{ours[1]}"


def is_ours(client_order_id: str) -> bool:
    """Return whether a client order id has the form of ours."""
    return _OURS.fullmatch(client_order_id) is not None


def stop_of(venue: Venue, markets: Mapping[str, Market], raw: Raw) -> StopOrder | None:
    """Return the live stop, plain or trailing, that an order of ccxt's is.

    Returns:
        None where it is known to be something else: an order that is not live, of another kind, without a quantity of its own,
        or that opens a position.

    Raises:
        UsageError: it can't be read, or carries our tag and is no stop that we know: taken for absent, it would be placed again.
    """
    triggered = bool(venue.status_field) and _field(raw, venue.status_field) in venue.triggered
    status = "open" if triggered else raw.get("status")  # ccxt takes some that have triggered for closed
    if status in _ENDED:
        return None
    client_order_id = id_here(
        venue, _text_of("client order id", _field(raw, venue.id_field) or raw.get("clientOrderId"))
    )
    trailing = venue.trailing if _is_trailing(venue, raw) else None
    if not _is_stop(venue, raw):
        _refuse_ours(client_order_id)
        return None
    check_one_of("status", status, ("open",))
    side, price, left = _side_of(venue, raw), _price_of(venue, trailing, raw), _left_of(venue, raw, triggered=triggered)
    if triggered and not left:  # all of it was filled, though the venue does not say yet that it has ended
        return None
    if side is None or not price or not left:
        _refuse_ours(client_order_id)
        return None
    market = _market_of(markets, raw)
    return StopOrder(
        symbol=market.symbol,
        side=side,
        quantity=EXACT.multiply(left, market.contract_size),
        price=price,
        client_order_id=client_order_id,
        order_id=_required("id", _text_of("id", raw.get("id"))),
        source=_source_of(venue, raw),
        callback=None
        if trailing is None
        else Percent(_required("callback", number(_field(raw, trailing.callback_field)))),
        triggered=triggered,
    )


def _refuse_ours(client_order_id: str) -> None:
    """Raise UsageError for an order of ours that is no stop that we know."""
    if is_ours(client_order_id):
        raise UsageError("it is ours, and no stop that we know")


def _required(name: str, value: T | None) -> T:
    if not value:
        raise UsageError(f"{name} is missing")
    return value


def _text_of(name: str, value: Any) -> str:
    """Return a text of the venue's, which may have written it as a number; "" where there is none."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (str, int, float, Decimal)):
        raise refuse(name, value, "a text or a number")
    return str(value)


def _market_of(markets: Mapping[str, Market], raw: Raw) -> Market:
    symbol = raw.get("symbol")
    market = markets.get(symbol) if isinstance(symbol, str) else None
    if market is None:
        raise refuse("symbol", symbol, "a market that is known")
    return market


def _price_of(venue: Venue, trailing: Trailing | None, raw: Raw) -> Decimal | None:
    """Return the trigger price; None: the order has none by its kind, or trails from the market's price on."""
    first = venue.price_field if trailing is None else trailing.activation_field
    prices = (_field(raw, first), raw.get("triggerPrice"), raw.get("stopLossPrice"))
    price = next(filter(None, map(number, prices)), None)
    return _required("trigger price", price) if venue.type_field and trailing is None else price


def _left_of(venue: Venue, raw: Raw, *, triggered: bool) -> Decimal | None:
    """Return the contracts that are still to be filled; None or 0: the order has no quantity of its own."""
    whole, left = number(raw.get("amount")), number(raw.get("remaining"))
    if triggered and venue.filled_field and whole is not None:  # ccxt takes all of it for filled
        return whole - (number(_field(raw, venue.filled_field)) or 0)
    left = whole if left is None else left
    if left is None and venue.quantity_field:  # ccxt leaves out a 0, too
        left = number(_field(raw, venue.quantity_field))
        if left is None:
            raise UsageError("quantity is missing")
    return left


def _is_stop(venue: Venue, raw: Raw) -> bool:
    if venue.type_field:
        kind = _required(venue.type_field, _text_of(venue.type_field, _field(raw, venue.type_field)))
        if kind not in venue.stop_types and not _is_trailing(venue, raw):
            return False
    return not (raw.get("takeProfitPrice") and not raw.get("stopLossPrice"))


def _is_trailing(venue: Venue, raw: Raw) -> bool:
    return venue.trailing is not None and _field(raw, venue.type_field) in venue.trailing.types


def _side_of(venue: Venue, raw: Raw) -> Side | None:
    """The side of the position that an order closes; None: it opens one."""
    check_one_of("side", raw.get("side"), ("sell", "buy"))
    closes = _CLOSED_BY[raw["side"]]
    if venue.leg_field:
        leg = str(_field(raw, venue.leg_field)).lower()
        check_one_of(venue.leg_field, leg, ("long", "short", "both"))
        if leg in _LEGS:
            return closes if _LEGS[leg] == closes else None
    return None if raw.get("reduceOnly") is False else closes


def _source_of(venue: Venue, raw: Raw) -> Source:
    if not venue.source_field:
        return next(iter(venue.sources))
    word = str(_field(raw, venue.source_field))
    check_one_of(venue.source_field, word, tuple(venue.sources.values()))
    return next(source for source, known in venue.sources.items() if known == word)


def _field(raw: Raw, path: str) -> Any:
    """A field of the venue's own order, or of something inside of it; None where it isn't there, or has no name."""
    value: Any = raw["info"]
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def position_of(venue: Venue, markets: Mapping[str, Market], raw: Raw) -> PositionReport | None:
    """Return the open position that one of ccxt's is; None: it is flat. Raises UsageError where it can't be read."""
    held = number(raw.get("contracts"))
    if venue.held_field and number(_field(raw, venue.held_field)) is None:
        raise UsageError("quantity is missing")
    if held is not None and not held:
        return None
    market = _market_of(markets, raw)
    check_side("side", raw.get("side"))
    quantity = EXACT.multiply(_required("quantity", held).copy_abs(), market.contract_size)
    entry_price = _required("entry price", number(raw.get("entryPrice")))
    check_money("quantity", quantity)
    check_money("entry price", entry_price)
    return PositionReport(
        market.symbol, raw["side"], quantity, entry_price, number(raw.get("liquidationPrice")) or None
    )


def candles_of(symbol: str, source: Source, rows: Sequence[Any]) -> list[Candle]:
    """Return the minutes' candles that ccxt's rows are: milliseconds, open, high, low, close. One that can't be read is left out."""
    candles: list[Candle] = []
    for row in rows:
        try:
            opened_at = _EPOCH + timedelta(milliseconds=int(row[0]))
            bar = [Decimal(str(price)) for price in row[1:5]]
            candles.append(Candle(symbol, opened_at, CANDLE_SECONDS, bar[0], bar[1], bar[2], bar[3], source))
        except UNREADABLE as error:
            _log.warning("%s: a candle can't be read, and is left out: %s", symbol, escaped(reason(error)))
    return candles
