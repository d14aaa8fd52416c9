"""Converts errors of ccxt into ours: by the venue's codes first, then by ccxt's class.

A request that may have been executed becomes `OutcomeUnknown`. `ExchangeUnreachable` is only for a request that was not
sent or not executed. ccxt's class alone is not enough: a truncated reply is a plain ExchangeError, and an HTML page with
status 200 is a success without an id.
"""

from __future__ import annotations

import asyncio
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
    CallRejected,
    EntryRejected,
    ExchangeUnreachable,
    NoSuchEntry,
    NoSuchPosition,
    NoSuchStop,
    NothingToReduce,
    OutcomeUnknown,
    RateLimited,
    StopRejected,
    TooManyStops,
    TrailingError,
    UsageError,
    WouldTrigger,
)
from trailing.exchanges.ccxt.error_codes import ErrorCodes
from trailing.exchanges.ccxt.http_replies import Redirected, RefusedReply, Reply, refusal_words
from trailing.exchanges.ccxt.session import Request
from trailing.exchanges.ccxt.venue import Venue
from trailing.exchanges.limiter import CALLS
from trailing.exchanges.port import escaped

WRITES: Final = frozenset(
    {
        "place_stop",
        "amend_stop",
        "cancel_stop",
        "cancel_order",
        "close_position",
        "place_entry",
        "cancel_entry",
        "enter",
        "clear_bridge",
        *CALLS,
    }
) - {"call_read"}
"""Operations that change something. All others are reads, which can be repeated. `trailing check` enters."""

_OF_A_STOP: Final = frozenset({"amend_stop", "cancel_stop", "cancel_order", "find_stop", "clear_bridge"})
"""Operations about a stop that was placed before, or about any order that was listed."""

_OF_AN_ENTRY: Final = frozenset({"cancel_entry", "find_entry"})
"""Operations about an entry that was placed before."""

_PLACING: Final = WRITES - {"cancel_stop", "cancel_order", "cancel_entry", "clear_bridge", *CALLS}
"""Operations whose order the venue checks against the price and the position."""


class ClockOff(ExchangeUnreachable):
    """The venue rejected a request for its timestamp: our clock, or our offset to the venue's clock, is wrong."""


RETRY_AFTER: Final = 1.0
"""Seconds to wait after a refusal without a Retry-After header."""

# Raised before any byte of the request was sent. The last one comes from a proxy that was to open a tunnel.
_NOT_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    socket.gaierror,
    aiohttp.ClientHttpProxyError,
)
_LIMITED_STATUS = frozenset({418, 429})
_ON_THE_WAY = frozenset({407, 511})  # from a proxy or a network that requires a login, not from the venue
_LIMITED = (ccxt_errors.RateLimitExceeded, ccxt_errors.DDoSProtection)
_REFUSALS = (
    ccxt_errors.ArgumentsRequired,
    ccxt_errors.BadRequest,
    ccxt_errors.InsufficientFunds,
    ccxt_errors.InvalidOrder,
    ccxt_errors.NotSupported,
    ccxt_errors.OperationRejected,
)
_NOT_THE_ARGUMENTS = (
    ccxt_errors.AuthenticationError,
    ccxt_errors.ExchangeClosedByUser,
    ccxt_errors.NetworkError,
    asyncio.CancelledError,
)
_QUERY = re.compile(r"(\b(?:https?|wss?)://[^\s?]+)\?\S*")
_CODE = re.compile(
    r"""["'](?:code|retCode|sCode|ret_code|errcode|error_code|label|error|status)["']\s*:\s*["']?(-?[\w.]+)"""
)


def without_queries(text: str) -> str:
    """Return a text without the queries of its URLs, because they contain signatures and listen keys."""
    return _QUERY.sub(r"\1", text)


class Foreign(Exception):
    """An error of ccxt, aiohttp or asyncio, as text.

    The errors themselves and the frames of their tracebacks contain the request with its headers. A crash reporter that
    prints local variables would print the key.
    """


def foreign(error: BaseException, hide: Callable[[str], str]) -> Foreign:
    """Return an error and its causes as text, with file and line, without credentials and queries of URLs."""
    lines: list[str] = []
    each: BaseException | None = error
    while each is not None and len(lines) < 10:
        frames = traceback.extract_tb(each.__traceback__)[-3:]
        places = " < ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in reversed(frames))
        message = escaped(hide(without_queries(str(each))), 500)
        lines.append(f"{type(each).__name__}: {message} ({places})")
        each = each.__cause__ or each.__context__
    return Foreign("\n".join(lines))


def explain(
    venue: Venue, request: Request, error: BaseException, hide: Callable[[str], str] = str
) -> TrailingError | None:
    """Convert an error that a call raised. The original becomes the cause, as text.

    Args:
        venue: the venue's row, with its error codes.
        request: the call, with the last HTTP reply.
        error: the error of ccxt, aiohttp or asyncio.
        hide: removes credentials from a text.

    Returns:
        Our error. A look-up whose reply says that there is no such order is a `NoSuchStop` or a `NoSuchEntry`. None: the call is no failure,
        because the venue replied that the order is unchanged.
    """
    shown = error.__cause__ if isinstance(error.__cause__, RefusedReply) else error  # ccxt's own text does not say why
    message = escaped(hide(without_queries(str(shown))), 300)
    about = f"{venue.name} {request.about}"
    explained = _explain(venue, request, error, f"{about}: {type(shown).__name__} {message}".rstrip())
    if type(explained) is EntryRejected and (said := refusal_words(request.reply.body)):
        explained = EntryRejected(f"{about}: {escaped(hide(said), 300)}")
    if explained is not None:
        explained.__cause__ = foreign(error, hide)
    return explained


