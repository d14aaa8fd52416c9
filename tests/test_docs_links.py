"""The links of the documentation lead somewhere, and the check of the built pages finds those that do not."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parent.parent / "docs"
CHECK: dict[str, Any] = runpy.run_path(str(DOCS / "check_links.py"))
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md") if "_build" not in path.parts)
LINK = re.compile(r"\]\(\s*(?!https?:|#)([^)\s]+?)(?:#[^)]*)?\s*\)")
CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
TOCTREE = re.compile(r"^```\{toctree\}\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES)
def test_the_links_of_a_page_lead_to_files(page: str) -> None:
    links = LINK.findall(CODE.sub("", (DOCS / page).read_text()))
    assert [link for link in links if not (DOCS / page).parent.joinpath(link).is_file()] == []


def test_every_page_is_in_the_navigation_once() -> None:
    listed = [
        re.sub(r".*<(.+)>", r"\1", line)
        for page in ("index.md", "venues/index.md")
        for tree in TOCTREE.findall((DOCS / page).read_text())
        for line in tree.splitlines()
        if line and not line.startswith(":")
    ]
    venues = [name if "/" in name or (DOCS / f"{name}.md").is_file() else f"venues/{name}" for name in listed]
    assert sorted(f"{name}.md" for name in venues) == [page for page in PAGES if page != "index.md"]


@pytest.mark.parametrize(
    ("link", "is_good"),
    [
        ("other.html", True),
        ("other.html#there", True),
        ("#here", True),
        ("picture.svg", True),
        ("https://example.org/gone", True),
        ("mailto:someone@example.org", True),
        ("gone.html", False),
        ("other.html#gone", False),
        ("#gone", False),
        ("gone.svg", False),
    ],
)
def test_a_link_that_leads_nowhere_is_found(link: str, is_good: bool, tmp_path: Path) -> None:
    (tmp_path / "other.html").write_text('<h1 id="there">')
    (tmp_path / "picture.svg").write_text("<svg/>")
    (tmp_path / "page.html").write_text(f'<h1 id="here"><a href="{link}">')
    assert CHECK["broken_links"](tmp_path) == ([] if is_good else [f"page.html: {link}"])
