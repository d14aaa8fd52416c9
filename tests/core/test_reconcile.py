"""What follows from a reading of the account: a test for each of the rules that `reconcile` numbers."""

from __future__ import annotations

import math
from decimal import Decimal as D
from typing import Any, Literal

import msgspec
import pytest

from trailing import Percent, StopOrder
from trailing.core.account import Bounds, Orphan, Pending, PositionReport, Reading, Tracked
from trailing.core.actions import (
    Action,
    AdoptStop,
    AnotherPosition,
    CancelStop,
    ForeignInstance,
    LookAgain,
    NativeGone,
    PlaceStop,
    PositionFlat,
    RaiseAlarm,
    Resize,
    Resume,
    SettleIntent,
    StopAbsent,
    StopGone,
    TakeNative,
    TakeStop,
    Tighten,
)
from trailing.core.model import Side
from trailing.core.reconcile import reconcile
from trailing.core.sightings import Memory
from trailing.core.states import State

BTC = "BTC/USDT:USDT"
KEY: tuple[str, Side] = (BTC, "long")
BOUNDS = Bounds(read_lag=1.0, request_validity=3.0, hedged=False)


def a_stop(client_order_id: str = "ours-1", price: str = "98", quantity: str = "2", **changes: Any) -> StopOrder:
    fields: dict[str, Any] = {"symbol": BTC, "side": "long"} | changes
    return StopOrder(quantity=D(quantity), price=D(price), client_order_id=client_order_id, order_id="7", **fields)


def a_native(client_order_id: str = "ours-9", quantity: str = "2") -> StopOrder:
    """A trailing order from 101 on."""
    return a_stop(client_order_id, "101", quantity, callback=Percent(1))


def a_report(quantity: str = "2", entry: str = "100", **changes: Any) -> PositionReport:
    fields: dict[str, Any] = {"symbol": BTC, "side": "long"} | changes
    return PositionReport(quantity=D(quantity), entry_price=D(entry), **fields)


ELSEWHERE = a_report(symbol="ETH/USDT:USDT")
"""Somebody's open position, so that the list of them is not empty."""


def tracked(**changes: Any) -> Tracked:
    """A long of 2 at 100 whose stop stands at 98, quiet since 0."""
    fields: dict[str, Any] = {
        "symbol": BTC,
        "side": "long",
        "identity": "one",
        "state": State.WAITING,
        "quantity": D(2),
        "orders": (a_stop(),),
        "pending": (),
        "target": D(98),
        "coverable": D(2),
        "price_tick": D("0.1"),
        "liquidation_buffer": Percent("0.5"),
        "entry": D(100),
        "quiet_since": 0.0,
        "busy": False,
    }
    return Tracked(**(fields | changes))


def whose(client_order_id: str) -> Literal["ours", "instance", "foreign"]:
    word = client_order_id.partition("-")[0]
    assert word in ("ours", "instance", "foreign")
    return word  # type: ignore[return-value]


class Account:
    """Readings one after another, each with the memory of the one before."""

    def __init__(self, *held: Tracked, orphans: tuple[Orphan, ...] = (), bounds: Bounds = BOUNDS) -> None:
        self.held, self.orphans, self.bounds = held, orphans, bounds
        self.memory = Memory()

    def shows(self, at: float, *shown: StopOrder | PositionReport, answered: float | None = None) -> tuple[Action, ...]:
        stops = tuple(one for one in shown if isinstance(one, StopOrder))
        reports = tuple(one for one in shown if isinstance(one, PositionReport))
        reading = Reading(at, at if answered is None else answered, stops, reports)
        actions, self.memory = reconcile(reading, self.held, self.orphans, self.memory, self.bounds, whose)
        return actions


def kinds(actions: tuple[Action, ...]) -> list[type[Action]]:
    return [type(action) for action in actions]


