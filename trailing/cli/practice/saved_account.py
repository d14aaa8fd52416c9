"""The paper account of a run, saved in a file, because a venue's account survives its clients.

The file is next to the run's store. It has JSON lines. The first line has the run's input. After each booking of the exchange, a
line has the whole state of the symbol that the booking changed; the last line of a symbol counts. A line that a killed process
wrote only in part is ignored, because the exchange answers a request after its line is written. A file that has grown is replaced
by a shorter one with the same contents.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec

from trailing.cli.stores import SQLITE
from trailing.core.model import Position, Side
from trailing.core.paths import AssumedOrder, CandleOrder
from trailing.errors import LeaseLost, UsageError
from trailing.exchanges.paper import PaperExchange
from trailing.exchanges.paper.saved import SavedMarketBook
from trailing.exchanges.paper.transport import LogEntry


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a run, with absolute paths.

    Args:
        ticks: the words of ``--tick``.
    """

    wave: str
    prices: tuple[str, ...]
    plan: str | None
    candles: CandleOrder
    deadline: float
    latency: float
    ticks: tuple[str, ...] = ()


class Begun(msgspec.Struct, frozen=True, tag=True):
    """The first line of the file: the run's account and input.

    Args:
        at: when the run began, aware UTC.
        positions, plan: the contents of the files at that time.
    """

    account: str
    at: datetime
    command: Command
    positions: tuple[Position, ...]
    plan: dict[str, Any]


class Booked(msgspec.Struct, frozen=True, tag=True):
    """A booking of the exchange.

    Args:
        fed: the number of prices fed before it.
        at: seconds on the data's clock.
        place: the state of the symbol after it.
        client_order_id: the id of its order, or None.
        entered: the side of the position that it entered, or None.
    """

    fed: int
    at: float
    place: SavedMarketBook
    client_order_id: str | None = None
    entered: Side | None = None


class Compacted(msgspec.Struct, frozen=True, tag=True):
    """The end of the lines that a shorter file begins with: what their last bookings don't hold.

    Args:
        fed: the number of prices fed before the last booking; `at`: when that was, in seconds on the data's clock.
        used_ids: the client order ids that the run has used.
        entered: symbol and side of every position that was entered.
    """

    fed: int
    at: float
    used_ids: tuple[str, ...]
    entered: tuple[tuple[str, Side], ...]


class Ended(msgspec.Struct, frozen=True, tag=True):
    """The last line of a run that has ended and can't be resumed.

    Args:
        how: how it ended, in words.
        ticks: the number of prices fed.
        dropped: the number of events that the store did not take.
    """

    how: str = ""
    ticks: int = 0
    dropped: int = 0


_COMPACT_ABOVE: Final = 256 * 2**10
"""Bytes that the file may have before it is replaced by a shorter one. From then on it may have four times the shorter one's."""

_Line: TypeAlias = Begun | Booked | Compacted | Ended
_LINE: msgspec.json.Decoder[_Line] = msgspec.json.Decoder(_Line)


class SavedPaperAccount:
    """The contents of the file.

    Attributes:
        bookings: the last booking of each symbol.
        used_ids: the client order ids that the run has used.
        entered: symbol and side of every position that was entered.
        fed: the number of prices fed at the last booking.
        at: the time of the last booking, in seconds on the data's clock; None without one.
        end: how the run has ended; None: it has not, and can be resumed.
    """

    def __init__(self, begun: Begun) -> None:
        self.begun: Begun = begun
        self.bookings: dict[str, Booked] = {}
        self.used_ids: set[str] = set()
        self.entered: set[tuple[str, Side]] = set()
        self.fed: int = 0
        self.at: float | None = None
        self.end: Ended | None = None

    def add(self, line: _Line) -> None:
        """Apply the next line."""
        if isinstance(line, Booked):
            symbol = line.place.symbol
            self.bookings[symbol] = line
            self.fed, self.at = line.fed, line.at
            if line.client_order_id is not None:
                self.used_ids.add(line.client_order_id)
            if line.entered is not None:
                self.entered.add((symbol, line.entered))
        elif isinstance(line, Compacted):
            self.fed, self.at = line.fed, line.at
            self.used_ids.update(line.used_ids)
            self.entered.update(line.entered)
        elif isinstance(line, Ended):
            self.end = line

    def compacted(self) -> bytes:
        """Return the shortest file with these contents. There has to be a booking."""
        assert self.at is not None
        bookings = sorted(self.bookings.values(), key=lambda booked: booked.fed)
        bare: list[_Line] = [msgspec.structs.replace(booked, client_order_id=None, entered=None) for booked in bookings]
        rest = Compacted(self.fed, self.at, tuple(sorted(self.used_ids)), tuple(sorted(self.entered)))
        return b"".join(_encoded(line) for line in (self.begun, *bare, rest))

    @property
    def ended(self) -> bool:
        """Whether the run has ended, so that it can't be resumed."""
        return self.end is not None

    def is_open(self, position: Position) -> bool:
        """Whether a position was entered and is still open."""
        booked = self.bookings.get(position.symbol)
        return (
            (position.symbol, position.side) in self.entered
            and booked is not None
            and position.side in booked.place.holdings
        )


