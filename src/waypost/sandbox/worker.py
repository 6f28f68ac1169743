"""What a worker process does first: limit itself, and keep its output for answers."""

import os
import resource
import signal
from collections.abc import Mapping
from typing import BinaryIO

NO_FILES = {resource.RLIMIT_CORE: 0, resource.RLIMIT_FSIZE: 0}
"""The resource limits of every worker: no core dump and no file writes."""


def confine(limits: Mapping[int, int]) -> tuple[BinaryIO, BinaryIO]:
    """Set resource limits in addition to `NO_FILES`. Return the stream of frames, and the stream for answers.

    Afterwards, only answers are written to standard output, even if a library prints text. The process ignores the
    signals that the server handles, because the server ends the worker by closing its input.
    """
    for kind, limit in {**NO_FILES, **limits}.items():
        resource.setrlimit(kind, (limit, limit))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    return os.fdopen(0, "rb"), answers
