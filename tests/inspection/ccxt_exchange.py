"""Read the state of a ccxt exchange's streams."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TypeVar

from trailing.exchanges.ccxt.exchange import CcxtExchange
from trailing.exchanges.ccxt.streams import Streams
from trailing.exchanges.port import StreamState

T = TypeVar("T")


def _streams(exchange: CcxtExchange) -> Streams:
    assert isinstance(exchange._updates, Streams)
    return exchange._updates


def subscribed_symbols(exchange: CcxtExchange) -> set[str]:
    """Return the subscribed symbols."""
    return set(_streams(exchange).subscriptions)


def topics_of(exchange: CcxtExchange, *symbols: str) -> set[str]:
    """Return the venue's topics of the symbols' prices."""
    return {topic for symbol in symbols for topic in _streams(exchange)._protocol.topics(symbol)}


def stream_state(exchange: CcxtExchange) -> StreamState:
    """Return the present state of the streams, with the reasons of the connections that are down."""
    return _streams(exchange).state()


def dropped_ticks(exchange: CcxtExchange) -> int:
    """Return how many ticks were dropped because the receiver did not keep up."""
    return _streams(exchange).dropped


def unreadable_entries(exchange: CcxtExchange) -> int:
    """Return how many prices and entries of updates were skipped because they could not be parsed."""
    return _streams(exchange).unreadable


def repr_of_streams(exchange: CcxtExchange) -> str:
    """Return the repr of the exchange's streams."""
    return repr(_streams(exchange))


async def run_in_loop(exchange: CcxtExchange, coroutine: Coroutine[object, object, T]) -> T:
    """Run an asyncio coroutine in the loop of the exchange's client."""
    return await exchange.session._loop.run_aio_coroutine(coroutine)  # type: ignore[no-any-return]
