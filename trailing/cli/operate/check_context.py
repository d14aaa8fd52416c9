"""What the steps of a check share: the account, the updates, and the ways in which a step ends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, TypeVar

import trio

from trailing.cli.operate.check_account import CheckedAccount, plain
from trailing.cli.operate.check_updates import UpdateLog
from trailing.core.model import Fill, Market, Percent, Side, Source, StopOrder
from trailing.core.prices import behind, round_stop
from trailing.exchanges.ccxt.exchange import CcxtExchange
from trailing.exchanges.port import EntryUpdate, OrderUpdate, PartialList, PositionUpdate, Update

T = TypeVar("T")

UPDATE_SECONDS: Final = 10.0
"""Seconds within which an update must arrive."""

LIST_SECONDS: Final = 10.0
"""Seconds within which a list must show a write, if the venue's read lag is shorter."""

POLL_SECONDS: Final = 0.5
"""Seconds between two reads while a list does not show a write yet."""

FAR: Final = Percent("5")
"""Distance of a stop that must not trigger."""


class NotMet(Exception):
    """The exchange did not do what the step expects. The message says what happened instead."""


class Skipped(Exception):
    """The step could not be done. The message says why."""


class NotOffered(Exception):
    """The venue, or its adapter, does not have what the step is about. The message says what is missing."""