def test_where_everything_agrees_its_stop_is_resumed_and_nothing_is_undecided() -> None:
    account = Account(tracked())
    assert account.shows(10, a_stop(), a_report()) == (Resume(*KEY, a_stop(), D(100)),)
    assert account.memory == Memory({}, frozenset(), None)


def test_an_absent_position_is_closed_on_the_second_sighting_a_read_lag_later() -> None:
    account = Account(tracked())
    assert kinds(account.shows(10, a_stop(), ELSEWHERE)) == [LookAgain]
    assert account.memory.again_at == 11
    assert kinds(account.shows(10.9, a_stop(), ELSEWHERE)) == [LookAgain]
    assert account.memory.again_at == 11
    assert account.shows(11, a_stop(), ELSEWHERE) == (PositionFlat(*KEY, ()),)


def test_two_readings_of_one_moment_are_one_sighting_also_where_reads_do_not_lag() -> None:
    account = Account(tracked(), bounds=Bounds(0.0, 3.0, hedged=False))
    assert kinds(account.shows(10, ELSEWHERE)) == kinds(account.shows(10, ELSEWHERE)) == [LookAgain]
    assert account.memory.again_at == 10.25
    assert kinds(account.shows(10.25, ELSEWHERE)) == [PositionFlat]


def test_a_position_that_was_seen_again_has_to_be_missed_twice_anew() -> None:
    account = Account(tracked())
    account.shows(10, ELSEWHERE)
    account.shows(11, a_stop(), a_report(), ELSEWHERE)
    assert kinds(account.shows(12, ELSEWHERE)) == [LookAgain]


def test_a_sighting_from_before_a_change_counts_for_nothing() -> None:
    account = Account(tracked())
    account.shows(10, ELSEWHERE)
    account.held = (tracked(quiet_since=10.5),)
    assert kinds(account.shows(12, ELSEWHERE)) == [LookAgain]
    assert kinds(account.shows(13, ELSEWHERE)) == [PositionFlat]


@pytest.mark.parametrize("change", [{"busy": True}, {"quiet_since": 9.5}, {"state": State.CLOSED}])
def test_a_position_that_is_at_something_or_has_just_been_is_left_alone(change: dict[str, Any]) -> None:
    account = Account(tracked(**change))
    assert account.shows(10) == ()
    assert account.shows(10, a_stop("ours-9"), a_report("5")) == ()
    assert account.memory.again_at is None


def test_a_flat_position_with_a_request_under_way_is_closed_only_when_that_can_not_be_executed_any_more() -> None:
    account = Account(tracked(orders=(), pending=(Pending("ours-1", "stop", 10.0),), state=State.UNRESOLVED))
    account.shows(11, ELSEWHERE)
    assert kinds(account.shows(13.9, ELSEWHERE)) == [LookAgain]
    assert account.memory.again_at == 14
    assert account.shows(14, ELSEWHERE) == (PositionFlat(*KEY, ("ours-1",)),)


def test_what_stands_of_a_flat_position_and_is_not_remembered_is_cancelled_before_its_record_is_closed() -> None:
    lost = tracked(orders=(), pending=(Pending("ours-1", "stop", 10.0),), state=State.UNRESOLVED)
    booked, stray = a_stop("ours-1"), a_stop("ours-9")
    account = Account(lost)
    account.shows(11, booked, stray, ELSEWHERE)
    cancelled = tuple(CancelStop(*KEY, order, "its position is closed") for order in (booked, stray))
    assert account.shows(14, booked, stray, ELSEWHERE) == (*cancelled, PositionFlat(*KEY, ("ours-1",)))
    known = Account(tracked())
    (order,) = tracked().orders
    known.shows(11, order, ELSEWHERE)
    assert kinds(known.shows(14, order, ELSEWHERE)) == [PositionFlat]  # its task knows of it, and withdraws it


