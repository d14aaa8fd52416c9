"""The executions that no update has reported: which are read, how they are counted, and what stays unknown."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal as D

import pytest
from driver import ELSEWHERE, OPENED, SUCCESSOR, SYMBOL, TIMING, Driver, a_report, opening, waiting

from trailing.core.inputs import CheckWanted, CloseWanted, OrderUpdated, PositionUpdated
from trailing.core.model import Fill
from trailing.core.requests import CancelStop, FindOrder, PlaceStop, ReadFills
from trailing.errors import ExchangeUnreachable, NoSuchStop, OutcomeUnknown, RateLimited, UsageError
from trailing.events import ExitFilled, PositionClosed, StopFilled

UNKNOWN = "closed on the exchange; no update said by what"


def execution(name: str, quantity: str, price: str = "97", trade: str = "1") -> Fill:
    return Fill(SYMBOL, "long", D(quantity), D(price), f"exchange-{name}", name, 0.0, trade)


def flat(driver: Driver) -> Driver:
    """Let lists and look-ups confirm that the stop is gone and the position flat."""
    driver.live.clear()
    driver.step(PositionUpdated(D(0), driver.at))
    while not isinstance(driver.wants(), ReadFills) and not driver.state.ended:
        driver.at += 1.0
        driver.shows(ELSEWHERE, at=driver.at)
        while isinstance(driver.wants(), (CancelStop, FindOrder)):
            driver.fails(NoSuchStop("gone")) if isinstance(driver.wants(), CancelStop) else driver.does()
        assert driver.at < 100.0
    return driver


def read(driver: Driver, *fills: Fill) -> list[D]:
    """Read these executions of the stop ``a``. Returns the quantities that were published."""
    driver.told.clear()
    driver.executions["a"] = fills
    assert driver.does() == ReadFills("a", OPENED)
    assert driver.state.ended
    return [effect.fields["quantity"] for effect in driver.told if effect.event in (StopFilled, ExitFilled)]


def closed(driver: Driver) -> tuple[object, object, object]:
    fields = driver.last(PositionClosed)
    return fields["quantity"], fields["profit"], fields["reason"]


def test_fm57_the_executions_of_a_stop_that_is_gone_make_the_profit() -> None:
    driver = flat(waiting(timing=TIMING))
    assert not driver.state.ended
    assert str(driver.wants()) == "read the executions of a"
    assert read(driver, execution("a", "0.4", "97"), execution("a", "0.6", "96", "2")) == [D("0.4"), D("0.6")]
    assert closed(driver) == (D(1), D("-3.6"), "the stop was filled")
    assert driver.state.last_fill == execution("a", "0.6", "96", "2")


@pytest.mark.parametrize(
    ("fills", "quantity"), [((), "0"), ((execution("a", "0.4"),), "0.4"), ((execution("a", "3"),), "3")]
)
def test_executions_that_are_not_those_of_the_whole_position_leave_the_profit_unknown(
    fills: Sequence[Fill], quantity: str
) -> None:
    driver = flat(waiting(timing=TIMING))
    read(driver, *fills)
    assert closed(driver) == (D(quantity), None, UNKNOWN)


@pytest.mark.parametrize("trade", ["1", None])
def test_fm45_a_fill_that_was_read_is_not_counted_again_when_its_update_comes(trade: str | None) -> None:
    driver = waiting(timing=TIMING)
    driver.live.clear()
    for at in (10.0, 11.0):
        driver.shows(a_report(), at=at)
    assert [type(request) for request in driver.settles()] == [
        FindOrder,
        PlaceStop,
    ]  # the stop is lost, and placed again
    flat(driver)
    fill = Fill(SYMBOL, "long", D("0.4"), D(97), "exchange-b", "b", 0.0, trade)
    driver.executions["b"] = (fill,)
    assert driver.does() == ReadFills("b", OPENED)
    driver.step(OrderUpdated("b", "open", fill, D("0.4")))
    assert (driver.state.filled, driver.events.count("StopFilled")) == (D("0.4"), 1)
    assert driver.wants() == ReadFills("a", OPENED)


def test_a_fill_that_was_pushed_is_not_counted_again() -> None:
    driver = waiting(timing=TIMING)
    driver.fills("a", "0.4", price="97", trade="1")
    assert read(flat(driver), execution("a", "0.4"), execution("a", "0.6", "96", "2")) == [D("0.6")]
    assert closed(driver)[:2] == (D(1), D("-3.6"))


def test_a_fill_that_was_pushed_is_not_counted_again_where_a_part_stays_unknown() -> None:
    driver = waiting(timing=TIMING)
    driver.fills("a", "0.4", price="97", trade="1")
    assert read(flat(driver), execution("a", "0.4"), execution("a", "0.3", "96", "2")) == [D("0.3")]
    assert closed(driver)[:2] == (D("0.7"), None)


def test_a_fill_that_was_pushed_before_a_restart_is_not_counted_again() -> None:
    driver = waiting(timing=TIMING)
    driver.fills("a", "0.5", price="97", trade="1")
    driver = flat(driver.restarted(20.0))
    assert read(driver, execution("a", "0.3"), execution("a", "0.7", "96", "2")) == [D("0.5")]
    assert closed(driver)[:2] == (D(1), D("-3.5"))


def test_a_part_that_was_told_before_a_restart_and_a_part_that_stays_unknown_are_counted_once() -> None:
    driver = waiting(timing=TIMING)
    driver.fills("a", "0.2", price="97", trade="1")
    driver = driver.restarted(20.0)
    driver.fills("a", "0.1", price="97", trade="2")
    driver = flat(driver.restarted(40.0))
    assert driver.record().told_fills == {"a": D("0.3")}
    driver = driver.restarted(80.0)
    fills = (execution("a", "0.2"), execution("a", "0.1", "97", "2"), execution("a", "0.4", "96", "3"))
    assert read(driver, *fills) == [D("0.4")]
    assert closed(driver)[:2] == (D("0.7"), None)


def test_fills_that_were_pushed_without_trade_ids_are_not_counted_again() -> None:
    driver = waiting(timing=TIMING)
    driver.fills("a", "0.4", price="97")
    assert read(flat(driver), execution("a", "0.4"), execution("a", "0.6", "96", "2")) == [D("0.6")]
    assert closed(driver)[:2] == (D(1), D("-3.6"))


def test_a_restart_remembers_which_executions_are_unread() -> None:
    driver = flat(waiting(timing=TIMING))
    assert driver.record().unread_orders == ("a",)
    after = driver.restarted(50.0)
    assert after.wants() == ReadFills("a", OPENED)
    read(after, execution("a", "1"))
    assert closed(after) == (D(1), D(-3), "the stop was filled")


def test_nothing_is_read_where_all_fills_were_reported() -> None:
    driver = waiting(timing=TIMING)
    driver.fills("a", "1", price="97", trade="1", status="filled")
    flat(driver)
    assert driver.state.ended
    assert closed(driver) == (D(1), D(-3), "the stop was filled")


def test_an_exit_of_unknown_outcome_is_read_too() -> None:
    driver = waiting(timing=TIMING)
    driver.step(CloseWanted("on purpose"))
    driver.fails(OutcomeUnknown("?"))
    driver.executions = {"b": (execution("b", "1", "99"),)}
    for at in (5.0, 7.0, 9.0, 12.0, 15.0):
        driver.at = at
        driver.shows(driver.live["a"], ELSEWHERE, at=at) if driver.live else driver.shows(ELSEWHERE, at=at)
    driver.step(PositionUpdated(D(0), 16.0), 16.0)
    driver.shows(driver.live["a"], ELSEWHERE, at=18.0)
    driver.shows(driver.live["a"], ELSEWHERE, at=20.0)
    assert driver.does() == CancelStop("a", "its position is closed")
    driver.told.clear()
    assert driver.does() == ReadFills("b", OPENED)
    assert driver.last(ExitFilled)["quantity"] == D(1)
    assert closed(driver) == (D(1), D(-1), "closed by the bot")


def test_the_last_order_is_read_first_and_the_others_only_if_the_profit_is_still_unknown() -> None:
    driver = opening(timing=TIMING)
    driver.fails(OutcomeUnknown("?"), executed=False)
    driver.at = 10.0
    driver.shows(a_report(), at=10.0)
    driver.shows(a_report(), at=12.0)
    while driver.state.orders:  # the first one is absent
        driver.does()
        driver.at += 2.0
        driver.shows(a_report(), at=driver.at)
    driver.does()
    driver = flat(driver)
    driver.executions = {"b": (execution("b", "1"),)}
    assert driver.does() == ReadFills("b", OPENED)
    assert driver.state.ended
    assert closed(driver)[1] == D(-3)


def test_a_failed_read_is_tried_again_and_then_the_profit_stays_unknown() -> None:
    driver = flat(waiting(timing=TIMING))
    error = driver.state.error
    for _ in range(3):
        assert not driver.state.ended
        driver.at += 10.0
        driver.fails(ExchangeUnreachable("no answer"))
    assert closed(driver) == (D(0), None, UNKNOWN)
    assert driver.state.error is error  # it is not why anything has no stop


def test_a_venue_that_can_not_state_executions_is_asked_once() -> None:
    driver = flat(waiting(timing=TIMING))
    driver.fails(UsageError("it is not known how"))
    assert closed(driver) == (D(0), None, UNKNOWN)


def test_a_read_that_waits_for_the_rate_limit_is_no_failure() -> None:
    driver = flat(waiting(timing=TIMING))
    for _ in range(9):
        driver.fails(RateLimited("later", retry_after=5.0))
        assert driver.wants() == driver.at + 5.0
        driver.at += 5.0
    read(driver, execution("a", "1"))
    assert closed(driver)[1] == D(-3)


def test_a_position_that_waits_for_the_key_is_delayed_by_no_read() -> None:
    driver = flat(waiting(timing=TIMING))
    driver.begins()
    driver.step(CheckWanted())
    assert not driver.state.ended
    driver.step(CheckWanted(SUCCESSOR))
    assert closed(driver) == (D(0), None, UNKNOWN)
    driver.answers((execution("a", "1"),))  # it comes too late


def test_an_order_that_was_forgotten_meanwhile_is_left_unknown() -> None:
    driver = flat(waiting(timing=TIMING))
    driver.begins()
    driver.state.ended_orders.clear()
    driver.answers((execution("a", "1"),))
    assert closed(driver) == (D(0), None, UNKNOWN)
