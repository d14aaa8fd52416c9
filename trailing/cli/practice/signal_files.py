"""Signal files: entries of a backtest, as CSV with ``timestamp_ms``, ``symbol`` and ``side``.

``quantity`` and ``stop_price`` may be left out or empty.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Final

from trailing.backtest import Signal
from trailing.config.text_files import read_csv
from trailing.core.model import Side, check_side, refuse
from trailing.errors import UsageError

_MOST_BYTES: Final = 64 * 2**20
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def read_signals(path: Path, *, quantity: Decimal) -> list[Signal]:
    """Read a signal file.

    Args:
        quantity: of a signal that has none.

    Raises:
        UsageError: the file can't be read, or has a bad value. The message names file, line, field and value.
    """
    signals = list[Signal]()
    optional = ("quantity", "stop_price")
    for number, row in read_csv(
        path, required=("timestamp_ms", "symbol", "side"), optional=optional, most_bytes=_MOST_BYTES
    ):
        try:
            signals.append(
                Signal(
                    symbol=row["symbol"],
                    side=_side(row["side"]),
                    at=_time(row["timestamp_ms"]),
                    quantity=_money("quantity", row.get("quantity")) or quantity,
                    stop_price=_money("stop_price", row.get("stop_price")),
                )
            )
        except UsageError as wrong:
            raise UsageError(f"{path}, line {number}: {str(wrong).removeprefix('Signal.')}") from None
    if not signals:
        raise UsageError(f"{path} has no signal")
    return signals


def _side(text: str) -> Side:
    side: Side = "long" if text == "long" else "short"
    check_side("side", text)
    return side


def _time(text: str) -> datetime:
    if text.isascii() and text.isdigit():
        try:
            return _EPOCH + timedelta(milliseconds=int(text))
        except OverflowError:
            pass
    raise refuse("timestamp_ms", text, "UTC milliseconds, a whole number")


def _money(field: str, text: str | None) -> Decimal | None:
    if not text:
        return None
    try:
        return Decimal(text)
    except InvalidOperation:
        raise refuse(field, text, "a number above 0") from None
