"""The distribution of symbols over connections, without a network."""

from __future__ import annotations

import sys
from types import FrameType, SimpleNamespace
from typing import Any

from trailing.exchanges.ccxt.streams import Streams

PER_CONNECTION = 100


def unconnected() -> Streams:
    protocol: Any = SimpleNamespace(
        symbols_per_connection=PER_CONNECTION,
        account_topics=((),),
        account_url=lambda topics: None,
        price_url=None,
        topics=lambda symbol: (symbol,),
    )
    session: Any = None
    return Streams(session, protocol)


def symbols(count: int) -> set[str]:
    return {f"COIN{number}/USDT:USDT" for number in range(count)}


async def entered(streams: Streams, wanted: set[str]) -> int:
    """Return how many functions are called or resumed while symbols are subscribed."""
    count = 0

    def note(_: FrameType, event: str, __: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(note)
    try:
        await streams.set_subscriptions(wanted)
    finally:
        sys.setprofile(None)
    return count


async def test_a_new_connection_is_opened_only_when_the_others_are_full() -> None:
    streams = unconnected()
    for wanted, connections in (
        (1, 1),
        (PER_CONNECTION, 1),
        (PER_CONNECTION + 1, 2),
        (10, 2),
        (2 * PER_CONNECTION, 2),
        (350, 4),
    ):
        await streams.set_subscriptions(symbols(wanted))
        assert f"of {connections + 1} connections subscribed, {wanted} symbols" in repr(streams)


async def test_the_work_of_a_subscription_grows_linearly_with_the_symbols() -> None:
    few = await entered(unconnected(), symbols(1_000))
    assert await entered(unconnected(), symbols(4_000)) < 4.5 * few
