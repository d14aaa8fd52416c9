"""A backtest with the core alone: prices in, the wanted stop out; no tasks, no clock, no exchange."""

from datetime import UTC, datetime
from decimal import Decimal

import trailing
from trailing import Breakeven, Callback, Pacing, Percent, Tick, TrailPlan

MARKET = trailing.Market("BTC/USDT:USDT", price_tick=Decimal("0.1"))
POSITION = trailing.Position(MARKET.symbol, "long", Decimal("0.5"), Decimal(100), datetime(2026, 1, 1, tzinfo=UTC))
PRICES = (100, 100.4, 101.1, 100.7, 101.6, 102.4, 102.1, 103.3, 102.9, 102.2, 102.6, 103.9, 104.4, 103.8, 102.8)


def backtest(plan: TrailPlan) -> Decimal | None:
    """Return the price at which the position is closed, or None if it is still open at the end."""
    ratchet = trailing.Ratchet(POSITION, plan, MARKET)
    stop, moved_at = ratchet.first_stop, None
    for second, price in enumerate(Decimal(str(price)) for price in PRICES):
        # The exchange fills before we see the price: at this price, because trades jump from one to the next.
        if price <= stop:
            print(f"{second:4} s  {price}: the stop is filled")
            return price
        ratchet.take(Tick(POSITION.symbol, price, at=second))
        ratchet.ask_rules()
        wait = plan.pacing.wait(None if moved_at is None else second - moved_at, stop, ratchet.target)
        if wait is None:  # a move would gain nothing, or too little
            continue
        if ratchet.is_crossed:
            print(f"{second:4} s  {price}: closed at market, the price is beyond {ratchet.target:.1f}")
            return price
        if wait == 0:
            stop, moved_at = ratchet.target, second
            print(f"{second:4} s  {price}: the stop moves to {stop:.1f}")
    return None


rules = (Breakeven(at=Percent(1)), Callback(Percent(1), activation=Percent(2)))
for pacing in (Pacing(), Pacing(min_improvement=Percent(1)), Pacing(min_interval=4.0)):
    print(f"{pacing.min_interval} s between two moves, each for at least {pacing.min_improvement}:")
    closed_at = backtest(TrailPlan(initial_stop=Percent(2), rules=rules, pacing=pacing))
    if closed_at is not None:
        print("  profit:", (closed_at - POSITION.entry_price) * POSITION.quantity)
