"""Real prices: the extracts in `tests/data`, and the full files that they were cut from where those are at hand; and payloads."""

from __future__ import annotations

from pathlib import Path

import pytest

EXTRACTS = Path(__file__).parent / "data"
FULL = Path(__file__).parents[2] / "shared" / "data"

extracts = pytest.param(EXTRACTS, id="extracts")
full = pytest.param(
    FULL,
    id="full files",
    marks=pytest.mark.skipif(not FULL.is_dir(), reason="the full price files are not beside the repository"),
)
slow_full = pytest.param(*full.values, id=full.id, marks=[*full.marks, pytest.mark.slow])
repeated_full = pytest.param(*full.values, id=full.id, marks=[*full.marks, pytest.mark.repeats])

on_real_prices = pytest.mark.parametrize("prices", [extracts, full])
"""Run a test on the folder of extracts, and on that of the full files."""

VENUE_PAYLOADS = FULL / "venues"
"""Replies and frames of venues, which are not part of this repository."""

needs_venue_payloads = pytest.mark.skipif(
    not VENUE_PAYLOADS.is_dir(), reason="the payloads of venues are not beside the repository"
)
