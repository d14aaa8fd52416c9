"""Publish the events that the states of positions give out."""

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
    """Publish the effects of positions. An alarm that names open orders is raised after they were read.

    Args:
        sender: reads the open orders.
        records: publishes the events.
        tasks: the service nursery in which the open orders are read.
    """

    def __init__(self, sender: RequestSender, records: Records, tasks: trio.Nursery) -> None:
        self._sender, self._records, self._tasks = sender, records, tasks

    def publish(self, state: PositionState, effects: Sequence[Publish]) -> None:
        """Publish effects of one position, without waiting.

        An alarm that names open orders is raised later, by a task that reads them first. If the service nursery is cancelled, it
        is raised now and names none.
        """
        for effect in effects:
            if not effect.names_orders or self._tasks.cancel_scope.cancel_called:
                self._records.tell(state.position, effect.event, **effect.fields)
                continue
            seconds = state.plan.call_seconds
            raising = partial(raise_alarm, **effect.fields, call_seconds=seconds)
            self._tasks.start_soon(raising, self._sender, self._records, state.position)
