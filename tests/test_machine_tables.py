"""The design page has the position machine's tables from its code."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any, get_args

import pytest

from trailing.cli.position_summaries import PositionSummary
from trailing.core import evidence
from trailing.core.goals import Goal
from trailing.core.next_request import RULES
from trailing.core.orders import ORDER_EVENTS, ORDER_TABLE, OrderState
from trailing.core.requests import KINDS, Request
from trailing.core.states import State

DOCS = Path(__file__).parent.parent / "docs"
DRAWN: dict[str, Any] = runpy.run_path(str(DOCS / "machine_tables.py"))
TABLES: dict[str, str] = DRAWN["tables"]()
DESIGN = (DOCS / "explanation" / "design.md").read_text()


def rows(name: str) -> list[list[str]]:
    """The cells of a table, without its header."""
    return [[cell.strip(" `") for cell in line[1:-1].split("|")] for line in TABLES[name].splitlines()[2:]]


@pytest.mark.parametrize("name", TABLES)
def test_the_design_includes_each_table_and_every_row_is_whole(name: str) -> None:
    assert f"```{{include}} ../_build/generated/{name}.md\n```" in DESIGN
    lines = TABLES[name].splitlines()
    assert lines
    if lines[0].startswith("|"):
        assert {line.count("|") for line in lines} == {lines[0].count("|")}


def test_the_files_are_written_once(tmp_path: Path) -> None:
    folder = tmp_path / "generated"
    DRAWN["write"](folder)
    written = {path.stem: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert written.keys() == TABLES.keys()
    DRAWN["write"](folder)
    assert {path.stem: path.stat().st_mtime_ns for path in folder.iterdir()} == written


def test_the_table_of_orders_says_where_each_event_leads() -> None:
    drawn = {
        (state, event): leads_to
        for event, _, *cells in rows("orders")
        for state, leads_to in zip(OrderState, cells, strict=True)
        if leads_to
    }
    assert drawn == {pair: after or "leaves" for pair, after in ORDER_TABLE.items()}
    assert [event for event, *_ in rows("orders")] == list(ORDER_EVENTS)


def test_the_rules_stand_in_their_order() -> None:
    assert [name for _, name, _ in rows("rules")] == [rule.__name__ for rule in RULES]


def test_every_request_stands_with_its_kind_and_every_kind_is_shown() -> None:
    shown = {name: (kind, bool(writes), bool(creates)) for name, _, kind, writes, creates in rows("requests")}
    assert shown == {one.__name__: (one.kind, one.writes, one.creates) for one in get_args(Request)}
    assert {kind for kind, *_ in shown.values()} == set(KINDS)


def test_the_goals_stand_by_their_rank() -> None:
    assert [(int(rank), name) for rank, name, _ in rows("goals")] == [
        (one.rank, one.__name__) for one in get_args(Goal)
    ]


def test_the_evidence_has_its_rules_and_the_value_of_each_constant() -> None:
    assert re.findall(r"^(\d)\.  ", TABLES["evidence"], re.MULTILINE) == ["1", "2", "3", "4", "5"]
    stated = {name: float(value) for name, value, _ in rows("evidence-constants")}
    assert stated == {name: getattr(evidence, name) for name in stated}
    named = set(re.findall(r"`([A-Z_]+)`", TABLES["evidence"]))
    assert named <= stated.keys()


def test_the_design_explains_every_word_of_reports() -> None:
    section = DESIGN.partition("### The words of reports")[2].partition("\n## ")[0]
    of_states, of_commands = section.split("The commands also use these words")
    assert re.findall(r"^\| `([\w ]+)` \|", of_states, re.MULTILINE) == list(State)
    in_reports = set(re.findall(r'``"([a-z ]+)"``', PositionSummary.__doc__ or ""))
    assert set(re.findall(r"^\| `([\w ]+)` \|", of_commands, re.MULTILINE)) == in_reports - set(State)


def test_what_has_no_docstring_breaks_the_page() -> None:
    with pytest.raises(ValueError, match="has no docstring"):
        DRAWN["first_sentence"](lambda: None)
