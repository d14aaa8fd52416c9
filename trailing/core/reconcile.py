"""What follows when what is stored and remembered is held beside what the exchange reports.

A pure function: a reading of the account's two lists and what is tracked in, actions out. Its rules:

1.  Positive evidence only. A reading that failed is no reading, and an empty one deletes nothing by itself.
2.  An absence (of a position, of a stop) is believed on its second sighting, asked for the read lag after the first one
    was answered; what changed in between counts as not seen before. Where a request of unknown outcome is in question,
    the second sighting has to be later than any time at which that could still be executed. Where no position at all is
    reported, it has to be some seconds later, for that is how a venue stumbles; a minute, where its stop is shown all the
    same.
3.  A position that is busy, or changed less than the read lag before the reading was asked for, is left alone: the
    reading may show what was before. Only what stands beside its stop, is looser, and is known to nobody, is judged.
4.  A position that is proved not to be reported is closed. Where the account has one position per symbol and the other
    side is reported, it was flipped: that is an alarm.
5.  A stop belongs to a position by its client order id. Where it stands, the exchange's figures count; where it is
    proved not to, it is gone, or a request for it came to nothing.
6.  A position whose stops are all gone, and whose reported entry price is not the one it was known by, is another
    position: the record is closed, and the open one, which nobody looks after, is told of.
7.  Prices are compared in ticks, quantities exactly.
8.  A stop of ours that no record and no intent names: it becomes the position's where that has none, or a looser one; it
    is cancelled where that has one, or where nothing is open; it is left standing, with an alarm, on a position without
    a record.
9.  A stop follows its position's quantity.
10. A stop beyond the liquidation price, less the plan's buffer, is tightened; every reading looks for it.
11. A position that is tracked and has no stop gets one.
12. An open intent without a record is written off once its order is proved not to exist.
13. An order that isn't ours is never touched: what does not carry our tag is not even looked at.
14. Our tag with another instance's mark: another instance is at work on the account.
15. A position that nobody tracks, without a stop of ours, is somebody else's business.
16. A trailing order of the exchange's own never counts as the stop. Where it stands as remembered it goes on; where it is
    proved not to, the stop is moved by us again; one of ours that nobody remembers is cancelled.

The same input gives the same actions, in the order of the tracked positions, the intents without a record, and the
other stops by symbol, side and id.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from trailing.core.account import Bounds, Orphan, Reading, Tracked
from trailing.core.actions import (
    Action,
    AdoptStop,
    CancelStop,
    ForeignInstance,
    LookAgain,
    SettleIntent,
)
from trailing.core.comparison import Comparison, Reports
from trailing.core.model import Side, StopOrder
from trailing.core.sightings import Memory, Sightings


def reconcile(
    reading: Reading,
    tracked: Sequence[Tracked],
    orphans: Sequence[Orphan],
    memory: Memory,
    bounds: Bounds,
    whose: Callable[[str], Literal["ours", "instance", "foreign"]],
) -> tuple[tuple[Action, ...], Memory]:
    """Judge a reading.

    Args:
        tracked: every position that is looked after, as it is after the reading.
        orphans: open intents whose position has no record.
        memory: what the last reading left; at first `Memory()`.
        whose: an order by its client order id: ``"ours"``, another ``"instance"``'s with our tag, or ``"foreign"``.

    Returns:
        What follows, and what to remember for the next reading.
    """
    sightings = Sightings(memory, reading.asked_at, reading.answered_at, bounds.read_lag)
    reports = {(report.symbol, report.side): report for report in reading.positions}
    ours: defaultdict[tuple[str, Side], list[StopOrder]] = defaultdict(list)
    others: list[StopOrder] = []
    for order in reading.stops:
        owner = whose(order.client_order_id)
        if owner == "ours":
            ours[order.symbol, order.side].append(order)
        elif owner == "instance":
            others.append(order)
    actions: list[Action] = []
    for one in tracked:
        shown = ours.pop(one.key, [])
        comparison = Comparison(one, reading, reports, shown, bounds, sightings)
        left_alone = one.is_left_alone(reading.asked_at, bounds.read_lag)
        actions += comparison.leftovers() if left_alone else comparison.actions()
    standing = {order.client_order_id for orders in ours.values() for order in orders}
    actions += _orphaned(orphans, standing, bounds, sightings)
    actions += _untracked(ours, reports, sightings)
    for order in sorted(others, key=_place):
        if sightings.is_new_alarm("instance", order.client_order_id):
            actions.append(ForeignInstance(order.symbol, order.side, order))
    return tuple(actions), sightings.memory()


def _orphaned(orphans: Sequence[Orphan], standing: set[str], bounds: Bounds, sightings: Sightings) -> Iterator[Action]:
    """Rule 12."""
    for orphan in orphans:
        if orphan.client_order_id in standing:
            continue
        if sightings.is_proved("no order", orphan.client_order_id, sure_from=orphan.at_risk_until + bounds.read_lag):
            yield SettleIntent(orphan.symbol, orphan.side, orphan.client_order_id)
        else:
            yield LookAgain(orphan.symbol, orphan.side, f"whether the intent {orphan.client_order_id} came to nothing")


def _untracked(
    ours: dict[tuple[str, Side], list[StopOrder]], reports: Reports, sightings: Sightings
) -> Iterator[Action]:
    """Rule 8, where no record names the position."""
    for order in sorted((order for orders in ours.values() for order in orders), key=_place):
        key, client_order_id = (order.symbol, order.side), order.client_order_id
        is_open = key in reports
        if not sightings.is_proved("on an open position" if is_open else "on nothing", client_order_id):
            yield LookAgain(*key, f"whether anybody knows the stop {client_order_id}")
        elif not is_open:
            yield CancelStop(*key, order, "its position is closed")
        elif sightings.is_new_alarm("without a record", client_order_id):
            yield AdoptStop(*key, order)


def _place(order: StopOrder) -> tuple[str, str, str]:
    return order.symbol, order.side, order.client_order_id
