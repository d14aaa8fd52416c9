"""Intervals of a mean and of a quantile, by drawing trades again.

The method is the percentile interval of the bootstrap: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993),
chapter 13. Trades are drawn at random with repetition, as many as there are, and the middle 95 % of the figures of
these draws are the interval. The figures depend only on the trades and the seed.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

LEVEL: Final = 0.95

_TAILS: Final = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """A figure with its interval, in percent.

    Args:
        value: the figure of the trades.
        low, high: the interval. Of 95 of 100 such intervals the true figure is inside, if there are enough trades.
    """

    value: float
    low: float
    high: float


def draw_weights(trades: int, *, resamples: int, seed: int) -> npt.NDArray[np.float64]:
    """Return how often each trade is drawn in each resample, as shares of all draws."""
    draw = np.random.default_rng(seed)
    return draw.multinomial(trades, np.full(trades, 1 / trades), size=resamples) / trades


def mean_interval(values: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]) -> Interval:
    """Return the mean of the values of trades."""
    return _interval(float(values.mean()), weights @ values)


def quantile_interval(values: npt.NDArray[np.float64], level: float, *, resamples: int, seed: int) -> Interval:
    """Return a quantile of the values of trades.

    Args:
        level: above 0 and below 1.
    """
    draw = np.random.default_rng(seed)
    drawn = values[draw.integers(0, len(values), (resamples, len(values)))]
    return _interval(float(np.quantile(values, level)), np.quantile(drawn, level, axis=1))


def _interval(value: float, drawn: npt.NDArray[Any]) -> Interval:
    low, high = np.quantile(drawn, _TAILS)
    return Interval(value=value, low=float(low), high=float(high))
