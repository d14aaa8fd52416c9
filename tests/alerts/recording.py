"""A channel that keeps what it is sent, and a world whose manager is watched."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio
from worlds import START, World, open_world

import trailing
from trailing import Position
from trailing.alerts import Alert, AlertRules, AlertTargets, Heartbeat, Message, open_alerts
from trailing.events import Alarm


class RecordingChannel:
    """Keep every message with the time at which it was sent.

    Args:
        before: called before each message is taken; it may wait or raise.
    """

    def __init__(self, before: Callable[[], Any] | None = None, name: str = "recorder") -> None:
        self.name = name
        self._before = before
        self.tries: list[float] = []
        self.messages: list[tuple[float, Message]] = []

    async def send(self, message: Message) -> None:
        self.tries.append(trio.current_time())
        if self._before is not None:
            await self._before()
        self.messages.append((trio.current_time(), message))

    def sent(self, rule: str) -> list[tuple[float, Alert]]:
        """Every alert of a rule in the order of sending, with its time."""
        return [(at, alert) for at, message in self.messages for alert in message.alerts if alert.rule == rule]

    def states(self, rule: str) -> list[bool]:
        """Whether each alert of a rule fired (True) or recovered (False), in the order of sending."""
        return [alert.is_firing for _, alert in self.sent(rule)]


def raise_alarm(world: World, what: str, position: Position | None = None, detail: str = "") -> None:
    """Publish an alarm of a position, or of the account, as the manager does."""
    symbol, side = (None, None) if position is None else (position.symbol, position.side)
    world.inside.publish(Alarm(at=START, symbol=symbol, side=side, what=what, detail=detail))


@asynccontextmanager
async def open_watched(
    channel: RecordingChannel,
    rules: AlertRules | None = None,
    *,
    others: Sequence[RecordingChannel] = (),
    heartbeat: Heartbeat | None = None,
    store: Any = None,
    **options: Any,
) -> AsyncIterator[World]:
    """A world whose manager is watched, with alerts to one channel.

    Args:
        others: further channels; `heartbeat`: of the alerts.
        store: makes the store of the manager from the world's; None: the world's.
        options: of `open_world`, and of `open_manager` if they are `ticks`.
    """
    ticks = options.pop("ticks", None)
    async with (
        open_alerts(AlertTargets([channel, *others], heartbeat), rules=rules) as alerts,
        open_world(with_manager=False, **options) as world,
    ):
        opening = trailing.open_manager(
            world.exchange, world.store if store is None else store(world), world.plan, ticks=ticks, utc_start=START
        )
        async with alerts.watch(opening) as manager:
            world.manager = manager
            try:
                yield world
            finally:
                world.manager = None
