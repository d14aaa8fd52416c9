"""Six plans over the same hour of prices, which passes in a moment; the last plan has a rule of its own."""

from datetime import UTC, datetime
from decimal import Decimal

import trio
import trio.testing

import trailing
from trailing import Breakeven, Callback, Chandelier, History, Pacing, Percent, Position, Rule, Steps, Tick, TrailPlan
from trailing.events import PositionClosed
from trailing.exchanges.prices import generate_prices

START = datetime(2026, 1, 1, tzinfo=UTC)


class RoundNumber(Rule, frozen=True):
    """Propose the last but one multiple of a step that the best price has passed."""

    step: Decimal

    def propose(self, history: History) -> Decimal | None:
        passed = history.best // self.step
        return (passed - 1 if history.side == "long" else passed + 2) * self.step


TWO = Percent(2)
CALLBACK = Callback(Percent("0.5"), activation=Percent("1.5"))
STEPS = Steps(((Percent(1), Percent(1)), (Percent(2), Percent("0.6")), (Percent(3), Percent("0.3"))))
PLANS = {
    "CALLBACK": TrailPlan(initial_stop=TWO, rules=(CALLBACK,)),
    "PACED": TrailPlan(initial_stop=TWO, rules=(CALLBACK,), pacing=Pacing(min_interval=60.0, override=Percent(1))),
    "COMBINED": TrailPlan(initial_stop=TWO, rules=(Breakeven(at=Percent("0.8")), CALLBACK)),
    "STEPS": TrailPlan(initial_stop=TWO, rules=(STEPS,)),
    "CHANDELIER": TrailPlan(initial_stop=TWO, rules=(Chandelier(Decimal(3), period=10),), candle_seconds=60.0),
    "OWN": TrailPlan(initial_stop=TWO, rules=(RoundNumber(Decimal("0.5")),)),
}


async def main() -> None:
    trailing.configure_logging("error")
    async with (
        trailing.open_paper(latency=0.1, utc_start=START) as exchange,
        trailing.open_store("memory:") as store,
        trailing.open_manager(exchange, store, PLANS["CALLBACK"], utc_start=START) as manager,
        manager.subscribe() as events,
    ):
        for name, plan in PLANS.items():
            position = Position(f"{name}/USDT:USDT", "long", Decimal(1), Decimal(100), START)
            await exchange.enter(position)
            await manager.protect(position, deadline=10.0, plan=plan)
        for tick in generate_prices(
            "BTC/USDT:USDT",
            seed=6,
            start_price=Decimal(100),
            tick=Decimal("0.01"),
            step_seconds=2.0,
            count=1800,
            volatility=Percent("0.06"),
            start_at=trio.current_time(),
        ):
            await trio.sleep_until(tick.at)
            for name in PLANS:
                exchange.feed(Tick(f"{name}/USDT:USDT", tick.price, tick.at))
        closed = {}
        while events.statistics().current_buffer_used:
            event = await events.receive()
            if isinstance(event, PositionClosed):
                closed[event.symbol] = event
        for name in PLANS:
            event = closed[f"{name}/USDT:USDT"]
            minutes = (event.at - START).total_seconds() / 60
            profit = "not known" if event.profit is None else f"{event.profit:+.2f} USDT"
            print(f"{name:10} {profit}, {event.moves:2} moves, closed after {minutes:.0f} minutes")


trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
