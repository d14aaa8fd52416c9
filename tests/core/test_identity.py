"""Which stop of ours tells the protected position from another one in its place."""

from __future__ import annotations

import pytest
from driver import a_stop, waiting

from trailing.core.identity import stop_that_counts
from trailing.core.shown import new_stop


@pytest.mark.parametrize("price", ["97", "99"])
def test_a_superseded_stop_does_not_count_beside_the_other_one(price: str) -> None:
    driver = waiting()
    driver.state.put(new_stop(a_stop("earlier", price), is_superseded=True))
    counting = stop_that_counts(driver.state)
    assert counting is not None
    assert counting.id == "a"
