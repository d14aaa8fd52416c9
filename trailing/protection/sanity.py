"""What is checked at the door, with prices and reports that are already there: the good path of a position is one
request, and no bad print or wrong entry price ever closes a healthy position.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal

import trio

from trailing.core.account import PositionReport
from trailing.core.model import Side, Source, Tick
from trailing.core.prices import is_crossed, is_tighter, is_within, stop_before_liquidation
from trailing.core.stop import TrailingStop
from trailing.errors import ExchangeError, ExchangeUnreachable, UsageError
from trailing.exchanges.port import Exchange

REPORT_WAIT = 1.0
"""Seconds that an opening waits for the wave's report once its stop stands. It is asked for beside the placing, so it
is mostly there; a venue whose report takes longer than its orders and this is not waited for."""


class Door:
    """Checks the positions of one wave.

    Args:
        known_price: the last tick of a symbol and source that the feed has seen, or None.
        shows_from: the time of day, aware UTC, from which on the report shows every position for sure.
    """

    def __init__(self, known_price: Callable[[str, Source], Tick | None], shows_from: datetime) -> None:
        self._known_price, self._shows_from = known_price, shows_from
        self._reports: dict[tuple[str, Side], PositionReport] = {}
        self._read = trio.Event()
        self.error: ExchangeError | None = None

    async def read(self, exchange: Exchange) -> None:
        """Read the account's positions once. A read that fails leaves the checks with the prices alone."""
        try:
            self._reports = {(report.symbol, report.side): report for report in await exchange.positions()}
        except ExchangeError as error:
            self.error = error
        finally:
            self._read.set()

    async def wait_read(self) -> None:
        """Wait until the report is there, at most `REPORT_WAIT`, shielded: the position has its stop meanwhile."""
        if self._read.is_set():
            return
        with trio.move_on_after(REPORT_WAIT, shield=True) as scope:
            await self._read.wait()
        if scope.cancelled_caught:
            self.error = ExchangeUnreachable(f"no report of the positions within {REPORT_WAIT} s")

    def known_price(self, stop: TrailingStop) -> Decimal | None:
        """The last price of the plan's source, if the feed has one that is not stale."""
        tick = self._known_price(stop.position.symbol, stop.plan.trigger)
        if tick is None or trio.current_time() - tick.at > stop.plan.stale_after:
            return None
        return tick.price

    def report(self, stop: TrailingStop) -> PositionReport | None:
        """The position as reported, or None: not reported, or not yet visible, which proves nothing.

        One that was opened within the read lag may not be the one that the report shows, which may have just closed:
        there, only a report that agrees with it is believed.
        """
        position = stop.position
        report = self._reports.get((position.symbol, position.side))
        if report is None or position.opened_at <= self._shows_from:
            return report
        agrees = (report.quantity, report.entry_price) == (position.quantity, position.entry_price)
        return report if agrees else None

    @staticmethod
    def check_size(stop: TrailingStop, price: Decimal | None) -> None:
        """Refuse what the market does not allow: a quantity too small, a stop too near to the price, where one is known.

        Raises:
            UsageError: naming the field, what it got and what it wants.
        """
        position, plan, market = stop.position, stop.plan, stop.market
        if not stop.can_be_covered:
            raise UsageError(
                f"Position.quantity of {position.symbol} got {position.quantity}, wants at least "
                f"{max(market.min_quantity, market.quantity_step)}"
            )
        if price is None or is_crossed(position.side, price, stop.first_price):
            price = position.entry_price
        if abs(price - stop.first_price) < plan.min_stop_ticks * market.price_tick:
            raise UsageError(
                f"the stop of {position.symbol} got {stop.first_price}, wants at least {plan.min_stop_ticks} ticks of "
                f"{market.price_tick} from {price}"
            )

    def check_report(self, stop: TrailingStop, report: PositionReport | None) -> None:
        """Refuse what the exchange's own figures contradict: the reported position's, or the last price.

        Raises:
            UsageError: naming the field, what it got and what it wants.
        """
        position = stop.position
        if report is not None and stop.coverable > report.quantity:
            raise UsageError(
                f"Position.quantity of {position.symbol} got {position.quantity}, wants at most the "
                f"{report.quantity} that the exchange reports"
            )
        self.check_entry(stop, self.known_price(stop) if report is None else report.entry_price)

    @staticmethod
    def check_entry(stop: TrailingStop, own: Decimal | None) -> None:
        """Refuse an entry price that is too far from the exchange's own: the reported entry, else the price now."""
        position, gap = stop.position, stop.plan.max_entry_gap
        if own is not None and not is_within(position.entry_price, own, gap):
            raise UsageError(
                f"Position.entry_price of {position.symbol} got {position.entry_price}, wants within {gap} of the "
                f"exchange's {own}"
            )

    @staticmethod
    def check_side(stop: TrailingStop, price: Decimal) -> None:
        """Refuse a given stop on the wrong side of the price that was not crossed: it was never on the right one."""
        position = stop.position
        given = position.stop_price
        if given is None or not is_crossed(position.side, price, given):
            return
        if is_crossed(position.side, position.entry_price, given):
            raise UsageError(
                f"Position.stop_price of {position.symbol} got {given}, wants it "
                f"{'below' if position.side == 'long' else 'above'} the price, {price}"
            )

    @staticmethod
    def liquidation_stop(stop: TrailingStop, report: PositionReport | None) -> Decimal | None:
        """The stop just before the reported liquidation price, where the wanted one lies beyond it; else None."""
        if report is None or not report.liquidation_price:
            return None
        side, plan = stop.position.side, stop.plan
        nearest = stop_before_liquidation(
            side, report.liquidation_price, plan.liquidation_buffer, stop.market.price_tick
        )
        return nearest if is_tighter(side, nearest, stop.target) else None