class Check:
    """The state of a running check.

    Attributes:
        exchange, account, updates: the account, what was created on it, and what it pushed.
        market: the rules of the symbol.
        source: the price source of the stops that must not trigger: the first one of the venue.
        has_stream: whether the adapter receives updates of orders and positions.
        trigger_seconds: how long to wait until the price reaches a stop.
        order: the stop of the steps about one stop; None: none is live.
        began_at: when the check began, UTC, by this machine's clock.
    """

    def __init__(self, account: CheckedAccount, *, has_stream: bool, trigger_seconds: float) -> None:
        self.exchange: CcxtExchange = account.exchange
        self.account: CheckedAccount = account
        self.updates: UpdateLog = UpdateLog()
        self.symbol: str = account.symbol
        self.side: Side = account.side
        self.market: Market = self.exchange.market(account.symbol)
        self.source: Source = next(iter(self.exchange.venue.stops.sources))
        self.has_stream: bool = has_stream
        self.trigger_seconds: float = trigger_seconds
        self.order: StopOrder | None = None
        self.began_at: datetime = datetime.now(UTC)

    def __repr__(self) -> str:
        return f"<Check of {self.exchange.name} {self.symbol}: {len(self.updates.updates)} updates>"

    @property
    def live_order(self) -> StopOrder:
        """The live stop of the steps about one stop. Raises Skipped if there is none."""
        if self.order is None:
            raise Skipped("no stop is live")
        return self.order

    async def price(self, source: Source) -> Decimal:
        """Return the present price of a source."""
        return (await self.exchange.price(self.symbol, source)).price

    def stop_price(self, price: Decimal, distance: Percent | Decimal) -> Decimal:
        """Return a stop's price that lies a distance behind a price."""
        return round_stop(self.side, behind(self.side, price, distance), self.market.price_tick)

    async def held(self) -> Decimal:
        """Return the reported quantity of the position; 0: none is reported. Raises NotMet for an incomplete list."""
        key = (self.symbol, self.side)
        reports = _whole("positions", await self.exchange.positions())
        return next((each.quantity for each in reports if (each.symbol, each.side) == key), Decimal(0))

    async def listed(self, client_order_id: str) -> StopOrder | None:
        """Return a stop from the list of live stops; None: it is not listed. Raises NotMet for an incomplete list."""
        stops = _whole("open_stops", await self.exchange.open_stops())
        return next((stop for stop in stops if stop.client_order_id == client_order_id), None)

    async def need_position(self) -> None:
        """Open a position if there is none, and wait until it is listed. Raises Skipped if it can't be opened."""
        if self.account.has_position:
            return
        await self.account.enter()
        await self.until_held(self.account.quantity)

    async def until_held(self, quantity: Decimal) -> float:
        """Wait until the position is reported with a quantity, and return the seconds. Raises NotMet."""
        lag = self.exchange.positions_read_lag
        held, seconds = await eventually(self.held, lambda held: held == quantity, lag)
        if held != quantity:
            raise NotMet(f"positions shows {plain(held)} after {seconds:.1f} s, and not {plain(quantity)}")
        if not quantity:
            self.account.note_flat()
        return seconds

    async def until_listed(self, order: StopOrder, *, live: bool = True) -> float:
        """Wait until the list of live stops shows a stop, or does not show it. Return the seconds. Raises NotMet."""
        wanted = order if live else None
        lag = self.exchange.orders_read_lag
        read = lambda: self.listed(order.client_order_id)  # noqa: E731 - it is read several times
        found, seconds = await eventually(read, lambda found: found == wanted, lag)
        if found != wanted:
            raise NotMet(
                f"open_stops shows {found or 'no such stop'} after {seconds:.1f} s, and not {wanted or 'none'}"
            )
        return seconds

    async def update_of(
        self, client_order_id: str, statuses: tuple[str, ...], since: int, seconds: float = UPDATE_SECONDS
    ) -> OrderUpdate | None:
        """Return the first update of an order with one of some statuses; None: none came in time."""

        def matches(update: Update) -> bool:
            is_of_order = isinstance(update, OrderUpdate) and update.client_order_id == client_order_id
            return is_of_order and update.status in statuses  # type: ignore[union-attr]  # it is an OrderUpdate

        found = await self.updates.wait_for(matches, since=since, seconds=seconds)
        assert found is None or isinstance(found, OrderUpdate)
        return found

    async def say_update(self, client_order_id: str, status: str, since: int, started: float) -> str:
        """Return words about the time of an order's update; "" on a venue without a stream. Raises NotMet if none comes."""
        if not self.has_stream:
            return ""
        update = await self.update_of(client_order_id, (status,), since)
        if update is None:
            raise NotMet(f"no update with the status {status} came within {UPDATE_SECONDS:g} s")
        return f"; order update after {milliseconds(update.at - started)}"

    async def say_entry(self, client_order_id: str, since: int, started: float) -> str:
        """Return words about the time of the update that an entry is filled; "" on a venue without a stream. Raises NotMet."""
        if not self.has_stream:
            return ""

        def matches(update: Update) -> bool:
            is_ours = isinstance(update, EntryUpdate) and update.order.client_order_id == client_order_id
            return is_ours and not update.order.unfilled  # type: ignore[union-attr]  # it is an EntryUpdate

        update = await self.updates.wait_for(matches, since=since, seconds=UPDATE_SECONDS)
        if update is None:
            raise NotMet(f"no update that the entry is filled came within {UPDATE_SECONDS:g} s")
        return f"; order update after {milliseconds(update.at - started)}"

    async def say_position(self, quantity: Decimal, since: int, started: float) -> str:
        """Return words about the time of the position's update; "" on a venue without a stream. Raises NotMet."""
        if not self.has_stream:
            return ""

        def matches(update: Update) -> bool:
            is_ours = isinstance(update, PositionUpdate) and (update.symbol, update.side) == (self.symbol, self.side)
            return is_ours and update.quantity == quantity  # type: ignore[union-attr]  # it is a PositionUpdate

        update = await self.updates.wait_for(matches, since=since, seconds=UPDATE_SECONDS)
        if update is None:
            raise NotMet(f"no position update with the quantity {plain(quantity)} came within {UPDATE_SECONDS:g} s")
        return f"; position update after {milliseconds(update.at - started)}"

    def fills_of(self, client_order_id: str, since: int) -> list[Fill]:
        """Return the fills that were pushed of an order."""
        return [
            update.fill
            for update in self.updates.updates[since:]
            if isinstance(update, OrderUpdate) and update.client_order_id == client_order_id and update.fill is not None
        ]

    async def traded(self, client_order_id: str) -> Decimal:
        """Return the quantity that the venue's list of trades states of an order."""
        since = self.began_at - timedelta(minutes=5)  # the clocks may differ
        fills = await self.exchange.order_fills(self.symbol, client_order_id, since)
        return sum((fill.quantity for fill in fills), Decimal(0))


async def eventually(read: Callable[[], Awaitable[T]], matches: Callable[[T], bool], lag: float) -> tuple[T, float]:
    """Read until a value matches or time is up, and return the last value with the seconds until then.

    Args:
        read: reads the value.
        matches: decides about a value.
        lag: the venue's read lag in seconds; the time is up after the longer one of this and `LIST_SECONDS`.
    """
    started = trio.current_time()
    while True:
        value = await read()
        seconds = trio.current_time() - started
        if matches(value) or seconds > max(lag, LIST_SECONDS):
            return value, seconds
        await trio.sleep(POLL_SECONDS)


def _whole(operation: str, entries: Sequence[T]) -> Sequence[T]:
    """Return a list in which nothing is missing. Raises NotMet for any other."""
    if isinstance(entries, PartialList):
        raise NotMet(f"{operation} has entries that can't be parsed: {'; '.join(entries.left_out)}")
    return entries


def milliseconds(seconds: float) -> str:
    """Return seconds as milliseconds, with the unit."""
    return f"{seconds * 1000:.0f} ms"
