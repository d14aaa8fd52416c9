"""Any interleaving of prices, candles, acknowledgements, failures, fills, other plans and restarts keeps the core's
invariants.

The machine plays shell and exchange. It knows by itself what the exchange has acknowledged, the best price it has shown,
and the tightest stop that was ever wanted, and compares after each step.
"""

from __future__ import annotations

from copy import copy
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trailing.core.model import Candle, Fill, Market, Percent, Position, Side, StopOrder, Tick
from trailing.core.plan import Pacing, TrailPlan
from trailing.core.prices import is_better, is_crossed, is_tighter
from trailing.core.record import StopRecord
from trailing.core.rules import Breakeven, Callback, Chandelier, History, Rule, Steps
from trailing.core.states import CLOSED, EXITING, LIVE, OPENING, UNPROTECTED, UNRESOLVED
from trailing.core.stop import TrailingStop
from trailing.core.trail import Decision, ExitPosition, MoveStop
from trailing.errors import ExchangeUnreachable, OutcomeUnknown, StopRejected, TrailingError, WouldTrigger

D = Decimal
SYMBOL = "BTC/USDT:USDT"
MARKET = Market(SYMBOL, price_tick=D("0.05"), quantity_step=D("0.1"))
OPENED = datetime(2026, 1, 2, tzinfo=UTC)
CENT = D("0.01")

RULES: list[tuple[Rule, ...]] = [
    (),
    (Callback(Percent(1)),),
    (Callback(D(2), activation=Percent(1)),),
    (Breakeven(Percent("0.8"), Percent("0.05")), Callback(Percent("0.5"), Percent("1.5"))),
    (Breakeven(D(1), Percent("0.1")),),
    (Steps(((Percent(1), Percent(2)), (Percent(3), Percent(1)), (Percent(6), Percent("0.3")))),),
    (Chandelier(D("1.5"), 3),),
    (Chandelier(D(3), 2), Breakeven(Percent(1)), Callback(Percent(4))),
]
PACINGS = [
    Pacing(),
    Pacing(min_interval=30.0),
    Pacing(min_interval=10.0, min_improvement=Percent("0.2"), override=Percent(1)),
]
steps = st.decimals("-4", "4", places=2)
rarely = st.sampled_from((False,) * 9 + (True,))
pauses = st.sampled_from([0.0, 0.25, 1.0, 7.5, 31.0])


class EveryTick(TrailingStop):
    """The same, but for the short cut: every tick is looked at."""

    __slots__ = ()

    def _arm(self) -> None:
        super()._arm()
        self._low, self._high = D("Infinity"), D("-Infinity")


