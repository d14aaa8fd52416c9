"""Any interleaving of prices, requests, lost replies, updates, snapshots, hands, back-offs and restarts keeps the
position machine's invariants.

The test is the shell: it asks for the next request, sends it to a small venue, and feeds the answer back, all of which can
go wrong between any two steps. The venue's own truth judges what the machine does. The numbers in names and comments are
those of the list of invariants in the design.
"""

from __future__ import annotations

import math
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final, Literal

from driver import check_calm
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule
from position_shell import LATEST_UPDATE, OPENED, PositionShell
from venue_model import SYMBOL, Flaw, ListFault, Venue, is_looser, wrong

from trailing.core.endings import gives_up_at
from trailing.core.evidence import Timing
from trailing.core.goals import PROTECT, Close, End, Release
from trailing.core.inputs import (
    CandleClosed,
    CheckWanted,
    CloseWanted,
    DeadlineStruck,
    EntryRefused,
    EntryUnreported,
    Frozen,
    Input,
    OpeningEnded,
    OrderUpdated,
    PlanReplaced,
    PricesMissed,
    ReleaseWanted,
    RetryNow,
    StopFound,
    TimePassed,
)
from trailing.core.model import CallbackRange, Candle, Market, Percent, Position, Side, StopOrder
from trailing.core.next_request import NEVER, next_request
from trailing.core.plan import Pacing, TrailPlan
from trailing.core.position import PositionState
from trailing.core.ratchet import Ratchet
from trailing.core.record import restore_position
from trailing.core.requests import (
    AmendStop,
    CancelStop,
    ClosePosition,
    PlaceStop,
    ReplaceStop,
    TakeDownStop,
)
from trailing.core.rules import Breakeven, Callback, Chandelier, Rule
from trailing.errors import (
    AuthenticationFailed,
    ExchangeUnreachable,
    NoSuchPosition,
    NoSuchStop,
    NothingToReduce,
    OutcomeUnknown,
    RateLimited,
    StopRejected,
    StoreError,
    UsageError,
)

D = Decimal
LONGEST_LIE: Final = 10.0  # seconds for which lists were seen to leave entries out

MARKETS: Final = {
    "amends": Market(SYMBOL, D("0.1"), D("0.5"), D(1), can_amend=True),
    "two stops": Market(
        SYMBOL, D("0.1"), D("0.5"), D(1), native_callbacks=CallbackRange(Percent("0.1"), Percent(5), Percent("0.1"))
    ),
    "amends, one stop": Market(SYMBOL, D("0.1"), D("0.5"), D(1), can_amend=True, two_stops=False),
    "one stop": Market(SYMBOL, D("0.1"), D("0.5"), D(1), two_stops=False),
}
RULES: Final[list[tuple[Rule, ...]]] = [
    (),
    (Callback(Percent(1)),),
    (Callback(Percent(1)),),
    (Breakeven(Percent(1), Percent("0.1")), Callback(Percent(2))),
    (Chandelier(D("1.5"), 2),),
]
plans = st.builds(
    TrailPlan,
    initial_stop=st.just(Percent(2)),
    rules=st.sampled_from(RULES),
    pacing=st.sampled_from(
        [Pacing(), Pacing(), Pacing(min_interval=8.0, min_improvement=Percent("0.3"), override=Percent(2))]
    ),
    trigger=st.sampled_from(["last"] * 4 + ["mark"]),
    on_unprotected=st.sampled_from(["retry", "retry", "close", "report"]),
    retry_for=st.just(20.0),
    retry_then=st.sampled_from(["close", "report"]),
    on_would_trigger=st.sampled_from(["exit", "exit", "keep"]),
    on_late_order=st.sampled_from(["adopt", "cancel"]),
    on_wave_cancelled=st.sampled_from(["withdraw", "protect"]),
    on_stop_cancelled=st.sampled_from(["replace", "replace", "release"]),
)
NATIVE: Final = TrailPlan(
    initial_stop=Percent(2), rules=(Callback(Percent(1), activation=Percent(1)),), native=True, retry_for=20.0
)
timings = st.sampled_from([Timing(0.0, 0.0, 1.0), Timing(1.5, 0.2, 3.0), Timing(0.2, 2.0, 3.0, hedged=True)])
pauses = st.sampled_from([0.05, 0.3, 1.0, 2.5, 6.0, 35.0])
picks = st.sampled_from([0.0, 0.5, 1.0])
flaws = st.sampled_from(["", "", "", "", "positions cut short", "stops cut short", "position doubled", "stop doubled"])
changes = st.sampled_from([D(c) for c in ("-3", "-1.2", "-0.5", "-0.1", "0.1", "0.6", "1.3", "2.5")])


