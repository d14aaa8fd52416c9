"""Checks of positions, fills, prices and pushed updates, for every exchange."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count, pairwise
from typing import get_args

import trio

from trailing.core.model import Source
from trailing.core.prices import behind
from trailing.errors import NothingToReduce, UsageError
from trailing.exchanges.limiter import OPERATIONS
from trailing.testing.exchange_trial import Check, Trial, expect, new_id, refused

_SOURCES: tuple[Source, ...] = get_args(Source)


async def its_attributes_make_sense(trial: Trial) -> None:
    """Names are texts, times are finite seconds of at least 0, and a market has the requested symbol."""
    exchange = trial.exchange
    for name in (exchange.name, exchange.account):
        expect(isinstance(name, str) and bool(name), f"a name is {name!r}")
    for name in ("orders_read_lag", "positions_read_lag", "request_validity"):
        expect_seconds(getattr(exchange, name), name)
    for operation in OPERATIONS:
        expect_seconds(exchange.rate_limit_delay(operation), f"rate_limit_delay of {operation}")
    expect(trial.market.symbol == trial.symbol, f"the market of {trial.symbol} is {trial.market}")


def expect_seconds(seconds: float, name: str) -> None:
    """Check that a number is finite and at least 0."""
    expect(math.isfinite(seconds) and seconds >= 0, f"{name} gives {seconds} s")


async def an_entered_position_is_reported(trial: Trial) -> None:
    """The report has its side, quantity and entry price, `positions_read_lag` after the entry."""
    position = await trial.enter()
    await trio.sleep(trial.exchange.positions_read_lag)
    reports = [report for report in await trial.exchange.positions() if report.symbol == trial.symbol]
    shown = [(report.side, report.quantity, report.entry_price) for report in reports]
    wanted = [(position.side, position.quantity, position.entry_price)]
    expect(shown == wanted, f"entered was {position}, positions reports {reports}")


async def both_sides_are_open_at_once_only_if_it_is_hedged(trial: Trial) -> None:
    """A hedged account holds a long and a short of one symbol, each with its stop; another account never holds both."""
    position = await trial.enter()
    try:
        opposite = await trial.enter(trial.other_side)
    except UsageError:
        expect(not trial.exchange.hedged, "a hedged account refused the other side")
        return
    held, opposite_held = await trial.held(trial.side), await trial.held(trial.other_side)
    if not trial.exchange.hedged:
        expect(not (held and opposite_held), f"a one-way account reports {held} and the other way {opposite_held}")
        return
    both, wanted = (held, opposite_held), (position.quantity, opposite.quantity)
    expect(both == wanted, f"entered were {wanted}, reported are {both}")
    order = await trial.place(trial.request())
    await trial.expect_live(order)
    async with trial.listen() as updates:
        await trial.trigger(order, updates)
    both = (await trial.held(trial.side), await trial.held(trial.other_side))
    expect(both == (Decimal(0), opposite.quantity), f"after the {trial.side} was stopped out, reported are {both}")


async def a_triggered_stop_is_filled_and_reported(trial: Trial) -> None:
    """An `OrderUpdate` has a `Fill` under the client order id; then neither position nor stop is left."""
    position = await trial.enter()
    order = await trial.place(trial.request())
    async with trial.listen() as updates:
        fills = await trial.trigger(order, updates)
    for fill in fills:
        trial.expect_fill(fill, order.client_order_id)
    filled = sum((fill.quantity for fill in fills), Decimal(0))
    expect(filled == position.quantity, f"a stop of {order.quantity} pushed fills of {filled}")
    await trial.expect_flat()
    await trial.expect_absent(order.client_order_id)


async def a_stop_is_triggered_by_its_own_source(trial: Trial) -> None:
    """The price of another source does not trigger it. A source that the exchange does not take raises `UsageError`."""
    for source in _SOURCES:
        await trial.enter()
        for each in _SOURCES:
            await trial.bench.move_price(trial.symbol, trial.price, each)
        request = trial.request(source=source)
        try:
            order = await trial.place(request)
        except UsageError:
            await trial.expect_absent(request.client_order_id)
            await trial.exchange.close_position(trial.symbol, trial.side, 4 * trial.unit, new_id())
            continue
        for other in _SOURCES:
            if other != source:
                beyond = behind(trial.side, order.price, trial.market.price_tick)
                await trial.bench.move_price(trial.symbol, beyond, other)
        await trial.expect_live(order)
        async with trial.listen() as updates:
            await trial.trigger(order, updates)
        await trial.expect_flat()


async def closing_reduces_and_never_crosses_zero(trial: Trial) -> None:
    """Close a part, then more than is left, then a flat position: `NothingToReduce`."""
    position = await trial.enter()
    part = 2 * trial.unit
    client_order_id = new_id()
    fill = await trial.exchange.close_position(trial.symbol, trial.side, part, client_order_id)
    trial.expect_fill(fill, client_order_id)
    held = await trial.held(trial.side)
    expect((fill.quantity, held) == (part, position.quantity - part), f"{part} closed by {fill}, held are {held}")
    client_order_id = new_id()
    fill = await trial.exchange.close_position(trial.symbol, trial.side, position.quantity, client_order_id)
    trial.expect_fill(fill, client_order_id)
    expect(fill.quantity == position.quantity - part, f"held were {position.quantity - part}, closed by {fill}")
    await trial.expect_flat()
    with refused(NothingToReduce, "closing a position that is flat"):
        await trial.exchange.close_position(trial.symbol, trial.side, part, new_id())
    await trial.expect_flat()


async def a_price_is_of_the_requested_source(trial: Trial) -> None:
    """Read each source after the sources have diverged. A source that the exchange does not have raises `UsageError`."""
    prices = {source: trial.price + steps * trial.market.price_tick for steps, source in enumerate(_SOURCES, 1)}
    for source, price in prices.items():
        await trial.bench.move_price(trial.symbol, price, source)
    for source, price in prices.items():
        try:
            tick = await trial.exchange.price(trial.symbol, source)
        except UsageError:
            continue
        shown = (tick.symbol, tick.source, tick.price)
        expect(shown == (trial.symbol, source, price), f"the {source} price is {price}, read was {tick}")
        trial.expect_recent(tick.at)


async def ticks_come_of_the_subscribed_symbols_only(trial: Trial) -> None:
    """`set_subscriptions` replaces all subscriptions: a symbol that it leaves out is not pushed any more."""
    prices = (trial.price + steps * trial.market.price_tick for steps in count(1))
    async with trial.listen() as updates:
        await trial.exchange.set_subscriptions({trial.symbol})
        tick = await trial.next_tick(updates, trial.symbol, never=trial.other_symbol, prices=prices)
        trial.expect_recent(tick.at)
        await trial.exchange.set_subscriptions({trial.symbol, trial.other_symbol})
        await trial.next_tick(updates, trial.other_symbol, never=None, prices=prices)
        await trial.exchange.set_subscriptions({trial.other_symbol})
        # The other symbol's ticks may still come until the change has taken effect.
        await trial.next_tick(updates, trial.other_symbol, never=None, prices=prices)
        await trial.next_tick(updates, trial.other_symbol, never=trial.symbol, prices=prices)


async def candles_are_closed_and_in_order(trial: Trial) -> None:
    """They have the requested symbol, source and time, and they have ended. An exchange may have none."""
    await trial.bench.move_price(trial.symbol, trial.price, "last")
    since = datetime(2020, 1, 1, tzinfo=UTC)
    candles = await trial.exchange.candles(trial.symbol, "last", since)
    for candle in candles:
        named = (candle.symbol, candle.source)
        expect(named == (trial.symbol, "last") and candle.opened_at >= since, f"asked was since {since}, got {candle}")
    in_order = all(one.opened_at < other.opened_at for one, other in pairwise(candles))
    expect(in_order, f"candles are not in order: {candles}")


MARKET_CHECKS: tuple[Check, ...] = (
    its_attributes_make_sense,
    an_entered_position_is_reported,
    both_sides_are_open_at_once_only_if_it_is_hedged,
    a_triggered_stop_is_filled_and_reported,
    a_stop_is_triggered_by_its_own_source,
    closing_reduces_and_never_crosses_zero,
    a_price_is_of_the_requested_source,
    ticks_come_of_the_subscribed_symbols_only,
    candles_are_closed_and_in_order,
)
