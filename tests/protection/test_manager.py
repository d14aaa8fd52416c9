"""The manager: what it is asked for, what it says of itself, and what it does when something comes from outside."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
import trio
from worlds import BTC, PLAN, START, SYMBOL, a_position, open_listened, open_world, some_positions

import trailing
from trailing import (
    AuthenticationFailed,
    Callback,
    ExchangeError,
    Exited,
    History,
    Market,
    OpeningTimes,
    Percent,
    Protected,
    Refused,
    Rule,
    Slippage,
    Statistics,
    Tick,
    TimedOut,
    TrailPlan,
    UnprotectedTime,
    UsageError,
)
from trailing.events import Alarm, PositionClosed, PositionReleased, StopFilled, StopGone, StopOpened
from trailing.stores.port import SaveStop
from trailing.testing import At, Fails, Fault, FaultyExchange, Hangs, Refuses, ReplyLost, Unreachable

D = Decimal


# The bot's own exit.


async def test_close_ends_position_stop_and_record(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=1.0) as world:
        await world.protect()
        world.feed("101")
        outcome = await world.running.close(*BTC, deadline=30.0)
        assert isinstance(outcome, Exited)
        assert (outcome.fill.quantity, outcome.fill.price, outcome.uncovered) == (D("1.5"), D(101), D(0))
        assert outcome.elapsed == 3.0  # the close, whose fill says flat, one snapshot, the stop's cancelling
        assert (await world.live(), await world.paper.positions()) == ((), ())
        with pytest.raises(UsageError, match="BTC/USDT:USDT long is not protected"):
            await world.running.close(*BTC, deadline=30.0)


async def test_a_close_whose_reply_is_lost_is_told_as_the_exit_that_it_was(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=1.0, exchange_faults={At("close_position", None, 1): ReplyLost()}) as world:
        await world.protect()
        world.feed("101")
        outcome = await world.running.close(*BTC, deadline=30.0)
        assert isinstance(outcome, Exited)
        assert (outcome.fill.quantity, outcome.fill.price) == (D("1.5"), D(101))
        assert world.calls("close_position") == 1
        (closed,) = [event for event in world.events if isinstance(event, PositionClosed)]
        assert (closed.quantity, closed.profit) == (D("1.5"), D("1.5"))


async def test_a_close_that_takes_too_long_is_gone_on_with(autojump_clock: trio.testing.MockClock) -> None:
    def down(operation: str, symbol: str | None, number: int) -> Fault | None:
        return Unreachable() if operation == "close_position" and trio.current_time() < until else None

    until = trio.current_time() + 60
    async with open_world(latency=1.0, exchange_faults=down) as world:
        await world.protect()
        outcome = await world.running.close(*BTC, deadline=10.0)
        assert isinstance(outcome, TimedOut)
        assert outcome.stop is not None
        assert outcome.elapsed == 10.0
        with trio.fail_after(120):
            await world.running.wait_closed()
        assert await world.paper.positions() == ()


async def test_close_of_what_is_flat_already_says_so(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=1.0) as world:
        await world.protect()
        world.paper.disconnect()
        world.paper.reduce(*BTC, D("1.5"))
        outcome = await world.running.close(*BTC, deadline=100.0)  # its live stop contradicts the refusal for a minute
        assert isinstance(outcome, Refused)
        assert await world.live() == ()


async def test_close_all_closes_all_in_parallel(autojump_clock: trio.testing.MockClock) -> None:
    positions = some_positions(4)
    async with open_world(latency=1.0) as world:
        await world.enter(*positions)
        await world.running.protect_wave(positions, deadline=5.0)
        started = trio.current_time()
        outcomes = await world.running.close_all(deadline=30.0)
        assert {outcome.position.symbol for outcome in outcomes} == {position.symbol for position in positions}
        assert [type(outcome) for outcome in outcomes] == [Exited] * 4
        assert 3.0 <= trio.current_time() - started <= 5.0
        assert (await world.live(), await world.paper.positions()) == ((), ())


# Giving a position back.


@pytest.mark.parametrize("cancel_stop", [True, False])
async def test_release_gives_the_position_back_with_its_stop_or_without(
    cancel_stop: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(latency=1.0) as world:
        await world.protect()
        live = await world.live()
        await world.running.release(*BTC, cancel_stop=cancel_stop)
        assert await world.live() == (() if cancel_stop else live)
        assert (world.running.stops(), world.running.unprotected()) == ({}, {})
        (released,) = [event for event in world.events if isinstance(event, PositionReleased)]
        assert released.stop_is_live is not cancel_stop
        world.feed("110")
        await trio.sleep(30)
        assert world.calls("place_stop") == 1
        with pytest.raises(UsageError, match="is not protected"):
            await world.running.release(*BTC, cancel_stop=True)


async def test_release_forgets_what_was_given_up(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=1.0) as world:
        await world.enter(a_position())
        await world.running.protect(a_position(entry_price=D(50)), deadline=5.0)
        assert set(world.running.unprotected()) == {BTC}
        await world.running.release(*BTC, cancel_stop=True)
        assert world.running.unprotected() == {}


# An unprotected position.


@pytest.mark.parametrize("then", ["report", "close"])
async def test_an_unprotected_position_is_retried_and_then_reported_or_closed(
    then: Any, autojump_clock: trio.testing.MockClock
) -> None:
    plan = msgspec.structs.replace(PLAN, retry_for=100.0, retry_then=then)
    async with open_world(latency=1.0, plan=plan, exchange_faults={At("place_stop"): Refuses()}) as world:
        await world.enter(a_position())
        assert isinstance(await world.running.protect(a_position(), deadline=5.0), Refused)
        await trio.sleep(99)
        assert world.running.unprotected()[BTC].state == "unprotected"
        assert isinstance(world.running.unprotected()[BTC].error, trailing.StopRejected)
        assert 5 < world.calls("place_stop") < 20  # it backs off
        await trio.sleep(60)
        if then == "close":
            assert await world.paper.positions() == ()
            assert world.running.unprotected() == {}
            assert world.calls("close_position") == 1
        else:
            assert len(await world.paper.positions()) == 1
            assert world.running.unprotected()[BTC].state == "closed"
            assert isinstance(world.running.unprotected()[BTC].error, trailing.StopRejected)
        assert world.inside.claims() == ()


@pytest.mark.parametrize("policy", ["report", "close"])
async def test_an_unprotected_position_is_reported_or_closed_at_once_if_the_plan_says_so(
    policy: Any, autojump_clock: trio.testing.MockClock
) -> None:
    plan = msgspec.structs.replace(PLAN, on_unprotected=policy)
    async with open_world(latency=1.0, plan=plan, exchange_faults={At("place_stop", None, 1): Refuses()}) as world:
        await world.enter(a_position())
        assert isinstance(await world.running.protect(a_position(), deadline=5.0), Refused)
        await trio.sleep(10)
        assert world.calls("place_stop") == 1
        assert len(await world.paper.positions()) == (policy == "report")
        assert set(world.running.unprotected()) == ({BTC} if policy == "report" else set())


async def test_what_stays_too_small_for_a_stop_is_closed(autojump_clock: trio.testing.MockClock) -> None:
    # A partial fill leaves less than a stop can cover: no part of it stays unprotected behind a closed record.
    market = Market(SYMBOL, quantity_step=D("0.1"), min_quantity=D("0.5"))
    async with open_world(latency=1.0, markets=[market], partial_fills=D("0.8")) as world:
        await world.protect()
        world.feed("97")
        world.paper.cancel_by_hand(world.running.stops()[BTC].client_order_id)
        with trio.fail_after(60):
            await world.running.wait_closed()
        assert await world.paper.positions() == ()


async def test_credentials_that_are_not_accepted_any_more_end_the_manager_and_leave_the_stops_standing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    expired = Fails(AuthenticationFailed("expired"))
    faults: dict[At, Fault] = {At("place_stop", None, 2): expired, At("positions", None, 3): expired}
    async with open_world(latency=1.0, exchange_faults=faults, with_manager=False) as world:
        world.exchange = FaultyExchange(world.paper, faults)
        with pytest.raises(AuthenticationFailed):
            async with open_listened(world):
                await world.protect()
                world.feed("105")
                await trio.sleep(30)
        (stop,) = await world.live()
        loaded = await world.load()
        assert loaded.stops[0].orders == (stop,)
        assert world.alarms().count("the exchange does not accept the credentials") == 1


# What it says of itself.


async def test_fm33_statistics_has_known_answers(autojump_clock: trio.testing.MockClock) -> None:
    first, second, refused = some_positions(3)
    faults: dict[At, Fault] = {At("place_stop", refused.symbol): Refuses()}
    async with open_world(latency=2.0, exchange_faults=faults) as world:
        await world.enter(first, second, refused)
        assert world.running.statistics().since_confirmed is None
        await world.running.protect_wave([first, second], deadline=5.0)
        await world.running.protect(first, deadline=5.0)
        plan = msgspec.structs.replace(PLAN, on_unprotected="report")
        await world.running.protect(refused, deadline=5.0, plan=plan)
        await trio.sleep(3)  # at 5
        world.feed("105", first.symbol)
        world.feed("105", second.symbol)
        world.feed("105", second.symbol, source="mark")
        await trio.sleep(5)  # the new stops are acknowledged at 7, the old ones cancelled at 9; at 10
        world.feed("103", second.symbol)  # filled at once; flat after two reads of 2 s
        await trio.sleep(10)  # at 20
        assert (
            world.running.statistics()
            == Statistics(
                waves=3,
                outcomes={"Protected": 2, "AlreadyProtected": 1, "Refused": 1},
                opening_times=OpeningTimes(2, 2.0, 2.0, 2.0),
                not_entered={},
                slippage=Slippage(),
                protected=1,
                unprotected=1,
                moves=2,
                closed=1,
                unprotected_time=UnprotectedTime(
                    opening=6.0, refused=2.25
                ),  # two seconds of each; the third was refused two seconds after it was opened, and given up after a snapshot
                since_confirmed=11.0,  # reads confirm nothing
                ticks=4,
                foreign_ticks=1,
                commits=world.memory.commits,
                dropped=0,
            )
        )


async def test_a_subscriber_gets_events_and_a_full_channel_drops_and_counts(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with (
        open_world(latency=1.0) as world,
        world.running.subscribe() as wide,
        world.running.subscribe(capacity=1) as narrow,
    ):
        await world.protect()
        world.paper.cancel_by_hand(world.running.stops()[BTC].client_order_id)
        await trio.sleep(30)
        kinds = [type(wide.receive_nowait()) for _ in range(wide.statistics().current_buffer_used)]
        assert kinds == [StopOpened, StopGone, StopOpened]
        assert isinstance(narrow.receive_nowait(), StopOpened)
        with pytest.raises(trio.WouldBlock):
            narrow.receive_nowait()
        assert world.running.statistics().dropped == 2


async def test_a_source_that_falls_silent_raises_one_alarm_each_time(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=1.0) as world:
        await world.protect()
        silence = "no price of its trigger source"
        await trio.sleep(200)
        (silent,) = [event for event in world.events if isinstance(event, Alarm) and event.what == silence]
        assert (silent.at - START).total_seconds() == 60.0
        world.feed("100.5")
        await trio.sleep(50)
        assert world.alarms().count(silence) == 1
        await trio.sleep(60)
        assert world.alarms().count(silence) == 2


# From outside.


async def test_a_stop_cancelled_by_hand_is_replaced(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=1.0) as world:
        await world.protect()
        world.feed("105")
        await trio.sleep(5)
        world.paper.cancel_by_hand(world.running.stops()[BTC].client_order_id)
        await trio.sleep(1.0)
        await trio.testing.wait_all_tasks_blocked()
        assert world.running.stops()[BTC].price == D("103.95")
        await trio.sleep(10)
        await world.check(a_position())
        assert world.running.statistics().unprotected_seconds == 2.0


@pytest.mark.parametrize("by", ["-0.5", "0.5"])
@pytest.mark.parametrize("connected", [True, False])
async def test_a_position_that_changed_gets_a_stop_of_its_size(
    by: str, connected: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(latency=1.0) as world:
        await world.protect()
        if not connected:
            world.paper.disconnect()
        if by.startswith("-"):
            world.paper.reduce(*BTC, D("0.5"))
        else:
            await world.enter(a_position(quantity=D("0.5")))
        world.paper.reconnect()
        await trio.sleep(10)
        assert world.running.stops()[BTC].quantity == D("1.5") + D(by)
        await world.check(a_position(quantity=D("2")))


async def test_a_resize_that_is_refused_once_is_tried_again(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=1.0, exchange_faults={At("place_stop", None, 2): Refuses()}) as world:
        await world.protect()
        await world.enter(a_position(quantity=D("0.5")))
        await trio.sleep(30)
        assert world.running.stops()[BTC].quantity == 2


@pytest.mark.parametrize("share", ["0.1", "0.4", "0.7"])
@pytest.mark.parametrize("side", ["long", "short"])
async def test_partial_fills_leave_nothing_bare_behind_a_closed_record(
    share: str, side: Any, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(latency=1.0, partial_fills=D(share)) as world:
        await world.protect(a_position(side=side))
        for _ in range(3):
            world.feed("97" if side == "long" else "103")
            await trio.sleep(0.25)
        with trio.fail_after(60):
            await world.running.wait_closed()
        assert (await world.paper.positions(), await world.live()) == ((), ())
        (closed,) = [event for event in world.events if isinstance(event, PositionClosed)]
        assert closed.quantity == D("1.5")
        assert any(isinstance(event, StopFilled) and event.left for event in world.events)


async def test_a_flip_closes_the_old_record_ends_its_stop_and_raises_an_alarm(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=1.0) as world:
        await world.protect()
        world.paper.reduce(*BTC, D("1.5"))
        await world.enter(a_position(side="short"))
        with trio.fail_after(60):
            await world.running.wait_closed()
        assert "the position was flipped" in world.alarms()
        assert await world.live() == ()
        assert [(report.side, report.quantity) for report in await world.paper.positions()] == [("short", D("1.5"))]


async def test_in_hedge_mode_both_sides_have_a_stop_of_their_own(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=1.0, hedged=True) as world:
        both = [a_position(), a_position(side="short")]
        await world.enter(*both)
        report = await world.running.protect_wave(both, deadline=5.0)
        assert [type(outcome) for outcome in report.outcomes] == [Protected, Protected]
        await trio.sleep(2)
        world.feed("101.5")
        await trio.sleep(5)
        prices = {side: stop.price for (_, side), stop in world.running.stops().items()}
        assert prices == {"long": D("100.485"), "short": D(102)}
        world.feed("102.5")
        await trio.sleep(10)
        assert set(world.running.stops()) == {BTC}
        await world.check(*both)


# A bug of one position.


class Trips(Rule, frozen=True):
    """A bot's own rule with a bug, which shows from a price on; at 0, always."""

    at: Decimal

    def propose(self, history: History) -> Decimal | None:
        if history.best >= self.at:
            raise ZeroDivisionError("a rule's bug")
        return None


