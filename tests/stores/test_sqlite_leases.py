"""Leases in SQLite: a lock file beside the database, whose lock the kernel releases when its process ends."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from inspection.stores import take_lock

from trailing import LeaseLost, StoreError
from trailing.stores import open_store

OWNER = """
import sys, trio
from trailing.stores import open_store

async def main():
    async with open_store(sys.argv[1]) as store, store.acquire_lease("ex", "main", mark=sys.argv[2]):
        print("owned", flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


@asynccontextmanager
async def another_owner(url: str, mark: str = "beef") -> AsyncIterator[trio.Process]:
    """Start another process that owns (ex, main). It is killed at the end of the block."""
    process = await trio.lowlevel.open_process([sys.executable, "-c", OWNER, url, mark], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert (await process.stdout.receive_some()).startswith(b"owned")
        yield process
    finally:
        process.kill()
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 5):
            await process.wait()
            await process.stdout.aclose()


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder}/trailing.db"


def lease_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if "-lease-" in path.name)


async def test_an_account_of_another_process_is_refused_and_the_error_names_the_process(tmp_path: Path) -> None:
    async with another_owner(url_of(tmp_path)) as process, open_store(url_of(tmp_path)) as store:
        with pytest.raises(LeaseLost, match=f"^ex main is owned by process {process.pid}: .*-lease-main@ex is locked$"):
            async with store.acquire_lease("ex", "main", mark="cafe"):
                raise AssertionError("two processes own one account")
        async with store.acquire_lease("ex", "other", mark="cafe"):
            pass


async def test_a_killed_process_owns_no_account_and_its_mark_is_kept(tmp_path: Path) -> None:
    async with open_store(url_of(tmp_path)) as store:
        for mark in ("0001", "0002"):
            async with another_owner(url_of(tmp_path), mark):
                pass
        async with store.acquire_lease("ex", "main", mark="0003") as lease:
            assert lease.marks == {"0001", "0002"}
        async with store.acquire_lease("ex", "main", mark="0004") as lease:
            assert lease.marks == set()  # the last owner ended in order


async def test_a_standby_takes_over_from_a_killed_process(tmp_path: Path) -> None:
    async with (
        open_store(url_of(tmp_path)) as store,
        another_owner(url_of(tmp_path)) as process,
        trio.open_nursery() as nursery,
    ):

        async def kill() -> None:
            await trio.sleep(0.6)
            process.kill()

        nursery.start_soon(kill)
        began = trio.current_time()
        async with store.acquire_lease("ex", "main", mark="cafe", standby=True):
            assert trio.current_time() - began >= 0.6


async def test_two_stores_of_one_process_do_not_share_an_account(tmp_path: Path) -> None:
    async with (
        open_store(url_of(tmp_path)) as first,
        open_store(url_of(tmp_path)) as second,
        first.acquire_lease("ex", "main", mark="0001"),
    ):
        with pytest.raises(LeaseLost, match=f"owned by process {os.getpid()}"):
            async with second.acquire_lease("ex", "main", mark="0002"):
                raise AssertionError("two own one account")


@pytest.mark.parametrize("account", ["../elsewhere", "a@b", "größte 停", "a/b", ""])
async def test_no_account_name_leads_to_a_lock_file_in_another_folder(account: str, tmp_path: Path) -> None:
    async with open_store(url_of(tmp_path)) as store, store.acquire_lease("ex", account, mark="0001"):
        assert len(lease_files(tmp_path)) == 1
        async with store.acquire_lease(f"{account}@ex", "", mark="0001"):
            assert len(lease_files(tmp_path)) == 2
    assert lease_files(tmp_path) == []


async def test_only_the_owner_of_the_lock_file_can_read_it(tmp_path: Path) -> None:
    async with open_store(url_of(tmp_path)) as store, store.acquire_lease("ex", "main", mark="0001"):
        (name,) = lease_files(tmp_path)
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


