"""What all tests share: deterministic hypothesis runs, another profile to look for more, a PostgreSQL server, no network."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings
from loopback_only import pytest_configure, pytest_runtest_teardown, reached_beyond
from postgres_server import OwnServer, a_schema, a_server, in_schema

__all__ = ["pytest_configure", "pytest_runtest_teardown", "reached_beyond"]  # pytest finds them here

settings.register_profile("ci", derandomize=True, deadline=None, database=None)
settings.register_profile("explore", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(autouse=True)
def quiet_log() -> Iterator[None]:
    """Log nothing below critical, because thousands of runs would say the same. A test of the log configures it."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def dsn() -> Iterator[str]:
    """The address of a PostgreSQL server."""
    with a_server() as address:
        yield address


@pytest.fixture
def postgres_url(dsn: str) -> Iterator[str]:
    """The address of a store on that server, in a schema of its own that is not there yet."""
    with a_schema(dsn) as schema:
        yield in_schema(dsn, schema)


@pytest.fixture
def own_server() -> Iterator[OwnServer]:
    """A PostgreSQL server that nobody else uses, to be killed."""
    server = OwnServer()
    yield server
    server.close()
