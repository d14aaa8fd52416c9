"""What `trailing` needs of an exchange: the port that the paper exchange and every adapter implement.

A request that was sent belongs to the exchange, not to the caller: cancelling the caller ends its waiting and recalls
nothing. Every method raises the errors of `trailing.errors` and nothing else; `OutcomeUnknown` means that the request
may have been, or may yet be, executed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Literal, Protocol, Self, TypeAlias, TypeVar

import msgspec
import trio

from trailing.core.account import PositionReport
from trailing.core.model import Candle, Fill, Market, Percent, Side, Source, StopOrder, Tick, refuse
from trailing.core.plan import TrailPlan

T = TypeVar("T")

_MOST_SHOWN: Final = 200


class PartialList(tuple[T, ...]):  # noqa: SLOT001 - a tuple takes no slots
    """A list of which some entries could not be read: it proves presence, never absence.

    It compares, hashes and slices as the tuple of its entries: it equals a plain tuple of the same ones, and a slice or a sum is
    a plain tuple that does not say any more that something was left out.

    Args:
        entries: the entries that could be read.
        left_out: a text for each entry that was left out: what it was, and why. Characters that can't be printed are escaped,
            and 200 characters of each are kept.

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


def escaped(text: str) -> str:
    """Return a text from outside as it can be shown: what can't be printed is escaped, and 200 characters are kept."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text[:_MOST_SHOWN])[:_MOST_SHOWN]


class StopRequest(msgspec.Struct, frozen=True, gc=False):
    """A reduce-only stop that is wanted: at market once the trigger price of `source` is reached.

    Args:
        callback: with one, a trailing order of the exchange's own is wanted, where `Market.native_callbacks` has it:
            from `price` on it follows the best price, and triggers that far behind it.
    """

    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal
    client_order_id: str
    source: Source = "last"
    callback: Percent | None = None


def check_callback(request: StopRequest, market: Market) -> None:
    """Refuse a trailing order that a market does not have. Raises UsageError."""
    callback: Any = request.callback
    if callback is None:
        return
    callbacks = market.native_callbacks
    if callbacks is None:
        raise refuse("StopRequest.callback", callback, f"None: {market.symbol} has no trailing orders that we know")
    if not isinstance(callback, Percent) or not callbacks.takes(callback):
        raise refuse("StopRequest.callback", str(callback), f"a Percent that {market.symbol} takes: {callbacks}")


OrderStatus: TypeAlias = Literal["live", "triggered", "partial", "filled", "cancelled"]
"""What has become of an order, as `OrderUpdate` describes it."""


class OrderUpdate(msgspec.Struct, frozen=True, gc=False):
    """Pushed when something happened to one of the account's orders. The same update may be pushed more than once.

    Args:
        status: ``"live"``: booked or amended; ``"triggered"``: the stop has triggered, and its fill is still to come;
            ``"partial"`` and ``"filled"``: with the `fill` that made it so;
            ``"cancelled"``: it is gone, whoever cancelled it.
        at: seconds on the running clock.
        filled: the quantity of this order that has been filled so far, in base units, with `fill`; None: the exchange does not
            say it.
        reason: why the order was cancelled or rejected, in the exchange's own words; "": it gives none.
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


class PositionUpdate(msgspec.Struct, frozen=True, gc=False):
    """Pushed when a position changed; quantity 0 is flat."""

    symbol: str
    side: Side
    quantity: Decimal
    at: float


class StreamState(msgspec.Struct, frozen=True, gc=False):
    """Pushed when the stream was lost or is there again; what happened in between has to be read.

    `connected` once more, without a loss before: something that was pushed could not be read, and the account has to be.
    """

    connected: bool
    at: float
    detail: str = ""


Update: TypeAlias = Tick | OrderUpdate | PositionUpdate | StreamState


