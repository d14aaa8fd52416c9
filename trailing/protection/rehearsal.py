"""What a recovery would do, found out without doing it: nothing is written, to the exchange or to the store."""

from __future__ import annotations

from datetime import datetime

import trio

from trailing.core.account import Orphan
from trailing.core.actions import Action, LookAgain
from trailing.core.plan import TrailPlan
from trailing.exchanges.port import Exchange, snapshot_lag
from trailing.protection.announcer import Announcer, EventLog
from trailing.protection.clock import Clock
from trailing.protection.following import Follower
from trailing.protection.gate import Gate
from trailing.protection.journal import Journal
from trailing.protection.order_ids import OrderIds
from trailing.protection.orders import Orders
from trailing.protection.reach import Reach
from trailing.protection.reconciliation import Reconciliation
from trailing.protection.recovery import restore
from trailing.protection.registry import Registry
from trailing.stores.leases import StandingLease
from trailing.stores.port import Store


async def plan_recovery(
    exchange: Exchange,
    store: Store,
    plan: TrailPlan,
    *,
    utc_start: datetime | None = None,
    take_over: bool = False,
) -> tuple[Action, ...]:
    """What `open_manager` would find and do if it were opened now.

    The account is read again until everything is decided, so it takes as long as an absence takes to be believed.

    Args:
        plan, utc_start, take_over: as for `open_manager`.

    Returns:
        What follows from the store beside the account, position by position. As text, each is a sentence.

    Raises:
        StoreError: the store can't be read.
        LeaseLost: stops of another instance stand on the account.
        ExchangeError: the account can't be read now.

    Cancellation: nothing was written.
    """
    lease = StandingLease(store.commit, f"{exchange.name} {exchange.account}")
    lease.end()  # nothing is owned, so that nothing can be written
    journal, clock = Journal(lease), Clock(utc_start)  # nobody runs the journal: what is told stays there
    announcer = Announcer(journal, EventLog(), exchange.name, exchange.account)
    gate = Gate(lease, clock, exchange)
    orders = Orders(exchange, journal, clock, announcer, OrderIds(), Reach(), gate)
    registry = Registry(exchange.name, exchange.account, hedged=exchange.hedged)
    orphans: dict[str, Orphan] = {}
    reconciliation = Reconciliation(
        orders,
        registry,
        Follower(orders, registry, orphans, call_seconds=plan.call_seconds),
        orphans,
        call_seconds=plan.call_seconds,
        every=plan.reconcile_every,
        take_over=take_over,
    )
    restore(orders, registry, reconciliation, orphans, await store.load(exchange.name, exchange.account))
    found: dict[Action, None] = {}
    await trio.sleep(snapshot_lag(exchange))
    while True:
        actions = await reconciliation.look()
        found |= {action: None for action in actions if not isinstance(action, LookAgain)}
        if not any(isinstance(action, LookAgain) for action in actions):
            return tuple(found)
        await trio.sleep_until(reconciliation.again_at)
