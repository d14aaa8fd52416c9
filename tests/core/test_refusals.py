"""A refusal that says that nothing can be reduced: what is told of it, and when it counts no more."""

from __future__ import annotations

from decimal import Decimal

import pytest
from driver import NO_LAG, TIMING, Driver, a_report, a_stop, opening, unprotected, waiting
from msgspec.structs import replace

from trailing.core.inputs import CloseWanted
from trailing.core.model import Fill
from trailing.core.refusals import is_irreducible, trouble
from trailing.core.requests import ClosePosition, PlaceStop, ReplaceStop
from trailing.errors import ExchangeUnreachable, NothingToReduce, StopRejected
from trailing.events import Alarm, ExitFailed, StopGone

ALARM = "the exchange refuses to reduce an open position"
COVERED = NothingToReduce("-4118: check your open orders")
D = Decimal


def closing(timing: object = NO_LAG) -> Driver:
    driver = waiting(timing=TIMING if timing is TIMING else NO_LAG)
    driver.step(CloseWanted("on purpose"))
    return driver


def refused(driver: Driver) -> Driver:
    """Let the exit be refused, and a snapshot show the position after that."""
    driver.at = max(driver.at, driver.state.back_offs["close"].until if "close" in driver.state.back_offs else 0.0)
    assert isinstance(driver.fails(COVERED), ClosePosition)
    driver.shows_all(at=driver.at + 0.1)
    return driver


def test_fm50_a_refused_exit_of_a_reported_position_is_told_once_with_the_open_orders() -> None:
    driver = refused(closing())
    assert driver.last(ExitFailed)["error"] == str(COVERED)
    assert (driver.alarms, driver.last(Alarm)["detail"]) == ([ALARM], str(COVERED))
    assert [effect.names_orders for effect in driver.told if effect.event is Alarm] == [True]
    assert (is_irreducible(driver.state), trouble(driver.state)) == (True, COVERED)
    for _ in range(5):
        refused(driver)
    assert driver.alarms == [ALARM]


def test_fm50_nothing_is_told_before_a_snapshot_shows_the_position() -> None:
    driver = closing(TIMING)
    driver.at = 5.0
    driver.fails(COVERED)
    assert trouble(driver.state) is COVERED  # perhaps it is flat; listed it is as long as it may be open
    driver.shows(driver.live["a"], a_report(), at=5.9, answered=5.9)  # it may still show how it was before the refusal
    assert (driver.alarms, is_irreducible(driver.state)) == ([], False)
    driver.shows_all(at=6.0)
    assert (driver.alarms, is_irreducible(driver.state)) == ([ALARM], True)


def test_a_refused_exit_of_a_flat_position_is_told_by_no_alarm() -> None:
    driver = closing()
    driver.fails(COVERED)
    for at in (1.0, 12.0, 23.0, 34.0, 45.0, 61.0):  # the refusal does not say that it is flat
        assert not driver.state.ended
        driver.shows(a_report(symbol="ETH/USDT:USDT"), at=at)
    driver.settles()
    assert driver.state.ended
    assert (driver.alarms, is_irreducible(driver.state)) == ([], False)


def test_the_last_words_of_the_exchange_are_shown() -> None:
    driver = refused(closing())
    again = NothingToReduce("-2022")
    driver.at = driver.state.back_offs["close"].until
    driver.fails(again)
    assert trouble(driver.state) is again


def test_fm50_the_refusal_of_an_exit_hides_that_of_a_stop_and_not_the_other_way_round() -> None:
    driver = unprotected()
    first = NothingToReduce("a stop is refused")
    driver.fails(first)
    assert trouble(driver.state) is first
    driver.shows_all(at=0.1)
    assert driver.alarms == [ALARM]
    driver.step(CloseWanted("on purpose"))
    driver.fails(COVERED)
    assert trouble(driver.state) is COVERED
    assert not is_irreducible(driver.state)
    driver.shows_all(at=0.15)
    assert driver.alarms == [ALARM, ALARM]
    driver.at = 1.0
    driver.state.back_offs["close"] = replace(driver.state.back_offs["close"], until=9.0)
    assert isinstance(driver.fails(first), PlaceStop)
    assert trouble(driver.state) is COVERED


def test_fm50_an_accepted_exit_ends_the_refusals_so_that_the_next_one_is_told_again() -> None:
    driver = refused(closing())
    driver.at = driver.state.back_offs["close"].until
    driver.begins()
    driver.answers(Fill("BTC/USDT:USDT", "long", D("0.4"), D(98), "1", "c", driver.at))
    assert (is_irreducible(driver.state), trouble(driver.state)) == (False, None)
    driver.shows(driver.live["a"], a_report("0.6"), at=driver.at + 0.1)
    refused(driver)
    assert driver.alarms == [ALARM, ALARM]


def test_an_accepted_stop_ends_no_refusal_of_an_exit() -> None:
    driver = closing()
    driver.cancels("a")
    driver.fails(COVERED)
    driver.shows(a_report(), at=0.1)
    assert isinstance(driver.does(), PlaceStop)
    assert (is_irreducible(driver.state), trouble(driver.state)) == (True, COVERED)


def test_a_refusal_of_a_stop_ends_with_an_accepted_one() -> None:
    driver = opening()
    driver.fails(COVERED)
    driver.shows(a_report(), at=0.0)
    assert driver.alarms == [ALARM]
    driver.at = 1.0
    driver.does()
    assert (is_irreducible(driver.state), trouble(driver.state)) == (False, None)


def test_a_refusal_of_a_stop_ends_with_a_move_that_places_another_one() -> None:
    driver = opening()
    driver.fails(COVERED)
    driver.shows(a_stop("other"), a_report(), at=0.0)  # an earlier process placed it
    driver.shows(a_stop("other"), a_report(), at=0.3)
    assert is_irreducible(driver.state)
    driver.live["other"] = a_stop("other")
    driver.sees("102")
    assert driver.does() == ReplaceStop(D("100.98"), D(1), "other")
    assert (is_irreducible(driver.state), trouble(driver.state)) == (False, None)


def test_the_refusal_of_an_exit_counts_only_while_the_position_is_to_be_closed() -> None:
    driver = waiting()
    driver.sees("98", at=5.0)
    driver.at, driver.price = 7.0, D(97)
    driver.does()
    refused(driver)
    assert is_irreducible(driver.state)
    driver.at = driver.state.back_offs["close"].until
    driver.fails(StopRejected("something else"))  # software gives that exit up
    assert (is_irreducible(driver.state), str(trouble(driver.state))) == (False, "something else")


@pytest.mark.parametrize("error", [ExchangeUnreachable("no answer"), StopRejected("no")])
def test_other_failures_of_an_exit_are_no_refusal_to_reduce(error: Exception) -> None:
    driver = closing()
    driver.fails(error)
    driver.shows_all(at=0.1)
    assert (driver.alarms, trouble(driver.state)) == ([], error)


def test_fm50_the_exchange_s_reason_for_the_end_of_a_stop_is_why_the_position_has_none() -> None:
    driver = waiting()
    driver.cancels("a", reason="Reduce Only reject")
    assert driver.last(StopGone)["reason"] == "Reduce Only reject"
    assert str(trouble(driver.state)) == "the exchange ended the stop a: Reduce Only reject"


def test_a_stop_that_ended_without_a_reason_leaves_no_error() -> None:
    driver = waiting()
    driver.cancels("a")
    assert trouble(driver.state) is None
