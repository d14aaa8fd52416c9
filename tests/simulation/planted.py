"""Bugs of the kinds that bots like this one had, put in on purpose: the laboratory has to find every one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from trailing.core import (
    account,
    answers,
    endings,
    handlers,
    next_request,
    record,
    shown,
    snapshots,
    stop_answers,
    updates,
)
from trailing.core.evidence import FlatEvidence, Verdict
from trailing.core.inputs import PricesMissed
from trailing.core.model import Fill, StopOrder
from trailing.core.orders import LIVE, SENT, Order
from trailing.core.position import PositionState
from trailing.core.prices import is_tighter
from trailing.core.requests import AmendStop, ClosePosition, ReplaceStop, TakeDownStop
from trailing.core.retries import BackOff
from trailing.errors import StopRejected
from trailing.protection import recovery
from trailing.protection.feed import Feed
from trailing.protection.records import Records
from trailing.protection.registry import Registry
from trailing.protection.requests import RequestSender
from trailing.protection.wave import Wave


def _replace_rule(patch: pytest.MonkeyPatch, name: str, rule: Callable[[PositionState, float], Any]) -> None:
    rules = tuple(rule if one.__name__ == name else one for one in next_request.RULES)
    patch.setattr(next_request, "RULES", rules)


def _replace_everywhere(patch: pytest.MonkeyPatch, name: str, function: Callable[..., Any]) -> None:
    """Replace a function of `trailing.core.shown`, wherever it is imported."""
    for module in (answers, shown, snapshots, updates):
        if hasattr(module, name):
            patch.setattr(module, name, function)


def cancel_before_place(patch: pytest.MonkeyPatch) -> None:
    """A move takes the old stop away first, although two may stand."""

    def move(p: PositionState, at: float) -> Any:
        wanted = next_request.move(p, at)
        return TakeDownStop(wanted.replaces) if isinstance(wanted, ReplaceStop) else wanted

    _replace_rule(patch, "move", move)


def loosening_on_restart(patch: pytest.MonkeyPatch) -> None:
    """A restart resets a stop's target and peak to where they began."""
    restore = record.restore_position

    def reset(*args: Any, **options: Any) -> PositionState:
        p = restore(*args, **options)
        p.ratchet.target, p.ratchet.best, p.floor = p.ratchet.first_stop, p.position.entry_price, None
        return p

    patch.setattr(recovery, "restore_position", reset)


def a_forgotten_intent(patch: pytest.MonkeyPatch) -> None:
    """An order is placed before it is written down."""

    async def forget(self: Records, task: Any, order_id: str, request: Any) -> None:
        self.hand_in(task)

    patch.setattr(Records, "commit_intent", forget)


def a_dropped_tick(patch: pytest.MonkeyPatch) -> None:
    """A throttle lets only two of three ticks through."""
    take = Feed._take_tick

    def throttled(self: Feed, tick: Any) -> None:
        self.ticks += 1
        if self.ticks % 3:
            self.ticks -= 1
            take(self, tick)

    patch.setattr(Feed, "_take_tick", throttled)


def a_double_exit(patch: pytest.MonkeyPatch) -> None:
    """A close is sent twice, to be on the safe side."""
    perform = RequestSender.perform

    async def twice(self: RequestSender, p: PositionState, request: Any, order_id: str | None) -> Any:
        answer = await perform(self, p, request, order_id)
        if isinstance(request, ClosePosition):
            with suppress(StopRejected):
                await perform(self, p, request, order_id)
        return answer

    patch.setattr(RequestSender, "perform", twice)


def a_claim_leak(patch: pytest.MonkeyPatch) -> None:
    """A position that has ended stays claimed."""
    patch.setattr(Registry, "release", lambda self, task: None)


def a_lost_reply_taken_for_a_no(patch: pytest.MonkeyPatch) -> None:
    """An order whose reply was lost counts as not placed."""
    patch.setattr(answers, "is_unknown", lambda error: False)


def peaks_of_a_silence_lost(patch: pytest.MonkeyPatch) -> None:
    """What passed while nobody listened is not read."""
    patch.setitem(handlers.HANDLERS, PricesMissed, lambda p, missed, at: None)


