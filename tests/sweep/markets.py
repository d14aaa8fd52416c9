"""Synthetic prices with a known answer, as bars whose extremes are those of the steps inside."""

from __future__ import annotations

from array import array
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from trailing.backtest import Signal

SYMBOL = "AAA/USDT:USDT"
BEGIN = 1_577_836_800_000  # 2020-01-01
SECONDS = 300.0
STEPS = 32
TICK = 20  # a step is one tick up or down, so that the price passes every price on which a stop may lie


class SyntheticBars:
    """Bars of five minutes, in hundredths."""

    def __init__(self, rows: npt.NDArray[np.int64]) -> None:
        self.seconds = SECONDS
        self.decimals = 2
        self.opened_at = array("q", (BEGIN + 300_000 * number for number in range(rows.shape[1])))
        self.open, self.high, self.low, self.close = (array("q", row.tolist()) for row in rows)

    def price(self, units: int) -> Decimal:
        return Decimal(units).scaleb(-2)


def bars_of(steps: npt.NDArray[np.int64]) -> SyntheticBars:
    """Return the bars of a path from 1000 on, which moves by so many ticks in each step."""
    path = (100_000 + TICK * np.cumsum(steps)).reshape(-1, STEPS)
    assert path.min() > 0
    opens = np.concatenate([[100_000], path[:-1, -1]])
    highs, lows = np.maximum(path.max(axis=1), opens), np.minimum(path.min(axis=1), opens)
    return SyntheticBars(np.array([opens, highs, lows, path[:, -1]]))


def random_walk(seed: int, bars: int) -> SyntheticBars:
    """Return prices without any edge: the expected price is the present one, and no stop is jumped over."""
    return bars_of(2 * np.random.default_rng(seed).integers(0, 2, bars * STEPS) - 1)


def trends(seed: int, legs: int, *, up: float) -> tuple[SyntheticBars, list[Signal]]:
    """Return prices that tend to rise after each signal, for 100 to 200 bars, and to fall as long afterwards.

    Args:
        up: the probability that a step of the rise goes up.
    """
    draw = np.random.default_rng(seed)
    moves: list[npt.NDArray[np.int64]] = []
    signals, bar = [], 0
    for _ in range(legs):
        signals.append(Signal(symbol=SYMBOL, side="long", at=time_of(bar)))
        length = int(draw.integers(100, 201))
        moves += [np.where(draw.random(length * STEPS) < probability, 1, -1) for probability in (up, 1 - up)]
        bar += 2 * length
    return bars_of(np.concatenate(moves)), signals


def sawtooth(legs: int, *, pullback: int) -> tuple[SyntheticBars, list[Signal]]:
    """Return prices that rise by 300 ticks after each signal, with pullbacks of so many ticks, and then fall as far.

    The best callback is the least one above the pullback: a tighter one ends on the way up, a wider one gives back more.
    """
    rise = [1] * (pullback + STEPS) + [-1] * pullback
    leg = rise * (300 // STEPS)
    leg += [-1] * (STEPS * (300 // STEPS))
    leg += [1, -1] * ((-len(leg) % STEPS) // 2)
    assert not sum(leg)
    assert not len(leg) % STEPS
    signals = [Signal(symbol=SYMBOL, side="long", at=time_of(len(leg) // STEPS * number)) for number in range(legs)]
    return bars_of(np.array(leg * legs)), signals


def time_of(bar: int) -> datetime:
    return datetime.fromtimestamp(BEGIN / 1000, UTC) + timedelta(seconds=SECONDS * bar)
