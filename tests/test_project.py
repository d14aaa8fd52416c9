"""The project around the code: the README's commands, its links, the metadata and what is installed."""

from __future__ import annotations

import os
import pkgutil
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import trailing

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PAGES = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^```sh\n(.*?)\n```$", README, re.MULTILINE | re.DOTALL)


def test_the_readme_has_exactly_two_commands_of_one_line_each() -> None:
    demo, checks = COMMANDS
    assert demo.endswith("/trailing demo")
    assert checks.endswith("/nox")
    assert "\n" not in demo + checks
    assert set(re.findall(r"^```(\w*)", README, re.MULTILINE)) == {"python", "sh", ""}


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="a source distribution has no files of CI")
def test_ci_runs_the_readme_s_second_command_with_its_own_tier_behind_it() -> None:
    script = ROOT / ".ci" / "run"
    lines = [line for line in script.read_text().splitlines() if line and not line.startswith("#")]
    programs = [line for line in lines if "apt-get install" in line]
    assert [line for line in lines if line not in programs] == [
        "set -eu",
        'cd "$(dirname "$0")/.."',
        f"{COMMANDS[1]} -t ci",
    ]
    assert all(line.endswith("|| true; fi") for line in programs)  # CI runs where nothing can be installed, too
    assert os.access(script, os.X_OK)


def test_the_readme_s_bot_prints_what_the_readme_says(tmp_path: Path) -> None:
    (program,) = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    shown = README.partition("It prints the outcome of each position")[2].split("```\n")[1]
    command = [sys.executable, "-W", "error", "-c", program]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    seconds = re.compile(r"after 2\.\d s")  # beside other programs, a process notices late that 2 s have passed
    assert seconds.sub("after 2.0 s", run.stdout) == shown


@pytest.mark.parametrize("page", PAGES)
def test_the_links_of_a_page_of_the_root_lead_to_files_and_headings(page: str) -> None:
    links = re.findall(r"\]\((?!https?:)([^)]+)\)", (ROOT / page).read_text())
    assert len(links) > 5 or page != "README.md"
    for link in links:
        path, _, heading = link.partition("#")
        target = ROOT / path
        assert target.is_file(), link
        assert not heading or heading in anchors(target.read_text()), link


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as forges and Sphinx make them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_shows_its_links_as_paths_and_no_picture_so_that_it_reads_the_same_on_a_package_index() -> None:
    shown = re.findall(r"\[([^\]]+)\]\((?!https?:)([^)]+)\)", README)
    assert all(text == path for text, path in shown if path != "LICENSE")
    assert "![" not in README
    assert "<img" not in README


def test_the_readme_names_no_address_of_the_project_while_there_is_none() -> None:
    assert "urls" not in PROJECT["project"]


def test_the_type_marker_and_the_command_are_shipped() -> None:
    assert (Path(trailing.__file__).parent / "py.typed").is_file()
    (command,) = metadata.entry_points(group="console_scripts", name="trailing")
    assert callable(command.load())


def test_the_version_is_the_one_that_is_installed() -> None:
    assert trailing.__version__ == metadata.version("trailing")


def test_what_is_installed_has_the_kit_for_users_and_no_simulation() -> None:
    modules = {module.name for module in pkgutil.walk_packages(trailing.__path__, "trailing.")}
    assert {"trailing.testing.faults", "trailing.testing.check_exchange"} < modules
    simulations = {path.parent.name for path in (ROOT / "tests" / "simulation").glob("*/__main__.py")}
    assert simulations == {"laboratory", "healing", "killing", "takeover"}
    assert {module for module in modules if simulations & set(module.split("."))} == set()


def test_the_python_that_runs_is_one_that_is_promised() -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert f"Programming Language :: Python :: {version}" in PROJECT["project"]["classifiers"]


@pytest.mark.parametrize("name", ["CHANGELOG.md", "LICENSE"])
def test_the_changelog_has_a_place_for_the_next_release_and_the_licence_is_the_one_stated(name: str) -> None:
    text = (ROOT / name).read_text()
    assert "## Unreleased" in text if name == "CHANGELOG.md" else text.startswith("MIT License")


def test_the_tests_that_nox_names_exist() -> None:
    names = re.findall(r'"(tests/[\w/]+(?:\.py)?)"', (ROOT / "noxfile.py").read_text())
    assert len(names) > 15
    assert [name for name in names if not (ROOT / name).exists()] == []