class StopMachine(RuleBasedStateMachine):
    """Shell and exchange of one position."""

    def __init__(self) -> None:
        super().__init__()
        self.names = map(str, count())
        self.at = 1000.0
        self.live: dict[str, StopOrder] = {}
        self.early: dict[str, Decimal] = {}
        self.sent: tuple[str, Decimal] | None = None
        self.lost: tuple[str, Decimal] | None = None
        self.minutes = count()

    @initialize(
        side=st.sampled_from(("long", "short")),
        rules=st.sampled_from(RULES),
        pacing=st.sampled_from(PACINGS),
        policy=st.sampled_from(("exit", "keep")),
        placed=st.sampled_from((True, True, True, False)),
    )
    def open(self, side: Side, rules: tuple[Rule, ...], pacing: Pacing, policy: str, placed: bool) -> None:
        self.side = side
        position = Position(SYMBOL, side, D(10), D(100), OPENED)
        plan = TrailPlan(initial_stop=Percent(5), rules=rules, pacing=pacing, on_would_trigger=policy)  # type: ignore[arg-type]
        self.stop = TrailingStop(position, plan, MARKET, self.at)
        self.last = self.best = D(100)  # the entry price
        self.target = self.stop.target
        self.quantity = D(10)
        if placed:
            self.stop_is_placed()

    # What the machine itself holds to be true.

    def take(self, decision: Decision | None) -> None:
        """Take a decision as the shell does."""
        if isinstance(decision, MoveStop):
            assert self.stop.state in LIVE
            assert self.stop.price is not None
            assert not is_tighter(self.side, self.stop.price, decision.price)
            assert not is_crossed(self.side, self.last, decision.price) or decision.reason == "resized"
            if self.sent is None:
                self.sent = next(self.names), decision.price
        elif isinstance(decision, ExitPosition):
            assert self.stop.state in (*LIVE, UNPROTECTED)

    def show(self, price: Decimal) -> Decision | None:
        """Show a price to the stop, and to a copy of it that takes no short cut: both have to answer the same.

        But for an exit, which need not be said again while the price stays beyond the stop.
        """
        careful = copy(self.stop)
        careful.__class__ = EveryTick
        careful._arm()
        tick = Tick(SYMBOL, price, self.at)
        is_due = self.stop.due_at is not None and self.at >= self.stop.due_at  # which is for `on_time` to say
        decision = self.stop.on_tick(tick)
        if not is_due and self.stop.state is not CLOSED:
            expected = careful.on_tick(tick)
            said_before = isinstance(expected, ExitPosition) and is_crossed(self.side, self.last, self.stop.target)
            assert decision == expected or (decision is None and said_before)
            assert (careful.best, careful.target) == (self.stop.best, self.stop.target)
        return decision

    def believe(self, price: Decimal) -> None:
        self.last = price
        if is_better(self.side, price, self.best):
            self.best = price

    def moved_by(self, percent: Decimal) -> Decimal:
        price = self.last + self.last * percent / 100
        return min(max(price, D(20)), D(500)).quantize(CENT)

    def goes_on(self, percent: Decimal, pause: float) -> None:
        """Let time pass and the price change."""
        self.at += pause
        price = self.moved_by(percent)
        decision = self.show(price)
        self.believe(price)
        self.take(decision)

    def acknowledged(self, name: str, price: Decimal, quantity: Decimal) -> StopOrder:
        """Book a stop on the exchange."""
        order = StopOrder(SYMBOL, self.side, quantity, price, name, f"exchange-{name}")
        left = quantity - self.early.pop(name, D(0))
        if left > 0:
            self.live[name] = msgspec.structs.replace(order, quantity=left)
        return order

    def cover(self) -> Decimal:
        return max(self.stop.coverable, D("0.1"))

    # Prices and time.

    @rule(percent=steps, pause=pauses)
    def price_moves(self, percent: Decimal, pause: float) -> None:
        self.goes_on(percent, pause)

    @rule(pause=pauses)
    def price_improves(self, pause: float) -> None:
        self.goes_on(D(1) if self.side == "long" else D(-1), pause)

    @rule(away=st.sampled_from((D(60), D(-60), D(25), D(-25))))
    def single_print_far_away(self, away: Decimal) -> None:
        price = (self.last + self.last * away / 100).quantize(CENT)
        assert self.show(price) is None
        self.take(self.show(self.last))

    @rule(away=st.sampled_from((D(20), D(-20))), then=st.sampled_from((D(1), D(-1), D(0))), sure=rarely)
    def price_jumps(self, away: Decimal, then: Decimal, sure: bool) -> None:
        price = (self.last + self.last * away / 100).quantize(CENT)
        if not sure or not D(20) <= price <= D(500):
            return
        assert self.show(price) is None
        confirming = (price + price * then / 100).quantize(CENT)
        decision = self.show(confirming)
        self.believe(price)
        self.believe(confirming)
        self.take(decision)

    @precondition(lambda self: self.stop.due_at is not None)
    @rule()
    def due_time_comes(self) -> None:
        assert self.stop.due_at is not None
        self.at = max(self.at, self.stop.due_at)
        self.take(self.stop.on_time(self.at))
        assert self.stop.due_at is None or self.stop.due_at > self.at

    @rule(pause=pauses, span=st.decimals("0", "3", places=2))
    def candle_closes(self, pause: float, span: Decimal) -> None:
        self.at += pause
        opened_at = OPENED + timedelta(minutes=next(self.minutes))
        candle = Candle(SYMBOL, opened_at, 60.0, self.last, self.last + span, self.last - span, self.last)
        self.take(self.stop.on_candle(candle, self.at))

    # Opening, and covering what is bare.

    @precondition(lambda self: self.stop.state in (OPENING, UNPROTECTED))
    @rule()
    def place_stop(self) -> None:
        self.stop_is_placed()

    def stop_is_placed(self) -> None:
        """Let the exchange book the stop that is wanted."""
        self.take(self.stop.opened(self.acknowledged(next(self.names), self.stop.target, self.cover()), self.at))

    @precondition(lambda self: self.stop.state in (OPENING, UNPROTECTED))
    @rule(error=st.sampled_from((StopRejected("no"), ExchangeUnreachable("not sent"), OutcomeUnknown("?"))))
    def placing_fails(self, error: TrailingError) -> None:
        if isinstance(error, OutcomeUnknown):
            self.lost = next(self.names), self.stop.target
        self.stop.open_failed(error, self.at)

    # Moves.

    @precondition(lambda self: self.sent is not None and self.stop.state in LIVE)
    @rule(replaced=st.booleans(), pause=pauses)
    def move_is_acknowledged(self, replaced: bool, pause: float) -> None:
        self.at += pause
        assert self.sent is not None
        (name, price), self.sent = self.sent, None
        old = [*self.live]
        decision = self.stop.moved(self.acknowledged(name, price, self.cover()), self.at)
        self.take(decision)
        if replaced and name in self.live:
            for each in old:
                del self.live[each]
                self.take(self.stop.gone(each, self.at))

    @precondition(lambda self: self.sent is not None and self.stop.state in LIVE)
    @rule(
        error=st.sampled_from(
            (StopRejected("no"), ExchangeUnreachable("not sent"), WouldTrigger("there"), OutcomeUnknown("?"))
        )
    )
    def move_fails(self, error: TrailingError) -> None:
        if isinstance(error, OutcomeUnknown):
            self.lost = self.sent
        self.sent = None
        decision = self.stop.move_failed(error, self.at)
        self.take(decision)
        if isinstance(decision, ExitPosition):  # the shell asks the exchange's own price, which is not there
            self.stop.exit_unconfirmed(self.last, self.at)

    @precondition(lambda self: self.sent is not None and self.stop.state in LIVE and self.quantity > 1)
    @rule()
    def move_fills_before_its_acknowledgement(self) -> None:
        assert self.sent is not None
        name = self.sent[0]
        self.early[name] = self.early.get(name, D(0)) + D("0.1")
        self.quantity -= D("0.1")
        self.take(self.stop.filled(Fill(SYMBOL, self.side, D("0.1"), self.last, "?", name, self.at), self.at))

    # Unknown outcomes.

    @precondition(lambda self: self.stop.state is UNRESOLVED)
    @rule(found=st.booleans())
    def outcome_becomes_known(self, found: bool) -> None:
        name, price = self.lost if self.lost is not None else (next(self.names), self.stop.target)
        self.lost = None
        if found:
            self.take(self.stop.opened(self.acknowledged(name, price, self.cover()), self.at))
        else:
            self.take(self.stop.absent(name, self.at))

    # What others do to the position and its stops.

    @precondition(lambda self: self.live and self.stop.state not in (OPENING, CLOSED, UNPROTECTED))
    @rule(data=st.data(), sure=rarely)
    def stop_is_cancelled_by_somebody(self, data: st.DataObject, sure: bool) -> None:
        if len(self.live) == 1 and not sure:
            return
        name = data.draw(st.sampled_from(sorted(self.live)))
        del self.live[name]
        self.take(self.stop.gone(name, self.at))

    @precondition(lambda self: self.live and self.stop.state is not CLOSED)
    @rule(data=st.data(), whole=rarely)
    def stop_fills(self, data: st.DataObject, whole: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.live)))
        order = self.live.pop(name)
        filled = order.quantity if whole else order.quantity / 2
        if not whole:
            self.live[name] = msgspec.structs.replace(order, quantity=order.quantity - filled)
        self.quantity = max(D(0), self.quantity - filled)
        fill = Fill(SYMBOL, self.side, filled, order.price, order.order_id, name, self.at)
        self.take(self.stop.filled(fill, self.at))

    @precondition(lambda self: self.stop.state is not CLOSED)
    @rule(quantity=st.decimals("0.5", "12", places=2))
    def size_changes(self, quantity: Decimal) -> None:
        self.quantity = quantity
        self.take(self.stop.resized(quantity, self.at))

    # Exits.

    @precondition(lambda self: self.stop.state is not CLOSED)
    @rule(sure=rarely)
    def exit_begins(self, sure: bool) -> None:
        if sure:
            self.sent = None
            self.stop.exiting(self.at)

    @precondition(lambda self: self.stop.state is EXITING)
    @rule(error=st.sampled_from((StopRejected("no"), OutcomeUnknown("?"))))
    def exit_fails(self, error: TrailingError) -> None:
        self.stop.exit_failed(error, self.at)

    @precondition(lambda self: self.stop.state is EXITING)
    @rule()
    def exit_fills(self) -> None:
        self.stop.exited(Fill(SYMBOL, self.side, D("0.4"), self.last, "exit", "exit", self.at), self.at)
        self.quantity = max(D(0), self.quantity - D("0.4"))

    @precondition(lambda self: self.stop.state is not CLOSED and not self.live)
    @rule(sure=rarely)
    def position_is_flat(self, sure: bool) -> None:
        if sure:
            self.stop.flat(self.at)
            self.quantity = D(0)

    # Other plans.

    @precondition(lambda self: self.stop.state is not CLOSED)
    @rule(
        rules=st.sampled_from(RULES),
        pacing=st.sampled_from(PACINGS),
        policy=st.sampled_from(("exit", "keep")),
        initial=st.sampled_from((1, 5, 20)),
        seconds=st.sampled_from((60.0, 60.0, 300.0)),
        jump=st.sampled_from((10, 15)),
    )
    def plan_changes(
        self, rules: tuple[Rule, ...], pacing: Pacing, policy: str, initial: int, seconds: float, jump: int
    ) -> None:
        plan = TrailPlan(
            initial_stop=Percent(initial),
            rules=rules,
            pacing=pacing,
            on_would_trigger=policy,  # type: ignore[arg-type]
            candle_seconds=seconds,
            max_jump=Percent(jump),
        )
        state = self.stop.state
        self.take(self.stop.replan(plan, self.at))
        assert (self.stop.plan, self.stop.state) == (plan, state)

    # Restarts.

    @rule(at=st.sampled_from((0.0, 3.5, 123456.789)))
    def process_restarts(self, at: float) -> None:
        kept = msgspec.json.encode(self.stop.save())
        restored = TrailingStop.restore(msgspec.json.decode(kept, type=StopRecord), MARKET, at)
        assert restored == self.stop
        self.stop, self.at, self.sent = restored, at, None

    # What always holds.

    @invariant()
    def nothing_is_lost_by_saving(self) -> None:
        record = self.stop.save()
        assert TrailingStop.restore(record, MARKET, self.at).save() == record

    @invariant()
    def what_is_wanted_never_loosens(self) -> None:
        assert not is_tighter(self.side, self.target, self.stop.target)
        self.target = self.stop.target
        assert self.target % MARKET.price_tick == 0
        assert self.stop.first_price == (D(95) if self.side == "long" else D(105))

    @invariant()
    def the_price_is_the_tightest_acknowledged_one(self) -> None:
        assert self.stop.orders == self.live
        prices = [order.price for order in self.live.values()]
        tightest = (max(prices) if self.side == "long" else min(prices)) if prices else None
        assert self.stop.price == tightest
        if tightest is not None:
            assert not is_tighter(self.side, tightest, self.stop.target)

    @invariant()
    def a_peak_seen_is_a_peak_kept(self) -> None:
        if self.stop.state is not CLOSED:
            assert self.stop.best == self.best

    @invariant()
    def what_a_rule_proposes_is_wanted(self) -> None:
        history = History(self.side, D(100), self.best, self.stop.save().candles)
        proposal = self.stop.plan.propose(history, MARKET.price_tick)
        if self.stop.state in (*LIVE, UNPROTECTED) and proposal is not None:
            assert not is_tighter(self.side, proposal, self.stop.target)

    @invariant()
    def the_state_says_whether_a_stop_is_live(self) -> None:
        if self.stop.state in LIVE:
            assert self.live
        if self.stop.state in (UNPROTECTED, OPENING):
            assert not self.live
        assert self.stop.quantity == self.quantity


StopMachine.TestCase.settings = settings(max_examples=2 * settings().max_examples, stateful_step_count=40)
test_any_interleaving_keeps_the_invariants = StopMachine.TestCase
