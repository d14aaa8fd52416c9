"""A market states how many stops its account may have."""

from __future__ import annotations

from typing import Any

import pytest

from trailing.core.model import Market
from trailing.errors import UsageError


@pytest.mark.parametrize("most", [0, -1, 1.0, True, "200"])
def test_a_limit_of_stops_that_is_no_whole_number_above_0_is_refused(most: Any) -> None:
    with pytest.raises(UsageError, match="Market.most_stops got .*, wants a whole number of at least 1, or None"):
        Market("BTC/USDT:USDT", most_stops=most)


def test_a_limit_of_stops_is_a_whole_number_or_none() -> None:
    assert Market("BTC/USDT:USDT", most_stops=1).most_stops == 1
    assert Market("BTC/USDT:USDT").most_stops is None
