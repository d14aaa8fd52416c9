"""Group alerts into one message for people, short enough for every service."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from trailing.alerts.rules import Alert
from trailing.exchanges.port import escaped
from trailing.logs import hide_credentials

MOST_CHARACTERS: Final = 1_800
"""The most characters of a message. Discord takes 2,000 and Telegram 4,096.
Sources: https://discord.com/developers/docs/resources/webhook, https://core.telegram.org/bots/api#sendmessage."""

MOST_LISTED: Final = 100
"""The most alerts that a message lists one by one."""

_MOST_ALIKE: Final = 3
"""The most lines for alerts of one rule that all fire, or all recovered. The others are counted."""

_MOST_OF_ONE: Final = 300
"""The most characters of one alert."""


class Message(msgspec.Struct, frozen=True):
    """What a channel sends.

    Args:
        title: one line.
        text: one or more lines, at most `MOST_CHARACTERS` together.
        alerts: the alerts that the message is about, at most `MOST_LISTED` of them; the text may leave some out.
        count: the number of all alerts that the message is about.
    """

    title: str
    text: str
    alerts: tuple[Alert, ...] = ()
    count: int = 0


def compose(alerts: Sequence[Alert], *, left_out: int = 0) -> Message:
    """Return one message about some alerts. Those that fire come first, and credentials are hidden.

    Args:
        alerts: the newest state of each.
        left_out: the number of older alerts that are not among them because too many waited.
    """
    groups: defaultdict[tuple[bool, str, str], list[Alert]] = defaultdict(list)
    for alert in alerts:
        groups[not alert.is_firing, alert.account, alert.rule].append(alert)
    accounts = {account for _, account, _ in groups}
    lines: list[str] = []
    for (over, account, rule), members in sorted(groups.items(), key=lambda group: group[0]):
        start = f"{'Over' if over else 'ALERT'}: {f'[{account}] ' if len(accounts) > 1 else ''}"
        lines += [start + _clean(alert.text) for alert in members[:_MOST_ALIKE]]
        if len(members) > _MOST_ALIKE:
            lines.append(f"{start}{len(members) - _MOST_ALIKE} more of the rule {rule}")
    if left_out:
        lines.append(f"{left_out} older alerts are not shown, because too many waited for this channel")
    # Only those that are listed are cleaned, because thousands would take the event loop's time.
    first = sorted(alerts, key=lambda alert: not alert.is_firing)[:MOST_LISTED]
    listed = tuple(msgspec.structs.replace(alert, text=_clean(alert.text)) for alert in first)
    return Message(_title(alerts), _shorten(lines), listed, len(alerts))


def _title(alerts: Sequence[Alert]) -> str:
    firing = sum(alert.is_firing for alert in alerts)
    over = len(alerts) - firing
    counts = [f"{firing} {'alert' if firing == 1 else 'alerts'}"] if firing else []
    counts += [f"{over} over"] if over or not firing else []
    names = sorted({alert.account for alert in alerts if alert.account})
    where = f" {names[0]}" if len(names) == 1 else f" {len(names)} accounts" if names else ""
    return f"trailing{where}: {', '.join(counts)}"


def _shorten(lines: Sequence[str]) -> str:
    """Join lines while there is room. Count the others."""
    shown: list[str] = []
    room = MOST_CHARACTERS - 40  # for the line that counts the rest
    for number, line in enumerate(lines):
        room -= len(line) + 1
        if room < 0:
            shown.append(f"and {len(lines) - number} more lines")
            break
        shown.append(line)
    return "\n".join(shown)


def _clean(text: str) -> str:
    hidden: Any = hide_credentials(None, "", {"text": text})["text"]
    return escaped(str(hidden), _MOST_OF_ONE)
