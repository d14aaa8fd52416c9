"""The processes of a run: the exchange, which runs throughout, and one bot after the other."""

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
"""The folder from which `simulation` is imported."""


class ChildProcess:
    """A child process, and the messages on its standard output."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdout is not None
        self.process: trio.Process = process
        self._stdout = process.stdout
        self._lines = Lines()
        self._waiting: list[bytes] = []

    async def next(self) -> dict[str, Any] | None:
        """Return the next message, or None if the process has ended.

        Cancellation: no message is lost.
        """
        while not self._waiting:
            received = await self._stdout.receive_some()
            if not received:
                return None
            self._waiting += self._lines.feed(bytes(received))
        message: dict[str, Any] = json.loads(self._waiting.pop(0))
        return message


class Bots:
    """Start the processes. One bot is always warm: it has done its imports and waits for `activate`.

    Args:
        folder: the folder of the log with the processes' standard error.
        store: the address of the store.
        seed: the seed of the run.
        positions: the number of open positions at a time.
        entries: whether the bots open their positions with entries.
    """

    def __init__(self, folder: Path, store: str, seed: int, positions: int, *, entries: bool = False) -> None:
        self.log: Path = folder / "processes.log"
        self._store, self._seed, self._positions = store, seed, positions
        self._started, self._module = 0, "killing.entry_bot" if entries else "killing.bot"

    @asynccontextmanager
    async def market(self) -> AsyncIterator[int]:
        """Start the exchange's process, yield its port, and end the process with the block.

        Raises:
            RuntimeError: the process ended before it served the exchange.
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
        """Start a bot that waits for `activate`."""
        self._started += 1
        return await start(self._module, port, self._store, f"{self._seed}/{self._started}", log=self.log)

    def log_tail(self) -> str:
        """Return the end of the processes' standard error."""
        return self.log.read_text(errors="replace")[-_TAIL:] if self.log.exists() else ""


async def start(module: str, *arguments: object, log: Path) -> ChildProcess:
    """Start ``python -m simulation.MODULE ARGUMENTS`` in a process of its own.

    Args:
        module: the name of the module below `simulation`.
        arguments: the arguments of the command line.
        log: the file to which the standard error is appended.
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
    """Let a warm bot begin."""
    assert bot.process.stdin is not None
    await bot.process.stdin.send_all(b"activate\n")


async def kill(bot: ChildProcess) -> int:
    """Kill a process with SIGKILL, and wait for its end. Returns its exit code; -9: it was still running."""
    with trio.CancelScope(shield=True, deadline=trio.current_time() + _END_SECONDS):
        bot.process.kill()
        await bot.process.wait()
    code = bot.process.returncode
    assert code is not None, "a process survived SIGKILL"
    await _close_pipes(bot)
    return code


async def end(bot: ChildProcess) -> int:
    """Close a process's input and wait until it ends. After ten seconds it is killed.

    Returns:
        Its exit code; 0 without an error.
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
