"""The price side of a position: prices, candles and plans in, the best price and the wanted stop out.

The plan is that of `driver`: entry 100, initial stop 98, from 101 on 1 % behind the best price.
"""

from __future__ import annotations

from typing import Any

import pytest
from driver import MARKET, RULES, D, Fails, a_candle, a_plan, a_position, a_tick, opening, waiting
from msgspec.structs import replace

from trailing.core.inputs import CandleClosed
from trailing.core.model import Side, Source
from trailing.core.next_request import NEVER
from trailing.core.plan import TrailPlan
from trailing.core.ratchet import Ratchet
from trailing.core.requests import ReadPrice, ReplaceStop
from trailing.core.rules import Chandelier

CANDLES: dict[str, Any] = {"rules": (Chandelier(D(2), 2),)}


def a_ratchet(side: Side = "long", **plan: Any) -> Ratchet:
    return Ratchet(a_position(side), TrailPlan(**(RULES | plan)), MARKET)


def takes(ratchet: Ratchet, *prices: str, source: Source = "last") -> list[bool]:
    """Take prices, and ask the rules after each that counts."""
    counted = []
    for price in prices:
        counted.append(ratchet.take(a_tick(price, source=source)))
        if counted[-1]:
            ratchet.ask_rules()
        ratchet.update_quiet_band()
    return counted


# Peaks.


@pytest.mark.parametrize(
    ("side", "peaks", "stops"),
    [
        ("long", ["100.99", "101", "102", "103"], ["98", "99.99", "100.98", "101.97"]),
        ("short", ["99.01", "99", "98", "97"], ["102", "99.99", "98.98", "97.97"]),
    ],
)
def test_every_new_peak_tightens_the_target(side: Side, peaks: list[str], stops: list[str]) -> None:
    ratchet, targets = a_ratchet(side), []
    for peak in peaks:
        takes(ratchet, peak)
        targets.append(str(ratchet.target))
    assert [D(target) for target in targets] == [D(stop) for stop in stops]


@pytest.mark.parametrize(("side", "peak", "worse"), [("long", "102", "101"), ("short", "98", "99")])
def test_a_price_that_is_no_new_peak_changes_nothing(side: Side, peak: str, worse: str) -> None:
    ratchet = a_ratchet(side)
    takes(ratchet, peak)
    target = ratchet.target
    takes(ratchet, peak, worse, peak)
    assert (ratchet.best, ratchet.target) == (D(peak), target)


def test_a_tick_of_another_source_is_counted_and_changes_nothing() -> None:
    ratchet = a_ratchet()
    assert takes(ratchet, "99", "1", "150", "150", source="mark") == [False] * 4
    assert (ratchet.foreign_ticks, ratchet.best, ratchet.last, ratchet.jump) == (4, D(100), D(100), None)


@pytest.mark.parametrize("side", ["long", "short"])
def test_a_quiet_tick_lies_between_the_target_and_the_best_price_or_is_at_it(side: Side) -> None:
    ratchet = a_ratchet(side)
    takes(ratchet, "102" if side == "long" else "98")
    inside, outside = ("101", "102"), ("100.98", "102.0000000000000000000000001", "100", "103")
    if side == "short":
        inside, outside = ("98.9", "98"), ("98.98", "97.99999999999999999999999999", "100", "97")
    assert [ratchet.take_if_quiet(a_tick(price)) for price in inside] == [True] * 2
    assert ratchet.last == D(inside[-1])
    assert [ratchet.take_if_quiet(a_tick(price)) for price in outside] == [False] * 4
    assert not ratchet.take_if_quiet(a_tick(inside[0], source="mark"))
    low, high = ratchet.quiet_band
    assert [low < D(price) < high for price in (*inside, *outside)] == [True] * 2 + [False] * 4


def test_no_tick_is_quiet_while_each_is_wanted_or_the_price_is_beyond_the_target_or_a_jump_is_doubted() -> None:
    ratchet = a_ratchet()
    takes(ratchet, "102")
    ratchet.update_quiet_band(every_tick=True)
    assert not ratchet.take_if_quiet(a_tick("101.5"))
    takes(ratchet, "100.9")
    assert not ratchet.take_if_quiet(a_tick("101.5"))
    takes(ratchet, "101.5", "150")
    assert not ratchet.take_if_quiet(a_tick("101.5"))


