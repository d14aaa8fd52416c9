"""The point at which an interrupted run is resumed, found in the saved account and the store.

Each booking is saved with the number of prices fed before it. Later prices triggered nothing, because that would have been
booked. So the exchange only remembers them, up to the latest time in the store. Only its own trailing orders follow them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import msgspec

from trailing.cli.practice.saved_account import SavedPaperAccount
from trailing.core.model import Position
from trailing.exchanges.paper import PaperExchange
from trailing.exchanges.prices import PricePoint
from trailing.stores.port import Store

_ROUNDING = 1e-3
"""Seconds of tolerance, because times in the store have whole microseconds and those in the data whole milliseconds."""


class Resumption(msgspec.Struct, frozen=True, kw_only=True):
    """The point at which a run is resumed.

    Args:
        at: in seconds on the data's clock.
        still_open: the positions that were entered and are open.
        to_enter: the positions that were not entered.
    """

    saved: SavedPaperAccount
    at: float
    still_open: tuple[Position, ...]
    to_enter: tuple[Position, ...]

    def restore(self, exchange: PaperExchange, points: Iterable[PricePoint]) -> tuple[int, Iterator[PricePoint]]:
        """Restore the exchange's state.

        Args:
            points: all prices of the run, from its beginning.

        Returns:
            The number of prices that were fed before, and the prices that are still to be fed.
        """
        bookings, fed = dict(self.saved.bookings), 0
        coming = iter(points)
        rest: Iterator[PricePoint] = iter(())
        for point in coming:
            symbol = point.tick.symbol
            if fed >= self.saved.fed and point.tick.at >= self.at - _ROUNDING:
                rest = chain((point,), coming)
                break
            if symbol in bookings and fed >= bookings[symbol].fed:
                exchange.restore(
                    [bookings.pop(symbol).place]
                )  # now, because its trailing orders follow the later prices
            exchange.remember(point.tick)
            fed += 1
        exchange.restore((booked.place for booked in bookings.values()), self.saved.used_ids)
        return fed, rest


async def find_resumption(
    store: Store, saved: SavedPaperAccount, exchange: str, positions: Sequence[Position]
) -> Resumption:
    """Return the point at which a run is resumed: the latest time in its saved account or its store.

    Raises:
        StoreError: the store can't be read.
    """
    account, begun_at = saved.begun.account, min(position.opened_at for position in positions)
    moments = [begun_at.timestamp(), *([] if saved.at is None else [saved.at])]
    loaded = await store.load(exchange, account)
    for record in loaded.stops:
        moments += [at.timestamp() for at in (record.saved_at, record.prices_until) if at is not None]
    moments += [intent.at.timestamp() for intent in loaded.intents]
    async for event_record in store.events(begun_at):
        if event_record.account == account:
            moments.append(event_record.event.at.timestamp())
    return Resumption(
        saved=saved,
        at=max(moments),
        still_open=tuple(position for position in positions if saved.is_open(position)),
        to_enter=tuple(position for position in positions if (position.symbol, position.side) not in saved.entered),
    )
