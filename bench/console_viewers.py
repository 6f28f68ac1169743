"""Measures what viewers of live mail cost the acceptance of mail, and how soon they see it.

For each number of viewers, the script starts a server of its own, because mail is noted for some minutes after the last
viewer has left. The servers get the same mail in turn, over 20 sessions. The viewers are browsers with the list of all
mail (`--stream console`), or clients of the stream of the inspection API (`--stream inspection`), in a process of
their own. A figure is the median of the rounds; processor time is in µs for each message, of all processes of the
server and of PostgreSQL. The goal is that 200 browsers cost less than 10 %.

After that, one viewer measures the time from the `250` reply for a message until its event has arrived.
"""

import argparse
import asyncio
import base64
import queue
import random
import re
import smtplib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import console
import figures
import mail
from table import table

from waypost.testing.process import Server

SETTLED = 1.5
"""Seconds after the last message of a round, in which it is noted and shown."""

PAUSE = (0.2, 1.2)
"""The shortest and the longest time between two messages whose appearance is measured, in seconds."""


def request_of(server: Server, stream: str) -> bytes:
    """Return the HTTP request for a stream of events."""
    if stream == "console":
        browser = console.Browser(server)
        browser.get("/console/mail")
        path, field = "/console/mail/events", f"Cookie: {browser.cookie}"
    else:
        key = server.profile.key
        encoded = base64.b64encode(f"{key.id}:{key.secret}".encode()).decode()
        path, field = "/_waypost/events", f"Authorization: Basic {encoded}"
    return f"GET {path} HTTP/1.1\r\nHost: {server.run.http}\r\n{field}\r\nAccept: text/event-stream\r\n\r\n".encode()


async def _view(port: int, request: bytes) -> None:
    """Read a stream, and open it again when the server ends it, as browsers do."""
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head.splitlines()[0]:
            raise SystemExit(head.decode())
        print("open", flush=True)
        while await reader.read(1 << 20):
            pass
        writer.close()
        await asyncio.sleep(1)


async def _view_all(port: int, request: bytes, count: int) -> None:
    async with asyncio.TaskGroup() as tasks:
        for _ in range(count):
            tasks.create_task(_view(port, request))


@contextmanager
def viewers(server: Server, stream: str, count: int) -> Iterator[None]:
    """Open streams in another process."""
    if not count:
        yield
        return
    port, request = server.run.http.rpartition(":")[2], request_of(server, stream).decode()
    command = [sys.executable, __file__, "--view", port, "--viewers", str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(request)
        process.stdin.close()
        for _ in range(count):
            if process.stdout.readline() != "open\n":
                raise SystemExit("A viewer was refused.")
        threading.Thread(target=process.stdout.read, daemon=True).start()
        try:
            yield
        finally:
            process.kill()


def events(server: Server, stream: str) -> "queue.Queue[tuple[str, float]]":
    """Follow a stream in a thread. Return a queue of the ids of messages, and of the times at which they arrived."""
    found: queue.Queue[tuple[str, float]] = queue.Queue()
    address = ("127.0.0.1", int(server.run.http.rpartition(":")[2]))
    connection = socket.create_connection(address)
    connection.sendall(request_of(server, stream))

    def read() -> None:
        known: set[str] = set()
        with connection, connection.makefile("rb") as lines:
            for line in lines:
                now = time.perf_counter()
                for message_id in re.findall(r'(?:id="m-|"message":")([0-9a-f-]{36})', line.decode()):
                    if message_id not in known:
                        known.add(message_id)
                        found.put((message_id, now))

    threading.Thread(target=read, daemon=True).start()
    return found


def delays(server: Server, stream: str, count: int) -> list[float]:
    """Send messages one by one. Return the times until their events arrived, in seconds, in order."""
    found, delays = events(server, stream), []
    time.sleep(2)
    for _ in range(count):
        with smtplib.SMTP(*server.smtp, local_hostname="bench.example") as client:
            client.ehlo()
            client.mail("a@bench.example")
            client.rcpt(console.ALIAS)
            _, reply = client.data(b"Subject: live\r\n\r\nHello\r\n")
        sent = time.perf_counter()
        message_id, at = found.get(timeout=60)
        while message_id not in reply.decode():
            message_id, at = found.get(timeout=60)
        delays.append(at - sent)
        time.sleep(random.uniform(*PAUSE))
    return sorted(delays)


def _cells(found: dict[int, list[float]], count: int, none: int) -> tuple[str, str]:
    """Return the median, and the median of the ratios to the server without viewers."""
    ratio = figures.ratio_of(found[count], found[none]) - 1
    return f"{figures.median(found[count]):,.0f}", "" if count == none else f"{ratio:+.1%}"


def main() -> None:
    """Print the measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stream", choices=("console", "inspection"), default="console")
    parser.add_argument("--viewers", type=int, nargs="+", default=[0, 1, 200])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--each", type=int, default=3_000, help="how many messages a server gets in a round")
    parser.add_argument("--delays", type=int, default=50, help="for how many messages the delay is measured")
    parser.add_argument("--view", type=int, help=argparse.SUPPRESS)
    options = console.options_of(parser)
    if options.view:
        asyncio.run(_view_all(options.view, sys.stdin.read().encode(), options.viewers[0]))
    with ExitStack() as opened:
        servers: dict[int, console.Running] = {}
        for count in options.viewers:
            running = opened.enter_context(console.running(options, "--http-connections-each", "1000"))
            console.prepare(running.server, 0)
            opened.enter_context(viewers(running.server, options.stream, count))
            servers[count] = running
        rates: dict[int, list[float]] = {count: [] for count in servers}
        during: dict[int, list[float]] = {count: [] for count in servers}
        whole: dict[int, list[float]] = {count: [] for count in servers}
        for number in range(-1, options.rounds):
            for count in random.sample(list(servers), len(servers)):
                running = servers[count]
                each = options.each if number >= 0 else options.each // 10  # the first round only warms up
                began = running.processor_seconds()
                seconds = mail.send(running.server.smtp[1], console.ALIAS, each, keep_connections=True)
                ended = running.processor_seconds()
                time.sleep(SETTLED)
                if number >= 0:
                    rates[count].append(each / seconds)
                    during[count].append((ended - began) / each * 1e6)
                    whole[count].append((running.processor_seconds() - began) / each * 1e6)
        rows = [
            (str(count), *(cell for each in (rates, during, whole) for cell in _cells(each, count, options.viewers[0])))
            for count in servers
        ]
        head = ("viewers", "messages/s", "", "processor time", "", f"with {SETTLED:g} s after it", "")
        print(table(head, rows), flush=True)
        last = servers[options.viewers[-1]].server
        found = delays(last, options.stream, options.delays)
        print(
            f"\nshown after: median {figures.median(found):.2f} s, longest {found[-1]:.2f} s, of {len(found)} messages"
        )


if __name__ == "__main__":
    main()
