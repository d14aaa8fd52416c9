"""The session between trio and asyncio: results, errors, cancellation and the end."""

from __future__ import annotations

import asyncio
import decimal
import gc
import logging
import math
import time
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import pytest
import trio
from ccxt import pro
from ccxt.base.errors import ExchangeError as CcxtError

from trailing.errors import ExchangeUnreachable, OutcomeUnknown, RateLimited, TrailingError
from trailing.exchanges.ccxt.session import Request, Session, open_session


class FakeRateLimiter:
    """A rate limiter that delays requests until `open` is set, and records refusals."""

    def __init__(self) -> None:
        self.open = trio.Event()
        self.open.set()
        self.refusals: list[float] = []

    def rate_limit_delay(self, operation: str) -> float:
        return 0.0

    async def acquire(self, operation: str, symbol: str | None = None) -> None:
        await self.open.wait()

    def on_rate_limited(self, retry_after: float) -> None:
        self.refusals.append(retry_after)

    def update_from_headers(self, operation: str, headers: Mapping[str, str]) -> None:
        pass


class HttpSession:
    _retry_connection = True

    async def close(self) -> None:
        pass


class Client:
    """A client with the methods of ccxt's client that the session uses, and a few more to call."""

    id = "fake"

    def __init__(self) -> None:
        self.session: Any = HttpSession()
        self.ssl_context = False
        self.aiohttp_trust_env = False
        self.calls: list[str] = []
        self.shared: asyncio.Future[str] | None = None
        self.closed = False
        self.stubborn = False
        self.patience = trio.CancelScope()

    def open(self) -> None:
        asyncio.get_running_loop()

    def get_socks_proxy_session(self, url: str) -> Any:
        return HttpSession()

    def on_rest_response(self, *args: Any) -> None:
        pass

    async def fetch(self, url: str) -> str:
        self.calls.append(url)
        return url

    async def request(self, url: str) -> str:
        return await self.fetch(url)

    async def send(self, *parts: str) -> None:
        """Send one part after the other. At a part called `stop`, the process is suspended until the caller's deadline is over.

        The caller waits nevertheless, so that it learns the outcome.
        """
        for part in parts:
            if part == "stop":
                time.sleep(0.6)  # noqa: ASYNC251 - that is what it is about
                self.patience.deadline = math.inf
            else:
                await self.fetch(part)

    async def close(self) -> None:
        await self.session.close()
        if self.stubborn:
            await asyncio.sleep(3600)
        self.closed = True

    async def answer(self, seconds: float, name: str = "") -> str:
        self.calls.append(name)
        await asyncio.sleep(seconds)
        self.calls.append(f"{name} answered")
        return name

    async def fail(self) -> None:
        raise CcxtError("no")

    async def share(self) -> str:
        """Await a shared future, as ccxt does in places. A cancelled caller cancels it for all others."""
        if self.shared is None:
            self.shared = asyncio.get_running_loop().create_future()
        return await self.shared

    async def unshare(self) -> None:
        assert self.shared is not None
        self.shared.cancel()

    async def round_up(self) -> None:
        decimal.getcontext().rounding = decimal.ROUND_UP
        decimal.getcontext().traps[decimal.Underflow] = True


def explain(request: Request, error: BaseException) -> TrailingError:
    explained = OutcomeUnknown(f"{request.operation}: {error!r}")
    explained.__cause__ = error
    return explained


def open_wall(client: Client, rate_limiter: FakeRateLimiter | None = None) -> Any:
    return open_session(client, rate_limiter or FakeRateLimiter(), explain)


async def test_a_call_returns_the_result_or_raises_an_error_of_ours() -> None:
    async with open_wall(Client()) as session:
        assert await session.call("price", "answer", 0, "hello") == "hello"
        with pytest.raises(OutcomeUnknown, match="place_stop: ExchangeError") as caught:
            await session.call("place_stop", "fail")
        assert isinstance(caught.value.__cause__, CcxtError)


