"""Compare the exchange's true state with the store after a kill and after a restart."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from simulation.killing.history import History
from simulation.killing.ledger import Ledger
from simulation.killing.markets import takes_one_stop
from trailing.core.model import Market
from trailing.core.record import StopRecord
from trailing.protection.order_ids import is_ours
from trailing.stores.port import Loaded
from trailing.testing.invariants import Key, Snapshot, broken_invariants, nothing_loosened, peak_kept


def snapshot(ledger: Ledger, history: History, loaded: Loaded, markets: dict[str, Market]) -> Snapshot:
    """Return a snapshot of exchange and store. Without a manager, the records count as its stops and claims.

    A position counts as being moved if it has an open intent, two stops on record, or an open record after its end. If the
    market takes one stop only, the old stop is cancelled before the new one has an intent, so that an unprotected position
    counts too. So does a position of which more was entered after its stop was filled.
    """
    stored = {(record.position.symbol, record.position.side): record for record in loaded.stops}
    moving: set[Key] = {(intent.symbol, intent.side) for intent in loaded.intents}
    moving |= {key for key, record in stored.items() if len(record.orders) > 1 or key not in ledger.open}
    for key, entry in ledger.open.items():
        market = markets[key[0]]
        if entry.has_outgrown or (not entry.stops and takes_one_stop(market)):
            moving.add(key)
    return Snapshot(
        live=history.stops,
        positions={(report.symbol, report.side): report.quantity for report in history.positions},
        entered={key: entry.position.quantity for key, entry in ledger.open.items()},
        remembered={key: record.orders[-1] for key, record in stored.items() if record.orders},
        claims=stored.keys(),
        held=stored.keys(),
        loaded=loaded,
        is_ours=is_ours,
        moving=moving,
        entries=history.entries,
    )


def broken_by(ledger: Ledger, history: History, loaded: Loaded, markets: dict[str, Market]) -> list[str]:
    """Return every invariant that exchange and store break together."""
    return broken_invariants(snapshot(ledger, history, loaded, markets))


class Records:
    """The stored records at the last check, because neither peak nor target may ever go back."""

    def __init__(self) -> None:
        self._before: dict[tuple[Key, str], StopRecord] = {}

    def take(self, loaded: Loaded) -> list[str]:
        """Take the present records. Returns the invariants that they break."""
        broken: list[str] = []
        before, self._before = self._before, {}
        for record in loaded.stops:
            position = record.position
            key = (position.symbol, position.side), position.identity
            self._before[key] = record
            earlier = before.get(key)
            # Before the first fill of an entry, its reference price counts.
            if earlier is not None and (earlier.entry is None or earlier.entry.entered):
                broken += peak_kept(position.side, (earlier.best,), record.best)
                broken += nothing_loosened(position.side, (earlier.target, record.target))
        return [f"{each}, in the store" for each in broken]


def without_a_stop(ledger: Ledger, reported: set[Key]) -> list[str]:
    """Return every open position without a live stop that is not reported as unprotected."""
    return [
        f"the {entry} has no live stop and is not reported as unprotected"
        for key, entry in ledger.open.items()
        if not entry.stops and key not in reported
    ]


def left_entries(history: History, loaded: Loaded, before: datetime) -> list[str]:
    """Return every entry that works, and was not written by the bot that was started at a time."""
    own = {intent.client_order_id for intent in loaded.intents if intent.at >= before}
    return [
        f"the entry {entry.client_order_id} of the {entry.side} {entry.symbol} still works"
        for entry in history.entries
        if entry.client_order_id not in own
    ]


def not_covered(ledger: Ledger, history: History, reported: set[Key]) -> list[str]:
    """Return every position with a stop, but none for its whole quantity. That of a working entry may still grow."""
    growing = {(entry.symbol, entry.side) for entry in history.entries}
    live = {stop.client_order_id: stop.quantity for stop in history.stops}
    return [
        f"a part of the {entry} has no stop"
        for key, entry in ledger.open.items()
        if key not in growing | reported
        and entry.stops
        and max((live.get(own, Decimal(0)) for own in entry.stops), default=Decimal(0)) < entry.remaining
    ]


def unsettled(loaded: Loaded, before: datetime) -> list[str]:
    """Return every order whose intent is older than a time and whose outcome the store does not have."""
    return [
        f"the outcome of {intent.client_order_id}, a {intent.purpose} of the {intent.side} {intent.symbol}, is unknown"
        for intent in loaded.intents
        if intent.at < before
    ]
