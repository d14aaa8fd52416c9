"""Deliver alerts to one channel: again and again until they are sent, always their newest state."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NoReturn

import trio

from trailing.alerts.alert_log import AlertLog
from trailing.alerts.channels import SEND_SECONDS, Channel
from trailing.alerts.http import NotSent
from trailing.alerts.messages import compose
from trailing.alerts.outbox import Outbox
from trailing.alerts.rules import Alert

BETWEEN: Final = 5.0
"""Seconds after a message in which further alerts gather for the next one."""

MOST_PAUSE: Final = 60.0
"""The longest pause before a further try, in seconds, unless the receiver asks for a longer one."""


class Delivery:
    """Send alerts to one channel, in a task of its own. A channel that hangs, fails or asks to wait delays nothing else.

    Args:
        channel: where the alerts go.
        log: of the service.

    Attributes:
        failing_since: when the first failure of the present row happened, in seconds on the running clock; None: the last
            message was sent, or none was wanted yet.
    """

    def __init__(self, channel: Channel, log: AlertLog) -> None:
        self._channel, self._log = channel, log
        self._outbox = Outbox()
        self._came = trio.Event()
        self._sent = trio.Event()
        self._flushing = trio.Event()
        self.failing_since: float | None = None

    @property
    def name(self) -> str:
        """The name of the channel."""
        return self._channel.name

    @property
    def waiting(self) -> int:
        """The number of alerts that were not sent yet."""
        return len(self._outbox)

    def put(self, alerts: Iterable[Alert]) -> None:
        """Hand alerts in, without waiting."""
        self._outbox.put(alerts)
        if self._outbox:
            self._came.set()

    async def run(self) -> NoReturn:
        """Send what is handed in, without end."""
        pause = BETWEEN
        while True:
            await self._came.wait()
            self._came = trio.Event()
            if not self._outbox:
                continue
            error = await self._try()
            if error is None:
                pause = BETWEEN
                await self._sleep(BETWEEN)
            else:
                retry_after = error.retry_after if isinstance(error, NotSent) else None
                await self._sleep(pause if retry_after is None else max(pause, retry_after))
                pause = min(2 * pause, MOST_PAUSE)
            if self._outbox:
                self._came.set()

    async def flush(self) -> None:
        """Wait until everything is sent. Pauses end at once, and pauses after a failure last a second."""
        self._flushing.set()
        while self._outbox:
            await self._sent.wait()

    async def _sleep(self, seconds: float) -> None:
        if self._flushing.is_set():
            await trio.sleep(min(1.0, seconds))
            return
        with trio.move_on_after(seconds):
            await self._flushing.wait()

    async def _try(self) -> Exception | None:
        """Send one message about all that waits. Return the error if it was not sent."""
        batch = self._outbox.batch()
        message = compose(batch, left_out=self._outbox.left_out)
        error: Exception | None = None
        try:
            with trio.move_on_after(SEND_SECONDS) as scope:
                await self._channel.send(message)
            if scope.cancelled_caught:
                error = NotSent(f"no answer within {SEND_SECONDS:g} s")
        except Exception as failure:  # also a bug of a channel: it must not end the others
            error = failure
        if error is None:
            self._outbox.note_sent(batch)
            self._sent.set()
            self._sent = trio.Event()
            if self.failing_since is not None:
                self.failing_since = None
                self._log.info("AlertsSentAgain", channel=self._channel.name)
        elif self.failing_since is None:
            self.failing_since = trio.current_time()
            self._log.error("AlertsNotSent", channel=self._channel.name, error=f"{type(error).__name__}: {error}")
        return error
