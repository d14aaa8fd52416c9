"""What a check creates on an account: every write goes through here, so that the end of the check can remove it."""

from __future__ import annotations

import math
import secrets
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any, Final, Literal

import msgspec
import trio

from trailing.core.model import Fill, Percent, Side, Source, StopOrder
from trailing.core.prices import EXACT
from trailing.errors import (
    AuthenticationFailed,
    ExchangeUnreachable,
    NoSuchStop,
    NothingToReduce,
    StopRejected,
    TrailingError,
    UsageError,
)
from trailing.exchanges.ccxt.entries import enter_at_market
from trailing.exchanges.ccxt.exchange import CcxtExchange
from trailing.exchanges.port import PartialList, StopRequest, snapshot_lag

CLEANUP_SECONDS: Final = 45.0
"""Seconds within which everything must be removed. 60 s after a signal the process ends in any case."""

PAUSE_SECONDS: Final = 1.0
"""Seconds between two snapshots of the clean-up."""

_NOT_PLACED: Final = (StopRejected, ExchangeUnreachable, AuthenticationFailed, UsageError)
"""Errors after which the order of a request certainly does not exist."""


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """An order or a position of the check that is, or may be, still there.

    Args:
        kind: a stop or a position.
        certain: the exchange's lists show it; False: it was not confirmed that it is gone.
        client_order_id: of the stop, or of the order that opened the position.
        quantity: in base units.
        price: the trigger price; None: a position.
    """

    kind: Literal["stop", "position"]
    certain: bool
    symbol: str
    side: Side
    quantity: Decimal
    client_order_id: str
    price: Decimal | None = None

    def __str__(self) -> str:
        verb = "is" if self.certain else "may be"
        if self.price is not None:
            return (
                f"{self.symbol} {self.side}: the stop {self.client_order_id} for {plain(self.quantity)} at {plain(self.price)} {verb} "
                "still live; cancel it by hand"
            )
        return (
            f"{self.symbol}: a {self.side} of {plain(self.quantity)}, opened by the order {self.client_order_id}, {verb} still "
            "open; close it by hand"
        )


