"""The undocumented names and behaviour of psycopg that `psycopg_trio` uses.

If a test fails with a new version of psycopg, read the changed code and adapt the package. Then extend the range of versions
in pyproject.toml and in the package's README.
"""

from __future__ import annotations

import inspect
import re
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import connection_async, conninfo, generators, pq, transaction, waiting
from psycopg._connection_base import BaseConnection

from trailing import psycopg_trio

FOLDER = Path(psycopg_trio.__file__).parent
FILES = sorted(FOLDER.glob("*.py"))

# Private names that are used: the owner, and the name.
PRIVATE: list[tuple[Any, str]] = [
    (psycopg.errors, "_WaitTimeout"),  # notifies() catches it
    (psycopg.AsyncConnection, "_try_cancel"),  # copy() and stream() clean up through it
    (BaseConnection, "_should_cancel"),
    (BaseConnection, "_check_connection_ok"),
    (transaction.BaseTransaction, "_check_enter"),
    (transaction.BaseTransaction, "_enter_gen"),
    (transaction.BaseTransaction, "_exit_gen"),
]
# Attributes of connections, which only psycopg's source shows.
ATTRIBUTES = {"_adapters", "_pipeline"}
# The package's own names.
OURS = {
    "_connect_to_any",
    "_end_query",
    "_drain",
    "_cancel_by_other_connection",
    "_unlisten",
    "_conn",
    "_roll_back",
    "_empty",
    "_connection",
}
# Public names that psycopg does not document.
UNDOCUMENTED: list[tuple[Any, str]] = [
    (psycopg.AsyncConnection, "wait"),
    (conninfo, "conninfo_attempts"),
    (conninfo, "timeout_from_conninfo"),
    (generators, "connect"),
    (generators, "cancel"),
    (generators, "fetch_many"),
    (generators, "notifies"),
    (generators, "copy_end"),
    (generators, "copy_from"),
    (waiting, "Ready"),
    (waiting, "Wait"),
    (pq.Conninfo, "get_defaults"),
    (pq.PGconn, "info"),
]


def test_the_installed_version_is_in_the_supported_range() -> None:
    (wanted,) = [text for text in requires("trailing") or [] if text.startswith("psycopg")]
    assert re.search(r"<3\.4\b.*>=3\.3\.7|>=3\.3\.7\b.*<3\.4", wanted)
    assert (3, 3, 7) <= tuple(int(part) for part in version("psycopg").split(".")[:3]) < (3, 4)
    assert "psycopg[binary]>=3.3.7,<3.4" in (FOLDER / "README.md").read_text()


@pytest.mark.parametrize(("owner", "name"), [*PRIVATE, *UNDOCUMENTED])
def test_each_undocumented_name_exists(owner: Any, name: str) -> None:
    assert hasattr(owner, name)


def test_every_private_name_that_is_used_is_listed_here() -> None:
    named = {name for _, name in PRIVATE} | ATTRIBUTES | OURS
    used = {
        match
        for path in FILES
        if path.name != "pool.py"  # its private names are its own
        for match in re.findall(r"\.(_[a-z]\w*)", path.read_text())
    }
    own = {
        match for path in FILES for match in re.findall(r"self\.(_\w+)(?::[^=]+)? = ", path.read_text())
    } - ATTRIBUTES
    assert used - own - named - {"_received"} == set()
    assert {name for _, name in PRIVATE} | ATTRIBUTES <= used | {"_WaitTimeout"}


def test_psycopg_only_enters_and_leaves_the_lock_of_a_connection() -> None:
    source = inspect.getsource(connection_async)
    assert "self.lock = ALock()" in source
    assert set(re.findall(r"self\.lock\.(\w+)", source)) == set()
    assert "async with self.lock:" in source


def test_every_method_that_waits_through_asyncio_is_overridden() -> None:
    functions = {
        name
        for kind in (inspect.isfunction, inspect.ismethod)
        for name, function in inspect.getmembers(psycopg.AsyncConnection, kind)
        if name != "__class_getitem__"
        and re.search(r"\bwaiting\.|\basyncio\.|conninfo_attempts_async", inspect.getsource(function))
    }
    assert functions == {"connect", "wait", "cancel_safe"}
    assert functions <= set(vars(psycopg_trio.TrioConnection))


def test_the_source_of_each_overridden_method_still_has_the_lines_that_the_package_copies() -> None:
    # The package has its own version of these. A new step in psycopg's version would be missing there.
    rewritten: dict[Any, tuple[str, ...]] = {
        psycopg.AsyncConnection.pipeline: ("self._pipeline", "AsyncPipeline(self)", "pipeline.level == 0"),
        psycopg.AsyncConnection.transaction: (
            "AsyncTransaction(self, savepoint_name, force_rollback)",
            "self.pipeline()",
        ),
        psycopg.AsyncTransaction.__aenter__: ("self._check_enter()", "self._enter_gen()", "self._exit_gen("),
        psycopg.AsyncConnection.connect: (
            "prepare_threshold",
            "row_factory",
            "cursor_factory",
            "_adapters",
            "_autocommit",
        ),
    }
    for function, lines in rewritten.items():
        source = inspect.getsource(function)
        assert [line for line in lines if line not in source] == []


def test_generators_wait_for_readable_writable_or_either() -> None:
    assert [int(wait) for wait in (waiting.Wait.R, waiting.Wait.W, waiting.Wait.RW)] == [1, 2, 3]
    assert [int(ready) for ready in (waiting.Ready.NONE, waiting.Ready.R, waiting.Ready.W, waiting.Ready.RW)] == [
        0,
        1,
        2,
        3,
    ]


def test_every_implementation_of_psycopg_is_supported() -> None:
    assert pq.__impl__ in {"binary", "c", "python"}
