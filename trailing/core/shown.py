"""Update our orders when the exchange shows one, or when an absence is confirmed."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from trailing.core.evidence import LOOKED_FOR_AT_ONCE, MOST_MISSING, judge_absence
from trailing.core.goals import End, Release
from trailing.core.model import Percent, StopOrder
from trailing.core.native import native_terms
from trailing.core.orders import CANCELLING, CHANGING, LIVE, SENT, Order, Purpose
from trailing.core.prices import IS_AHEAD, is_crossed, is_tighter, is_within
from trailing.core.retries import back_off
from trailing.errors import StopRejected
from trailing.events import NativeTrailingBegan, NativeTrailingEnded, StopGone, StopMoved, StopOpened
from trailing.unprotected import UnprotectedTime

if TYPE_CHECKING:
    from trailing.core.position import PositionState

_ZERO = Decimal(0)

SHORT_LIVED: Final = 10.0
"""Seconds within which the end of a stop says that the exchange does not keep it. The first time it is placed again at
once."""

ROUNDING: Final = Percent("0.5")
"""How far acknowledged figures may be from the requested ones and still be the exchange's rounding."""


def is_as_asked(price: Decimal | None, quantity: Decimal, order: StopOrder) -> bool:
    """Return whether an order has the requested figures, up to the exchange's rounding.

    Args:
        price: the requested price; None: it is not compared.
        quantity: the requested quantity, in base units.
    """
    near = price is None or is_within(order.price, price, ROUNDING)
    return near and is_within(order.quantity, quantity, ROUNDING)


def show(p: PositionState, order: Order, shown: StopOrder, at: float) -> None:
    """Take an order's figures as a snapshot or a look-up shows them."""
    if shown.callback is not None and order.purpose == "stop":  # its intent did not distinguish them
        order = replace(order, purpose="native", callback=shown.callback)
    p.missing_stops, p.is_lookup_untrusted = (), False
    known, asked, quantity = order.order, order.price, order.quantity
    filled = order.filled
    if order.is_sent or known is None:  # a request's outcome; if it was not executed, the old figures are shown
        # The shown price can be the requested one, rounded, only if both differ from the known one.
        is_new = known is None or known.price not in (shown.price, asked)
        if asked is not None and not (is_new and is_within(shown.price, asked, ROUNDING)):
            asked = shown.price
        if known is None and not is_within(shown.quantity, quantity, ROUNDING):  # some of it was filled by then
            filled += max(_ZERO, quantity - shown.quantity)
        elif known is not None and order.is_restored:  # some of it may have been filled while no process ran
            filled += max(_ZERO, min(quantity, known.quantity) - shown.quantity)
        quantity = shown.quantity
    else:
        if shown.price != known.price:  # a person amended it on the exchange, so it may count again
            asked, order = shown.price, replace(order, is_superseded=False)
            count_tighter_again(p, shown)
        if shown.quantity != known.quantity:
            filled += max(_ZERO, known.quantity - shown.quantity)
            quantity = shown.quantity
    note_price(p, order, shown)
    acknowledge(p, order, shown, at, price=asked, quantity=quantity, filled=filled)


def note_price(p: PositionState, order: Order, shown: StopOrder) -> None:
    """Let no later stop be looser than one that the exchange shows, even if a change of it may still be executed."""
    if order.purpose == "stop" and not is_crossed(p.position.side, p.ratchet.last, shown.price):
        p.raise_floor(shown.price)


def as_grown(p: PositionState, order: Order, shown: StopOrder, asked_at: float) -> StopOrder:
    """Return a stop as an answer shows it. A bridge keeps its known quantity if the answer may be older than its growth.

    Args:
        asked_at: when the answer was requested.
    """
    if not p.is_bridge(order) or order.order is None or asked_at >= p.flat.changed_at + p.timing.orders_read_lag:
        return shown
    return replace(shown, quantity=order.order.quantity)


