"""Messages between a process and its parent: a JSON object per line on standard output, lines on standard input."""

from __future__ import annotations

import json
import os
import sys

import trio


def write_line(**facts: object) -> None:
    """Write a line of JSON, and flush it."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


async def wait_line() -> None:
    """Wait for a line on standard input, or for its end."""
    await _wait_input(b"\n")


async def wait_end() -> None:
    """Wait until standard input ends, because the parent process has closed it or has ended."""
    await _wait_input(None)


async def _wait_input(until: bytes | None) -> None:
    async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as stream:
        while received := await stream.receive_some():
            if until is not None and until in received:
                return
