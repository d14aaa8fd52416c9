"""All that the trio modules rely on in psycopg without its documentation promising it.

Where one of these fails with a new psycopg: look at what it does now, mend the modules, and only then let the range of
versions in pyproject.toml grow.
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

import trailing.stores.trio_psycopg

FOLDER = Path(trailing.stores.trio_psycopg.__file__).parent
TRIO_FILES = sorted(FOLDER.glob("trio_*.py"))

# Private, and used: where it is, and as what.
PRIVATE: list[tuple[Any, str]] = [
    (psycopg.errors, "_WaitTimeout"),  # notifies() ends at it
    (psycopg.AsyncConnection, "_try_cancel"),  # copy() and stream() clean up through it
    (BaseConnection, "_should_cancel"),
    (BaseConnection, "_check_connection_ok"),
    (transaction.BaseTransaction, "_check_enter"),
    (transaction.BaseTransaction, "_enter_gen"),
    (transaction.BaseTransaction, "_exit_gen"),
]
# Set on each connection and used, so that only the source shows them.
ATTRIBUTES = {"_adapters", "_pipeline"}
# Our own, or of the structs of Python.
OURS = {
    "_connect_to_any",
    "_end_query",
    "_drain",
    "_cancel_from_beside",
    "_unlisten",
    "_conn",
    "_roll_back",
    "_empty",
    "_connection",
}
# Public by name, in no documentation.
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


def test_the_version_is_one_that_these_modules_were_made_for() -> None:
    (wanted,) = [text for text in requires("trailing") or [] if text.startswith("psycopg")]
    assert re.search(r"<3\.4\b.*>=3\.3\.7|>=3\.3\.7\b.*<3\.4", wanted)
    assert (3, 3, 7) <= tuple(int(part) for part in version("psycopg").split(".")[:3]) < (3, 4)


@pytest.mark.parametrize(("owner", "name"), [*PRIVATE, *UNDOCUMENTED])
def test_what_is_relied_on_is_there(owner: Any, name: str) -> None:
    assert hasattr(owner, name)


def test_nothing_private_is_used_that_is_not_named_here() -> None:
    named = {name for _, name in PRIVATE} | ATTRIBUTES | OURS
    used = {
        match
        for path in TRIO_FILES
        if path.name != "trio_pool.py"  # all that is private there is its own
        for match in re.findall(r"\.(_[a-z]\w*)", path.read_text())
    }
    own = {
        match for path in TRIO_FILES for match in re.findall(r"self\.(_\w+)(?::[^=]+)? = ", path.read_text())
    } - ATTRIBUTES
    assert used - own - named - {"_received"} == set()
    assert {name for _, name in PRIVATE} | ATTRIBUTES <= used | {"_WaitTimeout"}


def test_connections_take_turns_by_entering_their_lock() -> None:
    source = inspect.getsource(connection_async)
    assert "self.lock = ALock()" in source
    assert set(re.findall(r"self\.lock\.(\w+)", source)) == set()
    assert "async with self.lock:" in source


def test_a_connection_waits_through_its_own_methods_and_for_asyncio_only_where_these_are_replaced() -> None:
    functions = {
        name
        for kind in (inspect.isfunction, inspect.ismethod)
        for name, function in inspect.getmembers(psycopg.AsyncConnection, kind)
        if name != "__class_getitem__"
        and re.search(r"\bwaiting\.|\basyncio\.|conninfo_attempts_async", inspect.getsource(function))
    }
    assert functions == {"connect", "wait", "cancel_safe"}
    assert functions <= set(vars(trailing.stores.trio_psycopg.TrioConnection))


def test_blocks_that_are_replaced_do_what_they_did() -> None:
    # These are written anew beside psycopg's; what they left out would be missed here.
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


def test_generators_wait_for_reading_writing_or_either() -> None:
    assert [int(wait) for wait in (waiting.Wait.R, waiting.Wait.W, waiting.Wait.RW)] == [1, 2, 3]
    assert [int(ready) for ready in (waiting.Ready.NONE, waiting.Ready.R, waiting.Ready.W, waiting.Ready.RW)] == [
        0,
        1,
        2,
        3,
    ]


def test_the_accelerated_and_the_plain_generators_are_the_same_to_us() -> None:
    assert pq.__impl__ in {"binary", "c", "python"}
