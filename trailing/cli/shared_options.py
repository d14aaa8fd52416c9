"""Options that several commands have."""

from __future__ import annotations

from typing import Final, get_args

from trailing.cli.parser import Option
from trailing.logs import Level

STORE_URL: Final = "URL"
STORE: Final = Option(
    name="--store",
    value=STORE_URL,
    default="sqlite:///trailing.db",
    help="the store: sqlite:///FILE or postgresql://HOST/DATABASE",
)
SINCE: Final = Option(
    name="--since",
    value="TIME",
    help="only events since then: a duration back from now (30m, 24h, 7d) or a UTC time (2018-01-10T05:10)",
)
JSON: Final = Option(name="--json", help="print one JSON document, and nothing else, to standard output")


def log_level(default: Level) -> Option:
    """Return the option for the log's lowest level, with its default."""
    return Option(
        name="--log-level",
        value="LEVEL",
        default=default,
        choices=get_args(Level),
        help="the lowest level that is logged to standard error",
    )
