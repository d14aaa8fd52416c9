"""The option ``--html``: checked before anything is walked, written at the end."""

from __future__ import annotations

from pathlib import Path

from trailing.core.checks import refuse
from trailing.errors import UsageError
from trailing.extras import import_extra


def check_html(path: str | None) -> None:
    """Refuse a file that can't be written, and a missing extra.

    Raises:
        UsageError: naming the option and the file, or what to install.
    """
    if path is None:
        return
    if Path(path).is_dir() or not Path(path).parent.is_dir():
        raise refuse("--html", path, "a file in a directory that exists")
    import_extra("bokeh", extra="plot", purpose="HTML reports")


def write_html(path: str, page: str) -> None:
    """Write a page.

    Raises:
        UsageError: the file can't be written.
    """
    try:
        Path(path).write_text(page, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--html {path} can't be written: {error.strerror or error}") from error
