"""A price file is read once, whole and exactly, in either format; its path jumps and moves as stated."""

from __future__ import annotations

import sys
import time
from array import array
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal as D
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from market_data import EXTRACTS, FULL, on_real_prices

from trailing.core.model import Tick
from trailing.errors import UsageError
from trailing.exchanges.prices import PricePoint
from trailing.price_files import Bars, Gap, Trades, describe_prices, read_prices

BTC = "BTC/USDT:USDT"
TRADES = "timestamp_ms,price,amount,side\n1000,10.5,1,buy\n1000,10.25,2,sell\n2500,0.000000000000000001,2,sell\n"
BARS = "timestamp_ms,open,high,low,close,volume\n0,10,12,9,11,5\n600000,11,11,8,8,5\n"


def write(folder: Path, text: str, name: str = "btc-usdt-5m.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def bars_of(path: Path, tick: D | None = None) -> Bars:
    prices = read_prices(path, tick=tick)
    assert isinstance(prices, Bars)
    return prices


def trades_of(path: Path) -> Trades:
    prices = read_prices(path)
    assert isinstance(prices, Trades)
    return prices


def test_a_trade_is_a_jump_to_its_price_to_the_last_digit(tmp_path: Path) -> None:
    trades = trades_of(write(tmp_path, TRADES, "btc-usdt-trades.csv"))
    assert list(trades.points(BTC, source="mark")) == [
        PricePoint(Tick(BTC, D("10.5"), 1.0, "mark"), continuous=False),
        PricePoint(Tick(BTC, D("10.25"), 1.0, "mark"), continuous=False),
        PricePoint(Tick(BTC, D("0.000000000000000001"), 2.5, "mark"), continuous=False),
    ]
    assert (len(trades), trades.starts_at, trades.ends_at) == (3, 1000, 2500)


@pytest.mark.parametrize(("high_first", "prices"), [(True, [10, 12, 9, 11]), (False, [10, 9, 12, 11])])
def test_a_bar_is_a_jump_to_its_open_and_three_moves_in_the_stated_order(
    tmp_path: Path, high_first: bool, prices: list[int]
) -> None:
    points = list(bars_of(write(tmp_path, BARS)).points(BTC, high_first=high_first))
    assert [point.tick.price for point in points[:4]] == prices
    assert [point.tick.at for point in points] == [0.0, 100.0, 200.0, 300.0, 600.0, 700.0, 800.0, 900.0]
    assert [point.continuous for point in points] == [False, True, True, True] * 2


def test_prices_are_whole_numbers_of_a_unit_in_arrays_of_int64(tmp_path: Path) -> None:
    bars = bars_of(write(tmp_path, "timestamp_ms,open,high,low,close\n0,10.50,10.50,9.25,10\n300000,1e1,1e1,9.5,9.5\n"))
    assert (bars.decimals, bars.tick) == (2, D("0.01"))
    assert (bars.open, bars.low) == (array("q", [1050, 1000]), array("q", [925, 950]))
    assert bars.is_int64
    assert bars.price(bars.low[0]) == D("9.25")
    assert (bars.starts_at, bars.ends_at, len(bars)) == (0, 600_000, 2)


def test_a_price_beyond_int64_is_kept_in_a_list(tmp_path: Path) -> None:
    trades = trades_of(write(tmp_path, TRADES, "btc-usdt-trades.csv"))
    assert (trades.price_units, trades.is_int64) == ([10_500_000_000_000_000_000, 10_250_000_000_000_000_000, 1], False)


def test_columns_are_found_by_name_and_blank_lines_and_a_byte_order_mark_are_ignored(tmp_path: Path) -> None:
    trades = trades_of(write(tmp_path, "\ufeff\nprice,timestamp_ms\n\n7,1000\n\n", "prices.csv"))
    assert [point.tick for point in trades.points(BTC)] == [Tick(BTC, D(7), 1.0)]


@pytest.mark.parametrize(
    ("name", "seconds"),
    [("a-5m.csv", 300.0), ("a-1H.CSV", 3600.0), ("a-1d.csv", 86_400.0), ("a-1w.csv", 604_800.0), ("prices.csv", 60.0)],
)
def test_the_length_of_a_bar_is_that_in_the_name_or_the_shortest_distance(
    tmp_path: Path, name: str, seconds: float
) -> None:
    step = int(seconds * 1000)
    text = "timestamp_ms,open,high,low,close\n" + "".join(f"{step * bar},1,1,1,1\n" for bar in (0, 3, 4))
    bars = bars_of(write(tmp_path, text, name))
    assert (bars.seconds, bars.gaps) == (seconds, (Gap(step, 2),))


def test_missing_bars_are_listed_and_described(tmp_path: Path) -> None:
    lines = "".join(f"{bar * 300_000},1,1,1,1\n" for bar in (0, 1, 4, 5, 7))
    bars = bars_of(write(tmp_path, f"timestamp_ms,open,high,low,close\n{lines}"))
    assert bars.gaps == (Gap(600_000, 2), Gap(1_800_000, 1))
    assert describe_prices(bars) == [
        "btc-usdt-5m.csv: 3 of 8 bars are missing, in 2 gaps; the longest begins at 1970-01-01 00:10 UTC and has 2 bars"
    ]


def test_the_noise_of_floats_is_rounded_and_counted_and_does_not_make_the_tick_finer(tmp_path: Path) -> None:
    text = "timestamp_ms,open,high,low,close\n0,1.2147000000000001,1.2147,1.2099999999999997,1.21\n"
    bars = bars_of(write(tmp_path, text))
    assert (bars.tick, bars.off_tick) == (D("0.0001"), 2)
    assert (list(bars.open), list(bars.low)) == ([12147], [12100])
    assert describe_prices(bars) == ["btc-usdt-5m.csv: 2 of 4 prices were off the tick 0.0001, and were rounded to it"]


def test_a_price_written_with_many_digits_on_purpose_is_no_noise(tmp_path: Path) -> None:
    trades = trades_of(write(tmp_path, "timestamp_ms,price\n1,12345.678901234567891\n", "a-trades.csv"))
    assert (trades.price(trades.price_units[0]), trades.off_tick) == (D("12345.678901234567891"), 0)


@pytest.mark.parametrize(
    ("tick", "prices", "off"),
    [
        ("0.01", ["1.05", "1.15", "1.01", "1.03"], 0),
        ("0.05", ["1.05", "1.15", "1.00", "1.05"], 2),
        ("0.1", ["1.0", "1.2", "1.0", "1.0"], 4),
        ("1", ["1", "1", "1", "1"], 4),
    ],
)
def test_prices_are_rounded_to_the_nearest_multiple_of_a_given_tick_and_half_to_even(
    tmp_path: Path, tick: str, prices: list[str], off: int
) -> None:
    text = "timestamp_ms,open,high,low,close\n0,1.05,1.15,1.01,1.03\n"
    bars = bars_of(write(tmp_path, text), D(tick))
    rounded = [bars.price(column[0]) for column in (bars.open, bars.high, bars.low, bars.close)]
    assert (rounded, bars.tick, bars.off_tick) == ([D(price) for price in prices], D(tick), off)


def test_a_price_that_is_rounded_to_zero_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"line 4: price got '0.000000000000000001', wants at least the tick 0.01"):
        read_prices(write(tmp_path, TRADES, "a-trades.csv"), tick=D("0.01"))