def count_tighter_again(p: PositionState, other: StopOrder) -> None:
    """Let superseded stops that are tighter than another one count again, because none is cancelled for a looser one.

    Args:
        other: one that a person amended, or that was not placed by a request of this process.
    """
    for order in tuple(p.orders.values()):
        if order.id == other.client_order_id or not order.is_superseded:
            continue
        assert order.order is not None
        if is_tighter(other.side, order.order.price, other.price):
            p.put(replace(order, is_superseded=False))


def acknowledge(
    p: PositionState,
    order: Order,
    shown: StopOrder,
    at: float,
    *,
    find_at: float = math.inf,
    **changes: object,
) -> None:
    """Count an order as live with the figures shown, and publish the result.

    Args:
        find_at: when to look it up all the same; infinite: it is not to be looked up.
        changes: changes of other fields of the order.
    """
    was_covered, previous = p.is_covered, _replaced_by(p, order)
    p.taken_down = None
    triggered_at = (order.triggered_at if order.triggered_at is not None else at) if shown.triggered else None
    after = p.change(
        order,
        "shown",
        at,
        "cancelled",
        order=shown,
        absent_since=None,
        is_restored=False,
        makes_way=False,
        find_at=find_at,
        triggered_at=triggered_at,
        **changes,
    )
    assert after is not None
    if after.purpose == "native":
        _native_shown(p, order, after)
    elif previous is not None and (
        previous.price != shown.price or (was_covered and previous.quantity != shown.quantity)
    ):
        p.moved_at = order.sent_at
        _tell_moved(p, previous, shown, at)
    elif not (was_covered or after.is_unwanted or _cancels_all(p)):  # otherwise it is cancelled at once
        tell_opened(p, shown, at)


def _replaced_by(p: PositionState, order: Order) -> StopOrder | None:
    """Return the stop in whose place our last request for an order puts it, as it was; None: it opens the protection."""
    if order.state is CHANGING:
        return order.order if order.sent_at > -math.inf else None  # a restart has it confirmed, and nothing was sent
    if order.state is not SENT or p.live is None:
        return p.taken_down
    return p.live.order


def tell_opened(p: PositionState, stop: StopOrder, at: float) -> None:
    """Publish that an unprotected position has a live stop."""
    unprotected_time = p.unprotected_time_at(at)
    p.tell(
        StopOpened,
        quantity=stop.quantity,
        price=stop.price,
        client_order_id=stop.client_order_id,
        unprotected_seconds=unprotected_time.total,
        unprotected_time=unprotected_time,
    )


def _tell_moved(p: PositionState, previous: StopOrder, order: StopOrder, at: float) -> None:
    """Publish that a stop was moved, and count it."""
    p.moves += 1
    unprotected_time = UnprotectedTime() if p.unprotected_span is None else p.unprotected_span.until(at)
    p.tell(
        StopMoved,
        previous=previous.price,
        price=order.price,
        client_order_id=order.client_order_id,
        reason="trailing" if order.price != previous.price else "resized",
        unprotected_seconds=unprotected_time.total,
        unprotected_time=unprotected_time,
    )


def _native_shown(p: PositionState, before: Order, native: Order) -> None:
    """Publish that a trailing order began, or mark it to be withdrawn.

    It is withdrawn if its figures are not the planned ones, or if the price reached its activation before the exchange
    acknowledged it.
    """
    shown = native.order
    assert shown is not None
    if before.order is None:
        ahead = IS_AHEAD[p.position.side](shown.price, p.ratchet.best)
        p.native_task = None if ahead and is_as_planned(p, shown) else "withdraw"
        if p.native_task is None and shown.callback is not None:
            p.tell(
                NativeTrailingBegan,
                quantity=shown.quantity,
                activation=shown.price,
                callback=shown.callback.value,
                client_order_id=shown.client_order_id,
            )
    elif p.native_task is None and not is_as_planned(p, shown):
        p.native_task = "withdraw"  # a person changed it


