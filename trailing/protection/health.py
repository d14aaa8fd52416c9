"""The state of everything that a manager depends on, and the warning about an account without alerts."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

import msgspec

from trailing.exchanges.port import Exchange
from trailing.protection.journal import JournalStatistics

if TYPE_CHECKING:
    from trailing.protection.supervision import Supervision

IS_WATCHED: Final[ContextVar[bool]] = ContextVar("IS_WATCHED", default=False)
"""Whether alerts about the managers that this task opens reach a person."""

_NOT_LIVE: Final = "paper"
_TESTNET: Final = " testnet"


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


def is_live(exchange: Exchange) -> bool:
    """Return whether an exchange is a real account: neither the paper exchange nor a test network."""
    return exchange.name != _NOT_LIVE and not exchange.name.endswith(_TESTNET)


def warn_if_unwatched(exchange: Exchange) -> None:
    """Log a warning if a real account has no alert channel."""
    if IS_WATCHED.get() or not is_live(exchange):
        return
    import structlog  # noqa: PLC0415 - importing it takes 0.1 s, which `import trailing` need not wait for

    structlog.get_logger("trailing").bind().warning(
        "NoAlertChannel",
        exchange=exchange.name,
        account=exchange.account,
        detail="no alert reaches a person; open the manager with trailing.alerts",
    )
