"""Pass every update of the exchange to the states of positions. The feed never awaits, so that no tick is dropped or waits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import trio

from trailing.core.inputs import EntryUpdated, Frozen, Input, OrderUpdated, PositionUpdated, PricesMissed
from trailing.core.model import Source, Tick
from trailing.events import StreamChanged
from trailing.exchanges.port import EntryUpdate, OrderUpdate, PositionUpdate, StreamState, Update
from trailing.protection.position_task import PositionTask
from trailing.protection.records import Records
from trailing.protection.registry import Registry

_AHEAD: Final = 1.0
"""Seconds that the time of a bot's own price may be ahead of the running clock."""

_REMEMBERED: Final = 1000
"""The most entries without a fill that are remembered."""


class Feed:
    """Pass each update to the positions that it is about.

    Args:
        step_each: gives each of some positions an input, without waiting.
        on_return: called when the stream is open again or has left something out, so that the account is read.
        look_every: the longest time between two checks for silent symbols, in seconds.

    Attributes:
        ticks: the number of ticks taken.
    """

    def __init__(
        self,
        records: Records,
        registry: Registry,
        step_each: Callable[[Iterable[tuple[PositionTask, Input]]], None],
        on_return: Callable[[], None],
        *,
        look_every: float,
    ) -> None:
        self._look_every = look_every
        self._records, self._registry, self._step_each, self._on_return = records, registry, step_each, on_return
        self._lost = False
        self._own_ticks = False
        self._last: dict[tuple[str, Source], Tick] = {}
        self._silent: set[PositionTask] = set()
        self._not_entered: dict[str, None] = {}
        self.ticks: int = 0

    @property
    def is_lost(self) -> bool:
        """Whether the exchange's stream is not connected."""
        return self._lost

    async def run_ticks(self, ticks: trio.abc.ReceiveChannel[Tick]) -> None:
        """Take a bot's own prices until their channel ends, then raise an alarm.

        A price whose time is ahead of the running clock is ignored, and the first one raises an alarm.

        From now on the loss of the exchange's stream is no price gap, because these prices do not come from it.
        """
        self._own_ticks = True
        is_told = False
        async for tick in ticks:
            now = self._records.clock.now()
            if tick.at <= now + _AHEAD:
                self.take(tick)
            elif not is_told:
                is_told = True
                detail = f"Tick.at of {tick.symbol} got {tick.at}, wants trio.current_time(), now {now:.0f}"
                self._records.alarm(None, "the bot's own prices are ignored while their time is wrong", detail)
        self._records.alarm(None, "the bot's own prices have ended", "no stop is trailed any more")

    async def notice_silence(self) -> None:
        """Raise an alarm for each position with a live stop that got no price for `stale_after`.

        The price is one of its symbol and its plan's trigger source. One alarm is raised until a price comes. It never returns.
        """
        while True:
            now = self._records.clock.now()
            wait = self._look_every
            for task in self._registry.all():
                state = task.state
                last = self._last.get((state.position.symbol, state.plan.trigger))
                last_at = max(state.claimed_at, last.at if last is not None else state.claimed_at)
                left = last_at + state.plan.stale_after - now
                if left > 0:
                    self._silent.discard(task)
                    wait = min(wait, left)
                elif task not in self._silent and state.live is not None:
                    self._silent.add(task)
                    what = f"no {state.plan.trigger} price"
                    self._records.alarm(
                        state.position, "no price of its trigger source", f"{what} for {now - last_at:.0f} s"
                    )
            self._silent.intersection_update(self._registry.all())
            await trio.sleep(max(1.0, wait))

    def known_price(self, symbol: str, source: Source) -> Tick | None:
        """Return the last tick of a symbol and source, of any age, or None."""
        return self._last.get((symbol, source))

    def take(self, update: Update) -> None:
        """Pass one update to its positions, without waiting."""
        match update:
            case Tick():
                self._take_tick(update)
            case OrderUpdate():
                self._take_order(update)
            case PositionUpdate():
                self._take_position(update)
            case EntryUpdate():
                self._take_entry(update)
            case _:
                self._take_state(update)

    def _take_tick(self, tick: Tick) -> None:
        self.ticks += 1
        self._last[tick.symbol, tick.source] = tick
        for task in self._registry.of_symbol(tick.symbol):
            try:
                task.take_tick(tick)
            except Exception as bug:  # a bug in one position must not harm the others
                task.step(Frozen(bug))

    def _take_order(self, update: OrderUpdate) -> None:
        told = OrderUpdated(update.client_order_id, update.status, update.fill, update.filled, update.reason)
        for task in self._registry.of_symbol(update.symbol):
            if task.state.position.side == update.side:
                task.step(told)

    def _take_entry(self, update: EntryUpdate) -> None:
        order = update.order
        for task in self._registry.of_symbol(order.symbol):
            if task.state.entry is not None and task.state.entry.id == order.client_order_id:
                task.step(EntryUpdated(order))
        if order.filled and order.client_order_id in self._not_entered:
            del self._not_entered[order.client_order_id]
            detail = (
                f"{order.filled} of {order.symbol} {order.side} at {order.average_price}, entry {order.client_order_id}"
            )
            self._records.alarm(None, "an entry was filled that the exchange had ended", detail)

    def note_not_entered(self, client_order_id: str) -> None:
        """Raise an alarm if an entry is filled that has ended without a fill."""
        self._not_entered[client_order_id] = None
        if len(self._not_entered) > _REMEMBERED:
            del self._not_entered[next(iter(self._not_entered))]

    def _take_position(self, update: PositionUpdate) -> None:
        for task in self._registry.of_symbol(update.symbol):
            is_other_side = task.state.position.side != update.side
            task.step(PositionUpdated(update.quantity, update.at, is_other_side))

    def _take_state(self, update: StreamState) -> None:
        if update.connected or not self._lost:
            self._records.tell(None, StreamChanged, connected=update.connected, detail=update.detail)
        self._lost = not update.connected
        if update.connected:
            self.note_opened()

    def note_opened(self) -> None:
        """Note that the stream is open again, whether an update came yet or not.

        The time without it is a price gap, unless the bot passes its own prices. `on_return` has the account read.
        """
        if not self._own_ticks:
            self.note_missed(self._registry.all())
        self._on_return()

    def note_missed(self, tasks: Iterable[PositionTask]) -> None:
        """Give each of these positions a price gap from its last tick until now."""
        clock = self._records.clock
        until, last = clock.utc(), [(task, task.last_tick_at) for task in tasks]
        self._step_each((task, PricesMissed(clock.utc_at(tick_at), until)) for task, tick_at in last)
