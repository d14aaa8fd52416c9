"""`trailing backtest`: walk positions along recorded prices on the core alone, and report their trades."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import trio

from trailing.backtest import Backtest, run
from trailing.cli.practice.backtest_entries import EntryOptions, choose_entries
from trailing.cli.practice.backtest_report import (
    backtest_notes,
    print_backtest,
    print_backtest_json,
    write_trades_csv,
)
from trailing.cli.practice.cost_options import costs_reader
from trailing.cli.practice.funding_warning import warn_of_unused_funding
from trailing.cli.practice.html_report import check_html, write_html
from trailing.cli.practice.plan_files import read_plan
from trailing.cli.practice.tick_options import parse_ticks, read_with_ticks
from trailing.cli.signals import Interruption, run_until_signal
from trailing.core.paths import CandleOrder
from trailing.logs import Level


def main(
    *,
    prices: list[str],
    wave: str | None,
    signals: str | None,
    store: str | None,
    every: str | None,
    always_in: bool,
    symbol: list[str] | None,
    side: str | None,
    quantity: str | None,
    since: str | None,
    plan: str | None,
    candles: CandleOrder,
    tick: list[str] | None,
    slippage: str,
    fee: str,
    funding: list[str] | None,
    json: bool,
    csv: str | None,
    html: str | None,
    log_level: Level,
) -> int:
    """Run a backtest and print its trades. The arguments are the options of `trailing backtest`.

    Returns:
        The exit code.

    Raises:
        UsageError: an option or a file can't be right. Nothing was walked.
        StoreError: the store can't be read.
    """
    options = EntryOptions(
        wave=wave,
        signals=signals,
        store=store,
        every=every,
        always_in=always_in,
        symbol=symbol,
        side=side,
        quantity=quantity,
        since=since,
    )
    check_html(html)
    ticks = parse_ticks(tick)
    read_costs = costs_reader(slippage, fee, funding)
    chosen = choose_entries(options, prices, log_level)
    if chosen.exit_code:
        return chosen.exit_code
    found = read_with_ticks(prices, chosen.symbols, ticks)
    chosen.check_times(found)
    series = found.series
    costs = read_costs(series)
    warn_of_unused_funding(costs, series)
    checked = read_plan(None if plan is None else Path(plan), bar_seconds=found.longest_bar)
    chosen.check_first_stops(checked, found)
    walking = partial(
        run,
        checked,
        series,
        chosen.entries,
        costs=costs,
        candles=candles,
        markets=found.markets,
        keeps_stops=html is not None,
    )
    result, interruption = run_until_signal(partial(_in_thread, walking), log_level=log_level)
    if result is None:
        return interruption.exit_code
    if csv is not None:
        write_trades_csv(Path(csv), result)
    notes = found.describe()
    if chosen.left_out:
        notes.append(f"left out: {chosen.left_out} closed positions of the store without a known entry")
    if html is not None:
        from trailing.plots import backtest_page  # noqa: PLC0415 - it needs the extra

        written = backtest_notes(result, own_plan=plan is not None, has_trades=found.has_trades, notes=notes)
        write_html(html, backtest_page(result, series, notes=written, unprotected=chosen.unprotected))
    if json:
        print_backtest_json(result)
    else:
        print_backtest(result, own_plan=plan is not None, has_trades=found.has_trades, notes=notes)
    return interruption.exit_code


async def _in_thread(walking: partial[Backtest], interruption: Interruption) -> Backtest | None:
    """Walk in a thread, so that a signal ends the command at once."""
    with interruption.cancels():
        return await trio.to_thread.run_sync(walking, abandon_on_cancel=True)
    return None
