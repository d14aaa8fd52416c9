"""Checks of stop orders, for every exchange."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal

import msgspec
import trio

from trailing.core.model import StopOrder
from trailing.errors import ExchangeUnreachable, NothingToReduce, StopRejected, UsageError, WouldTrigger
from trailing.testing.exchange_trial import CALL_SECONDS, Check, Trial, expect, new_id, refused


async def a_placed_stop_can_be_listed_found_moved_and_cancelled(trial: Trial) -> None:
    """List and look-up show each step of a stop, `orders_read_lag` after its acknowledgement."""
    await trial.enter()
    placed = await trial.place(trial.request("2"))
    await trial.expect_live(placed)
    moved = await _move(trial, placed, trial.stop_price("1"))
    await trial.expect_live(moved)
    await trial.exchange.cancel_stop(moved)
    await trial.expect_absent(moved.client_order_id)


async def _move(trial: Trial, order: StopOrder, price: Decimal) -> StopOrder:
    if trial.market.can_amend:
        amended = await trial.exchange.amend_stop(order, price=price, quantity=order.quantity)
        wanted = msgspec.structs.replace(order, price=price, order_id=amended.order_id)
        expect(amended == wanted, f"wanted was {wanted}, acknowledged is {amended}")
        return amended
    if trial.market.two_stops:
        second = await trial.place(trial.request("1"))
        await trial.exchange.cancel_stop(order)
    else:
        await trial.exchange.cancel_stop(order)
        second = await trial.place(trial.request("1"))
    await trial.expect_absent(order.client_order_id)
    return second


async def a_position_has_two_stops_at_once_if_the_market_says_so(trial: Trial) -> None:
    """With `Market.two_stops` both are live, and cancelling one leaves the other."""
    if not trial.market.two_stops:
        return
    await trial.enter()
    first = await trial.place(trial.request("2"))
    second = await trial.place(trial.request("1"))
    await trial.expect_live(first)
    await trial.expect_live(second)
    await trial.exchange.cancel_stop(first)
    await trial.expect_absent(first.client_order_id)
    await trial.expect_live(second)


async def a_stop_with_another_tag_is_listed(trial: Trial) -> None:
    """`open_stops` shows all stops of the account, also foreign ones."""
    await trial.enter()
    foreign = await trial.place(msgspec.structs.replace(trial.request(), client_order_id=f"x{new_id()}"))
    await trial.expect_live(foreign)


async def a_client_order_id_that_was_used_is_refused(trial: Trial) -> None:
    """A second request with the same id raises `StopRejected`, and the first stop stays live."""
    await trial.enter()
    first = await trial.place(trial.request("2"))
    again = msgspec.structs.replace(trial.request("1"), client_order_id=first.client_order_id)
    with refused(StopRejected, "a second stop under the same client order id"):
        await trial.exchange.place_stop(again)
    await trial.expect_live(first)


async def a_stop_that_would_trigger_is_refused(trial: Trial) -> None:
    """A stop at the price or beyond it raises `WouldTrigger`, and no order exists."""
    await trial.enter()
    beyond = 2 * trial.price - trial.stop_price("1")
    for price in (trial.price, beyond):
        request = msgspec.structs.replace(trial.request(), price=price)
        with refused(WouldTrigger, f"a stop at {price} with the market at {trial.price}"):
            await trial.exchange.place_stop(request)
        await trial.expect_absent(request.client_order_id)


async def a_stop_without_a_position_is_refused(trial: Trial) -> None:
    """A stop for a flat position raises `NothingToReduce`, and no order exists."""
    for source in ("last", "mark", "index"):
        await trial.bench.move_price(trial.symbol, trial.price, source)
    request = trial.request()
    with refused(NothingToReduce, "a stop with no position"):
        await trial.exchange.place_stop(request)
    await trial.expect_absent(request.client_order_id)


async def a_stop_never_closes_more_than_the_position(trial: Trial) -> None:
    """A stop that is larger than the position is refused, or closes the position only."""
    position = await trial.enter()
    request = msgspec.structs.replace(trial.request(), quantity=2 * position.quantity)
    async with trial.listen() as updates:
        try:
            order = await trial.exchange.place_stop(request)
        except StopRejected:
            await trial.expect_absent(request.client_order_id)
            return
        fills = await trial.trigger(order, updates)
    closed = sum((fill.quantity for fill in fills), Decimal(0))
    expect(closed <= position.quantity, f"a position of {position.quantity} was closed by {closed}")
    await trial.expect_flat()


async def a_price_off_the_tick_is_refused_or_tightened(trial: Trial) -> None:
    """Rounding never loosens: the stop is refused, or is on the tick and not further away."""
    await trial.enter()
    wanted = trial.stop_price("2") + trial.market.price_tick / 2
    request = msgspec.structs.replace(trial.request(), price=wanted)
    try:
        order = await trial.exchange.place_stop(request)
    except (StopRejected, UsageError):
        await trial.expect_absent(request.client_order_id)
        return
    expect(not order.price % trial.market.price_tick, f"a stop at {order.price}, the tick is {trial.market.price_tick}")
    expect(not trial.is_looser(order.price, wanted), f"a stop wanted at {wanted} was loosened to {order.price}")
    await trial.expect_live(order)


async def a_stop_that_is_gone_can_not_be_cancelled_or_amended(trial: Trial) -> None:
    """Both raise `StopRejected`, so that a filled stop is not mistaken for a cancelled one."""
    await trial.enter()
    order = await trial.place(trial.request("2"))
    await trial.exchange.cancel_stop(order)
    with refused(StopRejected, "cancelling a stop that is gone"):
        await trial.exchange.cancel_stop(order)
    if trial.market.can_amend:
        with refused(StopRejected, "amending a stop that is gone"):
            await trial.exchange.amend_stop(order, price=trial.stop_price("1"), quantity=order.quantity)
    await trial.expect_absent(order.client_order_id)


async def a_look_up_shows_the_outcome_of_a_cancelled_call(trial: Trial) -> None:
    """Cancel a caller of `place_stop` at several moments: `find_stop` waits for its request, and its answer is final."""
    await trial.enter()
    started_at = trio.current_time()
    await trial.exchange.cancel_stop(await trial.place(trial.request()))
    seconds = (trio.current_time() - started_at) / 2
    absent = []
    for share in (0, 0.1, 0.3, 0.6, 0.9):
        request = trial.request()
        # If a caller's deadline is over before its request is sent, the request is not sent.
        with suppress(ExchangeUnreachable), trio.move_on_after(seconds * share):
            await trial.exchange.place_stop(request)
        found = await trial.found(request.client_order_id)
        if trial.exchange.orders_read_lag:
            await trio.sleep(trial.exchange.orders_read_lag)
            found = await trial.found(request.client_order_id)
        if found is None:
            absent.append(request.client_order_id)
        else:
            trial.expect_as_wanted(found, request)
            await trial.expect_live(found)
            await trial.exchange.cancel_stop(found)
    await trio.sleep(trial.exchange.request_validity + min(seconds, CALL_SECONDS))
    for client_order_id in absent:
        listed = await trial.listed(client_order_id)
        expect(listed is None, f"find_stop said that {client_order_id} was absent, later there is {listed}")


ORDER_CHECKS: tuple[Check, ...] = (
    a_placed_stop_can_be_listed_found_moved_and_cancelled,
    a_position_has_two_stops_at_once_if_the_market_says_so,
    a_stop_with_another_tag_is_listed,
    a_client_order_id_that_was_used_is_refused,
    a_stop_that_would_trigger_is_refused,
    a_stop_without_a_position_is_refused,
    a_stop_never_closes_more_than_the_position,
    a_price_off_the_tick_is_refused_or_tightened,
    a_stop_that_is_gone_can_not_be_cancelled_or_amended,
    a_look_up_shows_the_outcome_of_a_cancelled_call,
)
