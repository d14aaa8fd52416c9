"""Checks of entry orders, for every exchange that can place them."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from decimal import ROUND_CEILING, Decimal
from functools import wraps

import trio

from trailing.core.entry_orders import AttachedStop, EntryOrder, EntryRequest, EntrySettings
from trailing.core.prices import is_better
from trailing.errors import EntryRejected, NoSuchEntry, NoSuchStop, UsageError
from trailing.exchanges.port import EntryUpdate, Update
from trailing.testing.exchange_trial import CALL_SECONDS, Check, Trial, expect, refused, within

_WORTH = Decimal(200)


def _where_entries_are_supported(check: Callable[[Trial], Awaitable[None]]) -> Check:
    @wraps(check)
    async def run(trial: Trial) -> None:
        for source in ("last", "mark"):
            await trial.bench.move_price(trial.symbol, trial.price, source)
        try:
            await trial.exchange.find_entry(trial.symbol, new_own_id())
        except UsageError:
            return
        await check(trial)

    return run


@_where_entries_are_supported
async def an_entry_at_market_opens_a_position(trial: Trial) -> None:
    """It is pushed and found as filled, with its average price, and the position is reported."""
    request = EntryRequest(trial.symbol, trial.side, _quantity(trial), new_own_id())
    async with trial.listen() as updates:
        placed = await _place(trial, request)
        pushed = await _next_ended(updates, request.client_order_id)
    found = await _find(trial, request.client_order_id)
    expect(found is not None, f"{placed} was placed, and find_entry shows none")
    assert found is not None
    for order in (pushed, found):
        expect(order.filled == request.quantity, f"{request} is filled, shown is {order}")
        expect(order.average_price is not None and not order.is_working, f"{request} is filled, shown is {order}")
        expect((order.order_id, order.limit) == (placed.order_id, None), f"placed is {placed}, shown is {order}")
    expect(await trial.held(trial.side) == request.quantity, f"{request} is filled, and another quantity is reported")
    with refused(NoSuchEntry, "cancelling a filled entry"):
        await trial.exchange.cancel_entry(trial.symbol, request.client_order_id)


@_where_entries_are_supported
async def a_resting_entry_can_be_found_and_cancelled(trial: Trial) -> None:
    """An entry with a limit behind the market works until it is cancelled. Nothing is filled."""
    request = EntryRequest(trial.symbol, trial.side, _quantity(trial), new_own_id(), trial.stop_price("5"))
    placed = await _place(trial, request)
    expect(placed.is_working and not placed.filled, f"{request} is far from the market, and {placed} was acknowledged")
    found = await _find(trial, request.client_order_id)
    expect(found == placed, f"working is {placed}, find_entry shows {found}")
    async with trial.listen() as updates:
        await trial.exchange.cancel_entry(trial.symbol, request.client_order_id)
        pushed = await _next_ended(updates, request.client_order_id)
    expect(not pushed.filled, f"{placed} was cancelled, and {pushed} was pushed")
    found = await _find(trial, request.client_order_id)
    expect(found is None or not (found.is_working or found.filled), f"{placed} is cancelled, find_entry shows {found}")
    await trial.expect_flat()
    with refused(NoSuchEntry, "cancelling a cancelled entry"):
        await trial.exchange.cancel_entry(trial.symbol, request.client_order_id)


@_where_entries_are_supported
async def a_resting_entry_is_an_open_order_that_can_be_cancelled(trial: Trial) -> None:
    """`open_orders` shows that it opens a position and rests in the order book. `cancel_order` cancels it."""
    request = EntryRequest(trial.symbol, trial.side, _quantity(trial), new_own_id(), trial.stop_price("5"))
    placed = await _place(trial, request)
    await trio.sleep(trial.exchange.orders_read_lag)
    orders = await trial.exchange.open_orders(trial.symbol)
    shown = next((order for order in orders if order.order_id == placed.order_id), None)
    expect(shown is not None, f"working is {placed}, and open_orders does not list it")
    assert shown is not None
    expect(shown.side is None and not shown.is_conditional, f"working is {placed}, open_orders shows {shown}")
    with within(CALL_SECONDS, "cancel_order"):
        await trial.exchange.cancel_order(shown)
    found = await _find(trial, request.client_order_id)
    expect(found is None or not found.is_working, f"{shown} is cancelled, find_entry shows {found}")
    with refused(NoSuchStop, "cancelling a cancelled order"):
        await trial.exchange.cancel_order(shown)


@_where_entries_are_supported
async def a_resting_entry_is_filled_when_the_market_reaches_its_limit(trial: Trial) -> None:
    """The fill is no worse than the limit."""
    limit = trial.stop_price("1")
    request = EntryRequest(trial.symbol, trial.side, _quantity(trial), new_own_id(), limit)
    await _place(trial, request)
    async with trial.listen() as updates:
        await trial.bench.move_price(trial.symbol, trial.stop_price("2"), "last")
        pushed = await _next_ended(updates, request.client_order_id)
    price = pushed.average_price
    expect(pushed.filled == request.quantity and price is not None, f"{request} is reached, {pushed} was pushed")
    assert price is not None
    expect(not is_better(trial.side, price, than=limit), f"the limit is {limit}, and it was filled at {price}")


@_where_entries_are_supported
async def an_entry_is_placed_although_its_caller_is_cancelled(trial: Trial) -> None:
    """A look-up waits for the request in flight, and finds it or proves that it was not placed."""
    request = EntryRequest(trial.symbol, trial.side, _quantity(trial), new_own_id(), trial.stop_price("5"))
    with trio.move_on_after(0.001):
        await trial.exchange.place_entry(request)
    found = await _find(trial, request.client_order_id)
    if found is not None:
        await trial.exchange.cancel_entry(trial.symbol, request.client_order_id)
    await trial.expect_flat()


@_where_entries_are_supported
async def an_entry_that_breaks_a_rule_is_refused(trial: Trial) -> None:
    """Nothing is left of it: no order and no position."""
    tick, step = trial.market.price_tick, trial.market.quantity_step
    limit = trial.stop_price("5")
    for quantity, price in ((_quantity(trial) + step / 2, limit), (_quantity(trial), limit + tick / 2)):
        request = EntryRequest(trial.symbol, trial.side, quantity, new_own_id(), price)
        with refused(EntryRejected, f"placing {request}"):
            await trial.exchange.place_entry(request)
        expect(await _find(trial, request.client_order_id) is None, f"{request} was refused, and find_entry shows it")
    await trial.expect_flat()


@_where_entries_are_supported
async def an_entry_carries_its_stop_as_its_market_says(trial: Trial) -> None:
    """A filled entry has its stop, under the id that was requested. A market that can't attach one refuses it."""
    entry_id = new_own_id()
    stop_id = entry_id if trial.market.attached_stop == "bridge" else new_own_id()
    stop = AttachedStop(trial.stop_price("2"), stop_id)
    request = EntryRequest(trial.symbol, trial.side, _quantity(trial), entry_id, stop=stop)
    if trial.market.attached_stop is None:
        with refused(UsageError, f"placing {request} on a market that attaches no stop"):
            await trial.exchange.place_entry(request)
        return
    await _place(trial, request)
    listed = await trial.listed(stop_id)
    expect(listed is not None, f"{request} is filled, and open_stops does not show its stop")
    assert listed is not None
    shown = (listed.side, listed.quantity, listed.price, listed.source)
    wanted = (trial.side, request.quantity, stop.price, stop.source)
    expect(shown == wanted, f"attached was {stop}, open_stops shows {listed}")
    await trial.exchange.cancel_stop(listed)
    await trial.expect_absent(stop_id)


