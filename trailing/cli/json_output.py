"""JSON on standard output."""

from __future__ import annotations

from typing import Any

import msgspec

from trailing.logs import escape_json


def to_json(value: Any, *, indent: int = 2) -> str:
    """Return a value as JSON: money as text, times in ISO 8601, unprintable characters escaped.

    Args:
        indent: blanks per level; 0: one line.
    """
    encoded = msgspec.json.encode(value)
    return escape_json((msgspec.json.format(encoded, indent=indent) if indent else encoded).decode())


def print_json(value: Any, *, indent: int = 2) -> None:
    """Print a value as JSON. With an indent of 0 it is one line, which is flushed at once."""
    print(to_json(value, indent=indent), flush=not indent)
