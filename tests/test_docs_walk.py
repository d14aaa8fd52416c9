"""The page that walks through the code names what exists."""

from __future__ import annotations

import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

import trailing
from trailing.core.next_request import RULES

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "explanation" / "walk.md").read_text()
SPANS = sorted(set(re.findall(r"`([^`]+)`", PAGE)))
DOTTED = [span for span in SPANS if re.fullmatch(r"\w+(\.\w+)+", span)]
# Fields, options and calls that the page names for readers who know the public face.
PUBLIC = {*trailing.TrailPlan.__struct_fields__, *dir(trailing), *dir(trailing.Manager), "standby"}


def find(name: str) -> object:
    """What a dotted name stands for: a module of the package, or something in one.

    Raises:
        AttributeError: nothing.
    """
    if name.startswith("Manager."):
        return getattr(trailing.Manager, name.removeprefix("Manager."))
    module, parts = "trailing", name.split(".")
    while parts and find_spec(f"{module}.{parts[0]}") is not None:
        module = f"{module}.{parts.pop(0)}"
        if not hasattr(import_module(module), "__path__"):
            break
    found: object = import_module(module)
    for part in parts:
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("name", DOTTED)
def test_each_name_on_the_page_exists(name: str) -> None:
    assert find(name) is not None


def test_a_name_that_does_not_exist_is_found_out() -> None:
    for name in ("core.ratchet.Ratchet.take_none", "core.nothing.take", "protection.nothing", "Manager.nothing"):
        with pytest.raises(AttributeError):
            find(name)


def test_every_other_word_in_backticks_is_a_file_a_prefix_or_public() -> None:
    others = set(SPANS) - set(DOTTED) - {"trailing."}
    files = {span for span in others if span.endswith(".py")}
    assert all((DOCS.parent / path).is_file() for path in files)
    assert others - files <= PUBLIC


def test_the_walks_name_the_rules_that_open_move_and_end_a_position() -> None:
    assert {f"core.next_request.{rule.__name__}" for rule in RULES} & set(DOTTED) >= {
        "core.next_request.cover",
        "core.next_request.move",
        "core.next_request.close",
    }
    assert len(DOTTED) > 60


def test_the_page_stands_beside_the_design() -> None:
    assert "\nexplanation/design\nexplanation/walk\n" in (DOCS / "index.md").read_text()
