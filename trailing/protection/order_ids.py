"""Client order ids: by them a stop is known to be ours, and a position's.

Our tag, a mark of this instance, 64 random bits: 22 lower-case alphanumerics, which every venue takes.
"""

from __future__ import annotations

import re
import secrets

_TAG = "tr"
_OURS = re.compile(_TAG + "[0-9a-f]{20}")


def is_ours(client_order_id: str) -> bool:
    """Whether an order carries our tag, whichever instance placed it."""
    return _OURS.fullmatch(client_order_id) is not None


class OrderIds:
    """Makes the client order ids of one running instance."""

    def __init__(self) -> None:
        self._prefix = _TAG + secrets.token_hex(2)

    def new(self) -> str:
        """An id that was never used before."""
        return self._prefix + secrets.token_hex(8)
