"""When an absence is believed."""

from __future__ import annotations

import math
from typing import Literal

import pytest

from trailing.core.evidence import (
    CONFIRM_AFTER,
    CONTRADICTED,
    EMPTY,
    RECHECK,
    UNANNOUNCED,
    FlatEvidence,
    Timing,
    Verdict,
    judge_absence,
)

LAGS = Timing(orders_read_lag=2.0, positions_read_lag=1.0, request_validity=3.0)


def judged(
    since: float | None, asked_at: float, *, changed_at: float = 0.0, lag: float = 1.0, until: float = -math.inf
) -> Verdict:
    return judge_absence(
        since, asked_at=asked_at, answered_at=asked_at + 0.1, lag=lag, changed_at=changed_at, executable_until=until
    )


def test_a_snapshot_lags_by_the_longer_of_both_lags() -> None:
    assert (LAGS.read_lag, Timing().read_lag) == (2.0, 0.0)


def test_a_list_that_was_asked_for_before_a_change_shows_is_no_evidence() -> None:
    assert judged(None, 10.9, changed_at=10.0) == Verdict(False, None, 11.0)
    assert judged(None, 11.0, changed_at=10.0) == Verdict(False, 11.1, 12.1)


def test_a_read_that_began_before_a_change_does_not_count() -> None:
    assert judged(9.0, 10.5, changed_at=10.0) == Verdict(False, None, 11.0)
    assert judged(9.0, 12.0, changed_at=10.0) == Verdict(False, 12.1, 13.1)
    assert judged(10.2, 10.5, changed_at=10.0) == Verdict(False, 10.2, 11.0)


def test_an_absence_is_confirmed_by_a_second_read_that_ends_a_read_lag_after_the_first() -> None:
    assert judged(10.0, 10.9) == Verdict(False, 10.0, 11.0)
    assert judged(10.0, 11.0) == Verdict(True, 10.0, math.inf)


def test_two_replies_of_one_moment_count_once_even_without_a_read_lag() -> None:
    assert judged(10.0, 10.2, lag=0.0) == Verdict(False, 10.0, 10.0 + CONFIRM_AFTER)
    assert judged(10.0, 10.25, lag=0.0).confirmed


def test_an_absence_is_not_believed_while_a_request_can_still_be_executed_and_become_visible() -> None:
    assert judged(10.0, 13.9, until=13.0) == Verdict(False, 10.0, 14.0)
    assert judged(10.0, 14.0, until=13.0).confirmed


# Flatness.


def is_flat(evidence: FlatEvidence, asked_at: float, *, is_empty: bool = False, has_stop: bool = False) -> bool:
    return evidence.judge(asked_at, asked_at, LAGS, is_empty=is_empty, has_stop=has_stop).confirmed


def again_at(evidence: FlatEvidence, asked_at: float, *, is_empty: bool = False) -> float:
    return evidence.judge(asked_at, asked_at, LAGS, is_empty=is_empty, has_stop=False).again_at


def missed(evidence: FlatEvidence, since: float = 10.0) -> float:
    """Let snapshots every ten seconds not list it for a minute, but for the last one. Returns when that is due."""
    for number in range(6):
        assert not is_flat(evidence, since + RECHECK * number)
    return since + UNANNOUNCED


@pytest.mark.parametrize("is_empty", [True, False])
def test_without_a_word_of_the_exchange_a_missing_position_is_believed_after_a_minute_of_snapshots(
    is_empty: bool,
) -> None:
    evidence = FlatEvidence(0.0)
    due = missed(evidence)
    assert not is_flat(evidence, due - 0.1, is_empty=is_empty)
    assert is_flat(evidence, due, is_empty=is_empty)


def test_two_snapshots_a_minute_apart_are_not_enough() -> None:
    evidence = FlatEvidence(0.0)
    assert again_at(evidence, 10.0) == 10.0 + RECHECK
    assert again_at(evidence, 10.1) == 10.0 + RECHECK
    assert not is_flat(evidence, 70.0)
    assert again_at(evidence, 70.0) == 70.0 + RECHECK


@pytest.mark.parametrize("shown", range(7))
def test_fm41_a_live_stop_in_any_of_the_snapshots_doubles_the_minute(shown: int) -> None:
    evidence = FlatEvidence(0.0)
    for number in range(12):
        assert not is_flat(evidence, 10.0 + RECHECK * number, has_stop=number == shown)
    assert is_flat(evidence, 10.0 + CONTRADICTED)


def test_a_live_stop_of_an_earlier_doubt_does_not_count() -> None:
    evidence = FlatEvidence(0.0)
    assert not is_flat(evidence, 5.0, has_stop=True)
    evidence.note_shown()
    assert is_flat(evidence, missed(evidence))


