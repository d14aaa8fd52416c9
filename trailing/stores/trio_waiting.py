"""Waiting for psycopg's generators on trio.

psycopg says what it wants to do in generators that yield "wait until the socket can be read, or written" and take what
became ready. These functions are the waiting; they know nothing else of Postgres.
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
"""How long operations that never have to wait, as the rows of a COPY, keep other tasks from running; as in psycopg."""

_Selector: type[selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.SelectSelector)


async def drive(generator: PQGen[T], fileno: int, *, has_begun: bool = False) -> T:
    """Drive a generator of an established connection to its end.

    Args:
        has_begun: its driving was cancelled while it waited; it goes on there.

    Returns:
        What the generator returns.

    Raises:
        psycopg.OperationalError: the socket was closed meanwhile.
        BaseException: what the generator raises.

    Cancellation: while it waits for the socket, or before a look at it; a generator that never waits is not interrupted.
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
    """Drive a generator that connects, or cancels, to its end: it says with each wish which socket it means.

    Returns, Raises, Cancellation: see `drive`. Whoever does not go on with the generator closes it.
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
    """Wait until a socket is ready for one of the wanted.

    Raises:
        psycopg.OperationalError: the socket is closed.
        trio.BusyResourceError: another task waits for the same.
    """
    try:
        if wanted == Wait.R:
            await trio.lowlevel.wait_readable(fileno)
            _note_others_ran()
            return Ready.R
        # What is to be written goes into the socket's buffer at once, most of the time.
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
    global _others_ran_at  # noqa: PLW0603  # of the process, as what it keeps waiting is
    _others_ran_at = time.monotonic()


async def _let_others_run(*, shield: bool = False) -> None:
    """Make a checkpoint, unless there was one a moment ago; shielded, what has been done can't be cancelled any more."""
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
        # Two tasks that were cancelled come in a group; whoever waits looks for the one Cancelled.
        await trio.lowlevel.checkpoint_if_cancelled()
        raise
    if closed is not None:
        raise closed
    return ready


async def find_attempts(params: ConnDict, seconds: float) -> list[ConnDict]:
    """The attempts that connecting is made of, in their order: one for each address of each host.

    Names are looked up by trio, so that they go through its hostname resolver where one is set. psycopg's own function
    does the rest, which finds every host with its address then.

    Args:
        seconds: how long one name may take.

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
    names, numbers, their_ports = (",".join(column) for column in zip(*found, strict=True))
    return conninfo.conninfo_attempts({**params, "host": names, "hostaddr": numbers, "port": their_ports})


async def _find_addresses(host: str, port: str, seconds: float) -> Sequence[str]:
    """The addresses of a host; of a socket's folder, an empty one."""
    if not host or host.startswith(("/", "@")) or host[1:2] == ":":
        return [""]
    with trio.move_on_after(seconds) as looking:
        answers = await trio.socket.getaddrinfo(
            host, port or None, type=trio.socket.SOCK_STREAM, proto=trio.socket.IPPROTO_TCP
        )
    if looking.cancelled_caught:
        raise TimeoutError(f"no answer within {seconds} s")
    return [str(answer[4][0]) for answer in answers]


def _param(params: ConnDict, name: str) -> str:
    """A parameter: the given one, or libpq's default, which looks at the environment."""
    if name in params:
        return str(params[name])
    defaults: dict[str, Any] = {option.keyword.decode(): option.val for option in pq.Conninfo.get_defaults()}
    return (defaults.get(name) or b"").decode()