async def test_a_cancelled_caller_stops_waiting_and_the_request_continues() -> None:
    client = Client()
    async with open_wall(client) as session:
        with trio.move_on_after(0.05) as scope:
            await session.call("place_stop", "answer", 0.2, "order", client_order_id="mine")
        assert scope.cancelled_caught
        assert client.calls == ["order"]
        await session.wait_for("mine")
        assert client.calls == ["order", "order answered"]


async def test_a_call_waits_for_the_calls_in_flight_for_its_order() -> None:
    client = Client()
    async with open_wall(client) as session, trio.open_nursery() as nursery:
        for number in range(2):
            nursery.start_soon(_call_about, session, f"placing {number}", "mine")
        nursery.start_soon(_call_about, session, "other", "other")
        await trio.sleep(0.01)
        await session.call("cancel_stop", "answer", 0, "cancelling", client_order_id="mine", after_earlier=True)
    order = [call for call in client.calls if not call.startswith("other")]
    assert set(order[2:4]) == {"placing 0 answered", "placing 1 answered"}
    assert order[4:] == ["cancelling", "cancelling answered"]


async def _call_about(session: Session, name: str, client_order_id: str) -> None:
    await session.call("place_stop", "answer", 0.05, name, client_order_id=client_order_id)


async def test_a_caller_that_is_cancelled_while_it_waits_for_the_rate_limit_sends_nothing() -> None:
    client, rate_limiter = Client(), FakeRateLimiter()
    rate_limiter.open = trio.Event()
    async with open_wall(client, rate_limiter) as session:
        with trio.move_on_after(0.05) as scope:
            await session.call("place_stop", "answer", 0, "order", client_order_id="mine")
        assert scope.cancelled_caught
        rate_limiter.open.set()
        await session.wait_for("mine")
        await trio.sleep(0.01)
    assert client.calls == []


@pytest.mark.parametrize(
    ("parts", "error", "sent"),
    [
        (["stop", "order"], ExchangeUnreachable, []),
        (["question", "stop", "order"], OutcomeUnknown, ["question"]),  # any part may change something
        (["order", "stop"], None, ["order"]),
    ],
)
async def test_a_request_is_not_sent_after_its_deadline(
    parts: list[str], error: type[TrailingError] | None, sent: list[str]
) -> None:
    client = Client()
    async with open_wall(client) as session:
        client.patience.deadline = trio.current_time() + 0.5
        with client.patience, nullcontext() if error is None else pytest.raises(error) as caught:
            await session.call("place_stop", "send", *parts, client_order_id="mine")
    assert client.calls == sent
    if caught is not None:
        assert [entry.name for entry in caught.traceback][
            -1
        ] == "call"  # no frame of ccxt's, because its variables contain the key


async def test_a_cancellation_by_asyncio_becomes_an_error_of_ours_for_each_caller() -> None:
    async with open_wall(Client()) as session, trio.open_nursery() as nursery:
        caught: list[TrailingError] = []

        async def share() -> None:
            try:
                await session.call("place_stop", "share")
            except TrailingError as error:
                caught.append(error)

        for _ in range(2):
            nursery.start_soon(share)
        await trio.sleep(0.05)
        await session.call("cancel_stop", "unshare")
        await trio.sleep(0.05)
        assert [type(error) for error in caught] == [OutcomeUnknown, OutcomeUnknown]


async def test_a_cancelled_caller_does_not_cancel_a_shared_future() -> None:
    client = Client()
    async with open_wall(client) as session:
        with trio.move_on_after(0.05):
            await session.call("positions", "share")
        assert client.shared is not None
        assert not client.shared.cancelled()


async def test_a_cancellation_reaches_the_session_after_its_block() -> None:
    client = Client()
    with trio.move_on_after(0.05):
        async with open_wall(client) as session:
            try:
                await trio.sleep_forever()
            finally:
                with trio.fail_after(1, shield=True):
                    assert await session.call("cancel_stop", "answer", 0.05, "clean-up") == "clean-up"
                assert not client.closed
    assert client.closed


