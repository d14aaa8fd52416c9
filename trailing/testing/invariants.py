"""The invariants, numbered, and written once for every test that can check them.

1. At most one live stop per position once it is settled, none without a claim; two only inside a move. Beside it at most
   one trailing order of the exchange's own.
2. A stop never loosens, whatever the ticks, moves, restarts or rounding.
3. The stored and the remembered stop are the last one that the exchange acknowledged.
4. Every order that may exist is in `stops` or `intents` before it can exist, or carries our tag and has raised an
   alarm.
5. After cancellation at any checkpoint and any single fault: no order that nobody tracks, and no claim that nobody
   holds.
6. No exit ever makes the position cross zero.
7. No await while the registry lock is held; one stuck symbol never delays another.
8. No tick is dropped; a peak seen is a peak kept, across a restart as of the last commit and then from candles.
9. An exception is an outcome, an event or a raise; never silence.
10. Intervals are measured on the monotonic clock; times of day are aware UTC at the edges.
11. A live stop is cancelled only where its position is flat, where another live stop at least as tight counts, where the
    market takes one stop, or where the caller asked for it.
12. Every position that was handed in is in `Manager.stops`, in `Manager.unprotected`, or has ended.
13. Without a new price, update or snapshot, the same request is not sent again outside its back-off. The number of account
    lists does not grow with the number of positions.

A snapshot can show 1, 3, 4, 5, 6 and 12, a history 2, 6, 8, 11 and 13. The others are shown by the tests of those who keep them.
Every function here returns what is broken, each beginning with the invariant's number and text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from decimal import Decimal
from itertools import pairwise
from typing import Final, TypeAlias

import msgspec

from trailing.core.model import Side, StopOrder
from trailing.core.prices import is_better, is_tighter
from trailing.stores.port import Loaded

Key: TypeAlias = tuple[str, Side]
"""Symbol and side."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What all sides hold at one moment.

    Args:
        live: every live stop that the exchange holds, ours or not, as it truly is and not as a lagging read shows it.
        positions: the quantity of every position that the exchange truly holds, in base units.
        entered: the quantity that was ever entered, in base units.
        remembered: the stop of each position, as `Manager.stops` gives them.
        native: the exchange's own trailing order of each position that has one, as it is remembered.
        claims: what the registry holds.
        held: the claims that somebody answers for: a task works on them, or they are known to be unprotected.
        loaded: what the store holds of this account.
        is_ours: whether a client order id carries our tag.
        moving: the positions inside a move; the others are settled.
        alarmed: the positions for which an alarm was raised.
        before: the client order ids of stops that the exchange held before we came; nobody has to know them.
        unprotected: the positions that `Manager.unprotected` lists; None: it was not looked at, and 12 is not checked.
        handed_in: the positions that were handed in, as far as the manager has to list them while they are open.
        closing: the claims with nothing left of their position, whose orders and record are being settled.
        listed_beside: the keys under which `Manager.unprotected` may list another position than the claimed one: it waits for
            the key, or no task works on it any more.
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

    @property
    def ours(self) -> tuple[StopOrder, ...]:
        """The live orders that carry our tag and came into being with us, the trailing ones included."""
        return tuple(
            order
            for order in self.live
            if self.is_ours(order.client_order_id) and order.client_order_id not in self.before
        )


class CancelledStop(msgspec.Struct, frozen=True, kw_only=True):
    """A live stop of ours that a request of ours has cancelled, and what the exchange truly held at that moment.

    Args:
        stop: as it was.
        open_quantity: of its position, in base units; 0: the position was flat.
        others: the other live stops of ours behind that position.
        takes_one_stop: the market takes one stop only, and can't amend it.
        was_wanted: the caller asked for it: by a cancelled wave, ``on_late_order="cancel"``, a release or a close.
    """

    stop: StopOrder
    open_quantity: Decimal
    others: Sequence[StopOrder] = ()
    takes_one_stop: bool = False
    was_wanted: bool = False


MOST_REPEATS: Final = 20
"""How often the same request may be sent within `REPEATED_WITHIN`. A back-off that doubles from 0.2 s makes at most 7."""

MOST_LISTS: Final = 60
"""How many account lists may be asked for within `REPEATED_WITHIN`, whatever the number of positions."""

REPEATED_WITHIN: Final = 10.0
"""Seconds in which repetitions are counted."""

