"""Checks of the reads for messages and profits: the open orders of a symbol, and the executions of an order."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import trio

from trailing.core.model import Fill
from trailing.errors import NoSuchStop, UsageError
from trailing.testing.exchange_trial import CALL_SECONDS, Check, Trial, expect, new_id, refused, within


async def an_open_order_is_listed_by_its_symbol(trial: Trial) -> None:
    """`open_orders` shows a stop with its side, quantity and trigger price, and not under another symbol."""
    await trial.enter()
    placed = await trial.place(trial.request("2"))
    await trio.sleep(trial.exchange.orders_read_lag)
    with within(CALL_SECONDS, "open_orders"):
        found = [order for order in await trial.exchange.open_orders(trial.symbol) if order.order_id == placed.order_id]
    expect(len(found) == 1, f"open_orders lists {placed} {len(found)} times")
    shown = (found[0].symbol, found[0].client_order_id, found[0].side, found[0].quantity, found[0].trigger_price)
    wanted = (placed.symbol, placed.client_order_id, placed.side, placed.quantity, placed.price)
    expect(shown == wanted, f"live is {placed}, open_orders shows {found[0]}")
    expect(found[0].order_side == ("sell" if trial.side == "long" else "buy"), f"open_orders shows {found[0]}")
    expect(bool(found[0].kind), f"{found[0]} has no kind")
    others = [order.order_id for order in await trial.exchange.open_orders(trial.other_symbol)]
    expect(placed.order_id not in others, f"open_orders of {trial.other_symbol} shows {placed}")
    await trial.exchange.cancel_stop(placed)
    await trio.sleep(trial.exchange.orders_read_lag)
    left = [order.order_id for order in await trial.exchange.open_orders(trial.symbol)]
    expect(placed.order_id not in left, f"open_orders shows {placed}, which is cancelled")


async def any_open_order_can_be_cancelled(trial: Trial) -> None:
    """`cancel_order` cancels an order without our tag, as `open_orders` lists it."""
    await trial.enter()
    stop = await trial.place(trial.request("2"))
    await trio.sleep(trial.exchange.orders_read_lag)
    found = [order for order in await trial.exchange.open_orders(trial.symbol) if order.order_id == stop.order_id]
    expect(len(found) == 1, f"open_orders lists {stop} {len(found)} times")
    expect(found[0].is_conditional and not found[0].covers_position, f"{stop} waits for a trigger, and not {found[0]}")
    with within(CALL_SECONDS, "cancel_order"):
        await trial.exchange.cancel_order(found[0])
    await trio.sleep(trial.exchange.orders_read_lag)
    left = await trial.exchange.find_stop(trial.symbol, stop.client_order_id)
    expect(left is None, f"{found[0]} was cancelled, and {left} is live")
    with refused(NoSuchStop, "cancelling a cancelled order"):
        await trial.exchange.cancel_order(found[0])


async def the_executions_of_an_order_can_be_read(trial: Trial) -> None:
    """`order_fills` states the fills of a triggered stop and of a close, and none of a live stop."""
    since = datetime.now(UTC) - timedelta(days=10)
    position = await trial.enter()
    live = await trial.place(trial.request("2"))
    try:
        with within(CALL_SECONDS, "order_fills"):
            fills = await trial.exchange.order_fills(trial.symbol, live.client_order_id, since)
    except UsageError:  # the exchange can't state the executions of an order
        return
    expect(not fills, f"{live} is live, and order_fills states {fills}")
    closing = new_id()
    closed = await trial.exchange.close_position(trial.symbol, trial.side, 2 * trial.unit, closing)
    await _expect_stated(trial, closing, since, [closed])
    async with trial.listen() as updates:
        pushed = await trial.trigger(live, updates)
    stated = await _expect_stated(trial, live.client_order_id, since, pushed)
    expect(sum(fill.quantity for fill in stated) == position.quantity - 2 * trial.unit, f"order_fills states {stated}")
    later = await trial.exchange.order_fills(trial.symbol, live.client_order_id, datetime.now(UTC) + timedelta(hours=1))
    expect(not later, f"order_fills since an hour from now states {later}")


async def _expect_stated(trial: Trial, own_id: str, since: datetime, fills: Sequence[Fill]) -> Sequence[Fill]:
    """Check that the stated executions of an order have the quantity and the value of its fills, and return them."""
    await trio.sleep(max(trial.exchange.orders_read_lag, trial.exchange.positions_read_lag))
    with within(CALL_SECONDS, "order_fills"):
        stated = await trial.exchange.order_fills(trial.symbol, own_id, since)
    for fill in stated:
        trial.expect_fill(fill, own_id)
    both = [(_sum(of), sum((fill.quantity * fill.price for fill in of), Decimal(0))) for of in (fills, stated)]
    expect(both[0] == both[1], f"the fills of {own_id} are {fills}, order_fills states {stated}")
    times = [fill.at for fill in stated]
    expect(times == sorted(times), f"order_fills states {stated}, not the oldest first")
    return stated


def _sum(fills: Sequence[Fill]) -> Decimal:
    return sum((fill.quantity for fill in fills), Decimal(0))


ORDER_READ_CHECKS: tuple[Check, ...] = (
    an_open_order_is_listed_by_its_symbol,
    any_open_order_can_be_cancelled,
    the_executions_of_an_order_can_be_read,
)