async def test_the_end_of_a_session_fails_waiting_and_later_calls() -> None:
    caught: list[TrailingError] = []
    client = Client()

    async def call(session: Session) -> None:
        try:
            await session.call("place_stop", "answer", 60, "order")
        except TrailingError as error:
            caught.append(error)

    async with trio.open_nursery() as nursery:
        async with open_wall(client) as session:
            nursery.start_soon(call, session)
            await trio.sleep(0.05)
        await call(session)
    assert {type(error) for error in caught} == {OutcomeUnknown, ExchangeUnreachable}
    assert client.calls == ["order"]


async def test_the_rate_limiter_gets_the_retry_after_of_a_refusal() -> None:
    rate_limiter = FakeRateLimiter()

    def limited(request: Request, error: BaseException) -> TrailingError:
        return RateLimited("slower", retry_after=7.0)

    async with open_session(Client(), rate_limiter, limited) as session:
        with pytest.raises(RateLimited):
            await session.call("price", "fail")
    assert rate_limiter.refusals == [7.0]


async def test_a_service_that_fails_ends_the_session_with_its_error() -> None:
    async def fail() -> None:
        await trio.sleep(0.01)
        raise ValueError("a frame of an unknown form")

    with pytest.RaisesGroup(
        pytest.RaisesExc(OutcomeUnknown, match="fail: ValueError.*a frame"), flatten_subgroups=True
    ):
        async with open_wall(Client()) as session:
            session.start_service(fail)
            await trio.sleep(5)


async def test_a_coroutine_that_asyncio_cancels_fails_with_an_error_of_ours() -> None:
    async def cancelled() -> None:
        await asyncio.sleep(0.01)
        raise asyncio.CancelledError

    async with open_wall(Client()) as session:
        with pytest.raises(ExchangeUnreachable):
            await session.run(cancelled())


async def test_a_service_outlives_its_starter_and_a_coroutine_ends_with_its_caller() -> None:
    beats: list[int] = []

    async def beat() -> None:
        while True:
            await asyncio.sleep(0.01)
            beats.append(1)

    async def wait_for_a_beat() -> None:
        so_far = len(beats)
        with trio.fail_after(30):
            while len(beats) == so_far:
                await trio.sleep(0.01)

    async with open_wall(Client()) as session:
        with trio.move_on_after(0.02):
            session.start_service(session.run, beat())
            await trio.sleep_forever()
        await wait_for_a_beat()
    async with open_wall(Client()) as session:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.run, beat())
            await wait_for_a_beat()
            nursery.cancel_scope.cancel()
        so_far = len(beats)
        await trio.sleep(0.05)
        assert len(beats) == so_far


async def test_an_asyncio_error_that_no_task_awaits_is_logged_and_ends_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail_in_a_callback() -> None:
        def fail() -> None:
            raise ValueError("a secret")

        asyncio.get_running_loop().call_soon(fail)

    async with open_wall(Client()) as session:
        await session.run(fail_in_a_callback())
        await trio.sleep(0.05)
        assert await session.call("price", "answer", 0, "alive") == "alive"
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "ValueError" in caplog.text
    assert "a secret" not in caplog.text


async def test_ccxt_does_not_change_our_decimal_context() -> None:
    before = decimal.getcontext().copy()

    async with open_wall(Client()) as session:
        await session.call("price", "round_up")
    after = decimal.getcontext()
    assert (after.rounding, after.traps[decimal.Underflow]) == (before.rounding, before.traps[decimal.Underflow])


async def test_a_client_that_does_not_close_in_time_is_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trailing.exchanges.ccxt.session.CLOSE_SECONDS", 0.1)
    client = Client()
    client.stubborn = True
    with trio.fail_after(2):
        async with open_wall(client):
            pass
    assert "did not close" in caplog.text


async def test_the_real_client_closes_without_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    async with open_session(pro.binanceusdm({"enableRateLimit": False}), FakeRateLimiter(), explain) as session:
        assert session.client.session._retry_connection is False
        with pytest.raises(OutcomeUnknown):
            await session.call("price", "fetch", "http://127.0.0.1:1/")
    del session
    gc.collect()
    assert caplog.records == []
