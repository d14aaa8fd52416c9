"""Look at the streams of an exchange that is reached through ccxt."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TypeVar

from trailing.exchanges.ccxt.exchange import CcxtExchange
from trailing.exchanges.ccxt.streams import Streams

T = TypeVar("T")


def _streams(exchange: CcxtExchange) -> Streams:
    assert isinstance(exchange._updates, Streams)
    return exchange._updates


def watched_symbols(exchange: CcxtExchange) -> set[str]:
    """The symbols whose prices are wanted."""
    return set(_streams(exchange).subscriptions)


def topics_of(exchange: CcxtExchange, *symbols: str) -> set[str]:
    """The topics, in the venue's words, that the prices of symbols come by."""
    return {topic for symbol in symbols for topic in _streams(exchange)._protocol.topics(symbol)}


def dropped_ticks(exchange: CcxtExchange) -> int:
    """How many ticks were thinned out because the receiver did not keep up."""
    return _streams(exchange).dropped


def unreadable_entries(exchange: CcxtExchange) -> int:
    """How many prices and entries of updates were skipped because they could not be read."""
    return _streams(exchange).unreadable


def told_of_streams(exchange: CcxtExchange) -> str:
    """What the exchange's streams say of themselves."""
    return repr(_streams(exchange))


async def run_in_loop(exchange: CcxtExchange, coroutine: Coroutine[object, object, T]) -> T:
    """Run a coroutine of asyncio in the loop of the exchange's client."""
    return await exchange.session._loop.run_aio_coroutine(coroutine)  # type: ignore[no-any-return]
