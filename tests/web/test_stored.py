"""The page of a store alone: the last acknowledged stop, its age, the lease, and a store that can't be read."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
import trio
from pages import BTC, a_position, ask, open_bot

from trailing import StoreError, open_store
from trailing.stores import MemoryStore
from trailing.testing import At, Fails, FaultyStore, Hangs
from trailing.web import Metrics
from trailing.web.access import Guard
from trailing.web.app import make_app
from trailing.web.stored import CALL_SECONDS, StoreSource


async def shown_by(source: StoreSource, seconds: float = 5.0) -> dict[str, Any]:
    """Let a source read for a while, and return what a new page shows then."""
    with trio.move_on_after(seconds):
        await source.run()
    return source.whole()


async def test_a_store_shows_the_last_acknowledged_stop_and_its_age(autojump_clock: trio.testing.MockClock) -> None:
    async with open_bot(utc_start=None) as bot:
        await bot.protect(a_position(opened_at=datetime.now(UTC)))
        await trio.sleep(5.0)
        bot.feed("103")
        await trio.sleep(5.0)
        source = StoreSource(bot.store)
        whole = await shown_by(source)
        (row,) = whole["positions"]
        assert (row["symbol"], row["side"], row["quantity"], row["entry"]) == (BTC, "long", "1.5", "100")
        assert (row["stop"], row["state"], row["moves"], row["unprotected"]) == ("101.97", "trailing", 1, False)
        assert row["price"] is None
        (record,) = (await bot.store.load("paper", "default")).stops
        assert record.saved_at is not None
        assert row["saved"] == record.saved_at.timestamp()
        assert (whole["kind"], whole["account"]) == ("store", "paper default")
        assert (whole["health"]["store"], whole["health"]["lease"]) == ("up to date", "held")
        assert whole["health"]["detail"] == "paper default: another manager of this store"
        chart = source.chart(row["key"])
        assert chart is not None
        assert [price for _, price in chart["stops"]] == [98.0, 101.97]
        assert (chart["entry"], chart["prices"]) == ("100", [])
        assert [event["kind"] for event in whole["events"]] == ["StopOpened", "StopMoved"]
        assert source.problems() == []


async def test_a_position_whose_stop_is_gone_is_unprotected(autojump_clock: trio.testing.MockClock) -> None:
    async with open_bot(utc_start=None) as bot:
        await bot.protect(a_position(opened_at=datetime.now(UTC)))
        await trio.sleep(5.0)
        bot.faulty.__init__(bot.paper, {At("place_stop"): Hangs()})  # type: ignore[misc]
        (stop,) = await bot.paper.open_stops()
        bot.paper.cancel_by_hand(stop.client_order_id)
        await trio.sleep(5.0)
        source = StoreSource(bot.store)
        (row,) = (await shown_by(source))["positions"]
        assert (row["stop"], row["unprotected"]) == (None, True)
        chart = source.chart(row["key"])
        assert chart is not None
        assert chart["stops"][-1][1] is None
        assert chart["unprotected"][-1][1] is None


async def test_an_account_that_no_process_owns_is_a_problem(autojump_clock: trio.testing.MockClock) -> None:
    async with open_bot() as bot:
        await bot.protect(a_position())
    source = StoreSource(bot.store)
    assert (await shown_by(source))["health"]["lease"] == "free"
    assert source.problems() == ["no process owns paper default"]


async def test_positions_that_end_are_gone_and_what_is_kept_is_bounded(autojump_clock: trio.testing.MockClock) -> None:
    async with open_bot(utc_start=None) as bot, trio.open_nursery() as nursery:
        source = StoreSource(bot.store)
        nursery.start_soon(source.run)
        await bot.protect(a_position())
        await trio.sleep(3.0)
        (row,) = source.whole()["positions"]
        await bot.manager.close(BTC, "long", deadline=10.0)
        await trio.sleep(3.0)
        assert source.whole()["positions"] == []
        assert source.chart(row["key"]) is None
        assert source.chart("nothing") is None
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("fault", [Fails(StoreError("the disk is full")), Hangs()])
async def test_a_store_that_can_not_be_read_keeps_the_last_data_and_says_so(
    fault: Any, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_bot() as bot:
        await bot.protect(a_position())
        await trio.sleep(5.0)
        faulty = FaultyStore(bot.store, lambda operation, *_: fault if operation == "accounts" and broken else None)
        broken = False
        source = StoreSource(faulty)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(source.run)
            await trio.sleep(3.0)
            assert source.problems() == []
            broken = True
            await trio.sleep(CALL_SECONDS + 3.0)
            assert len(source.whole()["positions"]) == 1
            assert source.whole()["health"]["store"] == "can't be read"
            assert source.problems()[0].startswith("the store can't be read: ")
            assert source.values()["trailing_store_readable"] == {(): 0.0}
            broken = False
            await trio.sleep(CALL_SECONDS + 3.0)
            assert source.problems() == []
            nursery.cancel_scope.cancel()


async def test_the_page_s_paths_answer_for_a_store(autojump_clock: trio.testing.MockClock) -> None:
    async with open_store("memory:") as store:
        source, errors = StoreSource(store), list[Exception]()
        app = Guard(make_app(source, Metrics()), host="127.0.0.1", hosts=(), token=None, log=errors.append)
        health = await ask(app, "/health")
        assert (health.status, health.json["problems"]) == (503, ["the store can't be read: not read yet"])
        await shown_by(source)
        health = await ask(app, "/health")
        assert (health.status, health.json) == (200, {"ok": True, "problems": []})
        assert b"trailing_store_readable 1.0" in (await ask(app, "/metrics")).body
        assert (await ask(app, "/chart/nothing")).status == 404
        page = await ask(app)
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        for name in ("page.js", "chart.js", "page.css", "uPlot.iife.min.js", "uPlot.min.css", "uPlot-LICENSE.txt"):
            assert (await ask(app, f"/static/{name}")).status == 200
        assert json.loads((await ask(app, "/health")).body)["ok"]
    assert errors == []


@pytest.mark.parametrize(
    "path",
    [
        "/static/../catalogue.py",
        "/static/..%2fcatalogue.py",
        "/static/%2e%2e/catalogue.py",
        "/static//etc/passwd",
        "/static/index.html/..",
        "/../../etc/passwd",
        "/etc/passwd",
        "/static/",
        "/static",
        "/trailing.db",
        "/chart/../metrics",
    ],
)
async def test_no_path_leads_out_of_the_page_s_files(path: str, autojump_clock: trio.testing.MockClock) -> None:
    app = make_app(StoreSource(MemoryStore()), Metrics())
    found = await ask(app, path)
    assert found.status in (404, 307)
    assert b"root:" not in found.body
    assert b"METRICS" not in found.body
