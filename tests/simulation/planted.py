"""Bugs that the tests plant in the library. The laboratory has to find each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from decimal import Decimal
from typing import Any, Final

import pytest
from msgspec.structs import replace

from trailing.core import (
    account,
    answers,
    endings,
    entering,
    handlers,
    next_request,
    record,
    shown,
    snapshots,
    stop_answers,
    updates,
)
from trailing.core.entry_orders import EntryOrder
from trailing.core.evidence import FlatEvidence, Verdict
from trailing.core.inputs import PricesMissed
from trailing.core.model import Fill, StopOrder
from trailing.core.orders import LIVE, SENT, Order
from trailing.core.position import PositionState
from trailing.core.prices import is_tighter
from trailing.core.requests import AmendStop, ClosePosition, PlaceEntry, ReplaceStop, TakeDownStop
from trailing.core.retries import BackOff
from trailing.errors import ExchangeUnreachable, OutcomeUnknown, StopRejected
from trailing.protection import recovery
from trailing.protection.feed import Feed
from trailing.protection.records import Records
from trailing.protection.registry import Registry
from trailing.protection.requests import RequestSender
from trailing.protection.waves.wave import Wave


def _replace_rule(patch: pytest.MonkeyPatch, name: str, rule: Callable[[PositionState, float], Any]) -> None:
    for table in ("RULES", "CALM_RULES"):
        rules = tuple(rule if one.__name__ == name else one for one in getattr(next_request, table))
        patch.setattr(next_request, table, rules)


def _replace_everywhere(patch: pytest.MonkeyPatch, name: str, function: Callable[..., Any]) -> None:
    """Replace a function of `trailing.core.shown`, wherever it is imported."""
    for module in (answers, shown, snapshots, updates):
        if hasattr(module, name):
            patch.setattr(module, name, function)


def cancel_before_place(patch: pytest.MonkeyPatch) -> None:
    """A move cancels the old stop first, although two may be live."""

    def move(p: PositionState, at: float) -> Any:
        wanted = next_request.move(p, at)
        return TakeDownStop(wanted.replaces) if isinstance(wanted, ReplaceStop) else wanted

    _replace_rule(patch, "move", move)


def loosening_on_restart(patch: pytest.MonkeyPatch) -> None:
    """A restart resets a stop's target and peak to their first values."""
    restore = record.restore_position

    def reset(*args: Any, **options: Any) -> PositionState:
        p = restore(*args, **options)
        p.ratchet.target, p.ratchet.best, p.floor = p.ratchet.first_stop, p.position.entry_price, None
        return p

    patch.setattr(recovery, "restore_position", reset)


def a_forgotten_intent(patch: pytest.MonkeyPatch) -> None:
    """An order is placed before its intent is stored."""

    async def forget(self: Records, task: Any, order_id: str, request: Any) -> None:
        self.hand_in(task)

    patch.setattr(Records, "commit_intent", forget)


def a_dropped_tick(patch: pytest.MonkeyPatch) -> None:
    """The feed drops every third tick."""
    take = Feed._take_tick

    def throttled(self: Feed, tick: Any) -> None:
        self.ticks += 1
        if self.ticks % 3:
            self.ticks -= 1
            take(self, tick)

    patch.setattr(Feed, "_take_tick", throttled)


def a_double_exit(patch: pytest.MonkeyPatch) -> None:
    """A close is sent twice."""
    perform = RequestSender.perform

    async def twice(self: RequestSender, p: PositionState, request: Any, order_id: str | None) -> Any:
        answer = await perform(self, p, request, order_id)
        if isinstance(request, ClosePosition):
            with suppress(StopRejected):
                await perform(self, p, request, order_id)
        return answer

    patch.setattr(RequestSender, "perform", twice)


def a_claim_leak(patch: pytest.MonkeyPatch) -> None:
    """The claim of an ended position is never released."""
    patch.setattr(Registry, "release", lambda self, task: None)


def a_lost_reply_taken_for_a_refusal(patch: pytest.MonkeyPatch) -> None:
    """An order whose reply was lost counts as not placed."""
    for module in (answers, stop_answers):
        patch.setattr(module, "is_unknown", lambda error: False)


def peaks_of_a_price_gap_lost(patch: pytest.MonkeyPatch) -> None:
    """The candles of a price gap are not read."""
    patch.setitem(handlers.HANDLERS, PricesMissed, lambda p, missed, at: None)


