"""Positions were opened by hand: a dry run shows what an adoption would do, before the bot adopts them."""

from datetime import UTC, datetime
from decimal import Decimal

import trio

import trailing
from trailing import Percent, Position, StopRequest, Tick, TrailPlan, WouldAdopt

PLAN = TrailPlan(initial_stop=Percent("2"))
BTC, ETH, SOL = (f"{coin}/USDT:USDT" for coin in ("BTC", "ETH", "SOL"))


async def main() -> None:
    trailing.configure_logging("error")
    async with (
        trailing.open_paper(latency=0.05) as exchange,
        trailing.open_store("memory:") as store,
        trailing.open_manager(exchange, store, PLAN) as manager,
    ):
        # A person buys both at 100, and places a stop at 90. ETH falls to 97.
        for symbol in (BTC, ETH):
            await exchange.enter(Position(symbol, "long", Decimal(1), Decimal(100), datetime.now(UTC)))
        exchange.place_by_hand(StopRequest(BTC, "long", Decimal(1), Decimal(90), "by-hand"))
        exchange.feed(Tick(ETH, Decimal(97), trio.current_time()))

        would = await manager.adopt_all(deadline=10.0, dry_run=True)
        stop_prices = {}
        for outcome in would.outcomes:
            print(outcome)
            if isinstance(outcome, WouldAdopt) and outcome.on_would_trigger == "exit":
                print(f"{outcome.symbol}: a stop is given instead")
                stop_prices[outcome.symbol, outcome.side] = Decimal(95)

        print("adopt")
        report = await manager.adopt_wave(
            [(BTC, "long"), (ETH, "long"), (SOL, "short")], deadline=10.0, stop_prices=stop_prices
        )
        for outcome in report.outcomes:
            print(outcome)
        prices = sorted(stop.price for stop in await exchange.open_stops())
        print("stops on the exchange:", ", ".join(map(str, prices)))


trio.run(main)
