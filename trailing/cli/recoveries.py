"""What a recovery found, and what stands afterwards: as a table, as JSON, and as an exit code."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from trailing.cli.reports import to_json
from trailing.cli.signals import Interruption
from trailing.cli.tables import new_table, print_table
from trailing.core.findings import Finding
from trailing.core.model import Side
from trailing.core.states import State
from trailing.exchanges.port import Exchange
from trailing.protection.manager import Manager


class Found(msgspec.Struct, frozen=True):
    """One thing that a recovery does. `action`: its kind; `what`: a sentence."""

    symbol: str
    side: Side
    action: str
    what: str


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """What a recovery found, and what stands afterwards.

    Args:
        dry_run: nothing was carried out.
        stops, unprotected: open positions with, and without, a live stop; None: nothing was carried out.
    """

    exchange: str
    account: str
    dry_run: bool
    actions: tuple[Found, ...]
    stops: int | None = None
    unprotected: int | None = None


def rehearsed(exchange: Exchange, actions: Sequence[Finding]) -> Recovery:
    """What would be done."""
    return Recovery(exchange=exchange.name, account=exchange.account, dry_run=True, actions=_told(actions))


def carried_out(exchange: Exchange, manager: Manager) -> Recovery:
    """What a manager has found when it was opened, and what stands now."""
    return Recovery(
        exchange=exchange.name,
        account=exchange.account,
        dry_run=False,
        actions=_told(manager.recovered),
        stops=len(manager.stops()),
        unprotected=len(manager.unprotected()),
    )


async def wait_settled(manager: Manager) -> None:
    """Wait until every position that is worked on has its stop, or has ended, or was given up by its plan's policy."""
    async with manager.subscribe() as events:
        while any(one.state != State.CLOSED for one in manager.unprotected().values()):
            await events.receive()


def show(recovery: Recovery | None, interruption: Interruption, *, json: bool) -> int:
    """Print what was found, as far as it got.

    Returns:
        The exit code; 1 where a position stands without a stop afterwards.
    """
    if recovery is not None and json:
        print(to_json(msgspec.structs.asdict(recovery)))
    elif recovery is not None:
        _print(recovery)
    if interruption.by is not None:
        return interruption.exit_code
    return 1 if recovery is not None and recovery.unprotected else 0


def _told(actions: Sequence[Finding]) -> tuple[Found, ...]:
    return tuple(Found(action.symbol, action.side, type(action).__name__, str(action)) for action in actions)


def _print(recovery: Recovery) -> None:
    table = new_table("position", "side", "action", title=f"{recovery.exchange} {recovery.account}")
    for found in recovery.actions:
        table.add_row(found.symbol, found.side, found.what)
    if not recovery.dry_run:
        notes = [f"live stops: {recovery.stops}; positions without a stop: {recovery.unprotected}"]
    elif recovery.actions:
        notes = ["nothing of it was carried out: this is a dry run"]
    else:
        notes = ["nothing is to be done"]
    print_table(table, notes=notes)
