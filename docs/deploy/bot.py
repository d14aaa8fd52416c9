"""A bot that protects every position of an account, also those that are opened by hand or by another program.

Replace what `work` does by what your bot does. `adopt_all` may close a position whose price is already beyond its stop.
"""

import signal
import sys

import structlog
import trio

import trailing

CONFIG = sys.argv[1] if len(sys.argv) > 1 else "trailing.toml"
EVERY = 5.0  # seconds between two looks for new positions


async def work(bot: trailing.Bot) -> None:
    log, logged = structlog.get_logger("bot"), set[str]()
    while True:
        try:
            report = await bot.manager.adopt_all(deadline=10.0)
        except trailing.ExchangeError as error:
            said = {f"the account can't be read: {error}"}
        else:
            said = {str(outcome) for outcome in report.outcomes}
        for line in sorted(said - logged):
            log.info(line)
        logged = said
        await trio.sleep(EVERY)


async def cancel_on_signal(bot: trio.CancelScope, *, task_status: trio.TaskStatus[None]) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            bot.cancel()  # what is unfinished is cleaned up; acknowledged stops stay live


async def main() -> None:
    trailing.configure_logging("info")
    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()
        await nursery.start(cancel_on_signal, scope)
        with scope:
            async with trailing.open_from_config(CONFIG) as bot:
                await work(bot)
        nursery.cancel_scope.cancel()


failed: list[str] = []
try:
    trio.run(main)
except* trailing.TrailingError as errors:
    failed = [str(error) for error in errors.exceptions]
if failed:  # not in the `except*`, which puts what is raised there into a group before Python 3.11.4
    sys.exit("\n".join(failed))  # one line, and an exit code after which the service is started again
