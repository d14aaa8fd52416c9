"""Unprotected seconds by cause: the values."""

from __future__ import annotations

import msgspec
import pytest

from trailing import (
    AuthenticationFailed,
    ExchangeError,
    ExchangeUnreachable,
    NothingToReduce,
    OutcomeUnknown,
    RateLimited,
    StopRecord,
    StopRejected,
    StoreError,
    UnprotectedTime,
    UsageError,
    WouldTrigger,
)
from trailing.events import Event, PositionClosed
from trailing.testing.store_samples import MOMENT, TINY, sample_record
from trailing.unprotected import CAUSES, Cause, UnprotectedSpan, cause_of


def test_the_total_is_the_sum_over_the_causes_and_sums_are_by_cause() -> None:
    spent = UnprotectedTime(opening=1.0, move=2.0, outage=4.0, refused=8.0, cancelled=16.0)
    assert spent.total == 31.0
    assert spent + spent == UnprotectedTime(2.0, 4.0, 8.0, 16.0, 32.0)
    assert UnprotectedTime().total == 0.0
    assert sum((spent, spent), UnprotectedTime()).total == 62.0


@pytest.mark.parametrize("cause", CAUSES)
def test_seconds_of_a_cause_are_added_to_it_alone(cause: Cause) -> None:
    spent = UnprotectedTime(1.0, 1.0, 1.0, 1.0, 1.0).plus(cause, 0.5)
    assert getattr(spent, cause) == 1.5
    assert spent.total == 5.5


@pytest.mark.parametrize("cause", CAUSES)
@pytest.mark.parametrize("seconds", [-0.001, float("nan"), float("inf")])
def test_seconds_that_can_not_be_are_refused(cause: Cause, seconds: float) -> None:
    with pytest.raises(UsageError, match=rf"UnprotectedTime\.{cause} got"):
        UnprotectedTime(**{cause: seconds})


def test_as_text_it_names_the_causes_that_there_were() -> None:
    assert str(UnprotectedTime(opening=2.0, outage=0.75)) == "opening 2.000, outage 0.750"
    assert str(UnprotectedTime()) == "none"
    assert UnprotectedTime(1.23456789, refused=0.1 + 0.2).rounded(6) == UnprotectedTime(1.234568, refused=0.3)


def test_each_part_of_an_unprotected_span_counts_for_the_cause_that_it_had_then() -> None:
    bare = UnprotectedSpan(10.0, "move", 10.0)
    assert bare.until(12.0) == UnprotectedTime(move=2.0)
    changed = bare.because("outage", 12.0)
    assert changed.because("outage", 14.0) is changed
    assert changed.until(15.0) == UnprotectedTime(move=2.0, outage=3.0)
    back = changed.because("move", 15.0)
    assert back.until(16.5) == UnprotectedTime(move=3.5, outage=3.0)
    assert back.since == 10.0


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (StopRejected("no"), "refused"),
        (WouldTrigger("no"), "refused"),
        (NothingToReduce("no"), "refused"),
        (AuthenticationFailed("no"), "refused"),
        (UsageError("no"), "refused"),
        (ExchangeUnreachable("away"), "outage"),
        (RateLimited("later", retry_after=1.0), "outage"),
        (OutcomeUnknown("silence"), "outage"),
        (ExchangeError("what?"), "outage"),
        (StoreError("full"), "outage"),
        (KeyError("a bug"), "outage"),
    ],
    ids=repr,
)
def test_what_a_request_failed_with_is_why_the_position_is_bare(error: Exception, cause: Cause) -> None:
    assert cause_of(error) == cause


def test_a_record_and_an_event_from_before_there_were_causes_can_still_be_read() -> None:
    record = sample_record("BTC/USDT:USDT")
    kept = msgspec.structs.replace(record, unprotected_time=UnprotectedTime(outage=3.0))
    assert msgspec.json.decode(msgspec.json.encode(kept), type=StopRecord) == kept
    old = msgspec.to_builtins(record)
    del old["unprotected_time"]
    assert msgspec.convert(old, StopRecord) == record
    event = PositionClosed(
        at=MOMENT, entry_price=TINY, quantity=TINY, profit=TINY, moves=0, unprotected_seconds=2.0, reason="closed"
    )
    told = msgspec.to_builtins(event)
    del told["unprotected_time"]
    assert msgspec.convert(told, Event) == event
