"""Find the plateau of a grid: the cells around the best one whose profit is hardly less."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from trailing.core.model import Percent

Cell = tuple[int, ...]


class Span(msgspec.Struct, frozen=True):
    """The values of one axis that the plateau has.

    Args:
        axis: its name.
        least, most: the first and the last of them, as text.
    """

    axis: str
    least: str
    most: str


class Plateau(msgspec.Struct, frozen=True, kw_only=True):
    """The plans around the best one whose profit is at most one standard error less.

    Args:
        plans: their numbers. A path of such plans leads from each to the best one, and each step of it goes to the next
            value of one axis.
        spans: their values on each axis that has several.
    """

    plans: tuple[int, ...]
    spans: tuple[Span, ...]


def find_plateau(
    cells: Sequence[Cell], axes: Mapping[str, Sequence[Any]], profits: npt.NDArray[np.float64], best: int
) -> Plateau:
    """Return the plateau around the best plan.

    Args:
        cells: of each plan, the index of its value on each axis.
        profits: per plan and segment.
        best: the number of the best plan.
    """
    segments = profits.shape[1]
    # The segments are about independent, so the error of a total is that of a sum of so many values.
    error = float(profits[best].std(ddof=1)) * segments**0.5
    totals = profits.sum(axis=1)
    least = totals[best] - error
    numbers = {cell: number for number, cell in enumerate(cells)}
    found, waiting = {best}, [cells[best]]
    while waiting:
        cell = waiting.pop()
        for axis in range(len(cell)):
            for step in (-1, 1):
                number = numbers.get((*cell[:axis], cell[axis] + step, *cell[axis + 1 :]))
                if number is not None and number not in found and totals[number] >= least:
                    found.add(number)
                    waiting.append(cells[number])
    spans = []
    for axis, (name, values) in enumerate(axes.items()):
        if len(values) > 1:
            indexes = {cells[number][axis] for number in found}
            spans.append(Span(name, write_value(values[min(indexes)]), write_value(values[max(indexes)])))
    return Plateau(plans=tuple(sorted(found)), spans=tuple(spans))


def edges_of(
    best: int, cells: Sequence[Cell], axes: Mapping[str, Sequence[Any]], totals: npt.NDArray[np.float64]
) -> list[tuple[str, str, str]]:
    """Return each axis on whose edge the best plan lies, its value there, and which edge it is.

    Only axes with at least three values in an order have edges. The smallest value is no edge if it is 0. A value whose
    neighbour gives the same profit is none either, because the axis changes nothing there.

    Args:
        best: the number of the best plan.
        cells: of each plan, the index of its value on each axis.
        totals: the profit of each plan.
    """
    found = []
    numbers = {cell: number for number, cell in enumerate(cells)}
    cell = cells[best]
    for axis, (name, values) in enumerate(axes.items()):
        kinds = {type(value) for value in values if value is not None}
        indexes = [index for index, value in enumerate(values) if isinstance(value, (Percent, Decimal, int))]
        if len(indexes) < 3 or len(kinds) > 1 or values[cell[axis]] is None:
            continue
        indexes.sort(key=lambda index: _size(values[index]))
        for edge, inner, word in ((indexes[0], indexes[1], "smallest"), (indexes[-1], indexes[-2], "largest")):
            neighbour = numbers.get((*cell[:axis], inner, *cell[axis + 1 :]))
            changes_nothing = neighbour is not None and totals[neighbour] == totals[best]
            if cell[axis] == edge and _size(values[edge]) > 0 and not changes_nothing:
                found.append((name, write_value(values[edge]), word))
    return found


def _size(value: Percent | Decimal | int) -> Decimal:
    return value.value if isinstance(value, Percent) else Decimal(value)


def write_value(value: Any) -> str:
    """Return a value of an axis as text: ``1.5%``, an amount, steps, or ``none``."""
    if value is None:
        return "none"
    steps = getattr(value, "steps", None)
    if steps is not None:
        return " ".join(f"{write_value(profit)}={write_value(distance)}" for profit, distance in steps)
    if isinstance(value, Percent):
        return f"{value.value.normalize():f}%"
    return f"{value.normalize():f}" if isinstance(value, Decimal) else str(value)