def test_every_tick_is_quiet_once_the_position_has_ended() -> None:
    ratchet = a_ratchet()
    ratchet.update_quiet_band(no_tick=True)
    assert [ratchet.take_if_quiet(a_tick(price)) for price in ("1", "100", "1000")] == [True] * 3


# Jumps.


@pytest.mark.parametrize("jump", ["110.01", "89.99"])
def test_a_single_print_far_away_counts_for_nothing(jump: str) -> None:
    ratchet = a_ratchet()
    assert takes(ratchet, jump, "100") == [False, True]
    assert (ratchet.best, ratchet.target, ratchet.jump) == (D(100), D(98), None)


def test_a_jump_that_the_next_price_agrees_with_waits_for_the_exchanges_own_price() -> None:
    driver = waiting()
    driver.sees("120", "119")
    assert driver.state.ratchet.best == D(100)
    assert driver.wants() == ReadPrice("jump")
    driver.does()
    assert (driver.state.ratchet.best, driver.state.ratchet.last) == (D(119), D(119))
    assert driver.does() == ReplaceStop(D("117.81"), D(1), "a")


@pytest.mark.parametrize(("side", "prices", "best"), [("long", ("120", "121", "120"), "121")])
def test_a_jump_that_is_confirmed_keeps_the_best_price_that_two_ticks_agree_on(
    side: Side, prices: tuple[str, ...], best: str
) -> None:
    ratchet = a_ratchet(side)
    assert takes(ratchet, *prices) == [False] * len(prices)
    assert not ratchet.take_own_price(D("119.5"))
    assert (ratchet.best, ratchet.last, ratchet.jump) == (D(best), D("119.5"), None)


def test_fm46_a_jump_that_the_exchanges_own_price_refutes_counts_for_nothing_and_raises_an_alarm() -> None:
    driver = waiting()
    driver.sees("1000", "1000")
    driver.price = D(100)
    assert driver.does() == ReadPrice("jump")
    assert driver.alarms == ["a jump of the price was not confirmed"]
    assert (driver.state.ratchet.best, driver.state.target, driver.wants()) == (D(100), D(98), float("inf"))


def test_a_gap_through_the_stop_counts_once_the_exchange_confirms_it() -> None:
    driver = waiting(exit_grace=2.0)
    driver.sees("80", "81", at=1.0)
    assert driver.does() == ReadPrice("jump")
    assert driver.wants() == 3.0
    assert driver.wants(3.0) == ReadPrice("crossing")


def test_the_exchanges_own_price_is_no_peak_by_itself() -> None:
    driver = waiting()
    driver.sees("98", at=1.0)
    driver.at, driver.price = 3.0, D(104)
    driver.does()
    assert (driver.state.ratchet.best, driver.state.ratchet.last, driver.wants()) == (D(100), D(104), NEVER)


def test_two_far_prints_that_disagree_count_for_nothing() -> None:
    ratchet = a_ratchet()
    assert takes(ratchet, "120", "80", "100") == [False, False, True]
    assert (ratchet.best, ratchet.jump) == (D(100), None)


def test_a_move_of_exactly_the_limit_is_no_jump() -> None:
    ratchet = a_ratchet()
    assert takes(ratchet, "110") == [True]
    assert ratchet.target == D("108.90")


def test_a_doubt_is_over_with_the_next_price_that_counts() -> None:
    ratchet = a_ratchet()
    assert takes(ratchet, "120", "100", "119") == [False, True, False]
    assert (ratchet.best, ratchet.jump) == (D(100), None)


# Candles.


def test_a_closed_candle_may_move_the_stop() -> None:
    driver = waiting(**CANDLES)
    driver.step(CandleClosed(a_candle(0, "101", "100", "100.5")), 60.0)
    driver.step(CandleClosed(a_candle(1, "101", "100.5", "101")), 120.0)
    driver.sees("101", at=130.0)
    # True ranges 0.5 and 0.7: a mean of 0.6; twice that is 1.2 behind the best price of 101.
    driver.step(CandleClosed(a_candle(2, "101.2", "100.5", "100.6")), 180.0)
    assert driver.wants() == ReplaceStop(D("99.8"), D(1), "a")


