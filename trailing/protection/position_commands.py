"""Carry out a bot's commands for one position: change its plan, close it, release it.

To adopt a position, the manager first finds it with `find_position`, then protects it as any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from functools import partial
from typing import Any, Final, TypeVar

import trio

from trailing.core.account import PositionReport
from trailing.core.evidence import FlatEvidence
from trailing.core.inputs import CloseWanted, PlanReplaced, PricesMissed, ReleaseWanted
from trailing.core.model import Position, Side, StopOrder, check_money, check_side, check_symbol
from trailing.core.native import check_native_market
from trailing.core.plan import TrailPlan
from trailing.core.refusals import trouble
from trailing.errors import ExchangeUnreachable, RateLimited, UsageError
from trailing.protection.clock import pauses
from trailing.protection.outcomes import UNTRACKED, Exited, Refused, TimedOut
from trailing.protection.position_task import PositionTask
from trailing.protection.supervision import Supervision

_O = TypeVar("_O", Exited, TimedOut, Refused)

LOOK_AGAIN: Final = 1.0
"""The longest wait before the next snapshot is requested, in seconds. It is short because a caller waits, and because one list
that shows the position is enough."""


async def _wait_opened(task: PositionTask) -> None:
    while task.state.is_opening and not task.state.ended:
        await task.wait_changed()


async def close_position(supervision: Supervision, task: PositionTask, deadline: float) -> Exited | TimedOut | Refused:
    """Close a position at market, and wait for its end.

    A position that is being opened is closed when its opening has ended.

    Args:
        deadline: seconds to wait, above 0. Afterwards the position task goes on closing it.

    Returns:
        As `Manager.close`.

    Cancellation: ends the wait.
    """
    state, started = task.state, supervision.now()

    def outcome(kind: type[_O], **fields: Any) -> _O:
        now = supervision.now()
        return kind(
            position=state.position,
            elapsed=now - started,
            uncovered=state.uncovered,
            unprotected_time=state.unprotected_time_at(now),
            **fields,
        )

    with trio.move_on_after(deadline) as scope:
        await _wait_opened(task)
        task.step(CloseWanted("closed by the bot"))
        while not state.ended:
            await task.wait_changed()
    if scope.cancelled_caught:
        return outcome(TimedOut, stop=state.stop, error=trouble(state))
    ended = (
        outcome(Refused, error=state.error or UsageError("there was nothing to close"))
        if state.last_fill is None
        else outcome(Exited, fill=state.last_fill, reason=state.exit_reason)
    )
    await supervision.records.wait_stored(state.plan.journal_wait)
    return ended


async def release_position(supervision: Supervision, symbol: str, side: Side, *, cancel_stop: bool) -> None:
    """Stop protecting a position, and wait until its task has ended and the store holds that.

    A position that was given up is only removed from the list. The wait for the store takes at most `journal_wait`.

    Raises:
        UsageError: no such position is protected, or the manager has ended.

    Cancellation: ends the wait.
    """
    if supervision.forget_given_up(symbol, side):
        await trio.lowlevel.checkpoint()
        return
    task = supervision.get(symbol, side)
    with supervision.operation():
        await _wait_opened(task)
        task.step(ReleaseWanted(cancel_stop))
        while not task.state.ended:
            await task.wait_changed()
        await supervision.records.wait_stored(task.state.plan.journal_wait)


async def change_plan(supervision: Supervision, task: PositionTask, plan: TrailPlan) -> None:
    """Replace a position's plan, and wait until the store holds it, at most `journal_wait`.

    If the position is being opened, the plan is replaced when the opening has ended.

    Raises:
        UsageError: the position has ended, or the plan can't be carried out for it. Nothing has changed.

    Cancellation: before the opening has ended, nothing is changed. Afterwards it ends the wait for the store.
    """
    await _wait_opened(task)
    state, before = task.state, task.state.plan
    if state.ended:
        raise UsageError(f"{state.position.symbol} {state.position.side} has ended")
    check_native_market(plan, state.market)
    was_frozen = state.is_frozen
    task.step(PlanReplaced(plan))
    if (plan.trigger, plan.candle_seconds) != (before.trigger, before.candle_seconds) or task.candles is None:
        task.build_candles_for(plan)  # the candle being built does not fit the new plan
    elif not plan.candles_needed:
        task.candles = None
    if was_frozen and not state.is_frozen:
        # A frozen position takes no prices, so the peaks since its opening are read again.
        task.step(PricesMissed(state.position.opened_at, supervision.records.clock.utc()))
    await supervision.records.wait_stored(plan.journal_wait)


async def find_position(
    supervision: Supervision,
    symbol: str,
    side: Side,
    plan: TrailPlan,
    stop_price: Decimal | None,
    *,
    ends_at: float,
) -> tuple[Position, StopOrder | None]:
    """Return a position as the exchange reports it, and our live stop behind it, or None.

    The position has `opened_at=now` because earlier prices do not count. The stop is the tightest plain one of ours that has
    the plan's trigger; None if the position is claimed. If `stop_price` is given, the feed also gets the exchange's own price,
    so that `stop_price` is checked against it.

    Args:
        stop_price: the first stop that the caller wants, in quote units, or None.
        ends_at: the deadline, in seconds on the running clock.

    Raises:
        UsageError: an argument is impossible, or it is confirmed that there is no such position (`trailing.core.evidence`).
        ExchangeUnreachable: the exchange could not be read before the deadline.
        AuthenticationFailed: the exchange does not accept the credentials.
    """
    check_symbol("symbol", symbol)
    check_side("side", side)
    if stop_price is not None:
        check_money("stop_price", stop_price)
    report: PositionReport | None = None
    stops: Sequence[StopOrder] = ()
    claimed = supervision.registry.get(symbol, side) is not None
    with trio.move_on_at(ends_at) as scope:
        report, stops = await _find(supervision, symbol, side)
        if report is not None and stop_price is not None:
            await _read_price(supervision, symbol, plan)
    if scope.cancelled_caught or supervision.now() >= ends_at:
        raise ExchangeUnreachable(f"the {side} position of {symbol} was not read before the deadline")
    if report is None:
        raise UsageError(f"the exchange reports no {side} position of {symbol} that could be adopted")
    claimed = claimed or supervision.registry.get(symbol, side) is not None
    standing = None if claimed else _tightest(stops, side, plan)
    return _as_position(supervision, report, stop_price), standing


async def _find(supervision: Supervision, symbol: str, side: Side) -> tuple[PositionReport | None, Sequence[StopOrder]]:
    """Return the report of a position and our live stops behind it.

    None for the report: it is confirmed that the position does not exist.
    """
    evidence = FlatEvidence(supervision.now())
    # Otherwise the absence is confirmed after `UNANNOUNCED` seconds only, although nothing but the caller says that it exists.
    evidence.note_flat(supervision.now(), "refusal")
    while True:
        snapshot = await supervision.reader.read()
        report = snapshot.reports.get((symbol, side))
        if report is not None:
            return report, snapshot.ours.get((symbol, side), ())
        if snapshot.shows_all_positions:
            verdict = evidence.judge(
                snapshot.asked_at,
                snapshot.answered_at,
                supervision.timing,
                is_empty=not snapshot.has_positions,
                has_stop=(symbol, side) in snapshot.ours,
            )
            if verdict.confirmed:
                return None, ()
            await trio.sleep_until(min(verdict.again_at, supervision.now() + LOOK_AGAIN))


def _tightest(stops: Sequence[StopOrder], side: Side, plan: TrailPlan) -> StopOrder | None:
    """Return the tightest plain stop with the plan's trigger."""
    suitable = (order for order in stops if order.source == plan.trigger and order.callback is None)
    choose = max if side == "long" else min
    return choose(suitable, key=lambda order: order.price, default=None)


