"""When the updates of the account may have been missed, a snapshot is requested, also while prices are down."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from trio.testing import MockClock

from trailing.exchanges.ccxt.streams import Streams
from trailing.exchanges.ccxt.websocket import ReconnectingWebSocket
from trailing.exchanges.port import StreamState
from trailing.exchanges.updates import UpdateChannel

DOWN = "the server of prices is down"


class Protocol:
    sources = frozenset({"last"})
    symbols_per_connection = 1

    def __init__(self, accounts: int) -> None:
        self.account_topics: tuple[tuple[str, ...], ...] = ((),) * accounts

    def topics(self, symbol: str) -> tuple[str, ...]:
        return (symbol,)

    async def account_url(self, topics: Any) -> str:
        return ""

    async def price_url(self) -> str:
        return ""


class Session:
    """Starts no connection, and lists those that it should start."""

    def __init__(self) -> None:
        self.started: list[Any] = []

    def start_service(self, run: Any, **_: Any) -> None:
        self.started.append(run.__self__)


class Opened(msgspec.Struct, frozen=True):
    """Streams whose connections are up, and a channel without waiting updates."""

    streams: Streams
    session: Session
    account: list[ReconnectingWebSocket]
    prices: ReconnectingWebSocket
    updates: UpdateChannel

    def heard(self) -> list[tuple[bool, str]]:
        """Return the states that were published since the last call."""
        return [
            (each.connected, each.detail) for each in self.updates.receive_waiting(100) if type(each) is StreamState
        ]


@asynccontextmanager
async def opened(accounts: int = 1) -> AsyncIterator[Opened]:
    session = Session()
    streams = Streams(session, Protocol(accounts))  # type: ignore[arg-type]
    await streams.set_subscriptions({"A/USDT:USDT"})
    async with streams.updates() as updates:
        *account, prices = session.started
        for connection in (*account, prices):
            streams.on_connected(connection, 0.1)
        found = Opened(streams, session, account, prices, updates)
        found.heard()
        yield found


def wait(seconds: float, at: Opened, clock: MockClock) -> None:
    clock.jump(seconds)
    at.streams.request_due_snapshot()


async def test_a_snapshot_is_requested_when_the_account_is_back_although_prices_are_down(
    mock_clock: MockClock,
) -> None:
    async with opened() as at:
        at.streams.on_disconnected(at.prices, DOWN)
        at.streams.on_disconnected(at.account[0], "lost too")
        assert at.heard() == [(False, DOWN)]
        at.streams.on_connected(at.account[0], 0.1)  # a stop may have been filled or cancelled meanwhile
        wait(0.9, at, mock_clock)
        assert at.heard() == []
        wait(0.2, at, mock_clock)
        assert at.heard() == [(True, "the account's updates arrive again"), (False, DOWN)]
        wait(20, at, mock_clock)
        assert at.heard() == []
        at.streams.on_connected(at.prices, 0.1)
        assert at.heard() == [(True, "")]


async def test_one_snapshot_is_enough_if_the_prices_are_back_soon_after_the_account(mock_clock: MockClock) -> None:
    async with opened() as at:
        for connection in (at.prices, *at.account):
            at.streams.on_disconnected(connection, DOWN)
        at.heard()
        at.streams.on_connected(at.account[0], 0.1)
        wait(0.5, at, mock_clock)
        at.streams.on_connected(at.prices, 0.1)
        wait(20, at, mock_clock)
        assert at.heard() == [(True, "")]


async def test_a_snapshot_is_requested_once_all_connections_of_the_account_are_back(mock_clock: MockClock) -> None:
    async with opened(accounts=2) as at:
        for connection in (at.prices, *at.account):
            at.streams.on_disconnected(connection, DOWN)
        at.heard()
        at.streams.on_connected(at.account[1], 0.1)
        wait(5, at, mock_clock)
        assert at.heard() == []
        at.streams.on_connected(at.account[0], 0.1)
        wait(1.1, at, mock_clock)
        assert [connected for connected, _ in at.heard()] == [True, False]


async def test_the_return_of_prices_alone_requests_nothing_while_others_are_down(mock_clock: MockClock) -> None:
    async with opened() as at:
        await at.streams.set_subscriptions({"A/USDT:USDT", "B/USDT:USDT"})
        second = at.session.started[-1]
        for connection in (at.prices, second):
            at.streams.on_disconnected(connection, DOWN)
        at.heard()
        at.streams.on_connected(second, 0.1)
        wait(5, at, mock_clock)
        assert at.heard() == []


async def test_a_snapshot_is_requested_for_an_unreadable_update_although_prices_are_down() -> None:
    async with opened() as at:
        at.streams.on_disconnected(at.prices, DOWN)
        at.heard()
        at.streams.on_unreadable("gibberish", of_account=True)
        at.streams.request_due_snapshot()
        assert at.heard() == [(True, "an update can't be parsed: gibberish"), (False, DOWN)]
