"""The process that checks messages: `python -m waypost.mailauth.worker '[["127.0.0.1", 53]]'`.

It reads frames from standard input, writes answers to standard output, and ends when standard input does.
"""

import json
import os
import resource
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

from waypost.domain.mailauth.verdicts import Claim
from waypost.mailauth import checks, wire
from waypost.mailauth.places import AT_ONCE
from waypost.mailauth.resolver import Resolver

STACK = 1024 * 1024
"""Octets of address space for the stack of a thread: with those of the system, the limit below would be used up."""

LIMITS = {resource.RLIMIT_AS: 2**30, resource.RLIMIT_CORE: 0, resource.RLIMIT_FSIZE: 0}
"""Limits of the process: memory for several large messages, no file written, and no core dump."""


class Worker:
    """Collects messages from frames, and checks them on threads."""

    def __init__(self, resolver: Resolver, answers: BinaryIO) -> None:
        self._resolver = resolver
        self._answers = answers
        self._writing = threading.Lock()
        self._messages: dict[int, list[bytes]] = {}
        self._threads = ThreadPoolExecutor(AT_ONCE + 1)  # and a probe

    def serve(self, frames: BinaryIO) -> None:
        """Until there are no more frames."""
        while head := frames.read(wire.FRAME.size):
            number, kind, size = wire.FRAME.unpack(head)
            octets = frames.read(size)
            match kind:
                case wire.Kind.OCTETS:
                    self._messages.setdefault(number, []).append(octets)
                case wire.Kind.FORGET:
                    self._messages.pop(number, None)
                case wire.Kind.CHECK:
                    # Nothing here keeps hold of the message: it may be large, and the next may be long in coming.
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
        except Exception as error:  # noqa: BLE001 - a message that cannot be checked is no reason to end
            self._answer(wire.answer(number, failed=type(error).__name__))
        else:
            self._answer(wire.answer(number, verdicts=wire.to_json(verdicts), silent=silent))

    def _probe(self, number: int, question: dict[str, Any]) -> None:
        self._answer(wire.answer(number, works=self._resolver.works(question["seconds"])))

    def _answer(self, octets: bytes) -> None:
        with self._writing:
            self._answers.write(octets)
            self._answers.flush()


def main() -> None:
    """Serve, with nothing but answers on standard output, whatever a library prints."""
    threading.stack_size(STACK)
    for what, limit in LIMITS.items():
        resource.setrlimit(what, (limit, limit))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # they are for the server, which closes our input when it is ready
    answers = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    servers = [(host, port) for host, port in json.loads(sys.argv[1])]
    try:
        Worker(Resolver(servers), answers).serve(os.fdopen(0, "rb"))
    finally:
        os._exit(0)  # without waiting for threads that wait for the DNS


if __name__ == "__main__":
    main()
