"""What has to hold when everything has healed and the account has been quiet for some minutes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from decimal import Decimal
from typing import Final

import trio
from inspection import Inspection, Key
from inspection.paper import working_entries

from simulation.healing.bot import named
from simulation.healing.scenario import SYMBOLS
from simulation.healing.world import KEYS, World
from simulation.laboratory.settled import check_consistent
from trailing.core.model import Market, Percent, StopOrder
from trailing.core.prices import is_tighter
from trailing.core.rules import Callback
from trailing.core.states import State
from trailing.errors import WouldTrigger
from trailing.protection.waves.outcomes import is_untracked
from trailing.stores.port import Loaded

SETTLES_WITHIN: Final = 10.0
"""Seconds within which a manager that was opened has done what it finds to be done."""

TRAILS_WITHIN: Final = 40.0
"""Seconds within which a stop follows a price, the longest pacing of the plans included."""

COUNTED_SECONDS: Final = 120.0
MOST_REQUESTS: Final = 20, 20
"""Limits for the requests in `COUNTED_SECONDS` without a new price: of the account, and more for each open position."""

_MOVE: Final = Decimal("0.05")
_TOLERANCE: Final = Decimal("0.003")
"""How much further from the price than the callback a stop may be: what the pacing of a plan leaves, and the last small move."""


def check_stops_kept(world: World, before: Mapping[Key, Sequence[StopOrder]], recorded: Set[str]) -> None:
    """Check that the manager has cancelled no stop of an open position that it does not know.

    Excuses: a plan may withdraw a stop, and the stops of an earlier position, which its record has, end with it.

    Args:
        before: the live stops of each position before the manager opened. Since then only the manager has changed anything.
        recorded: the client order ids of the stops that the store's records had then.
    """
    claimed, listed = Inspection(world.running).claimed(), world.running.unprotected()
    for key, stops in before.items():
        given_up = listed.get(key)
        is_of_earlier = all(stop.client_order_id in recorded for stop in stops)
        is_excused = given_up is not None and (is_of_earlier or not is_untracked(given_up.position))
        if stops and world.held(key) and not (key in claimed or is_excused or world.stops(key)):
            world.report_violation(
                "11. the stop of an open position was cancelled at a restart", f"{named(key)}, {stops}"
            )


async def check_healed(world: World, loaded: Loaded) -> None:
    """Check everything, and report what is wrong. `loaded`: the store's records."""
    for key in KEYS:
        for what, about in _wrong_with(world, key):
            world.report_violation(what, f"{named(key)}, {about}")
    for symbol in SYMBOLS:
        _check_orders(world, symbol)
    inside = Inspection(world.running)
    for key in sorted(inside.claimed() - inside.listed() - inside.closing()):
        world.report_violation("12. a claimed position is in no list", named(key))
    for claim in inside.claims():
        if claim.is_frozen:
            world.report_violation("9. a bug froze a position", f"{named(claim.key)}, {claim.error!r}")
    markets = [Market(symbol) for symbol in SYMBOLS]
    # An alarm tells of the stop of a position that is not ours, so that a person adopts the position.
    ours = {stop.client_order_id for stop in world.running.stops().values()}
    ignored = world.left_stops() | inside.alarmed_orders() - ours
    # The record of a position that was given up may remain beside that of the claim of its key.
    claiming = Loaded([record for record in loaded.stops if record.state != State.CLOSED], loaded.intents)
    check_consistent(world.exchange, world.running, claiming, markets, world.report_violation, ignored=ignored)
    await _check_requests(world)
    for symbol in SYMBOLS:
        await _check_trailing(world, symbol)


def _wrong_with(world: World, key: Key) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a position, as class and details."""
    manager, stops, held = world.running, world.stops(key), world.held(key)
    listed, stop = manager.unprotected().get(key), manager.stops().get(key)
    is_ours = key not in world.bot.released or stop is not None
    if not held:
        if stops and is_ours:
            yield "1. a stop is left over", f"{stops}"
        if listed is not None and listed.state != "closed":
            yield "12. a position that is flat is listed as unprotected", f"{listed}"
        return
    if not is_ours:
        return
    if stop is None and listed is None:
        yield "12. an open position is in no list", f"{held} with {stops}"
    elif listed is None:
        if len(stops) != 1 or sum(one.quantity for one in stops) < held:
            yield "1. a position has not exactly one stop that covers it", f"{held} with {stops}"
    elif not world.is_full and not isinstance(listed.error, WouldTrigger):
        yield "1. a position is still unprotected", f"{held} with {stops}, {listed}"


def _check_orders(world: World, symbol: str) -> None:
    if entries := working_entries(world.exchange, symbol):
        world.report_violation("4. an entry is left over", f"{symbol}, {entries}")
    if any(key[0] == symbol for key in world.running.entries()):
        world.report_violation("12. an entry is listed that does not work", f"{symbol}, {world.running.entries()}")


async def _check_requests(world: World) -> None:
    before = world.requests.copy()
    await trio.sleep(COUNTED_SECONDS)
    requests: Counter[tuple[str, str | None]] = world.requests - before
    of_account, of_each = MOST_REQUESTS
    if requests.total() > of_account + of_each * sum(bool(world.held(key)) for key in KEYS):
        most = ", ".join(
            f"{count} {operation} {symbol or ''}" for (operation, symbol), count in requests.most_common(5)
        )
        world.report_violation("13. too many requests at rest", most)


async def _check_trailing(world: World, symbol: str) -> None:
    """Move the price in favour of a position, and check that its stop follows. The symbol's other position may end by that."""
    manager, inside = world.running, Inspection(world.running)
    protected = [
        key for key in KEYS if key[0] == symbol and key in manager.stops() and key not in manager.unprotected()
    ]
    key = world.draw.choice(protected) if protected else None
    claim = None if key is None else inside.claim(*key)
    if key is None or claim is None or len(world.stops(key)) != 1:
        return
    (before,), towards = world.stops(key), 1 if key[1] == "long" else -1
    for share in (_MOVE, _MOVE / 20):
        world.feed(symbol, world.price(symbol) * (1 + towards * share))
        await trio.sleep(TRAILS_WITHIN)
    (callback,) = [rule.distance for rule in claim.plan.rules if isinstance(rule, Callback)]
    assert isinstance(callback, Percent), "the plans of the worlds have no other callbacks"
    price = world.price(symbol)
    least = price - towards * (callback.of(price) + price * _TOLERANCE)
    _check_followed(world, key, before, world.stops(key), least)


def _check_followed(world: World, key: Key, before: StopOrder, stops: list[StopOrder], least: Decimal) -> None:
    side, about = key[1], f"{named(key)}, {before}, then {stops}"
    if len(stops) != 1:
        world.report_violation("1. a moved stop is not one", about)
    elif is_tighter(side, before.price, than=stops[0].price):
        world.report_violation("2. a stop was loosened", about)
    elif is_tighter(side, least, than=stops[0].price):
        world.report_violation("8. a stop does not trail", f"{about}, wants {least}")