def an_intent_settled_too_early(patch: pytest.MonkeyPatch) -> None:
    """One read that does not find an order confirms that it does not exist."""
    _replace_everywhere(patch, "miss", lambda p, order, **times: True)


def _ignore_ends(patch: pytest.MonkeyPatch, purpose: str) -> None:
    end_order = shown.end_order

    def ignoring(p: PositionState, order: Order, *rest: Any) -> None:
        if order.state is not LIVE or order.purpose != purpose:
            end_order(p, order, *rest)

    _replace_everywhere(patch, "end_order", ignoring)


def an_unnoticed_cancellation(patch: pytest.MonkeyPatch) -> None:
    """A stop that a person cancelled is assumed to be live."""
    _ignore_ends(patch, "stop")


def a_trailing_order_forgotten_at_the_close(patch: pytest.MonkeyPatch) -> None:
    """The end of a position cancels its stop, and not the exchange's trailing order."""
    end_flat = endings.end_flat

    def forget(p: PositionState, **options: Any) -> None:
        for order in [one for one in p.orders.values() if one.purpose == "native"]:
            p.drop(order, "cancelled", p.checked_at, "outage")
        end_flat(p, **options)

    patch.setattr(snapshots, "end_flat", forget)


def an_unnoticed_end_of_a_trailing_order(patch: pytest.MonkeyPatch) -> None:
    """The end of the exchange's trailing order is neither taken from updates nor read."""
    _ignore_ends(patch, "native")


def a_trailing_order_taken_for_the_stop(patch: pytest.MonkeyPatch) -> None:
    """A snapshot treats every order of ours as a plain stop."""
    add_stops = account.SnapshotBuilder.add_stops

    def add_plain(builder: account.SnapshotBuilder, stops: Iterable[StopOrder]) -> None:
        add_stops(builder, [replace(order, callback=None) for order in stops])

    patch.setattr(account.SnapshotBuilder, "add_stops", add_plain)


def a_restart_that_forgets_unknown_requests(patch: pytest.MonkeyPatch) -> None:
    """A restart treats the stored state as the true one."""
    restore = record.restore_position

    def trusting(record: Any, intended: Any, *rest: Any, **options: Any) -> PositionState:
        return restore(record, [], *rest, **options)

    patch.setattr(recovery, "restore_position", trusting)


def an_unknown_entry_sent_again(patch: pytest.MonkeyPatch) -> None:
    """An entry whose reply was lost counts as not sent."""
    settle = entering.place_failed

    def send_again(p: PositionState, request: Any, row: Order | None, error: Exception, at: float) -> None:
        settle(p, request, row, ExchangeUnreachable(str(error)) if isinstance(error, OutcomeUnknown) else error, at)

    patch.setitem(answers._FAILED, PlaceEntry, send_again)


def an_entry_fill_counted_twice(patch: pytest.MonkeyPatch) -> None:
    """A fill that is shown again is added again."""
    count = entering._count

    def again(p: PositionState, shown: EntryOrder, at: float) -> None:
        before = p.entry
        if before is not None and shown.filled and shown.filled == before.filled and before.unfilled:
            p.entry = replace(before, filled=Decimal(0))
            more = min(before.quantity, before.entered + shown.filled)
            shown = replace(shown, filled=more)
        count(p, shown, at)

    patch.setattr(entering, "_count", again)


def a_remainder_that_is_not_cancelled(patch: pytest.MonkeyPatch) -> None:
    """What is not filled of an entry at its deadline works on."""
    _replace_rule(patch, "cancel_entry", lambda p, at: None)


PLANTED: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    plant.__name__: plant
    for plant in (
        cancel_before_place,
        loosening_on_restart,
        a_forgotten_intent,
        a_dropped_tick,
        a_double_exit,
        a_claim_leak,
        a_lost_reply_taken_for_a_refusal,
        peaks_of_a_price_gap_lost,
        an_intent_settled_too_early,
        an_unnoticed_cancellation,
        a_trailing_order_forgotten_at_the_close,
        an_unnoticed_end_of_a_trailing_order,
        a_trailing_order_taken_for_the_stop,
        a_restart_that_forgets_unknown_requests,
        an_unknown_entry_sent_again,
        an_entry_fill_counted_twice,
        a_remainder_that_is_not_cancelled,
    )
}
"""Bugs that calm worlds find too."""

