"""Ctrl+C at any step of `trailing flatten` ends with a list, and no open position has lost its stop."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import trio
from checked_venue import credentials_of, hurry
from flattened_process import COUNT
from flattened_venue import coins, fill_account, left_open, orders_left, settings_of, stop_id
from real_exchange import VENUES, open_server
from venue_faults import Fault, Request, nth
from venue_server import VenueServer

from trailing import open_ccxt
from trailing.cli.signals import Interruption
from trailing.flatten.account import Flattening, open_flattening
from trailing.flatten.result import FlattenResult

FOLDER = Path(__file__).parent
SYMBOLS = {coin.symbol: stop_id(number) for number, coin in enumerate(coins(COUNT))}
LATE_SECONDS = 0.3
ROOT = FOLDER.parent.parent


class Interrupted:
    """One exit on a server in the same trio run.

    Args:
        at: the request, counted from 1, whose arrival interrupts the exit; None: none does.
        fault: what happens to that request; None: it is executed and answered.
    """

    def __init__(self, venue: str, *, at: int | None = None, fault: Callable[[str], Fault] | None = None) -> None:
        self.venue, self.at, self.fault = venue, at, fault
        self.operations: list[str] = []
        self.result: FlattenResult | None = None
        self.left: dict[str, set[str]] = {}
        self.orders: list[str] = []

    async def run(self) -> None:
        """Run the exit as the command does, and note what is left on the server."""
        interruption, flattening = Interruption(), None
        async with open_server(self.venue, **settings_of(self.venue, COUNT)) as server:
            fill_account(server, COUNT, profits=1)
            self._count(server, interruption)
            with interruption.cancels():
                async with (
                    open_ccxt(
                        self.venue, credentials=credentials_of(self.venue), configure=server.configure
                    ) as exchange,
                    open_flattening(exchange) as flattening,
                ):
                    await flattening.survey()
                    await flattening.run(30.0)
            await trio.sleep(LATE_SECONDS if self.fault is late else 0)
            self.result = _result_of(flattening)
            self.left, self.orders = left_open(server), orders_left(server)

    def _count(self, server: VenueServer, interruption: Interruption) -> None:
        operation = server.face.operation

        def count(request: Request) -> str:
            self.operations.append(operation(request))
            if len(self.operations) == self.at:
                if self.fault is not None:
                    server.faults.add(self.fault(request.endpoint))
                interruption.interrupt(signal.SIGINT)
            return self.operations[-1]

        server.face.operation = count  # type: ignore[method-assign]

    def check(self) -> None:
        """Check that each open position has its stop and is listed, and that a finished exit has left nothing."""
        for symbol, stops in self.left.items():
            assert SYMBOLS[symbol] in stops, f"{self.at}: {symbol} is open without its stop"
        if self.result is None:
            assert self.left.keys() == SYMBOLS.keys()
            return
        listed = {left.symbol for left in self.result.still_open}
        closed = {one.symbol for one in self.result.closed}
        assert not closed & self.left.keys(), self.at
        assert self.left.keys() <= listed or not self.result.is_flat, self.at
        assert not (listed | closed) or self.left.keys() <= listed, self.at
        if self.result.is_done and closed:
            assert (self.left, self.orders) == ({}, [])


def _result_of(flattening: Flattening | None) -> FlattenResult | None:
    return None if flattening is None else flattening.result()


def lost(endpoint: str) -> Fault:
    """The request is executed, and its reply is lost."""
    return Fault(on=endpoint, when=nth(1), drop="after")


def late(endpoint: str) -> Fault:
    """The request is executed after the command has ended."""
    return Fault(on=endpoint, when=nth(1), delay=LATE_SECONDS)


async def requests_of(venue: str) -> int:
    """Return the number of requests of a whole exit."""
    whole = Interrupted(venue)
    await whole.run()
    assert whole.result is not None
    assert (whole.result.is_done, whole.left, whole.orders) == (True, {}, [])
    return len(whole.operations)


async def interrupt_each(venue: str, numbers: Iterable[int], fault: Callable[[str], Fault] | None = None) -> None:
    """Interrupt an exit at each of these requests, counted from 1. A few run at the same time, because they mostly wait."""
    limiter = trio.CapacityLimiter(4)

    async def interrupt(number: int) -> None:
        async with limiter:
            interrupted = Interrupted(venue, at=number, fault=fault)
            await interrupted.run()
            interrupted.check()

    async with trio.open_nursery() as nursery:
        for number in numbers:
            nursery.start_soon(interrupt, number)


BEFORE_LANDING = {("binanceusdm", None), ("bybit", late), ("okx", lost)}
"""The exit is the same code on every venue. `nox -s simulate` meets each fault on each of them."""


@pytest.mark.parametrize(
    ("venue", "fault"),
    [
        pytest.param(*case, marks=pytest.mark.slow if case in BEFORE_LANDING else pytest.mark.repeats)
        for case in product(VENUES, (None, lost, late))
    ],
)
async def test_interrupted_at_each_request_every_open_position_keeps_its_stop_and_is_listed(
    venue: str, fault: Callable[[str], Fault] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch, venue)
    count = await requests_of(venue)
    await interrupt_each(venue, range(1, count + 1), fault)


def start(venue: str, by: int, number: int, *words: str, **streams: Any) -> subprocess.Popen[str]:
    """Start the command in a process of its own; its n-th request sends it a signal."""
    paths = os.pathsep.join(str(ROOT / "tests" / name) for name in ("", "servers", "venues"))
    return subprocess.Popen(
        [sys.executable, str(FOLDER / "flattened_process.py"), venue, str(by), str(number), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
        **streams,
    )


def last_line(out: str) -> Any:
    return json.loads(out.strip().splitlines()[-1])


_SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("by", "number"),
    [
        pytest.param(signal.SIGINT, 6, marks=_SLOW),
        (signal.SIGTERM, 12),
        pytest.param(signal.SIGINT, 18, marks=pytest.mark.repeats),
        pytest.param(signal.SIGINT, 25, marks=_SLOW),
    ],
)
def test_a_process_that_is_interrupted_prints_the_list_and_leaves_the_stops_of_open_positions(
    by: signal.Signals, number: int
) -> None:
    with start("binanceusdm", by, number, "--yes") as process:
        out, err = process.communicate(timeout=60)
    found = last_line(out)
    assert (process.returncode, found["code"]) == (0, 128 + by)
    assert "Traceback" not in err
    for symbol, stops in found["left"].items():
        assert stops == [SYMBOLS[symbol]]
        said = " ".join(out.split())
        assert f"not closed: {symbol}" in said or "its positions are unknown" in said or "nothing was closed" in err
    assert "NOT proved flat" in out or "nothing was closed" in err


def ask(answer: bytes | signal.Signals) -> tuple[Any, str, str]:
    """Run the command at a terminal, and answer its question by typing, or with a signal."""
    ours, theirs = pty.openpty()
    try:
        with start("bybit", signal.SIGINT, 0, stdin=theirs) as process:
            assert process.stderr is not None
            asked = ""
            while "Type yes: " not in asked:
                read = process.stderr.read(1)
                assert read, asked
                asked += read
            if isinstance(answer, signal.Signals):
                process.send_signal(answer)
            else:
                os.write(ours, answer)
            out, err = process.communicate(timeout=60)
    finally:
        os.close(ours)
        os.close(theirs)
    return last_line(out), out, asked + err


def test_the_command_shows_what_it_will_close_and_closes_after_yes() -> None:
    found, out, _ = ask(b"yes\n")
    assert (found["code"], found["left"], found["orders"]) == (0, {}, [])
    assert all(symbol in out for symbol in SYMBOLS)
    assert "positions to close: 3" in out


@pytest.mark.parametrize(("answer", "code"), [pytest.param(b"y\n", 1, marks=_SLOW), (signal.SIGINT, 130)])
def test_without_yes_nothing_is_closed_and_every_position_is_listed(answer: bytes | signal.Signals, code: int) -> None:
    found, out, _ = ask(answer)
    assert (found["code"], found["left"]) == (code, {symbol: [stop] for symbol, stop in SYMBOLS.items()})
    assert all(f"not closed: {symbol}" in " ".join(out.split()) for symbol in SYMBOLS)
