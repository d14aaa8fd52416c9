"""Token buckets, which model a rate limit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

Cost: TypeAlias = Mapping[str, float]
"""Tokens by the bucket's name."""


class Bucket(msgspec.Struct, frozen=True):
    """A token bucket. It begins full and refills with time, whether or not a request waits.

    Args:
        capacity: the most tokens that it holds, above 0.
        per_second: tokens that return in a second, above 0.
    """

    capacity: float
    per_second: float
