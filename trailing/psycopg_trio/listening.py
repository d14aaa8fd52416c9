"""LISTEN, as an iterator."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import trio
from psycopg import generators, sql

from .cleanup import CleaningConnection


@asynccontextmanager
async def listen(
    connection: CleaningConnection[Any], channels: Sequence[str]
) -> AsyncIterator[AsyncIterator[psycopg.Notify]]:
    """Listen to channels; see `TrioConnection.listen`."""
    if not connection.autocommit:
        raise psycopg.ProgrammingError("listen() needs a connection in autocommit mode")
    notifications = _Notifications(connection)
    connection.add_notify_handler(notifications.append)
    try:
        for channel in channels:
            await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
        yield notifications
    finally:
        connection.remove_notify_handler(notifications.append)
        if not connection.closed:
            with connection.cleaning_up():
                await _unlisten(connection, channels)


async def _unlisten(connection: CleaningConnection[Any], channels: Sequence[str]) -> None:
    try:
        for channel in channels:
            await connection.execute(sql.SQL("UNLISTEN {}").format(sql.Identifier(channel)))
    except psycopg.Error as error:
        connection.abandon(f"UNLISTEN failed: {error}")


class _Notifications:
    """The notifications that a listening connection received."""

    def __init__(self, connection: CleaningConnection[Any]) -> None:
        self._connection = connection
        self._received: deque[psycopg.Notify] = deque()

    def append(self, notification: psycopg.Notify) -> None:
        self._received.append(notification)

    def __aiter__(self) -> _Notifications:
        return self

    async def __anext__(self) -> psycopg.Notify:
        await trio.lowlevel.checkpoint()
        while not self._received:
            async with self._connection.lock:
                await self._connection.wait(generators.notifies(self._connection.pgconn))
        return self._received.popleft()
