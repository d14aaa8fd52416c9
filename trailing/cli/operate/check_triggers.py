"""The steps of a check that end a position: a stop triggers by each price source, and a close at market."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import trio

from trailing.cli.operate.check_account import plain
from trailing.cli.operate.check_context import (
    UPDATE_SECONDS,
    Check,
    NotMet,
    NotOffered,
    Skipped,
    eventually,
    milliseconds,
)
from trailing.core.model import Percent, Source, StopOrder
from trailing.errors import NoSuchStop, NothingToReduce, UsageError, WouldTrigger

NEAR: Final = Percent("0.01")
"""Distance behind the price of a stop that must trigger, so that a small movement reaches it."""

ATTEMPT_SECONDS: Final = 15.0
"""Seconds after which a stop that has not triggered is placed again, nearer to the price."""

AGAIN_SECONDS: Final = 0.2
"""Seconds before the next attempt if the price was beyond the stop already."""

_POSITION_SECONDS = 1.0
"""Seconds between two reads of the position on a venue without a stream."""


async def trigger(check: Check, source: Source) -> str:
    """Place a stop right behind the price, and wait until the price reaches it."""
    if source not in check.exchange.venue.stops.sources:
        raise NotOffered(f"stops don't trigger by the {source} price on this venue")
    await check.need_position()
    since = len(check.updates.updates)
    with trio.move_on_after(check.trigger_seconds) as scope:
        order, placed_at = await _place_until_triggered(check, source)
    if scope.cancelled_caught:
        await check.account.cancel_stops()
        raise Skipped(f"the {source} price did not reach a stop {NEAR} away within {check.trigger_seconds:g} s")
    if not check.has_stream:
        await check.until_held(Decimal(0))
        check.account.note_ended(order.client_order_id)
        return f"at {plain(order.price)}: flat {milliseconds(trio.current_time() - placed_at)} after it was placed"
    started = await check.update_of(order.client_order_id, ("triggered", "partial", "filled", "cancelled"), since)
    ended = await check.update_of(order.client_order_id, ("filled", "cancelled"), since)
    if started is None or ended is None:
        raise NotMet(f"no update that the triggered stop has ended came within {UPDATE_SECONDS:g} s")
    if ended.status == "cancelled":
        raise NotMet(f"the triggered stop was cancelled by the exchange: {ended.reason or 'without a reason'}")
    position = await check.say_position(Decimal(0), since, started.at)
    await check.until_held(Decimal(0))
    check.account.note_ended(order.client_order_id)
    fills = check.fills_of(order.client_order_id, since)
    filled = sum((fill.quantity for fill in fills), Decimal(0))
    if filled != check.account.quantity:
        raise NotMet(
            f"the fills that were pushed add up to {plain(filled)}, and not to {plain(check.account.quantity)}"
        )
    count = "1 fill" if len(fills) == 1 else f"{len(fills)} fills"
    return (
        f"at {plain(order.price)}: first update {milliseconds(started.at - placed_at)} after it was placed, filled "
        f"{milliseconds(ended.at - started.at)} later at {plain(fills[-1].price)} with {count}{position}"
        f"{await _say_trades(check, order.client_order_id, filled)}"
    )


async def close(check: Check) -> str:
    """Close a position at market, and a flat one too, which must be refused."""
    await check.need_position()
    since, started = len(check.updates.updates), trio.current_time()
    client_order_id, fill = await check.account.close()
    seconds = trio.current_time() - started
    if fill.quantity != check.account.quantity:
        raise NotMet(f"closed were {plain(fill.quantity)}, and not {plain(check.account.quantity)}")
    words = await check.say_update(client_order_id, "filled", since, started)
    words += await check.say_position(Decimal(0), since, started)
    await check.until_held(Decimal(0))
    words += await _say_trades(check, client_order_id, fill.quantity)
    try:
        await check.account.close()
    except NothingToReduce as error:
        return f"closed at {plain(fill.price)} after {milliseconds(seconds)}{words}; a second close: {error}"
    raise NotMet("a close of a flat position is not refused")


async def _place_until_triggered(check: Check, source: Source) -> tuple[StopOrder, float]:
    """Place a stop right behind the price, again and again, until one triggers. Return it, and when it was placed."""
    while True:
        since = len(check.updates.updates)
        now = await check.price(source)
        price = check.stop_price(now, max(NEAR.of(now), check.market.price_tick))
        started = trio.current_time()
        try:
            order = await check.account.place(check.account.request(price, source))
        except WouldTrigger:
            await trio.sleep(AGAIN_SECONDS)
            continue
        if await _is_triggered(check, order, since):
            return order, started
        try:
            await check.account.cancel(order)
        except NoSuchStop:
            return order, started  # it has triggered meanwhile


async def _is_triggered(check: Check, order: StopOrder, since: int) -> bool:
    """Return whether a stop triggers within `ATTEMPT_SECONDS`."""
    if check.has_stream:
        statuses = ("triggered", "partial", "filled", "cancelled")
        return await check.update_of(order.client_order_id, statuses, since, ATTEMPT_SECONDS) is not None
    with trio.move_on_after(ATTEMPT_SECONDS):
        while True:
            if not await check.held():
                return True
            await trio.sleep(_POSITION_SECONDS)
    return False


async def _say_trades(check: Check, client_order_id: str, quantity: Decimal) -> str:
    """Return words about the venue's list of trades. Raises NotMet if it states another quantity."""

    async def read() -> Decimal:
        return await check.traded(client_order_id)

    try:
        traded, seconds = await eventually(read, lambda traded: traded == quantity, check.exchange.orders_read_lag)
    except UsageError:
        return "; its trades can't be read on this venue"
    if traded != quantity:
        raise NotMet(f"order_fills adds up to {plain(traded)} after {seconds:.1f} s, and not to {plain(quantity)}")
    return f"; listed in the trades after {milliseconds(seconds)}"
