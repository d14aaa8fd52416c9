"""`trailing recover --paper`: the account of a run that was cut short beside its store."""

from __future__ import annotations

from functools import partial

from trailing.cli.jobs import Job, prepare_again
from trailing.cli.kept_account import KeptAccount, kept_beside, read_kept
from trailing.cli.paper_run import open_paper_run
from trailing.cli.recoveries import Recovery, carried_out, rehearsed, show, wait_settled
from trailing.cli.replay import Replay
from trailing.cli.replay_clock import ReplayClock, open_holding_store
from trailing.cli.signals import Interruption, run_until_signal
from trailing.core.model import Tick
from trailing.errors import UsageError
from trailing.logs import Level
from trailing.protection.manager import open_manager, plan_recovery


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
    work = partial(_rehearse if dry_run else _recover, job, kept, clock)
    recovery, interruption = run_until_signal(work, log_level=log_level, clock=clock.clock)
    return show(recovery, interruption, json=json)


async def _rehearse(job: Job, kept: KeptAccount, clock: ReplayClock, _: Interruption) -> Recovery | None:
    async with (
        open_holding_store(job.store_url, clock, read_only=True) as store,
        open_paper_run(job, kept, store, clock, keep_in=None) as run,
    ):
        actions = await plan_recovery(run.exchange, store, job.plan, utc_start=run.begins_at)
        return rehearsed(run.exchange, actions)


async def _recover(job: Job, kept: KeptAccount, clock: ReplayClock, interruption: Interruption) -> Recovery | None:
    recovery = None
    async with open_holding_store(job.store_url, clock) as store:
        with interruption.cancels():  # this block alone, because what was recovered by then is printed
            async with (
                open_paper_run(job, kept, store, clock, keep_in=kept_beside(job.store_url)) as run,
                open_manager(run.exchange, store, job.plan, utc_start=run.begins_at) as manager,
            ):
                replay = Replay(
                    (),
                    run.points,
                    clock,
                    deadline=job.deadline,
                    settle_seconds=0.0,
                    prices=dict[str, Tick](),
                    tell=lambda _: None,
                    fed=run.fed,
                    on_fed=run.note_fed,
                )
                await replay.run(run.exchange, manager, until=wait_settled)
                recovery = carried_out(run.exchange, manager)
    return recovery
