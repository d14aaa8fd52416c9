"""The least time in which a wave can be protected: by a venue's rate limits, and by the requests that it has to make."""

from __future__ import annotations

from typing import Final

from trailing.exchanges.ccxt.limits import Limits

WAVE: Final = 50
"""Positions, each of another symbol."""

LATENCY: Final = 0.2
"""Seconds of the round trip of a request."""

LOST_EVERY: Final = 10
"""The reply to each tenth placement is lost."""


def turn(limits: Limits, operation: str, number: int) -> float:
    """Return the seconds until the last of so many requests may be sent, all asked for at once, of different symbols."""
    waits = [0.0]
    for name, tokens in limits.cost(operation).items():
        window = limits.windows[name]
        waits.append((number * tokens - window.burst) / window.bucket.per_second)
    return max(waits)


def bound(limits: Limits) -> float:
    """Return the least seconds until each position of a wave has a stop that is known to be live.

    A wave has to make these requests:

    - One placement for each position. The n-th one may be sent at its turn, and its reply is there a round trip later.
    - One look-up for each placement whose reply was lost. Before it, nothing may be sent again, because the placement may have
      been executed. The loss shows a round trip after the placement, and the look-up's reply comes another round trip later.
      The look-up also waits for its own turn.
    - No list. The account's stream has pushed the positions and their margin modes before the wave. The manager reads its lists
      beside the wave. They share no window with placements. On Bybit they share one with look-ups, but five look-ups in 8 s
      never wait.

    The turns follow from the documented limits as module `limits` of the adapter states them:

    - Binance counts 300 orders in 10 s and 1,200 a minute by account, so fifty pass at once.
    - OKX counts 20 algo orders in 2 s by account and instrument. The wave has one for each instrument, so fifty pass at once. It
      counts 20 look-ups in 2 s by account, of which we send 9 at once. The wave needs five.
    - Bybit counts 10 orders in a second by account. We send 3 at once and then 6 a second, so the fiftieth waits for 7.83 s.

    The fiftieth placement is one of those without a reply. So the bound is its turn and two round trips: 0.4 s on Binance and
    OKX, and 8.23 s on Bybit.
    """
    placed = [turn(limits, "place_stop", number) + LATENCY for number in range(1, WAVE + 1)]
    lost = placed[LOST_EVERY - 1 :: LOST_EVERY]
    found = [max(at, turn(limits, "find_stop", number)) + LATENCY for number, at in enumerate(lost, start=1)]
    return max(*placed, *found)
