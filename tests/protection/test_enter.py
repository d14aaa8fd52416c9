"""Entering positions: what each entry comes to, its limits, and how long its position is without a stop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import trio
from msgspec.structs import replace
from worlds import BTC, PLAN, START, SYMBOL, World, a_position, open_listened, open_world, refuse_credentials

import trailing
from trailing import Entry, EntryLimits, Exited, Market, NotEntered, Percent, Protected, Tick, TimedOut, TrailPlan
from trailing.core.model import Side
from trailing.errors import (
    AuthenticationFailed,
    EntryRejected,
    ExchangeUnreachable,
    StopRejected,
    StoreError,
    UsageError,
)
from trailing.events import EntryEnded, EntryFilled, EntryPlaced
from trailing.protection.waves.entry_outcomes import EntryOutcome
from trailing.stores.port import AddIntent, Intent
from trailing.testing import At, Fails, Hangs, Refuses, ReplyLost, Unreachable

D = Decimal

ATTACHED = [None, "own", "bridge"]
ETH = "ETH/USDT:USDT"


def an_entry(symbol: str = SYMBOL, side: Side = "long", quantity: str = "2", **fields: Any) -> Entry:
    fields = {name: D(value) if name != "id" else value for name, value in fields.items()}
    return Entry(symbol, side, D(quantity), **fields)


@asynccontextmanager
async def a_market(attached: Any = None, *, price: str = "100", **options: Any) -> AsyncIterator[World]:
    """A world whose market is at 100. Every request takes 1 s, but for the read of the settings."""

    def latency(operation: str, symbol: str | None) -> float:
        return 0.0 if operation == "entry_settings" else 1.0

    async with open_world(latency=latency, attached_stop=attached, **options) as world:
        for symbol in (SYMBOL, ETH):
            world.feed(price, symbol)
        yield world


async def refused(world: World, entry: Entry, *, is_listed: bool = False) -> NotEntered:
    """Enter what can't be entered. Nothing is sent for it, and nothing is left of it.

    Args:
        is_listed: whether an earlier position of its symbol is listed.
    """
    before = world.calls("place_entry")
    outcome = await world.running.enter(entry, deadline=5.0)
    assert isinstance(outcome, NotEntered), outcome
    assert world.calls("place_entry") == before
    assert is_listed or (world.running.entries(), world.running.unprotected()) == ({}, {})
    return outcome


async def filled_at_once(world: World, entry: Entry, **options: Any) -> Protected:
    outcome = await world.running.enter(entry, deadline=10.0, **options)
    assert isinstance(outcome, Protected), outcome
    return outcome


# What comes of it.


@pytest.mark.parametrize(("attached", "bare"), [(None, 1.5), ("own", 0.0), ("bridge", 0.0)])
async def test_a_filled_entry_is_protected_and_its_position_has_the_exchanges_figures(
    attached: Any, bare: float, autojump_clock: trio.testing.MockClock
) -> None:
    async with a_market(attached) as world:
        outcome = await filled_at_once(world, an_entry(limit="101"))
        position = outcome.position
        assert (position.quantity, position.entry_price) == (D(2), D(100))
        assert position.opened_at == START + timedelta(seconds=0.5)
        price = D(98) if attached is None else D("98.98")  # an attached stop derives from the limit, and never loosens
        assert (outcome.stop.price, outcome.stop.quantity, outcome.unfilled) == (price, D(2), D(0))
        assert outcome.unprotected_time.total == pytest.approx(bare, abs=1e-6)
        assert outcome.entry == an_entry(limit="101")
        await trio.sleep(5.0)
        (stop,) = await world.live()
        assert world.running.stops() == {BTC: stop}
        assert [type(event) for event in world.events[:3]] == [EntryPlaced, EntryFilled, EntryEnded] or attached


async def test_an_entry_at_market_reads_the_price_and_tells_its_slippage(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with a_market() as world:
        trio.lowlevel.spawn_system_task(feed_later, world, 1.2, "100.5")
        outcome = await filled_at_once(world, an_entry())
        assert (outcome.position.entry_price, outcome.slippage) == (D("100.5"), D("0.5000"))
        (ended,) = (event for event in world.events if isinstance(event, EntryEnded))
        assert ended.slippage == D("0.5000")
        world.feed("100", ETH)
        await filled_at_once(world, an_entry(ETH, limit="101"))  # filled at 100, so better than its limit
        slippage = world.running.statistics().slippage
        assert (slippage.count, slippage.mean, slippage.maximum) == (2, D("-0.24505"), D("0.5000"))


async def feed_later(world: World, seconds: float, price: str) -> None:
    await trio.sleep(seconds)
    world.feed(price)


async def test_a_limit_that_is_not_reached_ends_with_nothing_left(autojump_clock: trio.testing.MockClock) -> None:
    async with a_market() as world:
        outcome = await world.running.enter(an_entry(limit="90"), deadline=5.0)
        assert isinstance(outcome, NotEntered)
        assert (outcome.reason, str(outcome.error)) == ("unfilled", "it was not filled before the deadline")
        assert (
            str(outcome)
            == "BTC/USDT:USDT long: not entered, unfilled (it was not filled before the deadline), after 6.0 s"
        )
        assert not await world.paper.open_orders(SYMBOL)
        assert not (await world.load()).stops
        statistics = world.running.statistics()
        assert (statistics.outcomes, statistics.not_entered) == ({"NotEntered": 1}, {"unfilled": 1})


@pytest.mark.parametrize("attached", ATTACHED)
async def test_what_is_filled_until_the_deadline_stays_protected_and_the_rest_is_cancelled(
    attached: Any, autojump_clock: trio.testing.MockClock
) -> None:
    async with a_market(attached, partial_entries=D("0.4")) as world, trio.open_nursery() as nursery:
        nursery.start_soon(feed_later, world, 2.0, "99")
        outcome = await filled_at_once(world, an_entry(limit="99"))
        assert (outcome.position.quantity, outcome.unfilled) == (D("0.8"), D("1.2"))
        await trio.sleep(5.0)
        assert [(stop.quantity, stop.price) for stop in await world.live()] == [(D("0.8"), D("97.02"))]
        assert all(order.trigger_price is not None for order in await world.paper.open_orders(SYMBOL))


@pytest.mark.parametrize("attached", ATTACHED)
async def test_an_entry_is_protected_once_its_stop_covers_all_of_its_fills(
    attached: Any, autojump_clock: trio.testing.MockClock
) -> None:
    async with a_market(attached, partial_entries=D("0.5")) as world, trio.open_nursery() as nursery:
        for at in (2.0, 5.0):
            nursery.start_soon(feed_later, world, at, "99")
        outcome = await filled_at_once(world, an_entry(limit="99"))
        assert (outcome.unfilled, outcome.uncovered, outcome.stop.quantity) == (D(0), D(0), D(2))


async def test_an_entry_whose_stop_can_not_grow_is_protected_with_the_uncovered_part_at_its_deadline(
    autojump_clock: trio.testing.MockClock,
) -> None:
    faults = {At("place_stop", None, number): Refuses() for number in range(2, 40)}
    async with (
        a_market(partial_entries=D("0.5"), exchange_faults=faults) as world,
        trio.open_nursery() as nursery,
    ):
        for at in (2.0, 5.0):
            nursery.start_soon(feed_later, world, at, "99")
        outcome = await filled_at_once(world, an_entry(limit="99"))
        assert (outcome.unfilled, outcome.uncovered, outcome.stop.quantity) == (D(0), D(1), D(1))
        assert outcome.elapsed <= 10.0
        nursery.cancel_scope.cancel()


async def test_a_working_entry_is_listed_until_it_has_ended(autojump_clock: trio.testing.MockClock) -> None:
    async with a_market(partial_entries=D("0.25")) as world, trio.open_nursery() as nursery:
        nursery.start_soon(enter_in_background, world, an_entry(limit="99"))
        await trio.sleep(0.6)
        (entry,) = world.running.entries().values()
        assert (entry.quantity, entry.filled, entry.is_acknowledged, entry.is_ending) == (D(2), D(0), True, False)
        assert world.running.unprotected() == {}
        await trio.sleep(1.0)
        world.feed("99")
        await trio.sleep(0.1)
        (entry,) = world.running.entries().values()
        assert (entry.filled, entry.is_acknowledged) == (D("0.5"), True)
        await trio.sleep(2.0)
        assert world.running.stops().keys() == world.running.entries().keys() == {BTC}
        await trio.sleep(10.0)
        assert world.running.entries() == {}


async def enter_in_background(world: World, entry: Entry) -> None:
    await world.running.enter(entry, deadline=5.0)


@pytest.mark.parametrize("command", ["close", "release"])
async def test_a_command_for_an_entry_that_rests_does_not_wait_for_its_deadline(
    command: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with a_market() as world, trio.open_nursery() as nursery:
        outcomes: list[EntryOutcome] = []

        async def enter() -> None:
            outcomes.append(await world.running.enter(an_entry(limit="90"), deadline=3600.0))

        nursery.start_soon(enter)
        await trio.sleep(5.0)
        before = trio.current_time()
        if command == "close":
            closed = await world.running.close(*BTC, deadline=10.0)
            assert isinstance(closed, trailing.Refused)
        else:
            await world.running.release(*BTC, cancel_stop=False)
        assert trio.current_time() - before < 5.0
        await trio.sleep(1.0)
        (outcome,) = outcomes
        assert isinstance(outcome, NotEntered)
        assert str(outcome.error) == "its rest was cancelled before the deadline"
        assert not await world.paper.open_orders(SYMBOL)


async def test_a_close_while_the_rest_of_an_entry_works_closes_what_is_filled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with a_market(partial_entries=D("0.4")) as world, trio.open_nursery() as nursery:
        outcomes: list[EntryOutcome] = []

        async def enter() -> None:
            outcomes.append(await world.running.enter(an_entry(limit="100"), deadline=3600.0))

        nursery.start_soon(enter)
        await trio.sleep(5.0)
        closed = await world.running.close(*BTC, deadline=20.0)
        assert isinstance(closed, Exited), closed
        await trio.sleep(5.0)
        (outcome,) = outcomes
        assert isinstance(outcome, Exited), outcome
        assert (outcome.unfilled, await world.paper.positions()) == (D("1.2"), ())


async def test_a_price_beyond_the_stop_closes_what_was_entered(autojump_clock: trio.testing.MockClock) -> None:
    async with a_market() as world:
        trio.lowlevel.spawn_system_task(feed_later, world, 0.8, "90")
        outcome = await world.running.enter(an_entry(limit="101"), deadline=20.0)
        assert isinstance(outcome, Exited), outcome
        assert outcome.fill.price == D(90)


async def test_an_entry_whose_stop_is_refused_is_listed_and_tried_by_the_plans_policy(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with a_market(exchange_faults={At("place_stop", None, 1): Refuses()}) as world:
        outcome = await world.running.enter(an_entry(limit="101"), deadline=10.0)
        assert isinstance(outcome, TimedOut)
        assert isinstance(outcome.error, StopRejected)
        assert outcome.position.quantity == D(2)
        assert world.running.unprotected().keys() == {BTC}
        await trio.sleep(10.0)
        assert world.running.stops().keys() == {BTC}


async def test_a_plan_that_closes_closes_what_has_no_stop_at_the_deadline(
    autojump_clock: trio.testing.MockClock,
) -> None:
    refuses = {At("place_stop", None, count): Refuses() for count in range(1, 100)}
    async with a_market(exchange_faults=refuses) as world:
        plan = replace(PLAN, on_unprotected="close")
        outcome = await world.running.enter(an_entry(limit="101"), deadline=3.0, plan=plan)
        assert isinstance(outcome, TimedOut)
        await trio.sleep(20.0)
        assert not await world.paper.positions()


async def test_a_rest_that_is_not_confirmed_gone_is_timed_out_and_listed_never_not_entered(
    autojump_clock: trio.testing.MockClock,
) -> None:
    hangs = {At("cancel_entry", None, count): Hangs() for count in range(1, 4)}
    async with a_market(exchange_faults=hangs) as world:
        outcome = await world.running.enter(an_entry(limit="90"), deadline=5.0)
        assert isinstance(outcome, TimedOut)
        assert (outcome.stop, outcome.unfilled) == (None, D(2))
        assert world.running.unprotected()[BTC].state == "entering"
        assert world.running.entries()[BTC].is_ending
        assert "a clean-up did not end in time" in world.alarms()
        await trio.sleep(200.0)
        assert (world.running.unprotected(), world.running.entries()) == ({}, {})
        assert not await world.paper.open_orders(SYMBOL)


async def test_a_lost_reply_is_looked_up_and_the_entry_is_not_sent_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with a_market(exchange_faults={At("place_entry", None, 1): ReplyLost()}) as world:
        world.silence_updates()
        outcome = await filled_at_once(world, an_entry(limit="101"))
        assert outcome.position.quantity == D(2)
        assert world.calls("place_entry") == 1


async def test_an_entry_that_surely_was_not_executed_is_sent_again_within_its_deadline(
    autojump_clock: trio.testing.MockClock,
) -> None:
    fails = {At("place_entry", None, 1): Fails(ExchangeUnreachable("down"))}
    async with a_market(exchange_faults=fails) as world:
        await filled_at_once(world, an_entry(limit="101"))
        assert world.calls("place_entry") == 2


async def test_an_exchange_that_can_not_be_reached_is_told_once_no_try_is_left(
    autojump_clock: trio.testing.MockClock,
) -> None:
    fails = {At("place_entry", None, count): Fails(ExchangeUnreachable("down")) for count in range(1, 50)}
    async with a_market(exchange_faults=fails) as world:
        outcome = await world.running.enter(an_entry(limit="101"), deadline=5.0)
        assert isinstance(outcome, NotEntered)
        assert (outcome.reason, str(outcome.error)) == ("unreachable", "down")
        sent = world.calls("place_entry")
        await trio.sleep(60.0)
        assert world.calls("place_entry") == sent  # nothing is sent after the deadline


async def test_a_price_that_can_not_be_read_in_time_sends_nothing(autojump_clock: trio.testing.MockClock) -> None:
    async with a_market(exchange_faults={At("price", None, 1): Hangs()}) as world:
        outcome = await refused(world, an_entry())
        assert (outcome.reason, str(outcome.error)) == ("unreachable", "its price was not read before the deadline")


async def test_the_exchanges_own_refusal_is_the_outcome(autojump_clock: trio.testing.MockClock) -> None:
    error = EntryRejected("Margin is insufficient.")
    async with a_market(exchange_faults={At("place_entry", None, 1): Refuses(error)}) as world:
        outcome = await world.running.enter(an_entry(limit="101"), deadline=5.0)
        assert isinstance(outcome, NotEntered)
        assert (outcome.reason, outcome.error, outcome.elapsed) == ("rejected", error, 0.0)


async def test_without_a_stored_intent_nothing_is_sent_whatever_the_plan_says(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with a_market(store_faults={At("commit", None, 1): Fails(StoreError("the disk is full"))}) as world:
        assert world.plan.on_store_failure == "protect"
        outcome = await refused(world, an_entry(limit="101"))
        assert outcome.reason == "store"
        assert "the disk is full" in str(outcome.error)


async def test_a_wave_gives_an_outcome_for_each_entry_in_their_order(autojump_clock: trio.testing.MockClock) -> None:
    entries = [an_entry(ETH, "short", limit="110"), an_entry(limit="101")]
    async with a_market() as world:
        report = await world.running.enter_wave(entries, deadline=5.0)
        assert [type(outcome) for outcome in report.outcomes] == [NotEntered, Protected]
        assert [outcome.entry for outcome in report.outcomes] == entries
        assert (report.protected, report.not_entered) == (report.outcomes[1:], report.outcomes[:1])
        assert report.unprotected == ()
        assert report.unprotected_time.total == report.opening_times.maximum == pytest.approx(1.5, abs=1e-6)


# What is not entered.


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        (an_entry(quantity="0.0001"), "Entry.quantity of BTC/USDT:USDT got 0.0001, wants at least 0.001"),
        (
            an_entry(limit="111"),
            "Entry.limit of BTC/USDT:USDT got 111, which is on the wrong side of the price 100; wants at most 110",
        ),
        (
            an_entry(limit="99", stop_price="100"),
            "Entry.stop_price of BTC/USDT:USDT got 100, wants it below the limit, 99",
        ),
    ],
)
async def test_an_impossible_entry_is_refused_with_one_sentence(
    entry: Entry, sentence: str, autojump_clock: trio.testing.MockClock
) -> None:
    markets = [Market(SYMBOL, price_tick=D("0.01"), quantity_step=D("0.001"))]
    async with a_market(markets=markets) as world:
        world.inside.take(Tick(SYMBOL, D(100), trio.current_time()))
        outcome = await refused(world, entry)
        assert outcome.reason == "invalid"
        assert sentence in str(outcome.error)


async def test_a_symbol_with_a_claim_is_not_entered(autojump_clock: trio.testing.MockClock) -> None:
    async with a_market() as world:
        await filled_at_once(world, an_entry(limit="101"))
        for entry, words in (
            (an_entry(), "BTC/USDT:USDT is protected already, and nothing is added to a position"),
            (an_entry(side="short"), "BTC/USDT:USDT got a short entry while its long position is open"),
        ):
            outcome = await refused(world, entry)
            assert (outcome.reason, str(outcome.error)) == ("claimed", words)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: world.running.close(*BTC, deadline=10.0))
            await trio.sleep(1.5)
            outcome = await refused(world, an_entry(limit="101"), is_listed=True)
            assert str(outcome.error) == "BTC/USDT:USDT: its earlier position is still ending"


async def test_a_symbol_that_is_being_entered_is_not_entered_twice(autojump_clock: trio.testing.MockClock) -> None:
    async with a_market() as world:
        report = await world.running.enter_wave([an_entry(limit="101"), an_entry(limit="101")], deadline=5.0)
        (first,), (second,) = report.protected, report.not_entered
        assert (second.reason, str(second.error)) == ("claimed", "BTC/USDT:USDT is being entered already")
        assert isinstance(first, Protected)
        assert first.position.quantity == D(2)


async def test_a_position_without_a_task_is_not_added_to(autojump_clock: trio.testing.MockClock) -> None:
    async with a_market() as world:
        await world.enter(a_position(side="short"))
        await world.inside.read_account()
        outcome = await refused(world, an_entry(limit="101"))
        words = "BTC/USDT:USDT: a short position is open that is not protected; adopt or close it first"
        assert (outcome.reason, str(outcome.error)) == ("claimed", words)
        world.paper.reduce(SYMBOL, "short", D("1.5"))
        await filled_at_once(world, an_entry(limit="101"))


async def test_paused_entries_send_nothing_until_they_are_resumed(autojump_clock: trio.testing.MockClock) -> None:
    async with a_market() as world:
        world.running.pause_entries()
        outcome = await refused(world, an_entry(limit="101"))
        assert (outcome.reason, str(outcome.error)) == ("paused", "BTC/USDT:USDT: entries are paused")
        world.running.resume_entries()
        await filled_at_once(world, an_entry(limit="101"))


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        (EntryLimits(max_positions=1), "ETH/USDT:USDT: 1 positions are open, and EntryLimits.max_positions is 1"),
        (
            EntryLimits(max_notional_per_wave=D(300)),
            "ETH/USDT:USDT: the wave would be worth 404, and EntryLimits.max_notional_per_wave is 300",
        ),
    ],
)
async def test_an_entry_beyond_a_limit_is_not_entered(
    limits: EntryLimits, sentence: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with a_market(entry_limits=limits) as world:
        entries = [an_entry(limit="101"), an_entry(ETH, limit="101")]
        report = await world.running.enter_wave(entries, deadline=5.0)
        (refused_one,) = report.not_entered
        assert len(report.protected) == 1
        assert (refused_one.reason, world.calls("place_entry")) == ("limit", 1)
        words = str(refused_one.error)
        assert words.partition(":")[2] == sentence.partition(":")[2]  # either of the two may come first


async def test_an_entry_at_market_that_would_slip_too_far_is_not_filled_and_leaves_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with a_market(entry_limits=EntryLimits(max_slippage=Percent(1))) as world:
        trio.lowlevel.spawn_system_task(feed_later, world, 1.2, "102")
        outcome = await world.running.enter(an_entry(), deadline=10.0)
        assert isinstance(outcome, NotEntered)
        assert outcome.reason == "limit"
        assert outcome.elapsed < 5.0  # it does not rest until the deadline
        assert not await world.paper.open_orders(SYMBOL)


async def test_an_entry_at_market_within_the_slippage_is_filled(autojump_clock: trio.testing.MockClock) -> None:
    async with a_market(entry_limits=EntryLimits(max_slippage=Percent(1))) as world:
        outcome = await filled_at_once(world, an_entry(side="short"))
        assert outcome.position.entry_price == D(100) or outcome.position.entry_price == D(99)


async def test_the_position_mode_is_read_once_before_the_first_entry(autojump_clock: trio.testing.MockClock) -> None:
    async with a_market() as world:
        await world.running.enter_wave([an_entry(limit="101"), an_entry(ETH, limit="101")], deadline=10.0)
        await world.running.enter(an_entry("COIN0/USDT:USDT", limit="101"), deadline=1.5)
        assert world.calls("entry_settings") == 1


async def test_a_read_of_the_settings_that_fails_is_made_again_by_the_next_entry(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with a_market(exchange_faults={At("entry_settings", None, 1): Fails(ExchangeUnreachable("down"))}) as world:
        report = await world.running.enter_wave([an_entry(limit="101"), an_entry(ETH, limit="101")], deadline=10.0)
        assert [outcome.reason for outcome in report.not_entered] == ["unreachable"]
        assert len(report.protected) == 1


async def test_an_account_whose_position_mode_was_changed_enters_nothing(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_market() as world:

        async def other_mode(symbol: str) -> trailing.EntrySettings:
            return trailing.EntrySettings(symbol, hedged=True)

        monkeypatch.setattr(world.exchange, "entry_settings", other_mode)
        outcome = await refused(world, an_entry(limit="101"))
        assert (outcome.reason, str(outcome.error)) == (
            "invalid",
            "the account is in hedge mode now, and was in one-way mode when the exchange was opened; open it again",
        )


@pytest.mark.parametrize(
    ("limits", "settings", "sentence"),
    [
        (
            {"margin_mode": "isolated"},
            {"margin_mode": "cross"},
            "BTC/USDT:USDT: its margin mode is cross, and EntryLimits.margin_mode is isolated",
        ),
        (
            {"margin_mode": "isolated"},
            {},
            "BTC/USDT:USDT: its margin mode is unclear, and EntryLimits.margin_mode is isolated",
        ),
        (
            {"max_leverage": D(5)},
            {"long_leverage": D(20)},
            "BTC/USDT:USDT: its leverage is 20, and EntryLimits.max_leverage is 5",
        ),
        ({"max_leverage": D(5)}, {}, "BTC/USDT:USDT: its leverage is unknown, and EntryLimits.max_leverage is 5"),
        ({"max_leverage": D(5), "margin_mode": "cross"}, {"long_leverage": D(5), "margin_mode": "cross"}, ""),
    ],
)
async def test_margin_mode_and_leverage_beyond_the_limits_enter_nothing(
    limits: dict[str, Any],
    settings: dict[str, Any],
    sentence: str,
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_market(entry_limits=EntryLimits(**limits)) as world:

        async def these(symbol: str) -> trailing.EntrySettings:
            return trailing.EntrySettings(symbol, hedged=False, **settings)

        monkeypatch.setattr(world.exchange, "entry_settings", these)
        if not sentence:
            await filled_at_once(world, an_entry(limit="101"))
            return
        outcome = await refused(world, an_entry(limit="101"))
        assert (outcome.reason, str(outcome.error)) == ("limit", sentence)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"max_leverage": D(0)}, "max_leverage"),
        ({"margin_mode": "wide"}, "margin_mode"),
        ({"max_positions": 0}, "max_positions"),
        ({"max_positions": True}, "max_positions"),
        ({"max_notional_per_wave": D(-1)}, "max_notional_per_wave"),
        ({"max_slippage": Percent(100)}, "max_slippage"),
        ({"max_slippage": D(1)}, "max_slippage"),
    ],
)
def test_an_impossible_limit_is_refused(fields: dict[str, Any], name: str) -> None:
    with pytest.raises(UsageError, match=name):
        EntryLimits(**fields)


async def test_what_is_no_entry_is_refused_before_anything_is_sent(autojump_clock: trio.testing.MockClock) -> None:
    async with a_market() as world:
        with pytest.raises(UsageError, match="entries"):
            await world.running.enter_wave([a_position()], deadline=5.0)  # type: ignore[list-item]
        with pytest.raises(UsageError, match="deadline"):
            await world.running.enter(an_entry(), deadline=0.0)


async def test_a_bug_in_one_entry_is_raised_once_the_others_have_their_outcomes(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_market() as world:
        place = world.exchange.place_entry

        async def fails(request: Any) -> Any:
            if request.symbol == ETH:
                raise ZeroDivisionError
            return await place(request)

        monkeypatch.setattr(world.exchange, "place_entry", fails)
        with pytest.raises(ExceptionGroup, match="bugs"):
            await world.running.enter_wave([an_entry(limit="101"), an_entry(ETH, limit="101")], deadline=5.0)
        await trio.sleep(30.0)
        assert world.running.stops().keys() == {BTC}
        assert world.running.entries() == {}


async def test_a_bug_before_an_entry_is_claimed_is_its_outcome(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_market() as world:

        def fails(symbol: str) -> Market:
            raise ZeroDivisionError

        monkeypatch.setattr(world.exchange, "market", fails)
        with pytest.raises(ExceptionGroup, match="bugs"):
            await world.running.enter(an_entry(limit="101"), deadline=5.0)
        assert (world.running.entries(), world.running.unprotected(), world.calls("place_entry")) == ({}, {}, 0)


async def test_entries_without_a_fill_are_remembered_but_not_all_of_them(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with a_market() as world:
        for number in range(1001):
            world.inside.supervision.feed.note_not_entered(f"e{number}")
        for name in ("e0", "e1"):
            order = trailing.EntryOrder(SYMBOL, "long", D(2), name, "1", False, D(1), D(90))
            world.inside.take(trailing.EntryUpdate(order, trio.current_time()))
        assert world.alarms() == ["an entry was filled that the exchange had ended"]


async def test_credentials_that_are_refused_end_the_manager_and_send_no_entry_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    refuse = refuse_credentials("place_entry", AuthenticationFailed("key expired"))
    async with a_market(with_manager=False, exchange_faults=refuse) as world:
        with pytest.raises(AuthenticationFailed):
            async with open_listened(world) as manager:
                await manager.enter(an_entry(limit="101"), deadline=5.0)
                await trio.sleep_forever()
        assert world.calls("place_entry") == 1


async def test_an_entry_without_a_record_raises_an_alarm_and_its_intent_is_kept(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with a_market(with_manager=False) as world:
        intent = Intent("paper", "default", SYMBOL, "long", "i", "tr1", "entry", D(1), None, START)
        await world.memory.commit([AddIntent(intent)])
        async with open_listened(world):
            await trio.sleep(200.0)
        assert await world.stored_alarms() == [
            "an intent without a record",
            "an entry may be open that no record knows",
        ]
        assert [one.client_order_id for one in (await world.load()).intents] == ["tr1"]


async def test_an_entry_that_fills_after_its_end_was_confirmed_raises_an_alarm(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with a_market() as world:
        outcome = await world.running.enter(an_entry(limit="90"), deadline=2.0)
        assert isinstance(outcome, NotEntered)
        (placed,) = (event for event in world.events if isinstance(event, EntryPlaced))
        order = trailing.EntryOrder(SYMBOL, "long", D(2), placed.client_order_id, "1", False, D(1), D(90))
        for _ in range(2):
            world.inside.take(trailing.EntryUpdate(order, trio.current_time()))
        assert world.alarms() == ["an entry was filled that the exchange had ended"]


async def test_an_update_of_another_entry_of_the_symbol_changes_nothing(autojump_clock: trio.testing.MockClock) -> None:
    async with a_market() as world:
        await filled_at_once(world, an_entry(limit="101"))
        order = trailing.EntryOrder(SYMBOL, "long", D(9), "other", "1", False, D(9), D(90))
        world.inside.take(trailing.EntryUpdate(order, trio.current_time()))
        assert world.claim().quantity == D(2)


async def test_a_cancelled_entry_is_closed_within_the_clean_up_if_the_plan_says_so(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with a_market(partial_entries=D("0.4"), plan=replace(PLAN, on_entry_cancelled="close")) as world:
        with trio.move_on_after(3.0):
            world.feed("99")
            await world.running.enter(an_entry(limit="99"), deadline=60.0)
        assert not await world.paper.positions()
        assert not await world.paper.open_orders(SYMBOL)


# Restarts.


@pytest.mark.parametrize("attached", ATTACHED)
async def test_a_manager_that_ends_while_an_entry_rests_cancels_it(
    attached: Any, autojump_clock: trio.testing.MockClock
) -> None:
    async with a_market(attached, with_manager=False) as world:
        async with open_listened(world), trio.open_nursery() as nursery:
            nursery.start_soon(enter_until_the_end, world, an_entry(limit="90"))
            await trio.sleep(2.0)
        assert not await world.paper.open_orders(SYMBOL)


async def enter_until_the_end(world: World, entry: Entry) -> None:
    with trio.move_on_after(2.0):
        await world.running.enter(entry, deadline=100.0)


async def test_a_position_that_was_entered_is_resumed_like_any_other(autojump_clock: trio.testing.MockClock) -> None:
    async with a_market(with_manager=False) as world:
        async with open_listened(world):
            await filled_at_once(world, an_entry(limit="101", id="signal 7"))
            world.feed("103")
            await trio.sleep(5.0)
        async with open_listened(world) as manager:
            assert manager.stops()[BTC].price == D("101.97")
            await manager.close(*BTC, deadline=10.0)
            await manager.wait_closed()
            await filled_at_once(world, an_entry(limit="104", id="signal 7"))  # the same id can be entered again
        assert (await world.record()).position.id == "signal 7"


def test_every_outcome_names_its_symbol_and_side() -> None:
    outcome: EntryOutcome = NotEntered(entry=an_entry(), elapsed=0.0, reason="bug", error=ValueError("?"))
    assert (outcome.symbol, outcome.side, outcome.unprotected_time.total) == (SYMBOL, "long", 0.0)


async def test_the_clock_of_the_exchange_does_not_use_up_the_time_in_which_a_stop_is_tried_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world(with_manager=False) as world:
        world.started -= 600  # the clock of the exchange is ten minutes behind ours
        async with open_listened(world) as manager:
            world.feed("100")
            until = trio.current_time() + 8
            world.inject(
                lambda operation, *_: (
                    Unreachable() if operation == "place_stop" and trio.current_time() < until else None
                )
            )
            outcome = await manager.enter(Entry(SYMBOL, "long", D("1.5")), deadline=5.0)
            await trio.sleep(60)  # `retry_for` is 300 s
            assert world.paper.actual(SYMBOL)[0], f"given up after {outcome.elapsed:.0f} s: {outcome}"


@pytest.mark.parametrize("limit", ["90", "100"])
async def test_an_entry_that_was_never_executed_does_not_close_a_position_that_a_person_opened(
    limit: str, autojump_clock: trio.testing.MockClock
) -> None:
    plan = TrailPlan(initial_stop=Percent(2), on_entry_cancelled="close")
    async with open_world(plan=plan, latency=lambda operation, _: 1.0 if operation == "positions" else 0.1) as world:
        world.feed("100")
        await trio.sleep(5)
        world.inject({At("place_entry", None, 1): Hangs(booked=False)})
        with trio.move_on_after(3.0):  # the caller is cancelled while the outcome is unknown
            async with trio.open_nursery() as nursery:
                entry = Entry(SYMBOL, "long", D(2), limit=D(limit))
                nursery.start_soon(lambda: world.running.enter(entry, deadline=60.0))
                await trio.sleep(1.0)
                await world.enter(a_position())
        await trio.sleep(100)
        assert world.paper.actual(SYMBOL)[1] == {"long": D("1.5")}


async def test_an_entry_of_unknown_outcome_ends_although_the_positions_can_not_be_read(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_world() as world:
        await world.protect(a_position("OTHER/USDT:USDT"))
        world.feed("100")
        lost = Hangs(booked=False)
        world.inject(
            lambda called, *_: lost if called == "place_entry" else Unreachable() if called == "positions" else None
        )
        await world.running.enter(Entry(SYMBOL, "long", D("1.5"), limit=D(100)), deadline=30.0)
        await trio.sleep(600)
        assert world.running.entries() == {}
        assert world.calls("find_entry") < 20


async def test_an_entry_that_is_refused_as_claimed_does_not_use_up_the_limit_of_its_wave(
    autojump_clock: trio.testing.MockClock,
) -> None:
    limits = EntryLimits(max_notional_per_wave=D(250))
    other = "ETH/USDT:USDT"
    async with open_world(
        latency=lambda operation, _: 0.5 if operation == "price" else 0.0, entry_limits=limits
    ) as world:
        world.feed("100")
        world.feed("100", other)
        await world.protect()
        await trio.sleep(70)
        entries = [Entry(SYMBOL, "long", D(2), limit=D(100)), Entry(other, "long", D(2))]
        report = await world.running.enter_wave(entries, deadline=10)
        assert [type(outcome) for outcome in report.outcomes] == [NotEntered, Protected]