def test_a_wrong_tick_is_refused_before_the_file_is_opened() -> None:
    with pytest.raises(UsageError, match="tick got"):
        read_prices("nowhere.csv", tick=0.1)  # type: ignore[arg-type]


def to_parquet(path: Path, change: Callable[[pa.Table], pa.Table] = lambda table: table) -> Path:
    """Write a CSV file as Parquet too, with the types that pyarrow infers: numbers are float64."""
    parquet = path.with_suffix(".parquet")
    pa.parquet.write_table(change(pa.csv.read_csv(path)), parquet)
    return parquet


def with_type(name: str, kind: Any) -> Callable[[pa.Table], pa.Table]:
    """Change the type of a column."""

    def change(table: pa.Table) -> pa.Table:
        column = table.column(name).cast(pa.timestamp("ms")) if pa.types.is_timestamp(kind) else table.column(name)
        return table.set_column(table.column_names.index(name), name, column.cast(kind))

    return change


@pytest.mark.parametrize("name", ["xrp-usdt-usdt-5m.csv", "ada-btc-5m.csv", "xrp-eth-trades.csv"])
def test_parquet_gives_the_same_as_csv(tmp_path: Path, name: str) -> None:
    source = EXTRACTS / name
    copy = write(tmp_path, source.read_text(), name)
    from_csv, from_parquet = read_prices(source), read_prices(to_parquet(copy))
    for field in set(from_csv.__struct_fields__) - {"path"}:
        assert getattr(from_parquet, field) == getattr(from_csv, field)


