"""Leases in Postgres: one owner for each account, until its lease expires, and no writes of others."""

from __future__ import annotations

import os
import socket
from typing import Any
from urllib.parse import parse_qs

import psycopg
import pytest
import trio
from inspection.stores import run_on_session, take_lease
from postgres_server import OwnServer, in_schema

from trailing import LeaseLost, StoreError, UsageError
from trailing.stores import open_store
from trailing.stores.port import AddIntent, AppendEvent, Lease, SettleIntent, Store
from trailing.stores.postgres_lease import LeaseTiming, PostgresLease
from trailing.testing.store_samples import sample_alarm, sample_intent

ACCOUNT = ("testex", "main")
THIS_PROCESS = f"{socket.gethostname()} process {os.getpid()}"


@pytest.fixture
def short(postgres_url: str) -> str:
    """A store whose leases last 20 s and are renewed every 0.2 s."""
    return f"{postgres_url}&lease_seconds=20&renew_seconds=0.2"


@pytest.fixture
def lazy(postgres_url: str) -> str:
    """A store whose leases last an hour and are renewed every quarter of an hour."""
    return f"{postgres_url}&lease_seconds=3600&renew_seconds=900"


def sql(url: str, statement: str, *params: Any) -> list[tuple[Any, ...]]:
    """Execute a statement on another connection, and return its rows. ``leases`` is the table."""
    address, _, query = url.partition("?")
    parameters = parse_qs(query)
    schema = parameters["schema"][0]
    host = f"?host={parameters['host'][0]}" if "host" in parameters else ""
    with psycopg.connect(address + host, autocommit=True) as connection:
        connection.execute(f"SET search_path TO {schema}".encode())
        cursor = connection.execute(statement.encode(), params)
        return cursor.fetchall() if cursor.description else []


def expire(url: str) -> None:
    """Let all leases expire, as if their owners had not renewed them."""
    sql(url, "UPDATE leases SET expires_at = clock_timestamp() - interval '1 second'")


def fence_of(lease: Lease) -> int:
    assert isinstance(lease, PostgresLease)
    return lease.fence


def owning(store: Store, mark: str = "0001", **options: Any) -> Any:
    return store.acquire_lease(*ACCOUNT, mark=mark, **options)


async def intents(store: Store) -> list[str]:
    return [intent.client_order_id for intent in (await store.load(*ACCOUNT)).intents]


async def test_each_owner_gets_a_higher_fence_and_is_named_in_the_table(lazy: str) -> None:
    fences = []
    for _ in range(3):
        async with open_store(lazy) as store, owning(store) as lease:
            fences.append(fence_of(lease))
            assert sql(lazy, "SELECT owner, fence FROM leases") == [(THIS_PROCESS, fences[-1])]
    assert fences == sorted(set(fences))


async def test_a_refused_lease_is_an_error_that_names_the_owner_and_the_end_of_its_lease(lazy: str) -> None:
    async with open_store(lazy) as first, open_store(lazy) as second, owning(first):
        with pytest.raises(
            LeaseLost,
            match=f"^testex main is owned by {THIS_PROCESS}; its lease runs out in 3(600|59.)[.]. s unless it is renewed",
        ):
            async with owning(second):
                raise AssertionError("two own one account")


async def test_one_of_many_simultaneous_tasks_gets_the_lease(lazy: str) -> None:
    got, refused = list[int](), list[int]()

    all_refused = trio.Event()

    async def want(number: int, store: Store) -> None:
        try:
            async with owning(store):
                got.append(number)
                await all_refused.wait()
        except LeaseLost:
            refused.append(number)
            if len(refused) == 7:
                all_refused.set()

    async with open_store(lazy) as one, open_store(lazy) as two, trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(want, number, one if number % 2 else two)
    assert (len(got), len(refused)) == (1, 7)


async def test_a_lease_is_renewed_until_its_owner_ends(short: str) -> None:
    async with open_store(short) as store, owning(store) as lease:
        assert lease.seconds == pytest.approx(19.6)
        for _ in range(5):
            before = lease.held_until
            await lease.wait_renewed()
            assert lease.held_until > before
            left = lease.held_until - trio.current_time()
            ((of_server,),) = sql(
                short, "SELECT extract(epoch FROM expires_at - clock_timestamp())::float8 FROM leases"
            )
            assert of_server >= lease.held_until - trio.current_time(), "the owner counts less than the server"
            assert left <= 20
        assert lease.lost is None


