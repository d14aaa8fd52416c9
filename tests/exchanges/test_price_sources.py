"""Prices from files and from a seed. The error about a bad file names the line."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal as D
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest
from market_data import EXTRACTS, FULL, on_real_prices

from trailing.core.model import Percent, Tick
from trailing.errors import UsageError
from trailing.exchanges.prices import PricePoint, generate_prices, read_candles_csv, read_trades_csv

BTC = "BTC/USDT:USDT"

TRADES = "timestamp_ms,price,amount,side\n1000,10.5,1,buy\n1000,10.25,2,sell\n2500,0.000000000000000001,2,sell\n"
CANDLES = "timestamp_ms,open,high,low,close,volume\n0,10,12,9,11,5\n600000,11,11,8,8,5\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "prices.csv"
    path.write_text(text, encoding="utf-8")
    return path


def trades(path: Path) -> Iterator[PricePoint]:
    return read_trades_csv(path, BTC)


def candles(path: Path) -> Iterator[PricePoint]:
    return read_candles_csv(path, BTC, high_first=True)


def test_a_trade_is_a_jump_to_its_price_to_the_last_digit(tmp_path: Path) -> None:
    assert list(read_trades_csv(write(tmp_path, TRADES), BTC, source="mark")) == [
        PricePoint(Tick(BTC, D("10.5"), 1.0, "mark"), continuous=False),
        PricePoint(Tick(BTC, D("10.25"), 1.0, "mark"), continuous=False),
        PricePoint(Tick(BTC, D("0.000000000000000001"), 2.5, "mark"), continuous=False),
    ]


@pytest.mark.parametrize(("high_first", "prices"), [(True, [10, 12, 9, 11]), (False, [10, 9, 12, 11])])
def test_a_candle_is_a_jump_to_its_open_and_three_moves_in_the_stated_order(
    tmp_path: Path, high_first: bool, prices: list[int]
) -> None:
    points = list(read_candles_csv(write(tmp_path, CANDLES), BTC, high_first=high_first))
    assert [point.tick.price for point in points[:4]] == prices
    assert [point.tick.at for point in points] == [0.0, 100.0, 200.0, 299.0, 600.0, 700.0, 800.0, 899.0]
    assert [point.continuous for point in points] == [False, True, True, True] * 2


def test_columns_are_found_by_name_and_blank_lines_and_a_byte_order_mark_are_ignored(tmp_path: Path) -> None:
    path = write(tmp_path, "\ufeffprice,timestamp_ms\n\n7,1000\n\n")
    assert [point.tick for point in trades(path)] == [Tick(BTC, D(7), 1.0)]


def test_a_file_is_read_only_as_far_as_its_points_are_consumed(tmp_path: Path) -> None:
    path = write(tmp_path, TRADES + "broken")
    points = trades(path)
    assert len(list(islice(points, 3))) == 3
    with pytest.raises(UsageError):
        next(points)


@pytest.mark.parametrize(
    ("read", "text", "line", "says"),
    [
        (trades, "", 1, "header got ''"),
        (trades, "timestamp_ms,amount\n1,2\n", 1, "a column price"),
        (trades, "timestamp_ms,price\n", 1, "file got 'nothing after the header'"),
        (trades, "timestamp_ms,price\n1000,1\n2000\n", 3, "line got '2000', wants 2 values"),
        (trades, "timestamp_ms,price\n1000,1,5\n", 2, "wants 2 values"),
        (trades, "timestamp_ms,price\n1000,1\n2000,ten\n", 3, "price got 'ten'"),
        (trades, "timestamp_ms,price\n1000,0\n", 2, "price got '0'"),
        (trades, "timestamp_ms,price\n1000,-1\n", 2, "price got '-1'"),
        (trades, "timestamp_ms,price\n1000,NaN\n", 2, "price got 'NaN'"),
        (trades, "timestamp_ms,price\n1000,Infinity\n", 2, "price got 'Infinity'"),
        (trades, "timestamp_ms,price\n1000,\n", 2, "price got ''"),
        (
            trades,
            "timestamp_ms,price\n1000,1\n2000,1e999999\n",
            3,
            "price got '1e999999', wants a price above 0, below",
        ),
        (trades, "timestamp_ms,price\n1.5,1\n", 2, "timestamp_ms got '1.5'"),
        (trades, "timestamp_ms,price\n-1,1\n", 2, "timestamp_ms got '-1'"),
        (trades, "timestamp_ms,price\n1570752011620000,1\n", 2, "timestamp_ms got '1570752011620000'"),
        (trades, "timestamp_ms,price\n2000,1\n1999,1\n", 3, "timestamp_ms got '1999', wants at least"),
        (candles, "timestamp_ms,open,high,low\n1,2,3,1\n", 1, "a column close"),
        (candles, "timestamp_ms,open,high,low,close\n0,2,3,x,2\n", 2, "low got 'x'"),
        (candles, "timestamp_ms,open,high,low,close\n0,2,1,1,2\n", 2, "high got '1'"),
        (candles, "timestamp_ms,open,high,low,close\n0,2,3,2.5,2\n", 2, "low got '2.5'"),
        (candles, "timestamp_ms,open,high,low,close\n0,1,1,1,1\n299999,1,1,1,1\n", 3, "timestamp_ms got '299999'"),
    ],
)
def test_a_bad_file_is_refused_in_one_line_with_file_and_line_number(
    tmp_path: Path, read: Callable[[Path], Iterator[PricePoint]], text: str, line: int, says: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        list(read(path))
    message = str(caught.value)
    assert message.startswith(f"{path}, line {line}: ")
    assert says in message
    assert "\n" not in message


@pytest.mark.parametrize("content", [None, b"timestamp_ms,price\n1000,\xff\n", b'timestamp_ms,price\n1000,"1\n'])
def test_a_file_that_can_not_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "prices.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match="prices.csv can't be read"):
        list(trades(path))


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("symbol", {"symbol": "BTCUSDT"}),
        ("source", {"source": "mid"}),
        ("high_first", {"high_first": "yes"}),
        ("bar_seconds", {"bar_seconds": 0}),
    ],
)
def test_arguments_are_checked_before_the_file_is_opened(field: str, arguments: dict[str, Any]) -> None:
    defaults: dict[str, Any] = {"symbol": BTC, "high_first": True}
    with pytest.raises(UsageError, match=field):
        read_candles_csv("nowhere.csv", **(defaults | arguments))
    if field in {"symbol", "source"}:
        with pytest.raises(UsageError, match=field):
            read_trades_csv("nowhere.csv", **({"symbol": BTC} | arguments))


def lines_of(path: Path) -> int:
    """Return how many lines of prices a file has."""
    return len(path.read_text().splitlines()) - 1


@on_real_prices
def test_real_trades_are_read_whole_in_the_order_of_time(prices: Path) -> None:
    path = prices / "xrp-eth-trades.csv"
    times = [point.tick.at for point in read_trades_csv(path, "XRP/ETH:ETH")]
    assert len(times) == lines_of(path)
    assert times == sorted(times)
    assert len(set(times)) < len(times), "several are in one millisecond"
    assert datetime.fromtimestamp(times[0], UTC).date() == date(2019, 10, 11)


@on_real_prices
@pytest.mark.parametrize("name", ["xrp-usdt-usdt-5m.csv", "ada-btc-5m.csv", "nxt-btc-5m.csv"])
def test_real_candles_are_read_whole_in_the_order_of_time(prices: Path, name: str) -> None:
    times = [point.tick.at for point in read_candles_csv(prices / name, BTC, high_first=False)]
    assert len(times) == 4 * lines_of(prices / name)
    assert all(earlier < later for earlier, later in pairwise(times))


@pytest.mark.skipif(not FULL.is_dir(), reason="the full price files are not beside the repository")
def test_each_extract_matches_its_full_file_line_by_line() -> None:
    for path in EXTRACTS.glob("*-*-*.csv"):
        header, lines = path.read_text().split("\n", 1)
        full = (FULL / path.name).read_text()
        assert full.startswith(f"{header}\n"), path.name
        assert f"\n{lines}" in full, path.name


def walk(**changes: Any) -> list[Tick]:
    arguments: dict[str, Any] = {
        "symbol": BTC,
        "seed": 7,
        "start_price": D(100),
        "tick": D("0.01"),
        "step_seconds": 0.5,
        "count": 2000,
        "volatility": Percent("0.1"),
    }
    return list(generate_prices(**(arguments | changes)))


def test_generated_prices_depend_on_seed_and_symbol_only() -> None:
    assert walk() == walk()
    assert walk() != walk(seed=8)
    assert [tick.price for tick in walk()] != [tick.price for tick in walk(symbol="ETH/USDT:USDT")]


def test_generated_prices_start_at_the_start_price_and_are_evenly_spaced() -> None:
    ticks = walk(count=3, start_price=D("99.999"), start_at=10.0, source="mark")
    assert ticks[0] == Tick(BTC, D("100.00"), 10.0, "mark")
    assert [tick.at for tick in ticks] == [10.0, 10.5, 11.0]


def test_generated_prices_move_by_their_volatility() -> None:
    moves = [float(later.price / earlier.price) - 1 for earlier, later in pairwise(walk())]
    assert statistics.stdev(moves) == pytest.approx(0.001, rel=0.1)
    assert all(tick.price % D("0.01") == 0 for tick in walk())
    assert {tick.price for tick in walk(volatility=Percent(0))} == {D(100)}


def test_generated_prices_jump_with_the_given_probability_and_size() -> None:
    calm = walk(seed=8, volatility=Percent(0), jump_probability=0.05, jump_size=Percent(3))
    moves = [float(later.price / earlier.price) - 1 for earlier, later in pairwise(calm)]
    jumps = [move for move in moves if move]
    assert len(jumps) == pytest.approx(100, rel=0.3)
    assert all(abs(jump) == pytest.approx(0.03, abs=0.0003) for jump in jumps)
    assert {jump > 0 for jump in jumps} == {True, False}


def test_generated_prices_never_reach_zero() -> None:
    ticks = walk(volatility=Percent(60), tick=D(1), start_price=D(3))
    assert min(tick.price for tick in ticks) == D(1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("symbol", "BTC"),
        ("seed", "7"),
        ("start_price", D(0)),
        ("start_price", 100.0),
        ("tick", D(-1)),
        ("step_seconds", 0),
        ("count", 0),
        ("count", 1.0),
        ("volatility", D("0.1")),
        ("jump_size", 3),
        ("jump_probability", 1.5),
        ("jump_probability", float("nan")),
        ("start_at", -1),
        ("source", "mid"),
    ],
)
def test_an_invalid_argument_of_generated_prices_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(UsageError, match=field):
        walk(**{field: value})
