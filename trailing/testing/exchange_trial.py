"""The base of the checks of an exchange: valid sizes and prices, and the assertions that the checks share."""

from __future__ import annotations

import math
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from typing import Protocol, TypeAlias

import msgspec
import trio

from trailing.core.model import Fill, Market, Percent, Position, Side, Source, StopOrder, Tick
from trailing.core.prices import behind, is_tighter, round_stop
from trailing.errors import TrailingError
from trailing.exchanges.port import Exchange, OrderUpdate, StopRequest, StreamState, Update

CALL_SECONDS = 10.0
"""Seconds in which a call must be answered: the manager's own limit."""

_FIRST_SECONDS = 0.05
"""Seconds in which an update that is ready when `updates` is entered must come."""


class ExchangeUnderTest(Protocol):
    """An exchange with an empty account, and two methods that act on its market.

    Both methods return when the exchange has processed the call. Its updates may come later.
    """

    @property
    def exchange(self) -> Exchange: ...

    async def enter(self, position: Position) -> None:
        """Book a filled entry. If the market has no price yet, the entry price becomes its price of every source.

        Raises UsageError if the account can't hold the position, such as the other side in one-way mode.
        """

    async def move_price(self, symbol: str, price: Decimal, source: Source) -> None:
        """Move the market's price of one source."""


@contextmanager
def refused(error_type: type[TrailingError], what: str) -> Iterator[None]:
    """Check that the block raises an error of a type."""
    try:
        yield
    except error_type:
        return
    raise AssertionError(f"{what} did not raise {error_type.__name__}")


@contextmanager
def within(seconds: float, what: str) -> Iterator[None]:
    """Check that the block ends within so many seconds."""
    with trio.move_on_after(seconds) as scope:
        yield
    if scope.cancelled_caught:
        raise AssertionError(f"{what}: not within {seconds} s")


def expect(holds: bool, what: str) -> None:  # noqa: FBT001  # it is used like assert
    """Assert, also if Python runs with optimisation."""
    if not holds:
        raise AssertionError(what)


def new_id() -> str:
    """Return a new client order id without our tag."""
    return f"check{secrets.token_hex(8)}"


