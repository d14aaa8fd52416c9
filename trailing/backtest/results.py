"""The results of a backtest, as records."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from typing import Any, Final

import msgspec

from trailing.backtest.costs import Account, Costs
from trailing.backtest.entries import EntryPoint
from trailing.backtest.walk import Stops, Walk
from trailing.core.model import Side
from trailing.core.paths import AssumedOrder
from trailing.core.plan import TrailPlan
from trailing.core.prices import EXACT

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ZERO: Final = Decimal(0)
_ONE: Final = Decimal(1)
_PLACES: Final = Decimal("0.0001")


class Trade(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One position from its entry to its exit.

    Args:
        quantity: in base units.
        entered_at: when it was opened, aware UTC.
        exited_at, exit_price, reason: when, at which price of the model and why it was closed; None: it is open when the data
            end.
        profit: after costs, in quote units; None while it is open. `gross`, `slippage`, `fees` and `funding` are its parts.
        moves: how often its stop was moved.
        stop: the price of its live stop at the end.
        mae, mfe: the maximum adverse and the maximum favourable excursion, in percent of the entry price, at least 0.
        bars: the number of bars (or trades) that it lasted, that of the exit included.
        last_price: the last price, if it is open.
        id: as `Position.id`.
    """

    symbol: str
    side: Side
    quantity: Decimal
    entry_price: Decimal
    entered_at: datetime
    exit_price: Decimal | None
    exited_at: datetime | None
    reason: str | None
    profit: Decimal | None
    gross: Decimal | None
    slippage: Decimal | None
    fees: Decimal | None
    funding: Decimal | None
    moves: int
    stop: Decimal
    mae: Decimal
    mfe: Decimal
    bars: int
    last_price: Decimal | None
    id: str | None

    @property
    def currency(self) -> str:
        """The quote currency of its symbol, in which its profit is."""
        return self.symbol.partition("/")[2].partition(":")[0]


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """The sums of the trades of one quote currency.

    Args:
        trades, closed, open: the numbers of trades. Open ones are in no sum of money.
        won: the number of closed trades with a profit above 0.
        profit: after costs. `gross`, `slippage`, `fees` and `funding` are its parts.
        moves: the number of moves of all stops.
    """

    trades: int
    closed: int
    open: int
    won: int
    profit: Decimal
    gross: Decimal
    slippage: Decimal
    fees: Decimal
    funding: Decimal
    moves: int


class Run(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The trades under one order of a bar's extremes.

    Args:
        candles: the order; None: no symbol has bars.
        totals: by quote currency.
        stops: of each trade; empty unless they were kept.
    """

    candles: AssumedOrder | None
    trades: tuple[Trade, ...]
    totals: dict[str, Totals]
    stops: tuple[Stops, ...] = ()

    def records(self) -> list[dict[str, Any]]:
        """Return a dict for each trade, as ``pandas.DataFrame`` and ``polars.DataFrame`` take them."""
        return [msgspec.structs.asdict(trade) for trade in self.trades]

    def columns(self) -> dict[str, list[Any]]:
        """Return the trades as columns: the name of each field with its values."""
        names = Trade.__struct_fields__
        return {name: [getattr(trade, name) for trade in self.trades] for name in names}


class Backtest(msgspec.Struct, frozen=True, kw_only=True):
    """The result of `trailing.backtest.run`.

    Args:
        plan, costs: as they were given.
        runs: one for each order of a bar's extremes that was asked for.
    """

    plan: TrailPlan
    costs: Costs
    runs: tuple[Run, ...]

    @property
    def profit_range(self) -> dict[str, tuple[Decimal, Decimal]]:
        """The lowest and the highest profit of the runs, by quote currency. The true order of each bar may give another one."""
        currencies = sorted({currency for run in self.runs for currency in run.totals})
        found = {}
        for currency in currencies:
            profits = [run.totals[currency].profit for run in self.runs if currency in run.totals]
            found[currency] = (min(profits), max(profits))
        return found


def make_trade(entry: EntryPoint, walk: Walk, account: Account | None) -> Trade:
    """Return the trade of an entry.

    Args:
        account: its profit and costs; None: it is open.
    """
    position = entry.position
    is_open = walk.exit_at is None
    return Trade(
        symbol=position.symbol,
        side=position.side,
        quantity=position.quantity,
        entry_price=position.entry_price,
        entered_at=position.opened_at,
        exit_price=None if is_open else _plain(walk.exit_price),
        exited_at=None if walk.exit_at is None else _EPOCH + timedelta(seconds=walk.exit_at),
        reason=walk.reason,
        profit=None if account is None else _plain(account.profit),
        gross=None if account is None else _plain(account.gross),
        slippage=None if account is None else _plain(account.slippage),
        fees=None if account is None else _plain(account.fees),
        funding=None if account is None else _plain(account.funding),
        moves=walk.moves,
        stop=_plain(walk.stop),
        mae=_percent(position.entry_price, walk.worst),
        mfe=_percent(position.entry_price, walk.best),
        bars=walk.last - walk.first + 1,
        last_price=walk.exit_price if is_open else None,
        id=position.id,
    )


def _plain(value: Decimal) -> Decimal:
    """Return a value without trailing zeros and without an exponent."""
    short = value.normalize(EXACT)
    exponent = short.as_tuple().exponent
    return short.quantize(_ONE, context=EXACT) if isinstance(exponent, int) and exponent > 0 else short


def _percent(entry: Decimal, price: Decimal) -> Decimal:
    """Return how far a price is from the entry, in percent of the entry, to four places."""
    return (abs(price - entry) * 100 / entry).quantize(_PLACES)


def add_up(trades: Iterable[Trade]) -> dict[str, Totals]:
    """Return the totals by quote currency."""
    groups: defaultdict[str, list[Trade]] = defaultdict(list)
    for trade in trades:
        groups[trade.currency].append(trade)
    return {currency: _total(groups[currency]) for currency in sorted(groups)}


def _total(trades: list[Trade]) -> Totals:
    closed = [trade for trade in trades if trade.profit is not None]
    sums: Mapping[str, Decimal] = {
        name: _sum(closed, name) for name in ("profit", "gross", "slippage", "fees", "funding")
    }
    return Totals(
        trades=len(trades),
        closed=len(closed),
        open=len(trades) - len(closed),
        won=sum(trade.profit is not None and trade.profit > 0 for trade in closed),
        moves=sum(trade.moves for trade in trades),
        **sums,
    )


def _sum(trades: list[Trade], name: str) -> Decimal:
    with localcontext(EXACT):
        return _plain(sum((getattr(trade, name) for trade in trades), _ZERO))