def is_as_planned(p: PositionState, shown: StopOrder) -> bool:
    """Return whether a trailing order is the one that the plan wants."""
    if not p.plan.native or shown.quantity != p.coverable:
        return False
    terms = native_terms(p.plan, p.position, p.market)
    return (shown.price, shown.callback) == (terms.activation, terms.callback)


def withdraw_native(p: PositionState) -> None:
    """Mark a live trailing order to be withdrawn, so that the library trails."""
    if p.native is not None and p.native_task is None:
        p.native_task = "withdraw"


def miss(p: PositionState, order: Order, *, asked_at: float, answered_at: float) -> bool:
    """Judge an answer without an order, and return whether its absence is confirmed.

    If it is not, the order notes when another look-up or snapshot can decide.
    """
    verdict = judge_absence(
        order.absent_since,
        asked_at=asked_at,
        answered_at=answered_at,
        lag=p.timing.orders_read_lag,
        changed_at=order.changed_at,
        executable_until=order.sent_at + p.timing.request_validity if order.state is SENT else -math.inf,
    )
    if verdict.confirmed:
        return True
    is_looked_up = order.find_at < math.inf
    p.put(replace(order, absent_since=verdict.since, find_at=verdict.again_at if is_looked_up else math.inf))
    if verdict.since is not None or order.is_sent:  # otherwise the answer is older than the order, and proves nothing
        p.again_at = min(p.again_at, verdict.again_at)
    return False


def lose(p: PositionState, order: Order, at: float) -> None:
    """Remove from the table an order whose absence is confirmed.

    If the stop that was placed in place of a missing one is missing, too, and was so at once, lists and look-ups are
    wrong. Further stops would then be placed without end. So the newer stop counts as live, and the earlier ones are
    cancelled. A stop that was first looked for later may have been lost meanwhile, so that another one is placed.
    """
    acknowledged = order.order
    if acknowledged is None or not _is_needed(p, order):
        end_order(p, order, "absent", at)
    elif p.missing_stops and order.sent_at >= p.missing_since and _is_never_shown(p, order):
        p.is_listing_untrusted = p.is_lookup_untrusted = True
        keep(p, order)
        p.alarm("a stop that was acknowledged is not listed", f"{order.id} counts")
        for earlier in p.missing_stops:
            p.put(new_stop(earlier, is_superseded=True))
        p.missing_stops = ()
    else:
        if p.doubted_stop == order.id:
            p.again_at = min(p.again_at, at)
        end_order(p, order, "absent", at)
        p.missing_stops, p.missing_since = (*p.missing_stops, acknowledged), at


def _is_never_shown(p: PositionState, order: Order) -> bool:
    """Return whether lists and look-ups probably never show a stop, rather than that it was lost since it was placed."""
    was_missing_at_once = order.absent_since is not None and order.absent_since < order.changed_at + LOOKED_FOR_AT_ONCE
    return was_missing_at_once or len(p.missing_stops) >= MOST_MISSING


def is_beyond_proof(p: PositionState, order: Order) -> bool:
    """Return whether neither lists nor look-ups can prove the absence of an order.

    A stop that another one replaces counts, too: it is cancelled, and would be left behind if it were forgotten.
    A refused change that says that there is no such order is evidence, for one order until a stop is shown again.
    Otherwise stops could be placed without end.
    """
    is_refuted = order.absent_since is not None and not p.missing_stops  # untrusted lists and look-ups set no such time
    return p.is_lookup_untrusted and order.order is not None and not is_refuted and _is_wanted(p, order)


def has_unseen_stop(p: PositionState) -> bool:
    """Return whether neither lists nor look-ups show the stop that counts.

    Nothing but its acknowledgement says that it exists.
    """
    return p.is_lookup_untrusted and p.is_covered and not p.ended


def _is_needed(p: PositionState, order: Order) -> bool:
    """Return whether another stop would be placed if this order did not exist."""
    is_spare = order.is_superseded and p.live is not None and p.live.id != order.id
    return _is_wanted(p, order) and not is_spare


