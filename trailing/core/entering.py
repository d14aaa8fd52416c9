"""Apply what the exchange reports of a position's entry to the position's state.

The position begins with the first fill. Each further fill enlarges it while the rest of the entry still works. The
quantity is the entry's own, because lists of positions come late: a list that shows more has the entry looked up.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from trailing.core.endings import tell_entry_ended
from trailing.core.entries import EntryFacts
from trailing.core.entry_orders import EntryOrder
from trailing.core.evidence import CONFIRM_AFTER, UNANNOUNCED, judge_absence
from trailing.core.goals import Protect
from trailing.core.inputs import EntryUpdated
from trailing.core.model import StopOrder
from trailing.core.orders import CANCELLING, INTENDED, SENT, Order
from trailing.core.requests import CancelEntry, FindEntry, PlaceEntry
from trailing.core.shown import count_tighter_again, new_stop, tell_opened
from trailing.core.stop_answers import is_unknown
from trailing.errors import ExchangeUnreachable, NoSuchEntry, StoreError
from trailing.events import EntryFilled, EntryPlaced
from trailing.unprotected import UnprotectedSpan

if TYPE_CHECKING:
    from trailing.core.position import PositionState

_ZERO = Decimal(0)

LOOK_AGAIN: Final = 1.0
"""Seconds between two look-ups of an entry that should have been filled by now, such as one at market."""

LISTED_WITHIN: Final = 1.0
"""Seconds within which a list mostly shows the stop that an entry has placed, so that it need not be looked up. One list shows
the stops of a whole wave."""

LISTS_COUNT_AFTER: Final = 2
"""Failed look-ups after which the quantity that a list of positions shows counts as entered."""


# Its own requests.


def begin(p: PositionState, request: PlaceEntry | CancelEntry | FindEntry) -> None:
    """Note the entry that is about to be placed."""
    if isinstance(request, PlaceEntry):
        p.entry_row = Order(request.id, "entry", INTENDED, request.limit, request.quantity)


def send(p: PositionState, request: PlaceEntry | CancelEntry | FindEntry, at: float) -> None:
    """Note that a request about the entry is in flight."""
    if isinstance(request, PlaceEntry):
        p.entry = replace(_entry(p), was_sent=True)
        p.entry_row = _row(p).after("sent", sent_at=at)
        p.tell(EntryPlaced, quantity=request.quantity, limit=request.limit, client_order_id=request.id)
    elif isinstance(request, CancelEntry):
        p.entry_row = _row(p).after("cancel sent", sent_at=at)


def drop_unsent(p: PositionState) -> Order | None:
    """Return the entry that a request was about. One that was never sent is dropped."""
    if p.entry_row is not None and p.entry_row.state is INTENDED:
        p.entry_row = p.entry_row.after("dropped")
    return p.entry_row


def placed(p: PositionState, request: PlaceEntry, row: Order | None, result: EntryOrder, at: float) -> None:
    """Take the acknowledgement of the entry, which may be filled already."""
    show(p, result, at)
    if not _entry(p).rests:
        p.entry = replace(_entry(p), is_over=True)


def not_sent(p: PositionState, error: Exception) -> None:
    """Give up an entry whose intent the store did not take. It is never sent without one."""
    if isinstance(error, StoreError):
        p.entry = replace(_entry(p), is_over=True)


def place_failed(p: PositionState, request: PlaceEntry, row: Order | None, error: Exception, at: float) -> None:
    """Look up an entry of unknown outcome. Otherwise it was not executed, and is tried again if it was never refused."""
    if row is None:  # an update has reported its end meanwhile
        return
    if is_unknown(error) or row.state is not SENT:
        p.entry_row = replace(row, find_at=at)
        return
    p.entry_row = row.after("refused")
    entry = replace(_entry(p), was_sent=False)
    p.entry = entry if isinstance(error, ExchangeUnreachable) else replace(entry, is_over=True)


def cancelled(p: PositionState, request: CancelEntry, row: Order | None, _: object, at: float) -> None:
    """Have the entry looked up after its cancellation, because more may have been filled until then."""
    if row is not None:
        p.entry_row = replace(row, changed_at=at, find_at=at + p.timing.orders_read_lag)


def cancel_failed(p: PositionState, request: CancelEntry, row: Order | None, error: Exception, at: float) -> None:
    """Look up an entry whose cancellation has an unknown outcome, or for which the exchange has no working order."""
    if row is None:
        return
    if is_unknown(error):
        p.entry_row = replace(row, find_at=at)
    elif isinstance(error, NoSuchEntry):
        p.entry_row = replace(row, find_at=at + p.timing.orders_read_lag)
    else:
        p.entry_row = row.after("refused")


def found(p: PositionState, request: FindEntry, row: Order | None, result: EntryOrder | None, at: float) -> None:
    """Apply the answer to a look-up of the entry.

    Its absence is confirmed by two look-ups and by a snapshot that was requested after the first one and when the entry
    could not be executed any more. Without such a snapshot, look-ups decide after `UNANNOUNCED` seconds.
    """
    if result is not None:
        show(p, result, at, asked_at=p.sent_at)
        return
    if row is None:
        return
    executable_until = row.sent_at + p.timing.request_validity if row.state is SENT else -math.inf
    verdict = judge_absence(
        row.absent_since,
        asked_at=p.sent_at,
        answered_at=at,
        lag=p.timing.orders_read_lag,
        changed_at=row.changed_at,
        executable_until=executable_until,
    )
    if not verdict.confirmed:
        p.entry_row = replace(row, absent_since=verdict.since, find_at=verdict.again_at)
        p.want_snapshot(max(at, executable_until))
        return
    assert verdict.since is not None  # set by the first of the two look-ups
    looked_for = at - verdict.since
    if p.check_from < math.inf and looked_for < UNANNOUNCED:
        p.entry_row = replace(row, absent_since=verdict.since, find_at=at + max(CONFIRM_AFTER, looked_for / 2))
        return
    if row.state is not SENT:
        p.alarm("an entry that was acknowledged is not found", row.id)
    _settle(p, "the exchange has no such order", at)


def find_failed(p: PositionState, request: FindEntry, row: Order | None, error: Exception, at: float) -> None:
    """Want a snapshot, because its list of positions counts as long as the entry can't be looked up."""
    p.again_at = min(p.again_at, at)


