"""The compiled walk of many plans over one symbol's bars, on whole numbers.

A short is walked as a long on negated prices, so that every stop is rounded up. `trailing.sweep.exactness` says when
the result is that of the core, to the last digit. Prices are multiples of one unit, a power of ten.

Most bars change nothing, because their low is above the stop and their high is below the next price that matters.
Blocks of bars are skipped by their lowest and highest price. Only new best prices and exits cost a division.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit

BLOCK: Final = 16
"""Bars of a block that is skipped by its lowest and highest price."""

NEVER: Final = 2**63 - 1
"""A price that is never reached."""

OPEN, STOPPED, GAPPED, BEYOND, REFUSED = range(5)
"""How a trade ended. OPEN: the data ended first. STOPPED: at the stop, inside a bar. GAPPED: at an open at or beyond
the stop. BEYOND: at a price that the moved stop had reached. REFUSED: the plan has no possible first stop."""

TRADES, GAINS, STILL_OPEN, REFUSALS, MOVES, EARLY = range(6)
"""The columns of the counts: trades; those that gained after costs; those open at the end; entries without a possible
first stop; moves of stops; trades that were entered in the first part of a walk-forward."""

TRADE_COLUMNS: Final = 8
"""The values of a trade: the bar and the price of the entry, the bar, price and point of the end, how it ended, the
number of moves, and the last stop. Point 0 is the open of a bar."""

_compiled: Any = njit(cache=True, nogil=True, error_model="numpy")
_inlined: Any = njit(nogil=True, error_model="numpy", inline="always")

# The compiled functions have the types of their arguments. `bars` is a tuple of the arrays of
# `trailing.sweep.encoding.BarView`, and `table` one of the arrays of `trailing.sweep.encoding.PlanTable`.


@_inlined
def _ceil(value, divisor):
    return -(-value // divisor)


@_inlined
def _begin(entry, plan, tick, den, first, gap, trails, breakevens, active, levels, level_stops):
    """Compute from which best price on each rule proposes a stop.

    Returns:
        The first stop, and the least of these best prices. The first stop is NEVER if none is possible.
    """
    stop = _ceil(entry * first[plan, 0] - first[plan, 1], den * tick) * tick
    if stop >= entry or entry - stop < gap[plan] or (entry > 0 and stop <= 0):
        return NEVER, NEVER
    upper = NEVER
    for k in range(trails.shape[1]):
        active[k] = NEVER
        if trails[plan, k, 0] != 0:
            active[k] = entry
            if trails[plan, k, 0] != den or trails[plan, k, 1] != 0:  # an activation of 0 needs no division
                active[k] = _ceil(entry * trails[plan, k, 0] + trails[plan, k, 1], den)
            upper = min(upper, active[k])
    for k in range(breakevens.shape[1]):
        levels[k] = NEVER
        if breakevens[plan, k, 0] != 0:
            offset = entry * breakevens[plan, k, 2] + breakevens[plan, k, 3]
            level = _ceil(offset, den * tick) * tick
            if entry > 0 or level < 0:  # a short's stop that is rounded to 0 is no price
                level_stops[k] = level
                levels[k] = max(_ceil(entry * breakevens[plan, k, 0] + breakevens[plan, k, 1], den), offset // den + 1)
                upper = min(upper, levels[k])
    return stop, upper


@_inlined
def _propose(best, bar, start, stop, plan, tick, den, ranges, trails, candles, breakevens, active, levels, level_stops):
    """Return the tightest stop that the rules want, and the next best price that matters."""
    upper = NEVER
    for k in range(trails.shape[1]):
        if best >= active[k]:
            wanted = best * trails[plan, k, 2] - trails[plan, k, 3]
            if wanted > stop * den:
                stop = _ceil(wanted, den * tick) * tick
            upper = best + 1
        else:
            upper = min(upper, active[k])
    for k in range(breakevens.shape[1]):
        if best >= levels[k]:
            stop = max(stop, level_stops[k])
        else:
            upper = min(upper, levels[k])
    for k in range(candles.shape[1]):
        period = candles[plan, k, 1]
        if period != 0:
            upper = best + 1
            total = ranges[candles[plan, k, 2], bar]
            if bar - start > period and total > 0:
                share = den * period
                wanted = _ceil(best * share - total * candles[plan, k, 0], share * tick) * tick
                if best > 0 or wanted < 0:
                    stop = max(stop, wanted)
    return stop, upper


@_inlined
def _walk(
    start,
    entry,
    plan,
    peak_first,
    tick,
    den,
    bars,
    table,
    scratch,
):
    """Walk one position from the open of a bar on. Returns its end: the last six values of `TRADE_COLUMNS`."""
    opens, highs, lows, closes, block_highs, block_lows, ranges = bars
    first, gap, trails, candles, breakevens = table
    active, levels, level_stops = scratch
    count = opens.shape[0]
    stop, upper = _begin(entry, plan, tick, den, first, gap, trails, breakevens, active, levels, level_stops)
    if stop == NEVER:
        return start, entry, 0, REFUSED, 0, entry
    uses_candles = False
    for k in range(candles.shape[1]):
        uses_candles |= candles[plan, k, 1] != 0
    best, moves = entry, 0
    if entry >= upper:  # the rules see the entry price first
        tighter, upper = _propose(
            best, start, start, stop, plan, tick, den, ranges, trails, candles, breakevens, active, levels, level_stops
        )
        if tighter > stop:
            if tighter >= entry:
                return start, entry, 0, BEYOND, moves, stop
            stop = tighter
            moves += 1
    bar = start
    while bar < count:
        if not uses_candles:
            if bar % BLOCK == 0:
                block = bar // BLOCK
                while block < block_lows.shape[0] and block_lows[block] > stop and block_highs[block] < upper:
                    block += 1
                if block * BLOCK > bar:
                    bar = block * BLOCK
                    continue
            if lows[bar] > stop and highs[bar] < upper:
                bar += 1
                continue
        price = opens[bar]
        if price <= stop:
            return bar, price, 0, GAPPED, moves, stop
        if uses_candles or price >= upper:
            best = max(best, price)
            tighter, upper = _propose(
                best,
                bar,
                start,
                stop,
                plan,
                tick,
                den,
                ranges,
                trails,
                candles,
                breakevens,
                active,
                levels,
                level_stops,
            )
            if tighter > stop:
                if tighter >= price:
                    return bar, price, 0, BEYOND, moves, stop
                stop = tighter
                moves += 1
        low = lows[bar]
        if low <= stop and not peak_first:
            return bar, stop, 1, STOPPED, moves, stop
        price = highs[bar]
        if price >= upper:
            best = max(best, price)
            tighter, upper = _propose(
                best,
                bar,
                start,
                stop,
                plan,
                tick,
                den,
                ranges,
                trails,
                candles,
                breakevens,
                active,
                levels,
                level_stops,
            )
            if tighter > stop:
                if tighter >= price:
                    return bar, price, 1 if peak_first else 2, BEYOND, moves, stop
                stop = tighter
                moves += 1
        if peak_first:
            if low <= stop:
                return bar, stop, 2, STOPPED, moves, stop
        elif closes[bar] <= stop:
            return bar, stop, 3, STOPPED, moves, stop
        bar += 1
    return count - 1, closes[count - 1], 3, OPEN, moves, stop


@_inlined
def _add_profit(row, entry, price, is_open, entered, left, costs, segment_closes, profits):
    """Add the profit of a trade to the segments of its time, and return whether it gained."""
    per_unit = 1.0 / abs(float(entry))
    exit_cost = 0.0 if is_open else costs[1] * abs(float(price)) * per_unit
    net = (price - entry) * per_unit - exit_cost - costs[0]
    if entered == left:
        profits[row, left] += net
        return net > 0
    mark = entry
    for segment in range(entered, left):
        profits[row, segment] += (segment_closes[segment] - mark) * per_unit
        mark = segment_closes[segment]
    profits[row, left] += (price - mark) * per_unit - exit_cost
    profits[row, entered] -= costs[0]
    return net > 0


@_inlined
def _scratch(table):
    """Return the arrays in which a walk keeps its position's state."""
    _, _, trails, _, breakevens = table
    return (
        np.empty(trails.shape[1], np.int64),
        np.empty(breakevens.shape[1], np.int64),
        np.empty(breakevens.shape[1], np.int64),
    )


