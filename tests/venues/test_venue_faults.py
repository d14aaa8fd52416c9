"""Each fault between the real ccxt client and a venue, and its effect on the venue's orders."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
import trio
from ccxt import (
    BadResponse,
    BaseError,
    DDoSProtection,
    ExchangeError,
    ExchangeNotAvailable,
    NetworkError,
    OrderNotFound,
    RateLimitExceeded,
    RequestTimeout,
)
from ccxt_client import BTC, ETH, VENUES, Trader, ask, open_trader
from venue_faults import Fault, Reply, every, json_reply, nth

pytestmark = pytest.mark.parametrize("venue", VENUES)


def booked(trader: Trader) -> list[str]:
    """Return the client order ids of the live stops on the venue."""
    return [order.wanted.client_order_id for order in trader.server.market.live_stops()]


async def test_latency_is_split_between_request_and_reply(venue: str) -> None:
    async with open_trader(venue) as trader:
        await trader.enter()
        trader.server.faults.latency = 0.2
        sent_at = trio.current_time()
        await trader.place_stop("mine")
        answered_at, arrived_at = trio.current_time(), trader.server.seen("place_stop")[0].at
        assert arrived_at - sent_at >= 0.1
        assert answered_at - arrived_at >= 0.1


async def test_a_delayed_request_is_executed_after_its_caller_is_gone(venue: str) -> None:
    async with open_trader(venue, config={"timeout": 200}) as trader:
        await trader.enter()
        trader.server.faults.add(Fault(on="place_stop", delay=0.3))
        with pytest.raises(RequestTimeout):
            await trader.place_stop("late")
        assert booked(trader) == []
        with trio.fail_after(2):
            while booked(trader) != ["late"]:
                await trio.sleep(0.01)


async def test_a_connection_lost_before_execution_leaves_no_order(venue: str) -> None:
    async with open_trader(venue) as trader:
        await trader.enter()
        trader.server.faults.add(Fault(on="place_stop", when=nth(2), drop="before"))
        await trader.place_stop("first")
        with pytest.raises(ExchangeNotAvailable):
            await trader.place_stop("second")
        await trader.place_stop("third")
        assert booked(trader) == ["first", "third"]
        assert [seen.status for seen in trader.server.seen("place_stop")] == [200, None, 200]


async def test_a_connection_lost_after_execution_leaves_an_order(venue: str) -> None:
    async with open_trader(venue) as trader:
        await trader.enter()
        trader.server.faults.add(Fault(on="place_stop", when=every(2), drop="after"))
        await trader.place_stop("first")
        with pytest.raises(ExchangeNotAvailable):
            await trader.place_stop("second")
        assert booked(trader) == ["first", "second"]
        assert [seen.booked for seen in trader.server.seen("place_stop")] == [True, True]


async def test_aiohttp_repeats_a_cancel_whose_reply_was_lost(venue: str) -> None:
    """Aiohttp repeats the DELETE on Binance, which then finds no order, but not the POST on Bybit."""
    async with open_trader(venue) as trader:
        await trader.enter()
        placed = await trader.place_stop("mine")
        trader.server.faults.add(Fault(on="cancel_stop", when=nth(1), drop="after"))
        with pytest.raises(OrderNotFound if venue == "binanceusdm" else ExchangeNotAvailable):
            await trader.cancel_stop(placed["id"])
        assert [seen.booked for seen in trader.server.seen("cancel_stop")] == [True, False][
            : 2 if venue == "binanceusdm" else 1
        ]
        assert booked(trader) == []


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply(b"Bad Gateway", 502), ExchangeNotAvailable),
        (Reply(b"", 504), RequestTimeout),
        (Reply(b"{}", 503), BaseError),  # on Bybit a plain ExchangeError, like a refusal
    ],
)
@pytest.mark.parametrize("executed", [False, True])
async def test_a_server_error_leaves_the_order_unknown(
    venue: str, reply: Reply, error: type[Exception], executed: bool
) -> None:
    async with open_trader(venue) as trader:
        await trader.enter()
        trader.server.faults.add(Fault(on="place_stop", reply=reply, executed=executed))
        with pytest.raises(error):
            await trader.place_stop("mine")
        assert booked(trader) == (["mine"] if executed else [])


@pytest.mark.parametrize("status", [429, 418])
async def test_a_rate_limit_reply_states_its_retry_after(venue: str, status: int) -> None:
    async with open_trader(venue) as trader:
        await trader.enter()
        trader.server.faults.add(Fault(on="*", reply=Reply(b"Slow down", status, {"Retry-After": "7"})))
        with pytest.raises(
            ExchangeNotAvailable if (venue, status) == ("okx", 429) else (DDoSProtection, RateLimitExceeded)
        ):
            await trader.place_stop("mine")
        assert trader.client.last_response_headers["Retry-After"] == "7"
        assert booked(trader) == []


async def test_an_html_page_is_a_success_without_an_id_to_ccxt(venue: str) -> None:
    async with open_trader(venue) as trader:
        await trader.enter()
        page = Reply(b"<html>Please log in to the network</html>", 200, {"Content-Type": "text/html"})
        trader.server.faults.add(Fault(on="place_stop", reply=page, executed=True))
        outcome: Any = None
        try:
            outcome = await trader.place_stop("mine")
        except (BadResponse, NetworkError) as error:
            outcome = error
        assert isinstance(outcome, Exception) or outcome["id"] is None
        assert booked(trader) == ["mine"]


async def test_a_truncated_reply_is_an_error_although_the_order_is_live(venue: str) -> None:
    async with open_trader(venue) as trader:
        await trader.enter()
        trader.server.faults.add(Fault(on="place_stop", truncated=True))
        with pytest.raises((ExchangeError, NetworkError)):
            await trader.place_stop("mine")
        assert booked(trader) == ["mine"]


async def test_an_error_code_can_be_injected(venue: str) -> None:
    body: dict[str, dict[str, object]] = {
        "binanceusdm": {"code": -1001, "msg": "Internal error; unable to process your request."},
        "bybit": {"retCode": 10016, "retMsg": "Server error.", "result": {}},
        "okx": {"code": "50026", "data": [], "msg": "System error. Try again later"},
    }
    async with open_trader(venue) as trader:
        await trader.enter()
        trader.server.faults.add(Fault(on="place_stop", reply=json_reply(body[venue])))
        with pytest.raises(BaseError, match=r"-1001|10016|50026"):
            await trader.place_stop("mine")
        trader.server.faults.clear()
        await trader.place_stop("mine")
        assert booked(trader) == ["mine"]


async def test_requests_beyond_the_limit_are_refused_and_headers_state_the_count(venue: str) -> None:
    limit: dict[str, Any] = {"order_limits": (3, 1200)} if venue == "binanceusdm" else {"order_limit": 3}
    async with open_trader(venue, **limit) as trader:
        await trader.enter()
        trader.server.clock.stopped_at = trader.server.clock.now()  # the five requests are in one interval
        with pytest.raises((DDoSProtection, RateLimitExceeded)):
            for number in range(5):
                await trader.place_stop(f"stop{number}", f"{980 - number}")
        assert len(booked(trader)) == 3
        headers = trader.client.last_response_headers
        if venue == "binanceusdm":
            assert 1 <= int(headers["Retry-After"]) <= 10
        elif venue == "bybit":  # OKX states no count
            assert (headers["X-Bapi-Limit"], headers["X-Bapi-Limit-Status"]) == ("3", "0")


async def test_a_frozen_socket_stays_open_without_frames(venue: str) -> None:
    async with open_trader(venue, options={"ws": {"keepAlive": 200}}) as trader:
        await trader.enter()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_expect_error, trader)
            await _subscribed(trader)
            trader.server.sockets.freeze()
            await trader.server.move_price(BTC, Decimal("1001"), "last")
        assert trader.client.trades == {}


async def _expect_error(trader: Trader) -> None:
    with trio.fail_after(5), pytest.raises(NetworkError):
        await ask(trader.client.watch_trades_for_symbols, [BTC])


async def _subscribed(trader: Trader) -> None:
    with trio.fail_after(5):
        while not any(socket.topics for socket in trader.server.sockets.open):
            await trio.sleep(0.01)


async def test_a_killed_socket_can_be_opened_again(venue: str) -> None:
    async with open_trader(venue) as trader:
        await trader.enter()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_expect_error, trader)
            await _subscribed(trader)
            trader.server.sockets.kill()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, trader.client.watch_trades_for_symbols, [BTC])
            await _subscribed(trader)
            await trader.server.move_price(BTC, Decimal("1002"), "last")
        assert [trade["price"] for trade in trader.client.trades[BTC]] == [1002]
        assert trader.server.sockets.opened == 2


async def test_ccxt_s_client_receives_nothing_after_a_bad_frame(venue: str) -> None:
    async with open_trader(venue) as trader:
        await trader.enter()
        with trio.move_on_after(1) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, trader.client.watch_trades_for_symbols, [BTC])
                await _subscribed(trader)
                trader.server.sockets.send_text("{ this is no JSON")
                await trader.server.move_price(BTC, Decimal("1001"), "last")
        assert scope.cancelled_caught
        assert trader.client.trades == {}
        assert [isinstance(error, ValueError) for error in trader.client.loop_errors] == [True]


async def test_a_silenced_symbol_does_not_affect_others(venue: str) -> None:
    async with open_trader(venue) as trader:
        await trader.enter()
        trader.server.sockets.silent.add(BTC)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, trader.client.watch_trades_for_symbols, [BTC, ETH])
            await _subscribed(trader)
            await trader.server.move_price(BTC, Decimal("1001"), "last")
            await trader.server.move_price(ETH, Decimal("50"), "last")
        assert set(trader.client.trades) == {ETH}
        assert (await ask(trader.client.fetch_ticker, BTC))["last"] == 1001
