"""`trailing doctor`: check an account on a real exchange."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.text import Text

from trailing.alerts.targets import AlertTargets
from trailing.cli import USAGE
from trailing.cli.json_output import print_json
from trailing.cli.listings import Listing, print_listing
from trailing.cli.messages import print_message
from trailing.cli.operate.venue_options import check_venue, read_credentials
from trailing.cli.signals import Interruption, run_until_signal
from trailing.core.model import check_symbol
from trailing.errors import UsageError
from trailing.exchanges.ccxt import open_ccxt

if TYPE_CHECKING:
    from trailing.exchanges.ccxt.diagnosis import Finding

_STYLES: Final = {"good": "green", "note": "dim", "warning": "yellow", "failure": "bold red"}


def main(
    venue: str,
    *,
    symbol: str,
    credentials: str | None,
    table: str | None,
    place: bool,
    testnet: bool,
    allow_unverified: bool,
    alerts: str | None,
    alerts_table: str | None,
    json: bool,
) -> int:
    """Check an account and print the findings. The arguments are the options of `trailing doctor`.

    Returns:
        The exit code; 2 if a finding is a failure.

    Raises:
        UsageError: the venue, the symbol or the credentials can't be right.
    """
    check_symbol("--symbol", symbol)
    check_venue("VENUE", venue, allow_unverified=allow_unverified)
    keys = read_credentials(credentials, table)
    if alerts is None and alerts_table is not None:
        raise UsageError("doctor: --alerts-table needs --alerts")

    findings: list[Finding] = []

    async def check(_: Interruption) -> str:
        async with open_ccxt(venue, credentials=keys, testnet=testnet, allow_unverified=allow_unverified) as exchange:
            from trailing.exchanges.ccxt.diagnosis import examine  # noqa: PLC0415 - it imports ccxt

            async for finding in examine(exchange, symbol=symbol, place=place):
                findings.append(finding)  # noqa: PERF401 - after a signal, the findings so far are kept
            findings.append(_examine_alerts(alerts, alerts_table, testnet=testnet))
            return exchange.name

    name, interruption = run_until_signal(check)
    if name is None or interruption.by is not None:
        for finding in findings:
            if finding.verdict == "failure":  # such as a stop on trial that could not be cancelled
                print_message(f"{finding.subject}: {finding.message}")
        return interruption.exit_code
    from trailing.exchanges.ccxt.diagnosis import worst  # noqa: PLC0415 - as above

    verdict = worst(findings)
    if json:
        print_json({"exchange": name, "verdict": verdict, "findings": findings})
    else:
        shown = Listing(("", "checked", "finding"), wrapped=("finding",), title=name)
        for finding in findings:
            shown.add_row(Text(finding.verdict, _STYLES[finding.verdict]), finding.subject, Text(finding.message))
        print_listing(shown)
    return USAGE if verdict == "failure" else 0


def _examine_alerts(file: str | None, table: str | None, *, testnet: bool) -> Finding:
    """Say whether alerts about the bot reach a person, if it has the same settings. Nothing is sent."""
    from trailing.exchanges.ccxt.diagnosis import Finding  # noqa: PLC0415 - as above

    where = "TRAILING_ALERTS is not set" if file is None else f"{file} has no channels"
    try:
        targets = AlertTargets.from_environment() if file is None else AlertTargets.from_file(file, table)
    except UsageError as error:
        return Finding("alerts", "warning", f"no alert reaches a person: {error}")
    if not targets.channels:
        message = f"no alert reaches a person: {where}"
        return Finding("alerts", "note" if testnet else "warning", message)
    names = ", ".join(channel.name for channel in targets.channels)
    silence = "" if targets.heartbeat is not None else "; without a heartbeat, no monitor notices that the bot is off"
    return Finding("alerts", "good", f"{len(targets.channels)} configured: {names}{silence}")
