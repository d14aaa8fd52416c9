"""The manager's methods that enter positions. `EntryWave` does the work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trailing.core.entries import Entry
from trailing.core.model import Side, check_seconds, refuse
from trailing.core.plan import TrailPlan
from trailing.protection.waves.entry_outcomes import EntryOutcome, EntryReport, WorkingEntry
from trailing.protection.waves.entry_wave import EntryWave
from trailing.protection.waves.wave import check_wave_plan

if TYPE_CHECKING:
    from trailing.protection.supervision import Supervision


class EntryMethods:
    """The methods of a manager that enter positions."""

    _plan: TrailPlan
    _supervision: Supervision

    async def enter_wave(
        self, entries: Sequence[Entry], *, deadline: float, plan: TrailPlan | None = None
    ) -> EntryReport:
        """Open positions, all in parallel, and protect each from its first fill on.

        Each entry is stored before it is sent, and sent at most once. Where the exchange lets an entry carry its stop
        (`Market.attached_stop`), it does. Otherwise the stop follows the first fill, and grows with each further one. After a
        crash, the next manager finds the order, cancels what is not filled and protects what is.

        Args:
            entries: the positions to open. Nothing is added to an open position.
            deadline: seconds for each of them, above 0. An order rests until then; the rest is cancelled. The call returns at
                most the plan's `cleanup_seconds` later. It never ends the protection of what was filled.
            plan: used for these positions instead of the manager's plan.

        Returns:
            An outcome for each entry, in their order. `Protected`: nothing more of it can be filled, and a live stop covers what
            was. `NotEntered`: nothing was filled, and nothing is left. `Exited`: its stop, or the plan, has closed it already.
            `TimedOut`: its stop, or the end of its order, was not confirmed in time. It is in `unprotected()`, the manager goes
            on, and the plan's policy decides about a position without a stop.

        Raises:
            UsageError: an argument is impossible, or the manager has ended. Nothing was sent.
            ExceptionGroup: of bugs, after every entry has its outcome.

        Cancellation: what is not filled is cancelled, for at most `cleanup_seconds`; then the cancellation passes on. What is
            filled stays protected, or is closed if the plan's `on_entry_cancelled` is ``"close"``.
        """
        supervision, plan = self._supervision, plan or self._plan
        check_seconds("deadline", deadline, zero=False)
        for entry in entries:
            if not isinstance(entry, Entry):
                raise refuse("entries", entry, "a sequence of Entry")
        check_wave_plan(supervision.sender, plan, {entry.symbol for entry in entries})
        with supervision.operation():
            report = await EntryWave(supervision, plan, deadline).run(entries)
        supervision.tally.count_wave(report)
        return report

    async def enter(self, entry: Entry, *, deadline: float, plan: TrailPlan | None = None) -> EntryOutcome:
        """Open one position, and protect it from its first fill on. See `enter_wave`."""
        report = await self.enter_wave((entry,), deadline=deadline, plan=plan)
        return report.outcomes[0]

    def entries(self) -> dict[tuple[str, Side], WorkingEntry]:
        """Return every entry of which more may be filled. Its filled part is in `stops` or `unprotected`, too."""
        return self._supervision.entries()

    def pause_entries(self) -> None:
        """Refuse every entry from now on, until `resume_entries`. Entries that were claimed by now go on.

        An entry that is refused is a `NotEntered` with the reason ``"paused"``. Protection goes on.
        """
        self._supervision.entries_paused = True

    def resume_entries(self) -> None:
        """Allow entries again."""
        self._supervision.entries_paused = False
