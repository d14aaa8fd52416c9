"""The markets of a run. Each process computes the same ones from the seed."""

from __future__ import annotations

import math
import random
from decimal import Decimal
from typing import Final, Literal

from trailing.core.model import Market

LATENCY, JITTER = 0.002, 0.010
"""Seconds that a request takes at least, and the most additional seconds."""

VALIDITY = 0.1
"""Seconds within which a request may be executed. A bot waits so long before it assumes that one was not."""

_ATTACHED: Final[tuple[Literal["own", "bridge"] | None, ...]] = (None, "own", "bridge")


def all_markets(seed: int, positions: int) -> dict[str, Market]:
    """Return the markets by symbol: a third takes two stops, a third amends, a third takes one stop only.

    Of each third, a third lets an entry carry no stop, one of its own, or a bridge.
    """
    return {market.symbol: market for market in (_market(seed, number) for number in range(positions))}


def takes_one_stop(market: Market) -> bool:
    """Return whether a stop has to be cancelled before the next one can be placed."""
    return not market.two_stops and not market.can_amend


def first_price(seed: int, symbol: str) -> float:
    """Return the first price of a market: from ten cents to ten thousand."""
    return float(10 ** random.Random(f"{seed}/{symbol}/price").uniform(-1, 4))


def _market(seed: int, number: int) -> Market:
    symbol = f"COIN{number}/USDT:USDT"
    digits = math.floor(math.log10(first_price(seed, symbol)))
    return Market(
        symbol,
        price_tick=Decimal(1).scaleb(digits - 5),
        quantity_step=Decimal(1).scaleb(-digits - 1),
        can_amend=number % 3 == 1,
        two_stops=number % 3 != 2,
        attached_stop=_ATTACHED[number // 3 % 3],
    )
