"""Copies of stores that older versions of the library wrote: see tests/data/README.md."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from postgres_server import a_schema

DATA = Path(__file__).parents[1] / "data" / "stores"


def copy_file(version: int, folder: Path) -> Path:
    """Copy the SQLite file of a version into a folder. Return its path."""
    path = folder / "old.db"
    shutil.copy(DATA / f"sqlite-{version}.sqlite", path)
    return path


@contextmanager
def copy_schema(version: int, dsn: str) -> Iterator[str]:
    """Create a Postgres schema with the tables and rows of a version. Yield its name."""
    with a_schema(dsn) as name:
        statements = (DATA / f"postgres-{version}.sql").read_text().replace("old_store", name)
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(statements.encode())
        yield name
