"""What follows from a judged reading: each position is told what was proved of it, and its own task does the rest."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from decimal import Decimal

import trio

from trailing.core.account import Orphan
from trailing.core.actions import (
    Action,
    AdoptStop,
    AnotherPosition,
    CancelStop,
    ForeignInstance,
    NativeGone,
    PositionFlat,
    RaiseAlarm,
    Resize,
    Resume,
    SettleIntent,
    StopAbsent,
    StopGone,
    TakeNative,
    TakeStop,
    Tighten,
)
from trailing.core.model import Side, StopOrder
from trailing.errors import ExchangeError, StoreError
from trailing.protection.native import lose_native, take_native
from trailing.protection.opening import announce_opened
from trailing.protection.orders import Orders
from trailing.protection.protection import Protection
from trailing.protection.registry import Registry
from trailing.stores.port import SettleIntent as Settle


class Follower:
    """Tells positions what was proved of them, and settles what no position has.

    Args:
        orphans: open intents whose position has no record, by client order id.
        call_seconds: how long the exchange may take to cancel a leftover, once it is its turn.
    """

    def __init__(
        self,
        orders: Orders,
        registry: Registry,
        orphans: MutableMapping[str, Orphan],
        *,
        call_seconds: float,
    ) -> None:
        self._orders, self._registry, self._orphans = orders, registry, orphans
        self._call_seconds = call_seconds

    async def follow(self, actions: Sequence[Action]) -> None:
        """Carry actions out. What belongs to a position is told at once, before anything is waited for.

        Cancellation: a leftover that is not cancelled yet is found again by the next reading.
        """
        leftovers: list[StopOrder] = []
        settled: list[str] = []
        vanished: list[tuple[Protection, StopOrder]] = []
        for action in actions:
            held = None if action.symbol is None or action.side is None else self._held(action.symbol, action.side)
            if isinstance(action, CancelStop):
                leftovers.append(action.order)
            elif isinstance(action, SettleIntent):
                settled.append(action.client_order_id)
            elif held is None or isinstance(action, (RaiseAlarm, AdoptStop, ForeignInstance)):
                self._announce(held, action)
            else:
                order: StopOrder | None = None
                if isinstance(action, (StopAbsent, StopGone)):
                    order = held.stop.orders.get(action.client_order_id)
                if order is not None and held.vanished:
                    leftovers += self._note_unlisted(held, order)
                    continue
                if order is not None:
                    vanished.append((held, order))
                self._tell(held, action)
                held.changed()
        for held, order in vanished:  # only now: two that are gone at once are no sign of a list that is wrong
            held.vanished += (order,)
        if settled:
            await self._settle(settled)
        async with trio.open_nursery() as nursery:
            for order in leftovers:
                nursery.start_soon(self._cancel, order)

    def _held(self, symbol: str, side: Side) -> Protection | None:
        held = self._registry.get(symbol, side)
        return None if held is None or held.closed else held

    def _note_unlisted(self, held: Protection, order: StopOrder) -> tuple[StopOrder, ...]:
        """A stop that was acknowledged is rather where the readings do not look than gone. Returns what to cancel for it.

        One may vanish unheard, and is replaced. Where the next one is not shown either, it is the list that is wrong, and
        going on would place stops without end. That one counts as live then, with an alarm; the one before is cancelled.
        """
        if held.unlisted:
            return ()
        held.unlisted = True
        self._orders.alarm(held, "a stop that was acknowledged is not listed", f"{order.client_order_id} counts")
        return held.vanished

    def _announce(self, held: Protection | None, action: Action) -> None:
        match action:
            case RaiseAlarm():
                self._orders.alarm(held, action.what, action.detail)
            case AdoptStop():
                self._orders.alarm(held, "a stop of ours stands on a position that nobody tracks", str(action))
            case ForeignInstance():
                self._orders.alarm(held, "another instance is at work on this account", str(action))
            case _:
                return  # the position has ended meanwhile

    def _tell(self, held: Protection, action: Action) -> None:
        """Let a position know what was proved of it; its core decides what that means, its task carries it out."""
        stop, now = held.stop, self._orders.clock.now()
        match action:
            case Resume():
                self._note_entry(held, action.entry_price)
            case TakeStop():
                bare = stop.order is None
                held.settle(action.order.client_order_id)
                held.want(stop.found(action.order, now))
                held.save_at = now
                if bare:
                    announce_opened(self._orders, held, action.order, now)
            case StopAbsent():
                remembered = action.client_order_id in stop.orders
                held.settle(action.client_order_id)
                held.want(stop.absent(action.client_order_id, now))
                held.save_at = now
                if remembered:
                    self._orders.note_gone(held, action.client_order_id)
            case StopGone():
                self._orders.note_gone(held, action.client_order_id)
                held.save_at = now
            case TakeNative():
                held.settle(action.order.client_order_id)
                take_native(self._orders, held, action.order)
                held.save_at = now
            case NativeGone():
                lose_native(self._orders, held, action.client_order_id)
                held.save_at = now
            case Resize():
                held.want(stop.resized(action.quantity, now))
                self._note_entry(held, action.entry_price)
            case Tighten():
                self._orders.alarm(held, "the stop lies beyond the liquidation price", str(action.price))
                held.want(stop.tighten(action.price, now))
            case PositionFlat():
                for client_order_id in action.settled:
                    held.settle(client_order_id)
                held.found_flat = "closed from outside, or by its stop while nobody listened"
            case AnotherPosition():
                for client_order_id in action.settled:
                    held.settle(client_order_id)
                held.found_flat = "closed, and another position stands in its place"
                held.replaced_by = action.report
                self._orders.alarm(held, "another position stands in the place of one that is protected", str(action))
            case _:
                return  # what is bare is covered by its task, and what is undecided is looked at again
        held.note_exposure(now)

    def _note_entry(self, held: Protection, entry_price: Decimal) -> None:
        """Keep by which entry price the exchange knows it: so another position in its place is told from it."""
        if held.stop.reported_entry != entry_price:
            held.stop.reported_entry = entry_price
            held.save_at = self._orders.clock.now()

    async def _settle(self, client_order_ids: Sequence[str]) -> None:
        exchange = self._orders.exchange
        entries = [Settle(exchange.name, exchange.account, client_order_id) for client_order_id in client_order_ids]
        try:
            await self._orders.journal.write(*entries, within=self._call_seconds)
        except StoreError as error:  # the next reading finds them again
            self._orders.alarm(None, "intents that are settled can't be written off", str(error))
            return
        for client_order_id in client_order_ids:
            self._orphans.pop(client_order_id, None)

    async def _cancel(self, order: StopOrder) -> None:
        try:
            await self._orders.cancel(order, call_seconds=self._call_seconds)
        except ExchangeError as error:
            self._orders.alarm(None, "a leftover stop can't be cancelled", f"{order.client_order_id}: {error}")
