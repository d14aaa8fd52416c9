"""Walks whose every step can be followed by hand. The first ones are on the page about backtests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from market_data import EXTRACTS
from rehearsals import Bars, Trades, read_bars

from trailing import Callback, Market, Pacing, Percent, Position, Rule, TrailPlan, UsageError
from trailing.backtest import Walk, walk
from trailing.cli.practice.plan_files import DEFAULT_PLAN
from trailing.core.model import Side
from trailing.core.rules import History

D = Decimal
SYMBOL = "AAA/BTC:BTC"
START = datetime(2018, 1, 10, 5, 10, tzinfo=UTC)
START_MS = int(START.timestamp() * 1000)


@pytest.mark.parametrize(
    ("name", "side", "entry", "high_first", "exit_price", "clock", "stops"),
    [
        ("xmr", "long", "0.02765623", True, "0.02803784", "05:23:20", ["0.02710311", "0.02767006", "0.02803784"]),
        ("xmr", "long", "0.02765623", False, "0.02767006", "05:21:40", ["0.02710311", "0.02767006"]),
        ("eth", "short", "0.09999", True, "0.0965805", "05:25:00", ["0.1019898", "0.09994", "0.0965805"]),
        ("eth", "short", "0.09999", False, "0.09994", "05:13:20", ["0.1019898", "0.09994"]),
        ("zec", "short", "0.04774946", True, "0.04870444", "05:11:40", ["0.04870444"]),
        ("zec", "short", "0.04774946", False, "0.04870444", "05:13:20", ["0.04870444"]),
    ],
)
def test_the_three_positions_of_the_page_end_as_it_says(
    name: str, side: Side, entry: str, high_first: bool, exit_price: str, clock: str, stops: list[str]
) -> None:
    symbol = f"{name.upper()}/BTC:BTC"
    position = Position(symbol, side, D(1), D(entry), START)
    bars = read_bars(EXTRACTS / f"{name}-btc-5m.csv")
    walked = walk(position, DEFAULT_PLAN, Market(symbol), bars, high_first=high_first, keeps_stops=True)
    assert walked is not None
    assert walked.exit_at is not None
    assert walked.exit_price == D(exit_price)
    assert f"{datetime.fromtimestamp(walked.exit_at, UTC):%H:%M:%S}" == clock
    assert [price for _, price in walked.stops] == list(map(D, stops))
    assert (walked.reason, walked.moves) == ("the stop was filled", len(stops) - 1)


def bars_of(*rows: tuple[int, int, int, int], first: int = START_MS, seconds: float = 60.0) -> Bars:
    """Bars in hundredths, one after the other."""
    times = [first + round(number * seconds * 1000) for number in range(len(rows))]
    return Bars(seconds, 2, times, *map(list, zip(*rows, strict=True)))


def walk_of(
    bars: Bars | Trades,
    plan: TrailPlan,
    *,
    side: Side = "long",
    entry: str = "100",
    at: datetime = START,
    high_first: bool = True,
) -> Walk:
    walked = walk(
        Position(SYMBOL, side, D(2), D(entry), at), plan, Market(SYMBOL), bars, high_first=high_first, keeps_stops=True
    )
    assert walked is not None
    return walked


STOP_2 = TrailPlan(initial_stop=Percent(2))


def test_a_stop_between_two_points_fills_at_its_own_price_and_one_behind_a_gap_at_the_open() -> None:
    walked = walk_of(bars_of((10000, 10000, 9700, 9900)), STOP_2)
    assert (walked.exit_price, walked.exit_at) == (D(98), START.timestamp() + 40)
    walked = walk_of(bars_of((10000, 10000, 9900, 9900), (9750, 9900, 9700, 9900)), STOP_2)
    assert (walked.exit_price, walked.exit_at, walked.last) == (D("97.5"), START.timestamp() + 60, 1)
    walked = walk_of(bars_of((10000, 10300, 10000, 10100)), STOP_2, side="short", high_first=False)
    assert (walked.exit_price, walked.exit_at) == (D(102), START.timestamp() + 40)


def test_a_trade_at_or_beyond_the_stop_fills_it_at_the_price_of_the_trade() -> None:
    trades = Trades(2, [START_MS, START_MS + 5, START_MS + 5, START_MS + 9], [10000, 9801, 9777, 10200])
    walked = walk_of(trades, STOP_2)
    assert (walked.exit_price, walked.exit_at, walked.last) == (D("97.77"), START.timestamp() + 0.005, 2)


@pytest.mark.parametrize(("seconds_after", "first"), [(0, 0), (1, 1), (60, 1)])
def test_a_bar_that_had_begun_before_the_position_was_opened_does_not_count(seconds_after: int, first: int) -> None:
    bars = bars_of((10000, 10000, 9000, 9900), (9900, 10000, 9850, 9900))
    walked = walk_of(bars, STOP_2, at=START + timedelta(seconds=seconds_after))
    assert (walked.first, walked.exit_at is None) == (first, first == 1)


def test_a_position_that_was_opened_after_the_last_open_has_no_walk() -> None:
    bars = bars_of((10000, 10000, 9000, 9900))
    position = Position(SYMBOL, "long", D(1), D(100), START + timedelta(seconds=1))
    assert walk(position, STOP_2, Market(SYMBOL), bars) is None
    assert walk(position, STOP_2, Market(SYMBOL), Trades(2, [START_MS], [10000])) is None


def test_a_move_that_pacing_deferred_is_made_when_it_is_due_before_the_price_of_that_moment_comes() -> None:
    """The second move is due at 05:11:40, exactly when the price begins its way to the low."""
    plan = TrailPlan(
        initial_stop=Percent(5), rules=(Callback(Percent(1), activation=Percent(1)),), pacing=Pacing(min_interval=60)
    )
    bars = bars_of((10000, 10200, 10190, 10200), (10200, 10400, 10200, 10390))
    walked = walk_of(bars, plan)
    times = [at - START.timestamp() for at, _ in walked.stops]
    assert times == [0, 20, 80]  # at the first high, and at the second one, a minute later
    plan = TrailPlan(
        initial_stop=Percent(5), rules=(Callback(Percent(1), activation=Percent(1)),), pacing=Pacing(min_interval=80)
    )
    walked = walk_of(bars, plan)
    # The high of 80 s is deferred until 100 s. There the stop is moved to 102.96 first, and then the price passes it.
    assert [at - START.timestamp() for at, _ in walked.stops] == [0, 20, 100]
    assert (walked.exit_price, walked.exit_at) == (D("102.96"), START.timestamp() + 100)


def test_a_deferred_stop_that_the_price_is_beyond_is_closed_at_market() -> None:
    plan = TrailPlan(
        initial_stop=Percent(5), rules=(Callback(Percent(1), activation=Percent(1)),), pacing=Pacing(min_interval=3600)
    )
    bars = bars_of((10000, 10200, 10190, 10200), (10200, 10400, 10200, 10390))
    walked = walk_of(bars, plan)
    assert (walked.exit_price, walked.reason) == (D(102), "a stop that was not sent yet is crossed")
    assert walked.stop == D("100.98")


def test_a_jump_beyond_max_jump_counts_at_once() -> None:
    plan = TrailPlan(initial_stop=Percent(2), rules=(Callback(Percent(1)),), max_jump=Percent(1))
    walked = walk_of(bars_of((10000, 13000, 12900, 13000)), plan)
    assert (walked.best, walked.stop, walked.exit_at) == (D(130), D("128.7"), None)


def test_the_excursions_are_the_worst_and_the_best_price_of_the_position_s_time() -> None:
    bars = bars_of(
        (10000, 10050, 9950, 10000), (10000, 10010, 9910, 10000), (10000, 10080, 9700, 9700), (9700, 20000, 1, 9700)
    )
    walked = walk_of(bars, STOP_2)
    assert (walked.worst, walked.best, walked.last) == (D(98), D("100.8"), 2)
    walked = walk_of(bars, STOP_2, side="short")
    assert (walked.worst, walked.best) == (D(102), D(97))  # the last bar's high passes 102
    open_walk = walk_of(bars_of((10000, 10050, 9950, 10000), (10000, 10010, 9910, 10000)), STOP_2)
    assert (open_walk.worst, open_walk.best, open_walk.exit_price) == (D("99.1"), D("100.5"), D(100))


class FailingRule(Rule, frozen=True):
    def propose(self, history: History) -> Decimal | None:
        raise RuntimeError("no")


def test_a_rule_that_fails_ends_the_backtest() -> None:
    with pytest.raises(UsageError, match=r"AAA/BTC:BTC: a rule of the plan failed: RuntimeError: no"):
        walk_of(bars_of((10000, 10100, 9990, 10000)), TrailPlan(initial_stop=Percent(2), rules=(FailingRule(),)))


def test_a_plan_of_the_exchange_s_own_trailing_is_refused() -> None:
    plan = TrailPlan(initial_stop=Percent(2), rules=(Callback(Percent(1), activation=Percent(1)),), native=True)
    with pytest.raises(UsageError, match="TrailPlan.native got True, wants False in a backtest"):
        walk_of(bars_of((10000, 10100, 9990, 10000)), plan)
