"""The error for a written plan whose values have other types: it names the field, the value and what is accepted.

msgspec's own message names types of JSON, and neither the value nor the words that are accepted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final, Literal, get_args, get_origin

import msgspec

from trailing.core.checks import refuse
from trailing.core.model import Percent
from trailing.errors import UsageError, suggest

_PERCENTAGE: Final = "a percentage as text, such as '1.5%'"
_WANTS: Final[dict[Any, str]] = {
    float: "a number",
    int: "a whole number",
    str: "a text",
    bool: "true or false",
    Decimal: "a number as text, such as '1.5'",
    Percent: _PERCENTAGE,
    Percent | Decimal: "a percentage or an amount as text, such as '1.5%' or '0.5'",
    Percent | None: _PERCENTAGE,
    tuple[tuple[Percent | Decimal, Percent | Decimal], ...]: "a list of pairs, such as [['1%', '0.5%'], ['3%', '1%']]",
}


def conversion_error(error: msgspec.ValidationError, data: Any, kind: type[msgspec.Struct], path: str) -> UsageError:
    """Return the error for data that msgspec does not convert.

    Args:
        error: msgspec's.
        data: as it was written.
        kind: what it should have become.
        path: of the data, such as ``"plan.rules[0]"``.
    """
    message, _, at = str(error).partition(" - at `$")
    names = re.findall(r"\.(\w+)", re.split(r"[\[`]", at)[0])
    wanted, value, where = _walk(data, kind, path, names)
    if field := re.fullmatch(r"Object contains unknown field `(.*)`", message):
        return _unknown_field(where, field[1], wanted)
    if field := re.fullmatch(r"Object missing required field `(.*)`", message):
        return UsageError(f"{where}: the field `{field[1]}` is missing")
    if not message.startswith(("Expected ", "Invalid ", "Percent got ")):  # a check of ours, which names the field
        return UsageError(f"{path}: {message}")
    wants = _describe(wanted)
    if wants is None:  # a type of a bot's own rule
        return UsageError(f"{where} got {value!r}: {message}")
    words = get_args(wanted) if get_origin(wanted) is Literal else ()
    hint = suggest(value, words) if isinstance(value, str) else ""
    return UsageError(f"{refuse(where, value, wants)}{'.' if hint else ''}{hint}")


def _walk(data: Any, kind: Any, path: str, names: Sequence[str]) -> tuple[Any, Any, str]:
    """Return the type, the value and the path of a field. The parts of a percentage count as the percentage."""
    for name in names:
        if not _is_table(kind):
            break
        kind = next(field.type for field in msgspec.structs.fields(kind) if field.encode_name == name)
        data, path = data[name], f"{path}.{name}"
    return kind, data, path


def _unknown_field(where: str, name: str, kind: type[msgspec.Struct]) -> UsageError:
    known = [field.encode_name for field in msgspec.structs.fields(kind)]
    hint = suggest(name, known) or f" The fields are {', '.join(known)}"
    return UsageError(f"{where} has the unknown field `{name}`.{hint}")


def _describe(wanted: Any) -> str | None:
    """Return what a type accepts, in words; None: it is not known."""
    if get_origin(wanted) is Literal:
        return "one of " + ", ".join(map(repr, get_args(wanted)))
    if _is_table(wanted):
        return "a table of fields"
    return _WANTS.get(wanted)


def _is_table(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind is not Percent
