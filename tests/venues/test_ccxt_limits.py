"""The rate limit on both local servers: requests that pass, the venue's replies, and waves that wait."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
import trio
from real_exchange import VENUES, open_desk, stop_request
from venue_faults import Fault, Reply, every, json_reply, nth
from venue_market import instrument

import trailing
from trailing import Percent, Position, Protected, RateLimited, TrailPlan
from trailing.exchanges.limiter import OPERATIONS

TOO_MANY = {
    "binanceusdm": json_reply({"code": -1003, "msg": "Too many requests."}, 429, {"Retry-After": "2"}),
    "bybit": json_reply({"retCode": 10006, "retMsg": "Too many visits!", "result": {}}, 200, {"Retry-After": "2"}),
    "okx": json_reply({"code": "50011", "data": [], "msg": "Too Many Requests"}, 429, {"Retry-After": "2"}),
}
pytestmark = pytest.mark.parametrize("venue", VENUES)


async def test_nothing_is_sent_during_the_retry_after(venue: str) -> None:
    async with open_desk(venue) as desk:
        await desk.enter()
        desk.server.faults.add(Fault(on="place_stop", when=nth(1), reply=TOO_MANY[venue]))
        with pytest.raises(RateLimited) as caught:
            await desk.exchange.place_stop(stop_request())
        assert caught.value.retry_after == 2.0
        refused_at = trio.current_time()
        assert 1.5 < desk.exchange.rate_limit_delay("cancel_stop") <= 2.0
        sent = len(desk.server.requests)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(desk.exchange.positions)
            nursery.start_soon(desk.exchange.place_stop, stop_request())
        assert all(seen.at >= refused_at + 1.9 for seen in desk.server.requests[sent:])
        assert desk.stops_there() == {stop_request().client_order_id}


async def test_nothing_is_sent_during_a_ban_of_the_address(venue: str) -> None:
    if venue == "okx":
        pytest.skip("OKX documents no ban of an address")
    bans = {
        "binanceusdm": (json_reply({"code": -1003, "msg": "Way too many requests"}, 418, {"Retry-After": "120"}), 120),
        "bybit": (Reply(b"access too frequent, retry later", 403, {"Content-Type": "text/plain"}), 600),
    }
    reply, seconds = bans[venue]
    async with open_desk(venue) as desk:
        await desk.enter()
        desk.server.faults.add(Fault(on="place_stop", when=nth(1), reply=reply))
        with pytest.raises(RateLimited):
            await desk.exchange.place_stop(stop_request())
        for operation in OPERATIONS:
            assert seconds - 5 < desk.exchange.rate_limit_delay(operation) <= seconds + 10
        sent = len(desk.server.requests)
        with trio.move_on_after(0.5) as scope:
            await desk.exchange.place_stop(stop_request())
        assert scope.cancelled_caught
        assert len(desk.server.requests) == sent
        assert desk.stops_there() == set()


async def test_requests_beyond_the_limit_wait_and_none_is_refused(venue: str) -> None:
    async with open_desk(venue, most_stops=20) as desk:
        await desk.enter()
        started = trio.current_time()
        async with trio.open_nursery() as nursery:
            for number in range(16):
                request = stop_request(f"tr{number:020x}", quantity="0.05")
                nursery.start_soon(desk.exchange.place_stop, request)
        assert len(desk.stops_there()) == 16
        assert len(desk.server.seen("place_stop")) == 16
        assert trio.current_time() - started >= (2.0 if venue == "bybit" else 0.0)


async def test_requests_of_another_program_on_the_account_are_counted(venue: str) -> None:
    if venue != "bybit":
        pytest.skip("Binance tells its counts in other headers, which test_limiter.py reads, and OKX tells none")
    async with open_desk(venue, most_stops=20) as desk:
        await desk.enter()
        window = desk.server.face.windows["POST /v5/order/create"]  # type: ignore[attr-defined]
        desk.server.clock.stopped_at = desk.server.clock.now()
        window.take(9)  # by another program, in this second
        await desk.exchange.place_stop(stop_request(quantity="0.05"))
        assert 0.0 < desk.exchange.rate_limit_delay("place_stop") <= 1 / 6
        assert desk.exchange.rate_limit_delay("cancel_stop") == 0.0


@pytest.mark.slow
async def test_a_wave_of_fifty_with_lost_replies_is_protected_with_fifty_orders(venue: str) -> None:
    coins = tuple(instrument(f"C{number:02}", "0.1", "0.001", "5") for number in range(50))
    plan = TrailPlan(initial_stop=Percent("2"), trigger="last")
    async with open_desk(venue, instruments=coins) as desk:
        for coin in coins:
            await desk.enter(symbol=coin.symbol)
        positions = [Position(coin.symbol, "long", Decimal("0.8"), Decimal(1000), datetime.now(UTC)) for coin in coins]
        async with (
            trailing.open_store("memory:") as store,
            trailing.open_manager(desk.exchange, store, plan) as manager,
        ):
            desk.server.faults.latency = 0.2
            desk.server.faults.add(Fault(on="place_stop", when=every(10), drop="after"))
            report = await manager.protect_wave(positions, deadline=40.0)
            assert all(isinstance(outcome, Protected) for outcome in report.outcomes), report
            assert {stop.client_order_id for stop in manager.stops().values()} == desk.stops_there()
            assert len(desk.server.seen("place_stop")) == 50
            assert {seen.status for seen in desk.server.requests if seen.status is not None} == {200}, "none is refused"
