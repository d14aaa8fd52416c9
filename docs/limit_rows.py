"""Draws the rate limits of each venue, for the page on rate limits."""

from __future__ import annotations

from pathlib import Path

from trailing.exchanges.ccxt.limits import DOWNLOADS, Limits, Window, limits_of
from trailing.exchanges.ccxt.venues import VENUES
from trailing.exchanges.limiter import OPERATIONS


def write(folder: Path) -> None:
    """Write `limits-NAME.md` for each verified venue, and `limits-others.md`. A file without changes is not touched."""
    folder.mkdir(parents=True, exist_ok=True)
    verified = [name for name, venue in VENUES.items() if venue.verified]
    texts = {f"limits-{name}.md": table(limits_of(name)) for name in verified}
    texts["limits-others.md"] = others([name for name in VENUES if name not in verified])
    for name, text in texts.items():
        path = folder / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def table(limits: Limits) -> str:
    """Return a Markdown table with one line for each window: its size, how it is used, and by which operations."""
    lines = [
        "| limit | at most | at once | then per second | tokens per operation |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, window in limits.windows.items():
        costs = {operation: limits.cost(operation).get(name, 0.0) for operation in (*OPERATIONS, *DOWNLOADS)}
        taken = ", ".join(f"`{operation}` {cost:g}" for operation, cost in costs.items() if cost)
        lines.append(_row(name, window, taken))
    lines += [
        _row("one symbol", limits.by_symbol[operation], f"`{operation}` 1")
        for operation in OPERATIONS
        if operation in limits.by_symbol
    ]
    return "\n".join([*lines, ""])


def _row(name: str, window: Window, taken: str) -> str:
    most = f"{window.count:,g} in {window.seconds:g} s"
    return f"| {name} | {most} | {window.burst:,g} | {window.bucket.per_second:.3g} | {taken} |"


def others(names: list[str]) -> str:
    """Return a Markdown table with one line for each venue with a single window."""
    lines = ["| venue | at once | then per second | tokens per list |", "| --- | --- | --- | --- |"]
    for name in names:
        limits = limits_of(name)
        (window,) = limits.windows.values()
        (listing,) = limits.cost("open_stops").values()
        lines.append(f"| `{name}` | {window.burst:g} | {window.bucket.per_second:.3g} | {listing:g} |")
    return "\n".join([*lines, ""])
