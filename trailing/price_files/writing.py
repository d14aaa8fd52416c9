"""Writes a file of bars, so that it is whole at any time, and can be continued.

New bars are appended to a file beside it, ``partial-….csv``, which replaces the file when it is finished. A process that is
killed leaves the file as it was, and the partial one. The next writer continues the partial one after its last whole line.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from trailing.core.checks import refuse
from trailing.errors import UsageError
from trailing.exchanges.port import escaped
from trailing.extras import import_extra
from trailing.price_files.reading import PRICES_OF_BAR, TIME, read_prices
from trailing.price_files.tables import SUFFIXES, read_table
from trailing.price_files.values import Bars

VOLUME: Final = "volume"
_COLUMNS: Final = (TIME, *PRICES_OF_BAR, VOLUME)
_HEADER: Final = (",".join(_COLUMNS) + "\n").encode()


class BarWriter:
    """Appends bars to a file. `open_bar_writer` creates it.

    Attributes:
        path: the file.
        last: when the last bar opens, in UTC milliseconds; None: there is none yet.
        added: the number of bars that were appended.
    """

    def __init__(self, path: Path, file: BinaryIO, partial: Path) -> None:
        self.path: Path = path
        self.last: int | None = None
        self.added: int = 0
        self._file = file
        self._partial = partial

    def append(self, bars: Sequence[tuple[int, str, str, str, str, str]]) -> None:
        """Append bars as texts: UTC milliseconds, open, high, low, close, and the volume or ``""``.

        Raises:
            UsageError: the file can't be written.
        """
        if not bars:
            return
        header = b"" if self.last is not None or self._file.tell() else _HEADER
        with _named(self._partial):
            self._file.write(header + "".join(",".join((str(bar[0]), *bar[1:])) + "\n" for bar in bars).encode())
        self.last = bars[-1][0]
        self.added += len(bars)

    def finish(self) -> None:
        """Replace the file by what was written.

        Raises:
            UsageError: the bars can't be right, or the file can't be written.
        """
        if self.last is None:
            with _named(self._partial):
                self._partial.unlink()
            return
        with _named(self._partial):
            os.fsync(self._file.fileno())
        if self.path.suffix.lower() == ".parquet":
            written = self._partial.with_suffix(".parquet")
            with _named(written):
                _write_parquet(self._partial, written)
                written.replace(self.path)
                self._partial.unlink()
        else:
            with _named(self.path):
                self._partial.replace(self.path)

    def resume(self) -> None:
        """Continue after the last whole bar of the partial file, or of the file."""
        data = self._file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._keep(len(whole))
        last = _last_bar(self._partial) if len(whole) > len(_HEADER) else None
        if last is None:
            self._keep(0)
        before = _last_bar(self.path) if self.path.exists() else None
        if before is not None and (last is None or last < before):
            self._keep(0)
            self._file.write(_as_csv(self.path))
            last = before
        self.last = last

    def _keep(self, size: int) -> None:
        self._file.truncate(size)
        self._file.seek(size)


def partial_path(path: Path) -> Path:
    """Return the file that new bars are appended to, until it replaces the file."""
    return path.with_name(f"partial-{path.stem}.csv")


@contextmanager
def open_bar_writer(path: Path) -> Iterator[BarWriter]:
    """Open a file for bars, and continue what it has. Without `finish`, it stays as it is, and the next writer continues.

    Args:
        path: the file, ``.csv`` or ``.parquet``; its name states the length of the bars, as in ``btc-usdt-1m.csv``.

    Raises:
        UsageError: the file can't be read, written or right, the extra for Parquet is missing, or another process writes it.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise refuse("path", str(path), "a name that ends in .csv or .parquet")
    if path.suffix.lower() == ".parquet":
        import_extra("pyarrow.parquet", extra="parquet", purpose="Parquet files")
    partial = partial_path(path)
    with _named(partial):
        file = partial.open("r+b" if partial.exists() else "x+b", buffering=0)
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"{path} is being written by another process") from None
        writer = BarWriter(path, file, partial)
        try:
            with _named(partial):
                writer.resume()
        except UsageError:
            if not partial.stat().st_size:
                partial.unlink()
            raise
        yield writer


def _last_bar(path: Path) -> int | None:
    bars = read_prices(path)
    return bars.opened_at[-1] if isinstance(bars, Bars) else None


def _as_csv(path: Path) -> bytes:
    """Return a file of bars as CSV with our columns."""
    table = read_table(path)
    empty = [""] * len(table.column(TIME))
    columns = [table.column(name) if name in table.names else empty for name in _COLUMNS]
    return _HEADER + "".join(",".join(row) + "\n" for row in zip(*columns, strict=True)).encode()


def _write_parquet(source: Path, target: Path) -> None:
    csv = import_extra("pyarrow.csv", extra="parquet", purpose="Parquet files")
    parquet = import_extra("pyarrow.parquet", extra="parquet", purpose="Parquet files")
    arrow = import_extra("pyarrow", extra="parquet", purpose="Parquet files")
    types = {name: arrow.int64() if name == TIME else arrow.float64() for name in _COLUMNS}
    options = csv.ReadOptions(use_threads=False)
    parquet.write_table(csv.read_csv(source, options, convert_options=csv.ConvertOptions(column_types=types)), target)
    with target.open("rb") as file:
        os.fsync(file.fileno())


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Let an error of the file system be one line that names the file."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"{escaped(str(path), 1000)} can't be written: {error.strerror or error}") from error
