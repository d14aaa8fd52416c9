"""Plan files in TOML, and the plan that is used where there is none."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from datetime import date, time
from pathlib import Path
from typing import Any

import msgspec

from trailing.core.model import Percent, refuse
from trailing.core.plan import TrailPlan, decode_plan
from trailing.core.rules import Breakeven, Callback
from trailing.errors import UsageError

DEFAULT_PLAN = TrailPlan(
    initial_stop=Percent("2"),
    rules=(
        Breakeven(at=Percent("0.8"), offset=Percent("0.05")),
        Callback(Percent("0.5"), activation=Percent("1.5")),
    ),
)

_QUIET_BARS = 12
"""Exchanges leave out bars, and stood still for hours: a replay alarms only after an hour of missing 5-minute bars."""

_QUIET_SECONDS = 3600.0
"""How long a replay of trades may be without one before there is an alarm."""


def read_plan(path: Path | None, *, bar_seconds: float | None) -> TrailPlan:
    """Read a plan file, or take the default plan, and fit what it leaves open to the data of a replay.

    Args:
        path: a TOML file with the fields of `TrailPlan`; percentages as text such as ``"1.5%"``; None: the default.
        bar_seconds: how long the longest bars of the data are; None: it has trades only.

    Returns:
        The plan. Where the file doesn't set them, `stale_after` and `candle_seconds` follow the data.

    Raises:
        UsageError: one line that names the file, the line, the field, what it got and what it wants.
    """
    if path is None:
        return _fit(DEFAULT_PLAN, set(), bar_seconds)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} can't be read: {error}") from error
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: it is no TOML: {error}") from error
    try:
        _refuse_times(data, "plan")
        plan = decode_plan(data)
    except (UsageError, TypeError) as error:
        line = _line_of(str(error), text)
        raise UsageError(f"{path}{'' if line is None else f', line {line}'}: {error}") from None
    return _fit(plan, set(data), bar_seconds)


def describe_plan(plan: TrailPlan) -> str:
    """A plan in one line: its stop, its rules, and what differs from the defaults."""
    rules = [f"{type(rule).__name__}({_describe_fields(rule)})" for rule in plan.rules]
    bare = TrailPlan(initial_stop=plan.initial_stop, rules=plan.rules)
    changed = [
        f"{name} {_describe(getattr(plan, name))}"
        for name in plan.__struct_fields__
        if getattr(plan, name) != getattr(bare, name)
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
    """TOML has times of its own; no field of a plan is one, and the decoder would not say so."""
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
    """The line of the field that a message is about; failing that, of its table; None where neither is found."""
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


def _toml_keys(text: str) -> Iterator[tuple[tuple[str, str], int]]:
    """Every key and header of a TOML text that stands at the beginning of a line: ((table, key), line)."""
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
    return str(value)
