"""How many prices a second go from a socket into the core, beside ccxt's own way to watch them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import trio
from figures import report
from inspection.ccxt_exchange import dropped_ticks
from price_venue import SYMBOLS
from venue_server import API_KEY, SECRET, redirected

from trailing import (
    Callback,
    Credentials,
    Manager,
    Percent,
    Position,
    Protected,
    TrailPlan,
    open_ccxt,
    open_manager,
    open_store,
)
from trailing.exchanges.ccxt.exchange import CcxtExchange

RATE, SECONDS, BURST = 10_000, 5, 50_000
PLAN = TrailPlan(initial_stop=Percent(2), rules=(Callback(Percent("0.5"), activation=Percent("1.5")),))


class Venue:
    """The venue in its process."""

    def __init__(self, process: trio.Process, host: str) -> None:
        self._process = process
        self.host = host

    async def push(self, count: int, per_second: int = 0) -> None:
        """Let it push, and wait until it has written everything."""
        assert self._process.stdin is not None
        await self._process.stdin.send_all(f"{count} {per_second}\n".encode())
        assert await said(self._process) == "done"


async def said(process: trio.Process) -> str:
    """The next line of its standard output."""
    assert process.stdout is not None
    line = b""
    while not line.endswith(b"\n"):
        line += await process.stdout.receive_some(1)
    return line.decode().strip()


@asynccontextmanager
async def open_venue() -> AsyncIterator[tuple[Venue, CcxtExchange]]:
    async with trio.open_nursery() as nursery:
        command = [sys.executable, str(Path(__file__).parent / "price_venue.py")]
        start = partial(trio.run_process, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        process = await nursery.start(start)
        host = await said(process)

        def configure(client: Any) -> None:
            client.urls["api"] = redirected(client.urls["api"], host)

        async with open_ccxt("binanceusdm", credentials=Credentials(API_KEY, SECRET), configure=configure) as exchange:
            yield Venue(process, host), exchange
        nursery.cancel_scope.cancel()


def accounted(manager: Manager, exchange: CcxtExchange) -> int:
    """Ticks that the core has taken, and those that were thinned out and counted because it did not keep up."""
    return manager.statistics().ticks + dropped_ticks(exchange)


async def into_the_core() -> dict[str, float]:
    """Prices of 200 protected positions, at a rate and as fast as they are taken."""
    async with (
        open_venue() as (venue, exchange),
        open_store("memory:") as store,
        open_manager(exchange, store, PLAN) as manager,
    ):
        now = datetime.now(UTC)
        wave = [Position(symbol, "long", Decimal(1), Decimal(1000), now) for symbol in SYMBOLS]
        wave_report = await manager.protect_wave(wave, deadline=60)
        assert all(isinstance(outcome, Protected) for outcome in wave_report.outcomes)
        await trio.sleep(2)  # until all are subscribed to
        figures: dict[str, float] = {}
        for name, count, rate in (("paced", RATE * SECONDS, RATE), ("burst", BURST, 0)):
            ticks, before = manager.statistics().ticks, accounted(manager, exchange)
            started, cpu = time.perf_counter(), time.process_time()
            with trio.fail_after(60):
                await venue.push(count, rate)
                figures[f"{name} behind"] = before + count - accounted(manager, exchange)
                while accounted(manager, exchange) < before + count:
                    await trio.sleep(0.001)
            taken = manager.statistics().ticks - ticks
            figures[f"{name} seconds"] = time.perf_counter() - started
            figures[f"{name} cpu"] = (time.process_time() - cpu) / taken
            figures[f"{name} thinned"] = count - taken
    return figures


async def by_ccxt() -> tuple[float, float]:
    """The same through ccxt's `watch_trades_for_symbols`: trades a second, and how many nobody was told of at the end."""
    count = BURST // 10
    async with open_venue() as (venue, exchange):
        client = exchange.session.client
        handled, told = 0, 0
        handle = client.handle_message

        def note(socket: Any, message: Any) -> None:
            nonlocal handled
            handled += message.get("e") == "aggTrade"
            handle(socket, message)

        client.handle_message = note

        async def watch() -> None:
            nonlocal told
            while True:
                told += len(await client.watch_trades_for_symbols(list(SYMBOLS), None, None, {"name": "aggTrade"}))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(exchange.session.run, watch())
            await trio.sleep(1)
            started = time.perf_counter()
            nursery.start_soon(venue.push, count)
            with trio.fail_after(60):
                while handled < count:
                    await trio.sleep(0.001)
            rate = count / (time.perf_counter() - started)
            await trio.sleep(0.2)
            nursery.cancel_scope.cancel()
    return rate, count - told


def test_prices_of_200_symbols_from_the_socket_into_the_core() -> None:
    with report(f"prices of {len(SYMBOLS)} symbols, from a venue in another process") as figures:
        ours = trio.run(into_the_core)
        rate, untold = trio.run(by_ccxt)
        figures.add(f"{RATE:,} a second for {SECONDS} s: behind at the end", f"{ours['paced behind']:,.0f}", "few")
        figures.add("… processor time of one", f"{ours['paced cpu'] * 1e6:.0f} µs", f"at most {1e6 / RATE:.0f} µs")
        figures.add("… thinned out, and counted", f"{ours['paced thinned']:,.0f}", "0")
        figures.add(f"{BURST:,} at once", f"{BURST / ours['burst seconds']:,.0f} a second", f"at least {RATE:,}")
        figures.add("… processor time of one", f"{ours['burst cpu'] * 1e6:.0f} µs")
        figures.add("… thinned out, and counted", f"{ours['burst thinned']:,.0f}")
        figures.add("ccxt's watch_trades_for_symbols", f"{rate:,.0f} a second")
        figures.add("… of which nobody was told", f"{untold:,.0f} of {BURST // 10:,}")
        figures.add("ours beside ccxt's", f"{BURST / ours['burst seconds'] / rate:.1f} x")
    assert ours["burst seconds"] > 0
