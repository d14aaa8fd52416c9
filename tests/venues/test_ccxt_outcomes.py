"""Failures of the connection and the venue: the error tells truly whether an order may exist."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from typing import Any

import pytest
import trio
from real_exchange import BTC, VENUES, Desk, NoRateLimit, open_desk, open_server, stop_request
from venue_faults import Fault, Reply, json_reply
from venue_server import API_KEY, SECRET, redirected

from trailing import (
    AuthenticationFailed,
    Credentials,
    ExchangeUnreachable,
    NoSuchStop,
    NothingToReduce,
    OutcomeUnknown,
    RateLimited,
    StopRejected,
    UsageError,
    WouldTrigger,
    open_ccxt,
)
from trailing.errors import TrailingError

pytestmark = pytest.mark.parametrize("venue", VENUES)

HTML = Reply(b"<html><body>Bad gateway</body></html>", 502, {"Content-Type": "text/html"})
GREETING = Reply(b"<html><body>We are back soon</body></html>", 200, {"Content-Type": "text/html"})
LIMITED = json_reply({"code": -1003, "msg": "Too many requests."}, 429, {"Retry-After": "1"})
BANNED = json_reply({"code": -1003, "msg": "Way too many requests."}, 418, {"Retry-After": "2"})
ID = stop_request().client_order_id

# The fault while a stop is placed, the error, and whether the stop exists.
FAULTS: Mapping[str, tuple[dict[str, Any], type[TrailingError], bool]] = {
    "lost before the venue": ({"drop": "before"}, OutcomeUnknown, False),
    "its reply lost": ({"drop": "after"}, OutcomeUnknown, True),
    "its reply late": ({"reply_delay": 4.0}, OutcomeUnknown, True),
    "its reply broken off": ({"truncated": True}, OutcomeUnknown, True),
    "its reply replaced by a proxy's page": ({"reply": HTML, "executed": True}, OutcomeUnknown, True),
    "a page of HTML with status 200": ({"reply": GREETING, "executed": True}, OutcomeUnknown, True),
    "success without an id": ({"reply": json_reply({}), "executed": True}, OutcomeUnknown, True),
    "an internal error": ({"reply": json_reply({"code": -1001, "msg": "x"}, 503)}, OutcomeUnknown, False),
    "a rate limit": ({"reply": LIMITED}, RateLimited, False),
    "a ban": ({"reply": BANNED}, RateLimited, False),
}


def impatient(client: Any) -> None:
    client.timeout = 2_000


def set_timeout(desk: Desk, fault: str) -> None:
    """Let a request be given up early whose reply comes too late. The venue has executed it by then."""
    if fault == "its reply late":
        desk.exchange.session.client.timeout = 500


@pytest.mark.parametrize("fault", FAULTS)
async def test_the_error_of_a_failed_place_request_tells_whether_the_stop_may_exist(venue: str, fault: str) -> None:
    settings, error, is_there = FAULTS[fault]
    async with open_desk(venue, configure=impatient) as desk:
        await desk.enter()
        desk.server.faults.add(Fault(on="place_stop", **settings))
        set_timeout(desk, fault)
        with pytest.raises(error) as caught:
            await desk.exchange.place_stop(stop_request())
        assert desk.stops_there() == ({ID} if is_there else set())
        assert len(desk.server.seen("place_stop")) == 1
        if isinstance(caught.value, RateLimited):
            assert caught.value.retry_after == (1 if fault == "a rate limit" else 2)
        desk.server.faults.clear()
        impatient(desk.exchange.session.client)
        found = await desk.exchange.find_stop(BTC, ID)
        assert (found is not None) == is_there


@pytest.mark.parametrize("fault", ["its reply lost", "its reply late", "its reply broken off"])
async def test_a_cancel_with_a_lost_reply_is_unknown_and_sent_once(venue: str, fault: str) -> None:
    async with open_desk(venue, configure=impatient) as desk:
        await desk.enter()
        order = await desk.exchange.place_stop(stop_request())
        desk.server.faults.add(Fault(on="cancel_stop", **FAULTS[fault][0]))
        set_timeout(desk, fault)
        with pytest.raises(OutcomeUnknown):
            await desk.exchange.cancel_stop(order)
        assert [seen.booked for seen in desk.server.seen("cancel_stop")] == [True]
        desk.server.faults.clear()
        impatient(desk.exchange.session.client)
        assert await desk.exchange.find_stop(BTC, ID) is None


@pytest.mark.parametrize("fault", ["lost before the venue", "its reply broken off", "a page of HTML with status 200"])
@pytest.mark.parametrize("operation", ["positions", "open_stops"])
async def test_a_list_that_could_not_be_read_is_an_error(venue: str, operation: str, fault: str) -> None:
    async with open_desk(venue, configure=impatient) as desk:
        await desk.enter()
        await desk.exchange.place_stop(stop_request())
        desk.server.faults.add(Fault(on=operation, **FAULTS[fault][0]))
        with pytest.raises(ExchangeUnreachable):
            await getattr(desk.exchange, operation)()
        desk.server.faults.clear()
        assert len(await getattr(desk.exchange, operation)()) == 1


async def test_a_request_without_a_connection_was_not_sent(venue: str) -> None:
    async with open_desk(venue, configure=impatient) as desk:
        await desk.enter()
        order = await desk.exchange.place_stop(stop_request())
        urls = desk.exchange.session.client.urls
        urls["api"] = redirected(urls["api"], "127.0.0.1:1")  # a closed port
        for attempt in (desk.exchange.cancel_stop(order), desk.exchange.place_stop(stop_request("another"))):
            with pytest.raises(ExchangeUnreachable):
                await attempt
        assert desk.stops_there() == {ID}


async def test_the_class_of_a_rejection_tells_the_reason(venue: str) -> None:
    async with open_desk(venue, most_stops=2) as desk:
        await desk.server.move_price(BTC, Decimal(1000), "last")
        with pytest.raises(NothingToReduce):
            await desk.exchange.close_position(BTC, "long", stop_request().quantity, "nothing")
        await desk.enter()
        with pytest.raises(WouldTrigger):
            await desk.exchange.place_stop(stop_request(price="1001"))
        order = await desk.exchange.place_stop(stop_request())
        with pytest.raises(StopRejected):
            await desk.exchange.place_stop(stop_request(price="981"))
        await desk.exchange.place_stop(stop_request("second"))
        with pytest.raises(StopRejected):
            await desk.exchange.place_stop(stop_request("third"))
        await desk.exchange.cancel_stop(order)
        with pytest.raises(StopRejected):
            await desk.exchange.cancel_stop(order)
        assert desk.stops_there() == {"second"}


async def test_an_unsupported_source_or_size_is_refused_before_it_is_sent(venue: str) -> None:
    async with open_desk(venue) as desk:
        await desk.enter()
        for request, field in (
            (stop_request(price="980.05"), "price"),
            (stop_request(quantity="0.00005"), "quantity"),
            *([(stop_request(source="index"), "source")] if venue == "binanceusdm" else []),
        ):
            with pytest.raises(UsageError, match=f"StopRequest.{field} got"):
                await desk.exchange.place_stop(request)
        with pytest.raises(
            UsageError, match="lists no such linear contract.*open it again if the contract was listed later"
        ):
            desk.exchange.market("DOGE/USDT:USDT")
        assert desk.server.seen("place_stop") == []


async def test_a_wrong_key_or_secret_fails_when_the_exchange_is_opened(venue: str) -> None:
    async with open_server(venue) as server:
        for keys in (Credentials("wrong-key", SECRET), Credentials(API_KEY, "wrong-secret")):
            with pytest.raises(AuthenticationFailed):
                async with open_ccxt(venue, credentials=keys, configure=server.configure):
                    raise AssertionError("it was opened")


NOT_TAKEN = {
    "binanceusdm": {"code": -2015, "msg": "Invalid API-key, IP, or permissions for action."},
    "bybit": {"retCode": 10010, "retMsg": "Unmatched IP, please check your API key's bound IP addresses."},
    "okx": {"code": "50110", "data": [], "msg": "Your IP 127.0.0.1 is not included in your API key's IP whitelist."},
}


@pytest.mark.parametrize("status", [401, 200, 429])
async def test_a_revoked_key_is_an_authentication_failure_unless_the_status_is_a_rate_limit(
    venue: str, status: int
) -> None:
    async with open_desk(venue) as desk:
        await desk.enter()
        await desk.exchange.place_stop(stop_request("taken"))
        # ccxt sets this after some requests to Binance, and takes -2015 for a ban from then on.
        desk.exchange.session.client.options["hasAlreadyAuthenticatedSuccessfully"] = True
        reply = json_reply(NOT_TAKEN[venue], status, {"Retry-After": "1"})
        for operation in ("place_stop", "positions"):
            desk.server.faults.add(Fault(on=operation, reply=reply))
        error: type[TrailingError] = RateLimited if status == 429 else AuthenticationFailed
        with pytest.raises(error):
            await desk.exchange.place_stop(stop_request())
        with pytest.raises(error):
            await desk.exchange.positions()
        assert desk.stops_there() == {"taken"}


async def test_an_accepted_close_whose_look_up_is_refused_is_of_unknown_outcome(venue: str) -> None:
    async with open_desk(venue) as desk:
        await desk.enter()
        if venue == "binanceusdm":  # its usual reply states the fill
            accepted = json_reply(
                {"orderId": 77, "symbol": "BTCUSDT", "side": "SELL", "type": "MARKET", "status": "NEW"}
            )
            desk.server.faults.add(Fault(on="close_position", reply=accepted, executed=True))
        refused = json_reply(NOT_TAKEN[venue], 401 if venue == "binanceusdm" else 200)
        for operation in ("find_stop", "find_entry", "open_orders", "fetch_order"):
            desk.server.faults.add(Fault(on=operation, reply=refused))
        with pytest.raises(OutcomeUnknown, match="was accepted, but its look-up was refused"):
            await desk.exchange.close_position(BTC, "long", Decimal("0.8"), ID)
        assert [seen.booked for seen in desk.server.seen("close_position")].count(True) == 1


async def test_a_restriction_of_a_market_or_account_is_no_authentication_failure(venue: str) -> None:
    replies = {
        "binanceusdm": json_reply({"code": -4192, "msg": "Trade forbidden due to Cooling-off Period."}, 400),
        "bybit": json_reply({"retCode": 10029, "retMsg": "The requested symbol is invalid, check symbol whitelist"}),
        "okx": json_reply(
            {
                "code": "1",
                "data": [{"sCode": "51155", "sMsg": "You can't trade this pair due to local laws."}],
                "msg": "",
            }
        ),
    }
    async with open_desk(venue) as desk:
        await desk.enter()
        desk.server.faults.add(Fault(on="place_stop", reply=replies[venue]))
        with pytest.raises(StopRejected):
            await desk.exchange.place_stop(stop_request())


@pytest.mark.parametrize("skew", [5.0, -5.0])
async def test_the_venue_s_time_is_loaded_at_opening_and_again_when_the_clock_jumps(venue: str, skew: float) -> None:
    async with open_desk(venue) as desk:
        await desk.enter()
        desk.server.clock.skew = skew
        order = await desk.exchange.place_stop(stop_request())
        desk.server.clock.skew = -skew
        await desk.exchange.cancel_stop(order)
        assert desk.stops_there() == set()
        assert [seen.booked for seen in desk.server.seen("cancel_stop")].count(True) == 1


async def place_and_cancel_the_caller(desk: Desk, client_order_id: str) -> None:
    """Place a stop, and cancel the caller when the request has arrived, half a second before the venue executes it."""
    arrived = trio.Event()

    def arrive(_: int) -> bool:
        arrived.set()
        return True

    desk.server.faults.clear()
    desk.server.faults.add(Fault(on="place_stop", when=arrive, delay=0.5))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.exchange.place_stop, stop_request(client_order_id))
        await arrived.wait()
        nursery.cancel_scope.cancel()


async def test_a_cancelled_caller_recalls_nothing_and_a_look_up_waits_for_its_request(venue: str) -> None:
    async with open_desk(venue) as desk:
        await desk.enter()
        await place_and_cancel_the_caller(desk, ID)
        assert desk.stops_there() == set()
        found = await desk.exchange.find_stop(BTC, ID)
        assert found is not None
        assert found.client_order_id == ID
        await place_and_cancel_the_caller(desk, "another")
        with pytest.raises(StopRejected):  # the order that it waited for is live, but has another id
            await desk.exchange.cancel_stop(type(found)(BTC, "long", found.quantity, found.price, "another", "1"))
        assert desk.stops_there() == {ID, "another"}


async def test_a_cancelled_caller_cancels_no_other_caller(venue: str) -> None:
    async with open_desk(venue) as desk:
        await desk.enter()
        await desk.exchange.positions()  # OKX's orders need the margin mode of the position
        desk.server.faults.latency = 0.3
        desk.exchange.session.rate_limiter = NoRateLimit()
        done = []

        async def place(client_order_id: str, patience: float) -> None:
            with trio.move_on_after(patience):
                await desk.exchange.place_stop(stop_request(client_order_id))
                done.append(client_order_id)

        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(place, f"stop{number}", 0.1 if number % 2 else 5)
        assert sorted(done) == ["stop0", "stop2"]
        await trio.sleep(0.3)
        assert len(desk.stops_there()) == 3


async def test_a_request_in_flight_at_the_end_of_the_session_has_an_unknown_outcome(venue: str) -> None:
    caught = []

    async def place(desk: Any, patience: trio.CancelScope) -> None:
        with patience:
            try:
                await desk.exchange.place_stop(stop_request())
            except OutcomeUnknown as error:
                caught.append(error)

    async with trio.open_nursery() as nursery, open_desk(venue) as desk:
        await desk.enter()
        desk.server.faults.latency = 3.0
        nursery.start_soon(place, desk, trio.CancelScope(shield=True, deadline=trio.current_time() + 30))
        await trio.sleep(1.0)  # it is sent by then, but not answered
    assert len(caught) == 1


@pytest.mark.parametrize("stopped", ["before it is signed", "when it is signed"])
@pytest.mark.parametrize("operation", ["place_stop", "amend_stop", "cancel_stop", "close_position"])
async def test_a_suspended_process_sends_nothing_after_the_deadline(venue: str, operation: str, stopped: str) -> None:
    if (venue, operation) == ("binanceusdm", "amend_stop"):
        pytest.skip("Binance USD-M has no way to amend a stop")
    async with open_desk(venue) as desk:
        await desk.enter()
        order = await desk.exchange.place_stop(stop_request())
        requests: Mapping[str, Callable[[], Awaitable[object]]] = {
            "place_stop": lambda: desk.exchange.place_stop(stop_request("another")),
            "amend_stop": lambda: desk.exchange.amend_stop(order, price=Decimal(981), quantity=order.quantity),
            "cancel_stop": lambda: desk.exchange.cancel_stop(order),
            "close_position": lambda: desk.exchange.close_position(BTC, "long", order.quantity, "closing"),
        }
        client = desk.exchange.session.client
        sign, patience, sent = client.sign, trio.CancelScope(), len(desk.server.requests)

        def stand_still_and_sign(*args: Any) -> Any:
            signed = sign(*args) if stopped == "when it is signed" else None
            time.sleep(0.2)
            patience.deadline = trio.current_time() + 5  # let it wait for the outcome
            return signed or sign(*args)

        client.sign = stand_still_and_sign
        patience.deadline = trio.current_time() + 0.1
        with patience, pytest.raises(ExchangeUnreachable, match="not sent, because the deadline had passed"):
            await requests[operation]()
        await trio.sleep(0.1)
        assert len(desk.server.requests) == sent
        client.sign = sign
        with trio.fail_after(5):
            await requests[operation]()
        assert len(desk.server.seen(operation)) == (2 if operation == "place_stop" else 1)


async def test_no_signed_request_waits_for_a_connection(venue: str) -> None:
    """All 150 requests reach the venue at once before one is answered."""
    arrived = 0

    def arrive(number: int) -> bool:
        nonlocal arrived
        arrived = number
        return True

    async with open_desk(venue, configure=patient) as desk:
        await desk.enter()
        desk.server.faults.add(Fault(on="price", when=arrive, delay=60))
        async with trio.open_nursery() as nursery:
            if venue == "okx":  # its limit of public requests would spread them
                desk.exchange.session.rate_limiter = NoRateLimit()
            for _ in range(150):
                nursery.start_soon(desk.exchange.price, BTC, "mark")
            with trio.fail_after(20):
                while arrived < 150:
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()


def patient(client: Any) -> None:
    client.timeout = 60_000


async def test_amending_or_cancelling_a_gone_stop_is_no_such_stop(venue: str) -> None:
    async with open_desk(venue) as desk:
        await desk.enter()
        order = await desk.exchange.place_stop(stop_request())
        await desk.exchange.cancel_stop(order)
        with pytest.raises(NoSuchStop):
            await desk.exchange.cancel_stop(order)
        if desk.exchange.market(BTC).can_amend:
            with pytest.raises(NoSuchStop):
                await desk.exchange.amend_stop(order, price=Decimal(981), quantity=order.quantity)
