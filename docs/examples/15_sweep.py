"""A sweep: every combination of two values, along prices that rise after each signal."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import trailing.sweep
from trailing import Market, Percent
from trailing.backtest import Costs, Signal
from trailing.price_files import read_prices
from trailing.sweep import Grid

SYMBOL = "BTC/USDT:USDT"
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
RISE, FALL = 60, 60  # bars of five minutes


def write_prices(path: Path, legs: int) -> None:
    """Write bars that tend to rise after each signal, and to fall as long afterwards."""
    draw, price, rows = random.Random(7), 100_000, ["timestamp_ms,open,high,low,close"]
    for bar in range(legs * (RISE + FALL)):
        steps = [price]
        drift = 10 if bar % (RISE + FALL) < RISE else -10
        for _ in range(20):
            steps.append(steps[-1] + draw.choice((-20, 20)) + drift // 10)
        at = int((BEGIN + timedelta(minutes=5 * bar)).timestamp() * 1000)
        rows.append(",".join([str(at), *(f"{each / 100:.2f}" for each in (price, max(steps), min(steps), steps[-1]))]))
        price = steps[-1]
    path.write_text("\n".join(rows) + "\n")


def signals(legs: int) -> Iterator[Signal]:
    """Yield a long entry at the begin of each rise."""
    for leg in range(legs):
        yield Signal(symbol=SYMBOL, side="long", at=BEGIN + timedelta(minutes=5 * (RISE + FALL) * leg))


write_prices(Path("btc-usdt-5m.csv"), legs=60)
result = trailing.sweep.run(
    {SYMBOL: read_prices("btc-usdt-5m.csv")},
    Grid(
        initial_stop=(Percent(1), Percent(2), Percent(3)),
        callback=tuple(Percent(Decimal(tenths) / 10) for tenths in range(4, 21, 2)),
    ),
    signals(60),
    costs=Costs(fee=Percent("0.02")),
    markets={SYMBOL: Market(SYMBOL, price_tick=Decimal("0.01"))},
)
for plan in result.best[:3]:
    print(f"{plan.values}: {plan.profit:.1f} %, {plan.trades} trades, drawdown {plan.drawdown:.1f} %")
print(f"the best of {result.chance.tried} without an edge: {result.chance.one_in_twenty:.1f} % in one of twenty cases")
print(f"chosen on the first part, the rest gained {result.walk_forward.rest_profit:.1f} %")
print("found" if result.is_found else "not found")
for warning in result.warnings:
    print(warning)
