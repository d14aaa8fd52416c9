"""What Postgres costs: a round trip driven by trio, beside psycopg's other ways; and a wave, beside one in memory."""

from __future__ import annotations

import asyncio
import gc
import importlib
import statistics
import time
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import trio
from figures import report
from postgres_server import a_schema, in_schema
from test_bench_waves import PLAN, enter, some_positions

import trailing
from trailing import Protected
from trailing.psycopg_trio import TrioConnection
from trailing.stores.port import SaveStop
from trailing.stores.postgres import open_postgres
from trailing.testing.store_samples import sample_record

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it subclasses what Python 3.14 drops
    trio_asyncio: Any = importlib.import_module("trio_asyncio")

# psycopg was imported first, and holds what trio-asyncio has replaced since.
waiting: Any = psycopg.waiting
waiting.get_running_loop = asyncio.get_running_loop

QUERY = "SELECT %s::int"
TRIPS = 1000
ROUNDS = 7
BLOCKING = "psycopg, blocking"
BRIDGED = "AsyncConnection through trio-asyncio"


async def timed_trips(execute: Callable[..., Awaitable[Any]]) -> float:
    """The median of many round trips of a prepared statement, in seconds."""
    times = []
    for number in range(TRIPS):
        started = time.perf_counter()
        cursor = await execute(QUERY, (number,), prepare=True)
        await cursor.fetchone()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def by_trio(dsn: str) -> float:
    async def main() -> float:
        async with await TrioConnection[Any].connect(dsn, autocommit=True) as connection:
            return await timed_trips(connection.execute)

    return trio.run(main)


def through_trio_asyncio(dsn: str) -> float:
    async def main() -> float:
        async with trio_asyncio.open_loop():
            connect = trio_asyncio.aio_as_trio(psycopg.AsyncConnection.connect)
            connection = await connect(dsn, autocommit=True)

            async def execute(*args: Any, **options: Any) -> Any:
                cursor = await trio_asyncio.aio_as_trio(connection.execute)(*args, **options)
                return _Fetching(cursor)

            try:
                return await timed_trips(execute)
            finally:
                await trio_asyncio.aio_as_trio(connection.close)()

    return trio.run(main)


class _Fetching:
    """A cursor whose rows are there already: fetching one needs no trip through the loop, so that none is counted."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    async def fetchone(self) -> Any:
        return self._cursor.pgresult.get_value(0, 0)


def on_asyncio(dsn: str) -> float:
    async def main() -> float:
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            return await timed_trips(connection.execute)

    return asyncio.run(main())


def blocking(dsn: str) -> float:
    times = []
    with psycopg.connect(dsn, autocommit=True) as connection:
        for number in range(TRIPS):
            started = time.perf_counter()
            connection.execute(QUERY, (number,), prepare=True).fetchone()
            times.append(time.perf_counter() - started)
    return statistics.median(times)


async def timed_wave(store_url: str) -> tuple[float, int]:
    """Seconds that a wave of 1,000 takes without latency, and commits from its first to its last acknowledgement."""
    positions = some_positions(1000)
    async with (
        trailing.open_paper() as exchange,
        trailing.open_store(store_url) as store,
        trailing.open_manager(exchange, store, PLAN) as manager,
    ):
        await enter(exchange, positions)
        await trio.sleep(0.1)
        before = commits_of(store)
        started = time.perf_counter()
        wave = await manager.protect_wave(positions, deadline=10.0)
        seconds = time.perf_counter() - started
        commits = commits_of(store) - before
        assert all(isinstance(outcome, Protected) for outcome in wave.outcomes)
        loaded = await store.load("paper", "default")
        assert (len(loaded.stops), len(loaded.intents)) == (1000, 0)
        return seconds, commits


def commits_of(store: Any) -> int:
    return int(store.commits)


def test_a_round_trip(dsn: str) -> None:
    ways = {
        BLOCKING: blocking,
        "TrioConnection": by_trio,
        "AsyncConnection on asyncio": on_asyncio,
        BRIDGED: through_trio_asyncio,
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):  # in turns, so that whatever else the machine does disturbs all of them
        for name, way in ways.items():
            taken[name].append(way(dsn))
    medians = {name: statistics.median(times) for name, times in taken.items()}
    ours, plain, bridged = (medians[name] for name in ("TrioConnection", BLOCKING, BRIDGED))
    with report("Postgres: a round trip of a prepared statement, median") as figures:
        for name, median in medians.items():
            figures.add(name, f"{median * 1e6:.0f} µs")
        figures.add("TrioConnection beside trio-asyncio", f"{ours / bridged:.2f} x", "at most 0.5 x")
        figures.add("TrioConnection beside blocking", f"{ours / plain:.2f} x", "at most 2.5 x")
    assert ours < bridged


def test_a_wave_of_a_thousand(dsn: str) -> None:
    memory: list[float] = []
    postgres: list[float] = []
    commits: list[int] = []
    for _ in range(ROUNDS):
        with a_schema(dsn) as schema:
            for url, times in (("memory:", memory), (in_schema(dsn, schema), postgres)):
                gc.collect()
                seconds, made = trio.run(timed_wave, url)
                times.append(seconds)
            commits.append(made)
    ratio = statistics.median(postgres) / statistics.median(memory)
    with report("Postgres: a wave of 1,000 positions without latency, median") as figures:
        figures.add("memory", f"{statistics.median(memory):.3f} s")
        figures.add("Postgres, durable", f"{statistics.median(postgres):.3f} s")
        figures.add("Postgres beside memory", f"{ratio:.2f} x", "at most 1.7 x")
        figures.add("commits", f"{statistics.median(commits):.0f}, at most {max(commits)}", "at most 40")
    assert max(commits) <= 40


def test_a_commit_of_a_thousand_saves(dsn: str) -> None:
    records = [sample_record(f"COIN{number}/USDT:USDT") for number in range(1000)]

    async def timed() -> float:
        async with open_postgres(dsn, schema=schema) as store:
            await store.commit([SaveStop("paper", "default", record) for record in records])
            times = []
            for _ in range(ROUNDS):
                started = time.perf_counter()
                await store.commit([SaveStop("paper", "default", record) for record in records])
                times.append(time.perf_counter() - started)
            return statistics.median(times)

    with a_schema(dsn) as schema, report("Postgres: 1,000 records saved in one commit, median") as figures:
        figures.add("encoded, sent and on the disk", f"{trio.run(timed) * 1e3:.0f} ms")