@pytest.mark.parametrize("then", ["nothing", "cancelled", "partly filled", "resized", "restarted"])
async def test_a_rule_that_raises_freezes_its_position_and_no_other(
    then: str, autojump_clock: trio.testing.MockClock
) -> None:
    one, other = some_positions(2)
    buggy = TrailPlan(initial_stop=Percent(2), rules=(Trips(D(102)),))
    fills = (lambda order, tick: D("0.5")) if then == "partly filled" else None
    async with open_world(latency=1.0, partial_fills=fills, with_manager=False) as world:
        await world.enter(one, other)
        async with open_listened(world) as manager:
            await manager.protect(one, deadline=5.0, plan=buggy)
            await manager.protect(other, deadline=5.0)
            await trio.sleep(5)
            world.feed("103", one.symbol)
            await trio.sleep(5)
            if then == "cancelled":
                world.paper.cancel_by_hand(manager.stops()[one.symbol, "long"].client_order_id)
            elif then == "partly filled":
                world.feed("97", one.symbol)
                world.feed("99", one.symbol)  # what is left is not filled: another stop takes its place
            elif then == "resized":
                await world.enter(a_position(one.symbol, quantity=D(1)))
            await trio.sleep(30)
            if then != "restarted":
                world.feed("105", other.symbol)
                await trio.sleep(10)
                assert manager.stops()[other.symbol, "long"].price == D("103.95")
                assert manager.stops()[one.symbol, "long"].price == 98
                assert world.alarms().count("frozen: its stop stays live and is not moved") == 1
        async with open_listened(world) as manager:
            await trio.sleep(30)
            assert {key[0] for key in manager.stops()} == {one.symbol, other.symbol}