@_where_entries_are_supported
async def the_settings_of_entries_can_be_read(trial: Trial) -> None:
    """They are of the symbol, and have the position mode in which the exchange was opened. An open position changes nothing."""
    before = await _settings(trial)
    expect(before.hedged is trial.exchange.hedged, f"hedged is {trial.exchange.hedged}, entry_settings shows {before}")
    await _place(trial, EntryRequest(trial.symbol, trial.side, _quantity(trial), new_own_id()))
    await trio.sleep(trial.exchange.positions_read_lag)
    after = await _settings(trial)
    expect(after == before, f"with a position, entry_settings shows {after} instead of {before}")


def new_own_id() -> str:
    """Return a new client order id in the form of the library's. An exchange need not push updates of other entries."""
    return f"tr{secrets.token_hex(10)}"


def _quantity(trial: Trial) -> Decimal:
    """Return a quantity worth at least `_WORTH`, because `Market.min_notional` may be the minimum of stops only."""
    steps = _WORTH / trial.price / trial.market.quantity_step
    return max(4 * trial.unit, trial.market.quantity_step * steps.to_integral_value(ROUND_CEILING))


async def _settings(trial: Trial) -> EntrySettings:
    with within(CALL_SECONDS, "entry_settings"):
        settings = await trial.exchange.entry_settings(trial.symbol)
    expect(settings.symbol == trial.symbol, f"requested were the settings of {trial.symbol}, shown are {settings}")
    return settings


async def _place(trial: Trial, request: EntryRequest) -> EntryOrder:
    with within(CALL_SECONDS, "place_entry"):
        order = await trial.exchange.place_entry(request)
    shown = (order.symbol, order.side, order.quantity, order.client_order_id, order.limit)
    wanted = (request.symbol, request.side, request.quantity, request.client_order_id, request.limit)
    expect(shown == wanted, f"requested was {request}, acknowledged is {order}")
    return order


async def _find(trial: Trial, client_order_id: str) -> EntryOrder | None:
    await trio.sleep(trial.exchange.orders_read_lag)
    with within(CALL_SECONDS + trial.exchange.request_validity, "find_entry"):
        return await trial.exchange.find_entry(trial.symbol, client_order_id)


async def _next_ended(updates: trio.abc.ReceiveChannel[Update], client_order_id: str) -> EntryOrder:
    """Wait for the update that says that an entry has ended. Its filled quantity never decreases before."""
    filled = Decimal(0)
    with within(CALL_SECONDS, f"an update that the entry {client_order_id} has ended"):
        async for update in updates:
            if isinstance(update, EntryUpdate) and update.order.client_order_id == client_order_id:
                expect(update.order.filled >= filled, f"{filled} were filled, and {update} came")
                filled = update.order.filled
                if not update.order.is_working:
                    return update.order
    raise AssertionError(f"the updates ended before {client_order_id}")


ENTRY_CHECKS: tuple[Check, ...] = (
    an_entry_at_market_opens_a_position,
    a_resting_entry_can_be_found_and_cancelled,
    a_resting_entry_is_an_open_order_that_can_be_cancelled,
    a_resting_entry_is_filled_when_the_market_reaches_its_limit,
    an_entry_is_placed_although_its_caller_is_cancelled,
    an_entry_that_breaks_a_rule_is_refused,
    an_entry_carries_its_stop_as_its_market_says,
    the_settings_of_entries_can_be_read,
)
