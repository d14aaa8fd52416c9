"""Failure mode 60: repeated requests of one symbol do not block the requests of other symbols."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal as D
from itertools import pairwise

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from trailing.core.model import Position, StopOrder
from trailing.errors import StopRejected
from trailing.exchanges.ccxt.limits import Limits, Window
from trailing.exchanges.ccxt.venue_limiter import VenueLimiter, open_limiter
from trailing.exchanges.fairness import AT_ONCE, PER_ROUND
from trailing.exchanges.paper import PaperExchange, RateLimit, open_paper
from trailing.exchanges.port import StopRequest

OTHERS = tuple(f"COIN{number:02}/USDT:USDT" for number in range(49))
SICK = "SICK/USDT:USDT"
OPENED = datetime(2026, 1, 1, tzinfo=UTC)

# 20 at once and 10 a second; every operation takes one token.
LIMITS = Limits({"requests": Window(120, 10, burst=20)}, costs={}, other={"requests": 1.0})


class Passing:
    """Records which requests passed, and when."""

    def __init__(self, limiter: VenueLimiter, nursery: trio.Nursery) -> None:
        self.log: list[tuple[float, str, str]] = []
        self._limiter = limiter
        self._nursery = nursery

    async def ask(self, *requests: tuple[str, str]) -> None:
        """Start tasks that acquire in this order."""
        for operation, symbol in requests:
            self._nursery.start_soon(self._pass, operation, symbol)
            await wait_all_tasks_blocked()

    async def repeat(self, operation: str, symbol: str) -> None:
        """Request again as soon as a request has passed, for ever."""
        while True:
            await self._pass(operation, symbol)

    async def _pass(self, operation: str, symbol: str) -> None:
        await self._limiter.acquire(operation, symbol)
        self.log.append((trio.current_time(), operation, symbol))

    def passed(self, *symbols: str) -> list[tuple[str, str]]:
        return [(operation, symbol) for _, operation, symbol in self.log if not symbols or symbol in symbols]


def emptied(limiter: VenueLimiter) -> None:
    limiter.limit_tokens("requests", 0.0)


async def test_requests_of_one_lane_alternate_between_symbols(autojump_clock: MockClock) -> None:
    async with open_limiter(LIMITS) as limiter, trio.open_nursery() as nursery:
        emptied(limiter)
        passing = Passing(limiter, nursery)
        asked = [("place_stop", "A")] * 3 + [("close_position", "A"), ("place_stop", "B"), ("place_stop", "C")]
        await passing.ask(*asked, ("place_stop", "B"))
    assert [symbol for _, _, symbol in passing.log] == ["A", "B", "C", "A", "B", "A", "A"]
    assert passing.passed("A") == [("place_stop", "A")] * 3 + [("close_position", "A")]


async def test_lanes_keep_their_priority_for_the_first_request_of_each_symbol(autojump_clock: MockClock) -> None:
    async with open_limiter(LIMITS) as limiter, trio.open_nursery() as nursery:
        emptied(limiter)
        passing = Passing(limiter, nursery)
        await passing.ask(
            ("price", "A"), ("amend_stop", "B"), ("place_stop", "C"), ("find_stop", "D"), ("cancel_stop", "E")
        )
        await passing.ask(("cancel_stop", "A"))
    operations = [operation for operation, _ in passing.passed()]
    assert operations == ["find_stop", "cancel_stop", "cancel_stop", "place_stop", "amend_stop", "price"]


@pytest.mark.parametrize(
    "operation", ["cancel_stop", "find_stop", "place_stop", "close_position", "amend_stop", "price"]
)
@pytest.mark.parametrize("waiting", ["close_position", "amend_stop", "price"])
async def test_fm60_a_request_waits_for_at_most_one_round_of_repeated_requests(
    waiting: str, operation: str, autojump_clock: MockClock
) -> None:
    async with open_limiter(LIMITS) as limiter, trio.open_nursery() as nursery:
        emptied(limiter)
        passing = Passing(limiter, nursery)
        for _ in range(30):  # thirty tasks repeat it as fast as the limiter allows
            nursery.start_soon(passing.repeat, operation, SICK)
        await trio.sleep(5.0)
        asked_at = trio.current_time()
        await passing.ask((waiting, "A"))
        while ("A") not in {symbol for _, symbol in passing.passed()}:
            await trio.sleep(0.1)
        nursery.cancel_scope.cancel()
    before = [at for at, _, symbol in passing.log if symbol == SICK and at > asked_at]
    assert len(before) <= PER_ROUND
    assert passing.log[-1][0] - asked_at <= (PER_ROUND + 1) / 10


async def test_a_request_without_a_symbol_ranks_as_the_first_of_a_symbol(
    autojump_clock: MockClock,
) -> None:
    async with open_limiter(LIMITS) as limiter, trio.open_nursery() as nursery:
        emptied(limiter)
        await Passing(limiter, nursery).ask(*[("place_stop", "A")] * 3, ("place_stop", "B"))
        turns = [limiter.rate_limit_delay("place_stop", symbol) for symbol in ("C", None, "B", "A")]
        assert turns == pytest.approx([0.3, 0.3, 0.4, 0.5])


async def test_a_lower_lane_passes_within_one_round_of_every_other_symbol(autojump_clock: MockClock) -> None:
    async with open_limiter(LIMITS) as limiter, trio.open_nursery() as nursery:
        emptied(limiter)
        passing = Passing(limiter, nursery)
        for symbol in OTHERS[:10]:
            for operation in ("cancel_stop", "place_stop", "amend_stop"):
                nursery.start_soon(passing.repeat, operation, symbol)
        await trio.sleep(3.0)
        asked_at = trio.current_time()
        with trio.fail_after(10 * 3 * PER_ROUND / 10 + 0.1):  # symbols, lanes, requests; ten a second
            await limiter.acquire("price", SICK)
        assert trio.current_time() > asked_at
        nursery.cancel_scope.cancel()


async def test_fm60_one_symbol_leaves_most_of_a_full_bucket_to_others(autojump_clock: MockClock) -> None:
    async with open_limiter(LIMITS) as limiter, trio.open_nursery() as nursery:
        passing = Passing(limiter, nursery)
        nursery.start_soon(passing.repeat, "cancel_stop", SICK)
        await wait_all_tasks_blocked()
        assert len(passing.log) == AT_ONCE
        await trio.sleep(0.05)
        assert [limiter.rate_limit_delay("amend_stop", symbol) for symbol in ("A", SICK)] == [0.0, 0.0]
        assert limiter.rate_limit_delay("cancel_stop", SICK) > 0.3
        await trio.sleep(60)
        at = [at for at, _, _ in passing.log[-20:]]
        assert [after - before for before, after in pairwise(at)] == pytest.approx([0.4] * 19)
        nursery.cancel_scope.cancel()


async def test_a_symbol_that_the_venue_counts_by_itself_has_a_bucket_of_its_own(autojump_clock: MockClock) -> None:
    limits = Limits(
        {"orders": Window(120, 10, burst=100), "reads": Window(12, 10, burst=10)},
        costs={"price": {"reads": 1.0}},
        other={"orders": 1.0},
        by_symbol={"place_stop": Window(4, 1, burst=2)},
    )
    async with open_limiter(limits) as limiter, trio.open_nursery() as nursery:
        passing = Passing(limiter, nursery)
        await passing.ask(*[("place_stop", "A")] * 4, *[("place_stop", "B")] * 3, *[("cancel_stop", "A")] * 8)
        assert limiter.rate_limit_delay("place_stop", "A") == 1.5
        assert limiter.rate_limit_delay("place_stop", "C") == 0.0
    assert [at for at, operation, _ in passing.log if operation == "cancel_stop"] == [0.0] * 8
    placed = [(at, symbol) for at, operation, symbol in passing.log if operation == "place_stop"]
    assert sorted(placed) == [*[(0.0, "A")] * 2, *[(0.0, "B")] * 2, (0.5, "A"), (0.5, "B"), (1.0, "A")]


async def test_requests_that_are_held_back_can_be_withdrawn(autojump_clock: MockClock) -> None:
    async with open_limiter(LIMITS) as limiter:
        for _ in range(AT_ONCE):
            await limiter.acquire("cancel_stop", SICK)
        for _ in range(5):
            with trio.move_on_after(0.01) as scope:
                await limiter.acquire("cancel_stop", SICK)
            assert scope.cancelled_caught
        assert limiter.rate_limit_delay("cancel_stop", SICK) == pytest.approx(0.35)
        await limiter.acquire("cancel_stop", SICK)
        assert trio.current_time() == pytest.approx(0.4)


async def test_a_used_share_is_remembered_and_expired_shares_are_dropped(
    autojump_clock: MockClock,
) -> None:
    fast = Limits({"requests": Window(10_100, 1, burst=100)}, costs={}, other={"requests": 1.0})
    async with open_limiter(fast) as limiter, trio.open_nursery() as nursery:
        passing = Passing(limiter, nursery)
        nursery.start_soon(passing.repeat, "cancel_stop", SICK)
        for number in range(3_000):
            await limiter.acquire("cancel_stop", f"COIN{number}/USDT:USDT")
            await trio.sleep(0.001)
        assert len(passing.log) == pytest.approx(25 + 3 * 2_500, abs=2)  # a quarter of a bucket's capacity and refill
        nursery.cancel_scope.cancel()


_operations = st.sampled_from(["cancel_stop", "find_stop", "place_stop", "amend_stop", "price", "positions"])
_requests = st.tuples(_operations, st.sampled_from(["A", "B", "C", None]))


@settings(max_examples=150, deadline=None)
@given(
    tokens=st.lists(st.sampled_from([0.5, 1.0, 2.0]), min_size=6, max_size=6),
    asked=st.lists(_requests, max_size=30),
    last=_requests,
    left=st.sampled_from([-6.0, 0.0, 3.0]),
)
def test_the_delay_of_a_symbol_within_its_share_is_exact(
    tokens: list[float], asked: list[tuple[str, str | None]], last: tuple[str, str | None], left: float
) -> None:
    names = ("cancel_stop", "find_stop", "place_stop", "amend_stop", "price", "positions")
    costs = {name: {"a": amount} for name, amount in zip(names, tokens, strict=True)}
    limits = Limits({"a": Window(30, 10, burst=20)}, costs, {})

    async def ask() -> tuple[float, float]:
        async with open_limiter(limits) as limiter, trio.open_nursery() as nursery:
            limiter.limit_tokens("a", left)
            for operation, symbol in asked:
                if sum(each == (operation, symbol) for each in asked) < AT_ONCE:
                    nursery.start_soon(limiter.acquire, operation, symbol)
                    await wait_all_tasks_blocked()
            operation, symbol = last
            expected = trio.current_time() + limiter.rate_limit_delay(operation, symbol)
            await limiter.acquire(operation, symbol)
            passed_at = trio.current_time()
            nursery.cancel_scope.cancel()
        return expected, passed_at

    expected, passed_at = trio.run(ask, clock=MockClock(autojump_threshold=0))
    assert passed_at == pytest.approx(expected, abs=1e-6)


# On the paper exchange.


async def amended_at(
    latency: float, limit: RateLimit, repeat: Callable[[PaperExchange], Awaitable[None]] | None
) -> list[float]:
    """Return when the amends of 49 symbols were answered, in three waves, while one more symbol repeats a request."""
    answered: list[float] = []
    async with (
        open_paper(latency=latency, rate_limit=limit, can_amend=True) as exchange,
        trio.open_nursery() as nursery,
    ):
        stops = []
        for symbol in OTHERS:
            await exchange.enter(Position(symbol, "long", D(1), D(100), OPENED))
            stops.append(await exchange.place_stop(StopRequest(symbol, "long", D(1), D(90), symbol[:6].lower())))
        await trio.sleep(100 - trio.current_time())
        if repeat is not None:
            nursery.start_soon(repeat, exchange)

        async def amend(index: int, price: int) -> None:
            stops[index] = await exchange.amend_stop(stops[index], price=D(price), quantity=D(1))
            answered.append(trio.current_time())

        for wave in range(3):
            await trio.sleep_until(120 + 20 * wave)
            async with trio.open_nursery() as amends:
                for index in range(len(stops)):
                    amends.start_soon(amend, index, 91 + wave)
        nursery.cancel_scope.cancel()
    return answered


async def cancel_for_ever(exchange: PaperExchange) -> None:
    while True:
        with suppress(StopRejected):
            await exchange.cancel_stop(StopOrder(SICK, "long", D(1), D(90), "gone", "unknown"))


async def cancel_many_for_ever(exchange: PaperExchange) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(cancel_for_ever, exchange)


@pytest.mark.parametrize("limit", [RateLimit(50, 20), RateLimit(100, 10), RateLimit(10, 10)], ids=str)
@pytest.mark.parametrize("repeat", [cancel_for_ever, cancel_many_for_ever])
@pytest.mark.parametrize("latency", [0.0, 0.05])
def test_fm60_a_cancel_repeated_at_full_speed_delays_an_amend_of_others_by_less_than_half_a_second(
    latency: float, repeat: Callable[[PaperExchange], Awaitable[None]], limit: RateLimit
) -> None:
    alone, beside = (
        trio.run(amended_at, latency, limit, what, clock=MockClock(autojump_threshold=0)) for what in (None, repeat)
    )
    assert len(alone) == len(beside) == 3 * len(OTHERS)
    assert max(later - sooner for sooner, later in zip(alone, beside, strict=True)) <= 0.5
