"""Reading small text files that a user wrote."""

from __future__ import annotations

from pathlib import Path

from trailing.errors import UsageError


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
