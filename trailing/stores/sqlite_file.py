"""Open a SQLite file, and detect that it was deleted or replaced."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from typing import Final

from trailing.errors import StoreError
from trailing.stores.lock_file import lock_every_account
from trailing.stores.sqlite_schema import SCHEMA_VERSION, migrate_tables, read_version

BUSY_SECONDS: Final = 1.0
"""Seconds that a commit waits for a writing process before it raises StoreError."""

LOCK_SECONDS: Final = 5.0
"""Seconds that a migration waits for other processes, which own an account or migrate the same file."""


class SqliteFile:
    """An open SQLite file.

    Args:
        path: absolute, or relative to the present working directory.
        read_only: create and change nothing.

    Attributes:
        connection: the caller closes it.

    Raises:
        StoreError: naming the file: it can't be opened, is no database, belongs to another program, has a newer version, or has
            an older version while an account is owned; or (with `read_only`) it is missing, empty or of an older version.
    """

    def __init__(self, path: Path, *, read_only: bool) -> None:
        self.path: Path = path
        self._absolute = path.absolute()
        try:
            if not read_only:
                os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            address = f"{self._absolute.as_uri()}?mode={'ro' if read_only else 'rw'}"
            self.connection: sqlite3.Connection = sqlite3.connect(
                address, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                self._opened = path.stat()
                _prepare(self.connection, self._absolute, read_only=read_only)
            except BaseException:
                self.connection.close()
                raise
        except OSError as error:
            reason = error.strerror or str(error)
            if not path.parent.exists():
                reason = f"there is no folder {path.parent}"
            raise StoreError(f"{path} can't be opened: {reason}") from error
        except (sqlite3.Error, StoreError) as error:
            raise StoreError(f"{path}: {error}") from error

    def require_in_place(self) -> None:
        """Check that the path still leads to the open file.

        Raises:
            StoreError: the file was deleted or replaced. Anything written to the open file would be lost.
        """
        try:
            found = self._absolute.stat()
        except OSError as error:
            what = "was deleted" if isinstance(error, FileNotFoundError) else f"can't be reached ({error.strerror})"
            raise StoreError(f"{self.path}: the file {what} while the store was open; nothing is written") from error
        if not os.path.samestat(found, self._opened):
            raise StoreError(f"{self.path}: the file was replaced while the store was open; nothing is written")

    def require_version(self) -> None:
        """Check that no process of a newer version has migrated the tables. Raises StoreError."""
        (version,) = self.connection.execute("PRAGMA user_version").fetchone()
        if version != SCHEMA_VERSION:
            raise StoreError(
                f"{self.path}: its schema has version {version}, this trailing reads versions up to {SCHEMA_VERSION}"
            )


def _prepare(connection: sqlite3.Connection, path: Path, *, read_only: bool) -> None:
    # First the version is read, because a file of another program must not be changed. One transaction reads it, because
    # another process may be creating the tables.
    connection.execute("BEGIN")
    try:
        version = read_version(connection)
    finally:
        connection.rollback()
    if read_only:
        if version == 0:
            raise StoreError("it has no tables yet")
        if version < SCHEMA_VERSION:
            raise StoreError(
                f"its schema has the old version {version}; open it with a bot of this version to migrate it"
            )
        return
    _write_ahead(connection)
    connection.execute("PRAGMA synchronous = FULL")
    if version == 0:
        migrate_tables(connection, version)
    elif version < SCHEMA_VERSION:
        _migrate(connection, path)


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Migrate the tables of an older version, or wait until another process has migrated them."""
    give_up_at = time.monotonic() + LOCK_SECONDS
    while (version := read_version(connection)) < SCHEMA_VERSION:
        accounts = connection.execute(
            "SELECT exchange, account FROM stops UNION SELECT exchange, account FROM intents"
        ).fetchall()
        try:
            with lock_every_account(path, accounts):
                migrate_tables(connection, version)
        except StoreError:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(LOCK_SECONDS / 100)


def _write_ahead(connection: sqlite3.Connection) -> None:
    # SQLite does not wait for other processes when it turns WAL mode on, so that this does.
    give_up_at = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > give_up_at:
                raise
            time.sleep(BUSY_SECONDS / 100)
        else:
            return