class AccountWriter:
    """Writes each booking to the file before the exchange answers the request.

    Args:
        path: the file.
        file: its file descriptor, which is locked; the system has what is written to it, even if this process is killed.
        saved: the contents of the file.
        fed: the number of prices fed in the run so far.

    Attributes:
        exchange: the paper exchange; set it before its first booking.
    """

    def __init__(self, path: Path, file: int, saved: SavedPaperAccount, fed: int = 0) -> None:
        self.exchange: PaperExchange | None = None
        self._path, self._file, self._saved, self._fed = path, file, saved, fed
        self._compact_above = _COMPACT_ABOVE
        self._changed: set[str] = set()
        self._at = 0.0

    def write_booking(self, booking: LogEntry) -> None:
        """Write a booking. Pass this method to `open_paper` as `record`."""
        if booking.symbol is None or isinstance(booking.result, Exception):
            return
        self._at = booking.at
        if booking.operation == "fill":  # part of a larger change, which writes a line at its end
            self._changed.add(booking.symbol)
            return
        entered = booking.result.side if booking.operation == "enter" and isinstance(booking.result, Position) else None
        self._write(booking.symbol, booking.client_order_id, entered)

    def note_fed(self, fed: int) -> None:
        """Write the symbols that the latest price has changed.

        Args:
            fed: the number of prices fed in the run so far, this one included.
        """
        self._fed = fed
        for symbol in sorted(self._changed):
            self._write(symbol)

    def end(self, end: Ended) -> None:
        """Write that the run has ended."""
        os.write(self._file, _encoded(end))

    def _write(self, symbol: str, client_order_id: str | None = None, entered: Side | None = None) -> None:
        assert self.exchange is not None
        self._changed.discard(symbol)
        place = self.exchange.save(symbol)
        booked = Booked(self._fed, self._at, place, client_order_id, entered)
        self._saved.add(booked)
        os.write(self._file, _encoded(booked))
        if os.fstat(self._file).st_size > self._compact_above:
            self._compact()

    def _compact(self) -> None:
        """Replace the file by the shortest one with the same contents, which is locked before it gets the name."""
        content = self._saved.compacted()
        self._compact_above = max(_COMPACT_ABOVE, 4 * len(content))
        name = self._path.with_name(f"{self._path.name}.new")
        file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            os.write(file, content)
            name.replace(self._path)
        except BaseException:
            os.close(file)
            raise
        before, self._file = self._file, file
        os.close(before)

    def close(self) -> None:
        """Close the file, which ends its lock."""
        os.close(self._file)


def saved_account_path(store_url: str, order: AssumedOrder | None = None) -> Path | None:
    """Return the path of the account that belongs to a store; None if the store is not a file.

    Args:
        order: the order of a candle's high and low, if a run has both; None: it has one.
    """
    path = store_url.removeprefix(SQLITE)
    suffix = "" if order is None else f"-{order}"
    return None if path == store_url else Path(f"{path}-paper{suffix}")


def find_interrupted(store_url: str) -> tuple[SavedPaperAccount, AssumedOrder | None] | None:
    """Return the account of the interrupted run that began last, and its order if its run has both; None: there is none.

    Raises:
        UsageError: a file can't be read or is not a saved account.
    """
    orders: tuple[AssumedOrder | None, ...] = (None, "high-first", "low-first")
    found = [(read_saved_account(saved_account_path(store_url, order)), order) for order in orders]
    interrupted = [(saved, order) for saved, order in found if saved is not None and not saved.ended]
    return max(interrupted, key=lambda each: each[0].begun.at, default=None)


def read_saved_account(path: Path | None) -> SavedPaperAccount | None:
    """Return the account that is saved in a file; None if there is none.

    Raises:
        UsageError: the file can't be read or is not a saved account.
    """
    if path is None or not path.exists():
        return None
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror or error}") from error
    saved: SavedPaperAccount | None = None
    for number, line in enumerate(lines[:-1], 1):  # after the last line end there is nothing, or a partial line
        try:
            decoded = _LINE.decode(line)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise UsageError(f"{path}, line {number}: not a saved paper account: {error}") from None
        if isinstance(decoded, Begun):
            saved = SavedPaperAccount(decoded)
        elif saved is None:
            raise UsageError(
                f"{path}, line {number}: not a saved paper account: its first line does not describe a run"
            )
        else:
            saved.add(decoded)
    return saved


@contextmanager
def open_account_writer(
    path: Path | None, begun: Begun, saved: SavedPaperAccount | None, fed: int
) -> Iterator[AccountWriter | None]:
    """Open the file of an account for writing, and lock it.

    Args:
        path: the file; None: nothing is saved.
        begun: the first line of a new file.
        saved: the contents of the file, to go on with; None: the file starts anew.
        fed: the number of prices fed in the run so far.

    Returns:
        The writer, or None without a path.

    Raises:
        LeaseLost: another process writes the file.
    """
    if path is None:
        yield None
        return
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock(path, file)
        if saved is None:
            os.ftruncate(file, 0)
            os.write(file, _encoded(begun))
            saved = SavedPaperAccount(begun)
        else:
            _cut_off_partial_line(file)
    except BaseException:
        os.close(file)
        raise
    writer = AccountWriter(path, file, saved, fed)
    try:
        yield writer
    finally:
        writer.close()


def _lock(path: Path, file: int) -> None:
    """Lock the file until it is closed, or this process is killed. Raises LeaseLost if another process has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_current = path.exists() and os.path.samestat(os.fstat(file), path.stat())
    except BlockingIOError:
        is_current = False
    if not is_current:  # its owner has replaced it by a shorter one since it was opened
        raise LeaseLost(f"{path}: another process is running this run; wait until it has ended, or use another --store")


def _cut_off_partial_line(file: int) -> None:
    size = os.fstat(file).st_size
    rest = os.pread(file, size, 0)
    os.ftruncate(file, rest.rfind(b"\n") + 1)
    os.lseek(file, 0, os.SEEK_END)


def _encoded(line: _Line) -> bytes:
    return msgspec.json.encode(line) + b"\n"
