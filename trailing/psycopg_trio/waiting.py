"""Drive psycopg's generators with trio.

psycopg writes each operation as a generator. It yields what to wait for, that the socket is readable or writable, and gets
sent what became ready. These functions do the waiting.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

import psycopg
import trio
from psycopg import conninfo, pq
from psycopg.abc import ConnDict, PQGen, PQGenConn
from psycopg.waiting import Ready, Wait

T = TypeVar("T")

BUSY_SECONDS: Final = 0.005
"""Seconds after which an operation that never waits, such as writing rows in a COPY, lets other tasks run; as in psycopg."""

_Selector: type[selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.SelectSelector)


async def drive(generator: PQGen[T], fileno: int, *, has_begun: bool = False) -> T:
    """Drive a generator of an established connection to its end.

    Args:
        fileno: the connection's socket.
        has_begun: an earlier call was cancelled while it waited; continue from there.

    Returns:
        The value that the generator returns.

    Raises:
        psycopg.OperationalError: the socket was closed.
        BaseException: as raised by the generator.

    Cancellation: raises while waiting for the socket or before polling it. A generator that never waits is not interrupted.
    """
    try:
        wanted = generator.send(Ready.NONE) if has_begun else next(generator)
    except StopIteration as end:
        await _let_others_run(shield=True)
        result: T = end.value
        return result
    try:
        while True:
            ready = await wait_ready(fileno, wanted)
            wanted = generator.send(ready)
    except StopIteration as end:
        value: T = end.value
        return value


async def drive_connecting(generator: PQGenConn[T]) -> T:
    """Drive a generator that connects or cancels to its end. It yields its socket each time, because that may change.

    Returns, Raises, Cancellation: see `drive`. The caller closes the generator.
    """
    try:
        fileno, wanted = next(generator)
        while True:
            ready = await wait_ready(fileno, wanted)
            fileno, wanted = generator.send(ready)
    except StopIteration as end:
        value: T = end.value
        return value


async def wait_ready(fileno: int, wanted: int) -> Ready:
    """Wait until a socket is readable or writable, as wanted. Return which it is.

    Raises:
        psycopg.OperationalError: the socket is closed.
        trio.BusyResourceError: another task waits for the same socket.
    """
    try:
        if wanted == Wait.R:
            await trio.lowlevel.wait_readable(fileno)
            _note_others_ran()
            return Ready.R
        # The socket's buffer has room most of the time, so that polling saves a turn of the loop.
        await _let_others_run()
        ready = _poll(fileno, wanted)
        if ready:
            return ready
        if wanted == Wait.W:
            await trio.lowlevel.wait_writable(fileno)
            _note_others_ran()
            return Ready.W
        ready = await _wait_either(fileno)
        _note_others_ran()
        return ready
    except (OSError, ValueError, trio.ClosedResourceError) as error:
        raise psycopg.OperationalError("the connection's socket was closed") from error


_others_ran_at = 0.0


def _note_others_ran() -> None:
    global _others_ran_at  # noqa: PLW0603  # one time for the process, because all tasks share its loop
    _others_ran_at = time.monotonic()


async def _let_others_run(*, shield: bool = False) -> None:
    """Make a checkpoint unless the last one is less than `BUSY_SECONDS` ago. With `shield`, it does not raise Cancelled."""
    if time.monotonic() - _others_ran_at >= BUSY_SECONDS:
        if shield:
            await trio.lowlevel.cancel_shielded_checkpoint()
        else:
            await trio.lowlevel.checkpoint()
        _note_others_ran()


def _poll(fileno: int, wanted: int) -> Ready:
    with _Selector() as selector:
        selector.register(fileno, wanted)
        found = selector.select(0)
    return Ready(found[0][1]) if found else Ready.NONE


async def _wait_either(fileno: int) -> Ready:
    ready = Ready.NONE
    closed: Exception | None = None

    async def watch(wait: Callable[[int], Awaitable[None]], flag: Ready) -> None:
        nonlocal ready, closed
        try:
            await wait(fileno)
        except (OSError, trio.ClosedResourceError) as error:
            closed = error
        else:
            ready = Ready(ready | flag)
        nursery.cancel_scope.cancel()

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch, trio.lowlevel.wait_readable, Ready.R)
            nursery.start_soon(watch, trio.lowlevel.wait_writable, Ready.W)
    except BaseExceptionGroup:
        # Both tasks were cancelled, which raises a group; the caller expects a single Cancelled.
        await trio.lowlevel.checkpoint_if_cancelled()
        raise
    if closed is not None:
        raise closed
    return ready


async def find_attempts(params: ConnDict, seconds: float) -> list[ConnDict]:
    """Return the parameters of each attempt to connect, one for each address of each host.

    trio looks the names up, with its custom hostname resolver if one is set. psycopg's own function does the rest; it finds
    an address with each host then.

    Args:
        seconds: time limit for each name.

    Raises:
        psycopg.OperationalError: no host has an address, or the numbers of hosts, addresses and ports don't match.
    """
    host, addresses, port = (_param(params, name) for name in ("host", "hostaddr", "port"))
    if not host or addresses:
        return conninfo.conninfo_attempts(params)
    hosts, ports = host.split(","), port.split(",")
    if len(ports) not in (1, len(hosts)):
        raise psycopg.OperationalError(f"could not match {len(ports)} port numbers to {len(hosts)} hosts")
    found: list[tuple[str, str, str]] = []
    failure = psycopg.OperationalError("no host")
    for name, its_port in zip(hosts, ports if len(ports) == len(hosts) else ports * len(hosts), strict=True):
        try:
            found += [(name, address, its_port) for address in await _find_addresses(name, its_port, seconds)]
        except OSError as error:
            failure = psycopg.OperationalError(f"failed to resolve host {name!r}: {error}")
    if not found:
        raise failure
    names, numbers, all_ports = (",".join(column) for column in zip(*found, strict=True))
    return conninfo.conninfo_attempts({**params, "host": names, "hostaddr": numbers, "port": all_ports})


async def _find_addresses(host: str, port: str, seconds: float) -> Sequence[str]:
    """Return the addresses of a host. The folder of a Unix socket has one empty address."""
    if not host or host.startswith(("/", "@")) or host[1:2] == ":":
        return [""]
    with trio.move_on_after(seconds) as lookup:
        answers = await trio.socket.getaddrinfo(
            host, port or None, type=trio.socket.SOCK_STREAM, proto=trio.socket.IPPROTO_TCP
        )
    if lookup.cancelled_caught:
        raise TimeoutError(f"no answer within {seconds} s")
    return [str(answer[4][0]) for answer in answers]


def _param(params: ConnDict, name: str) -> str:
    """Return a parameter, or libpq's default, which may come from the environment."""
    if name in params:
        return str(params[name])
    defaults: dict[str, Any] = {option.keyword.decode(): option.val for option in pq.Conninfo.get_defaults()}
    return (defaults.get(name) or b"").decode()
