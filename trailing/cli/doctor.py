"""`trailing doctor`: an account on a real exchange, looked at from all sides."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.text import Text

from trailing.cli import USAGE
from trailing.cli.complaints import complain
from trailing.cli.reports import to_json
from trailing.cli.signals import Interruption, run_until_signal
from trailing.cli.tables import new_table, print_table
from trailing.core.model import check_symbol
from trailing.exchanges.ccxt import Credentials, open_ccxt
from trailing.exchanges.ccxt.opening import find_venue

if TYPE_CHECKING:
    from trailing.exchanges.ccxt.diagnosis import Finding

_STYLES: Final = {"good": "green", "note": "dim", "warning": "yellow", "failure": "bold red"}


def run_doctor(
    venue: str,
    *,
    symbol: str,
    file: Path | None,
    table: str | None,
    place: bool,
    testnet: bool,
    allow_unverified: bool,
    json: bool,
) -> int:
    """Look, print what was found, and return the exit code."""
    check_symbol("symbol", symbol)
    find_venue(venue, allow_unverified=allow_unverified)
    credentials = Credentials.from_environment() if file is None else Credentials.from_file(file, table)

    findings: list[Finding] = []

    async def look(_: Interruption) -> str:
        async with open_ccxt(
            venue, credentials=credentials, testnet=testnet, allow_unverified=allow_unverified
        ) as exchange:
            from trailing.exchanges.ccxt.diagnosis import examine  # noqa: PLC0415 - it imports ccxt

            async for finding in examine(exchange, symbol=symbol, place=place):
                findings.append(finding)  # noqa: PERF401 - a signal keeps those that there are
            return exchange.name

    name, interruption = run_until_signal(look)
    if name is None or interruption.by is not None:
        for finding in findings:
            if finding.verdict == "failure":  # as a stop on trial that could not be cancelled
                complain(f"{finding.subject}: {finding.message}")
        return interruption.exit_code
    from trailing.exchanges.ccxt.diagnosis import worst  # noqa: PLC0415 - as above

    verdict = worst(findings)
    if json:
        print(to_json({"exchange": name, "verdict": verdict, "findings": findings}))
    else:
        shown = new_table("", "", "what was found", title=name)
        for finding in findings:
            shown.add_row(Text(finding.verdict, _STYLES[finding.verdict]), finding.subject, Text(finding.message))
        print_table(shown)
    return USAGE if verdict == "failure" else 0
