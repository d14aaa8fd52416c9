"""The log of the alerts' own service."""

from __future__ import annotations

from typing import Any


class AlertLog:
    """Write entries to the log through structlog.

    Entries of the level info are written only if structlog is configured. Otherwise it would write them to standard output.
    """

    def __init__(self) -> None:
        import structlog  # noqa: PLC0415 - importing it takes 0.1 s, which `import trailing.alerts` need not wait for

        self._log: Any = structlog.get_logger("trailing").bind()
        self._writes_info: bool = structlog.is_configured()

    def info(self, event: str, **fields: object) -> None:
        """Write an entry that needs no attention."""
        if self._writes_info:
            self._log.info(event, **fields)

    def warning(self, event: str, **fields: object) -> None:
        """Write an entry about something that does not work."""
        self._log.warning(event, **fields)

    def error(self, event: str, **fields: object) -> None:
        """Write an entry about something because of which a person may not be reached."""
        self._log.error(event, **fields)
