"""Client order ids: by them a stop is known to be ours, and a position's.

Our tag, a mark of this instance, 64 random bits: 22 lower-case alphanumerics, which every venue takes.
"""

from __future__ import annotations

import re
import secrets

_TAG = "tr"
_OURS = re.compile(_TAG + "(?P<mark>[0-9a-f]{4})[0-9a-f]{16}")


def mark_of(client_order_id: str) -> str | None:
    """The mark of the instance that placed an order; None: it does not carry our tag."""
    match = (
        _OURS.fullmatch(client_order_id) if isinstance(client_order_id, str) else None
    )  # a foreign one may be a number
    return None if match is None else match["mark"]


def is_ours(client_order_id: str) -> bool:
    """Whether an order carries our tag, whichever instance placed it."""
    return mark_of(client_order_id) is not None


class OrderIds:
    """Makes the client order ids of one running instance.

    Attributes:
        mark: what they have in common.
    """

    def __init__(self) -> None:
        self.mark: str = secrets.token_hex(2)
        self._prefix = _TAG + self.mark

    def new(self) -> str:
        """An id that was never used before."""
        return self._prefix + secrets.token_hex(8)
