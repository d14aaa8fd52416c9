"""The kinds of faults of a harsh world, and their rates."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

EMPTY_SECONDS: Final = (0.5, 10.0)
"""Shortest and longest time for which a list is empty, or an entry of it missing, doubled or unreadable."""

LATE_SECONDS: Final = (0.2, 10.0)
"""Shortest and longest delay of a late or repeated update. Later updates may come before it."""

PART_FILLED: Final = Decimal("0.4")
"""The share of a triggered stop that one price fills, so that a stop has several fills."""

THROTTLE_SECONDS: Final = (20.0, 90.0)
"""Shortest and longest throttle of an operation. Each refusal has the seconds that are left."""

COARSE_TICKS: Final = 10
"""A coarse market rounds a trigger price to the nearest multiple of so many price ticks."""

EARLY_SECONDS: Final = (0.05, 2.0)
"""Shortest and longest delay of an acknowledgement after the stop was triggered."""

SICK_SECONDS: Final = (60.0, 240.0)
"""Shortest and longest time for which the cancellations of a symbol fail."""


class HarshRates(msgspec.Struct, frozen=True, kw_only=True):
    """The rate of each kind of fault. At 0 the kind is off.

    Args:
        amended_stops: amendments of our stops by hand, per hour; half of them tighter, half of them looser.
        empty_lists: the share of the list calls that begin a time in which a list is empty.
        late_updates: the share of the order and position updates that come late; as many are repeated.
        silent_losses: losses of a stop of ours without an update, per hour. Only a stop that was live for long enough is
            lost.
        throttles: the share of the calls that begin a throttle of their operation.
        rounded_acknowledgements: the share of the markets that round trigger prices coarsely.
        early_fills: the share of the placed stops that are triggered before they are acknowledged.
        wrong_ticks: the share of the ticks before which one to three ticks of 10 or 0.1 times the price come.
        wrong_lists: the share of the list calls that begin a time in which an entry is missing, doubled or unreadable.
        wrong_acknowledgements: the share of the acknowledgements that have another price or quantity than was requested.
        sick_symbols: times in which the cancellations of one symbol fail, per hour. Above 0 the exchange has a rate limit.
        wrong_liquidations: the share of the symbols whose liquidation price is on the wrong side of the market.
    """

    amended_stops: float = 30.0
    empty_lists: float = 0.1
    late_updates: float = 0.2
    silent_losses: float = 30.0
    throttles: float = 0.05
    rounded_acknowledgements: float = 0.5
    early_fills: float = 0.1
    wrong_ticks: float = 0.02
    wrong_lists: float = 0.15
    wrong_acknowledgements: float = 0.1
    sick_symbols: float = 15.0
    wrong_liquidations: float = 0.5

    @classmethod
    def of(cls, kind: str) -> HarshRates:
        """Return the rates of a harsh world with one kind of fault, with ``"all"`` kinds, or with ``"none"``."""
        every = cls()
        if kind == "all":
            return every
        return cls(**{name: getattr(every, name) if name == kind else 0.0 for name in KINDS})

    @property
    def fills_in_parts(self) -> bool:
        """Whether a triggered stop is filled in several parts."""
        return bool(self.late_updates or self.early_fills)


KINDS: Final[tuple[str, ...]] = HarshRates.__struct_fields__
"""The kinds of faults, by the command's names for them."""


def _from_to(seconds: tuple[float, float]) -> str:
    return f"{seconds[0]:g} to {seconds[1]:g} s"


_ROWS: Final[dict[str, tuple[str, str]]] = {
    "amended_stops": ("a person amends a stop of ours, tighter or looser", "{:g} an hour"),
    "empty_lists": (
        f"the list of positions, of stops, or both are empty for {_from_to(EMPTY_SECONDS)}",
        "begins at {:g} % of the list calls",
    ),
    "late_updates": (
        (
            f"an order or position update comes {_from_to(LATE_SECONDS)} late, comes a second time, or both; a stop is "
            f"filled in parts of {round(100 * PART_FILLED)} %"
        ),
        "{:g} % of the updates each",
    ),
    "silent_losses": ("a stop of ours vanishes and no update says so", "{:g} an hour"),
    "throttles": (
        f"one operation is throttled for {_from_to(THROTTLE_SECONDS)}, for all symbols",
        "begins at {:g} % of the calls",
    ),
    "rounded_acknowledgements": (
        f"a market rounds trigger prices to {COARSE_TICKS} ticks and acknowledges the rounded price",
        "{:g} % of the symbols",
    ),
    "early_fills": (
        (
            f"a stop is triggered, and its fills are pushed, {_from_to(EARLY_SECONDS)} before its acknowledgement; it "
            f"is filled in parts of {round(100 * PART_FILLED)} %"
        ),
        "{:g} % of the placings",
    ),
    "wrong_ticks": ("one to three ticks of 10 times or a tenth of the price", "before {:g} % of the ticks"),
    "wrong_lists": (
        (
            "an entry of a list is missing, comes twice with another quantity, can't be read, or is a foreign one with "
            f"a strange id, for {_from_to(EMPTY_SECONDS)}"
        ),
        "begins at {:g} % of the list calls",
    ),
    "wrong_acknowledgements": (
        "an acknowledgement has another price or quantity than was requested and booked",
        "{:g} % of the acknowledgements",
    ),
    "sick_symbols": (
        f"every cancellation of one symbol fails for {_from_to(SICK_SECONDS)}; the exchange has a rate limit",
        "{:g} an hour",
    ),
    "wrong_liquidations": (
        "the liquidation price is reported on the wrong side of the market: a long's above it, a short's below",
        "{:g} % of the symbols",
    ),
}


def rate_table(rates: HarshRates) -> str:
    """Return the table of the documentation: each kind, its effect and its rate."""
    rows = [("kind", "what happens", "rate"), ("---", "---", "---")]
    for kind in KINDS:
        what, rate = _ROWS[kind]
        value = getattr(rates, kind)
        rows.append((f"`{kind}`", what, rate.format(100 * value if "%" in rate else value)))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