async def _read_price(supervision: Supervision, symbol: str, plan: TrailPlan) -> None:
    """Read the exchange's own price and give it to the feed. A failed read is tried again until the deadline."""
    sender = supervision.sender
    waits = pauses()
    while True:
        try:
            reading = partial(sender.exchange.price, symbol, plan.trigger)
            supervision.feed.take(await sender.read("price", reading, plan.call_seconds))
            return
        except ExchangeUnreachable as error:
            wait = error.retry_after if isinstance(error, RateLimited) else next(waits)
            if trio.current_time() + wait >= trio.current_effective_deadline():
                raise
            await trio.sleep(wait)


def _as_position(supervision: Supervision, report: PositionReport, stop_price: Decimal | None) -> Position:
    """Return the position of a report, with a new id, because it may not be an earlier position of the same key.

    If a position of the key was given up, the new one gets its identity, so that the new record replaces the stored one. An
    untracked position has no such identity.
    """
    now = supervision.records.clock.utc()
    identity = f"adopted {now.isoformat()}"
    given_up = supervision.given_up.get((report.symbol, report.side))
    if given_up is not None and given_up.position.id != UNTRACKED:
        identity = given_up.position.identity
    return Position(
        report.symbol, report.side, report.quantity, report.entry_price, now, stop_price=stop_price, id=identity
    )
