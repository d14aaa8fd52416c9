"""The errors of trailing, by whose fault they are and by what may exist on the exchange.

::

    TrailingError
    ├─ UsageError               yours; nothing was sent
    ├─ ExchangeError
    │  ├─ StopRejected          the exchange said no; no order exists
    │  │  ├─ WouldTrigger       the price is already beyond the stop
    │  │  ├─ NothingToReduce    there is no such position (any more)
    │  │  └─ NoSuchStop         there is no such live stop (any more)
    │  ├─ ExchangeUnreachable   provably not sent, or provably not executed
    │  │  └─ RateLimited        carries retry_after, seconds
    │  ├─ OutcomeUnknown        sent; the order may exist
    │  └─ AuthenticationFailed  no use in trying again
    └─ StoreError
       └─ LeaseLost             another process owns this account now
"""

from __future__ import annotations


class TrailingError(Exception):
    """The base of everything that this library raises on purpose."""


class UsageError(TrailingError, ValueError):
    """A value that can't be right. Nothing was sent, nothing has changed.

    It is a `ValueError` too, so that a decoder which builds our values says where in the input the bad one stood.
    """


class ExchangeError(TrailingError):
    """The exchange, or the way to it, did not do what was asked."""


class StopRejected(ExchangeError):
    """The exchange said no. No order exists under the client order id that was sent."""


class WouldTrigger(StopRejected):
    """The price is already at or beyond the stop, so the stop would trigger at once."""


class NothingToReduce(StopRejected):
    """There is no such position, or none any more, that a reduce-only order could reduce."""


class NoSuchStop(StopRejected):
    """The exchange has no live stop under this client order id: it was filled, was cancelled, or never existed.

    `amend_stop` and `cancel_stop` raise it where the exchange says exactly that; any other refusal is a plain `StopRejected`.
    """


class ExchangeUnreachable(ExchangeError):
    """The request was provably not sent, or provably not executed. It may be sent again."""


class RateLimited(ExchangeUnreachable):
    """The exchange's rate limit does not let the request pass now.

    Attributes:
        retry_after: seconds until it would, at least 0.
    """

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class OutcomeUnknown(ExchangeError):
    """The request was sent and no answer came: what it asked for may have happened, or may yet."""


class AuthenticationFailed(ExchangeError):
    """The exchange does not accept the credentials. Trying again is of no use."""


class StoreError(TrailingError):
    """The store did not take, or could not give back, what it was asked for."""


class LeaseLost(StoreError):
    """Another process owns this account now."""
