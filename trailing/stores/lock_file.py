"""Own accounts by lock files: one process of this machine at a time.

The kernel locks the open file (``flock``) and releases it when the process ends. It does not work on network file systems.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import quote

import msgspec
import trio

from trailing.errors import LeaseLost, StoreError
from trailing.stores.leases import Commit, ProcessLease

POLL_SECONDS = 0.25
"""Seconds between two tries to lock the file. Waiting for the lock in a thread could not be cancelled."""

_TRIES = 3
"""Tries to lock a file. `find_owner` of another process locks it for a moment, which must refuse no owner that starts."""

_LOOK_SECONDS = 0.02
"""Seconds between two of these tries. `find_owner` needs far less."""

_MAX_MARKS = 100
_MAX_BYTES = 10_000


class _LockContent(msgspec.Struct, frozen=True):
    """The content of the file: the owner's process, its mark, and the marks of killed owners before."""

    process: int
    marks: tuple[str, ...]


@asynccontextmanager
async def lock_account(
    database: Path, exchange: str, account: str, *, commit: Commit, mark: str, standby: bool
) -> AsyncIterator[ProcessLease]:
    """Own an account until the block ends, by locking a file beside the database.

    The file is removed at the end. A killed process leaves the file, but not the lock.

    Args:
        commit: the commit function of the store.
        mark: is written to the file. The lease has the marks of the last hundred owners that were killed.
        standby: wait until the file is not locked.

    Raises:
        LeaseLost: another process owns the account, or this process through another store, and `standby` is False.
        StoreError: naming the file: it can't be locked.
    """
    path = _path(database, exchange, account)
    while True:
        try:
            # The thread is not abandoned on cancellation, so that its lock is always released.
            taken = await trio.to_thread.run_sync(_take, path, mark)
        except OSError as error:
            raise StoreError(f"{path} can't be locked: {error.strerror or error}") from error
        if isinstance(taken, _Lock):
            break
        if not standby:
            raise LeaseLost(f"{exchange} {account} is owned by {taken}: {path} is locked")
        await trio.sleep(POLL_SECONDS)
    lease = ProcessLease(commit, f"{exchange} {account}", taken.marks)
    try:
        yield lease
    finally:
        lease.end()
        taken.release()


async def find_owner(database: Path, exchange: str, account: str) -> str | None:
    """Return the process that has locked an account; None: none has.

    Raises:
        StoreError: naming the file: it can't be read.
    """
    path = _path(database, exchange, account)
    try:
        return await trio.to_thread.run_sync(_find_owner, path)
    except OSError as error:
        raise StoreError(f"{path} can't be read: {error.strerror or error}") from error


def _find_owner(path: Path) -> str | None:
    import fcntl  # noqa: PLC0415 - as in `_lock`

    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        # Not whether its process runs: the number may be of another pid namespace, as in a container.
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _holder(_read(descriptor))
        return None
    finally:
        os.close(descriptor)


def _holder(content: _LockContent | None) -> str:
    return "another process" if content is None else f"process {content.process}"


def _path(database: Path, exchange: str, account: str) -> Path:
    # Quoted, so that a name can't lead to another folder and each account has its own file.
    return database.with_name(f"{database.name}-lease-{quote(account, safe='')}@{quote(exchange, safe='')}")


class _Lock(msgspec.Struct, frozen=True):
    path: Path
    descriptor: int
    marks: frozenset[str]

    def release(self) -> None:
        # Removed while it is locked. A process that has opened it meanwhile finds that its path leads to another file.
        try:
            self.path.unlink(missing_ok=True)
        finally:
            self.close()

    def close(self) -> None:
        os.close(self.descriptor)


@contextmanager
def lock_every_account(database: Path, accounts: Iterable[tuple[str, str]]) -> Iterator[None]:
    """Own the given accounts, and all with a lock file, until the block ends.

    The lock files keep their content.

    Args:
        accounts: pairs of exchange and account.

    Raises:
        StoreError: another process owns an account.
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
    """Lock the file and add a mark. Return the lock, or its holder if it is locked."""
    locked = _lock(path)
    if isinstance(locked, str):
        return locked
    try:
        earlier = _read(locked)
        marks = () if earlier is None else earlier.marks[-_MAX_MARKS:]
        _write(locked, _LockContent(os.getpid(), (*marks, mark)))
    except BaseException:
        os.close(locked)
        raise
    return _Lock(path, locked, frozenset(marks))


def _lock(path: Path) -> int | str:
    """Lock the file. Return its descriptor, or the holder of the lock if it is locked."""
    import fcntl  # noqa: PLC0415 - missing on some systems; memory and Postgres do not need it

    tries = 0
    while True:
        if tries:
            time.sleep(_LOOK_SECONDS)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                tries += 1
                if tries == _TRIES:
                    content = _read(descriptor)
                    os.close(descriptor)
                    return _holder(content)
                os.close(descriptor)
                continue
            if _is_file(path, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # the file was removed between opening and locking it


def _is_file(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _read(descriptor: int) -> _LockContent | None:
    try:
        return msgspec.json.decode(os.pread(descriptor, _MAX_BYTES, 0), type=_LockContent)
    except msgspec.MsgspecError:
        return None  # the file is new, or its owner is writing it


def _write(descriptor: int, content: _LockContent) -> None:
    text = msgspec.json.encode(content)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text, 0)
