"""Silence the log, because a world causes warnings and errors on purpose."""

from __future__ import annotations

import logging

import structlog


def quiet_log() -> None:
    """Log critical messages only."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