def test_a_flip_in_one_way_mode_closes_the_record_with_an_alarm() -> None:
    account = Account(tracked())
    account.shows(10, a_report(side="short"))
    alarm, flat = account.shows(11, a_report(side="short"))
    assert isinstance(alarm, RaiseAlarm)
    assert alarm.what == "the position was flipped"
    assert isinstance(flat, PositionFlat)


def test_the_other_side_of_a_hedged_account_is_no_flip() -> None:
    account = Account(tracked(), bounds=Bounds(1.0, 3.0, hedged=True))
    account.shows(10, a_report(side="short"))
    assert kinds(account.shows(11, a_report(side="short"))) == [PositionFlat]


def test_a_stop_that_is_not_shown_is_gone_on_the_second_sighting_and_wants_another() -> None:
    account = Account(tracked())
    assert kinds(account.shows(10, a_report())) == [LookAgain]
    assert account.shows(11, a_report()) == (StopGone(*KEY, "ours-1"), PlaceStop(*KEY, D(98), D(2)))


def test_a_stop_of_unknown_outcome_that_is_shown_is_taken_at_once() -> None:
    pending = tracked(orders=(), pending=(Pending("ours-1", "stop", 10.0),), state=State.UNRESOLVED)
    assert kinds(Account(pending).shows(10.5, a_stop(), a_report())) == [TakeStop, Resume]


def test_a_stop_of_unknown_outcome_is_absent_once_it_can_not_be_executed_any_more() -> None:
    account = Account(tracked(orders=(), pending=(Pending("ours-1", "stop", 10.0),), state=State.UNRESOLVED))
    assert kinds(account.shows(11, a_report())) == [LookAgain]
    assert kinds(account.shows(13.9, a_report())) == [LookAgain]
    assert kinds(account.shows(14, a_report())) == [StopAbsent, PlaceStop]


def test_a_stop_that_is_being_changed_is_no_news_while_the_change_may_still_come() -> None:
    account = Account(tracked(pending=(Pending("ours-1", "stop", 10.0),), state=State.UNRESOLVED))
    assert kinds(account.shows(13.9, a_stop(), a_report())) == [LookAgain]
    assert account.shows(14, a_stop(price="99"), a_report())[0] == TakeStop(*KEY, a_stop(price="99"))


def test_a_stored_stop_that_was_not_looked_up_yet_is_taken_or_absent_without_a_wait_for_requests() -> None:
    stored = tracked(pending=(Pending("ours-1", "stop", -math.inf),), state=State.UNRESOLVED)
    assert kinds(Account(stored).shows(10, a_stop(), a_report())) == [TakeStop, Resume]
    account = Account(stored)
    account.shows(10, a_report())
    assert kinds(account.shows(11, a_report())) == [StopAbsent, PlaceStop]


def test_the_exchanges_figures_of_a_stop_count() -> None:
    half = a_stop(quantity="1")
    assert Account(tracked()).shows(10, half, a_report("1")) == (
        TakeStop(*KEY, half),
        Resize(*KEY, D(1), D(100)),
    )


def test_fm15_prices_within_a_tick_are_one_price() -> None:
    assert kinds(Account(tracked()).shows(10, a_stop(price="98.09"), a_report())) == [Resume]
    assert kinds(Account(tracked()).shows(10, a_stop(price="98.1"), a_report())) == [TakeStop, Resume]


def test_another_position_in_its_place_is_known_by_its_entry_price_once_no_stop_is_left() -> None:
    account = Account(tracked())
    other = a_report("2", "90")
    assert kinds(account.shows(10, other)) == [LookAgain]
    assert account.shows(11, other) == (AnotherPosition(*KEY, other),)


