"""Plans in TOML: a file of its own, or a section of a bot's file."""

from __future__ import annotations

import re
from typing import Final

from trailing.config.toml_files import TomlFile, refuse_times
from trailing.core import rules
from trailing.core.plan import TrailPlan, decode_plan
from trailing.core.rules import Rule
from trailing.errors import UsageError, suggest

_RULES: Final = [
    each for each in vars(rules).values() if isinstance(each, type) and issubclass(each, Rule) and each is not Rule
]


def read_plan(file: TomlFile, section: str = "") -> TrailPlan:
    """Return the plan of a file.

    Args:
        section: the table of the file that holds the plan; empty: the top level.

    Raises:
        UsageError: a value is wrong. The message names file, line, field and value.
    """
    data = file.data.get(section, {}) if section else file.data
    try:
        refuse_times(data, "plan")
        return decode_plan(data)
    except (UsageError, TypeError) as error:
        message = str(error)
        line = _line_of(message, file, section)
        raise file.error(line, f"{message}{_suggestion(message)}") from None


def _line_of(message: str, file: TomlFile, section: str) -> int | None:
    """Return the line of the field that a message names, or of its table; None if neither is found."""
    names = re.findall(r"field `(\w+)`|[A-Z]\w+\.(\w+) got|plan(?:\.rules\[\d+\])?\.([\w.]+)", message)
    fields = [name for match in names for group in match if group for name in reversed(group.split("."))]
    fields += ["type"] * ("Rule got" in message)
    rule = re.search(r"rules\[(\d+)\]", message)
    table = f"rules {rule[1]}" if rule else None
    places = [*file.keys(section)]
    for field in fields:
        for its_table, key, line in places:
            if key == field and (table is None or its_table == table):
                return line
    if table is None and not section:
        return None
    return next((line for its_table, key, line in places if not key and its_table == (table or "")), None)


def _suggestion(message: str) -> str:
    """Return a suggestion for the unknown rule that a message names."""
    if rule := re.search(r"Rule got '(\w+)'", message):
        return f".{suggest(rule[1], [kind.__name__ for kind in _RULES])}"
    return ""
