"""A paper account with one symbol, its published updates, and short methods for what happens on it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from typing import Any

from trailing.core.model import Percent, Position, Side, Source, StopOrder, Tick
from trailing.exchanges.paper.account import PaperAccount
from trailing.exchanges.paper.market_book import VenueRules
from trailing.exchanges.port import EntryUpdate, OrderUpdate, PositionUpdate, StopRequest

BTC = "BTC/USDT:USDT"
OPENED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Venue:
    """A paper account, its published updates, and short methods for requests and prices."""

    def __init__(self, **rules: Any) -> None:
        self.updates: list[OrderUpdate | EntryUpdate | PositionUpdate] = []
        self.book = PaperAccount(VenueRules(**rules), self.updates.append, lambda at: OPENED + timedelta(seconds=at))

    def enter(self, side: Side = "long", quantity: str = "2", price: str = "100") -> None:
        self.book.enter(Position(BTC, side, D(quantity), D(price), OPENED), 0.0)

    def place(
        self, name: str, price: str, *, quantity: str = "2", side: Side = "long", source: Source = "last"
    ) -> StopOrder:
        return self.book.place(StopRequest(BTC, side, D(quantity), D(price), name, source), 0.0)

    def feed(self, price: str, source: Source = "last") -> None:
        self.book.jump_to(Tick(BTC, D(price), 0.0, source), 1.0)

    def move(self, *prices: str, source: Source = "last") -> None:
        for price in prices:
            self.book.move_to(Tick(BTC, D(price), 0.0, source), 1.0)

    def trail(
        self, name: str, price: str, callback: str, *, quantity: str = "2", side: Side = "long", source: Source = "last"
    ) -> None:
        request = StopRequest(BTC, side, D(quantity), D(price), name, source, Percent(callback))
        self.book.place(request, 0.0)

    def live(self) -> dict[str, D]:
        return {order.client_order_id: order.quantity for order in self.book.stops(9.0)}

    def held(self) -> dict[Side, D]:
        return {report.side: report.quantity for report in self.book.positions(9.0)}

    def fills(self) -> list[tuple[str, D, D]]:
        """Return client order id, quantity and price of every fill."""
        fills = [update.fill for update in self.updates if isinstance(update, OrderUpdate) and update.fill]
        return [(fill.client_order_id, fill.quantity, fill.price) for fill in fills]

    def statuses(self, name: str) -> list[str]:
        orders = [update for update in self.updates if isinstance(update, OrderUpdate)]
        return [order.status for order in orders if order.client_order_id == name]
