"""Connections to PostgreSQL for the tests of `psycopg_trio`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from trailing.psycopg_trio import TrioConnection


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[TrioConnection[Any]]:
    async with await TrioConnection[Any].connect(dsn) as connection:
        yield connection


@pytest.fixture
async def autocommit(dsn: str) -> AsyncIterator[TrioConnection[Any]]:
    async with await TrioConnection[Any].connect(dsn, autocommit=True) as connection:
        yield connection
