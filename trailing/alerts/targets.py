"""Where alerts and heartbeats go: from the environment or from a private file, and never shown."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

from trailing.alerts.channels import Channel, make_channel
from trailing.alerts.heartbeat import Heartbeat
from trailing.errors import UsageError, suggest
from trailing.exchanges.ccxt.credentials import read_private_file
from trailing.exchanges.port import escaped

_FIELDS: Final = ("channels", "heartbeat")


class AlertTargets:
    """The channels of alerts, and the address of the heartbeat. Addresses are never printed or pickled.

    Args:
        channels: where every alert goes; empty: nowhere.
        heartbeat: fetched while all is well; None: there is none.
    """

    def __init__(self, channels: Sequence[Channel] = (), heartbeat: Heartbeat | None = None) -> None:
        self.channels: tuple[Channel, ...] = tuple(channels)
        self.heartbeat: Heartbeat | None = heartbeat

    def __repr__(self) -> str:
        return f"AlertTargets({[channel.name for channel in self.channels]}, heartbeat={self.heartbeat is not None})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("AlertTargets can't be pickled, so that credentials are not written to disk")

    @classmethod
    def from_environment(cls, prefix: str = "TRAILING") -> AlertTargets:
        """Read ``PREFIX_ALERTS``, addresses with blanks between them, and ``PREFIX_HEARTBEAT``, one address.

        A variable that is not set means that there is no such target.

        Args:
            prefix: the beginning of the variables' names.

        Raises:
            UsageError: an address can't be used, or needs an extra that is not installed. The message does not show it.
        """
        alerts, heartbeat = f"{prefix}_ALERTS", os.environ.get(f"{prefix}_HEARTBEAT", "").strip()
        urls = os.environ.get(alerts, "").split()
        channels = []
        for number, url in enumerate(urls, 1):
            try:
                channels.append(make_channel(url))
            except UsageError as error:
                raise UsageError(f"address {number} of the environment variable {alerts}: {error}") from None
        try:
            return cls(channels, Heartbeat(heartbeat) if heartbeat else None)
        except UsageError as error:
            raise UsageError(f"the environment variable {prefix}_HEARTBEAT: {error}") from None

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], table: str | None = None) -> AlertTargets:
        """Read a TOML file that belongs to this user and that no other user can read (``chmod 600``).

        Args:
            path: the file, with a table `channels` of names and addresses, an address `heartbeat`, or both.
            table: the table of the file that contains them; None: the top level.

        Raises:
            UsageError: the file can't be read, other users can read it, a field is unknown, or an address can't be used. The
                message shows no value of the file.
        """
        found: Any = read_private_file(path, "alerts")
        shown = escaped(str(path), 1000)
        if table is not None:
            found = found.get(table)
            if not isinstance(found, Mapping):
                raise UsageError(f"alerts: {shown} has no table {table!r}")
        for name in found:
            if name not in _FIELDS and (table is not None or not isinstance(found[name], Mapping)):
                raise UsageError(f"alerts: {shown} has the unknown field {name!r}.{suggest(name, _FIELDS)}")
        channels, heartbeat = found.get("channels", {}), found.get("heartbeat")
        if not isinstance(channels, Mapping):
            raise UsageError(f"alerts: {shown}: channels has to be a table of names and addresses")
        try:
            return cls(
                [make_channel(url, name) for name, url in channels.items()],
                None if heartbeat is None else Heartbeat(heartbeat),
            )
        except UsageError as error:
            raise UsageError(f"alerts: {shown}: {error}") from None