# What it is.


def on_entry_updated(p: PositionState, update: EntryUpdated, at: float) -> None:
    """Take a pushed update of the entry. Updates of other entries are ignored."""
    if p.entry is not None and p.entry.id == update.order.client_order_id:
        show(p, update.order, at)


def on_own_stop_live(p: PositionState, at: float) -> None:
    """Count the entry's own stop as live, because the exchange says so before the end of the entry is known.

    The stop and the entry are looked up for their figures.
    """
    if p.quantity:
        _attach(p, p.quantity, at, find_at=at + p.timing.orders_read_lag)
    look_up(p, at)


def show(p: PositionState, shown: EntryOrder, at: float, *, asked_at: float | None = None) -> None:
    """Take the entry as the exchange shows it.

    Args:
        asked_at: when this was requested; None: it was pushed, or acknowledges the entry.
    """
    was_open = bool(p.quantity)
    _count(p, shown, at)
    _count_added(p, asked_at, at)
    _show_state(p, shown, at, asked_at)
    if p.quantity and not was_open:
        _begin_unprotected(p)


def _show_state(p: PositionState, shown: EntryOrder, at: float, asked_at: float | None) -> None:
    row = p.entry_row
    if row is None:
        return
    if not shown.is_working:
        _settle(p, shown.reason, at)
    elif row.state is CANCELLING and asked_at is None:
        pass  # it may be older than the cancellation
    elif row.state is CANCELLING and asked_at is not None and asked_at < (settled_from := _settled_from(p, row)):
        p.entry_row = replace(row, absent_since=None, find_at=settled_from)
    else:
        again_at = math.inf if _entry(p).limit is not None else at + max(LOOK_AGAIN, p.timing.orders_read_lag)
        if p.listed_more is not None:
            again_at = min(again_at, p.listed_more[0] + p.timing.orders_read_lag)
        p.entry_row = row.after("shown", changed_at=at, absent_since=None, find_at=again_at)


