"""Measures the response time of each message, with one session beside the load of others.

The generator smtp-source does not tell response times. So this client sends one message after another in a session of
its own, and measures each from MAIL (or, without `--keep`, from the connection) to the reply after the message.
"""

import argparse
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

import mail

END = b".\r\n"

Timed = tuple[float, float]
"""The time of `time.perf_counter` at which a message began, and its response time in milliseconds."""


class Probe:
    """The client in a process of its own."""

    def __init__(self, port: int, recipient: str, *, size: int, keep_connections: bool, count: int) -> None:
        """Prepare a client that sends `count` messages, or fewer, but at least one, if it is stopped before."""
        words = ["--port", port, "--recipient", recipient, "--size", size, "--count", count]
        keep = ["--keep"] if keep_connections else []
        command = [sys.executable, __file__, *map(str, words), *keep]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._process.stdout.readline()  # it is ready to begin

    def begin(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("begin\n")
        self._process.stdin.flush()

    def stop(self) -> None:
        """Let the client finish its message."""
        self._process.send_signal(signal.SIGTERM)

    def result(self) -> list[Timed]:
        """Return the response times, after the last message. Raises `MailFailed`."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise mail.MailFailed("the client that measures response times failed")
        return [(began, milliseconds) for began, milliseconds in json.loads(line)]

    def wait(self) -> None:
        """Wait until the client has ended."""
        self._process.communicate(timeout=mail.TIME_LIMIT)


class Session:
    """One connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=mail.TIME_LIMIT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._lines = self._socket.makefile("rb")
        self._expect(b"220")
        self.say(b"HELO bench.example\r\n", b"250")

    def send(self, recipient: str, message: bytes) -> None:
        self.say(f"MAIL FROM:<{mail.SENDER}>\r\n".encode(), b"250")
        self.say(f"RCPT TO:<{recipient}>\r\n".encode(), b"250")
        self.say(b"DATA\r\n", b"354")
        self.say(message, b"250")

    def quit(self) -> None:
        self.say(b"QUIT\r\n", b"221")
        self._lines.close()
        self._socket.close()

    def say(self, octets: bytes, expected: bytes) -> None:
        self._socket.sendall(octets)
        self._expect(expected)

    def _expect(self, expected: bytes) -> None:
        line = self._lines.readline()
        while line[3:4] == b"-":
            line = self._lines.readline()
        if not line.startswith(expected):
            raise mail.MailFailed(line.decode("latin-1"))


def within(timed: Sequence[Timed], began: float, ended: float) -> list[float]:
    """Return the response times of messages that began in the middle 80 % of a load, in milliseconds.

    At its beginning and its end, fewer sessions are open. If no message began in the middle, return all.
    """
    margin = (ended - began) / 10
    middle = [each for at, each in timed if began + margin <= at <= ended - margin]
    return middle or [each for _, each in timed]


def message_of(size: int, recipient: str) -> bytes:
    """Return a message with a header and a body of about `size` octets, as it is sent after DATA."""
    header = f"From: <{mail.SENDER}>\r\nTo: <{recipient}>\r\nSubject: load\r\n\r\n".encode()
    line = b"X" * 78 + b"\r\n"
    return header + line * (size // len(line)) + END


def _run(options: argparse.Namespace) -> None:
    message, timed, stopped, session = message_of(options.size, options.recipient), [], [], None
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    print("ready", flush=True)
    sys.stdin.readline()
    while not timed or (not stopped and len(timed) < options.count):
        began = time.perf_counter()
        session = session or Session(options.port)
        session.send(options.recipient, message)
        timed.append((began, 1000 * (time.perf_counter() - began)))
        if not options.keep:
            session.quit()
            session = None
    print(json.dumps(timed), flush=True)
    if session is not None:
        session.quit()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int)
    parser.add_argument("--recipient")
    parser.add_argument("--size", type=int)
    parser.add_argument("--count", type=int)
    parser.add_argument("--keep", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    _run(_options())
