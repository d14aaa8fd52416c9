"""Show all positions of a manager at one moment, and the health of what they depend on."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from trailing.core.model import Position, Side, StopOrder
from trailing.core.refusals import trouble
from trailing.protection.health import Health, read_health
from trailing.protection.waves.outcomes import Unprotected
from trailing.unprotected import ALWAYS_PROTECTED, UnprotectedTime

if TYPE_CHECKING:
    from trailing.protection.position_task import PositionTask
    from trailing.protection.supervision import Supervision


class PositionOverview(msgspec.Struct, frozen=True, gc=False):
    """A position at one moment.

    Args:
        position: as it was handed in.
        state: its state, as in `Unprotected.state`; `"given up"` if no task works on it.
        quantity: the open rest, in base units.
        price: the last price that counts, in quote units. Before the first tick, it is the entry price.
        price_age: seconds since the last tick of its symbol, or else since it was claimed; None: no task works on it.
        stop: the live stop, as the exchange acknowledged it; None: there is none.
        moves: the number of acknowledged moves.
        is_unprotected: whether `Manager.unprotected` lists it.
        unprotected_for: seconds since it has had no live stop; 0.0: it has one, or is flat; None: no task works on it.
        unprotected_time: all its unprotected seconds by cause.
        error: why it has no stop or can't be closed, in words; "": no reason is known.
    """

    position: Position
    state: str
    quantity: Decimal
    price: Decimal
    price_age: float | None
    stop: StopOrder | None
    moves: int
    is_unprotected: bool
    unprotected_for: float | None
    unprotected_time: UnprotectedTime
    error: str


class Overview(msgspec.Struct, frozen=True):
    """All positions of a manager at one moment.

    Args:
        at: the time of day, aware UTC.
        positions: protected and unprotected ones, in the order in which they were claimed.
        price_age: seconds since the last tick of any of their symbols; None: no task works on a position.
        health: of the stream, the lease and the journal.
    """

    at: datetime
    positions: tuple[PositionOverview, ...]
    price_age: float | None
    health: Health


def take_overview(supervision: Supervision) -> Overview:
    """Return all positions of a supervision as they are now."""
    now, unprotected = supervision.now(), supervision.unprotected()
    tasks = (*supervision.registry.all(), *supervision.registry.waiting())
    views = [_view(task, now, is_unprotected=_key(task.state.position) in unprotected) for task in tasks]
    shown = {_key(task.state.position) for task in tasks}
    views += [_view_untended(listed) for key, listed in unprotected.items() if key not in shown]
    return Overview(
        supervision.records.clock.utc(),
        tuple(views),
        min((view.price_age for view in views if view.price_age is not None), default=None),
        read_health(supervision),
    )


def _key(position: Position) -> tuple[str, Side]:
    return position.symbol, position.side


def _view(task: PositionTask, now: float, *, is_unprotected: bool) -> PositionOverview:
    state = task.state
    span, error = state.unprotected_span, trouble(state)
    return PositionOverview(
        state.position,
        state.state.value,
        state.quantity,
        state.ratchet.last,
        now - task.last_tick_at,
        state.stop,
        state.moves,
        is_unprotected,
        0.0 if span is None else now - span.since,
        state.unprotected_time if span is None else state.unprotected_time + span.until(now),
        "" if error is None else str(error),
    )


def _view_untended(listed: Unprotected) -> PositionOverview:
    """Return the view of a position that no task works on."""
    position = listed.position
    return PositionOverview(
        position,
        "given up",
        position.quantity,
        position.entry_price,
        None,
        None,
        0,
        is_unprotected=True,
        unprotected_for=None,
        unprotected_time=ALWAYS_PROTECTED,
        error="" if listed.error is None else str(listed.error),
    )
