"""What is checked of a position before and just after its first stop."""

from __future__ import annotations

import pytest
from driver import MARKET, D, a_plan, a_position, a_report
from msgspec.structs import replace

from trailing.core.entry_checks import check_entry, check_report, check_side, check_size, coverable, least_stop
from trailing.core.model import Percent, Side
from trailing.errors import UsageError

PLAN = a_plan()


def test_a_quantity_is_covered_down_to_the_step_and_not_below_the_smallest_order() -> None:
    market = replace(MARKET, min_quantity=D("0.3"))
    assert [coverable(market, D(quantity)) for quantity in ("1.25", "0.3", "0.29", "0")] == [D("1.2"), D("0.3"), 0, 0]


def test_a_quantity_below_the_smallest_order_is_refused() -> None:
    market = replace(MARKET, min_quantity=D(3))
    with pytest.raises(UsageError, match="Position.quantity of .* got 2, wants at least 3"):
        check_size(a_position(quantity="2"), PLAN, market, D(98), None)
    check_size(a_position(quantity="3"), PLAN, market, D(98), None)
    with pytest.raises(UsageError, match="Position.quantity of .* got 0.05, wants at least 0.1"):
        check_size(a_position(quantity="0.05"), PLAN, MARKET, D(98), None)


@pytest.mark.parametrize(
    ("side", "price", "fits"),
    [
        ("long", "98.03", True),
        ("long", "98.01", False),
        ("long", "97", True),  # it is crossed: the distance from the entry price counts
        ("short", "101.97", True),
        ("short", "101.99", False),
        ("long", None, True),
    ],
)
def test_a_stop_has_to_be_some_ticks_from_the_price(side: Side, price: str | None, fits: bool) -> None:
    first_stop = D(98) if side == "long" else D(102)
    known = None if price is None else D(price)
    if fits:
        check_size(a_position(side), PLAN, MARKET, first_stop, known)
    else:
        with pytest.raises(UsageError, match="wants at least 2 ticks of 0.01 from"):
            check_size(a_position(side), PLAN, MARKET, first_stop, known)


@pytest.mark.parametrize(("side", "wrong", "right"), [("long", "101", "99"), ("short", "99", "101")])
def test_a_given_stop_that_was_never_on_the_right_side_of_the_price_is_refused(
    side: Side, wrong: str, right: str
) -> None:
    word = "below" if side == "long" else "above"
    with pytest.raises(UsageError, match=f"Position.stop_price of .* got {wrong}, wants it {word} the price, 100"):
        check_side(a_position(side, stop_price=D(wrong)), D(100))
    check_side(a_position(side, stop_price=D(right)), D(100))
    check_side(a_position(side, stop_price=D(right)), D(right))  # it was crossed: an exit, and no wrong figure
    check_side(a_position(side), D(100))


def test_an_entry_price_far_from_the_exchanges_own_is_refused() -> None:
    with pytest.raises(UsageError, match="Position.entry_price of .* got 100, wants within 10% of the exchange's 90"):
        check_entry(a_position(), PLAN, D(90))
    check_entry(a_position(), PLAN, D(95))
    check_entry(a_position(), PLAN, None)


def test_a_report_that_shows_less_or_another_price_is_refused() -> None:
    with pytest.raises(UsageError, match="Position.quantity of .* got 1, wants at most the 0.9"):
        check_report(a_position(), PLAN, MARKET, a_report("0.9"))
    with pytest.raises(UsageError, match="Position.entry_price"):
        check_report(a_position(), PLAN, MARKET, a_report(entry="50"))
    check_report(a_position(quantity="1.05"), PLAN, MARKET, a_report("1"))
    check_report(a_position(), PLAN, MARKET, a_report("5", "101"))


@pytest.mark.parametrize(
    ("side", "liquidation", "price", "stop"),
    [
        ("long", "99", "100", "99.5"),
        ("short", "101", "100", "100.49"),
        ("long", "99", "99.3", "99.01"),  # within the buffer: one tick before the liquidation price
        ("short", "101", "100.8", "100.99"),
        ("long", "98.995", "99.3", "99"),
        ("long", "99", "99.01", None),  # no tick between the two
        ("long", "101", "100", None),  # of the other side, in hedge mode
        ("long", "99", "99", None),
        ("short", "99", "100", None),
    ],
)
def test_fm61_the_stop_before_a_liquidation_is_never_an_exit(
    side: Side, liquidation: str, price: str, stop: str | None
) -> None:
    least = least_stop(side, D(liquidation), Percent("0.5"), MARKET, D(price))
    assert least == (None if stop is None else D(stop))
