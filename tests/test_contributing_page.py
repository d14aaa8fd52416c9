"""CONTRIBUTING.md names files that exist and every part of the package, and its example of a rule works."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_architecture import ARROWS

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
FILES = sorted(set(re.findall(r"`((?:trailing|tests|docs)/[\w/.]+\.(?:py|md))`", PAGE)))
ADDING = ("rule", "store", "command", "event", "venue")


@pytest.mark.parametrize("path", [path for path in FILES if "NAME" not in path])
def test_each_file_that_the_page_names_exists(path: str) -> None:
    assert (ROOT / path).is_file()


@pytest.mark.parametrize("kind", ADDING)
def test_each_kind_of_addition_has_its_files_its_test_and_its_line_in_the_changelog(kind: str) -> None:
    (section,) = re.findall(rf"^## Add an? {kind}\n(.*?)(?=^## )", PAGE, re.MULTILINE | re.DOTALL)
    files = [row.split("|")[1] for row in re.findall(r"^\| .*$", section, re.MULTILINE)]
    assert any("trailing/" in file for file in files)
    assert any("test" in file for file in files)
    assert any("CHANGELOG.md" in file for file in files)


def test_the_house_on_the_page_has_every_part_that_has_an_arrow() -> None:
    (section,) = re.findall(r"^## The house on one page\n(.*?)(?=^## )", PAGE, re.MULTILINE | re.DOTALL)
    assert {part or "trailing" for part in ARROWS} - set(re.findall(r"`(\w+)`", section)) == set()


def test_the_example_of_a_rule_and_its_test_work_as_they_stand(tmp_path: Path) -> None:
    rule, test = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    imports = "from trailing.core.rules import *\nfrom test_rules import D, pytest, propose\n\n"
    (tmp_path / "test_example.py").write_text(f"{imports}\n{rule}\n\n{test}")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_example.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests" / "core")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    assert "4 passed" in run.stdout
