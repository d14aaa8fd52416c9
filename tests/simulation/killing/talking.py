"""How the processes talk to the one that started them: a JSON object a line on standard output, a line on input."""

from __future__ import annotations

import json
import os
import sys

import trio


def say(**facts: object) -> None:
    """Tell something, at once."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


async def wait_told() -> None:
    """Wait for a line on standard input, or its end."""
    await _wait_input(b"\n")


async def wait_left() -> None:
    """Wait until standard input ends: whoever started this process closes it, or has ended."""
    await _wait_input(None)


async def _wait_input(until: bytes | None) -> None:
    async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as stream:
        while received := await stream.receive_some():
            if until is not None and until in received:
                return
