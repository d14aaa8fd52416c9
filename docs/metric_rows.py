"""Draws the table of all metrics, for the reference."""

from __future__ import annotations

from pathlib import Path

from trailing.web.catalogue import table


def write(folder: Path) -> None:
    """Write `metrics.md`. A file without changes is not touched."""
    folder.mkdir(parents=True, exist_ok=True)
    path, text = folder / "metrics.md", table()
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
