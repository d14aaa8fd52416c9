"""What is said over a venue's websockets: the shape that each venue's dialect has.

ccxt's own `watch_*` are not used, only its connections, hosts and keys. They hand over what comes while somebody awaits;
what comes in between comes with the next message of its symbol, and of an illiquid one that may be minutes later. They
merge orders in place, go deaf after a frame that can't be read, let one cancelled task block all others, and take
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
"""What came, with its numbers exact."""

frame_of: Final = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode
"""Decodes a frame. Raises msgspec.DecodeError."""


class Answer(msgspec.Struct, frozen=True):
    """A venue's answer to the request that was sent last. `error`: why it didn't do that; "": it did."""

    error: str = ""


class Expired(msgspec.Struct, frozen=True):
    """The venue will push nothing more over this connection."""

    detail: str


Heard: TypeAlias = Update | Answer | Expired | Unreadable


def read_each(entries: Iterable[Any], read: Callable[[Any], Iterable[Heard]]) -> list[Heard]:
    """Read the entries of a frame one by one. One that can't be read costs none of the others."""
    heard: list[Heard] = []
    for entry in entries:
        try:
            heard += read(entry)
        except UNREADABLE as error:
            heard.append(Unreadable(reason(error)))
    return heard


class Place(msgspec.Struct, frozen=True):
    """A market there and here.

    Args:
        id: what the venue calls it.
        contract_size: base units of a contract.
    """

    symbol: str
    id: str
    contract_size: Decimal


class Dialect(Protocol):
    """How one venue is talked to.

    Attributes:
        sources: whose prices it pushes.
        symbols_per_line: how many may be subscribed to over one connection.
        topics_per_request: how many may be subscribed to at once.
        account_topics: what is to be subscribed to on the account's connection.
        heartbeat: what is sent on a silent connection, so that something comes; None: a ping frame.
        renewal_seconds: seconds after which `renew` is due, again and again; None: never.
    """

    sources: frozenset[Source]
    symbols_per_line: int
    topics_per_request: int
    account_topics: tuple[str, ...]
    heartbeat: str | None
    renewal_seconds: float | None

    def topics(self, symbol: str) -> tuple[str, ...]:
        """What to subscribe to for a symbol's prices."""

    def request(self, number: int, topics: Sequence[str], *, wanted: bool) -> str:
        """A request to subscribe, or not to any more."""

    async def price_address(self) -> str:
        """The URL of prices."""

    async def account_address(self) -> str:
        """The URL of the account's own. Raises ExchangeError."""

    def sign_in(self) -> str | None:
        """What to send first on the account's connection; None: nothing."""

    async def renew(self) -> None:
        """Let the account's connection live on. Raises ExchangeError."""

    def read(self, frame: Frame, now: float) -> Iterable[Heard]:
        """Return what a frame says, with an `Unreadable` for each entry that can't be read.

        Raises one of `UNREADABLE` where the frame as a whole can't be read.
        """

    def overdue(self, now: float) -> Iterable[Heard]:
        """What was said before, and kept back for a frame that would tell more, which didn't come."""


def read_frame(dialect: Dialect, text: str, now: float) -> Iterable[Heard]:
    """Read a frame. Raises msgspec.DecodeError where it is no JSON object; else what can't be read is an `Unreadable`."""
    frame = frame_of(text)
    try:
        return dialect.read(frame, now)
    except UNREADABLE as error:
        return (Unreadable(reason(error)),)


def ticks_of(symbol: str, prices: Iterable[tuple[Source, Any]], now: float) -> list[Tick | Unreadable]:
    """Return the prices of a symbol as ticks, and an `Unreadable` for each that can be no price.

    A new contract has no price, or 0, of some sources: those are left out.
    """
    heard: list[Tick | Unreadable] = []
    for source, text in prices:
        try:
            if text and (price := Decimal(text)):
                heard.append(Tick(symbol, price, now, source))
        except UNREADABLE:
            heard.append(Unreadable(f"the {source} price of {symbol} got {text!r:.100}"))
    return heard


def cumulative(contracts: str | None, place: Place) -> Decimal | None:
    """Return how much of an order was filled, in base units; None where the venue does not say it."""
    return Decimal(contracts) * place.contract_size if contracts else None


def order_side(closing: str, leg: str, *, reduces: bool) -> Side:
    """The side of the position that an order is about.

    Args:
        closing: the order's side, ``"sell"`` or ``"buy"``.
        leg: the leg of a hedge, ``"long"`` or ``"short"``; anything else: one-way mode.
        reduces: whether it can only close.
    """
    if leg in {"long", "short"}:
        return "long" if leg == "long" else "short"
    return "long" if (closing == "sell") == reduces else "short"


def position_updates(place: Place, leg: str, signed: Decimal, now: float) -> tuple[PositionUpdate, ...]:
    """What is known of a position; a flat one in one-way mode is of either side."""
    quantity = abs(signed) * place.contract_size
    if leg in {"long", "short"}:
        return (PositionUpdate(place.symbol, "long" if leg == "long" else "short", quantity, now),)
    if not signed:
        return (
            PositionUpdate(place.symbol, "long", quantity, now),
            PositionUpdate(place.symbol, "short", quantity, now),
        )
    return (PositionUpdate(place.symbol, "long" if signed > 0 else "short", quantity, now),)
