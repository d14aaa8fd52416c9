"""The pure part of the alerts: which of them fire and recover, from events and looks alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import trailing
from trailing import OutcomeUnknown, Position
from trailing.alerts import Alert, AlertRules
from trailing.alerts.conditions import STREAM_ALARM, Conditions, Look
from trailing.core.account import Key
from trailing.events import (
    Alarm,
    ExitFailed,
    ExitStarted,
    PositionClosed,
    PositionReleased,
    StopMoved,
    StopOpened,
    StreamChanged,
)
from trailing.protection.health import Health
from trailing.protection.journal import JournalStatistics
from trailing.protection.waves.outcomes import Unprotected

START = datetime(2026, 1, 1, tzinfo=UTC)
BTC: Key = ("BTC/USDT:USDT", "long")
OF_BTC: dict[str, Any] = {"symbol": BTC[0], "side": BTC[1], "at": START}


def unprotected(*, state: str = "opening", error: Exception | None = None, **position: Any) -> dict[Key, Unprotected]:
    held = Position(*BTC, Decimal("1.5"), Decimal(100), START, **position)
    return {BTC: Unprotected(held, state, error)}


class Account:
    """An account that is looked at once a second."""

    def __init__(self, **rules: Any) -> None:
        self.conditions = Conditions(AlertRules(**rules))
        self.now = 0.0
        self.health: dict[str, Any] = {}

    def take(self, event: Any) -> None:
        self.conditions.take(event)

    def look(self, listed: dict[Key, Unprotected] | None = None, seconds: float = 1.0) -> Sequence[Alert]:
        """Go on by some seconds, then look."""
        self.now += seconds
        journal = JournalStatistics(commits=1, entries=1, failures=0, dropped=0, waiting=0)
        fields: dict[str, Any] = {"stream_connected": True, "lease_seconds": math.inf, "journal_is_behind": False}
        health = Health(exchange="paper", account="default", **({**fields, "journal": journal} | self.health))
        utc = START + timedelta(seconds=self.now)
        return self.conditions.look(Look(now=self.now, utc=utc, unprotected=listed or {}, health=health))

    def wait(self, listed: dict[Key, Unprotected] | None = None, *, seconds: int) -> list[Alert]:
        return [alert for _ in range(seconds) for alert in self.look(listed)]


def stop_opened() -> StopOpened:
    return StopOpened(**OF_BTC, quantity=Decimal(1), price=Decimal(98), client_order_id="tr1", unprotected_seconds=1.0)


def test_an_age_begins_again_with_each_stop_so_that_a_flapping_position_is_not_old() -> None:
    account = Account()
    for _ in range(5):
        assert account.wait(unprotected(), seconds=9) == []
        account.take(stop_opened())
    assert account.wait(unprotected(), seconds=10) == []
    (alert,) = account.look(unprotected())
    assert alert.since == alert.at - timedelta(seconds=10)


def test_a_look_that_comes_some_milliseconds_early_is_no_second_late() -> None:
    account = Account(unprotected_seconds=2.0, journal_seconds=2.0, stream_seconds=2.0)
    account.health = {"stream_connected": False, "journal_is_behind": True}
    account.look(unprotected(), seconds=1.004)
    assert account.look(unprotected(), seconds=0.998) == []
    fired = account.look(unprotected(), seconds=0.999)
    assert [alert.rule for alert in fired] == ["unprotected", "stream", "journal"]


def test_a_move_that_is_acknowledged_begins_the_age_again() -> None:
    account = Account()
    account.wait(unprotected(), seconds=9)
    moved = StopMoved(**OF_BTC, previous=Decimal(98), price=Decimal(99), client_order_id="tr2", reason="Callback")
    account.take(moved)
    assert account.wait(unprotected(), seconds=10) == []


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (stop_opened(), "BTC/USDT:USDT long: protected again, its stop is at 98, after 16 s without a live stop."),
        (
            PositionClosed(
                **OF_BTC,
                entry_price=Decimal(100),
                quantity=Decimal(1),
                profit=Decimal(0),
                moves=0,
                unprotected_seconds=0.0,
                reason="filled",
            ),
            "BTC/USDT:USDT long: closed, after 16 s without a live stop.",
        ),
        (
            PositionReleased(**OF_BTC, stop_is_live=False),
            "BTC/USDT:USDT long: released, after 16 s without a live stop.",
        ),
        (None, "BTC/USDT:USDT long: no longer without a stop, after 16 s without a live stop."),
    ],
)
def test_a_recovered_position_says_how_it_recovered(event: Any, text: str) -> None:
    account = Account()
    assert len(account.wait(unprotected(), seconds=16)) == 1
    if event is not None:
        account.take(event)
    (over,) = account.look()
    assert (over.is_firing, over.text) == (False, text)
    assert over.key == "unprotected:BTC/USDT:USDT long"


def test_another_position_in_the_place_of_one_has_an_age_of_its_own() -> None:
    account = Account()
    assert len(account.wait(unprotected(id="first"), seconds=20)) == 1
    (over,) = account.look(unprotected(id="second"))
    assert not over.is_firing
    assert account.wait(unprotected(id="second"), seconds=9) == []
    assert len(account.look(unprotected(id="second"))) == 1


@pytest.mark.parametrize(
    ("state", "error", "text"),
    [
        (
            "unprotected",
            OutcomeUnknown("no answer"),
            (
                "BTC/USDT:USDT long (1.5 at 100): no live stop for 10 s, state unprotected. Last error: OutcomeUnknown: no answer. "
                "The manager tries again."
            ),
        ),
        (
            "closed",
            ValueError(),
            (
                "BTC/USDT:USDT long (1.5 at 100): no live stop for 10 s, state closed. Last error: ValueError. No task works on it: "
                "close it, or protect it again."
            ),
        ),
        (
            "trailing",
            None,
            (
                "BTC/USDT:USDT long (1.5 at 100): its stop is live, but the exchange has refused to reduce the position for 10 s, "
                "state trailing. The manager tries again."
            ),
        ),
    ],
)
def test_the_text_says_what_happened_and_what_to_do(state: str, error: Exception | None, text: str) -> None:
    (alert,) = Account().wait(unprotected(state=state, error=error), seconds=11)
    assert alert.text == text


def test_thousands_of_positions_fire_and_recover_within_several_looks() -> None:
    account = Account()
    listed = {}
    for number in range(2_500):
        position = Position(f"COIN{number}/USDT:USDT", "long", Decimal(1), Decimal(100), START)
        listed[position.symbol, position.side] = Unprotected(position, "opening", None)
    fired = [len(account.look(listed)) for _ in range(15)]
    assert fired == [0] * 10 + [1_000, 1_000, 500, 0, 0]
    assert [len(account.look()) for _ in range(4)] == [1_000, 1_000, 500, 0]
    assert account.conditions.firing == {}


def test_a_close_says_why_it_began_and_what_it_failed_with() -> None:
    account = Account()
    account.take(ExitStarted(**OF_BTC, reason="closed by its owner"))
    account.wait(seconds=3)
    account.take(ExitFailed(**OF_BTC, error="rejected"))
    (alert,) = account.wait(seconds=20)
    assert alert.text == (
        "BTC/USDT:USDT long: still open 15 s after a close at market began (closed by its owner). Last error: rejected. "
        "Check the position on the exchange."
    )


@pytest.mark.parametrize("seconds", [3, 40])
def test_a_close_that_is_given_up_recovers_only_if_it_fired(seconds: int) -> None:
    account = Account()
    account.take(ExitFailed(**OF_BTC, error="rejected"))
    fired = account.wait(seconds=seconds)
    account.take(stop_opened())
    assert len(account.look()) == len(fired) == (1 if seconds > 15 else 0)


def test_a_close_that_is_not_tried_again_is_over_after_the_quiet_time() -> None:
    account = Account(quiet_seconds=60.0)
    account.take(ExitFailed(**OF_BTC, error="rejected"))
    alerts = account.wait(seconds=100)
    assert [(alert.is_firing, (alert.at - START).total_seconds()) for alert in alerts] == [(True, 16.0), (False, 61.0)]


def test_the_alarm_about_the_stream_is_over_when_the_stream_is_connected() -> None:
    account = Account()
    account.health = {"stream_connected": False}
    account.take(Alarm(at=START, what=STREAM_ALARM, detail="it ended"))
    account.take(StreamChanged(at=START, connected=False))
    (alert,) = account.look()
    assert alert.rule == "alarm"
    account.health = {}
    account.take(StreamChanged(at=START, connected=True))
    (over,) = account.look()
    assert over.text.endswith("over, because the stream is connected. It was raised once.")


def test_that_alarm_is_one_that_the_manager_raises() -> None:
    source = (Path(trailing.__file__).parent / "protection" / "stream.py").read_text()
    assert f'"{STREAM_ALARM}"' in source


def test_a_quiet_account_sends_nothing_at_its_end() -> None:
    account = Account()
    account.wait(seconds=3)
    assert account.conditions.end(None, 4.0, START) == []


def test_an_end_with_many_unprotected_positions_names_a_few() -> None:
    keys: list[Key] = [(f"COIN{number}/USDT:USDT", "short") for number in range(20)]
    (alert,) = Account().conditions.end(None, 1.0, START, keys)
    assert "COIN4/USDT:USDT short and 15 more." in alert.text


def test_a_new_manager_counts_the_journal_from_0() -> None:
    account = Account(store_seconds=30.0)
    account.health = {"journal": JournalStatistics(commits=9, entries=99, failures=5, dropped=0, waiting=3)}
    account.wait(seconds=20)
    account.conditions.end(None, account.now, START)
    account.health = {"journal": JournalStatistics(commits=9, entries=99, failures=0, dropped=0, waiting=0)}
    assert account.wait(seconds=100) == []


def test_a_store_that_drops_telemetry_and_commits_nothing_is_down() -> None:
    account = Account()
    account.look()
    account.health = {"journal": JournalStatistics(commits=1, entries=1, failures=0, dropped=2, waiting=0)}
    assert [alert.rule for alert in account.wait(seconds=40)] == ["store"]


def test_events_of_no_rule_change_nothing() -> None:
    account = Account()
    account.take(StreamChanged(at=START, connected=True))
    account.take(trailing.events.MoveFailed(**OF_BTC, price=Decimal(1), error="no"))
    account.take(trailing.events.TookOver(at=START, waited=1.0))
    assert account.look() == []
