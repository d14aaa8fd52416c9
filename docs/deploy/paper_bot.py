"""A bot on the paper exchange: three positions at invented prices, a page, and alerts. Ctrl+C ends it.

It enters a position again after its stop was filled. `bot.py` is a bot for a real exchange.
"""

import random
import signal
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import trio

import trailing
from trailing import Position, Tick
from trailing.exchanges.paper import PaperExchange

CONFIG = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("paper.toml")


async def move(exchange: PaperExchange, prices: dict[str, Decimal]) -> None:
    while True:
        for symbol, price in prices.items():
            change = Decimal(random.randint(-10, 11)) / 10_000
            prices[symbol] = new = (price * (1 + change)).quantize(Decimal("0.01"))
            exchange.feed(Tick(symbol, new, trio.current_time()))
        await trio.sleep(0.5)


async def trade(bot: trailing.Bot, exchange: PaperExchange, prices: dict[str, Decimal]) -> None:
    while True:
        known = {view.position.symbol for view in bot.manager.overview().positions}
        missing = [symbol for symbol in prices if symbol not in known]
        wave = [Position(symbol, "long", Decimal(1), prices[symbol], datetime.now(UTC)) for symbol in missing]
        for position in wave:
            await exchange.enter(position)
        for outcome in (await bot.manager.protect_wave(wave, deadline=20.0)).outcomes:
            print(outcome, flush=True)
        await trio.sleep(5)


async def main() -> None:
    trailing.configure_logging("warning")
    if trailing.read_config(CONFIG).venue.name != "paper":
        raise trailing.UsageError(f"{CONFIG}: this bot is for the paper exchange only")
    prices = {"BTC/USDT:USDT": Decimal(60_000), "ETH/USDT:USDT": Decimal(3_000), "SOL/USDT:USDT": Decimal(150)}
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trailing.open_from_config(CONFIG) as bot, trio.open_nursery() as nursery:
            assert isinstance(bot.exchange, PaperExchange)
            print(f"the page: {bot.page}", flush=True)
            nursery.start_soon(move, bot.exchange, prices)
            nursery.start_soon(trade, bot, bot.exchange, prices)
            async for _ in signals:
                break
            nursery.cancel_scope.cancel()


failed: list[str] = []
try:
    trio.run(main)
except* trailing.TrailingError as errors:
    failed = [str(error) for error in errors.exceptions]
if failed:  # not in the `except*`, which puts what is raised there into a group before Python 3.11.4
    sys.exit("\n".join(failed))
