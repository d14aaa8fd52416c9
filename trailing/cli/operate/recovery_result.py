"""The result of a recovery as a table, as JSON, and as an exit code."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from trailing.cli.json_output import print_json
from trailing.cli.listings import Listing, print_listing
from trailing.cli.signals import Interruption
from trailing.core.findings import Finding
from trailing.core.model import Side
from trailing.core.states import State
from trailing.exchanges.port import Exchange
from trailing.protection.manager import Manager


class Found(msgspec.Struct, frozen=True):
    """One difference between store and account, and what the recovery does about it.

    Args:
        action: the kind of finding, such as ``"AdoptStop"``.
        message: a sentence.
    """

    symbol: str
    side: Side
    action: str
    message: str


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a recovery.

    Args:
        dry_run: whether nothing was changed.
        stops, unprotected: the numbers of open positions with and without a live stop afterwards; None after a dry run.
    """

    exchange: str
    account: str
    dry_run: bool
    actions: tuple[Found, ...]
    stops: int | None = None
    unprotected: int | None = None


def dry_run_result(exchange: Exchange, actions: Sequence[Finding]) -> Recovery:
    """Return the result of a dry run."""
    return Recovery(exchange=exchange.name, account=exchange.account, dry_run=True, actions=_found(actions))


def recovery_result(exchange: Exchange, manager: Manager) -> Recovery:
    """Return the result of the recovery that a manager has made when it was opened."""
    return Recovery(
        exchange=exchange.name,
        account=exchange.account,
        dry_run=False,
        actions=_found(manager.recovered),
        stops=len(manager.stops()),
        unprotected=len(manager.unprotected()),
    )


async def wait_settled(manager: Manager) -> None:
    """Wait until every position has its stop, has ended, or was given up by its plan's policy."""
    async with manager.subscribe() as events:
        while any(position.state != State.CLOSED for position in manager.unprotected().values()):
            await events.receive()


def print_result(recovery: Recovery | None, interruption: Interruption, *, json: bool) -> int:
    """Print a result; nothing if a signal came before there was one.

    Returns:
        The exit code; 1 if a position has no stop afterwards.
    """
    if recovery is not None and json:
        print_json(recovery)
    elif recovery is not None:
        _print(recovery)
    if interruption.by is not None:
        return interruption.exit_code
    return 1 if recovery is not None and recovery.unprotected else 0


def _found(actions: Sequence[Finding]) -> tuple[Found, ...]:
    return tuple(Found(action.symbol, action.side, type(action).__name__, action.message) for action in actions)


def _print(recovery: Recovery) -> None:
    table = Listing(
        ("position", "side", "action"), wrapped=("action",), title=f"{recovery.exchange} {recovery.account}"
    )
    for found in recovery.actions:
        table.add_row(found.symbol, found.side, found.message)
    if not recovery.dry_run:
        notes = [f"live stops: {recovery.stops}; positions without a stop: {recovery.unprotected}"]
    elif recovery.actions:
        notes = ["dry run: nothing was changed"]
    else:
        notes = ["store and account agree: there is nothing to do"]
    print_listing(table, notes=notes)
