"""The distances between bars: their length, gaps, overlaps, and mixed timeframes."""

from __future__ import annotations

from array import array
from itertools import pairwise
from typing import Final

from trailing.errors import UsageError
from trailing.price_files.tables import Table, refuse_at
from trailing.price_files.values import Gap

_LONG_RUN: Final = 20
"""So many equal gaps in a row are bars of another length. Bars that are missing at random don't repeat a distance so often."""

_SECONDS_IN_1973: Final = 100_000_000_000
"""A smaller value in milliseconds is before 1973. In seconds, it is a date of this millennium."""

_UNITS: Final = (("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000))


def write_length(milliseconds: int) -> str:
    """Return the length of a bar in its largest whole unit, as in ``5m``."""
    for unit, size in _UNITS:
        if milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"


def find_length(table: Table, field: str, opened_at: array[int]) -> float:
    """Return the seconds of a bar: the shortest distance between two.

    Raises:
        UsageError: there is only one bar, or they are not in order.
    """
    if len(opened_at) == 1:
        wants = "a length in the name, as in btc-usdt-5m.csv, because one bar does not show it"
        raise refuse_at(table.path, "", "name", table.path.name, wants)
    shortest = min(later - earlier for earlier, later in pairwise(opened_at))
    if shortest <= 0:
        raise _refuse_order(table, field, opened_at, 1)
    return shortest / 1000


def find_gaps(table: Table, field: str, opened_at: array[int], seconds: float) -> tuple[Gap, ...]:
    """Return the gaps between bars.

    Args:
        field: the column of `opened_at`, for errors.
        seconds: the length of a bar.

    Raises:
        UsageError: bars are not in order, overlap, or are of another length.
    """
    length = round(seconds * 1000)
    gaps, run, before = list[Gap](), 0, 0
    for row, (earlier, later) in enumerate(pairwise(opened_at), start=1):
        distance = later - earlier
        if distance == length:
            run = 0
            continue
        if distance < length:
            raise _refuse_order(table, field, opened_at, length)
        if distance % length:
            wants = f"a whole number of bars of {write_length(length)} after {earlier}: a file has bars of one length"
            raise table.refuse(row, field, wants)
        run, before = run + 1 if distance == before else 1, distance
        if run == _LONG_RUN:
            raise table.refuse(
                row - run + 1,
                field,
                f"{earlier - (run - 1) * distance + length}: bars of {write_length(length)}, but from here on they are "
                f"{write_length(distance)} apart, and a file has bars of one length",
            )
        gaps.append(Gap(earlier + length, distance // length - 1))
    return tuple(gaps)


def _refuse_order(table: Table, field: str, opened_at: array[int], length: int) -> UsageError:
    row = next(row for row, (earlier, later) in enumerate(pairwise(opened_at), start=1) if later - earlier < length)
    earlier, later = opened_at[row - 1], opened_at[row]
    unit = table.place(row).partition(" ")[0]
    if later < earlier:
        return table.refuse(row, field, f"more than {earlier}, the value of the {unit} before")
    hint = "; are these seconds?" if later < _SECONDS_IN_1973 and (later - earlier) * 1000 >= length > 1 else ""
    wants = f"at least {earlier + length}, the end of the bar in the {unit} before{hint}"
    return table.refuse(row, field, wants)
