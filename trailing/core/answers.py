"""Update a position's state when its own request begins, is sent, is answered or fails."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from msgspec.structs import replace

from trailing.core import endings, entering, shown
from trailing.core.endings import count_closed, note_all_filled, note_cut_short, take_off
from trailing.core.inputs import Answered, Begun, Sent
from trailing.core.model import Fill, StopOrder
from trailing.core.orders import INTENDED, LIVE, Order
from trailing.core.price_answers import candles_failed, candles_read, price_read
from trailing.core.prices import is_tighter
from trailing.core.refusals import note_accepted
from trailing.core.requests import (
    ENTRY_REQUESTS,
    AmendStop,
    CancelEntry,
    CancelStop,
    ClosePosition,
    FindEntry,
    FindOrder,
    PlaceEntry,
    PlaceNative,
    PlaceStop,
    ReadCandles,
    ReadFills,
    ReadPrice,
    ReplaceStop,
    Request,
    TakeDownStop,
)
from trailing.core.retries import MOST, MOST_FINDING, TOLD_AFTER, back_off
from trailing.core.stop_answers import (
    cancel_failed,
    cancelled,
    doubt_position,
    found,
    is_unknown,
    note_tried,
    order_failed,
    stop_acknowledged,
    stop_failed,
)
from trailing.core.stop_prices import looser_target
from trailing.core.unread_fills import fills_failed, fills_read
from trailing.errors import (
    ExchangeUnreachable,
    NothingToReduce,
    OutcomeUnknown,
    StopRejected,
    TooManyStops,
    UsageError,
    WouldTrigger,
)
from trailing.events import ExitFailed, ExitFilled, ExitStarted, NativeTrailingEnded
from trailing.unprotected import cause_of

if TYPE_CHECKING:
    from trailing.core.position import PositionState

_ZERO = Decimal(0)

MOVE_AGAIN: Final = 5.0
"""Least seconds before a move after the exchange refused a stop at the target.

