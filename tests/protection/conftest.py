import logging

import pytest
import structlog


@pytest.fixture(autouse=True)
def quiet_log() -> None:
    """Thousands of runs say the same; a test that wants the log configures it."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