async def test_a_former_owner_writes_no_stop_and_no_intent_and_raises_lease_lost(lazy: str) -> None:
    async with open_store(lazy) as first, open_store(lazy) as second, owning(first) as former:
        await former.commit([AddIntent(sample_intent("t1"))])
        expire(lazy)
        async with owning(second) as lease:
            assert fence_of(lease) > fence_of(former)
            assert former.lost is None, "it has not been renewed since"
            with pytest.raises(LeaseLost, match="testex main: another process owns it now"):
                await former.commit([AddIntent(sample_intent("t2")), SettleIntent(*ACCOUNT, "t1")])
            assert former.lost == "another process owns it now"
            assert former.held_until < trio.current_time()
            with pytest.raises(LeaseLost):
                await former.wait_renewed()
            await former.commit([AppendEvent(*ACCOUNT, sample_alarm(1))])
            assert await intents(second) == ["t1"]
            await lease.commit([SettleIntent(*ACCOUNT, "t1")])
        assert [record.event async for record in second.events()] == [sample_alarm(1)]


async def test_a_renewal_of_a_lost_lease_names_the_new_owner(short: str) -> None:
    async with open_store(short) as store, owning(store) as lease:
        sql(short, "UPDATE leases SET fence = fence + 1, owner = 'host2 process 7'")
        with pytest.raises(LeaseLost, match="testex main: host2 process 7 owns it now"):
            while True:
                await lease.wait_renewed()
        assert lease.lost == "host2 process 7 owns it now"
        # A lost lease is not released at the end.
        before = sql(short, "SELECT * FROM leases")
    assert sql(short, "SELECT * FROM leases") == before


async def test_an_expired_lease_that_no_other_process_has_taken_is_renewed(short: str) -> None:
    async with open_store(short) as store, owning(store) as lease:
        for _ in range(3):
            expire(short)
            await lease.wait_renewed()
        await lease.commit([AddIntent(sample_intent("t1"))])
        assert lease.lost is None


async def test_a_standby_takes_over_when_the_lease_has_expired_and_not_before(short: str) -> None:
    async with open_store(short) as store:
        sql(
            short,
            "INSERT INTO leases (exchange, account, fence, holder, owner, taken_at, expires_at, marks)"
            " VALUES (%s, %s, 7, gen_random_uuid(), 'host2 process 7', now(), now() + interval '2 s', '{beef}')",
            *ACCOUNT,
        )
        began = trio.current_time()
        async with owning(store, standby=True) as lease:
            assert trio.current_time() - began >= 1.8
            assert fence_of(lease) == 8
            assert lease.marks == {"beef"}


async def test_an_account_stays_owned_while_requests_of_its_owner_may_be_executed(lazy: str) -> None:
    async with open_store(lazy) as first, open_store(lazy) as second:
        async with owning(first) as lease:
            busy_until = lease.busy_until = trio.current_time() + 5.0
        with pytest.raises(LeaseLost, match="its lease runs out in [0-5][.][0-9] s"):
            async with owning(second):
                raise AssertionError("too early")
        async with owning(second, standby=True):
            assert trio.current_time() >= busy_until - 0.1
        async with owning(first):
            pass


async def test_a_takeover_waits_for_a_running_commit_of_the_owner(lazy: str) -> None:
    async with open_store(lazy) as store, owning(store) as lease:
        expire(lazy)
        address, _, query = lazy.partition("?")
        parameters = parse_qs(query)
        with psycopg.connect(
            f"{address}?host={parameters['host'][0]}" if "host" in parameters else address
        ) as connection:
            schema = parameters["schema"][0]
            connection.execute(f"SELECT {schema}.require_lease('testex', 'main', {fence_of(lease)})".encode())
            async with open_store(lazy) as second:
                with trio.move_on_after(0.5) as scope:
                    async with owning(second):
                        raise AssertionError("it took over during a commit")
                assert scope.cancelled_caught
            connection.rollback()
        async with open_store(lazy) as second, owning(second):
            pass


