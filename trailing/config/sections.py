"""One section of a configuration: its fields by their types, and errors that name file, line, field and value."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TypeVar

from trailing.config.toml_files import TomlFile
from trailing.core.model import check_seconds, refuse
from trailing.errors import UsageError, suggest

T = TypeVar("T")


class Section:
    """A table of a file.

    Args:
        file: the file.
        name: of the table.
        fields: that it may have; empty: `check_fields` checks them later.

    Raises:
        UsageError: the section is no table, or has an unknown field.

    Attributes:
        table: the values; empty if the file has no such section.
    """

    def __init__(self, file: TomlFile, name: str, fields: Sequence[str] = ()) -> None:
        self._file, self._name = file, name
        table = file.data.get(name, {})
        if not isinstance(table, dict):
            raise file.refuse([name], table, f"a table, with its fields under [{name}]")
        self.table: dict[str, Any] = table
        if fields:
            self.check_fields(fields)

    def check_fields(self, fields: Sequence[str], owner: str = "") -> None:
        """Refuse every other field, without its value, which may be a credential. `owner`: what has these fields only."""
        for key in self.table:
            if key not in fields:
                of = f" of {owner}" if owner else ""
                known = ", ".join(fields)
                message = (
                    f"{self._name} has the unknown field {key!r}; known fields{of}: {known}.{suggest(key, fields)}"
                )
                raise self.error(key, message)

    def text(self, field: str) -> str | None:
        """Return a text that is not empty, or None if the field is missing."""
        value = self.table.get(field)
        if value is not None and (not isinstance(value, str) or not value):
            raise self.refuse(field, value, "a text that is not empty")
        return value

    def texts(self, field: str) -> list[str]:
        """Return a list of texts."""
        value = self.table.get(field, [])
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise self.refuse(field, value, "a list of texts")
        return value

    def flag(self, field: str) -> bool:
        """Return true or false; a missing field is false."""
        value = self.table.get(field, False)
        if not isinstance(value, bool):
            raise self.refuse(field, value, "true or false")
        return value

    def seconds(self, field: str, default: float) -> float:
        """Return seconds of at least 0."""
        value = self.table.get(field, default)
        try:
            check_seconds(f"{self._name}.{field}", value)
        except UsageError as error:
            raise self.error(field, str(error)) from None
        return float(value)

    def money(self, field: str) -> Decimal | None:
        """Return a whole number or a number as text as a Decimal, or None if the field is missing."""
        value = self.table.get(field)
        if value is None:
            return None
        wants = "a number as text, such as '1000.5'"
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise self.refuse(field, value, wants)
        try:
            return Decimal(value)
        except InvalidOperation:
            raise self.refuse(field, value, wants) from None

    def path(self, field: str) -> Path | None:
        """Return the path of an existing file, relative to the folder of this one; or None if the field is missing.

        The error does not show the value, because a credential may have been written here by mistake.
        """
        value = self.text(field)
        if value is None:
            return None
        path = self._file.path.parent / Path(value).expanduser()
        if "\0" in value or not path.is_file():
            raise self.error(field, f"{self._name}.{field} wants the path of a file that exists")
        return path

    def build(self, kind: str, make: Callable[[], T]) -> T:
        """Return a value that checks its own fields. `kind`: its class, which its errors name."""
        try:
            return make()
        except (UsageError, TypeError) as error:
            message = str(error).replace(f"{kind}.", f"{self._name}.", 1)
            field = re.match(rf"{self._name}\.(\w+)", message)
            raise self.error(field[1] if field else "", message) from None

    def missing(self, field: str) -> UsageError:
        """Return the error for a field that is needed and missing."""
        return self.error("", f"{self._name}.{field} is missing")

    def refuse(self, field: str, got: object, wants: str, hint: str = "") -> UsageError:
        """Return the error for a field with a wrong value. `hint`: a sentence behind it."""
        shown = str(refuse(f"{self._name}.{field}", got, wants))
        return self.error(field, f"{shown}.{hint}" if hint else shown)

    def error(self, field: str, message: str) -> UsageError:
        """Return an error at the line of a field, or at that of the section."""
        return self._file.error(self._file.line([self._name, field] if field else [self._name]), message)
