"""The pass that compares what is tracked with what the exchange reports: at the start, after outages, and slowly for ever.

It reads two lists for the whole account, lets `core.reconcile` judge, and has what was proved followed.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal, TypeVar

import trio

from trailing.core.account import Bounds, Orphan, PositionReport, Reading, Tracked
from trailing.core.actions import Action, ForeignInstance
from trailing.core.model import Side, StopOrder
from trailing.core.reconcile import reconcile
from trailing.core.sightings import Memory
from trailing.errors import AuthenticationFailed, ExchangeError, ExchangeUnreachable, LeaseLost
from trailing.exchanges.port import snapshot_lag
from trailing.protection.following import Follower
from trailing.protection.opening import backoffs
from trailing.protection.order_ids import mark_of
from trailing.protection.orders import Orders
from trailing.protection.protection import Protection
from trailing.protection.registry import Registry

T = TypeVar("T")


class Reconciliation:
    """Reads the account, and judges.

    Args:
        follower: carries out what was judged.
        orphans: open intents whose position has no record, by client order id.
        call_seconds: how long the exchange may take for a list, once it is its turn.
        every: seconds between two readings that nobody asked for.
        take_over: orders of another instance that stand at the first reading are ours from then on.

    Attributes:
        marks: of the instances whose orders are ours; other orders with our tag are another instance's.
        left: stops that were left standing when their position was released: symbol and side by client order id.
            They are nobody's until a position there is claimed again; then they are ours, and one too many.
        reading: the last one, or None.
    """

    def __init__(
        self,
        orders: Orders,
        registry: Registry,
        follower: Follower,
        orphans: Mapping[str, Orphan],
        *,
        call_seconds: float,
        every: float,
        take_over: bool,
    ) -> None:
        self._orders, self._registry, self._follower = orders, registry, follower
        self._call_seconds, self._every, self._take_over = call_seconds, every, take_over
        self._orphans, self._memory = orphans, Memory()
        self._wanted = trio.Event()
        self._untold: set[Protection] = set()
        self.marks: frozenset[str] = frozenset({orders.ids.mark})
        self.left: dict[str, tuple[str, Side]] = {}
        self.reading: Reading | None = None

    @property
    def again_at(self) -> float:
        """When a further reading could decide what is undecided, on the running clock; infinite: nothing is."""
        return math.inf if self._memory.again_at is None else self._memory.again_at

    def ask(self) -> None:
        """Let the account be read soon, and again until it has told of every position: something may have been missed."""
        self._untold = set(self._registry.all())
        self._wanted.set()

    async def run(self) -> None:
        """Read and follow whenever it was asked for, when what is undecided could be decided, and when it is time.

        A reading that fails is tried again, further and further apart, with an alarm for the first.

        Raises:
            AuthenticationFailed: the exchange does not take the credentials any more.
            LeaseLost: another instance was here first.
        """
        waits, failed = backoffs(), False
        while True:
            undecided = self.again_at - self._orders.clock.now()
            await self._wait(next(waits) if failed or self._has_to_tell else min(self._every, undecided))
            try:
                await self._follower.follow(await self.look())
            except AuthenticationFailed:
                raise
            except ExchangeError as error:
                if not failed:
                    self._orders.alarm(None, "the account can't be read", str(error))
                failed = True
            else:
                failed = False
                if not self._has_to_tell:
                    waits = backoffs()

    @property
    def _has_to_tell(self) -> bool:
        """Whether a reading of some position is owed: one was asked for, or its stop was replaced and not shown yet."""
        return bool(self._untold) or any(one.vanished and not one.unlisted for one in self._registry.all())

    async def _wait(self, seconds: float) -> None:
        with trio.move_on_after(max(0.0, seconds)) as scope:
            await self._wanted.wait()
        if not scope.cancelled_caught:
            # Until then a read may show what was before that which somebody asked for.
            await trio.sleep(snapshot_lag(self._orders.exchange))
        self._wanted = trio.Event()

    async def look(self) -> Sequence[Action]:
        """Read the account once and judge. Nothing is changed, here or there.

        Raises:
            ExchangeError: it can't be read now.
            LeaseLost: at the first reading there are orders of another instance; nothing was written yet.
        """
        exchange, reading = self._orders.exchange, await self._read()
        if self.reading is None and self._take_over:
            self.marks |= {mark for stop in reading.stops if (mark := mark_of(stop.client_order_id)) is not None}
        self.left = {one: key for one, key in self.left.items() if self._registry.get(*key) is None}
        held = {protection: _tracked(protection) for protection in self._registry.all()}
        told = {one for one, seen in held.items() if not seen.is_left_alone(reading.asked_at, snapshot_lag(exchange))}
        self._untold &= held.keys() - told
        shown = {order.client_order_id for order in reading.stops}
        for protection in held:
            if protection.vanished and not shown.isdisjoint(protection.stop.orders):
                protection.vanished, protection.unlisted = (), False
        actions, memory = reconcile(
            reading,
            tuple(held.values()),
            tuple(self._orphans.values()),
            self._memory,
            Bounds(snapshot_lag(exchange), exchange.request_validity, exchange.hedged),
            self._whose,
        )
        if self.reading is None:
            self._check_alone(actions)
        self.reading, self._memory = reading, memory
        return actions

    async def _read(self) -> Reading:
        exchange, asked_at = self._orders.exchange, self._orders.clock.now()
        stops, positions, errors = list[StopOrder](), list[PositionReport](), list[ExchangeError]()

        async def read(into: list[T], operation: Callable[[], Awaitable[Sequence[T]]]) -> None:
            try:
                into.extend(await operation())
            except ExchangeError as error:
                errors.append(error)

        turn = max(exchange.next_turn("open_stops"), exchange.next_turn("positions"))
        with trio.move_on_after(self._call_seconds + turn) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read, stops, exchange.open_stops)
                nursery.start_soon(read, positions, exchange.positions)
        if scope.cancelled_caught:
            raise ExchangeUnreachable(f"no answer within {self._call_seconds + turn} s")
        if errors:
            raise errors[0]
        return Reading(asked_at, self._orders.clock.now(), tuple(stops), tuple(positions))

    def _whose(self, client_order_id: str) -> Literal["ours", "instance", "foreign"]:
        mark = mark_of(client_order_id)
        if mark is None or client_order_id in self.left:
            return "foreign"
        return "ours" if mark in self.marks else "instance"

    @staticmethod
    def _check_alone(actions: Sequence[Action]) -> None:
        others = [action for action in actions if isinstance(action, ForeignInstance)]
        if others:
            raise LeaseLost(
                f"{len(others)} stops of another instance stand on this account, {others[0].order.client_order_id} of "
                f"{others[0].symbol} among them: end it first, or take its stops over with take_over=True"
            )


def _tracked(protection: Protection) -> Tracked:
    stop = protection.stop
    return Tracked(
        symbol=protection.position.symbol,
        side=protection.position.side,
        identity=protection.position.identity,
        state=stop.state,
        quantity=stop.quantity,
        orders=tuple(stop.orders.values()),
        pending=tuple(protection.pending.values()),
        target=stop.target,
        coverable=stop.coverable,
        price_tick=stop.market.price_tick,
        liquidation_buffer=stop.plan.liquidation_buffer,
        entry=stop.reported_entry,
        quiet_since=protection.quiet_since,
        busy=protection.changing or not protection.opened,
        native=stop.native,
    )
