"""Compute what the best of so many plans would gain by chance.

The method is the bootstrap of Halbert White, "A Reality Check for Data Snooping" (Econometrica, 2000). The profits of
each plan in the segments of time are centred on 0, so that no plan has an edge. Segments are then drawn at random with
repetition, the same ones for all plans, and the best total of all plans is noted. The figures depend only on the profits
and the seed.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

PLANS_AT_ONCE: Final = 2000
"""Plans whose totals are computed together, so that memory stays small."""


class Chance(msgspec.Struct, frozen=True, kw_only=True):
    """The best profit, beside that of plans without an edge.

    Args:
        tried: the number of plans.
        best: the profit of the best plan, in percent.
        median: the profit, in percent, that the best of so many plans without an edge exceeds in one of two cases.
        one_in_twenty: the profit that it exceeds in one of twenty cases.
        probability: how often the best plan without an edge gains at least `best`.
        resamples: how many cases were drawn.
    """

    tried: int
    best: float
    median: float
    one_in_twenty: float
    probability: float
    resamples: int


def best_by_chance(profits: npt.NDArray[np.float64], *, resamples: int, seed: int) -> Chance:
    """Return the profit of the best plan, beside that of the best of as many plans without an edge.

    Args:
        profits: per plan and segment of time.
        resamples: how many cases are drawn, at least 1.
        seed: of the random numbers.
    """
    plans, segments = profits.shape
    draw = np.random.default_rng(seed)
    weights = draw.multinomial(segments, np.full(segments, 1 / segments), size=resamples).astype(np.float64)
    bests = np.full(resamples, -np.inf)
    for begin in range(0, plans, PLANS_AT_ONCE):
        some = profits[begin : begin + PLANS_AT_ONCE]
        centred = some - some.mean(axis=1, keepdims=True)
        np.maximum(bests, (weights @ centred.T).max(axis=1), out=bests)
    best = float(profits.sum(axis=1).max())
    return Chance(
        tried=plans,
        best=100 * best,
        median=100 * float(np.median(bests)),
        one_in_twenty=100 * float(np.quantile(bests, 0.95)),
        probability=float((1 + np.count_nonzero(bests >= best)) / (1 + resamples)),
        resamples=resamples,
    )
