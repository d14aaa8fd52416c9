"""Test that a served exchange keeps the contract over a connection, and that a lost connection raises the right errors.

These tests use real sockets and so the real clock. They wait for milliseconds.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any

import msgspec
import pytest
import trio

from simulation.remote import serve_exchange
from simulation.remote_client import RemoteExchange, open_remote
from simulation.remote_wire import Call, Operation, Pushed, decode_update, encode_line, encode_raw, encode_update
from trailing.core.model import Fill, Position, Source, StopOrder, Tick
from trailing.errors import (
    AuthenticationFailed,
    ExchangeUnreachable,
    NothingToReduce,
    OutcomeUnknown,
    RateLimited,
    StopRejected,
    TrailingError,
    UsageError,
    WouldTrigger,
)
from trailing.exchanges.paper import PaperExchange, open_paper
from trailing.exchanges.paper.order_views import as_open_order
from trailing.exchanges.port import Exchange, OrderUpdate, PositionUpdate, StopRequest, StreamState
from trailing.testing import check_exchange

BTC, ETH = SYMBOLS = ("BTC/USDT:USDT", "ETH/USDT:USDT")
POSITION = Position(BTC, "long", Decimal("1.5"), Decimal(100), datetime(2026, 1, 1, tzinfo=UTC))
REQUEST = StopRequest(BTC, "long", Decimal("1.5"), Decimal("98.00000001"), "one")


class Bench:
    def __init__(self, exchange: RemoteExchange) -> None:
        self.exchange: Exchange = exchange
        self.enter = exchange.enter
        self._feed = exchange.feed

    async def move_price(self, symbol: str, price: Decimal, source: Source) -> None:
        await self._feed(Tick(symbol, price, trio.current_time(), source))


@asynccontextmanager
async def served(
    services: dict[str, tuple[Operation, Callable[..., Awaitable[object]]]] | None = None, **settings: Any
) -> AsyncIterator[tuple[PaperExchange, int]]:
    """Serve a paper exchange, and yield it with its port."""
    with trio.fail_after(60):
        async with open_paper(**{"request_validity": 0.1} | settings) as paper, trio.open_nursery() as nursery:
            port = await nursery.start(partial(serve_exchange, paper, symbols=SYMBOLS, services=services or {}))
            yield paper, port
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def remote(**settings: Any) -> AsyncIterator[tuple[PaperExchange, RemoteExchange]]:
    async with served(**settings) as (paper, port), open_remote(port) as exchange:
        yield paper, exchange


@asynccontextmanager
async def bench(**settings: Any) -> AsyncIterator[Bench]:
    async with remote(**settings) as (_, exchange):
        yield Bench(exchange)


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="plain"),
        pytest.param({"latency": 0.004, "jitter": 0.004, "can_amend": True, "hedged": True}, id="amends, hedged"),
        pytest.param(
            {"latency": 0.002, "two_stops": False, "orders_read_lag": 0.02, "positions_read_lag": 0.02},
            id="one stop, reads lag",
        ),
    ],
)
async def test_a_served_exchange_keeps_the_contract(settings: dict[str, Any]) -> None:
    await check_exchange(partial(bench, **settings))


async def test_values_arrive_unchanged_to_the_last_digit() -> None:
    fine = Position(BTC, "short", Decimal("0.00000001"), Decimal("123456789.12345678"), datetime.now(UTC), id="ä\n1")
    async with remote() as (paper, exchange):
        await exchange.enter(fine)
        (report,) = await paper.positions()
        assert (report.side, report.quantity, report.entry_price) == ("short", fine.quantity, fine.entry_price)
        assert tuple(await exchange.positions()) == (report,)
        assert exchange.market(ETH) == paper.market(ETH)


async def test_a_market_that_the_server_did_not_send_is_unknown() -> None:
    async with remote() as (_, exchange):
        with pytest.raises(UsageError, match="XRP"):
            exchange.market("XRP/USDT:USDT")


ERRORS: tuple[TrailingError, ...] = (
    *(kind("why") for kind in (UsageError, StopRejected, WouldTrigger, NothingToReduce, ExchangeUnreachable)),
    *(kind("why") for kind in (OutcomeUnknown, AuthenticationFailed)),
    RateLimited("why", retry_after=2.5),
)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_an_error_arrives_as_the_same_error(error: TrailingError) -> None:
    async def fail() -> None:
        await trio.lowlevel.checkpoint()
        raise error

    failing = Operation(tuple[()], None)
    async with remote(services={"fail": (failing, fail)}) as (_, exchange):
        with pytest.raises(type(error), match="why") as caught:
            await exchange.ask("fail", failing)
    assert type(caught.value) is type(error)
    assert getattr(caught.value, "retry_after", None) == getattr(error, "retry_after", None)


async def test_unknown_operations_and_unreadable_arguments_are_usage_errors_and_keep_the_connection() -> None:
    async with remote() as (_, exchange):
        with pytest.raises(UsageError, match="'nothing' is not served"):
            await exchange.ask("nothing", Operation(tuple[()], None))
        with pytest.raises(UsageError, match="place_stop"):
            await exchange.place_stop(msgspec.structs.replace(REQUEST, side="sideways"))
        assert tuple(await exchange.open_stops()) == ()


async def test_an_update_has_its_time_on_our_clock() -> None:
    async with remote(latency=0.01) as (_, exchange), exchange.updates() as updates:
        before = trio.current_time()
        await exchange.enter(POSITION)
        await exchange.place_stop(REQUEST)
        entered, placed = [await updates.receive() for _ in range(2)]
    assert isinstance(entered, PositionUpdate)
    assert isinstance(placed, OrderUpdate)
    assert before <= entered.at <= placed.at <= trio.current_time()


class OtherClock(trio.abc.Clock):
    """The real clock, an hour ahead."""

    def __init__(self) -> None:
        self._inner = trio.lowlevel.current_clock()

    def start_clock(self) -> None: ...

    def current_time(self) -> float:
        return self._inner.current_time() + 3600

    def deadline_to_sleep_time(self, deadline: float) -> float:
        return self._inner.deadline_to_sleep_time(deadline - 3600)


async def test_times_of_a_server_with_another_clock_are_moved_to_ours() -> None:
    found: list[Tick] = []

    async def main(port: int) -> None:
        async with open_remote(port) as exchange:
            tick = await exchange.price(BTC, "last")
            assert trio.current_time() - 60 <= tick.at <= trio.current_time()
            found.append(tick)

    async with served() as (paper, port):
        await paper.enter(POSITION)
        clock = OtherClock()
        await trio.to_thread.run_sync(lambda: trio.run(main, port, clock=clock))
        assert found[0].at > trio.current_time() + 3000


async def test_a_cancelled_call_was_sent_and_is_carried_out() -> None:
    async with remote(latency=0.1) as (paper, exchange):
        await exchange.enter(POSITION)
        with trio.move_on_after(0.02) as scope:
            await exchange.place_stop(REQUEST)
        assert scope.cancelled_caught
        found = await exchange.find_stop(BTC, "one")
        assert found is not None
        assert tuple(await paper.open_stops()) == (found,)


async def test_a_call_that_is_cancelled_before_it_began_sends_nothing() -> None:
    async with remote() as (_, exchange):
        await exchange.enter(POSITION)
        with trio.CancelScope() as scope:
            scope.cancel()
            await exchange.place_stop(REQUEST)
        assert await exchange.find_stop(BTC, "one") is None


async def test_requests_are_booked_in_the_order_in_which_they_were_sent() -> None:
    async with served() as (paper, port):
        await paper.enter(POSITION)
        for number in range(30):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            request = msgspec.structs.replace(REQUEST, client_order_id=f"id{number}")
            calls = (
                Call(1, "place_stop", encode_raw([request])),
                Call(2, "cancel_stop", encode_raw([StopOrder(**msgspec.structs.asdict(request), order_id="")])),
            )
            await stream.send_all(b"".join(map(encode_line, calls)))
            await stream.aclose()
        await trio.sleep(0.2)
        assert tuple(await paper.open_stops()) == ()


async def test_a_request_of_a_disconnected_client_is_executed() -> None:
    async with served(latency=0.1) as (paper, port):
        await paper.enter(POSITION)
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.send_all(encode_line(Call(1, "place_stop", encode_raw([REQUEST]))))
        await trio.aclose_forcefully(stream)
        await trio.sleep(0.1)
        assert [order.client_order_id for order in await paper.open_stops()] == ["one"]


async def test_a_running_request_of_a_disconnected_client_goes_on_to_its_end() -> None:
    done = trio.Event()

    async def work() -> None:
        await trio.sleep(0.05)
        done.set()

    async with served(services={"work": (Operation(tuple[()], None), work)}) as (_, port):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.send_all(encode_line(Call(1, "work", encode_raw([]))))
        await trio.aclose_forcefully(stream)
        with trio.fail_after(2):
            await done.wait()


async def test_a_client_that_dies_during_a_reply_disturbs_no_other_client() -> None:
    async def talk() -> str:
        await trio.lowlevel.checkpoint()
        return "more than all buffers hold" * 1_000_000

    async with served(services={"talk": (Operation(tuple[()], str), talk)}) as (_, port), open_remote(port) as exchange:
        for _ in range(3):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            await stream.send_all(encode_line(Call(1, "talk", encode_raw([]))))
            await trio.sleep(0.05)
            await trio.aclose_forcefully(stream)  # with much unread data: a reset, as at the kill of a process
            await trio.sleep(0.01)
        assert tuple(await exchange.open_stops()) == ()


def test_the_fill_in_an_update_is_moved_to_our_clock_too() -> None:
    fill = Fill(BTC, "long", Decimal(1), Decimal(98), "1", "one", 50.0)
    update = OrderUpdate(BTC, "long", "one", "1", "filled", 50.0, fill)
    pushed = msgspec.json.decode(encode_update(update, now=51.0), type=Pushed)
    moved = msgspec.structs.replace(update, at=99.0, fill=msgspec.structs.replace(fill, at=99.0))
    assert decode_update(pushed, here=100.0) == moved


async def test_an_invalid_line_closes_its_own_connection_only() -> None:
    async with served() as (_, port), open_remote(port) as exchange:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.send_all(b"GET / HTTP/1.1\n")
        while await stream.receive_some():
            pass
        await stream.aclose()
        assert tuple(await exchange.positions()) == ()


@asynccontextmanager
async def cut_off() -> AsyncIterator[tuple[RemoteExchange, Callable[[], None]]]:
    """Yield a client of a slow exchange, and a function that cuts its connection."""
    connection = trio.CancelScope()

    async def serve(task_status: trio.TaskStatus[int]) -> None:
        with connection:
            await serve_exchange(paper, symbols=SYMBOLS, task_status=task_status)

    async with open_paper(latency=5, can_amend=True) as paper, trio.open_nursery() as nursery:
        port = await nursery.start(serve)
        with trio.fail_after(10):
            async with open_remote(port) as exchange:
                yield exchange, connection.cancel
        nursery.cancel_scope.cancel()


async def until_asked(exchange: RemoteExchange) -> None:
    while not any(asked.sent for asked in exchange.asked.values()):
        await trio.sleep(0.001)
    await trio.sleep(0.01)


STOP = StopOrder(BTC, "long", Decimal("1.5"), Decimal(98), "one", "1")
CHANGES: dict[str, Callable[[RemoteExchange], Awaitable[object]]] = {
    "place_stop": lambda exchange: exchange.place_stop(REQUEST),
    "amend_stop": lambda exchange: exchange.amend_stop(STOP, price=Decimal(99), quantity=Decimal(1)),
    "cancel_stop": lambda exchange: exchange.cancel_stop(STOP),
    "close_position": lambda exchange: exchange.close_position(BTC, "long", Decimal(1), "two"),
    "cancel_order": lambda exchange: exchange.cancel_order(as_open_order(STOP)),
}
READS: dict[str, Callable[[RemoteExchange], Awaitable[object]]] = {
    "find_stop": lambda exchange: exchange.find_stop(BTC, "one"),
    "open_stops": lambda exchange: exchange.open_stops(),
    "open_orders": lambda exchange: exchange.open_orders(BTC),
    "order_fills": lambda exchange: exchange.order_fills(BTC, "one", datetime(2026, 1, 1, tzinfo=UTC)),
    "positions": lambda exchange: exchange.positions(),
    "price": lambda exchange: exchange.price(BTC, "last"),
    "candles": lambda exchange: exchange.candles(BTC, "last", datetime(2026, 1, 1, tzinfo=UTC)),
    "set_subscriptions": lambda exchange: exchange.set_subscriptions({BTC}),
}


@pytest.mark.parametrize("name", [*CHANGES, *READS])
async def test_a_connection_lost_before_the_reply_makes_a_change_unknown_and_a_read_unreachable(name: str) -> None:
    wanted = OutcomeUnknown if name in CHANGES else ExchangeUnreachable
    caught: list[TrailingError] = []

    async def call(exchange: RemoteExchange) -> None:
        try:
            await (CHANGES | READS)[name](exchange)
        except TrailingError as error:
            caught.append(error)

    async with cut_off() as (exchange, cut), trio.open_nursery() as nursery:
        nursery.start_soon(call, exchange)
        await until_asked(exchange)
        cut()
    assert [type(error) for error in caught] == [wanted]


async def test_no_request_is_sent_over_a_lost_connection() -> None:
    async with cut_off() as (exchange, cut), exchange.updates() as updates:
        cut()
        lost = await updates.receive()
        assert isinstance(lost, StreamState)
        assert not lost.connected
        with pytest.raises(trio.EndOfChannel):
            await updates.receive()
        for call in (CHANGES | READS).values():
            with pytest.raises(ExchangeUnreachable, match="the connection was lost"):
                await call(exchange)


async def test_a_later_subscriber_gets_the_loss_of_the_connection() -> None:
    async with cut_off() as (exchange, cut):
        async with exchange.updates() as updates:
            cut()
            await updates.receive()
        async with exchange.updates() as updates:
            assert [type(update) async for update in updates] == [StreamState]


async def test_an_exchange_on_an_unused_port_is_unreachable() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    with pytest.raises(ExchangeUnreachable, match=str(port)):
        async with open_remote(port):
            pass


async def test_a_server_that_closes_the_connection_at_once_is_unreachable() -> None:
    async def hang_up(stream: trio.SocketStream) -> None:
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, hang_up, 0, host="127.0.0.1"))
        with pytest.raises(ExchangeUnreachable):
            async with open_remote(listeners[0].socket.getsockname()[1]):
                pass
        nursery.cancel_scope.cancel()


async def test_a_shielded_clean_up_gets_its_answer_when_the_program_is_cancelled() -> None:
    answers: list[object] = []
    with trio.CancelScope() as program:
        async with served() as (_, port):
            with trio.CancelScope() as bot:
                async with open_remote(port) as exchange:
                    bot.cancel()
                    try:
                        await trio.sleep_forever()
                    finally:
                        with trio.CancelScope(shield=True, deadline=trio.current_time() + 2):
                            answers.append(tuple(await exchange.positions()))
    assert not program.cancelled_caught
    assert answers == [()]
