"""The bot of a hostile world. It remembers over its restarts which positions it has handed in, and which it has released."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from typing import Final

import trio
from inspection import Inspection, Key
from inspection.paper import add_by_hand

from trailing.core.entries import Entry
from trailing.core.model import Position
from trailing.core.plan import TrailPlan
from trailing.errors import TrailingError
from trailing.exchanges.paper import PaperExchange
from trailing.protection.manager import Manager

QUANTITY: Final = Decimal("1.5")
"""The quantity of each position, in base units. Fills of 0.4 of an order are of several sizes."""


class Bot:
    """A bot that hands in positions, over its own restarts.

    Args:
        note: called with each step, as text.
        report: called with the class and the details of a violation.

    Attributes:
        handed_in: when each position was handed in for which the manager has to answer, in seconds of the world. A position that a
            store or a killed program may have lost is not among them.
        released: the positions that the manager was told to release.
        left_stops: the client order ids of the stops that it was told to leave.
    """

    def __init__(
        self,
        exchange: PaperExchange,
        note: Callable[[str], object],
        report: Callable[[str, str], object],
    ) -> None:
        self._exchange, self._note, self._report = exchange, note, report
        self._opened: dict[Key, None] = {}  # in their order, because a set's order differs between processes
        self.handed_in: dict[Key, float] = {}
        self.released: dict[Key, None] = {}
        self.left_stops: set[str] = set()

    def is_open(self, key: Key) -> bool:
        """Whether a position is open, in truth."""
        return key[1] in self._exchange.actual(key[0])[1]

    def note_lost_writes(self, since: float) -> None:
        """Note that the store may hold nothing of the positions that were handed in since a time of the world."""
        self.handed_in = {key: at for key, at in self.handed_in.items() if at < since}

    def open(self, position: Position) -> None:
        """Open a position without the manager. It is not handed in yet."""
        key = (position.symbol, position.side)
        add_by_hand(self._exchange, position)
        self._opened[key] = None
        self.handed_in.pop(key, None)

    async def protect(self, manager: Manager, positions: Sequence[Position], plan: TrailPlan) -> None:
        """Hand in positions that were opened, as one wave."""
        keys = [(position.symbol, position.side) for position in positions]
        with ExitStack() as noted:
            for key in keys:
                noted.enter_context(self._handing_in(key, "protect"))
            report = await manager.protect_wave(positions, deadline=5.0, plan=plan)
            for key, outcome in zip(keys, report.outcomes, strict=True):
                self._note_outcome(key, "protect", outcome)

    async def enter(self, manager: Manager, entry: Entry, deadline: float) -> None:
        """Open a position with an entry."""
        key = (entry.symbol, entry.side)
        with self._handing_in(key, "enter"):
            self._note_outcome(key, "enter", await manager.enter(entry, deadline=deadline))

    async def adopt(self, manager: Manager, key: Key) -> None:
        """Hand in a position as the exchange reports it."""
        with self._handing_in(key, "adopt"):
            self._note_outcome(key, "adopt", await manager.adopt(*key, deadline=10.0))

    async def update(self, manager: Manager, key: Key, plan: TrailPlan) -> None:
        """Replace the plan of a position."""
        with self._noting_errors(key, "update"):
            await manager.update(*key, plan)

    async def close(self, manager: Manager, key: Key, deadline: float) -> None:
        """Close a position."""
        with self._noting_errors(key, "close"):
            self._note_outcome(key, "close", await manager.close(*key, deadline=deadline))

    async def release(self, manager: Manager, key: Key, cancel_stop: bool) -> None:
        """Release a position. It counts as released also if the program is killed meanwhile."""
        handed_in_at = self.handed_in.pop(key, None)
        self.released[key] = None
        if not cancel_stop:
            self.left_stops.update(self._stops(key))
        try:
            await manager.release(*key, cancel_stop=cancel_stop)
            self.left_stops.update(Inspection(manager).released_stops())
            self._note(f"release of {named(key)} returned")
        except TrailingError as error:
            self._note(f"release of {named(key)} raised {error!r}")
            self.released.pop(key, None)
            if handed_in_at is not None:
                self.handed_in[key] = handed_in_at

    async def take_back(self, manager: Manager, key: Key) -> None:
        """Adopt a released position, or forget it if it has ended, and cancel the stops that were left.

        Do nothing while the manager still has it, because a release may be under way.
        """
        if key in Inspection(manager).claimed():
            return
        if self.is_open(key):
            await self.adopt(manager, key)
            return
        del self.released[key]
        for client_order_id in self._stops(key):
            self._exchange.cancel_by_hand(client_order_id)

    async def hand_in_missing(self, manager: Manager) -> None:
        """Hand in again what the program before has lost. Report what the manager had to remember and does not list."""
        inside = Inspection(manager)
        listed = inside.listed() | inside.closing() | self.released.keys()
        for key in [one for one in self._opened if self.is_open(one) and one not in listed]:
            if self.handed_in.pop(key, None) is not None:
                self._report("12. a position is not listed after a restart", named(key))
            await self.adopt(manager, key)

    async def hand_in_unattended(self, manager: Manager) -> None:
        """Hand in the positions on which no task works: those that were given up, and those that were never handed in."""
        claimed = Inspection(manager).claimed()
        for key in [one for one in self._opened if self.is_open(one) and one not in {*claimed, *self.released}]:
            if key in manager.unprotected() or key not in self.handed_in:
                await self.adopt(manager, key)

    def _stops(self, key: Key) -> list[str]:
        return [stop.client_order_id for stop in self._exchange.actual(key[0])[0] if stop.side == key[1]]

    @contextmanager
    def _handing_in(self, key: Key, call: str) -> Iterator[None]:
        """Note that the manager has to answer for a position, unless the call within the block raises an error.

        An adoption that is cancelled may have ended while it read the account, before it began.
        """
        before, now = self.handed_in.get(key), trio.current_time()
        self.handed_in[key] = now
        self._opened[key] = None
        self.released.pop(key, None)
        is_handed_in = call != "adopt"
        try:
            yield
            is_handed_in = True
        except TrailingError as error:
            self._note(f"{call} of {named(key)} raised {error!r}")
            is_handed_in = False
        finally:
            if not is_handed_in and self.handed_in.get(key) == now:
                del self.handed_in[key]
                if before is not None:
                    self.handed_in[key] = before

    @contextmanager
    def _noting_errors(self, key: Key, call: str) -> Iterator[None]:
        try:
            yield
        except TrailingError as error:
            self._note(f"{call} of {named(key)} raised {error!r}")

    def _note_outcome(self, key: Key, call: str, outcome: object) -> None:
        error = getattr(outcome, "error", None)
        self._note(f"{call} of {named(key)} returned {type(outcome).__name__}{'' if error is None else f', {error!r}'}")


def named(key: Key) -> str:
    """Return a position's name in texts."""
    return f"{key[1]} {key[0]}"