async def test_a_read_only_store_gives_no_lease(tmp_path: Path) -> None:
    async with (
        open_store(url_of(tmp_path)) as store,
        store.acquire_lease("ex", "main", mark="0001"),
        open_store(url_of(tmp_path), read_only=True) as reader,
    ):
        assert await reader.accounts() == []
        with pytest.raises(StoreError, match="opened read-only"):
            async with reader.acquire_lease("ex", "main", mark="0002"):
                raise AssertionError("it owns what it can't write")


async def test_a_file_that_can_not_be_locked_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "trailing.db-lease-main@ex").mkdir()
    async with open_store(url_of(tmp_path)) as store:
        with pytest.raises(StoreError, match="trailing.db-lease-main@ex can't be locked: Is a directory"):
            async with store.acquire_lease("ex", "main", mark="0001"):
                raise AssertionError("it is not locked")


async def test_a_lock_file_with_other_content_can_be_locked(tmp_path: Path) -> None:
    path = tmp_path / "trailing.db-lease-main@ex"
    path.write_bytes(b"\xff" * 20_000)
    async with open_store(url_of(tmp_path)) as store:
        async with store.acquire_lease("ex", "main", mark="0001") as lease:
            assert lease.marks == set()
        assert not path.exists()


def test_a_lock_file_that_was_removed_before_it_was_locked_is_created_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The owner removes the file when it ends. A process that has opened the file before must not take that for the lock.
    path = tmp_path / "lock"
    flock, removed = fcntl.flock, list[bool]()

    def lock_too_late(descriptor: int, how: int) -> None:
        if not removed:
            removed.append(True)
            path.unlink()
            path.touch()
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", lock_too_late)
    held = take_lock(path, "0001")
    assert not isinstance(held, str)
    assert os.path.samestat(path.stat(), os.fstat(held.descriptor))
    assert take_lock(path, "0002") == f"process {os.getpid()}"
    held.release()


async def test_the_owner_of_an_account_is_named_without_a_lease_also_from_a_store_opened_read_only(
    tmp_path: Path,
) -> None:
    url = url_of(tmp_path)
    async with another_owner(url) as process, open_store(url, read_only=True) as store:
        assert await store.lease_owner("ex", "main") == f"process {process.pid}"
        assert await store.lease_owner("ex", "other") is None
        assert lease_files(tmp_path) == ["trailing.db-lease-main@ex"]
        process.kill()
        await process.wait()
        assert await store.lease_owner("ex", "main") is None
        assert lease_files(tmp_path) == ["trailing.db-lease-main@ex"]


async def test_a_lock_file_with_the_number_of_another_running_process_is_no_owner(tmp_path: Path) -> None:
    url = url_of(tmp_path)
    async with another_owner(url) as process:
        process.kill()
        await process.wait()
    file = tmp_path / "trailing.db-lease-main@ex"
    for number in (os.getpid(), 1):  # 1 is a process of another user
        file.write_text(f'{{"process":{number},"marks":[]}}')
        async with open_store(url, read_only=True) as store:
            assert await store.lease_owner("ex", "main") is None


async def test_an_owner_whose_number_is_that_of_another_pid_namespace_is_named(tmp_path: Path) -> None:
    url = url_of(tmp_path)
    async with another_owner(url), open_store(url) as store:
        file = tmp_path / "trailing.db-lease-main@ex"
        file.write_text('{"process":4194300,"marks":[]}')  # here no process has it, as if the owner ran in a container
        assert await store.lease_owner("ex", "main") == "process 4194300"


def test_a_look_at_the_owner_refuses_no_owner_that_starts_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, flock, looks = tmp_path / "lock", fcntl.flock, iter(range(2))

    def lock_beside_a_look(descriptor: int, how: int) -> None:
        if how & fcntl.LOCK_EX and next(looks, None) is not None:
            raise BlockingIOError
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", lock_beside_a_look)
    held = take_lock(path, "0001")
    assert not isinstance(held, str)
    held.release()


async def test_a_lock_file_that_can_not_be_read_is_an_error_that_names_it(tmp_path: Path) -> None:
    async with open_store(url_of(tmp_path)) as store:
        (tmp_path / "trailing.db-lease-main@ex").symlink_to("trailing.db-lease-main@ex")  # a loop
        with pytest.raises(StoreError, match="-lease-main@ex can't be read: "):
            await store.lease_owner("ex", "main")
