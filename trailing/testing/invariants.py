"""The numbered invariants, and functions that check them.

1. A settled position has at most one live stop, and no stop is without a claim. There are two only inside a move. Beside it
   at most one trailing order of the exchange's own.
2. A stop never loosens, by any tick, move, restart or rounding.
3. The stored and the remembered stop are the last one that the exchange acknowledged.
4. Every order that may exist is in `stops` or `intents` before it can exist, or carries our tag and has raised an
   alarm.
5. A cancellation at any checkpoint, or any single fault, leaves no untracked order and no claim without a task or an end.
6. No exit ever makes the position cross zero.
7. Nothing awaits while the registry's lock is held. One stuck symbol never delays another.
8. No tick is dropped. A confirmed peak is kept, over a restart as of the last commit and then from candles.
9. Every exception is an outcome, an event or a raise.
10. Intervals are measured on the monotonic clock. Times of day are aware UTC.
11. A live stop is cancelled only if its position is flat, if another live stop at least as tight counts, if the exchange
    takes no second stop, or if the caller asked for it.
12. Every position that was handed in is in `Manager.stops`, in `Manager.unprotected`, or has ended. Every entry of which more
    may be filled is in `Manager.entries`.
13. Without a new price, update or snapshot, the same request is not sent again outside its back-off. The number of account
    lists does not grow with the number of positions.

A snapshot can show 1, 3, 4, 5, 6 and 12; a history can show 2, 6, 8, 11 and 13. Other tests of the project show the rest. Every
function here returns the broken invariants as texts, each beginning with the invariant's number and text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from decimal import Decimal
from itertools import pairwise
from typing import Final, TypeAlias

import msgspec

from trailing.core.entry_orders import EntryOrder
from trailing.core.model import Side, StopOrder
from trailing.core.prices import is_better, is_tighter
from trailing.stores.port import Loaded

Key: TypeAlias = tuple[str, Side]
"""Symbol and side."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The state of exchange, manager and store at one moment.

    Args:
        live: every live stop on the exchange, ours or not, in its true state and not as a lagging read shows it.
        positions: the true quantity of every position on the exchange, in base units.
        entered: the quantity that was ever entered for each key, in base units.
        remembered: the stop of each position, as returned by `Manager.stops`.
        native: the exchange's own trailing order of each position that has one, as the manager remembers it.
        claims: the keys that the registry holds.
        held: the claims with a task, or whose position is listed as unprotected.
        loaded: the store's open records and intents of this account.
        is_ours: whether a client order id carries our tag.
        moving: the positions inside a move; the others are settled.
        alarmed: the positions for which an alarm was raised.
        before: the client order ids of stops that were live before the manager opened; they are ignored.
        unprotected: the positions that `Manager.unprotected` lists; None: unknown, and 12 is not checked.
        handed_in: the positions that were handed in, and that the manager must list while they are open.
        closing: the claims whose position has ended, while its orders and record are being settled.
        entries: every working entry order on the exchange, ours or not, in its true state.
        listed_entries: the client order ids that `Manager.entries` lists; None: unknown, and 12 is not checked for them.
        listed_beside: the keys under which `Manager.unprotected` may list a position although a stop is live: a second position,
            which waits for the key or has no task any more, one that the exchange refuses to reduce, and one whose stop neither
            lists nor look-ups show.
    """

    live: Sequence[StopOrder]
    positions: Mapping[Key, Decimal]
    entered: Mapping[Key, Decimal]
    remembered: Mapping[Key, StopOrder]
    claims: Set[Key]
    held: Set[Key]
    loaded: Loaded
    is_ours: Callable[[str], bool]
    moving: Set[Key] = frozenset()
    alarmed: Set[Key] = frozenset()
    before: Set[str] = frozenset()
    native: Mapping[Key, StopOrder] = {}
    unprotected: Set[Key] | None = None
    handed_in: Set[Key] = frozenset()
    closing: Set[Key] = frozenset()
    listed_beside: Set[Key] = frozenset()
    entries: Sequence[EntryOrder] = ()
    listed_entries: Set[str] | None = None

    @property
    def ours(self) -> tuple[StopOrder, ...]:
        """The live orders that carry our tag and were placed by this manager, trailing orders included."""
        return tuple(
            order
            for order in self.live
            if self.is_ours(order.client_order_id) and order.client_order_id not in self.before
        )

    @property
    def our_entries(self) -> tuple[EntryOrder, ...]:
        """The working entries that carry our tag and were placed by this manager."""
        return tuple(
            entry
            for entry in self.entries
            if self.is_ours(entry.client_order_id) and entry.client_order_id not in self.before
        )


class CancelledStop(msgspec.Struct, frozen=True, kw_only=True):
    """A live stop that we cancelled, with the true state of the exchange at that moment.

    Args:
        stop: the cancelled stop.
        open_quantity: the quantity of its position, in base units; 0: the position was flat.
        others: the other live stops of ours behind that position.
        takes_one_stop: whether the exchange takes no second stop, of the market or of the account, and can't amend it.
        was_wanted: whether the caller asked for it: by a cancelled wave, ``on_late_order="cancel"``, a release or a close.
    """

    stop: StopOrder
    open_quantity: Decimal
    others: Sequence[StopOrder] = ()
    takes_one_stop: bool = False
    was_wanted: bool = False


MOST_REPEATS: Final = 20
"""Limit for the same request within `REPEATED_WITHIN`. A back-off that doubles from 0.2 s sends at most 7."""

MOST_LISTS: Final = 60
"""Limit for account lists within `REPEATED_WITHIN`, for any number of positions."""

REPEATED_WITHIN: Final = 10.0
"""Seconds in which repeated requests are counted."""

_TEXTS = {
    1: "at most one live stop per settled position, none without a claim",
    2: "a stop never loosens",
    3: "the stored and the remembered stop are the last acknowledged one",
    4: "every order that may exist is stored, or has raised an alarm",
    5: "no untracked order, no claim without a task",
    6: "no exit makes a position cross zero",
    8: "a confirmed peak is kept",
    11: "a live stop is cancelled only for an allowed reason",
    12: "every position that was handed in is listed, or has ended",
    13: "the same request is not sent again and again",
}


def _broken(number: int, what: Iterable[str]) -> list[str]:
    return [f"{number}. {_TEXTS[number]}: {one}" for one in what]


def _key(order: StopOrder) -> Key:
    return order.symbol, order.side


def _named(key: Key) -> str:
    return f"{key[1]} {key[0]}"


def _shown(order: StopOrder) -> str:
    return f"{order.client_order_id} of the {_named(_key(order))}, {order.quantity} at {order.price}"


def _shown_entry(entry: EntryOrder) -> str:
    return f"{entry.client_order_id} of the {entry.side} {entry.symbol}, {entry.unfilled} unfilled"


def one_stop_each(snapshot: Snapshot) -> list[str]:
    """Return the breaks of invariant 1: too many live stops for a position, or one without a claim."""
    broken = []
    counts = Counter((_key(order), order.callback is None) for order in snapshot.ours)
    carried = _carried_stops(snapshot)
    beside = {_key(order) for order in snapshot.ours if order.client_order_id in carried}
    for (key, plain), count in counts.items():
        allowed = 2 if key in snapshot.moving else 1
        if plain and key in snapshot.moving and key in beside:
            allowed += 1  # the stop that its entry carries
        if count > allowed:
            what = "live stops" if plain else "live trailing orders"
            broken.append(f"the {_named(key)} has {count} {what}, allowed are {allowed}")
    broken += [f"stop {_shown(order)} has no claim" for order in snapshot.ours if _key(order) not in snapshot.claims]
    return _broken(1, broken)


def nothing_loosened(side: Side, prices: Iterable[Decimal]) -> list[str]:
    """Return the breaks of invariant 2: prices of one position's stop, in order, that are looser than the one before."""
    return _broken(
        2,
        (
            f"the stop of the {side} was loosened from {before} to {after}"
            for before, after in pairwise(prices)
            if is_tighter(side, before, than=after)
        ),
    )


