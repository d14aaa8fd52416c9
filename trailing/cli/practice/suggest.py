"""`trailing suggest`: what a bot's own closed positions say about its plan."""

from __future__ import annotations

from functools import partial

from trailing.cli.practice.closed_positions import read_closed_positions
from trailing.cli.practice.cost_options import costs_reader
from trailing.cli.practice.grid_options import parse_axes
from trailing.cli.practice.html_report import check_html, write_html
from trailing.cli.practice.plan_files import read_base_plan
from trailing.cli.practice.sweep_progress import ENDS_AT_NEXT_STEP, walk_in_thread
from trailing.cli.practice.tick_options import parse_ticks, read_with_ticks
from trailing.cli.signals import run_until_signal
from trailing.core.checks import check_symbol, refuse
from trailing.core.paths import CandleOrder
from trailing.errors import UsageError
from trailing.extras import import_extra
from trailing.logs import Level


def main(
    *,
    store: str,
    prices: list[str],
    initial_stop: str | None,
    callback: str | None,
    activation: str | None,
    breakeven: str | None,
    breakeven_offset: str | None,
    steps: list[str] | None,
    chandelier: str | None,
    chandelier_period: str | None,
    symbol: list[str] | None,
    since: str | None,
    plan: str | None,
    candles: CandleOrder,
    tick: list[str] | None,
    slippage: str,
    fee: str,
    best: int,
    seed: int,
    json: bool,
    html: str | None,
    log_level: Level,
) -> int:
    """Print what the closed positions of a store say. The arguments are the options of `trailing suggest`.

    Returns:
        The exit code.

    Raises:
        UsageError: an option or a file can't be right, or the extra is missing. Nothing was walked.
        StoreError: the store can't be read.
    """
    import_extra("numba", extra="sweep", purpose="suggestions")
    from trailing.cli.practice import suggest_report  # noqa: PLC0415 - it needs the extra
    from trailing.sweep import Grid, suggest  # noqa: PLC0415

    axes = parse_axes(
        {
            "initial_stop": initial_stop,
            "callback": callback,
            "activation": activation,
            "breakeven": breakeven,
            "breakeven_offset": breakeven_offset,
            "steps": steps,
            "chandelier": chandelier,
            "chandelier_period": chandelier_period,
        }
    )
    Grid(**axes)  # refused before a file is read
    check_html(html)
    ticks = parse_ticks(tick)
    read_costs = costs_reader(slippage, fee, None)
    if best < 1:
        raise refuse("--best", best, "a whole number of at least 1")
    wanted = tuple(dict.fromkeys(symbol or ()))
    for each in wanted:
        check_symbol("--symbol", each)
    stored = read_closed_positions(store, since, wanted, log_level)
    if stored.exit_code:
        return stored.exit_code
    own = [known for closed in stored.positions if (known := closed.own) is not None]
    if not own:
        where = f" of {', '.join(wanted)}" if wanted else ""
        raise UsageError(f"--store {store} has no closed position{where} whose entry and profit are known")
    symbols = dict.fromkeys(each.position.symbol for each in own)
    found = read_with_ticks(prices, symbols, ticks)
    series = found.series
    base = read_base_plan(plan, found.longest_bar)
    walking = partial(
        suggest,
        own,
        series,
        Grid(**axes, base=base),
        costs=read_costs(series),
        candles=candles,
        markets=found.markets,
        best=best,
        seed=seed,
    )
    work = partial(walk_in_thread, walking, "suggest")
    suggestions, interruption = run_until_signal(work, announce=ENDS_AT_NEXT_STEP, log_level=log_level)
    if suggestions is None:
        return interruption.exit_code
    notes = found.describe()
    unknown = len(stored.positions) - len(own)
    if unknown:
        notes.append(f"left out: {unknown} closed positions of the store whose entry or profit is unknown")
    order = None if found.longest_bar is None else candles
    written = suggest_report.suggest_notes(walking.keywords["costs"], order, has_trades=found.has_trades, notes=notes)
    if html is not None:
        from trailing.plots import suggest_page  # noqa: PLC0415 - it needs the extra

        lines = [line for each in suggestions for line in suggest_report.describe(each)]
        page = suggest_page(suggestions, series, lines=lines, notes=written, unprotected=stored.unprotected)
        write_html(html, page)
    if json:
        suggest_report.print_suggestions_json(suggestions, walking.keywords["costs"], order)
    else:
        suggest_report.print_suggestions(suggestions, notes=written)
    return interruption.exit_code
