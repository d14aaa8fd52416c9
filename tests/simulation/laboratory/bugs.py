"""Tell a bug of the simulations from a bug of the library."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Final

from trailing.errors import TrailingError

_SIMULATIONS: Final = Path(__file__).parents[1]


def leaves(error: BaseException) -> list[BaseException]:
    """Return the errors in a group and its subgroups; for any other error, the error itself."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for one in error.exceptions for leaf in leaves(one)]
    return [error]


def is_laboratory_bug(error: BaseException) -> bool:
    """Whether a simulation itself raised an error that ended a manager, other than a `TrailingError`."""
    for leaf in leaves(error):
        frames = traceback.extract_tb(leaf.__traceback__)
        if not isinstance(leaf, TrailingError) and frames and Path(frames[-1].filename).parent.parent == _SIMULATIONS:
            return True
    return False
