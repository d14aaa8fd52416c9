"""OKX's codes and texts, and what it accepts as a parameter.

The codes are those of the documentation's list (https://www.okx.com/docs-v5/en/#error-code). Where the list has no code for a
case, or several, this was assumed:

- A trigger price that is no multiple of the tick size, and an unknown parameter: 51000. The venue itself may ignore the latter.
- A reduce-only algo order is refused when it is placed without a position: 51169, or 51058 with `closeFraction`.
- An amendment of an unknown algo order: 51527; of one that has ended: 51503; of a trailing order: 51506.
- The cancellation of an unknown algo order and of one that has ended: 51400.
- A trigger order at exactly the present price: 51250. A stop-loss at exactly the present price counts as beyond it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, TypeAlias

from okx_market import AlgoType, Contract, OkxMarket
from venue_market import Leg, Trigger

from trailing.core.model import Source

Params: TypeAlias = Mapping[str, Any]

TEXTS: Mapping[str, tuple[int, str]] = {
    "1": (200, "Operation failed."),
    "50001": (503, "Service temporarily unavailable. Please try again later."),
    "50011": (429, "Too Many Requests"),
    "50014": (400, "Parameter {0} can not be empty."),
    "50015": (400, "Either parameter {0} or {1} is required"),
    "50025": (200, "Parameter {0} count exceeds the limit {1}."),
    "50061": (200, "You've reached the maximum order rate limit for this account."),
    "50101": (401, "APIKey does not match current environment."),
    "50102": (401, "Timestamp request expired."),
    "50103": (401, 'Request header "OK-ACCESS-KEY" cannot be empty.'),
    "50104": (401, 'Request header "OK-ACCESS-PASSPHRASE" cannot be empty.'),
    "50105": (401, 'Request header "OK-ACCESS-PASSPHRASE" incorrect.'),
    "50106": (401, 'Request header "OK-ACCESS-SIGN" cannot be empty.'),
    "50107": (401, 'Request header "OK-ACCESS-TIMESTAMP" cannot be empty.'),
    "50111": (401, "Invalid OK-ACCESS-KEY."),
    "50112": (401, "Invalid OK-ACCESS-TIMESTAMP."),
    "50113": (401, "Invalid signature."),
    "50114": (401, "Invalid authorization."),
    "51000": (400, "Parameter {0} error"),
    "51001": (200, "Instrument ID, Instrument ID code or Spread ID doesn't exist."),
    "51008": (200, "Order failed. Insufficient USDT margin in account"),
    "51010": (200, "Request unsupported under current account mode"),
    "51016": (200, "Client order ID already exists."),
    "51020": (200, "Your order should meet or exceed the minimum order amount."),
    "51022": (200, "Contract suspended."),
    "51047": (200, "The stop loss trigger price should be lower than the order price."),
    "51049": (200, "The stop loss trigger price should be higher than the order price."),
    "51051": (200, "The stop loss trigger price should be lower than the best ask price."),
    "51053": (200, "The stop loss trigger price should be higher than the best bid price."),
    "51058": (200, "No available position for this algo order"),
    "51065": (200, "algoClOrdId already exists."),
    "51088": (200, "You can only place 1 TP/SL order to close an entire position"),
    "51112": (200, "Close order size exceeds available size for this position."),
    "51121": (200, "Order quantity must be a multiple of the lot size."),
    "51169": (
        200,
        "Order failed because you don't have any positions in this direction for this contract to reduce or close.",
    ),
    "51170": (
        200,
        "Failed to place order. A reduce-only order can't be the same trading direction as your existing positions.",
    ),
    "51205": (200, "Reduce Only is not available."),
    "51250": (200, "Algo order price is out of the available range."),
    "51258": (
        200,
        "Trailing stop order placement failed. The trigger price of a sell order must be higher than the last price.",
    ),
    "51259": (
        200,
        "Trailing stop order placement failed. The trigger price of a buy order must be lower than the last price.",
    ),
    "51260": (200, "Maximum of {0} pending trailing stop orders can be held at the same time."),
    "51261": (200, "Each user can hold up to {0} pending stop orders at the same time."),
    "51277": (200, "TP trigger price cannot be higher than the last price."),
    "51278": (200, "SL trigger price cannot be lower than the last price."),
    "51279": (200, "TP trigger price cannot be lower than the last price."),
    "51280": (200, "SL trigger price cannot be higher than the last price."),
    "51299": (200, "Order did not go through. You can hold a maximum of {0} orders of this type."),
    "51300": (200, "TP trigger price cannot be higher than the mark price"),
    "51302": (200, "SL trigger price cannot be lower than the mark price"),
    "51303": (200, "TP trigger price cannot be lower than the mark price"),
    "51304": (200, "SL trigger price cannot be higher than the mark price"),
    "51305": (200, "TP trigger price cannot be higher than the index price"),
    "51306": (200, "SL trigger price cannot be lower than the index price"),
    "51307": (200, "TP trigger price cannot be lower than the index price"),
    "51308": (200, "SL trigger price cannot be higher than the index price"),
    "51311": (200, "Failed to place trailing stop order. Callback rate should be within {0}<x<={1}"),
    "51328": (200, "closeFraction is only available for reduceOnly orders"),
    "51400": (200, "Order cancellation failed as the order has been filled, canceled or does not exist."),
    "51503": (200, "Your order has already been filled or canceled."),
    "51506": (200, "Order modification unavailable for the order type."),
    "51521": (
        200,
        "Failed to edit. Unable to edit reduce-only order because you don't have any positions of this contract.",
    ),
    "51524": (200, "Unable to modify the order quantity of a stop order that closes an entire position."),
    "51526": (
        200,
        "Order modification unsuccessful. Take profit/Stop loss conditions cannot be added to or removed from stop orders.",
    ),
    "51527": (200, "Order modification unsuccessful. The stop order does not exist."),
    "51603": (200, "Order does not exist"),
}
_TRIGGERED: Mapping[tuple[Source, bool, bool], str] = {
    # The source, whether it takes the profit, and whether it buys.
    ("last", True, True): "51277",
    ("last", False, True): "51278",
    ("last", True, False): "51279",
    ("last", False, False): "51280",
    ("mark", True, True): "51300",
    ("mark", False, True): "51302",
    ("mark", True, False): "51303",
    ("mark", False, False): "51304",
    ("index", True, True): "51305",
    ("index", False, True): "51306",
    ("index", True, False): "51307",
    ("index", False, False): "51308",
}
TOO_MANY: Mapping[AlgoType, str] = {"conditional": "51261", "trigger": "51299", "move_order_stop": "51260"}
_OWN_ID = re.compile(r"[A-Za-z0-9]{1,32}")
_SOURCES: Mapping[str, Source] = {"last": "last", "mark": "mark", "index": "index"}
_LEGS: Mapping[bool, Mapping[str, Leg]] = {False: {"net": "both"}, True: {"long": "long", "short": "short"}}


class Refused(Exception):
    """A refusal with a code. `values` fill the places of its text."""

    def __init__(self, code: str, *values: object) -> None:
        self.status, text = TEXTS[code]
        self.code: str = code
        self.message: str = text.format(*values)
        super().__init__(f"{code}: {self.message}")


def triggered_code(algo_type: AlgoType, trigger: Trigger, *, buys: bool, takes_profit: bool) -> str:
    """Return the code of an algo order that the present price would trigger, or activate."""
    if algo_type == "trigger":
        return "51250"
    if algo_type == "move_order_stop":
        return "51259" if buys else "51258"
    return _TRIGGERED[trigger.source, takes_profit, buys]


def contract_named(params: Params, market: OkxMarket) -> Contract:
    """Return the contract of `instId`."""
    if not params.get("instId"):
        raise Refused("50014", "instId")
    for each in market.contracts.values():
        if each.id == params["instId"]:
            return each
    raise Refused("51001")


def own_id(params: Params, name: str) -> str:
    """Return a client's id; empty if it is missing."""
    sent = params.get(name, "")
    if sent and not _OWN_ID.fullmatch(str(sent)):
        raise Refused("51000", name)
    return str(sent)


