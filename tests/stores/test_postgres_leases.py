"""Postgres's leases: who owns an account, until when, and that nobody else writes to it."""

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
    """A store whose leases last an hour and are hardly ever renewed."""
    return f"{postgres_url}&lease_seconds=3600&renew_seconds=900"


def sql(url: str, statement: str, *params: Any) -> list[tuple[Any, ...]]:
    """What a statement says, on another connection; ``leases`` is the table."""
    address, _, query = url.partition("?")
    ours = parse_qs(query)
    schema = ours["schema"][0]
    host = f"?host={ours['host'][0]}" if "host" in ours else ""
    with psycopg.connect(address + host, autocommit=True) as connection:
        connection.execute(f"SET search_path TO {schema}".encode())
        cursor = connection.execute(statement.encode(), params)
        return cursor.fetchall() if cursor.description else []


def expire(url: str) -> None:
    """Let all leases be over, as if their owners had not been heard of for long."""
    sql(url, "UPDATE leases SET expires_at = clock_timestamp() - interval '1 second'")


def fence_of(lease: Lease) -> int:
    assert isinstance(lease, PostgresLease)
    return lease.fence


def owning(store: Store, mark: str = "0001", **options: Any) -> Any:
    return store.own(*ACCOUNT, mark=mark, **options)


async def intents(store: Store) -> list[str]:
    return [intent.client_order_id for intent in (await store.load(*ACCOUNT)).intents]


async def test_each_owner_has_a_higher_fence_and_is_named_in_the_table(lazy: str) -> None:
    fences = []
    for _ in range(3):
        async with open_store(lazy) as store, owning(store) as lease:
            fences.append(fence_of(lease))
            assert sql(lazy, "SELECT owner, fence FROM leases") == [(THIS_PROCESS, fences[-1])]
    assert fences == sorted(set(fences))


async def test_one_that_is_refused_hears_who_owns_the_account_and_for_how_long(lazy: str) -> None:
    async with open_store(lazy) as first, open_store(lazy) as second, owning(first):
        with pytest.raises(
            LeaseLost, match=f"^testex main is owned by {THIS_PROCESS}, for 3(600|59.)[.]. s unless it renews"
        ):
            async with owning(second):
                raise AssertionError("two own one account")


async def test_of_many_who_want_an_account_at_once_one_gets_it(lazy: str) -> None:
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


async def test_a_lease_is_renewed_for_as_long_as_its_owner_lives(short: str) -> None:
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


async def test_a_former_owner_writes_no_stop_and_no_intent_and_hears_who_owns_the_account(lazy: str) -> None:
    async with open_store(lazy) as first, open_store(lazy) as second, owning(first) as former:
        await former.commit([AddIntent(sample_intent("t1"))])
        expire(lazy)
        async with owning(second) as lease:
            assert fence_of(lease) > fence_of(former)
            assert former.lost is None, "nobody has told it yet"
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


async def test_a_renewal_finds_out_who_owns_the_account_now(short: str) -> None:
    async with open_store(short) as store, owning(store) as lease:
        sql(short, "UPDATE leases SET fence = fence + 1, owner = 'somebody else'")
        with pytest.raises(LeaseLost, match="testex main: somebody else owns it now"):
            while True:
                await lease.wait_renewed()
        assert lease.lost == "somebody else owns it now"
        # What it did not own any more it does not give up either.
        before = sql(short, "SELECT * FROM leases")
    assert sql(short, "SELECT * FROM leases") == before


async def test_a_lease_that_ran_out_and_that_nobody_has_taken_is_renewed(short: str) -> None:
    async with open_store(short) as store, owning(store) as lease:
        for _ in range(3):
            expire(short)
            await lease.wait_renewed()
        await lease.commit([AddIntent(sample_intent("t1"))])
        assert lease.lost is None


async def test_one_that_stands_by_takes_an_account_over_when_its_lease_has_run_out_and_not_before(short: str) -> None:
    async with open_store(short) as store:
        sql(
            short,
            "INSERT INTO leases (exchange, account, fence, holder, owner, taken_at, expires_at, marks)"
            " VALUES (%s, %s, 7, gen_random_uuid(), 'a dead one', now(), now() + interval '2 s', '{beef}')",
            *ACCOUNT,
        )
        began = trio.current_time()
        async with owning(store, standby=True) as lease:
            assert trio.current_time() - began >= 1.8
            assert fence_of(lease) == 8
            assert lease.marks == {"beef"}


