"""What the pages of a manager get: each position, its changes, its chart, events, and nothing that a text from outside can forge."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from typing import Any

import msgspec
import pytest
import trio
from pages import BTC, Bot, a_position, open_bot

from trailing import StopRejected
from trailing.events import Alarm, StopMoved, StreamChanged
from trailing.testing import At, Hangs, Refuses
from trailing.web.app import make_app
from trailing.web.history import MOST_PRICES, MOST_STOPS, MOST_STRETCHES, History
from trailing.web.hub import MOST_EVENTS, MOST_PAGES, QUEUE, Full, Hub, encode_frame
from trailing.web.sources import MOST_ENDED, MOST_TEXT, SAMPLE_SECONDS, ManagerSource, show_event, show_text


class Page:
    """A page that keeps what it was sent."""

    def __init__(self, source: ManagerSource) -> None:
        self.source = source
        self.frames: list[Any] = []
        self.times: list[float] = []

    async def run(self) -> None:
        async with self.source.hub.connect() as frames:
            async for frame in frames:
                self.frames.append(json.loads(frame.split(b"data: ", 1)[1]))
                self.times.append(trio.current_time())

    def row(self, symbol: str = BTC) -> dict[str, Any]:
        """The last row of a position, with its last price."""
        row: dict[str, Any] = {}
        for frame in self.frames:
            row = next((each for each in frame["changed"] if each["symbol"] == symbol), row)
            prices = dict(frame["prices"])
            row = {**row, "price": prices.get(row["key"], row["price"])} if row else row
        return row


@asynccontextmanager
async def watched(**options: Any) -> AsyncIterator[tuple[Bot, Page]]:
    """A bot, and a page that watches it."""
    async with open_bot(**options) as bot, trio.open_nursery() as nursery:
        page = Page(ManagerSource(bot.manager, bot.metrics))
        nursery.start_soon(page.source.run)
        nursery.start_soon(page.run)
        await trio.sleep(1.0)
        yield bot, page
        nursery.cancel_scope.cancel()


async def test_a_position_appears_with_its_stop_and_gets_its_prices(autojump_clock: trio.testing.MockClock) -> None:
    async with watched() as (bot, page):
        await bot.protect(a_position())
        await trio.sleep(5.0)
        row = page.row()
        assert (row["symbol"], row["side"], row["quantity"], row["entry"]) == (BTC, "long", "1.5", "100")
        assert (row["state"], row["stop"], row["price"], row["moves"]) == ("waiting", "98", "100", 0)
        assert (row["unprotected"], row["unprotected_since"], row["error"]) == (False, None, "")
        bot.feed("100.50")
        await trio.sleep(2.0)
        assert page.row()["price"] == "100.50"
        assert sum(bool(frame["changed"]) for frame in page.frames) == 1
        bot.feed("103")
        await trio.sleep(1.0)
        row = page.row()
        assert (row["stop"], row["moves"], row["state"]) == ("101.97", 1, "trailing")
        assert [event["kind"] for frame in page.frames for event in frame["events"]] == ["StopOpened", "StopMoved"]


async def test_a_position_that_loses_its_stop_is_red_within_a_second(autojump_clock: trio.testing.MockClock) -> None:
    async with watched() as (bot, page):
        await bot.protect(a_position())
        await trio.sleep(5.0)
        bot.faulty.__init__(bot.paper, {At("place_stop"): Refuses(StopRejected("no"))})  # type: ignore[misc]
        (stop,) = await bot.paper.open_stops()
        lost_at = trio.current_time()
        bot.paper.cancel_by_hand(stop.client_order_id)
        await trio.sleep(5.0)
        told_at = next(
            at
            for at, frame in zip(page.times, page.frames, strict=True)
            if any(row["unprotected"] for row in frame["changed"])
        )
        assert told_at - lost_at <= 0.5
        row = page.row()
        assert (row["stop"], row["unprotected"], row["error"]) == (None, True, "no")
        assert row["unprotected_since"] is not None
        chart = page.source.chart(row["key"])
        assert chart is not None
        assert chart["stops"][-1][1] is None
        assert chart["unprotected"][-1][1] is None


async def test_a_page_gets_a_frame_at_least_every_second_even_if_nothing_happens(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with watched() as (_, page):
        await trio.sleep(60.0)
        gaps = [later - earlier for earlier, later in zip(page.times, page.times[1:], strict=False)]
        assert max(gaps) <= 1.0
        assert len(gaps) >= 60 / SAMPLE_SECONDS - 2


async def test_a_wave_causes_few_frames(autojump_clock: trio.testing.MockClock) -> None:
    async with watched(latency=0.1) as (bot, page):
        before = len(page.frames)
        await bot.protect(*(a_position(f"C{number}/USDT:USDT") for number in range(100)))
        await trio.sleep(2.0)
        assert len(page.frames) - before <= 30
        assert len({row["key"] for frame in page.frames for row in frame["changed"]}) == 100


async def test_a_new_page_gets_everything_at_once(autojump_clock: trio.testing.MockClock) -> None:
    async with watched() as (bot, page):
        await bot.protect(a_position(), a_position("ETH/USDT:USDT"))
        await trio.sleep(5.0)
        whole = page.source.whole()
        assert (whole["kind"], whole["account"]) == ("bot", "paper default")
        assert sorted(row["symbol"] for row in whole["positions"]) == [BTC, "ETH/USDT:USDT"]
        assert [event["kind"] for event in whole["events"]] == ["StopOpened", "StopOpened"]
        assert whole["health"]["stream"] == "connected"
        assert (whole["health"]["store"], whole["health"]["lease"]) == ("up to date", "held")
        assert page.source.problems() == []


async def test_a_new_page_gets_each_event_once(autojump_clock: trio.testing.MockClock) -> None:
    async with watched() as (bot, page), trio.open_nursery() as nursery:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                await trio.sleep(3.0)  # a slow client: frames are sent meanwhile
            else:
                sent.append(json.loads(message["body"].split(b"data: ", 1)[1]))

        async def receive() -> Any:
            await trio.sleep_forever()

        await bot.protect(a_position())
        await trio.testing.wait_all_tasks_blocked()  # the event was taken, and not yet sent to the pages
        scope = {"type": "http", "method": "GET", "path": "/stream", "headers": [], "query_string": b""}
        nursery.start_soon(make_app(page.source, bot.metrics), scope, receive, send)
        await trio.sleep(1.0)
        await bot.protect(a_position("ETH/USDT:USDT"))
        await trio.sleep(5.0)
        events = [event["position"] for frame in sent for event in frame["events"]]
        assert events == [f"{BTC} long", "ETH/USDT:USDT long"]
        nursery.cancel_scope.cancel()


async def test_a_position_that_ends_is_gone_and_its_chart_stays_for_a_while(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with watched() as (bot, page):
        keys = []
        for number in range(MOST_ENDED + 5):
            position = a_position(f"C{number}/USDT:USDT")
            await bot.protect(position)
            await trio.sleep(1.0)
            keys.append(page.row(position.symbol)["key"])
            await bot.manager.close(position.symbol, "long", deadline=10.0)
            await trio.sleep(1.0)
            assert page.source.whole()["positions"] == []
            assert [key for frame in page.frames for key in frame["gone"]] == keys
        assert [page.source.chart(key) is not None for key in keys] == [False] * 5 + [True] * MOST_ENDED


async def test_a_second_position_of_a_symbol_has_a_chart_of_its_own(autojump_clock: trio.testing.MockClock) -> None:
    async with watched() as (bot, page):
        for number in range(2):
            await bot.protect(a_position(id=f"n{number}"))
            await trio.sleep(1.0)
            await bot.manager.close(BTC, "long", deadline=10.0)
            await trio.sleep(1.0)
        assert len({row["key"] for frame in page.frames for row in frame["changed"]}) == 2


async def test_a_lost_stream_and_a_slow_store_are_problems(autojump_clock: trio.testing.MockClock) -> None:
    async with watched(store_faults={At("commit"): Hangs()}) as (bot, page):
        with trio.move_on_after(20.0):
            await bot.protect(a_position(), deadline=20.0)
        bot.paper.disconnect()
        await trio.sleep(2.0)
        assert page.source.problems() == ["the exchange's stream is lost", "the store is behind"]
        health = page.frames[-1]["health"]
        assert (health["stream"], health["store"]) == ("lost", "behind")
        assert health["waiting"] > 0


async def test_a_manager_that_has_ended_holds_no_lease(autojump_clock: trio.testing.MockClock) -> None:
    async with open_bot() as bot:
        source = ManagerSource(bot.manager, bot.metrics)
    assert source.problems() == ["the lease is lost or not renewed"]
    assert source.whole()["health"]["lease"] == "lost or not renewed"


EVIL = "<script>alert(1)</script>\"'&\x1b[2J\u202e"


async def test_an_error_from_outside_is_shown_without_control_characters(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with watched(faults={At("place_stop"): Refuses(StopRejected(EVIL))}) as (bot, page):
        await bot.protect(a_position(), deadline=2.0)
        await trio.sleep(2.0)
        shown = page.row()["error"]
        assert shown == "<script>alert(1)</script>\"'&\\x1b[2J\\u202e"  # the page sets it as text
        assert "\x1b" not in json.dumps(page.frames, ensure_ascii=False)


@pytest.mark.parametrize(
    "text", ["POST /order?timestamp=1&signature=abcdef0123 failed", "apiKey=abcdef0123 is wrong", "Bearer abcdef0123"]
)
def test_no_credential_is_shown(text: str) -> None:
    assert "abcdef0123" not in show_text(text)


def test_a_long_text_is_shortened() -> None:
    assert len(show_text("x" * 100_000)) == MOST_TEXT


def test_an_event_is_shown_in_words() -> None:
    moved = StopMoved(
        at=a_position().opened_at,
        symbol=BTC,
        side="long",
        previous=Decimal("98.00"),
        price=Decimal("1E+2"),
        client_order_id="t1",
        reason="trailing",
    )
    shown = show_event(moved)
    assert (shown["kind"], shown["level"], shown["position"]) == ("StopMoved", "info", f"{BTC} long")
    assert shown["text"] == "previous 98, price 100, reason trailing"
    lost = show_event(StreamChanged(at=moved.at, connected=False, detail="cut"))
    assert lost["text"] == "connected False, detail cut"
    alarm = show_event(Alarm(at=moved.at, what="w", detail="d"))
    assert (alarm["position"], alarm["text"], alarm["level"]) == ("", "what w, detail d", "error")


async def test_an_unprotected_stretch_inside_a_move_is_on_the_chart(autojump_clock: trio.testing.MockClock) -> None:
    async with watched() as (bot, page):
        await bot.protect(a_position())
        await trio.sleep(2.0)
        at = a_position().opened_at
        moved = StopMoved(
            at=at,
            symbol=BTC,
            side="long",
            previous=Decimal(98),
            price=Decimal(99),
            client_order_id="t1",
            reason="trailing",
            unprotected_seconds=0.25,
        )
        page.source.take_event(moved)
        chart = page.source.chart(page.row()["key"])
        assert chart is not None
        assert [at.timestamp() - 0.25, at.timestamp()] in [list(each) for each in chart["unprotected"]]


# Memory.


def test_a_chart_keeps_a_bounded_number_of_points_over_the_whole_time() -> None:
    history = History("100")
    for second in range(100_000):
        history.add_price(float(second), 100.0 + second % 7)
        if second % 10 == 0:
            history.set_stop(float(second), float(second))
            history.add_stretch(float(second), float(second) + 1)
    chart = history.as_json()
    assert MOST_PRICES / 3 < len(chart["times"]) == len(chart["prices"]) <= MOST_PRICES
    assert chart["times"][0] == 0.0
    assert chart["times"][-1] > 99_000
    assert (len(chart["stops"]), len(chart["unprotected"])) == (MOST_STOPS, MOST_STRETCHES)
    assert chart["times"] == sorted(chart["times"])


def test_a_chart_has_a_step_for_each_change_of_the_stop_only() -> None:
    history = History("100")
    for at, price in enumerate((98.0, 98.0, 99.0, None, None, 99.0)):
        history.set_stop(float(at), price)
    assert history.as_json()["stops"] == [(0.0, 98.0), (2.0, 99.0), (3.0, None), (5.0, 99.0)]


def test_an_unprotected_stretch_begins_and_ends_once() -> None:
    history = History("100")
    history.set_unprotected(5.0, 5.0)
    history.set_unprotected(6.0, 5.0)
    assert history.as_json()["unprotected"] == [(5.0, None)]
    history.set_unprotected(7.0, None)
    history.set_unprotected(8.0, None)
    assert history.as_json()["unprotected"] == [(5.0, 7.0)]


async def test_a_page_that_reads_nothing_is_disconnected_and_the_others_go_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    hub = Hub()
    async with hub.connect() as slow, hub.connect() as fast:
        for number in range(QUEUE + 5):
            hub.send("change", {"number": number})
            assert await fast.receive() == encode_frame("change", {"number": number})
        got = [frame async for frame in slow]
        assert len(got) == QUEUE
        assert hub.is_watched
    assert not hub.is_watched


async def test_no_more_pages_than_allowed_are_connected(autojump_clock: trio.testing.MockClock) -> None:
    hub = Hub()
    async with AsyncExitStack() as stack:
        for _ in range(MOST_PAGES):
            await stack.enter_async_context(hub.connect())
        with pytest.raises(Full):
            await stack.enter_async_context(hub.connect())
    async with hub.connect():
        pass


def test_recent_events_are_bounded() -> None:
    hub = Hub()
    for number in range(2 * MOST_EVENTS):
        hub.events.append({"number": number})
    assert len(hub.events) == MOST_EVENTS


def test_a_frame_is_one_event_whatever_its_text_has() -> None:
    frame = encode_frame("change", {"text": "a\n\nevent: forged\ndata: {}\r\n"})
    assert frame.count(b"\n") == 3
    assert frame.startswith(b"event: change\ndata: {")
    assert msgspec.json.decode(frame.split(b"data: ", 1)[1]) == {"text": "a\n\nevent: forged\ndata: {}\r\n"}


async def test_looking_changes_nothing(autojump_clock: trio.testing.MockClock) -> None:
    async with open_bot() as bot:
        await bot.protect(a_position())
        await trio.sleep(5.0)
        before = (len(bot.faulty.calls), bot.store.commits, bot.manager.overview())
        source = ManagerSource(bot.manager, bot.metrics)
        for _ in range(10):
            source.whole()
            source.values()
            source.problems()
            source.chart("p1")
        assert (len(bot.faulty.calls), bot.store.commits, bot.manager.overview()) == before