It applies where a looser stop can be placed instead, such as after `TakeDownStop` has cancelled the old stop."""


def on_begun(p: PositionState, begun: Begun, at: float) -> None:
    """Note the request under way, and put the order that it creates into the table.

    The store may hold the intent of this order from now on.
    """
    request = begun.request
    p.request, p.request_id, p.is_sent = request, begun.id, False
    if isinstance(request, ENTRY_REQUESTS):
        p.request_id = None  # the stop that the entry carries may have the same id
        entering.begin(p, request)
    if not request.creates:
        return
    assert begun.id is not None
    match request:
        case PlaceStop() | ReplaceStop():
            p.put(Order(begun.id, "stop", INTENDED, request.price, request.quantity))
        case PlaceNative():
            order = Order(begun.id, "native", INTENDED, request.activation, request.quantity, callback=request.callback)
            p.put(order)
        case _:
            assert isinstance(request, ClosePosition)
            p.put(Order(begun.id, "exit", INTENDED, None, request.quantity))


def on_sent(p: PositionState, sent: Sent, at: float) -> None:
    """Note that the request is in flight. The exchange may execute it from now on.

    Raises:
        UsageError: as `check_never_looser`.
    """
    request = sent.request
    check_never_looser(p, request, at)
    p.request, p.is_sent, p.sent_at = request, True, at
    if isinstance(request, ENTRY_REQUESTS):
        entering.send(p, request, at)
        return
    order = p.orders.get(p.request_id) if p.request_id is not None else None
    if order is None:
        return
    match request:
        case PlaceStop() | ReplaceStop():
            p.change(order, "sent", at, price=request.price, quantity=request.quantity, sent_at=at)
        case PlaceNative():
            p.change(order, "sent", at, quantity=request.quantity, sent_at=at)
        case AmendStop(price=price, quantity=quantity):
            p.change(order, "change sent", at, price=price, quantity=quantity, sent_at=at, is_echoed=False)
        case FindOrder():
            p.put(replace(order, find_at=min(order.find_at, at)))
        case CancelStop() | TakeDownStop():
            p.change(order, "cancel sent", at, sent_at=at, makes_way=isinstance(request, TakeDownStop))
        case _:
            assert isinstance(request, ClosePosition), request
            p.change(order, "sent", at, quantity=request.quantity, sent_at=at)
            p.exit_reason = request.reason
            p.is_rest_unknown |= p.missed_until < math.inf
            p.tell(ExitStarted, reason=request.reason)


def check_never_looser(p: PositionState, request: Request, at: float) -> None:
    """Refuse a stop that is looser than a live stop of ours.

    Every request passes this check just before it is sent. A stop that triggered more than `exit_grace` ago does not
    count, because it protects nothing.

    Raises:
        UsageError: the stop is looser. Nothing was sent.
    """
    if not isinstance(request, (PlaceStop, ReplaceStop, AmendStop)):
        return
    for order in p.orders.values():
        live = order.order
        protects = order.purpose == "stop" and order.state is LIVE and not order.is_stuck(at, p.plan.exit_grace)
        if protects and live is not None and is_tighter(p.position.side, live.price, request.price):
            raise UsageError(f"a stop at {request.price} would be looser than {live.client_order_id} at {live.price}")


def on_answered(p: PositionState, answered: Answered, at: float) -> None:
    """End the request under way, and process its result or its error.

    An order leaves the table if its request was never sent. Without a request under way nothing changes.
    """
    request, order_id, was_sent = p.request, p.request_id, p.is_sent
    if request is None:
        return
    p.request, p.request_id, p.is_sent = None, None, False
    order = p.orders.get(order_id) if order_id is not None else None
    if order is not None and order.state is INTENDED:
        p.change(order, "dropped", at)
        order = None
    if isinstance(request, ENTRY_REQUESTS):
        order = entering.drop_unsent(p)
    error = answered.error
    if error is None:
        if was_sent:
            note_accepted(p, request)
            before = p.back_offs.get(request.kind)
            _note_success(p, request, at)
            _ANSWERED[type(request)](p, request, order, answered.result, at)
            # A move ends only when its new stop is placed. An answer that is doubted has its own back-off.
            if p.back_offs.get(request.kind) is before and not isinstance(request, TakeDownStop):
                p.back_offs.pop(request.kind, None)
        return
    fail(p, request, error, at, answered.spread)
    if was_sent:
        _FAILED[type(request)](p, request, order, error, at)
    elif isinstance(request, PlaceStop):
        note_tried(p, at)
    elif isinstance(request, PlaceEntry):
        entering.not_sent(p, error)


def _note_success(p: PositionState, request: Request, at: float) -> None:
    """Clear the error that a successful request disproves.

    A read clears only `ExchangeUnreachable` and `OutcomeUnknown`. It shows that the exchange can be reached, but not
    that the exchange accepts a request that it refused before. Any other request also sets `confirmed_at`. A position
    that was given up keeps its error.
    """
    is_read = isinstance(request, (FindOrder, FindEntry, ReadPrice, ReadCandles, ReadFills))
    if not is_read:
        p.confirmed_at = at
    if not p.is_given_up and (not is_read or isinstance(p.error, (ExchangeUnreachable, OutcomeUnknown))):
        p.error = None


def fail(p: PositionState, request: Request, error: Exception, at: float, spread: float) -> None:
    """Record a failed request: its back-off, its error, and the cause of unprotected time.

    Raise an alarm when cancels, look-ups or reads of the price have failed `TOLD_AFTER` times in a row.

    Args:
        at: seconds on the running clock.
        spread: as in `Answered`.
    """
    kind = request.kind
    refused = isinstance(error, StopRejected) and not isinstance(error, (NothingToReduce, TooManyStops))
    if refused and isinstance(request, PlaceStop) and request.price == p.target:
        # A price that was taken before is tried once more, unless the market is there; else the looser stop is placed at once.
        is_first = (
            request.price == p.floor and not isinstance(error, WouldTrigger) and not isinstance(p.error, StopRejected)
        )
        kind = "place" if is_first or looser_target(p) is None else "move"
    most = MOST_FINDING if kind == "find" else MOST
    backing_off = p.back_offs[kind] = back_off(p.back_offs.get(kind), error, at, spread, most=most)
    if kind != request.kind:
        p.back_offs[kind] = replace(backing_off, until=max(backing_off.until, at + MOVE_AGAIN))
    if not isinstance(request, (ReadCandles, ReadFills)):  # these are never the cause of unprotected time
        if not p.is_given_up:  # otherwise the error says why it was given up
            p.error = error
        if p.unprotected_span is not None:
            p.unprotected_span = p.unprotected_span.because(cause_of(error), at)
    if backing_off.failures == TOLD_AFTER and request.kind in ("cancel", "find", "price"):
        p.alarm("a request keeps failing", f"{request}: {type(error).__name__}: {error}")


def _find_failed(p: PositionState, request: FindOrder, order: Order | None, error: Exception, at: float) -> None:
    """Want a snapshot at once for an order of unknown outcome, or one that an earlier answer did not show.

    Lists alone decide then.
    """
    if order is not None and (order.absent_since is not None or order.is_sent):
        p.again_at = min(p.again_at, at)


def _read_failed(*_: object) -> None:
    """Change nothing, because the read is wanted again when its back-off ends."""


# Closing.


def _closed(p: PositionState, request: ClosePosition, order: Order | None, fill: Fill, at: float) -> None:
    assert order is not None  # while the request is in flight, only its own answer takes it out of the table
    rest, proceeds = fill.quantity - order.told, fill.quantity * fill.price - order.proceeds
    take_off(p, max(_ZERO, fill.quantity - order.filled), fill)
    order = replace(order, filled=max(order.filled, fill.quantity), told=max(order.told, fill.quantity))
    p.put(order)
    p.change(order, "filled", at, "move")
    del p.ended_orders[order.id]  # the answer holds all its fills, so a fill pushed later is counted already
    if rest > _ZERO:
        count_closed(p, rest, proceeds)
        p.last_fill = fill
        p.tell(ExitFilled, quantity=rest, price=proceeds / rest, left=p.quantity)
    if not p.quantity:
        note_all_filled(p, at)
    elif fill.at > p.updated_at:  # otherwise the last update of the position includes it
        p.flat.note_changed(at)
        note_cut_short(p, at)


def _close_failed(p: PositionState, request: ClosePosition, order: Order | None, error: Exception, at: float) -> None:
    p.tell(ExitFailed, error=str(error))
    if isinstance(error, NothingToReduce):  # no proof: another reduce-only order may cover the whole position
        doubt_position(p, request.kind, error, at)
    assert order is not None
    if is_unknown(error):
        p.want_snapshot(order.sent_at + p.timing.request_validity)
        return
    p.change(order, "refused", at)
    endings.note_close_failed(p, error)


# The exchange's own trailing order.


def _native_acknowledged(
    p: PositionState, request: PlaceNative, order: Order | None, result: StopOrder, at: float
) -> None:
    if order is None:
        return
    left = result.quantity - order.told
    if left <= _ZERO:
        p.change(order, "filled", at, "move")
        p.native_task = None
        return
    shown.acknowledge(p, order, replace(result, quantity=left), at, changed_at=at)


def _native_failed(p: PositionState, request: PlaceNative, order: Order | None, error: Exception, at: float) -> None:
    if isinstance(error, (StopRejected, UsageError)):  # a retry would most likely be refused, too
        p.back_offs.pop("native", None)
        p.native_task = None
        p.tell(NativeTrailingEnded, reason=str(error))
    if isinstance(error, NothingToReduce):
        doubt_position(p, request.kind, error, at)
    if order is not None:
        order_failed(p, order, error, at)


# Candles.


_Handler: TypeAlias = Callable[[Any, Any, Any, Any, float], None]

_ANSWERED: Final[Mapping[type[Request], _Handler]] = {
    PlaceStop: stop_acknowledged,
    ReplaceStop: stop_acknowledged,
    AmendStop: stop_acknowledged,
    TakeDownStop: cancelled,
    CancelStop: cancelled,
    FindOrder: found,
    ReadPrice: price_read,
    ClosePosition: _closed,
    PlaceNative: _native_acknowledged,
    ReadCandles: candles_read,
    ReadFills: fills_read,
    PlaceEntry: entering.placed,
    CancelEntry: entering.cancelled,
    FindEntry: entering.found,
}

_FAILED: Final[Mapping[type[Request], _Handler]] = {
    PlaceStop: stop_failed,
    ReplaceStop: stop_failed,
    AmendStop: stop_failed,
    TakeDownStop: cancel_failed,
    CancelStop: cancel_failed,
    FindOrder: _find_failed,
    ReadPrice: _read_failed,
    ClosePosition: _close_failed,
    PlaceNative: _native_failed,
    ReadCandles: candles_failed,
    ReadFills: fills_failed,
    PlaceEntry: entering.place_failed,
    CancelEntry: entering.cancel_failed,
    FindEntry: entering.find_failed,
}
