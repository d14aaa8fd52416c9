"""Checks of the exchange's own trailing orders, for exchanges that have them."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import trio
import trio.lowlevel

from trailing.core.model import CallbackRange, Percent
from trailing.core.prices import ahead, behind, is_crossed, round_stop
from trailing.errors import UsageError, WouldTrigger
from trailing.exchanges.port import StopRequest
from trailing.testing.exchange_trial import Check, Trial, expect, new_id, refused


def _ahead(trial: Trial, percent: str) -> Decimal:
    """Return the price that is so many per cent ahead of the market."""
    return round_stop(trial.other_side, ahead(trial.side, trial.price, Percent(percent)), trial.market.price_tick)


def _callback(callbacks: CallbackRange) -> Percent:
    wide = Percent(10 * callbacks.least.value)
    return wide if callbacks.takes(wide) else callbacks.least


def _request(trial: Trial, callback: Percent, percent: str = "1") -> StopRequest:
    """Return a trailing order for the whole position with its activation so many per cent ahead of the market."""
    return StopRequest(trial.symbol, trial.side, 4 * trial.unit, _ahead(trial, percent), new_id(), callback=callback)


async def a_trailing_order_is_refused_if_the_market_has_none(trial: Trial) -> None:
    """Without this callback in `Market.native_callbacks` it raises `UsageError`, and no order exists."""
    await trial.enter()
    callbacks = trial.market.native_callbacks
    wrong = Percent(1) if callbacks is None else Percent(2 * callbacks.most.value)
    request = _request(trial, wrong)
    with refused(UsageError, f"a trailing order with a callback of {wrong}, where there is {callbacks}"):
        await trial.exchange.place_stop(request)
    await trial.expect_absent(request.client_order_id)


async def a_trailing_order_and_a_stop_are_live_together_and_shown_as_what_they_are(trial: Trial) -> None:
    """The trailing order is placed, listed, found and cancelled under its own id; the plain stop stays live."""
    callbacks = trial.market.native_callbacks
    if callbacks is None or not trial.market.two_stops:
        return
    await trial.enter()
    plain = await trial.place(trial.request())
    trailing = await trial.place(_request(trial, _callback(callbacks)))
    await trial.expect_live(plain)
    await trial.expect_live(trailing)
    with refused(UsageError, "amending a trailing order"):
        await trial.exchange.amend_stop(trailing, price=trailing.price, quantity=trailing.quantity)
    await trial.exchange.cancel_stop(trailing)
    await trial.expect_absent(trailing.client_order_id)
    await trial.expect_live(plain)


async def a_trailing_order_whose_activation_was_reached_is_refused(trial: Trial) -> None:
    """An activation at the price or beyond it raises `WouldTrigger`, and no order exists."""
    callbacks = trial.market.native_callbacks
    if callbacks is None:
        return
    await trial.enter()
    for price in (trial.price, trial.stop_price("1")):
        request = msgspec.structs.replace(_request(trial, _callback(callbacks)), price=price)
        with refused(WouldTrigger, f"a trailing order from {price} on with the market at {trial.price}"):
            await trial.exchange.place_stop(request)
        await trial.expect_absent(request.client_order_id)


async def a_trailing_order_triggers_behind_the_best_price_since_it_began(trial: Trial) -> None:
    """It triggers only after its activation, at its callback behind the best price since then."""
    callbacks = trial.market.native_callbacks
    if callbacks is None:
        return
    position = await trial.enter()
    request = _request(trial, _callback(callbacks))
    order = await trial.place(request)
    assert request.callback is not None
    tick = trial.market.price_tick
    await trial.bench.move_price(trial.symbol, trial.stop_price("5"), "last")  # further back than its callback
    await trial.expect_live(order)
    best = _ahead(trial, "3")
    limit = behind(trial.side, best, request.callback)
    before = round_stop(trial.side, limit, tick) + (2 * tick if trial.side == "long" else -2 * tick)
    for price in (request.price, best, before):
        await trial.bench.move_price(trial.symbol, price, "last")
        await trio.lowlevel.checkpoint()
    expect(not is_crossed(trial.side, before, limit), f"{before} is at or beyond {limit}")
    await trial.expect_live(order)
    async with trial.listen() as updates:
        beyond = behind(trial.side, round_stop(trial.side, limit, tick), 2 * tick)
        fills = await trial.trigger(order, updates, beyond)
    for fill in fills:
        trial.expect_fill(fill, order.client_order_id)
    closed = sum((fill.quantity for fill in fills), Decimal(0))
    expect(closed == position.quantity, f"a position of {position.quantity} was closed by {closed}")
    await trial.expect_flat()


TRAILING_CHECKS: tuple[Check, ...] = (
    a_trailing_order_is_refused_if_the_market_has_none,
    a_trailing_order_and_a_stop_are_live_together_and_shown_as_what_they_are,
    a_trailing_order_whose_activation_was_reached_is_refused,
    a_trailing_order_triggers_behind_the_best_price_since_it_began,
)
