"""Decide which alerts fire and which have recovered: events and the manager's state in, alerts out.

It is pure: no trio, no clock and no I/O. The caller passes the time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from trailing.alerts.rules import Alert, AlertRules, RuleName
from trailing.alerts.texts import describe_error, describe_unprotected, list_names, name_position, write_seconds
from trailing.core.account import Key
from trailing.errors import LeaseLost
from trailing.events import (
    Alarm,
    Event,
    ExitFailed,
    ExitStarted,
    PositionClosed,
    PositionReleased,
    StopMoved,
    StopOpened,
    StreamChanged,
)
from trailing.protection.health import Health
from trailing.protection.waves.outcomes import Unprotected

STREAM_ALARM: Final = "the stream of the exchange is opened again"
"""An alarm that ends when the stream is connected."""

_MOST_AT_ONCE: Final = 1_000
"""The most positions whose alerts fire, or recover, in one look. The next look takes the others, so that a look takes only
milliseconds of the event loop's time."""

_EARLY: Final = 0.1
"""Seconds by which a look may come before its second. Looks are a second apart by the clock, some milliseconds more or less, and
without this every second alert would fire one look late."""


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What one look at a manager shows.

    Args:
        now: seconds on the running clock; `utc`: the same moment, aware UTC.
        unprotected: as `Manager.unprotected` returns it; `health`: as `Manager.health` returns it.
        events_lost: whether events since the last look may have been lost.
    """

    now: float
    utc: datetime
    unprotected: Mapping[Key, Unprotected]
    health: Health
    events_lost: bool = False


class _Age:
    """A position without a live stop: since when, and how it was protected again."""

    __slots__ = ("identity", "since")

    def __init__(self, identity: str, since: float) -> None:
        self.identity, self.since = identity, since


class _Exit:
    """A close that has begun: since when, when it was tried last, and its reason and last error."""

    __slots__ = ("error", "last_at", "reason", "since")

    def __init__(self, at: float) -> None:
        self.since, self.last_at, self.reason, self.error = at, at, "", ""


class _Raised:
    """An alarm that counts as present: the last time and the number of times that it was raised."""

    __slots__ = ("count", "key", "last_at", "what")

    def __init__(self, key: Key | None, what: str) -> None:
        self.key, self.what, self.count, self.last_at = key, what, 0, 0.0


class Conditions:
    """The conditions of one manager that alerts are about.

    Call `take` for every event, then `look` about once a second. When the manager has ended, call `end`; a later manager of the
    same account may go on with the same object.

    Attributes:
        firing: the alerts whose cause holds, by key.
    """

    def __init__(self, rules: AlertRules) -> None:
        self._rules = rules
        self.firing: dict[str, Alert] = {}
        self._changes: list[Alert] = []
        self._now = 0.0
        self._utc: datetime | None = None
        self._events: list[Event] = []
        self._ages: dict[Key, _Age] = {}
        self._endings: dict[Key, str] = {}
        self._exits: dict[Key, _Exit] = {}
        self._alarms: dict[str, _Raised] = {}
        self._stream_lost_at: float | None = None
        self._behind_at: float | None = None
        self._entries: int | None = None
        self._failed = 0
        self._uncommitted_at: float | None = None
        self._lost_at: float | None = None

    def take(self, event: Event) -> None:
        """Take an event. It counts at the next look."""
        self._events.append(event)

    def look(self, look: Look) -> Sequence[Alert]:
        """Return the alerts that fire or recover at this moment."""
        self._now, self._utc = look.now, look.utc
        self._take_events()
        self._recover("ended", "ended", "A manager protects the account again.")
        self._check_unprotected(look.unprotected)
        self._check_exits()
        self._check_alarms()
        self._check_stream(look.health)
        self._check_journal(look.health)
        self._check_lease(look.health)
        self._check_lost(events_lost=look.events_lost)
        return self._take_changes()

    def end(
        self, error: BaseException | None, now: float, utc: datetime, unprotected: Collection[Key] = ()
    ) -> Sequence[Alert]:
        """Return the alerts about the end of the manager.

        Args:
            error: with which the manager ended, or could not open; None: it ended in order.
            now, utc: as in `Look`.
            unprotected: the positions that have no live stop at the end.
        """
        self._now, self._utc = now, utc
        self._take_events()
        self._entries, self._failed, self._uncommitted_at = None, 0, None  # a later manager counts from 0
        if isinstance(error, LeaseLost):
            self._fire("lease", "lease", f"Another process owns the account: {error}")
        if error is not None or unprotected:
            how = "in order" if error is None else f"with {describe_error(error)}"
            left = f" Without a live stop: {list_names([' '.join(key) for key in unprotected])}." if unprotected else ""
            kept = "Live stops stay on the exchange, and no stop is moved."
            self._fire("ended", "ended", f"The manager ended {how}. {kept}{left} Start the bot again.")
        return self._take_changes()

    def _take_changes(self) -> Sequence[Alert]:
        changes, self._changes = self._changes, []
        return changes

    # Events.

    def _take_events(self) -> None:
        events, self._events = self._events, []
        for event in events:
            key = None if event.symbol is None or event.side is None else (event.symbol, event.side)
            match event:
                case Alarm():
                    self._raise(key, event)
                case StreamChanged():
                    self._note_stream(connected=event.connected)
                case _ if key is not None:
                    self._take_of_position(key, event)

    def _take_of_position(self, key: Key, event: Event) -> None:
        match event:
            case StopOpened() | StopMoved():
                if key in self._ages:
                    self._end_age(key, f"protected again, its stop is at {event.price:f}")
                self._end_exit(key, "the position is protected again")
            case ExitStarted():
                self._exit(key).reason = event.reason
            case ExitFailed():
                self._exit(key).error = event.error
            case PositionClosed() | PositionReleased():
                ending = "closed" if isinstance(event, PositionClosed) else "released"
                self._endings[key] = ending
                self._end_exit(key, f"the position is {ending}")
                for alarm_key in [name for name, raised in self._alarms.items() if raised.key == key]:
                    self._end_alarm(alarm_key, f"the position is {ending}")
            case _:
                pass

    def _is_over(self, since: float, seconds: float) -> bool:
        """Return whether so many seconds have passed."""
        return self._now - since >= seconds - _EARLY

    # Positions.

    def _check_unprotected(self, unprotected: Mapping[Key, Unprotected]) -> None:
        for key in [key for key in self._ages if key not in unprotected][:_MOST_AT_ONCE]:
            self._end_age(key, self._endings.get(key, "no longer without a stop"))
        self._endings = {key: how for key, how in self._endings.items() if key in self._ages and key not in unprotected}
        left = _MOST_AT_ONCE
        for key, listed in unprotected.items():
            identity = listed.position.identity
            age = self._ages.get(key)
            if age is not None and age.identity != identity:
                self._end_age(key, "another position is in its place")
                age = None
            if age is None:
                age = self._ages[key] = _Age(identity, self._now)
            seconds = self._now - age.since
            if (
                self._is_over(age.since, self._rules.unprotected_seconds)
                and left
                and (name := _key("unprotected", key)) not in self.firing
            ):
                left -= 1
                self._fire("unprotected", name, describe_unprotected(key, listed, seconds), key, age.since)

    def _end_age(self, key: Key, how: str) -> None:
        age = self._ages.pop(key)
        after = f"after {self._now - age.since:.0f} s without a live stop" if self._now > age.since else "at once"
        self._recover("unprotected", _key("unprotected", key), f"{name_position(key)}: {how}, {after}.")

    def _exit(self, key: Key) -> _Exit:
        begun = self._exits.setdefault(key, _Exit(self._now))
        begun.last_at = self._now
        return begun

    def _end_exit(self, key: Key, why: str) -> None:
        if self._exits.pop(key, None) is not None:
            self._recover("close", _key("close", key), f"{name_position(key)}: the close is over, because {why}.")

    def _check_exits(self) -> None:
        for key, begun in tuple(self._exits.items()):
            if self._now - begun.last_at >= max(self._rules.quiet_seconds, self._rules.close_seconds):
                self._end_exit(key, f"it was not tried again for {write_seconds(self._rules.quiet_seconds)}")
            elif self._is_over(begun.since, self._rules.close_seconds):
                why = f" ({begun.reason})" if begun.reason else ""
                error = f" Last error: {begun.error}." if begun.error else ""
                self._fire(
                    "close",
                    _key("close", key),
                    f"{name_position(key)}: still open {self._now - begun.since:.0f} s after a close at market began{why}.{error} "
                    "Check the position on the exchange.",
                    key,
                    begun.since,
                )

    # Alarms.

    def _raise(self, key: Key | None, event: Alarm) -> None:
        if event.what in self._rules.ignored_alarms:
            return
        name = f"alarm:{'' if key is None else ' '.join(key)}:{event.what}"
        raised = self._alarms.setdefault(name, _Raised(key, event.what))
        raised.count += 1
        raised.last_at = self._now
        detail = f" ({event.detail})" if event.detail else ""
        self._fire("alarm", name, f"{name_position(key)}: {event.what}{detail}.", key)

    def _check_alarms(self) -> None:
        quiet = self._rules.quiet_seconds
        for name in [name for name, raised in self._alarms.items() if self._now - raised.last_at >= quiet]:
            self._end_alarm(name, f"it was not repeated for {write_seconds(quiet)}")

    def _end_alarm(self, name: str, why: str) -> None:
        raised = self._alarms.pop(name)
        times = "once" if raised.count == 1 else f"{raised.count} times"
        self._recover(
            "alarm", name, f"{name_position(raised.key)}: {raised.what}: over, because {why}. It was raised {times}."
        )

    # The account.

    def _note_stream(self, *, connected: bool) -> None:
        if not connected:
            self._stream_lost_at = self._now if self._stream_lost_at is None else self._stream_lost_at
            return
        self._stream_lost_at = None
        name = f"alarm::{STREAM_ALARM}"
        if name in self._alarms:
            self._end_alarm(name, "the stream is connected")

    def _check_stream(self, health: Health) -> None:
        self._note_stream(connected=health.stream_connected)
        lost_at = self._stream_lost_at
        if lost_at is None:
            self._recover("stream", "stream", "The stream of the exchange is connected again.")
        elif self._is_over(lost_at, self._rules.stream_seconds):
            self._fire(
                "stream",
                "stream",
                f"The stream of the exchange has been disconnected for {self._now - lost_at:.0f} s. No stop is moved until it is "
                "connected. Live stops stay on the exchange.",
                since=lost_at,
            )

    def _check_journal(self, health: Health) -> None:
        journal = health.journal
        committed = self._entries is not None and journal.entries != self._entries
        failed = journal.failures + journal.dropped > self._failed
        self._entries, self._failed = journal.entries, journal.failures + journal.dropped
        if committed:
            self._uncommitted_at = None
            self._recover("store", "store", "The store takes entries again.")
        elif self._uncommitted_at is None and (journal.waiting or failed):
            self._uncommitted_at = self._now
        if self._uncommitted_at is not None and self._is_over(self._uncommitted_at, self._rules.store_seconds):
            self._fire(
                "store",
                "store",
                f"The store has committed nothing for {self._now - self._uncommitted_at:.0f} s, and {journal.waiting} entries wait. "
                "Check that the store is up and has room.",
                since=self._uncommitted_at,
            )
        if not health.journal_is_behind:
            self._behind_at = None
            self._recover("journal", "journal", "The journal is not behind any more.")
        elif self._behind_at is None:
            self._behind_at = self._now
        if self._behind_at is not None and self._is_over(self._behind_at, self._rules.journal_seconds):
            self._fire(
                "journal",
                "journal",
                f"The journal has been behind for {self._now - self._behind_at:.0f} s: {journal.waiting} entries wait. "
                "A restart now may not know the last changes.",
                since=self._behind_at,
            )

    def _check_lease(self, health: Health) -> None:
        if health.lease_seconds > 0:
            self._recover("lease", "lease", "The lease on the account is held again.")
        else:
            why = "The lease on the account is lost or has expired, so that another process may own the account."
            self._fire("lease", "lease", f"{why} Nothing is sent to the exchange.")

    def _check_lost(self, *, events_lost: bool) -> None:
        if events_lost:
            self._lost_at = self._now
            self._fire("events", "events", "More events came than alerts can take: some alarms may be missing here.")
        elif self._lost_at is not None and self._now - self._lost_at >= self._rules.quiet_seconds:
            self._lost_at = None
            self._recover("events", "events", f"No events were lost for {write_seconds(self._rules.quiet_seconds)}.")

    # Changes.

    def _fire(self, rule: RuleName, name: str, text: str, key: Key | None = None, since: float | None = None) -> None:
        if name not in self.firing:
            self.firing[name] = self._alert(rule, name, text, key, since, is_firing=True)
            self._changes.append(self.firing[name])

    def _recover(self, rule: RuleName, name: str, text: str) -> None:
        fired = self.firing.pop(name, None)
        if fired is not None:
            assert self._utc is not None
            self._changes.append(msgspec.structs.replace(fired, rule=rule, text=text, is_firing=False, at=self._utc))

    def _alert(
        self, rule: RuleName, name: str, text: str, key: Key | None, since: float | None, *, is_firing: bool
    ) -> Alert:
        assert self._utc is not None
        symbol, side = (None, None) if key is None else key
        began = self._utc if since is None else self._utc - timedelta(seconds=self._now - since)
        return Alert(
            key=name, rule=rule, symbol=symbol, side=side, text=text, is_firing=is_firing, since=began, at=self._utc
        )


def _key(rule: RuleName, key: Key) -> str:
    return f"{rule}:{key[0]} {key[1]}"
