"""The port: the methods that the paper exchange and every adapter of an exchange implement.

A request that was sent belongs to the exchange, not to the caller: cancelling the caller ends its waiting and recalls
nothing. Every method raises errors of `trailing.errors` only. `OutcomeUnknown` means that the request may have been
executed, or may still be executed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Literal, Protocol, Self, TypeAlias, TypeVar

import msgspec
import trio

from trailing.core.account import OpenOrder, PositionReport
from trailing.core.entry_orders import EntryOrder, EntryRequest, EntrySettings
from trailing.core.model import Candle, Fill, Market, Percent, Side, Source, StopOrder, Tick, check_money, refuse
from trailing.core.plan import TrailPlan
from trailing.core.prices import remainder
from trailing.errors import EntryRejected

T = TypeVar("T")

_MOST_SHOWN: Final = 200


class PartialList(tuple[T, ...]):  # noqa: SLOT001 - a tuple takes no slots
    """A list with entries that could not be parsed. An order or position that is missing from it may exist.

    It compares, hashes and slices like the tuple of its entries. So it equals a plain tuple of the same entries, and a slice
    or a sum is a plain tuple, which does not tell any more that entries were left out.

    Args:
        entries: the entries that could be parsed.
        left_out: a text for each entry that was left out: what it was, and why. Control characters are escaped, and 200
            characters of each text are kept.

    Attributes:
        left_out: as given, escaped and shortened.
    """

    left_out: tuple[str, ...]

    def __new__(cls, entries: Iterable[T], left_out: Iterable[str]) -> Self:
        made = super().__new__(cls, entries)
        made.left_out = tuple(map(escaped, left_out))
        return made

    def __getnewargs__(self) -> tuple[tuple[T, ...], tuple[str, ...]]:
        return tuple(self), self.left_out

    def __repr__(self) -> str:
        return f"PartialList({super().__repr__()}, left_out={self.left_out!r})"


def escaped(text: str, most: int = _MOST_SHOWN) -> str:
    """Return a text from outside in a form that is safe to show: control characters are escaped, and it is shortened.

    Args:
        text: from a venue, a file or a user.
        most: the characters to keep, at least 1.
    """
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text[:most])[:most]


class StopRequest(msgspec.Struct, frozen=True, gc=False):
    """A reduce-only stop to place. It closes at market when the price of `source` reaches `price`.

    Args:
        symbol: ccxt's unified symbol.
        side: the side of the position.
        quantity: in base units, above 0, a multiple of the market's step.
        price: the trigger price, above 0, a multiple of the market's tick.
        client_order_id: unique in the account.
        source: the price source by which it triggers.
        callback: None: a plain stop. Otherwise a trailing order of the exchange, if `Market.native_callbacks` allows it: it
            becomes active at `price`, follows the best price, and triggers at this distance behind it.
    """

    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal
    client_order_id: str
    source: Source = "last"
    callback: Percent | None = None


def check_callback(request: StopRequest, market: Market) -> None:
    """Raise UsageError for a callback that the market does not support."""
    callback: Any = request.callback
    if callback is None:
        return
    callbacks = market.native_callbacks
    if callbacks is None:
        raise refuse("StopRequest.callback", callback, f"None: no trailing orders are supported for {market.symbol}")
    if not isinstance(callback, Percent) or not callbacks.takes(callback):
        raise refuse("StopRequest.callback", str(callback), f"a Percent that {market.symbol} accepts: {callbacks}")


def check_entry_request(request: EntryRequest, market: Market) -> None:
    """Raise UsageError for an entry whose stop the market can't attach in this way."""
    stop, kind = request.stop, market.attached_stop
    if stop is None:
        return
    if kind is None:
        raise refuse("EntryRequest.stop", stop, f"None: {market.symbol} can't attach a stop to an entry")
    if (stop.client_order_id == request.client_order_id) is not (kind == "bridge"):
        wanted = "the entry's" if kind == "bridge" else "its own"
        raise refuse(
            "AttachedStop.client_order_id", stop.client_order_id, f"{wanted}, because the market attaches {kind!r}"
        )


def check_entry_steps(request: EntryRequest, market: Market) -> None:
    """Raise EntryRejected for a figure of an entry that lies between the market's steps."""
    stop_price = None if request.stop is None else request.stop.price
    for name, price in (("limit", request.limit), ("stop", stop_price)):
        if price is not None and remainder(price, market.price_tick):
            raise EntryRejected(f"{market.symbol}: {name} {price} is no multiple of the tick {market.price_tick}")
    if remainder(request.quantity, market.quantity_step):
        raise EntryRejected(
            f"{market.symbol}: quantity {request.quantity} is no multiple of the step {market.quantity_step}"
        )


OrderStatus: TypeAlias = Literal["live", "triggered", "partial", "filled", "cancelled"]
"""The status of an order. `OrderUpdate` describes the values."""