class CheckedAccount:
    """The orders and the position of a check on one market.

    Args:
        exchange: the account. Nothing is open in the market.
        symbol, side: of the positions to open.
        quantity: of each position, in base units.
    """

    def __init__(self, exchange: CcxtExchange, symbol: str, side: Side, quantity: Decimal) -> None:
        self.exchange: CcxtExchange = exchange
        self.symbol: str = symbol
        self.side: Side = side
        self.quantity: Decimal = quantity
        self._sent: dict[str, StopRequest] = {}
        self._may_be_live: dict[str, StopRequest] = {}
        self._entry_id: str | None = None
        self._last_entry_id = ""
        self._open = Decimal(0)  # the most that may be open of the position
        self._unexplained = Decimal(0)  # what the last snapshot showed beyond that
        self._written: list[str] = []  # the id of each order that was sent, for any purpose
        self._settled_at = -math.inf  # after that, no order that was sent is still executed
        self._close_settled_at = -math.inf
        self._shown: dict[str, Decimal] = {}  # ids that the clean-up's last snapshot showed, with the quantities

    def __repr__(self) -> str:
        opened = "position" if self._entry_id else "no position"
        return f"<CheckedAccount {self.symbol} {self.side}: {opened}, {len(self._may_be_live)} stops may be live>"

    @property
    def has_position(self) -> bool:
        """Whether the check may have an open position."""
        return self._entry_id is not None

    def request(self, price: Decimal, source: Source, callback: Percent | None = None) -> StopRequest:
        """Return a request for a stop of the whole position under a new id."""
        return StopRequest(self.symbol, self.side, self.quantity, price, new_id(), source, callback)

    async def enter(self) -> str:
        """Open the position at market, and return the client order id. Arguments and errors: as `enter_at_market`."""
        client_order_id = self._entry_id = self._last_entry_id = new_id()
        self._open = self.quantity
        self._written.append(client_order_id)
        try:
            await enter_at_market(self.exchange, self.symbol, self.side, self.quantity, client_order_id)
        except _NOT_PLACED:
            self._entry_id = None
            raise
        except BaseException:
            self._note_sent(unknown=True)
            raise
        self._note_sent()
        return client_order_id

    def note_flat(self) -> None:
        """Note that the exchange's list shows the position flat, after it had been open."""
        self._entry_id = None

    async def place(self, request: StopRequest) -> StopOrder:
        """Place a stop. Errors: as the port's `place_stop`."""
        is_new = request.client_order_id not in self._sent
        self._sent.setdefault(request.client_order_id, request)
        self._written.append(request.client_order_id)
        self._may_be_live.setdefault(request.client_order_id, request)
        try:
            order = await self.exchange.place_stop(request)
        except _NOT_PLACED:
            if is_new:
                del self._may_be_live[request.client_order_id]
            raise
        except BaseException:
            self._note_sent(unknown=True)
            raise
        self._note_sent()
        return order

    async def amend(self, order: StopOrder, price: Decimal) -> StopOrder:
        """Move a stop in place. Errors: as the port's `amend_stop`."""
        amended = await self.exchange.amend_stop(order, price=price, quantity=order.quantity)
        self._note_sent()
        return amended

    async def cancel(self, order: StopOrder) -> None:
        """Cancel a stop. Errors: as the port's `cancel_stop`."""
        await self.exchange.cancel_stop(order)
        self._note_sent()
        self.note_ended(order.client_order_id)

    async def cancel_stops(self) -> None:
        """Cancel every stop of the check that may be live. Errors: as the port's `find_stop` and `cancel_stop`."""
        for client_order_id in tuple(self._may_be_live):
            order = await self.exchange.find_stop(self.symbol, client_order_id)
            if order is not None:
                await self.cancel(order)

    def note_ended(self, client_order_id: str) -> None:
        """Note that a stop was filled or cancelled."""
        self._may_be_live.pop(client_order_id, None)

    async def close(self, quantity: Decimal | None = None) -> tuple[str, Fill]:
        """Close the position, or at most a quantity of it, at market. Errors: as the port's `close_position`."""
        client_order_id = new_id()
        self._written.append(client_order_id)
        try:
            fill = await self.exchange.close_position(
                self.symbol, self.side, self.quantity if quantity is None else quantity, client_order_id
            )
        except _NOT_PLACED:
            raise
        except BaseException:
            self._close_settled_at = self._note_sent(unknown=True)
            raise
        self._note_sent()
        self._open -= min(fill.quantity, self._open)
        return client_order_id, fill

    async def clean_up(self, tell: Callable[[str], object]) -> tuple[Left, ...]:
        """Cancel every stop and close every position of the check, and return what is, or may be, left.

        Args:
            tell: called with a sentence about each request that failed.

        Cancellation: only `CLEANUP_SECONDS` end it.
        """
        if not self._written:
            return ()
        told: set[str] = set()

        def tell_once(sentence: str) -> None:
            if sentence not in told:
                told.add(sentence)
                tell(sentence)

        with trio.move_on_after(CLEANUP_SECONDS, shield=True) as scope:
            for client_order_id in self._written:
                await self.exchange.session.wait_for(client_order_id)
            while True:
                if await self._try(tell_once, self._remove_all, tell_once):
                    break
                await trio.sleep(PAUSE_SECONDS)
        if scope.cancelled_caught:
            tell(f"the clean-up did not end within {CLEANUP_SECONDS:g} s")
        return self.left()

    def left(self) -> tuple[Left, ...]:
        """Return what is, or may be, left on the exchange."""
        found = [_left_stop(request, certain=name in self._shown) for name, request in self._may_be_live.items()]
        if self._entry_id is not None:
            quantity, certain = self._shown.get(self._entry_id, self._open), self._entry_id in self._shown
        else:
            quantity, certain = self._unexplained, False  # another program's, or a close was not what it said
        if quantity:
            position = Left(
                kind="position",
                certain=certain,
                symbol=self.symbol,
                side=self.side,
                quantity=quantity,
                client_order_id=self._last_entry_id,
            )
            found.insert(0, position)
        return tuple(found)

    async def _remove_all(self, tell: Callable[[str], object]) -> bool:
        """Read the account, and remove what is there. Return whether it certainly has nothing of the check any more."""
        is_settled = trio.current_time() >= self._settled_at + snapshot_lag(self.exchange)
        positions, stops = await self.exchange.positions(), await self.exchange.open_stops()
        mine = [stop for stop in stops if stop.client_order_id in self._sent]
        key = (self.symbol, self.side)
        held = next((each.quantity for each in positions if (each.symbol, each.side) == key), Decimal(0))
        ours = min(held, self._open) if self._entry_id is not None else Decimal(0)
        self._shown = {stop.client_order_id: stop.quantity for stop in mine}
        self._may_be_live |= {name: self._sent[name] for name in self._shown}
        if ours and self._entry_id is not None:
            self._shown[self._entry_id] = ours
        is_complete = not isinstance(positions, PartialList) and not isinstance(stops, PartialList)
        if is_settled and is_complete and not self._shown:
            self._may_be_live.clear()
            self._entry_id = None
            self._unexplained = held
            return True
        if ours and trio.current_time() >= self._close_settled_at:
            await self._try(tell, self._close_for_good, ours)
        for stop in mine:
            await self._try(tell, self._cancel_for_good, stop)
        return False

    async def _close_for_good(self, quantity: Decimal) -> None:
        await self.close(quantity)
        self._shown.pop(self._entry_id or "", None)  # the next snapshot confirms it

    async def _cancel_for_good(self, stop: StopOrder) -> None:
        await self.cancel(stop)
        self._shown.pop(stop.client_order_id, None)

    async def _try(
        self, tell: Callable[[str], object], request: Callable[..., Awaitable[Any]], *args: object
    ) -> object:
        """Return the result of a request; None if it failed, because the clean-up goes on with what is left."""
        try:
            return await request(*args)
        except (NoSuchStop, NothingToReduce):
            return None  # the next snapshot shows whether it is gone
        except Exception as error:
            tell(str(error) if isinstance(error, TrailingError) else f"the clean-up crashed: {error!r}")
            return None

    def _note_sent(self, *, unknown: bool = False) -> float:
        """Note that an order was sent, and return when it is certainly executed or not."""
        settled_at = trio.current_time() + (self.exchange.request_validity if unknown else 0.0)
        self._settled_at = max(self._settled_at, settled_at)
        return settled_at


def plain(value: Decimal) -> str:
    """Return a number without an exponent and without trailing zeros."""
    return format(EXACT.normalize(value), "f")


def new_id() -> str:
    """Return a client order id in the form of ours, which every venue takes."""
    return f"tr{secrets.token_hex(10)}"


def _left_stop(stop: StopRequest | StopOrder, *, certain: bool) -> Left:
    return Left(
        kind="stop",
        certain=certain,
        symbol=stop.symbol,
        side=stop.side,
        quantity=stop.quantity,
        client_order_id=stop.client_order_id,
        price=stop.price,
    )
