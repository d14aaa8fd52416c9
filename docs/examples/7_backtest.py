"""A backtest with the core alone: prices in, decisions out; no tasks, no clock, no exchange."""

from datetime import UTC, datetime
from decimal import Decimal

import trailing
from trailing import Breakeven, Callback, ExitPosition, Fill, MoveStop, Pacing, Percent, StopOrder, Tick, TrailPlan

MARKET = trailing.Market("BTC/USDT:USDT", price_tick=Decimal("0.1"))
POSITION = trailing.Position(MARKET.symbol, "long", Decimal("0.5"), Decimal(100), datetime(2026, 1, 1, tzinfo=UTC))
PRICES = (100, 100.4, 101.1, 100.7, 101.6, 102.4, 102.1, 103.3, 102.9, 102.2, 102.6, 103.9, 104.4, 103.8, 102.8)


def order_at(price: Decimal) -> StopOrder:
    """What an exchange would acknowledge."""
    return StopOrder(POSITION.symbol, POSITION.side, POSITION.quantity, price, client_order_id="1", order_id="1")


def fill_at(price: Decimal, second: int) -> Fill:
    return Fill(POSITION.symbol, POSITION.side, POSITION.quantity, price, "1", "1", at=second)


def backtest(plan: TrailPlan) -> Decimal | None:
    """The price that the position is closed at, or None where it is still open at the end."""
    stop = trailing.TrailingStop(POSITION, plan, MARKET, at=0.0)
    stop.opened(order_at(stop.first_price), at=0.0)
    for second, price in enumerate(Decimal(str(price)) for price in PRICES):
        # The exchange fills before we hear of the price: at this price, because trades jump from one to the next.
        if stop.price is not None and price <= stop.price:
            stop.filled(fill_at(price, second), at=second)
            print(f"{second:4} s  {price}: the stop is filled")
            return price
        match stop.on_tick(Tick(POSITION.symbol, price, at=second)) or stop.on_time(second):
            case MoveStop(price=wanted):
                stop.moved(order_at(wanted), at=second)
                print(f"{second:4} s  {price}: the stop moves to {stop.price:.1f}")
            case ExitPosition(reason=reason):
                stop.exiting(at=second)
                stop.exited(fill_at(price, second), at=second)
                print(f"{second:4} s  {price}: closed at market, {reason}")
                return price
    return None


rules = (Breakeven(at=Percent(1)), Callback(Percent(1), activation=Percent(2)))
for pacing in (Pacing(), Pacing(min_improvement=Percent(1)), Pacing(min_interval=4.0)):
    print(f"{pacing.min_interval} s between two moves, each for at least {pacing.min_improvement}:")
    closed_at = backtest(TrailPlan(initial_stop=Percent(2), rules=rules, pacing=pacing))
    if closed_at is not None:
        print("  profit:", (closed_at - POSITION.entry_price) * POSITION.quantity)
