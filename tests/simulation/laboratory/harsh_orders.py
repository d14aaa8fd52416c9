"""Harsh faults of single requests: throttles, failing cancellations, rounded, early and wrong acknowledgements."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Final

import msgspec
import trio
from msgspec.structs import replace

from simulation.laboratory.fault_log import FaultLog, moments
from simulation.laboratory.harsh_rates import COARSE_TICKS, EARLY_SECONDS, SICK_SECONDS, THROTTLE_SECONDS
from simulation.laboratory.scenario import TICK
from trailing.core.model import StopOrder, Tick
from trailing.errors import ExchangeUnreachable, OutcomeUnknown, StopRejected, TrailingError
from trailing.testing.faults import Fault, Throttles

CANCEL_FAILURES: Final[Mapping[str, Callable[[str], TrailingError]]] = {
    "service unavailable (503)": ExchangeUnreachable,
    "internal error (-1007)": OutcomeUnknown,
    "unknown order (-2011)": StopRejected,
}
"""The replies to a sick symbol's cancellations, and the errors that an adapter raises. No stop is cancelled."""


class ThrottledOperations:
    """An operation is throttled, for the whole account."""

    def __init__(self, log: FaultLog) -> None:
        self._log, self._draw = log, log.draw("throttles")
        self._until: dict[str, float] = {}

    def is_throttled(self, operation: str) -> bool:
        """Whether the operation is throttled now."""
        return not self._log.is_over and trio.current_time() < self._until.get(operation, 0.0)

    def strike(self, operation: str) -> Fault | None:
        """Return the fault of a call: a refusal with the seconds that are left, or None."""
        if self._log.is_over:
            return None
        now = trio.current_time()
        if not self.is_throttled(operation):
            if self._draw.random() >= self._log.rates.throttles:
                return None
            self._until[operation] = now + self._draw.uniform(*THROTTLE_SECONDS)
        until = self._until[operation]
        self._log.note("throttles", until=until)
        return Throttles(until - now)


class _Sickness(msgspec.Struct, frozen=True):
    symbol: str
    begins: float
    ends: float
    failure: str


class SickSymbols:
    """Every cancellation of one symbol fails for minutes. Its other requests and the other symbols work.

    Args:
        symbols: the symbols of the world.
        duration: the duration of the world, in seconds.
    """

    def __init__(self, log: FaultLog, symbols: Sequence[str], duration: float) -> None:
        self._log = log
        draw = log.draw("sick_symbols")
        self._times: list[_Sickness] = []
        for at in moments(draw, log.rates.sick_symbols, duration):
            seconds = draw.uniform(*SICK_SECONDS)
            symbol, failure = draw.choice(symbols), draw.choice(tuple(CANCEL_FAILURES))
            if not self._times or at >= self._times[-1].ends:  # one symbol at a time, so that the others work
                self._times.append(_Sickness(symbol, at, at + seconds, failure))

    @property
    def symbol(self) -> str | None:
        """The symbol whose cancellations fail now, or None."""
        sick = self._now()
        return None if sick is None else sick.symbol

    def strike(self, symbol: str) -> TrailingError | None:
        """Return the error of a cancellation if the symbol is sick, else None."""
        sick = self._now()
        if sick is None or symbol != sick.symbol:
            return None
        self._log.note("sick_symbols", symbol, until=sick.ends)
        return CANCEL_FAILURES[sick.failure](f"cancel_stop of {symbol}: {sick.failure}")

    def _now(self) -> _Sickness | None:
        now = trio.current_time()
        sick = (one for one in self._times if one.begins <= now < one.ends)
        return None if self._log.is_over else next(sick, None)


class CoarseMarkets:
    """Some markets round trigger prices more coarsely than their `price_tick`, and acknowledge the rounded price."""

    def __init__(self, log: FaultLog, symbols: Sequence[str]) -> None:
        self._log = log
        draw = log.draw("rounded_acknowledgements")
        self._coarse = {one for one in symbols if draw.random() < log.rates.rounded_acknowledgements}

    def booked(self, symbol: str, price: Decimal) -> Decimal:
        """Return the trigger price that the market books for a requested one."""
        if symbol not in self._coarse or self._log.is_over:
            return price
        coarse = TICK * COARSE_TICKS
        rounded = (price / coarse).quantize(Decimal(1)) * coarse
        if rounded != price:
            self._log.note("rounded_acknowledgements", symbol)
        return rounded


class EarlyFills:
    """The market triggers a stop that was just booked. The acknowledgement comes after one fill or all fills.

    Args:
        feed: moves the market to a price, for one tick.
    """

    def __init__(self, log: FaultLog, feed: Callable[[Tick], object]) -> None:
        self._log, self._draw, self._feed = log, log.draw("early_fills"), feed

    async def hold_back(self, order: StopOrder) -> None:
        """Trigger a booked stop and wait if the fault strikes, else return at once."""
        if self._log.is_over or order.callback is not None or self._draw.random() >= self._log.rates.early_fills:
            return
        self._log.note("early_fills", order.symbol)
        for _ in range(self._draw.randint(1, 3)):  # each tick fills a part, three fill the whole stop
            self._feed(Tick(order.symbol, order.price, trio.current_time()))
        await trio.sleep(self._draw.uniform(*EARLY_SECONDS))


class WrongAcknowledgements:
    """An acknowledgement has another price or quantity than was requested and booked."""

    def __init__(self, log: FaultLog) -> None:
        self._log, self._draw = log, log.draw("wrong_acknowledgements")

    def shown(self, order: StopOrder) -> StopOrder:
        """Return the order as it is acknowledged."""
        if self._log.is_over or self._draw.random() >= self._log.rates.wrong_acknowledgements:
            return order
        self._log.note("wrong_acknowledgements", order.symbol)
        if self._draw.random() < 0.6:
            factor = self._draw.choice((Decimal("0.8"), Decimal("0.97"), Decimal("1.03"), Decimal("1.2")))
            return replace(order, price=(order.price * factor).quantize(TICK))
        return replace(order, quantity=order.quantity * self._draw.choice((Decimal("0.5"), Decimal(2))))
