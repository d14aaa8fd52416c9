"""Simulated worlds whose books are in Postgres: the clock that waits for it, the dead that don't write, a few whole worlds."""

from __future__ import annotations

import math
import random
import socket
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal as D

import psycopg
import pytest
import structlog
import trio
from psycopg import sql

from simulation.laboratory import WorldReport, __main__, run_world
from simulation.laboratory.__main__ import main
from simulation.laboratory.clock import IOAwareClock
from simulation.laboratory.harsh_table import ALL, scenario_of
from simulation.laboratory.invariant_monitor import SETTLED_AFTER
from simulation.laboratory.process import KillableStore, Process
from simulation.laboratory.quiet import quiet_log
from simulation.laboratory.world_store import open_world_store
from simulation.planted import PLANTED
from trailing.errors import LeaseLost
from trailing.psycopg_trio import TrioConnection
from trailing.stores.port import AddIntent, Intent, Store, StoreWrite

ACCOUNT = "paper", "default"
SEEDS = (3, 8, 21)
INTENT = Intent(*ACCOUNT, "BTC/USDT:USDT", "long", "one", "tr0123" + "a" * 16, "stop", D(1), D(98), datetime.now(UTC))


@pytest.fixture
def io_clock() -> IOAwareClock:
    """The clock of the test that asks for it."""
    return IOAwareClock()


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Worlds log what happens to them."""
    quiet_log()
    yield
    structlog.reset_defaults()


def schemas(dsn: str) -> set[str]:
    with psycopg.connect(dsn) as connection:
        return {name for (name,) in connection.execute("SELECT nspname FROM pg_namespace")}


async def test_time_jumps_to_the_next_deadline_while_all_tasks_sleep(io_clock: IOAwareClock) -> None:
    woken: list[tuple[str, float]] = []

    async def sleep(name: str, seconds: float) -> None:
        await trio.sleep(seconds)
        woken.append((name, trio.current_time()))

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for name, seconds in (("last", 7200.0), ("first", 0.5), ("second", 100.0)):
            nursery.start_soon(sleep, name, seconds)
    assert woken == [("first", 0.5), ("second", 100.0), ("last", 7200.0)]
    assert time.perf_counter() - began < 60


async def test_time_stops_while_a_task_waits_for_a_socket(io_clock: IOAwareClock) -> None:
    ours, theirs = trio.socket.socketpair()

    async def answer() -> None:
        await trio.to_thread.run_sync(time.sleep, 0.05)
        await theirs.send(b"at last")

    with ours, theirs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer)
            with trio.fail_after(0.001):
                assert await ours.recv(10) == b"at last"
        assert trio.current_time() == 0
        with trio.move_on_after(5) as scope:
            await trio.sleep(10)
    assert scope.cancelled_caught
    assert trio.current_time() == 5


async def test_time_stops_while_a_server_works_without_a_thread_of_ours(io_clock: IOAwareClock, dsn: str) -> None:
    async with await TrioConnection.connect(dsn) as connection:
        with trio.fail_after(0.01):
            await connection.execute("SELECT pg_sleep(0.1)")
    assert trio.current_time() == 0


async def test_another_clock_lets_the_deadline_expire(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, trio.move_on_after(0.01) as scope:
        await trio.lowlevel.wait_readable(ours)
    assert scope.cancelled_caught


def a_killable(inner: Store, process: Process, told: list[Sequence[StoreWrite]]) -> KillableStore:
    return KillableStore(inner, process, 0.0, random.Random(1), told.append, is_remote=True)


async def test_a_dead_process_writes_nothing_and_the_next_one_owns_the_account_at_once(
    io_clock: IOAwareClock, dsn: str
) -> None:
    dead, told = Process(), list[Sequence[StoreWrite]]()
    before = schemas(dsn)
    async with open_world_store(dsn, 0) as world_store, world_store.open() as first, world_store.open() as second:
        (schema,) = schemas(dsn) - before

        async def live(task_status: trio.TaskStatus[None]) -> None:
            async with a_killable(first, dead, told).acquire_lease(*ACCOUNT, mark="0000") as lease:
                await trio.sleep(100)  # renewed twenty times, which takes a moment of the server's clock
                assert lease.held_until > trio.current_time() + 50
                dead.steps_left = 0
                task_status.started()
                with trio.move_on_after(1000) as scope:
                    await lease.commit([AddIntent(INTENT)])
                assert scope.cancelled_caught
                assert (lease.lost, lease.held_until) == (None, math.inf)
                with trio.move_on_after(1000) as scope:
                    await lease.wait_renewed()
                assert scope.cancelled_caught

        async with trio.open_nursery() as nursery:
            await nursery.start(live)
            with trio.fail_after(1):
                await dead.died.wait()
            with pytest.raises(LeaseLost):
                async with second.acquire_lease(*ACCOUNT, mark="0001"):
                    raise AssertionError("its lease had not ended")
            assert dead.lease is not None
            await world_store.end_lease(dead.lease)
            async with second.acquire_lease(*ACCOUNT, mark="0001") as lease:
                await trio.sleep(300)
                await lease.commit([])
                assert (await second.load(*ACCOUNT)).intents == ()
                with psycopg.connect(dsn) as connection:
                    leases = sql.Identifier(schema, "leases")
                    found = connection.execute(sql.SQL("SELECT marks, fence FROM {}").format(leases)).fetchall()
                assert found == [(["0000", "0001"], 3)]  # two owners, and the end that was put to the first
    assert told == []
    assert schemas(dsn) == before


async def test_a_commit_in_flight_is_written_and_its_reply_lost_if_the_process_dies(
    io_clock: IOAwareClock, dsn: str
) -> None:
    process, told, told_when_it_died = Process(), list[Sequence[StoreWrite]](), list[int]()

    async def watch() -> None:
        await process.died.wait()
        told_when_it_died.append(len(told))

    async with open_world_store(dsn, 0) as world_store, world_store.open() as store, trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        async with a_killable(store, process, told).acquire_lease(*ACCOUNT, mark="0000") as lease:
            process.steps_left = 2  # before it and behind its latency; the third would be the reply's
            with trio.move_on_after(1000) as scope:
                await lease.commit([AddIntent(INTENT)])
            assert scope.cancelled_caught
            assert not process.alive
        assert (await store.load(*ACCOUNT)).intents == (INTENT,)
    assert told_when_it_died == [0]
    assert told == [[AddIntent(INTENT)]]


def test_no_invariant_is_broken_in_a_few_worlds_on_postgres(dsn: str) -> None:
    before = schemas(dsn)
    for seed in SEEDS:
        report = run_world(scenario_of(ALL, seed), store=dsn)
        replay = f"replay it with: python -m simulation.laboratory --seed {seed} --store …"
        assert report.broken == (), "\n".join((*report.broken, replay))
        assert report.deaths >= 1
        assert report.open_seconds > SETTLED_AFTER
        assert "unexplained" not in report.unprotected_seconds
    assert schemas(dsn) == before


def test_the_command_finds_violations_on_a_server(
    dsn: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_this_process(kinds: Sequence[str], seeds: Sequence[int], store: str) -> Iterator[tuple[str, WorldReport]]:
        return ((kind, run_world(scenario_of(kind, seed), store=store)) for kind in kinds for seed in seeds)

    monkeypatch.setattr(__main__, "run_kinds", in_this_process)
    PLANTED["a_forgotten_intent"](monkeypatch)
    assert main(["--seeds", "1", "--store", dsn]) == 1
    told = capsys.readouterr().out
    assert "4. an order has no intent in the store" in told
    assert "replay it with: python -m simulation.laboratory --store … --harsh all --seed 0\n" in told


def test_the_command_refuses_other_addresses_than_a_server_s(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["--store", "sqlite:///worlds.db"])
    assert raised.value.code == 2
    assert "argument --store: needs the address of a Postgres server, postgresql://…" in capsys.readouterr().err
