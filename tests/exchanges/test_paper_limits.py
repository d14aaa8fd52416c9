"""The rate limit, in exact virtual time."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal as D
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trailing.core.model import Position, StopOrder
from trailing.errors import ExchangeUnreachable, RateLimited, UsageError
from trailing.exchanges.paper import PaperExchange, RateLimit, open_paper
from trailing.exchanges.port import StopRequest

BTC = "BTC/USDT:USDT"


async def empty(exchange: PaperExchange, tokens: int) -> None:
    """Use that many tokens."""
    for _ in range(tokens):
        await exchange.positions()


async def test_a_full_bucket_passes_at_once_and_then_one_by_one(autojump_clock: MockClock) -> None:
    passed: list[float] = []

    async def read(exchange: PaperExchange) -> None:
        await exchange.positions()
        passed.append(trio.current_time())

    async with open_paper(rate_limit=RateLimit(3, 2)) as exchange, trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(read, exchange)
    assert passed == [0.0, 0.0, 0.0, 0.5, 1.0, 1.5]


async def test_the_bucket_refills_while_idle_up_to_its_capacity(autojump_clock: MockClock) -> None:
    async with open_paper(rate_limit=RateLimit(3, 2)) as exchange:
        await empty(exchange, 3)
        await trio.sleep(0.5)
        await exchange.positions()
        assert trio.current_time() == 0.5
        await trio.sleep(100.0)
        await empty(exchange, 4)
        assert trio.current_time() == 101.0


async def test_an_operation_takes_its_weight(autojump_clock: MockClock) -> None:
    limit = RateLimit(10, 1, weights={"positions": 5, "open_stops": 0})
    async with open_paper(rate_limit=limit) as exchange:
        await empty(exchange, 2)
        await exchange.open_stops()
        assert trio.current_time() == 0.0
        await exchange.find_stop(BTC, "a")
        assert trio.current_time() == 1.0
        await exchange.positions()
        assert trio.current_time() == 6.0


async def test_the_validity_counts_from_the_end_of_the_wait_for_the_rate_limit(autojump_clock: MockClock) -> None:
    async with open_paper(latency=2.0, rate_limit=RateLimit(1, 0.125), record=True) as exchange:
        await exchange.positions()
        await exchange.positions()
        assert [line.at for line in exchange.log] == [1.0, 9.0]
        assert trio.current_time() == 10.0


async def test_the_order_is_clean_up_then_stops_then_exits_then_moves_then_reads(autojump_clock: MockClock) -> None:
    limit = RateLimit(4, 1)
    async with open_paper(rate_limit=limit, can_amend=True, record=True) as exchange:
        await exchange.enter(Position(BTC, "long", D(3), D(100), datetime(2026, 1, 1, tzinfo=UTC)))
        order = await exchange.place_stop(StopRequest(BTC, "long", D(1), D(98), "a"))
        doomed = await exchange.place_stop(StopRequest(BTC, "long", D(1), D(98), "b"))
        await empty(exchange, 2)
        before = len(exchange.log)

        async def move() -> None:
            await exchange.amend_stop(order, price=D(99), quantity=D(1))

        async with trio.open_nursery() as nursery:
            for call in (exchange.positions, exchange.open_stops):
                nursery.start_soon(call)
                await wait_all_tasks_blocked()
            nursery.start_soon(move)
            await wait_all_tasks_blocked()
            nursery.start_soon(exchange.close_position, BTC, "long", D(1), "c")
            await wait_all_tasks_blocked()
            nursery.start_soon(exchange.place_stop, StopRequest(BTC, "long", D(1), D(98), "d"))
            await wait_all_tasks_blocked()
            nursery.start_soon(exchange.find_stop, BTC, "z")
            await wait_all_tasks_blocked()
            nursery.start_soon(exchange.cancel_stop, doomed)
        lines = [(line.at, line.operation) for line in exchange.log[before:] if line.operation != "fill"]
        assert lines == [
            (1.0, "find_stop"),
            (2.0, "cancel_stop"),
            (3.0, "place_stop"),
            (4.0, "close_position"),
            (5.0, "amend_stop"),
            (6.0, "positions"),
            (7.0, "open_stops"),
        ]


async def test_a_heavy_request_at_the_head_is_not_starved_by_light_ones_behind_it(autojump_clock: MockClock) -> None:
    passed: list[str] = []
    async with open_paper(rate_limit=RateLimit(5, 1, weights={"positions": 5})) as exchange:

        async def read(name: str) -> None:
            await (exchange.positions() if name == "heavy" else exchange.open_stops())
            passed.append(name)

        await exchange.positions()
        await trio.sleep(2.0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, "heavy")
            await wait_all_tasks_blocked()
            nursery.start_soon(read, "light")
    assert passed == ["heavy", "light"]
    assert trio.current_time() == 6.0


async def test_the_delay_is_exact_with_and_without_waiting_requests(autojump_clock: MockClock) -> None:
    limit = RateLimit(4, 2, weights={"positions": 3, "place_stop": 2})
    async with open_paper(rate_limit=limit, record=True) as exchange:
        assert exchange.rate_limit_delay("positions") == 0.0
        await exchange.positions()
        assert exchange.rate_limit_delay("positions") == 1.0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(exchange.positions)  # it passes at 1.0
            await wait_all_tasks_blocked()
            assert exchange.rate_limit_delay("positions") == 2.5
            assert exchange.rate_limit_delay("find_stop") == 0.0, "a lane before them, and there is a token for it"
            assert exchange.rate_limit_delay("place_stop") == 0.5
            await trio.sleep(0.25)
            turn = exchange.rate_limit_delay("open_stops")
            assert turn == 1.25
            await exchange.open_stops()
            assert trio.current_time() == 0.25 + turn
        assert [line.at for line in exchange.log] == [0.0, 1.0, 1.5]


async def test_a_request_takes_its_tokens_before_another_task_runs(autojump_clock: MockClock) -> None:
    async with open_paper(rate_limit=RateLimit(1, 1), latency=2.0) as exchange:
        turns: list[float] = []

        async def look_then_ask() -> None:
            turns.append(exchange.rate_limit_delay("positions"))
            await exchange.positions()
            turns.append(trio.current_time())

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(look_then_ask)
    assert turns == [0.0, 1.0, 2.0, 2.0, 3.0, 4.0]


async def test_a_limit_that_refuses_states_the_delay_and_nothing_is_sent(autojump_clock: MockClock) -> None:
    async with open_paper(rate_limit=RateLimit(1, 3, mode="refuse"), record=True) as exchange:
        await exchange.positions()
        for _ in range(2):
            with pytest.raises(RateLimited) as caught:
                await exchange.positions()
        assert isinstance(caught.value, ExchangeUnreachable)
        assert caught.value.retry_after == pytest.approx(1 / 3) == exchange.rate_limit_delay("positions")
        assert len(exchange.log) == 1
        await trio.sleep(caught.value.retry_after)
        await exchange.positions()


@pytest.mark.parametrize(("per_second", "begin"), [(3, 0.7), (7, 1.9), (49, 0.0)])
async def test_a_request_after_the_stated_delay_passes_despite_rounding(
    autojump_clock: MockClock, per_second: float, begin: float
) -> None:
    async with open_paper(rate_limit=RateLimit(1, per_second, mode="refuse")) as exchange:
        await trio.sleep(begin)
        await exchange.positions()
        await trio.sleep(exchange.rate_limit_delay("positions"))
        await exchange.positions()


async def test_a_caller_cancelled_in_the_queue_recalls_nothing_and_a_cancel_passes_it_and_waits(
    autojump_clock: MockClock,
) -> None:
    async with open_paper(rate_limit=RateLimit(2, 0.5), record=True) as exchange:
        await exchange.enter(Position(BTC, "long", D(3), D(100), datetime(2026, 1, 1, tzinfo=UTC)))
        await empty(exchange, 2)
        with trio.move_on_after(1.0):
            await exchange.place_stop(StopRequest(BTC, "long", D(1), D(98), "a"))
        await exchange.cancel_stop(StopOrder(BTC, "long", D(1), D(98), "a", "unknown"))
        assert [(line.at, line.operation) for line in exchange.log[-2:]] == [(4.0, "place_stop"), (4.0, "cancel_stop")]


async def test_the_delay_without_a_limit_is_0_and_an_unknown_operation_is_refused() -> None:
    async with open_paper() as exchange:
        assert exchange.rate_limit_delay("place_stop") == 0.0
        with pytest.raises(UsageError, match="operation"):
            exchange.rate_limit_delay("place_order")


@pytest.mark.parametrize(
    "arguments",
    [
        {"capacity": 0, "per_second": 1},
        {"capacity": 1, "per_second": 0},
        {"capacity": float("inf"), "per_second": 1},
        {"capacity": 1, "per_second": True},
        {"capacity": 1, "per_second": 1, "weights": {"place_order": 1}},
        {"capacity": 1, "per_second": 1, "weights": {"place_stop": -1}},
        {"capacity": 1, "per_second": 1, "weights": {"place_stop": 2}},
        {"capacity": 0.5, "per_second": 1},
        {"capacity": 1, "per_second": 1, "weights": 3},
        {"capacity": 1, "per_second": 1, "mode": "drop"},
    ],
)
def test_an_invalid_rate_limit_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="RateLimit"):
        RateLimit(**arguments)
