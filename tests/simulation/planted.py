"""Bugs of the kinds that bots like this one had, put in on purpose: the laboratory has to find every one of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from trailing.core import comparison
from trailing.core.actions import StopGone
from trailing.core.kept import KeptStop
from trailing.core.model import StopOrder
from trailing.core.stop import TrailingStop
from trailing.errors import OutcomeUnknown, StopRejected
from trailing.protection import exits, feed, following, moves, recovery
from trailing.protection import trailing as keeping
from trailing.protection.books import Books
from trailing.protection.feed import Feed
from trailing.protection.orders import Orders
from trailing.protection.registry import Registry
from trailing.stores.port import AddIntent


def cancel_before_place(patch: pytest.MonkeyPatch) -> None:
    """A move takes the old stop away first, although two may stand."""
    whole = moves.move

    async def move(orders: Orders, protection: Any, price: Decimal, reason: str) -> None:
        if not protection.stop.market.can_amend and protection.stop.order is not None:
            await moves._take_down(orders, protection, protection.stop.order)
            order = await orders.place(protection, price, protection.stop.coverable)
            protection.want(protection.stop.opened(order, orders.clock.now()))
            await orders.save(protection)
            return
        await whole(orders, protection, price, reason)

    patch.setattr(keeping, "move", move)


def loosening_on_restart(patch: pytest.MonkeyPatch) -> None:
    """A restart resets a stop's target and peak to where they began."""
    restore = KeptStop.restore.__func__  # type: ignore[attr-defined]

    def reset(cls: type[KeptStop], record: Any, market: Any, at: float) -> KeptStop:
        stop: KeptStop = restore(cls, record, market, at)
        stop.target, stop.best = stop.first_price, stop.position.entry_price
        return stop

    patch.setattr(KeptStop, "restore", classmethod(reset))


def a_forgotten_intent(patch: pytest.MonkeyPatch) -> None:
    """An order is placed before it is written down."""
    write = Books._write

    async def forget(self: Books, protection: Any, entries: Any) -> Any:
        return await write(self, protection, [entry for entry in entries if not isinstance(entry, AddIntent)])

    patch.setattr(Books, "_write", forget)


def a_dropped_tick(patch: pytest.MonkeyPatch) -> None:
    """A throttle lets only two of three ticks through."""
    take = Feed._take_tick

    def throttled(self: Feed, tick: Any) -> None:
        self.ticks += 1
        if self.ticks % 3:
            self.ticks -= 1
            take(self, tick)

    patch.setattr(Feed, "_take_tick", throttled)


def a_double_exit(patch: pytest.MonkeyPatch) -> None:
    """A close is sent twice, to be on the safe side."""
    close = Orders.close

    async def twice(self: Orders, protection: Any, quantity: Decimal) -> Any:
        fill = await close(self, protection, quantity)
        with suppress(StopRejected):
            await close(self, protection, quantity)
        return fill

    patch.setattr(Orders, "close", twice)


def a_claim_leak(patch: pytest.MonkeyPatch) -> None:
    """A position that has ended stays claimed."""
    patch.setattr(Registry, "remove", lambda self, protection: protection.changed())


