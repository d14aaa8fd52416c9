"""Which stop of ours tells the protected position from another one in its place."""

from __future__ import annotations

import pytest
from driver import D, a_report, a_stop, waiting

from trailing.core.identity import identify, stop_that_counts
from trailing.core.inputs import PositionUpdated
from trailing.core.shown import new_stop


@pytest.mark.parametrize("price", ["97", "99"])
def test_a_superseded_stop_does_not_count_beside_the_other_one(price: str) -> None:
    driver = waiting()
    driver.state.put(new_stop(a_stop("earlier", price), is_superseded=True))
    counting = stop_that_counts(driver.state)
    assert counting is not None
    assert counting.id == "a"


def test_what_the_last_update_left_open_is_the_same_position_where_no_entry_price_is_known() -> None:
    driver = waiting()
    driver.fills("a", "1", trade="1")
    driver.step(PositionUpdated(D(1), 0.0))  # a person had added to it
    driver.state.reported_entry = None
    assert identify(driver.state, a_report("1", "101"), {}) == "same"
    assert identify(driver.state, a_report("2", "101"), {}) == "another"


def test_an_update_after_the_one_of_the_last_fill_is_of_the_same_position_unless_that_one_said_that_it_is_flat() -> (
    None
):
    for left, identity in (("1", "same"), ("0", "another")):
        driver = waiting()
        driver.fills("a", "1", trade="1")
        driver.step(PositionUpdated(D(left), 0.0))
        driver.step(PositionUpdated(D("0.6"), 5.0))
        driver.state.reported_entry = D(100)
        stop = a_stop("a", "98")
        assert identify(driver.state, a_report("0.6", "101"), {"a": stop}) == identity
        assert identify(driver.state, a_report("0.5", "101"), {"a": stop}) == identity
        assert identify(driver.state, a_report("0.7", "101"), {"a": stop}) == "another"
