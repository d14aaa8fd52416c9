"""The shortest program that enters positions with their stops."""

from decimal import Decimal

import trio

import trailing
from trailing import Entry, Percent, Tick, TrailPlan

PLAN = TrailPlan(initial_stop=Percent("2"))


async def main() -> None:
    trailing.configure_logging("error")
    async with (
        trailing.open_paper(latency=0.2) as exchange,
        trailing.open_store("memory:") as store,
        trailing.open_manager(exchange, store, PLAN) as manager,
    ):
        for coin in ("BTC", "ETH"):  # a real exchange has its own prices
            exchange.feed(Tick(f"{coin}/USDT:USDT", Decimal(100), trio.current_time()))
        entries = [
            Entry("BTC/USDT:USDT", "long", Decimal("0.5")),  # at market
            Entry("ETH/USDT:USDT", "short", Decimal(2), limit=Decimal(101)),
        ]
        report = await manager.enter_wave(entries, deadline=2.0)
        for outcome in report.outcomes:
            print(outcome)


trio.run(main)