def acknowledged_is_known(snapshot: Snapshot) -> list[str]:
    """Return the breaks of invariant 3: remembered stops that differ from the live or the stored one.

    Positions inside a move are left out.
    """
    live = {order.client_order_id: order for order in snapshot.live}
    stored = {(record.position.symbol, record.position.side): record.orders for record in snapshot.loaded.stops}
    broken = []
    for key, remembered in snapshot.remembered.items():
        if key in snapshot.moving:
            continue
        actual = live.get(remembered.client_order_id)
        if actual is None:
            broken.append(f"remembered is stop {_shown(remembered)}, which isn't live")
        elif (actual.price, actual.quantity) != (remembered.price, remembered.quantity):
            broken.append(f"remembered is stop {_shown(remembered)}, live is {_shown(actual)}")
        last = stored[key][-1] if stored.get(key) else None
        if last is None:
            broken.append(f"remembered is stop {_shown(remembered)}, stored is none")
        elif last != remembered:
            broken.append(f"remembered is stop {_shown(remembered)}, stored is {_shown(last)}")
    for key, remembered in snapshot.native.items():
        if key not in snapshot.moving and live.get(remembered.client_order_id) != remembered:
            broken.append(f"remembered is trailing order {_shown(remembered)}, which isn't live so")
    return _broken(3, broken)


