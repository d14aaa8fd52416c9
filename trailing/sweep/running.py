"""Run a sweep: many plans along the same prices, and what may be believed of the best one."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, Final, TypeAlias

import numpy as np

from trailing.backtest.costs import Costs
from trailing.backtest.entries import AlwaysIn, EntryPoint, Every, Signal, given_entries
from trailing.backtest.series import Series, is_bars, times_of
from trailing.core.model import Market, Percent, Position, check_symbol, refuse
from trailing.core.paths import CandleOrder, assumed_orders, name_order
from trailing.core.plan import TrailPlan
from trailing.errors import UsageError
from trailing.sweep.encoding import PlanTable
from trailing.sweep.grids import Grid, plans_of
from trailing.sweep.judging import judge
from trailing.sweep.lanes import make_lanes, make_timeline
from trailing.sweep.pieces import COUNT_COLUMNS, Piece, PieceResult, count_pieces, make_pieces, walk_piece
from trailing.sweep.results import OrderResult, SweepInputs, SweepResult

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the steps done and the steps in all, often enough for a progress bar. An exception from it ends the sweep."""

SEGMENTS: Final = 64
"""Segments of time by which profits are added up."""

_NO_COSTS: Final = Costs()
_POLL_SECONDS: Final = 0.2
_JOBS_PER_CPU: Final = 4
_LEFT_TO_PARENT: Final = (signal.SIGINT, signal.SIGTERM)


