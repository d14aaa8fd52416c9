"""`trailing check`: run the contract of an adapter against a venue's real test network, and write a report."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from rich.text import Text

from trailing.cli import LEFT_OVER, USAGE
from trailing.cli.json_output import print_json
from trailing.cli.listings import Listing, print_listing
from trailing.cli.messages import find_error, print_message
from trailing.cli.operate.venue_options import check_venue, read_credentials
from trailing.cli.signals import Interruption, run_until_signal
from trailing.core.model import Side, check_seconds, check_symbol
from trailing.errors import UsageError
from trailing.exchanges.ccxt import open_ccxt

if TYPE_CHECKING:
    from trailing.cli.operate.check_account import Left
    from trailing.cli.operate.check_run import CheckResult, StepResult

_STYLES: Final = {"passed": "green", "failed": "bold red", "skipped": "yellow", "not offered": "dim"}


class CheckDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` prints. Fields that are not listed: as `CheckResult`.

    Args:
        report: the path of the report; None: it could not be written.
    """

    exchange: str
    symbol: str
    side: Side
    quantity: Decimal
    verdict: str
    ended: str
    steps: Sequence[StepResult]
    left: Sequence[Left]
    report: str | None


def main(
    venue: str,
    *,
    symbol: str,
    side: Side,
    credentials: str | None,
    table: str | None,
    testnet: bool,
    allow_unverified: bool,
    live: bool,
    yes: bool,
    most_notional: Decimal | None,
    trigger_seconds: float,
    deadline: float,
    report: str | None,
    json: bool,
) -> int:
    """Check a venue and print the result. The arguments are the options of `trailing check`.

    Returns:
        The exit code; 2 if a step failed or did not run to its end, 3 if something may be left on the account.

    Raises:
        UsageError: an option can't be right, or the account is not as it must be. Nothing was changed.
    """
    check_symbol("--symbol", symbol)
    _check_network(testnet=testnet, live=live, yes=yes, most_notional=most_notional)
    check_seconds("--trigger-seconds", trigger_seconds)
    check_seconds("--deadline", deadline)
    check_venue("VENUE", venue, allow_unverified=allow_unverified)
    keys = read_credentials(credentials, table)
    # imported here, because they import ccxt
    from trailing.cli.operate.check_record import Recorder  # noqa: PLC0415
    from trailing.cli.operate.check_report import check_writable, make_report, write_report  # noqa: PLC0415
    from trailing.cli.operate.check_run import Settings, run_check  # noqa: PLC0415

    path = Path(report or f"trailing-check-{venue}.json")
    check_writable(path)
    settings = Settings(
        symbol=symbol, side=side, most_notional=most_notional, trigger_seconds=trigger_seconds, deadline=deadline
    )
    recorder, began_at = Recorder(keys), datetime.now(UTC)

    left: list[Left] = []

    def note_left(each: Left) -> None:
        left.append(each)
        print_message(str(each))

    async def check(interruption: Interruption) -> CheckResult | None:
        result = None
        with interruption.cancels():  # only this block, because the result so far is printed after it
            async with open_ccxt(
                venue,
                credentials=keys,
                testnet=testnet,
                allow_unverified=allow_unverified,
                configure=recorder.configure,
            ) as exchange:
                result = await run_check(
                    exchange,
                    settings,
                    recorder,
                    cancels=interruption.cancels,
                    on_step=_show_progress,
                    on_left=note_left,
                    tell=lambda sentence: print_message(recorder.clean_words(sentence)),
                )
        return result

    try:
        result, interruption = run_until_signal(check)
    except Exception as error:
        known = find_error(error)
        if known is None or not left:
            raise
        print_message(str(known))  # such as credentials that were revoked while the check ran
        return LEFT_OVER
    if result is None:
        return LEFT_OVER if left else interruption.exit_code
    written: Path | None = path
    try:
        write_report(path, make_report(result, recorder, began_at=began_at, testnet=testnet))
    except UsageError as error:  # the result is printed all the same
        print_message(str(error))
        written = None
    _print(result, None if written is None else str(written), json=json)
    if result.left:
        return LEFT_OVER
    if interruption.by is not None:
        return interruption.exit_code
    return 0 if result.verdict == "passed" and written is not None else USAGE


def _check_network(*, testnet: bool, live: bool, yes: bool, most_notional: Decimal | None) -> None:
    if testnet == live:
        raise UsageError("check: exactly one of --testnet and --live must be given; --testnet is the one for a report")
    if live and not (yes and most_notional is not None):
        raise UsageError(
            "check: --live trades on a real account, so it needs --yes and a size limit, --most-notional AMOUNT"
        )


def _show_progress(step: StepResult | str) -> None:
    if isinstance(step, str):
        print_message(f"{step} …")
    elif step.milliseconds is not None:
        print_message(f"{step.name}: {step.outcome} after {step.milliseconds} ms: {step.words}")


def _print(result: CheckResult, report: str | None, *, json: bool) -> None:
    if json:
        fields: dict[str, Any] = {
            name: getattr(result, name) for name in CheckDocument.__struct_fields__ if name != "report"
        }
        print_json(CheckDocument(**fields, report=report))
        return
    title = f"{result.exchange} {result.symbol} {result.side}: {result.verdict}"
    shown = Listing(("", "step", "ms", "result"), right=("ms",), left_out=("ms",), wrapped=("result",), title=title)
    for step in result.steps:
        took = "" if step.milliseconds is None else str(step.milliseconds)
        shown.add_row(Text(step.outcome, _STYLES[step.outcome]), step.name, took, step.words)
    notes = [] if report is None else [f"report: {report}"]
    print_listing(shown, notes=notes)
