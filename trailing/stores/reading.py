"""Reading the events page by page."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import trio

from trailing.stores.port import EventRecord

Row = TypeVar("Row")

PAGE_ROWS = 500


class EventReader(Generic[Row]):
    """Iterates over stored events, a page at a time, and then over new ones if it is to follow.

    Between two pages it holds nothing, neither a cursor nor a lock, so an iteration that is broken off needs no
    closing. It is a class and no async generator for that reason: one of those would have to be closed.

    Where a row can't be decoded, the iteration raises StoreError for it; the next step goes on behind it.

    Args:
        page: gives, for the number of the last row seen, the number of the last one that it has looked at now and the
            rows among them that are wanted. The same number: there is nothing new.
        decode: turns a row into a record. Raises StoreError.
        wait: waits until there may be something new; None: the iteration ends there.
    """

    def __init__(
        self,
        page: Callable[[int], Awaitable[tuple[int, Sequence[Row]]]],
        decode: Callable[[Row], EventRecord],
        wait: Callable[[], Awaitable[None]] | None,
    ) -> None:
        self._page = page
        self._decode = decode
        self._wait = wait
        self._seen = 0
        self._rows: deque[Row] = deque()

    def __aiter__(self) -> EventReader[Row]:
        return self

    async def __anext__(self) -> EventRecord:
        await trio.lowlevel.checkpoint()
        while not self._rows:
            seen, rows = await self._page(self._seen)
            if seen == self._seen:
                if self._wait is None:
                    raise StopAsyncIteration
                await self._wait()
            self._seen = seen
            self._rows.extend(rows)
        return self._decode(self._rows.popleft())
