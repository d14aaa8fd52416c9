"""A bad price file is refused in one line that names file, line or row, field, value, and what is wanted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from trailing.errors import UsageError
from trailing.price_files import find_price_files, read_prices

TRADES, BARS = "btc-usdt-trades.csv", "btc-usdt-5m.csv"
HEADER = "timestamp_ms,open,high,low,close\n"


def refusal(path: Path) -> str:
    """Return what a file is refused with, after its name."""
    with pytest.raises(UsageError) as caught:
        read_prices(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message.removeprefix(str(path))


@pytest.mark.parametrize(
    ("name", "text", "line", "says"),
    [
        (TRADES, "", 1, "header got ''"),
        (TRADES, "timestamp_ms,amount\n1,2\n", 1, "a column price"),
        (TRADES, "timestamp_ms,price,price\n1,2,2\n", 1, "each column once"),
        (TRADES, "timestamp_ms,price\n", 1, "file got 'nothing after the header'"),
        (TRADES, "timestamp_ms,price\n1000,1\n2000\n", 3, "line got '2000', wants 2 values"),
        (TRADES, "timestamp_ms,price\n\n\n1000,1,5\n", 4, "wants 2 values"),
        (TRADES, "timestamp_ms,price\n1000,1\n\n2000,ten\n", 4, "price got 'ten'"),
        (TRADES, "timestamp_ms,price\n1000,0\n", 2, "price got '0'"),
        (TRADES, "timestamp_ms,price\n1000,1\n1000,-1\n", 3, "price got '-1'"),
        (TRADES, "timestamp_ms,price\n1000,NaN\n", 2, "price got 'NaN'"),
        (TRADES, "timestamp_ms,price\n1000,1\n1000,NaN\n", 3, "price got 'NaN'"),
        (TRADES, "timestamp_ms,price\n1000,Infinity\n", 2, "price got 'Infinity'"),
        (TRADES, "timestamp_ms,price\n1000,1e-19\n", 2, "price got '1e-19'"),
        (TRADES, "timestamp_ms,price\n1000,\n", 2, "price got ''"),
        (
            TRADES,
            "timestamp_ms,price\n1000,1\n2000,1e999999\n",
            3,
            "price got '1e999999', wants a price above 0, below",
        ),
        (TRADES, f"timestamp_ms,price\n1000,1.{'1' * 30}\n", 2, "at most 30 digits"),
        (TRADES, "timestamp_ms,price\n1.5,1\n", 2, "timestamp_ms got '1.5'"),
        (TRADES, "timestamp_ms,price\n-1,1\n", 2, "timestamp_ms got '-1'"),
        (TRADES, "timestamp_ms,price\n1570752011620000,1\n", 2, "timestamp_ms got '1570752011620000'"),
        (
            TRADES,
            "timestamp_ms,price\n2000,1\n1999,1\n",
            3,
            "timestamp_ms got '1999', wants at least 2000, the value of",
        ),
        (BARS, "timestamp_ms,open,high,low\n1,2,3,1\n", 1, "a column close"),
        ("prices.csv", "timestamp_ms,value\n1,2\n", 1, "a column open, or price of trades"),
        (BARS, f"{HEADER}0,2,3,1,2\n300000,2,3,x,2\n", 3, "low got 'x'"),
        (BARS, f"{HEADER}0,2,1,1,2\n", 2, "high got '1', wants the highest price of the bar"),
        (BARS, f"{HEADER}0,2,3,2.5,2\n", 2, "low got '2.5', wants the lowest price of the bar"),
        (BARS, f"{HEADER}0,2,3,1,2\n300000,2,1,3,2\n", 3, "high got '1', wants at least the low, 3"),
        (BARS, f"{HEADER}0,2,3,1,4\n", 2, "high got '3', wants the highest price of the bar"),
        (BARS, f"{HEADER}0,1,1,1,1\n299999,1,1,1,1\n", 3, "timestamp_ms got '299999', wants at least 300000, the end"),
        (BARS, f"{HEADER}300000,1,1,1,1\n300000,1,1,1,1\n", 3, "wants at least 600000, the end of the bar"),
        (BARS, f"{HEADER}600000,1,1,1,1\n300000,1,1,1,1\n", 3, "wants more than 600000, the value of the line before"),
        ("prices.csv", f"{HEADER}600000,1,1,1,1\n600000,1,1,1,1\n", 3, "timestamp_ms got '600000', wants at least"),
        (BARS, f"{HEADER}0,1,1,1,1\n400000,1,1,1,1\n", 3, "wants a whole number of bars of 5m after 0"),
        (BARS, f"{HEADER}1515560100,1,1,1,1\n1515560400,1,1,1,1\n", 3, "are these seconds?"),
    ],
)
def test_a_bad_file_is_refused_in_one_line_with_file_and_line_number(
    tmp_path: Path, name: str, text: str, line: int, says: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    message = refusal(path)
    assert message.startswith(f", line {line}: ")
    assert says in message


@pytest.mark.parametrize("name", ["btc-usdt-1m.csv", "prices.csv"])
def test_bars_of_mixed_timeframes_are_refused_where_the_second_one_begins(tmp_path: Path, name: str) -> None:
    times = [bar * 60_000 for bar in range(30)] + [(30 + bar * 15) * 60_000 for bar in range(30)]
    (tmp_path / name).write_text(HEADER + "".join(f"{at},1,1,1,1\n" for at in times))
    message = refusal(tmp_path / name)
    assert message.startswith(", line 33: timestamp_ms got '2700000'")
    assert "bars of 1m, but from here on they are 15m apart" in message


def test_gaps_that_are_equal_at_random_are_no_other_timeframe(tmp_path: Path) -> None:
    times = [bar * 60_000 for block in range(30) for bar in (block * 3, block * 3 + 1)]
    (tmp_path / "a-1m.csv").write_text(HEADER + "".join(f"{at},1,1,1,1\n" for at in times))
    assert len(read_prices(tmp_path / "a-1m.csv")) == 60


def test_a_single_bar_needs_its_length_in_the_name(tmp_path: Path) -> None:
    (tmp_path / "prices.csv").write_text(f"{HEADER}0,1,1,1,1\n")
    assert refusal(tmp_path / "prices.csv").startswith(": name got 'prices.csv', wants a length in the name")


@pytest.mark.parametrize("content", [None, b"timestamp_ms,price\n1000,\xff\n", b'timestamp_ms,price\n1000,"1\n'])
def test_a_csv_file_that_can_not_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / TRADES
    if content is not None:
        path.write_bytes(content)
    assert refusal(path).startswith(" can't be read: ")


@pytest.mark.parametrize("content", [None, b"", b"timestamp_ms,price\n1000,1\n"])
def test_a_parquet_file_that_can_not_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "btc-usdt-trades.parquet"
    if content is not None:
        path.write_bytes(content)
    assert refusal(path).startswith(" can't be read: ")


def test_another_ending_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "prices.feather") == ": the name has to end in .csv or .parquet"


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"timestamp_ms": [], "price": []}, ": file got 'no row', wants at least one"),
        ({"timestamp_ms": [1]}, ": header got 'timestamp_ms', wants a column price"),
        ({"timestamp_ms": [1, 2], "price": [1.0, None]}, ", row 2: price got '', wants a price above 0"),
        ({"timestamp_ms": [1, 2], "price": [1.0, -2.5]}, ", row 2: price got '-2.5', wants a price above 0"),
        ({"timestamp_ms": [1, None], "price": [1.0, 1.0]}, ", row 2: timestamp_ms got '', wants UTC milliseconds"),
        (
            {"timestamp_ms": [2, 1], "price": [1.0, 1.0]},
            ", row 2: timestamp_ms got '1', wants at least 2, the value of the row",
        ),
        ({"timestamp_ms": [1], "price": [True]}, ": price got 'bool', wants numbers"),
        ({"timestamp_ms": [[1]], "price": [1]}, ": timestamp_ms got 'list<element: int64>', wants whole numbers or"),
    ],
)
def test_a_bad_parquet_file_is_refused_with_its_row(tmp_path: Path, columns: dict[str, Any], says: str) -> None:
    path = tmp_path / "btc-usdt-trades.parquet"
    pa.parquet.write_table(pa.table(columns), path)
    assert refusal(path).startswith(says)


def test_csv_and_parquet_of_one_market_are_several_files(tmp_path: Path) -> None:
    for name in ("btc-usdt-5m.csv", "btc-usdt-1h.parquet", "eth-usdt-5m.csv"):
        (tmp_path / name).touch()
    assert find_price_files([str(tmp_path)], ["ETH/USDT:USDT"]) == {"ETH/USDT:USDT": tmp_path / "eth-usdt-5m.csv"}
    with pytest.raises(
        UsageError, match=r"several files for BTC/USDT:USDT: \S+/btc-usdt-1h.parquet, \S+/btc-usdt-5m.csv"
    ):
        find_price_files([str(tmp_path)], ["BTC/USDT:USDT"])
