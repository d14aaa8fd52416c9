"""The difference between this computer's clock and a venue's, as ccxt measured it last."""

from __future__ import annotations

import logging
from typing import Any

from trailing.exchanges.ccxt.venue import Venue

_log = logging.getLogger(__name__)


def clock_skew(client: Any) -> float | None:
    """Return the seconds by which the venue's clock is ahead of ours, below 0: behind; None: ccxt did not measure it."""
    if not client.options.get("adjustForTimeDifference"):
        return None
    behind = client.options.get("timeDifference")
    return None if behind is None else -float(behind) / 1000


def tolerance_of(venue: Venue) -> float | None:
    """Return half of the `recvWindow` of a venue's requests, in seconds; None: they have none."""
    window = venue.client.options.get("recvWindow")
    return None if window is None else float(window) / 2000


def warn_of_skew(venue: Venue, client: Any) -> None:
    """Log a warning if the clocks differ by more than half of `recvWindow`."""
    skew, most = clock_skew(client), tolerance_of(venue)
    if skew is not None and most is not None and abs(skew) > most:
        _log.warning("%s: %s", venue.name, skew_text(skew, most))


def skew_text(skew: float, most: float) -> str:
    """Return what a difference beyond half of `recvWindow` means."""
    ahead = "ahead of" if skew < 0 else "behind"
    return (
        f"this computer's clock is {abs(skew):.3f} s {ahead} the exchange's, more than half of recvWindow ({2 * most:g} s). "
        "Requests are corrected for it, but the exchange rejects all of them once the difference changes by as much: "
        "synchronize the clock"
    )