def _settled_from(p: PositionState, row: Order) -> float:
    """Return from when on a look-up that shows the entry as working proves that it was not cancelled."""
    if row.changed_at >= row.sent_at:  # the cancellation was acknowledged
        return row.changed_at + p.timing.orders_read_lag
    return row.sent_at + p.timing.request_validity + p.timing.orders_read_lag


def look_up(p: PositionState, at: float) -> None:
    """Have the entry looked up now, because an update of it may have been missed."""
    row = p.entry_row
    if row is not None and row.state is not INTENDED:
        p.entry_row = replace(row, find_at=min(row.find_at, at))


def note_listed(p: PositionState, answered_at: float, quantity: Decimal, price: Decimal, at: float) -> None:
    """Take a larger position than known in a list, while the entry may be filled.

    The entry is looked up. If that fails again and again, the list counts. If it did not show the entry, the list counts
    unless the position can't be the entry's, or is to be closed: a person may have opened it.

    Args:
        answered_at: when the list was answered. A look-up requested later shows each fill that the list shows.
        quantity, price: of the position in the list.
    """
    if p.listed_more is None or p.listed_more[1] != quantity:
        p.listed_more = (answered_at, quantity)
    look_up(p, at)
    finding, row = p.back_offs.get("find"), p.entry_row
    entry, more = _entry(p), quantity - p.quantity
    fails = finding is not None and finding.failures >= LISTS_COUNT_AFTER
    is_worse = entry.limit is not None and not _is_within_limit(p, price, entry.limit)
    is_unshown = row is not None and row.absent_since is not None and isinstance(p.goal, Protect) and not is_worse
    if row is None or not (fails or is_unshown):
        return
    entered = min(entry.quantity, entry.entered + more)
    if entered > entry.entered:
        was_open = bool(p.quantity)
        _enter(p, replace(entry, entered=entered, average_price=price), at)
        if not was_open:
            _begin_unprotected(p)


def _is_within_limit(p: PositionState, price: Decimal, limit: Decimal) -> bool:
    """Return whether the exchange could fill the entry at this average price."""
    tick = p.market.price_tick
    return price < limit + tick if p.position.side == "long" else price > limit - tick


def _count(p: PositionState, shown: EntryOrder, at: float) -> None:
    """Count what is filled once, however often and in whatever order it is shown."""
    entry = _entry(p)
    if shown.filled <= entry.filled:
        return
    assert shown.average_price is not None  # checked by the type
    filled = replace(
        entry,
        filled=shown.filled,
        entered=max(entry.entered, shown.filled),
        average_price=shown.average_price,
        first_filled_at=entry.first_filled_at or shown.first_filled_at,
    )
    _enter(p, filled, at)


def _count_added(p: PositionState, asked_at: float | None, at: float) -> None:
    """Count what a list showed more than the entry had filled afterwards, because a person has added it.

    Args:
        asked_at: when the look-up was requested whose fills are counted; None: they were pushed, or acknowledged.
    """
    if p.listed_more is None:
        return
    listed_at, quantity = p.listed_more
    if quantity <= p.quantity:  # the entry has filled it
        p.listed_more = None
    elif asked_at is not None and asked_at >= listed_at + p.timing.orders_read_lag:
        p.listed_more = None
        if p.quantity and isinstance(p.goal, Protect):  # otherwise nothing of it is ours
            p.entry = replace(_entry(p), added=_entry(p).added + quantity - p.quantity)
            p.quantity = quantity
            p.want_snapshot(at)


