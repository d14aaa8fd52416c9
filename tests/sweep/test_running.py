"""A sweep gives the same bytes in any executor, and says how far to trust its best plan."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from markets import SYMBOL, random_walk, sawtooth, time_of, trends

from trailing import Callback, Market, Percent, Position, TrailPlan, UsageError
from trailing.backtest import AlwaysIn, Costs, Every, FundingRate
from trailing.sweep import Grid, SweepResult, pieces, run, walk_forward

MARKETS = {SYMBOL: Market(SYMBOL, price_tick=Decimal("0.2")), "BBB/USDT:USDT": Market("BBB/USDT:USDT")}
PRICES = {SYMBOL: random_walk(1, 600), "BBB/USDT:USDT": random_walk(2, 500)}
GRID = Grid(
    initial_stop=(Percent(1), Percent(2), Percent(4)),
    callback=(None, Percent("0.75"), Percent("1.5")),
    breakeven=(None, Percent(1)),
)
NATIVE = Callback(Percent(1), activation=Percent(1))
COSTS = Costs(fee=Percent("0.02"), slippage=Percent("0.01"))


def sweep(**options: Any) -> SweepResult:
    return run(PRICES, GRID, AlwaysIn(sides=("long", "short")), costs=COSTS, markets=MARKETS, **options)


def contents(result: SweepResult) -> bytes:
    """Everything that a sweep has computed, as bytes."""
    arrays = [array.tobytes() for order in result.orders for array in (order.counts, order.profits, *order.sums)]
    judged = msgspec.json.encode([result.best, result.chance, result.walk_forward, result.plateau, result.warnings])
    return b"".join([*arrays, judged])


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every piece a few plans, so that there are many pieces."""
    monkeypatch.setattr(pieces, "STEPS", 2_000)


@pytest.mark.usefixtures("small_pieces")
def test_threads_give_the_same_bytes_as_no_executor() -> None:
    expected = contents(sweep())
    with ThreadPoolExecutor(3) as executor:
        assert contents(sweep(executor=executor)) == expected


@pytest.mark.slow  # each process imports numba
@pytest.mark.usefixtures("small_pieces")
def test_two_processes_give_the_same_bytes_as_one() -> None:
    assert contents(sweep(jobs=2)) == contents(sweep())


@pytest.mark.usefixtures("small_pieces")
def test_no_more_processes_start_than_there_are_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    started = list[int]()

    def pool(jobs: int, *_: object) -> ThreadPoolExecutor:
        started.append(jobs)
        return ThreadPoolExecutor(jobs)

    monkeypatch.setattr("trailing.sweep.running.ProcessPoolExecutor", pool)
    monkeypatch.setattr("trailing.sweep.running.os.cpu_count", lambda: 1_000)
    walked = list[pieces.Piece]()

    def walk(piece: pieces.Piece) -> pieces.PieceResult:
        walked.append(piece)
        return pieces.walk_piece(piece)

    monkeypatch.setattr("trailing.sweep.running.walk_piece", walk)
    expected = contents(sweep())
    count = len(walked)
    assert contents(sweep(jobs=1_000)) == expected
    assert started == [count]


@pytest.mark.slow  # a cluster starts
def test_a_dask_cluster_gives_the_same_bytes_as_one_process() -> None:
    script = Path(__file__).with_name("on_dask.py")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=150.0, check=False)
    assert (done.returncode, done.stdout) == (0, "the same bytes\n"), done.stderr


@pytest.mark.usefixtures("small_pieces")
def test_the_progress_rises_to_its_total_with_and_without_an_executor() -> None:
    with ThreadPoolExecutor(2) as executor:
        for given in (None, executor):
            steps: list[tuple[int, int]] = []
            sweep(executor=given, progress=lambda *step: steps.append(step))  # noqa: B023 - called before the next round
            done = [step for step, _ in steps]
            assert done == sorted(done)
            assert len({total for _, total in steps}) == 1
            assert steps[-1][0] == steps[-1][1]


def test_an_exception_of_the_progress_ends_the_sweep() -> None:
    def stop(done: int, total: int) -> None:
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"), ThreadPoolExecutor(1) as executor:
        sweep(progress=stop, executor=executor)


def test_a_plan_counts_with_the_order_in_which_it_gained_less() -> None:
    both, high, low = sweep(), sweep(candles="high-first"), sweep(candles="low-first")
    for number in range(len(both.plans)):
        result = both.plan_result(number)
        assert result.profit_high_first == high.plan_result(number).profit
        assert result.profit_low_first == low.plan_result(number).profit
        assert result.profit == min(result.profit_high_first or 0, result.profit_low_first or 0)
    assert [each.profit for each in both.best] == sorted((each.profit for each in both.best), reverse=True)


def test_the_segments_of_a_plan_add_up_to_its_trades_and_their_costs() -> None:
    result = sweep(candles="high-first")
    best = result.best[0]
    (of_core,) = result.backtest(best.number).runs
    gains = [
        (trade.profit if trade.profit is not None else _open_profit(trade)) / trade.entry_price
        for trade in of_core.trades
    ]
    assert best.profit == pytest.approx(100 * float(sum(gains)), abs=1e-9)
    assert (best.trades, best.won) == (len(of_core.trades), sum(gain > 0 for gain in gains))
    closed = sorted((trade for trade in of_core.trades if trade.profit is not None), key=lambda trade: trade.exited_at)  # type: ignore[arg-type,return-value]
    equity = np.cumsum([0.0, *(float(trade.profit / trade.entry_price) for trade in closed)])  # type: ignore[operator]
    drawdown = 100 * float((np.maximum.accumulate(equity) - equity).max())
    assert best.drawdown == pytest.approx(drawdown, abs=0.5)  # exits of one bar may come in another order


