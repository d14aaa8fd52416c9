"""Packages that only some features need. An extra of the installation, such as ``trailing[web]``, installs them."""

from __future__ import annotations

from importlib.util import find_spec

from trailing.errors import UsageError


def require_extra(extra: str, *modules: str) -> None:
    """Raise UsageError that says what to install, if a module of an extra is missing.

    Args:
        extra: the name of the extra.
        modules: the modules that the caller is about to import.
    """
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise UsageError(f"{', '.join(missing)} is not installed. Install it with: pip install 'trailing[{extra}]'")