@_compiled
def walk_plans(
    peak_first,
    always_in,
    following,
    starts,
    entries,
    tick,
    den,
    costs,
    bars,
    table,
    segments,
    segment_closes,
    early,
    counts,
    sums,
    profits,
    listed,
):
    """Walk plans from every entry, and add up the results.

    Args:
        always_in: enter again at the open of the next bar after each end; only the first entry is given.
        following: the bar of the next entry after an end in each bar.
        starts, entries: the bars and the prices of the entries.
        costs: the share of the price that an entry and an exit cost.
        segments: the segment of each bar; `segment_closes`: the last close before the end of each segment.
        early: the number of segments of the first part of a walk-forward.
        counts: per plan gets the counts. `sums`: per plan gets the sums of the entry prices and of the exit prices of
            closed trades.
        profits: per plan and segment gets the profit after costs, as a share of the entry price.
        listed: gets the columns of each trade of the last plan, refused ones included; without rows: it gets nothing. One
            function does both, because each that walks takes seconds to compile.
    """
    opens = bars[0]
    scratch = _scratch(table)
    count = opens.shape[0]
    for plan in range(table[0].shape[0]):
        trades = gained = still_open = refused = moved = in_first_part = entry_sum = exit_sum = 0
        number = 0
        start = starts[0] if starts.shape[0] else count
        while start < count:
            entry = opens[start] if always_in and number else entries[number]
            bar, price, point, end, moves, stop = _walk(
                start,
                entry,
                plan,
                peak_first,
                tick,
                den,
                bars,
                table,
                scratch,
            )
            if end == REFUSED:
                refused += 1
            else:
                is_open, entered, left = end == OPEN, segments[start], segments[bar]
                trades += 1
                gained += _add_profit(plan, entry, price, is_open, entered, left, costs, segment_closes, profits)
                moved += moves
                in_first_part += entered < early
                if is_open:
                    still_open += 1
                else:
                    entry_sum += entry
                    exit_sum += price
            if number < listed.shape[0]:
                listed[number, 0], listed[number, 1] = start, entry
                listed[number, 2], listed[number, 3], listed[number, 4] = bar, price, point
                listed[number, 5], listed[number, 6], listed[number, 7] = end, moves, stop
            number += 1
            start = following[bar] if always_in else starts[number] if number < starts.shape[0] else count
        counts[plan, TRADES], counts[plan, GAINS], counts[plan, STILL_OPEN] = trades, gained, still_open
        counts[plan, REFUSALS], counts[plan, MOVES], counts[plan, EARLY] = refused, moved, in_first_part
        sums[plan, 0], sums[plan, 1] = entry_sum, exit_sum


@_compiled
def add_trades(row, trades, costs, segments, segment_closes, early, counts, profits):
    """Add trades that another walk made to the counts and profits of a plan, with the same profits to the last bit."""
    for number in range(trades.shape[0]):
        is_open = int(trades[number, 5]) == OPEN
        entered, left = segments[int(trades[number, 0])], segments[int(trades[number, 2])]
        counts[row, TRADES] += 1
        counts[row, GAINS] += _add_profit(
            row, trades[number, 1], trades[number, 3], is_open, entered, left, costs, segment_closes, profits
        )
        counts[row, STILL_OPEN] += is_open
        counts[row, MOVES] += int(trades[number, 6])
        counts[row, EARLY] += entered < early
