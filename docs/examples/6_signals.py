"""SIGINT and SIGTERM end a bot in order: unfinished requests are cleaned up, acknowledged stops stay."""

import os
import signal
from datetime import UTC, datetime
from decimal import Decimal

import trio

import trailing
from trailing import Percent, Position, TrailPlan
from trailing.exchanges.paper import PaperExchange

PLAN = TrailPlan(initial_stop=Percent("2"))


def latency(operation: str, symbol: str | None) -> float:
    return 2.0 if (operation, symbol) == ("place_stop", "ETH/USDT:USDT") else 0.1


async def cancel_on_signal(bot: trio.CancelScope, *, task_status: trio.TaskStatus[None]) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for number in signals:
            print(signal.Signals(number).name, "came: cleaning up")
            bot.cancel()


async def run_bot(exchange: PaperExchange) -> None:
    async with (
        trailing.open_store("sqlite:///signals.db") as store,
        trailing.open_manager(exchange, store, PLAN) as manager,
    ):
        for coin in ("BTC", "ETH"):
            position = Position(f"{coin}/USDT:USDT", "long", Decimal(1), Decimal(100), datetime.now(UTC))
            await exchange.enter(position)
            print("protecting", coin)
            await manager.protect(position, deadline=10.0)
        await manager.wait_closed()


async def press_ctrl_c() -> None:
    await trio.sleep(1.5)  # the request for ETH's stop is in flight then
    os.kill(os.getpid(), signal.SIGINT)


async def main() -> None:
    trailing.configure_logging("error")
    async with trailing.open_paper(latency=latency) as exchange, trio.open_nursery() as nursery:
        bot = trio.CancelScope()
        await nursery.start(cancel_on_signal, bot)
        nursery.start_soon(press_ctrl_c)
        with bot:
            await run_bot(exchange)
        print("the bot has ended; live on the exchange:")
        for order in await exchange.open_stops():
            print("-", order.symbol, "a stop at", order.price)
        nursery.cancel_scope.cancel()


trio.run(main)