def an_intent_settled_too_early(patch: pytest.MonkeyPatch) -> None:
    """One look that finds nothing proves that an order does not exist."""
    _replace_everywhere(patch, "miss", lambda p, order, **times: True)


def _ignore_ends(patch: pytest.MonkeyPatch, purpose: str) -> None:
    end_order = shown.end_order

    def ignoring(p: PositionState, order: Order, *rest: Any) -> None:
        if order.state is not LIVE or order.purpose != purpose:
            end_order(p, order, *rest)

    _replace_everywhere(patch, "end_order", ignoring)


def a_cancellation_that_nobody_notices(patch: pytest.MonkeyPatch) -> None:
    """A stop that somebody cancelled is believed to stand."""
    _ignore_ends(patch, "stop")


def a_trailing_order_forgotten_at_the_close(patch: pytest.MonkeyPatch) -> None:
    """A position's end takes its stop away, and leaves the exchange's own trailing order standing."""
    end_flat = endings.end_flat

    def forget(p: PositionState, **options: Any) -> None:
        for order in [one for one in p.orders.values() if one.purpose == "native"]:
            p.drop(order, p.checked_at, "outage")
        end_flat(p, **options)

    patch.setattr(snapshots, "end_flat", forget)


def a_trailing_order_whose_loss_nobody_notices(patch: pytest.MonkeyPatch) -> None:
    """What became of the exchange's own trailing order is neither listened to nor read."""
    _ignore_ends(patch, "native")


def a_trailing_order_taken_for_the_stop(patch: pytest.MonkeyPatch) -> None:
    """A snapshot of the account takes every order of ours for a stop."""
    add_stops = account.SnapshotBuilder.add_stops

    def add_plain(builder: account.SnapshotBuilder, stops: Iterable[StopOrder]) -> None:
        add_stops(builder, [replace(order, callback=None) for order in stops])

    patch.setattr(account.SnapshotBuilder, "add_stops", add_plain)


def a_restart_that_forgets_what_is_unknown(patch: pytest.MonkeyPatch) -> None:
    """A restart takes what is stored for what is."""
    restore = record.restore_position

    def trusting(record: Any, intended: Any, *rest: Any, **options: Any) -> PositionState:
        return restore(record, [], *rest, **options)

    patch.setattr(recovery, "restore_position", trusting)


PLANTED: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    plant.__name__: plant
    for plant in (
        cancel_before_place,
        loosening_on_restart,
        a_forgotten_intent,
        a_dropped_tick,
        a_double_exit,
        a_claim_leak,
        a_lost_reply_taken_for_a_no,
        peaks_of_a_silence_lost,
        an_intent_settled_too_early,
        a_cancellation_that_nobody_notices,
        a_trailing_order_forgotten_at_the_close,
        a_trailing_order_whose_loss_nobody_notices,
        a_trailing_order_taken_for_the_stop,
        a_restart_that_forgets_what_is_unknown,
    )
}
"""Bugs that calm worlds bring to light, too."""


def an_amendment_by_hand_ignored(patch: pytest.MonkeyPatch) -> None:
    """What a list shows of a known stop counts only where a request for it has an unknown outcome."""
    judge = snapshots._judge_listed

    def ignoring(p: PositionState, order: Order, listed: StopOrder, snapshot: Any, at: float) -> None:
        judge(p, order, listed if order.order is None or order.is_sent else order.order, snapshot, at)

    patch.setattr(snapshots, "_judge_listed", ignoring)


def a_loss_without_an_update_not_noticed(patch: pytest.MonkeyPatch) -> None:
    """A stop that no list shows any more is believed to stand."""
    miss = shown.miss

    def deaf(p: PositionState, order: Order, **times: Any) -> bool:
        return order.state is not LIVE and miss(p, order, **times)

    patch.setattr(snapshots, "miss", deaf)


def a_fill_before_the_acknowledgement_counted_twice(patch: pytest.MonkeyPatch) -> None:
    """What was filled of a stop before its acknowledgement is taken off twice."""
    filled = updates._filled

    def twice(p: PositionState, before: Order, update: Any, fill: Fill, at: float, **options: Any) -> None:
        filled(p, before, update, fill, at, **options)
        if before.state is SENT:
            p.quantity, p.filled = max(Decimal(0), p.quantity - fill.quantity), p.filled + fill.quantity

    patch.setattr(updates, "_filled", twice)


