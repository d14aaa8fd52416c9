"""A small exchange with the monitors of a harsh world, for tests of single events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal as D
from typing import Any

import trio
from inspection.paper import amend_by_hand

from simulation.laboratory.cancellations import Cancellations
from simulation.laboratory.entry_bookings import EntryBookings
from simulation.laboratory.entry_monitor import EntryMonitor
from simulation.laboratory.fault_log import FaultLog
from simulation.laboratory.fault_schedule import FaultSchedule
from simulation.laboratory.harsh_rates import HarshRates
from simulation.laboratory.invariant_monitor import InvariantMonitor
from simulation.laboratory.leftovers import Leftovers
from simulation.laboratory.position_monitor import PositionMonitor
from simulation.laboratory.process_view import ProcessView
from simulation.laboratory.request_monitor import RequestMonitor
from simulation.laboratory.scenario import TICK, Scenario
from trailing.core.model import Market, Percent, Position, Side, StopOrder, Tick
from trailing.core.plan import TrailPlan, encode_plan
from trailing.core.record import StopRecord
from trailing.core.rules import Callback
from trailing.exchanges.paper import PaperExchange, open_paper
from trailing.exchanges.paper.transport import LogEntry
from trailing.exchanges.port import StopRequest
from trailing.protection.waves.entry_outcomes import WorkingEntry
from trailing.stores.port import CloseStop, SaveStop, StoreWrite

SYMBOL = "COIN/USDT:USDT"
ONE_STOP = "ONE/USDT:USDT"
OWN, BRIDGE = "OWN/USDT:USDT", "BRIDGE/USDT:USDT"
MARKETS = (
    Market(SYMBOL, price_tick=TICK, quantity_step=TICK),
    Market(ONE_STOP, price_tick=TICK, two_stops=False),
    Market(OWN, price_tick=TICK, quantity_step=TICK, attached_stop="own"),
    Market(BRIDGE, price_tick=TICK, quantity_step=TICK, attached_stop="bridge"),
)
PLAN = TrailPlan(initial_stop=Percent("2"), rules=(Callback(Percent("0.5"), activation=Percent("0.5")),))


def scenario(plan: TrailPlan = PLAN, rates: HarshRates | None = None) -> Scenario:
    """Return a world without ordinary faults."""
    return Scenario(
        seed=0,
        symbols=len(MARKETS),
        markets=MARKETS,
        plan=plan,
        duration=100_000.0,
        volatility=0.0,
        jumps=0.0,
        latency=0.01,
        spikes=0.0,
        read_lag=0.0,
        outages=(),
        deaths=(),
        manual_changes=(),
        waves=(),
        store_latency=0.0,
        harsh=rates or HarshRates.of("none"),
    )


def fault_log(kind: str) -> FaultLog:
    """Return a log in which only one kind strikes, at its stated rate."""
    world = scenario(rates=HarshRates.of(kind))
    return FaultLog(world.seed, HarshRates.of(kind), FaultSchedule(world))


def saved(position: Position, *, closed: bool = False) -> list[StoreWrite]:
    """Return the store's entries for a position."""
    price, plan = position.entry_price, encode_plan(PLAN)
    record = StopRecord(
        position=position,
        plan=plan,
        state="trailing",
        quantity=position.quantity,
        best=price,
        last=price,
        suspect=None,
        target=price,
        orders=(),
        seconds_since_move=None,
        unacknowledged_fills={},
        candles=(),
        foreign_ticks=0,
    )
    return [(CloseStop if closed else SaveStop)("paper", "default", record)]


class FakeManager:
    """The entries that a manager lists."""

    def __init__(self, *listed: WorkingEntry) -> None:
        self._listed = listed

    def entries(self) -> dict[tuple[str, Side], WorkingEntry]:
        return {(one.symbol, one.side): one for one in self._listed}


