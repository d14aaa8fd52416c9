"""A bot's own take-profits on the paper exchange: reduce-only limit orders, which cover a part of a position until they end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Literal

from trailing.core.account import OpenOrder
from trailing.core.model import Side
from trailing.core.prices import is_better
from trailing.errors import NothingToReduce, StopRejected
from trailing.exchanges.paper.lagged_view import LaggedView
from trailing.exchanges.paper.market_book import MarketBook
from trailing.exchanges.paper.order_checks import check_price, check_quantity
from trailing.exchanges.port import OrderUpdate


class TakeProfits:
    """The open take-profits of an account. Every `at` is in seconds on the running clock, and never decreases.

    Args:
        lag: seconds after which a read shows a change, at least 0.
        publish: called with each update.
    """

    def __init__(self, lag: float, publish: Callable[[OrderUpdate], None]) -> None:
        self._lag, self._publish = lag, publish
        self._visible: LaggedView[tuple[str, str], OpenOrder] = LaggedView(lag)

    def visible(self, symbol: str, at: float) -> Sequence[OpenOrder]:
        """Return the open take-profits of a symbol as a read shows them at a time."""
        return [order for order in self._visible.at(at).values() if order.symbol == symbol]

    def place(
        self, book: MarketBook, side: Side, quantity: Decimal, price: Decimal, client_order_id: str, at: float
    ) -> OpenOrder:
        """Place one.

        Raises:
            StopRejected: the market's rules are violated, or other orders leave less of the position.
            NothingToReduce: there is no such position, or other orders cover all of it.
        """
        symbol = book.market.symbol
        check_price(book.market, price)
        check_quantity(book.market, quantity, price, book.held(side).quantity)
        if quantity > free(book, side):
            raise StopRejected(f"{symbol}: quantity {quantity} is larger than what other orders leave of the position")
        order = OpenOrder(
            symbol=symbol,
            order_id=book.next_order_id(),
            client_order_id=client_order_id,
            kind="LIMIT",
            order_side="sell" if side == "long" else "buy",
            side=side,
            quantity=quantity,
            price=price,
        )
        book.take_profits[client_order_id] = order
        self._changed(order, "live", at)
        return order

    def cancel(self, book: MarketBook, client_order_id: str, at: float) -> None:
        """Cancel an open one."""
        self._changed(book.take_profits.pop(client_order_id), "cancelled", at)

    def cancel_all(self, book: MarketBook, side: Side, at: float) -> None:
        """Cancel all of a position."""
        for order in tuple(book.take_profits.values()):
            if order.side == side:
                self.cancel(book, order.client_order_id, at)

    def load(self, book: MarketBook, at: float) -> None:
        """Let reads show those of a loaded state at once."""
        for order in book.take_profits.values():
            self._visible.change((order.symbol, order.client_order_id), order, at - self._lag)

    def take_reached(self, book: MarketBook, price: Decimal, at: float) -> Iterator[tuple[Side, Decimal, OpenOrder]]:
        """Remove each one that a price reaches, and yield the side of its position, its price, and the order."""
        for order in tuple(book.take_profits.values()):
            side, limit = order.side, order.price
            assert side is not None
            assert limit is not None
            if order.client_order_id in book.take_profits and not is_better(side, limit, price):
                del book.take_profits[order.client_order_id]
                self._visible.change((order.symbol, order.client_order_id), None, at)
                yield side, limit, order

    def _changed(self, order: OpenOrder, status: Literal["live", "cancelled"], at: float) -> None:
        symbol, own_id, side = order.symbol, order.client_order_id, order.side
        assert side is not None
        self._visible.change((symbol, own_id), order if status == "live" else None, at)
        self._publish(OrderUpdate(symbol, side, own_id, order.order_id, status, at))


def free(book: MarketBook, side: Side) -> Decimal:
    """Return what take-profits leave of a position. Raises NothingToReduce if it is flat, or if that is nothing."""
    book.held(side)
    left = book.free(side)
    if not left:
        raise NothingToReduce(
            f"{book.market.symbol}: reduce-only order failed, other open orders cover the {side} position"
        )
    return left
