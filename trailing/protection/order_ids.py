"""Client order ids: by them a stop is known to be ours, and a position's.

Our tag, a mark of this instance, 64 random bits: 19 lower-case alphanumerics, which every venue takes.
"""

from __future__ import annotations

import secrets

_TAG = "tr"
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def _base36(number: int, length: int) -> str:
    digits = ""
    for _ in range(length):
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits


def is_ours(client_order_id: str) -> bool:
    """Whether an order carries our tag, whichever instance placed it."""
    return client_order_id.startswith(_TAG) and len(client_order_id) == 19


class OrderIds:
    """Makes the client order ids of one running instance."""

    def __init__(self) -> None:
        self.mark = _base36(secrets.randbelow(36**4), 4)

    def new(self) -> str:
        """An id that was never used before."""
        return _TAG + self.mark + _base36(secrets.randbits(64), 13)
