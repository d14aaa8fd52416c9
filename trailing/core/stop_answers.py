"""Apply the answers to requests that place, move, cancel or look up stops."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final, TypeAlias

from msgspec.structs import replace

from trailing.core import shown
from trailing.core.evidence import CONFIRM_AFTER
from trailing.core.goals import End
from trailing.core.model import StopOrder
from trailing.core.orders import CANCELLING, CHANGING, LIVE, Order
from trailing.core.prices import is_tighter
from trailing.core.refusals import note_refusal
from trailing.core.requests import AmendStop, CancelStop, FindOrder, Kind, PlaceStop, ReplaceStop, TakeDownStop
from trailing.core.retries import back_off
from trailing.core.stop_prices import looser_target
from trailing.core.stop_slots import note_full
from trailing.errors import (
    NoSuchPosition,
    NoSuchStop,
    NothingToReduce,
    OutcomeUnknown,
    StopRejected,
    TooManyStops,
    TrailingError,
    WouldTrigger,
)
from trailing.events import MoveFailed

if TYPE_CHECKING:
    from trailing.core.position import PositionState

_ZERO = Decimal(0)

_SOON: Final = 3
"""Most earlier failures that count for the wait after wrong figures that follow refusals: 1.6 s."""

Stopping: TypeAlias = PlaceStop | ReplaceStop | AmendStop


def stop_acknowledged(p: PositionState, request: Stopping, order: Order | None, result: StopOrder, at: float) -> None:
    """Count a placed or moved stop as live, with the acknowledged figures.

    If these differ from the requested ones by more than rounding, the outcome is unknown.
    """
    note_tried(p, at)
    if order is None:  # an update has reported its end meanwhile
        return
    if not shown.is_as_asked(request.price, request.quantity, result):
        _doubt(p, request, order, result, at)
        return
    refused = p.refused_stop
    if refused is None or not is_tighter(p.position.side, refused, request.price):
        p.back_offs.pop("move", None)
    p.would_trigger, p.refused_stop, p.is_doubt_told = False, None, False
    if result.price != request.price and not p.is_rounding_told:
        p.is_rounding_told = True
        p.alarm("the exchange rounds a stop more coarsely than its tick", f"asked {request.price}, got {result.price}")
    if isinstance(request, ReplaceStop):
        _supersede(p, request)
    p.raise_floor(result.price)
    is_triggered = result.triggered or order.triggered_at is not None  # an update may have reported it meanwhile
    acknowledged = replace(result, quantity=min(result.quantity, order.quantity), triggered=is_triggered)
    shown.acknowledge(p, order, acknowledged, at, find_at=order.find_at, changed_at=at)
    if p.missing_stops:  # the next snapshot shows whether this one is listed
        p.again_at = min(p.again_at, at + p.timing.orders_read_lag)
    p.ratchet.ask_rules()


def note_tried(p: PositionState, at: float) -> None:
    """Note that placing a stop was answered. From then on the rules are asked, and the plan's policy counts."""
    p.was_tried = True
    p.policy_from = min(p.policy_from, at)


def _supersede(p: PositionState, request: ReplaceStop) -> None:
    """Mark the replaced stop as superseded, unless it is tighter than the requested price.

    The mark is needed if the exchange has rounded the new stop to a looser price.
    """
    replaced = p.orders.get(request.replaces)
    if replaced is None or replaced.order is None:
        return
    if not is_tighter(p.position.side, replaced.order.price, request.price):
        p.put(replace(replaced, is_superseded=True))


def _doubt(p: PositionState, request: Stopping, order: Order, result: StopOrder, at: float) -> None:
    """Look up a stop whose acknowledged figures are not the requested ones.

    The outcome is unknown if they differ by more than rounding. The first such answer since the last good one raises an
    alarm. After refusals the wait is short again, because the exchange executes such requests.
    """
    p.put(replace(order, changed_at=at, find_at=at))  # the answer proves that it exists, whatever its figures
    before = p.back_offs.get(request.kind)
    if before is not None and before.is_refusal:
        before = replace(before, failures=min(before.failures, _SOON))
    p.back_offs[request.kind] = back_off(before, None, at, 1.0)
    p.error = OutcomeUnknown("the exchange acknowledged something else than was asked for")
    if not p.is_doubt_told:
        p.is_doubt_told = True
        detail = f"asked {request.quantity} at {request.price}, got {result.quantity} at {result.price}"
        p.alarm("the exchange acknowledged something else than was asked for", detail)


