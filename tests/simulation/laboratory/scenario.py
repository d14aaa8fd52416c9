"""The parameters of a simulated world, drawn from one number."""

from __future__ import annotations

import random
from decimal import Decimal

import msgspec
from msgspec.structs import replace

from simulation.laboratory.entry_terms import NO_ENTRIES, EntryTerms, with_entries
from simulation.laboratory.harsh_rates import HarshRates
from trailing.core.model import CallbackRange, Market, Percent
from trailing.core.plan import Pacing, TrailPlan
from trailing.core.rules import Breakeven, Callback, Rule, Steps

TICK = Decimal("0.01")

_NATIVE = 0.3
"""The share of the small worlds in which the exchange trails stops itself."""

_CALLBACKS = CallbackRange(Percent("0.1"), Percent(10), Percent("0.1"))


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters of a world. Times are seconds since its beginning, rates are probabilities.

    Args:
        seed: the seed of all random draws in the world.
        symbols: the number of symbols, each with a price of its own.
        duration: time until the faults end.
        calm_seconds: time without faults at the end, after which every check has to hold.
        tick_every: seconds between two prices of a symbol.
        staggered: whether the symbols' prices come one after the other within `tick_every`, or all at once.
        volatility: the standard deviation of a price's change from one tick to the next, as a share.
        jumps: the rate at which a tick is a jump of up to 4 % instead.
        latency: the mean seconds of a request; `spikes`: the rate at which one takes some seconds more.
        lost_replies, unreachable, refusals: the rates of failing calls, by kind.
        outages: times at which the exchange becomes unreachable, for `outage_seconds`.
        deaths: times after which the process is killed at its next step of exchange or store.
        manual_changes: times at which a person closes, reduces or adds to a position, or cancels or places a stop.
        waves: times at which the bot opens a position in every symbol where it has none.
        store_latency: the most seconds that a commit takes.
        harsh: the rates of the harsh faults; None: an ordinary world.
        entries: the waves of entries and their faults.
    """

    seed: int
    symbols: int
    markets: tuple[Market, ...]
    plan: TrailPlan
    duration: float
    calm_seconds: float = 400.0
    tick_every: float = 5.0
    staggered: bool = True
    volatility: float
    jumps: float
    latency: float
    spikes: float
    read_lag: float
    lost_replies: float = 0.01
    unreachable: float = 0.01
    refusals: float = 0.002
    outages: tuple[float, ...]
    outage_seconds: float = 60.0
    deaths: tuple[float, ...]
    manual_changes: tuple[float, ...]
    waves: tuple[float, ...]
    store_latency: float
    harsh: HarshRates | None = None
    entries: EntryTerms = NO_ENTRIES

    @classmethod
    def from_seed(cls, seed: int, harsh: HarshRates | None = None) -> Scenario:
        """Return a small world: some positions, about twenty minutes, at least one death.

        With harsh rates it is the ordinary world of that seed, with the same deaths and waves, and with harsh faults.
        """
        draw = random.Random(f"{seed} scenario")
        symbols, duration = draw.randint(2, 5), draw.uniform(600, 1500)

        def times(most: int, least: int = 0) -> tuple[float, ...]:
            return tuple(sorted(draw.uniform(0, duration) for _ in range(draw.randint(least, most))))

        markets = tuple(_a_market(draw, f"COIN{number}/USDT:USDT") for number in range(symbols))
        plan = _a_plan(draw)
        if random.Random(f"{seed} native").random() < _NATIVE:
            markets = tuple(replace(market, two_stops=True, native_callbacks=_CALLBACKS) for market in markets)
            plan = replace(plan, rules=plan.rules[:1], native=True)
        markets, plan, entries = with_entries(seed, markets, plan, duration)
        return cls(
            seed=seed,
            symbols=symbols,
            markets=markets,
            plan=plan,
            duration=duration,
            volatility=draw.choice((0.0003, 0.001, 0.003)),
            jumps=draw.choice((0.0, 0.005, 0.02)),
            latency=draw.choice((0.02, 0.3, 1.0)),
            spikes=draw.choice((0.0, 0.01)),
            read_lag=draw.choice((0.0, 0.0, 0.7, 2.0)),
            outages=times(2),
            deaths=times(4, least=1),
            manual_changes=times(6),
            waves=(draw.uniform(0, 30), *times(3)),
            store_latency=draw.choice((0.0, 0.05)),
            harsh=harsh,
            entries=entries,
        )

    @classmethod
    def a_day(cls, seed: int) -> Scenario:
        """Return a day: 50 symbols, a wave every 15 minutes, an outage every six hours, a death every four."""
        draw = random.Random(f"{seed} day")
        day, symbols = 24 * 3600.0, 50
        return cls(
            seed=seed,
            symbols=symbols,
            markets=tuple(Market(f"COIN{number}/USDT:USDT", price_tick=TICK) for number in range(symbols)),
            plan=TrailPlan(
                initial_stop=Percent("1"),
                rules=(Callback(Percent("0.5"), activation=Percent("0.3")),),
                pacing=Pacing(min_interval=30.0, min_improvement=Percent("0.05")),
                retry_for=86400.0,
            ),
            duration=day,
            staggered=False,
            volatility=0.0004,
            jumps=0.0005,
            latency=0.3,
            spikes=0.001,
            read_lag=0.2,
            outages=tuple(hour * 6 * 3600 + draw.uniform(0, 3600) for hour in range(4)),
            deaths=tuple(number * 4 * 3600 + draw.uniform(0, 3600) for number in range(6)),
            manual_changes=tuple(sorted(draw.uniform(0, day) for _ in range(100))),
            waves=tuple(number * 900.0 for number in range(96)),
            store_latency=0.02,
        )


def _a_market(draw: random.Random, symbol: str) -> Market:
    kind = draw.random()
    return Market(symbol, price_tick=TICK, can_amend=kind < 0.25, two_stops=kind < 0.75)


def _a_plan(draw: random.Random) -> TrailPlan:
    rules: list[Rule] = [
        Callback(Percent(draw.choice(("0.3", "0.8"))), activation=Percent(draw.choice(("0.2", "0.5"))))
    ]
    if draw.random() < 0.4:
        rules.append(Breakeven(at=Percent("0.4"), offset=Percent("0.05")))
    if draw.random() < 0.3:
        rules.append(Steps(((Percent("0.4"), Percent("0.6")), (Percent("1"), Percent("0.2")))))
    return TrailPlan(
        initial_stop=Percent(draw.choice(("0.8", "2"))),
        rules=tuple(rules),
        pacing=draw.choice((Pacing(), Pacing(min_interval=20.0), Pacing(min_improvement=Percent("0.1")))),
        on_would_trigger=draw.choice(("exit", "exit", "keep")),
        on_late_order=draw.choice(("adopt", "cancel")),
        retry_for=86400.0,
    )
