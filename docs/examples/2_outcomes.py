"""The five outcomes of a position, and what a bot does about each."""

from datetime import UTC, datetime
from decimal import Decimal

import trio

import trailing
from trailing import AlreadyProtected, Exited, Market, Percent, Position, Protected, Refused, Tick, TimedOut, TrailPlan


def latency(operation: str, symbol: str | None) -> float:
    return 2.0 if (operation, symbol) == ("place_stop", "ETH/USDT:USDT") else 0.2


def long_position(coin: str) -> Position:
    return Position(f"{coin}/USDT:USDT", "long", Decimal(1), Decimal(100), datetime.now(UTC))


def act_on(outcome: trailing.Outcome) -> str:
    match outcome:
        case Protected(stop=stop):
            return f"protected at {stop.price}: nothing to do"
        case AlreadyProtected(stop=stop):
            return f"was protected already, at {stop.price}: nothing to do"
        case TimedOut(stop=trailing.StopOrder(price=price)):
            return f"late, but its stop was found live at {price}, and is kept"
        case TimedOut():
            return "late, and bare: the manager goes on with it; open nothing more until that is settled"
        case Exited(fill=fill):
            return f"the price was beyond the stop: closed at {fill.price}"
        case Refused(error=error):
            return f"no stop ({error}): decide yourself"


async def main() -> None:
    trailing.configure_logging("error")
    markets = [Market("SOL/USDT:USDT", min_quantity=Decimal(5))]
    plan = TrailPlan(initial_stop=Percent("2"))
    async with (
        trailing.open_paper(latency=latency, markets=markets) as exchange,
        trailing.open_store("memory:") as store,
        trailing.open_manager(exchange, store, plan) as manager,
    ):
        wave = [long_position(coin) for coin in ("BTC", "ETH", "SOL", "XRP")]
        for position in wave:
            await exchange.enter(position)
        await manager.protect(wave[0], deadline=1.0)
        exchange.feed(Tick("XRP/USDT:USDT", Decimal(97), trio.current_time()))  # 3 % down, before it has a stop
        wave.append(long_position("ADA"))
        await exchange.enter(wave[-1])
        report = await manager.protect_wave(wave, deadline=1.0)
        for outcome in report.outcomes:
            print(outcome.position.symbol.partition("/")[0], type(outcome).__name__ + ":", act_on(outcome))
        print("without a stop now:", [symbol for symbol, side in manager.unprotected()])


trio.run(main)
