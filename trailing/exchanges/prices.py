"""Prices for the paper exchange: points of a path, and random ones from a seed. `trailing.price_files` reads those of files.

Their `at` is in seconds since 1970 (UTC) and never decreases; a replay maps it to its clock.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from decimal import Decimal

import msgspec

from trailing.core.model import (
    Percent,
    Source,
    Tick,
    check_money,
    check_seconds,
    check_source,
    check_symbol,
    refuse,
)
from trailing.core.prices import EXACT

_NO_JUMP = Percent(0)


class PricePoint(msgspec.Struct, frozen=True, gc=False):
    """A tick, and how the price moves to it from the tick before.

    Args:
        tick: the price.
        continuous: True: the price passes every price in between, as inside a candle (`PaperExchange.move_to`). False: it jumps,
            as between two trades or to a candle's open (`PaperExchange.feed`).
        ends_bar: whether it is the close of a candle. It comes before the next candle's open, which has the same time.
    """

    tick: Tick
    continuous: bool = False
    ends_bar: bool = False


def generate_prices(
    symbol: str,
    *,
    seed: int,
    start_price: Decimal,
    tick: Decimal,
    step_seconds: float,
    count: int,
    volatility: Percent,
    jump_probability: float = 0.0,
    jump_size: Percent = _NO_JUMP,
    start_at: float = 0.0,
    source: Source = "last",
) -> Iterator[Tick]:
    """Generate a random walk with jumps. The same arguments give the same ticks; another symbol gives other ticks.

    Args:
        symbol: ccxt's unified symbol, for the ticks.
        seed: the seed of the random numbers.
        start_price: the first price, above 0, rounded to the tick.
        tick: every price is a multiple of it, and at least one tick.
        step_seconds: seconds from one tick to the next, above 0.
        count: the number of ticks, at least 1.
        volatility: the standard deviation of one step.
        jump_probability: the probability that a step jumps, from 0 to 1.
        jump_size: the size of a jump in addition to the step, up or down with equal probability.
        start_at: the first tick's time, in seconds.
        source: the price source of the ticks.

    Raises:
        UsageError: the message names the field, the value, and what is accepted.
    """
    check_symbol("symbol", symbol)
    if type(seed) is not int:
        raise refuse("seed", seed, "a whole number")
    check_money("start_price", start_price)
    check_money("tick", tick)
    check_seconds("step_seconds", step_seconds, zero=False)
    if type(count) is not int or count < 1:
        raise refuse("count", count, "a whole number of at least 1")
    for field, percent in (("volatility", volatility), ("jump_size", jump_size)):
        if not isinstance(percent, Percent):
            raise refuse(field, percent, "a Percent")
    if type(jump_probability) not in (int, float) or not 0 <= jump_probability <= 1:
        raise refuse("jump_probability", jump_probability, "a number from 0 to 1")
    check_seconds("start_at", start_at)
    check_source("source", source)
    step, jump = float(volatility.value) / 100, float(jump_size.value) / 100
    levels = _walk(
        random.Random(f"{seed}/{symbol}"), max(1, round(start_price / tick)), step, jump_probability, jump, count
    )
    return (
        Tick(symbol, EXACT.multiply(level, tick), start_at + number * step_seconds, source)
        for number, level in enumerate(levels)
    )


def _walk(
    draw: random.Random, level: int, step: float, jump_probability: float, jump: float, count: int
) -> Iterator[int]:
    """Yield prices as whole numbers of ticks. Random numbers are floats; money is never a float."""
    for _ in range(count):
        yield level
        # All three are drawn in each step, so that a setting changes only its own part of the walk.
        move, jumps, up = draw.gauss(0, step), draw.random() < jump_probability, draw.random() < 0.5
        if jumps:
            move += jump if up else -jump
        level = max(1, level + round(level * move))
