"""The settings that the processes of a run share: durations, markets, and the record of a write."""

from __future__ import annotations

from datetime import datetime

import msgspec

from simulation.killing.markets import all_markets
from simulation.remote_wire import Operation
from trailing.core.model import Market

LEASE_SECONDS, RENEW_SECONDS = 2.0, 0.3

CALL_SECONDS = 0.8

VALIDITY = 0.2
"""Seconds after its time stamp within which a request may be executed, as on real exchanges."""

SHORTEST, LONGEST = 0.002, 0.05
"""The least and the most seconds of a request's delay here. Delays elsewhere come on top."""


class Write(msgspec.Struct, frozen=True):
    """A request that changes something and reached the exchange in time.

    Args:
        at: the machine's time of day, which Postgres uses too.
        by: the name of the client.
        arguments: the arguments of the operation, as JSON.
    """

    at: datetime
    by: str
    operation: str
    arguments: str


WRITES = Operation(tuple[int], tuple[Write, ...])
"""Return the writes since a number of writes."""


def markets_of(seed: int, positions: int, *, one_stop: bool) -> dict[str, Market]:
    """Return the markets by symbol: a third amends, the others take two stops. With `one_stop`, half of these take one."""
    markets = all_markets(seed, positions)
    if one_stop:
        return markets
    return {symbol: msgspec.structs.replace(market, two_stops=True) for symbol, market in markets.items()}