class MonitorSetup:
    """An exchange, its manual changes and the monitors. Each stop is ours.

    Attributes:
        violations: the classes of the violations, in order. Those of the invariant monitor are in its `broken`.
        manager: the process's manager, as far as the entry monitor asks it.
        opening: whether the positions are being opened.
        was_cancelled: whether the entries of the positions were cancelled from outside.
    """

    def __init__(self, plan: TrailPlan) -> None:
        self.paper: PaperExchange
        self.plan = plan
        self.violations: list[str] = []
        self.opening = self.was_cancelled = False
        self.fault_schedule = FaultSchedule(scenario(plan))
        self.log = FaultLog(0, HarshRates.of("none"), self.fault_schedule)
        self.process_view = ProcessView()
        self.invariant_monitor = InvariantMonitor(
            self.fault_schedule,
            lambda _: True,
            lambda _: True,
            lambda key: self.process_view.had_to_close(*key),
            lambda key, at: self.cancellations.explains(*key, at),
            keep_events=False,
        )
        self.manager: FakeManager | None = None
        self.entry_monitor = EntryMonitor(
            self.fault_schedule,
            lambda: self.manager,
            self.invariant_monitor.was_added_to,
            self._report_violation,
        )
        self._stops = 0

    def start_monitors(self, paper: PaperExchange) -> None:
        """Create the monitors of an exchange."""
        self.paper = paper
        self.leftovers = Leftovers(paper)
        self.requests = RequestMonitor(paper, self.process_view, self.leftovers, self._report_violation)
        self.cancellations = Cancellations(
            paper,
            self.plan,
            self.process_view,
            self.leftovers,
            self.requests,
            lambda *_: self.opening,
            self._report_violation,
        )
        self.positions = PositionMonitor(
            scenario(self.plan),
            paper,
            self.fault_schedule,
            self.log,
            self.process_view,
            lambda _: self.was_cancelled,
            self._report_violation,
        )
        self.invariant_monitor.set_exchange(paper)
        self.entry_monitor.set_exchange(paper)
        EntryBookings(paper, self.entry_monitor, self.invariant_monitor, self.note_booking)

    def _report_violation(self, what: str, _: str) -> None:
        self.violations.append(what)

    def note_booking(self, booking: LogEntry) -> None:
        """Give a booking to every monitor."""
        self.process_view.note_booking(booking)
        self.leftovers.note_booking(booking)
        self.cancellations.note_booking(booking)
        self.positions.note_booking(booking)
        self.entry_monitor.note_booking(booking)
        self.invariant_monitor.note_booking(booking)

    async def enter(self, symbol: str = SYMBOL, side: Side = "long", quantity: int = 1) -> Position:
        """Enter a position at 100."""
        position = Position(symbol, side, D(quantity), D(100), datetime(2026, 1, 1, tzinfo=UTC))
        await self.paper.enter(position)
        return position

    async def place(self, price: str, symbol: str = SYMBOL, *, shown: bool = True) -> StopOrder:
        """Place a stop of ours for the long position. `shown`: the process receives it."""
        self._stops += 1
        own = f"tr0000{self._stops:016x}"
        order = await self.paper.place_stop(StopRequest(symbol, "long", D(1), D(price), own))
        if shown:
            self.process_view.note_shown((order,))
        return order

    async def cancel(self, order: StopOrder) -> None:
        """Cancel a stop, as the process does."""
        self.process_view.note_cancelled(order)
        self.cancellations.note_asked(order)
        await self.paper.cancel_stop(order)
        self.cancellations.note_answered(order)

    def amend_by_hand(self, order: StopOrder, price: str) -> StopOrder:
        """Amend a stop by hand, and return the amended stop."""
        return amend_by_hand(self.paper, order, D(price))

    def move_market(self, price: str, symbol: str = SYMBOL) -> None:
        """Move the market to a price."""
        tick = Tick(symbol, D(price), trio.current_time())
        self.positions.note_price(tick)
        self.paper.feed(tick)


@asynccontextmanager
async def open_monitor_setup(
    plan: TrailPlan = PLAN, *, kind: type[MonitorSetup] = MonitorSetup, **options: Any
) -> AsyncIterator[MonitorSetup]:
    """Open an exchange with four markets, and the monitors.

    `SYMBOL` takes two stops, `ONE_STOP` takes one. In `OWN` and `BRIDGE` an entry may carry its stop.

    Args:
        kind: the class of the setup.
        options: of the exchange.
    """
    setup = kind(plan)
    async with open_paper(latency=0.01, markets=MARKETS, record=setup.note_booking, **options) as paper:
        setup.start_monitors(paper)
        yield setup
