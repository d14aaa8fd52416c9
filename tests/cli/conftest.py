"""A small wave with its price files, and fixtures that run the command in this process."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import structlog

from trailing.cli import main
from trailing.cli.practice.saved_account import AccountWriter

START = 1_515_561_000_000  # 2018-01-10 05:10 UTC
BARS = 120

Run = Callable[..., "Ran"]
InterruptedAfter = Callable[[int], AbstractContextManager[None]]


class Ran(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    """Reset the log, because the command configures it for the whole process, with the test's standard error."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def own_signals() -> Iterator[None]:
    """Restore the signal handlers after the test, because a command that a signal ended ignores further ones."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def interrupted_after(monkeypatch: pytest.MonkeyPatch, own_signals: None) -> InterruptedAfter:
    """A block in which a SIGINT comes after so many bookings of the paper exchange."""

    @contextmanager
    def interrupted_after(bookings: int) -> Iterator[None]:
        write, left = AccountWriter._write, bookings

        def write_and_signal(writer: AccountWriter, *changed: Any) -> None:
            nonlocal left
            write(writer, *changed)
            left -= 1
            if not left:
                signal.raise_signal(signal.SIGINT)

        with monkeypatch.context() as patch:
            patch.setattr(AccountWriter, "_write", write_and_signal)
            yield

    return interrupted_after


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: object) -> Ran:
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The folder of a wave and its prices; see `write_data`."""
    return write_data(tmp_path / "data")


def write_data(folder: Path) -> Path:
    """Write three symbols: one rises and falls, one falls, one hardly moves; two of them with bars missing."""
    folder.mkdir()
    (folder / "wave.csv").write_text(
        "symbol,side,quantity,entry_price,opened_at_ms\n"
        f"AAA/BTC:BTC,long,10,100,{START}\n"
        f"BBB/BTC:BTC,short,5,200,{START}\n"
        f"CCC/BTC:BTC,long,2,50,{START + 600_000}\n"
    )
    write_candles(folder / "aaa-btc-5m.csv", lambda bar: 10_000 + (bar * 20 if bar < 60 else 1200 - (bar - 60) * 40))
    write_candles(folder / "bbb-btc-5m.csv", lambda bar: 20_000 - bar * 15 + (bar % 7) * 40, missing=(20, 21, 22))
    write_candles(folder / "ccc-btc-5m.csv", lambda bar: 5_000 + bar % 3, missing=(0, 50))
    return folder


def write_candles(path: Path, cents_at: Callable[[int], int], missing: tuple[int, ...] = ()) -> None:
    """Write bars around a price course in hundredths."""
    lines = ["timestamp_ms,open,high,low,close,volume"]
    for bar in range(-3, BARS):
        if bar in missing:
            continue
        first, last = cents_at(max(bar, 0)), cents_at(max(bar, 0) + 1)
        prices = (first, max(first, last) + 8, min(first, last) - 8, last)
        money = ",".join(f"{price // 100}.{price % 100:02}" for price in prices)
        lines.append(f"{START + bar * 300_000},{money},1.5")
    path.write_text("\n".join(lines) + "\n")


class Replayed(NamedTuple):
    """What a replay has left."""

    database: Path
    out: str
    """Its standard output, in JSON."""


@pytest.fixture(scope="session")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Replayed:
    """What one replay of that wave has left. Tests copy the database, because a replay takes half a second."""
    data = write_data(tmp_path_factory.mktemp("replayed") / "data")
    database = data / "state.db"
    wave = ("--wave", str(data / "wave.csv"), "--prices", str(data), "--candles", "high-first")
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()):
        assert main(["run", "--paper", *wave, "--json", "--store", f"sqlite:///{database}"]) == 0
    return Replayed(database, out.getvalue())


@pytest.fixture
def replay(run: Run, data: Path) -> Run:
    """Run a replay of that wave, the high of each bar first; more words can be added."""

    def replay(*words: object) -> Ran:
        order = () if "--candles" in words else ("--candles", "high-first")
        return run("run", "--paper", "--wave", data / "wave.csv", "--prices", data, *order, *words)

    return replay