@pytest.mark.parametrize(
    ("known", "reported", "another"),
    [
        (tracked(), a_report("2", "100.09"), False),
        (tracked(entry=None), a_report("2", "90"), False),
        (tracked(orders=(), state=State.UNPROTECTED), a_report("2", "90"), True),
        (tracked(orders=(), state=State.UNPROTECTED), a_report("3", "97"), False),
    ],
    ids=["within a tick", "never reported before", "bare, and not larger", "bare, and added to"],
)
def test_what_is_another_position_and_what_is_not(known: Tracked, reported: PositionReport, another: bool) -> None:
    account = Account(known)
    account.shows(10, reported)
    assert (AnotherPosition in kinds(account.shows(11, reported))) is another


def test_a_position_that_was_added_to_keeps_its_stop_which_follows() -> None:
    assert Account(tracked()).shows(10, a_stop(), a_report("3", "95")) == (Resize(*KEY, D(3), D(95)),)


def test_a_stop_that_covers_less_than_could_be_covered_is_resized() -> None:
    short = a_stop(quantity="1")
    assert kinds(Account(tracked(orders=(short,))).shows(10, short, a_report())) == [Resize, Resume]


def test_a_stop_of_ours_that_nobody_remembers_becomes_that_of_its_bare_position() -> None:
    bare = tracked(orders=(), state=State.UNPROTECTED)
    loose, tight = a_stop("ours-8", "97"), a_stop("ours-9", "98")
    actions = Account(bare).shows(10, loose, tight, a_report())
    assert actions[0] == TakeStop(*KEY, tight)
    assert kinds(actions[1:]) == [LookAgain, Resume]


def test_the_tightest_of_the_stops_that_nobody_remembers_counts_wherever_it_is_shown() -> None:
    bare = tracked(orders=(), state=State.UNPROTECTED)
    tight, loose = a_stop("ours-8", "98"), a_stop("ours-9", "97")
    assert Account(bare).shows(10, tight, loose, a_report())[0] == TakeStop(*KEY, tight)


def test_a_position_that_is_being_closed_gets_no_stop() -> None:
    assert Account(tracked(orders=(), state=State.EXITING)).shows(10, a_report()) == ()


def test_a_leftover_beside_the_stop_that_counts_is_cancelled_on_the_second_sighting() -> None:
    account, leftover = Account(tracked()), a_stop("ours-9", "95")
    assert kinds(account.shows(10, a_stop(), leftover, a_report())) == [LookAgain, Resume]
    (cancelled, _) = account.shows(11, a_stop(), leftover, a_report())
    assert isinstance(cancelled, CancelStop)
    assert cancelled.order == leftover


@pytest.mark.parametrize("busy", [True, False])
def test_a_leftover_is_cancelled_also_beside_a_stop_that_is_moved_all_the_time(busy: bool) -> None:
    account, leftover = Account(tracked(busy=busy, quiet_since=9.9)), a_stop("ours-9", "95")
    assert kinds(account.shows(10, a_stop(), leftover, a_report())) == [LookAgain]
    account.held = (tracked(busy=busy, quiet_since=10.9, orders=(a_stop("ours-2", "99"),)),)
    shown = (a_stop("ours-2", "99"), leftover, a_report())
    assert account.shows(11, *shown) == (CancelStop(*KEY, leftover, "its position has another one"),)


def test_what_was_withdrawn_while_a_reading_was_under_way_is_not_taken_for_left_over() -> None:
    account = Account(tracked(quiet_since=10.4, orders=(a_stop("ours-2", "99"),)))
    both = (a_stop(), a_stop("ours-2", "99"), a_report())
    assert kinds(account.shows(10, *both, answered=10.8)) == [LookAgain]
    assert LookAgain in kinds(account.shows(11.5, *both))  # as it was at 10.5: reads lag behind by 1 s
    assert account.memory.again_at == 11.8


@pytest.mark.parametrize("change", [{"busy": True}, {"orders": ()}, {"pending": (Pending("ours-1", "stop", 9.0),)}])
def test_nothing_is_left_over_beside_a_position_whose_own_stop_is_not_known_to_stand(change: dict[str, Any]) -> None:
    account, leftover = Account(tracked(**change, quiet_since=9.5)), a_stop("ours-9", "95")
    for at in (10, 11, 12):
        assert CancelStop not in kinds(account.shows(at, leftover, a_report()))


