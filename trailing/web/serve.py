"""Serve the page of a manager, or of a store alone."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import trio

from trailing.errors import UsageError
from trailing.extras import require_extra
from trailing.protection.manager import Manager
from trailing.stores.port import Store
from trailing.web.access import Guard, check_token
from trailing.web.addresses import BIND, parse_bind, url_of
from trailing.web.metrics import Metrics
from trailing.web.sources import ManagerSource, Source
from trailing.web.stored import StoreSource

AGAIN_SECONDS: Final = 1.0
"""Seconds after an error of the page's own until it goes on."""


async def serve(  # noqa: ASYNC128 - `_serve` calls it
    manager: Manager,
    *,
    bind: str = BIND,
    token: str | None = None,
    hosts: Collection[str] = (),
    metrics: Metrics | None = None,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the read-only page and the metrics of a manager, until it is cancelled.

    Start it in a nursery inside the manager's block: ``await nursery.start(trailing.web.serve, manager)`` returns the
    page's URL once the page can be opened. An error of the page is logged and never raised after that, so that it does
    not end the bot.

    Args:
        manager: whose positions are shown.
        bind: ``"HOST:PORT"``; port 0 takes a free one.
        token: every request for data must carry it. It is needed unless `bind` is a loopback address.
        hosts: further names under which browsers may reach the page, as behind a proxy. They need a token.
        metrics: whose `measure` the manager's exchange went through; None: there are no metrics of requests.

    Raises:
        UsageError: an argument can't be right, an extra is not installed, or the address can't be bound.

    Cancellation: closes all connections and ends.
    """
    metrics = metrics or Metrics()
    source = ManagerSource(manager, metrics)
    await _serve(source, metrics, bind=bind, token=token, hosts=hosts, task_status=task_status)


async def serve_store(  # noqa: ASYNC128 - `_serve` calls it
    store: Store,
    *,
    bind: str = BIND,
    token: str | None = None,
    hosts: Collection[str] = (),
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the page of a store that a bot in another process writes, until it is cancelled.

    It shows the last acknowledged stops, their age, and the state of the lease. Prices are known only to the bot.

    Args:
        store: opened to read only.
        bind, token, hosts: as in `serve`.

    Raises:
        UsageError: as in `serve`.

    Cancellation: closes all connections and ends.
    """
    await _serve(StoreSource(store), Metrics(), bind=bind, token=token, hosts=hosts, task_status=task_status)


def check_extra() -> None:
    """Raise UsageError if the extra `web` is not installed. The message says what to install."""
    require_extra("web", "starlette", "hypercorn", "prometheus_client")


async def _serve(
    source: Source,
    metrics: Metrics,
    *,
    bind: str,
    token: str | None,
    hosts: Collection[str],
    task_status: trio.TaskStatus[str],
) -> None:
    host, port = parse_bind(bind)
    check_token(host, token)
    if hosts and token is None:
        raise UsageError("hosts wants a token, because a proxy may pass requests of other machines on")
    check_extra()
    import structlog  # noqa: PLC0415 - importing it takes 0.1 s

    from trailing.web.app import make_app  # noqa: PLC0415 - an extra
    from trailing.web.server import serve_app  # noqa: PLC0415 - an extra

    log = structlog.get_logger("trailing.web")

    def report(error: Exception) -> None:
        log.error("the page failed", error=f"{type(error).__name__}: {error}")

    async def keep_running() -> None:
        while True:
            try:
                await source.run()
            except Exception as error:
                report(error)
            await trio.sleep(AGAIN_SECONDS)

    guard = Guard(make_app(source, metrics), host=host, hosts=hosts, token=token, log=report)
    try:
        listeners = await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        raise UsageError(f"bind {bind}: {error.strerror or error}") from error
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_running)
        task_status.started(url_of(host, listeners[0].socket.getsockname()[1]))
        await serve_app(guard, listeners, report)
