"""What a manager does before it yields: takes over what its store holds, and learns from the exchange how that stands.

Nothing stored is believed: until the exchange has been read, every stop of it is of unknown outcome. Where it can't be
read, that is how it stays, and the positions' own tasks go on with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import trio

from trailing.core.account import Orphan, Pending
from trailing.core.actions import Action, LookAgain
from trailing.core.model import StopOrder
from trailing.core.record import StopRecord
from trailing.core.states import State
from trailing.core.stop import TrailingStop
from trailing.errors import AuthenticationFailed, ExchangeError, LeaseLost, OutcomeUnknown, UsageError
from trailing.exchanges.port import snapshot_lag
from trailing.protection.following import Follower
from trailing.protection.order_ids import mark_of
from trailing.protection.orders import Orders
from trailing.protection.protection import Missed, Protection
from trailing.protection.reconciliation import Reconciliation
from trailing.protection.registry import Registry
from trailing.stores.port import Intent, Loaded


def restore(
    orders: Orders, registry: Registry, reconciliation: Reconciliation, orphans: dict[str, Orphan], loaded: Loaded
) -> tuple[StopRecord, ...]:
    """Claim everything stored. No task works on it yet.

    Returns:
        The records of positions that were given up: open, perhaps, and nobody's.
    """
    known = [order.client_order_id for record in loaded.stops for order in _orders_of(record)]
    known += [intent.client_order_id for intent in loaded.intents]
    reconciliation.marks |= {mark for one in known if (mark := mark_of(one)) is not None}
    intents: dict[tuple[str, str, str], list[Intent]] = {}
    for intent in loaded.intents:
        intents.setdefault((intent.symbol, intent.side, intent.identity), []).append(intent)
    given_up = []
    for record in loaded.stops:
        position = record.position
        if record.state == State.CLOSED:  # released, or given up: it is nobody's until it is protected again
            if record.given_up:
                given_up.append(record)
            ids = (order.client_order_id for order in _orders_of(record))
            reconciliation.left.update(dict.fromkeys(ids, (position.symbol, position.side)))
            continue
        own = intents.get((position.symbol, position.side, position.identity), [])
        try:
            protection = _restore(orders, record, own)
        except UsageError as error:
            orders.alarm(None, f"the record of {position.symbol} {position.side} can't be restored", str(error))
            continue
        if registry.claim(position, protection) is not protection:
            orders.alarm(protection, "two records claim one position", position.identity)
            continue
        intents.pop((position.symbol, position.side, position.identity), None)
    at_risk_until = orders.clock.now() + orders.exchange.request_validity
    for key, orphaned in intents.items():
        orders.alarm(None, "an intent without a record", " ".join(key))
        for intent in orphaned:
            orphans[intent.client_order_id] = Orphan(
                intent.symbol, intent.side, intent.identity, intent.client_order_id, intent.purpose, at_risk_until
            )
    # What another record claims was taken in again, under another identity.
    return tuple(one for one in given_up if registry.get(one.position.symbol, one.position.side) is None)


def _orders_of(record: StopRecord) -> tuple[StopOrder, ...]:
    return record.orders if record.native is None else (*record.orders, record.native)


def _restore(orders: Orders, record: StopRecord, intents: list[Intent]) -> Protection:
    now, utc = orders.clock.now(), orders.clock.utc()
    market = orders.exchange.market(record.position.symbol)
    stop = TrailingStop.restore(record, market, now)
    protection = Protection(record.position, stop, claimed_at=now, exposure=record.exposure, cause="outage")
    protection.moves, protection.filled, protection.proceeds = record.moves, record.filled, record.proceeds
    for client_order_id in stop.orders:
        protection.pending[client_order_id] = Pending(client_order_id, "stop", -math.inf)
    for intent in intents:
        protection.pending[intent.client_order_id] = Pending(intent.client_order_id, intent.purpose, now)
    if protection.pending and stop.state is not State.EXITING:
        error = OutcomeUnknown("the process ended before it was known")
        (stop.open_failed if stop.order is None else stop.move_failed)(error, now)
    elif stop.state is State.OPENING:
        stop.open_failed(ExchangeError("the process ended before it was sent"), now)
    heard_until = record.heard_until or record.saved_at
    if heard_until is not None:
        protection.missed = Missed(heard_until, utc, now)
    protection.note_exposure(now)
    if protection.bare is not None:
        dead_since = record.saved_at if record.saved_at is not None else record.position.opened_at
        protection.exposure = record.exposure.plus("outage", max(0.0, (utc - dead_since).total_seconds()))
    protection.save_at = now
    protection.opened = True
    return protection


async def recover(
    orders: Orders,
    registry: Registry,
    reconciliation: Reconciliation,
    follower: Follower,
    keep: Callable[[Protection], None],
    *,
    within: float,
) -> tuple[Action, ...]:
    """Read the exchange until it is known how everything stands, and hand each position over as soon as it is.

    Args:
        keep: has a position worked on by its own task from then on.
        within: seconds at most; what is not known by then is left to the positions' tasks.

    Returns:
        What was found, and followed.

    Raises:
        AuthenticationFailed: the exchange does not take the credentials.
        LeaseLost: another instance's stops stand on the account; nothing was written.

    Cancellation: what was handed over by then is kept.
    """
    found: list[Action] = []
    undecided = registry.all()
    with trio.move_on_after(within) as scope:
        try:
            if undecided:
                # A read may still miss what happened just before updates were listened to.
                await trio.sleep(snapshot_lag(orders.exchange))
            while True:
                actions = await reconciliation.look()
                await follower.follow(actions)
                found += [action for action in actions if not isinstance(action, LookAgain)]
                again = {(action.symbol, action.side) for action in actions if isinstance(action, LookAgain)}
                for protection in undecided:
                    if (protection.position.symbol, protection.position.side) not in again:
                        keep(protection)
                undecided = tuple(held for held in undecided if (held.position.symbol, held.position.side) in again)
                if not undecided:
                    break
                await trio.sleep_until(reconciliation.again_at)
        except (AuthenticationFailed, LeaseLost):
            raise
        except ExchangeError as error:
            orders.alarm(None, "the account can't be read", str(error))
    if scope.cancelled_caught:
        orders.alarm(None, "the account was not read in time", f"within {within} s")
    for protection in undecided:
        keep(protection)
    return tuple(found)