@pytest.mark.parametrize(
    ("said", "is_empty", "apart"),
    [
        ("update", False, 1.0),
        ("update", True, 1.0),
        ("fill", False, 1.0),
        ("fill", True, EMPTY),
        ("refusal", False, 1.0),
        ("refusal", True, EMPTY),
    ],
)
def test_a_message_of_the_exchange_counts_as_the_first_evidence(
    said: Literal["update", "fill", "refusal"], is_empty: bool, apart: float
) -> None:
    evidence = FlatEvidence(0.0)
    evidence.note_flat(10.0, said)
    assert not is_flat(evidence, 10.0 + apart - 0.01, is_empty=is_empty)
    assert is_flat(evidence, 10.0 + apart, is_empty=is_empty)


def test_fm50_a_refusal_for_nothing_to_reduce_is_no_evidence_and_begins_the_minute_of_snapshots() -> None:
    evidence = FlatEvidence(0.0)
    evidence.note_flat(10.0, "nothing to reduce")
    assert evidence.is_said  # so nothing is closed before a snapshot
    assert not any(is_flat(evidence, at) for at in (11.0, 12.0, 22.0, 32.0, 42.0, 52.0))
    assert is_flat(evidence, 72.0)


def test_fm50_a_refusal_for_nothing_to_reduce_takes_no_weight_from_another_message() -> None:
    evidence = FlatEvidence(0.0)
    evidence.note_flat(10.0, "update")
    evidence.note_flat(11.0, "nothing to reduce")
    assert is_flat(evidence, 12.0)


@pytest.mark.parametrize(("again", "counts"), [("update", True), ("fill", True), ("refusal", False)])
def test_a_contradicted_message_counts_only_after_it_is_repeated(
    again: Literal["update", "fill", "refusal"], counts: bool
) -> None:
    evidence = FlatEvidence(0.0)
    evidence.note_flat(10.0, "fill")
    evidence.note_contradicted()
    assert not is_flat(evidence, 20.0)
    evidence.note_flat(20.0, again)
    assert is_flat(evidence, 21.0) is counts


@pytest.mark.parametrize(("said", "contradicted"), [("update", False), ("fill", False), ("refusal", True)])
def test_fm41_a_live_stop_in_the_same_snapshot_contradicts_a_mere_refusal(
    said: Literal["update", "fill", "refusal"], contradicted: bool
) -> None:
    evidence = FlatEvidence(0.0)
    assert not evidence.is_doubted
    evidence.note_flat(10.0, said)
    assert evidence.is_doubted
    assert is_flat(evidence, 12.0, has_stop=True) is not contradicted
    if contradicted:
        assert not any(is_flat(evidence, at, has_stop=True) for at in (22.0, 32.0, 42.0, 52.0, 62.0))
        assert is_flat(evidence, 72.0, has_stop=True)


def test_an_update_outweighs_what_else_says_that_it_is_flat() -> None:
    evidence = FlatEvidence(0.0)
    evidence.note_flat(10.0, "update")
    evidence.note_flat(10.0, "fill")
    assert is_flat(evidence, 11.0, is_empty=True)


def test_fm43_each_further_refusal_postpones_nothing() -> None:
    evidence = FlatEvidence(0.0)
    for at in (10.0, 10.5, 11.0, 11.9):
        evidence.note_flat(at, "refusal")
    assert evidence.changed_at == 0.0
    assert is_flat(evidence, 12.0, is_empty=True)


def test_a_position_that_was_shown_again_has_to_be_missed_anew() -> None:
    evidence = FlatEvidence(0.0)
    evidence.note_flat(10.0, "update")
    evidence.note_shown()
    assert again_at(evidence, 12.0) == 12.0 + RECHECK
    assert is_flat(evidence, missed(evidence, 13.0))


def test_a_position_that_changed_has_to_be_missed_anew() -> None:
    evidence = FlatEvidence(0.0)
    evidence.note_flat(10.0, "update")
    evidence.note_changed(11.0)
    assert again_at(evidence, 11.5) == 12.0
    assert again_at(evidence, 12.0) == 12.0 + RECHECK


def test_evidence_of_an_earlier_doubt_does_not_count() -> None:
    evidence = FlatEvidence(0.0)
    missed(evidence)
    evidence.note_shown()
    evidence.note_flat(100.0, "refusal")
    assert not is_flat(evidence, 161.0, has_stop=True)


def test_a_list_that_is_too_old_to_count_says_when_the_next_one_can_decide() -> None:
    evidence = FlatEvidence(0.0)
    evidence.note_flat(0.2, "refusal")
    assert evidence.judge(0.5, 0.5, LAGS, is_empty=False, has_stop=True).again_at == LAGS.positions_read_lag