async def test_a_rule_that_always_raises_leaves_no_position_bare_that_has_its_stop(
    autojump_clock: trio.testing.MockClock,
) -> None:
    buggy = TrailPlan(initial_stop=Percent(2), rules=(Trips(D(0)),))
    async with open_world(latency=1.0) as world:
        await world.enter(a_position())
        outcome = await world.running.protect(a_position(), deadline=5.0, plan=buggy)
        assert isinstance(outcome, Protected)
        await trio.sleep(5)
        await world.check(a_position())
        assert world.alarms().count("frozen: its stop stays live and is not moved") == 1


# Beginning and end.


async def test_an_exception_of_the_block_comes_out_as_itself(autojump_clock: trio.testing.MockClock) -> None:
    with pytest.raises(KeyError, match="the bot's"):
        async with open_world(latency=1.0) as world:
            await world.protect()
            raise KeyError("the bot's")


async def test_a_plan_that_is_none_is_refused(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(with_manager=False) as world:
        with pytest.raises(UsageError, match="wants a TrailPlan"):
            async with trailing.open_manager(world.exchange, world.store, "no plan"):  # type: ignore[arg-type]
                pass


@pytest.mark.parametrize("what", ["protect", "wait_closed", "release", "close"])
async def test_who_waits_in_another_task_when_the_manager_ends_is_told(
    what: str, autojump_clock: trio.testing.MockClock
) -> None:
    told: list[Exception] = []
    async with open_world(latency=1.0, with_manager=False) as world:
        await world.enter(a_position())

        async def wait(manager: trailing.Manager) -> None:
            try:
                if what == "protect":
                    await manager.protect(a_position(), deadline=60.0)
                elif what == "wait_closed":
                    await manager.wait_closed()
                elif what == "release":
                    await manager.release(*BTC, cancel_stop=True)
                else:
                    await manager.close(*BTC, deadline=1000.0)
            except UsageError as error:
                told.append(error)

        async with trio.open_nursery() as nursery:
            async with open_listened(world) as manager:
                if what != "protect":
                    await manager.protect(a_position(), deadline=5.0)
                nursery.start_soon(wait, manager)
                await trio.sleep(0.75)
            with trio.fail_after(30):
                while nursery.child_tasks:
                    await trio.sleep(0.5)
        assert [str(error) for error in told] == ["the manager has ended meanwhile"]
        with pytest.raises(UsageError, match="the manager has ended"):
            await manager.protect(a_position(), deadline=5.0)
        async with open_listened(world):
            await trio.sleep(60)
            await world.check(a_position())


async def test_the_bots_own_prices_are_used_where_it_passes_them(autojump_clock: trio.testing.MockClock) -> None:
    send, receive = trio.open_memory_channel[Tick](10)
    async with open_world(latency=1.0, with_manager=False) as world:
        await world.enter(a_position())
        async with trailing.open_manager(world.exchange, world.store, PLAN, ticks=receive, utc_start=START) as manager:
            await manager.protect(a_position(), deadline=5.0)
            world.feed("109")
            await trio.sleep(5)
            assert manager.stops()[BTC].price == 98
            await send.send(Tick(SYMBOL, D(105), trio.current_time()))
            await trio.sleep(5)
            assert manager.stops()[BTC].price == D("103.95")
            assert world.calls("set_subscriptions") == 0


@pytest.mark.parametrize("fault", [Hangs(), Fails(ExchangeError("down"))], ids=["hangs", "fails"])
async def test_a_manager_opens_although_the_exchange_can_not_be_read(
    fault: Fault, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_world(latency=1.0, with_manager=False) as world:
        await world.enter(a_position())
        async with open_listened(world) as manager:
            outcome = await manager.protect(a_position(), deadline=5.0)
        world.inject({At("open_stops", None, 1): fault, At("find_stop", None, 1): fault})
        async with open_listened(world) as manager:
            assert set(manager.unprotected()) == {BTC}
            await trio.sleep(30)
            assert isinstance(outcome, Protected)
            assert manager.stops() == {BTC: outcome.stop}
            await world.check(a_position())


LEFT: dict[str, dict[str, Any]] = {
    "waiting": {},
    "unresolved": {"exchange_faults": {At("place_stop", None, 1): Hangs(booked=True), At("find_stop"): Hangs()}},
    "unprotected": {"exchange_faults": {At("place_stop"): Refuses()}},
    "exiting": {"exchange_faults": {At("close_position"): Hangs(booked=True)}},
}


@pytest.mark.parametrize("left", LEFT)
async def test_a_restart_goes_on_with_what_every_state_left(left: str, autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=1.0, with_manager=False, **LEFT[left]) as world:
        await world.enter(a_position())
        async with open_listened(world) as manager:
            await manager.protect(a_position(), deadline=4.0)
            if left == "exiting":
                await manager.close(*BTC, deadline=2.0)
            assert [claim.state for claim in world.inside.claims()] == [left]
        world.exchange = trailing.testing.FaultyExchange(world.paper, {})
        async with open_listened(world) as manager:
            await trio.sleep(60)
            await world.check(a_position())
            if left == "exiting":
                assert (world.inside.claims(), await world.paper.positions(), await world.live()) == (
                    (),
                    (),
                    (),
                )
            else:
                assert manager.stops()[BTC].price == 98
                assert len(await world.live()) == 1
            assert (await world.load()).intents == ()


async def test_a_record_that_can_not_be_restored_keeps_no_other_from_its_protection(
    autojump_clock: trio.testing.MockClock,
) -> None:
    one, other = some_positions(2)
    async with open_world(latency=1.0, with_manager=False) as world:
        await world.enter(one, other)
        async with open_listened(world) as manager:
            await manager.protect_wave([one, other], deadline=5.0)
        record = next(record for record in (await world.load()).stops if record.position == one)
        await world.memory.commit([SaveStop("paper", "default", msgspec.structs.replace(record, state="dreaming"))])
        async with trailing.open_manager(world.exchange, world.store, PLAN) as manager:
            assert set(manager.stops()) == {(other.symbol, "long")}
            await trio.sleep(10)
        alarms = [record.event async for record in world.memory.events() if isinstance(record.event, Alarm)]
        assert [alarm.what for alarm in alarms] == [
            f"the record of {one.symbol} long can't be restored",
            "a stop of ours is live behind a position that is not protected",
        ]


async def test_positions_of_a_plan_of_their_own_keep_it(autojump_clock: trio.testing.MockClock) -> None:
    async with open_world(latency=1.0) as world:
        await world.enter(a_position())
        plan = TrailPlan(initial_stop=Percent(5), rules=(Callback(Percent(3)),))
        await world.running.protect(a_position(), deadline=5.0, plan=plan)
        assert world.running.stops()[BTC].price == 95


async def test_prices_that_can_not_be_subscribed_raise_an_alarm_and_are_asked_for_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    faults: dict[At, Fault] = {
        At("set_subscriptions", None, 1): Unreachable(),
        At("set_subscriptions", None, 2): Unreachable(),
    }
    async with open_world(latency=1.0, exchange_faults=faults) as world:
        await world.protect()
        assert world.alarms() == ["the prices can't be subscribed"]
        world.feed("105")
        await trio.sleep(5)
        assert world.running.stops()[BTC].price == D("103.95")


async def test_fm11_a_bug_in_one_positions_task_freezes_it_and_no_other(autojump_clock: trio.testing.MockClock) -> None:
    one, other = some_positions(2)
    faults: dict[At, Fault] = {At("place_stop", one.symbol, 2): Fails(KeyError("a bug"))}
    async with open_world(latency=1.0, exchange_faults=faults) as world:
        await world.enter(one, other)
        await world.running.protect_wave([one, other], deadline=5.0)
        await trio.sleep(5)
        for price in ("105", "107"):
            world.feed(price, one.symbol)
            world.feed(price, other.symbol)
            await trio.sleep(30)
        assert world.alarms().count("frozen: its stop stays live and is not moved") == 1
        prices = {symbol: stop.price for (symbol, _), stop in world.running.stops().items()}
        assert prices == {one.symbol: D(98), other.symbol: D("105.93")}
        await world.check(one, other)


async def test_what_is_bought_while_the_stop_fills_is_told_and_gets_its_stop(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=1.0) as world:
        await world.protect()
        world.feed("97")
        await world.enter(a_position(quantity=D("0.5")))
        world.feed("99")
        await trio.sleep(30)
        assert "a closed position is open again" in world.alarms()
        assert world.calls("close_position") == 0
        assert world.running.stops()[BTC].quantity == D("0.5")
        await world.check(a_position(quantity=D(2)))


async def test_a_position_opened_at_another_price_while_the_stop_fills_is_untracked_until_it_is_handed_in(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(latency=1.0) as world:
        await world.protect()
        world.feed("97")
        again = a_position(quantity=D("0.5"), entry_price=D(97))
        await world.enter(again)  # below the stop of the one before
        await trio.sleep(30)
        assert "another position has taken the place of one that is protected" in world.alarms()
        assert world.calls("close_position") == 0
        assert set(world.running.unprotected()) == {BTC}
        outcome = await world.running.protect(again, deadline=5.0)
        assert isinstance(outcome, Protected)
        assert outcome.stop.price == D("95.06")
        assert world.running.unprotected() == {}
        await world.check(a_position(quantity=D(2)))


async def test_a_rule_that_looks_at_candles_moves_the_stop(autojump_clock: trio.testing.MockClock) -> None:
    class UnderTheLastLow(Rule, frozen=True):
        candles_needed = 1

        def propose(self, history: History) -> Decimal | None:
            return history.candles[-1].low - 1 if history.candles else None

    plan = TrailPlan(initial_stop=Percent(5), rules=(UnderTheLastLow(),))
    async with open_world(latency=1.0, plan=plan) as world:
        await world.protect()
        for price in ("101", "99", "100"):
            world.feed(price)
            await trio.sleep(20)
        world.feed("100.5")
        await trio.sleep(5)
        assert world.running.stops()[BTC].price == 98
