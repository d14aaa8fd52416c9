"""What a restart costs, in real time: a thousand stored positions beside the wave that they were protected in."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import msgspec
import trio
from figures import report
from inspection import Inspection

import trailing
from trailing import Callback, Percent, Position, Protected, TrailPlan
from trailing.testing import FaultyExchange

PLAN = TrailPlan(initial_stop=Percent(2), rules=(Callback(Percent(1), activation=Percent(1)),))
LATENCY = 0.5
LISTS = ("open_stops", "positions")


class Figures(msgspec.Struct, frozen=True):
    """What was measured.

    Args:
        wave: seconds to protect the wave; `recovery`: from opening the manager again until every stop is known.
        caught_up: from then on, until the peaks that were missed are read and all is saved.
        list_reads: of the whole restart, and how many `requests` it made in all.
    """

    wave: float
    recovery: float
    caught_up: float
    list_reads: int
    requests: int


async def timed_recovery(count: int, store_url: str) -> Figures:
    """Protect so many positions, end the manager, and open another one on the same store."""
    now = datetime.now(UTC)
    positions = tuple(
        Position(f"COIN{number}/USDT:USDT", "long", Decimal("1.5"), Decimal(100), now) for number in range(count)
    )
    async with trailing.open_paper(latency=LATENCY) as paper, trailing.open_store(store_url) as store:
        for position in positions:
            await paper.enter(position)
        async with trailing.open_manager(paper, store, PLAN) as manager:
            started = time.perf_counter()
            wave = await manager.protect_wave(positions, deadline=10.0)
            wave_seconds = time.perf_counter() - started
            assert all(isinstance(outcome, Protected) for outcome in wave.outcomes)
            stops = manager.stops()
        exchange = FaultyExchange(paper, {})
        started = time.perf_counter()
        async with trailing.open_manager(exchange, store, PLAN) as manager:
            recovered = time.perf_counter()
            assert manager.stops() == stops
            claims = Inspection(manager).claims()
            with trio.fail_after(60):
                while not all(claim.is_stored and claim.is_backfilled for claim in claims):
                    await trio.sleep(0.05)
            caught_up = time.perf_counter()
            assert manager.stops() == stops
            assert len(await paper.open_stops()) == count
        made = Counter[str](call.operation for call in exchange.calls)
        return Figures(
            wave_seconds,
            recovered - started,
            caught_up - recovered,
            sum(made[operation] for operation in LISTS),
            made.total(),
        )


def test_a_thousand_stored_positions_are_recovered(tmp_path: Path) -> None:
    with report(f"recovery: 1,000 stored positions, every request takes {LATENCY} s") as figures:
        for name, url in (("memory", "memory:"), ("SQLite, durable", f"sqlite:///{tmp_path}/recovery.db")):
            measured = trio.run(timed_recovery, 1000, url)
            figures.add(f"{name}: to protect the wave", f"{measured.wave:.3f} s")
            figures.add(f"{name}: to recover it", f"{measured.recovery:.3f} s", "at most 3 s")
            figures.add("… beside protecting it", f"{measured.recovery / measured.wave:.1f} x")
            figures.add("… until missed peaks are read and all is saved", f"{measured.caught_up:.3f} s")
            figures.add("… reads of a list", f"{measured.list_reads}", "at most 10")
            figures.add("… requests in all", f"{measured.requests}")
            assert measured.list_reads <= 10
            assert measured.recovery < 30  # on any machine; the aim is what the table says
