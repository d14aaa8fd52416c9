"""The part of a venue's row that says what the codes of its replies mean."""

from __future__ import annotations

import msgspec


class ErrorCodes(msgspec.Struct, frozen=True, kw_only=True):
    """What the codes of a venue's replies mean. An entry with a blank is a phrase of a message. Source of all: API.

    Args:
        would_trigger: the price is already at or beyond the stop.
        no_position: there is no such position. Only codes and phrases that say exactly that.
        nothing_to_reduce: a reduce-only order has nothing to reduce. There is no position, it is too small, or other reduce-only
            orders cover it.
        duplicate: the client order id was used before.
        too_many: no further stop is accepted, because the account or the symbol has too many.
        gone: there is no such live order: it was filled, was cancelled, or never existed.
        unchanged: the reply to an amendment that changes nothing.
        busy: not executed now; the same request may succeed later.
        refused: other refusals, which ccxt does not know, or takes for invalid credentials.
        key: the credentials are invalid, or lack the permission.
        clock: the request's timestamp is too far from the venue's time. It was not executed.
        limited: the rate limit. The request was not executed.
        banned: the address is banned for `Delays.ban_seconds`. The request was not executed.
        unknown: the venue does not know whether the request was executed.
    """

    would_trigger: frozenset[str] = frozenset()
    no_position: frozenset[str] = frozenset()
    nothing_to_reduce: frozenset[str] = frozenset()
    duplicate: frozenset[str] = frozenset()
    too_many: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()
    unchanged: frozenset[str] = frozenset()
    busy: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()
    key: frozenset[str] = frozenset()
    clock: frozenset[str] = frozenset()
    limited: frozenset[str] = frozenset()
    banned: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()
