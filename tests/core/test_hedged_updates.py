"""In hedge mode an update of the other side says nothing about this one."""

from __future__ import annotations

from driver import TIMING, D, a_report, waiting
from msgspec.structs import replace

from trailing.core.identity import identify
from trailing.core.inputs import PositionUpdated

HEDGED = replace(TIMING, hedged=True)


def test_an_update_of_the_other_side_leaves_what_is_known_of_this_one() -> None:
    driver = waiting(timing=HEDGED)
    driver.step(PositionUpdated(D("1.6"), 5.0), 5.0)
    driver.step(PositionUpdated(D("0.3"), 6.0, is_other_side=True), 6.0)
    assert driver.state.told_quantity == D("1.6")


def test_updates_of_both_sides_in_one_frame_are_both_taken() -> None:
    driver = waiting(timing=HEDGED)
    driver.step(PositionUpdated(D("0.3"), 5.0, is_other_side=True), 5.0)
    driver.step(PositionUpdated(D("0.6"), 5.0), 5.0)  # as in a frame with SHORT and LONG
    assert driver.state.told_quantity == D("0.6")


def test_what_a_stop_left_of_an_added_to_position_stays_this_position() -> None:
    """As `test_what_the_last_update_left_open_…` of one-way mode, with an update of the other side in between."""
    driver = waiting(timing=HEDGED)
    driver.fills("a", "1", trade="1")
    driver.step(PositionUpdated(D(1), 0.0))  # a person had added to it
    driver.step(PositionUpdated(D("0.3"), 0.0, is_other_side=True))
    driver.state.reported_entry = None
    assert identify(driver.state, a_report("1", "101"), {}) == "same"
