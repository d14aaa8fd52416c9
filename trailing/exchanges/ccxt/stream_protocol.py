"""The websocket protocol of a venue: subscription messages out, updates in.

ccxt's own `watch_*` methods are not used, only its hosts, proxies and keys. They deliver what arrives while a task awaits
them; what arrives in between is delivered with the next message of its symbol, which may be minutes later for an illiquid
one. They merge orders in place, stop after a frame that can't be parsed, let one cancelled task block all others, and take
several times as long for a trade (tests/benchmarks/test_bench_streams.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Protocol, TypeAlias

import msgspec

from trailing.core.model import Side, Source, Tick
from trailing.exchanges.ccxt.unreadable import UNREADABLE, Unreadable, reason
from trailing.exchanges.port import PositionUpdate, Update

Frame: TypeAlias = Mapping[str, Any]
"""A frame's JSON object, with exact numbers."""

decode_frame: Final = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode
"""Decodes the text of a frame. Raises msgspec.DecodeError."""


class RequestReply(msgspec.Struct, frozen=True):
    """The venue's reply to the request that was sent last over a connection.

    Args:
        error: why the venue refused the request; "": it accepted it.
        topic: the only one that the venue confirms by this reply, because it confirms each topic of a request by itself; "": it
            replies to the whole request.
    """

    error: str = ""
    topic: str = ""


class ConnectionExpired(msgspec.Struct, frozen=True):
    """The venue will push nothing more over this connection. `detail` says why."""

    detail: str


Message: TypeAlias = Update | RequestReply | ConnectionExpired | Unreadable
"""What one frame, or one of its entries, is parsed into."""


def parse_each(entries: Iterable[Any], parse: Callable[[Any], Iterable[Message]]) -> list[Message]:
    """Parse the entries of a frame one by one. An entry that can't be parsed becomes an `Unreadable`."""
    messages: list[Message] = []
    for entry in entries:
        try:
            messages += parse(entry)
        except UNREADABLE as error:
            messages.append(Unreadable(reason(error)))
    return messages


class Instrument(msgspec.Struct, frozen=True):
    """A market under the venue's name and ours.

    Args:
        symbol: ccxt's unified symbol.
        id: the venue's own name.
        contract_size: base units of one contract.
    """

    symbol: str
    id: str
    contract_size: Decimal


class StreamProtocol(Protocol):
    """Builds the messages to a venue's websocket servers, and parses theirs.

    Attributes:
        sources: the price sources that the venue pushes.
        symbols_per_connection: how many symbols may be subscribed over one connection.
        topics_per_request: how many topics one subscription message may name.
        account_topics: the account's topics, in one tuple for each connection that they need.
        heartbeat: the text to send on a silent connection, so that the venue replies; None: send a ping frame.
        renewal_seconds: seconds between two calls of `renew`; None: it is never called.
    """

    sources: frozenset[Source]
    symbols_per_connection: int
    topics_per_request: int
    account_topics: tuple[tuple[str, ...], ...]
    heartbeat: str | None
    renewal_seconds: float | None

    def topics(self, symbol: str) -> tuple[str, ...]:
        """Return the topics of a symbol's prices."""

    def subscription_message(self, number: int, topics: Sequence[str], *, subscribe: bool) -> str:
        """Return the message that subscribes to topics, or unsubscribes from them. `number` identifies the request."""

    async def price_url(self) -> str:
        """Return the URL for prices."""

    async def account_url(self, topics: Sequence[str]) -> str:
        """Return the URL of a connection for the account's updates, one of `account_topics`. Raises ExchangeError."""

    def login_message(self) -> str | None:
        """Return the first message of a connection of the account; None: the URL is enough."""

    async def renew(self) -> None:
        """Extend the life of a connection of the account. Raises ExchangeError."""

    def parse(self, frame: Frame, now: float) -> Iterable[Message]:
        """Return what a frame says, with an `Unreadable` for each entry that can't be parsed.

        Args:
            frame: the decoded frame.
            now: when it arrived, in seconds on the running clock.

        Raises one of `UNREADABLE` if the frame as a whole can't be parsed.
        """

    def release_overdue(self, now: float) -> Iterable[Message]:
        """Return messages that were held back for a frame that did not arrive in time."""


_PONG = "pong"
"""The reply to the text "ping" of venues that take no ping frames. It is the only frame that is no JSON object."""


def parse_frame(protocol: StreamProtocol, text: str, now: float) -> Iterable[Message]:
    """Decode and parse a frame. What can't be parsed becomes an `Unreadable`.

    Raises:
        msgspec.DecodeError: the text is no JSON object.
        RecursionError: it is nested too deeply.
    """
    if text == _PONG:
        return ()
    frame = decode_frame(text)
    try:
        return protocol.parse(frame, now)
    except UNREADABLE as error:
        return (Unreadable(reason(error)),)


def ticks_of(symbol: str, prices: Iterable[tuple[Source, Any]], now: float) -> list[Tick | Unreadable]:
    """Return the prices of a symbol as ticks, with an `Unreadable` for each value that can be no price.

    A missing price or a price of 0 is left out, because a new contract has none from some sources.
    """
    messages: list[Tick | Unreadable] = []
    for source, value in prices:
        try:
            if value and (price := Decimal(value)):
                messages.append(Tick(symbol, price, now, source))
        except UNREADABLE:
            messages.append(Unreadable(f"{symbol}: the {source} price is {value!r:.100}, which is no price"))
    return messages


def cumulative(contracts: str | None, instrument: Instrument) -> Decimal | None:
    """Return an order's filled quantity in base units; None if the venue does not state it."""
    return Decimal(contracts) * instrument.contract_size if contracts else None


def order_side(order: str, leg: str, *, reduces: bool) -> Side:
    """Return the side of the position that an order belongs to.

    Args:
        order: the order's side, ``"sell"`` or ``"buy"``.
        leg: the position's side in hedge mode, ``"long"`` or ``"short"``; anything else: one-way mode.
        reduces: whether the order can only reduce a position.
    """
    if leg in {"long", "short"}:
        return "long" if leg == "long" else "short"
    return "long" if (order == "sell") == reduces else "short"


def opens_position(order: str, leg: str, *, reduces: bool) -> bool:
    """Return whether an order can open or increase a position.

    Args:
        order, leg: as in `order_side`.
        reduces: in one-way mode, whether the order can only reduce a position.
    """
    if leg in {"long", "short"}:
        return (order == "buy") == (leg == "long")
    return not reduces


def position_updates(instrument: Instrument, leg: str, signed: Decimal, now: float) -> tuple[PositionUpdate, ...]:
    """Return the updates for a position of `signed` contracts. In one-way mode, a flat position clears both sides."""
    quantity = abs(signed) * instrument.contract_size
    if leg in {"long", "short"}:
        return (PositionUpdate(instrument.symbol, "long" if leg == "long" else "short", quantity, now),)
    if not signed:
        return (
            PositionUpdate(instrument.symbol, "long", quantity, now),
            PositionUpdate(instrument.symbol, "short", quantity, now),
        )
    return (PositionUpdate(instrument.symbol, "long" if signed > 0 else "short", quantity, now),)
