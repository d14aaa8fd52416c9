"""Map each input of a position's state to the function that handles it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from trailing.core import answers, entering, inputs, leftovers, snapshots, updates, wishes
from trailing.core.inputs import Input

if TYPE_CHECKING:
    from trailing.core.position import PositionState

HANDLERS: Final[Mapping[type[Input], Callable[[PositionState, Any, float], None]]] = {
    inputs.PriceSeen: updates.on_price,
    inputs.CandleClosed: updates.on_candle,
    inputs.PricesMissed: updates.on_prices_missed,
    inputs.OrderUpdated: updates.on_order_updated,
    inputs.EntryUpdated: entering.on_entry_updated,
    inputs.PositionUpdated: updates.on_position_updated,
    inputs.Begun: answers.on_begun,
    inputs.Sent: answers.on_sent,
    inputs.Answered: answers.on_answered,
    inputs.SnapshotTaken: snapshots.on_snapshot,
    inputs.TimePassed: wishes.on_time,
    inputs.StopFound: leftovers.on_stop_found,
    inputs.RetryNow: wishes.on_retry_now,
    inputs.CheckWanted: wishes.on_check_wanted,
    inputs.CloseWanted: wishes.on_close_wanted,
    inputs.ReleaseWanted: wishes.on_release_wanted,
    inputs.PlanReplaced: wishes.on_plan_replaced,
    inputs.DeadlineStruck: wishes.on_deadline_struck,
    inputs.EntryUnreported: wishes.on_entry_unreported,
    inputs.EntryRefused: wishes.on_entry_refused,
    inputs.OpeningEnded: wishes.on_opening_ended,
    inputs.Frozen: wishes.on_frozen,
}
