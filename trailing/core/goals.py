"""The goals of a position. A goal replaces only goals of a lower rank.

`Protect` is the exception, because it can replace a `Close`:

-   a revocable one whose request was certainly not executed;
-   a revocable one of unknown outcome, if a snapshot lists the position when the request can't be executed any more;
-   a revocable one without a request under way, when the plan is replaced;
-   any one, when a position that was closed is open again.
"""

from __future__ import annotations

from typing import ClassVar, TypeAlias

import msgspec


class Protect(msgspec.Struct, frozen=True, gc=False):
    """Keep a live stop behind the position."""

    rank: ClassVar[int] = 0


class Release(msgspec.Struct, frozen=True, gc=False):
    """Give the position back to its owner.

    Args:
        cancel_stop: whether its stop is cancelled. Otherwise the stop is left live.
    """

    rank: ClassVar[int] = 1

    cancel_stop: bool


class Close(msgspec.Struct, frozen=True, gc=False):
    """Close the position at market.

    Args:
        reason: as in `ExitStarted`.
        is_revocable: whether software decided it, and goes on protecting if the exchange refuses. Otherwise the owner
            decided it.
    """

    rank: ClassVar[int] = 2

    reason: str
    is_revocable: bool


class End(msgspec.Struct, frozen=True, gc=False):
    """Cancel the orders that are left of a position that is flat or given up.

    Args:
        reason: why the position has ended.
        is_given_up: whether it was given up although it may be open.
    """

    rank: ClassVar[int] = 3

    reason: str
    is_given_up: bool = False


Goal: TypeAlias = Protect | Release | Close | End
PROTECT = Protect()
