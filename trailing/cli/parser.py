"""Commands and options as values, and what is made of them: arguments for a command, and its help."""

from __future__ import annotations

import argparse
import re
import shutil
import textwrap
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, NamedTuple, NoReturn

import msgspec

from trailing.core.model import check_money
from trailing.errors import UsageError, suggest

_MOST_COLUMNS = 100
_INDENT = 14
"""Columns before the summary of a command: its name, and blanks on both sides."""


class Option(msgspec.Struct, frozen=True, kw_only=True):
    """An option of a command, or its argument.

    Args:
        name: as it is typed, such as ``"--log-level"``; without dashes it is an argument, which is always required.
        help: one or more sentences.
        value: what the help calls the value; ``""``: the option takes none, and is false unless it is given.
        default: the value without the option.
        parse: turns the text into the value. It raises `argparse.ArgumentTypeError` for a text that can't be right.
        choices: the words that are allowed; empty: any text.
        required: the command can't run without it.
        repeats: it may be given several times; the values are a list.
        hidden: neither the help nor a completion shows it.
        completes: what a shell offers for the value.
    """

    name: str
    help: str
    value: str = ""
    default: Any = None
    parse: Callable[[str], Any] = str
    choices: tuple[str, ...] = ()
    required: bool = False
    repeats: bool = False
    hidden: bool = False
    completes: Literal["files", "nothing"] = "nothing"

    @property
    def parameter(self) -> str:
        """The parameter of the command's `main` that gets the value."""
        return self.name.lstrip("-").lower().replace("-", "_")

    @property
    def is_flag(self) -> bool:
        """Whether it takes no value."""
        return not self.value

    @property
    def is_argument(self) -> bool:
        """Whether it is given by its place and not by its name."""
        return not self.name.startswith("-")


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """A command of `trailing`.

    Args:
        summary: one line for the list of all commands.
        details: paragraphs for the command's own help, with an empty line between them; they are wrapped again.
        module: the module whose function `main` takes the options by keyword and returns the exit code.
    """

    name: str
    summary: str
    details: str
    module: str
    options: tuple[Option, ...]


class Group(NamedTuple):
    """Commands that the help shows together."""

    title: str
    commands: tuple[Command, ...]


def number(text: str) -> float:
    """Return a text as a number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def whole_number(text: str) -> int:
    """Return a text as a whole number of at least 0."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def money(text: str) -> Decimal:
    """Return a text as an amount of money above 0."""
    try:
        value = Decimal(text)
        check_money("amount", value)
    except (InvalidOperation, UsageError):
        raise argparse.ArgumentTypeError(f"{text!r} is not an amount above 0") from None
    return value


def find_command(name: str, groups: Sequence[Group]) -> Command:
    """Return the command of a name.

    Raises:
        UsageError: there is none; the message suggests a similar one.
    """
    commands = {command.name: command for group in groups for command in group.commands}
    if name in commands:
        return commands[name]
    if name.startswith("-"):
        raise UsageError(f"the first word has to be a command, not {name!r}: see trailing --help")
    raise UsageError(f"unknown command {name!r}.{suggest(name, commands)} See trailing --help")


def parse_options(command: Command, words: Sequence[str]) -> dict[str, Any] | None:
    """Return the values of a command's options by parameter; None if the words ask for its help.

    Raises:
        UsageError: an option is unknown, is missing, or has a value that can't be right.
    """
    parser = _make_parser(command)
    values, unknown = parser.parse_known_args(words)
    if values.help:
        return None
    if unknown:
        word = next((word for word in unknown if word.startswith("-")), None)
        if word is None:
            parser.error(f"unexpected argument {unknown[0]!r}")
        name = word.partition("=")[0]
        known = [option.name for option in command.options if not option.hidden]
        parser.error(f"unknown option {name!r}.{suggest(name, known)}")
    for option in command.options:  # argparse would silently take the last one
        if not (option.repeats or option.is_flag or option.is_argument) and _count(option.name, words) > 1:
            parser.error(f"{option.name} is given twice")
    given = vars(values)
    missing = [option.name for option in command.options if option.required and given[option.parameter] in (None, [])]
    if missing:
        parser.error(f"{' and '.join(missing)} must be given")
    del given["help"]
    return given