def a_lost_reply_taken_for_a_no(patch: pytest.MonkeyPatch) -> None:
    """An order whose reply was lost counts as not placed."""
    send = Orders._send

    async def sure(self: Orders, protection: Any, client_order_id: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return await send(self, protection, client_order_id, *args, **kwargs)
        except OutcomeUnknown as error:
            self._settled(protection, client_order_id)
            raise StopRejected("it surely did not arrive") from error

    patch.setattr(Orders, "_send", sure)


def peaks_of_a_silence_lost(patch: pytest.MonkeyPatch) -> None:
    """What passed while nobody listened is not read."""

    async def nothing(orders: Any, protection: Any, missed: Any) -> None:
        protection.missed = None

    patch.setattr(keeping, "catch_up", nothing)


def an_intent_settled_too_early(patch: pytest.MonkeyPatch) -> None:
    """One look that finds nothing proves that an order does not exist."""

    async def look_up(self: Orders, protection: Any, client_order_id: str, executed_by: float) -> StopOrder | None:
        finding = self.exchange.find_stop(protection.position.symbol, client_order_id)
        return await self._read(protection, "find_stop", finding)

    patch.setattr(Orders, "_look_up", look_up)


def a_cancellation_that_nobody_notices(patch: pytest.MonkeyPatch) -> None:
    """A stop that somebody cancelled is believed to stand."""
    patch.setattr(Books, "note_gone", lambda self, protection, client_order_id: None)


def a_trailing_order_forgotten_at_the_close(patch: pytest.MonkeyPatch) -> None:
    """A position's end takes its stop away, and leaves the exchange's own trailing order standing."""

    async def forget(orders: Orders, protection: Any) -> None:
        if protection.stop.native is not None:
            protection.stop.native_gone(orders.clock.now())

    patch.setattr(exits, "withdraw_native", forget)


def a_trailing_order_whose_loss_nobody_notices(patch: pytest.MonkeyPatch) -> None:
    """What became of the exchange's own trailing order is neither listened to nor read."""
    for module in (feed, following):
        patch.setattr(module, "lose_native", lambda orders, protection, client_order_id: None)


def a_trailing_order_taken_for_the_stop(patch: pytest.MonkeyPatch) -> None:
    """A reading of the account takes every order of ours for a stop."""
    whole = comparison.Comparison.__init__

    def init(self: Any, tracked: Any, reading: Any, reports: Any, shown: Any, *rest: Any) -> None:
        plain = [msgspec.structs.replace(order, callback=None) for order in shown]
        whole(self, tracked, reading, reports, plain, *rest)

    patch.setattr(comparison.Comparison, "__init__", init)


def a_restart_that_forgets_what_is_unknown(patch: pytest.MonkeyPatch) -> None:
    """A restart takes what is stored for what is."""
    restore = recovery._restore

    def trusting(orders: Orders, record: Any, intents: Any) -> Any:
        return restore(orders, record, [])

    patch.setattr(recovery, "_restore", trusting)


PLANTED: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    plant.__name__: plant
    for plant in (
        cancel_before_place,
        loosening_on_restart,
        a_forgotten_intent,
        a_dropped_tick,
        a_double_exit,
        a_claim_leak,
        a_lost_reply_taken_for_a_no,
        peaks_of_a_silence_lost,
        an_intent_settled_too_early,
        a_cancellation_that_nobody_notices,
        a_trailing_order_forgotten_at_the_close,
        a_trailing_order_whose_loss_nobody_notices,
        a_trailing_order_taken_for_the_stop,
        a_restart_that_forgets_what_is_unknown,
    )
}


def an_amendment_by_hand_ignored(patch: pytest.MonkeyPatch) -> None:
    """What a list shows of a known stop counts only where a request for it has an unknown outcome."""
    taken = comparison.Comparison._taken

    def ignoring(self: Any, live: Any) -> Any:
        actions: Any = taken(self, live)
        return (action for action in actions if action.order.client_order_id in self._sent_at)

    patch.setattr(comparison.Comparison, "_taken", ignoring)


def a_loss_without_an_update_not_noticed(patch: pytest.MonkeyPatch) -> None:
    """A stop that no list shows any more is believed to stand."""
    tell = following.Follower._tell

    def deaf(self: Any, held: Any, action: Any) -> None:
        if not isinstance(action, StopGone):
            tell(self, held, action)

    patch.setattr(following.Follower, "_tell", deaf)


def a_fill_before_the_acknowledgement_counted_twice(patch: pytest.MonkeyPatch) -> None:
    """What was filled of a stop before its acknowledgement is taken off twice."""
    filled = TrailingStop.filled

    def twice(self: TrailingStop, fill: Any, at: float) -> Any:
        decision, early = filled(self, fill, at), self._early
        if fill.client_order_id in early:
            early[fill.client_order_id] += fill.quantity
        return decision

    patch.setattr(TrailingStop, "filled", twice)


HARSH_PLANTED: dict[str, tuple[str, Callable[[pytest.MonkeyPatch], None]]] = {
    plant.__name__: (kind, plant)
    for kind, plant in (
        ("amended_stops", an_amendment_by_hand_ignored),
        ("silent_losses", a_loss_without_an_update_not_noticed),
        ("early_fills", a_fill_before_the_acknowledgement_counted_twice),
    )
}
"""Bugs that only a kind of harsh fault brings to light, by name: the kind, and how to put the bug in."""