def _carried_stops(snapshot: Snapshot) -> set[str]:
    """Return the client order ids of the stops that stored entries carry."""
    entries = (record.entry for record in snapshot.loaded.stops)
    return {entry.stop_id for entry in entries if entry is not None and entry.stop_id is not None}


def all_stored(snapshot: Snapshot) -> list[str]:
    """Return the breaks of invariant 4: live stops and working entries of ours that are not stored and raised no alarm."""
    records = snapshot.loaded.stops
    written = {order.client_order_id for record in records for order in record.orders}
    written |= {record.native.client_order_id for record in records if record.native is not None}
    intended = {intent.client_order_id for intent in snapshot.loaded.intents}
    written |= intended | _carried_stops(snapshot)
    broken = [
        f"stop {_shown(order)} is neither in stops nor in intents, and there was no alarm"
        for order in snapshot.ours
        if order.client_order_id not in written and _key(order) not in snapshot.alarmed
    ]
    broken += [
        f"entry {_shown_entry(entry)} is not in intents"
        for entry in snapshot.our_entries
        if entry.client_order_id not in intended
    ]
    return _broken(4, broken)


def nothing_leaked(snapshot: Snapshot) -> list[str]:
    """Return the breaks of invariant 5: untracked stops of ours, and claims without a task.

    A position inside a move has two stops, of which only one is remembered.
    """
    tracked = {order.client_order_id for order in (*snapshot.remembered.values(), *snapshot.native.values())}
    broken = [
        f"stop {_shown(order)} is untracked"
        for order in snapshot.ours
        if order.client_order_id not in tracked
        and _key(order) not in snapshot.moving
        and (_key(order) in snapshot.remembered or _key(order) not in snapshot.held)
    ]
    broken += [f"the claim on the {_named(key)} has no task" for key in sorted(snapshot.claims - snapshot.held)]
    return _broken(5, broken)


def nothing_beyond_entries(snapshot: Snapshot) -> list[str]:
    """Return the breaks of invariant 6: positions that are larger than what was entered."""
    return _broken(
        6,
        (
            f"there is a {_named(key)} of {quantity}, entered were {snapshot.entered.get(key, Decimal(0))}"
            for key, quantity in snapshot.positions.items()
            if quantity > snapshot.entered.get(key, Decimal(0))
        ),
    )


