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


def warn_of_skew(venue: Venue, client: Any) -> None:
    """Log a warning if the clocks differ by more than half of the time for which the venue accepts a request."""
    skew = clock_skew(client)
    text = "" if skew is None else skew_text(venue, skew)
    if text:
        _log.warning("%s: %s", venue.name, text)


def skew_text(venue: Venue, skew: float) -> str:
    """Return what a difference means that is more than half of the time for which a venue accepts a request; "": it is less."""
    window = venue.client.options.get("recvWindow")
    name = "the time for which the exchange accepts a request" if window is None else "recvWindow"
    seconds = venue.client.accepted_seconds if window is None else float(window) / 1000
    if seconds is None or abs(skew) <= seconds / 2:
        return ""
    ahead = "ahead of" if skew < 0 else "behind"
    return (
        f"this computer's clock is {abs(skew):.3f} s {ahead} the exchange's, more than half of {name} ({seconds:g} s). "
        "Requests are corrected for it, but the exchange rejects all of them once the difference changes by as much: "
        "synchronize the clock"
    )
