"""What a manager does with a stop that triggers and is not filled, on each venue's frames."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal as D

import msgspec
import pytest
import structlog
import trio
from real_exchange import BTC, VENUES, Desk, open_desk

from trailing import Percent, Position, Protected, TrailPlan, open_manager, open_store
from trailing.events import Event, StopGone, StopOpened

pytestmark = pytest.mark.parametrize("venue", VENUES)

PLAN = TrailPlan(initial_stop=Percent(2), exit_grace=600.0, reconcile_every=600.0)
"""No exit, and no snapshot, without an update that asks for it."""


class Protecting(msgspec.Struct):
    """A position of 0.8 BTC with a stop at 980, and what the manager has published."""

    desk: Desk
    events: list[Event]

    async def touch(self) -> None:
        """Let the price touch the stop and come back."""
        await self.desk.server.move_price(BTC, D(979), "last")
        await self.desk.server.move_price(BTC, D(1000), "last")

    async def until_opened(self, count: int) -> None:
        """Wait until that many stops were placed for a position without one."""
        with trio.fail_after(10):
            while len([each for each in self.events if isinstance(each, StopOpened)]) < count:
                await trio.sleep(0.02)

    def live(self) -> list[tuple[D, str]]:
        """Return price and status of the stops on the venue that are not over."""
        stops = self.desk.server.market.live_stops()
        return [(order.wanted.trigger.price, order.status) for order in stops if order.wanted.trigger is not None]


@asynccontextmanager
async def protecting(venue: str, plan: TrailPlan) -> AsyncIterator[Protecting]:
    with structlog.testing.capture_logs():
        async with (
            open_desk(venue) as desk,
            open_store("memory:") as store,
            open_manager(desk.exchange, store, plan) as manager,
            manager.subscribe() as events,
            trio.open_nursery() as nursery,
        ):
            world = Protecting(desk, [])

            async def record() -> None:
                async for event in events:
                    world.events.append(event)

            nursery.start_soon(record)
            position = Position(BTC, "long", D("0.8"), D(1000), datetime.now(UTC))
            await desk.server.enter(position)
            assert isinstance(await manager.protect(position, deadline=5), Protected)
            await world.until_opened(1)
            yield world
            nursery.cancel_scope.cancel()


async def test_fm51_a_stop_that_the_matching_engine_refuses_is_replaced_at_once_and_its_event_has_the_reason(
    venue: str,
) -> None:
    async with protecting(venue, PLAN) as world:
        world.desk.server.market.refuses_triggered = True
        await world.touch()
        await world.until_opened(2)
        (gone,) = (each for each in world.events if isinstance(each, StopGone))
        assert gone.reason == {"binanceusdm": "Reduce Only reject", "bybit": "EC_ReduceOnlyReject"}[venue]
        assert world.live() == [(D(980), "live")]


async def test_fm52_a_stop_that_hangs_after_its_trigger_protects_nothing_once_its_grace_is_over(venue: str) -> None:
    async with protecting(venue, msgspec.structs.replace(PLAN, exit_grace=0.5)) as world:
        world.desk.server.market.fills_triggered = False
        await world.touch()
        began_at = trio.current_time()
        assert world.live() == [(D(980), "triggered")]
        await world.until_opened(2)
        assert trio.current_time() - began_at > 0.3
        assert (D(980), "live") in world.live()
        hung = next(order for order in world.desk.server.market.live_stops() if order.status == "triggered")
        world.desk.server.market.cancel(hung)  # else the manager tries to cancel it until it is closed