def refusals() -> st.SearchStrategy[Exception]:
    """What an exchange answers that has surely not executed a request."""
    return st.sampled_from(
        [
            ExchangeUnreachable("503"),
            RateLimited("429", retry_after=4.0),
            StopRejected("no"),
            AuthenticationFailed("401"),
        ]
    )


class PositionMachine(PositionShell):
    """What may happen to a position between any two steps, and what holds after each."""

    @initialize(
        side=st.sampled_from(("long", "short")),
        market=st.sampled_from(sorted(MARKETS)),
        timing=timings,
        plan=plans,
        native=st.sampled_from([False, False, False, True]),
        rounding=st.sampled_from([D("0.1"), D("0.1"), D("0.4")]),
        fills_as=st.sampled_from(["trade id", "cumulative", "figures"]),
        begins=st.sampled_from(["opening", "opening", "protected", "protected", "adopted"]),
    )
    def open(
        self,
        side: Side,
        market: str,
        timing: Timing,
        plan: TrailPlan,
        native: bool,
        rounding: Decimal,
        fills_as: Any,
        begins: str,
    ) -> None:
        self.side: Side = side
        self.market = MARKETS[market]
        self.timing = timing
        if native and self.market.native_callbacks is not None:
            plan = NATIVE
        self.venue = Venue(self.market, timing, side, D(4), D(100), self.at, rounding, fills_as)
        self.best = D(100)
        position = Position(SYMBOL, side, D(4), D(100), OPENED)
        self.p = PositionState(Ratchet(position, plan, self.market), timing, self.at, opened_at=self.at)
        self.limit = self.p.ratchet.first_stop
        if begins == "adopted":
            stop = StopOrder(SYMBOL, side, D(4), D(99) if side == "long" else D(101), "c-earlier", "v0")
            self.venue.stops[stop.client_order_id] = stop
            self.venue.amend("c-earlier", stop.price, stop.quantity)
            self.step(StopFound(stop))
            self.note_told(stop)
        if begins != "opening":
            self.work()
            self.step(OpeningEnded())

    # Time, prices and the loop.

    @rule(seconds=pauses)
    def time_passes(self, seconds: float) -> None:
        self.at += seconds
        self.venue.at = self.at
        self.step(TimePassed())
        self.lost = [sending for sending in self.lost if sending.until >= self.at and not sending.is_executed]

    @rule()
    def the_loop_runs(self) -> None:
        if self.way is not None and not self.way.is_executed and self.way.until < self.at:
            return
        self.work()

    @rule(seconds=st.sampled_from([1.0, 5.0, 30.0]), pick=picks, late=st.sampled_from([math.inf, 0.4, 1.0, 2.5]))
    def the_loop_runs_on(self, seconds: float, pick: float, late: float) -> None:
        if self.way is None or self.way.is_executed or self.way.until >= self.at:
            self.run_until(self.at + seconds, pick, late_at=self.at + late)

    @rule(change=changes, seen=st.sampled_from([True, True, True, False]), fills=st.sampled_from(["all", "part", ""]))
    def price_moves(self, change: Decimal, seen: bool, fills: str) -> None:
        self.pass_instant()
        price = max(D(60), min(D(160), self.venue.price + change))
        if is_looser(self.side, self.best, price):
            self.best = price
        for id_ in self.venue.move_price(price):
            stop = self.venue.stops[id_]
            self.secrets.add(id_)
            if fills:
                self.venue.fill(id_, stop.quantity if fills == "all" else D("1.5"))
        if seen:
            self.tick(price)

    @rule(factor=st.sampled_from([D("0.1"), D(10)]), times=st.integers(1, 3))
    def bad_ticks_come(self, factor: Decimal, times: int) -> None:
        self.pass_instant()
        for _ in range(times):
            self.tick(self.venue.price * factor)

    @rule(offset=st.sampled_from([D(-2), D(0), D(2)]))
    def candle_closes(self, offset: Decimal) -> None:
        self.pass_instant()
        price = self.venue.price
        low, high = min(price, price + offset), max(price, price + offset)
        opened = OPENED + timedelta(seconds=self.at - self.began_at)
        self.step(CandleClosed(Candle(SYMBOL, opened, 60.0, price, high, low, price, self.p.plan.trigger)))

    @rule(seconds=st.sampled_from([2.0, 200.0]))
    def prices_were_missed(self, seconds: float) -> None:
        self.pass_instant()
        until = OPENED + timedelta(seconds=self.at - self.began_at)
        self.step(PricesMissed(until - timedelta(seconds=seconds), until))

    # Single steps of a request.

    @precondition(lambda self: self.p.request is None)
    @rule()
    def request_begins(self) -> None:
        self.pass_instant()
        self.begin()

    @precondition(lambda self: self.p.request is not None and self.way is None)
    @rule(fails=st.sampled_from([False, False, False, True]))
    def request_is_sent(self, fails: bool) -> None:
        self.pass_instant()
        if fails:
            self.answer(None, StoreError("the disk is full"))
        else:
            self.send()

    @precondition(lambda self: self.p.request is None)
    @rule(change=st.sampled_from([None, D("-1.2"), D("0.6"), D("2.5")]))
    def request_begins_and_is_sent(self, change: Decimal | None) -> None:
        """Between the two its intent is stored, and the price moves on."""
        self.pass_instant()
        if self.begin():
            if change is not None:
                self.price_moves(change, seen=True, fills="all")
            self.send()

    @precondition(lambda self: self.way is not None and not self.way.is_executed and self.way.until >= self.at)
    @rule(pick=picks)
    def request_is_executed(self, pick: float) -> None:
        self.pass_instant()
        assert self.way is not None
        self.venue.execute(self.way, pick)

    @precondition(lambda self: self.way is not None and self.way.is_executed)
    @rule()
    def answer_comes(self) -> None:
        self.pass_instant()
        assert self.way is not None
        self.answer(self.way.answer, self.way.error)

    @rule(what=st.sampled_from(["price", "quantity"]))
    def answer_is_wrong(self, what: Literal["price", "quantity"]) -> None:
        way = self.have_sent()
        if way is None or not isinstance(way.request, (PlaceStop, ReplaceStop, AmendStop)):
            return
        if not way.is_executed:
            self.venue.execute(way, 1.0)
        if way.answer is not None:
            self.answer(wrong(way.answer, what), None)

    @rule(is_executed=st.booleans(), bug=st.sampled_from([False, False, True]))
    def answer_is_lost(self, is_executed: bool, bug: bool) -> None:
        way = self.have_sent()
        if way is None:
            return
        if is_executed and not way.is_executed:
            self.venue.execute(way, 1.0)
        self.lost.append(way)
        self.answer(None, KeyError("bug") if bug else OutcomeUnknown("no answer"))

    @rule(error=refusals())
    def request_is_refused(self, error: Exception) -> None:
        way = self.have_sent()
        if way is not None and not way.is_executed:
            self.answer(None, error)

    @precondition(lambda self: self.fault_until < self.at)
    @rule()
    def request_is_refused_for_what_is_not_so(self) -> None:
        way = self.have_sent()
        if way is None or way.is_executed:
            return
        match way.request:
            case CancelStop() | TakeDownStop() | AmendStop():
                self.answer(None, NoSuchStop("unknown order"))
            case ClosePosition() | PlaceStop() | ReplaceStop():
                self.words_lied = True
                self.answer(None, NoSuchPosition("no such position"))
            case _:
                pass

    @rule()
    def request_is_refused_because_other_orders_cover_the_position(self) -> None:
        way = self.have_sent()
        if way is None or way.is_executed:
            return
        if isinstance(way.request, (ClosePosition, PlaceStop, ReplaceStop)):
            self.answer(None, NothingToReduce("reduce-only orders cover it"))

    @precondition(lambda self: bool(self.lost))
    @rule()
    def lost_requests_are_executed(self) -> None:
        self.execute_lost()

    # Updates.

    @precondition(lambda self: bool(self.venue.updates))
    @rule(pick=st.sampled_from([0, 0, -1, 1, 2]), again=st.sampled_from([False, False, True]))
    def update_comes(self, pick: int, again: bool) -> None:
        self.pass_instant()
        number = pick % len(self.venue.updates)
        pushed_at, update = self.venue.updates[number]
        if pushed_at < self.at - LATEST_UPDATE:
            self.updates_are_lost()
            return
        if not again:
            del self.venue.updates[number]
        self.step(update)
        if isinstance(update, OrderUpdated) and (update.status in ("triggered", "cancelled") or update.fill):
            self.secrets.discard(update.id)
        self.save()

    @rule(order=st.sampled_from(["", "backwards", "twice"]))
    def all_updates_come(self, order: str) -> None:
        self.pass_instant()
        if order == "backwards":
            self.venue.updates.reverse()
        elif order == "twice":
            self.venue.updates *= 2
        self.deliver()

    # Snapshots.

    @precondition(lambda self: self.asked_lists is None)
    @rule()
    def lists_are_asked_for(self) -> None:
        self.pass_instant()
        self.asked_lists = self.venue.ask_lists()

    @precondition(lambda self: self.asked_lists is not None)
    @rule(pick=picks, flaw=flaws)
    def lists_come(self, pick: float, flaw: Flaw) -> None:
        self.pass_instant()
        self.take_lists(pick, flaw)

    @rule(pick=picks, flaw=flaws)
    def lists_are_read(self, pick: float, flaw: Flaw) -> None:
        self.pass_instant()
        self.asked_lists = self.venue.ask_lists()
        self.pass_instant()
        self.take_lists(pick, flaw)

    def may_begin_to_leave_out(self) -> bool:
        return self.was_honest and not self.words_lied and not self.added_at > self.p.listed_at - 5.0

    @precondition(may_begin_to_leave_out)
    @rule(
        fault=st.sampled_from(["no positions", "position missing", "no stops", "stop missing"]),
        seconds=st.floats(0.1, LONGEST_LIE),
    )
    def lists_begin_to_leave_out(self, fault: ListFault, seconds: float) -> None:
        self.pass_instant()
        self.fault, self.fault_until, self.was_honest = fault, self.at + seconds, False

    @precondition(may_begin_to_leave_out)
    @rule(
        fault=st.sampled_from(["no positions", "position missing", "no stops", "no stops", "stop missing"]),
        hides=st.sampled_from([False, True, True]),
        pick=picks,
    )
    def lists_leave_out_again_and_again(self, fault: ListFault, hides: bool, pick: float) -> None:
        known = {id_ for id_, row in self.p.orders.items() if row.purpose == "stop" and row.exists}
        is_lost = not known <= set(self.venue.stops) or self.lost or self.way is not None
        hides = hides and not is_lost  # a stop that is lost without a word besides is a double fault
        self.lists_begin_to_leave_out("no stops" if hides else fault, LONGEST_LIE)
        if hides:  # look-ups show no stop either
            self.venue.finds_from, self.stops_lied = self.fault_until, True
        for _ in range(3):
            self.lists_are_read(pick, "")
            self.the_loop_runs_on(2.5, pick, math.inf)

    # Other hands, and the venue's own.

    @precondition(lambda self: any(not stop.triggered for stop in self.venue.stops.values()))
    @rule(change=st.sampled_from([D(-2), D("-0.5"), D("0.5"), D(2)]), smaller=st.booleans())
    def hand_amends_a_stop(self, change: Decimal, smaller: bool) -> None:
        self.pass_instant()
        stop = next(stop for stop in self.venue.stops.values() if not stop.triggered)
        price, quantity = stop.price + change, stop.quantity
        price -= price % self.venue.rounding
        if stop.callback is None and self.venue.is_beyond(price):
            return
        if smaller and quantity > 1:
            quantity -= D("0.5")
        self.venue.amend(stop.client_order_id, price, quantity)
        self.secrets.add(stop.client_order_id)

    # One that vanishes while nothing has shown the one in its place, or nothing shows any, is a double fault.
    @precondition(lambda self: self.venue.stops and not self.p.missing_stops and self.at >= self.venue.finds_from)
    @precondition(lambda self: not self.p.is_lookup_untrusted)
    @rule(told=st.booleans(), newest=st.booleans())
    def stop_vanishes(self, told: bool, newest: bool) -> None:
        self.pass_instant()
        id_ = list(self.venue.stops)[-1 if newest else 0]
        self.venue.cancel(id_, told=told)
        self.secrets.add(id_)

    @precondition(lambda self: any(stop.triggered for stop in self.venue.stops.values()))
    @rule(part=st.booleans())
    def triggered_stop_is_filled(self, part: bool) -> None:
        self.pass_instant()
        stop = next(stop for stop in self.venue.stops.values() if stop.triggered)
        self.venue.fill(stop.client_order_id, D("0.5") if part else stop.quantity)

    @precondition(lambda self: any(stop.callback is not None for stop in self.venue.stops.values()))
    @rule(part=st.booleans())
    def trailing_order_is_filled(self, part: bool) -> None:
        self.pass_instant()
        stop = next(stop for stop in self.venue.stops.values() if stop.callback is not None)
        self.venue.fill(stop.client_order_id, D("0.5") if part else stop.quantity)

    @precondition(lambda self: self.venue.quantity)
    @rule(part=st.booleans())
    def owner_closes(self, part: bool) -> None:
        self.pass_instant()
        self.venue.resize(self.venue.quantity / 2 if part and self.venue.quantity > 1 else D(0), self.venue.entry_price)

    @precondition(lambda self: self.venue.quantity and self.fault_until < self.at)
    @rule()
    def owner_adds(self) -> None:
        self.pass_instant()
        self.added_at = self.at
        self.venue.resize(self.venue.quantity + 1, self.venue.entry_price + D("0.3"))

    @precondition(lambda self: not self.venue.quantity)
    @rule(quantity=st.sampled_from([D(2), D(4), D(6)]))
    def owner_enters_again(self, quantity: Decimal) -> None:
        self.pass_instant()
        self.venue.resize(quantity, self.venue.entry_price + D("1.7"))

    @rule(quantity=st.sampled_from([D(0), D(3)]))
    def other_side_changes(self, quantity: Decimal) -> None:
        self.pass_instant()
        if self.timing.hedged or not self.venue.quantity:
            self.venue.open_other_side(quantity)

    @rule(distance=st.sampled_from([D(-5), D("-1.9"), D("-0.2"), D(3), None]))
    def liquidation_price_changes(self, distance: Decimal | None) -> None:
        sign = 1 if self.side == "long" else -1
        self.venue.liquidation_price = None if distance is None else self.venue.price + sign * distance

    # What callers want.

    @precondition(lambda self: self.p.is_opening)
    @rule(struck=st.sampled_from(["", "", "deadline", "cancelled"]))
    def opening_ends(self, struck: str) -> None:
        self.pass_instant()
        if struck:
            if self.way is not None:
                self.lost.append(self.way)
                self.answer(None, OutcomeUnknown("cancelled"))
            elif self.p.request is not None:
                self.answer(None, None)
            self.cancels_late = self.p.plan.on_late_order == "cancel"
            self.step(DeadlineStruck(final=struck == "cancelled"))
        elif self.p.live is None:
            return
        self.step(OpeningEnded())

    @precondition(lambda self: self.p.is_opening and not self.p.is_entry_checked)
    @rule(refused=st.sampled_from([False, False, True]))
    def entry_is_checked(self, refused: bool) -> None:
        self.pass_instant()
        if refused:
            self.step(EntryRefused(UsageError("too small")))
        else:
            self.step(EntryUnreported(self.venue.price))

    @rule(
        wish=st.sampled_from(["check", "check", "retry", "retry", "close", "release", "cancel and release", "freeze"]),
        sure=st.sampled_from([False, False, True]),
    )
    def caller_wishes(self, wish: str, sure: bool) -> None:
        self.pass_instant()
        wishes: dict[str, Input] = {
            "check": CheckWanted(Position(SYMBOL, self.side, D(7), D(103), OPENED) if sure else None),
            "retry": RetryNow(),
            "close": CloseWanted("the bot says so"),
            "release": ReleaseWanted(cancel_stop=False),
            "cancel and release": ReleaseWanted(cancel_stop=True),
            "freeze": Frozen(KeyError("bug")),
        }
        if sure or wish in ("check", "retry"):
            self.step(wishes[wish])
            self.save()

    @rule(plan=plans, native=st.sampled_from([False, False, True]))
    def plan_is_replaced(self, plan: TrailPlan, native: bool) -> None:
        self.pass_instant()
        if native and self.market.native_callbacks is not None:
            plan = NATIVE
        before = self.p.facts
        try:
            self.step(PlanReplaced(plan))
        except UsageError:
            assert plan.trigger != self.p.plan.trigger
            assert self.p.facts == before
        self.save()

    # The process ends, and another one goes on.

    @precondition(lambda self: bool(self.stored) and not self.p.ended)
    @rule(
        lost=st.sampled_from([0, 0, 1, 3]), dead=st.sampled_from([0.0, 1.0, 20.0]), found=st.sampled_from([0.0, 10.0])
    )
    def process_restarts(self, lost: int, dead: float, found: float) -> None:
        self.pass_instant()
        if self.way is not None:
            self.lost.append(self.way)
            self.way = None
        self.was_forgotten = self.was_forgotten or bool(lost)
        if not lost:
            self.save()
            self.check_what_a_record_keeps()
        saved = self.stored[max(0, len(self.stored) - 1 - lost)]
        self.at += dead
        self.venue.at = self.at
        self.venue.updates.clear()
        self.told.clear()
        self.asked_lists = None
        self.p = restore_position(
            saved.record, saved.intended, self.market, self.timing, self.at, dead_seconds=dead, find_after=found
        )
        self.secrets.update(self.venue.stops)
        self.tightest = self.p.floor
        self.stored = [saved]

    # What holds after each step.

    @invariant()
    def what_is_open_is_covered_or_worked_on(self) -> None:
        """12."""
        p, venue = self.p, self.venue
        if p.ended:
            if not isinstance(p.goal, Release) and not p.is_given_up:
                self.check_flat("ended")
            return
        if isinstance(p.goal, End) and not p.is_given_up:
            self.check_flat("ends")
        if p.is_frozen or p.is_opening or not venue.quantity or p.request is not None:
            return  # while it is opened, its caller's deadline runs
        stands = any(row.purpose == "stop" and row.exists for row in p.orders.values())
        if not stands and next_request(p, self.at) == NEVER and p.snapshot_at == math.inf:
            raise AssertionError("nothing stands, nothing is wanted")

    @invariant()
    def it_is_in_one_list_until_nothing_is_left_of_it(self) -> None:
        """12: in `Manager.stops`, or else in `Manager.unprotected`."""
        p = self.p
        if not p.ended and p.quantity:
            assert (p.stop is not None) != (p.live is None and p.may_be_open)

    @invariant()
    def each_live_stop_is_in_the_table(self) -> None:
        """1: no live stop of ours is unknown, and more than two are never live."""
        if self.p.ended or self.stops_lied:
            return
        ours = [id_ for id_, stop in self.venue.stops.items()]
        for id_ in ours:
            assert id_ in self.p.orders, f"{id_} is live, and no row says so"
        plain = [stop for stop in self.venue.stops.values() if stop.callback is None and not stop.triggered]
        assert len(plain) <= 2

    @invariant()
    def only_true_prices_count(self) -> None:
        """8, 46: no bad tick is a peak, and none tightens the target."""
        ratchet = self.p.ratchet
        assert not is_looser(self.side, self.best, ratchet.best)
        assert not is_looser(self.side, self.justified(), ratchet.target)
        assert self.p.floor is None or abs(self.p.floor - self.best) < 50  # no figure of a wrong acknowledgement

    @invariant()
    def nothing_urgent_waits_for_another_kind(self) -> None:
        """7: a stop that is missing, and a close that is wanted, wait for no other kind's back-off."""
        p = self.p
        if p.request is not None or p.ended:
            return
        following = next_request(p, self.at)
        waits = isinstance(following, float)
        backs_off = {kind for kind, one in p.back_offs.items() if one.until > self.at}
        if isinstance(p.goal, Close) and p.quantity and not p.exit_sent and "close" not in backs_off:
            is_unsure = p.goal.is_revocable or p.checked_at == -math.inf
            is_checked_first = is_unsure and self.at < p.checked_by and p.missed_until < math.inf
            is_checked_first |= p.successor is not None or p.doubted_stop is not None
            is_decided_first = p.flat.is_said and p.snapshot_at < math.inf
            assert not waits or is_checked_first or is_decided_first, "the close waits"
        if p.goal == PROTECT and p.is_unprotected and p.coverable and not p.has_unknown and "place" not in backs_off:
            is_checked_first = self.at >= gives_up_at(p) and self.at < p.check_from + p.plan.call_seconds < math.inf
            is_decided_first = (p.doubted_stop is not None or p.successor is not None) and p.snapshot_at < math.inf
            assert not waits or is_checked_first or is_decided_first, "the stop waits"
        for row in p.orders.values():
            ends = math.inf if row.triggered_at is None else row.triggered_at + p.plan.exit_grace
            if isinstance(following, float) and self.at < ends < math.inf:
                assert following <= ends, "nothing wakes it when a triggered stop should have been filled"

    @invariant()
    def no_fill_is_counted_twice(self) -> None:
        """45."""
        assert self.p.filled <= sum(self.venue.filled.values())

    @invariant()
    def only_the_rules_of_a_calm_position_want_something_of_it(self) -> None:
        if hasattr(self, "p"):
            check_calm(self.p, self.at)

    def teardown(self) -> None:
        """Whatever happened, a while in which everything works brings it to rest."""
        if not hasattr(self, "p"):
            return
        self.settle()
        self.what_is_open_is_covered_or_worked_on()
        self.check_rest()


PositionMachine.TestCase.settings = settings(
    max_examples=settings().max_examples if settings().max_examples > 100 else 50, stateful_step_count=50
)
test_any_interleaving_keeps_the_invariants = PositionMachine.TestCase
