"""The checks at the end of a simulated world, after its calm time."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from decimal import Decimal
from typing import Final

import trio
from inspection import Inspection, Key

from trailing.core.model import Market, StopOrder
from trailing.errors import WouldTrigger
from trailing.exchanges.paper import PaperExchange
from trailing.protection.manager import Manager
from trailing.protection.order_ids import is_ours
from trailing.protection.waves.outcomes import Unprotected
from trailing.stores.port import Loaded
from trailing.testing.invariants import Snapshot, broken_invariants

SETTLES_WITHIN: Final = 30.0
"""Seconds within which a position whose stop has just triggered is protected or closed."""


def check_settled(
    exchange: PaperExchange,
    manager: Manager,
    loaded: Loaded,
    markets: Sequence[Market],
    report_violation: Callable[[str, str], None],
) -> None:
    """Compare exchange, manager and store. `loaded`: the store's records; `report_violation`: called for each violation."""
    check_consistent(exchange, manager, loaded, markets, report_violation)
    for key, unprotected in unprotected_at_rest(exchange, manager).items():
        what = "1. a position is unprotected at the end of the calm time"
        report_violation(what, f"{key[1]} {key[0]}, {unprotected}")


def check_consistent(
    exchange: PaperExchange,
    manager: Manager,
    loaded: Loaded,
    markets: Sequence[Market],
    report_violation: Callable[[str, str], None],
    *,
    ignored: Set[str] = frozenset(),
) -> None:
    """Compare exchange, manager and store as `check_settled`, where positions may be unprotected.

    Args:
        ignored: the client order ids of stops that are not ours any more.
    """
    inside = Inspection(manager)
    live, positions = list[StopOrder](), dict[Key, Decimal]()
    for market in markets:
        stops, held = exchange.actual(market.symbol)
        live += stops
        positions |= {(market.symbol, side): quantity for side, quantity in held.items()}
    snapshot = Snapshot(
        live=live,
        positions=positions,
        entered=positions,
        remembered=manager.stops(),
        claims=inside.claimed(),
        held=inside.with_task(),
        native=inside.natives(),
        loaded=loaded,
        is_ours=is_ours,
        moving=inside.with_work(),
        before=ignored,
        unprotected=manager.unprotected().keys(),
        closing=inside.closing(),
        listed_beside=inside.listed_beside(),
    )
    for broken in broken_invariants(snapshot):
        what, _, about = broken.partition(": ")
        report_violation(what, about)
    for key in snapshot.claims - positions.keys() - snapshot.moving:
        report_violation("FM 19. a position that closed long ago is still claimed", f"{key[1]} {key[0]}")


def unprotected_at_rest(exchange: PaperExchange, manager: Manager) -> dict[Key, Unprotected]:
    """Return the open positions that are listed as unprotected.

    Excuses: the market is beyond the stop, and the plan keeps the position; if only one stop may be live, a move in progress
    has cancelled the old one.
    """
    moving, found = Inspection(manager).with_work(), dict[Key, Unprotected]()
    for key, unprotected in manager.unprotected().items():
        market = exchange.market(key[0])
        in_between = key in moving and not market.two_stops and not market.can_amend
        is_open = key[1] in exchange.actual(key[0])[1]
        if is_open and not in_between and not isinstance(unprotected.error, WouldTrigger):
            found[key] = unprotected
    return found


async def wait_settled(is_settled: Callable[[], bool]) -> None:
    """Wait until a condition holds, at most `SETTLES_WITHIN` seconds.

    The last prices of a world may have triggered a stop, so that its position is between its stop and its end.
    """
    with trio.move_on_after(SETTLES_WITHIN):
        while not is_settled():
            await trio.sleep(1.0)
