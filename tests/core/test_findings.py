"""What a recovery finds reads as sentences."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest
from driver import SYMBOL, D, a_report, a_stop

from trailing.core.findings import (
    AdoptStop,
    AnotherPosition,
    Finding,
    ForeignInstance,
    NextRequest,
    NotListed,
    OrphanStop,
    PositionFlat,
    Resize,
    Resume,
    StopAbsent,
    Tighten,
    Unresolved,
)
from trailing.core.model import Side

KEY: tuple[str, Side] = (SYMBOL, "long")
EACH: list[Finding] = [
    Resume(*KEY, a_stop("a")),
    AdoptStop(*KEY, a_stop("a")),
    StopAbsent(*KEY, "a"),
    Unresolved(*KEY, "a"),
    Resize(*KEY, D("0.5")),
    Tighten(*KEY, D(99)),
    NotListed(*KEY),
    PositionFlat(*KEY),
    AnotherPosition(*KEY, a_report()),
    NextRequest(*KEY, "place a stop"),
    OrphanStop.of(a_stop("a")),
    ForeignInstance.of(a_stop("instance-1")),
]


def test_each_finding_is_tested() -> None:
    assert {type(finding) for finding in EACH} == set(get_args(Finding))


@pytest.mark.parametrize("finding", EACH, ids=lambda finding: type(finding).__name__)
def test_every_finding_names_its_position_and_is_what_it_is_through_json(finding: Finding) -> None:
    text = str(finding)
    assert text == f"{finding.symbol} {finding.side}: {finding.message}"
    assert finding.message[0].islower()
    assert "None" not in text
    assert "Decimal" not in text
    assert msgspec.json.decode(msgspec.json.encode(finding), type=Finding) == finding


def test_a_finding_about_an_order_is_about_its_position() -> None:
    assert OrphanStop.of(a_stop("a", side="short")) == OrphanStop(SYMBOL, "short", a_stop("a", side="short"))
