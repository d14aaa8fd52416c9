"""What a recovery would find and ask for, without asking for it: nothing is written, to the exchange or to the store."""

from __future__ import annotations

from datetime import datetime
from functools import partial

from trailing.core.findings import Finding
from trailing.core.plan import TrailPlan
from trailing.errors import ExchangeUnreachable
from trailing.exchanges.port import Exchange
from trailing.protection.clock import Clock
from trailing.protection.journal import Journal
from trailing.protection.lease import LeaseFence
from trailing.protection.order_ids import OrderIds
from trailing.protection.records import EventPublisher, Records
from trailing.protection.recovery import find_settled, restore
from trailing.protection.requests import OutageDetector, RequestSender
from trailing.protection.supervision import Supervision
from trailing.services import open_services
from trailing.stores.leases import StandingLease
from trailing.stores.port import Store


async def plan_recovery(
    exchange: Exchange,
    store: Store,
    plan: TrailPlan,
    *,
    utc_start: datetime | None = None,
    take_over: bool = False,
) -> tuple[Finding, ...]:
    """What `open_manager` would find and do if it were opened now.

    The account is read until it is known which orders are live, so it takes as long as an absence takes to be believed, at
    most the plan's `call_seconds`. What is not known by then is among the findings.

    Args:
        plan, utc_start, take_over: as for `open_manager`.

    Returns:
        What follows from the store and the account, position by position. As text, each is a sentence.

    Raises:
        StoreError: the store can't be read.
        LeaseLost: stops of another instance stand on the account.
        ExchangeError: the account can't be read now.

    Cancellation: nothing was written.
    """
    lease = StandingLease(store.commit, f"{exchange.name} {exchange.account}")
    lease.end()  # nothing is owned, so that nothing can be sent or written
    journal, clock = Journal(lease), Clock(utc_start)  # no task runs the journal: what is handed in stays there
    publisher = EventPublisher(journal, None, exchange.name, exchange.account)
    records = Records(exchange.name, exchange.account, journal, clock, publisher)
    fence = LeaseFence(lease, clock, exchange)
    sender = RequestSender(exchange, clock, fence, OutageDetector(), partial(records.alarm, None))
    async with open_services() as tasks:
        supervision = Supervision(sender, records, OrderIds(), plan, tasks, take_over=take_over)
        restore(supervision, await store.load(exchange.name, exchange.account))
        found = await find_settled(supervision, lambda _: None, within=plan.call_seconds)
    if supervision.reader.snapshot is None:
        raise ExchangeUnreachable("the account can't be read now")
    return found
