"""Entries with their stops on the local servers, through the real ccxt client: protected by the server's own book."""

from __future__ import annotations

import statistics
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal as D
from typing import Any

import msgspec
import pytest
import trio
from bybit_market import PositionStop
from entered_waves import FREE, PLAN, BookTimes, EntryDesk, coins, entry_desk, set_prices
from inspection.own_time import OwnTime
from real_exchange import with_delays
from venue_faults import Fault, json_reply, nth
from venue_market import Trigger, VenueMarket, Wanted

from trailing import Entry, NotEntered, Protected, Tick, open_manager, open_store
from trailing.events import Alarm, EntryEnded, EntryFilled, Event
from trailing.exchanges.ccxt import entry_settings, venues
from trailing.protection.manager import Manager
from trailing.protection.waves.entry_outcomes import EntryOutcome

VENUES = ("binanceusdm", "bybit", "okx")
ATTACHING = ("bybit", "okx")
LATENCY = 0.2
COIN = coins(1)[0].symbol
LISTS = {"positions", "open_stops"}


@pytest.fixture
def own_time() -> OwnTime:
    """Run a test on this clock, so that a busy machine changes no figure."""
    return OwnTime()


def own_id(wanted: Wanted, working: Sequence[str]) -> str:
    """Return the client order id of a stop. While its entry works, a bridge has that of the entry; later it has none."""
    is_bridge = isinstance(wanted, PositionStop) and wanted.symbol in working
    return wanted.parent if is_bridge else wanted.client_order_id  # type: ignore[attr-defined]