def _open_profit(trade: Any) -> Decimal:
    change: Decimal = trade.last_price - trade.entry_price
    paid = Decimal("0.0001")
    sign = 1 if trade.side == "long" else -1
    lost: Decimal = trade.entry_price * (paid + Decimal("0.0002") * (1 + sign * paid))
    return sign * change - lost


def test_records_and_columns_have_every_plan() -> None:
    result = sweep()
    records, columns = result.records(), result.columns()
    assert len(records) == len(result.plans) == len(columns["profit"])
    assert records[0] == {name: values[0] for name, values in columns.items()}
    assert list(records[4])[:4] == ["number", "initial_stop", "callback", "breakeven"]
    assert (records[1]["callback"], records[1]["breakeven"]) == ("none", "1%")


def test_the_plateau_contains_the_callback_that_is_known_to_be_best() -> None:
    prices, signals = sawtooth(40, pullback=50)
    callbacks = tuple(Percent(Decimal(number) / 5) for number in range(1, 16))
    grid = Grid(callback=callbacks, activation=(Percent(0), Percent("0.5"), Percent(1)))
    result = run({SYMBOL: prices}, grid, signals, markets=MARKETS)
    # A pullback of 50 ticks of 0.2 from 1010 or more is at most 0.99 %, and the rise after it is 32 ticks.
    assert result.best[0].values["callback"] == "1.2%"
    assert result.plateau is not None
    assert "1.2%" in {result.plan_result(number).values["callback"] for number in result.plateau.plans}
    assert result.plateau.spans[0].axis == "callback"
    assert result.is_found


def test_a_best_plan_at_the_edge_of_the_grid_and_on_few_trades_is_warned_of() -> None:
    prices, signals = sawtooth(4, pullback=50)
    grid = Grid(callback=(Percent("1.2"), Percent("1.8"), Percent(2)))
    result = run({SYMBOL: prices}, grid, signals, markets=MARKETS)
    edge, few, _ = result.warnings
    assert edge == "the best plan lies at the edge of the grid: its callback, 1.2%, is the smallest; try smaller ones"
    assert few == "the best plan rests on 4 trades; with less than 30 its profit may be chance"


def test_a_best_plan_that_trails_inside_the_range_of_a_bar_is_warned_of_and_not_found() -> None:
    prices, signals = trends(1, 40, up=0.52)
    result = run({SYMBOL: prices}, [TrailPlan(initial_stop=Percent(2))], signals, markets=MARKETS)
    assert result.ranges is None
    grid = Grid(callback=(Percent("0.05"),))
    tight = run({SYMBOL: random_walk(5, 600)}, grid, AlwaysIn(), markets=MARKETS)
    assert tight.ranges is not None
    assert tight.ranges < 1
    assert not tight.is_found
    assert any("times the mean range of a bar" in warning for warning in tight.warnings)


def test_nothing_of_the_rest_takes_part_in_the_choice_of_the_walk_forward() -> None:
    prices, signals = trends(3, 20, up=0.52)
    whole = run({SYMBOL: prices}, GRID, signals, markets=MARKETS)
    border = whole.walk_forward.border
    for column in (prices.open, prices.high, prices.low, prices.close):
        for index, at in enumerate(prices.opened_at):
            if at >= border:
                column[index] = 100_000
    changed = run({SYMBOL: prices}, GRID, signals, markets=MARKETS)
    assert changed.walk_forward.chosen == whole.walk_forward.chosen
    assert changed.walk_forward.first_profit == whole.walk_forward.first_profit
    assert changed.walk_forward.rest_profit != whole.walk_forward.rest_profit


def test_the_walk_forward_ranks_the_chosen_plan_in_the_rest() -> None:
    profits = np.array([[3.0, 0.0, 1.0], [2.0, 0.0, 5.0], [-1.0, 0.0, 2.0]])
    found = walk_forward.walk_forward(profits, np.array([9, 8, 7]), np.array([4, 3, 2]), early=2, border=77)
    assert (found.chosen, found.first_profit, found.rest_profit) == (0, 300.0, 100.0)
    assert (found.first_trades, found.rest_trades, found.rest_rank, found.best_in_rest) == (4, 5, 3, 500.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prices": {}}, "prices got no symbol"),
        ({"plans": [TrailPlan(initial_stop=Percent(1), native=True, rules=(NATIVE,))]}, "wants False in a sweep"),
        ({"entries": []}, "there is nothing to enter"),
        ({"entries": Every(seconds=1e9)}, "there is nothing to enter"),
        ({"costs": None}, "costs got None, wants a Costs"),
        ({"costs": Costs(funding={SYMBOL: (FundingRate(1, Decimal(0)),)})}, "a sweep has no funding"),
        ({"first_part": Percent(100)}, "first_part got"),
        ({"jobs": 0}, "jobs got 0"),
        ({"jobs": 100_000}, "jobs got 100000, wants at most [0-9]+, which is 4 for each CPU"),
        ({"best": 0}, "best got 0"),
        ({"candles": "peak-first"}, "candles"),
        ({"entries": [Position(SYMBOL, "long", Decimal(1), Decimal(1000), time_of(-1))]}, "before its first price"),
    ],
)
def test_bad_input_gets_one_line_before_anything_is_walked(
    options: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trailing.sweep.running.walk_piece", None)
    arguments: dict[str, Any] = {"prices": PRICES, "plans": GRID, "entries": AlwaysIn(), "markets": MARKETS}
    with pytest.raises(UsageError, match=message) as caught:
        run(**(arguments | options))
    assert "\n" not in str(caught.value)
