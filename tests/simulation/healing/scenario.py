"""The parameters of a world that heals, drawn from one number."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any, Final

import msgspec

from trailing.core.model import Percent, Side
from trailing.core.plan import Pacing, TrailPlan
from trailing.core.rules import Breakeven, Callback, Rule

SYMBOLS: Final = ("BTC/USDT:USDT", "ETH/USDT:USDT", "SOL/USDT:USDT")
SIDES: Final[tuple[Side, ...]] = ("long", "short")
TICK: Final = Decimal("0.01")
CALLBACKS: Final = ("0.5", "1")
"""The callbacks of the plans, in percent."""


class HostileScenario(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters of a world.

    Args:
        seed: the seed of all random draws in the world.
        venue: the arguments of `open_paper`.
        plan: the manager's plan.
        price: the first price of each symbol.
        latency: the seconds of each request; `store_latency`: the most seconds of a commit.
        programs: how many programs the bot runs, one after the other, before everything heals.
    """

    seed: int
    venue: dict[str, Any]
    plan: TrailPlan
    price: Decimal = Decimal(100)
    latency: float
    store_latency: float
    programs: int

    @classmethod
    def from_seed(cls, seed: int) -> HostileScenario:
        """Return the world of a seed."""
        draw = random.Random(f"{seed} hostile scenario")
        return cls(
            seed=seed,
            venue=_a_venue(draw),
            plan=a_plan(draw),
            latency=draw.choice((0.0, 0.2, 1.0)),
            store_latency=draw.choice((0.0, 0.05)),
            programs=draw.randint(1, 4),
        )


def a_plan(draw: random.Random) -> TrailPlan:
    """Return a plan of a world. Each of them trails by a callback, so that the check knows where a stop has to be."""
    rules: list[Rule] = [Callback(Percent(draw.choice(CALLBACKS)), activation=Percent(draw.choice(("0.5", "1"))))]
    if draw.random() < 0.3:
        rules.append(Breakeven(at=Percent("0.6"), offset=Percent("0.1")))
    return TrailPlan(
        initial_stop=Percent(draw.choice(("1.5", "2"))),
        rules=tuple(rules),
        pacing=draw.choice((Pacing(), Pacing(), Pacing(min_interval=10.0), Pacing(min_improvement=Percent("0.1")))),
        on_would_trigger=draw.choice(("exit", "exit", "keep")),
        on_late_order=draw.choice(("adopt", "cancel")),
        on_wave_cancelled=draw.choice(("protect", "withdraw")),
        on_entry_cancelled=draw.choice(("protect", "close")),
        on_store_failure=draw.choice(("protect", "protect", "refuse")),
        retry_for=draw.choice((300.0, 86400.0)),
    )


def _a_venue(draw: random.Random) -> dict[str, Any]:
    two_stops = draw.random() < 0.6
    venue: dict[str, Any] = {
        "can_amend": draw.random() < 0.4,
        "two_stops": two_stops,
        "hedged": draw.random() < 0.4,
        # No venue has bridges and takes one stop only.
        "attached_stop": draw.choice((None, "own", "bridge") if two_stops else (None, "own")),
        "cancel_on_flat": draw.random() < 0.5,
        "orders_read_lag": draw.choice((0.0, 0.0, 0.5)),
        "positions_read_lag": draw.choice((0.0, 0.0, 0.5)),
        "partial_fills": draw.choice((None, None, Decimal("0.4"))),
        "partial_entries": draw.choice((None, None, Decimal("0.4"))),
        "trigger_delay": draw.choice((0.0, 0.0, 0.0, 1.0)),
        "most_stops": draw.choice((None,) * 8 + (2, 3)),
    }
    if venue["attached_stop"] == "bridge":  # on a full account it rests for minutes, as documented
        venue["most_stops"] = None
    return venue