def test_no_rule_is_asked_before_the_first_stop_was_tried() -> None:
    driver = opening(**CANDLES)
    driver.sees("105")
    for minute in range(3):
        driver.step(CandleClosed(a_candle(minute, "105", "104.5", "105")))
    assert driver.state.target == D(98)
    driver.does()
    assert driver.state.target == D("104")


def test_candles_of_another_source_and_candles_that_no_rule_wants_are_left_out() -> None:
    ratchet = a_ratchet(**CANDLES)
    assert not any(ratchet.take_candle(a_candle(minute, "100", "99.9", "100", "mark")) for minute in range(3))
    assert ratchet.candles == ()
    plain = a_ratchet()
    assert not plain.take_candle(a_candle(0, "100", "99.9", "100"))
    assert plain.candles == ()


def test_only_the_candles_that_the_rules_need_are_kept() -> None:
    ratchet = a_ratchet(**CANDLES)
    bars = [a_candle(minute, "100", "96", "98.5") for minute in range(5)]
    assert all(ratchet.take_candle(bar) for bar in bars)
    assert ratchet.candles == tuple(bars[-3:])


def test_a_rule_that_proposes_less_than_before_loosens_nothing() -> None:
    driver = waiting(**CANDLES)
    for minute in range(3):
        driver.step(CandleClosed(a_candle(minute, "101", "100.5", "100.8")))
    driver.sees("101")
    driver.settles()
    assert driver.stop_price == D(100)  # twice the range of 0.5 behind 101
    for minute in range(3, 6):
        driver.step(CandleClosed(a_candle(minute, "101", "95", "100.8")))
    driver.sees("102")
    assert driver.settles() == []
    assert (driver.stop_price, driver.state.target) == (D(100), D(100))


# Price gaps.


@pytest.mark.parametrize("side", ["long", "short"])
def test_a_candle_that_began_before_the_position_was_opened_is_no_peak_of_it(side: Side) -> None:
    ratchet = a_ratchet(side)
    before, high, low = a_candle(-1, "150", "50", "100"), "100.5", "99.5"
    ratchet.take_backfill([before, a_candle(0, high, low, "100")], D(100))
    assert ratchet.best == D(high if side == "long" else low)


@pytest.mark.parametrize(("side", "high", "low", "best"), [("long", "1000", "99", "101"), ("short", "101", "10", "99")])
def test_an_extreme_of_a_candle_that_is_a_jump_from_its_other_prices_is_no_peak(
    side: Side, high: str, low: str, best: str
) -> None:
    ratchet = a_ratchet(side)
    candle = replace(a_candle(1, high, low, "99" if side == "short" else "101"), open=D(100))
    ratchet.take_backfill([candle], D(100))
    assert ratchet.best == D(best)


def test_a_candle_of_another_source_is_no_peak() -> None:
    ratchet = a_ratchet()
    ratchet.take_backfill([a_candle(1, "150", "100", "100", "mark")], D(100))
    assert ratchet.best == D(100)


def test_the_price_after_a_gap_ends_a_doubt() -> None:
    ratchet = a_ratchet()
    takes(ratchet, "150", "151")
    ratchet.take_backfill([a_candle(1, "105", "100", "104")], D("104.5"))
    assert (ratchet.best, ratchet.last, ratchet.suspect, ratchet.jump) == (D(105), D("104.5"), None, None)


# Rules that fail.


def test_a_rule_that_raises_leaves_the_target_and_is_not_asked_again() -> None:
    ratchet = a_ratchet(rules=(Fails(),))
    takes(ratchet, "105")
    assert isinstance(ratchet.bug, ZeroDivisionError)
    bug = ratchet.bug
    takes(ratchet, "106")
    assert (ratchet.bug is bug, ratchet.target, ratchet.best) == (True, D(98), D(106))


def test_a_position_whose_rule_failed_is_frozen_with_one_alarm_and_keeps_its_stop() -> None:
    driver = waiting()
    driver.state.ratchet.plan = a_plan(rules=(Fails(),))
    driver.state.ratchet._propose = None
    driver.sees("105", "106", "107")
    assert driver.alarms == ["frozen: its stop stays live and is not moved"]
    assert isinstance(driver.state.error, ZeroDivisionError)
    assert driver.wants() == float("inf")
    assert driver.state.ratchet.best == D(107)
