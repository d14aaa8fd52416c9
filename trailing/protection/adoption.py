"""Finding a position that somebody opened by hand, so that it can be protected like any other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from typing import TypeVar

import trio

from trailing.core.account import PositionReport
from trailing.core.model import Position, Side, StopOrder, check_money, check_side, check_symbol
from trailing.core.plan import TrailPlan
from trailing.core.prices import is_tighter
from trailing.errors import AuthenticationFailed, ExchangeUnreachable, RateLimited, UsageError
from trailing.protection.opening import backoffs
from trailing.protection.order_ids import mark_of
from trailing.protection.orders import Orders
from trailing.protection.supervision import NOT_OURS, Supervision

T = TypeVar("T")


async def find_position(
    orders: Orders,
    supervision: Supervision,
    symbol: str,
    side: Side,
    plan: TrailPlan,
    stop_price: Decimal | None,
    *,
    ends_at: float,
) -> tuple[Position, StopOrder | None]:
    """A position as the exchange reports it, opened now: what passed before is not its own. And a stop of ours behind it.

    A read that fails is tried again until the deadline. Where a stop is given, the exchange's own price is read too, so
    that the stop is checked against it. A stop of ours is one that was left standing, the tightest of them, with the
    plan's trigger; where the position is claimed, it is the claim's affair.

    Args:
        ends_at: the deadline, on the running clock.

    Raises:
        UsageError: there is no such position; absence is believed as `Orders.read_position` does.
        ExchangeUnreachable: the exchange could not be read before the deadline.
        AuthenticationFailed: it does not take the credentials.
    """
    check_symbol("symbol", symbol)
    check_side("side", side)
    if stop_price is not None:
        check_money("stop_price", stop_price)
    stops: Sequence[StopOrder] = ()
    claimed = supervision.registry.get(symbol, side) is not None
    with trio.move_on_at(ends_at) as scope:
        report = await _patiently(lambda: orders.find_position(symbol, side, call_seconds=plan.call_seconds))
        if report is not None:
            stops = await _patiently(lambda: orders.find_stops(symbol, side, call_seconds=plan.call_seconds))
        if report is not None and stop_price is not None:
            supervision.feed.take(
                await _patiently(lambda: orders.find_price(symbol, plan.trigger, call_seconds=plan.call_seconds))
            )
    if scope.cancelled_caught or orders.clock.now() >= ends_at:
        raise ExchangeUnreachable(f"the {side} position of {symbol} was not read before the deadline")
    if report is None:
        raise UsageError(f"the exchange reports no {side} position of {symbol} that could be adopted")
    claimed = claimed or supervision.registry.get(symbol, side) is not None
    standing = None if claimed else _standing(supervision, stops, side, plan)
    return _as_position(orders, supervision, report, stop_price), standing


def _standing(supervision: Supervision, stops: Sequence[StopOrder], side: Side, plan: TrailPlan) -> StopOrder | None:
    marks, standing = supervision.reconciliation.marks, None
    for order in stops:
        plain = order.source == plan.trigger and order.callback is None
        ours = mark_of(order.client_order_id) in marks and plain
        if ours and (standing is None or is_tighter(side, order.price, standing.price)):
            standing = order
    return standing


async def _patiently(read: Callable[[], Awaitable[T]]) -> T:
    waits = backoffs()
    while True:
        try:
            return await read()
        except AuthenticationFailed:
            raise
        except ExchangeUnreachable as error:
            wait = error.retry_after if isinstance(error, RateLimited) else next(waits)
            if trio.current_time() + wait >= trio.current_effective_deadline():
                raise
            await trio.sleep(wait)


def _as_position(
    orders: Orders, supervision: Supervision, report: PositionReport, stop_price: Decimal | None
) -> Position:
    """Its id is new, so that no earlier position of the same symbol and side is taken for it.

    Where we gave one up there, it goes on under that one's: its record takes the place of the one that says so.
    """
    now = orders.clock.utc()
    identity = f"adopted {now.isoformat()}"
    given_up = supervision.given_up.get((report.symbol, report.side))
    if given_up is not None and given_up.position.id != NOT_OURS:
        identity = given_up.position.identity
    return Position(
        report.symbol, report.side, report.quantity, report.entry_price, now, stop_price=stop_price, id=identity
    )
