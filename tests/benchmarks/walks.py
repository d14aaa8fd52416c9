"""Count the functions of `trailing` that a moved stop, a protected position and a restart walk through.

Run as ``python tests/benchmarks/walks.py [--list]``. It uses only the public face, so that it runs unchanged on older
commits: put another checkout first on PYTHONPATH to count there. ``--list`` prints every function with its length.

A function counts once per walk, however often it is entered or resumed. Lambdas and comprehensions don't count, because
they are read where they stand. The paper exchange doesn't count either, because on a real account another exchange stands
there; the last two columns include it.
"""

# ruff: noqa: T201 - a script that prints its table

from __future__ import annotations

import ast
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import CodeType, FrameType
from typing import TypeAlias

import structlog
import trio
import trio.testing

import trailing
from trailing import Callback, Percent, Position, Protected, Tick, TrailPlan
from trailing.exchanges.paper import PaperExchange
from trailing.stores import MemoryStore

ROOT = Path(trailing.__file__).parent
PAPER = ROOT / "exchanges" / "paper"
PLAN = TrailPlan(initial_stop=Percent(2), rules=(Callback(Percent(1), activation=Percent(1)),))
START = datetime(2026, 1, 1, tzinfo=UTC)
RESUMED = 10

Walk: TypeAlias = Callable[[set[CodeType]], Awaitable[None]]


@contextmanager
def counted(entered: set[CodeType]) -> Iterator[None]:
    """Add the code of every function that is entered within the block."""

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            entered.add(frame.f_code)

    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(None)


@asynccontextmanager
async def opened(
    count: int, *, can_amend: bool = True
) -> AsyncIterator[tuple[PaperExchange, MemoryStore, tuple[Position, ...]]]:
    """A paper exchange without latency with so many positions, and a store in memory."""
    positions = tuple(
        Position(f"COIN{number}/USDT:USDT", "long", Decimal("1.5"), Decimal(100), START) for number in range(count)
    )
    async with trailing.open_paper(latency=0.0, utc_start=START, can_amend=can_amend) as exchange:
        for position in positions:
            await exchange.enter(position)
        yield exchange, MemoryStore(), positions


async def amend_a_stop(entered: set[CodeType]) -> None:
    """One tick moves a stop, on an exchange that amends."""
    await _move_a_stop(entered, can_amend=True)


async def replace_a_stop(entered: set[CodeType]) -> None:
    """One tick moves a stop: a new one is placed, then the old one is cancelled."""
    await _move_a_stop(entered, can_amend=False)


async def _move_a_stop(entered: set[CodeType], *, can_amend: bool) -> None:
    async with (
        opened(1, can_amend=can_amend) as (exchange, store, (position,)),
        trailing.open_manager(exchange, store, PLAN) as manager,
    ):
        assert isinstance(await manager.protect(position, deadline=5.0), Protected)
        await trio.sleep(5)
        with counted(entered):
            exchange.feed(Tick(position.symbol, Decimal(105), trio.current_time()))
            await trio.sleep(1)
        assert next(iter(manager.stops().values())).price == Decimal("103.95")


async def protect_a_position(entered: set[CodeType]) -> None:
    """One position is protected."""
    async with opened(1) as (exchange, store, (position,)), trailing.open_manager(exchange, store, PLAN) as manager:
        await trio.sleep(5)
        with counted(entered):
            assert isinstance(await manager.protect(position, deadline=5.0), Protected)


async def restart(entered: set[CodeType]) -> None:
    """A restart resumes ten positions."""
    async with opened(RESUMED) as (exchange, store, positions):
        async with trailing.open_manager(exchange, store, PLAN) as manager:
            report = await manager.protect_wave(positions, deadline=5.0)
            assert all(isinstance(outcome, Protected) for outcome in report.outcomes)
        with counted(entered):
            async with trailing.open_manager(exchange, store, PLAN) as manager:
                assert len(manager.stops()) == RESUMED
                await trio.sleep(5)


def lengths() -> dict[tuple[str, int], int]:
    """The lines of every function of the package, by its file and the line of its `def`, or of its first decorator."""
    found = {}
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                found[str(path), first] = (node.end_lineno or node.lineno) - node.lineno + 1
    return found


def count(walk: Walk) -> dict[CodeType, int]:
    """Run a walk. Returns the named functions of the package that it entered, with their lines."""
    entered: set[CodeType] = set()
    trio.run(walk, entered, clock=trio.testing.MockClock(autojump_threshold=0))
    known = lengths()
    return {
        code: known[code.co_filename, code.co_firstlineno]
        for code in entered
        if (code.co_filename, code.co_firstlineno) in known and not code.co_name.startswith("<")
    }


def main() -> None:
    """Print the table."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    print(f"{'walk':38}{'functions':>10}{'files':>6}{'with paper':>12}{'files':>6}  the longest function")
    for name, walk in WALKS.items():
        everything = count(walk)
        walked = {code: lines for code, lines in everything.items() if PAPER not in Path(code.co_filename).parents}
        figures = f"{len(walked):10}{_files(walked):6}{len(everything):12}{_files(everything):6}"
        longest = max(walked, key=lambda code: walked[code])
        print(f"{name:38}{figures}  {walked[longest]} lines, {_named(longest)}")
        if "--list" in sys.argv:
            for code in sorted(walked, key=_named):
                print(f"    {walked[code]:4}  {_named(code)}")


WALKS: Mapping[str, Walk] = {
    "one tick moves a stop (amended)": amend_a_stop,
    "one tick moves a stop (placed anew)": replace_a_stop,
    "one position is protected": protect_a_position,
    f"a restart resumes {RESUMED} positions": restart,
}


def _files(codes: Iterable[CodeType]) -> int:
    return len({code.co_filename for code in codes})


def _named(code: CodeType) -> str:
    return f"{Path(code.co_filename).relative_to(ROOT)}:{code.co_firstlineno} {code.co_qualname}"


if __name__ == "__main__":
    main()
