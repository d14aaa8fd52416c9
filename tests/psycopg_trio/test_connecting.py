"""Connecting: several hosts, name lookup by trio, time limits, and passwords that appear nowhere."""

from __future__ import annotations

import logging
import socket
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import trio
from loopback import open_network
from psycopg.conninfo import conninfo_to_dict

from trailing.psycopg_trio import TrioConnection, open_pool

Connection = TrioConnection[Any]
PASSWORD = "hunter2"


class Names(trio.abc.HostnameResolver):
    """A resolver for names that the system does not know."""

    def __init__(self, addresses: dict[str, list[str]]) -> None:
        self.addresses = addresses

    async def getaddrinfo(
        self,
        host: Any,
        port: Any,
        family: int = 0,
        type: int = 0,  # noqa: A002 - trio's name
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        await trio.lowlevel.checkpoint()
        name = host.decode() if isinstance(host, bytes) else host
        if name == "slow.test":
            await trio.sleep_forever()
        if name not in self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "not known here")
        return [
            (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, int(port or 0)))
            for address in self.addresses[name]
        ]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
        raise NotImplementedError


def user_of(dsn: str) -> dict[str, Any]:
    return {key: value for key, value in conninfo_to_dict(dsn).items() if key in ("user", "password", "dbname")}


@asynccontextmanager
async def silent() -> AsyncIterator[int]:
    """Listen on a port that accepts connections and sends nothing."""
    with trio.socket.socket() as listening:
        await listening.bind(("127.0.0.1", 0))
        listening.listen(10)
        yield listening.getsockname()[1]


def unused_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


async def test_names_are_looked_up_by_trio_and_every_address_is_tried(dsn: str) -> None:
    trio.socket.set_custom_hostname_resolver(Names({"db.test": ["127.0.0.9", "127.0.0.1"]}))
    async with (
        open_network(dsn) as network,
        await Connection.connect(network.dsn, host="db.test") as connection,
    ):
        assert connection.info.host == "db.test"
        assert connection.info.hostaddr == "127.0.0.1"


async def test_the_first_host_that_answers_is_used(dsn: str) -> None:
    trio.socket.set_custom_hostname_resolver(Names({"db.test": ["127.0.0.1"]}))
    async with open_network(dsn) as network:
        port = conninfo_to_dict(network.dsn)["port"]
        hosts: dict[str, Any] = {"host": "unknown.test,127.0.0.1,db.test", "port": f"{port},{unused_port()},{port}"}
        async with await Connection.connect(**hosts, **user_of(dsn)) as connection:
            assert connection.info.host == "db.test"


async def test_a_silent_server_is_abandoned_after_connect_timeout(dsn: str) -> None:
    async with silent() as port, open_network(dsn) as network:
        good = conninfo_to_dict(network.dsn)["port"]
        hosts: dict[str, Any] = {"host": "127.0.0.1,127.0.0.1", "port": f"{port},{good}", "connect_timeout": "1"}
        started = trio.current_time()
        async with await Connection.connect(**hosts, **user_of(dsn)):
            assert 1.9 < trio.current_time() - started < 4  # libpq raises 1 to 2
    async with silent() as port:
        with pytest.raises(psycopg.errors.ConnectionTimeout):
            await Connection.connect(host="127.0.0.1", port=port, connect_timeout=2, **user_of(dsn))


async def test_a_name_lookup_has_a_time_limit(dsn: str, autojump_clock: object) -> None:
    trio.socket.set_custom_hostname_resolver(Names({}))
    with pytest.raises(psycopg.OperationalError, match="no answer within 3 s"):
        await Connection.connect("host=slow.test connect_timeout=3")
    assert trio.current_time() == 3


@pytest.mark.parametrize(
    ("conninfo", "error"),
    [
        ("host=unknown.test", "failed to resolve host 'unknown.test'"),
        ("host=a.test,b.test port=1,2,3", "could not match 3 port numbers to 2 hosts"),
        ("host=127.0.0.1,127.0.0.1 port={0}", "Every attempt failed"),
    ],
)
async def test_if_no_server_answers_the_error_lists_the_attempts(conninfo: str, error: str) -> None:
    trio.socket.set_custom_hostname_resolver(Names({}))
    with pytest.raises(psycopg.OperationalError, match=error):
        await Connection.connect(conninfo.format(unused_port()))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the system does not list open files")
async def test_a_cancelled_connect_leaves_no_socket_open(dsn: str) -> None:
    async with silent() as port:
        before = open_descriptors()
        with trio.move_on_after(0.1) as scope:
            await Connection.connect(host="127.0.0.1", port=port, **user_of(dsn))
        assert scope.cancelled_caught
        assert open_descriptors() == before


def open_descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


@pytest.mark.parametrize(
    "conninfo",
    [
        f"postgresql://bot:{PASSWORD}@127.0.0.1:1/db",
        f"postgresql://bot:{PASSWORD}@unknown.test/db",
        f"postgresql://bot:{PASSWORD}@unknown.test/db?no_such_option=1",
        f"postgresql://bot:%zz{PASSWORD}@127.0.0.1/db",
        f"postgresql://bot:a@{PASSWORD}@127.0.0.1/db",
        f"postgresql://bot:a/{PASSWORD}@127.0.0.1/db",
        f"postgresql://bot:{PASSWORD}/b@127.0.0.1/db",
        f"postgresql://bot@127.0.0.1:{PASSWORD}/db",
        f"host=127.0.0.1 port=1 password={PASSWORD}",
        f"host={PASSWORD} port=1 password={PASSWORD}",
        f"host=127.0.0.1 port=1 password='{PASSWORD}",
        PASSWORD,
    ],
)
async def test_a_password_shows_in_no_error_and_no_log(conninfo: str, caplog: pytest.LogCaptureFixture) -> None:
    trio.socket.set_custom_hostname_resolver(Names({}))
    caplog.set_level(logging.DEBUG)
    with pytest.raises(psycopg.Error) as e:
        await Connection.connect(conninfo)
    assert PASSWORD not in "".join(traceback.format_exception(e.value)).replace(repr(conninfo), "")
    assert PASSWORD not in str(e.value)
    assert PASSWORD not in caplog.text
    with pytest.raises(psycopg.Error) as e:
        async with open_pool(conninfo):
            pass
    assert PASSWORD not in str(e.value)


async def test_a_password_shows_in_no_repr(dsn: str) -> None:
    params = {**conninfo_to_dict(dsn), "password": conninfo_to_dict(dsn).get("password", PASSWORD)}
    conninfo = psycopg.conninfo.make_conninfo("", **params)
    async with open_pool(conninfo) as pool, pool.connection() as connection:
        assert str(params["password"]) not in repr(pool) + repr(connection) + repr(connection.info)


async def test_a_connection_that_is_cancelled_in_its_last_step_is_closed(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Connection] = []
    scope = trio.CancelScope()

    async def cancelled(self: Connection, value: bool) -> None:
        opened.append(self)
        scope.cancel()
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(TrioConnection, "set_autocommit", cancelled)
    with scope:
        await Connection.connect(dsn)
    assert scope.cancelled_caught
    assert [connection.closed for connection in opened] == [True]