def test_what_is_tighter_than_the_stop_of_a_position_counts_once_it_was_seen_twice_and_the_position_rests() -> None:
    account, tighter = Account(tracked(busy=True)), a_stop("ours-9", "99")
    assert account.shows(10, a_stop(), tighter, a_report()) == ()
    account.held = (tracked(),)
    assert kinds(account.shows(11, a_stop(), tighter, a_report())) == [Resume]
    assert TakeStop(*KEY, tighter) in account.shows(12, a_stop(), tighter, a_report())


def test_a_leftover_of_a_closed_position_is_cancelled_on_the_second_sighting() -> None:
    account = Account()
    assert kinds(account.shows(10, a_stop())) == [LookAgain]
    assert kinds(account.shows(11, a_stop())) == [CancelStop]


def test_fm16_a_stop_of_ours_on_a_position_without_a_record_stays_with_one_alarm() -> None:
    account = Account()
    account.shows(10, a_stop(), a_report())
    assert kinds(account.shows(11, a_stop(), a_report())) == [AdoptStop]
    assert account.shows(12, a_stop(), a_report()) == ()
    account.shows(13)
    account.shows(14, a_stop(), a_report())
    assert kinds(account.shows(15, a_stop(), a_report())) == [AdoptStop]  # it is a new case by now


@pytest.mark.parametrize("side", ["long", "short"])
def test_a_stop_beyond_the_liquidation_price_is_tightened_at_every_pass(side: Side) -> None:
    liquidation, nearest = ("99", "99.5") if side == "long" else ("101", "100.4")
    stop = a_stop(price="98" if side == "long" else "102", side=side)
    held = tracked(side=side, orders=(stop,), target=stop.price)
    account = Account(held)
    for at in (10, 20):
        actions = account.shows(at, stop, a_report(side=side, liquidation_price=D(liquidation)))
        assert actions == (Tighten(BTC, side, D(nearest)),)


@pytest.mark.parametrize("liquidation", [None, D(0), D(90)])
def test_a_liquidation_price_that_is_none_or_beyond_the_stop_changes_nothing(liquidation: D | None) -> None:
    assert kinds(Account(tracked()).shows(10, a_stop(), a_report(liquidation_price=liquidation))) == [Resume]


def test_a_bare_position_beyond_its_liquidation_price_gets_the_tighter_stop() -> None:
    bare = tracked(orders=(), state=State.UNPROTECTED)
    actions = Account(bare).shows(10, a_report(liquidation_price=D(99)))
    assert actions == (Tighten(*KEY, D("99.5")), PlaceStop(*KEY, D("99.5"), D(2)))


def test_an_intent_without_a_record_is_written_off_once_it_can_not_be_executed_any_more() -> None:
    account = Account(orphans=(Orphan(*KEY, "one", "ours-1", "stop", 13.0),))
    assert kinds(account.shows(10)) == [LookAgain]
    assert kinds(account.shows(13.9)) == [LookAgain]
    assert account.shows(14) == (SettleIntent(*KEY, "ours-1"),)


def test_an_intent_without_a_record_whose_stop_stands_is_not_written_off() -> None:
    account = Account(orphans=(Orphan(*KEY, "one", "ours-1", "stop", 13.0),))
    account.shows(20, a_stop())
    assert kinds(account.shows(21, a_stop())) == [CancelStop]
    account.shows(22)
    assert kinds(account.shows(23)) == [SettleIntent]


def test_fm31_an_order_that_is_not_ours_is_never_touched() -> None:
    account, foreign = Account(tracked()), a_stop("foreign-1", "99")
    for at in range(10, 20):
        assert kinds(account.shows(at, a_stop(), foreign, a_report())) == [Resume]
    empty = Account()
    for at in range(10, 20):
        assert empty.shows(at, foreign) == empty.shows(at, foreign, a_report()) == ()


