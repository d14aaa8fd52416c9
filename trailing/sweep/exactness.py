"""Decide which plans the kernel walks exactly as the core does. The core walks the others.

The core's Decimals and the kernel's whole numbers agree to the last digit under these conditions:

- Every product that the kernel builds is below 2^62, so that none overflows.
- Every product that the core builds has at most 28 digits, so that Decimal rounds none of them. A Chandelier rule also
  divides, and Decimal rounds the quotient. Its error is below 10^-27 of the price. That is less than the distance from a
  price that is no multiple of the tick to the next multiple, so the rounded stop is the same.
- The least price is at least a tick, so that no stop of a short is rounded to 0.
- The rules are those that the kernel knows, and every improvement is sent at once.

A jump beyond `max_jump` needs no condition, because the core confirms it at once along recorded prices.
"""

from __future__ import annotations

from decimal import getcontext
from typing import Final

from trailing.core.plan import TrailPlan
from trailing.core.rules import Chandelier
from trailing.sweep.encoding import Scale, knows_rule

_LARGEST: Final = 2**62
_DIGITS: Final = 28


def why_not_by_kernel(plan: TrailPlan, *, bar_seconds: float | None, is_aligned: bool) -> str | None:
    """Return why the kernel can't walk a plan; None: it can.

    Args:
        bar_seconds: the length of a bar; None: the prices are trades.
        is_aligned: whether bars open at multiples of their length.
    """
    for rule in plan.rules:
        if not knows_rule(rule):
            return f"the kernel does not have the rule {type(rule).__name__}"
    if not plan.pacing.is_immediate:
        return "the pacing of the plan defers moves"
    if plan.on_would_trigger != "exit":
        return f"the plan has on_would_trigger = {plan.on_would_trigger!r}"
    if any(isinstance(rule, Chandelier) for rule in plan.rules):
        if bar_seconds is None:
            return "Chandelier needs candles, and the prices are trades"
        if plan.candle_seconds != bar_seconds:
            return f"candles of {plan.candle_seconds:g} s are built from bars of {bar_seconds:g} s"
        if not is_aligned:
            return "the bars do not open at multiples of their length"
    return None


def why_not_exact(scale: Scale, share: int, amount: int, lowest: int, highest: int, count: int) -> str | None:
    """Return why the kernel's arithmetic is not proved to be the core's for some prices; None: it is.

    Args:
        scale: the units of the plans that the kernel knows.
        share, amount: `largest_share` and `largest_amount` of these plans.
        lowest, highest: the least and the largest price, in price units.
        count: the number of prices.
    """
    product = highest * share + amount * scale.den
    if product * 2 >= _LARGEST or scale.den * scale.tick >= _LARGEST or highest * 2 * (count + 1) >= _LARGEST:
        return f"prices up to {highest} units times shares up to {share} are too large for 64 bits"
    if len(str(product)) > min(_DIGITS, getcontext().prec):
        return f"products have {len(str(product))} digits, and Decimal keeps {min(_DIGITS, getcontext().prec)}"
    if lowest < scale.tick:
        return "the least price is below the tick"
    return None
