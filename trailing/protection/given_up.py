"""The positions that no task works on although they may be open: listed, and stored for after a restart."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import msgspec

from trailing.core.account import PositionReport
from trailing.core.evidence import Timing
from trailing.core.model import Percent, Position, Side
from trailing.core.plan import TrailPlan
from trailing.core.position import PositionState
from trailing.core.ratchet import Ratchet
from trailing.core.record import save_position
from trailing.core.states import State
from trailing.errors import ExchangeError, UsageError
from trailing.events import OpeningFailed
from trailing.exchanges.port import Exchange
from trailing.protection.records import Records
from trailing.protection.waves.outcomes import UNTRACKED, Refused, Unprotected, is_untracked

if TYPE_CHECKING:
    from trailing.protection.position_task import PositionTask


_ANY_PLAN: Final = TrailPlan(initial_stop=Percent(50))
"""A plan for their records, which need one, that fits almost every position. No task works by it."""


class GivenUp:
    """The list of these positions.

    Attributes:
        listed: the positions, by symbol and side; `listed_at`: since when, in seconds on the running clock.
    """

    def __init__(self, records: Records, exchange: Exchange, timing: Timing) -> None:
        self._records, self._exchange, self._timing = records, exchange, timing
        self.listed: dict[tuple[str, Side], Unprotected] = {}
        self.listed_at: dict[tuple[str, Side], float] = {}

    def add(self, task: PositionTask) -> None:
        """List a position that no task works on any more."""
        self._list(Unprotected(task.state.position, State.CLOSED.value, task.state.error))

    def add_refused(self, refused: Refused) -> None:
        """List a position that was refused before it could be claimed, publish that, and store it for after a restart."""
        position, error = refused.position, refused.error
        self._list(Unprotected(position, State.CLOSED.value, error))
        what = f"{type(error).__name__}: {error}"
        self._records.tell(position, OpeningFailed, error=what, unresolved=False, given_up=True)
        self._store(position)

    def add_stored(self, position: Position, error: Exception) -> None:
        """List a position whose stored record says that it was given up, or can't be restored. `error`: why.

        The record of an earlier one of its key is closed, because the list has one position of each key.
        """
        self._list(Unprotected(position, State.CLOSED.value, error))

    def add_untracked(self, report: PositionReport) -> None:
        """List an untracked position that took the place of one of ours, and store that for after a restart."""
        listed = self.untracked(report)
        self._list(listed)
        self._store(listed.position)

    def untracked(self, report: PositionReport) -> Unprotected:
        """Return the list entry of a position that was never handed in."""
        opened_at, symbol = self._records.clock.utc(), report.symbol
        identity = (
            f"{UNTRACKED} {opened_at.isoformat()}"  # each has a record of its own, because a closed one stays closed
        )
        position = Position(symbol, report.side, report.quantity, report.entry_price, opened_at, id=identity)
        return Unprotected(position, State.CLOSED.value, ExchangeError("it was not handed in, and has no plan"))

    def drop(self, position: Position) -> None:
        """Remove a position that has ended. The store holds its own record."""
        listed = self.listed.get((position.symbol, position.side))
        if listed is not None and listed.position.identity == position.identity:
            del self.listed[position.symbol, position.side], self.listed_at[position.symbol, position.side]

    def make_way(self, claiming: PositionState) -> None:
        """Remove the position in whose place another one is worked on.

        One that was given up behind that one stays listed, until a list shows which of the two is open.
        """
        key = (claiming.position.symbol, claiming.position.side)
        listed = self.listed.get(key)
        if listed is not None and (is_untracked(listed.position) or self.listed_at[key] <= claiming.claimed_at):
            self.forget(*key, unless=claiming.position.identity)

    def forget(self, symbol: str, side: Side, *, unless: str | None = None) -> bool:
        """Remove a position from the list, here and in the store. Return whether it was listed.

        Args:
            unless: the identity of a position whose own record replaces the stored one, so that none is written here.
        """
        listed = self.listed.pop((symbol, side), None)
        self.listed_at.pop((symbol, side), None)
        if listed is not None and listed.position.identity != unless:
            self._hand_in(listed.position, quantity=Decimal(0))
        return listed is not None

    def _list(self, listed: Unprotected) -> None:
        key = (listed.position.symbol, listed.position.side)
        self.forget(*key, unless=listed.position.identity)  # the store holds one such record for each key
        self.listed[key], self.listed_at[key] = listed, self._records.clock.now()

    def _store(self, position: Position) -> None:
        """Store a position for after a restart. If no record can hold it, an alarm says that it will not be listed then."""
        self._hand_in(position, is_abandoned=True)

    def _hand_in(self, position: Position, **fields: Any) -> None:
        """Hand in the record of a position without a task. `fields`: of the record, beside those of every such one."""
        now = self._records.clock.now()
        try:
            market = self._exchange.market(position.symbol)
            state = PositionState(Ratchet(position, _ANY_PLAN, market), self._timing, now)
        except UsageError as wrong:  # there is no such market, or no price below the entry
            self._records.alarm(position, "it will not be listed after a restart", str(wrong))
            return
        record = save_position(state, now, self._records.clock.utc())
        self._records.hand_in_record(msgspec.structs.replace(record, state=State.CLOSED.value, **fields))
