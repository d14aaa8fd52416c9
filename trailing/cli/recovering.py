"""`trailing recover`: what is stored beside what the account shows, as a table, and carried out."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import trio

from trailing.cli.jobs import Job, prepare_again
from trailing.cli.kept_account import KeptAccount, kept_beside, read_kept
from trailing.cli.paper_run import open_paper_run
from trailing.cli.replay import Replay
from trailing.cli.replay_clock import ReplayClock, open_holding_store
from trailing.cli.reports import to_json
from trailing.cli.signals import Interruption, catch_signals
from trailing.cli.tables import new_table, print_table
from trailing.core.actions import Action
from trailing.core.model import Side, Tick
from trailing.core.states import State
from trailing.errors import UsageError
from trailing.logs import Level, configure_logging
from trailing.protection.manager import Manager, open_manager
from trailing.protection.rehearsal import plan_recovery


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

    account: str
    dry_run: bool
    actions: tuple[Found, ...]
    stops: int | None = None
    unprotected: int | None = None


def recover_paper(store_url: str, *, dry_run: bool, json: bool, log_level: Level) -> int:
    """Recover the paper account of a run that was cut short, and print what was found.

    Returns:
        The exit code; 1 where a position stands without a stop afterwards.

    Raises:
        UsageError: there is no such run, or its files are not what they were.
    """
    kept = read_kept(kept_beside(store_url))
    if kept is None or kept.ended:
        raise UsageError(f"--store {store_url}: there is no run beside it that was cut short")
    job = prepare_again(kept.begun.command, store_url)
    job.check_resumes(kept)
    clock = ReplayClock(job.start.timestamp(), None)
    configure_logging(log_level)
    work = _rehearse if dry_run else _recover
    recovery, interruption = trio.run(work, job, kept, clock, clock=clock.clock)
    if recovery is not None:
        if json:
            print(to_json(msgspec.structs.asdict(recovery)))
        else:
            _print(recovery)
    if interruption.by is not None:
        return interruption.exit_code
    return 1 if recovery is not None and recovery.unprotected else 0


async def _rehearse(job: Job, kept: KeptAccount, clock: ReplayClock) -> tuple[Recovery | None, Interruption]:
    recovery = None
    async with catch_signals(lambda _: None) as interruption:
        with interruption.scope:
            async with (
                open_holding_store(job.store_url, clock, read_only=True) as store,
                open_paper_run(job, kept, store, clock, keep_in=None) as run,
            ):
                actions = await plan_recovery(run.exchange, store, job.plan, utc_start=run.begins_at)
                recovery = Recovery(account=run.exchange.account, dry_run=True, actions=_told(actions))
    return recovery, interruption


async def _recover(job: Job, kept: KeptAccount, clock: ReplayClock) -> tuple[Recovery | None, Interruption]:
    recovery = None
    async with catch_signals(lambda _: None) as interruption, open_holding_store(job.store_url, clock) as store:
        with interruption.scope:
            async with (
                open_paper_run(job, kept, store, clock, keep_in=kept_beside(job.store_url)) as run,
                open_manager(run.exchange, store, job.plan, utc_start=run.begins_at) as manager,
            ):
                replay = Replay(
                    (),
                    run.ticks,
                    clock,
                    deadline=job.deadline,
                    settle_seconds=0.0,
                    prices=dict[str, Tick](),
                    tell=lambda _: None,
                    fed=run.fed,
                    on_fed=run.note_fed,
                )
                await replay.run(run.exchange, manager, until=_wait_settled)
                recovery = Recovery(
                    account=run.exchange.account,
                    dry_run=False,
                    actions=_told(manager.recovered),
                    stops=len(manager.stops()),
                    unprotected=len(manager.unprotected()),
                )
    return recovery, interruption


async def _wait_settled(manager: Manager) -> None:
    """Wait until every position that is worked on has its stop, or has ended, or was given up by its plan's policy."""
    async with manager.subscribe() as events:
        while any(one.state != State.CLOSED for one in manager.unprotected().values()):
            await events.receive()


def _told(actions: Sequence[Action]) -> tuple[Found, ...]:
    return tuple(Found(action.symbol, action.side, type(action).__name__, str(action)) for action in actions)


def _print(recovery: Recovery) -> None:
    table = new_table("position", "side", "action", title=recovery.account)
    for found in recovery.actions:
        table.add_row(found.symbol, found.side, found.what)
    if not recovery.actions:
        notes = ["nothing is to be done"]
    elif recovery.dry_run:
        notes = ["nothing of it was carried out: this is a dry run"]
    else:
        notes = [f"live stops: {recovery.stops}; positions without a stop: {recovery.unprotected}"]
    print_table(table, notes=notes)
