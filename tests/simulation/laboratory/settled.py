"""The checks at the end of a simulated world, after its calm time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal

from inspection import Inspection, Key

from trailing.core.model import Market, StopOrder
from trailing.errors import WouldTrigger
from trailing.exchanges.paper import PaperExchange
from trailing.protection.manager import Manager
from trailing.protection.order_ids import is_ours
from trailing.stores.port import Loaded
from trailing.testing.invariants import Snapshot, broken_invariants


def check_settled(
    exchange: PaperExchange,
    manager: Manager,
    loaded: Loaded,
    markets: Sequence[Market],
    report_violation: Callable[[str, str], None],
) -> None:
    """Compare exchange, manager and store. `loaded`: the store's records; `report_violation`: called for each violation."""
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
        unprotected=manager.unprotected().keys(),
        closing=inside.closing(),
        listed_beside=inside.listed_beside(),
    )
    for broken in broken_invariants(snapshot):
        what, _, about = broken.partition(": ")
        report_violation(what, about)
    for key in snapshot.claims - positions.keys() - snapshot.moving:
        report_violation("FM 19. a position that closed long ago is still claimed", f"{key[1]} {key[0]}")
    for key, unprotected in manager.unprotected().items():
        market = exchange.market(key[0])
        # If only one stop may be live, a move in progress has cancelled the old one.
        in_between = key in snapshot.moving and not market.two_stops and not market.can_amend
        if key in positions and not in_between and not isinstance(unprotected.error, WouldTrigger):
            report_violation(
                "1. a position is unprotected at the end of the calm time", f"{key[1]} {key[0]}, {unprotected}"
            )
