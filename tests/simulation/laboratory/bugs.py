"""Whose bug it was that ended a manager, or froze a position."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Final

from trailing.errors import TrailingError

_HERE: Final = Path(__file__).parent


def leaves(error: BaseException) -> list[BaseException]:
    """The errors that a group holds, however deep; of any other error, itself."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for one in error.exceptions for leaf in leaves(one)]
    return [error]


def is_laboratory_bug(error: BaseException) -> bool:
    """Whether an error that ended a manager is a bug of the laboratory: it was raised here, and is no `TrailingError`."""
    for leaf in leaves(error):
        frames = traceback.extract_tb(leaf.__traceback__)
        if not isinstance(leaf, TrailingError) and frames and Path(frames[-1].filename).parent == _HERE:
            return True
    return False
