"""The report of a check: a JSON file for maintainers, with the raw requests and frames of each step, without secrets."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import msgspec

from trailing.cli.json_output import to_json
from trailing.cli.operate.check_record import RawFrame, RawRequest, Recorder
from trailing.cli.operate.check_run import CheckResult
from trailing.core.model import Side, refuse

FORMAT: Final = 1
"""The number of the report's form. A later form has a higher one."""


class ReportStep(msgspec.Struct, frozen=True, kw_only=True):
    """A step with its raw requests and frames. The other fields: as `StepResult`."""

    name: str
    outcome: str
    milliseconds: int | None
    words: str
    requests: Sequence[RawRequest]
    frames: Sequence[RawFrame]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a report file. Fields that are not listed: as `CheckResult`.

    Args:
        format: `FORMAT`.
        versions: of trailing, ccxt and Python.
        testnet: whether the check ran on a test network or in demo trading.
        began_at: UTC, by the clock of the machine that ran it.
    """

    format: int
    versions: Mapping[str, str]
    exchange: str
    testnet: bool
    symbol: str
    side: Side
    hedged: bool
    quantity: Decimal
    began_at: datetime
    verdict: str
    ended: str
    left: Sequence[Any]
    steps: Sequence[ReportStep]


def make_report(result: CheckResult, recorder: Recorder, *, began_at: datetime, testnet: bool) -> Report:
    """Return the report of a check."""
    recorder.learn()
    return Report(
        format=FORMAT,
        versions={"trailing": version("trailing"), "ccxt": version("ccxt"), "python": platform.python_version()},
        exchange=result.exchange,
        testnet=testnet,
        symbol=result.symbol,
        side=result.side,
        hedged=result.hedged,
        quantity=result.quantity,
        began_at=began_at,
        verdict=result.verdict,
        ended=result.ended,
        left=result.left,
        steps=[
            ReportStep(
                name=step.name,
                outcome=step.outcome,
                milliseconds=step.milliseconds,
                words=recorder.clean_words(step.words),
                requests=recorder.requests_of(step.name),
                frames=recorder.frames_of(step.name),
            )
            for step in result.steps
        ],
    )


def check_writable(path: Path) -> None:
    """Check before anything is sent that a report can be written. Raises UsageError."""
    if path.is_dir():
        raise refuse("--report", str(path), "a file, and not a directory")
    _write(path, "", replace=False)


def write_report(path: Path, report: Report) -> None:
    """Write a report. A file of that name is replaced once the new one is complete. Raises UsageError."""
    _write(path, f"{to_json(report)}\n", replace=True)


def _write(path: Path, text: str, *, replace: bool) -> None:
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        if replace:
            part.replace(path)
        else:
            part.unlink()
    except OSError as error:
        raise refuse("--report", str(path), f"a file that can be written ({error.strerror})") from None
