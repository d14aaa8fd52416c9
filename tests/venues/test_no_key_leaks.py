"""A failing run leaves no key in its output, logs with local variables, traceback or store."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from okx_server import PASSPHRASE
from real_exchange import VENUES
from venue_server import API_KEY, SECRET

FOLDER = Path(__file__).parent


@pytest.mark.parametrize("venue", VENUES)
@pytest.mark.slow
def test_a_failing_run_leaves_no_key_anywhere(venue: str, tmp_path: Path) -> None:
    command = [sys.executable, str(FOLDER / "leaky_run.py"), venue, str(tmp_path / "trailing.db")]
    tests = os.environ | {"PYTHONPATH": str(FOLDER.parent)}  # where `inspection` is
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=120, env=tests)
    assert run.returncode == 1
    for expected in ("opening", "failed", "-9999", "Traceback", "ExchangeUnreachable", "OutcomeUnknown", "***"):
        assert expected in run.stdout + run.stderr
    left = {"stdout": run.stdout.encode(), "stderr": run.stderr.encode()}
    left |= {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert "trailing.db" in left
    shows = [
        (name, value)
        for name, data in left.items()
        for value in (API_KEY, SECRET, PASSPHRASE)
        if value.encode() in data
    ]
    assert shows == []