class OrderUpdate(msgspec.Struct, frozen=True, gc=False):
    """A change of an order of the account. The exchange may push the same update more than once.

    Args:
        symbol: ccxt's unified symbol.
        side: the side of the position.
        client_order_id, order_id: our id and the exchange's id of the order.
        status: ``"live"``: placed or amended; ``"triggered"``: the stop has triggered and is not filled yet; ``"partial"`` and
            ``"filled"``: `fill` was executed; ``"cancelled"``: it was cancelled by us, by the user or by the exchange.
        at: when the update arrived, in seconds on the running clock.
        fill: the execution that this update reports; None: none.
        filled: the order's filled quantity so far, in base units, `fill` included; None: the exchange does not state it.
        reason: why the order was cancelled or rejected, in the exchange's words, escaped; "": it states none.

    Raises:
        UsageError: `filled` can be no quantity.
    """

    symbol: str
    side: Side
    client_order_id: str
    order_id: str
    status: OrderStatus
    at: float
    fill: Fill | None = None
    filled: Decimal | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        if self.filled is not None:
            check_money("OrderUpdate.filled", self.filled, zero=True)


class PositionUpdate(msgspec.Struct, frozen=True, gc=False):
    """A change of a position.

    Args:
        symbol: ccxt's unified symbol.
        side: long or short.
        quantity: in base units; 0: the position is flat.
        at: when the update arrived, in seconds on the running clock.

    Raises:
        UsageError: `quantity` can be none.
    """

    symbol: str
    side: Side
    quantity: Decimal
    at: float

    def __post_init__(self) -> None:
        check_money("PositionUpdate.quantity", self.quantity, zero=True)


class StreamState(msgspec.Struct, frozen=True, gc=False):
    """A change of the stream's connection. What happened while it was down must be read from the account.

    Args:
        connected: whether all updates arrive. True without a False before: an update could not be parsed, so the account must
            be read. True with a False right after it: the account must be read, and some prices do not arrive.
        at: when it changed, in seconds on the running clock.
        detail: the reason.
    """

    connected: bool
    at: float
    detail: str = ""


class EntryUpdate(msgspec.Struct, frozen=True, gc=False):
    """A change of an entry order. The exchange may push the same update more than once, late, or out of order.

    Args:
        order: the order as of this update, with its whole filled quantity so far.
        at: when the update arrived, in seconds on the running clock.
    """

    order: EntryOrder
    at: float


Update: TypeAlias = Tick | OrderUpdate | EntryUpdate | PositionUpdate | StreamState


