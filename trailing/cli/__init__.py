"""The `trailing` command: its front door, and what becomes of errors.

Exit codes: 0 it worked; 1 a bug, with its traceback, or nobody reads the output any more; 2 what was asked for can't be
done, said in one line; 128 plus the signal's number after a signal: 130 for SIGINT, 143 for SIGTERM.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final

from trailing.errors import TrailingError

USAGE: Final = 2
INTERRUPTED: Final = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: the words after `trailing`; None: those of this process.

    Returns:
        The exit code.
    """
    from cyclopts import CycloptsError  # noqa: PLC0415 - importing it takes a while, and `import trailing.cli` need not

    from trailing.cli.app import app  # noqa: PLC0415

    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        command, bound, *_ = app.parse_args(words, exit_on_error=False, print_error=False)
        code = command(*bound.args, **bound.kwargs)
    except CycloptsError as error:
        return _complain(str(error))
    except TrailingError as error:
        return _complain(str(error))
    except BaseExceptionGroup as group:
        only = _only_error(group)
        if only is None:
            raise
        return _complain(str(only))
    except KeyboardInterrupt:
        print("trailing: cancelled by SIGINT before anything was begun", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone, as `head` does. What is left must not be flushed to them at the very end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code if isinstance(code, int) else 0


def _only_error(group: BaseExceptionGroup[BaseException]) -> TrailingError | None:
    """The one error of the library that a group was wrapped around, or None where it holds anything else."""
    match group.exceptions:
        case [TrailingError() as error]:
            return error
        case [BaseExceptionGroup() as inner]:
            return _only_error(inner)
        case _:
            return None


def _complain(message: str) -> int:
    print("trailing:", " ".join(message.split()), file=sys.stderr)
    return USAGE
