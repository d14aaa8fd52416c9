"""The standard streams of the command's own process: closed ones, full ones, and ones whose reader has gone."""

from __future__ import annotations

import io
import os
import sys
from typing import Any, Final

_STANDARD_DESCRIPTORS: Final = 3


class StandardStreams:
    """The streams of this process.

    Attributes:
        output_error: why a write to standard output failed; None: none has failed.
    """

    def __init__(self) -> None:
        self.output_error: OSError | None = None

    def prepare(self) -> None:
        """Open the null device in place of closed streams, and let no message on standard error fail the command.

        A file that is opened later would otherwise get the descriptor of a closed stream, and the output of a child process.
        """
        descriptor = os.open(os.devnull, os.O_RDWR)
        while descriptor < _STANDARD_DESCRIPTORS:  # it is the lowest one that is free
            descriptor = os.open(os.devnull, os.O_RDWR)
        os.close(descriptor)
        sys.stdout = _wrapped(sys.stdout, _Output(self, 1))
        sys.stderr = _wrapped(sys.stderr, _Lenient(2, "w", closefd=False))

    def find_output_error(self, error: BaseException) -> str | None:
        """Return why standard output can't be written, if an exception or a group says so; None: it has another reason."""
        if isinstance(error, BaseExceptionGroup):
            return next(filter(None, map(self.find_output_error, error.exceptions)), None)
        noted = self.output_error
        return (
            noted.strerror if noted is not None and isinstance(error, OSError) and error.errno == noted.errno else None
        )

    def drop_output(self) -> None:
        """Let the rest of standard output vanish, because the interpreter would try to write it at its end."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Output(io.FileIO):
    """A file that notes why it could not be written."""

    def __init__(self, streams: StandardStreams, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._streams = streams

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self._streams.output_error = error
            raise


class _Lenient(io.FileIO):
    """A file that drops what can't be written, because nothing depends on a message, and no other stream could tell."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def _wrapped(present: Any, file: io.FileIO) -> io.TextIOWrapper:
    """Return a text stream on a file that is as the present one; None: it was closed."""
    encoding, errors, by_line = "utf-8", "backslashreplace", True
    if isinstance(present, io.TextIOWrapper):
        present.flush()
        encoding, errors, by_line = present.encoding, present.errors or "strict", present.line_buffering
    return io.TextIOWrapper(io.BufferedWriter(file), encoding, errors, line_buffering=by_line)
