"""Take in live stops of ours that a position has no row for, such as those that an earlier process has placed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msgspec.structs import replace

from trailing.core.account import AccountSnapshot
from trailing.core.evidence import judge_absence
from trailing.core.goals import End
from trailing.core.identity import has_known_entry
from trailing.core.inputs import StopFound
from trailing.core.model import StopOrder
from trailing.core.prices import is_crossed
from trailing.core.shown import count_tighter_again, new_stop, tell_opened

if TYPE_CHECKING:
    from trailing.core.position import PositionState


def judge_leftovers(p: PositionState, snapshot: AccountSnapshot, listed: dict[str, StopOrder], at: float) -> None:
    """Adopt each stop of ours that has no row, unless it may be of another position.

    It is adopted on the second snapshot that shows it, or on the first if the position is unprotected and not opening.
    The tightest stop counts then.
    """
    before, p.leftovers = p.leftovers, {}
    for client_order_id, order in listed.items():
        if client_order_id in p.orders or not _may_be_its_own(p, client_order_id, snapshot):
            continue
        ended = p.ended_orders.get(client_order_id)
        verdict = judge_absence(
            before.get(client_order_id),
            asked_at=snapshot.asked_at,
            answered_at=snapshot.answered_at,
            lag=p.timing.orders_read_lag,
            changed_at=-math.inf if ended is None else ended.changed_at,
        )
        is_wanted = not (p.is_covered or p.is_opening or isinstance(p.goal, End))
        if verdict.confirmed or (is_wanted and verdict.since is not None):
            _take_in(p, order, at)
            continue
        p.again_at = min(p.again_at, verdict.again_at)
        if verdict.since is not None:
            p.leftovers[client_order_id] = verdict.since


def _may_be_its_own(p: PositionState, client_order_id: str, snapshot: AccountSnapshot) -> bool:
    """Return whether a stop may be of this position. A position that adopts another one's stop would cancel it at its end.

    Before its entry is filled, a position has only the stop that the entry carries. If another entry price is reported, it
    is to be decided first whether the position is another one.
    """
    if p.is_entering and not p.quantity:
        assert p.entry is not None
        return client_order_id == p.entry.stop_id
    report = snapshot.reports.get((p.position.symbol, p.position.side))
    return p.is_entering or p.is_opening or report is None or has_known_entry(p, report)


def on_stop_found(p: PositionState, found: StopFound, at: float) -> None:
    """Adopt a live stop of ours found behind a position read from the exchange."""
    p.was_tried = p.is_entry_checked = True
    _take_in(p, found.order, at)
    p.ratchet.ask_rules()


def _take_in(p: PositionState, order: StopOrder, at: float) -> None:
    """Add a live order of ours to the table.

    A trailing order is added to be cancelled. A stop with another trigger than the plan's does not count beside another
    stop.
    """
    is_native = order.callback is not None
    is_other = order.source != p.plan.trigger and p.is_covered
    row = new_stop(order, is_unwanted=is_native, is_superseded=is_other)
    before = p.ended_orders.pop(order.client_order_id, None)
    # It had ended by other reports, or the exchange placed it again for a further fill of the entry.
    if before is not None:
        known = before.told_before + before.told
        row = replace(row, told=before.told, told_before=before.told_before, trades=before.trades, filled=known)
    p.put(row)
    if is_native:
        return
    count_tighter_again(p, order)
    if not is_crossed(p.position.side, p.ratchet.last, order.price):
        p.raise_floor(order.price)
    if not p.is_covered:
        tell_opened(p, order, at)
