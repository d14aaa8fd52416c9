"""The `trailing` command: its entry point and its exit codes.

Exit codes: 0 it worked; 1 a bug, with its traceback, or the reader of standard output has gone, or `recover` left a
position without a stop; 2 what was asked for can't be done, said in one line, or `doctor` found a failure; 128 plus the
signal's number after a signal: 130 for SIGINT, 143 for SIGTERM.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Sequence
from typing import Final

from trailing.cli.complaints import complain, documented_error

USAGE: Final = 2
INTERRUPTED: Final = 130
GC_THRESHOLDS: Final = (500_000, 10, 10)
"""What `gc.set_threshold` gets in the command's own process.

With Python's own (2000, 10, 10) the collector looks at every new position's objects again and again while a large wave is
protected, although none of them is garbage: a position of a wave of 20,000 took twice as long as one of 1,000.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: the words after `trailing`; None: those of this process, which is then the command's own.

    Returns:
        The exit code.
    """
    if arguments is None:
        gc.set_threshold(*GC_THRESHOLDS)
    try:
        return _run(list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:
        complain("cancelled by SIGINT")
        return INTERRUPTED
    except BaseException as error:
        documented = documented_error(error)
        if documented is not None:
            complain(str(documented))
            return USAGE
        if not _is_broken_pipe(error):
            raise
        # The reader of our output has gone, as `head` does. What is left must not be flushed at the very end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)  # the limit of a clean-up after a signal, see `signals`: it has ended


def _run(words: list[str]) -> int:
    from cyclopts import CycloptsError  # noqa: PLC0415 - importing it takes a while, and `import trailing.cli` need not

    from trailing.cli.app import app  # noqa: PLC0415

    try:
        command, bound, *_ = app.parse_args(words, exit_on_error=False, print_error=False)
        code = command(*bound.args, **bound.kwargs)
    except CycloptsError as error:
        complain(str(error))
        return USAGE
    sys.stdout.flush()  # here, so that a reader who has gone is noticed here
    return code if isinstance(code, int) else 0


def _is_broken_pipe(error: BaseException) -> bool:
    """Whether an exception is a BrokenPipeError, or a group of nothing else."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_broken_pipe, error.exceptions))
    return isinstance(error, BrokenPipeError)
