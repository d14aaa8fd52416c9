"""Derive the exchange's own trailing order from a plan, and check that it is possible.

A trailing order protects nothing before the price reaches its activation. So it is placed beside the plain stop, and
never in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from trailing.core.model import Market, Percent, Position, refuse
from trailing.core.prices import ahead, round_stop
from trailing.core.rules import Callback, Rule

if TYPE_CHECKING:
    from trailing.core.plan import TrailPlan


class NativeTerms(msgspec.Struct, frozen=True):
    """The terms of a trailing order that a plan needs.

    Args:
        activation: the price from which on it trails.
        callback: its distance behind the best price since then.
    """

    activation: Decimal
    callback: Percent


def check_native_rules(native: Any, rules: Sequence[Rule]) -> None:
    """Refuse rules that no exchange's own trailing order can carry out.

    Allowed is one `Callback` alone, with a Percent as its distance and an activation above 0.

    Args:
        native: `TrailPlan.native`, which is refused unless it is a bool.

    Raises:
        UsageError: naming the field, what it got and what it wants.
    """
    if type(native) is not bool:
        raise refuse("TrailPlan.native", native, "True or False")
    rule = rules[0] if len(rules) == 1 else None
    if type(rule) is not Callback:
        kinds = ", ".join(type(each).__name__ for each in rules) or "none"
        raise refuse("TrailPlan.rules", kinds, "exactly one Callback, with native=True")
    if not isinstance(rule.distance, Percent):
        raise refuse("TrailPlan.rules[0].distance", rule.distance, "a Percent, with native=True")
    at_once = rule.activation.value if isinstance(rule.activation, Percent) else rule.activation
    if not at_once:
        wants = "a profit above 0, with native=True: the order is placed before the price from which on it trails"
        raise refuse("TrailPlan.rules[0].activation", rule.activation, wants)


def check_native_market(plan: TrailPlan, market: Market) -> None:
    """Refuse a native plan on a market that can't carry it out. Other plans pass.

    Raises:
        UsageError: naming the field, what it got and what it wants.
    """
    if not plan.native:
        return
    if market.native_callbacks is None:
        wants = f"False: {market.symbol} has no trailing order of the exchange's own that could be known as ours"
        raise refuse("TrailPlan.native", plan.native, wants)
    if not market.two_stops:
        wants = f"False: {market.symbol} allows one live stop, and that is the initial one"
        raise refuse("TrailPlan.native", plan.native, wants)
    distance = _callback_of(plan).distance
    assert isinstance(distance, Percent)
    if not market.native_callbacks.takes(distance):
        wants = f"{market.native_callbacks}, as {market.symbol} takes it with native=True"
        raise refuse("TrailPlan.rules[0].distance", str(distance), wants)


def native_terms(plan: TrailPlan, position: Position, market: Market) -> NativeTerms:
    """Return the trailing order of a native plan for a position.

    Its activation is rounded so that trailing never begins later.
    """
    rule, side = _callback_of(plan), position.side
    activation = ahead(side, position.entry_price, rule.activation)
    assert isinstance(rule.distance, Percent)
    return NativeTerms(round_stop("short" if side == "long" else "long", activation, market.price_tick), rule.distance)


def _callback_of(plan: TrailPlan) -> Callback:
    (rule,) = plan.rules
    assert isinstance(rule, Callback)
    return rule
