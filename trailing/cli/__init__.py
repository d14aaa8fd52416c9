"""The `trailing` command: its entry point and its exit codes.

Exit codes: 0 success; 1 a bug (with its traceback), the reader of standard output has gone, a position has no stop
after `recover`, or something is open after `flatten`; 2 the command can't do what was asked (one line says why), `doctor` found a
failure, a step of `check` did not pass, or a receiver did not take the test of `alerts`; 3 `check` may have left an order or a
position; 128 plus the signal's number after a signal: 130 for SIGINT,
143 for SIGTERM.
"""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Final

from trailing.cli.messages import find_error, find_missing_package, print_message
from trailing.cli.standard_streams import StandardStreams

USAGE: Final = 2
LEFT_OVER: Final = 3
INTERRUPTED: Final = 130
GC_THRESHOLDS: Final = (500_000, 10, 10)
"""The arguments of `gc.set_threshold` in the command's own process.

With Python's defaults, (2000, 10, 10), the collector scans the objects of every new position again and again while a
large wave is protected, although none of them is garbage. A position of a wave of 20,000 took twice as long as one of
1,000.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: the words after `trailing`; None: those of this process, which is then the command's own.

    Returns:
        The exit code.
    """
    streams = StandardStreams()
    if arguments is None:
        gc.set_threshold(*GC_THRESHOLDS)
        streams.prepare()
    try:
        code = _run(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()  # here, because its failure is handled here
    except KeyboardInterrupt:
        print_message("cancelled by SIGINT")
        return INTERRUPTED
    except BaseException as error:
        message = find_error(error) or find_missing_package(error)
        if message is not None:
            print_message(str(message))
            return USAGE
        is_broken_pipe = _is_broken_pipe(error)  # the reader of standard output has gone, as `head` does
        failure = streams.find_output_error(error)
        if not is_broken_pipe and failure is None:
            raise
        streams.drop_output()
        if is_broken_pipe or failure is None:
            return 1
        print_message(f"standard output: {failure}")
        return USAGE
    else:
        return code
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)  # the clean-up after a signal has ended, see `signals`


def _run(words: list[str]) -> int:
    # imported here, because `import trailing.cli` needs none of it
    from trailing.cli.commands import EXIT_CODES, GROUPS, INTRODUCTION  # noqa: PLC0415
    from trailing.cli.parser import command_help, find_command, overall_help, parse_options  # noqa: PLC0415

    if not words or words[0] in ("--help", "-h"):
        print(overall_help(GROUPS, INTRODUCTION, EXIT_CODES), end="")
        return 0
    if words[0] in ("--version", "-V"):
        print(version("trailing"))
        return 0
    command = find_command(words[0], GROUPS)
    options = parse_options(command, words[1:])
    if options is None:
        print(command_help(command), end="")
        return 0
    code: int = import_module(command.module).main(**options)
    return code


def _is_broken_pipe(error: BaseException) -> bool:
    """Whether an exception is a BrokenPipeError, or a group of nothing else."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_broken_pipe, error.exceptions))
    return isinstance(error, BrokenPipeError)
