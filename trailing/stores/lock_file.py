"""A lock by a file: one holder at a time on this machine, and none once its process has ended, however it ended.

The lock is the kernel's, on the open file (``flock``). It says nothing on a network's file system.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import trio

from trailing.errors import LeaseLost, StoreError
from trailing.stores.leases import Commit, StandingLease

LOOK_SECONDS = 0.25
"""How often somebody who waits looks whether the lock is free. A thread that waits for it could not be cancelled."""

_MOST_MARKS = 100
_MOST_BYTES = 10_000


class _Owners(msgspec.Struct, frozen=True):
    """What the file holds: the process that owns, or owned, the account, and the marks of owners that did not end in order."""

    process: int
    marks: tuple[str, ...]


@asynccontextmanager
async def hold_account(
    database: Path, exchange: str, account: str, *, commit: Commit, mark: str, standby: bool
) -> AsyncIterator[StandingLease]:
    """Own an account until the block ends, by a file beside a database that is locked so long.

    The file is removed then; a process that is killed leaves it, and no lock.

    Args:
        commit: the store's.
        mark: kept in the file: the lease tells those of owners that were killed, the last hundred of them.
        standby: wait until it is free.

    Raises:
        LeaseLost: another process owns it, or this one through another store, and `standby` is False.
        StoreError: naming the file: it can't be locked.
    """
    path = _path(database, exchange, account)
    while True:
        try:
            # Not to be abandoned: what a thread has locked is always handed over.
            taken = await trio.to_thread.run_sync(_take, path, mark)
        except OSError as error:
            raise StoreError(f"{path}: {error}") from error
        if isinstance(taken, _Lock):
            break
        if not standby:
            raise LeaseLost(f"{exchange} {account} is owned by {taken}: {path} is locked")
        await trio.sleep(LOOK_SECONDS)
    lease = StandingLease(commit, f"{exchange} {account}", taken.marks)
    try:
        yield lease
    finally:
        lease.end()
        taken.release()


def _path(database: Path, exchange: str, account: str) -> Path:
    # Quoted, so that no name reaches into another folder, and no two accounts share a file.
    return database.with_name(f"{database.name}-lease-{quote(account, safe='')}@{quote(exchange, safe='')}")


class _Lock(msgspec.Struct, frozen=True):
    path: Path
    descriptor: int
    marks: frozenset[str]

    def release(self) -> None:
        # Removed while it is still locked: whoever has opened it meanwhile finds out that it is not the file any more.
        try:
            self.path.unlink(missing_ok=True)
        finally:
            self.close()

    def close(self) -> None:
        os.close(self.descriptor)


@contextmanager
def own_every_account(database: Path, accounts: Iterable[tuple[str, str]]) -> Iterator[None]:
    """Own accounts until the block ends, and every other one that has a lock file beside the database.

    The files keep the marks that they hold.

    Args:
        accounts: (exchange, account) of each.

    Raises:
        StoreError: another process owns one of them.
        OSError: a file can't be locked.
    """
    paths = {_path(database, exchange, account) for exchange, account in accounts}
    paths |= {path for path in database.parent.iterdir() if path.name.startswith(f"{database.name}-lease-")}
    with ExitStack() as stack:
        for path in sorted(paths):
            locked = _lock(path)
            if isinstance(locked, str):
                raise StoreError(
                    f"its schema is old and can't be migrated while an account is owned: end {locked}, which has locked {path}"
                )
            lock = _Lock(path, locked, frozenset())
            stack.callback(lock.release if _read(locked) is None else lock.close)
        yield


def _take(path: Path, mark: str) -> _Lock | str:
    """The lock, or who holds it."""
    locked = _lock(path)
    if isinstance(locked, str):
        return locked
    try:
        earlier = _read(locked)
        marks = () if earlier is None else earlier.marks[-_MOST_MARKS:]
        _write(locked, _Owners(os.getpid(), (*marks, mark)))
    except BaseException:
        os.close(locked)
        raise
    return _Lock(path, locked, frozenset(marks))


def _lock(path: Path) -> int | str:
    """The descriptor of the file, which is locked now, or who holds the lock."""
    import fcntl  # noqa: PLC0415 - not on every system; memory and Postgres need none of it

    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                owners = _read(descriptor)
                os.close(descriptor)
                return "another process" if owners is None else f"process {owners.process}"
            if _is_file(path, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # somebody has removed it between our opening and our locking


def _is_file(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _read(descriptor: int) -> _Owners | None:
    try:
        return msgspec.json.decode(os.pread(descriptor, _MOST_BYTES, 0), type=_Owners)
    except msgspec.MsgspecError:
        return None  # new, or its owner is just writing it


def _write(descriptor: int, owners: Any) -> None:
    text = msgspec.json.encode(owners)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text, 0)
