"""The shell of one position for the test of its machine, and what the venue's truth says of each request.

It asks for the next request, sends it to the venue model, feeds the answer back and stores records, as the real one does.
The numbers in docstrings are those of the invariants in the design.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from typing import Any, Final

from hypothesis.stateful import RuleBasedStateMachine
from msgspec.structs import replace
from venue_model import SYMBOL, Flaw, ListFault, Sending, Venue, is_looser

from trailing.core.evidence import Timing
from trailing.core.goals import PROTECT, Close, End, Release
from trailing.core.inputs import (
    Answered,
    Backfill,
    Begun,
    CheckWanted,
    Input,
    OpeningEnded,
    PriceSeen,
    Sent,
    SnapshotTaken,
    TimePassed,
)
from trailing.core.model import Market, Side, StopOrder, Tick
from trailing.core.next_request import next_request, refresh
from trailing.core.orders import CHANGING, LIVE
from trailing.core.plan import Pacing
from trailing.core.position import PositionState
from trailing.core.record import IntendedOrder, StopRecord, restore_position, save_position
from trailing.core.requests import (
    AmendStop,
    CancelStop,
    ClosePosition,
    FindOrder,
    PlaceStop,
    ReplaceStop,
    Request,
    TakeDownStop,
)
from trailing.core.rules import History
from trailing.core.stop_prices import looser_target
from trailing.errors import (
    OutcomeUnknown,
)

D = Decimal
OPENED: Final = datetime(2026, 1, 2, tzinfo=UTC)
AN_INSTANT: Final = 0.001  # seconds from each step to the next, so that no two things happen at the same time
LATEST_UPDATE: Final = 10.0  # seconds after which an update is lost, and the stream says so
MOST_REQUESTS: Final = 40  # of one position until it is at rest, while the venue answers each


@dataclass
class Saved:
    """A record as the store holds it."""

    record: StopRecord
    intended: tuple[IntendedOrder, ...]


class PositionShell(RuleBasedStateMachine):
    """What the real shell does with a position, a step at a time, and what is checked of each request."""

    p: PositionState
    venue: Venue
    side: Side
    market: Market
    timing: Timing
    limit: Decimal  # the tightest stop that the plans so far proposed for true prices

    def __init__(self) -> None:
        super().__init__()
        self.ids = map("c{}".format, count())
        self.at = 1000.0
        self.began_at = self.at
        self.way: Sending | None = None  # the request under way, once it was sent
        self.lost: list[Sending] = []  # whose senders wait no more, and which may be executed yet
        self.asked_lists: tuple[float, int, int] | None = None
        self.fault: ListFault | None = None
        self.fault_until = -math.inf
        self.was_honest = True
        self.was_forgotten = False  # a crash lost an acknowledgement: then a hand's change passes for rounding
        self.added_at = -math.inf  # when the owner added to the position last
        self.stops_lied = False  # a list of stops left one out, once
        self.cancels_late = False  # the deadline struck under a plan that cancels what comes later
        self.words_lied = False  # a refusal said what was not so, once
        self.secrets: set[str] = set()  # stops that other hands changed since the machine was last told of them
        self.told: dict[str, Decimal] = {}
        self.tightest: Decimal | None = None  # of all stops that the machine was truly told of
        self.best = D(0)
        self.read_price: Decimal | None = None
        self.stored: list[Saved] = []
        self.requests: list[str] = []
        self.has_news = False  # something else was said since the request under way was begun

    def step(self, what: Input) -> None:
        """Take a step, and have what it publishes built."""
        self.has_news = self.has_news or not isinstance(what, (Begun, Sent, Answered))
        for effect in self.p.step(what, self.at):
            effect.event(at=OPENED, symbol=SYMBOL, side=self.side, **effect.fields)

    def pass_instant(self) -> None:
        self.at += AN_INSTANT
        self.venue.at = self.at

    def save(self, *, durably: bool = False) -> None:
        """Store the record, as the shell does after each step. One that was not durable may be lost by a crash."""
        record = save_position(self.p, self.at, OPENED)
        intended = tuple(
            IntendedOrder(order.id, "exit" if order.purpose == "exit" else "stop", order.quantity, order.price)
            for order in self.p.orders.values()
            if order.order is None or order.state is CHANGING
        )
        self.stored = [*([] if durably else self.stored[-3:]), Saved(record, intended)]

    def begin(self) -> bool:
        """Begin the next request, if there is one. Returns whether there is."""
        self.step(TimePassed())
        request = next_request(self.p, self.at)
        if request == self.at:  # what is due follows from the step before
            self.step(TimePassed())
            request = next_request(self.p, self.at)
        if isinstance(request, float):
            assert request > self.at, "a wake-up in the past"
            return False
        order_id = next(self.ids) if request.creates else getattr(request, "id", None)
        self.has_news = False
        self.step(Begun(request, order_id))
        assert refresh(self.p, self.at) == request
        if request.writes:
            self.save(durably=True)
        return True

    def send(self) -> bool:
        """Send the request that was begun. Returns whether it is still wanted."""
        fresh = refresh(self.p, self.at)
        if fresh is None:
            request = self.p.request
            self.answer(None, None)
            assert self.has_news or next_request(self.p, self.at) != request, "begun and dropped, again and again"
            return False
        self.check_request(fresh)
        self.step(Sent(fresh))
        self.requests.append(f"{self.at:.3f} {fresh}")
        self.way = self.venue.send(fresh, self.p.request_id)
        return True

    def answer(self, result: Any, error: Exception | None) -> None:
        """Feed an answer back. The same request must not follow at once, whatever it was (13)."""
        request, way, self.way = self.p.request, self.way, None
        if isinstance(result, Tick):
            result = replace(result, source=self.p.plan.trigger)
        if isinstance(result, Backfill):
            result = replace(result, tick=replace(result.tick, source=self.p.plan.trigger))
        if way is not None:
            self.note_answer(way, result)
        self.step(Answered(result, error, 1.0))
        self.save()
        following = next_request(self.p, self.at)
        if not isinstance(following, float) and not self.has_news and (way is not None or error is not None):
            # A look-up may have been begun an instant too early to decide.
            assert following != request or isinstance(request, FindOrder), f"{request} again, at once"

    def note_answer(self, way: Sending, result: Any) -> None:
        if isinstance(result, Tick):
            self.read_price = result.price
        row = self.p.orders.get(way.order_id or "")
        if isinstance(result, StopOrder) and row is not None and result == way.answer:
            self.note_told(result)

    def note_told(self, stop: StopOrder) -> None:
        self.told[stop.client_order_id] = stop.price
        is_behind_price = is_looser(self.side, stop.price, self.p.ratchet.last)
        is_tighter = self.tightest is None or is_looser(self.side, self.tightest, stop.price)
        if stop.callback is None and is_behind_price and is_tighter:
            self.tightest = stop.price

    def work(self) -> None:
        """Do what is wanted until nothing is, while the venue answers each request truly."""
        for _ in range(MOST_REQUESTS):
            if self.p.ended or (self.p.request is None and not self.begin()):
                return
            if self.way is None and not self.send():
                continue
            self.pass_instant()
            assert self.way is not None
            if not self.way.is_executed:
                self.venue.execute(self.way, 1.0)
            self.pass_instant()
            self.answer(self.way.answer, self.way.error)
        raise AssertionError(f"no rest: {self.requests[-12:]}")

    def have_sent(self) -> Sending | None:
        """Have a request under way that may still be executed: the present one, or the next one that is wanted."""
        self.pass_instant()
        if self.p.ended or (self.p.request is None and not self.begin()):
            return None
        if self.way is None and not self.send():
            return None
        self.pass_instant()
        assert self.way is not None
        return self.way if self.way.is_executed or self.way.until >= self.at else None

    def run_until(self, until: float, pick: float = 1.0, *, late_at: float = math.inf) -> None:
        """Let the shell work, wake up and read snapshots in time. `late_at`: when lost requests are executed."""
        for _ in range(400):
            self.pass_instant()
            self.work()
            request = next_request(self.p, self.at)
            assert isinstance(request, float)
            wanted = min(request, self.p.snapshot_at)
            if self.p.snapshot_at <= self.at:
                self.asked_lists = self.venue.ask_lists()
                self.pass_instant()
                self.take_lists(pick, "")
            elif min(wanted, late_at) > until:
                break
            else:
                self.at = self.venue.at = max(self.at, min(wanted, late_at))
            if self.at >= late_at:
                late_at = math.inf
                self.execute_lost()
        else:
            raise AssertionError(f"no rest: {self.requests[-20:]}")
        self.at = self.venue.at = max(self.at, until)
        self.lost = [sending for sending in self.lost if sending.until >= self.at and not sending.is_executed]

    def execute_lost(self) -> None:
        """Execute the requests whose senders wait no more, as far as they are still valid."""
        self.pass_instant()
        for sending in self.lost:
            if not sending.is_executed and sending.until >= self.at:
                self.venue.execute(sending, 1.0)
        self.lost.clear()

    def take_lists(self, pick: float, flaw: Flaw) -> None:
        """Read both lists."""
        assert self.asked_lists is not None
        asked, self.asked_lists = self.asked_lists, None
        fault = self.fault if self.at < self.fault_until else None
        self.was_honest = self.was_honest or (fault is None and asked[0] > self.fault_until)
        snapshot = self.venue.answer_lists(asked, pick, fault, flaw)
        if fault in ("no stops", "stop missing"):
            self.stops_lied = True
        lag = self.timing.orders_read_lag
        rows = {id_ for id_, row in self.p.orders.items() if row.state is LIVE and asked[0] >= row.changed_at + lag}
        self.step(SnapshotTaken(snapshot))
        for stop in snapshot.ours.get((SYMBOL, self.side), ()):
            if stop.client_order_id in rows:
                self.note_told(stop)
                if self.venue.stops.get(stop.client_order_id) == stop:
                    self.secrets.discard(stop.client_order_id)
        self.save()

    def tick(self, price: Decimal) -> None:
        """Show a price as the feed does: one that is quiet takes no step."""
        tick = Tick(SYMBOL, price, self.at, self.p.plan.trigger)
        if not self.p.ratchet.take_if_quiet(tick):
            self.step(PriceSeen(tick))

    def deliver(self) -> None:
        if any(pushed_at < self.at - LATEST_UPDATE for pushed_at, _ in self.venue.updates):
            self.updates_are_lost()
        for _, update in self.venue.updates:
            self.step(update)
        self.venue.updates.clear()

    def updates_are_lost(self) -> None:
        self.venue.updates.clear()
        self.step(CheckWanted())

    def settle(self) -> None:
        """Let everything work for ten minutes."""
        if self.way is not None:
            self.lost.append(self.way)
            self.answer(None, OutcomeUnknown("no answer"))
        self.lost.clear()
        self.fault, self.venue.finds_from = None, -math.inf
        self.deliver()
        for id_, stop in list(self.venue.stops.items()):
            if stop.triggered:
                self.venue.fill(id_, stop.quantity)
        if self.p.is_opening:
            self.work()
            self.step(OpeningEnded())
        self.venue.move_price(self.venue.price)
        before = len(self.requests)
        for _ in range(10):
            self.pass_instant()
            self.step(TimePassed())
            self.tick(self.venue.price)
            self.deliver()
            self.run_until(self.at + 60.0)
            self.asked_lists = self.venue.ask_lists()
            self.pass_instant()
            self.take_lists(1.0, "")
            self.work()
        assert len(self.requests) - before < 150, self.requests[before : before + 30]

    # What the venue's truth says of a request, just before it is sent.

    def check_request(self, request: Request) -> None:
        match request:
            case PlaceStop() | ReplaceStop() | AmendStop():
                self.check_not_looser(request)
            case CancelStop() | TakeDownStop():
                self.check_cancel(request)
            case ClosePosition():
                self.check_close(request)

    def check_not_looser(self, request: PlaceStop | ReplaceStop | AmendStop) -> None:
        """2: no request is looser than a live stop of ours that the machine was told of; and its figures are of now."""
        p = self.p
        assert request.quantity == p.coverable
        row = p.orders.get(request.replaces if isinstance(request, ReplaceStop) else p.request_id or "")
        standing = () if row is None or row.order is None else (row.price, row.order.price)
        before = [order.order.price for order in p.ended_orders.values() if order.order is not None]
        assert request.price in (p.target, looser_target(p), *standing, *before), f"{request}, wanted {p.target}"
        prices = (request.price, request.price - request.price % self.venue.rounding)
        if (
            self.tightest is not None
            and p.live is None
            and all(is_looser(self.side, one, self.tightest) for one in prices)
        ):
            is_taken = p.refused_stop is not None or not is_looser(self.side, self.tightest, p.ratchet.last)
            assert is_taken, f"{request} is looser than {self.tightest} was"
        for id_, stop in self.venue.stops.items():
            if (
                stop.callback is None
                and not stop.triggered
                and self.told.get(id_) == stop.price
                and id_ in self.p.orders
            ):
                assert not is_looser(self.side, request.price, stop.price), f"{request} is looser than {stop}"
        for order in self.p.orders.values():
            if (
                order.purpose == "stop"
                and order.order is not None
                and order.state is LIVE
                and order.triggered_at is None
            ):
                assert not is_looser(self.side, request.price, order.order.price)
        assert request.quantity > 0
        if isinstance(request, PlaceStop):
            assert not self.p.is_covered
        stops = [stop for stop in self.venue.stops.values() if stop.callback is None and not stop.triggered]
        if isinstance(request, ReplaceStop) and not self.stops_lied:
            assert len(stops) < 2, "a third stop"

    def check_cancel(self, request: CancelStop | TakeDownStop) -> None:
        """11: a live stop is cancelled for one of the stated reasons only."""
        p, stop = self.p, self.venue.stops.get(request.id)
        if stop is None or stop.callback is not None or stop.triggered:
            return
        if isinstance(request, TakeDownStop):
            assert not self.market.two_stops
            assert not self.market.can_amend
            assert all(p.back_offs[kind].until <= self.at for kind in ("place", "move") if kind in p.back_offs)
            return
        if isinstance(p.goal, End) and not p.goal.is_given_up:
            self.check_flat("cancelled its stop")
            return
        if isinstance(p.goal, End) or (isinstance(p.goal, Release) and p.goal.cancel_stop):
            return
        row = p.orders[request.id]
        others = [one for one in p.orders.values() if one.id != row.id and one.purpose == "stop" and one.exists]
        if row.is_unwanted and self.cancels_late:
            return
        assert others, "cancelled the only stop"
        tightest = [  # as asked for: the venue rounds
            one
            for one in others
            if one.order
            and one.price
            and not all(is_looser(self.side, price, stop.price) for price in (one.order.price, one.price))
        ]
        if not self.secrets and not self.stops_lied:
            assert tightest, f"cancelled {stop}, the tightest of {others}"
            assert any(one.id in self.venue.stops for one in tightest), "cancelled the only live stop"

    def check_flat(self, what: str) -> None:
        """12: what is believed flat is flat, or another position stands in its place."""
        venue = self.venue
        is_open = venue.quantity and venue.entered == 1
        assert not is_open or self.p.replaced_by is not None, f"{what} while {venue.quantity} is open"

    def check_close(self, request: ClosePosition) -> None:
        """6: no two closes may be executed; and software closes only beyond a stop that true prices justify."""
        assert request.quantity > 0
        for sending in self.lost:
            assert not isinstance(sending.request, ClosePosition) or sending.until < self.at or sending.is_executed
        goal = self.p.goal
        assert isinstance(goal, Close)
        if not goal.is_revocable or goal.reason in ("no stop could be placed", "what is left is too small for a stop"):
            return
        assert self.read_price is not None
        limits = [self.justified(), *(order.order.price for order in self.p.orders.values() if order.order is not None)]
        beyond = [not is_looser(self.side, limit, self.read_price) for limit in limits]
        assert any(beyond), f"closed at {self.read_price}, before {limits}"

    def justified(self) -> Decimal:
        """Return the tightest stop that the plans so far proposed for the best true price."""
        history = History(self.side, D(100), self.best, self.p.ratchet.candles)
        proposal = self.p.plan.propose(history, self.market.price_tick)
        if proposal is not None and is_looser(self.side, self.limit, proposal):
            self.limit = proposal
        return self.limit

    def check_what_a_record_keeps(self) -> None:
        p, saved = self.p, self.stored[-1]
        restored = restore_position(saved.record, saved.intended, self.market, self.timing, self.at)
        assert (restored.quantity, restored.ratchet.target) == (p.quantity, p.ratchet.target)
        assert restored.floor == p.floor or p.floor is None  # a record without one is of an earlier version
        assert set(restored.orders) == set(p.orders)
        shown = {id_: row.order for id_, row in p.orders.items()}
        assert {id_: row.order for id_, row in restored.orders.items()} == shown
        goal = p.goal
        if isinstance(goal, Close) and goal.is_revocable:
            goal = PROTECT
        assert restored.goal == goal

    def check_rest(self) -> None:
        p, venue = self.p, self.venue
        if p.ended:
            assert not venue.stops or self.stops_lied or p.goal == Release(cancel_stop=False), "stops are left"
            return
        assert venue.quantity, "flat, and not ended"
        assert not p.has_unknown
        assert p.quantity == venue.quantity
        plain = [stop for stop in venue.stops.values() if stop.callback is None]
        if p.is_frozen:
            return
        assert not p.is_unprotected
        is_followed = p.plan.pacing == Pacing() and not p.is_trailed_by_exchange and p.coverable
        if is_followed and venue.rounding == self.market.price_tick:
            is_crossed = venue.is_beyond(p.ratchet.target)
            assert not (is_crossed and p.plan.on_would_trigger == "exit"), (
                "the plan's stop is crossed, and nothing is done"
            )
            is_behind = is_looser(self.side, plain[0].price, p.ratchet.target)
            assert is_crossed or not is_behind or self.was_forgotten, "the stop does not follow"
        (stop,) = plain
        row = p.live
        assert row is not None
        assert row.order == stop  # 3
        assert stop.quantity == p.coverable or not p.coverable
