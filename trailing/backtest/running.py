"""Run a backtest: every entry is walked along its prices, under each order of a bar's extremes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from trailing.backtest.costs import Costs, pay_funding, settle
from trailing.backtest.entries import AlwaysIn, EntryPoint, Every, Signal, enter_at, generate_every, given_entries
from trailing.backtest.results import Backtest, Run, Trade, add_up, make_trade
from trailing.backtest.series import Series, is_bars, times_of
from trailing.backtest.simulated import check_entry_of
from trailing.backtest.walk import Stops, Walk, walk
from trailing.core.model import Market, Position, check_symbol, refuse
from trailing.core.paths import CandleOrder, assumed_orders, name_order
from trailing.core.plan import TrailPlan
from trailing.errors import UsageError

_NO_COSTS = Costs()


def run(
    plan: TrailPlan,
    prices: Mapping[str, Series],
    entries: Iterable[Position | EntryPoint | Signal] | Every | AlwaysIn,
    *,
    costs: Costs = _NO_COSTS,
    candles: CandleOrder = "both",
    markets: Mapping[str, Market] | None = None,
    keeps_stops: bool = False,
) -> Backtest:
    """Walk entries along recorded prices under a plan, and return their trades and totals.

    The core decides as it does in a bot, without manager, store and network. Each position is walked on its own, so several
    of one symbol may be open at once. Requests take no time.

    Args:
        plan: the plan of every position.
        prices: bars or trades of each symbol, as `trailing.price_files.read_prices` returns them.
        entries: positions that were really entered, signals, or a rule that generates entries in every symbol.
        costs: slippage, fee and funding; all 0 by default.
        candles: which extreme of a bar is assumed to come first. ``"both"`` walks both orders.
        markets: the rules of symbols, such as the price tick; a symbol without one gets `Market`'s defaults.
        keeps_stops: whether `Run.stops` is filled, for a picture.

    Returns:
        A `Backtest` with one `Run` for each order. Without any bars there is one run.

    Raises:
        UsageError: an argument can't be right, before anything is walked; or a rule of the plan failed.
    """
    if not isinstance(plan, TrailPlan):
        raise refuse("plan", plan, "a TrailPlan")
    if not isinstance(costs, Costs):
        raise refuse("costs", costs, "a Costs")
    orders: Sequence[bool | None] = assumed_orders(candles)
    _check_prices(prices)
    known = {symbol: (markets or {}).get(symbol) or Market(symbol) for symbol in prices}
    if not any(is_bars(series) for series in prices.values()):
        orders = (None,)
    if not isinstance(entries, (Every, AlwaysIn)):
        entries = given_entries(entries, prices)
        for entry in entries:
            check_entry_of(entry.position, plan, known[entry.position.symbol])
    runs = []
    for high_first in orders:
        trades, stops = list[Trade](), list[Stops]()
        is_high_first = high_first is not False
        for entry, walked in _walks(plan, prices, entries, known, high_first=is_high_first, keeps_stops=keeps_stops):
            trades.append(_trade(entry, walked, prices[entry.position.symbol], costs))
            if keeps_stops:
                stops.append(walked.stops)
        runs.append(
            Run(candles=name_order(high_first), trades=tuple(trades), totals=add_up(trades), stops=tuple(stops))
        )
    if not any(each.trades for each in runs):
        raise UsageError("there is nothing to enter: no interval of Every begins within the prices")
    return Backtest(plan=plan, costs=costs, runs=tuple(runs))


def _check_prices(prices: Mapping[str, Series]) -> None:
    if not prices:
        raise UsageError("prices got no symbol, wants bars or trades of at least one")
    for symbol, series in prices.items():
        check_symbol("prices", symbol)
        if not times_of(series):
            raise UsageError(f"{symbol} has no price")


def _walks(
    plan: TrailPlan,
    prices: Mapping[str, Series],
    entries: Sequence[EntryPoint] | Every | AlwaysIn,
    markets: Mapping[str, Market],
    *,
    high_first: bool,
    keeps_stops: bool,
) -> Iterator[tuple[EntryPoint, Walk]]:
    if isinstance(entries, AlwaysIn):
        for symbol, series in prices.items():
            for side in entries.sides:
                index = 0
                while index < len(times_of(series)):
                    entry = enter_at(series, index, symbol, side, entries.quantity)
                    walked = _walk(entry, plan, markets[symbol], series, high_first=high_first, keeps_stops=keeps_stops)
                    yield entry, walked
                    index = _index_after(series, walked.last)
        return
    if isinstance(entries, Every):
        entries = [entry for symbol, series in prices.items() for entry in generate_every(entries, symbol, series)]
    for entry in entries:
        symbol = entry.position.symbol
        series = prices[symbol]
        yield entry, _walk(entry, plan, markets[symbol], series, high_first=high_first, keeps_stops=keeps_stops)


def _index_after(series: Series, index: int) -> int:
    """Return the index of the next entry after an exit: the next bar, or the first trade of a later millisecond."""
    times = times_of(series)
    after = index + 1
    while after < len(times) and times[after] == times[index]:
        after += 1
    return after


def _walk(
    entry: EntryPoint, plan: TrailPlan, market: Market, series: Series, *, high_first: bool, keeps_stops: bool
) -> Walk:
    walked = walk(entry.position, plan, market, series, high_first=high_first, keeps_stops=keeps_stops)
    assert walked is not None, "its first price was checked"
    return walked


def _trade(entry: EntryPoint, walked: Walk, series: Series, costs: Costs) -> Trade:
    if walked.exit_at is None:
        return make_trade(entry, walked, None)
    position = entry.position
    rates = costs.funding.get(position.symbol, ())
    funding = pay_funding(position, series, rates, position.opened_at.timestamp(), walked.exit_at)
    account = settle(position, walked.exit_price, costs, at_market=entry.at_market, funding=funding)
    return make_trade(entry, walked, account)
