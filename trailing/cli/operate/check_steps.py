"""The steps of a check about a stop that does not trigger: place, list, find, refuse, move and cancel it."""

from __future__ import annotations

import re
from contextlib import suppress
from decimal import Decimal
from typing import Final

import msgspec
import trio

from trailing.cli.operate.check_account import new_id, plain
from trailing.cli.operate.check_context import (
    FAR,
    Check,
    NotMet,
    NotOffered,
    eventually,
    milliseconds,
)
from trailing.core.model import Percent, StopOrder, Tick
from trailing.core.prices import ahead, round_stop
from trailing.errors import NoSuchStop, NothingToReduce, StopRejected, WouldTrigger
from trailing.exchanges.port import StreamState

CONNECT_SECONDS: Final = 30.0
"""Seconds within which the connections must be up and the first price must arrive."""


async def stream(check: Check) -> str:
    """Wait until the stream is connected and has pushed a price."""
    started = trio.current_time()
    tick = await check.updates.wait_for(
        lambda update: isinstance(update, Tick) and update.symbol == check.symbol, seconds=CONNECT_SECONDS
    )
    if tick is None:
        raise NotMet(f"no price of {check.symbol} came within {CONNECT_SECONDS:g} s")
    words = f"first price after {milliseconds(tick.at - started)}"
    if not check.has_stream:
        return f"{words}; prices are read by request, because the adapter has no stream of this venue"
    states = [update for update in check.updates.updates if isinstance(update, StreamState)]
    if states and not states[-1].connected:
        up = await check.updates.wait_for(
            lambda update: isinstance(update, StreamState) and update.connected, seconds=CONNECT_SECONDS
        )
        if up is None:
            raise NotMet(f"the stream is down: {states[-1].detail}")
    return f"{words}; the account's connection is up after {milliseconds(trio.current_time() - started)}"


async def enter(check: Check) -> str:
    """Open the position."""
    since, started = len(check.updates.updates), trio.current_time()
    client_order_id = await check.account.enter()
    acknowledged = trio.current_time() - started
    await check.until_held(check.account.quantity)
    listed = trio.current_time() - started
    fills = await check.say_entry(client_order_id, since, started)
    position = await check.say_position(check.account.quantity, since, started)
    return (
        f"{check.side} of {plain(check.account.quantity)}: acknowledged after {milliseconds(acknowledged)}, listed after "
        f"{milliseconds(listed)}{fills}{position}"
    )


async def place(check: Check) -> str:
    """Place a stop that must not trigger."""
    await check.need_position()
    price = check.stop_price(await check.price(check.source), FAR)
    request = check.account.request(price, check.source)
    since, started = len(check.updates.updates), trio.current_time()
    order = await check.account.place(request)
    seconds = trio.current_time() - started
    wanted = StopOrder(**msgspec.structs.asdict(request), order_id=order.order_id)
    if order != wanted:
        raise NotMet(f"requested was {wanted}, acknowledged is {order}")
    check.order = order
    words = await check.say_update(order.client_order_id, "live", since, started)
    return f"{order.source} price, at {plain(order.price)}: acknowledged after {milliseconds(seconds)}{words}"


async def list_stops(check: Check) -> str:
    """List the stop."""
    return f"open_stops shows it after {milliseconds(await check.until_listed(check.live_order))}"


async def list_orders(check: Check) -> str:
    """List the stop among the symbol's open orders."""
    order = check.live_order

    async def read() -> list[Decimal | None]:
        orders = await check.exchange.open_orders(check.symbol)
        return [each.trigger_price for each in orders if each.client_order_id == order.client_order_id]

    found, seconds = await eventually(read, lambda found: found == [order.price], check.exchange.orders_read_lag)
    if found != [order.price]:
        raise NotMet(
            f"open_orders shows its trigger price as {found} after {seconds:.1f} s, and not {plain(order.price)}"
        )
    return f"open_orders shows it after {milliseconds(seconds)}"


async def find(check: Check) -> str:
    """Find the stop by its client order id, and an id that was never used not at all."""
    order = check.live_order

    async def read() -> StopOrder | None:
        return await check.exchange.find_stop(check.symbol, order.client_order_id)

    found, seconds = await eventually(read, lambda found: found == order, check.exchange.orders_read_lag)
    if found != order:
        raise NotMet(f"find_stop returns {found or 'no such stop'} after {seconds:.1f} s, and not {order}")
    absent = await check.exchange.find_stop(check.symbol, new_id())
    if absent is not None:
        raise NotMet(f"find_stop returns {absent} for an id that was never used")
    return f"found after {milliseconds(seconds)}; an id that was never used is not found"


async def reject_used_id(check: Check) -> str:
    """Place a second stop under the id of the live one."""
    order = check.live_order
    price = check.stop_price(await check.price(check.source), Percent(2 * FAR.value))
    again = msgspec.structs.replace(check.account.request(price, check.source), client_order_id=order.client_order_id)
    words = await _refused(check, again, StopRejected)
    await check.until_listed(order)
    return words


