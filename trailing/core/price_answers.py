"""Apply the answers to reads of prices: the exchange's own price, and the candles of a price gap."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from msgspec.structs import replace

from trailing.core.endings import refuse_entry, tell_backfilled
from trailing.core.entry_checks import check_entry, check_side
from trailing.core.gaps import BAR, READ_AGAIN
from trailing.core.goals import Close
from trailing.core.inputs import Backfill
from trailing.core.model import Tick
from trailing.core.prices import is_crossed, is_tighter
from trailing.core.requests import ReadCandles, ReadPrice
from trailing.errors import UsageError

if TYPE_CHECKING:
    from trailing.core.position import PositionState


def price_read(p: PositionState, request: ReadPrice, _: object, result: Tick, at: float) -> None:
    """Confirm or refute a jump by the exchange's own price, and close the position if that is beyond the wanted stop."""
    side, ratchet, price = p.position.side, p.ratchet, result.price
    if result.source != p.plan.trigger:
        return  # the plan was replaced meanwhile
    if ratchet.take_own_price(price):
        p.alarm("a jump of the price was not confirmed", f"the exchange's own price is {price}")
    ratchet.ask_rules()
    if request.why == "jump":
        return
    was_refused, p.would_trigger, p.crossed_at = p.would_trigger, False, None
    limit, live = ratchet.target, p.stop
    if p.plan.on_would_trigger == "keep" and live is not None and is_tighter(side, limit, live.price):
        limit = limit if p.is_trailed_by_exchange else live.price
    if not is_crossed(side, price, limit):
        return
    try:
        if p.is_opening and p.entry is None:
            check_entry(p.position, p.plan, price if p.reported_entry is None else p.reported_entry)
            check_side(p.position, price)
    except UsageError as wrong:
        refuse_entry(p, wrong)
        return
    if live is None:
        first = p.is_opening and p.floor is None
        reason = "the price is beyond the stop of a position that has none"
        if first:
            reason = "the price was already beyond the initial stop"
    elif was_refused:
        reason = "the market is at the stop"
    elif p.is_trailed_by_exchange or is_crossed(side, price, live.price):
        reason = f"the stop was crossed and not filled within {p.plan.exit_grace} s"
    else:
        reason = "a stop that was not sent yet is crossed"
    p.aim(Close(reason, is_revocable=True))


def candles_read(p: PositionState, request: ReadCandles, _: object, result: Backfill, at: float) -> None:
    """Take the peaks of a price gap, and read its end once more if its last bar was still open."""
    gap = p.gap
    if result.tick.source != p.plan.trigger:
        return  # the plan was replaced meanwhile, so the gap is read again
    p.ratchet.take_backfill(result.candles, result.tick.price)
    p.ratchet.ask_rules()
    if gap is None or gap.read_at > p.sent_at:
        return  # a gap was added meanwhile, so the whole gap is read again
    candles, ends = result.candles, request.since
    if candles:
        ends = candles[-1].opened_at + timedelta(seconds=candles[-1].seconds)
    if ends < gap.until and not gap.is_last_try:
        p.gap = replace(gap, read_at=at + BAR.total_seconds(), is_last_try=True)
        return
    p.gap = None
    tell_backfilled(p, request.since, gap.until, max(ends, gap.until), candles)


def candles_failed(p: PositionState, request: ReadCandles, _: object, error: Exception, at: float) -> None:
    """Read the candles again later. Nothing that protects the position waits for them."""
    p.back_offs.pop("candles", None)
    assert p.gap is not None  # only an answer with candles ends a gap
    if p.gap.read_at <= p.sent_at:  # otherwise a gap was added meanwhile, and is read at once
        p.gap = replace(p.gap, read_at=at + READ_AGAIN)
