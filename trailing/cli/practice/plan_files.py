"""Plan files in TOML, and the default plan."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from datetime import date, time
from pathlib import Path
from typing import Any, Final

import msgspec

from trailing.cli.practice.text_files import read_text
from trailing.core import rules
from trailing.core.model import Percent, refuse
from trailing.core.plan import Pacing, TrailPlan, decode_plan
from trailing.core.rules import Breakeven, Callback, Rule
from trailing.errors import UsageError, suggest

DEFAULT_PLAN = TrailPlan(
    initial_stop=Percent("2"),
    rules=(
        Breakeven(at=Percent("0.8"), offset=Percent("0.05")),
        Callback(Percent("0.5"), activation=Percent("1.5")),
    ),
)

_MOST_BYTES: Final = 2**20
_RULES: Final = [
    each for each in vars(rules).values() if isinstance(each, type) and issubclass(each, Rule) and each is not Rule
]
_KINDS: Final[list[type[msgspec.Struct]]] = [TrailPlan, Pacing, *_RULES]
_FIELDS: Final = {"type", *(name for kind in _KINDS for name in kind.__struct_fields__)}

_QUIET_BARS: Final = 12
"""Missing bars in a row before an alarm: exchanges leave out bars, and recorded data has outages of hours."""

_QUIET_SECONDS: Final = 3600.0
"""Seconds without a trade before an alarm, and at least the time without a bar."""


def read_plan(path: Path | None, *, bar_seconds: float | None) -> TrailPlan:
    """Return the plan of a file, or the default plan, fitted to the data of a replay.

    Args:
        path: a TOML file with the fields of `TrailPlan`; percentages are text such as ``"1.5%"``; None: the default plan.
        bar_seconds: seconds of the longest bars in the data; None: the data has only trades.

    Returns:
        The plan. Unless the file sets them, `stale_after` and `candle_seconds` follow the data.

    Raises:
        UsageError: the file can't be read or has a bad value. The message names file, line, field and value.
    """
    if path is None:
        return _fit(DEFAULT_PLAN, set(), bar_seconds)
    text = read_text(path, most_bytes=_MOST_BYTES)
    try:
        data = tomllib.loads(text)
    except RecursionError as error:
        raise UsageError(f"{path}: not a plan: its values are nested too deeply") from error
    except ValueError as error:  # not TOML, or an integer with too many digits
        raise UsageError(f"{path}: not TOML: {error}") from error
    try:
        _refuse_times(data, "plan")
        plan = decode_plan(data)
    except (UsageError, TypeError) as error:
        line = _line_of(str(error), text)
        hint = _suggestion(str(error))
        raise UsageError(f"{path}{'' if line is None else f', line {line}'}: {error}{hint}") from None
    return _fit(plan, set(data), bar_seconds)


def describe_plan(plan: TrailPlan) -> str:
    """Return a plan in one line: its stop, its rules, and the values that differ from the defaults."""
    rules = [f"{type(rule).__name__}({_describe_fields(rule)})" for rule in plan.rules]
    default = TrailPlan(initial_stop=plan.initial_stop, rules=plan.rules)
    changed = [
        f"{name} {_describe(getattr(plan, name))}"
        for name in plan.__struct_fields__
        if getattr(plan, name) != getattr(default, name)
    ]
    return "; ".join([f"initial stop {_describe(plan.initial_stop)}", *rules, *changed])


def _fit(plan: TrailPlan, given: set[str], bar_seconds: float | None) -> TrailPlan:
    fitted: dict[str, Any] = {}
    if "stale_after" not in given:
        fitted["stale_after"] = (
            _QUIET_SECONDS if bar_seconds is None else max(_QUIET_SECONDS, bar_seconds * _QUIET_BARS)
        )
    if "candle_seconds" not in given and bar_seconds is not None:
        fitted["candle_seconds"] = bar_seconds
    return msgspec.structs.replace(plan, **fitted)


def _refuse_times(value: Any, path: str) -> None:
    """Refuse TOML's own times with the name of the field, which the decoder's message lacks."""
    match value:
        case dict():
            for key, inner in value.items():
                _refuse_times(inner, f"{path}.{key}")
        case list():
            for index, inner in enumerate(value):
                _refuse_times(inner, f"{path}[{index}]")
        case date() | time():
            raise refuse(path, str(value), "a number or a text")


def _line_of(message: str, text: str) -> int | None:
    """Return the line of the field that a message names, or of its table; None if neither is found."""
    names = re.findall(r"field `(\w+)`|at `\$\.([\w.]+)`|\w+\.(\w+) got|plan\.(?:rules\[\d+\]\.)?(\w+)", message)
    fields = [name for match in names for group in match if group for name in group.split(".")]
    fields += ["type"] * ("Rule got" in message)
    rule = re.search(r"rules\[(\d+)\]", message)
    table = f"rules {rule[1]}" if rule else None
    places = dict(_toml_keys(text))
    for field in fields:
        for key, line in places.items():
            if key[1] == field and (table is None or key[0] == table):
                return line
    return places.get((table, "")) if table else None


def _suggestion(message: str) -> str:
    """Return a suggestion for the unknown field or rule that a message names."""
    if field := re.search(r"unknown field `(\w+)`", message):
        return f".{suggest(field[1], _FIELDS)}"
    if rule := re.search(r"Rule got '(\w+)'", message):
        return f".{suggest(rule[1], [kind.__name__ for kind in _RULES])}"
    return ""


def _toml_keys(text: str) -> Iterator[tuple[tuple[str, str], int]]:
    """Yield ((table, key), line) for each key and header at the beginning of a line of a TOML text."""
    table, rules = "", -1
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[+\s*([\w.]+)\s*\]+", line):
            rules += header[1] == "rules"
            table = f"rules {rules}" if header[1] == "rules" else header[1]
            yield (table, ""), number
        elif key := re.match(r"\s*\"?(\w+)\"?[\w.]*\s*=", line):
            yield (table, key[1]), number


def _describe_fields(value: Any) -> str:
    return ", ".join(f"{name} {_describe(getattr(value, name))}" for name in value.__struct_fields__)


def _describe(value: Any) -> str:
    if isinstance(value, Percent):
        return str(value)
    if isinstance(value, msgspec.Struct):
        return f"({_describe_fields(value)})"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_describe, value)) + ")"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)
