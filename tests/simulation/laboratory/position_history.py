"""The true history of one position, from its entry until it is flat."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence, Set
from decimal import Decimal
from typing import TypeAlias

from trailing.core.model import Side, StopOrder
from trailing.core.prices import is_better, is_crossed, is_tighter

Key: TypeAlias = tuple[str, Side]
"""Symbol and side."""

_SUBSCRIBE_SECONDS = 3.0
"""Seconds after an entry in which prices may come before the subscription."""


class PositionHistory:
    """The true history of one position.

    Args:
        at: time of the entry, in seconds of the world.
        leftovers: the client order ids of the stops of earlier positions that were live at the entry.

    Attributes:
        tightest: the tightest stop that was ever booked for the position, or None.
        crossed_at: time at which the price was last at or beyond the stop, or None.
        was_triggered: whether a stop of its own was triggered without being filled, so that it protects nothing.
        was_crossed_when_sent: whether the market was at or beyond the tightest stop when the last stop or amendment was sent.
        was_added_to: whether a person added to the position.
        has_grown: whether its entry was filled further.
        ever_protected: whether the position ever had a stop of its own.
        closed_by_us: whether a close of ours was filled.
        unprotected_since: time at which the position lost its stop, or None.
        unprotected_seconds: the seconds without a stop up to that time, by cause.
        expected_peak: the best price that the process must have received by now.
    """

    def __init__(
        self, symbol: str, side: Side, at: float, entry_price: Decimal, leftovers: Set[str] = frozenset()
    ) -> None:
        self.symbol: str = symbol
        self.side: Side = side
        self.entered_at: float = at
        self.tightest: Decimal | None = None
        self.crossed_at: float | None = None
        self.unprotected_since: float | None = at
        self.unprotected_seconds: Counter[str] = Counter()
        self.expected_peak: Decimal = entry_price
        self.closed_by_us: bool = False
        self.was_triggered: bool = False
        self.was_added_to: bool = False
        self.has_grown: bool = False
        self.was_crossed_when_sent: bool = False
        self.ever_protected: bool = False
        self._entry_price, self._leftovers, self._bars_since = entry_price, leftovers, at
        self._bars: list[tuple[float, Decimal]] = []  # the end and the best price of every whole minute of the position
        self._read = 0

    def stop_booked(self, price: Decimal) -> str | None:
        """Take a stop of ours that was booked or changed. Returns a violation, or None.

        Excuse: while a triggered stop is not filled, the market takes only a looser stop.
        """
        before = self.tightest
        if before is None or self.was_triggered or not is_tighter(self.side, before, than=price):
            self.tightest = price
            return None
        return f"from {before} to {price}"

    def stop_loosened(self, price: Decimal) -> None:
        """Take a stop of ours that a person loosened. Later stops of ours may start from there."""
        if self.tightest is not None and is_tighter(self.side, self.tightest, than=price):
            self.tightest = price

    def note_attached(self, client_order_id: str) -> None:
        """Take a stop of ours that the position's entry has placed."""
        self._leftovers = self._leftovers - {client_order_id}

    def note_on_record(self, *prices: Decimal) -> None:
        """Take such a stop once it is on record, because before that the process need not know it.

        Args:
            prices: on record, and the true one. The looser one counts, because the exchange may round, and a person amend.
        """
        price = next(one for one in prices if not any(is_tighter(self.side, one, than=other) for other in prices))
        if self.tightest is None or is_tighter(self.side, price, than=self.tightest):
            self.tightest = price

    def note_average(self, price: Decimal) -> None:
        """Take another average price of the entry. Before it has a stop, the process needs no better peak than that."""
        self.has_grown = True
        if self.expected_peak == self._entry_price and is_better(self.side, self._entry_price, price):
            self.expected_peak = price
        if is_better(self.side, self._entry_price, price):
            self._entry_price = price

    def take_price(self, price: Decimal, at: float, receives_prices: Callable[[str], bool]) -> None:
        """Take a price. `receives_prices`: whether the process receives the prices of a symbol."""
        if self.tightest is None:
            return
        if is_crossed(self.side, price, self.tightest):
            self.crossed_at = at
        ends = at - at % 60.0 + 60.0
        if self._bars and self._bars[-1][0] == ends:
            if is_better(self.side, price, self._bars[-1][1]):
                self._bars[-1] = (ends, price)
        elif ends - 60.0 >= self._bars_since + _SUBSCRIBE_SECONDS:
            self._bars.append((ends, price))
        if is_better(self.side, price, self.expected_peak) and receives_prices(self.symbol):
            self.expected_peak = price

    def forget_prices(self) -> None:
        """Forget the prices that a dead process received, because the next one can only read candles."""
        self.expected_peak, self._read = self._entry_price, 0

    def note_record_closed(self, at: float) -> None:
        """Forget all prices up to a time: the process protects the position no more, or anew."""
        self.forget_prices()
        self._bars.clear()
        self._bars_since = at

    def note_candles_read(self, until: float) -> None:
        """Assume that the process has read all candles that ended by `until`."""
        while self._read < len(self._bars) and self._bars[self._read][0] <= until:
            price = self._bars[self._read][1]
            self._read += 1
            if is_better(self.side, price, self.expected_peak):
                self.expected_peak = price

    def expects_better_than(self, best: Decimal) -> bool:
        """Whether the process must have received a better price than `best` by now."""
        return is_better(self.side, self.expected_peak, best)

    def note_stops(self, stops: Sequence[StopOrder]) -> None:
        """Take the present live stops of the position."""
        self.was_triggered = self.was_triggered or any(one.triggered for one in stops)
        if not self.ever_protected:
            self.ever_protected = any(one.client_order_id not in self._leftovers for one in stops)

    def note_protection(self, at: float, why: str, *, protected: bool) -> None:
        """Start or end unprotected time. `why`: the cause of the unprotected time until now."""
        if self.unprotected_since is not None:
            self.unprotected_seconds[why] += at - self.unprotected_since  # type: ignore[assignment]  # a Counter of seconds
            self.unprotected_since = None if protected else at
        elif not protected:
            self.unprotected_since = at