def run(
    prices: Mapping[str, Series],
    plans: Grid | Sequence[TrailPlan],
    entries: Iterable[Position | EntryPoint | Signal] | Every | AlwaysIn,
    *,
    costs: Costs = _NO_COSTS,
    candles: CandleOrder = "both",
    markets: Mapping[str, Market] | None = None,
    first_part: Percent = Percent(70),  # noqa: B008 - a value
    best: int = 10,
    resamples: int = 1000,
    seed: int = 0,
    jobs: int = 1,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> SweepResult:
    """Walk many plans along the same prices, and say how far the best of them is to be believed.

    Every trade is that of `trailing.backtest.run`. The kernel walks plans where its arithmetic is proved to be that of
    the core, and the core walks the others; `SweepResult.walked` says which. A plan counts with the order of a bar's
    extremes in which it gained less.

    Args:
        prices: bars or trades of each symbol, as `trailing.price_files.read_prices` returns them.
        plans: a grid, or plans.
        entries: positions that were really entered, signals, or a rule that generates entries in every symbol.
        costs: slippage and fee. A sweep has no funding.
        candles: which extreme of a bar is assumed to come first. ``"both"`` walks both orders.
        markets: the rules of symbols; by default a tick of 1e-8.
        first_part: the part of the time on which the walk-forward chooses.
        best: how many of the best plans `SweepResult.best` has.
        resamples, seed: of the by-chance figure.
        jobs: the number of processes, if there is no executor; at most four for each CPU. No more start than there are pieces.
        executor: walks the pieces of the sweep; its workers need this package with the extra ``sweep``.
        progress: is called while the sweep runs.

    Raises:
        UsageError: an argument can't be right, before anything is walked; or a rule of a plan failed.
    """
    _check(costs, first_part, best=best, resamples=resamples, jobs=jobs)
    orders: Sequence[bool | None] = assumed_orders(candles)
    found, cells = plans_of(plans)
    if any(plan.native for plan in found):
        raise UsageError("TrailPlan.native got True, wants False in a sweep, because no exchange trails here")
    _check_prices(prices)
    if not any(is_bars(series) for series in prices.values()):
        orders = (None,)
    if not isinstance(entries, (Every, AlwaysIn)):
        entries = given_entries(entries, prices)
    known = {symbol: (markets or {}).get(symbol) or Market(symbol) for symbol in prices}
    lanes = make_lanes(found, prices, entries, known)
    if not lanes:
        raise UsageError("there is nothing to enter: no interval of Every begins within the prices")
    count = len(orders) * sum(count_pieces(lane, len(found)) for lane in lanes)
    with _open_executor(min(jobs, count), executor) as open_executor:
        timeline = make_timeline(prices, SEGMENTS, first_part.value / 100)
        shares = [_as_floats(lane.cost_shares(costs)) for lane in lanes]
        tables: dict[object, PlanTable] = {}
        pieces = [
            [
                list(make_pieces(lane, found, share, timeline, high_first=high_first is not False, tables=tables))
                for lane, share in zip(lanes, shares, strict=True)
            ]
            for high_first in orders
        ]
        results = _walk([piece for order in pieces for lane in order for piece in lane], open_executor, progress)
        collected = tuple(
            _collect(order, len(found), results, high_first=high_first)
            for high_first, order in zip(orders, pieces, strict=True)
        )
    inputs = SweepInputs(prices=prices, entries=entries, candles=candles, markets=known)
    axes = plans.axes if isinstance(plans, Grid) else {}
    return judge(
        found, axes, cells, costs, collected, lanes, timeline, inputs, best=best, resamples=resamples, seed=seed
    )


def _check(costs: Any, first_part: Any, *, best: Any, resamples: Any, jobs: Any) -> None:
    if not isinstance(costs, Costs):
        raise refuse("costs", costs, "a Costs")
    if costs.funding:
        raise UsageError(
            "costs.funding has rates, but a sweep has no funding: use trailing.backtest for the plans it finds"
        )
    if not isinstance(first_part, Percent) or not 0 < first_part.value < 100:
        raise refuse("first_part", first_part, "a Percent above 0 and below 100")
    for name, value in (("best", best), ("resamples", resamples), ("jobs", jobs)):
        if type(value) is not int or value < 1:
            raise refuse(name, value, "a whole number of at least 1")
    check_jobs("jobs", jobs)


def check_jobs(field: str, jobs: int) -> None:
    """Refuse more processes than four for each CPU, because each takes memory and time to start. Raises UsageError."""
    most = _JOBS_PER_CPU * (os.cpu_count() or 1)
    if jobs > most:
        raise refuse(field, jobs, f"at most {most}, which is {_JOBS_PER_CPU} for each CPU")


def _check_prices(prices: Mapping[str, Series]) -> None:
    if not prices:
        raise UsageError("prices got no symbol, wants bars or trades of at least one")
    for symbol, series in prices.items():
        check_symbol("prices", symbol)
        if not times_of(series):
            raise UsageError(f"{symbol} has no price")


@contextmanager
def _open_executor(jobs: int, executor: Executor | None) -> Iterator[Executor | None]:
    if executor is not None or jobs == 1:
        yield executor
        return
    # A fresh process, because the one that calls may have threads, which a fork would copy in the middle of their work.
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _begin_worker)
    try:
        with _signals_blocked():
            for _ in range(jobs):
                pool.submit(os.getpid)  # so that each imports this module while the pieces are made
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Block signals in this thread, because a process that it starts inherits that, also before it has begun."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _LEFT_TO_PARENT)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_worker() -> None:
    """Leave signals to the process that started this one, and end with it.

    A terminal and a service manager send a signal to every process of the group. A worker of a process that was killed would
    otherwise wait for ever.
    """
    for number in _LEFT_TO_PARENT:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _walk(pieces: Sequence[Piece], executor: Executor | None, progress: Progress | None) -> Iterator[PieceResult]:
    """Yield the results in the order of the pieces, so that every sum is the same in any executor."""
    total, done = sum(piece.steps for piece in pieces), 0
    if executor is None:
        for piece in pieces:
            result = walk_piece(piece)
            done += piece.steps
            if progress is not None:
                progress(done, total)
            yield result
        return
    futures: list[Future[PieceResult] | None] = [executor.submit(walk_piece, piece) for piece in pieces]
    waiting = {future: piece.steps for future, piece in zip(futures, pieces, strict=True) if future is not None}
    try:
        for index, future in enumerate(futures):
            assert future is not None
            while future in waiting:
                ended, _ = wait(waiting, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
                done += sum(waiting.pop(each) for each in ended)
                if progress is not None:
                    progress(done, total)
            yield future.result()
            futures[index] = None  # its result is added up, so its memory is free
    finally:
        for each in waiting:
            each.cancel()


def _collect(
    lanes: Sequence[Sequence[Piece]], plans: int, results: Iterator[PieceResult], *, high_first: bool | None
) -> OrderResult:
    counts = np.zeros((plans, COUNT_COLUMNS), np.int64)
    profits: Any = None
    sums = []
    for pieces in lanes:
        exact = np.zeros((plans, 2), np.int64 if all(piece.by_kernel for piece in pieces) else object)
        for piece in pieces:
            result = next(results)
            if profits is None:
                profits = np.zeros((plans, result.profits.shape[1]))
            rows = list(piece.numbers)
            counts[rows] += result.counts
            profits[rows] += result.profits
            exact[rows] = result.sums
        sums.append(exact)
    return OrderResult(candles=name_order(high_first), counts=counts, sums=tuple(sums), profits=profits)


def _as_floats(shares: tuple[Decimal, Decimal]) -> tuple[float, float]:
    return float(shares[0]), float(shares[1])
