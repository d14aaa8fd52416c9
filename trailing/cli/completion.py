"""`trailing completion`: scripts for bash, zsh and fish, made from the commands and their options."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Final

from trailing.cli.commands import GROUPS
from trailing.cli.parser import Command, Option

_COMMANDS: Final = tuple(command for group in GROUPS for command in group.commands)


def main(*, shell: str) -> int:
    """Print the script for a shell: ``"bash"``, ``"zsh"`` or ``"fish"``."""
    print(_SCRIPTS[shell]())
    return 0


def _shown(command: Command) -> Iterator[Option]:
    """Yield the options that a completion offers, without arguments."""
    for option in command.options:
        if not option.hidden and not option.is_argument:
            yield option
    yield Option(name="--help", help="show the help of this command")


def _arguments(command: Command) -> str:
    """Return the words that are allowed as a command's argument."""
    return " ".join(choice for option in command.options if option.is_argument for choice in option.choices)


def _bash() -> str:
    names = " ".join(command.name for command in _COMMANDS)
    options = [
        f"        {command.name}) words={shlex.quote(' '.join(option.name for option in _shown(command)))};"
        f" argument={shlex.quote(_arguments(command))} ;;"
        for command in _COMMANDS
    ]
    values = [
        f"        {command.name}:{option.name}) {_bash_value(option)}; return ;;"
        for command in _COMMANDS
        for option in _shown(command)
        if not option.is_flag
    ]
    return "\n".join(
        [
            "# bash completion for trailing",
            "_trailing() {",
            '    local word="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}" words argument',
            "    COMPREPLY=()",
            "    if ((COMP_CWORD == 1)); then",
            f"        COMPREPLY=($(compgen -W '{names} --help --version' -- \"$word\"))",
            "        return",
            "    fi",
            '    case "${COMP_WORDS[1]}:$previous" in',
            *values,
            "    esac",
            '    case "${COMP_WORDS[1]}" in',
            *options,
            "    esac",
            '    [[ $word == -* ]] || words="${argument:-$words}"',
            '    COMPREPLY=($(compgen -W "$words" -- "$word"))',
            "}",
            "complete -F _trailing trailing",
        ]
    )


def _bash_value(option: Option) -> str:
    if option.choices:
        return f"COMPREPLY=($(compgen -W '{' '.join(option.choices)}' -- \"$word\"))"
    if option.completes == "files":
        return "local IFS=$'\\n'; compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- \"$word\"))"
    return ":"


def _zsh() -> str:
    lines = ["#compdef trailing", "_trailing() {", "    local -a commands", "    commands=("]
    lines += [f"        {shlex.quote(f'{command.name}:{command.summary}')}" for command in _COMMANDS]
    lines += [
        "    )",
        "    if ((CURRENT == 2)); then",
        "        _describe command commands",
        "        return",
        "    fi",
        "    local command=$words[2]",
        "    shift words",
        "    ((CURRENT--))",
        "    case $command in",
    ]
    for command in _COMMANDS:
        specs = [_zsh_spec(option) for option in _shown(command)]
        specs += [f"1:{option.name}:({' '.join(option.choices)})" for option in command.options if option.is_argument]
        lines.append(f"        {command.name}) _arguments {' '.join(map(shlex.quote, specs))} ;;")
    return "\n".join([*lines, "    esac", "}", "compdef _trailing trailing"])


def _zsh_spec(option: Option) -> str:
    text = option.help.replace("[", "(").replace("]", ")").replace(":", r"\:")
    spec = f"{'*' * option.repeats}{option.name}[{text}]"
    if option.is_flag:
        return spec
    action = "_files" if option.completes == "files" else ""
    if option.choices:
        action = f"({' '.join(option.choices)})"
    return f"{spec}:{option.value}:{action}"


def _fish() -> str:
    lines = ["# fish completion for trailing", "complete -c trailing -f"]
    for command in _COMMANDS:
        lines.append(
            f"complete -c trailing -n __fish_use_subcommand -a {command.name} -d {_fish_quote(command.summary)}"
        )
        condition = f"-n '__fish_seen_subcommand_from {command.name}'"
        lines += [f"complete -c trailing {condition} {_fish_spec(option)}" for option in _shown(command)]
        if choices := _arguments(command):
            lines.append(f"complete -c trailing {condition} -a {_fish_quote(choices)}")
    return "\n".join(lines)


def _fish_spec(option: Option) -> str:
    spec = f"-l {option.name.removeprefix('--')} -d {_fish_quote(option.help)}"
    if option.is_flag:
        return spec
    if option.choices:
        return f"{spec} -x -a {_fish_quote(' '.join(option.choices))}"
    return f"{spec} -r -F" if option.completes == "files" else f"{spec} -x"


def _fish_quote(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


_SCRIPTS: Final = {"bash": _bash, "zsh": _zsh, "fish": _fish}
