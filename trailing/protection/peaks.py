"""Peaks that passed while nobody listened come back from the exchange's candles."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from trailing.core.candles import bar_began
from trailing.core.model import Candle
from trailing.events import PeaksRead
from trailing.protection.orders import Orders
from trailing.protection.protection import Missed, Protection

BAR = timedelta(minutes=1)
"""The bars that an exchange's candles are asked for in; the one in which the silence began belongs to it."""

READ_AGAIN = 5.0
"""Seconds until candles are asked for again that could not be read: a busy venue's limits count by the minute."""


def begins_at(protection: Protection, missed: Missed) -> datetime:
    """From when on a whole candle tells of a silence: it lies in the position's life."""
    return max(missed.since - BAR, protection.position.opened_at)


def is_told_by_candles(protection: Protection, missed: Missed) -> bool:
    """Whether a whole candle may tell of a silence. Where none opened in it, there is nothing to read, now or later."""
    since = begins_at(protection, missed)
    bar = bar_began(since, BAR)
    return (bar if bar == since else bar + BAR) < missed.until


def tell_unread(orders: Orders, protection: Protection, missed: Missed) -> None:
    """Say that a silence stays unknown, and how long it was."""
    _tell(orders, protection, missed.since, missed.until, missed.until, ())


async def catch_up(orders: Orders, protection: Protection, missed: Missed) -> None:
    """Take in the whole candles of a silence that lie in the position's life, and the price now, which alone crosses.

    The bar in which the silence ended is read once it is closed: a minute later it is done again, and for the last time.

    Raises:
        ExchangeError: they can't be read now.
    """
    since = begins_at(protection, missed)
    candles = await orders.read_candles(protection, since)
    price = await orders.read_price(protection)
    now = orders.clock.now()
    protection.want(protection.stop.caught_up(candles, price, now))
    if protection.missed is not missed:
        return  # it went silent again meanwhile: all of it is read anew
    ends = candles[-1].opened_at + timedelta(seconds=candles[-1].seconds) if candles else since
    if ends < missed.until and not missed.last_try:
        protection.missed = msgspec.structs.replace(missed, read_at=now + BAR.total_seconds(), last_try=True)
        return
    protection.missed = None
    _tell(orders, protection, since, missed.until, max(ends, missed.until), candles)


def _tell(
    orders: Orders,
    protection: Protection,
    since: datetime,
    until: datetime,
    covered_until: datetime,
    candles: Sequence[Candle],
) -> None:
    covered = sum(candle.seconds for candle in candles)
    orders.tell(
        protection,
        PeaksRead,
        since=since,
        until=until,
        source=protection.plan.trigger,
        candles=len(candles),
        missing=max(0.0, (covered_until - since).total_seconds() - covered),
        best=protection.stop.best,
    )
