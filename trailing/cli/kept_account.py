"""The paper account of a run, kept beside its store: a venue's own memory, which outlives the process that asks it.

A file of JSON lines that only grows: how the run was begun, then, after everything that the exchange booked, the symbol
that it changed, whole; the last line of a symbol counts. One that was cut off in the middle, by a process that died, was
answered to nobody.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from trailing.cli.price_files import CandleOrder
from trailing.core.model import Position, Side
from trailing.errors import LeaseLost, UsageError
from trailing.exchanges.paper import PaperExchange
from trailing.exchanges.paper.saved import SavedMarketBook
from trailing.exchanges.paper.transport import LogEntry

_SQLITE = "sqlite:///"


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """What a run was asked for, the paths absolute."""

    wave: str
    prices: tuple[str, ...]
    plan: str | None
    candles: CandleOrder
    deadline: float
    latency: float


class Begun(msgspec.Struct, frozen=True, tag=True):
    """The first line. The positions and the plan are those that the files held then."""

    account: str
    at: datetime
    command: Command
    positions: tuple[Position, ...]
    plan: dict[str, Any]


class Booked(msgspec.Struct, frozen=True, tag=True):
    """Something was booked.

    Args:
        fed: how many prices had been fed by then.
        at: seconds on the data's clock.
        place: the symbol afterwards.
        client_order_id: the order that it was about, or None.
        entered: the side of the position that was entered, or None.
    """

    fed: int
    at: float
    place: SavedMarketBook
    client_order_id: str | None = None
    entered: Side | None = None


class Ended(msgspec.Struct, frozen=True, tag=True):
    """The run came to its end: there is nothing to resume."""


_Line: TypeAlias = Begun | Booked | Ended
_LINE: msgspec.json.Decoder[_Line] = msgspec.json.Decoder(_Line)


class KeptAccount:
    """What the file tells of a run.

    Attributes:
        bookings: the last one of each symbol.
        used_ids: client order ids that were used.
        entered: symbol and side of every position that was entered.
        fed: prices that had been fed at the last booking; `at`: when that was, on the data's clock, or None.
        ended: there is nothing to resume.
    """

    def __init__(self, begun: Begun) -> None:
        self.begun: Begun = begun
        self.bookings: dict[str, Booked] = {}
        self.used_ids: set[str] = set()
        self.entered: set[tuple[str, Side]] = set()
        self.fed: int = 0
        self.at: float | None = None
        self.ended: bool = False

    def take(self, line: _Line) -> None:
        """Go on with the next line."""
        if isinstance(line, Booked):
            symbol = line.place.symbol
            self.bookings[symbol] = line
            self.fed, self.at = line.fed, line.at
            if line.client_order_id is not None:
                self.used_ids.add(line.client_order_id)
            if line.entered is not None:
                self.entered.add((symbol, line.entered))
        elif isinstance(line, Ended):
            self.ended = True

    def is_open(self, position: Position) -> bool:
        """Whether a position was entered and is open still."""
        booked = self.bookings.get(position.symbol)
        return (
            (position.symbol, position.side) in self.entered
            and booked is not None
            and position.side in booked.place.holdings
        )


class Keeper:
    """Writes down what the exchange books, before anybody is answered.

    Args:
        file: a descriptor; what is written to it is the system's, whatever becomes of this process.
        fed: how many prices were fed in the run so far.

    Attributes:
        exchange: has to be set before anything is booked.
    """

    def __init__(self, file: int, fed: int = 0) -> None:
        self.exchange: PaperExchange | None = None
        self._file, self._fed = file, fed
        self._changed: set[str] = set()
        self._at = 0.0

    def note(self, booking: LogEntry) -> None:
        """What `open_paper` is to call with each booking."""
        if booking.symbol is None or isinstance(booking.result, Exception):
            return
        self._at = booking.at
        if booking.operation == "fill":  # in the middle of what it belongs to, whose end has its own line
            self._changed.add(booking.symbol)
            return
        entered = booking.result.side if booking.operation == "enter" and isinstance(booking.result, Position) else None
        self._write(booking.symbol, booking.client_order_id, entered)

    def note_fed(self, fed: int) -> None:
        """So many prices have been fed, and what the last one has triggered is done."""
        self._fed = fed
        for symbol in sorted(self._changed):
            self._write(symbol)

    def end(self) -> None:
        """There is nothing to resume."""
        os.write(self._file, _encoded(Ended()))

    def _write(self, symbol: str, client_order_id: str | None = None, entered: Side | None = None) -> None:
        assert self.exchange is not None
        self._changed.discard(symbol)
        place = self.exchange.save(symbol)
        os.write(self._file, _encoded(Booked(self._fed, self._at, place, client_order_id, entered)))


def kept_beside(store_url: str) -> Path | None:
    """Where the account of a store's run is kept; None where the store is no file of this machine."""
    path = store_url.removeprefix(_SQLITE)
    return None if path == store_url else Path(f"{path}-paper")


def read_kept(path: Path | None) -> KeptAccount | None:
    """What is kept there; None: nothing.

    Raises:
        UsageError: it is no such file.
    """
    if path is None or not path.exists():
        return None
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error}") from error
    kept: KeptAccount | None = None
    for number, line in enumerate(lines[:-1], 1):  # behind the last line's end there is nothing, or half a line
        try:
            told = _LINE.decode(line)
        except msgspec.MsgspecError as error:
            raise UsageError(f"{path}, line {number}: it is no paper account: {error}") from None
        if isinstance(told, Begun):
            kept = KeptAccount(told)
        elif kept is None:
            raise UsageError(f"{path}, line {number}: it is no paper account: it does not say how it was begun")
        else:
            kept.take(told)
    return kept


@contextmanager
def open_keeper(path: Path | None, begun: Begun, kept: KeptAccount | None, fed: int) -> Iterator[Keeper | None]:
    """Keep an account on from here, or from its beginning where there is none yet; None where it has no place.

    Raises:
        LeaseLost: another process keeps it.
    """
    if path is None:
        yield None
        return
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # until it is closed, or this process is killed
        except BlockingIOError:
            raise LeaseLost(f"the run that is kept in {path} is under way in another process") from None
        if kept is None:
            os.ftruncate(file, 0)
            os.write(file, _encoded(begun))
        else:
            _cut_off_half_a_line(file)
        yield Keeper(file, fed)
    finally:
        os.close(file)


def _cut_off_half_a_line(file: int) -> None:
    size = os.fstat(file).st_size
    rest = os.pread(file, size, 0)
    os.ftruncate(file, rest.rfind(b"\n") + 1)
    os.lseek(file, 0, os.SEEK_END)


def _encoded(line: _Line) -> bytes:
    return msgspec.json.encode(line) + b"\n"
