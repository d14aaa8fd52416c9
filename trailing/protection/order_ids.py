"""Client order ids, which show whether an order is ours and which instance placed it.

An id has our tag, the mark of the instance and 64 random bits. Every venue accepts its 22 lower-case alphanumeric characters.
"""

from __future__ import annotations

import re
import secrets

_TAG = "tr"
_OURS = re.compile(_TAG + "(?P<mark>[0-9a-f]{4})[0-9a-f]{16}")


def mark_of(client_order_id: str) -> str | None:
    """Return the mark of the instance that placed an order. None: the order does not carry our tag."""
    match = (
        _OURS.fullmatch(client_order_id) if isinstance(client_order_id, str) else None
    )  # a foreign id may be a number
    return None if match is None else match["mark"]


def is_ours(client_order_id: str) -> bool:
    """Return whether an order carries our tag, whichever instance placed it."""
    return mark_of(client_order_id) is not None


class OrderIds:
    """Make the client order ids of one running instance.

    Attributes:
        mark: the common part of its ids, four hexadecimal digits.
    """

    def __init__(self) -> None:
        self.mark: str = secrets.token_hex(2)
        self._prefix = _TAG + self.mark

    def new(self) -> str:
        """Return a new id with 64 random bits."""
        return self._prefix + secrets.token_hex(8)
