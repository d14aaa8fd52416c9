"""Try the targets: send one test message to each channel, and one heartbeat."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import msgspec
import trio

from trailing.alerts.channels import SEND_SECONDS
from trailing.alerts.http import NotSent
from trailing.alerts.messages import Message
from trailing.alerts.targets import AlertTargets

TEST_MESSAGE: Final = Message("trailing: a test", "This is a test of the alerts of trailing. No position is concerned.")


class TrialResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came of the test of one target.

    Args:
        target: the name of the channel, or the heartbeat.
        sent: whether the receiver took it; None: it was not tried.
        error: why not, without credentials; None: it was sent or not tried.
    """

    target: str
    sent: bool | None
    error: str | None = None


def list_targets(targets: AlertTargets) -> tuple[TrialResult, ...]:
    """Return the targets, none of which is tried."""
    return tuple(TrialResult(target=name, sent=None) for name, _ in _trials(targets))


async def try_targets(targets: AlertTargets) -> tuple[TrialResult, ...]:
    """Send one test message to each channel and one heartbeat, all in parallel. A failure is not repeated."""
    results: dict[int, TrialResult] = {}

    async def run_one(number: int, name: str, send: Callable[[], Awaitable[None]]) -> None:
        error: Exception | None = NotSent(f"no answer within {SEND_SECONDS:g} s")
        try:
            with trio.move_on_after(SEND_SECONDS):
                await send()
                error = None
        except Exception as failure:  # also a bug of a channel
            error = failure
        text = None if error is None else f"{type(error).__name__}: {error}"
        results[number] = TrialResult(target=name, sent=error is None, error=text)

    async with trio.open_nursery() as nursery:
        for number, (name, send) in enumerate(_trials(targets)):
            nursery.start_soon(run_one, number, name, send)
    return tuple(results[number] for number in sorted(results))


def _trials(targets: AlertTargets) -> list[tuple[str, Callable[[], Awaitable[None]]]]:
    trials: list[tuple[str, Callable[[], Awaitable[None]]]] = [
        (channel.name, partial(channel.send, TEST_MESSAGE)) for channel in targets.channels
    ]
    if targets.heartbeat is not None:
        trials.append((f"heartbeat {targets.heartbeat.host}", targets.heartbeat.fetch))
    return trials
