"""Packages that only some features need. An extra of the installation, such as ``trailing[web]``, installs them."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
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


def require_extra(extra: str, *modules: str) -> None:
    """Raise UsageError that says what to install, if a module of an extra is missing.

    Args:
        extra: the name of the extra.
        modules: the modules that the caller is about to import.
    """
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise UsageError(f"{', '.join(missing)} is not installed. Install it with: pip install 'trailing[{extra}]'")
