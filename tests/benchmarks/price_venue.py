"""A venue with many symbols in a process of its own: pushes as many trades as it is told, as fast as it is told.

It says its host and port first; then each line of "count per_second" is answered with a line when all are written.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from decimal import Decimal
from itertools import cycle, islice
from pathlib import Path

import trio

sys.path.insert(0, str(Path(__file__).parent.parent / "venues"))
from binance_server import open_binance_server
from venue_market import instrument
from venue_server import VenueServer

from trailing import Position

TICK_SECONDS = 0.01
BASES = tuple(f"C{number:03}" for number in range(200))
SYMBOLS = tuple(f"{base}/USDT:USDT" for base in BASES)


def frame(base: str, step: int) -> bytes:
    """A trade as it goes over the wire, near the price of 1000."""
    trade = {"e": "aggTrade", "E": 1, "T": 1, "s": f"{base}USDT", "a": step, "p": f"{1000 + step % 7 / 2:.1f}"}
    text = json.dumps({**trade, "q": "0.01", "f": 1, "l": 1, "m": False}).encode()
    return bytes((0x81, 126)) + len(text).to_bytes(2) + text


async def push(server: VenueServer, count: int, per_second: float) -> None:
    """Write so many trades, in the order of the symbols; `per_second` 0: as fast as they are taken."""
    frames = cycle([frame(base, step) for step in range(20) for base in BASES])
    started_at, written = trio.current_time(), 0
    while written < count:
        due = int((trio.current_time() - started_at) * per_second) if per_second else written + 1000
        batch = b"".join(islice(frames, min(count, due) - written))
        written = min(count, due)
        for socket in server.sockets.open:
            if socket.topics and batch:
                socket._outgoing.append((trio.current_time(), batch))
                socket._something.set()
        await trio.sleep(TICK_SECONDS if per_second else 0)
    while any(socket._outgoing for socket in server.sockets.open):
        await trio.sleep(0.001)


def say(line: str) -> None:
    """Write a line to standard output."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def main() -> None:
    """Serve until standard input ends."""
    instruments = tuple(instrument(base, "0.1", "0.001", "5") for base in BASES)
    free = {"most_stops": 10**6, "weight_limit": 10**9, "order_limits": (10**9, 10**9)}
    async with open_binance_server(instruments=instruments, **free) as server:  # type: ignore[arg-type]
        for symbol in SYMBOLS:
            await server.enter(Position(symbol, "long", Decimal(1), Decimal(1000), datetime.now(UTC)))
        say(server.host)
        async for line in trio.lowlevel.FdStream(0):
            count, per_second = line.split()
            await push(server, int(count), float(per_second))
            say("done")


if __name__ == "__main__":
    trio.run(main)
