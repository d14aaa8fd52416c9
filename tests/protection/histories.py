"""What holds at every moment of a world: what was cancelled and why, what was written down, and how often it was asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import trio
from inspection import Key
from inspection.paper import has_intent
from worlds import World

from trailing import StopOrder
from trailing.exchanges.paper.transport import LogEntry
from trailing.protection.order_ids import is_ours
from trailing.testing import Call, CancelledStop, cancelled_for_a_reason, requests_bounded
from trailing.testing.invariants import MOST_LISTS, MOST_REPEATS


class History:
    """Looks at a world whenever its exchange books something, for what holds at every moment.

    Pass `note` to ``open_world(record=…)``, then the world to `watch`, before a stop is placed.

    Attributes:
        cancelled: every stop of ours that a request has cancelled, with what the exchange truly held then.
        cancels_on_demand: whether a cancellation from now on is the caller's own wish.
    """

    def __init__(self) -> None:
        self.cancelled: list[CancelledStop] = []
        self.cancels_on_demand: bool = False
        self._world: World | None = None
        self._live: dict[str, StopOrder] = {}
        self._broken: list[str] = []

    def watch(self, world: World) -> None:
        """Look at this world from now on."""
        self._world = world

    def note(self, booking: LogEntry) -> None:
        """The exchange has booked, or refused, something."""
        order, own, world = booking.result, booking.client_order_id, self._world
        if world is None:
            return
        if booking.operation in {"place_stop", "close_position"} and own is not None:
            self._check_written(world, booking.operation, own)
        if isinstance(order, StopOrder) and order.callback is None:
            self._live[order.client_order_id] = order
        elif booking.operation == "cancel_stop" and order is None and own in self._live:
            self.cancelled.append(self._cancelled(world, self._live.pop(own)))
        self._broken += [f"12. the {side} {symbol} is claimed and in no list" for symbol, side in world.unlisted()]

    def _check_written(self, world: World, operation: str, own: str) -> None:
        """Invariant 4, when an order is booked. Excuse: the store failed, and an alarm said so."""
        if not (has_intent(world.memory, own) or world.alarms()):
            self._broken.append(f"4. {operation} {own} was booked without its intent")

    def _cancelled(self, world: World, stop: StopOrder) -> CancelledStop:
        live, held = world.paper.actual(stop.symbol)
        market = world.paper.market(stop.symbol)
        return CancelledStop(
            stop=stop,
            open_quantity=held.get(stop.side, stop.quantity * 0),
            others=[
                one for one in live if one.side == stop.side and one.callback is None and is_ours(one.client_order_id)
            ],
            takes_one_stop=not (market.two_stops or market.can_amend),
            was_wanted=self.cancels_on_demand,
        )

    def check(self) -> None:
        """Assert invariants 4, 11 and 12 of all moments until now."""
        broken = self._broken + cancelled_for_a_reason(self.cancelled)
        if broken:
            raise AssertionError("\n".join(broken))


class _Listing(trio.abc.Instrument):
    """Holds a manager's two lists against its claims and against the exchange, after every step of every task.

    Attributes:
        broken: what breaks invariant 12, each once.
        released: keys that were released, or withdrawn, so that no list has to name them any more.
    """

    def __init__(self, world: World, keys: Iterable[Key]) -> None:
        self._world, self._keys = world, frozenset(keys)
        self._handed_in: set[Key] = set()
        self._acknowledged: set[str] = set()
        self.broken: dict[str, float] = {}
        self.released: set[Key] = set()
        self.steps = 0

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        world = self._world
        if world.manager is None:
            self._handed_in.clear()
            return
        self.steps += 1
        stops, unprotected = world.manager.stops(), world.manager.unprotected()
        listed = stops.keys() | unprotected.keys()
        self._acknowledged |= {stop.client_order_id for stop in stops.values()}
        self._note("is claimed and in no list", world.unlisted())
        self._note("is in both lists", stops.keys() & unprotected.keys() - world.inside.listed_beside())
        truly = {key: world.paper.actual(key[0]) for key in self._keys}
        self._handed_in = {key for key in self._handed_in | listed if key in truly and truly[key][1].get(key[1])}
        self._note("is open and in no list", self._handed_in - listed - self.released)
        for key in self._handed_in - stops.keys():
            claim = world.inside.claim(*key)
            if claim is None or claim.has_unknown_request or claim.is_at_work:
                continue  # given up, or what the exchange holds is not known at this moment
            protecting = (stop for stop in truly[key][0] if stop.side == key[1] and not stop.triggered)
            if any(stop.client_order_id in self._acknowledged for stop in protecting):
                self._note("has a live stop and is not among the stops", {key})

    def forget(self, key: Key) -> None:
        """A released position may be handed in again from now on."""
        self._handed_in.discard(key)
        self.released.discard(key)

    def _note(self, what: str, keys: Iterable[Key]) -> None:
        for symbol, side in keys:
            self.broken.setdefault(f"12. the {side} {symbol} {what}", trio.current_time())


@contextmanager
def always_listed(world: World, *keys: Key) -> Iterator[_Listing]:
    """Assert within the block, after every step of every task, that the manager's lists name each claimed position, and
    each of these positions from when it was handed in until the exchange has closed it.
    """
    listing = _Listing(world, keys)
    trio.lowlevel.add_instrument(listing)
    try:
        yield listing
    finally:
        trio.lowlevel.remove_instrument(listing)
    assert listing.broken == {}, listing.broken
    assert listing.steps


def broken_bounds(calls: Iterable[Call]) -> Iterator[str]:
    """Yield what breaks invariant 13 among the calls of a time in which at most a few prices came."""
    times: dict[tuple[str, str | None], list[float]] = {}
    for call in calls:
        what: str = "account lists" if call.operation in {"positions", "open_stops"} else call.operation
        times.setdefault((what, call.symbol), []).append(call.at)
    for (what, symbol), sent in times.items():
        most = MOST_LISTS if what == "account lists" else MOST_REPEATS
        yield from (f"{broken}, {what} of {symbol}" for broken in requests_bounded(sent, most=most))
