"""Where the files of a directory were downloaded from, so that prices of two kinds never end in one file."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Final

import msgspec

from trailing.core.model import Source
from trailing.errors import UsageError
from trailing.exchanges.port import escaped
from trailing.price_files.writing import partial_path

NAME: Final = "candles.json"


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where a file's bars come from.

    Args:
        since: from when on they were asked for, in UTC milliseconds.
        tick: the market's; None: it was not recorded.
    """

    venue: str
    symbol: str
    source: Source
    since: int
    tick: Decimal | None = None


def read_origin(path: Path) -> Origin | None:
    """Return where a file was downloaded from; None: it is not recorded beside it.

    Raises:
        UsageError: the record can't be read.
    """
    return _read(path.with_name(NAME)).get(path.name)


def claim_file(path: Path, origin: Origin) -> None:
    """Record the origin of a file in its directory.

    Raises:
        UsageError: the file exists and has bars of another origin, of none that is known, or from a later time on; or the
            record can't be read or written.
    """
    record = path.with_name(NAME)
    origins = _read(record)
    known = origins.get(path.name)
    if path.exists() or partial_path(path).exists():
        if known is None:
            raise UsageError(f"{path} exists and was not downloaded by this command; choose another directory")
        if (known.venue, known.symbol, known.source) != (origin.venue, origin.symbol, origin.source):
            raise UsageError(
                f"{path} has {known.source} prices of {known.symbol} on {known.venue}; choose another directory for "
                f"{origin.source} prices of {origin.symbol} on {origin.venue}"
            )
        if origin.since < known.since:
            raise UsageError(f"{path} has prices from a later time on; remove it, or choose another directory")
        return
    origins[path.name] = origin
    written = record.with_suffix(".tmp")
    try:
        written.write_bytes(msgspec.json.format(msgspec.json.encode(origins), indent=2))
        written.replace(record)
    except OSError as error:
        raise UsageError(f"{record} can't be written: {error.strerror or error}") from error


def _read(record: Path) -> dict[str, Origin]:
    try:
        return msgspec.json.decode(record.read_bytes(), type=dict[str, Origin])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(f"{record} can't be read: {escaped(str(error))}") from error
