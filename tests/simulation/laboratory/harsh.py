"""The additional parts of a harsh world: its faults, and the monitors that compare with the true state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import trio
from inspection import Claim, Inspection

from simulation.laboratory.cancellations import Cancellations
from simulation.laboratory.fault_log import FaultLog
from simulation.laboratory.fault_schedule import FaultSchedule
from simulation.laboratory.harsh_exchange import RATE_LIMIT, HarshExchange
from simulation.laboratory.harsh_rates import PART_FILLED, HarshRates
from simulation.laboratory.harsh_stop_changes import HarshStopChanges
from simulation.laboratory.leftovers import Leftovers
from simulation.laboratory.monitored_exchange import MonitoredExchange
from simulation.laboratory.position_monitor import PositionMonitor
from simulation.laboratory.process import KillableExchange, Process
from simulation.laboratory.process_view import ProcessView
from simulation.laboratory.request_monitor import ReportViolation, RequestMonitor
from simulation.laboratory.scenario import Scenario
from simulation.laboratory.waits import Waits
from trailing.core.model import Side, Tick
from trailing.exchanges.paper import PaperExchange
from trailing.exchanges.paper.transport import LogEntry
from trailing.protection.manager import Manager
from trailing.stores.port import StoreWrite


class HarshWorld:
    """The faults and the monitors of one harsh world.

    Args:
        paper: the true state of the exchange.
        feed: moves the market to a price, for one tick.
        report_violation: called with the class of a violation and its details.
        manager: returns the manager of the running process, or None.
        was_cancelled: whether an entry of a position was cancelled from outside.
    """

    def __init__(
        self,
        scenario: Scenario,
        rates: HarshRates,
        paper: PaperExchange,
        fault_schedule: FaultSchedule,
        feed: Callable[[Tick], object],
        report_violation: ReportViolation,
        manager: Callable[[], Manager | None],
        was_cancelled: Callable[[tuple[str, Side]], bool],
    ) -> None:
        self._paper, self._fault_schedule, self._manager = paper, fault_schedule, manager
        self._log = FaultLog(scenario.seed, rates, fault_schedule)
        self._exchange = HarshExchange(paper, scenario, self._log, feed)
        self._process_view, self._leftovers, self._waits = ProcessView(), Leftovers(paper), Waits(report_violation)
        self._requests = RequestMonitor(paper, self._process_view, self._leftovers, report_violation)
        self._manual_changes = HarshStopChanges(
            scenario, self._log, self._exchange.hidden_ends, self._process_view.listed_at
        )
        self._cancellations = Cancellations(
            paper,
            scenario.plan,
            self._process_view,
            self._leftovers,
            self._requests,
            self._is_opening,
            report_violation,
        )
        self._positions = PositionMonitor(
            scenario, paper, fault_schedule, self._log, self._process_view, was_cancelled, report_violation
        )

    @property
    def strikes(self) -> dict[str, int]:
        """The number of strikes of each kind."""
        return dict(self._log.strikes)

    def start(self, nursery: trio.Nursery) -> None:
        """Start the faults that happen by time."""
        nursery.start_soon(self._manual_changes.amend_stops, self._paper)
        nursery.start_soon(self._manual_changes.lose_stops, self._paper)

    def connect(self, process: Process) -> tuple[KillableExchange, MonitoredExchange]:
        """Return a killable exchange for a new process, and the monitored exchange that wraps it."""
        killable = KillableExchange(self._exchange, process, self._fault_schedule)
        return killable, MonitoredExchange(
            killable, process, self._requests, self._process_view, self._cancellations, self._state_of
        )

    def _claim_of(self, symbol: str, side: Side) -> Claim | None:
        manager = self._manager()
        claims = () if manager is None else Inspection(manager).claims_of(symbol)
        return next((claim for claim in claims if claim.key[1] == side), None)

    def _is_opening(self, symbol: str, side: Side) -> bool:
        claim = self._claim_of(symbol, side)
        return claim is not None and not claim.is_opened

    def had_to_close(self, symbol: str, side: Side) -> bool:
        """Whether the last report of a position said that it is open when the process last requested its close."""
        return self._process_view.had_to_close(symbol, side)

    def explains(self, symbol: str, side: Side, at: float) -> str | None:
        """Return the cause of unprotected time since a time at which the process cancelled a stop, as `Cancellations.explains`."""
        return self._cancellations.explains(symbol, side, at)

    def _state_of(self, symbol: str, side: Side) -> str | None:
        claim = self._claim_of(symbol, side)
        return None if claim is None else claim.state

    # The input of the monitors.

    def note_sent(self, operation: str, symbol: str | None) -> None:
        """Take a request that the exchange has received."""
        self._waits.note_sent(operation, symbol)

    def note_booking(self, booking: LogEntry) -> None:
        """Take a booking, or a refusal, of the exchange."""
        self._waits.note_booking(booking)
        self._process_view.note_booking(booking)
        self._leftovers.note_booking(booking)
        self._cancellations.note_booking(booking)
        self._positions.note_booking(booking)

    def note_commit(self, entries: Sequence[StoreWrite]) -> None:
        """Take entries that the store has committed."""
        self._positions.note_commit(entries)

    def note_handed_in(self, symbol: str, side: Side) -> None:
        """Take a position that the bot hands in."""
        self._positions.note_handed_in((symbol, side))

    def note_price(self, tick: Tick) -> None:
        """Take a price of the market."""
        self._positions.note_price(tick)

    def check(self, symbol: str) -> None:
        """Check the positions of a symbol after a price of it."""
        manager = self._manager()
        if manager is not None:
            self._waits.check(self._exchange.sick.symbol)
            self._cancellations.check()
            inside = Inspection(manager)
            self._requests.check_tries(inside.claims())
            self._positions.check(symbol, inside)

    def check_peak(self, claim: Claim) -> None:
        """Check the peak that a process stores."""
        self._positions.check_peak(claim)

    def process_died(self) -> None:
        """Reset the monitors' state of the process that has died."""
        self._process_view.process_died()
        self._requests.process_died()
        self._cancellations.process_died()
        self._positions.process_died()


def exchange_options(rates: HarshRates | None) -> dict[str, Any]:
    """Return the additional options of the paper exchange in a harsh world."""
    options: dict[str, Any] = {}
    if rates is not None and rates.fills_in_parts:
        options["partial_fills"] = PART_FILLED
    if rates is not None and rates.sick_symbols:
        options["rate_limit"] = RATE_LIMIT
    return options