def a_stored_move(patch: pytest.MonkeyPatch) -> None:
    """The price of a move that failed is kept, and sent after the back-off whatever happened meanwhile."""
    kept: dict[tuple[Any, ...], Decimal] = {}

    def move(p: PositionState, at: float) -> Any:
        wanted, key = next_request.move(p, at), (p.position, p.claimed_at)
        if "move" not in p.back_offs:
            kept.pop(key, None)
        if isinstance(wanted, (AmendStop, ReplaceStop)):
            return replace(wanted, price=kept.setdefault(key, wanted.price))
        return wanted

    _replace_rule(patch, "move", move)
    patch.setattr(answers, "check_never_looser", lambda p, request, at: None)


def a_shared_back_off(patch: pytest.MonkeyPatch) -> None:
    """Whatever kind of request failed, every kind waits."""
    choose = next_request._choose

    def waiting(p: PositionState, at: float) -> Any:
        until = max((one.until for one in p.back_offs.values()), default=at)
        return until if until > at else choose(p, at)

    patch.setattr(next_request, "_choose", waiting)


def an_empty_list_believed(patch: pytest.MonkeyPatch) -> None:
    """One list without the position proves that it is flat."""

    def believe(self: FlatEvidence, asked_at: float, answered_at: float, timing: Any, **options: Any) -> Verdict:
        shows_from = self.changed_at + timing.positions_read_lag
        return Verdict(asked_at >= shows_from, answered_at, shows_from)

    patch.setattr(FlatEvidence, "judge", believe)


def a_dropped_waiter(patch: pytest.MonkeyPatch) -> None:
    """A position that waits behind an ending one is forgotten when the deadline of its caller strikes."""

    def drop(self: Wave, task: Any, *, final: bool) -> None:
        if task.is_waiting:
            self._supervision.registry.drop(task)

    patch.setattr(Wave, "_leave_waiting", drop)


def a_fill_counted_twice(patch: pytest.MonkeyPatch) -> None:
    """A fill that is pushed a second time is counted again."""

    def counted(order: Order, fill: Fill, cumulative: Decimal | None) -> tuple[Order, Decimal]:
        return replace(order, told=order.told + fill.quantity), fill.quantity

    patch.setattr(updates, "unseen", counted)


def a_loosened_adoption(patch: pytest.MonkeyPatch) -> None:
    """A stop is adopted as a list shows it, however loose."""
    show = shown.show

    def adopt(p: PositionState, order: Order, listed: StopOrder, at: float) -> None:
        show(p, order, listed, at)
        if p.floor is not None and is_tighter(p.position.side, p.floor, listed.price):
            p.floor = p.ratchet.target = listed.price

    _replace_everywhere(patch, "show", adopt)


def no_back_off(patch: pytest.MonkeyPatch) -> None:
    """What failed is tried again 0.05 s later, however often."""

    def at_once(before: BackOff | None, error: Exception | None, at: float, spread: float, **options: Any) -> BackOff:
        return BackOff(1, at + 0.05)

    patch.setattr(answers, "back_off", at_once)
    patch.setattr(stop_answers, "back_off", at_once)


HARSH_PLANTED: dict[str, tuple[str, Callable[[pytest.MonkeyPatch], None]]] = {
    plant.__name__: (kind, plant)
    for kind, plant in (
        ("amended_stops", an_amendment_by_hand_ignored),
        ("silent_losses", a_loss_without_an_update_not_noticed),
        ("early_fills", a_fill_before_the_acknowledgement_counted_twice),
        ("all", a_stored_move),
        ("throttles", a_shared_back_off),
        ("empty_lists", an_empty_list_believed),
        ("throttles", a_dropped_waiter),
        ("late_updates", a_fill_counted_twice),
        ("amended_stops", a_loosened_adoption),
    )
}
"""Bugs that only a kind of harsh fault brings to light, by name: the kind, and how to put the bug in."""
