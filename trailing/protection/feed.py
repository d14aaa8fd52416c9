"""Every update of the exchange, straight into the states: synchronously, so that no tick is dropped and none waits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import trio

from trailing.core.inputs import Frozen, Input, OrderUpdated, PositionUpdated, PricesMissed
from trailing.core.model import Source, Tick
from trailing.events import StreamChanged
from trailing.exchanges.port import EntryUpdate, OrderUpdate, PositionUpdate, StreamState, Update
from trailing.protection.position_task import PositionTask
from trailing.protection.records import Records
from trailing.protection.registry import Registry

_LOOK_FOR_SILENCE: Final = 30.0
"""Seconds between two looks for silent symbols at the most: half of the plan's default `stale_after`."""


class Feed:
    """Takes updates and gives each to the positions that it is about.

    Args:
        step_each: has each of some positions take an input in, without waiting.
        on_return: called when the stream is there again: what happened in between has to be read.

    Attributes:
        ticks: how many were taken.
    """

    def __init__(
        self,
        records: Records,
        registry: Registry,
        step_each: Callable[[Iterable[tuple[PositionTask, Input]]], None],
        on_return: Callable[[], None],
    ) -> None:
        self._records, self._registry, self._step_each, self._on_return = records, registry, step_each, on_return
        self._lost = False
        self._own_ticks = False
        self._last: dict[tuple[str, Source], Tick] = {}
        self._silent: set[PositionTask] = set()
        self.ticks: int = 0

    async def run_ticks(self, ticks: trio.abc.ReceiveChannel[Tick]) -> None:
        """Take a bot's own prices until their channel ends, which is an alarm. They don't go with the exchange's stream."""
        self._own_ticks = True
        async for tick in ticks:
            self.take(tick)
        self._records.alarm(None, "the bot's own prices have ended", "no stop is trailed any more")

    async def notice_silence(self) -> None:
        """Raise an alarm, once each time, for every live position without a price of its source for `stale_after`."""
        while True:
            now = self._records.clock.now()
            wait = _LOOK_FOR_SILENCE
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
        """Return the last tick of a symbol and source, however old."""
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
            case EntryUpdate():
                pass  # its caller placed it through the port: what it fills comes as an update of the position
            case StreamState():
                self._take_state(update)

    def _take_tick(self, tick: Tick) -> None:
        self.ticks += 1
        self._last[tick.symbol, tick.source] = tick
        for task in self._registry.of_symbol(tick.symbol):
            try:
                task.take_tick(tick)
            except Exception as bug:  # of one position, and not the others' harm
                task.step(Frozen(bug))

    def _take_order(self, update: OrderUpdate) -> None:
        told = OrderUpdated(update.client_order_id, update.status, update.fill, update.filled, update.reason)
        for task in self._registry.of_symbol(update.symbol):
            if task.state.position.side == update.side:
                task.step(told)

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
        """The stream is open again, whether an update came yet or not: what happened in between has to be read."""
        if not self._own_ticks:
            self.note_missed(self._registry.all())
        self._on_return()

    def note_missed(self, tasks: Iterable[PositionTask]) -> None:
        """No price of these came from the last one on, until now."""
        clock = self._records.clock
        until, last = clock.utc(), [(task, task.last_tick_at) for task in tasks]
        self._step_each((task, PricesMissed(clock.utc_at(tick_at), until)) for task, tick_at in last)