async def reject_price_beyond(check: Check) -> str:
    """Place a stop that the price is already beyond."""
    await check.need_position()
    price = await check.price(check.source)
    beyond = round_stop(check.side, ahead(check.side, price, FAR), check.market.price_tick)
    return await _refused(check, check.account.request(beyond, check.source), WouldTrigger)


async def reject_without_position(check: Check) -> str:
    """Place a stop while the position is flat."""
    if check.account.has_position:
        with suppress(NothingToReduce):
            await check.account.close()
        await check.until_held(Decimal(0))
    price = check.stop_price(await check.price(check.source), FAR)
    return await _refused(check, check.account.request(price, check.source), StopRejected)


async def move(check: Check) -> str:
    """Move the stop: in place, or with a second stop before the first one is cancelled."""
    order = check.live_order
    price = check.stop_price(await check.price(check.source), Percent(FAR.value - 1))
    since, started = len(check.updates.updates), trio.current_time()
    if check.market.can_amend:
        check.order = moved = await check.account.amend(order, price)
        seconds = trio.current_time() - started
        wanted = msgspec.structs.replace(order, price=price, order_id=moved.order_id)
        if moved != wanted:
            raise NotMet(f"wanted was {wanted}, acknowledged is {moved}")
        words = f"amended in place: acknowledged after {milliseconds(seconds)}"
    else:
        if not check.market.two_stops:
            check.order = None
            await check.account.cancel(order)
        check.order = moved = await check.account.place(check.account.request(price, order.source))
        if check.market.two_stops:
            await check.until_listed(order)  # both are live
            await check.account.cancel(order)
        seconds = trio.current_time() - started
        await check.until_listed(order, live=False)
        words = f"a new stop placed and the old one cancelled after {milliseconds(seconds)}"
    words += await check.say_update(moved.client_order_id, "live", since, started)
    return f"{words}; listed after {milliseconds(await check.until_listed(moved))}"


async def cancel(check: Check) -> str:
    """Cancel the stop."""
    order = check.live_order
    since, started = len(check.updates.updates), trio.current_time()
    await check.account.cancel(order)
    seconds = trio.current_time() - started
    check.order = None
    words = await check.say_update(order.client_order_id, "cancelled", since, started)
    listed = await check.until_listed(order, live=False)
    return f"acknowledged after {milliseconds(seconds)}{words}; not listed any more after {milliseconds(listed)}"


async def reject_unknown_ids(check: Check) -> str:
    """Cancel a stop that has ended, and one that never existed."""
    await check.need_position()
    price = check.stop_price(await check.price(check.source), FAR)
    order = await check.account.place(check.account.request(price, check.source))
    await check.account.cancel(order)
    never = msgspec.structs.replace(order, client_order_id=new_id(), order_id=_unused(order.order_id))
    words = []
    for name, each in (("an ended one", order), ("an unknown one", never)):
        try:
            await check.exchange.cancel_stop(each)
        except NoSuchStop as error:
            words.append(f"{name}: {error}")
        except StopRejected as error:
            raise NotMet(f"{name} is refused, but not as NoSuchStop: {error}") from error
        else:
            raise NotMet(f"a cancel of {name} is acknowledged")
    return "; ".join(words)


async def trailing_order(check: Check) -> str:
    """Place one of the exchange's own trailing orders far ahead, list it, and cancel it."""
    callbacks = check.market.native_callbacks
    if callbacks is None:
        raise NotOffered("the adapter has no trailing orders of this venue")
    await check.need_position()
    activation = ahead(check.side, await check.price(check.source), FAR)
    price = round_stop(check.side, activation, check.market.price_tick)
    started = trio.current_time()
    order = await check.account.place(check.account.request(price, check.source, callbacks.least))
    seconds = trio.current_time() - started
    listed = await check.until_listed(order)
    await check.account.cancel(order)
    await check.until_listed(order, live=False)
    return f"active from {plain(price)} on: acknowledged after {milliseconds(seconds)}, listed after {milliseconds(listed)}, cancelled"


async def _refused(check: Check, request: msgspec.Struct, wanted: type[StopRejected]) -> str:
    """Return the venue's words for a refusal. Raises NotMet if it is none, or of another kind."""
    try:
        order = await check.account.place(request)  # type: ignore[arg-type]  # a StopRequest
    except wanted as error:
        return f"{type(error).__name__}: {error}"
    except StopRejected as error:
        raise NotMet(f"refused as {type(error).__name__}, and not as {wanted.__name__}: {error}") from error
    raise NotMet(f"not refused: {order}")


def _unused(order_id: str) -> str:
    """Return an order id of the venue's form that it has given to no order."""
    return re.sub("[a-f]", "f", re.sub(r"\d", "9", order_id))
