"""What is to become of a position. A goal of a higher rank replaces one of a lower rank and never the other way round, but
for a revocable `Close` whose request was surely refused.
"""

from __future__ import annotations

from typing import ClassVar, TypeAlias

import msgspec


class Protect(msgspec.Struct, frozen=True, gc=False):
    """Keep a live stop behind it."""

    rank: ClassVar[int] = 0


class Release(msgspec.Struct, frozen=True, gc=False):
    """Give it back to its owner. `cancel_stop`: its stop is cancelled; else the stop is left live."""

    rank: ClassVar[int] = 1

    cancel_stop: bool


class Close(msgspec.Struct, frozen=True, gc=False):
    """Close it at market. `is_revocable`: software wants it, and goes on protecting where the exchange refuses."""

    rank: ClassVar[int] = 2

    reason: str
    is_revocable: bool


class End(msgspec.Struct, frozen=True, gc=False):
    """Cancel what is left of its orders: it is flat, or it was given up (`is_given_up`) although it may be open."""

    rank: ClassVar[int] = 3

    reason: str
    is_given_up: bool = False


Goal: TypeAlias = Protect | Release | Close | End
PROTECT = Protect()