async def test_an_owner_whose_requests_may_still_be_executed_keeps_the_account_so_long(lazy: str) -> None:
    async with open_store(lazy) as first, open_store(lazy) as second:
        async with owning(first) as lease:
            busy_until = lease.busy_until = trio.current_time() + 5.0
        with pytest.raises(LeaseLost, match="for [0-5][.][0-9] s"):
            async with owning(second):
                raise AssertionError("too early")
        async with owning(second, standby=True):
            assert trio.current_time() >= busy_until - 0.1
        async with owning(first):
            pass


async def test_a_takeover_waits_for_a_commit_of_the_owner_that_has_begun(lazy: str) -> None:
    async with open_store(lazy) as store, owning(store) as lease:
        expire(lazy)
        address, _, query = lazy.partition("?")
        ours = parse_qs(query)
        with psycopg.connect(f"{address}?host={ours['host'][0]}" if "host" in ours else address) as connection:
            schema = ours["schema"][0]
            connection.execute(f"SELECT {schema}.require_lease('testex', 'main', {fence_of(lease)})".encode())
            async with open_store(lazy) as second:
                with trio.move_on_after(0.5) as scope:
                    async with owning(second):
                        raise AssertionError("it took over in the middle of a commit")
                assert scope.cancelled_caught
            connection.rollback()
        async with open_store(lazy) as second, owning(second):
            pass


async def test_taking_it_again_because_the_reply_was_lost_is_no_error(lazy: str) -> None:
    async with open_store(lazy) as store:
        key = {"exchange": "testex", "account": "main", "holder": "00000000-0000-0000-0000-000000000001"}
        first = await take_lease(store, key, "0001")
        again = await take_lease(store, key, "0001")
        assert again.fence == first.fence + 1
        assert again.marks == set()
        other = {**key, "holder": "00000000-0000-0000-0000-000000000002"}
        assert await take_lease(store, other, "0002") is None


async def test_the_marks_of_the_last_hundred_owners_are_known(lazy: str) -> None:
    async with open_store(lazy) as store:
        for number in range(102):
            async with owning(store, f"{number:04}"):
                pass
        async with owning(store, "last") as lease:
            assert lease.marks == {f"{number:04}" for number in range(3, 102)}


async def test_a_store_that_was_opened_to_be_read_owns_nothing(lazy: str) -> None:
    async with open_store(lazy):
        pass
    async with open_store(lazy, read_only=True) as store:
        with pytest.raises(StoreError, match="opened to be read only"):
            async with owning(store):
                raise AssertionError("it owns what it can't write")


@pytest.mark.slow
async def test_a_lease_outlives_a_server_that_is_down_for_a_while(own_server: OwnServer) -> None:
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
async def test_a_lease_that_can_not_be_right_is_refused(options: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        async with open_store(f"postgresql://nobody@127.0.0.1:1/none?{options}"):
            raise AssertionError("it opened")


def test_leases_last_a_minute_and_are_renewed_every_five_seconds() -> None:
    assert (LeaseTiming().seconds, LeaseTiming().renew_every) == (60.0, 5.0)


async def test_a_takeover_hangs_up_on_an_owner_that_was_stopped_in_the_middle_of_a_commit(lazy: str) -> None:
    async with open_store(lazy) as first, owning(first) as former:
        stuck, let_go = trio.Event(), trio.Event()
        expire(lazy)  # before: this helper would wait for the transaction, and with it everything else

        async def stop_in_the_middle(connection: Any) -> None:
            async with connection.transaction():
                schema = parse_qs(lazy.partition("?")[2])["schema"][0]
                await connection.execute(
                    f"SELECT {schema}.require_lease('testex', 'main', {fence_of(former)})".encode()
                )
                stuck.set()
                await let_go.wait()

        async def commit() -> None:
            with pytest.raises(StoreError, match="the lease is lost"):
                await run_on_session(first, stop_in_the_middle)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(commit)
            await stuck.wait()
            async with open_store(lazy) as second:
                with trio.fail_after(30):
                    async with owning(second) as lease:
                        await lease.commit([AddIntent(sample_intent("t1"))])
            let_go.set()
        with pytest.raises(LeaseLost):
            await former.commit([AddIntent(sample_intent("t2"))])


async def test_whoever_has_ended_in_order_is_not_hung_up_on(lazy: str) -> None:
    async with open_store(lazy) as first, open_store(lazy) as second:
        async with owning(first):
            pids = sql(lazy, "SELECT pid FROM pg_stat_activity WHERE application_name = 'trailing' ORDER BY pid")
        async with owning(second):
            await first.load(*ACCOUNT)
            after = sql(lazy, "SELECT pid FROM pg_stat_activity WHERE application_name = 'trailing' ORDER BY pid")
    assert set(pids) <= set(after)
