"""Changing a position's plan while it runs: the core takes it at once, its task follows, and the store holds it."""

from __future__ import annotations

from trailing.core.candles import CandleBuilder
from trailing.core.model import refuse
from trailing.core.native import check_native_market
from trailing.core.plan import TrailPlan
from trailing.core.trail import ExitPosition
from trailing.errors import UsageError
from trailing.events import PlanChanged
from trailing.protection.orders import Orders
from trailing.protection.protection import Missed, Protection


async def change_plan(orders: Orders, protection: Protection, plan: TrailPlan) -> None:
    """Replace a position's plan, once its opening has ended, and save it as `Books.save` does.

    Raises:
        UsageError: what `TrailingStop.replan` refuses; or another trigger, while its task may be placing a stop with the
            present one. Nothing has changed then.

    Cancellation: before the opening has ended nothing is changed; afterwards it ends the waiting for the store.
    """
    await protection.wait_opened()
    stop, before, now = protection.stop, protection.plan, orders.clock.now()
    if protection.closed:
        raise UsageError(f"{protection.position.symbol} {protection.position.side} has ended")
    if plan.trigger != before.trigger and (protection.at_work or protection.pending):
        wants = f"{before.trigger!r}, as long as something with that trigger is under way"
        raise refuse("TrailPlan.trigger", plan.trigger, wants)
    rule_failed = stop.bug is not None
    check_native_market(plan, stop.market)
    decision = stop.replan(plan, now)
    if rule_failed:
        protection.frozen, protection.error = False, None
        # It heard no price while it was frozen: its life's peaks are read anew.
        protection.missed = Missed(protection.position.opened_at, orders.clock.utc(), now)
    if isinstance(protection.wanted, ExitPosition):
        protection.wanted = None  # it was wanted by the plan before; what still holds has just been decided anew
    if (plan.trigger, plan.candle_seconds) != (before.trigger, before.candle_seconds):
        protection.candles = None  # the bar that is being built is none of the new plan's
    if not plan.candles_needed:
        protection.candles = None
    elif protection.candles is None:
        protection.candles = CandleBuilder(plan.candle_seconds)
    protection.want(decision)
    protection.hurry()
    orders.tell(protection, PlanChanged, previous=before.encoded, plan=plan.encoded)
    await orders.save(protection)