def never_crossed_zero(net: Iterable[Decimal]) -> list[str]:
    """Return the breaks of invariant 6: steps of net quantities (shorts negative) that change the sign."""
    return _broken(
        6,
        (
            f"an exit took the position from {before} across zero to {after}"
            for before, after in pairwise(net)
            if before * after < 0
        ),
    )


def peak_kept(side: Side, seen: Iterable[Decimal], best: Decimal) -> list[str]:
    """Return the breaks of invariant 8: prices in `seen` that are better than the kept `best`."""
    better = (price for price in seen if is_better(side, price, best))
    return _broken(8, (f"the {side} keeps {best} as its peak, {price} was seen" for price in better))


def cancelled_for_a_reason(cancelled: Iterable[CancelledStop]) -> list[str]:
    """Return the breaks of invariant 11: stops that we cancelled without an allowed reason."""
    return _broken(
        11,
        (
            f"stop {_shown(one.stop)} was cancelled, {one.open_quantity} of its position were open"
            for one in cancelled
            if one.open_quantity
            and not (one.takes_one_stop or one.was_wanted)
            and all(is_tighter(one.stop.side, one.stop.price, than=other.price) for other in one.others)
        ),
    )


def all_listed(snapshot: Snapshot) -> list[str]:
    """Return the breaks of invariant 12: claims, open positions and entries that are in none of the manager's lists.

    A claim whose position has ended need not be listed. A key is in both lists only if they list two positions.
    """
    if snapshot.unprotected is None:
        return []
    listed = snapshot.remembered.keys() | snapshot.unprotected
    broken = [
        f"the {_named(key)} is claimed and in no list" for key in sorted(snapshot.claims - listed - snapshot.closing)
    ]
    broken += [
        f"the {_named(key)} was handed in, is open, and is in no list"
        for key in sorted(snapshot.handed_in & snapshot.positions.keys() - listed - snapshot.claims)
    ]
    if snapshot.listed_entries is not None:
        broken += [
            f"entry {_shown_entry(entry)} works and is not listed"
            for entry in snapshot.our_entries
            if entry.client_order_id not in snapshot.listed_entries
        ]
    doubled = snapshot.remembered.keys() & snapshot.unprotected - snapshot.listed_beside
    broken += [f"the {_named(key)} is in both lists" for key in sorted(doubled)]
    return _broken(12, broken)


def requests_bounded(
    times: Iterable[float], *, most: int = MOST_REPEATS, seconds: float = REPEATED_WITHIN
) -> list[str]:
    """Return the breaks of invariant 13: more than `most` requests within `seconds`.

    Args:
        times: when the same request, or either account list, was sent: in seconds, ascending.
        most: `MOST_REPEATS` for a request, `MOST_LISTS` for account lists of both kinds together.
        seconds: the length of the window.
    """
    sent = tuple(times)
    windows = ((first, sent[index + most]) for index, first in enumerate(sent[:-most]))
    worst = next((first for first, last in windows if last - first < seconds), None)
    return _broken(13, () if worst is None else (f"more than {most} times within {seconds:g} s, from {worst:g} on",))


def broken_invariants(snapshot: Snapshot) -> list[str]:
    """Return every break of an invariant that a snapshot shows, each beginning with its number and text."""
    find_broken = (
        one_stop_each,
        acknowledged_is_known,
        all_stored,
        nothing_leaked,
        nothing_beyond_entries,
        all_listed,
    )
    return [broken for find in find_broken for broken in find(snapshot)]


def check_invariants(snapshot: Snapshot) -> None:
    """Assert that a snapshot breaks no invariant.

    Raises:
        AssertionError: naming each broken invariant, and what breaks it.
    """
    broken = broken_invariants(snapshot)
    if broken:
        raise AssertionError("\n".join(("broken invariants:", *broken)))
