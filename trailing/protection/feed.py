"""Every update of the exchange, straight into the core: synchronously, so that no tick is dropped and none waits."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio

from trailing.core.model import Source, Tick
from trailing.core.states import CLOSED, EXITING
from trailing.events import StopFilled, StreamChanged
from trailing.exchanges.port import OrderUpdate, PositionUpdate, StreamState, Update
from trailing.protection.native import lose_native
from trailing.protection.orders import Orders
from trailing.protection.peaks import is_told_by_candles, tell_unread
from trailing.protection.protection import Missed, Protection
from trailing.protection.registry import Registry

_LOOK_FOR_SILENCE = 30.0
"""Seconds between two looks for silent symbols at the most: half of the plan's default `stale_after`."""


class Feed:
    """Takes updates and gives each to the positions that it is about.

    Args:
        on_return: called when the stream is there again: what happened in between has to be read.

    Attributes:
        ticks: how many were taken.
    """

    def __init__(self, orders: Orders, registry: Registry, on_return: Callable[[], None]) -> None:
        self._orders, self._registry, self._on_return = orders, registry, on_return
        self._lost = False
        self._own_ticks = False
        self._last: dict[tuple[str, Source], Tick] = {}
        self._silent: set[Protection] = set()
        self.ticks: int = 0

    async def run_ticks(self, ticks: trio.abc.ReceiveChannel[Tick]) -> None:
        """Take a bot's own prices until their channel ends, which is an alarm. They don't go with the exchange's stream."""
        self._own_ticks = True
        async for tick in ticks:
            self.take(tick)
        self._orders.alarm(None, "the bot's own prices have ended", "no stop is trailed any more")

    async def notice_silence(self) -> None:
        """Alarm, once each time, for every live position whose source has been silent for `stale_after`."""
        while True:
            now = self._orders.clock.now()
            wait = _LOOK_FOR_SILENCE
            for protection in self._registry.all():
                last = self._last.get((protection.position.symbol, protection.plan.trigger))
                heard_at = max(protection.claimed_at, last.at if last is not None else protection.claimed_at)
                left = heard_at + protection.plan.stale_after - now
                if left > 0:
                    self._silent.discard(protection)
                    wait = min(wait, left)
                elif protection not in self._silent and protection.live is not None:
                    self._silent.add(protection)
                    self._orders.alarm(protection, "no price of its trigger source", f"for {now - heard_at:.0f} s")
            self._silent.intersection_update(self._registry.all())
            await trio.sleep(max(1.0, wait))

    def known_price(self, symbol: str, source: Source) -> Tick | None:
        """The last tick of a symbol and source, however old."""
        return self._last.get((symbol, source))

    def take(self, update: Update) -> None:
        """Take one update, now."""
        match update:
            case Tick():
                self._take_tick(update)
            case OrderUpdate():
                self._take_order(update)
            case PositionUpdate():
                self._take_position(update)
            case _:
                self._take_state(update)

    def _take_tick(self, tick: Tick) -> None:
        self.ticks += 1
        self._last[tick.symbol, tick.source] = tick
        for protection in self._registry.of_symbol(tick.symbol):
            protection.heard_at = tick.at
            if protection.frozen:
                continue
            stop = protection.stop
            due_at = stop.due_at
            try:
                if protection.candles is not None and tick.source == stop.plan.trigger:
                    candle = protection.candles.take(tick, self._orders.clock.utc_at(tick.at))
                    if candle is not None:
                        protection.want(stop.on_candle(candle, tick.at))
                decision = stop.on_tick(tick)
            except Exception as bug:  # of one position, and not the others' harm
                self._orders.freeze(protection, bug)
                continue
            if stop.bug is not None:
                self._orders.freeze(protection, stop.bug)
            protection.want(decision)
            if stop.due_at != due_at:
                protection.changed()

    def _take_order(self, update: OrderUpdate) -> None:
        for protection in self._registry.of_symbol(update.symbol):
            if protection.position.side != update.side:
                continue
            protection.quiet_since = self._orders.clock.now()
            native = protection.stop.native
            trailing = native is not None and native.client_order_id == update.client_order_id
            live = trailing or update.client_order_id in protection.stop.orders
            pending = protection.pending.get(update.client_order_id)
            if update.fill is not None and (live or (pending is not None and pending.purpose == "stop")):
                self._take_fill(protection, update)
            elif update.fill is not None and pending is not None:
                protection.unheard += (update.fill,)
            elif update.status == "cancelled" and live and update.client_order_id not in protection.cancelling:
                if trailing:
                    lose_native(self._orders, protection, update.client_order_id)
                    continue
                self._orders.note_gone(protection, update.client_order_id)
                # Who cancels a stop may have closed the position as well.
                protection.check_wanted = True
                protection.changed()

    def _take_fill(self, protection: Protection, update: OrderUpdate) -> None:
        fill, stop = update.fill, protection.stop
        assert fill is not None
        now = self._orders.clock.now()
        protection.want(stop.filled(fill, now))
        protection.note_fill(fill)
        protection.note_exposure(now, "move")
        self._orders.tell(
            protection,
            StopFilled,
            quantity=fill.quantity,
            price=fill.price,
            left=stop.quantity,
            client_order_id=fill.client_order_id,
        )
        protection.changed()

    def _take_position(self, update: PositionUpdate) -> None:
        for protection in self._registry.of_symbol(update.symbol):
            protection.quiet_since = self._orders.clock.now()
            stop = protection.stop
            same_side = protection.position.side == update.side
            if stop.state in (EXITING, CLOSED) or (same_side and update.quantity == stop.quantity):
                continue
            if not same_side and not self._orders.exchange.hedged and update.quantity:
                self._orders.alarm(protection, "the position was flipped", f"{update.quantity} {update.side}")
            protection.check_wanted = True
            protection.changed()

    def _take_state(self, update: StreamState) -> None:
        if update.connected or not self._lost:
            self._orders.tell(None, StreamChanged, connected=update.connected, detail=update.detail)
        self._lost = not update.connected
        if update.connected:
            self.note_opened()

    def note_opened(self) -> None:
        """The stream is open again, whether anything is heard yet or not: what happened in between has to be read."""
        if not self._own_ticks:
            self.note_missed(self._registry.all())
        self._on_return()

    def note_missed(self, protections: Sequence[Protection]) -> None:
        """No price of these was heard from the last one on, until now."""
        clock, now = self._orders.clock, self._orders.clock.now()
        for protection in protections:
            missed = Missed(clock.utc_at(protection.heard_at), clock.utc_at(now), now).joined(protection.missed)
            if is_told_by_candles(protection, missed):
                protection.missed = missed
                protection.changed()
            else:
                tell_unread(self._orders, protection, missed)
