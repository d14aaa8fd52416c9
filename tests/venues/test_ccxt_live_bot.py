"""The live bot of the documentation on the local servers: it enters, protects, trails, is restarted and ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal as D
from functools import partial
from pathlib import Path

import pytest
import trio
from entered_waves import BookTimes, set_prices
from real_exchange import BTC, ETH, VENUES, open_server
from venue_server import VenueServer

PROCESS = Path(__file__).parent / "live_bot_process.py"


class Bot:
    """A bot in a process of its own.

    Attributes:
        said: its lines so far.
    """

    def __init__(self, process: trio.Process) -> None:
        self.said: list[str] = []
        self._process = process

    async def read(self) -> None:
        """Collect its lines until it ends."""
        assert self._process.stdout is not None
        rest = ""
        async for data in self._process.stdout:
            *lines, rest = (rest + data.decode()).split("\n")
            self.said += lines

    async def until(self, line: str) -> None:
        """Wait for a line that begins like this."""
        with trio.move_on_after(30):
            while not any(each.startswith(line) for each in self.said):
                await trio.sleep(0.02)
            return
        raise AssertionError(f"{line!r} was not said: {self.said}")

    async def kill(self) -> None:
        """Kill it, so that it can clean up nothing."""
        self._process.kill()
        with trio.fail_after(5):
            await self._process.wait()

    async def end(self) -> None:
        """End it as an operator does. It must end by itself, without an error."""
        self._process.send_signal(signal.SIGTERM)
        with trio.fail_after(20):
            assert await self._process.wait() == 0, self.said
        await self.until("the bot has ended")


@asynccontextmanager
async def running(venue: str, server: VenueServer, folder: Path) -> AsyncIterator[Bot]:
    """Start the bot on a server."""
    command = [sys.executable, "-u", str(PROCESS), venue, server.host]
    paths = os.pathsep.join(str(PROCESS.parent.parent / each) for each in ("venues", "servers", "."))
    start = partial(
        trio.run_process,
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths},
        check=False,
    )
    async with trio.open_nursery() as tasks:
        process: trio.Process = await tasks.start(start)
        bot = Bot(process)
        tasks.start_soon(bot.read)
        await bot.until("the bot runs")
        yield bot
        tasks.cancel_scope.cancel()


def on_the_server(server: VenueServer) -> tuple[dict[str, D], list[tuple[str, D, D]], list[str]]:
    """Return the open quantities, the live stops with quantity and price, and the symbols of the entries that work."""
    market = server.market
    held = {symbol: holding.quantity for (symbol, _), holding in market.holdings.items() if holding.quantity}
    stops = [
        (order.wanted.symbol, order.wanted.quantity, order.wanted.trigger.price)
        for order in market.live_stops()
        if order.wanted.trigger is not None
    ]
    return held, stops, [symbol for symbol in market.instruments if market.resting(symbol)]


@pytest.mark.slow
@pytest.mark.parametrize("venue", VENUES)
async def test_the_bot_enters_protects_trails_is_restarted_and_ends(venue: str, tmp_path: Path) -> None:
    signals = tmp_path / "signals.csv"
    async with open_server(venue) as server:
        set_prices(server, [BTC, ETH], D(1000))
        times = BookTimes(server.market)
        signals.write_text(f"{BTC},buy,0.5,\n{ETH},sell,0.2,1050\n")
        async with running(venue, server, tmp_path) as bot:
            await bot.until(f"{BTC} long: 0.5 entered at 1000, 0 unfilled, stop at 980")
            await bot.until(f"{ETH} short: not entered, unfilled")
            assert not signals.exists()
            if venue != "binanceusdm":
                assert times.seconds == {BTC: 0.0}
            set_prices(server, [BTC], D(1030))
            await bot.until(f"{BTC}: the stop moved from 980 to 1019.7")
            await bot.end()
        assert on_the_server(server) == ({BTC: D("0.5")}, [(BTC, D("0.5"), D("1019.7"))], [])

        async with running(venue, server, tmp_path) as bot:
            await bot.until(f"{BTC} long: resumed with its stop at 1019.7")
            signals.write_text(f"{ETH},sell,0.2,995\n")
            await bot.until(f"{ETH} short: 0.2 entered at 1000, 0 unfilled, stop at")
            set_prices(server, [BTC], D(1019))
            await bot.until(f"{BTC}: the stop was filled at 1019")
            await bot.until(f"{BTC}: closed, profit 9.5")
            set_prices(server, [ETH], D(1100))
            await bot.until(f"{ETH}: closed, profit -20")
            await bot.end()
        assert on_the_server(server) == ({}, [], [])
        assert not [line for line in bot.said if line.startswith("ALARM")]


@pytest.mark.slow
@pytest.mark.parametrize("venue", VENUES)
async def test_a_bot_that_is_killed_while_its_entry_is_partly_filled_protects_the_part_and_cancels_the_rest(
    venue: str, tmp_path: Path
) -> None:
    async with open_server(venue, entry_parts=4) as server:
        set_prices(server, [BTC, ETH], D(1000))
        async with running(venue, server, tmp_path) as bot:
            (tmp_path / "signals.csv").write_text(f"{BTC},buy,0.8,990\n{ETH},sell,0.2,1050\n")
            with trio.fail_after(20):
                while len(on_the_server(server)[2]) < 2:
                    await trio.sleep(0.01)
            set_prices(server, [BTC], D(985))  # fills a quarter
            await bot.kill()
        held, _, working = on_the_server(server)
        assert (held, sorted(working)) == ({BTC: D("0.2")}, [BTC, ETH])
        async with running(venue, server, tmp_path) as bot:
            # Where the venue attached a stop, it is there; otherwise it is placed now.
            price = D("965.3") if venue == "binanceusdm" else D("970.2")
            settled: tuple[object, object, object] = ({BTC: D("0.2")}, [(BTC, D("0.2"), price)], [])
            with trio.move_on_after(20):
                while on_the_server(server) != settled:
                    await trio.sleep(0.02)
            assert on_the_server(server) == settled
            await bot.end()
        assert on_the_server(server) == settled
        assert not [line for line in bot.said if line.startswith("ALARM")]
