"""`trailing report`: report profit, moves and unprotected seconds of the positions in a store."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

import msgspec

from trailing.cli.json_output import print_json
from trailing.cli.position_summaries import PositionSummaries, PositionSummary
from trailing.cli.reports import Report, build_report
from trailing.cli.signals import Interruption, run_until_signal
from trailing.cli.stores import open_stored
from trailing.cli.tables import print_report, write_time
from trailing.cli.time_options import parse_since

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class AccountReport(msgspec.Struct, frozen=True):
    """The report of an account's positions."""

    exchange: str
    account: str
    report: Report


def main(*, store: str, since: str | None, json: bool) -> int:
    """Report the positions of every account, from the events since a time.

    Args:
        store: the store's address.
        since: a duration back from now or a UTC time; None: all events.
        json: print JSON.

    Returns:
        The exit code.

    Raises:
        UsageError: `since` can't be right.
    """
    start = parse_since(since)
    reports, interruption = run_until_signal(partial(_read, store, start))
    if reports is None:
        return interruption.exit_code
    if json:
        print_json({"since": start, "accounts": reports})
        return interruption.exit_code
    for each in reports:
        print_report(each.report, title=f"{each.exchange} {each.account}")
    if not reports:
        print("no positions" if start is None else f"no positions since {write_time(start)} UTC")
    return interruption.exit_code


async def _read(url: str, since: datetime | None, _: Interruption) -> list[AccountReport]:
    accounts: dict[tuple[str, str], PositionSummaries] = {}
    async with open_stored(url) as store:
        async for record in store.events(since):
            accounts.setdefault((record.exchange, record.account), PositionSummaries()).add_event(record.event)
        for exchange, account in await store.accounts():
            loaded = await store.load(exchange, account)
            accounts.setdefault((exchange, account), PositionSummaries()).add_records(loaded.stops)
    return [
        AccountReport(*key, build_report(sorted(summaries, key=_order)))
        for key, summaries in sorted(accounts.items())
        if len(summaries)
    ]


def _order(summary: PositionSummary) -> tuple[datetime, str, str]:
    return summary.opened_at or summary.closed_at or _EPOCH, summary.symbol, summary.side
