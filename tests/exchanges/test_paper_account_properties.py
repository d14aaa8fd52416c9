"""Random actions on a paper account: no fill crosses zero, and nothing is counted twice."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from decimal import Decimal as D

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from trailing.core.model import Position, Side, Source, Tick
from trailing.errors import StopRejected, UsageError
from trailing.exchanges.paper.account import PaperAccount
from trailing.exchanges.paper.lagged_view import LaggedView
from trailing.exchanges.paper.market_book import VenueRules
from trailing.exchanges.port import EntryUpdate, OrderUpdate, PositionUpdate, StopRequest

BTC = "BTC/USDT:USDT"
OPENED = datetime(2026, 1, 1, tzinfo=UTC)

sides = st.sampled_from(["long", "short"])
sources = st.sampled_from(["last", "mark"])
quantities = st.integers(1, 6).map(D)
prices = st.integers(90, 110).map(D)
names = st.integers(1, 12).map(str)


class BookMachine(RuleBasedStateMachine):
    @initialize(
        hedged=st.booleans(),
        share=st.sampled_from([None, D("0.3")]),
        leverage=st.sampled_from([None, D(15)]),
        delay=st.sampled_from([0.0, 3.0]),
    )
    def open(self, hedged: bool, share: D | None, leverage: D | None, delay: float) -> None:
        self.hedged = hedged
        self.updates: list[OrderUpdate | EntryUpdate | PositionUpdate] = []
        rules = VenueRules(hedged=hedged, partial_fills=share, leverage=leverage, can_amend=True, trigger_delay=delay)
        self.now = 0.0
        self.book = PaperAccount(rules, self.updates.append, lambda at: OPENED + timedelta(seconds=at))
        self.entered: dict[Side, D] = {"long": D(0), "short": D(0)}

    @rule(side=sides, quantity=quantities, price=prices)
    def enter(self, side: Side, quantity: D, price: D) -> None:
        with contextlib.suppress(UsageError):
            self.book.enter(Position(BTC, side, quantity, price, OPENED), self.now)
            self.entered[side] += quantity

    @rule(side=sides, quantity=quantities, price=prices, name=names, source=sources)
    def place(self, side: Side, quantity: D, price: D, name: str, source: Source) -> None:
        with contextlib.suppress(StopRejected):
            self.book.place(StopRequest(BTC, side, quantity, price, name, source), self.now)

    @rule(name=names, price=prices, quantity=quantities)
    def amend(self, name: str, price: D, quantity: D) -> None:
        with contextlib.suppress(StopRejected):
            self.book.amend(BTC, name, price, quantity, self.now)

    @rule(name=names)
    def cancel(self, name: str) -> None:
        with contextlib.suppress(StopRejected):
            self.book.cancel(BTC, name, self.now)

    @rule(side=sides, quantity=quantities, name=st.one_of(st.none(), names))
    def close(self, side: Side, quantity: D, name: str | None) -> None:
        with contextlib.suppress(StopRejected):
            self.book.close(BTC, side, quantity, self.now, client_order_id=name)

    @rule(price=prices, source=sources, continuous=st.booleans())
    def change_price(self, price: D, source: Source, continuous: bool) -> None:
        self.now += 1
        (self.book.move_to if continuous else self.book.jump_to)(Tick(BTC, price, self.now, source), self.now)

    @invariant()
    def entered_quantity_is_open_or_filled(self) -> None:
        held: dict[Side, D] = {report.side: report.quantity for report in self.book.positions(self.now)}
        filled: dict[Side, D] = {"long": D(0), "short": D(0)}
        for update in self.updates:
            if isinstance(update, OrderUpdate) and update.fill is not None:
                filled[update.side] += update.fill.quantity
        for side, entered in self.entered.items():
            assert entered == filled[side] + held.get(side, D(0))
        assert all(quantity > 0 for quantity in held.values())
        assert self.hedged or len(held) <= 1

    @invariant()
    def every_position_update_has_the_open_quantity_and_it_is_never_negative(self) -> None:
        last = {update.side: update.quantity for update in self.updates if isinstance(update, PositionUpdate)}
        held = {report.side: report.quantity for report in self.book.positions(self.now)}
        assert all(update.quantity >= 0 for update in self.updates if isinstance(update, PositionUpdate))
        assert {side: quantity for side, quantity in last.items() if quantity} == held

    @invariant()
    def every_trade_has_its_own_id_and_every_update_the_filled_quantity(self) -> None:
        filled: dict[str, D] = {}
        for update in self.updates:
            if isinstance(update, OrderUpdate):
                so_far = filled.get(update.order_id, D(0)) + (update.fill.quantity if update.fill else D(0))
                filled[update.order_id] = so_far
                assert update.filled == so_far
        trades = [update.fill.trade_id for update in self.updates if isinstance(update, OrderUpdate) and update.fill]
        assert None not in trades
        assert len(set(trades)) == len(trades)

    @invariant()
    def a_stop_is_live_exactly_until_its_last_update(self) -> None:
        status: dict[str, str] = {}
        for update in self.updates:
            if isinstance(update, OrderUpdate):
                assert status.get(update.client_order_id) not in {"filled", "cancelled"}, "an end is the end"
                status[update.client_order_id] = update.status
        live = {order.client_order_id: order.triggered for order in self.book.stops(self.now)}
        ended = {"filled", "cancelled"}
        assert live == {name: word != "live" for name, word in status.items() if word not in ended}


TestBook = BookMachine.TestCase
TestBook.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abc"), st.one_of(st.none(), st.integers()))),
    st.integers(0, 5),
)
@settings(max_examples=100, deadline=None)
def test_a_lagged_view_shows_exactly_the_changes_that_are_old_enough(
    steps: list[tuple[int, str, int | None]], lag: int
) -> None:
    view: LaggedView[str, int] = LaggedView(lag)
    history: list[tuple[int, str, int | None]] = []
    now = 0
    for pause, key, value in steps:
        now += pause
        view.change(key, value, now)
        history.append((now, key, value))
        expected: dict[str, int] = {}
        for at, changed, to in history:
            if at + lag <= now:
                expected.pop(changed, None)
                if to is not None:
                    expected[changed] = to
        assert view.at(now) == expected
