"""The rules of alerts, and an alert as a value."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, TypeAlias

import msgspec

from trailing.core.model import Side, check_seconds, refuse

RuleName: TypeAlias = Literal["unprotected", "close", "alarm", "stream", "store", "journal", "lease", "ended", "events"]
"""The rule that an alert comes from; see `AlertRules`."""


class AlertRules(msgspec.Struct, frozen=True, kw_only=True):
    """When an alert fires. Each fires once, and a second message says when its cause has ended.

    The rules look at a manager once a second, so an alert fires up to one second late and never early.

    Args:
        unprotected_seconds: rule ``"unprotected"``: a position has had no live stop for so long. Its age counts from the first
            look that found it unprotected. A new stop starts the age again.
        close_seconds: rule ``"close"``: a close at market began so long ago and the position is still open.
        stream_seconds: rule ``"stream"``: the exchange's stream has been disconnected for so long.
        store_seconds: rule ``"store"``: entries wait for the store or fail, and none was committed for so long.
        journal_seconds: rule ``"journal"``: for so long, an entry has been late, which means that its `journal_wait` is over.
        quiet_seconds: an `Alarm` is an event, so nothing tells that its cause has ended. It counts as over when it was not
            repeated for so long, or when its position has ended. The same holds for a close that is not tried again, and for
            events that were lost.
        ignored_alarms: the `what` of each alarm that rule ``"alarm"`` leaves out.

    Three rules have no setting: ``"lease"`` fires when another process owns the account or may own it, ``"ended"`` when the
    manager ends with an error or leaves a position unprotected, and ``"events"`` when more events came within a second than
    the alerts could take.

    Raises:
        UsageError: naming the field, what it got and what it wants.
    """

    unprotected_seconds: float = 10.0
    close_seconds: float = 15.0
    stream_seconds: float = 30.0
    store_seconds: float = 30.0
    journal_seconds: float = 10.0
    quiet_seconds: float = 900.0
    ignored_alarms: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for field in self.__struct_fields__:
            if field.endswith("_seconds"):
                check_seconds(f"AlertRules.{field}", getattr(self, field))
        if isinstance(self.ignored_alarms, str):
            raise refuse("AlertRules.ignored_alarms", self.ignored_alarms, "a set of texts")


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """An alert as it is now. A later alert with the same key replaces it.

    Args:
        key: identifies the alert among those of its manager.
        rule: the rule that it comes from.
        symbol, side: of the position; None: it concerns the whole account.
        text: one line for people. It stands alone, because an earlier alert of the same key may not have been delivered.
        is_firing: whether its cause holds; False: its cause has ended.
        since: when the cause began, aware UTC.
        at: when the alert fired or recovered, aware UTC.
        account: the name of the exchange and of the account, or the name that was given to `watch`.
    """

    key: str
    rule: RuleName
    symbol: str | None = None
    side: Side | None = None
    text: str
    is_firing: bool
    since: datetime
    at: datetime
    account: str = ""
