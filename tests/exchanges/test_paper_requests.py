"""Latency of requests and replies, lost replies, expiry, and requests in flight, in exact virtual time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal as D

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trailing.core.model import Position, Side, StopOrder, Tick
from trailing.errors import ExchangeUnreachable, NothingToReduce, OutcomeUnknown, StopRejected, UsageError, WouldTrigger
from trailing.exchanges.paper import PaperExchange, RateLimit, open_paper
from trailing.exchanges.port import Exchange, StopRequest

BTC = "BTC/USDT:USDT"
ETH = "ETH/USDT:USDT"


def position(symbol: str = BTC, side: Side = "long") -> Position:
    return Position(symbol, side, D(2), D(100), datetime(2026, 1, 1, tzinfo=UTC))


def stop(name: str, symbol: str = BTC, price: str = "98") -> StopRequest:
    return StopRequest(symbol, "long", D(2), D(price), name)


def bookings(exchange: PaperExchange) -> list[tuple[float, str]]:
    return [(booking.at, booking.operation) for booking in exchange.log]


async def test_the_paper_exchange_is_an_exchange() -> None:
    async with open_paper(
        account="mine", hedged=True, orders_read_lag=0.5, positions_read_lag=0.7, request_validity=2.0
    ) as paper:
        exchange: Exchange = paper
        assert (exchange.name, exchange.account, exchange.hedged) == ("paper", "mine", True)
        assert (exchange.orders_read_lag, exchange.positions_read_lag, exchange.request_validity) == (0.5, 0.7, 2.0)


async def test_a_request_is_executed_after_half_of_its_latency_and_answered_after_all_of_it(
    autojump_clock: MockClock,
) -> None:
    async with open_paper(latency=2.0, record=True) as exchange:
        await exchange.enter(position())
        assert trio.current_time() == 0.0
        await exchange.place_stop(stop("a"))
        assert trio.current_time() == 2.0
        assert bookings(exchange) == [(0.0, "enter"), (1.0, "place_stop")]


async def test_every_method_of_the_port_names_itself_and_its_symbol_to_the_latency(autojump_clock: MockClock) -> None:
    asked: list[tuple[str, str | None]] = []

    def latency(operation: str, symbol: str | None) -> float:
        asked.append((operation, symbol))
        return 1.0

    async with open_paper(latency=latency, can_amend=True) as exchange:
        await exchange.enter(position())
        exchange.feed(Tick(BTC, D(101), 0.0))
        order = await exchange.place_stop(stop("a"))
        await exchange.amend_stop(order, price=D(99), quantity=D(1))
        await exchange.find_stop(BTC, "a")
        await exchange.open_stops()
        await exchange.positions()
        await exchange.price(BTC, "mark")
        await exchange.candles(BTC, "last", datetime(2026, 1, 1, tzinfo=UTC))
        await exchange.set_subscriptions({BTC})
        await exchange.cancel_stop(order)
        await exchange.close_position(BTC, "long", D(1), "b")
    assert asked == [
        ("place_stop", BTC),
        ("amend_stop", BTC),
        ("find_stop", BTC),
        ("open_stops", None),
        ("positions", None),
        ("price", BTC),
        ("candles", BTC),
        ("set_subscriptions", None),
        ("cancel_stop", BTC),
        ("close_position", BTC),
    ]


async def test_a_wave_of_requests_takes_as_long_as_one(autojump_clock: MockClock) -> None:
    async with open_paper(latency=2.0) as exchange, trio.open_nursery() as nursery:
        for number in range(5):
            symbol = f"COIN{number}/USDT:USDT"
            await exchange.enter(position(symbol))
            nursery.start_soon(exchange.place_stop, stop(f"a{number}", symbol))
    assert trio.current_time() == 2.0


async def test_cancelling_the_caller_before_execution_recalls_nothing(autojump_clock: MockClock) -> None:
    async with open_paper(latency=2.0, record=True) as exchange:
        await exchange.enter(position())
        with trio.move_on_after(0.5) as scope:
            await exchange.place_stop(stop("a"))
        assert scope.cancelled_caught
        assert trio.current_time() == 0.5
        found = await exchange.find_stop(BTC, "a")
        assert found is not None
        assert bookings(exchange)[1:] == [(1.0, "place_stop"), (1.5, "find_stop")]


async def test_cancelling_the_caller_after_execution_loses_the_reply_and_not_the_order(
    autojump_clock: MockClock,
) -> None:
    async with open_paper(latency=2.0) as exchange:
        await exchange.enter(position())
        with trio.move_on_after(1.5) as scope:
            await exchange.place_stop(stop("a"))
        assert scope.cancelled_caught
        assert [order.client_order_id for order in await exchange.open_stops()] == ["a"]


async def test_a_caller_that_is_cancelled_already_sends_nothing() -> None:
    async with open_paper(record=True) as exchange:
        await exchange.enter(position())
        with trio.CancelScope() as scope:
            scope.cancel()
            await exchange.place_stop(stop("a"))
        assert scope.cancelled_caught
        assert await exchange.open_stops() == ()
        with trio.CancelScope() as scope:
            scope.cancel()
            await exchange.enter(position())
        assert [operation for _, operation in bookings(exchange)] == ["enter", "open_stops"]


async def test_the_reply_can_be_lost_without_latency_too() -> None:
    with trio.CancelScope() as scope:

        def latency(operation: str, _: str | None) -> float:
            if operation == "place_stop":
                scope.cancel()  # the request is in flight now
            return 0.0

        async with open_paper(latency=latency) as exchange:
            await exchange.enter(position())
            try:
                await exchange.place_stop(stop("a"))
            finally:
                with trio.move_on_after(1.0, shield=True):
                    found = await exchange.find_stop(BTC, "a")
    assert scope.cancelled_caught
    assert found is not None


async def test_every_request_is_a_checkpoint() -> None:
    async with open_paper(can_amend=True) as exchange:
        await exchange.enter(position())
        order = await exchange.place_stop(stop("a"))
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: exchange.enter(position(ETH)),
            lambda: exchange.place_stop(stop("b")),
            lambda: exchange.amend_stop(order, price=D(97), quantity=D(2)),
            lambda: exchange.find_stop(BTC, "a"),
            exchange.open_stops,
            exchange.positions,
            lambda: exchange.price(BTC, "last"),
            lambda: exchange.candles(BTC, "last", datetime(2026, 1, 1, tzinfo=UTC)),
            lambda: exchange.set_subscriptions(set()),
            lambda: exchange.cancel_stop(order),
            lambda: exchange.close_position(BTC, "long", D(1), "c"),
        ]
        for call in calls:
            with trio.testing.assert_checkpoints():
                await call()


async def test_a_request_that_arrives_too_late_is_rejected_and_not_executed(autojump_clock: MockClock) -> None:
    async with open_paper(latency=lambda operation, _: 6.1 if operation == "place_stop" else 0.0) as exchange:
        await exchange.enter(position())
        with pytest.raises(ExchangeUnreachable, match=r"expired on the way and was not executed") as caught:
            await exchange.place_stop(stop("a"))
        assert not isinstance(caught.value, OutcomeUnknown)
        assert trio.current_time() == pytest.approx(6.1)
        assert await exchange.open_stops() == ()


@pytest.mark.parametrize("validity", [3.0, 0.3, 0.7])
async def test_a_request_that_arrives_just_in_time_is_executed(autojump_clock: MockClock, validity: float) -> None:
    async with open_paper(latency=2 * validity, request_validity=validity) as exchange:
        await trio.sleep(0.1)
        await exchange.enter(position())
        await exchange.place_stop(stop("a"))


async def test_a_look_up_waits_for_the_request_in_flight_for_its_id(autojump_clock: MockClock) -> None:
    seconds = {"place_stop": 4.0, "find_stop": 0.2}
    async with open_paper(latency=lambda operation, _: seconds[operation], record=True) as exchange:
        await exchange.enter(position())
        with trio.move_on_after(0.1):
            await exchange.place_stop(stop("a"))
        found = await exchange.find_stop(BTC, "a")
        assert found is not None
        assert trio.current_time() == pytest.approx(2.1)
        assert await exchange.find_stop(BTC, "b") is None, "another id does not wait"
        assert trio.current_time() == pytest.approx(2.3)


async def test_a_cancel_waits_for_the_place_request_in_flight_so_no_stop_is_left(autojump_clock: MockClock) -> None:
    seconds = {"place_stop": 4.0}
    async with open_paper(latency=lambda operation, _: seconds.get(operation, 0.0), record=True) as exchange:
        await exchange.enter(position())
        with trio.move_on_after(0.5):
            await exchange.place_stop(stop("a"))
        await exchange.cancel_stop(StopOrder(BTC, "long", D(2), D(98), "a", "unknown"))
        assert trio.current_time() == 2.0
        assert await exchange.open_stops() == ()
        assert bookings(exchange)[1:] == [(2.0, "place_stop"), (2.0, "cancel_stop"), (2.0, "open_stops")]


async def test_a_cancel_that_waits_for_the_place_request_is_not_recalled_either(autojump_clock: MockClock) -> None:
    seconds = {"place_stop": 4.0}
    async with open_paper(latency=lambda operation, _: seconds.get(operation, 0.0)) as exchange:
        await exchange.enter(position())
        with trio.move_on_after(0.5):
            await exchange.place_stop(stop("a"))
        with trio.move_on_after(0.5) as scope:
            await exchange.cancel_stop(StopOrder(BTC, "long", D(2), D(98), "a", "unknown"))
        assert scope.cancelled_caught
        await trio.sleep(5.0)
        assert await exchange.open_stops() == ()
        with pytest.raises(StopRejected, match="duplicate"):
            await exchange.place_stop(stop("a"))


async def test_a_look_up_after_an_expired_place_request_finds_nothing_and_does_not_hang(
    autojump_clock: MockClock,
) -> None:
    seconds = {"place_stop": 8.0}
    async with open_paper(latency=lambda operation, _: seconds.get(operation, 0.0)) as exchange:
        await exchange.enter(position())
        with trio.move_on_after(0.5):
            await exchange.place_stop(stop("a"))
        assert await exchange.find_stop(BTC, "a") is None
        assert trio.current_time() == 4.0


async def test_two_cancels_of_one_stop_do_not_wait_for_each_other_for_ever(autojump_clock: MockClock) -> None:
    outcomes: list[str] = []
    async with open_paper(latency=1.0) as exchange:
        await exchange.enter(position())
        order = await exchange.place_stop(stop("a"))

        async def cancel() -> None:
            try:
                await exchange.cancel_stop(order)
                outcomes.append("cancelled")
            except StopRejected:
                outcomes.append("gone")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel)
            nursery.start_soon(cancel)
    assert sorted(outcomes) == ["cancelled", "gone"]


async def test_n_requests_with_one_id_place_one_order(autojump_clock: MockClock) -> None:
    refused: list[StopRejected] = []
    async with open_paper(latency=2.0) as exchange:
        await exchange.enter(position())

        async def place() -> None:
            try:
                await exchange.place_stop(stop("a"))
            except StopRejected as error:
                refused.append(error)

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(place)
        assert len(refused) == 4
        assert len(await exchange.open_stops()) == 1


async def test_the_price_may_pass_the_stop_before_the_request_arrives(autojump_clock: MockClock) -> None:
    async with open_paper(latency=2.0) as exchange, trio.open_nursery() as nursery:
        await exchange.enter(position())

        async def refused() -> None:
            with pytest.raises(WouldTrigger):
                await exchange.place_stop(stop("a"))

        nursery.start_soon(refused)
        await trio.sleep(0.5)
        exchange.feed(Tick(BTC, D(97), 0.5))


async def test_an_invalid_request_is_refused_before_anything_is_sent() -> None:
    async with open_paper(record=True) as exchange:
        await exchange.enter(position())
        order = await exchange.place_stop(stop("a"))
        await exchange.close_position(BTC, "long", D("0.5"), "c")
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: exchange.place_stop(stop("b", symbol="BTCUSDT")),
            lambda: exchange.place_stop(StopRequest(BTC, "up", D(1), D(98), "b")),  # type: ignore[arg-type]
            lambda: exchange.place_stop(StopRequest(BTC, "long", D(0), D(98), "b")),
            lambda: exchange.place_stop(StopRequest(BTC, "long", D(1), 98.0, "b")),  # type: ignore[arg-type]
            lambda: exchange.place_stop(StopRequest(BTC, "long", D(1), D(98), "")),
            lambda: exchange.place_stop(StopRequest(BTC, "long", D(1), D(98), "b", "mid")),  # type: ignore[arg-type]
            lambda: exchange.amend_stop(order, price=D(97), quantity=D(1)),
            lambda: exchange.amend_stop(order, price=D(0), quantity=D(1)),
            lambda: exchange.amend_stop(order, price=D(97), quantity=D(0)),
            lambda: exchange.find_stop("BTC/USDT", "a"),
            lambda: exchange.price(BTC, "mid"),  # type: ignore[arg-type]
            lambda: exchange.price("BTC/USDT", "last"),
            lambda: exchange.close_position(BTC, "long", D(-1), "b"),
            lambda: exchange.close_position(BTC, "long", D(1), ""),
            lambda: exchange.candles(BTC, "last", datetime(2026, 1, 1)),  # naive on purpose
            lambda: exchange.set_subscriptions({"BTCUSDT"}),
        ]
        sent = len(exchange.log)
        for call in calls:
            with pytest.raises(UsageError):
                await call()
        assert len(exchange.log) == sent


async def test_an_invalid_latency_is_refused_before_anything_is_sent() -> None:
    async with open_paper(latency=lambda operation, symbol: -1.0, record=True) as exchange:
        with pytest.raises(UsageError, match="latency"):
            await exchange.positions()
        assert exchange.log == []


async def test_a_shielded_clean_up_gets_its_reply_when_all_is_cancelled_from_outside(
    autojump_clock: MockClock,
) -> None:
    found: list[StopOrder | None] = []
    with trio.move_on_after(0.5):
        async with open_paper(latency=2.0) as exchange:
            await exchange.enter(position())
            try:
                await exchange.place_stop(stop("a"))
            finally:
                with trio.move_on_after(5.0, shield=True):
                    found.append(await exchange.find_stop(BTC, "a"))
    assert [order and order.client_order_id for order in found] == ["a"]
    assert trio.current_time() == 2.5


async def test_a_caller_outside_the_block_learns_that_the_exchange_was_closed(autojump_clock: MockClock) -> None:
    outcomes: list[str] = []

    async def place(exchange: PaperExchange) -> None:
        with pytest.raises(OutcomeUnknown, match="closed"):
            await exchange.place_stop(stop("a"))
        outcomes.append("unknown")

    async with trio.open_nursery() as nursery, open_paper(latency=2.0) as exchange:
        await exchange.enter(position())
        nursery.start_soon(place, exchange)
        await wait_all_tasks_blocked()
    assert outcomes == ["unknown"]
    with pytest.raises(ExchangeUnreachable, match="closed"):
        await exchange.positions()


async def test_an_error_of_the_block_is_raised_unchanged() -> None:
    with pytest.raises(NothingToReduce):
        async with open_paper() as exchange:
            await exchange.place_stop(stop("a"))


async def test_the_jitter_depends_on_the_seed_alone(autojump_clock: MockClock) -> None:
    async def durations(seed: int, *, beside: bool) -> list[float]:
        async with open_paper(latency=1.0, jitter=0.5, seed=seed) as exchange:
            took = []
            for _ in range(3):
                begin = trio.current_time()
                async with trio.open_nursery() as nursery:
                    if beside:
                        nursery.start_soon(exchange.positions)
                    await exchange.find_stop(BTC, "a")
                    took.append(round(trio.current_time() - begin, 6))
            return took

    first = await durations(1, beside=False)
    assert first == await durations(1, beside=True)
    assert first != await durations(2, beside=False)
    assert all(1.0 <= seconds <= 1.5 for seconds in first)
    assert len(set(first)) == 3


async def test_the_log_contains_executed_and_rejected_requests_and_every_fill() -> None:
    async with open_paper(record=True) as exchange:
        await exchange.enter(position())
        order = await exchange.place_stop(stop("a"))
        with pytest.raises(WouldTrigger) as caught:
            await exchange.place_stop(stop("b", price="101"))
        hand = exchange.place_by_hand(stop("hand", price="90"))
        exchange.cancel_by_hand("hand")
        exchange.feed(Tick(BTC, D(97), 0.0))
        assert [(line.operation, line.client_order_id, line.result) for line in exchange.log[:-1]] == [
            ("enter", None, position()),
            ("place_stop", "a", order),
            ("place_stop", "b", caught.value),
            ("place_by_hand", "hand", hand),
            ("cancel_by_hand", "hand", None),
        ]
        last = exchange.log[-1]
        assert (last.operation, last.symbol, last.client_order_id) == ("fill", BTC, "a")
    async with open_paper() as exchange:
        await exchange.positions()
        assert exchange.log == []


async def test_the_repr_shows_positions_stops_requests_and_the_stream(autojump_clock: MockClock) -> None:
    async with open_paper(latency=2.0, rate_limit=RateLimit(10, 1)) as exchange, trio.open_nursery() as nursery:
        await exchange.enter(position())
        await exchange.place_stop(stop("a"))
        nursery.start_soon(exchange.positions)
        await trio.sleep(0.5)
        assert repr(exchange) == (
            "<PaperExchange 'default': one-way mode, 1 positions, 1 stops, 1 requests in flight, stream up>"
        )
        exchange.disconnect()
        assert "stream down" in repr(exchange)