class Exchange(Protocol):
    """An account on an exchange.

    Attributes:
        name, account: together with symbol and side, the key of every record.
        hedged: whether a long and a short position of one symbol may be open at the same time.
        orders_read_lag: seconds after which `find_stop`, `find_entry` and `open_stops` certainly show an earlier write.
        positions_read_lag: seconds after which `positions` certainly shows an earlier fill.
        request_validity: seconds for which a sent request may still be executed. A request that changes something gets its
            timestamp first; then the caller's deadline is checked, and after the deadline nothing is sent. So a process that
            was suspended in between sends nothing later that would still be executed.
    """

    @property
    def name(self) -> str: ...
    @property
    def account(self) -> str: ...
    @property
    def hedged(self) -> bool: ...
    @property
    def orders_read_lag(self) -> float: ...
    @property
    def positions_read_lag(self) -> float: ...
    @property
    def request_validity(self) -> float: ...

    def market(self, symbol: str) -> Market:
        """Return a market's rules. Raises UsageError for an unknown symbol."""

    async def place_stop(self, request: StopRequest) -> StopOrder:
        """Place a reduce-only stop and return it as acknowledged.

        Raises:
            UsageError: the market does not support the callback.
            WouldTrigger: the price is already at or beyond the stop, or the activation price of a trailing order.
        """

    async def amend_stop(self, order: StopOrder, *, price: Decimal, quantity: Decimal) -> StopOrder:
        """Change a live plain stop in place and return it as acknowledged. Raises NoSuchStop if it is gone."""

    async def cancel_stop(self, order: StopOrder) -> None:
        """Cancel a stop, after a request in flight for its id has ended. Raises NoSuchStop if it is gone."""

    async def find_stop(self, symbol: str, client_order_id: str) -> StopOrder | None:
        """Return the live stop with an id, or None, after a request in flight for that id has ended."""

    async def open_stops(self) -> Sequence[StopOrder]:
        """Return all live stops of the account, ours and foreign.

        The list includes trailing orders, and stops that have triggered and are not filled.

        Returns:
            A plain sequence if every entry could be parsed; otherwise a `PartialList`. A bad entry is never an error.
        """

    async def positions(self) -> Sequence[PositionReport]:
        """Return all open positions of the account.

        Returns:
            A plain sequence if every entry could be parsed; otherwise a `PartialList`.
        """

    async def open_orders(self, symbol: str) -> Sequence[OpenOrder]:
        """Return all open orders of a symbol, plain and conditional, ours and foreign.

        It is for messages to users. So it uses the lowest priority of the rate limit, and no decision follows from it.

        Returns:
            A plain sequence if every entry could be parsed; otherwise a `PartialList`.

        Raises:
            UsageError: the symbol is unknown.
        """

    async def cancel_order(self, order: OpenOrder) -> None:
        """Cancel an order that `open_orders` lists, of any kind and any owner. For users' commands only.

        Raises:
            UsageError: the symbol is unknown.
            NoSuchStop: it is gone.
        """

    async def order_fills(self, symbol: str, client_order_id: str, since: datetime) -> Sequence[Fill]:
        """Return the executions of an order of ours, a stop or a close, from the exchange's list of trades.

        The executions of a triggered stop include those of the market order that it became. It uses the lowest priority of the
        rate limit.

        Args:
            symbol: ccxt's unified symbol.
            client_order_id: of the order.
            since: the earliest time of an execution, UTC.

        Returns:
            All executions, oldest first; empty: the exchange states none.

        Raises:
            UsageError: the symbol is unknown, or the exchange can't state the executions of an order.
            ExchangeUnreachable: also if one of them can't be parsed, because a part of them would be a wrong sum.
        """

    async def price(self, symbol: str, source: Source) -> Tick:
        """Return the exchange's present price."""

    async def close_position(self, symbol: str, side: Side, quantity: Decimal, client_order_id: str) -> Fill:
        """Close at market, reduce-only, at most `quantity`.

        Raises:
            NothingToReduce: the position is flat, or other open orders cover all of it.
        """

    async def place_entry(self, request: EntryRequest) -> EntryOrder:
        """Place an order that opens a position, and return it as acknowledged. It may be filled already.

        The exchange executes a request at most once. After `OutcomeUnknown`, `find_entry` tells what came of it.

        Raises:
            UsageError: the exchange can't place entries, or the market can't attach the stop as requested.
            EntryRejected: the exchange rejected it, for example because the margin is not sufficient.
        """

    async def cancel_entry(self, symbol: str, client_order_id: str) -> None:
        """Cancel what is not filled of an entry, after a request in flight for its id has ended. What is filled stays.

        Raises:
            NoSuchEntry: no more of it can be filled: it has ended, or never existed.
        """

    async def find_entry(self, symbol: str, client_order_id: str) -> EntryOrder | None:
        """Return an entry, working or ended, after a request in flight for its id has ended; None: the exchange has none.

        An ended one is shown for at least an hour.
        """

    async def entry_settings(self, symbol: str) -> EntrySettings:
        """Return the position mode, the margin mode and the leverage that are set for entries in a symbol now.

        Raises:
            UsageError: the symbol is unknown, or the exchange can't place entries.
        """

    async def candles(self, symbol: str, source: Source, since: datetime) -> Sequence[Candle]:
        """Return the closed candles that opened at or after `since` (UTC), oldest first; empty if the venue has none."""

    async def set_subscriptions(self, symbols: Set[str]) -> None:
        """Replace the symbols whose prices are pushed."""

    def updates(self) -> AbstractAsyncContextManager[trio.abc.ReceiveChannel[Update]]:
        """Open a channel of all updates from now on.

        No update is dropped, except for ticks that pile up: their extremes and the last one are kept. Opening does not wait
        for the network: if a connection is not up yet, the first update is a `StreamState` that says so.
        """

    def rate_limit_delay(self, operation: str) -> float:
        """Return the seconds until the rate limit would let an operation (the method's name) pass, if requested now."""


def snapshot_lag(exchange: Exchange) -> float:
    """Return the seconds after which both account lists, stops and positions, certainly show an earlier write."""
    return max(exchange.orders_read_lag, exchange.positions_read_lag)


def check_cleanup_seconds(exchange: Exchange, plan: TrailPlan) -> None:
    """Refuse a plan whose clean-up is shorter than the exchange's read lags.

    A request is always sent before its clean-up begins. So a clean-up as long as the read lag finds each request that the
    exchange executed at once. It need not be as long as `request_validity` plus the lag, because the position task continues
    to look for the order afterwards.

    Raises:
        UsageError: `cleanup_seconds` is less than one of the exchange's read lags.
    """
    least = snapshot_lag(exchange)
    if plan.cleanup_seconds < least:
        raise refuse(
            "TrailPlan.cleanup_seconds",
            plan.cleanup_seconds,
            f"at least {least:g} s, because {exchange.name} may show an executed request only after that time "
            f"(orders_read_lag {exchange.orders_read_lag:g} s, positions_read_lag {exchange.positions_read_lag:g} s)",
        )
