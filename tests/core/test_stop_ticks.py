"""Known answers of a position's trailing stop: prices, times, acknowledgements and failures in, decisions out.

The plan is worked out by hand. The entry is at 100 and the initial stop 2 % behind it; from a profit of 1 % on, the stop
follows the best price at 1 %: a long's best of 102 wants 100.98, a short's best of 98 wants 98.98.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from trailing.core.model import Candle, Fill, Market, Percent, Position, Side, Source, StopOrder, Tick
from trailing.core.plan import Pacing, TrailPlan
from trailing.core.record import StopRecord
from trailing.core.rules import Callback, Chandelier
from trailing.core.states import CLOSED, EXITING, OPENING, TRAILING, UNPROTECTED, UNRESOLVED, WAITING
from trailing.core.stop import TrailingStop
from trailing.core.trail import ExitPosition, MoveStop
from trailing.errors import ExchangeUnreachable, OutcomeUnknown, StopRejected, UsageError, WouldTrigger

D = Decimal
SYMBOL = "BTC/USDT:USDT"
MARKET = Market(SYMBOL, price_tick=D("0.01"), quantity_step=D("0.1"))
RULES = (Callback(Percent(1), activation=Percent(1)),)


def opening(side: Side = "long", at: float = 0.0, **plan: Any) -> TrailingStop:
    position = Position(SYMBOL, side, D(1), D(100), datetime(2026, 1, 2, tzinfo=UTC))
    fields: dict[str, Any] = {"initial_stop": Percent(2), "rules": RULES} | plan
    return TrailingStop(position, TrailPlan(**fields), MARKET, at)


def waiting(side: Side = "long", **plan: Any) -> TrailingStop:
    stop = opening(side, **plan)
    assert stop.opened(order(stop, stop.first_price), 0.0) is None
    return stop


def order(stop: TrailingStop, price: Decimal | str, name: str = "a", quantity: str = "1") -> StopOrder:
    return StopOrder(SYMBOL, stop.position.side, D(quantity), D(price), name, f"exchange-{name}")


def tick(price: str, at: float = 0.0, source: Source = "last") -> Tick:
    return Tick(SYMBOL, D(price), at, source)


def fill(stop: TrailingStop, quantity: str, name: str = "a") -> Fill:
    return Fill(SYMBOL, stop.position.side, D(quantity), D(98), f"exchange-{name}", name, 0.0)


def again(stop: TrailingStop, at: float = 0.0) -> TrailingStop:
    """The stop after a restart, through what the stores keep of it."""
    kept = msgspec.json.encode(stop.save())
    restored = TrailingStop.restore(msgspec.json.decode(kept, type=StopRecord), MARKET, at)
    assert restored == stop
    return restored


# Opening.


@pytest.mark.parametrize(("side", "first"), [("long", "98"), ("short", "102")])
def test_a_new_stop_is_opening_and_knows_its_first_price(side: Side, first: str) -> None:
    stop = opening(side)
    assert (stop.state, stop.first_price, stop.target) == (OPENING, D(first), D(first))
    assert (stop.price, stop.order, stop.due_at) == (None, None, None)
    assert (stop.quantity, stop.uncovered) == (D(1), D(1))


def test_an_acknowledged_first_stop_is_waiting_and_covers_the_position() -> None:
    stop = waiting()
    assert (stop.state, stop.price, stop.uncovered) == (WAITING, D(98), D(0))


def test_what_the_order_does_not_cover_is_known() -> None:
    stop = opening()
    stop.opened(order(stop, "98", quantity="0.9"), 0.0)
    assert stop.uncovered == D("0.1")


def test_a_peak_during_the_opening_is_wanted_as_soon_as_the_stop_stands() -> None:
    stop = opening()
    assert stop.on_tick(tick("102")) is None
    assert stop.opened(order(stop, "98"), 1.0) == MoveStop(D("100.98"), "trailing")


def test_a_stop_found_tighter_than_wanted_becomes_what_is_wanted() -> None:
    stop = opening()
    assert stop.opened(order(stop, "99"), 0.0) is None
    assert (stop.state, stop.target) == (TRAILING, D(99))


# The ratchet.


@pytest.mark.parametrize(
    ("side", "peaks", "stops"),
    [
        ("long", ["100.99", "101", "102", "103"], [None, "99.99", "100.98", "101.97"]),
        ("short", ["99.01", "99", "98", "97"], [None, "99.99", "98.98", "97.97"]),
    ],
)
def test_every_new_peak_moves_the_stop_also_while_a_move_is_under_way(
    side: Side, peaks: list[str], stops: list[str | None]
) -> None:
    stop = waiting(side)
    decisions = [stop.on_tick(tick(peak)) for peak in peaks]
    assert decisions == [None if price is None else MoveStop(D(price), "trailing") for price in stops]
    assert stop.price == stop.first_price  # nothing was acknowledged


@pytest.mark.parametrize(("side", "peak", "worse"), [("long", "102", "101"), ("short", "98", "99")])
def test_a_price_that_is_no_new_peak_moves_nothing(side: Side, peak: str, worse: str) -> None:
    stop = waiting(side)
    assert stop.on_tick(tick(peak)) is not None
    assert [stop.on_tick(tick(price)) for price in (peak, worse, peak)] == [None, None, None]
    assert stop.best == D(peak)


def test_an_acknowledgement_makes_the_stop_trail() -> None:
    stop = waiting()
    stop.on_tick(tick("102"))
    assert stop.moved(order(stop, "100.98"), 1.0) is None
    assert (stop.state, stop.price, stop.target) == (TRAILING, D("100.98"), D("100.98"))


def test_a_replaced_stop_stays_live_until_it_is_gone_and_the_tightest_counts() -> None:
    stop = waiting()
    stop.on_tick(tick("102"))
    stop.moved(order(stop, "100.98", "b"), 1.0)
    assert (list(stop.orders), stop.price) == (["a", "b"], D("100.98"))
    assert stop.gone("a", 2.0) is None
    assert (list(stop.orders), stop.price, stop.state) == (["b"], D("100.98"), TRAILING)


def test_a_stop_that_somebody_cancelled_leaves_the_position_bare() -> None:
    stop = waiting()
    assert stop.gone("a", 1.0) is None
    assert (stop.state, stop.price, stop.target, stop.uncovered) == (UNPROTECTED, None, D(98), D(1))


def test_a_tick_of_another_source_is_counted_and_changes_nothing() -> None:
    stop = waiting()
    for price in ("99", "1", "150", "150"):
        assert stop.on_tick(tick(price, source="mark")) is None
    assert (stop.foreign_ticks, stop.best, stop.due_at) == (4, D(100), None)


# Pacing.

PACED: dict[str, Any] = {"pacing": Pacing(min_interval=30.0, min_improvement=Percent("0.1"), override=Percent(2))}


def paced() -> TrailingStop:
    """A stop that asked for its first move at 10 s and has it."""
    stop = waiting(**PACED)
    assert stop.on_tick(tick("102", 10.0)) == MoveStop(D("100.98"), "trailing")
    assert stop.moved(order(stop, "100.98"), 11.0) is None
    return stop


def test_an_improvement_inside_the_interval_is_due_at_its_end() -> None:
    stop = paced()
    assert stop.on_tick(tick("103", 15.0)) is None
    assert stop.due_at == 40.0
    assert stop.on_time(39.9) is None
    assert stop.on_time(40.0) == MoveStop(D("101.97"), "trailing")
    assert stop.due_at is None


def test_a_deferred_improvement_grows_with_later_peaks_and_keeps_its_time() -> None:
    stop = paced()
    stop.on_tick(tick("103", 15.0))
    assert stop.on_tick(tick("103.5", 20.0)) is None
    assert stop.due_at == 40.0
    assert stop.on_time(41.0) == MoveStop(D("102.47"), "trailing")  # 103.5 * 0.99 = 102.465


def test_an_improvement_beyond_the_override_does_not_wait() -> None:
    stop = paced()
    assert stop.on_tick(tick("104", 15.0)) is None  # 102.96 is 1.96 % above 100.98
    assert stop.on_tick(tick("104.05", 16.0)) == MoveStop(D("103.01"), "trailing")  # 2.01 %


def test_an_improvement_that_is_too_small_is_neither_sent_nor_due() -> None:
    stop = paced()
    assert stop.on_tick(tick("102.09", 100.0)) is None  # 101.07 is 0.09 % above 100.98
    assert stop.due_at is None
    assert stop.on_tick(tick("102.11", 101.0)) == MoveStop(D("101.09"), "trailing")


def test_the_acknowledgement_of_a_move_finds_the_peak_that_passed_meanwhile() -> None:
    stop = waiting(**PACED)
    stop.on_tick(tick("102", 10.0))
    assert stop.on_tick(tick("103", 11.0)) is None
    assert stop.moved(order(stop, "100.98"), 12.0) is None
    assert stop.due_at == 40.0
    assert stop.on_time(40.0) == MoveStop(D("101.97"), "trailing")


def test_nothing_is_due_where_nothing_was_deferred() -> None:
    stop = waiting()
    assert stop.due_at is None
    assert stop.on_time(1e9) is None


# Crossings.


@pytest.mark.parametrize(("side", "crossing"), [("long", "98"), ("short", "102")])
def test_a_crossed_stop_has_its_grace_to_fill(side: Side, crossing: str) -> None:
    stop = waiting(side)
    assert stop.on_tick(tick(crossing, 5.0)) is None
    assert stop.due_at == 7.0
    assert stop.on_time(6.9) is None
    assert stop.on_time(7.0) == ExitPosition("the stop was crossed and not filled within 2.0 s")


def test_the_grace_runs_from_the_first_crossing_price() -> None:
    stop = waiting(exit_grace=5.0)
    stop.on_tick(tick("97.9", 5.0))
    assert stop.on_tick(tick("97.5", 8.0)) is None
    assert stop.due_at == 10.0
    assert isinstance(stop.on_tick(tick("97", 10.0)), ExitPosition)


def test_a_price_that_comes_back_ends_the_crossing() -> None:
    stop = waiting()
    stop.on_tick(tick("98", 5.0))
    assert stop.on_tick(tick("98.5", 6.0)) is None
    assert stop.due_at is None
    assert stop.on_time(8.0) is None
    stop.on_tick(tick("98", 20.0))
    assert stop.due_at == 22.0


def test_a_crossed_stop_that_fills_in_its_grace_is_no_exit() -> None:
    stop = waiting()
    stop.on_tick(tick("98", 5.0))
    assert stop.filled(fill(stop, "1"), 5.5) is None
    assert (stop.state, stop.quantity, stop.due_at) == (EXITING, D(0), None)
    stop.flat(6.0)
    assert stop.state is CLOSED


def test_a_deferred_stop_that_is_crossed_is_an_exit_by_software() -> None:
    stop = paced()
    stop.on_tick(tick("104", 15.0))
    assert stop.on_tick(tick("103", 16.0)) is None  # 102.96 is deferred
    assert stop.on_tick(tick("102.96", 17.0)) == ExitPosition("a stop that was not sent yet is crossed")


def test_a_deferred_stop_that_is_crossed_keeps_the_resting_one_where_the_plan_says_so() -> None:
    stop = waiting(**PACED, on_would_trigger="keep")
    stop.on_tick(tick("102", 10.0))
    stop.moved(order(stop, "100.98"), 11.0)
    stop.on_tick(tick("104", 15.0))
    assert stop.on_tick(tick("102", 16.0)) is None
    assert (stop.price, stop.target) == (D("100.98"), D("102.96"))


def test_a_price_beyond_a_wanted_stop_whose_move_is_under_way_waits_for_the_move() -> None:
    stop = waiting()
    stop.on_tick(tick("104"))
    assert stop.on_tick(tick("102", 1.0)) is None
    assert stop.moved(order(stop, "102.96"), 2.0) is None
    assert stop.due_at == 4.0  # it is crossed, and now it has its grace


def test_a_bare_position_is_closed_when_its_wanted_stop_is_crossed() -> None:
    stop = waiting()
    stop.gone("a", 1.0)
    assert stop.on_tick(tick("98.01", 2.0)) is None
    assert stop.on_tick(tick("98", 3.0)) == ExitPosition("the price is beyond the stop of a position that has none")


def test_a_bare_position_is_kept_when_the_plan_says_so() -> None:
    stop = waiting(on_would_trigger="keep")
    stop.gone("a", 1.0)
    assert stop.on_tick(tick("97", 2.0)) is None


def test_an_exit_that_the_exchange_does_not_confirm_is_forgotten() -> None:
    stop = waiting()
    stop.on_tick(tick("98", 5.0))
    assert isinstance(stop.on_time(7.0), ExitPosition)
    stop.exit_unconfirmed(D("99"), 7.5)
    assert (stop.state, stop.due_at, stop.price) == (WAITING, None, D(98))
    assert stop.on_tick(tick("98", 9.0)) is None
    assert stop.due_at == 11.0


# Jumps.


@pytest.mark.parametrize("jump", ["110.01", "89.99"])
def test_a_single_print_far_away_counts_for_nothing(jump: str) -> None:
    stop = waiting()
    assert stop.on_tick(tick(jump)) is None
    assert stop.on_tick(tick("100")) is None
    assert (stop.best, stop.target, stop.due_at) == (D(100), D(98), None)


def test_a_jump_that_the_next_price_confirms_counts_and_keeps_its_peak() -> None:
    stop = waiting()
    stop.on_tick(tick("120"))
    assert stop.on_tick(tick("119")) == MoveStop(D("118.80"), "trailing")
    assert stop.best == D(120)


def test_a_gap_through_the_stop_counts_from_the_price_that_confirms_it() -> None:
    stop = waiting()
    stop.on_tick(tick("80", 1.0))
    assert stop.on_tick(tick("81", 2.0)) is None
    assert stop.due_at == 4.0


def test_two_far_prints_that_disagree_count_for_nothing() -> None:
    stop = waiting()
    assert [stop.on_tick(tick(price)) for price in ("120", "80", "100")] == [None, None, None]
    assert (stop.best, stop.due_at) == (D(100), None)


def test_a_move_of_exactly_the_limit_is_no_jump() -> None:
    stop = waiting()
    assert stop.on_tick(tick("110")) == MoveStop(D("108.90"), "trailing")


def test_a_doubt_is_over_with_the_next_price_that_is_believed() -> None:
    stop = waiting()
    assert [stop.on_tick(tick(price)) for price in ("120", "100", "119")] == [None, None, None]
    assert stop.best == D(100)


# Failures of moves.


def asked() -> TrailingStop:
    """A stop whose move to 100.98 was asked at 10 s, with the price at 102."""
    stop = waiting()
    assert stop.on_tick(tick("102", 10.0)) == MoveStop(D("100.98"), "trailing")
    return stop


@pytest.mark.parametrize("error", [StopRejected("no"), ExchangeUnreachable("not sent")])
def test_a_refused_move_leaves_the_stop_and_is_due_again_at_once(error: StopRejected | ExchangeUnreachable) -> None:
    stop = asked()
    assert stop.move_failed(error, 12.0) is None
    assert (stop.state, stop.price, stop.due_at) == (WAITING, D(98), 12.0)
    assert stop.on_time(13.0) == MoveStop(D("100.98"), "trailing")


def test_a_move_of_unknown_outcome_is_unresolved_until_it_is_known() -> None:
    stop = asked()
    assert stop.move_failed(OutcomeUnknown("no answer"), 12.0) is None
    assert (stop.state, stop.due_at) == (UNRESOLVED, None)
    assert stop.on_tick(tick("103", 13.0)) is None
    assert stop.opened(order(stop, "100.98", "b"), 14.0) == MoveStop(D("101.97"), "trailing")
    assert stop.state is TRAILING


def test_a_move_of_unknown_outcome_that_proves_absent_is_wanted_again() -> None:
    stop = asked()
    stop.move_failed(OutcomeUnknown("no answer"), 12.0)
    assert stop.absent("b", 14.0) == MoveStop(D("100.98"), "trailing")
    assert (stop.state, stop.price) == (WAITING, D(98))


def test_a_move_that_would_trigger_is_an_exit() -> None:
    stop = asked()
    assert isinstance(stop.move_failed(WouldTrigger("too late"), 12.0), ExitPosition)
    assert (stop.state, stop.price) == (WAITING, D(98))


def test_a_move_that_would_trigger_keeps_the_resting_stop_where_the_plan_says_so() -> None:
    stop = waiting(on_would_trigger="keep")
    stop.on_tick(tick("102", 10.0))
    assert stop.move_failed(WouldTrigger("too late"), 12.0) is None
    assert (stop.state, stop.price, stop.due_at) == (WAITING, D(98), 12.0)


@pytest.mark.parametrize(
    ("error", "state"),
    [(StopRejected("no"), UNPROTECTED), (ExchangeUnreachable("no"), UNPROTECTED), (OutcomeUnknown("?"), UNRESOLVED)],
)
def test_an_opening_that_failed_is_bare_or_unresolved(error: Any, state: str) -> None:
    stop = opening()
    stop.open_failed(error, 1.0)
    assert (stop.state, stop.price) == (state, None)


def test_a_move_that_failed_after_its_interval_is_due_again_at_once() -> None:
    stop = paced()
    assert stop.on_tick(tick("103", 50.0)) == MoveStop(D("101.97"), "trailing")
    assert stop.move_failed(ExchangeUnreachable("not sent"), 90.0) is None
    assert stop.due_at == 90.0
    assert stop.on_time(91.0) == MoveStop(D("101.97"), "trailing")


def test_a_move_that_failed_does_not_use_up_the_interval() -> None:
    stop = paced()
    assert stop.on_tick(tick("103", 50.0)) == MoveStop(D("101.97"), "trailing")
    assert stop.move_failed(ExchangeUnreachable("not sent"), 51.0) is None
    assert stop.due_at == 51.0


def test_an_exit_that_is_not_confirmed_leaves_the_deferred_improvement_wanted() -> None:
    stop = paced()
    stop.on_tick(tick("104", 15.0))
    assert isinstance(stop.on_tick(tick("102.96", 17.0)), ExitPosition)
    stop.exit_unconfirmed(D("103.5"), 45.0)
    assert stop.due_at is not None
    assert stop.on_time(stop.due_at) == MoveStop(D("102.96"), "trailing")


def test_an_exit_that_failed_leaves_the_improvement_of_its_time_wanted() -> None:
    stop = waiting()
    stop.exiting(1.0)
    stop.on_tick(tick("102", 2.0))
    stop.exit_failed(StopRejected("no"), 3.0)
    assert stop.due_at is not None
    assert stop.on_time(stop.due_at) == MoveStop(D("100.98"), "trailing")


def test_a_stop_that_was_kept_moves_on_when_the_price_is_ahead_of_the_wanted_one_again() -> None:
    stop = waiting(on_would_trigger="keep")
    stop.on_tick(tick("104", 10.0))
    assert stop.on_tick(tick("102.5", 11.0)) is None  # 102.96 is crossed
    assert stop.move_failed(WouldTrigger("too late"), 12.0) is None
    assert stop.on_tick(tick("103.5", 13.0)) == MoveStop(D("102.96"), "trailing")


def test_a_stop_whose_exit_nobody_confirmed_moves_on_when_the_price_is_ahead_of_the_wanted_one_again() -> None:
    stop = waiting()
    stop.on_tick(tick("104", 10.0))
    assert stop.on_tick(tick("102.5", 11.0)) is None  # 102.96 is crossed
    assert isinstance(stop.move_failed(StopRejected("no"), 12.0), ExitPosition)
    assert stop.on_tick(tick("103.5", 13.0)) == MoveStop(D("102.96"), "trailing")


def test_a_stop_that_was_kept_moves_on_after_a_restart() -> None:
    stop = waiting(on_would_trigger="keep")
    stop.on_tick(tick("104", 10.0))
    stop.on_tick(tick("102.5", 11.0))
    stop.move_failed(WouldTrigger("too late"), 12.0)
    restored = again(stop, at=5.0)
    assert restored.on_tick(tick("102.9", 6.0)) is None
    assert restored.on_tick(tick("103.5", 7.0)) == MoveStop(D("102.96"), "trailing")


def test_a_deferred_stop_that_was_crossed_and_kept_moves_on_when_the_price_is_ahead_of_it_again() -> None:
    stop = waiting(**PACED, on_would_trigger="keep")
    stop.on_tick(tick("102", 10.0))
    stop.moved(order(stop, "100.98"), 11.0)
    stop.on_tick(tick("104", 15.0))
    assert stop.on_tick(tick("102", 16.0)) is None  # 102.96 is crossed
    assert stop.on_tick(tick("103.5", 17.0)) is None
    assert stop.due_at == 40.0
    assert stop.on_time(40.0) == MoveStop(D("102.96"), "trailing")


def test_another_quantity_during_a_move_does_not_take_the_move_back() -> None:
    stop = asked()
    decision = stop.resized(D(2), 11.0)
    assert decision is None or decision == MoveStop(D("100.98"), "resized")


# Fills and sizes.


def test_a_fill_before_its_acknowledgement_is_kept_until_it() -> None:
    stop = opening()
    assert stop.filled(fill(stop, "0.4"), 1.0) is None
    assert (stop.state, stop.quantity) == (OPENING, D("0.6"))
    stop.opened(order(stop, "98"), 2.0)
    assert stop.order is not None
    assert (stop.state, stop.order.quantity, stop.uncovered) == (WAITING, D("0.6"), D(0))


def test_a_whole_fill_before_its_acknowledgement_leaves_no_stop() -> None:
    stop = opening()
    stop.filled(fill(stop, "0.4"), 1.0)
    stop.filled(fill(stop, "0.6"), 1.5)
    stop.opened(order(stop, "98"), 2.0)
    assert (stop.state, stop.quantity, stop.orders) == (EXITING, D(0), {})


def test_a_fill_of_a_move_before_its_acknowledgement_is_kept_until_it() -> None:
    stop = asked()
    stop.filled(fill(stop, "0.3", "b"), 11.0)
    stop.moved(order(stop, "100.98", "b"), 12.0)
    assert stop.orders["b"].quantity == D("0.7")
    assert stop.quantity == D("0.7")


def test_a_partial_fill_leaves_the_rest_under_the_same_stop() -> None:
    stop = waiting()
    assert stop.filled(fill(stop, "0.4"), 1.0) is None
    assert stop.order is not None
    assert (stop.state, stop.quantity, stop.order.quantity, stop.price) == (WAITING, D("0.6"), D("0.6"), D(98))


def test_a_stop_that_filled_and_leaves_a_rest_leaves_it_bare() -> None:
    stop = opening()
    stop.opened(order(stop, "98", quantity="0.9"), 0.0)
    stop.filled(fill(stop, "0.9"), 1.0)
    assert (stop.state, stop.quantity, stop.price) == (UNPROTECTED, D("0.1"), None)


def test_closing_what_is_left_of_a_position_inside_a_move_waits_for_both_stops() -> None:
    stop = asked()
    stop.moved(order(stop, "100.98", "b"), 11.0)
    stop.filled(fill(stop, "1", "b"), 12.0)
    assert (stop.state, list(stop.orders)) == (EXITING, ["a"])
    with pytest.raises(UsageError, match=f"{SYMBOL} long can't close: 1 stops live"):
        stop.flat(13.0)
    stop.gone("a", 13.0)
    stop.flat(13.0)
    assert stop.state is CLOSED


def test_a_close_at_market_fills_in_parts() -> None:
    stop = waiting()
    stop.exiting(1.0)
    stop.exited(fill(stop, "0.4", "exit"), 2.0)
    assert (stop.state, stop.quantity) == (EXITING, D("0.6"))
    stop.exited(fill(stop, "0.7", "exit"), 3.0)
    assert (stop.state, stop.quantity) == (EXITING, D(0))


def test_a_close_that_failed_goes_back_to_the_stop_that_stands() -> None:
    stop = waiting()
    stop.exiting(1.0)
    assert stop.on_tick(tick("97", 2.0)) is None
    stop.exit_failed(StopRejected("no"), 3.0)
    assert (stop.state, stop.due_at) == (WAITING, 5.0)  # it is crossed: it has its grace again
    assert isinstance(stop.on_time(5.0), ExitPosition)


def test_a_close_that_failed_without_a_stop_is_bare() -> None:
    stop = waiting()
    stop.exiting(1.0)
    stop.gone("a", 2.0)
    stop.exit_failed(StopRejected("no"), 3.0)
    assert stop.state is UNPROTECTED


def test_a_close_of_unknown_outcome_is_unresolved() -> None:
    stop = waiting()
    stop.exiting(1.0)
    stop.exit_failed(OutcomeUnknown("?"), 3.0)
    assert stop.state is UNRESOLVED


def test_another_quantity_wants_a_stop_that_covers_it() -> None:
    stop = waiting()
    assert stop.resized(D(1), 1.0) is None
    assert stop.resized(D("2.55"), 2.0) == MoveStop(D(98), "resized")
    assert (stop.coverable, stop.uncovered) == (D("2.5"), D("1.55"))
    stop.moved(order(stop, "98", quantity="2.5"), 3.0)
    assert stop.resized(D("2.55"), 4.0) is None
    assert stop.uncovered == D("0.05")


@pytest.mark.parametrize("quantity", [D(0), D(-1), 1.0])
def test_a_size_that_can_not_be_is_refused(quantity: Any) -> None:
    with pytest.raises(UsageError, match="quantity got .*, wants a finite Decimal above 0"):
        waiting().resized(quantity, 1.0)


def test_a_stop_beyond_the_liquidation_price_is_tightened() -> None:
    stop = waiting()
    assert stop.tighten(D("98.5"), 1.0) == MoveStop(D("98.5"), "trailing")
    stop.moved(order(stop, "98.5"), 2.0)
    assert stop.tighten(D(97), 3.0) is None
    assert stop.target == D("98.5")


def test_releasing_leaves_a_live_stop_as_it_is() -> None:
    stop = waiting()
    stop.released(1.0)
    assert (stop.state, list(stop.orders)) == (CLOSED, ["a"])


# Candles.

CANDLES: dict[str, Any] = {"rules": (Chandelier(D(2), 2),)}


def candle(minute: int, high: str, low: str, close: str, source: Source = "last") -> Candle:
    at = datetime(2026, 1, 2, tzinfo=UTC) + timedelta(minutes=minute)
    return Candle(SYMBOL, at, 60.0, D(close), D(high), D(low), D(close), source)


def test_a_closed_candle_may_move_the_stop() -> None:
    stop = waiting(**CANDLES)
    assert stop.on_candle(candle(0, "101", "100", "100.5"), 60.0) is None
    assert stop.on_candle(candle(1, "101", "100.5", "101"), 120.0) is None
    stop.on_tick(tick("101", 130.0))
    # True ranges 0.5 and 0.7: a mean of 0.6; twice that is 1.2 behind the best price of 101.
    assert stop.on_candle(candle(2, "101.2", "100.5", "100.6"), 180.0) == MoveStop(D("99.8"), "trailing")


def test_candles_of_another_source_and_candles_that_no_rule_wants_are_left_out() -> None:
    stop = waiting(**CANDLES)
    for minute in range(3):
        assert stop.on_candle(candle(minute, "100", "99.9", "100", "mark"), 60.0) is None
    assert stop.save().candles == ()
    plain = waiting()
    plain.on_candle(candle(0, "100", "99.9", "100"), 60.0)
    assert plain.save().candles == ()


def test_peaks_that_were_missed_are_taken_in_from_candles() -> None:
    stop = waiting()
    assert stop.caught_up([candle(1, "105", "100", "104")], D("104.5"), 120.0) == MoveStop(D("103.95"), "trailing")
    assert stop.best == D(105)


@pytest.mark.parametrize("side", ["long", "short"])
def test_a_candle_that_began_before_the_position_was_opened_is_no_peak_of_it(side: Side) -> None:
    stop = waiting(side)
    before, high, low = candle(-1, "150", "50", "100"), "100.5", "99.5"
    assert stop.caught_up([before, candle(0, high, low, "100")], D(100), 60.0) is None
    assert stop.best == D(high if side == "long" else low)


def test_a_candle_of_another_source_is_no_peak() -> None:
    stop = waiting()
    assert stop.caught_up([candle(1, "150", "100", "100", "mark")], D(100), 120.0) is None
    assert stop.best == D(100)


def test_only_the_candles_that_the_rules_need_are_kept() -> None:
    stop = waiting(**CANDLES)
    bars = [candle(minute, "100", "96", "98.5") for minute in range(5)]
    for bar in bars:
        stop.on_candle(bar, 60.0)
    assert stop.save().candles == tuple(bars[-3:])


def test_a_rule_that_proposes_less_than_before_loosens_nothing() -> None:
    stop = waiting(**CANDLES)
    for minute in range(3):
        stop.on_candle(candle(minute, "101", "100.5", "100.8"), 60.0)
    assert stop.on_tick(tick("101", 130.0)) == MoveStop(D("100"), "trailing")  # twice the range of 0.5 behind 101
    stop.moved(order(stop, "100"), 131.0)
    for minute in range(3, 6):
        assert stop.on_candle(candle(minute, "101", "95", "100.8"), 190.0) is None
    assert stop.on_tick(tick("102", 200.0)) is None
    assert (stop.price, stop.target) == (D(100), D(100))


# Restarts.


def test_a_deferred_improvement_is_due_after_a_restart_when_the_rest_of_its_interval_is_over() -> None:
    stop = paced()
    stop.on_tick(tick("103", 15.0))
    restored = again(stop, at=5000.0)
    assert restored.due_at == 5025.0
    assert restored.on_time(5024.9) is None
    assert restored.on_time(5025.0) == MoveStop(D("101.97"), "trailing")


def test_a_crossing_goes_on_after_a_restart_where_it_was() -> None:
    stop = waiting()
    stop.on_tick(tick("98", 5.0))
    stop.on_tick(tick("97.9", 6.0))
    restored = again(stop, at=77.0)
    assert restored.due_at == 78.0
    assert isinstance(restored.on_time(78.0), ExitPosition)


def test_a_peak_and_a_fill_without_acknowledgement_survive_a_restart() -> None:
    stop = asked()
    stop.filled(fill(stop, "0.3", "b"), 11.0)
    restored = again(stop, at=3.0)
    assert restored.best == D(102)
    restored.moved(order(restored, "100.98", "b"), 4.0)
    assert restored.orders["b"].quantity == D("0.7")


def test_a_suspected_price_and_the_candles_survive_a_restart() -> None:
    stop = waiting(**CANDLES)
    stop.on_candle(candle(0, "101", "100", "100.5"), 60.0)
    stop.on_tick(tick("120", 61.0))
    restored = again(stop, at=3.0)
    restored.on_tick(tick("119", 4.0))
    assert restored.best == D(120)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"state": "asleep"}, "StopRecord.state got 'asleep'"),
        ({"quantity": D(-1)}, "StopRecord.quantity got Decimal('-1'), wants a finite Decimal, at least 0"),
        ({"best": D(0)}, "StopRecord.best got Decimal('0'), wants a finite Decimal above 0"),
        ({"last": D("NaN")}, "StopRecord.last got Decimal('NaN')"),
        ({"target": 98.0}, "StopRecord.target got 98.0"),
        ({"plan": {"initial_stop": "0%"}}, "TrailPlan.initial_stop got"),
        ({"plan": {}}, "missing required field `initial_stop`"),
    ],
)
def test_a_record_that_can_not_be_right_is_refused(change: dict[str, Any], message: str) -> None:
    record = msgspec.structs.replace(waiting().save(), **change)
    with pytest.raises(UsageError) as caught:
        TrailingStop.restore(record, MARKET, 0.0)
    assert message in str(caught.value)


def test_stops_compare_by_what_is_saved_and_are_not_hashable() -> None:
    stop = waiting()
    assert stop == waiting()
    assert stop != paced()
    assert stop != "a stop"
    with pytest.raises(TypeError):
        hash(stop)
    assert repr(stop) == f"<TrailingStop {SYMBOL} long waiting stop=98 target=98 best=100>"