class Trial:
    """One run of a check on one side of the market.

    Attributes:
        price: the market's price of every source.
        unit: the smallest quantity that the market takes at about that price, in base units.
    """

    def __init__(self, bench: ExchangeUnderTest, symbol: str, other_symbol: str, side: Side) -> None:
        self.bench = bench
        self.exchange: Exchange = bench.exchange
        self.symbol = symbol
        self.other_symbol = other_symbol
        self.side: Side = side
        self.other_side: Side = "short" if side == "long" else "long"
        self.market: Market = self.exchange.market(symbol)
        # At least a thousand ticks, so that one per cent is ten ticks.
        tick, step = self.market.price_tick, self.market.quantity_step
        self.price: Decimal = tick * max(1000, math.ceil(1000 / tick))
        least = max(self.market.min_quantity, 2 * self.market.min_notional / self.price, step)
        self.unit: Decimal = step * (least / step).to_integral_value(ROUND_CEILING)

    async def enter(self, side: Side | None = None) -> Position:
        """Open a position of four units."""
        position = Position(self.symbol, side or self.side, 4 * self.unit, self.price, datetime.now(UTC))
        await self.bench.enter(position)
        return position

    def stop_price(self, percent: str) -> Decimal:
        """Return the price that is so many per cent behind the market."""
        return round_stop(self.side, behind(self.side, self.price, Percent(percent)), self.market.price_tick)

    def request(self, percent: str = "2", *, source: Source = "last") -> StopRequest:
        """Return a request for a stop of the whole position, so many per cent behind the market."""
        return StopRequest(self.symbol, self.side, 4 * self.unit, self.stop_price(percent), new_id(), source)

    async def place(self, request: StopRequest) -> StopOrder:
        """Place a stop, and check that it is acknowledged as requested."""
        with within(CALL_SECONDS, "place_stop"):
            order = await self.exchange.place_stop(request)
        self.expect_as_wanted(order, request)
        return order

    def expect_as_wanted(self, order: StopOrder, request: StopRequest) -> None:
        """Check that a stop is what was requested."""
        wanted = StopOrder(**msgspec.structs.asdict(request), order_id=order.order_id)
        expect(order == wanted, f"requested was {request}, acknowledged is {order}")
        expect(bool(order.order_id), f"{order} has no order id")

    async def listed(self, client_order_id: str) -> StopOrder | None:
        """Return the listed stop of an id, `orders_read_lag` from now; None: it is not listed."""
        await trio.sleep(self.exchange.orders_read_lag)
        with within(CALL_SECONDS, "open_stops"):
            orders = [order for order in await self.exchange.open_stops() if order.client_order_id == client_order_id]
        expect(len(orders) <= 1, f"open_stops lists {client_order_id} {len(orders)} times")
        return orders[0] if orders else None

    async def found(self, client_order_id: str) -> StopOrder | None:
        """Return the stop that a look-up finds under an id, or None."""
        with within(CALL_SECONDS + self.exchange.request_validity, "find_stop"):
            return await self.exchange.find_stop(self.symbol, client_order_id)

    async def expect_live(self, order: StopOrder) -> None:
        """Check that list and look-up show exactly this stop, `orders_read_lag` from now."""
        lag = self.exchange.orders_read_lag
        listed = await self.listed(order.client_order_id)
        expect(listed == order, f"live is {order}; {lag} s (orders_read_lag) later open_stops shows {listed}")
        found = await self.found(order.client_order_id)
        expect(found == order, f"live is {order}; {lag} s (orders_read_lag) later find_stop shows {found}")

    async def expect_absent(self, client_order_id: str) -> None:
        """Check that neither list nor look-up shows a stop, `orders_read_lag` from now."""
        lag = self.exchange.orders_read_lag
        listed = await self.listed(client_order_id)
        expect(listed is None, f"no stop should be live; {lag} s (orders_read_lag) later open_stops shows {listed}")
        found = await self.found(client_order_id)
        expect(found is None, f"no stop should be live; {lag} s (orders_read_lag) later find_stop shows {found}")

    async def held(self, side: Side) -> Decimal:
        """Return the reported quantity of a side, `positions_read_lag` from now; 0: no report."""
        await trio.sleep(self.exchange.positions_read_lag)
        with within(CALL_SECONDS, "positions"):
            reports = [
                report
                for report in await self.exchange.positions()
                if (report.symbol, report.side) == (self.symbol, side)
            ]
        expect(len(reports) <= 1, f"positions reports the {side} {self.symbol} {len(reports)} times")
        return reports[0].quantity if reports else Decimal(0)

    async def expect_flat(self) -> None:
        """Check that no position of either side is reported."""
        for side in (self.side, self.other_side):
            held = await self.held(side)
            expect(not held, f"the position should be flat, positions reports a {side} of {held}")

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[trio.abc.ReceiveChannel[Update]]:
        """Open the updates, and wait until the stream is connected; one that is not connected says so first."""
        async with self.exchange.updates() as updates:
            first: Update | None = None
            with trio.move_on_after(_FIRST_SECONDS):
                first = await updates.receive()
            if isinstance(first, StreamState) and not first.connected:
                with within(CALL_SECONDS, "a StreamState that the stream is up"):
                    async for update in updates:
                        if isinstance(update, StreamState) and update.connected:
                            break
            yield updates

    async def trigger(
        self, order: StopOrder, updates: trio.abc.ReceiveChannel[Update], beyond: Decimal | None = None
    ) -> list[Fill]:
        """Move the market beyond a stop until it has ended, and return its fills in their order.

        No two fills may have the same trade id, and `filled` must be their sum so far, if the exchange has these fields.

        Args:
            beyond: the price to which the market moves; None: just beyond the stop's price.
        """
        beyond = behind(self.side, order.price, self.market.price_tick) if beyond is None else beyond
        fills: list[Fill] = []
        ended = False
        with within(CALL_SECONDS, f"an update that the triggered {order.client_order_id} has ended"):
            while not ended:
                await self.bench.move_price(order.symbol, beyond, order.source)
                with trio.move_on_after(1):  # a triggered stop may be filled later, at another price
                    ended = await self._follow(order, updates, fills)
        trades = [fill.trade_id for fill in fills if fill.trade_id is not None]
        expect(len(set(trades)) == len(trades), f"two fills of {order.client_order_id} have one trade id: {trades}")
        return fills

    async def _follow(self, order: StopOrder, updates: trio.abc.ReceiveChannel[Update], fills: list[Fill]) -> bool:
        """Wait for the next update of an order, and collect its fill. Return whether the order has ended."""
        async for update in updates:
            if not isinstance(update, OrderUpdate) or update.client_order_id != order.client_order_id:
                continue
            if update.fill is not None:
                fills.append(update.fill)
            so_far = sum((fill.quantity for fill in fills), Decimal(0))
            expect(update.filled in {None, so_far}, f"{so_far} were filled, and {update} came")
            return update.status in {"filled", "cancelled"}
        return False

    def expect_fill(self, fill: Fill, client_order_id: str) -> None:
        """Check that a fill names our position and our order."""
        named = (fill.symbol, fill.side, fill.client_order_id)
        expect(named == (self.symbol, self.side, client_order_id), f"the fill of {client_order_id} is {fill}")
        self.expect_recent(fill.at)

    def expect_recent(self, at: float) -> None:
        """Check that a time is of the running clock and at most a minute ago."""
        now = trio.current_time()
        expect(now - 60 <= at <= now, f"a time of {at} while the running clock shows {now}")

    async def next_tick(
        self, updates: trio.abc.ReceiveChannel[Update], symbol: str, *, never: str | None, prices: Iterator[Decimal]
    ) -> Tick:
        """Move the prices of both symbols until a tick of one comes, and return it.

        Args:
            never: the symbol whose new prices must not come; None: both may.
            prices: the prices to which the markets move, all different.
        """
        moved: set[Decimal] = set()
        with within(CALL_SECONDS, f"a tick of the subscribed {symbol}"):
            while True:
                moved.add(price := next(prices))
                for each in sorted({self.symbol, self.other_symbol} - {symbol}):
                    await self.bench.move_price(each, price, "last")
                await self.bench.move_price(symbol, price, "last")
                with trio.move_on_after(1):
                    async for update in updates:
                        if not isinstance(update, Tick) or update.price not in moved:
                            continue
                        expect(update.symbol != never, f"{update} came, and {never} is not subscribed")
                        if update.symbol == symbol:
                            return update

    def is_looser(self, price: Decimal, than: Decimal) -> bool:
        """Return whether a stop is further away from the market than another."""
        return is_tighter(self.side, than, than=price)


Check: TypeAlias = Callable[[Trial], Awaitable[None]]
"""One check. It raises AssertionError if it fails."""
