"""What is stored of a position, and what a restart makes of it: records of the version before included."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from driver import (
    AMENDS,
    MARKET,
    NO_LAG,
    TIMING,
    D,
    Driver,
    a_candle,
    a_plan,
    a_position,
    a_report,
    a_stop,
    opening,
    unprotected,
    waiting,
)
from msgspec.structs import replace

from trailing.core.evidence import EMPTY, Timing
from trailing.core.goals import Close, End, Release
from trailing.core.inputs import (
    CandleClosed,
    CloseWanted,
    EntryRefused,
    PositionUpdated,
    ReleaseWanted,
)
from trailing.core.model import Percent
from trailing.core.next_request import NEVER
from trailing.core.plan import Pacing
from trailing.core.record import IntendedOrder, StopRecord, restore_position
from trailing.core.requests import AmendStop, CancelStop, ClosePosition, FindOrder, PlaceStop, ReplaceStop
from trailing.core.rules import Chandelier
from trailing.core.states import State
from trailing.errors import OutcomeUnknown, UsageError, WouldTrigger
from trailing.unprotected import UnprotectedTime

SUPERSEDED = "another stop of its position counts"
PACED = Pacing(min_interval=30.0)


def restored(
    record: StopRecord, *intended: IntendedOrder, at: float = 0.0, timing: Timing = NO_LAG, **fields: Any
) -> Driver:
    return Driver(restore_position(record, intended, MARKET, timing, at, **fields), at)


# Round trips.


def a_moved_one() -> Driver:
    driver = waiting(market=AMENDS, pacing=PACED)
    driver.sees("102", at=10.0)
    driver.does()
    return driver


def test_restoring_and_saving_again_gives_the_same_record() -> None:
    for driver in (opening(), waiting(), unprotected(), a_moved_one()):
        driver.sees("103")
        after = driver.restarted(at=driver.at)
        once, twice = driver.record(), after.record()
        unlike = {"state", "unprotected_time"}
        for field in set(StopRecord.__struct_fields__) - unlike:
            assert getattr(twice, field) == getattr(once, field), field


def test_nothing_stored_is_believed_before_a_snapshot_or_a_look_up_shows_it() -> None:
    driver = waiting().restarted(at=500.0, find_after=10.0)
    assert (driver.state.state, driver.state.live, driver.state.is_unprotected) == (State.UNRESOLVED, None, False)
    assert (driver.wants(), driver.state.snapshot_at) == (510.0, 500.0)
    driver.shows_all()
    assert (driver.state.state, driver.stop_price, driver.wants()) == (State.WAITING, D(98), NEVER)


def test_a_stored_stop_that_no_snapshot_shows_in_time_is_looked_up() -> None:
    driver = waiting().restarted(at=500.0, find_after=10.0)
    assert driver.wants(510.0) == FindOrder("a")
    driver.does()
    assert driver.stop_price == D(98)


def test_a_stored_stop_that_is_absent_twice_is_replaced_without_a_wait_for_requests() -> None:
    driver = waiting(timing=TIMING).restarted(at=500.0, find_after=10.0)
    driver.shows(a_report(), at=500.5)
    driver.shows(a_report(), at=501.5)
    driver.live.clear()
    assert driver.settles() == [FindOrder("a"), PlaceStop(D(98), D(1))]


def test_a_stored_order_of_unknown_outcome_stays_unknown_over_any_number_of_restarts() -> None:
    driver = opening(timing=TIMING, at=10.0)
    driver.fails(OutcomeUnknown("?"), executed=True)
    for at in (20.0, 5.0):
        driver = driver.restarted(at=at, find_after=10.0)
        assert (driver.state.state, driver.wants()) == (State.UNRESOLVED, at + 10.0)
    driver.shows_all(at=5.5)
    assert driver.stop_price == D(98)


def test_a_stop_that_was_placed_and_never_arrived_is_absent_once_it_can_not_be_executed_any_more() -> None:
    driver = opening(timing=TIMING, at=10.0)
    driver.fails(OutcomeUnknown("?"))
    driver = driver.restarted(at=0.0, find_after=10.0)
    driver.shows(a_report(), at=1.0)
    driver.shows(a_report(), at=3.9)
    assert driver.state.has_unknown
    driver.shows(a_report(), at=4.0)
    assert driver.does() == FindOrder("a")
    assert driver.wants() == PlaceStop(D(98), D(1))


def test_fm18_a_stop_that_a_person_tightened_and_that_is_gone_loosens_no_further_than_to_the_one_before_it() -> None:
    driver = waiting()
    for number, price in enumerate(("99", "99.5"), start=10):
        driver.shows(a_stop("a", price), a_report(), at=float(number))
    driver = driver.restarted(at=5000.0)
    assert (driver.state.floor, driver.state.former_floors) == (D("99.5"), (D(98), D(99)))
    driver.live.clear()
    driver.sees("99.3", at=5000.0)
    driver.shows(a_report(), at=5000.0)
    driver.shows(a_report(), at=5001.0)
    assert driver.does() == FindOrder("a")
    assert driver.wants() == PlaceStop(D(99), D(1))


def test_fm18_a_moved_stop_goes_on_where_it_was() -> None:
    driver = a_moved_one().restarted(at=5000.0)
    driver.shows_all()
    assert (driver.stop_price, driver.state.floor, driver.state.state) == (D("100.98"), D("100.98"), State.TRAILING)
    assert (driver.state.moves, driver.state.ratchet.best) == (1, D(102))
    assert driver.wants() == NEVER


def test_fm22_a_deferred_improvement_is_due_after_a_restart_when_the_rest_of_its_interval_is_over() -> None:
    driver = a_moved_one()
    driver.sees("103", at=15.0)
    driver = driver.restarted(at=5000.0)
    driver.shows_all()
    assert driver.wants() == 5025.0
    assert driver.wants(5025.0) == AmendStop("a", D("101.97"), D(1))


def test_a_crossing_has_its_grace_again_after_a_restart() -> None:
    driver = waiting()
    driver.sees("98", at=5.0)
    driver = driver.restarted(at=77.0)
    driver.shows_all()
    assert driver.wants() == 79.0


def test_a_stop_that_was_kept_moves_on_after_a_restart() -> None:
    driver = waiting(market=AMENDS, on_would_trigger="keep")
    driver.sees("104", at=10.0)
    driver.fails(WouldTrigger("too late"))
    driver.sees("102.5", at=11.0)  # 102.96 is crossed
    driver = driver.restarted(at=5.0)
    driver.shows_all()
    driver.sees("102.9", at=6.0)
    assert driver.wants() == NEVER
    driver.sees("103.5", at=7.0)
    assert driver.wants() == AmendStop("a", D("102.96"), D(1))


def test_a_stop_that_a_hand_loosened_while_no_process_ran_is_moved_back() -> None:
    driver = a_moved_one().restarted(at=5000.0)
    driver.live["a"] = a_stop("a", "99")
    driver.shows_all()
    assert driver.wants() == AmendStop("a", D("100.98"), D(1))


def test_a_peak_and_a_fill_without_acknowledgement_survive_a_restart() -> None:
    driver = opening(timing=TIMING)
    driver.sees("102")
    driver.begins()
    driver.executes()
    driver.fills("a", "0.3", trade="1")
    driver = driver.restarted(at=3.0)
    assert (driver.state.ratchet.best, driver.state.quantity) == (D(102), D("0.7"))
    assert (driver.row("a").told, driver.row("a").quantity) == (D("0.3"), D("0.7"))
    driver.shows_all()
    assert driver.state.stop is not None
    assert driver.state.stop.quantity == D("0.7")


def test_a_suspected_price_and_the_candles_survive_a_restart() -> None:
    driver = waiting(rules=(Chandelier(D(2), 2),))
    driver.step(CandleClosed(a_candle(0, "101", "100", "100.5")))
    driver.sees("120")
    after = driver.restarted().state.ratchet
    assert (after.suspect, after.candles) == (D(120), driver.state.ratchet.candles)


def test_two_stops_inside_a_move_survive_a_restart_and_the_tightest_counts() -> None:
    driver = waiting()
    driver.sees("102")
    driver.does()
    assert [order.client_order_id for order in driver.record().orders] == ["a", "b"]
    driver = driver.restarted(at=9.0)
    driver.shows_all()
    assert driver.wants() == CancelStop("a", SUPERSEDED)


def test_an_amendment_of_unknown_outcome_is_restored_with_what_was_asked_for() -> None:
    driver = waiting(market=AMENDS, timing=TIMING)
    driver.sees("102", at=10.0)
    driver.fails(OutcomeUnknown("?"))
    intent = IntendedOrder("a", "stop", D(1), D("100.98"))
    after = Driver(restore_position(driver.record(), [intent], AMENDS, TIMING, 50.0), 50.0)
    after.shows(a_stop("a"), a_report(), at=51.0)
    assert after.row("a").is_sent  # it can still be executed
    after.shows(a_stop("a", "100.98"), a_report(), at=54.0)
    assert (after.stop_price, after.wants()) == (D("100.98"), NEVER)


def test_a_close_of_unknown_outcome_is_settled_by_a_snapshot_after_a_restart() -> None:
    driver = waiting(timing=TIMING)
    driver.step(CloseWanted("on purpose"))
    driver.fails(OutcomeUnknown("?"))
    driver = driver.restarted(at=50.0)
    assert driver.state.goal == Close("on purpose", is_revocable=False)
    assert driver.settles() == [FindOrder("a")]
    assert driver.wants() == NEVER
    driver.shows(a_stop("a"), a_report(), at=54.0)
    assert driver.wants() == ClosePosition(D(1), "on purpose")


# Goals.


@pytest.mark.parametrize("cancel", [True, False])
def test_a_release_survives_a_restart(cancel: bool) -> None:
    driver = waiting()
    driver.sees("102")
    driver.begins()
    driver.step(ReleaseWanted(cancel_stop=cancel))
    driver.executes()
    driver.answers(error=OutcomeUnknown("?"))
    assert driver.record().release == ("cancel stop" if cancel else "keep stop")
    assert driver.restarted().state.goal == Release(cancel)


def test_fm56_a_position_that_ended_with_another_in_its_place_stays_ended_after_a_restart() -> None:
    driver = waiting()
    driver.shows_all(at=1.0)
    driver.sees("102", at=2.0)
    driver.does()
    driver.fills("b", "1", status="filled")
    other = a_report("2", "90")
    driver.shows(driver.live["a"], other, at=9.0)
    assert driver.state.replaced_by == other
    driver = driver.restarted(at=0.0)
    reason = "closed, and another position has taken its place"
    assert (driver.state.replaced_by, driver.state.goal, driver.state.exit_reason) == (other, End(reason), reason)
    driver.shows_all(other)
    assert driver.wants() == CancelStop("a", "its position is closed")


def test_a_position_that_was_given_up_stays_given_up_after_a_restart() -> None:
    driver = waiting()
    driver.step(EntryRefused(UsageError("no")))
    assert driver.record().is_abandoned
    assert driver.restarted().state.is_given_up


def test_a_close_by_software_is_decided_anew_after_a_restart() -> None:
    driver = waiting()
    driver.sees("98", at=1.0)
    driver.at, driver.price = 3.0, D(97)
    driver.does()
    assert isinstance(driver.state.goal, Close)
    assert driver.record().close_reason is None


# Unprotected seconds.


def test_the_time_without_a_process_counts_as_an_outage_where_no_stop_was_live() -> None:
    driver = unprotected()
    driver.at = 4.0
    after = driver.restarted(at=100.0, dead_seconds=60.0)
    assert after.state.unprotected_time_at(103.0) == UnprotectedTime(opening=0.0, outage=63.0, cancelled=4.0)
    assert waiting().restarted(at=100.0, dead_seconds=60.0).state.unprotected_time_at(103.0).total == 0.0


# Records of the version before.

OLD = StopRecord(
    position=a_position(),
    plan=a_plan().encoded,
    state="waiting",
    quantity=D(1),
    best=D(102),
    last=D("101.5"),
    suspect=None,
    target=D("100.98"),
    orders=(a_stop("a"),),
    seconds_since_move=None,
    unacknowledged_fills={},
    candles=(),
    foreign_ticks=3,
    first_stop=D(98),
)
"""A long whose stop was live at 98 and whose move to 100.98 was under way, as the version before stored it."""

NEWER = {"floor", "close_reason", "release", "end_reason", "replaced_by", "is_waiting"}
"""The fields that the version before did not write."""


def old(**changes: Any) -> StopRecord:
    """A record as the version before wrote it: its JSON has none of the newer fields."""
    written = msgspec.json.decode(msgspec.json.encode(replace(OLD, **changes)))
    return msgspec.convert({name: value for name, value in written.items() if name not in NEWER}, StopRecord)


def test_an_old_record_loads_and_goes_on_where_it_was() -> None:
    driver = restored(old())
    driver.shows(a_stop("a"), a_report())
    assert (driver.stop_price, driver.state.floor, driver.state.ratchet.foreign_ticks) == (D(98), D(98), 3)
    assert driver.wants() == ReplaceStop(D("100.98"), D(1), "a")


@pytest.mark.parametrize("state", ["opening", "waiting", "trailing", "exiting", "unresolved", "unprotected", "closed"])
def test_an_old_record_of_each_state_loads(state: str) -> None:
    driver = restored(old(state=state, orders=() if state in ("opening", "unprotected") else (a_stop("a"),)))
    driver.shows(*(driver.row(name).order or a_stop(name) for name in driver.state.orders), a_report())
    wants = driver.wants()
    if driver.state.orders:
        assert wants == ReplaceStop(D("100.98"), D(1), "a")
    else:
        assert wants == PlaceStop(D("100.98"), D(1))


def test_the_floor_of_an_old_record_is_the_tightest_of_its_stops() -> None:
    record = old(orders=(a_stop("b", "99"), a_stop("a", "98")), target=D(98))
    assert restored(record).state.floor == D(99)


def test_the_early_fills_of_an_old_record_are_taken_off_its_intent() -> None:
    record = old(orders=(), unacknowledged_fills={"b": D("0.4")}, quantity=D("0.6"), state="opening")
    driver = restored(record, IntendedOrder("b", "stop", D(1), D(98)))
    driver.shows(a_stop("b", quantity="0.6"), a_report("0.6"))
    assert driver.state.stop is not None
    assert (driver.state.stop.quantity, driver.state.quantity) == (D("0.6"), D("0.6"))


def test_the_trailing_order_of_an_old_record_is_restored_as_one() -> None:
    plan = a_plan(native=True)
    native = a_stop("n", "101", callback=Percent(1))
    record = old(plan=plan.encoded, native=native, best=D(100), last=D(100), target=D(98))
    driver = restored(record)
    driver.shows(a_stop("a"), native, a_report())
    assert driver.state.is_trailed_by_exchange
    assert driver.wants() == NEVER
    assert restored(old(native=native, native_task="withdraw", plan=plan.encoded)).state.native_task == "withdraw"


def test_an_old_record_of_a_position_that_was_given_up_is_given_up() -> None:
    driver = restored(old(is_abandoned=True, state="closed"))
    assert driver.state.is_given_up
    driver.shows(a_stop("a"), a_report())
    assert driver.wants() == CancelStop("a", "its position is given up")


def test_a_record_of_before_there_were_changes_of_plans_has_the_first_stop_of_its_plan() -> None:
    assert restored(old(first_stop=None)).state.ratchet.first_stop == D(98)


# What can't be right.


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"state": "asleep"}, "StopRecord.state got 'asleep', wants one of ['entering', 'opening', "),
        ({"quantity": D(-1)}, "StopRecord.quantity got Decimal('-1'), wants a finite Decimal, at least 0"),
        ({"best": D(0)}, "StopRecord.best got Decimal('0'), wants a finite Decimal above 0"),
        ({"last": D("NaN")}, "StopRecord.last got Decimal('NaN')"),
        ({"target": 98.0}, "StopRecord.target got 98.0"),
        ({"first_stop": D(0)}, "StopRecord.first_stop got Decimal('0')"),
        ({"floor": D(-1)}, "StopRecord.floor got Decimal('-1')"),
        ({"plan": {"initial_stop": "0%"}}, "TrailPlan.initial_stop got"),
        ({"plan": {}}, "the field `initial_stop` is missing"),
    ],
)
def test_a_record_that_can_not_be_right_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        restored(replace(OLD, **change))
    assert message in str(caught.value)


@pytest.mark.parametrize("left", ["0", "0.5"])
def test_two_lists_end_a_position_after_a_restart_that_fills_had_closed_unless_an_update_left_a_rest(left: str) -> None:
    driver = waiting()
    driver.at = 10.0
    driver.fills("a", "1", status="filled")
    driver.step(PositionUpdated(D(left), 10.0))
    after = driver.restarted(at=20.0)
    for at in (20.5, 20.5 + EMPTY):
        after.shows(at=at)
        after.settles()
    assert after.state.ended is (left == "0")
