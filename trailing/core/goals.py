"""The goals of a position. A goal replaces only goals of a lower rank.

A `Close` is the exception. A revocable one is revoked, so that its `otherwise` replaces it:

-   when its request was certainly not executed;
-   when its request has an unknown outcome, and a snapshot lists the position after the request can't be executed any
    more;
-   when the plan is replaced, or the position is released, while no request is under way;
-   when it was decided because no stop could be placed, and a stop is live.

`otherwise` replaces any `Close` when a position that was closed is open again, and when the exchange has refused the
close and the position is released.
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
        is_for_lack: whether software decided it because no stop could be placed.
        otherwise: the goal if it is revoked.
    """

    rank: ClassVar[int] = 2

    reason: str
    is_revocable: bool
    is_for_lack: bool = False
    otherwise: Protect | Release = Protect()


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
