"""Generates mail load, by default of 4 KB messages over 20 sessions, with Postfix's smtp-source or with Python."""

import argparse
import asyncio
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator

SESSIONS = 20
SIZE = 4096
SENDER = "sender@bench.example"
TIME_LIMIT = 120.0
"""The time limit for a run, in seconds."""

SMTP_SOURCE = shutil.which("smtp-source") or shutil.which("smtp-source", path="/usr/sbin")


class MailFailed(Exception):
    """Raised if the generator cannot send all messages."""


def send(
    port: int, recipient: str, count: int, *, keep_connections: bool, sessions: int = SESSIONS, size: int = SIZE
) -> float:
    """Send `count` messages of `size` octets; return the seconds until the last message was accepted.

    Without `keep_connections`, every message has a separate connection. Raises `MailFailed`.
    """
    generator = [SMTP_SOURCE] if SMTP_SOURCE else [sys.executable, __file__]
    keep = ["-d"] if keep_connections else []
    numbers = ["-s", str(sessions), "-l", str(size), "-m", str(count)]
    command = [*generator, *keep, *numbers, "-f", SENDER, "-t", recipient, f"127.0.0.1:{port}"]
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIME_LIMIT, check=False)
    elapsed = time.perf_counter() - began
    if done.returncode:
        raise MailFailed(f"{' '.join(command)}: {done.stderr}")
    return elapsed


async def _session(port: int, options: argparse.Namespace, todo: Iterator[int]) -> None:
    """Send the messages in `todo` until it is empty."""
    connection = None
    for _ in todo:
        if connection is None:
            connection = await asyncio.open_connection("127.0.0.1", port)
            await _reply(connection[0], b"220")
            await _say(connection, b"HELO bench.example\r\n", b"250")
        await _message(connection, options)
        if not options.keep:
            await _quit(connection)
            connection = None
    if connection is not None:
        await _quit(connection)


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _message(connection: Connection, options: argparse.Namespace) -> None:
    await _say(connection, f"MAIL FROM:<{options.sender}>\r\n".encode(), b"250")
    await _say(connection, f"RCPT TO:<{options.recipient}>\r\n".encode(), b"250")
    await _say(connection, b"DATA\r\n", b"354")
    header = f"From: <{options.sender}>\r\nTo: <{options.recipient}>\r\nSubject: load\r\n\r\n".encode()
    line = b"X" * 78 + b"\r\n"
    await _say(connection, header + line * (options.size // len(line)) + b".\r\n", b"250")


async def _quit(connection: Connection) -> None:
    await _say(connection, b"QUIT\r\n", b"221")
    connection[1].close()


async def _say(connection: Connection, octets: bytes, expected: bytes) -> None:
    connection[1].write(octets)
    await _reply(connection[0], expected)


async def _reply(reader: asyncio.StreamReader, expected: bytes) -> None:
    line = await reader.readline()
    while line[3:4] == b"-":
        line = await reader.readline()
    if not line.startswith(expected):
        raise MailFailed(line.decode("latin-1"))


async def _generate(options: argparse.Namespace) -> None:
    todo = iter(range(options.messages))
    port = int(options.target.rpartition(":")[2])
    await asyncio.gather(*(_session(port, options, todo) for _ in range(options.sessions)))


def _options() -> argparse.Namespace:
    """Parse the options of smtp-source that `send` uses, with the same meaning."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-d", dest="keep", action="store_true")
    parser.add_argument("-s", dest="sessions", type=int)
    parser.add_argument("-l", dest="size", type=int)
    parser.add_argument("-m", dest="messages", type=int)
    parser.add_argument("-f", dest="sender")
    parser.add_argument("-t", dest="recipient")
    parser.add_argument("target")
    return parser.parse_args()


if __name__ == "__main__":
    import uvloop

    uvloop.run(_generate(_options()))
