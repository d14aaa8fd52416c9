"""The service that watches managers and sends alerts. Protection never waits for it."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import datetime
from typing import Final

import msgspec
import trio

from trailing.alerts.alert_log import AlertLog
from trailing.alerts.channels import SEND_SECONDS
from trailing.alerts.conditions import Conditions, Look
from trailing.alerts.delivery import Delivery
from trailing.alerts.rules import Alert, AlertRules
from trailing.alerts.systemd import SystemdNotifier
from trailing.alerts.targets import AlertTargets
from trailing.errors import UsageError
from trailing.events import Event
from trailing.protection.clock import Clock
from trailing.protection.health import IS_WATCHED
from trailing.protection.manager import Manager
from trailing.services import open_service_nursery

LOOK_EVERY: Final = 1.0
"""Seconds between two looks at a manager."""

FLUSH_SECONDS: Final = 5.0
"""Seconds at the end in which the last alerts are sent."""

CAPACITY: Final = 100_000
"""The most events between two looks. More are dropped, and an alert says so."""

_REST: Final = 20
"""The pause between two looks is at least so many times as long as the work of a look, which grows with the positions."""

_OVERDUE: Final = 5.0
"""If the last look is older than this, in seconds, something keeps the alerts from working, and no heartbeat is sent."""


class Alerts:
    """Watch managers and send alerts about them. `open_alerts` makes it.

    Attributes:
        rules: when an alert fires.
    """

    def __init__(self, targets: AlertTargets, rules: AlertRules, services: trio.Nursery) -> None:
        self.rules: AlertRules = rules
        self._targets, self._services = targets, services
        self._log = AlertLog()
        self._clock = Clock()
        self._deliveries = [Delivery(channel, self._log) for channel in targets.channels]
        self._watched: dict[str, _Watch] = {}
        self._conditions: dict[str, Conditions] = {}
        self._systemd = SystemdNotifier()
        self._systemd_error: OSError | None = None
        self._heartbeat_error: Exception | None = None
        for delivery in self._deliveries:
            services.start_soon(delivery.run)
        services.start_soon(self._systemd.run_watchdog)
        if targets.heartbeat is not None:
            services.start_soon(targets.heartbeat.run, self._is_well, self._note_heartbeat)

    def firing(self) -> tuple[Alert, ...]:
        """Return the alerts whose cause holds now."""
        return tuple(alert for conditions in self._conditions.values() for alert in conditions.firing.values())

    @asynccontextmanager
    async def watch(self, opening: AbstractAsyncContextManager[Manager], *, name: str = "") -> AsyncIterator[Manager]:
        """Open a manager and watch it until it has ended.

        If it can't be opened, ends with an error, or leaves a position unprotected, an alert says so. If another manager is
        watched under the same name later, as after a takeover, it goes on with the alerts of the earlier one.

        Args:
            opening: what `open_manager` returns. It is entered here.
            name: distinguishes the managers that one `Alerts` watches; in the alerts, it stands instead of the account's name.

        Raises:
            UsageError: a manager of this name is watched already.
            BaseException: as the manager raises it.

        Cancellation: passes to the manager. Alerts about its end are sent by `open_alerts`, when its block ends.
        """
        if name in self._watched:
            raise UsageError(f"Alerts.watch: a manager named {name!r} is watched already; give each its own name")
        watch = self._watched[name] = _Watch(self, self._conditions.setdefault(name, Conditions(self.rules)), name)
        async with (
            AsyncExitStack() as kept
        ):  # the subscription is kept until the manager has ended, for its last alarms
            try:
                async with _open_watched(opening, is_watched=bool(self._deliveries)) as manager:
                    events = await kept.enter_async_context(manager.subscribe(CAPACITY))
                    looking = await self._services.start(watch.run, manager, events)
                    self._systemd.note_ready()
                    try:
                        yield manager
                    finally:
                        looking.cancel()  # a manager that is closing is judged when it has ended
            except BaseException as failure:
                watch.end(_without_cancellation(failure))
                raise
            else:
                watch.end(None)
            finally:
                del self._watched[name]

    def put(self, alerts: Sequence[Alert]) -> None:
        """Hand alerts to every channel and write them to the log, without waiting."""
        for alert in alerts:
            if alert.rule == "alarm":
                continue  # the manager logs its alarms itself
            # An alert that no channel sends is an error in the log, because nothing else shows it.
            write = self._log.error if alert.is_firing and not self._deliveries else self._log.info
            kind = "AlertFired" if alert.is_firing else "AlertRecovered"
            write(kind, account=alert.account, rule=alert.rule, symbol=alert.symbol, side=alert.side, text=alert.text)
        for delivery in self._deliveries:
            delivery.put(alerts)

    async def flush(self) -> None:
        """Wait until every channel has sent what it was handed."""
        async with trio.open_nursery() as nursery:
            for delivery in self._deliveries:
                nursery.start_soon(delivery.flush)

    def note_stopping(self) -> None:
        """Tell systemd that the process is ending."""
        self._systemd.note_stopping()

    def note_bug(self, bug: Exception) -> None:
        """Log an error of the alerts themselves. They go on."""
        self._log.error("AlertsFailed", exc_info=bug)

    def note_unsent(self) -> None:
        """Log how many alerts were not sent at the end."""
        for delivery in self._deliveries:
            if delivery.waiting:
                self._log.error("AlertsNotSent", channel=delivery.name, error=f"{delivery.waiting} are left at the end")

    def note_looked(self) -> None:
        """Show the present state in `systemctl status`."""
        firing = self.firing()
        watched = len(self._watched)
        self._systemd.show(
            f"{len(firing)} alerts, first: {firing[0].text[:200]}"
            if firing
            else f"no alert, {watched} managers watched"
        )
        error, self._systemd_error = self._systemd_error, self._systemd.error
        if self._systemd_error is not None and error is None:
            self._log.warning("SystemdNotReached", error=str(self._systemd_error))

    def utc(self) -> datetime:
        """Return the time of day, aware UTC."""
        return self._clock.utc()

    def _is_well(self) -> bool:
        """Return whether every manager works, no alert fires, and every channel sends."""
        now = trio.current_time()
        return (
            bool(self._watched)
            and all(now - watch.looked_at <= _OVERDUE + watch.pause for watch in self._watched.values())
            and not any(conditions.firing for conditions in self._conditions.values())
            and not any(
                delivery.failing_since is not None and now - delivery.failing_since > SEND_SECONDS
                for delivery in self._deliveries
            )
        )

    def _note_heartbeat(self, error: Exception | None) -> None:
        if error is not None and self._heartbeat_error is None:
            self._log.warning("HeartbeatNotSent", error=str(error))
        self._heartbeat_error = error


class _Watch:
    """One manager that is watched.

    Attributes:
        looked_at: when the last look ended, in seconds on the running clock; `pause`: the seconds until the next one.
    """

    def __init__(self, alerts: Alerts, conditions: Conditions, name: str) -> None:
        self._alerts, self._conditions, self._name = alerts, conditions, name
        self._manager: Manager | None = None
        self._events: trio.MemoryReceiveChannel[Event] | None = None
        self.looked_at: float = -math.inf
        self.pause: float = LOOK_EVERY

    async def run(
        self,
        manager: Manager,
        events: trio.MemoryReceiveChannel[Event],
        task_status: trio.TaskStatus[trio.CancelScope] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Look at the manager about once a second, until the scope that is passed to the caller is cancelled."""
        self._manager, self._events = manager, events
        if not self._name:
            health = manager.health()
            self._name = f"{health.exchange} {health.account}"
        with trio.CancelScope() as scope:
            task_status.started(scope)
            next_at = trio.current_time()
            while True:
                self._look()
                next_at = max(next_at + LOOK_EVERY, trio.current_time() + self.pause - LOOK_EVERY)
                await trio.sleep_until(next_at)

    def _look(self) -> None:
        began = time.thread_time()
        assert self._manager is not None
        try:
            events_lost = self._drain()
            look = Look(
                now=trio.current_time(),
                utc=self._alerts.utc(),
                unprotected=self._manager.unprotected(),
                health=self._manager.health(),
                events_lost=events_lost,
            )
            self._put(self._conditions.look(look))
            self._alerts.note_looked()
            self.looked_at = trio.current_time()
        except Exception as bug:  # a bug in the alerts must not end the bot; without a look, the heartbeat falls silent
            self._alerts.note_bug(bug)
        self.pause = max(LOOK_EVERY, _REST * (time.thread_time() - began))

    def end(self, error: BaseException | None) -> None:
        """Alert about the end of the manager. `error`: with which it ended; None: in order."""
        try:
            self._drain()
            unprotected = {} if self._manager is None else self._manager.unprotected()
            self._put(self._conditions.end(error, trio.current_time(), self._alerts.utc(), unprotected))
        except Exception as bug:  # the manager's own error counts
            self._alerts.note_bug(bug)

    def _put(self, alerts: Sequence[Alert]) -> None:
        if alerts:
            self._alerts.put([msgspec.structs.replace(alert, account=self._name) for alert in alerts])

    def _drain(self) -> bool:
        """Take all events that wait. Return whether the channel was full, so that events may be missing."""
        if self._events is None:
            return False
        count = self._events.statistics().current_buffer_used
        for _ in range(count):
            self._conditions.take(self._events.receive_nowait())
        return count >= CAPACITY