def _explain(venue: Venue, request: Request, error: BaseException, message: str) -> TrailingError | None:
    writes, calls = request.operation in WRITES, request.operation in CALLS
    if calls and not request.parts and not isinstance(error, _NOT_THE_ARGUMENTS):  # ccxt refuses the arguments
        return UsageError(message)
    if request.operation == "amend_stop" and _contains(request.reply, venue.errors.unchanged):
        return None
    known = _by_code(venue, request, message)
    if known is not None:
        return known
    if isinstance(error.__cause__, _NOT_SENT):
        return ExchangeUnreachable(message)
    if isinstance(error.__cause__, Redirected) and error.__cause__.is_not_executed:
        return ExchangeUnreachable(message)
    if request.reply.status in _LIMITED_STATUS or isinstance(error, _LIMITED):
        return RateLimited(message, retry_after=retry_after(request.reply))
    if request.reply.status in _ON_THE_WAY:
        return ExchangeUnreachable(message)
    if isinstance(error, ccxt_errors.AuthenticationError):
        return AuthenticationFailed(message)
    if isinstance(error, ccxt_errors.InvalidNonce):
        return ClockOff(message)
    if isinstance(error, (ccxt_errors.OnMaintenance, ccxt_errors.ExchangeClosedByUser)):
        return ExchangeUnreachable(message)
    if isinstance(error, ccxt_errors.OrderNotFound) or ((writes or calls) and isinstance(error, _REFUSALS)):
        return _as_refusal(request.operation, StopRejected, message)
    return OutcomeUnknown(message) if writes else ExchangeUnreachable(message)


def retry_after(reply: Reply) -> float:
    """Return the seconds until the venue accepts requests again, from the reply's Retry-After: a number or a date."""
    value = reply.headers.get("retry-after", "")
    if value.isdecimal():
        return float(value)
    try:
        until, now = (parsedate_to_datetime(reply.headers.get(name, "")) for name in ("retry-after", "date"))
        return max(RETRY_AFTER, (until - now).total_seconds())
    except (TypeError, ValueError):  # one of them is missing, or has no time zone
        return RETRY_AFTER


def _by_code(venue: Venue, request: Request, message: str) -> TrailingError | None:
    codes, reply, most_stops = venue.errors, request.reply, venue.stops.most_stops
    if _contains(reply, codes.banned):
        return RateLimited(message, retry_after=max(retry_after(reply), venue.delays.ban_seconds))
    if _contains(reply, codes.limited):
        return RateLimited(message, retry_after=retry_after(reply))
    if _contains(reply, codes.key) and reply.status not in _LIMITED_STATUS:
        return AuthenticationFailed(message)  # ccxt may take it for a rate limit
    if _contains(reply, codes.clock):
        return ClockOff(message)
    if _contains(reply, codes.gone) or (request.operation == "clear_bridge" and _contains(reply, codes.unchanged)):
        if request.operation in _OF_AN_ENTRY:
            return NoSuchEntry(message)
        return _as_refusal(request.operation, NoSuchStop if request.operation in _OF_A_STOP else StopRejected, message)
    if _contains(reply, codes.busy):
        return ExchangeUnreachable(message)
    if request.operation in CALLS and _refusal_of(codes, reply) is not None:
        return CallRejected(message)
    if request.operation not in WRITES:
        return ExchangeUnreachable(message) if _contains(reply, codes.refused) else None
    if request.operation == "place_entry" and _contains(reply, codes.duplicate):
        return OutcomeUnknown(message)  # there is an order under that id, and a look-up shows which one
    refusal = _refusal_of(codes, reply)
    if refusal is TooManyStops and most_stops is not None:
        message = f"{message}; the account may have {most_stops} conditional orders"
    if refusal is not None:
        return _as_refusal(request.operation, refusal if request.operation in _PLACING else StopRejected, message)
    if _contains(reply, codes.unknown):
        return OutcomeUnknown(message)
    return None


def _as_refusal(operation: str, of_a_stop: type[StopRejected], message: str) -> TrailingError:
    """Return the error for a request that the venue refused. `of_a_stop` is the class for a stop or a close."""
    if operation in CALLS:
        return CallRejected(message)
    if operation == "place_entry":
        return EntryRejected(message)
    if operation in _OF_AN_ENTRY:  # it says nothing about the entry, and was not executed
        return ExchangeUnreachable(message)
    return of_a_stop(message)


def _refusal_of(codes: ErrorCodes, reply: Reply) -> type[StopRejected] | None:
    """Return the class of a refused order; None: the reply has no code of a refusal."""
    meanings: tuple[tuple[type[StopRejected], frozenset[str]], ...] = (
        (WouldTrigger, codes.would_trigger),
        (NoSuchPosition, codes.no_position),
        (NothingToReduce, codes.nothing_to_reduce),
        (TooManyStops, codes.too_many),
        (StopRejected, codes.duplicate | codes.refused),
    )
    return next((kind for kind, wanted in meanings if _contains(reply, wanted)), None)


def _contains(reply: Reply, wanted: frozenset[str]) -> bool:
    """Return whether a reply contains one of these codes or phrases."""
    found = frozenset(_CODE.findall(reply.body[:2000]))
    return bool(found & wanted) or any(" " in phrase and phrase in reply.body for phrase in wanted)
