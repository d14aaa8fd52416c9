"""The limits of what a manager enters, and the pause of all entries."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from trailing.core.model import Percent, check_money, refuse


class EntryLimits(msgspec.Struct, frozen=True):
    """The most that a manager enters. An entry beyond a limit is a `NotEntered` with the reason ``"limit"``; nothing is sent.

    Args:
        max_positions: the most positions that may be open, entered or ended at once, at least 1; None: no limit.
        max_notional_per_wave: the largest sum of quantity times price of one wave, in quote units, above 0; None: no limit.
        max_slippage: how much worse than the market price at the call an entry at market may be filled, below 100 percent. The
            order is sent with that limit, and what is not filled at once is cancelled. None: no limit.

    Raises:
        UsageError: naming the field, what it got and what it wants.
    """

    max_positions: int | None = None
    max_notional_per_wave: Decimal | None = None
    max_slippage: Percent | None = None

    def __post_init__(self) -> None:
        most, slippage = self.max_positions, self.max_slippage
        if most is not None and (type(most) is not int or most < 1):
            raise refuse("EntryLimits.max_positions", most, "a whole number of at least 1, or None")
        if self.max_notional_per_wave is not None:
            check_money("EntryLimits.max_notional_per_wave", self.max_notional_per_wave)
        checked: Any = slippage
        if slippage is not None and (not isinstance(checked, Percent) or checked >= Percent(100)):
            raise refuse("EntryLimits.max_slippage", slippage, "a Percent below 100, or None")


NO_LIMITS = EntryLimits()