def test_another_instances_mark_is_told_of_once_while_its_stop_stands() -> None:
    account, other = Account(tracked()), a_stop("instance-1", "99")
    first = account.shows(10, a_stop(), other, a_report())
    assert kinds(first) == [Resume, ForeignInstance]
    assert kinds(account.shows(11, a_stop(), other, a_report())) == [Resume]


def test_a_position_that_nobody_tracks_is_somebody_elses_business() -> None:
    assert Account().shows(10, a_report()) == ()


def test_fm15_a_stop_is_its_positions_by_its_id_and_by_nothing_else() -> None:
    account = Account(tracked())
    twin = a_stop("ours-2")  # of the same symbol, side, price and quantity
    assert StopGone(*KEY, "ours-1") not in account.shows(10, twin, a_report())
    actions = account.shows(11, twin, a_report())
    assert StopGone(*KEY, "ours-1") in actions
    assert TakeStop(*KEY, twin) in actions
    assert not any(isinstance(action, Resume) and action.order.client_order_id == "ours-1" for action in actions)


@pytest.mark.parametrize(
    "change",
    [{}, {"busy": True}, {"quiet_since": 1000.0}, {"pending": (Pending("ours-2", "stop", 9.0),)}],
    ids=["at rest", "busy", "not quiet", "with a request under way"],
)
def test_fm16_a_live_stop_is_never_left_over(change: dict[str, Any]) -> None:
    account = Account(tracked(**change))
    for at in range(10, 30):
        assert CancelStop not in kinds(account.shows(at, a_stop(), a_report()))


def test_fm16_an_empty_reading_deletes_nothing() -> None:
    held = [tracked(symbol=f"COIN{n}/USDT:USDT", orders=(a_stop(f"ours-{n}"),)) for n in range(5)]
    assert set(kinds(Account(*held).shows(10))) == {LookAgain}


def test_fm16_readings_that_show_no_position_at_all_are_believed_only_after_a_while() -> None:
    account = Account(tracked())
    for at in (10, 11, 11.9):
        assert kinds(account.shows(at)) == [LookAgain]
        assert account.memory.again_at == 12
    assert kinds(account.shows(12)) == [PositionFlat]


def test_fm16_readings_that_show_no_position_beside_its_stop_are_believed_after_a_minute() -> None:
    account = Account(tracked())
    for at in (10, 11, 15, 69.9):
        assert kinds(account.shows(at, a_stop())) == [LookAgain]
        assert account.memory.again_at == 70
    assert kinds(account.shows(70, a_stop())) == [PositionFlat]
    account = Account(tracked())
    account.shows(10, a_stop())
    account.shows(60, a_stop(), a_report())
    assert kinds(account.shows(70, a_stop())) == [LookAgain]


# Rule 16.


def test_a_trailing_order_that_stands_as_remembered_goes_on_and_is_never_the_stop() -> None:
    account = Account(tracked(native=a_native()))
    assert account.shows(10, a_stop(), a_native(), a_report()) == (Resume(*KEY, a_stop(), D(100)),)
    bare = Account(tracked(orders=(), native=a_native(), state=State.UNPROTECTED))
    assert bare.shows(10, a_native(), a_report()) == (PlaceStop(*KEY, D(98), D(2)),)


def test_a_trailing_order_is_gone_on_the_second_sighting_and_everything_else_goes_on_meanwhile() -> None:
    account = Account(tracked(native=a_native()))
    assert kinds(account.shows(10, a_stop(), a_report())) == [LookAgain, Resume]
    assert account.memory.again_at == 11
    assert account.shows(11, a_stop(), a_report()) == (NativeGone(*KEY, "ours-9"), Resume(*KEY, a_stop(), D(100)))


