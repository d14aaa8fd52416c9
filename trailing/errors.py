"""The errors of trailing, sorted by cause and by what may exist on the exchange.

::

    TrailingError
    ├─ UsageError               a wrong value from the caller; nothing was sent
    ├─ ExchangeError
    │  ├─ StopRejected          the exchange rejected it; no order exists
    │  │  ├─ WouldTrigger       the price is already beyond the stop
    │  │  ├─ NothingToReduce    flat, or blocked by other reduce-only orders
    │  │  │  └─ NoSuchPosition  no such position exists (any more)
    │  │  ├─ NoSuchStop         no such live stop exists (any more)
    │  │  └─ TooManyStops       the account has as many stops as the exchange allows
    │  ├─ EntryRejected         the exchange rejected an entry; no order exists
    │  │  └─ NoSuchEntry        no such working entry exists (any more)
    │  ├─ CallRejected          the exchange rejected a call of the bot; nothing was changed
    │  ├─ ExchangeUnreachable   certainly not sent, or certainly not executed
    │  │  └─ RateLimited        carries retry_after, seconds
    │  ├─ OutcomeUnknown        sent; the order may exist
    │  └─ AuthenticationFailed  another try would fail in the same way
    └─ StoreError
       └─ LeaseLost             another process owns this account now
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def suggest(word: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean …?"`` with the most similar known word, or ``""`` if none is similar."""
    similar = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {similar[0]}?" if similar else ""


class TrailingError(Exception):
    """The base class of all errors that this library raises on purpose."""


class UsageError(TrailingError, ValueError):
    """A value can't be right. Nothing was sent, and nothing has changed.

    It is a `ValueError` too, so that a decoder that builds our values can add the place of the bad one in its input.
    """


class ExchangeError(TrailingError):
    """A request to the exchange failed."""


class StopRejected(ExchangeError):
    """The exchange rejected the request. No order exists under the client order id that was sent."""


class WouldTrigger(StopRejected):
    """The price is already at or beyond the stop, so the stop would trigger at once."""


class NothingToReduce(StopRejected):
    """A reduce-only order has nothing to reduce: the position is flat, or blocked by other reduce-only orders.

    It proves neither of the two. Most exchanges refuse a stop or a close with one and the same code if the position is flat, and
    if an open take-profit covers the whole position.
    """


class NoSuchPosition(NothingToReduce):
    """The exchange says that no such position exists (any more).

    An adapter raises it only if the exchange says exactly that; any other refusal of a reduce-only order is a plain
    `NothingToReduce`.
    """


class NoSuchStop(StopRejected):
    """The exchange has no live stop under this client order id.

    The stop was filled, was cancelled or never existed. `amend_stop` and `cancel_stop` raise it if the exchange says exactly that;
    any other rejection is a plain `StopRejected`. `cancel_order` raises it for an order of any kind.
    """


class TooManyStops(StopRejected):
    """The account, or the symbol, has as many stops or conditional orders as the exchange allows."""


class EntryRejected(ExchangeError):
    """The exchange rejected an entry order. No order exists under the client order id that was sent."""


class NoSuchEntry(EntryRejected):
    """The exchange has no working entry order under this client order id.

    It was filled, was cancelled or never existed. `cancel_entry` raises it only if the exchange says exactly that.
    """


class CallRejected(ExchangeError):
    """The exchange rejected a request of `exchange.call`. It was not executed."""


class ExchangeUnreachable(ExchangeError):
    """The request was certainly not sent, or certainly not executed. It may be sent again."""


class RateLimited(ExchangeUnreachable):
    """The exchange's rate limit does not allow the request now.

    Attributes:
        retry_after: seconds until the limit allows it, at least 0.
    """

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class OutcomeUnknown(ExchangeError):
    """The request was sent and no answer came. It may have been executed, or may be executed later."""


class AuthenticationFailed(ExchangeError):
    """The exchange does not accept the credentials. Another try would fail in the same way."""


class StoreError(TrailingError):
    """The store failed to write or to read."""


class LeaseLost(StoreError):
    """Another process owns this account now.

    `open_manager` also raises it if live stops of another instance show that another manager works on the account.
    """
