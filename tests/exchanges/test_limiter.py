"""Several buckets, lanes, pauses and the venue's counts, in exact virtual time."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from trailing.exchanges.ccxt.limits import Limits, Window, limits_of
from trailing.exchanges.ccxt.venue_limiter import VenueLimiter, open_limiter
from trailing.exchanges.ccxt.venues import VENUES
from trailing.exchanges.limiter import CALLS, OPERATIONS

# 4 orders at once and 1 a second; a weight of 10 at once and 2 a second.
LIMITS = Limits(
    windows={"orders": Window(14, 10, burst=4, header="x-orders"), "weight": Window(30, 10, burst=10)},
    costs={
        "place_stop": {"orders": 1.0, "weight": 1.0},
        "close_position": {"orders": 1.0, "weight": 1.0},
        "open_stops": {"weight": 5.0},
    },
    other={"weight": 1.0},
)


BTC = "BTC/USDT:USDT"
ORDER = ("cancel_stop", "find_stop", "place_stop", "amend_stop", "price", "positions", "open_stops", "call_read")


class Passing:
    """Records which requests passed, and when."""

    def __init__(self, limiter: VenueLimiter, nursery: trio.Nursery) -> None:
        self.log: list[tuple[float, str]] = []
        self._limiter = limiter
        self._nursery = nursery

    async def ask(self, *operations: str) -> None:
        """Start tasks that acquire in this order."""
        for operation in operations:
            self._nursery.start_soon(self._pass, operation)
            await wait_all_tasks_blocked()

    async def _pass(self, operation: str) -> None:
        await self._limiter.acquire(operation)
        self.log.append((trio.current_time(), operation))
        self.log.sort(key=lambda line: (line[0], ORDER.index(line[1])))  # tasks that wake at once run in any order


async def test_a_wave_that_waits_for_the_order_limit_delays_no_read_and_no_look_up(autojump_clock: MockClock) -> None:
    async with open_limiter(LIMITS) as limiter, trio.open_nursery() as nursery:
        passing = Passing(limiter, nursery)
        await passing.ask(*["place_stop"] * 7, "price", "find_stop")
        assert passing.log == [(0.0, "find_stop"), *[(0.0, "place_stop")] * 4, (0.0, "price")]
        assert limiter.rate_limit_delay("place_stop") == 4.0
    assert passing.log[6:] == [(1.0, "place_stop"), (2.0, "place_stop"), (3.0, "place_stop")]


async def test_tokens_that_waiting_requests_reserve_are_not_granted_to_others(autojump_clock: MockClock) -> None:
    async with open_limiter(LIMITS) as limiter, trio.open_nursery() as nursery:
        passing = Passing(limiter, nursery)
        await passing.ask(*["place_stop"] * 8)  # four wait for orders, and reserve 4 of the remaining weight of 6
        assert limiter.rate_limit_delay("amend_stop") == 0.0
        assert limiter.rate_limit_delay("open_stops") == 1.5
        await passing.ask("open_stops", "amend_stop")
    assert passing.log[4:] == [
        (0.0, "amend_stop"),
        (1.0, "place_stop"),
        (2.0, "place_stop"),
        (2.0, "open_stops"),
        (3.0, "place_stop"),
        (4.0, "place_stop"),
    ]


async def test_every_bucket_refills_while_idle(autojump_clock: MockClock) -> None:
    async with open_limiter(LIMITS) as limiter:
        for _ in range(4):
            await limiter.acquire("place_stop")
        assert limiter.rate_limit_delay("place_stop") == 1.0
        await trio.sleep(100)
        for _ in range(4):
            await limiter.acquire("place_stop")
        assert trio.current_time() == 100.0


async def test_no_request_passes_during_a_pause_and_the_buckets_are_empty_after_it(autojump_clock: MockClock) -> None:
    async with open_limiter(LIMITS) as limiter, trio.open_nursery() as nursery:
        limiter.on_rate_limited(30.0)
        limiter.on_rate_limited(2.0)  # a shorter pause that begins later does not shorten it
        passing = Passing(limiter, nursery)
        assert limiter.rate_limit_delay("cancel_stop") == 30.0
        await passing.ask(*["place_stop"] * 6, "cancel_stop")
        assert limiter.rate_limit_delay("place_stop") == 32.0 + 1.0
    assert [at for at, _ in passing.log] == [30.0, 30.0, 30.0, 30.0, 30.0, 31.0, 32.0]


async def test_clean_up_passes_before_protection_before_moves_before_reads(autojump_clock: MockClock) -> None:
    async with open_limiter(LIMITS) as limiter, trio.open_nursery() as nursery:
        limiter.on_rate_limited(0.25)  # too short for one token of weight to return
        passing = Passing(limiter, nursery)
        await passing.ask("price", "amend_stop", "place_stop", "cancel_stop")
        assert limiter.rate_limit_delay("find_stop") == 1.0
    assert passing.log == [(0.5, "cancel_stop"), (1.0, "place_stop"), (1.5, "amend_stop"), (2.0, "price")]


async def test_stops_pass_before_exits_before_moves_before_entries_before_reads_before_calls_before_bridges(
    autojump_clock: MockClock,
) -> None:
    urgent_first = ("place_stop", "close_position", "amend_stop", "place_entry", "price", "call_read", "clear_bridge")
    limits = Limits(windows={"requests": Window(100, 10, burst=2)}, costs={}, other={"requests": 1.0})
    async with open_limiter(limits) as limiter, trio.open_nursery() as nursery:
        limiter.limit_tokens("requests", 0.0)
        passed: list[str] = []

        async def ask(operation: str) -> None:
            await limiter.acquire(operation, BTC)
            passed.append(operation)

        for operation in reversed(urgent_first):
            nursery.start_soon(ask, operation)
            await wait_all_tasks_blocked()
    assert tuple(passed) == urgent_first


async def test_calls_leave_half_of_a_bucket_to_other_requests(autojump_clock: MockClock) -> None:
    async with open_limiter(LIMITS) as limiter, trio.open_nursery() as nursery:  # a weight of 10, and 2 a second
        passing = Passing(limiter, nursery)
        await passing.ask(*["call_read"] * 8)
        assert [at for at, _ in passing.log] == [0.0] * 5
        assert limiter.rate_limit_delay("call_read") == 2.0
        await passing.ask(*["find_stop"] * 5)  # all of the other half
        assert [at for at, _ in passing.log] == [0.0] * 10
    assert [at for at, operation in passing.log if operation == "call_read"][5:] == [3.0, 3.5, 4.0]


async def test_a_request_that_would_not_fit_beside_the_half_passes_from_a_full_bucket(
    autojump_clock: MockClock,
) -> None:
    limits = Limits(windows={"requests": Window(14, 10, burst=4)}, costs={"call_read": {"requests": 3.0}}, other={})
    async with open_limiter(limits) as limiter:
        await limiter.acquire("call_read")
        assert trio.current_time() == 0.0
        await limiter.acquire("call_read")
        assert trio.current_time() == 3.0


async def test_200_waiting_calls_delay_no_request_of_one_symbol_however_often_it_is_repeated(
    autojump_clock: MockClock,
) -> None:
    limits = Limits(windows={"requests": Window(40, 10, burst=20)}, costs={}, other={"requests": 1.0})
    async with open_limiter(limits) as limiter, trio.open_nursery() as nursery:
        limiter.limit_tokens("requests", 0.0)
        calls, stops = Passing(limiter, nursery), []
        await calls.ask(*["call_read"] * 200)

        async def place() -> None:
            await limiter.acquire("place_stop", BTC)
            stops.append(trio.current_time())

        for _ in range(6):  # more than a round has
            nursery.start_soon(place)
        await trio.sleep(5.0)
        assert stops == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.5, 3.0])
        assert calls.log == []
        nursery.cancel_scope.cancel()


async def test_a_short_pause_leaves_few_tokens(autojump_clock: MockClock) -> None:
    async with open_limiter(LIMITS) as limiter:
        limiter.on_rate_limited(0.5)
        assert limiter.rate_limit_delay("place_stop") == 1.0
        assert limiter.rate_limit_delay("open_stops") == 2.5
        await limiter.acquire("place_stop")
        assert trio.current_time() == 1.0


async def test_a_pause_delays_waiting_requests_too(autojump_clock: MockClock) -> None:
    async with open_limiter(LIMITS) as limiter, trio.open_nursery() as nursery:
        passing = Passing(limiter, nursery)
        await passing.ask(*["place_stop"] * 5)
        await trio.sleep(0.5)
        limiter.on_rate_limited(3.0)
    assert passing.log[4] == (3.5, "place_stop")


def headers(used: str, second: int) -> dict[str, str]:
    """Return the headers of a reply at a second of the minute, with a count of used orders."""
    return {"x-orders": used, "date": f"Thu, 01 Jan 2026 00:00:{second:02} GMT"}


async def test_a_higher_count_of_the_venue_replaces_ours(autojump_clock: MockClock) -> None:
    async with open_limiter(LIMITS) as limiter:
        limiter.update_from_headers("place_stop", headers("11", 9))
        assert limiter.rate_limit_delay("place_stop") == 0.0
        await limiter.acquire("place_stop")
        await limiter.acquire("place_stop")
        assert limiter.rate_limit_delay("place_stop") == 1.0
        limiter.update_from_headers("place_stop", headers("1", 9))
        assert limiter.rate_limit_delay("place_stop") == 1.0, "what it has not counted yet is gone all the same"
        limiter.update_from_headers("place_stop", headers("15", 9))
        assert limiter.rate_limit_delay("place_stop") == 3.0
        limiter.update_from_headers("place_stop", headers("many", 9))


@pytest.mark.parametrize("operation", ["place_stop", "close_position"])
async def test_on_binance_no_stop_and_no_close_waits_for_weight_that_another_program_used(
    operation: str, autojump_clock: MockClock
) -> None:
    async with open_limiter(limits_of("binanceusdm")) as limiter:
        used = {"x-mbx-used-weight-1m": "2390", "date": "Mon, 30 Nov 2026 21:00:10 GMT"}
        limiter.update_from_headers("positions", used)
        assert limiter.rate_limit_delay("positions") > 30
        assert limiter.rate_limit_delay(operation) == 0.0


async def test_tokens_that_other_programs_used_return_when_the_venue_s_window_ends(autojump_clock: MockClock) -> None:
    async with open_limiter(LIMITS) as limiter:
        limiter.update_from_headers("place_stop", headers("12", 43))  # two of its 14 are left, for 7 s
        sent_at = []
        for _ in range(3):
            await limiter.acquire("place_stop")
            sent_at.append(trio.current_time())
        assert sent_at == [6.0, 7.0, 8.0]


@pytest.mark.parametrize("date", [{}, {"date": "today"}])
async def test_a_count_without_a_date_is_taken_for_a_window_that_just_began(
    date: dict[str, str], autojump_clock: MockClock
) -> None:
    async with open_limiter(LIMITS) as limiter:
        limiter.update_from_headers("place_stop", {"x-orders": "3", **date})
        assert limiter.rate_limit_delay("place_stop") == 0.0
        limiter.update_from_headers("place_stop", {"x-orders": "5", **date})
        assert limiter.rate_limit_delay("place_stop") == 2.0


async def test_the_venue_s_remaining_count_limits_ours(autojump_clock: MockClock) -> None:
    limits = Limits(
        {name: Window(5, 1, burst=4, left_header="x-left") for name in ("create", "cancel")},
        {"place_stop": {"create": 1.0}, "cancel_stop": {"cancel": 1.0}},
        {},
    )
    async with open_limiter(limits) as limiter:
        limiter.update_from_headers("place_stop", {"x-left": "9"})
        limiter.update_from_headers("place_stop", {"x-left": "none"})
        for _ in range(4):
            assert limiter.rate_limit_delay("place_stop") == 0.0
            await limiter.acquire("place_stop")
        await trio.sleep(10)
        limiter.update_from_headers("place_stop", {"x-left": "1"})  # another program sends too
        await limiter.acquire("place_stop")
        assert limiter.rate_limit_delay("place_stop") == 1.0
        assert limiter.rate_limit_delay("cancel_stop") == 0.0, "which counts by itself"


async def test_a_cancelled_caller_returns_its_tokens_to_those_behind(autojump_clock: MockClock) -> None:
    async with open_limiter(LIMITS) as limiter, trio.open_nursery() as nursery:
        passing = Passing(limiter, nursery)
        await passing.ask(*["place_stop"] * 4)
        async with trio.open_nursery() as cancelled:
            await Passing(limiter, cancelled).ask("place_stop")
            await passing.ask("place_stop")
            assert limiter.rate_limit_delay("place_stop") == 3.0
            cancelled.cancel_scope.cancel()
        assert limiter.rate_limit_delay("place_stop") == 2.0
    assert passing.log[4:] == [(1.0, "place_stop")]


async def test_a_grant_at_the_moment_of_cancellation_is_returned(autojump_clock: MockClock) -> None:
    for _ in range(8):  # trio draws which of the two comes first
        async with open_limiter(LIMITS) as limiter:
            for _ in range(4):
                await limiter.acquire("place_stop")
            with trio.move_on_after(1.0) as scope:  # the time of the grant
                await limiter.acquire("place_stop")
            left = limiter.rate_limit_delay("place_stop")
            assert left == (0.0 if scope.cancelled_caught else 1.0)


async def test_a_caller_that_is_cancelled_already_takes_no_tokens(autojump_clock: MockClock) -> None:
    async with open_limiter(LIMITS) as limiter:
        with trio.CancelScope() as scope:
            scope.cancel()
            await limiter.acquire("place_stop")
        assert scope.cancelled_caught
        for _ in range(4):
            assert limiter.rate_limit_delay("place_stop") == 0.0
            await limiter.acquire("place_stop")


async def test_a_shielded_clean_up_in_a_cancelled_block_still_passes(autojump_clock: MockClock) -> None:
    with trio.move_on_after(0.5) as outer:
        async with open_limiter(LIMITS) as limiter:
            limiter.on_rate_limited(2.0)
            try:
                await trio.sleep_forever()
            finally:
                with trio.fail_after(5.0, shield=True):
                    await limiter.acquire("cancel_stop")
    assert outer.cancelled_caught
    assert trio.current_time() == 2.0


async def test_a_bucket_that_overflows_during_a_wait_for_another_one_gives_nothing_more(
    autojump_clock: MockClock,
) -> None:
    windows = {"fast": Window(7, 1, burst=3), "slow": Window(3.5, 1, burst=3)}
    async with (
        open_limiter(Limits(windows=windows, costs={}, other={"fast": 1.0, "slow": 1.0})) as limiter,
        trio.open_nursery() as nursery,
    ):
        limiter.limit_tokens("fast", -8.0)
        await Passing(limiter, nursery).ask(*["place_stop"] * 9)
        turn = limiter.rate_limit_delay("place_stop")
        assert turn == 2.25 + 14.0  # until the first passes, then seven more tokens of the slow bucket
        await limiter.acquire("place_stop")
        assert trio.current_time() == turn


_tokens = st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0])
_cost = st.dictionaries(st.sampled_from("abc"), _tokens, max_size=3)


@settings(max_examples=200, deadline=None)
@given(
    bursts=st.lists(st.sampled_from([3.0, 4.0, 7.0]), min_size=3, max_size=3),
    rates=st.lists(st.sampled_from([0.5, 1.0, 4.0]), min_size=3, max_size=3),
    costs=st.lists(_cost, min_size=len(OPERATIONS), max_size=len(OPERATIONS)),
    asked=st.lists(st.sampled_from(OPERATIONS), max_size=25) | st.lists(st.just(OPERATIONS[0]), max_size=40),
    last=st.sampled_from(OPERATIONS) | st.just(OPERATIONS[0]),
    closed=st.sampled_from([0.0, 0.0, 1.5, 20.0]),
    left=st.sampled_from([None, -8.0, 0.5]),
    began=st.sampled_from([0.0, 0.75]),
)
def test_the_delay_is_the_time_after_which_a_request_made_now_passes(
    bursts: list[float],
    rates: list[float],
    costs: list[Mapping[str, float]],
    asked: list[str],
    last: str,
    closed: float,
    left: float | None,
    began: float,
) -> None:
    windows = {name: Window(burst + rate, 1, burst) for name, burst, rate in zip("abc", bursts, rates, strict=True)}
    limits = Limits(windows=windows, costs=dict(zip(OPERATIONS, costs, strict=True)), other={})

    async def ask() -> tuple[float, float]:
        passed_at = math.nan

        async def pass_last() -> None:
            nonlocal passed_at
            await limiter.acquire(last)
            passed_at = trio.current_time()

        async with open_limiter(limits) as limiter, trio.open_nursery() as nursery:
            for operation in asked[: len(asked) // 2]:
                nursery.start_soon(limiter.acquire, operation)
                await wait_all_tasks_blocked()
            await trio.sleep(began)
            if closed:
                limiter.on_rate_limited(closed)
            if left is not None:
                limiter.limit_tokens("a", left)
            for operation in asked[len(asked) // 2 :]:
                nursery.start_soon(limiter.acquire, operation)
                await wait_all_tasks_blocked()
            expected = trio.current_time() + limiter.rate_limit_delay(last)
            await pass_last()
        return expected, passed_at

    expected, passed_at = trio.run(ask, clock=MockClock(autojump_threshold=0))
    assert passed_at == pytest.approx(expected, abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(asked=st.lists(st.tuples(st.sampled_from(OPERATIONS), st.sampled_from([0.0, 0.0, 0.3, 2.0])), max_size=60))
@pytest.mark.parametrize("venue", ["binanceusdm", "bybit", "okx", "krakenfutures"])
def test_no_window_contains_more_than_the_venue_allows(venue: str, asked: list[tuple[str, float]]) -> None:
    limits = limits_of(venue)
    passed: list[tuple[float, str]] = []

    async def run() -> None:
        async def pass_one(operation: str) -> None:
            await limiter.acquire(operation)
            passed.append((trio.current_time(), operation))

        async with open_limiter(limits) as limiter, trio.open_nursery() as nursery:
            for operation, pause in asked:
                nursery.start_soon(pass_one, operation)
                await trio.sleep(pause)

    passed.clear()
    trio.run(run, clock=MockClock(autojump_threshold=0))
    for name, window in limits.windows.items():
        for start, _ in passed:
            inside = [
                limits.cost(operation).get(name, 0.0)
                for at, operation in passed
                if start <= at < start + window.seconds - 1e-6
            ]
            assert sum(inside) <= window.count + 1e-6


@pytest.mark.parametrize(
    ("operation", "most"), [("place_stop", 20), ("amend_stop", 20), ("cancel_stop", 20), ("close_position", 60)]
)
async def test_one_instrument_of_okx_stays_below_its_own_limit(
    operation: str, most: int, autojump_clock: MockClock
) -> None:
    passed: list[float] = []

    async def pass_one() -> None:
        await limiter.acquire(operation, "BTC/USDT:USDT")
        passed.append(trio.current_time())

    async with open_limiter(limits_of("okx")) as limiter, trio.open_nursery() as nursery:
        for _ in range(200):
            nursery.start_soon(pass_one)
    assert max(sum(start <= at < start + 2 for at in passed) for start in passed) <= most


@pytest.mark.parametrize(
    ("operation", "most"), [("place_stop", 20), ("amend_stop", 20), ("cancel_stop", 20), ("close_position", 60)]
)
async def test_one_instrument_of_okx_stays_below_its_own_limit_before_and_after_a_wave_waits(
    operation: str, most: int, autojump_clock: MockClock
) -> None:
    passed: list[float] = []

    async def repeat() -> None:
        while True:
            await limiter.acquire(operation, "BTC/USDT:USDT")
            passed.append(trio.current_time())

    async with open_limiter(limits_of("okx")) as limiter, trio.open_nursery() as nursery:
        nursery.start_soon(repeat)  # a position of each side
        nursery.start_soon(repeat)
        for wave in range(4):
            await trio.sleep(3.0)
            for number in range(200):
                nursery.start_soon(limiter.acquire, operation, f"COIN{wave}.{number}/USDT:USDT")
        nursery.cancel_scope.cancel()
    assert most // 4 < max(sum(start <= at < start + 2 for at in passed) for start in passed) <= most


@pytest.mark.parametrize("operation", ["place_stop", "amend_stop", "cancel_stop", "close_position"])
async def test_fifty_symbols_pass_at_once_where_okx_counts_each_by_itself(
    operation: str, autojump_clock: MockClock
) -> None:
    async with open_limiter(limits_of("okx")) as limiter:
        for number in range(50):
            await limiter.acquire(operation, f"COIN{number}/USDT:USDT")
        assert trio.current_time() == 0.0


async def test_the_look_ups_of_a_wave_s_lost_replies_wait_for_no_placement_on_okx(autojump_clock: MockClock) -> None:
    async with open_limiter(limits_of("okx")) as limiter, trio.open_nursery() as nursery:
        for number in range(500):  # more than pass at once
            nursery.start_soon(limiter.acquire, "place_stop", f"COIN{number}/USDT:USDT")
        await wait_all_tasks_blocked()
        assert limiter.rate_limit_delay("place_stop") > 1.0
        for number in range(5):
            await limiter.acquire("find_stop", f"COIN{number}/USDT:USDT")
        assert trio.current_time() == 0.0


def test_new_and_amended_orders_of_all_symbols_stay_below_the_limit_of_an_okx_sub_account() -> None:
    limits = limits_of("okx")
    changing = ("place_stop", "amend_stop", "close_position", "enter")
    windows = {name: limits.windows[name] for operation in changing for name in limits.cost(operation)}
    assert all(window.seconds == 2 for window in windows.values())
    assert sum(window.count for window in windows.values()) <= 0.9 * 1000


@pytest.mark.parametrize("venue", ["binanceusdm", "bybit", "okx"])
def test_an_entry_counts_as_the_order_that_it_is(venue: str) -> None:
    limits = limits_of(venue)
    assert limits.cost("enter") == limits.cost("close_position") != limits.other
    assert limits.by_symbol.get("enter") == limits.by_symbol.get("close_position")


@pytest.mark.parametrize("venue", sorted(VENUES))
def test_every_operation_fits_into_the_limits_of_every_venue(venue: str) -> None:
    limits = limits_of(venue)
    for operation in (*OPERATIONS, *CALLS, "account_mode", "clear_bridge", "markets"):
        for name, tokens in limits.cost(operation).items():
            assert 0 < tokens <= limits.windows[name].burst < limits.windows[name].count


async def test_a_wave_on_bybit_delays_no_move_of_other_positions(autojump_clock: MockClock) -> None:
    async with open_limiter(limits_of("bybit")) as limiter, trio.open_nursery() as nursery:
        passing = Passing(limiter, nursery)
        await passing.ask(*["place_stop"] * 50, "amend_stop", "price", "positions")
        assert trio.current_time() == 0.0
        assert [name for _, name in passing.log[3:]] == ["amend_stop", "price", "positions"]
    assert passing.log[-1][0] == pytest.approx(47 / 6)


async def test_the_repr_shows_waiting_requests_tokens_and_a_pause(autojump_clock: MockClock) -> None:
    async with open_limiter(LIMITS) as limiter:
        await limiter.acquire("place_stop")
        assert repr(limiter) == "<VenueLimiter: 0 waiting, orders 3/4, weight 9/10>"
        limiter.on_rate_limited(2.0)
        limiter.take("place_stop", lambda: None)
        assert repr(limiter) == "<VenueLimiter: 1 waiting, orders 0/4, weight 0/10, paused for 2 s>"
