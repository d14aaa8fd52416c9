"""A log that is silent: worlds log what happens to them, which is what they are for."""

from __future__ import annotations

import logging

import structlog


def quiet_log() -> None:
    """Log critical messages only."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