async def test_taking_a_lease_again_after_a_lost_reply_is_no_error(lazy: str) -> None:
    async with open_store(lazy) as store:
        key = {"exchange": "testex", "account": "main", "holder": "00000000-0000-0000-0000-000000000001"}
        first = await take_lease(store, key, "0001")
        again = await take_lease(store, key, "0001")
        assert again.fence == first.fence + 1
        assert again.marks == set()
        other = {**key, "holder": "00000000-0000-0000-0000-000000000002"}
        assert await take_lease(store, other, "0002") is None


async def test_a_lease_has_the_marks_of_the_last_hundred_owners(lazy: str) -> None:
    async with open_store(lazy) as store:
        for number in range(102):
            async with owning(store, f"{number:04}"):
                pass
        async with owning(store, "last") as lease:
            assert lease.marks == {f"{number:04}" for number in range(3, 102)}


async def test_a_read_only_store_gives_no_lease(lazy: str) -> None:
    async with open_store(lazy):
        pass
    async with open_store(lazy, read_only=True) as store:
        with pytest.raises(StoreError, match="opened read-only"):
            async with owning(store):
                raise AssertionError("a read-only store owns an account")


@pytest.mark.slow
async def test_a_lease_that_expires_during_an_outage_of_the_server_is_renewed(own_server: OwnServer) -> None:
    url = f"{in_schema(own_server.dsn, 'trailing')}&lease_seconds=8&renew_seconds=0.5"
    async with open_store(url) as store, owning(store) as lease:
        own_server.kill()
        await trio.sleep(9)
        assert lease.held_until < trio.current_time()
        assert lease.lost is None
        await trio.to_thread.run_sync(own_server.start)
        with trio.fail_after(15):
            await lease.wait_renewed()
        await lease.commit([AddIntent(sample_intent("t1"))])


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("lease_seconds=0", "lease_seconds got 0.0, wants"),
        ("lease_seconds=ten", "open_store: lease_seconds got 'ten', wants a number of seconds"),
        ("lease_seconds=nan", "lease_seconds got nan"),
        ("renew_seconds=-1", "renew_seconds got -1.0"),
        ("renew_seconds=16", "renew_seconds got 16.0, wants at most a quarter of lease_seconds, 15"),
    ],
)
async def test_a_lease_duration_out_of_range_is_refused(options: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        async with open_store(f"postgresql://bot@127.0.0.1:1/none?{options}"):
            raise AssertionError("it opened")


def test_by_default_leases_last_a_minute_and_are_renewed_every_five_seconds() -> None:
    assert (LeaseTiming().seconds, LeaseTiming().renew_every) == (60.0, 5.0)


async def test_a_takeover_ends_the_sessions_of_an_owner_that_was_stopped_during_a_commit(lazy: str) -> None:
    async with open_store(lazy) as first, owning(first) as former:
        stuck, end = trio.Event(), trio.Event()
        expire(lazy)  # now, because later it would block the loop until the transaction ends

        async def stop_during_a_transaction(connection: Any) -> None:
            async with connection.transaction():
                schema = parse_qs(lazy.partition("?")[2])["schema"][0]
                await connection.execute(
                    f"SELECT {schema}.require_lease('testex', 'main', {fence_of(former)})".encode()
                )
                stuck.set()
                await end.wait()

        async def commit() -> None:
            with pytest.raises(StoreError, match="the lease is lost"):
                await run_on_session(first, stop_during_a_transaction)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(commit)
            await stuck.wait()
            async with open_store(lazy) as second:
                with trio.fail_after(30):
                    async with owning(second) as lease:
                        await lease.commit([AddIntent(sample_intent("t1"))])
            end.set()
        with pytest.raises(LeaseLost):
            await former.commit([AddIntent(sample_intent("t2"))])


async def test_a_takeover_does_not_end_the_sessions_of_an_owner_that_ended_in_order(lazy: str) -> None:
    async with open_store(lazy) as first, open_store(lazy) as second:
        async with owning(first):
            pids = sql(lazy, "SELECT pid FROM pg_stat_activity WHERE application_name = 'trailing' ORDER BY pid")
        async with owning(second):
            await first.load(*ACCOUNT)
            after = sql(lazy, "SELECT pid FROM pg_stat_activity WHERE application_name = 'trailing' ORDER BY pid")
    assert set(pids) <= set(after)
