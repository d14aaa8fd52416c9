"""The completion scripts offer every command and option; bash really completes with its script."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trailing.cli.commands import GROUPS

Run = Callable[..., Any]

COMMANDS = {command.name: command for group in GROUPS for command in group.commands}

COMPLETE = """
source {script}
COMP_WORDS=({words})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_trailing
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def options_of(name: str) -> set[str]:
    shown = {option.name for option in COMMANDS[name].options if not option.hidden and not option.is_argument}
    return {*shown, "--help"}


@pytest.fixture
def complete(run: Run, tmp_path: Path) -> Callable[..., list[str]]:
    """Complete the last of some words in bash, as the Tab key does."""
    script = tmp_path / "trailing.bash"
    script.write_text(run("completion", "bash").out)

    def complete(*words: str) -> list[str]:
        code = COMPLETE.format(script=script, words=" ".join(f"'{word}'" for word in ("trailing", *words)))
        ran = subprocess.run(
            ["bash", "--norc", "-u", "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
        )
        assert ran.stderr == ""
        return sorted(filter(None, ran.stdout.splitlines()))

    return complete


def test_bash_registers_the_function(run: Run, tmp_path: Path) -> None:
    script = tmp_path / "trailing.bash"
    script.write_text(run("completion", "bash").out)
    code = f'source {script}; complete -p trailing; eval "$(cat {script})"'
    ran = subprocess.run(["bash", "--norc", "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "complete -F _trailing trailing\n"


def test_bash_completes_commands(complete: Callable[..., list[str]]) -> None:
    assert complete("") == sorted([*COMMANDS, "--help", "--version"])
    assert complete("re") == ["recover", "report"]
    assert complete("nothing") == []


@pytest.mark.parametrize("name", COMMANDS)
def test_bash_completes_the_options_of_every_command(complete: Callable[..., list[str]], name: str) -> None:
    assert complete(name, "--") == sorted(options_of(name))


def test_bash_completes_words_and_files_as_values_and_no_other_values(
    complete: Callable[..., list[str]], tmp_path: Path
) -> None:
    (tmp_path / "wave one.csv").touch()
    assert complete("run", "--candles", "") == ["both", "high-first", "low-first"]
    assert complete("run", "--log-level", "w") == ["warning"]
    assert complete("run", "--json", "--wave", "wa") == ["wave one.csv"]
    assert complete("run", "--deadline", "") == []
    assert complete("completion", "") == ["bash", "fish", "zsh"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_scripts_of_other_shells_have_every_command_and_option(run: Run, shell: str) -> None:
    script = run("completion", shell).out
    for name in COMMANDS:
        if shell == "fish":
            lines = [line for line in script.splitlines() if f"__fish_seen_subcommand_from {name}'" in line]
            assert {f"--{option}" for line in lines for option in re.findall(r" -l ([\w-]+)", line)} == options_of(name)
            assert f"-a {name} -d" in script
        else:
            (line,) = re.findall(rf"^        {name}\) _arguments (.*) ;;$", script, re.MULTILINE)
            assert set(re.findall(r"'\*?(--[\w-]+)\[", line)) == options_of(name)
            assert f"'{name}:" in script


def in_shell(shell: str, *words: str, cwd: Path) -> list[str]:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    ran = subprocess.run(
        [shell, *words], capture_output=True, text=True, check=True, cwd=cwd, env={**os.environ, "HOME": str(cwd)}
    )
    assert ran.stderr == ""
    return [line.split("\t")[0] for line in ran.stdout.splitlines()]


def test_fish_completes_commands_options_words_and_files(run: Run, tmp_path: Path) -> None:
    (tmp_path / "script.fish").write_text(run("completion", "fish").out)
    (tmp_path / "wave one.csv").touch()

    def complete(line: str) -> list[str]:
        return in_shell("fish", "--no-config", "-c", f"source script.fish; complete -C '{line}'", cwd=tmp_path)

    assert complete("trailing re") == ["recover", "report"]
    assert complete("trailing run --candles ") == ["both", "high-first", "low-first"]
    assert complete("trailing run --wave wa") == ["wave one.csv"]
    assert complete("trailing run --deadline ") == []
    assert complete("trailing completion ") == ["bash", "fish", "zsh"]
    for name in COMMANDS:
        assert set(complete(f"trailing {name} --")) == options_of(name)


IN_ZSH = """
autoload -Uz compinit && compinit -u -d dump
source script.zsh
print -r -- "$_comps[trailing]"
typeset -a offered
_arguments() {{ offered=("${{@}}") }}
for name in {names}; do
    words=(trailing $name --) CURRENT=3
    _trailing
    print -r -- "$name:"
    print -rl -- "${{offered[@]}}"
done
"""


def test_zsh_completes_the_options_of_every_command(run: Run, tmp_path: Path) -> None:
    (tmp_path / "script.zsh").write_text(run("completion", "zsh").out)
    function, *lines = in_shell("zsh", "-f", "-c", IN_ZSH.format(names=" ".join(COMMANDS)), cwd=tmp_path)
    assert function == "_trailing"
    offered = dict(re.findall(r"^(\w+):\n(.*?)(?=^\w+:\n|\Z)", "\n".join([*lines, ""]), re.MULTILINE | re.DOTALL))
    assert {name: set(re.findall(r"^\*?(--[\w-]+)\[", of_it, re.MULTILINE)) for name, of_it in offered.items()} == {
        name: options_of(name) for name in COMMANDS
    }
