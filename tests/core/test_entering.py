"""The entry of a position: its order, its fills, the stop that it carries, and what a restart makes of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from driver import (
    AMENDS,
    ELSEWHERE,
    MARKET,
    NO_LAG,
    ONE_STOP,
    OPENED,
    SYMBOL,
    TIMING,
    D,
    Driver,
    a_plan,
    a_position,
    a_report,
    a_stop,
    waiting,
)
from msgspec.structs import replace

from trailing.core.entering import LOOK_AGAIN
from trailing.core.entries import Entry, EntryFacts, check_prices, position_of, slippage
from trailing.core.entry_orders import EntryOrder
from trailing.core.evidence import Timing
from trailing.core.goals import Close, End, Release
from trailing.core.inputs import (
    CheckWanted,
    CloseWanted,
    DeadlineStruck,
    EntryUpdated,
    OrderUpdated,
    PlanReplaced,
    PositionUpdated,
    ReleaseWanted,
)
from trailing.core.model import Market, Percent, Side, StopOrder
from trailing.core.next_request import NEVER
from trailing.core.orders import LIVE, SENT, Order
from trailing.core.position import PositionState
from trailing.core.ratchet import Ratchet
from trailing.core.record import IntendedOrder, restore_position
from trailing.core.requests import (
    AmendStop,
    CancelEntry,
    CancelStop,
    ClosePosition,
    FindEntry,
    FindOrder,
    PlaceEntry,
    PlaceStop,
    ReplaceStop,
)
from trailing.core.states import State
from trailing.core.stop_slots import FULL_FOR
from trailing.errors import (
    EntryRejected,
    ExchangeUnreachable,
    NoSuchEntry,
    OutcomeUnknown,
    StopRejected,
    StoreError,
    TooManyStops,
    UsageError,
)
from trailing.events import EntryEnded, EntryFilled, StopOpened

STOP_IDS = {None: None, "own": "s", "bridge": "e"}


def entering(
    attached: Any = None,
    *,
    side: Side = "long",
    limit: str | None = None,
    timing: Timing = NO_LAG,
    market: Market = MARKET,
    rests: bool = True,
    quantity: str = "2",
    **plan: Any,
) -> Driver:
    """A position of 2 that is to be entered at 100 and is not sent yet. Its entry is `e`, an own attached stop `s`."""
    market = replace(market, attached_stop=attached)
    position = a_position(side, quantity=quantity, id="i")
    the_plan = a_plan(**plan)
    stop_id = STOP_IDS[attached]
    facts = EntryFacts(
        "e",
        D(quantity),
        D(100),
        OPENED,
        limit=None if limit is None else D(limit),
        rests=rests,
        stop_id=stop_id,
        stop_price=None if stop_id is None else the_plan.first_stop(position, market),
    )
    return Driver(PositionState(Ratchet(position, the_plan, market), timing, 0.0, 0.0, entry=facts))


def order(filled: str = "0", price: str = "100", *, working: bool | None = None, **fields: Any) -> EntryOrder:
    """The entry as the exchange shows it: filled so far, and working as long as it is not filled as a whole."""
    quantity = fields.pop("quantity", "2")
    is_working = D(filled) < D(quantity) if working is None else working
    average = D(price) if D(filled) else None
    side = fields.pop("side", "long")
    return EntryOrder(SYMBOL, side, D(quantity), "e", "1", is_working, D(filled), average, **fields)


def resting(attached: Any = None, **fields: Any) -> Driver:
    """The same with a limit of 100, acknowledged and not filled."""
    driver = entering(attached, **({"limit": "100"} | fields))
    driver.begins()
    driver.answers(order(quantity=fields.get("quantity", "2"), side=fields.get("side", "long")))
    return driver


def row(driver: Driver) -> Order:
    """The row of the entry, which has to be there."""
    assert driver.state.entry_row is not None
    return driver.state.entry_row


def live(driver: Driver) -> StopOrder:
    """The stop that counts, which has to be there."""
    assert driver.state.stop is not None
    return driver.state.stop


def updates(driver: Driver, shown: EntryOrder, at: float | None = None) -> None:
    driver.step(EntryUpdated(shown), at)


# The order.


def test_an_entry_is_sent_once_with_its_limit_and_its_stop() -> None:
    driver = entering("own", limit="100")
    assert driver.state.state == State.ENTERING
    assert driver.begins() == PlaceEntry("e", D(2), D(100), D("98.00"))
    assert driver.events == ["EntryPlaced"]
    assert driver.wants() == NEVER
    driver.answers(order())
    assert (driver.wants(), row(driver).state) == (NEVER, LIVE)


def test_a_market_that_attaches_nothing_gets_an_entry_without_a_stop() -> None:
    assert entering().begins() == PlaceEntry("e", D(2), None, None)


@pytest.mark.parametrize("error", [EntryRejected("no margin"), UsageError("no"), StopRejected("?")])
def test_an_entry_that_was_refused_ends_its_position(error: Exception) -> None:
    driver = entering()
    driver.fails(error)
    assert (driver.state.ended, driver.state.error, driver.state.state) == (True, error, State.CLOSED)
    assert driver.last(EntryEnded)["filled"] == 0
    assert "PositionClosed" not in driver.events


def test_an_entry_that_was_surely_not_executed_is_sent_again() -> None:
    driver = entering()
    driver.fails(ExchangeUnreachable("down"))
    assert (driver.state.is_entering, driver.wants()) == (True, 0.2)
    driver.at = 0.2
    assert driver.wants() == PlaceEntry("e", D(2), None, None)


def test_an_entry_without_a_stored_intent_is_never_sent() -> None:
    driver = entering()
    driver.begins_only()
    driver.answers(error=StoreError("full"))
    assert driver.state.ended


def test_a_cancellation_while_the_intent_is_stored_leaves_the_decision_to_the_caller() -> None:
    driver = entering()
    driver.begins_only()
    driver.answers(error=OutcomeUnknown("Cancelled"))
    assert not driver.state.ended
    driver.step(DeadlineStruck(final=True))
    assert (driver.state.ended, str(driver.state.error)) == (True, "Cancelled")


def test_an_entry_that_is_not_wanted_any_more_is_not_sent_after_its_intent_was_stored() -> None:
    driver = entering()
    driver.begins_only()
    driver.step(DeadlineStruck(final=False))
    with pytest.raises(AssertionError):
        driver.leaves()
    driver.answers()
    assert driver.state.ended


def test_an_entry_of_unknown_outcome_is_looked_up_and_never_sent_again() -> None:
    driver = entering(timing=TIMING)
    driver.fails(OutcomeUnknown("lost"))
    assert driver.begins() == FindEntry("e")
    driver.answers(None)
    assert driver.wants() == 4.0  # once it can't be executed and become visible any more
    driver.at = 4.0
    assert driver.begins() == FindEntry("e")
    driver.answers(None)
    assert (driver.state.ended, driver.wants()) == (False, 6.0)  # a list may show what was filled
    driver.shows(at=4.5)
    assert driver.begins() == FindEntry("e")  # the last one that its absence needs
    driver.answers(None)
    assert (driver.state.ended, driver.alarms) == (True, [])


def test_an_entry_that_look_ups_do_not_show_counts_as_filled_if_a_list_shows_its_position() -> None:
    driver = entering()
    driver.fails(OutcomeUnknown("lost"))
    driver.begins()
    driver.answers(None)
    driver.shows(a_report("1.5", "99"), at=1.0)
    assert driver.state.quantity == D("1.5")
    assert (driver.state.position.entry_price, driver.state.is_unprotected) == (D(99), True)


def test_an_entry_of_unknown_outcome_that_was_filled_is_protected() -> None:
    driver = entering()
    driver.fails(OutcomeUnknown("lost"))
    driver.begins()
    driver.answers(order("2"))
    assert driver.wants() == PlaceStop(D("98.00"), D(2))


def test_a_look_up_that_fails_is_tried_again() -> None:
    driver = entering()
    driver.fails(OutcomeUnknown("lost"))
    driver.fails(ExchangeUnreachable("down"))
    assert (driver.wants(), driver.state.snapshot_at) == (0.2, 0.0)  # meanwhile a list may show what was filled


def test_an_update_before_the_answer_counts_and_a_lost_answer_is_looked_up() -> None:
    driver = entering(limit="100")
    driver.begins()
    updates(driver, order())
    driver.answers(error=ExchangeUnreachable("contradicts the update"))
    assert driver.wants() == FindEntry("e")


def test_an_entry_that_ended_before_its_answer_failed_stays_ended() -> None:
    driver = entering()
    driver.begins()
    updates(driver, order("2"))
    driver.answers(error=OutcomeUnknown("lost"))
    assert not driver.state.is_entering
    assert driver.wants() == PlaceStop(D("98.00"), D(2))


def test_updates_of_other_entries_are_ignored() -> None:
    driver = resting()
    updates(driver, replace(order("1"), client_order_id="other"))
    driver.state.entry = None
    updates(driver, order("1"))
    assert not driver.state.quantity


def test_an_entry_at_market_that_is_acknowledged_unfilled_is_looked_up_soon() -> None:
    driver = entering()
    driver.begins()
    driver.answers(order())
    assert driver.wants() == LOOK_AGAIN


def test_an_acknowledged_entry_that_is_not_found_twice_ends_with_an_alarm() -> None:
    driver = resting()
    driver.step(CheckWanted())
    driver.begins()
    driver.answers(None)
    driver.shows(at=0.2)
    driver.at = 0.25
    driver.begins()
    driver.answers(None)
    assert (driver.state.ended, driver.alarms) == (True, ["an entry that was acknowledged is not found"])


# Its fills.


def test_what_is_filled_of_a_working_entry_is_closed_if_an_update_and_a_list_say_so_and_more_may_be_filled() -> None:
    driver = resting()
    updates(driver, order("1"), at=2.0)
    driver.does()
    driver.step(PositionUpdated(D(0), 3.0), 3.0)
    assert driver.state.quantity == D(1)
    driver.shows(at=3.5)
    assert (driver.state.quantity, driver.state.ended, driver.state.is_entering) == (D(0), False, True)
    updates(driver, order("1.5"), at=7.0)
    assert driver.state.quantity == D("0.5")


def test_a_position_begins_with_the_first_fill_and_gets_its_stop_while_the_rest_still_works() -> None:
    driver = resting()
    updates(driver, order("1", first_filled_at=OPENED + timedelta(seconds=1)), at=2.0)
    position = driver.state.position
    assert (position.quantity, position.entry_price, position.opened_at) == (
        D(1),
        D(100),
        OPENED + timedelta(seconds=1),
    )
    assert (driver.state.quantity, driver.state.is_entering) == (D(1), True)
    driver.at = 3.0
    assert driver.does() == PlaceStop(D("98.00"), D(1))
    assert driver.state.unprotected_time.opening == 2.0  # by the exchange's clock: from the fill at 1 to the stop at 3
    assert driver.last(EntryFilled)["unfilled"] == D(1)


def test_the_stop_grows_with_each_further_fill() -> None:
    driver = resting(market=AMENDS)
    updates(driver, order("1"))
    driver.does()
    updates(driver, order("1.5", "101"))
    assert driver.does() == AmendStop("a", D("98.98"), D("1.5"))
    updates(driver, order("2", "100.5"))
    assert driver.does() == AmendStop("a", D("98.98"), D(2))  # it never loosens, although the average price got worse
    assert (driver.state.is_entering, driver.state.position.entry_price) == (False, D("100.5"))


def test_a_fill_counts_once_however_often_and_late_it_is_shown() -> None:
    driver = resting()
    for filled in ("1", "1.5", "1", "1.5"):
        updates(driver, order(filled))
    assert (driver.state.quantity, driver.events.count("EntryFilled")) == (D("1.5"), 2)
    updates(driver, order("2"))
    updates(driver, order("1.5"))
    assert (driver.state.quantity, driver.events.count("EntryEnded")) == (D(2), 1)


def test_prices_before_the_first_fill_are_no_peaks() -> None:
    driver = resting()
    driver.sees("105", "104")
    updates(driver, order("1"))
    assert (driver.state.ratchet.best, driver.state.target) == (D(100), D("98.00"))
    driver.does()
    driver.sees("104")
    updates(driver, order("2", "99"))
    assert driver.state.ratchet.best == D(104)


def test_a_short_is_entered_like_a_long() -> None:
    driver = entering(side="short")
    driver.begins()
    driver.answers(order("2", side="short"))
    assert driver.does() == PlaceStop(D("102.00"), D(2))


def test_a_first_stop_that_the_fill_makes_impossible_stays_where_the_reference_put_it() -> None:
    driver = entering(initial_stop=D(90))
    driver.begins()
    driver.answers(order("2", "80"))
    assert driver.wants() == PlaceStop(D("10.00"), D(2))


def test_a_stop_that_fills_ends_the_rest_of_the_entry() -> None:
    driver = resting()
    updates(driver, order("1"))
    driver.does()
    driver.fills("a", "1", status="filled")
    assert driver.begins() == CancelEntry("e")
    driver.shows(ELSEWHERE)
    assert not driver.state.ended  # more of it could be filled still
    driver.answers()
    driver.begins()
    driver.answers(order("1", working=False))
    driver.shows(ELSEWHERE, at=2.5)
    driver.shows(ELSEWHERE, at=5.0)
    assert driver.state.ended
    assert driver.events[-1] == "PositionClosed"


# Its end.


def test_the_deadline_cancels_the_rest_and_confirms_that_it_is_gone() -> None:
    driver = resting(timing=TIMING)
    updates(driver, order("1"))
    driver.does()
    driver.step(DeadlineStruck(final=False), at=5.0)
    driver.does_entry(CancelEntry("e"), None)
    assert driver.wants() == 6.0
    driver.at = 6.0
    driver.does_entry(FindEntry("e"), order("1.2", working=False, reason="cancelled"))
    assert not driver.state.is_entering
    assert driver.last(EntryEnded) | {"client_order_id": "e"} == {
        "filled": D("1.2"),
        "unfilled": D("0.8"),
        "price": D(100),
        "slippage": D("0.0000"),
        "reason": "cancelled",
        "client_order_id": "e",
    }
    assert driver.wants() == ReplaceStop(D("98.00"), D("1.2"), "a")


def test_an_update_of_the_end_settles_a_cancellation_at_once() -> None:
    driver = resting()
    driver.step(DeadlineStruck(final=False))
    driver.begins()
    updates(driver, order(working=False))
    driver.answers()
    assert driver.state.ended


def test_an_update_that_may_be_older_than_the_cancellation_does_not_undo_it() -> None:
    driver = resting()
    driver.step(DeadlineStruck(final=False))
    driver.begins()
    updates(driver, order("1"))
    driver.answers()
    assert (driver.state.quantity, driver.wants()) == (D(1), FindEntry("e"))


@pytest.mark.parametrize(("error", "settled_at"), [(None, 2.0), (OutcomeUnknown("lost"), 5.0)])
def test_a_cancelled_entry_that_still_works_is_cancelled_again_once_that_is_sure(
    error: Exception | None, settled_at: float
) -> None:
    driver = resting(timing=TIMING)
    driver.step(DeadlineStruck(final=False), at=1.0)
    driver.begins()
    driver.answers(error=error)
    driver.at = 1.0 if error is not None else 2.0
    if error is not None:
        assert driver.begins() == FindEntry("e")
        driver.answers(order())
        assert driver.wants() == settled_at
        driver.at = settled_at
    assert driver.begins() == FindEntry("e")
    driver.answers(order())
    assert driver.wants(at=driver.at + 30.0) == CancelEntry("e")


def test_a_cancellation_that_finds_no_working_entry_has_it_looked_up() -> None:
    driver = resting(timing=TIMING)
    driver.step(DeadlineStruck(final=False), at=1.0)
    driver.fails(NoSuchEntry("gone"))
    assert driver.wants() == 2.0
    driver.at = 2.0
    driver.begins()
    driver.answers(order("2"))
    assert driver.wants() == PlaceStop(D("98.00"), D(2))


def test_a_cancellation_that_was_not_executed_is_tried_again() -> None:
    driver = resting()
    driver.step(DeadlineStruck(final=False))
    driver.fails(ExchangeUnreachable("down"))
    assert driver.wants() == 0.2
    assert driver.wants(at=0.2) == CancelEntry("e")


@pytest.mark.parametrize("error", [None, NoSuchEntry("gone"), OutcomeUnknown("lost")])
def test_a_cancellation_of_an_entry_that_ended_meanwhile_changes_nothing(error: Exception | None) -> None:
    driver = resting()
    driver.step(DeadlineStruck(final=False))
    driver.begins()
    updates(driver, order("2"))
    driver.answers(error=error)
    assert (driver.state.quantity, driver.state.is_entering) == (D(2), False)


def test_a_look_up_of_an_entry_that_ended_meanwhile_changes_nothing() -> None:
    driver = resting()
    driver.step(CheckWanted())
    driver.begins()
    updates(driver, order("2"))
    driver.answers(None)
    assert (driver.state.quantity, driver.state.is_entering) == (D(2), False)


def test_a_working_entry_that_is_looked_up_goes_on_working() -> None:
    driver = resting()
    driver.step(CheckWanted())
    driver.begins()
    driver.answers(order("0.5"))
    assert (driver.state.quantity, row(driver).state) == (D("0.5"), LIVE)


def test_an_entry_that_must_not_rest_is_cancelled_as_soon_as_it_is_acknowledged() -> None:
    driver = entering(limit="101", rests=False)
    driver.begins()
    driver.answers(order("1", "100.5"))
    driver.does_entry(CancelEntry("e"), None)


def test_a_cancellation_from_outside_protects_what_is_filled() -> None:
    driver = resting()
    updates(driver, order("1"))
    driver.step(DeadlineStruck(final=True))
    driver.does_entry(CancelEntry("e"), None)
    driver.does_entry(FindEntry("e"), order("1", working=False))
    assert driver.wants() == PlaceStop(D("98.00"), D(1))


def test_a_cancellation_from_outside_closes_what_is_filled_if_the_plan_says_so() -> None:
    driver = resting(on_entry_cancelled="close")
    updates(driver, order("1"))
    driver.step(DeadlineStruck(final=True))
    assert driver.state.goal == Close("its entry was cancelled", is_revocable=False)
    assert driver.does() == ClosePosition(D(1), "its entry was cancelled")
    driver.does_entry(CancelEntry("e"), None)


def test_a_cancellation_of_an_entry_that_was_never_sent_closes_nothing() -> None:
    driver = entering(on_entry_cancelled="close")
    driver.step(DeadlineStruck(final=True))
    assert (driver.state.ended, type(driver.state.goal)) == (True, End)


@pytest.mark.parametrize("command", [CloseWanted("by hand"), ReleaseWanted(cancel_stop=False)])
def test_a_position_that_is_given_back_or_closed_cancels_the_rest_of_its_entry(command: Any) -> None:
    driver = resting()
    driver.step(command)
    driver.does_entry(CancelEntry("e"), None)
    assert not driver.state.ended
    driver.does_entry(FindEntry("e"), order(working=False))
    assert driver.state.ended


def test_a_released_position_keeps_its_filled_part_and_ends_when_the_rest_is_gone() -> None:
    driver = resting()
    updates(driver, order("1"))
    driver.does()
    driver.shows_all(a_report("1"), at=1.0)
    driver.step(ReleaseWanted(cancel_stop=False))
    assert isinstance(driver.state.goal, Release)
    assert not driver.state.ended
    driver.does_entry(CancelEntry("e"), None)
    driver.does_entry(FindEntry("e"), order("1", working=False))
    driver.shows_all(a_report("1"), at=2.0)
    assert driver.state.ended


# Lists of positions.


def test_a_larger_position_in_a_list_has_the_entry_looked_up() -> None:
    driver = resting()
    driver.shows(a_report("1"), at=1.0)
    assert (driver.state.quantity, driver.wants()) == (D(0), FindEntry("e"))


def test_a_list_counts_once_the_entry_can_not_be_looked_up() -> None:
    driver = resting()
    for at in (1.0, 2.0, 4.0):
        driver.shows(a_report("1", "99"), at=at)
        if at < 4.0:
            driver.fails(ExchangeUnreachable("down"))
    assert (driver.state.quantity, driver.state.position.entry_price) == (D(1), D(99))
    assert driver.state.position.opened_at == OPENED + timedelta(seconds=4)  # no earlier price is a peak of it
    assert driver.state.unprotected_span is not None
    driver.shows(a_report("1.5", "99"), at=5.0)
    assert driver.state.quantity == D("1.5")
    driver.shows(a_report("9", "99"), at=6.0)
    driver.shows(a_report("9", "99"), at=7.0)
    assert driver.state.position.quantity == D(2)  # no more than it asked for
    updates(driver, order("2"))
    assert driver.state.position.quantity == D(2)


def test_an_early_list_without_the_fill_changes_nothing() -> None:
    driver = resting(timing=TIMING)
    updates(driver, order("1"), at=5.0)
    driver.shows(a_report("0.4"), at=5.5)
    driver.shows(ELSEWHERE, at=5.5)
    assert driver.state.quantity == D(1)


def test_a_list_of_a_working_entry_can_lessen_the_position() -> None:
    driver = resting()
    updates(driver, order("1"))
    driver.shows(a_report("0.4"), at=1.0)
    assert (driver.state.quantity, driver.state.reported_entry) == (D("0.4"), None)


def test_what_a_person_adds_while_an_entry_rests_gets_a_stop() -> None:
    driver = resting(timing=TIMING)
    updates(driver, order("1"), at=5.0)
    assert driver.does() == PlaceStop(D(98), D(1))
    driver.shows_all(a_report("1.6"), at=8.0)
    driver.does_entry(FindEntry("e"), order("1.2"))  # the list may have shown a fill that this look-up did not
    assert (driver.state.quantity, driver.wants()) == (D("1.2"), ReplaceStop(D(98), D("1.2"), "a"))
    driver.settles()
    driver.at = 9.0
    driver.does_entry(FindEntry("e"), order("1.2"))
    assert driver.state.quantity == D("1.6")
    assert driver.does() == ReplaceStop(D(98), D("1.6"), "b")
    updates(driver, order("2"))  # its own fills still count
    assert driver.state.quantity == D("2.4")


def test_what_the_entry_fills_after_a_list_showed_it_is_not_counted_twice() -> None:
    driver = resting()
    updates(driver, order("1"))
    driver.shows_all(a_report("1.6"), at=1.0)
    driver.does_entry(FindEntry("e"), order("1.6"))
    driver.shows_all(a_report("1.6"), at=2.0)
    assert (driver.state.quantity, driver.state.listed_more) == (D("1.6"), None)


@pytest.mark.parametrize("filled", ["0", "1"])
def test_what_a_person_opens_or_adds_counts_only_while_a_filled_part_is_to_be_protected(filled: str) -> None:
    driver = resting()
    if filled == "1":
        updates(driver, order("1"))
        driver.does()
    driver.shows_all(a_report("1.6"), at=1.0)
    assert driver.begins() == FindEntry("e")
    if filled == "1":
        driver.step(CloseWanted("on purpose"))
    driver.answers(order(filled))
    assert driver.state.quantity == D(filled)


def test_an_update_of_the_position_has_the_entry_looked_up() -> None:
    driver = resting()
    driver.step(PositionUpdated(D(1), 1.0), at=1.0)
    assert driver.wants() == FindEntry("e")


def test_an_entry_whose_intent_is_being_stored_is_not_looked_up() -> None:
    driver = entering()
    driver.begins_only()
    driver.step(CheckWanted())
    driver.leaves()
    driver.answers(order("2"))
    assert driver.state.quantity == D(2)


# The stop that it carries.


def test_an_attached_stop_of_its_own_is_live_as_soon_as_the_entry_has_ended() -> None:
    driver = entering("own", market=AMENDS)
    driver.begins()
    driver.answers(order("2", first_filled_at=OPENED))
    assert (driver.stop_price, driver.state.is_unprotected, driver.state.unprotected_time.total) == (
        D("98.00"),
        False,
        0,
    )
    assert driver.last(StopOpened)["client_order_id"] == "s"
    driver.live["s"] = a_stop("s", "98.00", "2")
    assert driver.wants() == 1.0
    driver.at = 1.0
    assert driver.settles() == [FindOrder("s")]
    assert live(driver).order_id == "exchange-s"


def test_an_attached_stop_that_a_list_shows_is_not_looked_up() -> None:
    driver = entering("own", market=AMENDS)
    driver.begins()
    driver.answers(order("2", first_filled_at=OPENED))
    driver.live["s"] = a_stop("s", "98.00", "2")
    driver.shows(driver.live["s"], a_report("2"), at=0.5)
    assert driver.wants() == NEVER
    assert live(driver).order_id == "exchange-s"


def test_an_attached_stop_is_tightened_after_a_better_fill_and_never_loosened() -> None:
    driver = entering("own", market=AMENDS)
    driver.begins()
    driver.answers(order("2", "101"))
    driver.live["s"] = a_stop("s", "98.00", "2")
    driver.at = 1.0
    assert driver.settles() == [FindOrder("s"), AmendStop("s", D("98.98"), D(2))]
    worse = entering("own", market=AMENDS)
    worse.begins()
    worse.answers(order("2", "99"))
    worse.live["s"] = a_stop("s", "98.00", "2")
    worse.at = 1.0
    assert worse.settles() == [FindOrder("s")]


def test_the_filled_part_of_an_entry_with_an_own_stop_gets_a_stop_until_the_entry_has_ended() -> None:
    driver = resting("own", market=AMENDS)
    updates(driver, order("1", first_filled_at=OPENED), at=1.0)
    assert driver.does() == PlaceStop(D("98.00"), D(1))
    updates(driver, order("2"))
    driver.live["s"] = a_stop("s", "98.00", "2")
    driver.at = 2.0
    assert driver.settles() == [FindOrder("s"), CancelStop("a", "another stop of its position counts")]
    assert driver.state.unprotected_time.opening == 1.0


def test_an_attached_stop_that_is_not_there_is_replaced() -> None:
    driver = entering("own")
    driver.begins()
    driver.answers(order("2"))
    driver.at = 1.0
    driver.does()
    driver.at = 1.25
    assert driver.settles() == [FindOrder("s"), PlaceStop(D("98.00"), D(2))]


def test_an_own_stop_that_may_be_left_behind_a_position_that_was_closed_meanwhile_is_cancelled() -> None:
    driver = resting("own")
    updates(driver, order("1"))
    driver.does()
    driver.fills("a", "1", status="filled")
    driver.does_entry(CancelEntry("e"), None)
    driver.does_entry(FindEntry("e"), order("1", working=False))
    driver.live["s"] = a_stop("s", "98.00", "1")
    for at in (5.0, 10.0):
        driver.at = at
        driver.shows()
    assert driver.settles() == [CancelStop("s", "its position is closed")]
    assert driver.state.ended
    assert driver.events.count("StopOpened") == 1


def test_a_superseded_stop_is_not_cancelled_for_the_looser_one_that_comes_with_the_entrys_end() -> None:
    driver = resting("own")
    updates(driver, order("1"))
    driver.does()
    driver.sees("103")
    assert driver.settles() == [
        ReplaceStop(D("101.97"), D(1), "a"),
        CancelStop("a", "another stop of its position counts"),
    ]
    driver.sees("105")
    driver.does()  # the stop is moved again, and the one at 101.97 is superseded, but not cancelled yet
    assert [one.id for one in driver.state.orders.values() if one.is_superseded] == ["b"]
    updates(driver, order("1", working=False))
    assert [one.id for one in driver.state.orders.values() if one.is_superseded] == []


def test_a_fill_that_a_snapshot_has_shown_already_does_not_enlarge_the_entry() -> None:
    driver = resting()
    updates(driver, order("1"))
    driver.does()
    driver.shows(a_stop("a", "98", "0.6"), a_report("0.6"), at=5.0)
    driver.fills("a", "0.2", filled="0.6", at=6.0)
    driver.fills("a", "0.4", filled="1", status="filled", at=7.0)
    assert driver.state.entry is not None
    assert (driver.state.quantity, driver.state.entry.entered) == (D(0), D(1))


def test_an_own_stop_that_is_reported_as_live_counts_before_the_end_of_its_entry_is_known() -> None:
    driver = resting("own")
    driver.step(OrderUpdated("s", "live"))
    assert driver.state.live is None  # nothing is filled yet
    updates(driver, order("1"))
    driver.step(OrderUpdated("other", "live"))
    assert driver.state.live is None
    driver.step(OrderUpdated("s", "live"))
    assert (driver.stop_price, driver.events[-1]) == (D("98.00"), "StopOpened")
    driver.live["s"] = a_stop("s", "98.00", "1")
    driver.does_entry(FindEntry("e"), order("1", working=False))
    assert driver.settles() == [FindOrder("s")]


def test_a_stop_of_a_part_is_no_looser_than_the_own_stop_that_comes_with_the_entrys_end() -> None:
    driver = resting("own")
    updates(driver, order("1", price="99"))
    assert driver.does() == PlaceStop(D("98.00"), D(1))


def test_a_fill_that_closes_more_than_is_known_shows_that_more_was_entered() -> None:
    driver = resting("bridge")
    updates(driver, order("1"))
    driver.live["e"] = a_stop("e", "98.00", "2")
    driver.fills("e", "1.5", status="filled", filled="1.5")
    assert (driver.state.quantity, driver.state.entry.entered) == (D(0), D("1.5"))  # type: ignore[union-attr]
    updates(driver, order("1.5"))
    assert driver.state.quantity == D(0)
    updates(driver, order("2", working=False))
    assert driver.state.quantity == D("0.5")


def test_a_bridge_covers_from_the_first_fill_on_and_makes_way_for_an_own_stop() -> None:
    driver = entering("bridge")
    driver.begins()
    driver.answers(order("2"))
    assert (driver.stop_price, driver.state.unprotected_time.total) == (D("98.00"), 0)
    driver.live["e"] = a_stop("e", "98.00", "2")
    assert driver.settles() == [
        ReplaceStop(D("98.00"), D(2), "e"),
        CancelStop("e", "another stop of its position counts"),
    ]


def test_a_bridge_grows_with_the_position_and_stays_while_more_can_be_filled() -> None:
    driver = resting("bridge", market=AMENDS)
    updates(driver, order("1"))
    driver.live["e"] = a_stop("e", "98.00", "1")
    assert driver.wants() == NEVER
    updates(driver, order("1.5"))
    assert (live(driver).quantity, driver.wants()) == (D("1.5"), NEVER)
    driver.sees("104")
    assert driver.does() == ReplaceStop(D("102.96"), D("1.5"), "e")
    assert driver.wants() == NEVER  # the bridge stays, because it covers what is still to be filled
    updates(driver, order("2"))
    assert driver.settles() == [
        AmendStop("a", D("102.96"), D(2)),
        CancelStop("e", "another stop of its position counts"),
    ]


@pytest.mark.parametrize("lag", [0.0, 2.0])
def test_a_list_from_before_a_fill_does_not_shrink_the_bridge_that_grew_with_it(lag: float) -> None:
    driver = resting("bridge", timing=Timing(orders_read_lag=lag))
    updates(driver, order("1"), at=1.0)
    driver.shows(a_stop("e", "98.00", "1"), a_report("1"), at=4.0)
    updates(driver, order("1.5"), at=5.0)
    driver.shows(a_stop("e", "98.00", "1"), a_report("1"), at=4.9 + lag, answered=5.1 + lag)
    assert (live(driver).quantity, driver.row("e").filled) == (D("1.5"), D(0))
    driver.shows(a_stop("e", "98.00", "1.5"), a_report("1.5"), at=5.2 + lag)
    assert (live(driver).quantity, driver.row("e").filled) == (D("1.5"), D(0))


def test_a_look_up_from_before_a_fill_does_not_shrink_the_bridge_either() -> None:
    driver = resting("bridge")
    updates(driver, order("1"), at=1.0)
    driver.step(OrderUpdated("e", "live"), at=10.0)
    assert driver.begins() == FindOrder("e")
    updates(driver, order("1.5"), at=11.0)
    driver.answers(a_stop("e", "98.10", "1"))
    assert (live(driver).price, live(driver).quantity, driver.row("e").filled) == (D("98.10"), D("1.5"), D(0))


def test_a_bridge_stays_where_no_second_stop_is_taken() -> None:
    driver = entering("bridge", market=ONE_STOP)
    driver.begins()
    driver.answers(order("2"))
    assert driver.wants() == NEVER


def test_a_bridge_stays_on_a_full_account_and_is_replaced_when_there_may_be_a_slot() -> None:
    driver = entering("bridge")
    driver.begins()
    driver.answers(order("2"))
    assert driver.fails(TooManyStops("full")) == ReplaceStop(D("98.00"), D(2), "e")
    driver.sees("102")
    assert driver.wants() == FULL_FOR
    driver.at = FULL_FOR
    assert driver.wants() == ReplaceStop(D("100.98"), D(2), "e")


def test_a_bridge_that_was_filled_is_not_expected_again() -> None:
    driver = resting("bridge")
    updates(driver, order("1"))
    driver.fills("e", "1", status="filled")
    updates(driver, order("1.5"))
    assert "e" not in driver.state.orders
    assert driver.state.is_unprotected


@pytest.mark.parametrize("is_restarted", [False, True])
def test_what_is_filled_after_the_end_of_the_position_is_unprotected_from_then_on(is_restarted: bool) -> None:
    driver = resting()
    updates(driver, order("1"))
    driver.does()
    (stop,) = driver.live
    if is_restarted:
        driver = restarted(driver, is_open=True)
    driver.at = 50.0
    driver.fills(stop, "1", status="filled")
    assert not driver.state.quantity
    before = driver.state.unprotected_time_at(50.0).total
    driver.at = 60.0
    updates(driver, order("1.5"))
    assert driver.state.is_unprotected
    assert driver.state.opened_at == 60.0
    assert driver.state.unprotected_time_at(65.0).total == before + 5.0


def test_a_bridge_that_the_exchange_places_again_keeps_the_fills_that_were_counted() -> None:
    driver = resting("bridge")
    updates(driver, order("1"))
    driver.fills("e", "1", trade="t1", status="filled")
    updates(driver, order("1.5", working=False))
    driver.live["e"] = a_stop("e", "98.00", "0.5")
    for at in (1.0, 2.0):
        driver.shows_all(a_report("0.5"), at=at)
    assert driver.row("e").order is not None
    driver.fills("e", "1", trade="t1")  # pushed again
    assert (driver.state.filled, driver.state.quantity) == (D(1), D("0.5"))
    assert driver.record().told_fills == {"e": D(1)}


def test_the_trigger_of_an_entry_that_carries_a_stop_can_not_be_changed() -> None:
    driver = resting("own")
    with pytest.raises(UsageError, match="trigger"):
        driver.step(PlanReplaced(a_plan(trigger="mark")))


# Restarts.


def restarted(driver: Driver, *, is_open: bool, at: float = 10.0, quantity: str = "2", **fields: Any) -> Driver:
    intents = [IntendedOrder("e", "entry", D(quantity), None)] if is_open else []
    state = restore_position(driver.record(), intents, driver.state.market, driver.state.timing, at, **fields)
    after = Driver(state, at)
    after.live = dict(driver.live)
    return after


def test_an_entry_that_was_sent_is_looked_up_after_a_restart_and_its_rest_is_cancelled() -> None:
    driver = entering()
    driver.begins_only()
    after = restarted(driver, is_open=True, dead_seconds=5.0)
    assert (after.state.state, row(after).state) == (State.ENTERING, SENT)
    after.does_entry(FindEntry("e"), order("1"))
    after.does_entry(CancelEntry("e"), None)
    after.does_entry(FindEntry("e"), order("1", working=False))
    assert after.wants() == PlaceStop(D("98.00"), D(1))


@pytest.mark.parametrize(("attached", "stop"), [("own", "s"), ("bridge", "e")])
def test_the_stop_that_an_entry_carried_is_known_after_a_restart(attached: str, stop: str) -> None:
    driver = entering(attached)
    driver.begins_only()
    after = restarted(driver, is_open=True)
    after.does_entry(FindEntry("e"), order("2"))
    assert live(after).client_order_id == stop


def test_an_entry_that_was_never_sent_ends_after_a_restart() -> None:
    after = restarted(entering(), is_open=False)
    after.step(CheckWanted())
    assert after.state.ended


def test_a_fill_while_no_process_ran_counts_as_unprotected_since_then() -> None:
    driver = entering()
    driver.begins_only()
    after = restarted(driver, is_open=True, dead_seconds=60.0)
    after.does_entry(FindEntry("e"), order("2", first_filled_at=OPENED + timedelta(seconds=20)))
    assert after.state.unprotected_time_at(10.0).total == 40.0


def test_a_stop_that_was_filled_in_part_while_no_process_ran_counts_its_next_fill_once() -> None:
    driver = waiting()
    after = driver.restarted(at=5.0)
    for at in (5.0, 6.0):
        after.shows(a_stop("a", "98", "0.6"), a_report("0.6"), at=at)
    assert after.state.quantity == D("0.6")
    after.at = 7.0
    after.fills("a", "0.2", filled="0.6", trade="t2", status="partial")
    assert after.state.quantity == D("0.4")


def test_what_an_entry_has_opened_survives_a_restart() -> None:
    driver = resting()
    updates(driver, order("1", "99"))
    driver.does()
    after = restarted(driver, is_open=True)
    assert (after.state.quantity, after.state.position.entry_price) == (D(1), D(99))
    after.does_entry(FindEntry("e"), order("1.5", "99", working=False))
    assert after.state.quantity == D("1.5")


# What is handed in.

A_GOOD_ONE: dict[str, Any] = {"symbol": SYMBOL, "side": "long", "quantity": D(1)}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"symbol": "BTC/USDT"}, "Entry.symbol"),
        ({"side": "up"}, "Entry.side"),
        ({"quantity": D(0)}, "Entry.quantity"),
        ({"limit": D(-1)}, "Entry.limit"),
        ({"stop_price": D(0)}, "Entry.stop_price"),
        ({"id": ""}, "Entry.id"),
        ({"id": "a\ud800"}, "Entry.id"),
    ],
)
def test_an_entry_with_an_impossible_figure_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Entry(**(A_GOOD_ONE | fields))


def an_entry(side: Side = "long", quantity: str = "1", **prices: str) -> Entry:
    fields: dict[str, Any] = {name: D(price) for name, price in prices.items()}
    return Entry(SYMBOL, side, D(quantity), **fields)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (an_entry(quantity="0.05"), r"Entry.quantity of BTC/USDT:USDT got 0.05, wants at least 0.1"),
        (an_entry(quantity="0.1"), r"got 0.1, worth 10.0, wants a value of at least 50"),
        (an_entry(limit="100.001"), r"Entry.limit of BTC/USDT:USDT got 100.001, wants a multiple of 0.01"),
    ],
)
def test_an_entry_that_the_market_does_not_take_is_refused_with_one_sentence(entry: Entry, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        position_of(entry, replace(MARKET, min_notional=D(50)), D(100), OPENED, "i")


def test_the_position_of_an_entry_has_the_quantity_in_whole_steps_and_the_entrys_id() -> None:
    position = position_of(an_entry(quantity="1.29"), MARKET, D(100), OPENED, "new")
    assert (position.quantity, position.entry_price, position.identity) == (D("1.2"), D(100), "new")
    assert position_of(replace(an_entry(), id="mine"), MARKET, D(100), OPENED, "new").identity == "mine"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            an_entry(limit="110.1"),
            r"Entry.limit of .* got 110.1, which is on the wrong side of the price 100; wants at most 110",
        ),
        (an_entry("short", limit="89"), r"on the wrong side of the price 100; wants at least 90"),
        (an_entry(limit="99", stop_price="99.5"), r"Entry.stop_price of .* got 99.5, wants it below the limit, 99"),
        (an_entry("short", stop_price="99"), r"got 99, wants it above the price, 100"),
    ],
)
def test_a_limit_or_a_stop_on_the_wrong_side_is_refused_with_one_sentence(entry: Entry, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_prices(entry, D(100), Percent(10))


def test_prices_on_the_right_side_pass() -> None:
    check_prices(an_entry(limit="50", stop_price="49"), D(100), Percent(10))
    check_prices(an_entry("short", limit="150"), D(100), Percent(10))
    check_prices(an_entry(limit="50"), None, Percent(10))
    check_prices(an_entry(stop_price="50"), None, Percent(10))


def test_slippage_is_worse_above_for_a_long_and_below_for_a_short() -> None:
    assert slippage("long", D(100), D("100.5")) == D("0.5000")
    assert slippage("short", D(100), D("100.5")) == D("-0.5000")


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (PlaceEntry("e", D(2), None, None), "enter: 2 at market"),
        (PlaceEntry("e", D(2), D(100), None), "enter: 2 at 100 or better"),
        (CancelEntry("e"), "cancel the rest of its entry e"),
        (FindEntry("e"), "look its entry e up"),
    ],
)
def test_a_request_about_an_entry_says_what_it_does(request_: PlaceEntry | CancelEntry | FindEntry, words: str) -> None:
    assert str(request_) == words
