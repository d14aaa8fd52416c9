"""What ccxt raised, as one of our errors: by the venue's codes first, then by ccxt's class.

Whatever may have booked an order is `OutcomeUnknown`; `ExchangeUnreachable` is only what was provably not sent or not
executed. ccxt's class alone doesn't tell: a reply that broke off comes as a plain ExchangeError, and a page of HTML
with status 200 as a success without an id.
"""

from __future__ import annotations

import re
import socket
import traceback
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp
from ccxt.base import errors as ccxt_errors

from trailing.errors import (
    AuthenticationFailed,
    ExchangeUnreachable,
    NoSuchStop,
    NothingToReduce,
    OutcomeUnknown,
    RateLimited,
    StopRejected,
    TrailingError,
    WouldTrigger,
)
from trailing.exchanges.ccxt.client import Reply
from trailing.exchanges.ccxt.session import Request
from trailing.exchanges.ccxt.venue import Codes, Venue

WRITES: Final = frozenset({"place_stop", "amend_stop", "cancel_stop", "close_position"})
"""Operations whose outcome matters: a read that failed may simply be made again."""

_OF_A_STOP: Final = frozenset({"amend_stop", "cancel_stop", "find_stop"})
"""Operations that name a stop which was placed before."""


class ClockOff(ExchangeUnreachable):
    """The venue did not execute a request for its time: our clock, or what is known of the venue's, is off."""


RETRY_AFTER: Final = 1.0
"""Seconds until a refusal without a Retry-After is taken to be over."""

# Raised before a byte of the request was sent; the last by a proxy that was asked for a tunnel.
_NOT_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    socket.gaierror,
    aiohttp.ClientHttpProxyError,
)
_LIMITED_STATUS = frozenset({418, 429})
_ON_THE_WAY = frozenset({407, 511})  # said in the venue's place by a proxy, or a network, that wants us to log in
_LIMITED = (ccxt_errors.RateLimitExceeded, ccxt_errors.DDoSProtection)
_REFUSALS = (
    ccxt_errors.ArgumentsRequired,
    ccxt_errors.BadRequest,
    ccxt_errors.InsufficientFunds,
    ccxt_errors.InvalidOrder,
    ccxt_errors.NotSupported,
    ccxt_errors.OperationRejected,
)
_QUERY = re.compile(r"(\b(?:https?|wss?)://[^\s?]+)\?\S*")
_CODE = re.compile(
    r"""["'](?:code|retCode|sCode|ret_code|errcode|error_code|label|error|status)["']\s*:\s*["']?(-?[\w.]+)"""
)


def without_queries(text: str) -> str:
    """A text without the queries of the URLs in it: signatures and listen keys are in them."""
    return _QUERY.sub(r"\1", text)


class Foreign(Exception):
    """What ccxt, aiohttp or asyncio raised, as text.

    Their errors hold the request with its headers, and so do the frames that they came through: whoever prints an
    error with its local variables would print the key.
    """


def foreign(error: BaseException, hide: Callable[[str], str]) -> Foreign:
    """An error and what it came from as text, with the places, and without credentials and queries of URLs."""
    lines: list[str] = []
    each: BaseException | None = error
    while each is not None and len(lines) < 10:
        frames = traceback.extract_tb(each.__traceback__)[-3:]
        places = " < ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in reversed(frames))
        said = hide(without_queries(str(each)))[:500]
        lines.append(f"{type(each).__name__}: {said} ({places})")
        each = each.__cause__ or each.__context__
    return Foreign("\n".join(lines))


def explain(
    venue: Venue, request: Request, error: BaseException, hide: Callable[[str], str] = str
) -> TrailingError | None:
    """One of our errors for what a call raised, with that as text for its cause.

    Args:
        request: with the last HTTP reply that it got.
        hide: takes credentials out of a text.

    Returns:
        The error; `NoSuchStop` also for a look-up that was told that there is no such order. None: it is no failure,
        what was asked for is so already.
    """
    said = hide(without_queries(str(error)))[:300]
    explained = _explain(
        venue, request, error, f"{venue.name} {request.operation}: {type(error).__name__} {said}".rstrip()
    )
    if explained is not None:
        explained.__cause__ = foreign(error, hide)
    return explained


def _explain(venue: Venue, request: Request, error: BaseException, said: str) -> TrailingError | None:
    writes = request.operation in WRITES
    if request.operation == "amend_stop" and _tells(request.reply, venue.codes.unchanged):
        return None
    known = _by_code(venue.codes, request, said, venue.ban_seconds)
    if known is not None:
        return known
    if isinstance(error.__cause__, _NOT_SENT):
        return ExchangeUnreachable(said)
    if request.reply.status in _LIMITED_STATUS or isinstance(error, _LIMITED):
        return RateLimited(said, retry_after=retry_after(request.reply))
    if request.reply.status in _ON_THE_WAY:
        return ExchangeUnreachable(said)
    if isinstance(error, ccxt_errors.AuthenticationError):
        return AuthenticationFailed(said)
    if isinstance(error, ccxt_errors.InvalidNonce):
        return ClockOff(said)
    if isinstance(error, (ccxt_errors.OnMaintenance, ccxt_errors.ExchangeClosedByUser)):
        return ExchangeUnreachable(said)
    if isinstance(error, ccxt_errors.OrderNotFound) or (writes and isinstance(error, _REFUSALS)):
        return StopRejected(said)
    return OutcomeUnknown(said) if writes else ExchangeUnreachable(said)


def retry_after(reply: Reply) -> float:
    """Seconds until the venue takes requests again, as its reply says: as a number, or as a date beside its own."""
    said = reply.headers.get("retry-after", "")
    if said.isdecimal():
        return float(said)
    try:
        until, now = (parsedate_to_datetime(reply.headers.get(name, "")) for name in ("retry-after", "date"))
        return max(RETRY_AFTER, (until - now).total_seconds())
    except (TypeError, ValueError):  # neither of them, or one without a time zone
        return RETRY_AFTER


def _by_code(codes: Codes, request: Request, said: str, ban_seconds: float) -> TrailingError | None:
    reply = request.reply
    if _tells(reply, codes.banned):
        return RateLimited(said, retry_after=max(retry_after(reply), ban_seconds))
    if _tells(reply, codes.limited):
        return RateLimited(said, retry_after=retry_after(reply))
    if _tells(reply, codes.key) and reply.status not in _LIMITED_STATUS:
        return AuthenticationFailed(said)  # ccxt may take it for a rate limit, as if trying again were of use
    if _tells(reply, codes.clock):
        return ClockOff(said)
    if _tells(reply, codes.gone):
        return NoSuchStop(said) if request.operation in _OF_A_STOP else StopRejected(said)
    if _tells(reply, codes.busy):
        return ExchangeUnreachable(said)
    if request.operation not in WRITES:
        return ExchangeUnreachable(said) if _tells(reply, codes.refused) else None
    if _tells(reply, codes.would_trigger):
        return WouldTrigger(said)
    if _tells(reply, codes.nothing_to_reduce):
        return NothingToReduce(said)
    if _tells(reply, codes.duplicate | codes.too_many | codes.refused):
        return StopRejected(said)
    if _tells(reply, codes.unknown):
        return OutcomeUnknown(said)
    return None


def _tells(reply: Reply, wanted: frozenset[str]) -> bool:
    """Whether a reply has one of these codes, or one of the phrases among them."""
    found = frozenset(_CODE.findall(reply.body[:2000]))
    return bool(found & wanted) or any(" " in phrase and phrase in reply.body for phrase in wanted)
