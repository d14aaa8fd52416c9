"""Open a whole bot as its configuration says."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import trio

from trailing.config.settings import BotConfig, VenueSettings, WebSettings, read_config
from trailing.core.model import Tick
from trailing.core.plan import TrailPlan
from trailing.exchanges.ccxt.credentials import Credentials
from trailing.exchanges.ccxt.opening import open_ccxt
from trailing.exchanges.paper import open_paper
from trailing.exchanges.port import Exchange
from trailing.flatten.close_signal import close_all_on_signal
from trailing.protection.manager import Manager, open_manager
from trailing.services import open_service_nursery
from trailing.stores import open_store
from trailing.stores.port import Store

if TYPE_CHECKING:
    from trailing.alerts import Alerts

CLOSING_SECONDS: Final = 20.0
"""Seconds that all but the manager may take to end: the lease 2, the store 5, the exchange 4 and the last alerts 5, with some
more for a busy machine."""


@dataclass(frozen=True)  # msgspec would look up `Alerts`, which is imported only when it is used
class Bot:
    """What `open_from_config` opened.

    Args:
        config: what the file says.
        alerts, exchange, store, manager: the parts, in the order in which they were opened.
        page: the URL of the page; None: the file has no section `web`.
    """

    config: BotConfig
    alerts: Alerts
    exchange: Exchange
    store: Store
    manager: Manager
    page: str | None = None


@asynccontextmanager
async def open_from_config(
    path: str | os.PathLike[str],
    *,
    ticks: trio.abc.ReceiveChannel[Tick] | None = None,
    take_over: bool = False,
    configure: Callable[[Any], object] | None = None,
) -> AsyncIterator[Bot]:
    """Open alerts, exchange, store and manager as a configuration says, until the block ends.

    The alerts are opened first, so that they report how the others end. SIGUSR1 twice within 5 s closes every position, as
    `close_all_on_signal` does, so call this from the main thread.

    Args:
        path: of the file; see `read_config`. Credentials are read from the environment or from the private files that it
            names.
        ticks, take_over: as for `open_manager`.
        configure: as for `open_ccxt`; the paper exchange does not call it.

    Raises:
        UsageError: the configuration or a credential can't be right. Nothing was opened.
        TrailingError: as `open_ccxt`, `open_store` and `open_manager` raise it.
        BaseException: the exception of the block, unwrapped.

    Cancellation: as for `open_manager`. The whole end takes at most `stop_seconds` of the plan.
    """
    from trailing.alerts import open_alerts  # noqa: PLC0415 - `import trailing` need not wait for it

    config = read_config(path)
    credentials, targets = config.venue.credentials(), config.alerts.targets()
    page = None if config.web is None else _Page(config.web)
    async with (
        open_alerts(targets, rules=config.alerts.rules) as alerts,
        _open_exchange(config.venue, credentials, configure) as exchange,
        open_store(config.store.url) as store,
        alerts.watch(
            open_manager(
                exchange if page is None else page.metrics.measure(exchange),
                store,
                config.plan,
                ticks=ticks,
                take_over=take_over,
                standby=config.store.standby,
                entry_limits=config.entry_limits,
            )
        ) as manager,
        open_service_nursery() as services,
    ):
        await services.start(partial(close_all_on_signal, manager))
        url = None if page is None else await services.start(partial(page.serve, manager))
        yield Bot(config, alerts, exchange, store, manager, url)


class _Page:
    """The page of a bot, whose settings and extra are checked before anything is opened.

    Attributes:
        metrics: measures the exchange.
    """

    def __init__(self, settings: WebSettings) -> None:
        from trailing.web.metrics import Metrics  # noqa: PLC0415 - `import trailing` need not wait for it
        from trailing.web.serve import check_extra  # noqa: PLC0415 - as above

        check_extra()
        self._settings, self._token, self.metrics = settings, settings.token(), Metrics()

    async def serve(self, manager: Manager, *, task_status: trio.TaskStatus[str]) -> None:  # noqa: ASYNC128 - `serve` calls it
        """Serve the page until it is cancelled. Raises as `trailing.web.serve`."""
        from trailing.web.serve import serve  # noqa: PLC0415 - as above

        settings = self._settings
        await serve(
            manager,
            bind=settings.bind,
            token=self._token,
            hosts=settings.hosts,
            metrics=self.metrics,
            task_status=task_status,
        )


def stop_seconds(plan: TrailPlan) -> float:
    """Return the most seconds that a bot takes to end in order: the least `TimeoutStopSec` of its systemd unit.

    A wave cleans up, the manager settles its requests, and the journal drains, each within `cleanup_seconds`. The rest ends
    within `CLOSING_SECONDS`.
    """
    return 3 * plan.cleanup_seconds + CLOSING_SECONDS


def _open_exchange(
    venue: VenueSettings, credentials: Credentials | None, configure: Callable[[Any], object] | None
) -> AbstractAsyncContextManager[Exchange]:
    if credentials is None:
        return open_paper(latency=venue.latency, account=venue.account)
    return open_ccxt(
        venue.name,
        credentials=credentials,
        account=venue.account,
        testnet=venue.testnet,
        allow_unverified=venue.allow_unverified,
        margin_mode=venue.margin_mode,
        configure=configure,
    )
