"""`trailing alerts`: list the alert channels, and send a test to each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec

from trailing.alerts.targets import AlertTargets
from trailing.alerts.trial import TrialResult, list_targets, try_targets
from trailing.cli.json_output import print_json
from trailing.cli.signals import Interruption, run_until_signal
from trailing.errors import UsageError
from trailing.logs import escape_unprintable


class AlertsDocument(msgspec.Struct, frozen=True):
    """What `trailing alerts --json` prints."""

    targets: tuple[TrialResult, ...]


def main(*, test: bool, file: str | None, table: str | None, json: bool) -> int:
    """List the alert channels and the heartbeat, and send a test to each if that is wanted.

    Args:
        test: send the tests.
        file: a private file with the addresses; None: they are in the environment.
        table: the table of the file that holds them.
        json: print JSON.

    Returns:
        The exit code: 2 if a receiver did not take the test.

    Raises:
        UsageError: there is no channel, or an address can't be used.
    """
    if file is None and table is not None:
        raise UsageError("alerts: --table needs --file")
    targets = AlertTargets.from_environment() if file is None else AlertTargets.from_file(file, table)
    if not targets.channels:
        where = "the environment variable TRAILING_ALERTS is not set" if file is None else f"{file} has no channels"
        raise UsageError(f"alerts: no alert channel: {where}")
    if not test:
        _show(list_targets(targets), json=json)
        return 0
    results, interruption = run_until_signal(partial(_try, targets))
    if results is None:
        return interruption.exit_code
    _show(results, json=json)
    if interruption.by is not None:
        return interruption.exit_code
    return 0 if all(result.sent for result in results) else 2


async def _try(targets: AlertTargets, _: Interruption) -> Sequence[TrialResult]:
    return await try_targets(targets)


def _show(results: Sequence[TrialResult], *, json: bool) -> None:
    if json:
        print_json(AlertsDocument(tuple(results)))
        return
    for result in results:
        state = "not tried" if result.sent is None else "sent" if result.sent else f"not sent. {result.error}"
        print(escape_unprintable(f"{result.target}: {state}"))
