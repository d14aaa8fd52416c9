"""Choose a plan on the first part of the data, and show it on the rest."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt


class WalkForward(msgspec.Struct, frozen=True, kw_only=True):
    """The plan that was best in the first part, and its profit in the rest.

    A position that is open between the parts counts in both, each time by the change of its price in that part. So
    nothing of the rest takes part in the choice.

    Args:
        chosen: the number of the plan.
        border: when the rest begins, UTC milliseconds.
        first_profit, rest_profit: its profits after costs, in percent.
        first_trades, rest_trades: the trades that it entered in each part.
        rest_rank: its rank in the rest among all plans; 1 is the best.
        best_in_rest: the profit of the plan that was best in the rest, in percent.
    """

    chosen: int
    border: int
    first_profit: float
    rest_profit: float
    first_trades: int
    rest_trades: int
    rest_rank: int
    best_in_rest: float


def walk_forward(
    profits: npt.NDArray[np.float64],
    trades: npt.NDArray[np.int64],
    early_trades: npt.NDArray[np.int64],
    *,
    early: int,
    border: int,
) -> WalkForward:
    """Return the plan that was best in the first part. Of several equal ones it is the first.

    Args:
        profits: per plan and segment.
        trades, early_trades: per plan, all trades and those entered in the first part.
        early: the number of segments of the first part.
        border: when the rest begins.
    """
    first, rest = profits[:, :early].sum(axis=1), profits[:, early:].sum(axis=1)
    chosen = int(first.argmax())
    return WalkForward(
        chosen=chosen,
        border=border,
        first_profit=100 * float(first[chosen]),
        rest_profit=100 * float(rest[chosen]),
        first_trades=int(early_trades[chosen]),
        rest_trades=int(trades[chosen] - early_trades[chosen]),
        rest_rank=1 + int(np.count_nonzero(rest > rest[chosen])),
        best_in_rest=100 * float(rest.max()),
    )
