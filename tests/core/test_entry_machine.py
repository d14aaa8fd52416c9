"""Any interleaving of fills, lost replies, late updates, lists, deadlines and restarts leaves no entry and no fill behind.

The test is the shell of one entry, and the venue's own truth judges what the machine does. Its price stands still, so that
no stop triggers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec
from driver import AMENDS, MARKET, OPENED, SYMBOL, D, a_plan, a_position, a_report, a_snapshot, a_stop, check_calm
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from trailing.core.entries import EntryFacts
from trailing.core.entry_orders import EntryOrder
from trailing.core.evidence import Timing
from trailing.core.inputs import (
    Answered,
    Begun,
    CheckWanted,
    DeadlineStruck,
    EntryUpdated,
    Input,
    OpeningEnded,
    OrderUpdated,
    Sent,
    SnapshotTaken,
    TimePassed,
)
from trailing.core.model import Fill, StopOrder, Tick
from trailing.core.next_request import next_request, refresh
from trailing.core.position import PositionState
from trailing.core.ratchet import Ratchet
from trailing.core.record import IntendedOrder, StopRecord, restore_position, save_position
from trailing.core.requests import (
    AmendStop,
    CancelEntry,
    CancelStop,
    ClosePosition,
    FindEntry,
    FindOrder,
    PlaceEntry,
    PlaceStop,
    ReadFills,
    ReadPrice,
    ReplaceStop,
    Request,
    TakeDownStop,
)
from trailing.errors import (
    EntryRejected,
    ExchangeUnreachable,
    NoSuchEntry,
    NoSuchStop,
    NothingToReduce,
    OutcomeUnknown,
    TrailingError,
)

WANTED, NOTHING = D(4), D(0)
STOP_IDS = {None: None, "own": "s", "bridge": "e"}
timings = st.sampled_from([Timing(0.0, 0.0, 1.0), Timing(1.0, 0.2, 2.0)])


@dataclass
class EntryVenue:
    """One entry, the position that it opens, and our stops behind it."""

    attached: str | None
    placed: int = 0
    entry: EntryOrder | None = None
    stop: Decimal | None = None
    quantity: Decimal = NOTHING
    stops: dict[str, StopOrder] = field(default_factory=dict)
    updates: list[Input] = field(default_factory=list)

    def execute(self, request: Request, name: str) -> Any:
        """Execute a request, and return or raise its answer."""
        match request:
            case PlaceEntry():
                self.placed += 1
                assert self.entry is None, "the entry was executed twice"
                self.entry = EntryOrder(SYMBOL, "long", WANTED, "e", "1", is_working=True, filled=D(0))
                self.stop = request.stop
                return self._push()
            case CancelEntry():
                if self.entry is None or not self.entry.is_working:
                    raise NoSuchEntry("no working entry")
                self._end()
                return None
            case FindEntry():
                return self.entry
            case PlaceStop() | ReplaceStop():
                if not self.quantity:
                    raise NothingToReduce("no position")
                self.stops[name] = a_stop(name, request.price, request.quantity)
                return self.stops[name]
            case AmendStop():
                if request.id not in self.stops:
                    raise NoSuchStop("gone")
                self.stops[request.id] = a_stop(request.id, request.price, request.quantity)
                return self.stops[request.id]
            case CancelStop() | TakeDownStop():
                if self.stops.pop(request.id, None) is None:
                    raise NoSuchStop("gone")
                return None
            case FindOrder():
                return self.stops.get(request.id)
            case ReadPrice():
                return Tick(SYMBOL, D(100), 0.0)
            case ReadFills():
                return ()
            case _:
                raise AssertionError(request)

    def fill(self, part: Decimal) -> None:
        """Fill a part of the entry."""
        entry = self.entry
        assert entry is not None
        filled = min(WANTED, entry.filled + part)
        self.quantity += filled - entry.filled
        self.entry = replace(entry, filled=filled, average_price=D(100), first_filled_at=OPENED)
        if filled == WANTED:
            self._end()
            return
        if self.attached == "bridge":
            self._attach("e", self.quantity)
        self._push()

    def _end(self) -> None:
        assert self.entry is not None
        self.entry = replace(self.entry, is_working=False)
        if self.entry.filled and self.attached == "own":
            self._attach("s", self.entry.filled)
        if self.entry.filled and self.attached == "bridge":
            self._attach("e", self.quantity)
        self._push()

    def _attach(self, name: str, quantity: Decimal) -> None:
        assert self.stop is not None
        self.stops[name] = a_stop(name, self.stop, quantity)
        self.updates.append(OrderUpdated(name, "live"))

    def _push(self) -> EntryOrder:
        assert self.entry is not None
        self.updates.append(EntryUpdated(self.entry))
        return self.entry


class EntryMachine(RuleBasedStateMachine):
    """What may happen to an entry between any two steps, and what holds after each."""

    @initialize(
        attached=st.sampled_from([None, "own", "bridge"]),
        timing=timings,
        amends=st.booleans(),
        rests=st.booleans(),
        closes=st.booleans(),
    )
    def open(self, attached: str | None, timing: Timing, amends: bool, rests: bool, closes: bool) -> None:
        self.at = 0.0
        self.timing = timing
        self.venue = EntryVenue(attached)
        self.market = replace(AMENDS if amends else MARKET, attached_stop=attached)
        self.plan = a_plan(on_entry_cancelled="close" if closes else "protect", retry_for=10_000.0)
        position = a_position(quantity=str(WANTED), id="i")
        stop_id = STOP_IDS[attached]
        facts = EntryFacts(
            "e",
            WANTED,
            D(100),
            OPENED,
            limit=D(100),
            rests=rests,
            stop_id=stop_id,
            stop_price=None if stop_id is None else D("98.00"),
        )
        self.p = PositionState(Ratchet(position, self.plan, self.market), timing, 0.0, 0.0, entry=facts)
        self.names = iter(f"n{number}" for number in range(10_000))
        self.way: tuple[Request, str] | None = None
        self.late: list[tuple[float, Request, str]] = []
        self.stored: tuple[StopRecord, list[IntendedOrder]] | None = None
        self.may_repeat = 0

    def step(self, what: Input) -> None:
        self.p.step(what, self.at)

    def begin(self) -> None:
        """Begin the request that is wanted, if one is: its intent is stored, and it leaves."""
        wanted = next_request(self.p, self.at)
        if isinstance(wanted, float):
            return
        name = next(self.names) if wanted.creates else getattr(wanted, "id", "")
        self.step(Begun(wanted, name or None))
        if wanted.writes:
            self.save()
        fresh = refresh(self.p, self.at) if wanted.writes else wanted
        if fresh is None:
            self.step(Answered())
            return
        self.step(Sent(fresh))
        self.way = (fresh, name)

    def save(self) -> None:
        record = msgspec.json.decode(msgspec.json.encode(save_position(self.p, self.at, OPENED)), type=StopRecord)
        intended = [
            IntendedOrder(row.id, "exit" if row.purpose == "exit" else "stop", row.quantity, row.price)
            for row in self.p.orders.values()
            if row.order is None
        ]
        if self.p.entry_row is not None:
            intended.append(IntendedOrder("e", "entry", WANTED, D(100)))
        self.stored = (record, intended)

    def answer(self, *, executes: bool = True, is_lost: bool = False, error: TrailingError | None = None) -> None:
        """Answer the request under way."""
        assert self.way is not None
        (request, name), self.way = self.way, None
        result, failure = None, error
        if executes:
            try:
                result = self._execute(request, name)
            except TrailingError as refused:
                failure = refused
        self.step(Answered(None if is_lost else result, OutcomeUnknown("lost") if is_lost else failure))
        self.save()

    def _execute(self, request: Request, name: str) -> Any:
        if isinstance(request, ClosePosition):
            closed, self.venue.quantity = min(request.quantity, self.venue.quantity), D(0)
            for stop in tuple(self.venue.stops):
                del self.venue.stops[stop]
            if not closed:
                raise NothingToReduce("no position")

            return Fill(SYMBOL, "long", closed, D(100), "1", name, self.at)
        return self.venue.execute(request, name)

    # Steps.

    @rule(seconds=st.sampled_from([0.1, 0.5, 3.0, 40.0]))
    def time_passes(self, seconds: float) -> None:
        self.at += seconds
        for until, request, name in tuple(self.late):
            if until < self.at:
                self.late.remove((until, request, name))
        self.step(TimePassed())

    @precondition(lambda self: self.p.request is None)
    @rule()
    def request_is_sent(self) -> None:
        self.begin()

    @precondition(lambda self: self.way is not None)
    @rule()
    def request_is_answered(self) -> None:
        self.answer()

    @precondition(lambda self: self.way is not None)
    @rule(executes=st.booleans())
    def reply_is_lost(self, executes: bool) -> None:
        assert self.way is not None
        if not executes:  # it may be executed until its validity is over
            self.late.append((self.at + self.timing.request_validity, *self.way))
        self.answer(executes=executes, is_lost=True)

    @precondition(lambda self: bool(self.late))
    @rule()
    def lost_request_is_executed(self) -> None:
        until, request, name = self.late.pop(0)
        if self.at <= until:
            with suppress(TrailingError):
                self._execute(request, name)

    @precondition(lambda self: self.way is not None)
    @rule(refused=st.booleans())
    def request_is_refused(self, refused: bool) -> None:
        assert self.way is not None
        is_entry = isinstance(self.way[0], PlaceEntry)
        error = EntryRejected("no margin") if refused and is_entry else ExchangeUnreachable("503")
        self.answer(executes=False, error=error)

    @precondition(lambda self: self.venue.entry is not None and self.venue.entry.is_working)
    @rule(part=st.sampled_from([D("0.5"), D(1), D(4)]))
    def a_part_is_filled(self, part: Decimal) -> None:
        self.venue.fill(part)

    @precondition(lambda self: bool(self.venue.updates))
    @rule(pick=st.sampled_from([0, -1]), again=st.booleans(), is_lost=st.booleans())
    def update_comes(self, pick: int, again: bool, is_lost: bool) -> None:
        update = self.venue.updates[pick]
        if not again:
            del self.venue.updates[pick]
        if not is_lost:
            self.step(update)

    @rule(complete=st.booleans())
    def lists_are_read(self, complete: bool) -> None:
        self.show_lists(shows_all_positions=complete)

    def show_lists(self, *, shows_all_positions: bool = True) -> None:
        position: Sequence[Any] = [a_report(str(self.venue.quantity))] if self.venue.quantity else []
        other = a_report(symbol="ETH/USDT:USDT")
        snapshot = a_snapshot(self.at, *self.venue.stops.values(), *position, other)
        self.step(SnapshotTaken(replace(snapshot, shows_all_positions=shows_all_positions)))

    @rule()
    def stream_was_lost(self) -> None:
        self.venue.updates.clear()
        self.step(CheckWanted())

    @precondition(lambda self: self.p.is_opening)
    @rule(final=st.booleans())
    def opening_is_cut_short(self, final: bool) -> None:
        if self.way is not None:
            self.reply_is_lost(executes=False)
        self.step(DeadlineStruck(final))
        self.step(OpeningEnded())
        self.save()

    @precondition(lambda self: self.stored is not None and not self.p.ended)
    @rule(dead=st.sampled_from([0.0, 5.0]))
    def process_restarts(self, dead: float) -> None:
        assert self.stored is not None
        if self.way is not None:
            self.late.append((self.at + self.timing.request_validity, *self.way))
            self.way = None
        self.at += dead
        self.venue.updates.clear()
        record, intended = self.stored
        self.p = restore_position(record, intended, self.market, self.timing, self.at, dead_seconds=dead)

    # What holds.

    @invariant()
    def no_more_is_known_than_was_filled(self) -> None:
        if hasattr(self, "p") and self.p.entry is not None:
            filled = D(0) if self.venue.entry is None else self.venue.entry.filled
            assert self.p.entry.filled <= filled
            assert self.p.entry.entered <= WANTED

    @invariant()
    def it_ends_only_when_nothing_is_left(self) -> None:
        if hasattr(self, "p") and self.p.ended:
            assert not self.venue.quantity, "it ended with an open position"
            assert self.venue.entry is None or not self.venue.entry.is_working, "it ended with a working entry"
            assert not any(isinstance(request, PlaceEntry) for _, request, _ in self.late)

    @invariant()
    def only_the_rules_of_a_calm_position_want_something_of_it(self) -> None:
        if hasattr(self, "p"):
            check_calm(self.p, self.at)

    def teardown(self) -> None:
        """Whatever happened, a while in which everything works brings it to rest."""
        if not hasattr(self, "p"):
            return
        if self.way is not None:
            self.answer()
        if self.p.is_opening:
            self.step(DeadlineStruck(final=False))
            self.step(OpeningEnded())
        for _ in range(200):
            if self.p.ended:
                break
            self.at = max(self.at + 0.5, self.at)
            self.late = [one for one in self.late if one[0] >= self.at]
            self.step(TimePassed())
            while self.venue.updates:
                self.step(self.venue.updates.pop(0))
            while not isinstance(next_request(self.p, self.at), float):
                self.begin()
                if self.way is not None:
                    self.answer()
            self.show_lists()
        assert self.venue.entry is None or not self.venue.entry.is_working
        covered = sum((stop.quantity for stop in self.venue.stops.values()), D(0))
        assert covered == self.venue.quantity, (self.venue.stops, self.venue.quantity)
        assert self.p.ended or (self.p.quantity == self.venue.quantity and self.p.live is not None)
        assert not self.p.is_entering
        if not self.p.ended:
            assert math.isclose(self.p.unprotected_time.total, self.p.unprotected_time_at(self.at).total)


EntryMachine.TestCase.settings = settings(max_examples=max(100, settings().max_examples), stateful_step_count=40)
test_any_interleaving_of_an_entry_leaves_nothing_behind = EntryMachine.TestCase
