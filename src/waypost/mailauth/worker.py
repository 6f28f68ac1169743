"""The process that checks messages. For example, `python -m waypost.mailauth.worker '[["127.0.0.1", 53]]'` starts it.
The argument is a JSON list of the DNS servers to query.

The process reads frames from standard input, and writes answers to standard output. The process ends when standard
input is closed.
"""

import json
import os
import resource
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

from waypost.domain.mailauth.verdicts import Claim
from waypost.mailauth import checks, wire
from waypost.mailauth.places import AT_ONCE
from waypost.mailauth.resolver import Resolver
from waypost.sandbox import frames
from waypost.sandbox.worker import confine

STACK = 1024 * 1024
"""The size of a thread's stack, in bytes of address space.

With the system's default size, the stacks of all threads together would exceed the memory limit in `LIMITS`.
"""

LIMITS = {resource.RLIMIT_AS: 2**30}
"""The resource limits of the process, which allow memory for several large messages."""


class Worker:
    """Collects messages from frames, and checks the messages on several threads."""

    def __init__(self, resolver: Resolver, answers: BinaryIO) -> None:
        self._resolver = resolver
        self._answers = answers
        self._writing = threading.Lock()
        self._messages: dict[int, list[bytes]] = {}
        self._threads = ThreadPoolExecutor(AT_ONCE + 1)  # one more thread for a probe

    def serve(self, stream: BinaryIO) -> None:
        """Process frames until the input ends."""
        for number, kind, octets in frames.read(stream):
            match kind:
                case frames.OCTETS:
                    self._messages.setdefault(number, []).append(octets)
                case frames.FORGET:
                    self._messages.pop(number, None)
                case wire.Kind.CHECK:
                    # Keep no reference to the message: it may be large, and the next frame may come much later.
                    message = (self._messages.pop(number, []), json.loads(octets), time.monotonic())
                    self._threads.submit(self._check, number, *message)
                    del message
                case wire.Kind.PROBE:
                    self._threads.submit(self._probe, number, json.loads(octets))

    def _check(self, number: int, pieces: list[bytes], question: dict[str, Any], received: float) -> None:
        claim = Claim(**question["claim"])
        seconds = question["seconds"] - (time.monotonic() - received)
        try:
            verdicts, silent = checks.check(claim, pieces, self._resolver, seconds)
        except Exception as error:  # noqa: BLE001 - a message that cannot be checked must not end the worker
            self._answer(frames.answer(number, failed=type(error).__name__))
        else:
            self._answer(frames.answer(number, verdicts=wire.to_json(verdicts), silent=silent))

    def _probe(self, number: int, question: dict[str, Any]) -> None:
        self._answer(frames.answer(number, works=self._resolver.works(question["seconds"])))

    def _answer(self, pieces: Sequence[bytes]) -> None:
        with self._writing:
            self._answers.writelines(pieces)
            self._answers.flush()


def main() -> None:
    """Process frames. Only answers are written to standard output, even if a library prints text."""
    threading.stack_size(STACK)
    stream, answers = confine(LIMITS)
    servers = [(host, port) for host, port in json.loads(sys.argv[1])]
    try:
        Worker(Resolver(servers), answers).serve(stream)
    finally:
        os._exit(0)  # does not wait for threads that still wait for the DNS


if __name__ == "__main__":
    main()
