"""What all tests share: deterministic hypothesis runs, another profile to look for more, a PostgreSQL server, no network."""

from __future__ import annotations

import gc
import logging
import os
import ssl
from collections.abc import Generator, Iterator
from functools import cache
from pathlib import Path
from unittest import mock

import pytest
import structlog
from few_cases import few, pytest_addoption
from hypothesis import settings
from loopback_only import pytest_configure, pytest_runtest_teardown, reached_beyond
from postgres_server import OwnServer, a_schema, a_server, in_schema

__all__ = [
    "pytest_addoption",
    "pytest_configure",
    "pytest_runtest_teardown",
    "reached_beyond",
]  # pytest finds them here

settings.register_profile("ci", derandomize=True, deadline=None, database=None)
settings.register_profile("explore", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


FOLDER = Path(__file__).parent
BROWSERS = ("test_browser.py", "test_report_browser.py")
# Folders and files whose tests take longest, mostly by waiting for sockets and servers. Started first, they wait beside
# each other and beside the tests that compute.
LONGEST_FIRST = (
    FOLDER / "core" / "test_position_machine.py",
    FOLDER / "protection" / "test_postgres_outages.py",
    FOLDER / "protection" / "test_cancelled_while_recovering.py",
    FOLDER / "cli",
    FOLDER / "venues",
    FOLDER / "psycopg_trio",
    FOLDER / "stores",
    FOLDER / "simulation",
    FOLDER / "test_examples.py",
)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Let the garbage collector leave out what is there before the first test: ten thousand tests, and what they import.

    What a test makes is collected as before.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


@pytest.hookimpl(trylast=True)  # when `-m` has left tests out
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the tests that take longest first, so that the processes of a parallel run end at about the same time."""
    in_a_browser = [item for item in items if item.path.name in BROWSERS]
    if len(in_a_browser) < len(items):  # Playwright's event loop keeps trio from running in the same process afterwards
        for item in in_a_browser:
            item.add_marker(
                pytest.mark.skip(reason=f"it needs a process of its own: pytest tests/web/{item.path.name}")
            )
    if config.getoption("few_cases"):
        kept = few(items)
        config.hook.pytest_deselected(items=list(set(items) - set(kept)))
        items[:] = kept

    @cache
    def place(path: Path) -> int:
        long = (number for number, first in enumerate(LONGEST_FIRST) if path.is_relative_to(first))
        return next(long, len(LONGEST_FIRST))

    def turn(item: pytest.Item) -> tuple[int, int]:
        """The slow tests come between the waiting ones and the many short ones, which fill the end."""
        number = place(item.path)
        if item.get_closest_marker("slow") is not None:
            return 1, number
        return (0 if number < len(LONGEST_FIRST) else 2), number

    items.sort(key=turn)


@pytest.fixture(autouse=True)
def quiet_log() -> Iterator[None]:
    """Log nothing below critical, because thousands of runs would say the same. A test of the log configures it."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session", autouse=True)
def one_tls_context() -> Iterator[None]:
    """Read the certificates of the authorities once, because each client of ccxt would spend 20 ms of CPU on them.

    The venues' servers on loopback are not encrypted. No test changes the context.
    """
    with mock.patch.object(ssl, "create_default_context", cache(ssl.create_default_context)):
        yield


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
    """Start a PostgreSQL server for one test, which may kill it."""
    server = OwnServer()
    yield server
    server.close()
