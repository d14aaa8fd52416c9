"""Buckets of tokens: how a rate limit counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

Cost: TypeAlias = Mapping[str, float]
"""Tokens by the bucket's name."""


class Bucket(msgspec.Struct, frozen=True):
    """It begins full, and fills up while time passes, whether a request waits or not.

    Args:
        capacity: the tokens that it holds when it is full, above 0.
        per_second: how many come back in a second, above 0.
    """

    capacity: float
    per_second: float
