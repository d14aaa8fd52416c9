"""The demo measures its waves; on a clock that jumps, the measurements are exact."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from trio.testing import MockClock

from trailing.cli.practice.demo import run_acts
from trailing.cli.practice.demo_market import open_positions, price_steps
from trailing.cli.practice.demo_screen import DemoScreen, write_svg
from trailing.stores.memory import MemoryStore

Run = Callable[..., Any]


async def test_under_one_lock_a_wave_takes_the_sum_and_with_trailing_its_longest(
    autojump_clock: MockClock, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    screen = DemoScreen(to_stderr=True)
    result = await run_acts(screen, MemoryStore(), MemoryStore())
    locked, trailing = result.waves
    # On this clock only the exchange takes time, so the fifth stop is acknowledged exactly at the deadline.
    assert sorted(lane.protected_after or 10.0 for lane in locked.positions) == pytest.approx([2, 4, 6, 8, 10])
    assert locked.elapsed == pytest.approx(10)
    assert [lane.protected_after for lane in trailing.positions] == pytest.approx([2.0] * 5)
    assert (trailing.protected, trailing.untracked) == (5, 0)
    assert trailing.unprotected_seconds == pytest.approx(10)
    assert autojump_clock.current_time() < 30
    rows = result.report.positions
    assert [row.state for row in rows] == ["closed"] * 5
    assert sum(row.moves > 0 for row in rows) == 4
    assert [row.profit is not None and row.profit > 0 for row in rows] == [True, True, True, False, True]
    write_svg(tmp_path / "demo.svg", screen)
    picture = (tmp_path / "demo.svg").read_text()
    assert picture.startswith("<svg")
    assert "trailing&#160;demo" in picture
    assert "one lock: BTC/USDT:USDT placing" in capsys.readouterr().err


def test_the_market_is_the_same_in_each_run_and_has_no_money_in_floats() -> None:
    first, second = list(price_steps()), list(price_steps())
    assert first == second
    assert all(type(price) is Decimal for prices in first for price in prices.values())
    assert len(first) <= 9 * 20


def test_the_demo_has_five_positions_on_both_sides() -> None:
    from datetime import UTC, datetime  # noqa: PLC0415

    positions = open_positions(datetime.now(UTC))
    assert len({position.symbol for position in positions}) == 5
    assert {position.side for position in positions} == {"long", "short"}


@pytest.mark.slow
def test_the_demo_shows_the_incident_in_real_time_within_thirty_seconds(run: Run) -> None:
    ran = run("demo", "--json")
    assert ran.code == 0
    document = json.loads(ran.out)
    locked, trailing = document["waves"]
    assert locked["protected"] < 5
    assert locked["untracked"] > 0
    assert (trailing["protected"], trailing["untracked"]) == (5, 0)
    assert trailing["elapsed"] < locked["elapsed"] / 2
    assert document["report"]["totals"]["closed"] == 5
