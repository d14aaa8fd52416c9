"""What a person adds or enters unseen, and wrong figures and prices: what counts as ours, and what as true."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from driver import AMENDS, MARKET, OPENED, SYMBOL, TIMING, D, Driver, a_report, a_stop, waiting
from test_entering import order, resting, updates

from trailing.core.inputs import CheckWanted, CloseWanted, OrderUpdated, PricesMissed
from trailing.core.model import Candle, Market
from trailing.core.requests import AmendStop, FindEntry, FindOrder, PlaceStop, ReplaceStop
from trailing.errors import ExchangeUnreachable, OutcomeUnknown, StopRejected

ANOTHER = "another position has taken the place of one that is protected"


def with_addition(attached: str | None = None, **fields: Any) -> Driver:
    """An entry of 2 rests, 1 of it is filled, a person has added 0.6, and one stop covers 1.6."""
    driver = resting(attached, timing=TIMING, **fields)
    updates(driver, order("1"), at=5.0)
    assert isinstance(driver.does(), PlaceStop)
    driver.shows_all(a_report("1.6"), at=8.0)
    driver.does_entry(FindEntry("e"), order("1"))
    driver.at = 9.0
    driver.does_entry(FindEntry("e"), order("1"))
    driver.settles()
    assert [stop.quantity for stop in driver.live.values()] == [D("1.6")]
    return driver


def test_what_an_entry_fills_after_its_stop_closed_an_addition_too_is_a_position() -> None:
    driver = with_addition()
    driver.told.clear()
    driver.fills("b", "1.6", status="filled", at=12.0)
    assert "EntryFilled" not in driver.events
    updates(driver, order("1.2"), at=12.1)
    assert driver.state.quantity == D("0.2")


def test_a_partial_fill_of_the_stop_is_no_fill_of_the_entry() -> None:
    driver = with_addition()
    driver.fills("b", "1.3", at=12.0)
    updates(driver, order("1.2"), at=12.1)
    assert driver.state.quantity == D("0.5")


def test_a_superseded_stop_does_not_make_another_position_ours() -> None:
    driver = waiting(timing=TIMING)
    driver.shows(driver.live["a"], a_report(), at=5.0)
    driver.sees("102", at=10.0)
    assert isinstance(driver.does(), ReplaceStop)
    driver.fails(ExchangeUnreachable("down"))  # the cancellation of a
    driver.step(OrderUpdated("b", "triggered"), 11.0)
    del driver.live["b"]  # it is filled, and the update is lost
    driver.step(CheckWanted(), 20.0)
    for at in (22.0, 24.0, 26.0, 28.0, 30.0):
        driver.at = at
        while isinstance(driver.wants(), FindOrder):
            driver.does()
        driver.shows(driver.live["a"], a_report("5", "100.5"), at=at)
        assert driver.state.quantity != D(5)
    assert ANOTHER in driver.alarms


def closing_while_missed() -> Driver:
    """A position of which a person adds 0.5 unseen, and that its owner closes."""
    driver = waiting(timing=TIMING)
    driver.shows(driver.live["a"], a_report(), at=5.0)
    driver.step(CheckWanted(), 6.0)
    driver.step(CloseWanted("on purpose"))
    driver.at = 10.0
    return driver


def test_an_exit_of_an_unconfirmed_quantity_is_forgotten_once_its_rest_was_shown() -> None:
    driver = closing_while_missed()
    driver.does()
    driver.shows(driver.live["a"], a_report("0.5", "99"), at=12.0)
    driver.at = 14.0
    driver.settles()
    driver.shows_all(a_report("0.5", "99"), at=20.0)
    ((name, stop),) = driver.live.items()
    driver.fills(name, "0.5", status="filled", at=30.0)
    driver.shows(stop, a_report("7", "95"), at=31.5)  # another position, and a list of stops that is late
    assert driver.state.quantity != D(7)


@pytest.mark.parametrize("is_filled_told", [True, False])
def test_what_is_left_after_such_an_exit_whose_reply_is_lost_keeps_its_stop(is_filled_told: bool) -> None:
    driver = closing_while_missed()
    driver.begins()
    driver.answers(error=OutcomeUnknown("lost"))
    if is_filled_told:
        driver.fills("b", "1", status="filled", at=10.5)
    driver.shows(driver.live["a"], a_report("0.5", "99"), at=15.0)
    assert ANOTHER not in driver.alarms


@pytest.mark.parametrize(("market", "fails"), [(MARKET, False), (AMENDS, False), (AMENDS, True)])
def test_a_stop_of_more_is_not_cancelled_for_the_entry_s_own_stop_of_less(market: Market, fails: bool) -> None:
    """`fails`: each amendment."""
    driver = with_addition("own", market=market)
    updates(driver, order("1", working=False), at=12.0)
    driver.live["s"] = a_stop("s", "98", "1")
    for _ in range(9):
        wanted = driver.wants()
        if isinstance(wanted, float):
            driver.at = min(wanted, driver.at + 2)
        elif fails and isinstance(wanted, AmendStop):
            driver.fails(StopRejected("no"))
        else:
            driver.does()
        assert any(stop.quantity >= D("1.6") for stop in driver.live.values()), wanted


def test_a_fill_that_a_slow_list_shows_is_not_counted_twice() -> None:
    driver = resting(timing=TIMING)
    updates(driver, order("1"), at=5.0)
    driver.does()
    driver.shows(*driver.live.values(), a_report("1.6"), at=8.0, answered=9.5)  # the entry filled 0.6 at 9.4
    driver.does_entry(FindEntry("e"), order("1"))  # within the read lag of that fill
    updates(driver, order("1.6"), at=10.0)
    assert driver.state.quantity == D("1.6")


def test_a_later_list_that_shows_less_counts_more_than_an_earlier_one() -> None:
    driver = resting(timing=TIMING)
    updates(driver, order("1"), at=5.0)
    driver.does()
    driver.shows_all(a_report("1.6"), at=8.0)
    driver.fails(ExchangeUnreachable("down"))
    driver.shows_all(a_report("1"), at=12.0)  # the person has taken it off again
    driver.at = 13.0
    driver.does_entry(FindEntry("e"), order("1"))
    assert driver.state.quantity == D(1)


def test_wrong_figures_and_refusals_in_turn_raise_one_alarm() -> None:
    driver = waiting(market=AMENDS)
    driver.sees("102")
    for _ in range(5):
        driver.begins()
        driver.answers(a_stop("a", "120"))
        driver.does()
        driver.at += 40.0
        driver.fails(StopRejected("no"))
        driver.does()
        driver.at += 40.0
    assert len(driver.alarms) == 1


@pytest.mark.parametrize(
    "figures", [("150", "150", "100", "100"), ("100", "150", "100", "150"), ("150", "150", "150", "150")]
)
def test_one_wrong_price_that_begins_or_ends_a_candle_is_no_peak(figures: tuple[str, ...]) -> None:
    driver = waiting()
    driver.step(PricesMissed(OPENED, OPENED + timedelta(minutes=3)))
    driver.candles = [
        Candle(SYMBOL, OPENED + timedelta(minutes=minute), 60.0, D(first), D(high), D(low), D(last), "last")
        for minute, (first, high, low, last) in enumerate((("100",) * 4, figures, ("100",) * 4))
    ]
    driver.does()
    assert driver.state.ratchet.best == D(100)
