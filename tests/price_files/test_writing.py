"""A file of bars is whole at any time: what was interrupted is continued after its last whole bar."""

from __future__ import annotations

from pathlib import Path

import pytest

from trailing.errors import UsageError
from trailing.price_files import read_prices
from trailing.price_files.writing import open_bar_writer, partial_path

FIRST = 1_700_000_040_000


def rows(first: int, end: int) -> list[tuple[int, str, str, str, str, str]]:
    """Return the bars of these minutes, each with its own price."""
    return [
        (FIRST + 60_000 * n, f"1{n:02}", f"1{n:02}", f"1{n:02}", f"1{n:02}.5"[:3], "2.5") for n in range(first, end)
    ]


def minutes(path: Path) -> list[int]:
    """Return which minutes a file has, after checking that each has its own price."""
    bars = read_prices(path)
    found = [(at - FIRST) // 60_000 for at in bars.opened_at]  # type: ignore[union-attr]
    assert [int(bars.price(units)) for units in bars.open] == [100 + n for n in found]  # type: ignore[union-attr]
    return found


@pytest.fixture(params=["csv", "parquet"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file with the minutes 0 to 9."""
    path = tmp_path / f"btc-usdt-1m.{request.param}"
    with open_bar_writer(path) as writer:
        assert writer.last is None
        writer.append(rows(0, 4))
        assert not path.exists()
        writer.append([])
        writer.append(rows(4, 10))
        writer.finish()
    return path


def test_a_finished_file_has_all_bars_and_nothing_else_is_left(path: Path) -> None:
    assert minutes(path) == list(range(10))
    assert list(path.parent.iterdir()) == [path]


def test_a_file_is_continued(path: Path) -> None:
    with open_bar_writer(path) as writer:
        assert (writer.last, writer.added) == (FIRST + 9 * 60_000, 0)
        writer.append(rows(10, 15))
        assert writer.added == 5
        assert minutes(path) == list(range(10)), "the file stays as it was until it is finished"
        writer.finish()
    assert minutes(path) == list(range(15))


@pytest.mark.parametrize(("cut", "last"), [(0, 14), (1, 13), (25, 13), (60, 12)])
def test_a_killed_writer_leaves_the_file_and_the_next_goes_on_after_the_last_whole_bar(
    path: Path, cut: int, last: int
) -> None:
    with open_bar_writer(path) as writer:
        writer.append(rows(10, 15))
    partial = partial_path(path)
    partial.write_bytes(partial.read_bytes()[: -cut or None])
    assert minutes(path) == list(range(10))
    with open_bar_writer(path) as writer:
        assert writer.last == FIRST + last * 60_000
        writer.append(rows(last + 1, 20))
        writer.finish()
    assert minutes(path) == list(range(20))


@pytest.mark.parametrize("left", [0, 10, 45, 100])
def test_a_partial_file_that_is_shorter_than_the_file_is_not_continued(path: Path, left: int) -> None:
    with open_bar_writer(path):
        pass
    partial = partial_path(path)
    partial.write_bytes(partial.read_bytes()[:left])
    with open_bar_writer(path) as writer:
        assert writer.last == FIRST + 9 * 60_000
        writer.append(rows(10, 12))
        writer.finish()
    assert minutes(path) == list(range(12))


def test_only_one_process_writes_a_file(path: Path) -> None:
    with open_bar_writer(path), pytest.raises(UsageError, match="is being written by another"), open_bar_writer(path):
        pass


def test_without_bars_there_is_no_file(tmp_path: Path) -> None:
    with open_bar_writer(tmp_path / "btc-usdt-1m.csv") as writer:
        writer.finish()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_can_not_be_right_is_not_continued(path: Path) -> None:
    path.write_bytes(b"timestamp_ms,open\n1,1\n")
    with pytest.raises(UsageError, match=f"^{path}"), open_bar_writer(path):
        pass
    assert path.read_bytes() == b"timestamp_ms,open\n1,1\n"
    assert list(path.parent.iterdir()) == [path]


def test_a_directory_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere" / "btc-usdt-1m.csv"
    with (
        pytest.raises(UsageError, match=r"partial-btc-usdt-1m.csv can't be written: No such f"),
        open_bar_writer(nowhere),
    ):
        pass
    with pytest.raises(UsageError, match="a name that ends in"), open_bar_writer(tmp_path / "btc-usdt-1m.txt"):
        pass