class Entering(EntryDesk, frozen=True):
    """A desk with its manager, and the events so far."""

    manager: Manager
    events: list[Event]

    async def enter_one(self, deadline: float = 5.0, **fields: Any) -> EntryOutcome:
        """Enter a long of 0.6 at market."""
        fields = {"symbol": COIN, "side": "long", "quantity": D("0.6"), **fields}
        return await self.manager.enter(Entry(**fields), deadline=deadline)

    def held(self) -> dict[str, D]:
        """Return the open quantities on the server by symbol."""
        return {
            symbol: abs(each.quantity) for (symbol, _), each in self.server.market.holdings.items() if each.quantity
        }

    def working(self) -> list[str]:
        """Return the symbols of the entry orders that are open on the server."""
        market = self.server.market
        return [
            symbol
            for symbol in market.instruments
            if any(not market.reduces(order.wanted) for order in market.resting(symbol))
        ]

    def move_all(self, price: D) -> None:
        """Move all prices of the first symbol."""
        set_prices(self.server, [COIN], price)

    async def until_working(self) -> None:
        """Wait until an entry rests on the server."""
        with trio.fail_after(5):
            while not self.working():
                await trio.sleep(0.02)

    async def until_settled(self) -> None:
        """Wait until each position on the server has exactly one stop, which is the manager's and covers all of it."""
        known: object = None
        wanted: object = None
        with trio.move_on_after(5):
            while True:
                live = self.server.market.live_stops()
                working = self.working()
                known = sorted(
                    (each.wanted.symbol, own_id(each.wanted, working), each.wanted.quantity) for each in live
                )
                stops = {symbol: stop for (symbol, _), stop in self.manager.stops().items()}
                held = self.held()
                wanted = sorted((symbol, stops[symbol].client_order_id, held[symbol]) for symbol in held.keys() & stops)
                if known == wanted and stops.keys() == held.keys():
                    return
                await trio.sleep(0.02)
        raise AssertionError(f"{known} on the server, {wanted} expected; {self.manager.unprotected()}")

    def asked_after_entry(self) -> list[str]:
        """Return the operations that the server received after the last entry order, without those that list the account."""
        operations = [seen.operation for seen in self.server.requests]
        last = max(number for number, operation in enumerate(operations) if operation == "place_entry")
        return [each for each in operations[last + 1 :] if each not in LISTS]

    def told(self, kind: type[Event]) -> list[Any]:
        """Return the events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]


@asynccontextmanager
async def entering(venue: str, number: int = 1, *, plan: Any = PLAN, **settings: Any) -> AsyncIterator[Entering]:
    """Open a manager on a server with that many markets, at 1000. No alarm may be raised."""
    events: list[Event] = []

    async def collect(received: Any) -> None:
        async for event in received:
            events.append(event)  # noqa: PERF401 - the events are read meanwhile

    settings = {"latency": LATENCY, **FREE[venue], **settings}
    async with (
        entry_desk(venue, coins(number), **settings) as desk,
        open_store("memory:") as store,
        open_manager(desk.exchange, store, plan) as manager,
        manager.subscribe() as received,
        trio.open_nursery() as tasks,
    ):
        tasks.start_soon(collect, received)
        yield Entering(desk.exchange, desk.server, desk.times, manager, events)
        tasks.cancel_scope.cancel()
    assert [event for event in events if isinstance(event, Alarm)] == []


def protected(outcomes: Sequence[EntryOutcome]) -> list[Protected]:
    """Return the outcomes, all of which must be `Protected`."""
    assert [outcome for outcome in outcomes if not isinstance(outcome, Protected)] == []
    return [outcome for outcome in outcomes if isinstance(outcome, Protected)]


# How it is measured.


async def test_the_book_counts_the_time_of_a_position_without_a_stop(autojump_clock: trio.testing.MockClock) -> None:
    market = VenueMarket(coins(2), lambda: 0)
    times = BookTimes(market)
    market.enter(COIN, "buy", D(1), D(1000))
    await trio.sleep(0.3)
    stop = Wanted(
        symbol=COIN,
        side="sell",
        quantity=D(1),
        client_order_id="x",
        reduce_only=True,
        trigger=Trigger(D(980), "last", rising=False),
    )
    order = market.place(stop)
    await trio.sleep(5)
    market.cancel(order)
    await trio.sleep(0.4)
    market.place(stop)
    assert {symbol: round(seconds, 6) for symbol, seconds in times.seconds.items()} == {COIN: 0.7}


async def test_frames_of_the_stream_take_half_of_the_latency(own_time: OwnTime) -> None:
    async with entry_desk("binanceusdm", coins(1), latency=2.0) as desk, desk.exchange.updates() as updates:
        await desk.exchange.set_subscriptions({COIN})
        with trio.fail_after(10):
            await desk.until_subscribed(COIN)
            at = trio.current_time()
            set_prices(desk.server, [COIN], D(1001))
            async for update in updates:
                if isinstance(update, Tick) and update.price == D(1001):
                    break
        assert 1.0 <= trio.current_time() - at < 2.0


# How long the server's book has a position without a stop.


@pytest.mark.parametrize("limit", [None, D(1001)])
@pytest.mark.parametrize("venue", VENUES)
async def test_an_entry_is_unprotected_for_one_round_trip_at_most_and_with_its_stop_attached_never(
    venue: str, limit: D | None, own_time: OwnTime
) -> None:
    async with entering(venue, 3) as desk:
        outcomes = [
            await desk.manager.enter(Entry(coin.symbol, "long", D("0.6"), limit=limit), deadline=5.0)
            for coin in coins(3)
        ]
        # An attached stop is as far behind the limit as the plan's first stop; it is never loosened after a better fill.
        price = D(981) if venue in ATTACHING and limit is not None else D(980)
        for outcome in protected(outcomes):
            assert (outcome.unfilled, outcome.position.entry_price, outcome.stop.price) == (D(0), D(1000), price)
        seconds = [desk.times.seconds[coin.symbol] for coin in coins(3)]
        if venue in ATTACHING:
            assert seconds == [0.0] * 3
        else:
            assert LATENCY <= statistics.median(seconds) < 2 * LATENCY
        await desk.until_settled()


@pytest.mark.parametrize("hedged", [False, True])
@pytest.mark.parametrize("venue", VENUES)
async def test_a_wave_of_longs_and_shorts_ends_with_one_stop_of_ours_for_each(
    venue: str, own_time: OwnTime, *, hedged: bool
) -> None:
    async with entering(venue, 4, hedged=hedged) as desk:
        entries = [
            Entry(coin.symbol, "short" if number % 2 else "long", D("0.6"), limit=D(1000) if number > 1 else None)
            for number, coin in enumerate(coins(4))
        ]
        report = await desk.manager.enter_wave(entries, deadline=8.0)
        outcomes = protected(report.outcomes)
        assert [outcome.position.side for outcome in outcomes] == ["long", "short"] * 2
        await desk.until_settled()
        if venue in ATTACHING:
            assert list(desk.times.seconds.values()) == [0.0] * 4
        assert len(desk.server.seen("clear_bridge")) == (4 if venue == "bybit" else 0)


@pytest.mark.parametrize(("side", "last", "price"), [("long", "1010", "989.8"), ("short", "990", "1009.8")])
@pytest.mark.parametrize("venue", VENUES)
async def test_a_stop_is_tightened_after_a_worse_fill_than_the_price_from_which_it_was_attached(
    venue: str, side: Any, last: str, price: str
) -> None:
    async with entering(venue, latency=0.0) as desk:
        await desk.server.move_price(COIN, D(last), "last")  # the stops follow the mark price
        protected([await desk.enter_one(side=side)])
        with trio.fail_after(5):
            while {stop.price for stop in desk.manager.stops().values()} != {D(price)}:
                await trio.sleep(0.02)
        await desk.until_settled()
        (live,) = desk.server.market.live_stops()
        assert live.wanted.trigger is not None
        assert live.wanted.trigger.price == D(price)
        if venue in ATTACHING:
            assert desk.times.seconds == {COIN: 0.0}


# Limits, parts and the deadline.


@pytest.mark.parametrize("venue", VENUES)
async def test_a_limit_entry_keeps_the_stop_of_its_part_and_its_rest_is_cancelled_at_the_deadline(
    venue: str, own_time: OwnTime
) -> None:
    async with entering(venue, entry_parts=3) as desk, trio.open_nursery() as tasks:
        outcomes: list[EntryOutcome] = []

        async def enter() -> None:
            outcomes.append(await desk.enter_one(3.0, limit=D(990)))

        tasks.start_soon(enter)
        await desk.until_working()
        desk.move_all(D(989))
        await trio.sleep(1.0)
        assert (desk.held(), desk.working(), outcomes) == ({COIN: D("0.2")}, [COIN], [])
        await desk.until_settled()  # its stop is live while the rest works
        with trio.fail_after(8):
            while not outcomes:
                await trio.sleep(0.02)
        (outcome,) = protected(outcomes)
        assert (outcome.position.quantity, outcome.unfilled, desk.working()) == (D("0.2"), D("0.4"), [])
        await desk.until_settled()
        if venue == "bybit":
            assert desk.times.seconds == {COIN: 0.0}
        else:  # one round trip, because nothing else is asked before
            assert desk.asked_after_entry()[0] == "place_stop"
        (ended,) = desk.told(EntryEnded)
        assert (ended.filled, ended.unfilled) == (D("0.2"), D("0.4"))


@pytest.mark.parametrize("venue", VENUES)
async def test_the_stop_grows_with_each_part_until_the_whole_entry_is_filled(venue: str, own_time: OwnTime) -> None:
    async with entering(venue, entry_parts=3) as desk, trio.open_nursery() as tasks:
        outcomes: list[EntryOutcome] = []

        async def enter() -> None:
            outcomes.append(await desk.enter_one(8.0, limit=D(990)))

        tasks.start_soon(enter)
        await desk.until_working()
        for price, quantity in (("989", "0.2"), ("988", "0.4"), ("987", "0.6")):
            desk.move_all(D(price))
            assert desk.held() == {COIN: D(quantity)}
            await trio.sleep(0.8)
            await desk.until_settled()
        with trio.fail_after(5):
            while not outcomes:
                await trio.sleep(0.02)
        (outcome,) = protected(outcomes)
        assert (outcome.position.quantity, outcome.unfilled) == (D("0.6"), D(0))
        assert round(outcome.position.entry_price, 3) == D("988")
        assert [event.quantity for event in desk.told(EntryFilled)] == [D("0.2")] * 3


@pytest.mark.parametrize("venue", VENUES)
async def test_a_limit_that_is_never_reached_leaves_nothing(venue: str) -> None:
    async with entering(venue) as desk:
        outcome = await desk.enter_one(1.0, limit=D(990))
        assert isinstance(outcome, NotEntered)
        assert (outcome.reason, desk.held(), desk.working()) == ("unfilled", {}, [])
        assert (desk.manager.unprotected(), desk.manager.entries(), desk.server.market.live_stops()) == ({}, {}, ())


@pytest.mark.parametrize("venue", VENUES)
async def test_the_part_that_a_thin_book_filled_at_market_is_protected(venue: str) -> None:
    async with entering(venue, depth=D("0.25")) as desk:
        (outcome,) = protected([await desk.enter_one()])
        assert (outcome.position.quantity, outcome.unfilled) == (D("0.25"), D("0.35"))
        await desk.until_settled()


# What goes wrong.


@pytest.mark.parametrize("venue", VENUES)
async def test_an_entry_whose_reply_is_lost_is_looked_up_and_not_sent_again(venue: str) -> None:
    async with entering(venue, latency=0.0) as desk:
        desk.server.faults.add(Fault(on="place_entry", drop="after"))
        protected([await desk.enter_one()])
        assert (len(desk.server.seen("place_entry")), desk.held()) == (1, {COIN: D("0.6")})
        await desk.until_settled()


@pytest.mark.parametrize("venue", VENUES)
async def test_an_entry_that_never_arrived_is_not_sent_again_and_leaves_nothing(
    venue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = with_delays(venue, orders_read_lag=0.1, positions_read_lag=0.1, request_validity=0.3)
    monkeypatch.setattr("trailing.exchanges.ccxt.opening.VENUES", {**venues.VENUES, venue: quick})
    async with entering(venue, latency=0.0) as desk:
        desk.server.faults.add(Fault(on="place_entry", drop="before"))
        outcome = await desk.enter_one()
        assert isinstance(outcome, NotEntered), outcome
        assert (outcome.reason, len(desk.server.seen("place_entry"))) == ("unfilled", 1)
        assert (desk.held(), desk.manager.unprotected(), desk.manager.entries()) == ({}, {}, {})


@pytest.mark.parametrize("venue", VENUES)
async def test_an_entry_that_the_account_can_not_afford_is_rejected_in_the_venues_words(venue: str) -> None:
    words = {
        "binanceusdm": "-2019 Margin is insufficient.",
        "bybit": "110007 ab not enough for new order",
        "okx": "51008 Order failed. Insufficient USDT margin in account",
    }
    async with entering(venue, margin=D(100), latency=0.0) as desk:
        outcome = await desk.enter_one()
        assert isinstance(outcome, NotEntered)
        assert outcome.reason == "rejected"
        assert str(outcome.error) == f"{venue} place_entry {COIN}: {words[venue]}"
        assert (desk.held(), desk.manager.unprotected(), desk.manager.entries()) == ({}, {}, {})
        protected([await desk.enter_one(quantity=D("0.05"))])


async def test_an_unverified_venue_enters_nothing_and_names_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    venue = "binanceusdm"
    without = msgspec.structs.replace(venues.VENUES[venue], entries=None)
    monkeypatch.setattr("trailing.exchanges.ccxt.opening.VENUES", {**venues.VENUES, venue: without})
    monkeypatch.setattr(entry_settings, "_READERS", {})
    async with entering(venue, latency=0.0) as desk:
        outcome = await desk.enter_one()
        assert isinstance(outcome, NotEntered)
        assert outcome.reason == "invalid"
        assert f"{venue} is not supported for entries yet" in str(outcome)
        assert desk.server.seen("place_entry") == []
        assert (desk.manager.unprotected(), desk.manager.entries()) == ({}, {})


@pytest.mark.slow  # waits for the next try
async def test_a_bridge_that_is_not_cleared_at_first_stays_beside_our_own_stop_until_it_is() -> None:
    async with entering("bybit", latency=0.0) as desk:
        busy = json_reply({"retCode": 10016, "retMsg": "Internal server error."})
        desk.server.faults.add(Fault(on="clear_bridge", when=nth(1), reply=busy))
        protected([await desk.enter_one()])
        with trio.fail_after(30):
            while len(desk.server.seen("clear_bridge")) < 2:
                assert len(desk.server.market.live_stops()) >= 1
                await trio.sleep(0.02)
        await desk.until_settled()
        assert desk.times.seconds == {COIN: 0.0}