_TEXTS = {
    1: "at most one live stop per settled position, none without a claim",
    2: "a stop never loosens",
    3: "the stored and the remembered stop are the last acknowledged one",
    4: "every order that may exist is written down, or has raised an alarm",
    5: "no order that nobody tracks, no claim that nobody holds",
    6: "no exit makes a position cross zero",
    8: "a peak seen is a peak kept",
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


def one_stop_each(snapshot: Snapshot) -> list[str]:
    """Invariant 1: at most one live stop per position once it is settled, two inside a move, none without a claim."""
    broken = []
    counts = Counter((_key(order), order.callback is None) for order in snapshot.ours)
    for (key, plain), count in counts.items():
        allowed = 2 if key in snapshot.moving else 1
        if count > allowed:
            what = "live stops" if plain else "live trailing orders"
            broken.append(f"the {_named(key)} has {count} {what}, allowed are {allowed}")
    broken += [f"stop {_shown(order)} has no claim" for order in snapshot.ours if _key(order) not in snapshot.claims]
    return _broken(1, broken)


def nothing_loosened(side: Side, prices: Iterable[Decimal]) -> list[str]:
    """Invariant 2, of the prices that one position's stop had, in their order: none is looser than the one before."""
    return _broken(
        2,
        (
            f"the stop of the {side} was loosened from {before} to {after}"
            for before, after in pairwise(prices)
            if is_tighter(side, before, than=after)
        ),
    )


def acknowledged_is_known(snapshot: Snapshot) -> list[str]:
    """Invariant 3: what is remembered stands on the exchange exactly so, and the store holds the same.

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


def all_written_down(snapshot: Snapshot) -> list[str]:
    """Invariant 4: the store knows every live stop of ours, or an alarm was raised for its position."""
    records = snapshot.loaded.stops
    written = {order.client_order_id for record in records for order in record.orders}
    written |= {record.native.client_order_id for record in records if record.native is not None}
    written |= {intent.client_order_id for intent in snapshot.loaded.intents}
    return _broken(
        4,
        (
            f"stop {_shown(order)} is neither in stops nor in intents, and there was no alarm"
            for order in snapshot.ours
            if order.client_order_id not in written and _key(order) not in snapshot.alarmed
        ),
    )


def nothing_leaked(snapshot: Snapshot) -> list[str]:
    """Invariant 5: each live stop of ours is its position's remembered one or somebody settles it; each claim is held.

    A position inside a move has two stops, of which only one is remembered.
    """
    tracked = {order.client_order_id for order in (*snapshot.remembered.values(), *snapshot.native.values())}
    broken = [
        f"stop {_shown(order)} is tracked by nobody"
        for order in snapshot.ours
        if order.client_order_id not in tracked
        and _key(order) not in snapshot.moving
        and (_key(order) in snapshot.remembered or _key(order) not in snapshot.held)
    ]
    broken += [f"the claim on the {_named(key)} is held by nobody" for key in sorted(snapshot.claims - snapshot.held)]
    return _broken(5, broken)


def nothing_beyond_entries(snapshot: Snapshot) -> list[str]:
    """Invariant 6: every position is there because it was entered, and none is larger than that."""
    return _broken(
        6,
        (
            f"there is a {_named(key)} of {quantity}, entered were {snapshot.entered.get(key, Decimal(0))}"
            for key, quantity in snapshot.positions.items()
            if quantity > snapshot.entered.get(key, Decimal(0))
        ),
    )


def never_crossed_zero(net: Iterable[Decimal]) -> list[str]:
    """Invariant 6, of a position's net quantities, shorts negative: in one step it never changes its sign."""
    return _broken(
        6,
        (
            f"an exit took the position from {before} across zero to {after}"
            for before, after in pairwise(net)
            if before * after < 0
        ),
    )


def peak_kept(side: Side, seen: Iterable[Decimal], best: Decimal) -> list[str]:
    """Invariant 8: no price that was seen is better than the best one that is kept."""
    better = (price for price in seen if is_better(side, price, best))
    return _broken(8, (f"the {side} keeps {best} as its peak, {price} was seen" for price in better))


def cancelled_for_a_reason(cancelled: Iterable[CancelledStop]) -> list[str]:
    """Invariant 11, of stops that requests of ours have cancelled: each for one of the allowed reasons."""
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
    """Invariant 12: each claim is in one of the manager's lists, unless nothing is left of its position; so is each open
    position that was handed in.

    A key is in both lists only where they list two positions.
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
    doubled = snapshot.remembered.keys() & snapshot.unprotected - snapshot.listed_beside
    broken += [f"the {_named(key)} is in both lists" for key in sorted(doubled)]
    return _broken(12, broken)


def requests_bounded(
    times: Iterable[float], *, most: int = MOST_REPEATS, seconds: float = REPEATED_WITHIN
) -> list[str]:
    """Invariant 13, of the times at which the same request was sent, or either account list: at most `most` within any so
    many seconds.

    Args:
        times: in seconds, in their order.
        most: `MOST_REPEATS` for a request, `MOST_LISTS` for account lists, of both kinds together.
    """
    sent = tuple(times)
    windows = ((first, sent[index + most]) for index, first in enumerate(sent[:-most]))
    worst = next((first for first, last in windows if last - first < seconds), None)
    return _broken(13, () if worst is None else (f"more than {most} times within {seconds:g} s, from {worst:g} on",))


def broken_invariants(snapshot: Snapshot) -> list[str]:
    """Every break of an invariant that a snapshot shows, each beginning with the invariant's number and text."""
    find_broken = (
        one_stop_each,
        acknowledged_is_known,
        all_written_down,
        nothing_leaked,
        nothing_beyond_entries,
        all_listed,
    )
    return [broken for find in find_broken for broken in find(snapshot)]


def check_invariants(snapshot: Snapshot) -> None:
    """Assert that a snapshot breaks no invariant.

    Raises:
        AssertionError: naming each that is broken, and by what.
    """
    broken = broken_invariants(snapshot)
    if broken:
        raise AssertionError("\n".join(("broken invariants:", *broken)))
