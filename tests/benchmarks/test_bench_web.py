"""What the page costs the bot: processor time per price with an open page beside none, and per event."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from statistics import median

import trio
from figures import report
from price_venue import SYMBOLS
from test_bench_streams import PLAN, accounted, open_venue

from trailing import Position, Protected, open_manager, open_paper, open_store
from trailing.events import StopMoved
from trailing.web import Metrics, serve

PER_SECOND, SECONDS, RUNS = 5 * len(SYMBOLS), 8, 5
MOST = 1.05
EVENTS = 50_000


async def watch(port: int) -> None:
    """Read the stream of frames, as an open page does."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        await stream.send_all(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async for _ in stream:
            pass


async def cpu_per_price() -> tuple[list[float], list[float]]:
    """Seconds of processor time per price, of runs without and with an open page, by turns."""
    metrics, without, beside = Metrics(), list[float](), list[float]()
    async with (
        open_venue() as (venue, exchange),
        open_store("memory:") as store,
        open_manager(metrics.measure(exchange), store, PLAN) as manager,
    ):
        now = datetime.now(UTC)
        wave = [Position(symbol, "long", Decimal(1), Decimal(1000), now) for symbol in SYMBOLS]
        outcomes = (await manager.protect_wave(wave, deadline=60)).outcomes
        assert all(isinstance(outcome, Protected) for outcome in outcomes)
        await trio.sleep(2)

        async def run() -> float:
            before, count, cpu = accounted(manager, exchange), PER_SECOND * SECONDS, time.process_time()
            await venue.push(count, PER_SECOND)
            with trio.fail_after(30):
                while accounted(manager, exchange) < before + count:
                    await trio.sleep(0.01)
            return (time.process_time() - cpu) / count

        await run()
        for _ in range(RUNS):
            without.append(await run())
            async with trio.open_nursery() as nursery:
                url = await nursery.start(partial(serve, manager, bind="127.0.0.1:0", metrics=metrics))
                nursery.start_soon(watch, int(url.rstrip("/").rpartition(":")[2]))
                await trio.sleep(1)
                beside.append(await run())
                nursery.cancel_scope.cancel()
    return without, beside


async def seconds_per_event() -> tuple[float, float]:
    """Seconds on the manager's side for an event without a subscriber, and with the page as one."""
    async with open_paper() as exchange, open_store("memory:") as store, open_manager(exchange, store, PLAN) as manager:
        at, publisher = datetime.now(UTC), manager._supervision.records.publisher
        event = StopMoved(
            at=at,
            symbol="C0/USDT:USDT",
            side="long",
            previous=Decimal(1),
            price=Decimal(2),
            client_order_id="t",
            reason="r",
        )

        async def publish() -> float:
            spent = 0.0
            for _ in range(EVENTS // 500):
                began = time.process_time()
                for _ in range(500):
                    publisher.publish(event)
                spent += time.process_time() - began
                await trio.sleep(0.01)  # here the page takes them
            return spent / EVENTS

        alone = await publish()
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(serve, manager, bind="127.0.0.1:0"))
            await trio.sleep(0.1)
            watched = await publish()
            nursery.cancel_scope.cancel()
    return alone, watched


def test_the_page_costs_at_most_a_twentieth_of_the_processor_time_per_price() -> None:
    with report(f"the page beside a bot with {len(SYMBOLS)} positions and {PER_SECOND:,} prices a second") as figures:
        without, beside = trio.run(cpu_per_price)
        alone, watched = trio.run(seconds_per_event)
        ratio = median(beside) / median(without)
        figures.add("processor time of a price, without the page", f"{median(without) * 1e6:.1f} µs")
        figures.add("… with an open page", f"{median(beside) * 1e6:.1f} µs")
        figures.add("… the one beside the other", f"{ratio:.3f} x", f"at most {MOST} x")
        figures.add("an event on the manager's side, without the page", f"{alone * 1e6:.2f} µs")
        figures.add("… what the page adds", f"{(watched - alone) * 1e6:.2f} µs", "at most 5 µs")
    assert ratio <= MOST
    assert watched - alone <= 5e-6
