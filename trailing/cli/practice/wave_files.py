"""Wave files: the positions of a replay, as CSV or JSON.

Both have the same fields: ``symbol``, ``side``, ``quantity``, ``entry_price`` and ``opened_at_ms`` (UTC milliseconds)
or ``opened_at`` (ISO 8601 in UTC); ``stop_price`` and ``id`` may be left out or empty.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

from trailing.config.text_files import read_text
from trailing.core.model import Position, refuse
from trailing.errors import UsageError, suggest

_MOST_BYTES: Final = 16 * 2**20
"""The size limit of a wave file. A wave of 20,000 positions takes 2 to 4 MiB."""

_FIELDS = {"symbol", "side", "quantity", "entry_price", "opened_at_ms", "opened_at", "stop_price", "id"}
_REQUIRED = ("symbol", "side", "quantity", "entry_price")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BLANKS = " \t\r\n"


def read_wave(path: Path) -> tuple[Position, ...]:
    """Read a wave file.

    Raises:
        UsageError: the file can't be read, or has a bad value. The message names file, line, field and value.
    """
    text = read_text(path, most_bytes=_MOST_BYTES)
    rows = _json_rows(path, text) if path.suffix.lower() == ".json" else _csv_rows(path, text)
    positions: dict[tuple[str, str], tuple[Position, int]] = {}
    for number, row in rows:
        try:
            position = _position(row)
        except UsageError as error:
            raise UsageError(f"{path}, line {number}: {str(error).removeprefix('Position.')}") from None
        key = (position.symbol, position.side)
        if key in positions:
            earlier = positions[key][1]
            raise UsageError(
                f"{path}, line {number}: {position.symbol} {position.side} is already in line {earlier}; a wave has one "
                "position per symbol and side"
            )
        positions[key] = position, number
    if not positions:
        raise UsageError(f"{path} has no position")
    return tuple(position for position, _ in positions.values())


def _csv_rows(path: Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, [])
        if not header:
            raise UsageError(f"{path} is empty")
        _check_fields(path, 1, header)
        for values in reader:
            if not values:
                continue
            if len(values) != len(header):
                raise UsageError(
                    f"{path}, line {reader.line_num}: the line has {len(values)} values and the header {len(header)}"
                )
            yield reader.line_num, dict(zip(header, values, strict=True))
    except csv.Error as error:
        raise UsageError(f"{path}, line {reader.line_num}: not CSV: {error}") from error


def _json_rows(path: Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield the objects of a list, each with the line that it begins in."""
    decoder = json.JSONDecoder(
        parse_float=Decimal, parse_int=Decimal, parse_constant=Decimal, object_pairs_hook=_object
    )
    at = _skip(text, 0, _BLANKS)
    if at == len(text):
        raise UsageError(f"{path} is empty")
    if text[at : at + 1] != "[":
        raise UsageError(f"{path}, line 1: the file has to be a list of objects")
    at = _skip(text, at + 1, _BLANKS)
    first = True
    while text[at : at + 1] != "]":
        number = text.count("\n", 0, at) + 1
        if not first:
            if text[at : at + 1] != ",":
                raise UsageError(f"{path}, line {number}: not JSON: expecting ',' or ']'")
            at = _skip(text, at + 1, _BLANKS)
            number = text.count("\n", 0, at) + 1
        first = False
        try:
            row, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise UsageError(f"{path}, line {error.lineno}: not JSON: {error.msg}") from error
        except UsageError as error:
            raise UsageError(f"{path}, line {number}: {error}") from None
        except RecursionError as error:
            raise UsageError(f"{path}, line {number}: not a position: its values are nested too deeply") from error
        if not isinstance(row, dict):
            raise UsageError(f"{path}, line {number}: {refuse('position', row, 'an object')}")
        _check_fields(path, number, list(row))
        yield number, row
        at = _skip(text, at, _BLANKS)
    rest = _skip(text, at + 1, _BLANKS)
    if rest < len(text):
        raise UsageError(f"{path}, line {text.count(chr(10), 0, rest) + 1}: not JSON: there is text after the list")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON. Raises UsageError if a key is there twice, because only one of its values could count."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise UsageError(f"the field {next(name for name in names if names.count(name) > 1)} is there twice")
    return found


def _skip(text: str, at: int, blanks: str) -> int:
    while text[at : at + 1] and text[at] in blanks:
        at += 1
    return at


def _check_fields(path: Path, number: int, names: list[str]) -> None:
    where = f"{path}, line {number}"
    unknown = [name for name in names if name not in _FIELDS]
    if unknown:
        hint = suggest(unknown[0], _FIELDS - set(names)) or f" The fields are {', '.join(sorted(_FIELDS))}"
        raise UsageError(f"{where}: unknown field {unknown[0]!r}.{hint}")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"{where}: the field {twice} is there twice")
    missing = [name for name in _REQUIRED if name not in names]
    if missing:
        raise UsageError(f"{where}: the field {missing[0]} is missing")
    if ("opened_at" in names) == ("opened_at_ms" in names):
        raise UsageError(f"{where}: exactly one of the fields opened_at_ms and opened_at has to be there")


def _position(row: Mapping[str, Any]) -> Position:
    stop_price, name = row.get("stop_price"), row.get("id")
    return Position(
        symbol=row["symbol"],
        side=row["side"],
        quantity=_money("quantity", row["quantity"]),
        entry_price=_money("entry_price", row["entry_price"]),
        opened_at=_opened_at(row),
        stop_price=None if stop_price in (None, "") else _money("stop_price", stop_price),
        id=None if name in (None, "") else name,
    )


def _money(field: str, value: object) -> Decimal:
    try:
        if isinstance(value, (str, Decimal)):
            return Decimal(value)
    except InvalidOperation:
        pass
    raise refuse(field, value, "a number above 0")


def _opened_at(row: Mapping[str, Any]) -> datetime:
    if "opened_at" in row:
        value = row["opened_at"]
        try:
            return datetime.fromisoformat(value)
        except (TypeError, ValueError):
            raise refuse("opened_at", value, "an ISO 8601 time in UTC, such as '2018-01-10T05:10:00Z'") from None
    value = row["opened_at_ms"]
    text = str(value)
    if isinstance(value, (str, Decimal)) and text.isascii() and text.isdigit():
        try:
            return _EPOCH + timedelta(milliseconds=int(text))
        except OverflowError:
            pass
    raise refuse("opened_at_ms", value, "UTC milliseconds, a whole number")
