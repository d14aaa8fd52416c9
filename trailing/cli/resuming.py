"""Where a run that was cut short goes on: from what its exchange had booked, and what its store knows.

The market goes on where it was. Whatever the exchange booked is kept with the number of prices that had been fed by then;
those that followed triggered nothing, or it would have been booked. So they are only remembered, up to the last moment
that the store knows of. Only trailing orders of the exchange follow them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import msgspec

from trailing.cli.kept_account import KeptAccount
from trailing.core.model import Position
from trailing.exchanges.paper import PaperExchange
from trailing.exchanges.prices import PricePoint
from trailing.stores.port import Store

_ROUNDING = 1e-3
"""Seconds: a time of day in the store has whole microseconds, a time in the data whole milliseconds."""


class Resumption(msgspec.Struct, frozen=True, kw_only=True):
    """Where to go on.

    Args:
        at: when, in seconds on the data's clock.
        still_open: the positions that were entered and are open.
        to_enter: those that were not entered.
    """

    kept: KeptAccount
    at: float
    still_open: tuple[Position, ...]
    to_enter: tuple[Position, ...]

    def restore(self, exchange: PaperExchange, points: Iterable[PricePoint]) -> tuple[int, Iterator[PricePoint]]:
        """Let the exchange be what it was.

        Args:
            points: all of the run, from its beginning.

        Returns:
            How many of them are behind us, and the others.
        """
        bookings, fed = dict(self.kept.bookings), 0
        coming = iter(points)
        rest: Iterator[PricePoint] = iter(())
        for point in coming:
            symbol = point.tick.symbol
            if fed >= self.kept.fed and point.tick.at >= self.at - _ROUNDING:
                rest = chain((point,), coming)
                break
            if symbol in bookings and fed >= bookings[symbol].fed:
                exchange.restore([bookings.pop(symbol).place])  # now, because its orders follow the prices from here on
            exchange.remember(point.tick)
            fed += 1
        exchange.restore((booked.place for booked in bookings.values()), self.kept.used_ids)
        return fed, rest


async def find_resumption(store: Store, kept: KeptAccount, exchange: str, positions: Sequence[Position]) -> Resumption:
    """Where a run goes on: at the last moment that its exchange or its store knows of.

    Raises:
        StoreError: the store can't be read.
    """
    account, begun_at = kept.begun.account, min(position.opened_at for position in positions)
    moments = [begun_at.timestamp(), *([] if kept.at is None else [kept.at])]
    loaded = await store.load(exchange, account)
    for record in loaded.stops:
        moments += [at.timestamp() for at in (record.saved_at, record.prices_until) if at is not None]
    moments += [intent.at.timestamp() for intent in loaded.intents]
    async for told in store.events(begun_at):
        if told.account == account:
            moments.append(told.event.at.timestamp())
    return Resumption(
        kept=kept,
        at=max(moments),
        still_open=tuple(position for position in positions if kept.is_open(position)),
        to_enter=tuple(position for position in positions if (position.symbol, position.side) not in kept.entered),
    )
