"""The real, unmodified ccxt client against a venue's server, driven by trio through trio-asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import trio_asyncio
from ccxt import pro
from venue_server import API_KEY, SECRET

Client: TypeAlias = Any
"""A ccxt client, whose methods are coroutine functions of asyncio: `ask` calls them."""


async def ask(method: Callable[..., Any], *args: Any) -> Any:
    """Call a method of a client from trio. Cancellation reaches it."""
    return await trio_asyncio.aio_as_trio(method)(*args)


@asynccontextmanager
async def open_client(venue: str, configure: Callable[[Client], None], **config: Any) -> AsyncIterator[Client]:
    """A ccxt client with its markets loaded."""
    async with trio_asyncio.open_loop():
        client = getattr(pro, venue)({"apiKey": API_KEY, "secret": SECRET, "enableRateLimit": False, **config})
        configure(client)
        try:
            await ask(client.load_markets)
            yield client
        finally:
            await ask(client.close)
