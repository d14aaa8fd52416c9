"""Messages and the queue in front of a channel: grouped, short, clean, and bounded."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from trailing.alerts import Alert, AlertRules
from trailing.alerts.messages import MOST_CHARACTERS, MOST_LISTED, compose
from trailing.alerts.outbox import Outbox
from trailing.errors import UsageError

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def an_alert(key: str = "stream", **changes: Any) -> Alert:
    fields: dict[str, Any] = {
        "rule": "stream",
        "text": f"text of {key}",
        "is_firing": True,
        "account": "main",
    } | changes
    return Alert(key=key, since=NOW, at=NOW, **fields)


def test_alerts_that_fire_come_before_those_that_are_over() -> None:
    message = compose([an_alert("a", is_firing=False), an_alert("b", rule="lease"), an_alert("c")])
    assert message.title == "trailing main: 2 alerts, 1 over"
    assert message.text.splitlines() == ["ALERT: text of b", "ALERT: text of c", "Over: text of a"]
    assert [alert.key for alert in message.alerts] == ["b", "c", "a"]


@pytest.mark.parametrize(
    ("alerts", "title"),
    [
        ([an_alert()], "trailing main: 1 alert"),
        ([an_alert(is_firing=False)], "trailing main: 1 over"),
        ([an_alert(account="")], "trailing: 1 alert"),
        ([an_alert(), an_alert(account="other")], "trailing 2 accounts: 2 alerts"),
    ],
)
def test_the_title_counts_and_names_the_account(alerts: list[Alert], title: str) -> None:
    assert compose(alerts).title == title


def test_alerts_of_several_accounts_name_theirs() -> None:
    assert compose([an_alert("a"), an_alert("b", account="other")]).text.splitlines() == [
        "ALERT: [main] text of a",
        "ALERT: [other] text of b",
    ]


def test_many_alerts_of_one_rule_are_one_message_that_counts_them() -> None:
    alerts = [an_alert(f"unprotected:COIN{number}", rule="unprotected") for number in range(20_000)]
    message = compose([an_alert("lease", rule="lease"), *alerts])
    assert message.title == "trailing main: 20001 alerts"
    assert message.text.splitlines() == [
        "ALERT: text of lease",
        *(f"ALERT: text of unprotected:COIN{number}" for number in range(3)),
        "ALERT: 19997 more of the rule unprotected",
    ]
    assert (len(message.alerts), message.count) == (MOST_LISTED, 20_001)


def test_a_message_is_never_longer_than_a_service_takes() -> None:
    rules = ("unprotected", "close", "alarm", "stream", "store", "journal", "lease", "ended", "events")
    alerts = [
        an_alert(f"{rule} {n}", rule=rule, text="x" * 5000, is_firing=bool(n % 2)) for rule in rules for n in range(9)
    ]
    message = compose(alerts, left_out=3)
    assert len(message.text) <= MOST_CHARACTERS
    assert message.text.splitlines()[-1].startswith("and ")
    assert all(len(alert.text) <= 300 for alert in message.alerts)


def test_credentials_and_control_characters_never_reach_a_service() -> None:
    message = compose([an_alert(text="GET /order?signature=abc123&x=1 failed\x1b[31m\nALERT: forged")])
    assert message.text == "ALERT: GET /order?signature=***&x=1 failed\\x1b[31m\\nALERT: forged"
    assert "abc123" not in str(message)


def test_alerts_that_were_left_out_are_counted() -> None:
    assert compose([an_alert()], left_out=7).text.splitlines()[-1].startswith("7 older alerts are not shown")


def test_the_queue_keeps_the_newest_state_of_each_alert() -> None:
    outbox = Outbox()
    outbox.put([an_alert("a"), an_alert("b")])
    over = an_alert("a", is_firing=False)
    outbox.put([over])
    assert outbox.batch() == (an_alert("b"), over)
    assert len(outbox) == 2


def test_the_queue_keeps_what_changed_while_it_was_sent() -> None:
    outbox = Outbox()
    outbox.put([an_alert("a"), an_alert("b")])
    batch = outbox.batch()
    over = an_alert("a", is_firing=False)
    outbox.put([over])
    outbox.note_sent(batch)
    assert outbox.batch() == (over,)


def test_alerts_of_two_accounts_do_not_replace_each_other() -> None:
    outbox = Outbox()
    outbox.put([an_alert(), an_alert(account="other")])
    assert len(outbox) == 2


def test_a_full_queue_drops_what_is_over_before_what_fires_and_counts_it() -> None:
    outbox = Outbox(most=3)
    outbox.put([an_alert("a"), an_alert("b", is_firing=False), an_alert("c"), an_alert("d")])
    assert [alert.key for alert in outbox.batch()] == ["a", "c", "d"]
    outbox.put([an_alert("e")])
    assert [alert.key for alert in outbox.batch()] == ["c", "d", "e"]
    assert outbox.left_out == 2
    outbox.note_sent(outbox.batch())
    assert (len(outbox), outbox.left_out) == (0, 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"unprotected_seconds": -1}, "AlertRules.unprotected_seconds got -1, wants seconds"),
        ({"quiet_seconds": "soon"}, "AlertRules.quiet_seconds got 'soon', wants seconds"),
        ({"ignored_alarms": "one"}, "AlertRules.ignored_alarms got 'one', wants a set of texts"),
    ],
)
def test_rules_that_can_t_be_right_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        AlertRules(**settings)