@pytest.mark.parametrize(
    "change",
    [
        with_type("timestamp_ms", pa.timestamp("ms")),
        with_type("timestamp_ms", pa.timestamp("ns", "UTC")),
        with_type("timestamp_ms", pa.int32()),
        with_type("open", pa.float32()),
        with_type("open", pa.decimal128(20, 8)),
        with_type("open", pa.string()),
        with_type("open", pa.large_string()),
    ],
)
def test_parquet_takes_each_type_that_holds_the_number(tmp_path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    text = "timestamp_ms,open,high,low,close\n0,1.2147,1.3,1.2,1.25\n300000,1.1,1.3,0.00005,1.25\n"
    bars = bars_of(to_parquet(write(tmp_path, text), change))
    assert list(bars.opened_at) == [0, 300_000]
    assert [bars.price(units) for units in bars.open] == [D("1.2147"), D("1.1")]
    assert (bars.price(bars.low[1]), bars.off_tick) == (D("0.00005"), 0)


def test_parquet_without_its_extra_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = to_parquet(write(tmp_path, BARS))
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UsageError, match=r"^Parquet files need pyarrow, .* pip install 'trailing\[parquet\]'$"):
        read_prices(path)


@pytest.mark.parametrize("name", ["btc-usdt-1m.csv", "btc-usdt-1m.parquet"])
def test_a_month_of_minutes_is_read_within_seconds(tmp_path: Path, name: str) -> None:
    prices = ((60_000 + bar * 7919 % 4001, bar) for bar in range(43_200))
    lines = (f"{bar * 60_000},{at / 10},{(at + 9) / 10},{(at - 9) / 10},{at / 10}" for at, bar in prices)
    path = write(tmp_path, "timestamp_ms,open,high,low,close\n" + "\n".join(lines), "btc-usdt-1m.csv")
    path = to_parquet(path) if name.endswith("parquet") else path
    begun = time.thread_time()
    bars = bars_of(path)
    assert time.thread_time() - begun < 3  # about 0.3 s on an idle machine
    assert (len(bars), bars.tick, bars.gaps) == (43_200, D("0.1"), ())


@pytest.mark.parametrize(
    ("field", "arguments"),
    [("symbol", {"symbol": "BTCUSDT"}), ("source", {"source": "mid"}), ("high_first", {"high_first": "yes"})],
)
def test_arguments_of_points_are_checked_at_once(tmp_path: Path, field: str, arguments: dict[str, Any]) -> None:
    bars, trades = bars_of(write(tmp_path, BARS)), trades_of(write(tmp_path, TRADES, "a-trades.csv"))
    with pytest.raises(UsageError, match=field):
        bars.points(**{"symbol": BTC, "high_first": True, **arguments})
    if field != "high_first":
        with pytest.raises(UsageError, match=field):
            trades.points(**{"symbol": BTC, **arguments})


def lines_of(path: Path) -> int:
    """Return how many lines of prices a file has."""
    return len(path.read_text().splitlines()) - 1


@on_real_prices
def test_real_trades_are_read_whole_in_the_order_of_time(prices: Path) -> None:
    path = prices / "xrp-eth-trades.csv"
    times = [point.tick.at for point in trades_of(path).points("XRP/ETH:ETH")]
    assert len(times) == lines_of(path)
    assert times == sorted(times)
    assert len(set(times)) < len(times), "several are in one millisecond"
    assert datetime.fromtimestamp(times[0], UTC).date() == date(2019, 10, 11)


@on_real_prices
@pytest.mark.parametrize("name", ["xrp-usdt-usdt-5m.csv", "ada-btc-5m.csv", "nxt-btc-5m.csv"])
def test_real_bars_are_read_whole_in_the_order_of_time(prices: Path, name: str) -> None:
    bars = bars_of(prices / name)
    # A close has the time of the next open, and comes before it.
    times = [(point.tick.at, not point.ends_bar) for point in bars.points(BTC, high_first=False)]
    assert len(times) == 4 * lines_of(prices / name)
    assert all(earlier < later for earlier, later in pairwise(times))
    assert (bars.off_tick > 0, bars.decimals) == ((True, 4) if name.startswith("xrp") else (False, 8))


@pytest.mark.skipif(not FULL.is_dir(), reason="the full price files are not beside the repository")
def test_each_extract_matches_its_full_file_line_by_line() -> None:
    for path in EXTRACTS.glob("*-*-*.csv"):
        header, lines = path.read_text().split("\n", 1)
        full = (FULL / path.name).read_text()
        assert full.startswith(f"{header}\n"), path.name
        assert f"\n{lines}" in full, path.name
