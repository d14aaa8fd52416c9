"""The lease of an account, and the fence that checks each request against it.

The lease is held from before the account is read until every decision is written. A store refuses the writes of a former owner.
An exchange executes the requests of a former owner, because it does not know the lease. So a request that changes something is
sent only if, at its slowest, it ends before another process can own the account.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NoReturn

import trio

from trailing.core.model import refuse
from trailing.core.plan import TrailPlan
from trailing.errors import ExchangeUnreachable, LeaseLost
from trailing.events import AwaitsLease
from trailing.exchanges.port import Exchange, check_cleanup_seconds
from trailing.protection.clock import Clock
from trailing.protection.records import EventLog
from trailing.stores.port import Lease, Store


class LeaseFence:
    """Let requests that change something pass while the account is certainly owned.

    Args:
        lease: of the account.
        exchange: executes the requests.
    """

    def __init__(self, lease: Lease, clock: Clock, exchange: Exchange) -> None:
        self._lease, self._clock, self._exchange = lease, clock, exchange
        self._validity = exchange.request_validity
        self._call_seconds = 0.0

    def seconds_left(self) -> float:
        """Return the seconds for which no other process can own the account, at least 0."""
        return 0.0 if self._lease.lost is not None else max(0.0, self._lease.held_until - self._clock.now())

    def check_plan(self, plan: TrailPlan) -> None:
        """Refuse a plan whose calls are too long for the lease, or whose clean-up is too short.

        The fence would block longer calls although the store answers. The longest `call_seconds` is kept for the alarm of
        `watch`.

        Raises:
            UsageError: naming the field, what it got and what it wants.
        """
        check_cleanup_seconds(self._exchange, plan)
        most = self._lease.seconds - self._validity
        if plan.call_seconds > most:
            raise refuse(
                "TrailPlan.call_seconds",
                plan.call_seconds,
                f"at most {most:g} s: with the exchange's request_validity, {self._validity:g} s, a call has to end "
                f"within the {self._lease.seconds:g} s for which the account is surely owned",
            )
        self._call_seconds = max(self._call_seconds, plan.call_seconds)

    def check_may_send(self, turn: float, call_seconds: float) -> float:
        """Decide whether a request that changes something may be sent.

        Args:
            turn: seconds until the rate limit lets it pass.
            call_seconds: seconds that it may take from then on.

        Returns:
            The time of the decision, on the running clock. Both times count from it, because the process may be suspended
            right after the decision.

        Raises:
            ExchangeUnreachable: it may not be sent before the lease is renewed.
            LeaseLost: it may never be sent.
        """
        lease, now = self._lease, self._clock.now()
        if lease.lost is not None:
            raise LeaseLost(f"not sent: {lease.lost}")
        if now + turn + call_seconds + self._validity > lease.held_until:
            raise ExchangeUnreachable(f"not sent: the account is owned for {lease.held_until - now:.1f} s more only")
        return now

    def extend_busy_until(self, turn_at: float) -> None:
        """Keep the account busy while an abandoned request may still be executed.

        Args:
            turn_at: when the rate limit lets it pass, in seconds on the running clock.
        """
        sent_by = max(self._clock.now(), turn_at)
        self._lease.busy_until = max(self._lease.busy_until, sent_by + self._validity)

    async def watch(self, alarm: Callable[[str, str], None], on_return: Callable[[], None]) -> NoReturn:
        """Raise an alarm when the fence blocks calls because the lease is not renewed.

        Call `on_return` when the lease is renewed after that.

        Raises:
            LeaseLost: another process owns the account now. An alarm says so.
        """
        lease = self._lease
        try:
            while True:
                shuts_at = lease.held_until - self._validity - self._call_seconds
                with trio.CancelScope(deadline=shuts_at) as scope:
                    await lease.wait_renewed()
                if scope.cancelled_caught:
                    alarm(
                        "nothing is sent to the exchange",
                        "the lease on the account is not renewed; the stops stay live",
                    )
                    await lease.wait_renewed()
                    on_return()
        except LeaseLost as lost:
            alarm("another process owns the account now", f"{lost}; this manager ends, its stops stay live")
            raise


@asynccontextmanager
async def acquire_lease(
    store: Store, exchange: Exchange, *, mark: str, standby: bool, clock: Clock, log: EventLog
) -> AsyncIterator[tuple[Lease, float | None]]:
    """Own an account until the block ends.

    Yields:
        The lease, and the seconds of waiting for it; None: the account was free.

    Raises:
        LeaseLost: another manager owns the account, and `standby` is False.
        StoreError: the store can't say who owns the account.
    """
    account = (exchange.name, exchange.account)
    async with AsyncExitStack() as stack:
        waited: float | None = None
        try:
            lease = await stack.enter_async_context(store.acquire_lease(*account, mark=mark))
        except LeaseLost as owned:
            if not standby:
                raise
            log.write(AwaitsLease(at=clock.utc(), owner=str(owned)))
            began = clock.now()
            lease = await stack.enter_async_context(store.acquire_lease(*account, mark=mark, standby=True))
            waited = clock.now() - began
        yield lease, waited