def decimal(params: Params, name: str, step: Decimal | None = None) -> Decimal:
    """Return a number above 0, a multiple of a step."""
    try:
        value = Decimal(str(params[name]))
    except (KeyError, InvalidOperation):
        value = Decimal("NaN")
    if not value.is_finite() or value <= 0 or (step is not None and value % step):
        raise Refused("51000", name)
    return value


def source(params: Params, name: str, usual: Source = "last") -> Source:
    """Return the type of a trigger price."""
    found = _SOURCES.get(params.get(name) or usual)
    if found is None:
        raise Refused("51000", name)
    return found


def at_market(params: Params, name: str) -> None:
    """Refuse an order with a limit after its trigger; this server has none."""
    if str(params.get(name)) != "-1":
        raise Refused("51000", name)


def flag(params: Params, name: str) -> bool:
    """Return a Boolean; false if it is missing."""
    value = params.get(name, False)
    if value not in {True, False, "true", "false"}:
        raise Refused("51000", name)
    return value in {True, "true"}


def leg(params: Params, *, hedged: bool) -> Leg:
    """Return the leg of `posSide`, which may be missing in net mode only."""
    found = _LEGS[hedged].get(params.get("posSide") or ("" if hedged else "net"))
    if found is None:
        raise Refused("51000", "posSide")
    return found