def _enter(p: PositionState, entry: EntryFacts, at: float) -> None:
    """Enlarge the position by what is newly filled, or begin it."""
    before = _entry(p)
    new, is_first = entry.entered - before.entered, not before.entered
    p.entry = entry
    assert entry.average_price is not None
    opened_at = entry.first_filled_at or (_time_of_day(p, at) if is_first else p.position.opened_at)
    position = replace(p.position, quantity=entry.entered, entry_price=entry.average_price, opened_at=opened_at)
    p.ratchet = p.ratchet.entered(position, is_first=is_first)
    p.position, p.reported_entry = p.ratchet.position, None
    if is_first:
        p.opened_at = _filled_at(p, entry.first_filled_at, at)
    elif not p.quantity:  # what was filled before is closed already
        p.opened_at = at
    p.quantity += new
    p.want_snapshot(at)
    if new:
        p.flat.note_changed(at)
        p.tell(EntryFilled, quantity=new, price=entry.average_price, unfilled=entry.unfilled, client_order_id=entry.id)
    if entry.has_bridge and p.quantity:  # otherwise all that is newly filled is closed already
        _attach(p, p.quantity, at, find_at=math.inf)
    elif entry.has_own_stop:  # it will be live when the entry ends, so that no other stop may be looser
        assert entry.stop_price is not None
        p.raise_floor(entry.stop_price)


def _begin_unprotected(p: PositionState) -> None:
    """Count the position as unprotected since it is open, unless a stop of ours is live."""
    if p.unprotected_span is None and not any(one.purpose == "stop" and one.exists for one in p.orders.values()):
        p.unprotected_span = UnprotectedSpan(p.opened_at, "opening", p.opened_at)
        p.policy_from = math.inf  # it may be found long after it was filled, and is to get a stop first


def _time_of_day(p: PositionState, at: float) -> datetime:
    """Return the time of day. Prices from before it are no peaks of a position whose first fill has no known time."""
    return _entry(p).handed_in + timedelta(seconds=at - p.claimed_at)


def _filled_at(p: PositionState, time: datetime | None, at: float) -> float:
    """Return the first fill's time on the running clock: by the exchange's clock, within what is possible."""
    if time is None:
        return at
    row = p.entry_row
    sent_at = -math.inf if row is None or row.is_restored else row.sent_at
    return min(at, max(sent_at, p.claimed_at + (time - _entry(p).handed_in).total_seconds()))


def _settle(p: PositionState, reason: str, at: float) -> None:
    """Note that nothing more of the entry can be filled."""
    entry = p.entry = replace(_entry(p), is_over=True, reason=reason or _entry(p).reason)
    p.entry_row = None
    if entry.has_own_stop and entry.filled:  # it is left over if the position was closed meanwhile
        _attach(p, entry.filled, at, find_at=at + p.timing.orders_read_lag + LISTED_WITHIN)
    if entry.entered:
        tell_entry_ended(p)
        p.want_snapshot(at)


def _attach(p: PositionState, quantity: Decimal, at: float, *, find_at: float) -> None:
    """Count the stop that the entry carries as live, because the exchange acknowledged it with the entry.

    Args:
        quantity: what it covers, in base units.
        find_at: when to look it up.
    """
    entry = _entry(p)
    assert entry.stop_id is not None
    assert entry.stop_price is not None
    known = p.orders.get(entry.stop_id)
    if known is not None and known.order is not None:
        p.put(replace(known, quantity=quantity, order=replace(known.order, quantity=quantity)))
        return
    if entry.stop_id in p.ended_orders:
        return
    symbol, side = p.position.symbol, p.position.side
    stop = StopOrder(symbol, side, quantity, entry.stop_price, entry.stop_id, "", p.plan.trigger)
    p.put(replace(new_stop(stop), changed_at=at, find_at=find_at))
    count_tighter_again(p, stop)
    p.raise_floor(stop.price)
    p.was_tried = True
    if p.quantity and not p.is_covered:
        tell_opened(p, stop, at)
    p.ratchet.ask_rules()


def _entry(p: PositionState) -> EntryFacts:
    assert p.entry is not None
    return p.entry


def _row(p: PositionState) -> Order:
    assert p.entry_row is not None
    return p.entry_row
