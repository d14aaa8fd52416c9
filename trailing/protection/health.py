"""The state of everything that a manager depends on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from trailing.protection.journal import JournalStatistics

if TYPE_CHECKING:
    from trailing.protection.supervision import Supervision


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the stream, the lease and the journal of a manager.

    Args:
        exchange, account: of the manager.
        stream_connected: whether the exchange's stream is connected.
        lease_seconds: seconds for which no other process can own the account. 0: another process may own it, or owns it. Infinite:
            the lease lasts as long as the process.
        journal: the figures of the journal.
        journal_is_behind: whether an entry is not written although its `journal_wait` is over.
    """

    exchange: str
    account: str
    stream_connected: bool
    lease_seconds: float
    journal: JournalStatistics
    journal_is_behind: bool


def read_health(supervision: Supervision) -> Health:
    """Return the present state of what a manager depends on."""
    records = supervision.records
    return Health(
        exchange=records.exchange,
        account=records.account,
        stream_connected=not supervision.feed.is_lost,
        lease_seconds=supervision.sender.fence.seconds_left(),
        journal=records.journal.statistics(),
        journal_is_behind=records.journal.is_behind,
    )