class Exchange(Protocol):
    """An account on an exchange.

    Attributes:
        name, account: with symbol and side, the key of all that is kept.
        hedged: whether a long and a short of one symbol may stand at once.
        orders_read_lag: seconds after which `find_stop` and `open_stops` surely show an earlier write.
        positions_read_lag: seconds after which `positions` surely shows an earlier fill.
        request_validity: seconds for which a request that was sent may still be executed. What changes something is
            stamped with its time before its sender looks at the caller's deadline, and is not sent once that is over: so
            a process that was stopped in between, and goes on much later, sends nothing that would still be executed.
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
        """The market's rules. Raises UsageError where the symbol is unknown."""

    async def place_stop(self, request: StopRequest) -> StopOrder:
        """Place a reduce-only stop and return it as acknowledged.

        Raises UsageError for one with a `callback` that the market does not have; WouldTrigger where the price is already
        beyond the price from which on it would trail.
        """

    async def amend_stop(self, order: StopOrder, *, price: Decimal, quantity: Decimal) -> StopOrder:
        """Change a live plain stop in place and return it as acknowledged. Raises NoSuchStop where it is gone."""

    async def cancel_stop(self, order: StopOrder) -> None:
        """Cancel a stop; waits for a request under way for that id first. Raises NoSuchStop where it is gone."""

    async def find_stop(self, symbol: str, client_order_id: str) -> StopOrder | None:
        """The live stop under an id, or None; waits for a request under way for that id first."""

    async def open_stops(self) -> Sequence[StopOrder]:
        """All live stops of the account, ours or not, trailing ones and those that have triggered and are not filled included.

        Returns:
            A plain sequence where every entry could be read; else a `PartialList`. What can't be read is never an error.
        """

    async def positions(self) -> Sequence[PositionReport]:
        """All open positions of the account.

        Returns:
            As `open_stops`: a plain sequence, or a `PartialList` where an entry could not be read.
        """

    async def price(self, symbol: str, source: Source) -> Tick:
        """The exchange's own price, now."""

    async def close_position(self, symbol: str, side: Side, quantity: Decimal, client_order_id: str) -> Fill:
        """Close at market, reduce-only, at most `quantity`. Raises NothingToReduce where the position is flat."""

    async def candles(self, symbol: str, source: Source, since: datetime) -> Sequence[Candle]:
        """Closed candles that opened at or after a time, oldest first; empty where the venue has none."""

    async def set_subscriptions(self, symbols: Set[str]) -> None:
        """The symbols whose prices are wanted from now on, as a whole."""

    def updates(self) -> AbstractAsyncContextManager[trio.abc.ReceiveChannel[Update]]:
        """Everything pushed from now on. No update is dropped; ticks that pile up keep their extremes and the last.

        Entering waits for no network: on a line that isn't up yet, the first update is a `StreamState` that says so.
        """

    def rate_limit_delay(self, operation: str) -> float:
        """Seconds until the rate limit would let an operation (the method's name) pass, if it were asked for now."""


def snapshot_lag(exchange: Exchange) -> float:
    """Return the seconds after which both account lists, stops and positions, surely show an earlier write."""
    return max(exchange.orders_read_lag, exchange.positions_read_lag)


def check_cleanup_seconds(exchange: Exchange, plan: TrailPlan) -> None:
    """Refuse a plan whose clean-up is shorter than the exchange's read lags.

    Every request was sent before its clean-up begins. A clean-up as long as the lag therefore sees each request that the
    exchange executed at once. It need not be as long as `request_validity` and the lag together, because the position's task
    goes on looking afterwards.

    Raises:
        UsageError: `cleanup_seconds` is less than one of the exchange's read lags.
    """
    least = snapshot_lag(exchange)
    if plan.cleanup_seconds < least:
        raise refuse(
            "TrailPlan.cleanup_seconds",
            plan.cleanup_seconds,
            f"at least {least:g} s: {exchange.name} may take so long to show a request that was executed "
            f"(orders_read_lag {exchange.orders_read_lag:g} s, positions_read_lag {exchange.positions_read_lag:g} s)",
        )
