"""Fetch an address every minute while all is well, so that a monitor elsewhere notices silence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NoReturn

import trio

from trailing.alerts.http import Threads, request
from trailing.alerts.secrets import SecretUrl
from trailing.core.model import check_seconds
from trailing.errors import UsageError

EVERY: Final = 60.0
"""Seconds between two heartbeats."""

FETCH_SECONDS: Final = 20.0
"""Seconds until a monitor has to answer."""

_LOOK_EVERY: Final = 1.0


class Heartbeat:
    """The address of a monitor elsewhere.

    Args:
        url: an http or https address; any answer that is a success counts.
        every: seconds between two heartbeats, above 0.

    Raises:
        UsageError: naming the field, what is wrong and what it wants.
    """

    def __init__(self, url: str, every: float = EVERY) -> None:
        self._url = SecretUrl(url, "Heartbeat.url")
        if self._url.scheme not in {"http", "https"}:
            raise UsageError(f"Heartbeat.url got a {self._url.scheme} address, wants http or https")
        check_seconds("Heartbeat.every", every, zero=False)
        self.every: float = every
        self._threads = Threads()

    def __repr__(self) -> str:
        return f"<Heartbeat to {self._url.host}>"

    @property
    def host(self) -> str:
        """The host of the monitor."""
        return self._url.host

    async def fetch(self) -> None:
        """Fetch the address once. Raises NotSent."""
        await request(self._threads, self._url, FETCH_SECONDS)

    async def run(self, is_well: Callable[[], bool], on_result: Callable[[Exception | None], None]) -> NoReturn:
        """Fetch the address now and then every `every` seconds, while all is well.

        A fetch that fails is not repeated before its time, because a monitor allows for one that is missing.

        Args:
            is_well: whether all is well now.
            on_result: called after each fetch, with its error.
        """
        due_at = trio.current_time()
        while True:
            if trio.current_time() < due_at or not is_well():
                await trio.sleep(min(_LOOK_EVERY, self.every))
                continue
            due_at = trio.current_time() + self.every
            try:
                await self.fetch()
            except Exception as error:  # also a bug: it must not end the bot
                on_result(error)
            else:
                on_result(None)
