"""FaultyExchange and FaultyStore strike the call that was asked for, in the way that was asked for, and no other."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from types import FrameType
from typing import Any

import pytest
import trio

from trailing.core.model import Position, StopOrder, Tick
from trailing.errors import (
    ExchangeUnreachable,
    NoSuchStop,
    OutcomeUnknown,
    RateLimited,
    StopRejected,
    StoreError,
    UsageError,
    WouldTrigger,
)
from trailing.exchanges.paper import PaperExchange, open_paper
from trailing.exchanges.port import Exchange, StopRequest
from trailing.stores.memory import MemoryStore
from trailing.stores.port import AddIntent, Intent, Store
from trailing.testing import (
    At,
    Call,
    Fails,
    Fault,
    FaultyExchange,
    FaultyStore,
    Hangs,
    Refuses,
    ReplyLost,
    Slow,
    Throttles,
    Unreachable,
)

BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def request(client_order_id: str, symbol: str = BTC, price: str = "95") -> StopRequest:
    return StopRequest(symbol, "long", Decimal(1), Decimal(price), client_order_id)


async def enter(exchange: PaperExchange) -> None:
    for symbol in (BTC, ETH):
        await exchange.enter(Position(symbol, "long", Decimal(1), Decimal(100), NOON))


async def place_with(
    fault: Fault, *, seconds: float = 60, price: str = "95", latency: float = 1.0
) -> tuple[StopOrder | Exception | None, float, bool]:
    """Place one stop; returns what came of it (None: nothing), how many seconds it took, and whether it is live."""
    came: StopOrder | Exception | None = None
    async with open_paper(latency=latency) as paper:
        await enter(paper)
        exchange = FaultyExchange(paper, {At("place_stop"): fault})
        started_at = trio.current_time()
        with trio.move_on_after(seconds):
            try:
                came = await exchange.place_stop(request("one", price=price))
            except Exception as error:
                came = error
        elapsed = trio.current_time() - started_at
        return came, elapsed, await paper.find_stop(BTC, "one") is not None


async def test_what_is_refused_is_not_booked(autojump_clock: trio.testing.MockClock) -> None:
    error = WouldTrigger("too close")
    assert await place_with(Refuses(error)) == (error, 0, False)
    gone = NoSuchStop("unknown order")
    assert await place_with(Refuses(gone)) == (gone, 0, False)
    came, elapsed, live = await place_with(Refuses())
    assert type(came) is StopRejected
    assert (elapsed, live) == (0, False)


async def test_what_is_unreachable_or_throttled_is_not_sent(autojump_clock: trio.testing.MockClock) -> None:
    came, elapsed, live = await place_with(Unreachable())
    assert type(came) is ExchangeUnreachable
    assert (elapsed, live) == (0, False)
    came, elapsed, live = await place_with(Throttles(2.5))
    assert isinstance(came, RateLimited)
    assert (came.retry_after, elapsed, live) == (2.5, 0, False)


async def test_a_lost_reply_leaves_the_order_booked(autojump_clock: trio.testing.MockClock) -> None:
    came, elapsed, live = await place_with(ReplyLost())
    assert type(came) is OutcomeUnknown
    assert (elapsed, live) == (1, True)


async def test_a_lost_refusal_is_unknown_too(autojump_clock: trio.testing.MockClock) -> None:
    came, elapsed, live = await place_with(ReplyLost(), price="101")
    assert type(came) is OutcomeUnknown
    assert (elapsed, live) == (1, False)


async def test_a_call_that_hangs_ends_by_cancellation_only(autojump_clock: trio.testing.MockClock) -> None:
    assert await place_with(Hangs(), seconds=500) == (None, 500, False)
    assert await place_with(Hangs(booked=True), seconds=500) == (None, 500, True)
    assert await place_with(Hangs(booked=True), seconds=500, price="101") == (None, 500, False)


async def test_cancelling_a_struck_caller_recalls_nothing_that_was_sent(autojump_clock: trio.testing.MockClock) -> None:
    for fault in (ReplyLost(), Hangs(booked=True)):
        assert await place_with(fault, seconds=0.25) == (None, 0.25, True)


async def test_a_slow_call_leaves_late(autojump_clock: trio.testing.MockClock) -> None:
    came, elapsed, live = await place_with(Slow(4))
    assert isinstance(came, StopOrder)
    assert (elapsed, live) == (5, True)
    assert await place_with(Slow(4), seconds=3) == (None, 3, False)


async def test_any_exception_can_be_raised_before_or_after_the_call(autojump_clock: trio.testing.MockClock) -> None:
    bug = ZeroDivisionError("a bug")
    assert await place_with(Fails(bug)) == (bug, 0, False)
    assert await place_with(Fails(bug, booked=True)) == (bug, 1, True)


@pytest.mark.parametrize("fault", [Refuses(), Unreachable(), Throttles(1.0), Fails(ValueError("a bug"))])
async def test_every_fault_is_a_checkpoint(fault: Fault) -> None:
    async with open_paper() as paper:
        exchange = FaultyExchange(paper, {At("open_stops"): fault})
        with trio.CancelScope() as scope:
            scope.cancel()
            await exchange.open_stops()
        assert scope.cancelled_caught


async def outcomes(faults: Any, symbols: tuple[str, ...]) -> list[bool]:
    """Which calls of a row were struck."""
    struck = []
    async with open_paper() as paper:
        await enter(paper)
        exchange = FaultyExchange(paper, faults)
        for symbol in symbols:
            await exchange.price(symbol, "last")  # another operation, which does not count
            try:
                await exchange.find_stop(symbol, "none")
            except ExchangeUnreachable:
                struck.append(True)
            else:
                struck.append(False)
    return struck


@pytest.mark.parametrize(
    ("place", "struck"),
    [
        (At("find_stop", BTC, 2), [False, False, True, False]),
        (At("find_stop", ETH, 1), [False, True, False, False]),
        (At("find_stop", None, 2), [False, True, False, False]),
        (At("find_stop", BTC), [True, False, True, False]),
        (At("find_stop"), [True, True, True, True]),
        (At("open_stops"), [False, False, False, False]),
        (At("find_stop", BTC, 3), [False, False, False, False]),
    ],
)
async def test_a_fault_strikes_its_call_and_no_other(place: At, struck: list[bool]) -> None:
    assert await outcomes({place: Unreachable()}, (BTC, ETH, BTC, ETH)) == struck


async def test_a_callable_may_choose_the_fault() -> None:
    asked: list[tuple[str, str | None, int]] = []

    def choose(operation: str, symbol: str | None, call: int) -> Fault | None:
        asked.append((operation, symbol, call))
        return Unreachable() if operation == "find_stop" and call == 2 else None

    assert await outcomes(choose, (BTC, ETH, BTC)) == [False, False, True]
    finds = [row for row in asked if row[0] == "find_stop"]
    assert finds == [("find_stop", BTC, 1), ("find_stop", ETH, 1), ("find_stop", BTC, 2)]


async def test_the_closest_of_several_places_counts() -> None:
    places = [At("find_stop", BTC, 1), At("find_stop", BTC), At("find_stop", None, 1), At("find_stop")]
    errors = [RuntimeError(str(place)) for place in places]
    async with open_paper() as paper:
        while places:
            exchange = FaultyExchange(paper, {p: Fails(e) for p, e in zip(places, errors, strict=True)})
            with pytest.raises(RuntimeError) as caught:
                await exchange.find_stop(BTC, "none")
            assert caught.value is errors[0]
            del places[0], errors[0]


async def test_calls_are_kept_with_their_time_and_fault(autojump_clock: trio.testing.MockClock) -> None:
    async with open_paper(latency=1.0) as paper:
        exchange = FaultyExchange(paper, {At("find_stop", BTC): Unreachable()})
        started_at = trio.current_time()
        await exchange.open_stops()
        with pytest.raises(ExchangeUnreachable):
            await exchange.find_stop(BTC, "none")
        assert exchange.calls == [
            Call("open_stops", None, started_at, None),
            Call("find_stop", BTC, started_at + 1, Unreachable()),
        ]
        assert repr(exchange).startswith("<FaultyExchange: 2 calls, in front of <PaperExchange")


@pytest.mark.parametrize(
    "make",
    [
        lambda: At("place_stops"),  # type: ignore[arg-type]
        lambda: At("load", call=0),
        lambda: Slow(-1),
        lambda: Throttles(float("nan")),
    ],
)
def test_what_can_never_strike_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(UsageError):
        make()


async def test_without_faults_it_is_the_inner_exchange(autojump_clock: trio.testing.MockClock) -> None:
    async with open_paper(
        can_amend=True, orders_read_lag=0.5, positions_read_lag=0.7, hedged=True, account="main"
    ) as paper:
        exchange = FaultyExchange(paper, {})
        port: Exchange = exchange
        assert (port.name, port.account, port.hedged) == (paper.name, "main", True)
        assert (port.orders_read_lag, port.positions_read_lag) == (0.5, 0.7)
        assert port.request_validity == paper.request_validity
        assert port.market(BTC) == paper.market(BTC)
        assert port.rate_limit_delay("place_stop") == 0
        await exchange.enter(Position(BTC, "long", Decimal(1), Decimal(100), NOON))
        async with port.updates() as updates:
            await port.set_subscriptions({BTC})
            tick = Tick(BTC, Decimal(101), trio.current_time())
            exchange.feed(tick)
            assert await updates.receive() == tick
        order = await port.place_stop(request("one"))
        order = await port.amend_stop(order, price=Decimal(96), quantity=Decimal(1))
        await trio.sleep(0.5)
        assert [*await port.open_stops()] == [order]
        assert await port.find_stop(BTC, "one") == order
        assert (await port.price(BTC, "last")).price == 101
        assert await port.candles(BTC, "last", NOON) == await paper.candles(BTC, "last", NOON)
        await port.cancel_stop(order)
        fill = await port.close_position(BTC, "long", Decimal(1), "two")
        assert fill.quantity == 1
        await trio.sleep(0.7)
        assert [*await port.positions()] == []
        assert [call.operation for call in exchange.calls] == [
            "set_subscriptions",
            "place_stop",
            "amend_stop",
            "open_stops",
            "find_stop",
            "price",
            "candles",
            "cancel_stop",
            "close_position",
            "positions",
        ]


async def test_a_call_costs_the_same_however_many_symbols_were_called_for() -> None:
    async with open_paper() as paper:
        exchange = FaultyExchange(paper, {At("find_stop", call=1_000_000): Unreachable()})

        async def entered_once() -> int:
            counts = [0]

            def count(_: FrameType, event: str, __: object) -> None:
                counts[0] += event == "call"

            sys.setprofile(count)
            try:
                await exchange.find_stop(BTC, "none")
            finally:
                sys.setprofile(None)
            return counts[0]

        async def entered() -> int:
            """How many functions are entered or resumed for one call: trio's scheduling adds some to a few of them."""
            return min([await entered_once() for _ in range(20)])

        alone = await entered()
        for number in range(300):
            await exchange.find_stop(f"COIN{number}/USDT:USDT", "none")
        assert await entered() == alone


