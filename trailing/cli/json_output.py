"""JSON on standard output."""

from __future__ import annotations

import json
from typing import Any

import msgspec


def to_json(value: Any, *, indent: int = 2) -> str:
    """Return a value as JSON: money as text, times in ISO 8601, unprintable characters escaped.

    Args:
        indent: blanks per level; 0: one line.
    """
    encoded = msgspec.json.encode(value)
    text = (msgspec.json.format(encoded, indent=indent) if indent else encoded).decode()
    if all(line.isprintable() for line in text.split("\n")):
        return text
    # Unprintable characters, but for line ends and blanks between tokens, are only inside strings.
    return "".join(each if each.isprintable() or each == "\n" else json.dumps(each)[1:-1] for each in text)


def print_json(value: Any, *, indent: int = 2) -> None:
    """Print a value as JSON. With an indent of 0 it is one line, which is flushed at once."""
    print(to_json(value, indent=indent), flush=not indent)
