"""How long entries are without a stop by the books of the local servers, at 200 ms of latency, with the real ccxt client.

A server and its client share a process here. Its clock leaves out the time in which other processes had the processor.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from figures import report
from inspection.ccxt_exchange import run_in_loop
from inspection.own_time import OwnTime

from trailing import Entry, Protected, open_manager, open_store

sys.path.insert(0, str(Path(__file__).parent.parent / "venues"))
from entered_waves import FREE, PLAN, EntryDesk, coins, entry_desk

ENTRIES, LATENCY, RUNS = 50, 0.2, 5


def run(main: Callable[..., Any], *args: Any) -> Any:
    """Run a function on the clock of this process."""
    clock = OwnTime()
    return trio.run(main, *args, clock=clock, instruments=[clock])


async def seconds_unprotected(venue: str, *, at_once: bool) -> list[float]:
    """Return the seconds that each of the entries was without a stop, shortest first."""
    wave = [Entry(coin.symbol, "long", Decimal("0.8")) for coin in coins(ENTRIES)]
    async with (
        entry_desk(venue, coins(ENTRIES), latency=LATENCY, **FREE[venue]) as desk,
        open_store("memory:") as store,
        open_manager(desk.exchange, store, PLAN) as manager,
    ):
        groups = [wave] if at_once else [[entry] for entry in wave]
        for group in groups:
            outcomes = (await manager.enter_wave(group, deadline=60.0)).outcomes
            assert all(isinstance(outcome, Protected) for outcome in outcomes), outcomes
        await until_alone(desk)
        assert len(desk.times.seconds) == ENTRIES
        return sorted(desk.times.seconds.values())


async def until_alone(desk: EntryDesk) -> None:
    """Wait until each position has its own stop only."""
    with trio.fail_after(60):
        while len(desk.server.market.live_stops()) != ENTRIES or not all(
            order.wanted.client_order_id for order in desk.server.market.live_stops()
        ):
            await trio.sleep(0.05)


async def cost_of_bare_calls(venue: str) -> float:
    """Return the processor time of as many bare calls of ccxt at once, in seconds, the server's part included."""
    async with entry_desk(venue, coins(ENTRIES), **FREE[venue]) as desk:
        client = desk.exchange.session.client

        async def buy(symbol: str, own_id: str) -> None:
            await run_in_loop(
                desk.exchange, client.create_order(symbol, "market", "buy", "0.8", None, {"clientOrderId": own_id})
            )

        seconds = []
        for turn in range(RUNS):
            started = time.process_time()
            async with trio.open_nursery() as nursery:
                for number, coin in enumerate(coins(ENTRIES)):
                    nursery.start_soon(buy, coin.symbol, f"bare-{turn}-{number}")
            seconds.append(time.process_time() - started)
        return statistics.median(seconds[1:])  # the first one opens the connections


@pytest.mark.parametrize("venue", ["bybit", "okx"])
def test_an_entry_that_carries_its_stop_is_never_unprotected(venue: str) -> None:
    with report(f"{venue}: {ENTRIES} entries at once, {LATENCY} s of latency") as figures:
        seconds = run(partial(seconds_unprotected, venue, at_once=True))
        figures.add("longest time without a stop", f"{seconds[-1]:.3f} s", "0.000 s")
    assert seconds == [0.0] * ENTRIES


def test_an_entry_on_binance_is_unprotected_for_one_round_trip() -> None:
    with report(f"binanceusdm: {ENTRIES} entries, one at a time, {LATENCY} s of latency") as figures:
        seconds = run(partial(seconds_unprotected, "binanceusdm", at_once=False))
        median = statistics.median(seconds)
        figures.add("time without a stop, median", f"{median:.3f} s", f"at most {LATENCY + 0.02:.3f} s")
        figures.add("… longest", f"{seconds[-1]:.3f} s")
    assert median <= LATENCY + 0.02


def test_a_wave_on_binance_is_unprotected_for_one_round_trip_and_the_work_of_its_calls() -> None:
    with report(f"binanceusdm: {ENTRIES} entries at once, {LATENCY} s of latency, best of {RUNS}") as figures:
        found = []
        for _ in range(RUNS):
            bare = run(partial(cost_of_bare_calls, "binanceusdm"))
            found.append((run(partial(seconds_unprotected, "binanceusdm", at_once=True))[-1], bare))
        longest, bare = min(found, key=lambda each: each[0] - 1.5 * each[1])
        figures.add(f"{ENTRIES} bare calls of ccxt", f"{bare:.3f} s")
        figures.add("longest time without a stop", f"{longest:.3f} s", f"at most {LATENCY + 1.5 * bare:.3f} s")
        figures.add("… of all runs", ", ".join(f"{each:.3f} ({cost:.3f})" for each, cost in found))
    assert longest <= LATENCY + 1.5 * bare
