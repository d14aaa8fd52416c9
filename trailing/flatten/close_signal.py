"""Close every position of a running bot when its process gets a signal twice."""

from __future__ import annotations

import signal
from typing import Any, Final

import trio

from trailing.core.model import check_seconds
from trailing.errors import TrailingError, UsageError
from trailing.protection.manager import Manager

WITHIN_SECONDS: Final = 5.0
"""Seconds within which the second signal must come, so that no single signal that was sent by mistake closes anything."""


async def close_all_on_signal(
    manager: Manager,
    *,
    deadline: float = 60.0,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Call `manager.close_all` whenever the process gets SIGUSR1 twice within 5 s. Run it as a task inside the manager's block.

    A single SIGUSR1 is only logged. SIGTERM, SIGHUP and SIGINT close nothing. Each step and each outcome is logged. The task
    goes on until it is cancelled, also after an error of the manager.

    Args:
        manager: whose positions are closed.
        deadline: seconds until `close_all` returns. The manager goes on closing afterwards.
        task_status: for `nursery.start`, which returns once the process listens to the signal.

    Raises:
        UsageError: the system has no SIGUSR1, or `deadline` is not above 0.

    Cancellation: the process no longer listens. The manager goes on with what it closes.
    """
    import structlog  # noqa: PLC0415 - importing it takes 0.1 s, which `import trailing` need not wait for

    check_seconds("deadline", deadline, zero=False)
    number: Any = getattr(signal, "SIGUSR1", None)
    if number is None:
        raise UsageError("close_all_on_signal: this system has no SIGUSR1")
    log = structlog.get_logger("trailing")
    with trio.open_signal_receiver(number) as signals:
        task_status.started()
        first_at: float | None = None
        async for _ in signals:
            now = trio.current_time()
            if first_at is None or now > first_at + WITHIN_SECONDS:
                first_at = now
                log.warning("SIGUSR1 came once: send it again within 5 s to close every position")
                continue
            first_at = None
            log.error("SIGUSR1 came twice: closing every position", deadline=deadline)
            try:
                outcomes = await manager.close_all(deadline=deadline)
            except TrailingError as error:
                log.error("the positions were not closed: run `trailing flatten`", error=str(error))  # noqa: TRY400 - its text says it
                continue
            for outcome in outcomes:
                log.warning(str(outcome))
            left = sorted(f"{symbol} {side}" for symbol, side in {**manager.stops(), **manager.unprotected()})
            if left:
                log.error("not everything is closed: run `trailing flatten`", positions=left)
            else:
                log.warning("every position is closed", positions=len(outcomes))
