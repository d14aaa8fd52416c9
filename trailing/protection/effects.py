"""Publishes what the states of positions want published."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import trio

from trailing.core.inputs import Publish
from trailing.core.position import PositionState
from trailing.protection.order_alarm import raise_alarm
from trailing.protection.records import Records
from trailing.protection.requests import RequestSender


class EffectPublisher:
    """Publishes effects. An alarm that names open orders is raised as soon as they were read.

    Args:
        sender: reads them.
        records: the events go there.
        tasks: the service nursery in which they are read.
    """

    def __init__(self, sender: RequestSender, records: Records, tasks: trio.Nursery) -> None:
        self._sender, self._records, self._tasks = sender, records, tasks

    def publish(self, state: PositionState, effects: Sequence[Publish]) -> None:
        """Publish effects of one position now, without waiting."""
        for effect in effects:
            if not effect.names_orders or self._tasks.cancel_scope.cancel_called:
                self._records.tell(state.position, effect.event, **effect.fields)
                continue
            seconds = state.plan.call_seconds
            raising = partial(raise_alarm, **effect.fields, call_seconds=seconds)
            self._tasks.start_soon(raising, self._sender, self._records, state.position)
