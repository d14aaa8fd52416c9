"""Read a TOML file, and find the line of a field for an error."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date, time
from pathlib import Path
from typing import Any, Final

from trailing.config.text_files import read_text
from trailing.core.model import refuse
from trailing.errors import UsageError

_MOST_BYTES: Final = 2**20


class TomlFile:
    """A TOML file that was read, with the lines of its fields.

    Args:
        path: the file; it is read at once.
        kind: what the file should be, such as ``"a plan"``, for errors.

    Raises:
        UsageError: the file can't be read, or is not TOML. The message names it.

    Attributes:
        data: the values of the file.
    """

    def __init__(self, path: Path, kind: str) -> None:
        import tomllib  # noqa: PLC0415 - `import trailing` need not wait for it

        self.path: Path = path
        text = read_text(path, most_bytes=_MOST_BYTES)
        try:
            self.data: dict[str, Any] = tomllib.loads(text)
        except RecursionError as error:
            raise UsageError(f"{path}: not {kind}: its values are nested too deeply") from error
        except ValueError as error:  # not TOML, or an integer with too many digits
            raise UsageError(f"{path}: not TOML: {error}") from error
        self._lines: dict[tuple[str, str], int] = dict(_keys(text))

    def keys(self, section: str = "") -> Iterator[tuple[str, str, int]]:
        """Yield (table, key, line) of each field and table of a section, in their order.

        The table is relative to the section, and that of the second rule is ``"rules 1"``. The key of a table's own header is
        empty.
        """
        for (table, key), line in self._lines.items():
            if not section or table == section or table.startswith(f"{section}."):
                yield (table.removeprefix(section).removeprefix(".") if section else table), key, line

    def line(self, names: Sequence[str]) -> int | None:
        """Return the line of a field, or that of the nearest table around it; None if neither is found."""
        for end in range(len(names), 0, -1):
            table, key = ".".join(names[: end - 1]), names[end - 1]
            line = self._lines.get((table, key)) or self._lines.get((".".join(names[:end]), ""))
            if line is not None:
                return line
        return None

    def error(self, line: int | None, message: str) -> UsageError:
        """Return the error for a line of the file."""
        return UsageError(f"{self.path}{'' if line is None else f', line {line}'}: {message}")

    def refuse(self, names: Sequence[str], got: object, wants: str) -> UsageError:
        """Return the error for a field with a wrong value. It names the file, the line, the field and the value."""
        return self.error(self.line(names), str(refuse(".".join(names), got, wants)))


def refuse_times(value: Any, path: str) -> None:
    """Refuse TOML's own times with the name of the field, which a decoder's message lacks."""
    match value:
        case dict():
            for key, inner in value.items():
                refuse_times(inner, f"{path}.{key}")
        case list():
            for index, inner in enumerate(value):
                refuse_times(inner, f"{path}[{index}]")
        case date() | time():
            raise refuse(path, str(value), "a number or a text")


def _keys(text: str) -> Iterator[tuple[tuple[str, str], int]]:
    """Yield ((table, key), line) for each key and header at the beginning of a line of a TOML text."""
    table, rules = "", -1
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[+\s*([\w.-]+)\s*\]+", line):
            is_rule = header[1].rpartition(".")[2] == "rules"
            rules += is_rule
            table = f"{header[1]} {rules}" if is_rule else header[1]
            yield (table, ""), number
        elif key := re.match(r"\s*\"?([\w-]+)\"?[\w.]*\s*=", line):
            yield (table, key[1]), number
