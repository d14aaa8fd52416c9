"""Tables of texts, read from CSV or Parquet, with the place of each row for errors."""

from __future__ import annotations

import csv
import io
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from trailing.core.checks import refuse
from trailing.errors import UsageError
from trailing.exchanges.port import escaped
from trailing.extras import import_extra

SUFFIXES: Final = (".csv", ".parquet")
_MOST_OF_PATH: Final = 1000


class Table(ABC):
    """A table of texts.

    Attributes:
        path: the file.
        names: the columns, in the file's order.
    """

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self.path: Path = path
        self.names: tuple[str, ...] = tuple(names)

    @abstractmethod
    def column(self, name: str) -> Sequence[str]:
        """Return the texts of a column. The table has it."""

    @abstractmethod
    def place(self, row: int) -> str:
        """Return the place of a row, counted from 0: ``line 7``, or of Parquet ``row 6``."""

    def refuse(self, row: int, field: str, wants: str) -> UsageError:
        """Return the error for a value."""
        return refuse_at(self.path, self.place(row), field, self.column(field)[row], wants)


def refuse_at(path: Path, place: str, field: str, got: object, wants: str) -> UsageError:
    """Return the error for a place in a file; ``""``: for the whole file."""
    return UsageError(f"{_shown(path)}{', ' * bool(place)}{place}: {refuse(field, got, wants)}")


def read_table(path: Path) -> Table:
    """Read a file as a table with at least one row.

    Raises:
        UsageError: it can't be read, has another ending than `SUFFIXES`, has no header or no row, or the extra is missing.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(f"{_shown(path)}: the name has to end in .csv or .parquet")
    return _read_csv(path) if suffix == ".csv" else _read_parquet(path)


class _CsvTable(Table):
    def __init__(self, path: Path, text: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        super().__init__(path, header)
        self._text = text
        self._columns: dict[str, Sequence[str]] = dict(zip(header, zip(*rows, strict=True), strict=True))

    def column(self, name: str) -> Sequence[str]:
        return self._columns[name]

    def place(self, row: int) -> str:
        numbers = (number for number, _ in _numbered_rows(self._text))
        return f"line {next(number for index, number in enumerate(numbers) if index == row + 1)}"


def _read_csv(path: Path) -> Table:
    try:
        text = path.read_bytes().decode("utf-8-sig")
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except (OSError, ValueError, csv.Error) as error:
        raise _unreadable(path, error) from error
    if not rows:
        raise refuse_at(path, "line 1", "header", "", "a header line that names the columns")
    header = rows.pop(0)
    if len(set(header)) < len(header):
        raise refuse_at(path, "line 1", "header", ",".join(header), "each column once")
    if not rows:
        raise refuse_at(path, "line 1", "file", "nothing after the header", "at least one line")
    if set(map(len, rows)) != {len(header)}:
        number, row = next(each for each in _numbered_rows(text) if len(each[1]) != len(header))
        raise refuse_at(path, f"line {number}", "line", ",".join(row), f"{len(header)} values")
    return _CsvTable(path, text, header, rows)


def _numbered_rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not blank, with the number of the line in which each ends."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    for row in reader:
        if row:
            yield reader.line_num, row


class _ParquetTable(Table):
    def __init__(self, path: Path, table: Any) -> None:
        super().__init__(path, table.column_names)
        self._table = table
        self._columns: dict[str, Sequence[str]] = {}

    def column(self, name: str) -> Sequence[str]:
        if name not in self._columns:
            self._columns[name] = self._read_column(name)
        return self._columns[name]

    def place(self, row: int) -> str:
        return f"row {row + 1}"

    def _read_column(self, name: str) -> Sequence[str]:
        types = import_extra("pyarrow.types", extra="parquet", purpose="Parquet files")
        column = self._table.column(name)
        if types.is_timestamp(column.type):
            column = column.cast("timestamp[ms]", safe=False).cast("int64")
        elif types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if not (types.is_integer(column.type) or types.is_floating(column.type) or types.is_decimal(column.type)):
            wants = "numbers" if name != "timestamp_ms" else "whole numbers or timestamps"
            if not (types.is_string(column.type) or types.is_large_string(column.type)):
                raise refuse_at(self.path, "", name, str(column.type), wants)
        # Text has the fewest digits that mean the same float, so that 0.1 stays 0.1.
        return ["" if text is None else text for text in column.cast("string").to_pylist()]


def _read_parquet(path: Path) -> Table:
    parquet = import_extra("pyarrow.parquet", extra="parquet", purpose="Parquet files")
    try:
        # Without threads, so that nothing else runs in the process when it is forked.
        table = parquet.ParquetFile(path).read(use_threads=False)
    except (OSError, ValueError) as error:  # pyarrow's own errors are of these
        raise _unreadable(path, error) from error
    if not table.num_rows:
        raise refuse_at(path, "", "file", "no row", "at least one")
    return _ParquetTable(path, table)


def _unreadable(path: Path, error: Exception) -> UsageError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return UsageError(f"{_shown(path)} can't be read: {escaped(reason)}")


def _shown(path: Path) -> str:
    return escaped(str(path), _MOST_OF_PATH)
