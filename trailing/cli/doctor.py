"""`trailing doctor`: an account on a real exchange, looked at from all sides."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import trio
from rich.text import Text

from trailing.cli import USAGE
from trailing.cli.reports import to_json
from trailing.cli.tables import new_table, print_table
from trailing.core.model import check_symbol
from trailing.exchanges.ccxt import Credentials, open_ccxt
from trailing.exchanges.ccxt.opening import find_venue

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

    async def look() -> int:
        async with open_ccxt(
            venue, credentials=credentials, testnet=testnet, allow_unverified=allow_unverified
        ) as exchange:
            from trailing.exchanges.ccxt.diagnosis import examine, worst  # noqa: PLC0415 - it imports ccxt

            findings = [finding async for finding in examine(exchange, symbol=symbol, place=place)]
            name = exchange.name
        verdict = worst(findings)
        if json:
            print(to_json({"exchange": name, "verdict": verdict, "findings": findings}))
        else:
            shown = new_table("", "", "what was found", title=name)
            for finding in findings:
                shown.add_row(Text(finding.verdict, _STYLES[finding.verdict]), finding.subject, Text(finding.says))
            print_table(shown)
        return USAGE if verdict == "failure" else 0

    return trio.run(look)