def stop_failed(p: PositionState, request: Stopping, order: Order | None, error: Exception, at: float) -> None:
    """Apply the failure of a request to place or move a stop."""
    note_tried(p, at)
    if isinstance(error, TooManyStops):
        note_full(p, at)
        if isinstance(request, ReplaceStop):  # the move goes on by cancelling the live stop first
            p.back_offs.pop("move", None)
    elif not isinstance(request, PlaceStop):
        p.tell(MoveFailed, price=request.price, error=str(error))
    if isinstance(error, StopRejected) and not isinstance(error, TooManyStops):  # it says nothing about the position
        doubt_position(p, request.kind, error, at)
        is_of_price = not isinstance(request, AmendStop) and request.quantity == p.coverable  # else it was too many
        is_of_price = is_of_price and not _is_tried_again(p, request, at)
        if isinstance(error, WouldTrigger) or (is_of_price and not isinstance(error, NothingToReduce)):
            p.would_trigger, p.refused_stop = isinstance(error, WouldTrigger), request.price
        elif request.quantity != p.coverable and not isinstance(error, NothingToReduce):
            p.back_offs.pop(request.kind, None)  # the quantity has changed since it was sent
    if order is not None:
        order_failed(p, order, error, at)
    p.ratchet.ask_rules()


def _is_tried_again(p: PositionState, request: Stopping, at: float) -> bool:
    """Whether a missing stop is tried again where it was refused just now, and not at the looser target."""
    placing = p.back_offs.get("place")
    backs_off = isinstance(request, PlaceStop) and placing is not None and at < placing.until
    return backs_off and request.price == p.target and looser_target(p) is not None


def doubt_position(p: PositionState, kind: Kind, error: StopRejected, at: float) -> None:
    """Want a snapshot after a refusal, because the position may have changed.

    A refusal because no such position exists is evidence that it is flat. No other refusal is.
    """
    if isinstance(error, NothingToReduce):
        p.flat.note_flat(at, "refusal" if isinstance(error, NoSuchPosition) else "nothing to reduce")
        note_refusal(p, kind, error, at)
    p.want_snapshot(at)


def order_failed(p: PositionState, order: Order, error: Exception, at: float) -> None:
    """Mark the order of a failed request as unknown, or restore it as it was."""
    if is_unknown(error):
        p.put(replace(order, find_at=at))
        return
    known = order.order
    if order.state is CHANGING and known is not None:  # a refused change leaves the figures as they were
        order = replace(order, price=known.price, quantity=known.quantity)
    cause = "opening" if p.unprotected_span is None else p.unprotected_span.cause
    after = p.change(order, "refused", at, cause, makes_way=False)
    if after is None or not isinstance(error, StopRejected) or isinstance(error, (WouldTrigger, NothingToReduce)):
        return
    if isinstance(error, NoSuchStop):  # the first evidence of its absence
        find_at = at + max(p.timing.orders_read_lag, CONFIRM_AFTER)
        p.put(replace(after, absent_since=at, find_at=find_at))
    else:
        p.put(replace(after, find_at=at))


def is_unknown(error: Exception) -> bool:
    """Return whether a request that failed may have been executed all the same.

    A bug leaves that unknown, too.
    """
    return isinstance(error, OutcomeUnknown) or not isinstance(error, TrailingError)


def cancelled(p: PositionState, request: CancelStop | TakeDownStop, order: Order | None, _: object, at: float) -> None:
    """Remove an order that we cancelled from the table."""
    if order is None:
        return
    p.change(order, "cancelled", at, "outage")
    if order.purpose == "native" and not isinstance(p.goal, End):
        shown.end_native(p, order.id, "we cancelled it")


def cancel_failed(
    p: PositionState, request: CancelStop | TakeDownStop, order: Order | None, error: Exception, at: float
) -> None:
    """Apply the failure of a cancellation to its order."""
    if order is not None:
        order_failed(p, order, error, at)


def found(p: PositionState, request: FindOrder, order: Order | None, result: StopOrder | None, at: float) -> None:
    """Apply the answer to a look-up."""
    if order is None:
        return
    if result is None:
        if shown.is_beyond_proof(p, order):
            shown.keep(p, order)
        elif shown.miss(p, order, asked_at=p.sent_at, answered_at=at):
            shown.lose(p, order, at)
        return
    until = order.sent_at + p.timing.request_validity
    if order.state in (CHANGING, CANCELLING) and p.sent_at < until:
        shown.note_price(p, order, result)
        p.put(replace(order, absent_since=None, find_at=until + p.timing.orders_read_lag))
        return
    shown_from = order.changed_at + p.timing.orders_read_lag
    if order.state is LIVE and p.sent_at < shown_from:  # it exists, and may be shown as it was before the change
        p.put(replace(order, absent_since=None, find_at=shown_from))
        return
    if order.absent_since is not None and order.state is LIVE and not p.is_listing_untrusted:
        p.is_listing_untrusted = True
        p.alarm("a stop that was acknowledged is not listed", f"{order.id} counts: a look-up shows it")
    if order.id == p.doubted_stop:  # it is the same position, with any entry price that is reported next
        p.doubted_stop = p.reported_entry = None
    # An update that comes from now on is of a later change.
    order = replace(order, changed_at=max(order.changed_at, p.sent_at), is_echoed=True)
    shown.show(p, order, shown.as_grown(p, order, result, p.sent_at), at)
    p.ratchet.ask_rules()