@asynccontextmanager
async def open_alerts(targets: AlertTargets, *, rules: AlertRules | None = None) -> AsyncIterator[Alerts]:
    """Send alerts about the managers that its `watch` opens, and heartbeats, until the block ends.

    Open it outside of the exchange, the store and the manager, so that it reports how they end. It also tells systemd that the
    bot is ready, alive and stopping, if systemd started the bot with ``Type=notify``.

    Args:
        targets: where alerts and heartbeats go.
        rules: when an alert fires; None: the defaults.

    Cancellation: the last alerts are sent, for at most `FLUSH_SECONDS`.
    """
    async with open_service_nursery() as services:
        alerts = Alerts(targets, rules or AlertRules(), services)
        try:
            yield alerts
        finally:
            alerts.note_stopping()
            with trio.move_on_after(FLUSH_SECONDS, shield=True) as scope:
                await alerts.flush()
            if scope.cancelled_caught:
                alerts.note_unsent()


@asynccontextmanager
async def _open_watched(opening: AbstractAsyncContextManager[Manager], *, is_watched: bool) -> AsyncIterator[Manager]:
    """Open a manager that knows whether alerts about it reach a person."""
    async with AsyncExitStack() as stack:
        token = IS_WATCHED.set(is_watched or IS_WATCHED.get())
        try:
            manager = await stack.enter_async_context(opening)
        finally:
            IS_WATCHED.reset(token)
        yield manager


def _without_cancellation(error: BaseException) -> BaseException | None:
    """Return the error without cancellations and interruptions, which end a bot in order; None: there is nothing else."""
    if isinstance(error, BaseExceptionGroup):
        left = [each for each in map(_without_cancellation, error.exceptions) if each is not None]
        return left[0] if len(left) == 1 else error if left else None
    return None if isinstance(error, trio.Cancelled | KeyboardInterrupt | SystemExit | GeneratorExit) else error