def test_a_trailing_order_of_unknown_outcome_is_taken_over_or_proved_absent() -> None:
    pending = (Pending("ours-9", "stop", 9.0),)
    account = Account(tracked(pending=pending))
    assert TakeNative(*KEY, a_native()) in account.shows(10, a_stop(), a_native(), a_report())
    account = Account(tracked(pending=pending))
    assert kinds(account.shows(10, a_stop(), a_report())) == [LookAgain]
    assert StopAbsent(*KEY, "ours-9") in account.shows(13.1, a_stop(), a_report())


def test_a_trailing_order_whose_quantity_is_another_one_is_taken_as_it_stands() -> None:
    account = Account(tracked(native=a_native()))
    assert TakeNative(*KEY, a_native(quantity="1")) in account.shows(10, a_stop(), a_native(quantity="1"), a_report())


def test_a_trailing_order_of_ours_that_nobody_remembers_is_cancelled_once_it_was_seen_twice() -> None:
    account = Account(tracked(native=a_native()))
    stray = a_native("ours-8")
    assert LookAgain in kinds(account.shows(10, a_stop(), a_native(), stray, a_report()))
    again = account.shows(11, a_stop(), a_native(), stray, a_report())
    assert CancelStop(*KEY, stray, "nobody remembers it") in again
    assert TakeStop not in kinds(again)


def test_the_order_of_the_actions_is_that_of_what_is_tracked_then_of_the_names() -> None:
    first, second = (tracked(symbol=f"{name}/USDT:USDT", orders=(), state=State.UNPROTECTED) for name in ("Z", "A"))
    orphan = Orphan("M/USDT:USDT", "long", "one", "ours-5", "stop", 0.0)
    strays = [a_stop(f"ours-{name}", symbol=f"{name}/USDT:USDT") for name in ("Y", "X")]
    reports = [a_report(symbol=f"{name}/USDT:USDT") for name in ("A", "Z")]
    account = Account(first, second, orphans=(orphan,))
    symbols = [action.symbol[0] for action in account.shows(10, *strays, *reports)]
    assert symbols == ["Z", "A", "M", "X", "Y"]


def test_every_action_reads_as_a_sentence() -> None:
    seen: set[type[Action]] = set()
    for account, first, second in (
        (Account(tracked()), (a_report(),), (a_report(),)),
        (Account(tracked()), (), ()),
        (Account(tracked()), (a_stop("ours-3"), a_stop(quantity="1"), a_report("1"), a_stop("instance-1")), ()),
        (Account(tracked()), (a_report("2", "90", side="short"),), (a_report("2", "90", side="short"),)),
        (Account(tracked()), (a_report("2", "90"),), (a_report("2", "90"),)),
        (Account(), (a_stop(), a_report()), (a_stop(), a_report())),
        (Account(), (a_stop(),), (a_stop(),)),
        (Account(orphans=(Orphan(*KEY, "one", "ours-1", "exit", 0.0),)), (), ()),
        (Account(tracked()), (a_stop(), a_report(liquidation_price=D(99))), (a_stop(), a_report())),
        (Account(tracked(orders=(), pending=(Pending("ours-1", "stop", 0.0),))), (a_report(),), (a_report(),)),
        (Account(tracked(native=a_native())), (a_stop(), a_native(quantity="1"), a_report()), (a_stop(), a_report())),
        (Account(tracked(native=a_native())), (a_stop(), a_report()), (a_stop(), a_report())),
    ):
        for action in (*account.shows(10, *first), *account.shows(20, *second)):
            seen.add(type(action))
            text = str(action)
            assert text
            assert "None" not in text
            assert not text.startswith(type(action).__name__)
    assert seen == set(Action.__args__)


def test_an_action_keeps_what_it_is_through_json() -> None:
    action = CancelStop(*KEY, a_stop(), "its position is closed")
    assert msgspec.json.decode(msgspec.json.encode(action), type=CancelStop) == action
