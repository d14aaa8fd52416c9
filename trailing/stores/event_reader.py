"""Read stored events page by page."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import trio

from trailing.stores.port import EventRecord

Row = TypeVar("Row")

PAGE_ROWS = 500


class EventReader(Generic[Row]):
    """Iterate over stored events page by page, and then over new ones if it follows.

    Between two pages it holds no cursor and no lock, so that an iteration that is abandoned needs no closing. It is a class
    because an async generator would need closing.

    If a row can't be decoded, the iteration raises StoreError. The next step continues with the following row.

    Args:
        page: is called with the number of the last row that was read. It returns the number of the last row that it has
            examined (the same number if there is no new row), and the wanted rows among those that it has examined.
        decode: converts a row to a record. Raises StoreError.
        wait: waits until there may be a new row; None: the iteration ends after the last row.
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
        self._last = 0
        self._rows: deque[Row] = deque()

    def __aiter__(self) -> EventReader[Row]:
        return self

    async def __anext__(self) -> EventRecord:
        await trio.lowlevel.checkpoint()
        while not self._rows:
            last, rows = await self._page(self._last)
            if last == self._last:
                if self._wait is None:
                    raise StopAsyncIteration
                await self._wait()
            self._last = last
            self._rows.extend(rows)
        return self._decode(self._rows.popleft())
