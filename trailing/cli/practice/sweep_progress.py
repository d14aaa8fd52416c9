"""Walks plans in a thread, with a progress bar on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final, TypeVar

import trio
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from trailing.cli.signals import Interruption

T = TypeVar("T")

ENDS_AT_NEXT_STEP: Final = "it ends after the pieces under way, without a result"
"""What happens after a signal, in words."""


async def walk_in_thread(walking: Callable[..., T], name: str, interruption: Interruption) -> T | None:
    """Return what a function returns, or None if a signal ended it at its next step.

    Args:
        walking: takes `progress`, a function of the steps done and the steps in all.
        name: of the progress bar.
    """
    with interruption.cancels(), _progress_bar(name) as show:

        def progress(done: int, total: int) -> None:
            trio.from_thread.check_cancelled()
            show(done, total)

        return await trio.to_thread.run_sync(partial(walking, progress=progress))
    return None


@contextmanager
def _progress_bar(name: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar with the time left on standard error, if that is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn(name), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield show
