"""Between our values and ccxt's: base units and contracts, sides, ids, orders and positions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any, Final, TypeAlias

from trailing.core.account import PositionReport
from trailing.core.model import Candle, Market, Percent, Side, Source, StopOrder
from trailing.core.prices import EXACT
from trailing.errors import ExchangeUnreachable, UsageError
from trailing.exchanges.ccxt.venue import Venue

Raw: TypeAlias = Mapping[str, Any]
"""What ccxt makes of a venue's answer."""

CLOSING: Final[Mapping[Side, str]] = {"long": "sell", "short": "buy"}
"""The side of the order that closes a position."""

_CLOSED_BY: Final[Mapping[str, Side]] = {"sell": "long", "buy": "short"}
_LEGS: Final[Mapping[str, Side]] = {"long": "long", "short": "short"}

CANDLE_SECONDS: Final = 60.0

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OURS = re.compile(r"tr([0-9a-f]{20})")
_OURS_IN_128_BITS = re.compile(r"0x7472([0-9a-f]{20})0{8}")


def markets_of(venue: Venue, raw_markets: Mapping[str, Raw]) -> dict[str, Market]:
    """The linear contracts among ccxt's markets, by symbol."""
    return {
        symbol: market
        for symbol, raw in raw_markets.items()
        if raw["contract"] and raw["linear"] and (market := _market(venue, symbol, raw)) is not None
    }


def _market(venue: Venue, symbol: str, raw: Raw) -> Market | None:
    tick, step = number(raw["precision"]["price"]), number(raw["precision"]["amount"])
    if tick is None or step is None or raw["quote"] != raw["settle"]:
        return None
    size = Decimal(1) if venue.amounts == "base" else number(raw["contractSize"]) or Decimal(1)
    least = number(raw["limits"]["amount"]["min"]) or Decimal(0)
    worth = None if venue.minimum_spares_stops else number(raw["limits"]["cost"]["min"])
    try:
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
    """A number of ccxt's, exact; None where there is none."""
    return None if value is None or value == "" else Decimal(str(value))


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


def stop_of(venue: Venue, markets: Mapping[str, Market], raw: Raw) -> StopOrder | None:
    """The live stop, plain or trailing, that an order of ccxt's is; None: it is another order, or not live.

    Raises ExchangeUnreachable where it carries our tag and can't be read: taken for absent, it would be placed again.
    """
    market = markets.get(raw["symbol"])
    triggered = bool(venue.status_field) and _field(raw, venue.status_field) in venue.triggered
    if market is None or not (triggered or raw.get("status") == "open") or not _is_stop(venue, raw):
        return None
    trailing = venue.trailing if _is_trailing(venue, raw) else None
    first = venue.price_field if trailing is None else trailing.activation_field
    prices = (_field(raw, first), raw.get("triggerPrice"), raw.get("stopLossPrice"))
    price = next(filter(None, map(number, prices)), None)
    callback = None if trailing is None else number(_field(raw, trailing.callback_field))
    side = _side_of(venue, raw)
    left = _left_of(venue, raw, triggered=triggered)
    if triggered and not left:  # all of it was filled, though the venue does not say yet that it has ended
        return None
    source = _source_of(venue, raw)
    client_order_id = id_here(venue, _field(raw, venue.id_field) or raw.get("clientOrderId") or "")
    if not price or side is None or not left or source is None or (trailing is not None and not callback):
        if _OURS.fullmatch(client_order_id):
            raise ExchangeUnreachable(f"{venue.name} shows our order {client_order_id} as no stop that we know")
        return None
    return StopOrder(
        symbol=market.symbol,
        side=side,
        quantity=EXACT.multiply(left, market.contract_size),
        price=price,
        client_order_id=client_order_id,
        order_id=str(raw["id"]),
        source=source,
        callback=None if callback is None else Percent(callback),
        triggered=triggered,
    )


def _left_of(venue: Venue, raw: Raw, *, triggered: bool) -> Decimal | None:
    """Return the amount of an order that is not filled yet; None where it is not told."""
    whole, left = number(raw.get("amount")), number(raw.get("remaining"))
    if triggered and venue.filled_field and whole is not None:
        return whole - (number(_field(raw, venue.filled_field)) or 0)
    return whole if left is None else left


def _is_stop(venue: Venue, raw: Raw) -> bool:
    if venue.type_field and _field(raw, venue.type_field) not in venue.stop_types and not _is_trailing(venue, raw):
        return False
    return not (raw.get("takeProfitPrice") and not raw.get("stopLossPrice"))


def _is_trailing(venue: Venue, raw: Raw) -> bool:
    return venue.trailing is not None and _field(raw, venue.type_field) in venue.trailing.types


def _side_of(venue: Venue, raw: Raw) -> Side | None:
    """The side of the position that an order closes; None: it opens one."""
    closes = _CLOSED_BY[raw["side"]]
    leg = _LEGS.get(str(_field(raw, venue.leg_field)).lower())
    if leg is not None:
        return closes if leg == closes else None
    return None if raw.get("reduceOnly") is False else closes


def _source_of(venue: Venue, raw: Raw) -> Source | None:
    if not venue.source_field:
        return next(iter(venue.sources))
    word = str(_field(raw, venue.source_field))
    return next((source for source, known in venue.sources.items() if known == word), None)


def _field(raw: Raw, path: str) -> Any:
    """A field of the venue's own order, or of something inside of it; None where it isn't there, or has no name."""
    value: Any = raw["info"]
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def position_of(markets: Mapping[str, Market], raw: Raw) -> PositionReport | None:
    """The open position that one of ccxt's is; None: it is flat, or of no linear contract."""
    market = markets.get(raw["symbol"])
    held = number(raw.get("contracts"))
    side = _LEGS.get(str(raw.get("side")))
    if market is None or not held or side is None:
        return None
    return PositionReport(
        symbol=market.symbol,
        side=side,
        quantity=EXACT.multiply(held.copy_abs(), market.contract_size),
        entry_price=number(raw.get("entryPrice")) or Decimal(0),
        liquidation_price=number(raw.get("liquidationPrice")) or None,
    )


def candle_of(symbol: str, source: Source, row: Sequence[Any]) -> Candle:
    """The minute's candle that one of ccxt's rows is: milliseconds, open, high, low, close."""
    opened_at = _EPOCH + timedelta(milliseconds=int(row[0]))
    bar = [Decimal(str(price)) for price in row[1:5]]
    return Candle(symbol, opened_at, CANDLE_SECONDS, bar[0], bar[1], bar[2], bar[3], source)
