"""A wave of three positions, protected on the paper exchange."""

from datetime import UTC, datetime
from decimal import Decimal

import trio

import trailing
from trailing import Percent, Position, TrailPlan


async def main() -> None:
    trailing.configure_logging("error")
    plan = TrailPlan(initial_stop=Percent("2"))
    now = datetime.now(UTC)
    wave = [
        Position(symbol, "long", Decimal(1), Decimal(100), now)
        for symbol in ("BTC/USDT:USDT", "ETH/USDT:USDT", "SOL/USDT:USDT")
    ]
    async with (
        trailing.open_paper(latency=1.0) as exchange,
        trailing.open_store("memory:") as store,
        trailing.open_manager(exchange, store, plan) as manager,
    ):
        for position in wave:
            await exchange.enter(position)
        report = await manager.protect_wave(wave, deadline=10.0)
        print(len(report.protected), "of", len(wave), f"protected in {report.elapsed:.1f} s")
        for one in report.outcomes:
            print(one.position.symbol, type(one).__name__, f"after {one.elapsed:.1f} s")
        for (symbol, side), stop in sorted(manager.stops().items()):
            print(symbol, side, "has its stop at", stop.price)


trio.run(main)
