"""Packages of optional extras, imported where they are first used."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from trailing.errors import UsageError


def import_extra(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import a module that an extra of this project installs.

    Args:
        module: its full name.
        extra: the extra that installs it.
        purpose: what needs it, for the error: ``"Parquet files"``.

    Raises:
        UsageError: it is not installed; the message says what to install.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise UsageError(
            f"{purpose} need {module.partition('.')[0]}, which is not installed: pip install 'trailing[{extra}]'"
        ) from error
