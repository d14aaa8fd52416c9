"""A bot that trades: it enters the positions of signals.csv with their stops, and ends at SIGTERM. A new start resumes them.

On paper: 11_live_bot.py. On a venue, with the keys in the environment: 11_live_bot.py bybit --testnet
"""

import argparse
import csv
import os
import signal
from decimal import Decimal
from pathlib import Path

import trio

import trailing
from trailing import Callback, Entry, EntryLimits, Exited, NotEntered, Percent, Protected, Tick, TimedOut, TrailPlan
from trailing.events import Alarm, Event, PositionClosed, StopFilled, StopMoved
from trailing.exchanges.paper import PaperExchange

SIGNALS = Path("signals.csv")
PLAN = TrailPlan(initial_stop=Percent("2"), rules=(Callback(Percent("1"), activation=Percent("1.5")),))
LIMITS = EntryLimits(max_positions=10, max_notional_per_wave=Decimal(5000), max_slippage=Percent("0.5"))


def take_signals() -> list[Entry]:
    """Return the new signals. Their file is moved first, so that a bot that is killed enters none of them twice."""
    if not SIGNALS.exists():
        return []
    entries = []
    with SIGNALS.rename("signals.taken").open() as lines:
        for symbol, side, quantity, limit in csv.reader(lines):
            price = Decimal(limit) if limit else None  # None: at market
            entries.append(Entry(symbol, "long" if side == "buy" else "short", Decimal(quantity), price))
    return entries


def plain(number: Decimal) -> str:
    return f"{number.normalize():f}"


def act_on(outcome: trailing.EntryOutcome) -> str:
    match outcome:
        case Protected(position=position, unfilled=unfilled, stop=stop):
            entered = f"{plain(position.quantity)} entered at {plain(position.entry_price)}"
            return f"{entered}, {plain(unfilled)} unfilled, stop at {plain(stop.price)}"
        case Exited(fill=fill):
            return f"entered, and closed at {fill.price} already"
        case NotEntered(reason="unfilled" | "limit" as reason):
            return f"not entered, {reason}: the next signal counts"
        case NotEntered(reason=reason, error=error):
            return f"not entered, {reason}: correct this first: {error}"
        case TimedOut(error=error):
            return f"not settled yet, the manager goes on ({error})"


async def trade(manager: trailing.Manager) -> None:
    while True:
        if entries := take_signals():
            report = await manager.enter_wave(entries, deadline=3.0)
            for outcome in report.outcomes:
                print(f"{outcome.symbol} {outcome.side}: {act_on(outcome)}")
            if report.unprotected:  # resume_entries() is a person's decision, after a look at manager.unprotected()
                manager.pause_entries()
        await trio.sleep(0.2)


def log(event: Event) -> None:
    match event:
        case StopMoved(symbol=symbol, previous=previous, price=price):
            print(f"{symbol}: the stop moved from {plain(previous)} to {plain(price)}")
        case StopFilled(symbol=symbol, price=price):
            print(f"{symbol}: the stop was filled at {plain(price)}")
        case PositionClosed(symbol=symbol, profit=profit):
            print(f"{symbol}: closed, profit {profit}")
        case Alarm():
            print("ALARM", event)


async def cancel_on_signal(bot: trio.CancelScope, *, task_status: trio.TaskStatus[None]) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for number in signals:
            print(signal.Signals(number).name, "came: what is not filled is cancelled, stops stay live")
            bot.cancel()


async def run_bot(exchange: trailing.Exchange) -> None:
    async with trio.open_nursery() as outer:
        bot = trio.CancelScope()
        await outer.start(cancel_on_signal, bot)
        with bot:
            async with (
                trailing.open_store("sqlite:///live.db") as store,
                trailing.open_manager(exchange, store, PLAN, entry_limits=LIMITS) as manager,
                manager.subscribe() as events,
                trio.open_nursery() as tasks,
            ):
                for (symbol, side), stop in manager.stops().items():
                    print(f"{symbol} {side}: resumed with its stop at {plain(stop.price)}")
                print("the bot runs")
                tasks.start_soon(trade, manager)
                async for event in events:
                    log(event)
        print("the bot has ended")
        outer.cancel_scope.cancel()


async def on_venue(venue: str, *, testnet: bool) -> None:
    keys = trailing.Credentials.from_environment()
    async with trailing.open_ccxt(venue, credentials=keys, testnet=testnet) as exchange:
        await run_bot(exchange)


async def play(exchange: PaperExchange, *prices: str) -> None:
    """Move the price of BTC, and end the bot as an operator does."""
    for price in prices:
        exchange.feed(Tick("BTC/USDT:USDT", Decimal(price), trio.current_time()))
        await trio.sleep(1.0)
    os.kill(os.getpid(), signal.SIGTERM)


async def on_paper() -> None:
    async with trailing.open_paper(latency=0.1) as exchange, trio.open_nursery() as market:
        for symbol, price in (("ETH/USDT:USDT", 50), ("SOL/USDT:USDT", 20)):
            exchange.feed(Tick(symbol, Decimal(price), trio.current_time()))
        for prices in (
            ("100", "100", "100", "100", "103"),
            ("103", "104", "102"),
        ):  # of the first run, and of the second
            market.start_soon(play, exchange, *prices)
            await run_bot(exchange)


options = argparse.ArgumentParser()
options.add_argument("venue", nargs="?", help="binanceusdm, bybit or okx; without it: paper")
options.add_argument("--testnet", action="store_true")
given = options.parse_args()
trailing.configure_logging("error")
if given.venue:
    trio.run(lambda: on_venue(given.venue, testnet=given.testnet))
else:
    SIGNALS.write_text("BTC/USDT:USDT,buy,1,\nETH/USDT:USDT,sell,2,55\nSOL/USDT:USDT,buy,1000,20\n")
    trio.run(on_paper)
