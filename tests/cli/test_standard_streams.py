"""Standard output and standard error that are full or closed, in real processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")


def ran(redirection: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Run the command with a shell's redirection, such as ``>&-``."""
    command = [sys.executable, "-m", "trailing", *map(str, words)]
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {redirection}', "sh", *command],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


@pytest.fixture
def store(replayed: Any, tmp_path: Path) -> str:
    path = tmp_path / "state.db"
    path.write_bytes(replayed.database.read_bytes())
    return f"sqlite:///{path}"


@pytest.mark.parametrize(
    "words", [("--help",), ("status",), ("report", "--json"), ("events",), ("events", "--follow", "--json")]
)
def test_a_full_standard_output_is_one_line_and_code_2(store: str, words: tuple[str, ...]) -> None:
    stored = () if words == ("--help",) else ("--store", store)
    process = ran(">/dev/full", *words, *stored)
    assert (process.returncode, process.stderr) == (2, "trailing: standard output: No space left on device\n")


@pytest.mark.parametrize("words", [("--version",), ("status",), ("report", "--json"), ("prune", "--older", "30d")])
@pytest.mark.parametrize("redirection", [">&-", ">&- 2>&-", ">/dev/null 2>/dev/full"])
def test_a_closed_standard_output_or_a_full_standard_error_fails_nothing(
    store: str, words: tuple[str, ...], redirection: str
) -> None:
    stored = () if words == ("--version",) else ("--store", store)
    process = ran(redirection, *words, *stored)
    assert (process.returncode, process.stdout, process.stderr) == (0, "", "")


@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-"])
def test_a_run_whose_progress_and_log_can_not_be_written_succeeds(data: Path, redirection: str) -> None:
    words = ("--wave", data / "wave.csv", "--prices", data, "--candles", "high-first", "--log-level", "info")
    process = ran(redirection, "run", "--paper", *words)
    assert process.returncode == 0
    assert "the data ended, after 1416 prices" in process.stdout


def test_an_error_keeps_its_code_if_its_line_can_not_be_written() -> None:
    assert ran("2>/dev/full", "stauts").returncode == 2