def _count(name: str, words: Sequence[str]) -> int:
    return sum(word == name or word.startswith(f"{name}=") for word in words)


def command_help(command: Command) -> str:
    """Return the help of a command."""
    return _make_parser(command).format_help()


def overall_help(groups: Sequence[Group], introduction: str, end: str) -> str:
    """Return the list of all commands, by group.

    Args:
        introduction: a paragraph before it.
        end: text after it, printed as it is.
    """
    lines = ["usage: trailing COMMAND [options]", "", *textwrap.wrap(introduction, _columns())]
    for group in groups:
        lines += ["", f"{group.title}:"]
        lines += [f"  {command.name:{_INDENT - 4}}  {command.summary}" for command in group.commands]
    return "\n".join([*lines, "", end, ""])


def _columns() -> int:
    return min(_MOST_COLUMNS, shutil.get_terminal_size().columns)


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Keeps words with hyphens, such as file names, in one line."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(text, width, break_on_hyphens=False)


class _Parser(argparse.ArgumentParser):
    """A parser that raises a `UsageError` instead of printing the usage and ending the process."""

    def error(self, message: str) -> NoReturn:
        message = re.sub(r"^argument (\S+): expected one argument$", r"\1 needs a value", message)
        message = re.sub(r"^argument (\S+): ignored explicit argument .*$", r"\1 takes no value", message)
        message = message.removeprefix("argument ")
        end = "" if message.endswith((".", "?")) else "."
        raise UsageError(f"{self.prog.removeprefix('trailing ')}: {message}{end} See {self.prog} --help")


def _make_parser(command: Command) -> _Parser:
    width = _columns()
    required = [option for option in command.options if option.required]
    words = [
        f"{option.name}{' …' * option.repeats}" if option.is_argument else f"{option.name} {option.value}".rstrip()
        for option in required
    ]
    parser = _Parser(
        prog=f"trailing {command.name}",
        usage=" ".join(["trailing", command.name, *words, "[options]"]),
        description="\n\n".join(textwrap.fill(paragraph, width) for paragraph in command.details.split("\n\n")),
        formatter_class=lambda prog: _Formatter(prog, max_help_position=28, width=width),
        add_help=False,
        allow_abbrev=False,
    )
    for option in command.options:
        text = argparse.SUPPRESS if option.hidden else _write_help(option).replace("%", "%%")
        if option.is_argument:
            number = "*" if option.repeats else "?"
            parser.add_argument(
                option.parameter, nargs=number, metavar=option.name, type=_parse_value(option), help=text
            )
        elif option.is_flag:
            parser.add_argument(option.name, action="store_true", help=text)
        else:
            parser.add_argument(
                option.name,
                metavar=option.value,
                default=option.default,
                type=_parse_value(option),
                action="append" if option.repeats else "store",
                help=text,
            )
    parser.add_argument("-h", "--help", action="store_true", help="show this help and exit")
    return parser


def _parse_value(option: Option) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        if option.choices and text not in option.choices:
            known = ", ".join(option.choices)
            raise argparse.ArgumentTypeError(f"{text!r} is not one of {known}.{suggest(text, option.choices)}")
        return option.parse(text)

    return parse


def _write_help(option: Option) -> str:
    """Return an option's help with its choices and its default."""
    notes = [f"one of {', '.join(option.choices)}"] if option.choices else []
    if option.required:
        notes.append("required")
    elif option.default is not None:
        notes.append(
            f"default: {option.default:g}" if isinstance(option.default, float) else f"default: {option.default}"
        )
    return f"{option.help} ({'; '.join(notes)})" if notes else option.help
