"""Owning an account: from before anything of it is read until everything that was decided is written."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from trailing.errors import LeaseLost
from trailing.events import AwaitsLease
from trailing.exchanges.port import Exchange
from trailing.protection.announcer import EventLog
from trailing.protection.clock import Clock
from trailing.stores.port import Lease, Store


@asynccontextmanager
async def own_account(
    store: Store, exchange: Exchange, *, mark: str, standby: bool, clock: Clock, log: EventLog
) -> AsyncIterator[tuple[Lease, float | None]]:
    """Own an account until the block ends.

    Yields:
        The lease, and how many seconds it was waited for; None: it was free.

    Raises:
        LeaseLost: another manager owns it, and `standby` is False.
    """
    account = (exchange.name, exchange.account)
    async with AsyncExitStack() as stack:
        waited: float | None = None
        try:
            lease = await stack.enter_async_context(store.own(*account, mark=mark))
        except LeaseLost as owned:
            if not standby:
                raise
            log.write(AwaitsLease(at=clock.utc(), owner=str(owned)))
            began = clock.now()
            lease = await stack.enter_async_context(store.own(*account, mark=mark, standby=True))
            waited = clock.now() - began
        yield lease, waited