def _is_wanted(p: PositionState, order: Order) -> bool:
    """Return whether an order is a stop that is not being cancelled."""
    return order.purpose == "stop" and order.state is not CANCELLING and not _cancels_all(p)


def keep(p: PositionState, order: Order) -> None:
    """Keep an order as it is, although an answer does not show it.

    The next snapshot has it looked up again.
    """
    p.put(replace(order, absent_since=None, find_at=math.inf))


def end_order(p: PositionState, order: Order, event: str, at: float, reason: str = "") -> None:
    """Remove an order that ended other than by a fill, and publish its end.

    The end of a stop is published only if the stop was wanted. The end of a trailing order is published unless it never
    arrived. Nothing is published while all orders of the position are being cancelled.

    Args:
        event: ``"cancelled"`` or ``"absent"``.
        reason: why the exchange ended it, in the exchange's words; "": unknown.
    """
    wanted = order.exists and order.state is not CANCELLING and not order.is_unwanted and not _cancels_all(p)
    if event == "absent":  # the snapshot without the order already contains its fills, so late ones do not count
        order = replace(order, filled=order.filled + order.quantity)
    p.change(order, event, at, "cancelled" if wanted else "outage")
    if _cancels_all(p):
        return
    if order.purpose == "native":
        if event == "absent" and order.order is None:
            return  # it never arrived, and is placed again
        end_native(p, order.id, "it is gone, and we did not cancel it" if wanted else "we cancelled it")
        if wanted:
            p.want_snapshot(at)
    elif wanted:
        _note_lifetime(p, order, at)
        fields = {}
        if reason:
            fields["reason"] = reason
            p.error = StopRejected(f"the exchange ended the stop {order.id}: {reason}")
        p.tell(StopGone, client_order_id=order.id, **fields)
        p.want_snapshot(at)  # the position may have ended together with the stop
        others = any(other.purpose == "stop" and other.exists for other in p.orders.values())
        if p.plan.on_stop_cancelled == "release" and not others:
            p.aim(Release(cancel_stop=False))


def _note_lifetime(p: PositionState, order: Order, at: float) -> None:
    """Delay the next placing if stops have ended soon after their placing, twice in a row or more."""
    before = p.short_lived
    p.short_lived = back_off(before, None, at, 1.0) if at < order.sent_at + SHORT_LIVED else None
    if before is not None and p.short_lived is not None:
        p.back_offs["place"] = p.short_lived


def _cancels_all(p: PositionState) -> bool:
    return isinstance(p.goal, End) or (isinstance(p.goal, Release) and p.goal.cancel_stop)


def drop_late_native(p: PositionState) -> None:
    """Place no trailing order that would come too late.

    It comes too late once the best price has reached its activation, or once the plain stop is to be moved.
    """
    live = p.live
    if live is None or live.order is None or p.is_opening:
        return
    terms = native_terms(p.plan, p.position, p.market)
    untouched = live.order.price == p.target and IS_AHEAD[p.position.side](terms.activation, p.ratchet.best)
    if not untouched and not any(order.purpose == "native" for order in p.orders.values()):
        end_native(p, None, "it comes too late: its stop is trailed by now")


def end_native(p: PositionState, order_id: str | None, reason: str) -> None:
    """Go on without the trailing order, or place the one that replaces it."""
    p.native_task = "place" if p.native_task == "replace" else None
    p.moved_at = None  # the plain stop may move at once, to make up for missed moves
    p.tell(NativeTrailingEnded, reason=reason, client_order_id=order_id)


def new_stop(order: StopOrder, *, is_unwanted: bool = False, is_superseded: bool = False) -> Order:
    """Return a new row for a live order of ours."""
    purpose: Purpose = "stop" if order.callback is None else "native"
    return Order(
        order.client_order_id,
        purpose,
        LIVE,
        order.price,
        order.quantity,
        order=order,
        callback=order.callback,
        is_unwanted=is_unwanted,
        is_superseded=is_superseded,
    )
