"""Ends a command whose output cannot be written: with a sentence, or quietly if the reader of the output has ended."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_CAUSES = frozenset({errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EIO})
"""The errors of a write to an open file, pipe or terminal."""


@contextmanager
def checked() -> Iterator[None]:
    """Run a command. If its output cannot be written, exit with code 1.

    The error message is one sentence. There is none if the reader of a pipe has ended, as in `waypost inbox | head`.
    """
    try:
        try:
            yield
        finally:
            if sys.stdout:  # None if standard output was closed before the start
                sys.stdout.flush()
    except OSError as error:
        if error.errno not in _CAUSES or error.filename is not None:
            raise
        if error.errno != errno.EPIPE and sys.stderr:
            with suppress(OSError):
                sys.stderr.write(f"waypost: The output cannot be written: {error.strerror}.\n")
                sys.stderr.flush()
        _discard_the_rest()
        sys.exit(1)


def _discard_the_rest() -> None:
    """Discard what is still in the buffer of standard output, so that the interpreter does not try to write it."""
    if sys.stdout:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        with suppress(OSError):  # a stream without a file
            os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
