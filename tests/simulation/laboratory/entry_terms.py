"""The entries of a world: when they are handed in, and how often their requests fail."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from trailing.core.model import Market, Percent
from trailing.core.plan import TrailPlan
from trailing.protection.waves.entry_limits import NO_LIMITS, EntryLimits

ENTRY_FILL, ATTACHED = "entry_fill", "attach_stop"
"""The operations of two bookings that the exchange does not record: an entry's fill, and a stop that an entry has placed."""

_KINDS: Final[tuple[Literal["own", "bridge"] | None, ...]] = (None, "own", "bridge")


class EntryTerms(msgspec.Struct, frozen=True, kw_only=True):
    """The entries of a world. Times are seconds since its beginning, rates are probabilities.

    Args:
        waves: times at which the bot enters some of the symbols without a position.
        filled: the share of an entry that one price fills; None: the whole entry.
        limits: the limits of what the manager enters.
        lost_replies, hangs, unreachable, throttles, slow, refusals: the rates of failing calls of entries, by kind.
        store_failures: the rate at which the store refuses the intent of an entry, or a record of it.
    """

    waves: tuple[float, ...] = ()
    filled: Decimal | None = None
    limits: EntryLimits = NO_LIMITS
    lost_replies: float = 0.0
    hangs: float = 0.0
    unreachable: float = 0.0
    throttles: float = 0.0
    slow: float = 0.0
    refusals: float = 0.0
    store_failures: float = 0.0


NO_ENTRIES: Final = EntryTerms()


def with_entries(
    seed: int, markets: tuple[Market, ...], plan: TrailPlan, duration: float
) -> tuple[tuple[Market, ...], TrailPlan, EntryTerms]:
    """Return markets and plan with their terms of entries, and the entries.

    All is drawn from a generator of its own, so that the seed's other parameters stay as they are without entries.
    """
    draw = random.Random(f"{seed} entries")
    markets = tuple(replace(market, attached_stop=draw.choice(_KINDS)) for market in markets)
    plan = replace(plan, on_entry_cancelled=draw.choice(("protect", "close")))
    faults = draw.choice((0.02, 0.1))
    terms = EntryTerms(
        waves=tuple(sorted(draw.uniform(0, duration) for _ in range(draw.randint(2, 6)))),
        filled=draw.choice((None, Decimal("0.1"), Decimal("0.4"))),
        limits=draw.choice((NO_LIMITS, NO_LIMITS, EntryLimits(max_slippage=Percent("0.2")))),
        lost_replies=faults,
        hangs=faults / 2,
        unreachable=faults,
        throttles=faults / 2,
        slow=faults,
        refusals=faults / 4,
        store_failures=draw.choice((0.0, 0.2)),
    )
    return markets, plan, terms
