"""`trailing sweep`: walk many plans along recorded prices, and say which are better than chance."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from trailing.cli.practice.backtest_entries import EntryOptions, choose_entries
from trailing.cli.practice.cost_options import costs_reader
from trailing.cli.practice.grid_options import parse_axes
from trailing.cli.practice.html_report import check_html, write_html
from trailing.cli.practice.plan_files import read_base_plan
from trailing.cli.practice.sweep_progress import ENDS_AT_NEXT_STEP, walk_in_thread
from trailing.cli.practice.tick_options import parse_ticks, read_with_ticks
from trailing.cli.signals import run_until_signal
from trailing.core.checks import refuse
from trailing.core.model import Percent
from trailing.core.paths import CandleOrder
from trailing.errors import UsageError
from trailing.extras import import_extra
from trailing.logs import Level


def main(
    *,
    prices: list[str],
    initial_stop: str | None,
    callback: str | None,
    activation: str | None,
    breakeven: str | None,
    breakeven_offset: str | None,
    steps: list[str] | None,
    chandelier: str | None,
    chandelier_period: str | None,
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
    first_part: str,
    best: int,
    seed: int,
    jobs: int,
    json: bool,
    csv: str | None,
    trades: str | None,
    html: str | None,
    log_level: Level,
) -> int:
    """Run a sweep and print its best plans. The arguments are the options of `trailing sweep`.

    Returns:
        The exit code.

    Raises:
        UsageError: an option or a file can't be right, or the extra is missing. Nothing was walked.
        StoreError: the store can't be read.
    """
    import_extra("numba", extra="sweep", purpose="sweeps")
    from trailing.cli.practice import sweep_report  # noqa: PLC0415 - it needs the extra
    from trailing.sweep import Grid, run  # noqa: PLC0415
    from trailing.sweep.running import check_jobs  # noqa: PLC0415

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
    ticks = parse_ticks(tick)
    read_costs = costs_reader(slippage, fee, None)
    check_html(html)
    part = _first_part(first_part)
    for name, value in (("--best", best), ("--jobs", jobs)):
        if value < 1:
            raise refuse(name, value, "a whole number of at least 1")
    check_jobs("--jobs", jobs)
    chosen = choose_entries(options, prices, log_level, command="sweep")
    if chosen.exit_code:
        return chosen.exit_code
    found = read_with_ticks(prices, chosen.symbols, ticks)
    chosen.check_times(found)
    series = found.series
    base = read_base_plan(plan, found.longest_bar)
    walking = partial(
        run,
        series,
        Grid(**axes, base=base),
        chosen.entries,
        costs=read_costs(series),
        candles=candles,
        markets=found.markets,
        first_part=part,
        best=best,
        seed=seed,
        jobs=jobs,
    )
    work = partial(walk_in_thread, walking, "sweep")
    result, interruption = run_until_signal(work, announce=ENDS_AT_NEXT_STEP, log_level=log_level)
    if result is None:
        return interruption.exit_code
    if csv is not None:
        sweep_report.write_plans_csv(Path(csv), result)
    if trades is not None:
        sweep_report.write_best_trades_csv(Path(trades), result)
    notes = found.describe()
    if html is not None:
        from trailing.plots import sweep_page  # noqa: PLC0415 - it needs the extra

        lines, written = (
            sweep_report.judgement(result),
            sweep_report.sweep_notes(result, has_trades=found.has_trades, notes=notes),
        )
        write_html(html, sweep_page(result, lines=lines, notes=written, unprotected=chosen.unprotected))
    if json:
        sweep_report.print_sweep_json(result)
    else:
        sweep_report.print_sweep(result, has_trades=found.has_trades, notes=notes)
    return interruption.exit_code


def _first_part(text: str) -> Percent:
    try:
        part = Percent(text.removesuffix("%"))
    except UsageError:
        part = Percent(0)
    if not 0 < part.value < 100:
        raise refuse("--first-part", text, "a percentage above 0 and below 100, such as 70")
    return part
