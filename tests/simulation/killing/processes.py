"""The processes of a run: the exchange, which lives through it, and one bot after the other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from simulation.remote_wire import Lines

_END_SECONDS = 10.0
_TAIL = 2000
_TESTS = Path(__file__).parents[2]
"""The folder that `simulation` is imported from."""


class ChildProcess:
    """What a process says on its standard output, line by line."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdout is not None
        self.process: trio.Process = process
        self._stdout = process.stdout
        self._lines = Lines()
        self._waiting: list[bytes] = []

    async def next(self) -> dict[str, Any] | None:
        """The next thing that it says, or None: it has ended.

        Cancellation: nothing that it said is lost.
        """
        while not self._waiting:
            received = await self._stdout.receive_some()
            if not received:
                return None
            self._waiting += self._lines.feed(bytes(received))
        message: dict[str, Any] = json.loads(self._waiting.pop(0))
        return message


class Bots:
    """Starts the processes. One bot is always warm: it has imported what it needs, and waits for its turn to live.

    Args:
        folder: where the log of what the processes complain of is.
        store: the address of the store.
        seed: of the run.
    """

    def __init__(self, folder: Path, store: str, seed: int, positions: int) -> None:
        self.log: Path = folder / "complaints.log"
        self._store, self._seed, self._positions = store, seed, positions
        self._started = 0

    @asynccontextmanager
    async def market(self) -> AsyncIterator[int]:
        """Start the exchange's process. Yields its port, and ends it when the block does.

        Raises:
            RuntimeError: it ended before it was served.
        """
        market = await start("killing.market", self._seed, self._positions, log=self.log)
        try:
            message = await market.next()
            if message is None:
                raise RuntimeError(f"the exchange's process ended: {self.log_tail()}")
            yield message["port"]
        finally:
            await end(market)  # noqa: ASYNC102 - shields itself, with a deadline

    async def warm(self, port: int) -> ChildProcess:
        """Start a bot that waits for `live`."""
        self._started += 1
        return await start("killing.bot", port, self._store, f"{self._seed}/{self._started}", log=self.log)

    def log_tail(self) -> str:
        """The end of what the processes have written to their standard error."""
        return self.log.read_text(errors="replace")[-_TAIL:] if self.log.exists() else ""


async def start(module: str, *arguments: object, log: Path) -> ChildProcess:
    """Start ``python -m simulation.MODULE ARGUMENTS`` in a process of its own.

    Args:
        module: its name below `simulation`.
        arguments: of its command line.
        log: the file that its standard error is added to.
    """
    command = [sys.executable, "-m", f"simulation.{module}", *map(str, arguments)]
    path = os.pathsep.join(filter(None, (str(_TESTS), os.environ.get("PYTHONPATH"))))
    with log.open("ab") as errors:
        process = await trio.lowlevel.open_process(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=os.environ | {"PYTHONPATH": path},
        )
    return ChildProcess(process)


async def activate(bot: ChildProcess) -> None:
    """Let a warm bot live."""
    assert bot.process.stdin is not None
    await bot.process.stdin.send_all(b"live\n")


async def kill(bot: ChildProcess) -> int:
    """End a process with SIGKILL, and wait until it is gone. Returns its exit code; minus 9: it was still alive."""
    with trio.CancelScope(shield=True, deadline=trio.current_time() + _END_SECONDS):
        bot.process.kill()
        await bot.process.wait()
    code = bot.process.returncode
    assert code is not None, "a process outlived SIGKILL"
    await _close_pipes(bot)
    return code


async def end(bot: ChildProcess) -> int:
    """Close a process's input, and wait until it has ended by itself; after ten seconds it is killed.

    Returns:
        Its exit code; 0 where all is well.
    """
    assert bot.process.stdin is not None
    with trio.move_on_after(_END_SECONDS, shield=True) as scope:
        await bot.process.stdin.aclose()
        while await bot.next() is not None:
            pass
        await bot.process.wait()
    if scope.cancelled_caught:
        return await kill(bot)
    await _close_pipes(bot)
    assert bot.process.returncode is not None
    return bot.process.returncode


async def _close_pipes(bot: ChildProcess) -> None:
    assert bot.process.stdin is not None
    assert bot.process.stdout is not None
    with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
        await bot.process.stdin.aclose()
        await bot.process.stdout.aclose()
