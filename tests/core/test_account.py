"""Snapshots of an account: its lists, sorted by position."""

from __future__ import annotations

from decimal import Decimal

import pytest
from driver import SYMBOL, a_report, a_snapshot, a_stop
from msgspec.structs import replace

from trailing.core.account import Key, OpenOrder, PositionReport
from trailing.core.model import Side
from trailing.errors import UsageError

KEY: Key = (SYMBOL, "long")


def test_stops_and_reports_are_sorted_by_symbol_and_side() -> None:
    short = a_stop("b", side="short")
    snapshot = a_snapshot(1.0, a_stop("a"), short, a_stop("c"), a_report(), answered_at=2.0)
    assert snapshot.ours == {KEY: (a_stop("a"), a_stop("c")), (SYMBOL, "short"): (short,)}
    assert snapshot.reports == {KEY: a_report()}
    assert (snapshot.asked_at, snapshot.answered_at, snapshot.has_positions) == (1.0, 2.0, True)
    assert (snapshot.shows_all_stops, snapshot.shows_all_positions) == (True, True)


def test_fm31_foreign_stops_are_left_out_and_those_of_another_instance_are_kept_apart() -> None:
    snapshot = a_snapshot(1.0, a_stop("foreign-1"), a_stop("instance-1"))
    assert snapshot.ours == {}
    assert snapshot.others == (a_stop("instance-1"),)


def test_every_listed_stop_is_counted_and_one_that_a_look_up_adds_is_not_foreign() -> None:
    snapshot = a_snapshot(1.0, a_stop("a"), a_stop("foreign-1"), a_stop("instance-1"))
    assert (snapshot.foreign_stops, snapshot.listed_stops) == (2, 3)
    found = replace(a_snapshot(1.0), ours={KEY: (a_stop("a"),)})
    assert (found.foreign_stops, found.listed_stops) == (0, 1)


def test_fm64_an_order_that_is_listed_twice_exists_with_unknown_figures_and_its_list_proves_no_absence() -> None:
    snapshot = a_snapshot(1.0, a_stop("a"), a_stop("a", "99"), a_stop("b"))
    assert (snapshot.ours, snapshot.doubled_orders) == ({KEY: (a_stop("b"),)}, frozenset({"a"}))
    assert (snapshot.shows_all_stops, snapshot.shows_all_positions) == (False, True)


def test_fm64_a_position_that_is_listed_twice_is_open_and_its_list_proves_no_absence() -> None:
    snapshot = a_snapshot(1.0, a_report(), a_report("2"))
    assert (snapshot.reports, snapshot.doubled_positions) == ({}, frozenset({KEY}))
    assert (snapshot.shows_all_stops, snapshot.shows_all_positions) == (True, False)
    assert snapshot.has_positions


def test_fm64_a_list_that_could_not_be_read_in_full_proves_no_absence() -> None:
    snapshot = a_snapshot(1.0, shows_all_stops=False, shows_all_positions=False)
    assert (snapshot.shows_all_stops, snapshot.shows_all_positions, snapshot.has_positions) == (False, False, False)


@pytest.mark.parametrize(
    "report", [a_report("1E+400"), a_report(entry="0"), a_report(liquidation="NaN"), a_report("-1")], ids=str
)
def test_fm62_a_position_with_impossible_figures_is_open_and_its_list_proves_no_absence(report: PositionReport) -> None:
    snapshot = a_snapshot(1.0, report)
    assert (snapshot.reports, snapshot.doubled_positions, snapshot.shows_all_positions) == ({}, frozenset({KEY}), False)


def test_a_liquidation_price_of_zero_is_none() -> None:
    assert a_snapshot(1.0, a_report(liquidation="0")).reports == {KEY: a_report(liquidation="0")}


def test_a_report_of_a_symbol_in_another_form_is_refused() -> None:
    with pytest.raises(UsageError, match="PositionReport.symbol got 'BTCUSDT'"):
        PositionReport("BTCUSDT", "long", a_report().quantity, a_report().entry_price)


@pytest.mark.parametrize(
    ("side", "is_conditional", "covers"), [("long", False, True), ("long", True, False), (None, False, False)]
)
def test_a_reduce_only_order_in_the_order_book_covers_its_position(
    side: Side | None, is_conditional: bool, covers: bool
) -> None:
    order = OpenOrder(
        "BTC/USDT:USDT", "1", "", "LIMIT", "sell", side, Decimal(1), Decimal(110), is_conditional=is_conditional
    )
    assert order.covers_position == covers
