"""The report of suggestions: tables and JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from trailing.backtest import Costs, Run
from trailing.cli.json_output import print_json
from trailing.cli.listings import Listing, print_listing
from trailing.cli.practice.assumptions import describe_assumptions, describe_costs
from trailing.cli.practice.backtest_report import MOST_ROWS, print_trades
from trailing.core.paths import CandleOrder
from trailing.core.plan import encode_plan
from trailing.sweep import LEAST_TRADES, Interval, Suggestion
from trailing.sweep.results import write_percent

_FIGURES = ("profit %", "from", "to", "more than own %", "from ", "to ", "open", "refused")
_DISPENSABLE = ("refused", "open", "from ", "to ", "more than own %", "from", "to")


def print_suggestions(suggestions: Sequence[Suggestion], *, notes: Sequence[str]) -> None:
    """Print for each currency the own trades, what they say, and the best plans; then the notes."""
    for suggestion in suggestions:
        run = Run(candles=None, trades=suggestion.trades, totals={suggestion.currency: suggestion.totals})
        notes_below = describe(suggestion)
        if len(run.trades) > MOST_ROWS:
            notes_below.insert(0, f"the first {MOST_ROWS} of {len(run.trades)} trades; --json has all of them")
        print_trades(run, title=f"own positions, {suggestion.currency}", notes=notes_below)
        if suggestion.best:
            print()
            _print_plans(suggestion)
        print()
    for note in notes:
        print(note)


def _print_plans(suggestion: Suggestion) -> None:
    axes = tuple(suggestion.best[0].values)
    names = tuple(name.replace("_", " ") for name in axes)
    title = f"the best of {suggestion.tried} plans on the own entries, {suggestion.currency}, per trade"
    table = Listing((*names, *_FIGURES), right=(*names, *_FIGURES), left_out=_DISPENSABLE, title=title)
    for each in suggestion.best:
        figures = [write_percent(value) for interval in (each.mean, each.gain) for value in _values(interval)]
        table.add_row(*each.values.values(), *figures, str(each.still_open), str(each.refused))
    print_listing(table)


def _values(interval: Interval) -> tuple[float, float, float]:
    return interval.value, interval.low, interval.high


def describe(suggestion: Suggestion) -> list[str]:
    """Return what the trades of a currency say, a line each."""
    return list(_describe(suggestion))


def _describe(suggestion: Suggestion) -> Iterator[str]:
    currency, count = suggestion.currency, len(suggestion.trades)
    if suggestion.left_out:
        yield f"left out: {suggestion.left_out} closed {currency} positions that the prices don't cover from entry to exit"
    if suggestion.own is None or suggestion.chance is None:
        positions = "1 closed position" if count == 1 else f"{count} closed positions"
        yield (
            f"not enough trades: {positions} in {currency}, and at least {LEAST_TRADES} are needed, because an interval from "
            "fewer trades is too narrow"
        )
        return
    yield f"own profit in {currency}: {_interval(suggestion.own)} per trade, {count} trades"
    for each in suggestion.excursions:
        which = "with a profit" if each.won else "without a profit"
        if each.quantile is None:
            if each.level == 0.5:
                yield f"{each.kind.upper()} of the {each.trades} trades {which}: not enough trades, at least {LEAST_TRADES} are needed"
            continue
        part = "half" if each.level == 0.5 else "nine of ten"
        yield f"{each.kind.upper()} of the {each.trades} trades {which}: {part} at most {_interval(each.quantile)}"
    chance = suggestion.chance
    yield (
        f"by chance: the best of {suggestion.tried} plans that are no better than the own trades gains as much more in "
        f"{100 * chance.probability:.1f} % of cases"
    )
    for reason, trades in suggestion.reasons.items():
        yield f"{trades} trades walked by the core, because {reason}"


def _interval(interval: Interval) -> str:
    return f"{write_percent(interval.value)} % ({write_percent(interval.low)} to {write_percent(interval.high)})"


def suggest_notes(costs: Costs, candles: CandleOrder | None, *, has_trades: bool, notes: Sequence[str]) -> list[str]:
    """Return the assumptions and the notes, a line each.

    Args:
        candles: the assumed order of a candle's high and low; None: there are no candles.
        has_trades: whether there are price files with trades.
        notes: lines about the data.
    """
    return [
        "profits are per trade, in percent of its entry's value, after costs; own profits have no slippage but their own",
        "in brackets: the 95 % interval by drawing the trades again (percentile bootstrap)",
        "the best of many plans looks better on these trades than it will on others",
        "open trades count at the last price; a plan counts with the order in which it gained less",
        *describe_assumptions(costs, candles, has_trades=has_trades),
        *notes,
    ]


def print_suggestions_json(suggestions: Sequence[Suggestion], costs: Costs, candles: CandleOrder | None) -> None:
    """Print the suggestions as one JSON document."""
    print_json(
        {
            "least_trades": LEAST_TRADES,
            "costs": describe_costs(costs),
            "candles": candles,
            "currencies": [
                {name: value for name, value in msgspec.structs.asdict(each).items() if name != "positions"}
                | {
                    "enough_trades": each.own is not None,
                    "best": [msgspec.structs.asdict(best) | {"plan": encode_plan(best.plan)} for best in each.best],
                }
                for each in suggestions
            ],
        }
    )
