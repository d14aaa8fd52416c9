"""`trailing check` leaves nothing behind when it is interrupted, at whichever request."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import trio
from checked_venue import SETTINGS, UNTOUCHED, add_foreign, credentials_of, hurry, left_on, on_server
from moving_market import move_prices
from real_exchange import BTC, VENUES, open_server
from venue_faults import Fault, Request, nth
from venue_server import VenueServer

from trailing.cli.operate.check_record import Recorder
from trailing.cli.operate.check_run import CheckResult, Settings, run_check
from trailing.cli.signals import Interruption

FOLDER = Path(__file__).parent
LATE_SECONDS = 0.6
SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143}
BEFORE_LANDING = {(VENUES[0], signal.SIGINT, 20), (VENUES[0], signal.SIGTERM, 40), (VENUES[0], signal.SIGINT, 60)}
"""The check is the same code on every venue, and for each signal. `nox -s simulate` sends each signal at each step on all."""


class Checked:
    """One check on a server in the same trio run, and the number of requests that the server got.

    Args:
        at: the request, counted from 1, whose arrival interrupts the check; None: none does.
        fault: what happens to that request; None: it is executed and answered.
        outside: the interruption cancels the block around the whole check, and not only its steps.
    """

    def __init__(
        self, venue: str, *, at: int | None = None, fault: Callable[[str], Fault] | None = None, outside: bool = False
    ) -> None:
        self.venue, self.at, self.fault, self.outside = venue, at, fault, outside
        self.operations: list[str] = []
        self.named: list[object] = []
        self.result: CheckResult | None = None
        self.left: Any = None

    async def run(self) -> None:
        """Run the check as the command does, and note what is left on the server."""
        interruption, recorder = Interruption(), Recorder(credentials_of(self.venue))
        async with open_server(self.venue, **SETTINGS.get(self.venue, {})) as server, trio.open_nursery() as tasks:
            self._count(server, interruption)
            tasks.start_soon(move_prices, server)
            add_foreign(server)
            with interruption.cancels():
                async with on_server(server)(
                    self.venue, credentials=credentials_of(self.venue), testnet=True, configure=recorder.configure
                ) as exchange:
                    self.result = await run_check(
                        exchange,
                        Settings(symbol=BTC),
                        recorder,
                        cancels=nullcontext if self.outside else interruption.cancels,
                        on_step=lambda _: None,
                        on_left=self.named.append,
                        tell=lambda _: None,
                    )
            await trio.sleep(LATE_SECONDS if self.fault is late else 0)
            self.left = left_on(server)
            tasks.cancel_scope.cancel()

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


def lost(endpoint: str) -> Fault:
    """The request is executed, and its reply is lost."""
    return Fault(on=endpoint, when=nth(1), drop="after")


def late(endpoint: str) -> Fault:
    """The request is executed after the client has given it up."""
    return Fault(on=endpoint, when=nth(1), delay=LATE_SECONDS)


async def requests_of(venue: str) -> list[str]:
    """Return the operations of the requests of a whole check, in order."""
    whole = Checked(venue)
    await whole.run()
    assert whole.result is not None
    assert (whole.result.verdict, whole.left) == ("passed", UNTOUCHED)
    return whole.operations


async def interrupt_each(venue: str, numbers: Iterable[int], fault: Callable[[str], Fault] | None = None) -> None:
    """Interrupt a check at each of these requests in turn, counted from 1."""
    for number in numbers:
        checked = Checked(venue, at=number, fault=fault)
        await checked.run()
        assert (number, checked.left, checked.named) == (number, UNTOUCHED, [])
        if checked.result is not None:
            assert checked.result.ended in {"interrupted", "done"}


@pytest.mark.parametrize("venue", VENUES)
async def test_a_check_that_is_interrupted_at_some_of_its_requests_leaves_nothing(
    venue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch, venue)
    await interrupt_each(venue, range(1, len(await requests_of(venue)) + 1, 17))


@pytest.mark.slow
async def test_a_check_that_is_interrupted_at_every_second_of_its_requests_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The reply comes to one request, and that of the next one is lost."""
    hurry(monkeypatch, VENUES[0])
    count = len(await requests_of(VENUES[0]))
    assert count > 50
    await interrupt_each(VENUES[0], range(1, count + 1, 4))
    await interrupt_each(VENUES[0], range(3, count + 1, 4), lost)


@pytest.mark.repeats
@pytest.mark.parametrize("fault", [None, lost], ids=["the reply comes", "the reply is lost"])
@pytest.mark.parametrize("venue", VENUES)
async def test_a_check_that_is_interrupted_at_any_of_its_requests_leaves_nothing(
    venue: str, fault: Callable[[str], Fault] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch, venue)
    await interrupt_each(venue, range(1, len(await requests_of(venue)) + 1), fault)


@pytest.mark.parametrize("venue", VENUES)
async def test_an_order_that_is_executed_after_the_interruption_is_removed(
    venue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch, venue, request_validity=1.0)
    operations = await requests_of(venue)
    monkeypatch.setattr("trailing.exchanges.ccxt.client.REQUEST_SECONDS", 0.3)
    entry, stop = operations.index("place_entry") + 1, operations.index("place_stop") + 1
    await interrupt_each(venue, (entry, stop), late)


@pytest.mark.parametrize("number", [15, 30, 45])
@pytest.mark.parametrize("venue", VENUES)
async def test_a_check_that_is_cancelled_from_outside_leaves_nothing(
    venue: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch, venue)
    checked = Checked(venue, at=number, outside=True)
    await checked.run()
    assert (checked.result, checked.left, checked.named) == (None, UNTOUCHED, [])


@pytest.mark.parametrize(
    ("venue", "by", "number"),
    [
        pytest.param(*case, marks=pytest.mark.slow if case in BEFORE_LANDING else pytest.mark.repeats)
        for case in product(VENUES, SIGNALS, (20, 40, 60))
    ],
)
def test_a_signal_to_a_real_process_ends_it_with_nothing_left(
    venue: str, by: signal.Signals, number: int, tmp_path: Path
) -> None:
    command = [sys.executable, str(FOLDER / "checked_process.py"), venue, str(int(by)), str(number)]
    path = os.pathsep.join(str(FOLDER.parent / name) for name in ("", "servers", "venues"))
    environment = os.environ | {"PYTHONPATH": path}
    ran = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr
    ended = json.loads(ran.stdout.splitlines()[-1])
    assert ended == {
        "code": SIGNALS[by],
        "left": [list(UNTOUCHED[0]), {key: str(value) for key, value in UNTOUCHED[1].items()}],
    }
    report = json.loads((tmp_path / f"trailing-check-{venue}.json").read_text())
    assert (report["ended"], report["left"]) == ("interrupted", [])
