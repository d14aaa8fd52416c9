"""Read the token of the page from the environment or from a private file."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from trailing.errors import UsageError

VARIABLE: Final = "TRAILING_WEB_TOKEN"
"""The environment variable with the token."""


def find_token(path: Path | None) -> str | None:
    """Return the token of the page; None: there is none.

    Args:
        path: a file that no other user can read, with the token in its first line; None: the token is in the environment.

    Raises:
        UsageError: the file can't be read, or other users can read it. The message shows nothing of its content.
    """
    if path is None:
        return os.environ.get(VARIABLE) or None
    try:
        with path.open(encoding="utf-8") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise UsageError(f"other users can read {path}; run chmod 600 on it")
            return file.readline().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} can't be read: {getattr(error, 'strerror', None) or 'it is no text'}") from None
