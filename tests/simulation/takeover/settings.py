"""What the processes of a run agree on: how long things take, and how the exchange tells who wrote."""

from __future__ import annotations

from datetime import datetime

import msgspec

from simulation.killing.markets import all_markets
from simulation.remote_wire import Operation
from trailing.core.model import Market

LEASE_SECONDS, RENEW_SECONDS = 2.0, 0.3

CALL_SECONDS = 0.8

VALIDITY = 0.2
"""Seconds for which a request may be executed, counted from its stamp, as on real venues."""

SHORTEST, LONGEST = 0.002, 0.05
"""Seconds that a request is on its way here, at least and at most; one that was held up elsewhere is longer."""


class Write(msgspec.Struct, frozen=True):
    """Something that somebody changed, or wanted to: it came to the book in time.

    Args:
        at: the machine's time of day, which Postgres goes by too.
        by: the client's name.
        arguments: of the operation, as JSON.
    """

    at: datetime
    by: str
    operation: str
    arguments: str


WRITES = Operation(tuple[int], tuple[Write, ...])
"""From a number of writes to those since then."""


def markets_of(seed: int, positions: int, *, one_stop: bool) -> dict[str, Market]:
    """The markets, by symbol: a third amends, the others take two stops; or, with `one_stop`, half of these only one."""
    markets = all_markets(seed, positions)
    if one_stop:
        return markets
    return {symbol: msgspec.structs.replace(market, two_stops=True) for symbol, market in markets.items()}
