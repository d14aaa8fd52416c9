"""Plan files in TOML, and the default plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from trailing.config import plans
from trailing.config.toml_files import TomlFile
from trailing.core.model import Percent
from trailing.core.plan import TrailPlan
from trailing.core.rules import Breakeven, Callback
from trailing.errors import UsageError

DEFAULT_PLAN = TrailPlan(
    initial_stop=Percent("2"),
    rules=(
        Breakeven(at=Percent("0.8"), offset=Percent("0.05")),
        Callback(Percent("0.5"), activation=Percent("1.5")),
    ),
)

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
    file = TomlFile(path, "a plan")
    if isinstance(file.data.get("plan"), dict) and "initial_stop" not in file.data:
        raise UsageError(
            f"{path} is the file of a bot, whose plan is in its section [plan]. Give a file with the fields of that section at its top"
        )
    return _fit(plans.read_plan(file), set(file.data), bar_seconds)


def read_base_plan(path: str | None, bar_seconds: float | None) -> TrailPlan:
    """Return the plan whose values a grid replaces. Without a file it has no rules. Errors: as `read_plan`."""
    base = read_plan(None if path is None else Path(path), bar_seconds=bar_seconds)
    return base if path is not None else msgspec.structs.replace(base, rules=())


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