INTENT = AddIntent(Intent("paper", "default", BTC, "long", "one", "tr1", "stop", Decimal(1), Decimal(95), NOON))


async def commit_with(fault: Fault, seconds: float = 60) -> tuple[Exception | None, float, int]:
    inner = MemoryStore()
    store = FaultyStore(inner, {At("commit", call=2): fault})
    await store.commit([])
    raised: Exception | None = None
    started_at = trio.current_time()
    with trio.move_on_after(seconds):
        try:
            await store.commit([INTENT])
        except Exception as error:
            raised = error
    elapsed = trio.current_time() - started_at
    return raised, elapsed, len((await store.load("paper", "default")).intents)


async def test_a_store_fails_hangs_and_is_slow_at_the_commit_that_was_asked_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    full, bug = StoreError("disk full"), ZeroDivisionError("a bug")
    assert await commit_with(Fails(full)) == (full, 0, 0)
    assert await commit_with(Fails(full, booked=True)) == (full, 0, 1)
    assert await commit_with(Fails(bug)) == (bug, 0, 0)
    assert await commit_with(Hangs(), seconds=30) == (None, 30, 0)
    assert await commit_with(Hangs(booked=True), seconds=30) == (None, 30, 1)
    assert await commit_with(Slow(3)) == (None, 3, 1)


async def test_a_stores_reads_can_be_struck_too_and_everything_else_is_the_inner_store() -> None:
    inner = MemoryStore()
    store = FaultyStore(inner, {At("load", call=1): Fails(StoreError("no")), At("accounts", call=1): Hangs()})
    port: Store = store
    with pytest.raises(StoreError, match="no"):
        await port.load("paper", "default")
    await port.commit([INTENT])
    with trio.move_on_after(0) as scope:
        await port.accounts()
    assert scope.cancelled_caught
    assert await port.accounts() == [("paper", "default")]
    assert [record async for record in port.events()] == []
    assert store.commits == inner.commits == 1
    assert [call.operation for call in store.calls] == ["load", "commit", "accounts", "accounts"]
    assert repr(store).startswith("<FaultyStore: 4 calls, in front of <MemoryStore")
