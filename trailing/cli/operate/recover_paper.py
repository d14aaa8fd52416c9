"""`trailing recover --paper`: recover the paper account of an interrupted run."""

from __future__ import annotations

from functools import partial

from trailing.cli.operate.recovery_result import Recovery, dry_run_result, print_result, recovery_result, wait_settled
from trailing.cli.practice.paper_run import open_paper_run
from trailing.cli.practice.replay import Replay, manager_plan
from trailing.cli.practice.replay_clock import ReplayClock, open_holding_store
from trailing.cli.practice.replay_job import ReplayJob, prepare_again, without_password
from trailing.cli.practice.saved_account import SavedPaperAccount, find_interrupted
from trailing.cli.signals import Interruption, run_until_signal
from trailing.cli.stores import check_exists
from trailing.core.model import Tick
from trailing.errors import UsageError
from trailing.logs import Level
from trailing.protection.manager import open_manager, plan_recovery


def recover_paper(store_url: str, *, dry_run: bool, json: bool, log_level: Level) -> int:
    """Recover the paper account of an interrupted run, and print the result.

    Returns:
        The exit code; 1 if a position has no stop afterwards.

    Raises:
        UsageError: there is no interrupted run, or its files have changed.
    """
    check_exists(store_url)
    found = find_interrupted(store_url)
    if found is None:
        raise UsageError(
            f"--store {without_password(store_url)} has no interrupted run. Only a run with --store sqlite:///FILE is resumable"
        )
    saved, order = found
    job = prepare_again(saved.begun.command, store_url).in_order(order)
    job.check_resumes(saved)
    clock = ReplayClock(job.start.timestamp(), None)
    work = partial(_dry_run if dry_run else _recover, job, saved, clock)
    recovery, interruption = run_until_signal(work, log_level=log_level, clock=clock.clock)
    return print_result(recovery, interruption, json=json)


async def _dry_run(job: ReplayJob, saved: SavedPaperAccount, clock: ReplayClock, _: Interruption) -> Recovery | None:
    async with (
        open_holding_store(job.store_url, clock, read_only=True) as store,
        open_paper_run(job, saved, store, clock, save_to=None) as run,
    ):
        actions = await plan_recovery(run.exchange, store, job.plan, utc_start=run.begins_at)
        return dry_run_result(run.exchange, actions)


async def _recover(
    job: ReplayJob, saved: SavedPaperAccount, clock: ReplayClock, interruption: Interruption
) -> Recovery | None:
    recovery = None
    async with open_holding_store(job.store_url, clock) as store:
        with interruption.cancels():  # only this block, because the result so far is printed after it
            async with (
                open_paper_run(job, saved, store, clock, save_to=job.account_path) as run,
                open_manager(run.exchange, store, manager_plan(job.plan), utc_start=run.begins_at) as manager,
            ):
                replay = Replay(
                    (),
                    run.points,
                    clock,
                    plan=job.plan,
                    enters_at=lambda _: 0.0,
                    deadline=job.deadline,
                    settle_seconds=0.0,
                    prices=dict[str, Tick](),
                    on_event=lambda _: None,
                    fed=run.fed,
                    on_fed=run.note_fed,
                )
                await replay.run(run.exchange, manager, until=wait_settled)
                recovery = recovery_result(run.exchange, manager)
    return recovery
