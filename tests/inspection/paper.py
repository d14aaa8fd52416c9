"""Disturb the paper exchange and look at the store in memory, without a request and without a wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal

import trio

from trailing import StopRecord
from trailing.core.entry_orders import EntryOrder
from trailing.core.model import Position, Side, StopOrder
from trailing.errors import TrailingError
from trailing.exchanges.limiter import Limiter
from trailing.exchanges.paper import PaperExchange
from trailing.exchanges.paper.market_book import LiveStop
from trailing.exchanges.port import EntryUpdate, StreamState, Update
from trailing.stores import MemoryStore


def silence_updates(paper: PaperExchange) -> None:
    """Push no more ticks and no more updates of orders and positions."""
    paper._stream.publish = lambda _: None  # type: ignore[method-assign,assignment]


@contextmanager
def updates_silenced(paper: PaperExchange) -> Iterator[None]:
    """Push no ticks and no updates of orders and positions within the block; they are lost."""
    publish = paper._stream.publish
    silence_updates(paper)
    try:
        yield
    finally:
        paper._stream.publish = publish  # type: ignore[method-assign]


def push_update(paper: PaperExchange, update: Update) -> None:
    """Push an update that nothing on the exchange stands behind, over each stream that is open."""
    for channel in paper._stream._channels:
        channel.push(update)


def push_stream_state(paper: PaperExchange, *, connected: bool) -> None:
    """Push that the stream is lost, or is there again, whatever was pushed before."""
    push_update(paper, StreamState(connected, trio.current_time()))


def forget_subscriptions(paper: PaperExchange) -> None:
    """Let the exchange forget which symbols are subscribed."""
    paper._stream.subscriptions = frozenset()


def set_liquidation_price(paper: PaperExchange, symbol: str, side: Side, price: Decimal) -> None:
    """Change the liquidation price of a position, as when its margin is used elsewhere, and push the position."""
    book = paper._account._books[symbol]
    book.holdings[side].liquidation_price = price
    paper._account._position_changed(book, side, trio.current_time())


def amend_by_hand(paper: PaperExchange, order: StopOrder, price: Decimal) -> StopOrder:
    """Amend a live stop at once, as a person does on the exchange's website, whether or not a program may amend there.

    Raises StopRejected: the stop is gone or triggered, or can't be at that price.
    """
    at = trio.current_time()
    amended = paper._account.amend(order.symbol, order.client_order_id, price, order.quantity, at)
    paper._transport.note(at, "amend_by_hand", order.symbol, order.client_order_id, amended)
    return amended


def add_by_hand(paper: PaperExchange, position: Position) -> None:
    """Add a filled entry as `PaperExchange.enter`, without its checkpoint, so that the position can't end before."""
    at = trio.current_time()
    paper._account.enter(position, at)
    paper._transport.note(at, "add_by_hand", position.symbol, None, position)


def watch_entries(
    paper: PaperExchange, entry_changed: Callable[[EntryOrder], object], stop_attached: Callable[[StopOrder], object]
) -> None:
    """Call functions at each change of an entry, and with each stop that an entry has placed or resized.

    Args:
        entry_changed: called after the position has changed.
        stop_attached: called before the change of its entry. The position may change later.
    """
    entries = paper._account.entries
    publish, change_stop = entries._publish, entries._stop_changed

    def published(update: EntryUpdate) -> None:
        publish(update)
        entry_changed(update.order)

    def changed(stop: LiveStop, at: float) -> None:
        change_stop(stop, at)
        stop_attached(stop.order)

    entries._publish, entries._stop_changed = published, changed


def working_entries(paper: PaperExchange, symbol: str) -> tuple[EntryOrder, ...]:
    """Return the working entries of a symbol, without latency and read lag."""
    return tuple(entry.order for entry in paper._account._book(symbol).entries.values())


async def cancel_in_vain(paper: PaperExchange, order: StopOrder, error: TrailingError) -> None:
    """Send a cancellation that waits for its turn and takes its time as any other, and is answered an error."""

    def refuse(_: float) -> None:
        raise error

    own = order.client_order_id
    await paper._transport.send("cancel_stop", order.symbol, refuse, client_order_id=own, after_earlier=True)


def use_limiter(paper: PaperExchange, limiter: Limiter) -> None:
    """Let every request from now on wait for its turn at another exchange's limiter. Its `serve` has to run."""
    paper._limiter = paper._transport._limiter = limiter


def stored_now(memory: MemoryStore, exchange: str = "paper", account: str = "default") -> Sequence[StopRecord]:
    """The open records of an account at this moment."""
    return memory._accounts[exchange, account].open_stops()


def has_intent(memory: MemoryStore, client_order_id: str, exchange: str = "paper", account: str = "default") -> bool:
    """Whether the store holds the intent of an order at this moment."""
    return client_order_id in memory._accounts[exchange, account].intents
