"""Tables that fit a terminal: columns are left out in a fixed order, and no number is cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from trailing.logs import escape_unprintable

_PADDING: Final = 2
_NARROW_PADDING: Final = 1
_LEAST_WRAPPED: Final = 20
"""The columns of a terminal that a wrapped column needs at least."""


class _Row(msgspec.Struct, frozen=True):
    cells: tuple[Text, ...]
    style: str | None


class Listing:
    """A table as rows of texts.

    Args:
        columns: the headers, each one different.
        right: the columns that are aligned to the right, such as numbers.
        left_out: the columns that a narrow terminal is not shown, in the order in which they are left out. Every other column is
            always shown, and whole.
        wrapped: the columns whose texts may have several lines.
        title: a line above it.
    """

    def __init__(
        self,
        columns: Sequence[str],
        *,
        right: Sequence[str] = (),
        left_out: Sequence[str] = (),
        wrapped: Sequence[str] = (),
        title: str | None = None,
    ) -> None:
        self._columns, self._right, self._left_out = tuple(columns), right, left_out
        self._wrapped, self._title = wrapped, title
        self._rows = list[_Row]()

    def add_row(self, *cells: str | Text, style: str | None = None) -> None:
        """Add a row with a cell for each column.

        Unprintable characters are escaped, because symbols and texts come from outside.
        """
        texts = (cell if isinstance(cell, Text) else Text(cell) for cell in cells)
        self._rows.append(_Row(tuple(Text(escape_unprintable(text.plain), text.style) for text in texts), style))

    def fitting(self, width: int | None) -> tuple[Table, int]:
        """Return a table for a terminal of a width, and the width that the table needs.

        Args:
            width: in columns; None: the table has every column, and each text in one line.

        Returns:
            The table and its width. It is wider than the terminal if the columns that are always shown are.
        """
        shown, padding = list(self._columns), _PADDING
        if width is None:
            return self._table(shown, padding, wrapped=()), self._width(shown, padding, wrapped=())
        for column in self._left_out:
            if self._width(shown, padding, self._wrapped) > width and column in shown:
                shown.remove(column)
        if self._width(shown, padding, self._wrapped) > width:
            padding = _NARROW_PADDING
        return self._table(shown, padding, self._wrapped), self._width(shown, padding, self._wrapped)

    def _width(self, shown: Sequence[str], padding: int, wrapped: Sequence[str]) -> int:
        return sum(self._column_width(column, wrapped) + padding for column in shown)

    def _column_width(self, column: str, wrapped: Sequence[str]) -> int:
        number = self._columns.index(column)
        natural = max(cell_len(column), *(row.cells[number].cell_len for row in self._rows), 0)
        return min(natural, _LEAST_WRAPPED) if column in wrapped else natural

    def _table(self, shown: Sequence[str], padding: int, wrapped: Sequence[str]) -> Table:
        table = Table(
            title=None if self._title is None else Text(escape_unprintable(self._title)),
            title_justify="left",
            box=None,
            header_style="bold",
            padding=(0, padding, 0, 0),
        )
        numbers = [self._columns.index(column) for column in shown]
        for column in shown:
            justify: Literal["left", "right"] = "right" if column in self._right else "left"
            table.add_column(column, justify=justify, no_wrap=column not in wrapped, overflow="fold")
        for row in self._rows:
            table.add_row(*(row.cells[number] for number in numbers), style=row.style)
        return table


def print_listing(listing: Listing, *, notes: Sequence[str] = ()) -> None:
    """Print a listing and notes to standard output. Where that is no terminal, the table has its full width."""
    console = Console(highlight=False)
    table, width = listing.fitting(console.width if console.is_terminal else None)
    # A terminal that is too narrow wraps the lines of the table, because a figure that is cut would be another one.
    Console(highlight=False, width=max(console.width if console.is_terminal else 80, width)).print(table)
    for note in notes:
        console.print(escape_unprintable(note), soft_wrap=True, markup=False)
