"""The limits of what a manager enters, and the check of what the exchange has set for entries."""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from typing import Any, Final, get_args

import msgspec
import trio

from trailing.core.entry_orders import EntrySettings, MarginMode
from trailing.core.model import Percent, Side, check_money, check_one_of, refuse
from trailing.errors import UsageError
from trailing.protection.requests import RequestSender


class LimitReached(UsageError):
    """A limit of `EntryLimits` was reached. Nothing was sent."""


class EntryLimits(msgspec.Struct, frozen=True):
    """The most that a manager enters. An entry beyond a limit is a `NotEntered` with the reason ``"limit"``; nothing is sent.

    Args:
        max_positions: the most positions that may be open, entered or ended at once, at least 1; None: no limit.
        max_notional_per_wave: the largest sum of quantity times price of one wave, in quote units, above 0; None: no limit.
        max_leverage: the largest leverage that the exchange may have set for the symbol and side, above 0; None: no limit. Also
            beyond it if the exchange does not state it.
        margin_mode: ``"cross"``, ``"isolated"`` or ``"portfolio"``: what the exchange has to have set for the symbol; None: any.
        max_slippage: how much worse than the market price at the call an entry at market may be filled, below 100 percent. The
            order is sent with that limit, and what is not filled at once is cancelled. None: no limit.

    Raises:
        UsageError: naming the field, what it got and what it wants.
    """

    max_positions: int | None = None
    max_notional_per_wave: Decimal | None = None
    max_leverage: Decimal | None = None
    margin_mode: MarginMode | None = None
    max_slippage: Percent | None = None

    def __post_init__(self) -> None:
        most, slippage = self.max_positions, self.max_slippage
        if most is not None and (type(most) is not int or most < 1):
            raise refuse("EntryLimits.max_positions", most, "a whole number of at least 1, or None")
        if self.max_notional_per_wave is not None:
            check_money("EntryLimits.max_notional_per_wave", self.max_notional_per_wave)
        if self.max_leverage is not None:
            check_money("EntryLimits.max_leverage", self.max_leverage)
        if self.margin_mode is not None:
            check_one_of("EntryLimits.margin_mode", self.margin_mode, get_args(MarginMode))
        checked: Any = slippage
        if slippage is not None and (not isinstance(checked, Percent) or checked >= Percent(100)):
            raise refuse("EntryLimits.max_slippage", slippage, "a Percent below 100, or None")

    def check_settings(self, settings: EntrySettings, side: Side) -> None:
        """Refuse an entry for which the exchange has set something else than these limits allow.

        Raises:
            LimitReached: naming the symbol, what is set and the limit.
        """
        symbol, leverage = settings.symbol, settings.leverage(side)
        if self.margin_mode is not None and settings.margin_mode != self.margin_mode:
            mode = settings.margin_mode or "unclear"
            raise LimitReached(
                f"{symbol}: its margin mode is {mode}, and EntryLimits.margin_mode is {self.margin_mode}"
            )
        if self.max_leverage is not None and (leverage is None or leverage > self.max_leverage):
            found = "unknown" if leverage is None else f"{leverage:f}"
            raise LimitReached(
                f"{symbol}: its leverage is {found}, and EntryLimits.max_leverage is {self.max_leverage:f}"
            )


NO_LIMITS: Final = EntryLimits()


class SettingsCheck:
    """Check once what the exchange has set for entries, before the first one is sent.

    The position mode concerns the whole account, so that one symbol tells it. Margin mode and leverage are read for each symbol
    if the limits name them. Entries that wait for the same read share it.
    """

    def __init__(self, sender: RequestSender, call_seconds: float) -> None:
        self._sender, self._call_seconds = sender, call_seconds
        self._settings: dict[str, EntrySettings] = {}
        self._reading: dict[str, trio.Event] = {}

    async def check(self, symbol: str, side: Side, limits: EntryLimits) -> None:
        """Check what is set for an entry, by one read at most.

        Raises:
            UsageError: the position mode was changed since the exchange was opened.
            LimitReached: margin mode or leverage are not what the limits allow.
            ExchangeError: the settings can't be read.

        Cancellation: nothing was sent for the entry.
        """
        is_of_symbol = limits.max_leverage is not None or limits.margin_mode is not None
        if self._settings and not is_of_symbol:
            return
        settings = await self._read(symbol, symbol if is_of_symbol else "")
        limits.check_settings(settings, side)

    async def _read(self, symbol: str, key: str) -> EntrySettings:
        """Return what is set for a symbol. `key`: reads with the same one are shared."""
        while key not in self._settings:
            reading = self._reading.get(key)
            if reading is not None:
                await reading.wait()
                continue
            self._reading[key] = trio.Event()
            try:
                exchange = self._sender.exchange
                asking = partial(exchange.entry_settings, symbol)
                settings = await self._sender.read("entry_settings", asking, self._call_seconds)
                if settings.hedged is not exchange.hedged:
                    mode = {True: "hedge mode", False: "one-way mode"}
                    raise UsageError(
                        f"the account is in {mode[settings.hedged]} now, and was in {mode[exchange.hedged]} when the exchange was "
                        "opened; open it again"
                    )
                self._settings[key] = settings
            finally:
                self._reading.pop(key).set()
        return self._settings[key]
