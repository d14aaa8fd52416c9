"""Reading small text files that a user wrote."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from trailing.errors import UsageError, suggest


def read_text(path: Path, *, most_bytes: int) -> str:
    """Return the text of a UTF-8 file, without a byte order mark.

    Args:
        most_bytes: the size that the file may have; it is read no further.

    Raises:
        UsageError: the file can't be read, is larger, or is not UTF-8. The message names it.
    """
    try:
        with path.open("rb") as file:
            data = file.read(most_bytes + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise UsageError(f"{path} can't be read: {reason or error}") from error
    if len(data) > most_bytes:
        raise UsageError(f"{path} is larger than {most_bytes // 2**20} MiB, the most that is read of such a file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not UTF-8 text: byte {data[error.start]:#04x} at position {error.start}"
        ) from error


def read_csv(
    path: Path, *, required: Sequence[str], optional: Sequence[str] = (), most_bytes: int
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a CSV file with a header line, each with the number of its line. Blank lines are skipped.

    Args:
        required: the columns that the file has to have.
        optional: the columns that it may have. A file with other columns is refused.
        most_bytes: as for `read_text`.

    Raises:
        UsageError: the file can't be read, or a line has another number of values than the header. The message names it.
    """
    reader = csv.reader(io.StringIO(read_text(path, most_bytes=most_bytes), newline=""), strict=True)
    try:
        header = next(reader, [])
        _check_header(path, header, required, optional)
        for values in reader:
            if not values:
                continue
            if len(values) != len(header):
                raise UsageError(
                    f"{path}, line {reader.line_num}: the line has {len(values)} values and the header {len(header)}"
                )
            yield reader.line_num, dict(zip(header, values, strict=True))
    except csv.Error as error:
        raise UsageError(f"{path}, line {reader.line_num}: not CSV: {error}") from error


def _check_header(path: Path, header: Sequence[str], required: Sequence[str], optional: Sequence[str]) -> None:
    known = (*required, *optional)
    for name in header:
        if name not in known:
            hint = suggest(name, known) or f" The fields are {', '.join(known)}"
            raise UsageError(f"{path}, line 1: unknown field {name!r}.{hint}")
        if header.count(name) > 1:
            raise UsageError(f"{path}, line 1: the field {name} is there twice")
    for name in required:
        if name not in header:
            raise UsageError(f"{path}, line 1: the field {name} is missing")
