"""Random plans, the same ones for the same seed."""

from __future__ import annotations

import random
from decimal import Decimal

from trailing import Breakeven, Callback, Chandelier, Pacing, Percent, Steps, TrailPlan


def random_plan(draw: random.Random) -> TrailPlan:
    """Any rules and any pacing. A small `max_jump` makes jumps of many prices."""

    def percent(least: float, most: float) -> Percent:
        return Percent(str(round(draw.uniform(least, most), 2)))

    rules: list[Callback | Breakeven | Steps | Chandelier] = []
    if draw.random() < 0.8:
        rules.append(Callback(percent(0.1, 4), activation=percent(0, 3)))
    if draw.random() < 0.4:
        at = round(draw.uniform(0.2, 3), 2)
        rules.append(Breakeven(at=Percent(str(at)), offset=Percent(str(round(at * draw.random() * 0.9, 2)))))
    if draw.random() < 0.2:
        wide = (Percent(1), Percent(2)), (Percent(3), Percent(1)), (Percent(6), Percent("0.3"))
        rules.append(Steps(wide))
    if draw.random() < 0.2:
        rules.append(Chandelier(Decimal(str(round(draw.uniform(1, 4), 1))), period=draw.choice([3, 14])))
    pacing = Pacing()
    if draw.random() < 0.4:
        pacing = Pacing(
            min_interval=draw.choice([30.0, 100.0, 250.0, 600.0, 3600.0]),
            min_improvement=percent(0, 0.5),
            override=draw.choice([None, Percent(2)]),
        )
    return TrailPlan(
        initial_stop=percent(0.3, 6),
        rules=tuple(rules),
        pacing=pacing,
        max_jump=Percent(draw.choice(["0.2", "1", "10"])),
        on_would_trigger=draw.choice(["exit", "exit", "keep"]),
        stale_after=3600.0,
        candle_seconds=300.0,
    )