OF_TRAILING_ORDERS: Final = frozenset(name for name in PLANTED if "trailing_order" in name)
"""Bugs that do nothing in a world whose plan has no trailing order."""


def an_amendment_by_hand_ignored(patch: pytest.MonkeyPatch) -> None:
    """The price of a known stop that is listed or looked up counts only if a request for the stop has an unknown outcome."""
    show = shown.show

    def ignoring(p: PositionState, order: Order, listed: StopOrder, at: float) -> None:
        show(p, order, listed if order.order is None or order.is_sent else order.order, at)

    _replace_everywhere(patch, "show", ignoring)


def a_loss_without_an_update_not_noticed(patch: pytest.MonkeyPatch) -> None:
    """A stop that no list shows any more is assumed to be live."""
    miss = shown.miss

    def never_missing(p: PositionState, order: Order, **times: Any) -> bool:
        return order.state is not LIVE and miss(p, order, **times)

    patch.setattr(snapshots, "miss", never_missing)


def a_fill_before_the_acknowledgement_counted_twice(patch: pytest.MonkeyPatch) -> None:
    """A fill before the acknowledgement reduces the position twice."""
    filled = updates._filled

    def twice(p: PositionState, before: Order, update: Any, fill: Fill, at: float, **options: Any) -> None:
        filled(p, before, update, fill, at, **options)
        if before.state is SENT:
            p.quantity, p.filled = max(Decimal(0), p.quantity - fill.quantity), p.filled + fill.quantity

    patch.setattr(updates, "_filled", twice)


def a_stored_move(patch: pytest.MonkeyPatch) -> None:
    """The price of a failed move is stored, and sent unchanged after the back-off."""
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
    """A failed request delays requests of every kind."""
    choose = next_request._choose

    def waiting(p: PositionState, at: float) -> Any:
        until = max((one.until for one in p.back_offs.values()), default=at)
        return until if until > at else choose(p, at)

    patch.setattr(next_request, "_choose", waiting)


def an_empty_list_believed(patch: pytest.MonkeyPatch) -> None:
    """One list without the position confirms that it is flat."""

    def believe(self: FlatEvidence, asked_at: float, answered_at: float, timing: Any, **options: Any) -> Verdict:
        shows_from = self.changed_at + timing.positions_read_lag
        return Verdict(asked_at >= shows_from, answered_at, shows_from)

    patch.setattr(FlatEvidence, "judge", believe)


def a_dropped_waiter(patch: pytest.MonkeyPatch) -> None:
    """A position that waits for the end of an earlier one is dropped at the deadline of its caller.

    `tests/protection/test_planted_violations.py` finds it. Worlds don't, because the manager lists a dropped position as another
    one in the place of the earlier one, and their bot hands it in again.
    """

    def drop(self: Wave, task: Any, *, final: bool) -> None:
        if task.is_waiting:
            self._supervision.registry.drop(task)

    patch.setattr(Wave, "_leave_waiting", drop)


def a_fill_counted_twice(patch: pytest.MonkeyPatch) -> None:
    """A repeated update of a fill is counted again."""

    def counted(order: Order, fill: Fill, cumulative: Decimal | None) -> tuple[Order, Decimal]:
        return replace(order, told=order.told + fill.quantity), fill.quantity

    patch.setattr(updates, "unseen", counted)


def a_loosened_adoption(patch: pytest.MonkeyPatch) -> None:
    """A stop is adopted with its listed price, however loose."""
    show = shown.show

    def adopt(p: PositionState, order: Order, listed: StopOrder, at: float) -> None:
        show(p, order, listed, at)
        if p.floor is not None and is_tighter(p.position.side, p.floor, listed.price):
            p.floor = p.ratchet.target = listed.price

    _replace_everywhere(patch, "show", adopt)


def no_back_off(patch: pytest.MonkeyPatch) -> None:
    """A failed request is tried again after 0.05 s, any number of times."""

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
        ("late_updates", a_fill_counted_twice),
        ("amended_stops", a_loosened_adoption),
    )
}
"""Bugs that only one kind of harsh fault finds, by name: the kind, and the function that plants the bug."""
