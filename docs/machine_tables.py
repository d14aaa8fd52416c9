"""The tables of the position machine, drawn from its code for the design page."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import get_args

from trailing.core import evidence, retries
from trailing.core.goals import Goal
from trailing.core.next_request import RULES
from trailing.core.orders import ORDER_EVENTS, ORDER_TABLE, OrderState
from trailing.core.requests import Request


def write(folder: Path) -> None:
    """Write each table into a folder, where it differs from what is there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in tables().items():
        path = folder / f"{name}.md"
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def tables() -> dict[str, str]:
    """Return each table by the name of its file, as Markdown."""
    return {
        "orders": orders(),
        "rules": rules(),
        "requests": requests(),
        "goals": goals(),
        "evidence": evidence_rules(),
        "evidence-constants": constants(evidence),
        "back-off-constants": constants(retries),
    }


def orders() -> str:
    """One row an event, one column a state of an order: where it leads; empty where it is illegal."""
    rows = [
        [f"`{event}`", meaning, *(_leads_to(state, event) for state in OrderState)]
        for event, meaning in ORDER_EVENTS.items()
    ]
    return _table(["event", "", *OrderState], rows)


def _leads_to(state: OrderState, event: str) -> str:
    if (state, event) not in ORDER_TABLE:
        return ""
    after = ORDER_TABLE[state, event]
    return "leaves" if after is None else after


def rules() -> str:
    """One row a rule, the most urgent first."""
    rows = [[str(number), f"`{rule.__name__}`", first_sentence(rule)] for number, rule in enumerate(RULES, 1)]
    return _table(["", "rule", ""], rows)


def requests() -> str:
    """One row a request, with the kind that it backs off with."""
    rows = [
        [
            f"`{request.__name__}`",
            first_sentence(request),
            request.kind,
            "yes" if request.writes else "",
            "yes" if request.creates else "",
        ]
        for request in get_args(Request)
    ]
    return _table(["request", "", "kind", "intent stored first", "new client order id"], rows)


def goals() -> str:
    """One row a goal, by its rank."""
    rows = [[str(goal.rank), f"`{goal.__name__}`", first_sentence(goal)] for goal in get_args(Goal)]
    return _table(["rank", "goal", ""], rows)


def evidence_rules() -> str:
    """The rules that the module of the evidence begins with."""
    text = inspect.getdoc(evidence)
    assert text is not None
    return text[text.index("1.  ") :] + "\n"


def constants(module: ModuleType) -> str:
    """One row a documented number of a module, in its order."""
    rows = [[f"`{name}`", f"{value:g}", " ".join(text.split())] for name, value, text in _documented(module)]
    return _table(["constant", "", ""], rows)


def _documented(module: ModuleType) -> Iterator[tuple[str, float, str]]:
    body = ast.parse(inspect.getsource(module)).body
    for assigned, documented in pairwise(body):
        match assigned, documented:
            case (
                ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant(value=int() | float() as value)),
                ast.Expr(value=ast.Constant(value=str() as text)),
            ):
                yield name, value, text


def first_sentence(documented: object) -> str:
    """Return the first sentence of a docstring, on one line.

    Raises:
        ValueError: there is none.
    """
    text = " ".join((inspect.getdoc(documented) or "").split())
    sentence = re.match(r".+?\.(?= |$)", text)
    if sentence is None:
        raise ValueError(f"{documented} has no docstring")
    return sentence[0]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)
